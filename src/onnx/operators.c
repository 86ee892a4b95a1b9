/* From ONNX nodes to graph nodes, operator by operator: attributes of all supported opsets, and inputs that ONNX wants as
 * tensors but that must be constants here. Versions of an operator are told apart by the model's opset: "since" numbers
 * in the comments are those of the ONNX operator documents. */
#include "onnx/reader.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What a node will become. Inputs from n_inputs on were read into attributes. */
typedef struct draft {
    rfhe_op op;
    uint32_t n_inputs, n_outputs;
    rfhe_attr attr;
} draft;

typedef rfhe_status translate_fn(const rfhe_onnx_site *s, draft *d);

static rfhe_status attr_float(const rfhe_onnx_site *s, const char *name, float otherwise,
                              float *out)
{
    const Onnx__AttributeProto *a = rfhe_onnx_attribute(s->n, name);

    *out = a == NULL ? otherwise : a->f;
    if (a != NULL && !a->has_f) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its attribute '%s' has the wrong type", name);
    }
    return RFHE_OK;
}

static rfhe_status attr_flag(const rfhe_onnx_site *s, const char *name, bool otherwise, bool *out)
{
    int64_t v = 0;
    const rfhe_status st = rfhe_onnx_attr_int(s, name, otherwise, &v);

    *out = v != 0;
    return st;
}

/* A string attribute as an index into `choices` (NULL-terminated); absent = 0. */
static rfhe_status attr_choice(const rfhe_onnx_site *s, const char *name,
                               const char *const *choices, uint32_t *out)
{
    const Onnx__AttributeProto *a = rfhe_onnx_attribute(s->n, name);

    *out = 0;
    if (a == NULL) { return RFHE_OK; }
    for (uint32_t i = 0; a->has_s && choices[i] != NULL; i++) {
        if (a->s.len == strlen(choices[i]) && memcmp(a->s.data, choices[i], a->s.len) == 0) {
            *out = i;
            return RFHE_OK;
        }
    }
    return rfhe_onnx_refuse(
        s, RFHE_E_UNSUPPORTED, "its attribute '%s' is '%.*s', which is not supported", name,
        a->has_s && a->s.len < 40 ? (int)a->s.len : 0, a->has_s ? (const char *)a->s.data : "");
}

/* Node input i as a list of integers that must be known now. Absent: *n = 0 and *out = NULL. */
static rfhe_status input_ints(const rfhe_onnx_site *s, size_t i, const char *what,
                              const int64_t **out, size_t *n, bool *is_batch)
{
    const uint32_t e = rfhe_onnx_input(s, i);
    const rfhe_tensor *t = NULL;
    rfhe_dtype type = RFHE_F32;

    *out = NULL;
    *n = 0;
    if (e == RFHE_ONNX_NO_ENTRY) { return RFHE_OK; }
    if (!rfhe_onnx_constant_type(s->r, e, &type)) {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                "its %s must be constant, but '%.100s' is computed or fed", what,
                                s->r->entries[e].name);
    }
    if (type != RFHE_I64) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its %s must be integers", what);
    }
    const rfhe_status st = rfhe_onnx_constant_of(s->r, e, &t);
    if (st != RFHE_OK) { return st; }
    if (is_batch != NULL) {
        *is_batch = s->r->entries[e].is_batch;
    } else if (s->r->entries[e].is_batch) {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED, "its %s must not depend on the batch", what);
    }
    *out = t->i64;
    *n = t->count;
    return RFHE_OK;
}

/* The same for one number; absent = otherwise. */
static rfhe_status input_float(const rfhe_onnx_site *s, size_t i, const char *what, float otherwise,
                               float *out)
{
    const uint32_t e = rfhe_onnx_input(s, i);
    const rfhe_tensor *t = NULL;
    rfhe_dtype type = RFHE_I64;

    *out = otherwise;
    if (e == RFHE_ONNX_NO_ENTRY) { return RFHE_OK; }
    if (!rfhe_onnx_constant_type(s->r, e, &type)) {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                "its %s must be constant, but '%.100s' is computed or fed", what,
                                s->r->entries[e].name);
    }
    const rfhe_status st = rfhe_onnx_constant_of(s->r, e, &t);
    if (st != RFHE_OK) { return st; }
    if (type != RFHE_F32 || t->count != 1) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its %s must be one float", what);
    }
    *out = t->f32[0];
    return RFHE_OK;
}

/* Copies a list into a fixed array, after checking its length. */
static rfhe_status copy_ints(const rfhe_onnx_site *s, const char *what, int64_t *to,
                             const int64_t *from, size_t n, size_t want)
{
    if (n != want) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its %s has %zu numbers instead of %zu", what, n,
                                want);
    }
    for (size_t i = 0; i < n; i++) { to[i] = from[i]; }
    return RFHE_OK;
}

/* Inputs `first` .. `last` must be there; those behind `last` are cut off when omitted. */
static rfhe_status count_inputs(const rfhe_onnx_site *s, draft *d, uint32_t least, uint32_t most)
{
    size_t n = s->n->n_input;

    while (n > 0 && s->n->input[n - 1][0] == '\0') { n--; }
    if (n < least || n > most) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "it has %zu inputs instead of %u to %u", n, least,
                                most);
    }
    for (size_t i = 0; i < least; i++) {
        if (s->n->input[i][0] == '\0') {
            return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its input %zu is missing", i);
        }
    }
    d->n_inputs = (uint32_t)n;
    return RFHE_OK;
}

static rfhe_status window(const rfhe_onnx_site *s, rfhe_window *w, const int64_t *kernel,
                          size_t spatial)
{
    static const char *const modes[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
    rfhe_status st = RFHE_OK;
    const int64_t *list = NULL;
    size_t n = 0;
    uint32_t mode = 0;

    if (spatial < 1 || spatial > RFHE_MAX_SPATIAL) {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                "its kernel has %zu dimensions, 1 to 3 are supported", spatial);
    }
    w->spatial = (uint32_t)spatial;
    w->groups = 1;
    for (size_t i = 0; i < spatial; i++) {
        w->kernel[i] = kernel[i];
        w->stride[i] = w->dilation[i] = 1;
    }
    RFHE_TRY(rfhe_onnx_attr_ints(s, "strides", &list, &n));
    if (n > 0) { RFHE_TRY(copy_ints(s, "strides", w->stride, list, n, spatial)); }
    RFHE_TRY(rfhe_onnx_attr_ints(s, "dilations", &list, &n));
    if (n > 0) { RFHE_TRY(copy_ints(s, "dilations", w->dilation, list, n, spatial)); }
    RFHE_TRY(attr_choice(s, "auto_pad", modes, &mode));
    w->auto_pad = (rfhe_auto_pad)mode;
    RFHE_TRY(rfhe_onnx_attr_ints(s, "pads", &list, &n));
    if (n > 0 && w->auto_pad == RFHE_PAD_EXPLICIT) {
        if (n != 2 * spatial) { return copy_ints(s, "pads", NULL, list, n, 2 * spatial); }
        for (size_t i = 0; i < spatial; i++) {
            w->pad_begin[i] = list[i];
            w->pad_end[i] = list[spatial + i];
        }
    }

done:
    return st;
}

static rfhe_status conv(const rfhe_onnx_site *s, draft *d)
{
    rfhe_shape kernel = {0};
    rfhe_status st = RFHE_OK;
    const int64_t *list = NULL;
    size_t n = 0;

    RFHE_TRY(count_inputs(s, d, 2, 3));
    RFHE_TRY(rfhe_onnx_attr_ints(s, "kernel_shape", &list, &n));
    if (n == 0) {
        RFHE_TRY(rfhe_onnx_shape_of(s, rfhe_onnx_input(s, 1), &kernel));
        if (kernel.rank < 3) {
            return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its kernel has rank %u", kernel.rank);
        }
        list = kernel.dim + 2;
        n = kernel.rank - 2;
    }
    RFHE_TRY(window(s, &d->attr.window, list, n));
    RFHE_TRY(rfhe_onnx_attr_int(s, "group", 1, &d->attr.window.groups));

done:
    return st;
}

static rfhe_status pool(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    const int64_t *list = NULL;
    size_t n = 0;
    rfhe_window *w = &d->attr.window;

    RFHE_TRY(count_inputs(s, d, 1, 1));
    RFHE_TRY(rfhe_onnx_attr_ints(s, "kernel_shape", &list, &n));
    RFHE_TRY(window(s, w, list, n));
    RFHE_TRY(attr_flag(s, "ceil_mode", false, &w->ceil_mode));
    RFHE_TRY(attr_flag(s, "count_include_pad", false, &w->count_include_pad));
    for (uint32_t i = 0; i < w->spatial && d->op == RFHE_OP_AVGPOOL; i++) {
        if (w->dilation[i] != 1) { /* since 19 */
            return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                    "dilated average pooling is not supported");
        }
    }

done:
    return st;
}

/* Batch statistics: before 14 by more than one output (before 7 by is_test = 0), since 14 by training_mode. */
static rfhe_status batchnorm(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    bool spatial = true, is_test = false, training = false;
    size_t outputs = s->n->n_output;

    RFHE_TRY(count_inputs(s, d, 5, 5));
    RFHE_TRY(attr_float(s, "epsilon", 1e-5f, &d->attr.batchnorm.epsilon));
    RFHE_TRY(attr_float(s, "momentum", 0.9f, &d->attr.batchnorm.momentum));
    RFHE_TRY(attr_flag(s, "spatial", true, &spatial));
    RFHE_TRY(attr_flag(s, "is_test", false, &is_test));
    RFHE_TRY(attr_flag(s, "training_mode", false, &training));
    if (!spatial) {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                "statistics per activation are not supported");
    }
    while (outputs > 1) {
        const uint32_t e = rfhe_onnx_find(s->r, s->n->output[outputs - 1]);
        if (e != RFHE_ONNX_NO_ENTRY && s->r->entries[e].is_used) { break; }
        outputs--;
    }
    d->attr.batchnorm.training = s->r->opset >= 14 ? training
                                 : s->r->opset < 7 ? !is_test
                                                   : s->n->n_output > 1;
    if (outputs > 3 || (outputs > 1 && !d->attr.batchnorm.training)) {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED, "its output '%.100s' is not supported",
                                s->n->output[outputs - 1]);
    }
    d->n_outputs = (uint32_t)outputs;

done:
    return st;
}

static rfhe_status gemm(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(count_inputs(s, d, 2, 3));
    RFHE_TRY(attr_float(s, "alpha", 1, &d->attr.gemm.alpha));
    RFHE_TRY(attr_float(s, "beta", 1, &d->attr.gemm.beta));
    RFHE_TRY(attr_flag(s, "transA", false, &d->attr.gemm.trans_a));
    RFHE_TRY(attr_flag(s, "transB", false, &d->attr.gemm.trans_b));

done:
    return st;
}

static rfhe_status unary(const rfhe_onnx_site *s, draft *d)
{
    return count_inputs(s, d, 1, 1);
}

/* Before 7, the second operand was aligned at `axis` instead of at the end. */
static rfhe_status binary(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    rfhe_shape a = {0}, b = {0};
    int64_t axis = 0;

    RFHE_TRY(count_inputs(s, d, 2, 2));
    if (s->r->opset < 7 && rfhe_onnx_attribute(s->n, "axis") != NULL) {
        RFHE_TRY(rfhe_onnx_attr_int(s, "axis", 0, &axis));
        RFHE_TRY(rfhe_onnx_shape_of(s, rfhe_onnx_input(s, 0), &a));
        RFHE_TRY(rfhe_onnx_shape_of(s, rfhe_onnx_input(s, 1), &b));
        if (axis < 0) { axis += a.rank; }
        if (axis != (int64_t)a.rank - b.rank) {
            return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                    "broadcasting along an inner axis is not supported");
        }
    }

done:
    return st;
}

/* Limits: attributes before 11, inputs since. */
static rfhe_status clip(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    const bool by_input = s->r->opset >= 11;

    RFHE_TRY(count_inputs(s, d, 1, by_input ? 3 : 1));
    if (by_input) {
        RFHE_TRY(input_float(s, 1, "lower limit", -INFINITY, &d->attr.clip.min));
        RFHE_TRY(input_float(s, 2, "upper limit", INFINITY, &d->attr.clip.max));
    } else {
        RFHE_TRY(attr_float(s, "min", -INFINITY, &d->attr.clip.min));
        RFHE_TRY(attr_float(s, "max", INFINITY, &d->attr.clip.max));
    }
    d->n_inputs = 1;

done:
    return st;
}

/* Axes: attribute before 18, input since; none = all, unless noop_with_empty_axes. */
static rfhe_status reduce(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    const int64_t *axes = NULL;
    size_t n = 0;
    bool noop = false;

    RFHE_TRY(count_inputs(s, d, 1, s->r->opset >= 18 ? 2 : 1));
    RFHE_TRY(attr_flag(s, "keepdims", true, &d->attr.reduce.keep_dims));
    if (s->r->opset >= 18) {
        RFHE_TRY(attr_flag(s, "noop_with_empty_axes", false, &noop));
        RFHE_TRY(input_ints(s, 1, "axes", &axes, &n, NULL));
    } else {
        RFHE_TRY(rfhe_onnx_attr_ints(s, "axes", &axes, &n));
    }
    if (n > RFHE_MAX_RANK) { return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "it has %zu axes", n); }
    d->attr.reduce.n = (uint32_t)n;
    for (size_t i = 0; i < n; i++) { d->attr.reduce.axis[i] = axes[i]; }
    d->n_inputs = 1;
    if (n == 0 && noop) {
        d->op = RFHE_OP_IDENTITY;
        d->attr = (rfhe_attr){0};
    }

done:
    return st;
}

static rfhe_status flatten(const rfhe_onnx_site *s, draft *d)
{
    const rfhe_status st = count_inputs(s, d, 1, 1);

    return st != RFHE_OK ? st : rfhe_onnx_attr_int(s, "axis", 1, &d->attr.flatten.axis);
}

/* "The batch" in a computed shape: 0 where that copies the input's batch, the rest (-1) if that is still free. */
static rfhe_status batch_in_reshape(const rfhe_onnx_site *s, draft *d)
{
    rfhe_shape x = {0}, *y = &d->attr.reshape.shape;
    const rfhe_status st = rfhe_onnx_shape_of(s, rfhe_onnx_input(s, 0), &x);
    uint32_t rest = 0;

    if (st != RFHE_OK) { return st; }
    for (uint32_t i = 0; i < y->rank; i++) { rest += y->dim[i] == -1; }
    for (uint32_t i = 0; i < y->rank; i++) {
        if (y->dim[i] != RFHE_ONNX_BATCH) { continue; }
        if (i < x.rank && x.dim[i] == -1 && !d->attr.reshape.allow_zero) {
            y->dim[i] = 0;
        } else if (rest++ == 0) {
            y->dim[i] = -1;
        } else {
            return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                    "its new shape uses the batch in a way that is not supported");
        }
    }
    return RFHE_OK;
}

static rfhe_status reshape(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    const int64_t *dims = NULL;
    size_t n = 0;
    bool is_batch = false;

    RFHE_TRY(count_inputs(s, d, 2, 2));
    RFHE_TRY(attr_flag(s, "allowzero", false, &d->attr.reshape.allow_zero));
    RFHE_TRY(input_ints(s, 1, "new shape", &dims, &n, &is_batch));
    if (n > RFHE_MAX_RANK) {
        return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED,
                                "its new shape has rank %zu, at most %d is supported", n,
                                RFHE_MAX_RANK);
    }
    d->attr.reshape.shape.rank = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        if (dims[i] < -1 && !(is_batch && dims[i] == RFHE_ONNX_BATCH)) {
            return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its new shape contains %" PRId64, dims[i]);
        }
        d->attr.reshape.shape.dim[i] = dims[i];
    }
    d->n_inputs = 1;
    if (is_batch) { RFHE_TRY(batch_in_reshape(s, d)); }
    bool has_zero = false;
    for (size_t i = 0; i < n; i++) { has_zero |= dims[i] == 0; }
    d->attr.reshape.allow_zero &= has_zero; /* so that every writer can say it */

done:
    return st;
}

/* Attributes before 10, inputs since. */
static rfhe_status slice(const rfhe_onnx_site *s, draft *d)
{
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    rfhe_status st = RFHE_OK;
    int64_t *const to[] = {d->attr.slice.start, d->attr.slice.end, d->attr.slice.axis,
                           d->attr.slice.step};
    size_t n = 0;

    RFHE_TRY(s->r->opset >= 10 ? count_inputs(s, d, 3, 5) : count_inputs(s, d, 1, 1));
    for (uint32_t k = 0; k < 4; k++) {
        const int64_t *list = NULL;
        size_t count = 0;
        if (s->r->opset >= 10) {
            RFHE_TRY(input_ints(s, k + 1, names[k], &list, &count, NULL));
        } else if (k < 3) {
            RFHE_TRY(rfhe_onnx_attr_ints(s, names[k], &list, &count));
        }
        if (k == 0) { n = count; }
        if (n > RFHE_MAX_RANK) {
            return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "it slices %zu axes", n);
        }
        if (list == NULL && k >= 2) { /* defaults: axes 0, 1, 2, ...; steps 1 */
            for (size_t i = 0; i < n; i++) { to[k][i] = k == 2 ? (int64_t)i : 1; }
        } else {
            RFHE_TRY(copy_ints(s, names[k], to[k], list, count, n));
        }
    }
    d->attr.slice.n = (uint32_t)n;
    d->n_inputs = 1;

done:
    return st;
}

static rfhe_status concat(const rfhe_onnx_site *s, draft *d)
{
    const rfhe_status st = count_inputs(s, d, 1, RFHE_ONNX_MAX_NAMES);

    for (uint32_t i = 0; st == RFHE_OK && i < d->n_inputs; i++) {
        if (s->n->input[i][0] == '\0') {
            return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its input %u is missing", i);
        }
    }
    return st != RFHE_OK ? st : rfhe_onnx_attr_int(s, "axis", 1, &d->attr.concat.axis);
}

/* Attributes before 11; inputs since; the axes that are meant since 18. */
static rfhe_status pad(const rfhe_onnx_site *s, draft *d)
{
    static const char *const modes[] = {"constant", "reflect", "edge", NULL};
    rfhe_status st = RFHE_OK;
    const int64_t *pads = NULL, *axes = NULL;
    size_t n = 0, n_axes = 0;
    rfhe_shape x = {0};
    uint32_t mode = 0;
    const bool by_input = s->r->opset >= 11;

    RFHE_TRY(count_inputs(s, d, by_input ? 2 : 1, by_input ? (s->r->opset >= 18 ? 4 : 3) : 1));
    RFHE_TRY(attr_choice(s, "mode", modes, &mode));
    d->attr.pad.mode = (rfhe_pad_mode)mode;
    if (by_input) {
        RFHE_TRY(input_ints(s, 1, "pads", &pads, &n, NULL));
        RFHE_TRY(input_float(s, 2, "value", 0, &d->attr.pad.value));
        RFHE_TRY(input_ints(s, 3, "axes", &axes, &n_axes, NULL));
    } else {
        RFHE_TRY(rfhe_onnx_attr_ints(s, "pads", &pads, &n));
        RFHE_TRY(attr_float(s, "value", 0, &d->attr.pad.value));
    }
    if (mode != RFHE_PAD_CONSTANT) { d->attr.pad.value = 0; } /* without meaning there */
    if (n % 2 != 0 || n / 2 > RFHE_MAX_RANK || (axes != NULL && n_axes != n / 2)) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its pads have %zu numbers", n);
    }
    RFHE_TRY(rfhe_onnx_shape_of(s, rfhe_onnx_input(s, 0), &x));
    if (axes == NULL && n / 2 != x.rank) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT,
                                "its pads have %zu numbers for an input of rank %u", n, x.rank);
    }
    for (size_t i = 0; i < n / 2; i++) {
        int64_t axis = axes != NULL ? axes[i] : (int64_t)i;
        if (axis < 0 && axis >= -(int64_t)x.rank) { axis += x.rank; }
        if (axis < 0 || axis >= x.rank) {
            return rfhe_onnx_refuse(
                s, RFHE_E_FORMAT, "it pads axis %" PRId64 " of an input of rank %u", axis, x.rank);
        }
        d->attr.pad.begin[axis] = pads[i];
        d->attr.pad.end[axis] = pads[n / 2 + i];
    }
    d->n_inputs = 1;

done:
    return st;
}

/* Before 13 over all axes from `axis` on, as if the tensor were a matrix; no difference for the last axis. */
static rfhe_status softmax(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    rfhe_shape x = {0};
    int64_t *axis = &d->attr.softmax.axis;
    const bool is_old = s->r->opset < 13;

    RFHE_TRY(count_inputs(s, d, 1, 1));
    RFHE_TRY(rfhe_onnx_attr_int(s, "axis", is_old ? 1 : -1, axis));
    if (is_old) {
        RFHE_TRY(rfhe_onnx_shape_of(s, rfhe_onnx_input(s, 0), &x));
        d->attr.softmax.flattened = *axis != -1 && *axis != (int64_t)x.rank - 1;
    }

done:
    return st;
}

/* Ratio: attribute before 12, input since. A model that drops even when it is used is no network to run. */
static rfhe_status dropout(const rfhe_onnx_site *s, draft *d)
{
    rfhe_status st = RFHE_OK;
    const int64_t *training = NULL;
    size_t n = 0;
    float *ratio = &d->attr.dropout.ratio;

    RFHE_TRY(count_inputs(s, d, 1, s->r->opset >= 12 ? 3 : 1));
    if (s->r->opset >= 12) {
        RFHE_TRY(input_float(s, 1, "ratio", 0.5f, ratio));
        RFHE_TRY(input_ints(s, 2, "training_mode", &training, &n, NULL));
    } else {
        RFHE_TRY(attr_float(s, "ratio", 0.5f, ratio));
    }
    if (n > 0 && training[0] != 0 && *ratio != 0) {
        return rfhe_onnx_refuse(
            s, RFHE_E_UNSUPPORTED,
            "it was exported in training mode and would drop values at every use");
    }
    if (!(*ratio >= 0 && *ratio < 1)) {
        return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its ratio is not in [0, 1)");
    }
    d->n_inputs = 1;

done:
    return st;
}

typedef struct operator_row {
    rfhe_op op;
    uint32_t since; /* first opset whose version we know; 9 is promised, less comes for free */
    translate_fn *translate;
    const char *attributes; /* all that may be there, each followed by a blank */
} operator_row;

static const operator_row rows[] = {
    {RFHE_OP_CONV, 1, conv, "auto_pad dilations group kernel_shape pads strides "},
    {RFHE_OP_BATCHNORM, 6, batchnorm,
     "epsilon momentum spatial is_test training_mode consumed_inputs "},
    {RFHE_OP_GEMM, 6, gemm, "alpha beta transA transB broadcast "},
    {RFHE_OP_MATMUL, 1, binary, ""},
    {RFHE_OP_RELU, 6, unary, "consumed_inputs "},
    {RFHE_OP_CLIP, 6, clip, "min max consumed_inputs "},
    {RFHE_OP_MAXPOOL, 1, pool,
     "auto_pad ceil_mode dilations kernel_shape pads storage_order strides "},
    {RFHE_OP_AVGPOOL, 1, pool,
     "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides "},
    {RFHE_OP_GLOBALAVGPOOL, 1, unary, ""},
    {RFHE_OP_REDUCEMEAN, 1, reduce, "axes keepdims noop_with_empty_axes "},
    {RFHE_OP_ADD, 6, binary, "axis broadcast consumed_inputs "},
    {RFHE_OP_SUB, 6, binary, "axis broadcast consumed_inputs "},
    {RFHE_OP_MUL, 6, binary, "axis broadcast consumed_inputs "},
    {RFHE_OP_FLATTEN, 1, flatten, "axis "},
    {RFHE_OP_RESHAPE, 5, reshape, "allowzero "},
    {RFHE_OP_SLICE, 1, slice, "starts ends axes "},
    {RFHE_OP_CONCAT, 4, concat, "axis "},
    {RFHE_OP_PAD, 2, pad, "pads mode value "},
    {RFHE_OP_SOFTMAX, 1, softmax, "axis "},
    {RFHE_OP_IDENTITY, 1, unary, ""},
    {RFHE_OP_DROPOUT, 6, dropout, "ratio seed is_test "},
};

static const operator_row *find_row(const char *op_type)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rfhe_op_name(rows[i].op), op_type) == 0) { return &rows[i]; }
    }
    return NULL;
}

bool rfhe_onnx_is_operator(const char *op_type, int64_t *since)
{
    const operator_row *row = find_row(op_type);

    if (row != NULL && since != NULL) { *since = row->since; }
    return row != NULL;
}

/* An attribute we do not know could change the meaning, so it is refused rather than ignored. */
static rfhe_status check_attributes(const rfhe_onnx_site *s, const operator_row *row)
{
    for (size_t i = 0; i < s->n->n_attribute; i++) {
        const Onnx__AttributeProto *a = s->n->attribute[i];
        const size_t length = strlen(a->name);
        const char *at = row->attributes;
        while (*at != '\0' && !(strncmp(at, a->name, length) == 0 && at[length] == ' ')) {
            at = strchr(at, ' ') + 1;
        }
        if (*at == '\0') {
            return rfhe_onnx_refuse(s, RFHE_E_UNSUPPORTED, "its attribute '%.60s' is not known",
                                    a->name);
        }
        if (rfhe_onnx_attribute(s->n, a->name) != a) {
            return rfhe_onnx_refuse(s, RFHE_E_FORMAT, "its attribute '%.60s' appears twice",
                                    a->name);
        }
        if (a->ref_attr_name != NULL && a->ref_attr_name[0] != '\0') {
            return rfhe_onnx_refuse(s, RFHE_E_FORMAT,
                                    "its attribute '%.60s' refers to a function's", a->name);
        }
    }
    return RFHE_OK;
}

static rfhe_status add_node(const rfhe_onnx_site *s, const draft *d)
{
    rfhe_onnx_reader *r = s->r;
    rfhe_status st = RFHE_OK;
    rfhe_value_id *inputs = rfhe_alloc(d->n_inputs, sizeof *inputs), outputs[3];

    if (inputs == NULL) {
        st = rfhe_onnx_refuse(s, RFHE_E_NOMEM, "no memory");
        goto done;
    }
    for (uint32_t i = 0; i < d->n_inputs; i++) {
        const uint32_t e = rfhe_onnx_input(s, i);
        inputs[i] = RFHE_NO_VALUE;
        if (e != RFHE_ONNX_NO_ENTRY) { RFHE_TRY(rfhe_onnx_value_of(s, e, &inputs[i])); }
    }
    for (uint32_t i = 0; i < d->n_outputs; i++) {
        outputs[i] = RFHE_NO_VALUE;
        if (s->n->output[i][0] == '\0') { continue; }
        rfhe_onnx_entry *e = &r->entries[rfhe_onnx_find(r, s->n->output[i])];
        st = rfhe_graph_add_value(r->g, &e->value, e->name, RFHE_F32, NULL);
        if (st != RFHE_OK) {
            st = rfhe_onnx_refuse(s, st, "no memory for its output");
            goto done;
        }
        outputs[i] = e->value;
    }
    st = rfhe_graph_add_node_to(r->g, d->op, s->n->name, inputs, d->n_inputs, outputs, d->n_outputs,
                                &d->attr);
    if (st != RFHE_OK) { st = rfhe_onnx_refuse(s, st, "no memory"); }

done:
    rfhe_free(inputs);
    return st;
}

rfhe_status rfhe_onnx_translate(const rfhe_onnx_site *s)
{
    const operator_row *row = find_row(s->n->op_type);
    draft d = {.op = row->op, .n_outputs = 1};
    rfhe_status st = RFHE_OK;

    memset(&d.attr, 0, sizeof d.attr); /* every byte, so that attributes can be compared as bytes */
    RFHE_TRY(check_attributes(s, row));
    RFHE_TRY(row->translate(s, &d));
    RFHE_TRY(add_node(s, &d));

done:
    return st;
}
