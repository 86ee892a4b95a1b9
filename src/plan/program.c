/* Ownership of a program. */
#include "plan/program.h"

#include "base/mem.h"

void rfhe_program_free(rfhe_program *p)
{
    if (p == NULL) { return; }
    for (uint32_t i = 0; i < p->n_linear && p->linear != NULL; i++) {
        for (uint32_t t = 0; t < p->linear[i].n_terms && p->linear[i].term != NULL; t++) {
            rfhe_free(p->linear[i].term[t].stencil.w);
        }
        rfhe_free(p->linear[i].term);
        rfhe_free(p->linear[i].bias);
    }
    for (uint32_t i = 0; i < p->n_activations && p->activation != NULL; i++) {
        rfhe_free(p->activation[i].step);
        rfhe_free(p->activation[i].c);
        rfhe_free(p->activation[i].range);
        rfhe_free(p->activation[i].gain);
        rfhe_free(p->activation[i].weight);
    }
    for (uint32_t i = 0; i < p->n_meta && p->meta != NULL; i++) {
        rfhe_free(p->meta[i].key);
        rfhe_free(p->meta[i].value);
    }
    rfhe_free(p->linear);
    rfhe_free(p->activation);
    rfhe_free(p->instruction);
    rfhe_free(p->tensor);
    rfhe_free(p->meta);
    rfhe_free(p);
}
