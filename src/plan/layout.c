/* See layout.h. */
#include "plan/layout.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

static uint32_t power_at_least(uint64_t n)
{
    uint32_t p = 1;

    while (p < n && p < UINT32_C(1) << 31) { p *= 2; }
    return p;
}

/* ---- strides ---- */

static rfhe_status meet(uint32_t *to, uint32_t stride, const char *name, rfhe_error *err)
{
    if (*to != 0 && *to != stride) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' cannot be planned: branches meet whose pixels are %" PRIu32
                         " and %" PRIu32 " pixels of the image apart", name, *to, stride);
    }
    *to = stride;
    return RFHE_OK;
}

rfhe_status rfhe_places_find(rfhe_place *place, const rfhe_folded *f, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    for (uint32_t k = 0; k < f->n_sources; k++) {
        const rfhe_fold_source *q = &f->source[k];
        place[k] = (rfhe_place){.stride_y = k == 0 && q->height > 1, .stride_x = k == 0 && q->width > 1, .cut_y = 1, .cut_x = 1};
        for (uint32_t t = 0; t < q->in.n_terms; t++) {
            const rfhe_affine_term *m = &q->in.term[t];
            const rfhe_place *from = &place[m->source];
            if ((q->height > 1 && from->stride_y == 0) || (q->width > 1 && from->stride_x == 0)) {
                st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' cannot be planned: it spreads the single row or column of '%s'",
                               q->name, f->source[m->source].name);
                goto done;
            }
            if (q->height > 1) { RFHE_TRY(meet(&place[k].stride_y, from->stride_y * m->stride_y, q->name, err)); }
            if (q->width > 1) { RFHE_TRY(meet(&place[k].stride_x, from->stride_x * m->stride_x, q->name, err)); }
        }
        if (q->in.n_terms == 0 && k > 0) { /* nothing but a bias: any step */
            place[k].stride_y = q->height > 1;
            place[k].stride_x = q->width > 1;
        }
    }

done:
    return st;
}

/* ---- layouts ---- */

/* Cut and step of one dimension of a tensor: false when it cannot be cut so. */
static bool cut_one(uint32_t *cut, uint64_t *step, uint32_t stride, uint32_t size, uint32_t grid_cut, uint64_t grid_step)
{
    *cut = 1;
    *step = 0;
    if (stride == 0) { return true; }
    if (stride <= grid_cut) {
        if (grid_cut % stride != 0 || size % (grid_cut / stride) != 0) { return false; }
        *cut = grid_cut / stride;
        *step = grid_step;
        return true;
    }
    if (stride % grid_cut != 0) { return false; }
    *step = grid_step * (stride / grid_cut);
    return true;
}

static bool lay_out(rfhe_layout *out, rfhe_place *place, const rfhe_fold_source *q, const rfhe_grid *g)
{
    const uint64_t n = UINT64_C(1) << g->log2_n;
    uint64_t row = 0, column = 0;

    if (!cut_one(&place->cut_y, &row, place->stride_y, q->height, g->cut_y, (uint64_t)g->unit * g->pitch) ||
        !cut_one(&place->cut_x, &column, place->stride_x, q->width, g->cut_x, g->unit)) {
        return false;
    }
    *out = (rfhe_layout){.channels = q->channels * place->cut_y * place->cut_x,
                         .height = q->height / place->cut_y,
                         .width = q->width / place->cut_x};
    uint64_t steps = n / 2; /* the largest block that fits: a power of two that divides the steps in use */
    if (out->height > 1) { steps |= row; }
    if (out->width > 1) { steps |= column; }
    const uint32_t most = (uint32_t)(steps & (~steps + 1));
    const uint32_t want = power_at_least(out->channels);
    out->block = want < most ? want : most;
    row = out->height > 1 ? row : out->block;
    column = out->width > 1 ? column : out->block;
    const uint64_t end = row * (out->height - 1) + column * (out->width - 1) + out->block;
    if (end > n || row / out->block > UINT32_MAX) { return false; }
    out->row = (uint32_t)(row / out->block);
    out->column = (uint32_t)(column / out->block);
    out->ciphertexts = (out->channels + out->block - 1) / out->block;
    const uint64_t used = out->channels < out->block ? out->channels : out->block;
    out->both_halves = end - out->block + used > n / 2;
    return true;
}

bool rfhe_layouts_make(rfhe_layout *layout, rfhe_place *place, const rfhe_folded *f, const rfhe_grid *grid)
{
    for (uint32_t k = 0; k < f->n_sources; k++) {
        if (!lay_out(&layout[k], &place[k], &f->source[k], grid)) { return false; }
    }
    return true;
}

rfhe_layout rfhe_layout_of_numbers(uint32_t channels, uint32_t log2_n)
{
    const uint32_t half = UINT32_C(1) << (log2_n - 1), want = power_at_least(channels), block = want < half ? want : half;

    return (rfhe_layout){.channels = channels, .height = 1, .width = 1, .block = block, .row = 1, .column = 1,
                         .ciphertexts = (channels + block - 1) / block};
}

uint32_t rfhe_layout_weights(double *weight, const rfhe_layout *l, uint32_t t, uint32_t log2_n, const float *number, double gain)
{
    const size_t slots = (size_t)1 << (log2_n - 1);
    bool any_high = false;

    memset(weight, 0, 2 * slots * sizeof *weight);
    for (uint32_t c = t * l->block; c < l->channels && c < (t + 1) * l->block; c++) {
        for (uint32_t y = 0; y < l->height; y++) {
            for (uint32_t x = 0; x < l->width; x++) {
                const size_t index = rfhe_layout_index(l, c, y, x), half = index / slots;
                const size_t at = ((size_t)c * l->height + y) * l->width + x;
                const uint32_t slot = rfhe_slot_coefficient(log2_n, log2_n - 1, (uint32_t)(index % slots));
                weight[half * slots + slot] = gain * (number != NULL ? (double)number[at] : 1.0);
                any_high = any_high || half == 1;
            }
        }
    }
    return any_high ? 2 : 1;
}

/* ---- stencils between cut tensors ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* One dimension: the rows of the cut source that the phases of the cut output read, [from, to), and the stride. */
static void cut_window(int64_t *from, int64_t *to, const rfhe_affine_term *m, bool is_y, uint32_t cut_in, uint32_t cut_out)
{
    const int64_t stride = is_y ? m->stride_y : m->stride_x, offset = is_y ? m->offset_y : m->offset_x;
    const int64_t kernel = is_y ? m->height : m->width;

    *from = floor_div(offset, cut_in);
    *to = floor_div(((int64_t)cut_out - 1) * stride + offset + kernel - 1, cut_in) + 1;
}

rfhe_status rfhe_stencil_cut(rfhe_stencil *out, const rfhe_affine *form, const rfhe_affine_term *m, const rfhe_place *in,
                             const rfhe_place *to, const double *out_factor, const double *in_factor, rfhe_error *err)
{
    int64_t y0 = 0, y1 = 0, x0 = 0, x1 = 0;
    const uint32_t pi = in->cut_y * in->cut_x, po = to->cut_y * to->cut_x;

    cut_window(&y0, &y1, m, true, in->cut_y, to->cut_y);
    cut_window(&x0, &x1, m, false, in->cut_x, to->cut_x);
    rfhe_stencil r = {.out_channels = form->channels * po,
                      .in_channels = m->in_channels * pi,
                      .height = (uint32_t)(y1 - y0),
                      .width = (uint32_t)(x1 - x0),
                      .stride_y = form->height / to->cut_y > 1 ? to->cut_y * m->stride_y / in->cut_y : 1,
                      .stride_x = form->width / to->cut_x > 1 ? to->cut_x * m->stride_x / in->cut_x : 1,
                      .offset_y = (int32_t)y0,
                      .offset_x = (int32_t)x0};
    const double all = (double)r.out_channels * r.in_channels * r.height * r.width;
    if (all > 0x1p30) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "a kernel of %" PRIu32 " x %" PRIu32 " channels of %" PRIu32 " x %" PRIu32
                         " weights is too large", r.out_channels, r.in_channels, r.height, r.width);
    }
    r.w = rfhe_calloc((size_t)all, sizeof *r.w);
    if (r.w == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a kernel of %.0f weights", all); }
#pragma omp parallel for schedule(static)
    for (uint32_t o = 0; o < form->channels; o++) {
        const double *w = m->w + (size_t)o * m->in_channels * m->height * m->width;
        for (uint32_t c = 0; c < m->in_channels; c++) {
            const double factor = out_factor[o] * in_factor[c];
            for (uint32_t i = 0; i < m->height; i++) {
                for (uint32_t j = 0; j < m->width; j++, w++) {
                    if (*w == 0) { continue; }
                    for (uint32_t a = 0; a < po; a++) {
                        const int64_t y = (int64_t)(a / to->cut_x) * m->stride_y + m->offset_y + i;
                        const int64_t x = (int64_t)(a % to->cut_x) * m->stride_x + m->offset_x + j;
                        const int64_t qy = floor_div(y, in->cut_y), qx = floor_div(x, in->cut_x);
                        const size_t b = (size_t)(y - qy * in->cut_y) * in->cut_x + (size_t)(x - qx * in->cut_x);
                        const size_t oo = (size_t)o * po + a, cc = (size_t)c * pi + b;
                        r.w[((oo * r.in_channels + cc) * r.height + (size_t)(qy - y0)) * r.width + (size_t)(qx - x0)] =
                            (float)(*w * factor);
                    }
                }
            }
        }
    }
    *out = r;
    return RFHE_OK;
}

/* ---- soundness ---- */

static bool is_power(uint32_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

rfhe_status rfhe_layout_check(const rfhe_layout *l, uint32_t log2_n, const char *name, rfhe_error *err)
{
    const uint64_t n = UINT64_C(1) << log2_n;
    rfhe_status st = RFHE_OK;
    uint8_t *seen = NULL;

    if (l->channels < 1 || l->height < 1 || l->width < 1 || l->height > n || l->width > n || l->row < 1 || l->column < 1 ||
        l->row > n || l->column > n || !is_power(l->block) || l->block > n || l->channels > UINT32_C(1) << 24) {
        return rfhe_fail(err, RFHE_E_FORMAT, "tensor '%s' has an impossible layout: %" PRIu32 " x %" PRIu32 " x %" PRIu32
                         " in blocks of %" PRIu32 ", steps %" PRIu32 " and %" PRIu32, name, l->channels, l->height, l->width,
                         l->block, l->row, l->column);
    }
    const uint64_t used = l->channels < l->block ? l->channels : l->block;
    const uint64_t last = l->block * ((l->height - 1) * (uint64_t)l->row + (l->width - 1) * (uint64_t)l->column);
    if (last + used > n) {
        return rfhe_fail(err, RFHE_E_FORMAT, "tensor '%s' needs %" PRIu64 " coefficients of %" PRIu64, name, last + used, n);
    }
    if (l->ciphertexts != (l->channels + l->block - 1) / l->block || (!l->both_halves && last + used > n / 2)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "tensor '%s' of %" PRIu32 " channels does not lie in %" PRIu32
                         " ciphertexts of blocks of %" PRIu32 " as its layout says", name, l->channels, l->ciphertexts, l->block);
    }
    if (l->height == 1 || l->width == 1) { return RFHE_OK; }
    seen = rfhe_calloc(n / l->block, 1);
    if (seen == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to check a layout"); }
    for (uint64_t y = 0; y < l->height; y++) {
        for (uint64_t x = 0; x < l->width; x++) {
            uint8_t *const at = &seen[y * l->row + x * l->column];
            if (*at != 0) {
                st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "tensor '%s' has two numbers in one place (row %" PRIu64 ", column %"
                               PRIu64 ")", name, y, x);
                goto done;
            }
            *at = 1;
        }
    }

done:
    rfhe_free(seen);
    return st;
}

/* Whether any channel has a weight at tap (i, j). */
static void live_taps(bool *live, const rfhe_stencil *s)
{
    const size_t taps = (size_t)s->height * s->width, planes = (size_t)s->out_channels * s->in_channels;

    memset(live, 0, taps * sizeof *live);
    for (size_t p = 0; p < planes; p++) {
        for (size_t k = 0; k < taps; k++) { live[k] = live[k] || s->w[p * taps + k] != 0; }
    }
}

rfhe_status rfhe_layout_check_term(const rfhe_layout *out, const rfhe_layout *in, const rfhe_stencil *s, uint32_t log2_n,
                                   const char *name, rfhe_error *err)
{
    const int64_t n = INT64_C(1) << log2_n, block = in->block, places = n / block;
    const int64_t row = (int64_t)in->row, column = (int64_t)in->column;
    rfhe_status st = RFHE_OK;
    uint8_t *valid = NULL;
    bool *live = NULL;

    if (s->out_channels != out->channels || s->in_channels != in->channels || s->height < 1 || s->width < 1 ||
        s->stride_y < 1 || s->stride_x < 1) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s' has a kernel of %" PRIu32 " x %" PRIu32 " channels between tensors of %" PRIu32
                         " and %" PRIu32, name, s->out_channels, s->in_channels, out->channels, in->channels);
    }
    if ((out->height > 1 && (int64_t)out->block * out->row != block * row * s->stride_y) ||
        (out->width > 1 && (int64_t)out->block * out->column != block * column * s->stride_x)) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' would have to move numbers: its steps are %" PRIu64 " and %" PRIu64
                         " coefficients, its source gives %" PRIi64 " and %" PRIi64, name, (uint64_t)out->block * out->row,
                         (uint64_t)out->block * out->column, block * row * s->stride_y, block * column * s->stride_x);
    }
    if (s->w == NULL) { return RFHE_OK; }
    const double work = (double)out->height * out->width * s->height * s->width;
    if (work > 0x1p30) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' has a kernel of %" PRIu32 " x %" PRIu32 " on %" PRIu32 " x %" PRIu32
                         " places, which is too large", name, s->height, s->width, out->height, out->width);
    }
    valid = rfhe_calloc((size_t)places, 1);
    live = rfhe_alloc((size_t)s->height * s->width, sizeof *live);
    if (valid == NULL || live == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to check a layout");
        goto done;
    }
    live_taps(live, s);
    for (int64_t y = 0; y < in->height; y++) {
        for (int64_t x = 0; x < in->width; x++) { valid[y * row + x * column] = 1; }
    }
    for (int64_t y = 0; y < out->height; y++) {
        for (int64_t x = 0; x < out->width; x++) {
            for (int64_t i = 0; i < s->height; i++) {
                for (int64_t j = 0; j < s->width; j++) {
                    const int64_t sy = y * s->stride_y + s->offset_y + i, sx = x * s->stride_x + s->offset_x + j;
                    const bool inside = sy >= 0 && sy < in->height && sx >= 0 && sx < in->width;
                    if (inside || !live[i * s->width + j]) { continue; }
                    const int64_t at = ((sy * row + sx * column) % places + places) % places;
                    if (valid[at]) {
                        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' reads row %" PRIi64 ", column %" PRIi64
                                       " outside of its source, where another number lies", name, sy, sx);
                        goto done;
                    }
                }
            }
        }
    }

done:
    rfhe_free(valid);
    rfhe_free(live);
    return st;
}
