/* The step behind RFHE_OP_ACTIVATION: hands rows of floats to functions from above nn/ (see activation.h); in a bf16
 * executor through float copies in the scratch memory. */
#include "nn/exec_internal.h"

#include "base/mem.h"
#include "base/threads.h"

#include <string.h>

typedef struct activation {
    const rfhe_activation *kind;
    void *state;
    size_t channels, n_params, count[RFHE_ACTIVATION_PARAMS];
    double *grad[RFHE_ACTIVATION_PARAMS];
    uint64_t stamp;
} activation;

static void release(rfhe_step *s)
{
    activation *a = s->priv;

    if (a->state != NULL) { a->kind->close(a->state); }
    for (size_t k = 0; k < a->n_params; k++) { rfhe_free(a->grad[k]); }
    rfhe_free(a);
}

static rfhe_status prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const rfhe_slot *x = rfhe_in(e, s, 0);
    activation *a = NULL;

    if (s->n_in > RFHE_ACTIVATION_PARAMS + 1) {
        return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "has more than 8 parameters", err);
    }
    for (uint32_t i = 1; i < s->n_in; i++) {
        if (rfhe_in(e, s, i) == NULL || !rfhe_in(e, s, i)->is_param) {
            return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "parameters must be constants", err);
        }
    }
    a = rfhe_calloc(1, sizeof *a);
    if (a == NULL) { return RFHE_E_NOMEM; }
    s->priv = a;
    a->kind = s->attr.activation.kind;
    a->channels = (size_t)x->shape.dim[1];
    if (e->opt.training && a->kind->backward == NULL) {
        return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "cannot be trained", err);
    }
    for (uint32_t i = 1; i < s->n_in; i++) {
        a->count[i - 1] = rfhe_in(e, s, i)->count;
        a->grad[i - 1] = rfhe_calloc(a->count[i - 1], sizeof(double));
        a->n_params = i;
        if (a->grad[i - 1] == NULL) { return RFHE_E_NOMEM; }
    }
    s->keep_in = e->opt.training ? 1 : 0;
    s->scratch_bytes = x->bf16 ? 2 * x->count * sizeof(float) : 0;
    return a->kind->open(&a->state, s->attr.activation.user, a->channels, a->count, a->n_params, err);
}

/* `n` elements of a slot's type to float or back, by the whole team. */
static void convert(const rfhe_slot *x, float *plain, void *typed, bool to_float)
{
    const rfhe_kernels *k = rfhe_slot_kernels(x);
    const size_t pieces = rfhe_chunks(x->count), size = rfhe_elem_size(x);

#pragma omp parallel for schedule(static)
    for (size_t c = 0; c < pieces; c++) {
        const size_t from = rfhe_split(x->count, pieces, c), n = rfhe_split(x->count, pieces, c + 1) - from;
        if (to_float) {
            k->load(plain + from, (const char *)typed + from * size, n);
        } else {
            k->store((char *)typed + from * size, plain + from, n);
        }
    }
}

static void forward(rfhe_exec *e, rfhe_step *s)
{
    activation *a = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0), *y = rfhe_out(e, s, 0);
    const size_t rows = a->channels > 0 ? x->count / a->channels : 0;
    float *copy = (float *)(void *)e->scratch;

    if (a->stamp != e->stamp) {
        const float *params[RFHE_ACTIVATION_PARAMS] = {NULL};
        for (size_t k = 0; k < a->n_params; k++) { params[k] = rfhe_in(e, s, (uint32_t)k + 1)->data; }
        a->kind->set(a->state, params);
        a->stamp = e->stamp;
    }
    if (!x->bf16) {
        a->kind->forward(a->state, y->data, x->data, rows);
        return;
    }
    convert(x, copy, x->data, true);
    a->kind->forward(a->state, copy, copy, rows);
    convert(y, copy, y->data, false);
}

static void backward(rfhe_exec *e, rfhe_step *s)
{
    activation *a = s->priv;
    const rfhe_slot *x = rfhe_in(e, s, 0);
    const size_t rows = a->channels > 0 ? x->count / a->channels : 0;
    double *grads[RFHE_ACTIVATION_PARAMS] = {NULL};

    for (size_t k = 0; k < a->n_params; k++) { grads[k] = s->dx[k + 1] != NULL ? a->grad[k] : NULL; }
    if (x->bf16) {
        float *copy = (float *)(void *)e->scratch, *dy = copy + x->count;
        convert(x, copy, x->data, true);
        convert(x, dy, s->dy, true);
        a->kind->backward(a->state, s->dx[0] != NULL ? dy : NULL, grads, copy, dy, rows);
        if (s->dx[0] != NULL) { convert(x, dy, s->dx[0], false); }
    } else {
        a->kind->backward(a->state, s->dx[0], grads, x->data, s->dy, rows);
    }
    for (size_t k = 0; k < a->n_params; k++) {
        float *to = s->dx[k + 1];
        for (size_t i = 0; to != NULL && i < a->count[k]; i++) {
            to[i] = (s->dx_add[k + 1] ? to[i] : 0.0F) + (float)a->grad[k][i];
        }
    }
}

const rfhe_impl rfhe_impl_ACTIVATION = {.prepare = prepare,
                                        .forward = forward,
                                        .backward = backward,
                                        .release = release,
                                        .order = RFHE_ORDER_LAST,
                                        .inplace = true};
