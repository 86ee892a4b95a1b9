/* The evaluation keys of a program. */
#include "plan/cost.h"

/* The relinearisation keys of an activation that starts at `level`. */
static rfhe_status activation_keys(rfhe_key_list *list, const rfhe_activation *a, const rfhe_ckks *c, uint32_t level,
                                   rfhe_error *err)
{
    rfhe_poly_program *program = NULL;
    bool is_vector[RFHE_POLY_MAX_STEPS] = {false};
    rfhe_status st = RFHE_OK;

    if (a->n_steps == 0 || a->n_steps > RFHE_POLY_MAX_STEPS || a->mask_level > level) { return RFHE_OK; }
    for (uint32_t k = 0; k < a->n_steps; k++) {
        is_vector[k] = a->step[k].op == RFHE_POLY_SCALE || a->step[k].op == RFHE_POLY_CONST;
    }
    RFHE_TRY(rfhe_poly_program_with_vectors(&program, a->step, is_vector, a->n_steps, 1, err));
    RFHE_TRY(rfhe_poly_program_keys(program, c, level - a->mask_level, list, err));

done:
    rfhe_poly_program_free(program);
    return st;
}

rfhe_status rfhe_program_keys(rfhe_key_list *list, const rfhe_program *p, const rfhe_ckks *c, const rfhe_refresh *r,
                              rfhe_error *err)
{
    const rfhe_refresh_info info = rfhe_refresh_get_info(r);
    rfhe_status st = rfhe_refresh_keys(r, list, err);

    for (uint32_t i = 0; st == RFHE_OK && i < p->n_instructions; i++) {
        const rfhe_instruction *in = &p->instruction[i];
        const rfhe_layout *l = &p->tensor[in->out].layout;
        if (in->kind == RFHE_DO_ACTIVATE) {
            st = activation_keys(list, &p->activation[in->which], c, info.raise_level, err);
        } else if (in->kind == RFHE_DO_LINEAR) {
            st = rfhe_pack_keys(c, l->block, (size_t)1 << rfhe_program_log2_gap(p), p->level_linear, list, err);
        } else {
            st = rfhe_pack_scalars_keys(c, p->level_linear, list, err);
        }
    }
    return st;
}
