/* Computed shapes. Exporters write x.view(x.size(0), -1) as Shape -> Gather -> Unsqueeze -> Concat -> Reshape. Everything
 * up to Reshape is integers that are known, except for the batch, which is carried along as the symbol RFHE_ONNX_BATCH:
 * it may be moved, but not be computed with. Results are vectors or scalars of at most RFHE_ONNX_MAX_FOLD elements. */
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
    return rfhe_onnx_refuse(f->s, RFHE_E_UNSUPPORTED, "this way of computing a shape is not supported");
}

static rfhe_status make(fold *f, uint32_t rank, size_t count)
{
    const rfhe_shape shape = {.rank = rank, .dim = {(int64_t)count}};

    if (rank > 1 || count > RFHE_ONNX_MAX_FOLD) { return unfit(f); }
    const rfhe_status st = rfhe_tensor_new(&f->out, RFHE_I64, &shape);
    return st == RFHE_OK ? st : rfhe_onnx_refuse(f->s, st, "no memory for a computed shape");
}

static rfhe_status copy_as(fold *f, uint32_t rank)
{
    const rfhe_status st = make(f, rank, f->in[0]->count);

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
        if (k < 0 || k >= n) { return rfhe_onnx_refuse(f->s, RFHE_E_FORMAT, "its index is outside the data"); }
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
            st = rfhe_onnx_constant_of(s->r, e, &t);
            if (st != RFHE_OK) { return st; }
            if (t->shape.rank != 1 || t->count > RFHE_ONNX_MAX_FOLD || count > RFHE_ONNX_MAX_FOLD) { return unfit(f); }
            f->is_batch |= s->r->entries[e].is_batch;
            if (pass == 1 && t->count > 0) { memcpy(f->out->i64 + count, t->i64, t->count * sizeof *t->i64); }
            count += t->count;
        }
    }
    return st;
}

/* One axis of a vector; attributes before 10, inputs since. */
static rfhe_status fold_slice(fold *f)
{
    static const char *const names[] = {"starts", "ends", "axes"};
    int64_t v[4] = {0, 0, 0, 1}; /* start, end, axis, step */

    if (f->in[0]->shape.rank != 1) { return unfit(f); }
    for (size_t k = 0; k < 4; k++) {
        const int64_t *list = NULL;
        size_t n = 0;
        if (f->s->r->opset >= 10) {
            if (f->n_in > k + 1 && f->in[k + 1] != NULL) {
                list = f->in[k + 1]->i64;
                n = f->in[k + 1]->count;
            }
        } else if (k < 3) {
            const rfhe_status st = rfhe_onnx_attr_ints(f->s, names[k], &list, &n);
            if (st != RFHE_OK) { return st; }
        }
        if (list == NULL && k >= 2) { continue; }
        if (n != 1) { return unfit(f); }
        v[k] = list[0];
    }
    const int64_t size = (int64_t)f->in[0]->count;
    if (v[3] != 1 || (v[2] != 0 && v[2] != -1)) { return unfit(f); }
    for (size_t k = 0; k < 2; k++) {
        if (v[k] < 0) { v[k] = v[k] < -size ? 0 : v[k] + size; }
        if (v[k] > size) { v[k] = size; }
    }
    const size_t count = v[1] > v[0] ? (size_t)(v[1] - v[0]) : 0;
    const rfhe_status st = make(f, 1, count);
    if (st == RFHE_OK && count > 0) { memcpy(f->out->i64, f->in[0]->i64 + v[0], count * sizeof *f->out->i64); }
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

    if (f->n_in != 2 || f->is_batch || (a->count != b->count && a->count != 1 && b->count != 1)) { return unfit(f); }
    const size_t count = a->count == 1 ? b->count : a->count;
    const rfhe_status st = make(f, a->shape.rank > b->shape.rank ? a->shape.rank : b->shape.rank, count);
    for (size_t i = 0; st == RFHE_OK && i < count; i++) {
        if (!arithmetic(f->s->n->op_type, a->i64[a->count == 1 ? 0 : i], b->i64[b->count == 1 ? 0 : i],
                        &f->out->i64[i])) {
            return rfhe_onnx_refuse(f->s, RFHE_E_FORMAT, "it overflows");
        }
    }
    return st;
}

static rfhe_status fold_unsqueeze(fold *f)
{
    return f->in[0]->shape.rank == 0 ? copy_as(f, 1) : unfit(f);
}

static rfhe_status fold_squeeze(fold *f)
{
    return f->in[0]->shape.rank == 1 && f->in[0]->count == 1 ? copy_as(f, 0) : unfit(f);
}

/* To a vector. */
static rfhe_status fold_reshape(fold *f)
{
    if (f->n_in != 2 || f->in[1]->count != 1) { return unfit(f); }
    const int64_t want = f->in[1]->i64[0];
    return want == -1 || (want >= 0 && (size_t)want == f->in[0]->count) ? copy_as(f, 1) : unfit(f);
}

static rfhe_status fold_cast(fold *f)
{
    int64_t to = 0;
    const rfhe_status st = rfhe_onnx_attr_int(f->s, "to", 0, &to);

    if (st != RFHE_OK) { return st; }
    const bool is_wide = to == ONNX__TENSOR_PROTO__DATA_TYPE__INT64 || to == ONNX__TENSOR_PROTO__DATA_TYPE__INT32;
    return is_wide ? copy_as(f, f->in[0]->shape.rank) : unfit(f);
}

static const struct {
    const char *op_type;
    rfhe_status (*fold)(fold *f);
} rows[] = {
    {"Shape", fold_shape},         {"Gather", fold_gather},       {"Concat", fold_concat},
    {"Slice", fold_slice},         {"Unsqueeze", fold_unsqueeze}, {"Squeeze", fold_squeeze},
    {"Reshape", fold_reshape},     {"Cast", fold_cast},           {"Add", fold_arithmetic},
    {"Sub", fold_arithmetic},      {"Mul", fold_arithmetic},      {"Div", fold_arithmetic},
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

    if (find_row(s->n->op_type) == N_ROWS || rfhe_onnx_input(s, 0) == RFHE_ONNX_NO_ENTRY) { return false; }
    if (strcmp(s->n->op_type, "Shape") == 0) { return s->n->n_input == 1; }
    for (size_t i = 0; i < s->n->n_input; i++) {
        if (s->n->input[i][0] == '\0') { continue; }
        if (!rfhe_onnx_constant_type(s->r, rfhe_onnx_input(s, i), &type) || type != RFHE_I64) { return false; }
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
