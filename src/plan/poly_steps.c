/* See poly_steps.h. */
#include "plan/poly_steps.h"

void rfhe_poly_steps(rfhe_poly_step *step, const rfhe_paf_schedule *s)
{
    static const rfhe_poly_op op[] = {
        [RFHE_PAF_OP_INPUT] = RFHE_POLY_INPUT, [RFHE_PAF_OP_MUL] = RFHE_POLY_MUL,
        [RFHE_PAF_OP_SCALE] = RFHE_POLY_SCALE, [RFHE_PAF_OP_INT] = RFHE_POLY_INT,
        [RFHE_PAF_OP_ADD] = RFHE_POLY_ADD,     [RFHE_PAF_OP_CONST] = RFHE_POLY_CONST,
    };

    for (uint32_t k = 0; k < s->n_steps; k++) {
        step[k] = (rfhe_poly_step){op[s->step[k].op], s->step[k].a, s->step[k].b, s->step[k].c};
    }
}
