/* See paf_program.h. */
#include "cli/paf_program.h"

#include "base/mem.h"

rfhe_status rfhe_paf_compile(rfhe_poly_program **out, const rfhe_paf *f, rfhe_error *err)
{
    static const rfhe_poly_op op[] = {
        [RFHE_PAF_OP_INPUT] = RFHE_POLY_INPUT, [RFHE_PAF_OP_MUL] = RFHE_POLY_MUL,
        [RFHE_PAF_OP_SCALE] = RFHE_POLY_SCALE, [RFHE_PAF_OP_INT] = RFHE_POLY_INT,
        [RFHE_PAF_OP_ADD] = RFHE_POLY_ADD,     [RFHE_PAF_OP_CONST] = RFHE_POLY_CONST,
    };
    rfhe_status st = RFHE_OK;
    rfhe_paf_schedule *s = rfhe_calloc(1, sizeof *s);
    rfhe_poly_step *step = rfhe_calloc(RFHE_PAF_MAX_STEPS, sizeof *step);

    if (s == NULL || step == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a schedule");
        goto done;
    }
    RFHE_TRY(rfhe_paf_schedule_relu(s, f, err));
    for (uint32_t k = 0; k < s->n_steps; k++) {
        step[k] = (rfhe_poly_step){op[s->step[k].op], s->step[k].a, s->step[k].b, s->step[k].c};
    }
    RFHE_TRY(rfhe_poly_program_from_steps(out, step, s->n_steps, s->out_scale, err));
done:
    rfhe_free(s);
    rfhe_free(step);
    return st;
}
