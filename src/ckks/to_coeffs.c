/* The way to coefficients with a number per slot folded in.
 *
 * The map from slots to coefficients is a product of a few sparse matrices (dft.h). The one that is applied first may be
 * multiplied by any diagonal matrix from the right without a change of its pattern: same diagonals, same rotations, same
 * keys, same level. So zeroing slots or scaling channels costs the memory of one more first factor and nothing else. The
 * other factors are those of the refresh.
 *
 * Several operands: the sum is taken behind the first factors, so that a second operand (the upper half of the
 * coefficients, with w = i) costs one more first factor. */
#include <math.h>

#include "base/mem.h"
#include "ckks/internal.h"
#include "ckks/refresh_parts.h"

struct rfhe_to_coeffs {
    const rfhe_refresh *r; /* borrowed */
    rfhe_linear_map *first;
    double rms; /* root of the mean of |w|^2 */
};

uint32_t rfhe_slot_coefficient(uint32_t log2_n, uint32_t log2_slots, uint32_t slot)
{
    return rfhe_reverse_bits(slot, log2_slots) << (log2_n - 1 - log2_slots);
}

rfhe_status rfhe_to_coeffs_new(rfhe_to_coeffs **out, const rfhe_refresh *r, const double *re, const double *im,
                               rfhe_error *err)
{
    const size_t n = rfhe_refresh_get_info(r).slots;
    rfhe_status st = RFHE_OK;
    rfhe_to_coeffs *m = NULL;
    double sum = 0;

    for (size_t j = 0; j < n; j++) {
        const double x = re != NULL ? re[j] : 0, y = im != NULL ? im[j] : 0;
        sum += x * x + y * y;
    }
    if (!isfinite(sum)) { return rfhe_fail(err, RFHE_E_ARG, "a factor of a slot is not finite"); }
    m = rfhe_calloc(1, sizeof *m);
    if (m == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a way to coefficients"); }
    m->r = r;
    m->rms = sqrt(sum / (double)n);
    RFHE_TRY(rfhe_refresh_masked_map(&m->first, r, re, im, err));
    *out = m;
    m = NULL;

done:
    rfhe_to_coeffs_free(m);
    return st;
}

void rfhe_to_coeffs_free(rfhe_to_coeffs *m)
{
    if (m == NULL) { return; }
    rfhe_linear_map_free(m->first);
    rfhe_free(m);
}

size_t rfhe_to_coeffs_bytes(const rfhe_to_coeffs *m)
{
    return rfhe_linear_map_bytes(m->first);
}

rfhe_status rfhe_ct_to_coeffs_sum(rfhe_ct *out, const rfhe_ct *const *a, const rfhe_to_coeffs *const *map, size_t count,
                                  rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    double square = 0;

    if (count == 0) { return rfhe_fail(err, RFHE_E_ARG, "no operand for the way to coefficients"); }
    for (size_t i = 0; i < count; i++) {
        if (map[i]->r != map[0]->r) {
            return rfhe_fail(err, RFHE_E_ARG, "maps of one sum to coefficients must come from one refresh");
        }
        if (!rfhe_ckks_same(rfhe_refresh_params(map[i]->r), ev->c)) {
            return rfhe_fail(err, RFHE_E_ARG, "the way to coefficients belongs to other parameters than the evaluator");
        }
        square += pow(a[i]->bound * map[i]->rms, 2);
    }
    const rfhe_refresh_info info = rfhe_refresh_get_info(map[0]->r);
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    for (uint32_t i = 1; i <= 2; i++) { RFHE_TRY(rfhe_evaluator_spare(ev, i, info.to_coeffs_level, err)); }
    rfhe_ct *const sum = ev->spare[1], *const term = ev->spare[2]; /* out may be one of the operands */
    RFHE_TRY(rfhe_ct_linear(sum, a[0], map[0]->first, ev, err));
    for (size_t i = 1; i < count; i++) {
        RFHE_TRY(rfhe_ct_linear(term, a[i], map[i]->first, ev, err));
        RFHE_TRY(rfhe_ct_add(sum, sum, term, ev, err));
    }
    RFHE_TRY(rfhe_refresh_finish_to_coeffs(sum, map[0]->r, ev, err));
    RFHE_TRY(rfhe_ct_copy(out, sum, err));
    /* Root mean square of the slots of a polynomial with these coefficients, instead of the maps' worst case. */
    rfhe_ct_set_bound(out, sqrt((double)info.slots * square));

done:
    return st;
}

rfhe_status rfhe_ct_to_coeffs_by(rfhe_ct *out, const rfhe_ct *a, const rfhe_to_coeffs *map, rfhe_evaluator *ev,
                                 rfhe_error *err)
{
    return rfhe_ct_to_coeffs_sum(out, &a, &map, 1, ev, err);
}

rfhe_status rfhe_ct_to_coeffs_halves(rfhe_ct *out, const rfhe_ct *low, const rfhe_ct *high, const rfhe_refresh *r,
                                     const rfhe_to_coeffs *map, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_refresh_info info = rfhe_refresh_get_info(r);
    rfhe_status st = RFHE_OK;

    if (!rfhe_ckks_same(rfhe_refresh_params(r), ev->c) || (map != NULL && map->r != r)) {
        return rfhe_fail(err, RFHE_E_ARG, "the way to coefficients belongs to other parameters than the evaluator or to another "
                         "refresh");
    }
    RFHE_TRY(rfhe_evaluator_spare(ev, 0, info.to_coeffs_level, err));
    rfhe_ct *const both = ev->spare[0];
    RFHE_TRY(rfhe_check_ct(ev, high, "the upper half", err));
    const uint32_t level = high->level < info.to_coeffs_level ? high->level : info.to_coeffs_level;
    RFHE_TRY(rfhe_ct_drop(both, high, level, ev, err));
    RFHE_TRY(rfhe_ct_mul_monomial(both, both, (uint32_t)(ev->c->n / 2), ev, err)); /* times i */
    RFHE_TRY(rfhe_ct_add(both, both, low, ev, err));
    if (map != NULL) {
        RFHE_TRY(rfhe_ct_to_coeffs_by(out, both, map, ev, err));
    } else {
        RFHE_TRY(rfhe_ct_to_coeffs(out, both, r, ev, err));
    }

done:
    return st;
}
