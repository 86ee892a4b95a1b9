/* See tensor.h. */
#include "nn/tensor.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool rfhe_shape_count(const rfhe_shape *s, size_t *out)
{
    size_t n = 1;

    for (uint32_t i = 0; i < s->rank; i++) {
        if (s->dim[i] < 0 || __builtin_mul_overflow(n, (size_t)s->dim[i], &n)) { return false; }
        /* Each dimension too, or a zero elsewhere would hide a size that overflows in somebody's arithmetic. */
        if (n > (size_t)1 << 40 || s->dim[i] > (int64_t)1 << 40) { return false; }
    }
    *out = n;
    return true;
}

bool rfhe_shape_equal(const rfhe_shape *a, const rfhe_shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

bool rfhe_shape_broadcast(rfhe_shape *out, const rfhe_shape *a, const rfhe_shape *b)
{
    rfhe_shape r = {.rank = a->rank > b->rank ? a->rank : b->rank};

    for (uint32_t i = 0; i < r.rank; i++) {
        const uint32_t pad_a = r.rank - a->rank, pad_b = r.rank - b->rank;
        const int64_t x = i < pad_a ? 1 : a->dim[i - pad_a], y = i < pad_b ? 1 : b->dim[i - pad_b];
        if (x != y && x != 1 && y != 1) { return false; }
        r.dim[i] = x == 1 ? y : x;
    }
    *out = r;
    return true;
}

const char *rfhe_shape_text(char *out, size_t size, const rfhe_shape *s)
{
    size_t used = 0;

    if (s->rank == 0) { (void)snprintf(out, size, "scalar"); }
    for (uint32_t i = 0; i < s->rank && used < size; i++) {
        const char *times = i == 0 ? "" : "x";
        const int n = s->dim[i] < 0
                          ? snprintf(out + used, size - used, "%sN", times)
                          : snprintf(out + used, size - used, "%s%" PRId64, times, s->dim[i]);
        if (n < 0) { break; }
        used += (size_t)n;
    }
    return out;
}

rfhe_status rfhe_tensor_new(rfhe_tensor **out, rfhe_dtype dtype, const rfhe_shape *shape)
{
    size_t count = 0;

    for (uint32_t i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0) { return RFHE_E_ARG; }
    }
    if (!rfhe_shape_count(shape, &count)) { return RFHE_E_UNSUPPORTED; }
    rfhe_tensor *t = rfhe_alloc(1, sizeof *t);
    void *data = rfhe_calloc(count, rfhe_dtype_size(dtype));
    if (t == NULL || data == NULL) {
        rfhe_free(t);
        rfhe_free(data);
        return RFHE_E_NOMEM;
    }
    *t = (rfhe_tensor){.shape = *shape, .dtype = dtype, .count = count, .data = data};
    *out = t;
    return RFHE_OK;
}

rfhe_status rfhe_tensor_clone(rfhe_tensor **out, const rfhe_tensor *t)
{
    const rfhe_status st = rfhe_tensor_new(out, t->dtype, &t->shape);

    if (st == RFHE_OK) { memcpy((*out)->data, t->data, t->count * rfhe_dtype_size(t->dtype)); }
    return st;
}

void rfhe_tensor_free(rfhe_tensor *t)
{
    if (t == NULL) { return; }
    rfhe_free(t->data);
    rfhe_free(t);
}
