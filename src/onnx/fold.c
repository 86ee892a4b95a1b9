/* Computed shapes. Exporters write x.view(x.size(0), -1) as Shape -> Gather -> Unsqueeze -> Concat -> Reshape. Everything
 * up to Reshape is integers that are known, except for the batch, which is carried along as the symbol RFHE_ONNX_BATCH:
 * it may be moved, but not be computed with. Results have at most RFHE_ONNX_MAX_FOLD elements. F.pad takes the longest
 * way: ConstantOfShape -> Concat -> Reshape to pairs -> Slice backwards -> Transpose -> Reshape -> Cast. */
#include "onnx/reader.h"

#include "base/mem.h"

#include <string.h>

/* The inputs of a node, and the result under construction. */
typedef struct fold {
    const rfhe_onnx_site *s;
    const rfhe_tensor *in[5];
    size_t n_in;
    bool is_batch; /* some input holds the symbol */
    rfhe_tensor *out;
} fold;

static rfhe_status unfit(const fold *f)
{
    return rfhe_onnx_refuse(f->s, RFHE_E_UNSUPPORTED,
                            "this way of computing a shape is not supported");
}

static rfhe_status make_shaped(fold *f, const rfhe_shape *shape)
{
    size_t count = 0;

    if (!rfhe_shape_count(shape, &count) || count > RFHE_ONNX_MAX_FOLD) { return unfit(f); }
    const rfhe_status st = rfhe_tensor_new(&f->out, RFHE_I64, shape);
    return st == RFHE_OK ? st : rfhe_onnx_refuse(f->s, st, "no memory for a computed shape");
}

/* A scalar (rank 0) or a vector. */
static rfhe_status make(fold *f, uint32_t rank, size_t count)
{
    if (rank > 1 || count > RFHE_ONNX_MAX_FOLD) { return unfit(f); }
    return make_shaped(f, &(rfhe_shape){.rank = rank, .dim = {(int64_t)count}});
}

/* The input's elements in another shape of the same size. */
static rfhe_status copy_as(fold *f, const rfhe_shape *shape)
{
    const rfhe_status st = make_shaped(f, shape);

    if (st == RFHE_OK && f->out->count != f->in[0]->count) { return unfit(f); }

    if (st == RFHE_OK && f->out->count > 0) {
        memcpy(f->out->i64, f->in[0]->i64, f->out->count * sizeof *f->out->i64);
    }
    return st;
}

static rfhe_status fold_shape(fold *f)
{
    rfhe_shape x = {0};
    int64_t start = 0, end = 0;
    rfhe_status st = rfhe_onnx_shape_of(f->s, rfhe_onnx_input(f->s, 0), &x);

    if (st != RFHE_OK) { return st; }
    const int64_t rank = x.rank;
    RFHE_TRY(rfhe_onnx_attr_int(f->s, "start", 0, &start)); /* both since 15 */
    RFHE_TRY(rfhe_onnx_attr_int(f->s, "end", rank, &end));
    if (start < 0) { start = start < -rank ? 0 : start + rank; }
    if (end < 0) { end = end < -rank ? 0 : end + rank; }
    if (end > rank) { end = rank; }
    if (start > end) { start = end; }
    RFHE_TRY(make(f, 1, (size_t)(end - start)));
    for (int64_t i = start; i < end; i++) {
        f->out->i64[i - start] = x.dim[i] < 0 ? RFHE_ONNX_BATCH : x.dim[i];
        f->is_batch |= x.dim[i] < 0;
    }

done:
    return st;
}

static rfhe_status fold_gather(fold *f)
{
    int64_t axis = 0;
    const rfhe_tensor *x = f->in[0], *at = f->in[1];
    rfhe_status st = rfhe_onnx_attr_int(f->s, "axis", 0, &axis);

    if (st != RFHE_OK) { return st; }
    if (f->n_in != 2 || x->shape.rank != 1 || (axis != 0 && axis != -1)) { return unfit(f); }
    st = make(f, at->shape.rank, at->count);
    for (size_t i = 0; st == RFHE_OK && i < at->count; i++) {
        const int64_t n = (int64_t)x->count, k = at->i64[i] < 0 ? at->i64[i] + n : at->i64[i];
        if (k < 0 || k >= n) {
            return rfhe_onnx_refuse(f->s, RFHE_E_FORMAT, "its index is outside the data");
        }
        f->out->i64[i] = x->i64[k];
    }
    return st;
}

static rfhe_status fold_concat(fold *f)
{
    const rfhe_onnx_site *s = f->s;
    size_t count = 0;
    rfhe_status st = RFHE_OK;

    for (int pass = 0; pass < 2 && st == RFHE_OK; pass++) { /* count, then copy */
        if (pass == 1) { st = make(f, 1, count); }
        count = 0;
        for (size_t i = 0; st == RFHE_OK && i < s->n->n_input; i++) {
            const uint32_t e = rfhe_onnx_input(s, i);
            const rfhe_tensor *t = NULL;
            if (e == RFHE_ONNX_NO_ENTRY) { return unfit(f); }
            st = rfhe_onnx_constant_of(s->r, e, &t);
            if (st != RFHE_OK) { return st; }
            if (t->shape.rank != 1 || t->count > RFHE_ONNX_MAX_FOLD || count > RFHE_ONNX_MAX_FOLD) {
                return unfit(f);
            }
            f->is_batch |= s->r->entries[e].is_batch;
            if (pass == 1 && t->count > 0) {
                memcpy(f->out->i64 + count, t->i64, t->count * sizeof *t->i64);
            }
            count += t->count;
        }
    }
    return st;
}

/* Element k of the output of a row-major walk over `out` comes from `base` plus its index times `stride`, per axis. */
static void gather_strided(fold *f, int64_t base, const int64_t *stride)
{
    const rfhe_shape *shape = &f->out->shape;

    for (size_t k = 0; k < f->out->count; k++) {
        int64_t at = base;
        size_t rest = k;
        for (uint32_t d = shape->rank; d-- > 0;) {
            at += (int64_t)(rest % (size_t)shape->dim[d]) * stride[d];
            rest /= (size_t)shape->dim[d];
        }
        f->out->i64[k] = f->in[0]->i64[at];
    }
}

/* Elements between neighbours on each axis of a dense tensor. */
static void dense_strides(const rfhe_shape *s, int64_t *stride)
{
    int64_t step = 1;

    for (uint32_t d = s->rank; d-- > 0;) {
        stride[d] = step;
        step *= s->dim[d];
    }
}

/* One list of Slice: attributes before 10, inputs since. NULL = absent. */
static rfhe_status slice_list(const fold *f, size_t k, const int64_t **list, size_t *n)
{
    static const char *const names[] = {"starts", "ends", "axes"};

    *list = NULL;
    *n = 0;
    if (f->s->r->opset < 10) {
        return k < 3 ? rfhe_onnx_attr_ints(f->s, names[k], list, n) : RFHE_OK;
    }
    if (f->n_in > k + 1 && f->in[k + 1] != NULL) {
        *list = f->in[k + 1]->i64;
        *n = f->in[k + 1]->count;
    }
    return RFHE_OK;
}

static rfhe_status fold_slice(fold *f)
{
    rfhe_shape y = f->in[0]->shape;
    const int64_t *list[4];
    size_t n[4];
    int64_t stride[RFHE_MAX_RANK], base = 0;
    bool seen[RFHE_MAX_RANK] = {false};

    if (f->in[0]->count == 0) { return unfit(f); } /* so that no stride can overflow */
    for (size_t k = 0; k < 4; k++) {
        const rfhe_status st = slice_list(f, k, &list[k], &n[k]);
        if (st != RFHE_OK) { return st; }
        if ((list[k] == NULL && k < 2) || (list[k] != NULL && n[k] != n[0])) { return unfit(f); }
    }
    dense_strides(&y, stride);
    for (size_t i = 0; i < n[0]; i++) {
        int64_t axis = list[2] != NULL ? list[2][i] : (int64_t)i,
                range[2] = {list[0][i], list[1][i]};
        const int64_t step = list[3] != NULL ? list[3][i] : 1;
        if (axis < 0 && axis >= -(int64_t)y.rank) { axis += y.rank; }
        if (axis < 0 || axis >= y.rank || seen[axis] || (step != 1 && step != -1)) {
            return unfit(f);
        }
        seen[axis] = true;
        const int64_t size = y.dim[axis], low = step > 0 ? 0 : -1,
                      high = step > 0 ? size : size - 1;
        for (size_t k = 0; k < 2; k++) { /* NumPy's clamping */
            if (range[k] < 0) { range[k] = range[k] < -size ? low : range[k] + size; }
            range[k] = range[k] < low ? low : range[k] > high ? high : range[k];
        }
        const int64_t span = (range[1] - range[0]) * step;
        y.dim[axis] = span > 0 ? span : 0;
        if (span > 0) { base += range[0] * stride[axis]; }
        stride[axis] *= step;
    }
    const rfhe_status st = make_shaped(f, &y);
    if (st == RFHE_OK) { gather_strided(f, base, stride); }
    return st;
}

static rfhe_status fold_transpose(fold *f)
{
    const rfhe_shape *x = &f->in[0]->shape;
    rfhe_shape y = {.rank = x->rank};
    int64_t from[RFHE_MAX_RANK], stride[RFHE_MAX_RANK];
    bool seen[RFHE_MAX_RANK] = {false};
    const int64_t *perm = NULL;
    size_t n = 0;
    rfhe_status st = rfhe_onnx_attr_ints(f->s, "perm", &perm, &n);

    if (st != RFHE_OK) { return st; }
    if (f->in[0]->count == 0 || (n != 0 && n != x->rank)) { return unfit(f); }
    dense_strides(x, from);
    for (uint32_t i = 0; i < x->rank; i++) {
        const int64_t p = n != 0 ? perm[i] : (int64_t)x->rank - 1 - i;
        if (p < 0 || p >= x->rank || seen[p]) { return unfit(f); }
        seen[p] = true;
        y.dim[i] = x->dim[p];
        stride[i] = from[p];
    }
    st = make_shaped(f, &y);
    if (st == RFHE_OK) { gather_strided(f, 0, stride); }
    return st;
}

/* Integers only; without `value` it would be float zeros. */
static rfhe_status fold_constant_of_shape(fold *f)
{
    const Onnx__AttributeProto *a = rfhe_onnx_attribute(f->s->n, "value");
    rfhe_shape y = {.rank = (uint32_t)f->in[0]->count};
    rfhe_tensor *value = NULL;
    rfhe_status st = RFHE_OK;

    if (f->is_batch || f->in[0]->shape.rank != 1 || f->in[0]->count > RFHE_MAX_RANK || a == NULL ||
        a->t == NULL) {
        return unfit(f);
    }
    for (uint32_t i = 0; i < y.rank; i++) { y.dim[i] = f->in[0]->i64[i]; }
    RFHE_TRY(rfhe_onnx_tensor(&value, a->t, NULL, sizeof(int64_t), f->s->r->err));
    if (value->dtype != RFHE_I64 || value->count != 1) {
        st = unfit(f);
        goto done;
    }
    RFHE_TRY(make_shaped(f, &y));
    for (size_t i = 0; i < f->out->count; i++) { f->out->i64[i] = value->i64[0]; }

done:
    rfhe_tensor_free(value);
    return st;
}

static bool arithmetic(const char *op, int64_t a, int64_t b, int64_t *out)
{
    switch (op[0]) {
    case 'A': return !__builtin_add_overflow(a, b, out);
    case 'S': return !__builtin_sub_overflow(a, b, out);
    case 'M': return !__builtin_mul_overflow(a, b, out);
    default: /* Div */
        if (b == 0 || (a == INT64_MIN && b == -1)) { return false; }
        *out = a / b;
        return true;
    }
}

static rfhe_status fold_arithmetic(fold *f)
{
    const rfhe_tensor *a = f->in[0], *b = f->in[1];

    if (f->n_in != 2 || f->is_batch || a->shape.rank > 1 || b->shape.rank > 1 ||
        (a->count != b->count && a->count != 1 && b->count != 1)) {
        return unfit(f);
    }
    const size_t count = a->count == 1 ? b->count : a->count;
    const rfhe_status st =
        make(f, a->shape.rank > b->shape.rank ? a->shape.rank : b->shape.rank, count);
    for (size_t i = 0; st == RFHE_OK && i < count; i++) {
        if (!arithmetic(f->s->n->op_type, a->i64[a->count == 1 ? 0 : i],
                        b->i64[b->count == 1 ? 0 : i], &f->out->i64[i])) {
            return rfhe_onnx_refuse(f->s, RFHE_E_FORMAT, "it overflows");
        }
    }
    return st;
}

/* Scalars to vectors and back; nothing else is needed for shapes. */
static rfhe_status fold_unsqueeze(fold *f)
{
    return f->in[0]->shape.rank == 0 ? copy_as(f, &(rfhe_shape){.rank = 1, .dim = {1}}) : unfit(f);
}

static rfhe_status fold_squeeze(fold *f)
{
    const bool is_one = f->in[0]->shape.rank == 1 && f->in[0]->count == 1;

    return is_one ? copy_as(f, &(rfhe_shape){.rank = 0}) : unfit(f);
}

static rfhe_status fold_reshape(fold *f)
{
    rfhe_shape y = {0};
    size_t rest = RFHE_MAX_RANK, known = 1;

    if (f->n_in != 2 || f->in[1]->count > RFHE_MAX_RANK) { return unfit(f); }
    y.rank = (uint32_t)f->in[1]->count;
    for (size_t i = 0; i < y.rank; i++) {
        y.dim[i] = f->in[1]->i64[i];
        if (y.dim[i] == -1 && rest == RFHE_MAX_RANK) {
            rest = i;
        } else if (y.dim[i] < 1 || __builtin_mul_overflow(known, (size_t)y.dim[i], &known)) {
            return unfit(f);
        }
    }
    if (rest != RFHE_MAX_RANK) {
        if (f->in[0]->count % known != 0) { return unfit(f); }
        y.dim[rest] = (int64_t)(f->in[0]->count / known);
    }
    return copy_as(f, &y);
}

static rfhe_status fold_cast(fold *f)
{
    int64_t to = 0;
    const rfhe_status st = rfhe_onnx_attr_int(f->s, "to", 0, &to);

    if (st != RFHE_OK) { return st; }
    const bool is_wide =
        to == ONNX__TENSOR_PROTO__DATA_TYPE__INT64 || to == ONNX__TENSOR_PROTO__DATA_TYPE__INT32;
    return is_wide ? copy_as(f, &f->in[0]->shape) : unfit(f);
}

static const struct {
    const char *op_type;
    rfhe_status (*fold)(fold *f);
} rows[] = {
    {"Shape", fold_shape},
    {"Gather", fold_gather},
    {"Concat", fold_concat},
    {"Slice", fold_slice},
    {"Unsqueeze", fold_unsqueeze},
    {"Squeeze", fold_squeeze},
    {"Reshape", fold_reshape},
    {"Transpose", fold_transpose},
    {"ConstantOfShape", fold_constant_of_shape},
    {"Cast", fold_cast},
    {"Add", fold_arithmetic},
    {"Sub", fold_arithmetic},
    {"Mul", fold_arithmetic},
    {"Div", fold_arithmetic},
    {"Constant", NULL},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static size_t find_row(const char *op_type)
{
    size_t i = 0;

    while (i < N_ROWS && strcmp(rows[i].op_type, op_type) != 0) { i++; }
    return i;
}

bool rfhe_onnx_is_shape_operator(const char *op_type)
{
    return find_row(op_type) < N_ROWS;
}

bool rfhe_onnx_can_fold(const rfhe_onnx_site *s)
{
    rfhe_dtype type = RFHE_F32;

    if (find_row(s->n->op_type) == N_ROWS || rfhe_onnx_input(s, 0) == RFHE_ONNX_NO_ENTRY) {
        return false;
    }
    if (strcmp(s->n->op_type, "Shape") == 0) { return s->n->n_input == 1; }
    for (size_t i = 0; i < s->n->n_input; i++) {
        if (s->n->input[i][0] == '\0') { continue; }
        if (!rfhe_onnx_constant_type(s->r, rfhe_onnx_input(s, i), &type) || type != RFHE_I64) {
            return false;
        }
    }
    return true;
}

rfhe_status rfhe_onnx_fold(const rfhe_onnx_site *s)
{
    rfhe_status st = RFHE_OK;
    fold f = {.s = s};
    const size_t row = find_row(s->n->op_type);
    const bool takes_values = rows[row].fold != fold_shape && rows[row].fold != fold_concat;

    if (takes_values && s->n->n_input > sizeof f.in / sizeof *f.in) { return unfit(&f); }
    for (size_t i = 0; takes_values && i < s->n->n_input; i++) {
        const uint32_t e = rfhe_onnx_input(s, i);
        if (e == RFHE_ONNX_NO_ENTRY) { continue; }
        RFHE_TRY(rfhe_onnx_constant_of(s->r, e, &f.in[i]));
        f.is_batch |= s->r->entries[e].is_batch;
        f.n_in = i + 1;
    }
    for (size_t i = 1; i < f.n_in; i++) {
        /* Only Slice has optional inputs in the middle; nobody may use the batch as index, axis or size. */
        const uint32_t e = rfhe_onnx_input(s, i);
        if (e == RFHE_ONNX_NO_ENTRY ? rows[row].fold != fold_slice : s->r->entries[e].is_batch) {
            st = unfit(&f);
            goto done;
        }
    }
    RFHE_TRY(rows[row].fold(&f));
    rfhe_onnx_entry *e = &s->r->entries[rfhe_onnx_find(s->r, s->n->output[0])];
    bool holds_batch = false; /* Gather and Slice may have left it behind */
    for (size_t i = 0; i < f.out->count; i++) { holds_batch |= f.out->i64[i] == RFHE_ONNX_BATCH; }
    e->is_constant = true;
    e->is_batch = f.is_batch && holds_batch;
    e->tensor = e->owned = f.out;
    f.out = NULL;

done:
    rfhe_tensor_free(f.out);
    return st;
}
