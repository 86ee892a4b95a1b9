/* Encoding and decoding: slots through the special Fourier transform (fft.h), coefficients directly.
 *
 * Decoding rule. The integers behind a plaintext are recovered from its lowest primes only, as many as make
 * log2(scale) + 48 bits (or all of them): exact as long as the numbers carried are below 2^46 in magnitude.
 *
 * Messages are secret: nothing branches on a number to be encoded, but for the refusal of one that does not fit. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/encode.h"
#include "ckks/internal.h"
#include "ckks/secret.h"

void rfhe_limbs_forward(const rfhe_ckks *c, uint64_t *data, uint32_t from_prime, uint32_t count)
{
#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i < count; i++) {
        c->k->ntt_forward(data + (size_t)i * c->n, &c->ntt[from_prime + i]);
    }
}

void rfhe_limbs_inverse(const rfhe_ckks *c, uint64_t *data, uint32_t from_prime, uint32_t count)
{
#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i < count; i++) {
        c->k->ntt_inverse(data + (size_t)i * c->n, &c->ntt[from_prime + i]);
    }
}

bool rfhe_is_slot_count(const rfhe_ckks *c, size_t n)
{
    return n >= 1 && n <= c->n / 2 && (n & (n - 1)) == 0;
}

/* |x| as an integer below 2^63 that is ordered as the numbers are, NaN above all. */
static uint64_t magnitude(double x)
{
    uint64_t bits = 0;

    memcpy(&bits, &x, sizeof bits);
    return bits & (UINT64_MAX >> 1);
}

double rfhe_slots_to_coeffs(const rfhe_ckks *c, double *coef, double *work, const double *re, const double *im,
                            size_t n, double scale)
{
    double *const wr = work, *const wi = work + n;
    const size_t gap = c->n / (2 * n);
    const unsigned shift = c->fft.log2_n_max - (unsigned)__builtin_ctzll(n);
    const double factor = scale / (double)n; /* a power of two away from `scale`: exact */
    double square = 0;                       /* the largest |slot|^2 */

    for (size_t j = 0; j < n; j++) {
        const double y = im != NULL ? im[j] : 0.0, size = re[j] * re[j] + y * y;
        wr[j] = re[j], wi[j] = y;
        square = size > square ? size : square; /* an instruction, no branch */
    }
    c->fft.inverse(wr, wi, n, c->fft.w_re, c->fft.w_im);
    if (gap != 1) { memset(coef, 0, c->n * sizeof *coef); }
    for (size_t k = 0; k < n; k++) {
        const size_t from = c->fft.reversed[k] >> shift;
        coef[k * gap] = wr[from] * factor;
        coef[(k + n) * gap] = wi[from] * factor;
    }
    return sqrt(square);
}

rfhe_status rfhe_check_coeffs(const rfhe_ckks *c, const double *coef, size_t n, uint32_t level, rfhe_error *err)
{
    const double room = fmin(rfhe_log2_primes(c, 0, level + 1) - 1, 103);
    const uint64_t least = magnitude(exp2(room)); /* that does not fit */
    uint64_t refused = 0;
    double largest = 0;

    for (size_t i = 0; i < n; i++) { refused |= least - 1 - magnitude(coef[i]); } /* the top bit */
    refused >>= 63;
    RFHE_PUBLIC(&refused, sizeof refused); /* a refusal can be seen, and says why */
    if (refused == 0) { return RFHE_OK; }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(coef[i])) { return rfhe_fail(err, RFHE_E_ARG, "a number to be encoded is not finite"); }
        largest = fmax(largest, fabs(coef[i]));
    }
    return rfhe_fail(err, RFHE_E_ARG, "a scaled coefficient of %.1f bits does not fit the %.1f bits of level %u",
                     log2(largest), room, level);
}

void rfhe_coeffs_to_limbs(const rfhe_ckks *c, uint64_t *data, const double *coef, uint32_t level, uint32_t special)
{
    const uint32_t rows = level + 1 + special;

#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t prime = r <= level ? r : c->n_q + r - level - 1;
        c->k->from_f64(data + (size_t)r * c->n, coef, c->n, &c->m[prime]);
        c->k->ntt_forward(data + (size_t)r * c->n, &c->ntt[prime]);
    }
}

rfhe_status rfhe_pt_new(rfhe_pt **out, const rfhe_ckks *c, uint32_t level, uint32_t special, rfhe_error *err)
{
    rfhe_pt *pt = rfhe_calloc(1, sizeof *pt);

    if (pt != NULL) { pt->data = rfhe_alloc((size_t)(level + 1 + special) * c->n, sizeof(uint64_t)); }
    if (pt == NULL || pt->data == NULL) {
        rfhe_free(pt);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a plaintext of %u limbs", level + 1 + special);
    }
    pt->c = rfhe_ckks_share(c);
    pt->level = level;
    pt->special = special;
    *out = pt;
    return RFHE_OK;
}

void rfhe_pt_free(rfhe_pt *pt)
{
    if (pt == NULL) { return; }
    rfhe_free_secret(pt->data); /* may hold a decrypted message */
    rfhe_ckks_free(pt->c);
    rfhe_free(pt);
}

static rfhe_status check_target(const rfhe_ckks *c, uint32_t level, double *scale, rfhe_error *err)
{
    if (level >= c->n_q) {
        return rfhe_fail(err, RFHE_E_DEPTH, "level %u is above the top level %u of the parameters", level, c->n_q - 1);
    }
    if (*scale == 0) { *scale = c->scale[level]; }
    if (!(*scale > 0) || !isfinite(*scale)) {
        return rfhe_fail(err, RFHE_E_ARG, "a scale of %g is not a positive number", *scale);
    }
    return RFHE_OK;
}

static double rounding_error(const rfhe_ckks *c, double scale)
{
    return rfhe_noise_slot(c, 1.0 / 12, scale);
}

rfhe_status rfhe_encode_wide(rfhe_pt **out, const rfhe_ckks *c, const double *re, const double *im, size_t n,
                             uint32_t level, uint32_t special, double scale, rfhe_error *err)
{
    rfhe_status st = check_target(c, level, &scale, err);
    double *work = NULL;
    rfhe_pt *pt = NULL;

    if (st != RFHE_OK) { return st; }
    if (!rfhe_is_slot_count(c, n)) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu slots: must be a power of two of at most %zu", n, c->n / 2);
    }
    work = rfhe_alloc(c->n + 2 * n, sizeof *work);
    if (work == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to encode %zu slots", n); }
    RFHE_TRY(rfhe_pt_new(&pt, c, level, special, err));
    pt->bound = rfhe_slots_to_coeffs(c, work, work + c->n, re, im, n, scale);
    RFHE_TRY(rfhe_check_coeffs(c, work, c->n, level, err));
    rfhe_coeffs_to_limbs(c, pt->data, work, level, special);
    pt->scale = scale;
    pt->error = rounding_error(c, scale) * sqrt((double)(2 * n) / (double)c->n);
    *out = pt;
    pt = NULL;

done:
    rfhe_free_secret(work);
    rfhe_pt_free(pt);
    return st;
}

rfhe_status rfhe_encode(rfhe_pt **out, const rfhe_ckks *c, const double *re, const double *im, size_t n,
                        uint32_t level, double scale, rfhe_error *err)
{
    return rfhe_encode_wide(out, c, re, im, n, level, 0, scale, err);
}

rfhe_status rfhe_encode_coeffs(rfhe_pt **out, const rfhe_ckks *c, const double *x, size_t n, uint32_t level,
                               double scale, rfhe_error *err)
{
    rfhe_status st = check_target(c, level, &scale, err);
    double *work = NULL;
    rfhe_pt *pt = NULL;
    double square = 0;

    if (st != RFHE_OK) { return st; }
    if (n > c->n) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu coefficients are more than the %zu of the ring", n, c->n);
    }
    work = rfhe_calloc(c->n, sizeof *work);
    if (work == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to encode %zu coefficients", n); }
    RFHE_TRY(rfhe_pt_new(&pt, c, level, 0, err));
    for (size_t i = 0; i < n; i++) {
        work[i] = x[i] * scale;
        square += x[i] * x[i];
    }
    RFHE_TRY(rfhe_check_coeffs(c, work, n, level, err));
    rfhe_coeffs_to_limbs(c, pt->data, work, level, 0);
    pt->scale = scale;
    pt->bound = sqrt(square); /* root mean square of the slots; a bound for all but adversarial inputs is 3 times it */
    pt->error = rounding_error(c, scale) * sqrt((double)n / (double)c->n);
    *out = pt;
    pt = NULL;

done:
    rfhe_free_secret(work);
    rfhe_pt_free(pt);
    return st;
}

uint32_t rfhe_decode_limbs(const rfhe_ckks *c, uint32_t level, double scale)
{
    const double want = log2(scale) + 48;
    double bits = 0;
    uint32_t limbs = 0;

    while (limbs <= level && limbs < RFHE_DECODE_MAX && (limbs == 0 || bits < want)) {
        bits += c->log2_prime[limbs];
        limbs++;
    }
    return limbs;
}

/* The coefficients of a plaintext as doubles, divided by the scale. */
static rfhe_status coefficients(double *coef, const rfhe_pt *pt, rfhe_error *err)
{
    const rfhe_ckks *c = pt->c;
    const uint32_t limbs = rfhe_decode_limbs(c, pt->level, pt->scale);
    const rfhe_basis basis = rfhe_basis_range(0, limbs);
    rfhe_poly work = {0};

    if (rfhe_poly_new(&work, c->ring, &basis, true) != RFHE_OK) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode");
    }
    memcpy(work.limb[0], pt->data, (size_t)limbs * c->n * sizeof(uint64_t));
    rfhe_poly_to_coef(c->ring, &work);
    rfhe_poly_to_f64(c->ring, coef, &work, 1 / pt->scale);
    rfhe_poly_clear_secret(&work);
    return RFHE_OK;
}

rfhe_status rfhe_decode_coeffs(double *x, size_t n, const rfhe_pt *pt, rfhe_error *err)
{
    double *coef = NULL;
    rfhe_status st = RFHE_OK;

    if (n > pt->c->n) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu coefficients are more than the %zu of the ring", n, pt->c->n);
    }
    coef = rfhe_alloc(pt->c->n, sizeof *coef);
    if (coef == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode"); }
    RFHE_TRY(coefficients(coef, pt, err));
    memcpy(x, coef, n * sizeof *x);
done:
    rfhe_free_secret(coef);
    return st;
}

rfhe_status rfhe_decode(double *re, double *im, size_t n, const rfhe_pt *pt, rfhe_error *err)
{
    const rfhe_ckks *c = pt->c;
    rfhe_status st = RFHE_OK;
    double *coef = NULL;

    if (!rfhe_is_slot_count(c, n)) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu slots: must be a power of two of at most %zu", n, c->n / 2);
    }
    coef = rfhe_alloc(c->n + 2 * n, sizeof *coef);
    if (coef == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode"); }
    RFHE_TRY(coefficients(coef, pt, err));
    double *const wr = coef + c->n, *const wi = wr + n;
    const size_t gap = c->n / (2 * n);
    const unsigned shift = c->fft.log2_n_max - (unsigned)__builtin_ctzll(n);
    for (size_t k = 0; k < n; k++) {
        const size_t to = c->fft.reversed[k] >> shift;
        wr[to] = coef[k * gap];
        wi[to] = coef[(k + n) * gap];
    }
    c->fft.forward(wr, wi, n, c->fft.w_re, c->fft.w_im);
    memcpy(re, wr, n * sizeof *re);
    if (im != NULL) { memcpy(im, wi, n * sizeof *im); }
done:
    rfhe_free_secret(coef);
    return st;
}

uint32_t rfhe_pt_level(const rfhe_pt *pt)
{
    return pt->level;
}

double rfhe_pt_scale(const rfhe_pt *pt)
{
    return pt->scale;
}
