/* Convolution and the matrix product through oneDNN. Activations are channels-last: the only order for which oneDNN 2.6
 * has AMX kernels, and as fast as its blocked order in float (docs/results/training-speed.md has the figures).
 *
 * Each convolution holds packed copies of its weights in the formats that its forward and backward primitives prefer;
 * they are renewed when the executor's stamp says that the master weights changed. Weight gradients come in oneDNN's
 * format, always float, and are brought back to ONNX's order. Scratch memory is ours (user mode), so that running
 * allocates nothing. */
#include "nn/exec_internal.h"

#ifdef RFHE_WITH_ONEDNN

#include "base/mem.h"

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

typedef struct backend {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
} backend;

rfhe_status rfhe_backend_open(rfhe_exec *e, rfhe_error *err)
{
    backend *b = rfhe_calloc(1, sizeof *b);

    if (b == NULL) { return RFHE_E_NOMEM; }
    e->backend = b;
    if (dnnl_engine_create(&b->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&b->stream, b->engine, dnnl_stream_default_flags) != dnnl_success) {
        return rfhe_fail(err, RFHE_E_NOMEM, "oneDNN does not start");
    }
    return RFHE_OK;
}

void rfhe_backend_close(rfhe_exec *e)
{
    backend *b = e->backend;

    if (b == NULL) { return; }
    if (b->stream != NULL) { (void)dnnl_stream_destroy(b->stream); }
    if (b->engine != NULL) { (void)dnnl_engine_destroy(b->engine); }
    rfhe_free(b);
    e->backend = NULL;
}

void rfhe_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) { return; }
    /* Cannot fail: the arguments are checked when the graph is, and oneDNN's own scratch is small. */
    (void)dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* ---- convolution ---- */

enum { FORWARD, DATA, WEIGHTS, PRIMITIVES };

typedef struct conv {
    dnnl_primitive_t primitive[PRIMITIVES];
    dnnl_memory_t scratchpad[PRIMITIVES];
    dnnl_memory_t x, y, dx, dy;    /* activations and their gradients               */
    dnnl_memory_t master, grad;    /* weights as in ONNX: values and gradient       */
    dnnl_memory_t packed[2];       /* weights for FORWARD and DATA, may be `master` */
    dnnl_memory_t packed_grad;     /* may be `grad`                                 */
    dnnl_memory_t bias, bias_grad;
    dnnl_primitive_t pack[2], unpack;
    void *packed_data[2], *packed_grad_data;
    float *grad_data, *bias_grad_data; /* when gradients are added up             */
    size_t n_weights, n_bias;
    uint64_t stamp;
    bool is_bound;
} conv;

static void conv_release(rfhe_step *s)
{
    conv *c = s->priv;
    dnnl_memory_t all[] = {c->x,         c->y,         c->dx,          c->dy,
                           c->bias,      c->bias_grad, c->master,      c->grad,
                           c->packed[0] != c->master ? c->packed[0] : NULL,
                           c->packed[1] != c->master ? c->packed[1] : NULL,
                           c->packed_grad != c->grad ? c->packed_grad : NULL};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] != NULL) { (void)dnnl_memory_destroy(all[i]); }
    }
    for (int k = 0; k < PRIMITIVES; k++) {
        if (c->primitive[k] != NULL) { (void)dnnl_primitive_destroy(c->primitive[k]); }
        if (c->scratchpad[k] != NULL) { (void)dnnl_memory_destroy(c->scratchpad[k]); }
    }
    for (int k = 0; k < 2; k++) {
        if (c->pack[k] != NULL) { (void)dnnl_primitive_destroy(c->pack[k]); }
        rfhe_free(c->packed_data[k]);
    }
    if (c->unpack != NULL) { (void)dnnl_primitive_destroy(c->unpack); }
    rfhe_free(c->packed_grad_data);
    rfhe_free(c->grad_data);
    rfhe_free(c->bias_grad_data);
    rfhe_free(c);
}

/* oneDNN's failures while compiling: memory, or a combination it does not have. */
static rfhe_status translate(dnnl_status_t d)
{
    return d == dnnl_success ? RFHE_OK : d == dnnl_out_of_memory ? RFHE_E_NOMEM : RFHE_E_UNSUPPORTED;
}

#define DNNL_TRY(call) RFHE_TRY(translate(call))

typedef struct conv_desc {
    dnnl_memory_desc_t x, y, w, w_grad, master, bias;
    dnnl_dims_t stride, dilation, begin, end;
    bool has_bias;
} conv_desc;

static rfhe_status activation_desc(dnnl_memory_desc_t *d, const rfhe_slot *s)
{
    dnnl_dims_t dims, strides;
    int64_t step = s->shape.dim[1];

    /* Always the strides of channels-last: where both orders coincide (one channel, one pixel) they name the same
     * memory, but oneDNN knows its fast kernels only under this description. */
    for (uint32_t i = s->shape.rank; i-- > 0;) {
        dims[i] = s->shape.dim[i];
        strides[i] = i == 1 ? 1 : step;
        if (i != 1) { step *= dims[i]; }
    }
    return translate(dnnl_memory_desc_init_by_strides(
        d, (int)s->shape.rank, dims, s->bf16 ? dnnl_bf16 : dnnl_f32, strides));
}

static rfhe_status describe(conv_desc *d, rfhe_exec *e, const rfhe_step *s)
{
    const rfhe_window *win = &s->attr.window;
    const rfhe_slot *x = rfhe_in(e, s, 0), *w = rfhe_in(e, s, 1), *bias = rfhe_in(e, s, 2);
    const int64_t g = win->groups;
    dnnl_dims_t dims, strides;
    int rank = 0;
    rfhe_status st = RFHE_OK;

    if (g > 1) { dims[rank++] = g; }
    dims[rank++] = w->shape.dim[0] / g;
    for (uint32_t i = 1; i < w->shape.rank; i++) { dims[rank++] = w->shape.dim[i]; }
    int64_t step = 1;
    for (int i = rank; i-- > 0;) {
        strides[i] = step;
        step *= dims[i];
    }
    for (uint32_t i = 0; i < win->spatial; i++) {
        d->stride[i] = win->stride[i];
        d->dilation[i] = win->dilation[i] - 1; /* oneDNN counts the holes */
        d->begin[i] = win->pad_begin[i];
        d->end[i] = win->pad_end[i];
    }
    RFHE_TRY(activation_desc(&d->x, x));
    RFHE_TRY(activation_desc(&d->y, rfhe_out(e, s, 0)));
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&d->master, rank, dims, dnnl_f32, strides));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&d->w, rank, dims, x->bf16 ? dnnl_bf16 : dnnl_f32,
                                          dnnl_format_tag_any));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&d->w_grad, rank, dims, dnnl_f32, dnnl_format_tag_any));
    d->has_bias = bias != NULL;
    if (bias != NULL) {
        dnnl_dims_t n = {bias->shape.dim[0]};
        DNNL_TRY(dnnl_memory_desc_init_by_tag(&d->bias, 1, n, dnnl_f32, dnnl_a));
    }

done:
    return st;
}

/* Makes primitive `what`; out_weights receives the weight format it chose. */
static rfhe_status make_primitive(rfhe_exec *e, rfhe_step *s, const conv_desc *d, int what,
                                  const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd,
                                  dnnl_memory_desc_t *out_weights)
{
    const backend *b = e->backend;
    conv *c = s->priv;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    const dnnl_memory_desc_t *bias = d->has_bias ? &d->bias : NULL, *scratch = NULL;
    const dnnl_prop_kind_t kind = e->opt.training ? dnnl_forward_training : dnnl_forward_inference;
    rfhe_status st = RFHE_OK;

    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (what == FORWARD) {
        DNNL_TRY(dnnl_dilated_convolution_forward_desc_init(&desc, kind, dnnl_convolution_direct,
                                                            &d->x, &d->w, bias, &d->y, d->stride,
                                                            d->dilation, d->begin, d->end));
    } else if (what == DATA) {
        DNNL_TRY(dnnl_dilated_convolution_backward_data_desc_init(
            &desc, dnnl_convolution_direct, &d->x, &d->w, &d->y, d->stride, d->dilation, d->begin,
            d->end));
    } else {
        DNNL_TRY(dnnl_dilated_convolution_backward_weights_desc_init(
            &desc, dnnl_convolution_direct, &d->x, &d->w_grad, bias, &d->y, d->stride, d->dilation,
            d->begin, d->end));
    }
    DNNL_TRY(dnnl_primitive_desc_create(pd, &desc, attr, b->engine, hint));
    DNNL_TRY(dnnl_primitive_create(&c->primitive[what], *pd));
    *out_weights = *dnnl_primitive_desc_query_md(
        *pd, what == WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    scratch = dnnl_primitive_desc_query_md(*pd, dnnl_query_scratchpad_md, 0);
    DNNL_TRY(dnnl_memory_create(&c->scratchpad[what], scratch, b->engine, DNNL_MEMORY_NONE));
    const size_t bytes = dnnl_memory_desc_get_size(scratch);
    if (bytes > s->scratch_bytes) { s->scratch_bytes = bytes; }

done:
    if (attr != NULL) { (void)dnnl_primitive_attr_destroy(attr); }
    return st;
}

static rfhe_status make_reorder(const backend *b, dnnl_primitive_t *out,
                                const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to)
{
    dnnl_primitive_desc_t pd = NULL;
    rfhe_status st = RFHE_OK;

    DNNL_TRY(dnnl_reorder_primitive_desc_create(&pd, from, b->engine, to, b->engine, NULL));
    DNNL_TRY(dnnl_primitive_create(out, pd));

done:
    if (pd != NULL) { (void)dnnl_primitive_desc_destroy(pd); }
    return st;
}

/* Memory for packed weights and the reorder that fills it, or the master itself when the formats agree. */
static rfhe_status make_packed(rfhe_exec *e, conv *c, int which, const conv_desc *d,
                               const dnnl_memory_desc_t *format)
{
    const backend *b = e->backend;
    rfhe_status st = RFHE_OK;

    if (dnnl_memory_desc_equal(format, &d->master)) {
        c->packed[which] = c->master;
        return RFHE_OK;
    }
    c->packed_data[which] = rfhe_calloc(dnnl_memory_desc_get_size(format), 1);
    if (c->packed_data[which] == NULL) { return RFHE_E_NOMEM; }
    e->stats.weight_bytes += dnnl_memory_desc_get_size(format);
    DNNL_TRY(dnnl_memory_create(&c->packed[which], format, b->engine, c->packed_data[which]));
    RFHE_TRY(make_reorder(b, &c->pack[which], &d->master, format));

done:
    return st;
}

static rfhe_status make_backward(rfhe_exec *e, rfhe_step *s, const conv_desc *d,
                                 const_dnnl_primitive_desc_t forward)
{
    const backend *b = e->backend;
    conv *c = s->priv;
    dnnl_primitive_desc_t data = NULL, weights = NULL;
    dnnl_memory_desc_t format;
    rfhe_status st = RFHE_OK;

    DNNL_TRY(dnnl_memory_create(&c->dx, &d->x, b->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&c->dy, &d->y, b->engine, DNNL_MEMORY_NONE));
    if (rfhe_in(e, s, 0)->needs_grad) {
        RFHE_TRY(make_primitive(e, s, d, DATA, forward, &data, &format));
        RFHE_TRY(make_packed(e, c, 1, d, &format));
    }
    RFHE_TRY(make_primitive(e, s, d, WEIGHTS, forward, &weights, &format));
    c->grad_data = rfhe_calloc(c->n_weights, sizeof *c->grad_data);
    c->bias_grad_data = rfhe_calloc(c->n_bias, sizeof *c->bias_grad_data);
    RFHE_TRY(c->grad_data == NULL || c->bias_grad_data == NULL ? RFHE_E_NOMEM : RFHE_OK);
    DNNL_TRY(dnnl_memory_create(&c->grad, &d->master, b->engine, c->grad_data));
    if (dnnl_memory_desc_equal(&format, &d->master)) {
        c->packed_grad = c->grad;
    } else {
        c->packed_grad_data = rfhe_calloc(dnnl_memory_desc_get_size(&format), 1);
        RFHE_TRY(c->packed_grad_data == NULL ? RFHE_E_NOMEM : RFHE_OK);
        DNNL_TRY(dnnl_memory_create(&c->packed_grad, &format, b->engine, c->packed_grad_data));
        RFHE_TRY(make_reorder(b, &c->unpack, &format, &d->master));
    }
    if (d->has_bias) {
        DNNL_TRY(dnnl_memory_create(&c->bias_grad, &d->bias, b->engine, c->bias_grad_data));
    }

done:
    if (data != NULL) { (void)dnnl_primitive_desc_destroy(data); }
    if (weights != NULL) { (void)dnnl_primitive_desc_destroy(weights); }
    return st;
}

static rfhe_status conv_prepare(rfhe_exec *e, rfhe_step *s, rfhe_error *err)
{
    const backend *b = e->backend;
    const rfhe_slot *w = rfhe_in(e, s, 1), *bias = rfhe_in(e, s, 2);
    conv *c = NULL;
    conv_desc d = {.has_bias = false};
    dnnl_memory_desc_t format;
    dnnl_primitive_desc_t forward = NULL;
    rfhe_status st = RFHE_OK;

    if (!w->is_param || (bias != NULL && !bias->is_param)) {
        return rfhe_step_refuse(s, RFHE_E_UNSUPPORTED, "kernel and bias must be constants", err);
    }
    c = rfhe_calloc(1, sizeof *c);
    if (c == NULL) { return RFHE_E_NOMEM; }
    s->priv = c;
    s->keep_in = e->opt.training ? 1 : 0;
    c->n_weights = w->count;
    c->n_bias = bias != NULL ? bias->count : 0;
    RFHE_TRY(describe(&d, e, s));
    DNNL_TRY(dnnl_memory_create(&c->x, &d.x, b->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&c->y, &d.y, b->engine, DNNL_MEMORY_NONE));
    DNNL_TRY(dnnl_memory_create(&c->master, &d.master, b->engine, w->data));
    if (bias != NULL) { DNNL_TRY(dnnl_memory_create(&c->bias, &d.bias, b->engine, bias->data)); }
    RFHE_TRY(make_primitive(e, s, &d, FORWARD, NULL, &forward, &format));
    RFHE_TRY(make_packed(e, c, 0, &d, &format));
    if (e->opt.training) { RFHE_TRY(make_backward(e, s, &d, forward)); }

done:
    if (forward != NULL) { (void)dnnl_primitive_desc_destroy(forward); }
    if (st == RFHE_E_UNSUPPORTED) {
        st = rfhe_step_refuse(s, st,
                              e->opt.compute == RFHE_COMPUTE_BF16
                                  ? "oneDNN has no such convolution in bf16 on this CPU"
                                  : "oneDNN has no such convolution",
                              err);
    }
    return st;
}

static void run(rfhe_exec *e, conv *c, int what, dnnl_exec_arg_t *args, int n)
{
    const backend *b = e->backend;

    args[n] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, c->scratchpad[what]};
    (void)dnnl_primitive_execute(c->primitive[what], b->stream, n + 1, args);
    (void)dnnl_stream_wait(b->stream);
}

static void reorder(rfhe_exec *e, dnnl_primitive_t p, dnnl_memory_t from, dnnl_memory_t to)
{
    const backend *b = e->backend;
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};

    if (p == NULL) { return; }
    (void)dnnl_primitive_execute(p, b->stream, 2, args);
    (void)dnnl_stream_wait(b->stream);
}

/* Addresses are known only after the memory plan; the first run hands them to oneDNN. */
static void bind(rfhe_exec *e, rfhe_step *s)
{
    conv *c = s->priv;

    (void)dnnl_memory_set_data_handle(c->x, rfhe_in(e, s, 0)->data);
    (void)dnnl_memory_set_data_handle(c->y, rfhe_out(e, s, 0)->data);
    for (int k = 0; k < PRIMITIVES; k++) {
        if (c->scratchpad[k] != NULL) {
            (void)dnnl_memory_set_data_handle(c->scratchpad[k], e->scratch);
        }
    }
    if (c->dy != NULL && s->has_backward) {
        (void)dnnl_memory_set_data_handle(c->dy, s->dy);
        if (s->dx[0] != NULL) { (void)dnnl_memory_set_data_handle(c->dx, s->dx[0]); }
    }
    c->is_bound = true;
}

static void conv_forward(rfhe_exec *e, rfhe_step *s)
{
    conv *c = s->priv;
    dnnl_exec_arg_t args[5] = {
        {DNNL_ARG_SRC, c->x}, {DNNL_ARG_WEIGHTS, c->packed[0]}, {DNNL_ARG_DST, c->y}};
    int n = 3;

    if (!c->is_bound) { bind(e, s); }
    if (c->stamp != e->stamp) {
        reorder(e, c->pack[0], c->master, c->packed[0]);
        reorder(e, c->pack[1], c->master, c->packed[1]);
        c->stamp = e->stamp;
    }
    if (c->bias != NULL) { args[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, c->bias}; }
    run(e, c, FORWARD, args, n);
}

static void take_gradient(float *to, const float *from, size_t n, bool add)
{
    if (to == NULL) { return; }
    if (add) {
        rfhe_nn_kernels_get(false)->add(to, to, from, n);
    } else {
        memcpy(to, from, n * sizeof *to);
    }
}

static void conv_backward(rfhe_exec *e, rfhe_step *s)
{
    conv *c = s->priv;
    dnnl_exec_arg_t args[5] = {
        {DNNL_ARG_SRC, c->x}, {DNNL_ARG_DIFF_DST, c->dy}, {DNNL_ARG_DIFF_WEIGHTS, c->packed_grad}};
    int n = 3;

    if (c->bias != NULL) { args[n++] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_BIAS, c->bias_grad}; }
    run(e, c, WEIGHTS, args, n);
    reorder(e, c->unpack, c->packed_grad, c->grad);
    take_gradient(s->dx[1], c->grad_data, c->n_weights, s->dx_add[1]);
    if (c->bias != NULL) { take_gradient(s->dx[2], c->bias_grad_data, c->n_bias, s->dx_add[2]); }
    if (s->dx[0] != NULL) {
        args[0] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_DST, c->dy};
        args[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, c->packed[1]};
        args[2] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_SRC, c->dx};
        run(e, c, DATA, args, 3);
    }
}

const rfhe_impl rfhe_impl_CONV = {.prepare = conv_prepare,
                                  .forward = conv_forward,
                                  .backward = conv_backward,
                                  .release = conv_release,
                                  .order = RFHE_ORDER_LAST};

#endif
