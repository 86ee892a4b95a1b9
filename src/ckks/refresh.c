/* Refresh: from an exhausted ciphertext to one with levels, SlotsToCoeffs first. ckks.h has the interface, dft.h the maps
 * between slots and coefficients, reduction.h the polynomial that removes multiples of q_0.
 *
 * Scales. Levels are named from the top: T .. T-g+2 are spent by CoeffsToSlots, whose first factor spends none
 * (linear.c, "Raised"), the next d by the reduction, which ends at raise_level r. A program of products sets its scales
 * itself, D_(k+1) = D_k^2 / q (poly.c), so the scale D_d at which it ends is reached by choosing the scale D_0 at which it
 * starts: backwards, D_k = sqrt(D_(k+1) q). What it ends with is sin(2 pi u), u = x scale_0 / q_0; calling that x
 * multiplies the scale by 2 pi scale_0 / q_0 without touching a residue. So D_d = nominal scale at r, divided by
 * 2 pi scale_0 / q_0: nothing is corrected anywhere, no level is lost to it.
 *
 * The integers. Raised from level 0 to the top, a ciphertext under the sparse secret s' decrypts to m + q_0 I with small
 * I. Taken at scale q_0 that is u + I in every coefficient. CoeffsToSlots carries the gain 1 / (k + 1/4), and a half for
 * the real part (z + conj z) / 2; a quarter is subtracted; then x in [-1, 1] enters the Chebyshev series.
 *
 * Sparse packing (slots < N/2): after raising, the integers fill all coefficients while the message lives in every
 * gap-th. Summing over the rotations by multiples of `slots` (a trace) removes the rest, and the gain divides by gap. The
 * trace commutes with the factors: as much of it as pays is merged into the first factor, whose rotations are cheap (its
 * diagonals, on 2^t times as many slots, then are neighbours still); the rest comes last, at the lowest level.
 *
 * One key for all giant steps. Factors but the first have diagonals at -w .. w; with M' = M R^a (R a rotation by one)
 * they lie at 0 .. 2w, as Horner's scheme wants them, and R^-a moves to the right through the factors before it, whose
 * diagonals it rotates: M3 M2 M1 = M3' M2'' M1'' R^-(a2 + a3). What is left is one rotation of the input, at level 0
 * before raising, where it costs next to nothing.
 *
 * Layers are dealt to the factors by the estimate of linear.c.
 *
 * Sources: Chen, Han 2018; Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux 2021 (structure), Bossuat, Troncoso-Pastoriza,
 * Hubaux 2022 (encapsulation); [YZSW25] (first factor); the order SlotsToCoeffs first: Bae, Cheon, Kim, Stehle 2024 and OpenFHE 1.5. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/arith.h"
#include "ckks/dft.h"
#include "ckks/internal.h"
#include "ckks/linear.h"
#include "ckks/reduction.h"
#include "ckks/refresh_parts.h"
#include "ckks/security.h"

static const double two_pi = 6.28318530717958647692;

struct rfhe_refresh {
    rfhe_ckks *c;
    rfhe_refresh_options opt; /* as chosen */
    size_t slots;
    uint32_t log2_slots, log2_gap, out_level; /* raise_level */
    uint32_t merged;                          /* log2 of the part of the trace that the first factor does */
    int64_t turn;                             /* rotation of the input of ModRaise */
    uint8_t layers[RFHE_REFRESH_MAX_FACTORS]; /* of the way to coefficients, by factor */
    rfhe_reduction reduction;
    rfhe_poly_program *program;
    double first_scale; /* D_0 */
    rfhe_linear_map *to_coeffs[RFHE_REFRESH_MAX_FACTORS], *to_slots[RFHE_REFRESH_MAX_FACTORS];
};

typedef struct plan {
    uint8_t layers[RFHE_REFRESH_MAX_FACTORS];
    uint32_t merged;
    double cost;
} plan;

/* Tries every way to deal `left` layers to the factors from `f` on. Factor f of `factors` on the way to slots works at
 * `level` - (f > 0 ? f - 1 : 0), on the way to coefficients at `level` - f. */
static void deal_layers(plan *best, plan *now, const rfhe_refresh *r, bool to_slots, uint32_t f, uint32_t factors,
                        uint32_t left, uint32_t level)
{
    const uint32_t done = r->log2_slots - left, others = factors - f - 1;
    const double before = now->cost;

    if (f == factors) {
        if (now->cost < best->cost) { *best = *now; }
        return;
    }
    for (uint32_t l = others == 0 ? left : 1; l + others <= left; l++) {
        const bool longest = to_slots ? f == 0 : others == 0;
        const size_t count = longest ? (size_t)1 << l : ((size_t)2 << l) - 1;
        const uint32_t period = to_slots ? r->log2_slots - done : done + l;
        now->layers[f] = (uint8_t)l;
        if (to_slots && f == 0) {
            for (uint32_t t = 0; t <= r->log2_gap && l + t <= 12; t++) {
                const uint32_t low = level - (factors - 1);
                now->merged = t;
                now->cost = rfhe_linear_estimate(r->c, count << t, period, level, true, r->opt.lean) +
                            (r->log2_gap - t) * rfhe_linear_estimate(r->c, 2, 0, low, false, r->opt.lean);
                deal_layers(best, now, r, to_slots, 1, factors, left - l, level);
            }
        } else {
            now->cost = before + rfhe_linear_estimate(r->c, count, period, to_slots ? level + 1 - f : level - f, false,
                                                      r->opt.lean);
            deal_layers(best, now, r, to_slots, f + 1, factors, left - l, level);
        }
        now->cost = before;
    }
}

/* The factors of one direction as linear maps from `level` down; scale[i] goes in, scale[i + 1] comes out. */
static rfhe_status make_maps(rfhe_linear_map **map, rfhe_refresh *r, uint32_t factors, uint32_t level,
                             const double *scale, bool to_slots, double gain, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    plan best = {.cost = INFINITY}, now = {.cost = 0};
    rfhe_dft_factor dft[RFHE_REFRESH_MAX_FACTORS] = {{0}};
    rfhe_diagonal *diagonal = NULL;
    double *value = NULL;
    size_t turn = 0; /* rotations still to be moved to the right */

    deal_layers(&best, &now, r, to_slots, 0, factors, r->log2_slots, level);
    st = rfhe_dft_factors_new(dft, best.layers, factors, r->log2_slots, to_slots, pow(gain, 1.0 / factors));
    if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "%" PRIu32 " factors for %zu slots cannot be made", factors, r->slots);
        goto done;
    }
    for (uint32_t f = factors; f-- > 0;) {
        const bool is_first = to_slots && f == 0;
        const uint32_t copies = is_first ? 1U << best.merged : 1;
        const size_t n = r->slots, wide = n * copies, d_count = dft[f].count;
        const rfhe_linear_options opt = {.in_scale = scale[f], .out_scale = scale[f + 1], .lean = r->opt.lean};
        /* Offsets ascend: 0, s, .. w, n - w, .. n - s. */
        const size_t shift = to_slots && !is_first ? dft[f].offset[d_count / 2] : 0;
        rfhe_free(diagonal);
        rfhe_free(value);
        diagonal = rfhe_alloc(d_count * copies, sizeof *diagonal);
        value = rfhe_alloc(2 * d_count * wide, sizeof *value);
        if (diagonal == NULL || value == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the maps of a refresh");
            goto done;
        }
        for (size_t d = 0; d < d_count; d++) {
            double *const re = value + 2 * d * wide, *const im = re + wide;
            for (size_t i = 0; i < wide; i++) {
                const size_t from = (i + n - turn % n) % n;
                re[i] = dft[f].re[d * n + from];
                im[i] = dft[f].im[d * n + from];
            }
            for (size_t k = 0; k < copies; k++) {
                diagonal[d * copies + k] = (rfhe_diagonal){
                    .index = (int64_t)((dft[f].offset[d] + shift) % n + k * n), .re = re, .im = im};
            }
        }
        turn += shift;
        if (is_first) {
            RFHE_TRY(rfhe_linear_map_raised_new(&map[0], r->c, wide, diagonal, d_count * copies, &opt, err));
        } else {
            RFHE_TRY(rfhe_linear_map_new(&map[f], r->c, n, diagonal, d_count, to_slots ? level + 1 - f : level - f, &opt,
                                         err));
        }
        rfhe_dft_factor_clear(&dft[f]);
    }
    if (to_slots) {
        r->merged = best.merged;
        r->turn = -(int64_t)turn;
    } else {
        memcpy(r->layers, best.layers, sizeof r->layers);
    }

done:
    for (uint32_t f = 0; f < factors; f++) { rfhe_dft_factor_clear(&dft[f]); }
    rfhe_free(diagonal);
    rfhe_free(value);
    return st;
}

/* cos of the shortened angle by a Chebyshev series, then `doublings` times T_2: 2 c^2 - 1. */
static rfhe_status make_program(rfhe_refresh *r, rfhe_error *err)
{
    static const double t2[3] = {0, 0, 1};
    rfhe_poly_stage stage[1 + 8] = {{.coef = r->reduction.coef, .degree = r->reduction.degree, .is_chebyshev = true}};

    for (uint32_t i = 0; i < r->reduction.doublings; i++) {
        stage[1 + i] = (rfhe_poly_stage){.coef = t2, .degree = 2, .is_chebyshev = true};
    }
    return rfhe_poly_program_new(&r->program, stage, 1 + r->reduction.doublings, false, err);
}

static rfhe_status check_options(rfhe_refresh_options *o, const rfhe_ckks *c, rfhe_error *err)
{
    const double bits = c->log2_prime[0] + c->log2_prime[c->n_q];
    const double max = rfhe_security_max_log2_sparse(c->log2_n, RFHE_SPARSE_WEIGHT, c->security_wanted);

    if (o->log2_slots == 0) { o->log2_slots = c->log2_n - 1; }
    if (o->to_coeffs_factors == 0) { o->to_coeffs_factors = 2; }
    if (o->to_slots_factors == 0) { o->to_slots_factors = 3; }
    if (o->doublings == 0) { o->doublings = 3; }
    if (o->reduction_error == 0) { o->reduction_error = 0x1p-28; }
    if (o->bound == 0) { o->bound = 1; }
    if (o->log2_slots > c->log2_n - 1 || o->to_coeffs_factors > RFHE_REFRESH_MAX_FACTORS ||
        o->to_slots_factors > RFHE_REFRESH_MAX_FACTORS || o->to_coeffs_factors > o->log2_slots ||
        o->to_slots_factors > o->log2_slots || !(o->bound > 0)) {
        return rfhe_fail(err, RFHE_E_ARG, "a refresh of 2^%u slots with %u and %u factors is not possible at ring degree 2^%u",
                         o->log2_slots, o->to_coeffs_factors, o->to_slots_factors, c->log2_n);
    }
    if (bits > max && !c->is_insecure) {
        return rfhe_fail(err, RFHE_E_INSECURE, "the encapsulation key of a refresh would have %.1f bits; %.0f are secure at "
                         "ring degree 2^%u and %u-bit security", bits, max, c->log2_n, c->security_wanted);
    }
    return RFHE_OK;
}

rfhe_status rfhe_refresh_new(rfhe_refresh **out, const rfhe_ckks *c, const rfhe_refresh_options *opt,
                             rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    const uint32_t top = c->n_q - 1;
    double scale[RFHE_REFRESH_MAX_FACTORS + 1];
    rfhe_refresh *r = rfhe_calloc(1, sizeof *r);

    if (r == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a refresh"); }
    r->c = rfhe_ckks_share(c);
    if (opt != NULL) { r->opt = *opt; }
    RFHE_TRY(check_options(&r->opt, c, err));
    r->log2_slots = r->opt.log2_slots;
    r->slots = (size_t)1 << r->log2_slots;
    r->log2_gap = c->log2_n - 1 - r->log2_slots;
    RFHE_TRY(rfhe_reduction_design(&r->reduction, RFHE_SPARSE_WEIGHT, c->log2_n, r->opt.doublings, r->opt.reduction_error,
                                   err));
    RFHE_TRY(make_program(r, err));
    const uint32_t d = rfhe_poly_program_info(r->program).depth, g = r->opt.to_slots_factors;
    if (top < d + g - 1 + r->opt.to_coeffs_factors) {
        st = rfhe_fail(err, RFHE_E_DEPTH, "a refresh needs %u levels for the way to slots, %u for the reduction and %u for "
                       "the way to coefficients; the chain has %u", g - 1, d, r->opt.to_coeffs_factors, top);
        goto done;
    }
    r->out_level = top - d - (g - 1);
    if (r->opt.to_coeffs_level == 0) { r->opt.to_coeffs_level = r->out_level; }
    if (r->opt.to_coeffs_level < r->opt.to_coeffs_factors || r->opt.to_coeffs_level > r->out_level) {
        st = rfhe_fail(err, RFHE_E_DEPTH, "the way to coefficients cannot start at level %u: it takes %u levels and a "
                       "refreshed ciphertext has %u", r->opt.to_coeffs_level, r->opt.to_coeffs_factors, r->out_level);
        goto done;
    }
    /* Backwards from the scale at which the reduction ends. */
    r->first_scale = c->scale[r->out_level] / (two_pi * c->scale[0] / (double)c->m[0].q);
    for (uint32_t l = r->out_level + 1; l <= r->out_level + d; l++) {
        r->first_scale = sqrt(r->first_scale * (double)c->m[l].q);
    }
    scale[0] = (double)c->m[0].q;
    for (uint32_t f = 1; f <= g; f++) { scale[f] = r->first_scale; }
    const double gain = 1 / (r->reduction.k + 0.25) / 2 / exp2(r->log2_gap);
    RFHE_TRY(make_maps(r->to_slots, r, g, top, scale, true, gain, err));
    for (uint32_t f = 0; f < r->opt.to_coeffs_factors; f++) { scale[f] = c->scale[r->opt.to_coeffs_level - f]; }
    scale[r->opt.to_coeffs_factors] = c->scale[0]; /* what raise expects, wherever level 0 is reached */
    RFHE_TRY(make_maps(r->to_coeffs, r, r->opt.to_coeffs_factors, r->opt.to_coeffs_level, scale, false, 1, err));
    *out = r;
    r = NULL;

done:
    rfhe_refresh_free(r);
    return st;
}

void rfhe_refresh_free(rfhe_refresh *r)
{
    if (r == NULL) { return; }
    for (uint32_t f = 0; f < RFHE_REFRESH_MAX_FACTORS; f++) {
        rfhe_linear_map_free(r->to_coeffs[f]);
        rfhe_linear_map_free(r->to_slots[f]);
    }
    rfhe_poly_program_free(r->program);
    rfhe_ckks_free(r->c);
    rfhe_free(r);
}

rfhe_refresh_info rfhe_refresh_get_info(const rfhe_refresh *r)
{
    const rfhe_poly_info p = rfhe_poly_program_info(r->program);
    const uint32_t halves = r->opt.complex_slots ? 2 : 1;
    rfhe_refresh_info i = {.slots = (uint32_t)r->slots,
                           .to_coeffs_level = r->opt.to_coeffs_level,
                           .to_coeffs_out_level = r->opt.to_coeffs_level - r->opt.to_coeffs_factors,
                           .raise_level = r->out_level,
                           .degree = r->reduction.degree,
                           .doublings = r->reduction.doublings,
                           .reduction_levels = p.depth,
                           .k = r->reduction.k,
                           .log2_failure = r->reduction.log2_failure,
                           .log2_encapsulation = r->c->log2_prime[0] + r->c->log2_prime[r->c->n_q],
                           .rotations = 1U + (r->turn != 0 ? 1U : 0U) + r->log2_gap - r->merged,
                           .products = p.relinearisations * halves};

    for (uint32_t f = 0; f < RFHE_REFRESH_MAX_FACTORS; f++) {
        for (int way = 0; way < 2; way++) {
            const rfhe_linear_map *m = way == 0 ? r->to_coeffs[f] : r->to_slots[f];
            uint32_t baby = 0, giant = 0;
            if (m == NULL) { continue; }
            rfhe_linear_map_rotations(m, &baby, &giant);
            i.rotations += baby + giant;
            i.plain_bytes += rfhe_linear_map_bytes(m);
        }
    }
    return i;
}

/* The level behind the way to slots. */
static uint32_t slots_level(const rfhe_refresh *r)
{
    return r->c->n_q - r->opt.to_slots_factors;
}

rfhe_status rfhe_refresh_keys(const rfhe_refresh *r, rfhe_key_list *list, rfhe_error *err)
{
    const rfhe_ckks *c = r->c;
    const uint32_t low = slots_level(r);
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_key_list_add(list, RFHE_ELEMENT_ENCAPSULATE, 0, 1, err));
    if (r->turn != 0) { RFHE_TRY(rfhe_key_list_add(list, rfhe_element_rotate(c, r->turn), 0, 1, err)); }
    for (uint32_t b = r->merged; b < r->log2_gap; b++) {
        RFHE_TRY(rfhe_key_list_add(list, rfhe_element_rotate(c, (int64_t)(r->slots << b)), low, 0, err));
    }
    for (uint32_t f = 0; f < RFHE_REFRESH_MAX_FACTORS; f++) {
        if (r->to_slots[f] != NULL) { RFHE_TRY(rfhe_linear_map_keys(r->to_slots[f], list, err)); }
        if (r->to_coeffs[f] != NULL) { RFHE_TRY(rfhe_linear_map_keys(r->to_coeffs[f], list, err)); }
    }
    RFHE_TRY(rfhe_key_list_add(list, rfhe_element_conjugate(c), low, 0, err));
    RFHE_TRY(rfhe_poly_program_keys(r->program, c, low, list, err));

done:
    return st;
}

static rfhe_status check_refresh(const rfhe_refresh *r, const rfhe_evaluator *ev, rfhe_error *err)
{
    if (!rfhe_ckks_same(r->c, ev->c)) {
        return rfhe_fail(err, RFHE_E_ARG, "the refresh belongs to other parameters than the evaluator");
    }
    return RFHE_OK;
}

rfhe_status rfhe_ct_to_coeffs(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r, rfhe_evaluator *ev,
                              rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_refresh(r, ev, err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    RFHE_TRY(rfhe_evaluator_spare(ev, 1, r->opt.to_coeffs_level, err));
    rfhe_ct *const work = ev->spare[1];
    RFHE_TRY(rfhe_ct_linear(work, a, r->to_coeffs[0], ev, err));
    RFHE_TRY(rfhe_refresh_finish_to_coeffs(work, r, ev, err));
    RFHE_TRY(rfhe_ct_copy(out, work, err));

done:
    return st;
}

rfhe_status rfhe_refresh_finish_to_coeffs(rfhe_ct *ct, const rfhe_refresh *r, rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    for (uint32_t f = 1; st == RFHE_OK && f < r->opt.to_coeffs_factors; f++) {
        st = rfhe_ct_linear(ct, ct, r->to_coeffs[f], ev, err);
    }
    return st;
}

rfhe_status rfhe_refresh_masked_map(rfhe_linear_map **out, const rfhe_refresh *r, const double *re, const double *im,
                                    rfhe_error *err)
{
    const size_t n = r->slots;
    const uint32_t factors = r->opt.to_coeffs_factors, level = r->opt.to_coeffs_level;
    const double *const scale = r->c->scale;
    const rfhe_linear_options opt = {.in_scale = scale[level], .out_scale = factors == 1 ? scale[0] : scale[level - 1],
                                     .lean = r->opt.lean};
    rfhe_dft_factor dft = {0};
    rfhe_diagonal *diagonal = NULL;
    rfhe_status st = RFHE_OK;

    if (rfhe_dft_factor_new(&dft, r->layers, factors, 0, r->log2_slots, false, 1) != RFHE_OK ||
        (diagonal = rfhe_alloc(dft.count, sizeof *diagonal)) == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a way to coefficients");
        goto done;
    }
    for (size_t d = 0; d < dft.count; d++) {
        double *const x = dft.re + d * n, *const y = dft.im + d * n;
        for (size_t i = 0; i < n; i++) { /* row i reads slot i + offset */
            const size_t j = (i + dft.offset[d]) & (n - 1);
            const double wx = re != NULL ? re[j] : 0, wy = im != NULL ? im[j] : 0, t = x[i];
            x[i] = t * wx - y[i] * wy;
            y[i] = t * wy + y[i] * wx;
        }
        diagonal[d] = (rfhe_diagonal){.index = dft.offset[d], .re = x, .im = y};
    }
    RFHE_TRY(rfhe_linear_map_new(out, r->c, n, diagonal, dft.count, level, &opt, err));

done:
    rfhe_dft_factor_clear(&dft);
    rfhe_free(diagonal);
    return st;
}

const rfhe_ckks *rfhe_refresh_params(const rfhe_refresh *r)
{
    return r->c;
}

/* From the dense secret to the sparse one, at level 0. Returns the variance of the switch. */
static double encapsulate(rfhe_evaluator *ev, rfhe_ct *ct, const rfhe_key *key)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_gadget *g = &c->gadget[0];

    rfhe_decompose(ev, g, rfhe_ct_limb(ct, 1, 0), 0, false, NULL, NULL);
    rfhe_inner_product(ev, key, 0, false, ev->acc[0], ev->acc[1], NULL, NULL);
    rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = g,
                                            .level = 0,
                                            .halves = 2,
                                            .acc = {ev->acc[0], ev->acc[1]},
                                            .out = {rfhe_ct_limb(ct, 0, 0), rfhe_ct_limb(ct, 1, 0)},
                                            .add = {rfhe_ct_limb(ct, 0, 0), NULL}});
    return rfhe_noise_key_switch(c, key, 0);
}

/* Both parts of ct, one limb each, to all limbs up to the top: the centred representative modulo q_0. */
static void lift(rfhe_evaluator *ev, rfhe_ct *ct, uint32_t top)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n;
    const uint64_t q = c->m[0].q;

    for (uint32_t part = 0; part < 2; part++) {
        uint64_t *const base = rfhe_ct_limb(ct, part, 0);
        int64_t *const centred = (int64_t *)(void *)ev->coef;
        c->k->ntt_inverse(base, &c->ntt[0]);
        for (size_t i = 0; i < n; i++) { centred[i] = (int64_t)base[i] - (base[i] > q / 2 ? (int64_t)q : 0); }
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
        for (uint32_t l = 0; l <= top; l++) {
            uint64_t *const limb = rfhe_ct_limb(ct, part, l);
            if (l > 0) { c->k->from_i64(limb, centred, n, &c->m[l]); }
            c->k->ntt_forward(limb, &c->ntt[l]);
        }
    }
}

rfhe_status rfhe_refresh_mod_raise(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r, rfhe_evaluator *ev,
                                   rfhe_error *err)
{
    const rfhe_ckks *c = r->c;
    const uint32_t top = c->n_q - 1;
    const double ratio = c->scale[0] / (double)c->m[0].q;
    rfhe_status st = RFHE_OK;
    const rfhe_key *turn = NULL, *key = NULL;

    RFHE_TRY(check_refresh(r, ev, err));
    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    RFHE_TRY(rfhe_check_same_scale(a->scale, c->scale[0], err));
    if (a->parts != 2) {
        st = rfhe_fail(err, RFHE_E_ARG, "the operand has three parts; relinearise it first");
        goto done;
    }
    /* Keys and room first: the rest cannot fail. */
    if (r->turn != 0) { RFHE_TRY(rfhe_key_need(&turn, ev, rfhe_element_rotate(c, r->turn), 0, 0, err)); }
    RFHE_TRY(rfhe_key_need(&key, ev, RFHE_ELEMENT_ENCAPSULATE, 0, 1, err));
    RFHE_TRY(rfhe_ct_reserve(out, top, 2, err));
    RFHE_TRY(rfhe_ct_drop(out, a, 0, ev, err));
    if (r->turn != 0) { RFHE_TRY(rfhe_ct_rotate(out, out, r->turn, ev, err)); }
    const double error = out->error, bound = out->bound;
    const double bottom = encapsulate(ev, out, key);
    out->level = top;
    lift(ev, out, top);
    out->has_seed = false;
    out->scale = (double)c->m[0].q;
    out->error = hypot(error * ratio, rfhe_noise_slot(c, bottom, out->scale));
    /* Slots of the raised polynomial: sums of N coefficients of u + I, whose variance is (h + 1) / 12. */
    out->bound = bound * ratio + 6 * sqrt((double)c->n * (RFHE_SPARSE_WEIGHT + 1) / 12.0);

done:
    return st;
}

/* rfhe_refresh_to_slots on the evaluator's spares 0 and 1 (`a` may be spare 0); a failure leaves them half done. */
static rfhe_status to_slots(bool both, const rfhe_ct *a, const rfhe_refresh *r, rfhe_evaluator *ev, rfhe_error *err)
{
    const rfhe_ckks *c = r->c;
    const uint32_t level = slots_level(r);
    rfhe_status st = RFHE_OK;
    const double quarter = -0.25 / (r->reduction.k + 0.25);

    for (uint32_t i = 0; i < 3; i++) {
        if (i != 1 || both) { RFHE_TRY(rfhe_evaluator_spare(ev, i, level, err)); }
    }
    rfhe_ct *const real = ev->spare[0], *const imag = both ? ev->spare[1] : NULL, *const conjugate = ev->spare[2];
    RFHE_TRY(rfhe_ct_linear(real, a, r->to_slots[0], ev, err));
    for (uint32_t f = 1; f < r->opt.to_slots_factors; f++) {
        RFHE_TRY(rfhe_ct_linear(real, real, r->to_slots[f], ev, err));
    }
    for (uint32_t b = r->merged; b < r->log2_gap; b++) { /* the rest of the trace to the sparse sub-ring */
        RFHE_TRY(rfhe_ct_rotate(conjugate, real, (int64_t)(r->slots << b), ev, err));
        RFHE_TRY(rfhe_ct_add(real, real, conjugate, ev, err));
    }
    RFHE_TRY(rfhe_ct_conjugate(conjugate, real, ev, err));
    if (imag != NULL) { /* (z - conj z) / i: times -i = X^(3N/2) */
        RFHE_TRY(rfhe_ct_sub(imag, real, conjugate, ev, err));
        RFHE_TRY(rfhe_ct_mul_monomial(imag, imag, (uint32_t)(3 * (c->n / 2)), ev, err));
        RFHE_TRY(rfhe_ct_add_const(imag, imag, quarter, ev, err));
        rfhe_ct_set_bound(imag, 1);
    }
    RFHE_TRY(rfhe_ct_add(real, real, conjugate, ev, err));
    RFHE_TRY(rfhe_ct_add_const(real, real, quarter, ev, err));
    rfhe_ct_set_bound(real, 1);

done:
    return st;
}

rfhe_status rfhe_refresh_to_slots(rfhe_ct *real, rfhe_ct *imag, const rfhe_ct *a, const rfhe_refresh *r,
                                  rfhe_evaluator *ev, rfhe_error *err)
{
    rfhe_ct *const out[2] = {real, imag};
    const uint32_t count = imag != NULL ? 2 : 1;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_refresh(r, ev, err));
    for (uint32_t i = 0; i < count; i++) {
        RFHE_TRY(rfhe_check_ct(ev, out[i], "the output", err));
        RFHE_TRY(rfhe_ct_reserve(out[i], slots_level(r), 2, err));
    }
    RFHE_TRY(to_slots(imag != NULL, a, r, ev, err));
    for (uint32_t i = 0; i < count; i++) { RFHE_TRY(rfhe_ct_copy(out[i], ev->spare[i], err)); }

done:
    return st;
}

/* What enters the reduction: x = (u + I - 1/4) / (k + 1/4) at u = 0, I the rounded sum of RFHE_SPARSE_WEIGHT + 1 uniform
 * terms, nearly normal. */
static rfhe_samples integers(const rfhe_refresh *r)
{
    const int32_t k = (int32_t)(r->reduction.k < RFHE_MAX_SAMPLES / 2 ? r->reduction.k : RFHE_MAX_SAMPLES / 2 - 1);
    const double variance = (RFHE_SPARSE_WEIGHT + 1) / 12.0;
    rfhe_samples s = {.count = 2 * (uint32_t)k + 1};
    double sum = 0;

    for (int32_t i = -k; i <= k; i++) {
        s.x[i + k] = (i - 0.25) / (r->reduction.k + 0.25);
        s.weight[i + k] = exp(-(double)i * i / (2 * variance));
        sum += s.weight[i + k];
    }
    for (uint32_t i = 0; i < s.count; i++) { s.weight[i] /= sum; }
    return s;
}

rfhe_status rfhe_refresh_reduce(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r, rfhe_evaluator *ev,
                                rfhe_error *err)
{
    const rfhe_ckks *c = r->c;
    const double ratio = c->scale[0] / (double)c->m[0].q, u = r->opt.bound * ratio;
    rfhe_status st = RFHE_OK;
    const rfhe_samples at = integers(r);

    RFHE_TRY(check_refresh(r, ev, err));
    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    if (a->level != slots_level(r)) {
        st = rfhe_fail(err, RFHE_E_ARG, "the operand is at level %u, what comes from the way to slots at %u", a->level,
                       slots_level(r));
        goto done;
    }
    RFHE_TRY(rfhe_check_same_scale(a->scale, r->first_scale, err)); /* from here the result has the nominal scale */
    RFHE_TRY(rfhe_evaluate_samples(out, a, r->program, &at, ev, err));
    RFHE_TRY(rfhe_ct_set_scale(out, out->scale * two_pi * ratio, err));
    out->scale = c->scale[r->out_level]; /* equal but for the last bits of square roots */
    /* The series' error and the sine's cubic term, in the unit of the numbers: its root mean square for numbers spread
     * evenly over [-bound, bound], where u^6 has the mean 1/7 of its largest value. */
    const double idea = two_pi * two_pi * u * u * u / 6 / sqrt(7);
    out->error = hypot(out->error, hypot(r->reduction.error, idea) / ratio);
    rfhe_ct_set_bound(out, r->opt.bound);

done:
    return st;
}

rfhe_status rfhe_ct_raise_halves(rfhe_ct *low, rfhe_ct *high, const rfhe_ct *a, const rfhe_refresh *r,
                                 rfhe_evaluator *ev, rfhe_error *err)
{
    const uint32_t top = r->c->n_q - 1;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(check_refresh(r, ev, err));
    RFHE_TRY(rfhe_evaluator_spare(ev, 0, top, err));
    RFHE_TRY(rfhe_refresh_mod_raise(ev->spare[0], a, r, ev, err));
    RFHE_TRY(to_slots(high != NULL, ev->spare[0], r, ev, err));
    const rfhe_ct *const real = ev->spare[0], *const imag = ev->spare[1];
    if (high != NULL) { /* checks and room for both first, so that nothing is left half done */
        RFHE_TRY(rfhe_check_ct(ev, low, "the output", err));
        RFHE_TRY(rfhe_ct_reserve(low, r->out_level, 2, err));
        RFHE_TRY(rfhe_refresh_reduce(high, imag, r, ev, err));
    }
    RFHE_TRY(rfhe_refresh_reduce(low, real, r, ev, err));

done:
    return st;
}

rfhe_status rfhe_ct_raise(rfhe_ct *out, const rfhe_ct *a, const rfhe_refresh *r, rfhe_evaluator *ev,
                          rfhe_error *err)
{
    const rfhe_ckks *c = r->c;
    rfhe_status st = RFHE_OK;

    if (!r->opt.complex_slots) { return rfhe_ct_raise_halves(out, NULL, a, r, ev, err); }
    RFHE_TRY(check_refresh(r, ev, err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    RFHE_TRY(rfhe_evaluator_spare(ev, 0, c->n_q - 1, err));
    RFHE_TRY(rfhe_evaluator_spare(ev, 1, c->n_q - 1, err));
    rfhe_ct *const real = ev->spare[0], *const imag = ev->spare[1];
    RFHE_TRY(rfhe_ct_raise_halves(real, imag, a, r, ev, err));
    RFHE_TRY(rfhe_ct_mul_monomial(imag, imag, (uint32_t)(c->n / 2), ev, err));
    RFHE_TRY(rfhe_ct_add(out, real, imag, ev, err));
    rfhe_ct_set_bound(out, r->opt.bound);

done:
    return st;
}
