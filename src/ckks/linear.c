/* Linear maps on slots by diagonals, baby-step giant-step with double hoisting.
 *
 * Rotation by k = g + b, b < n1 the baby step, g a multiple of n1 the giant step:
 *   out = sum_g rot_g( sum_b D'_(g,b) * rot_b(x) ),   D'_(g,b)[i] = D_(g+b)[i - g]
 * Everything stays modulo Q P until it must be decomposed:
 *   1  x's second half is decomposed once;
 *   2  per row (prime of Q or P): all babies of this row are made (inner product with a key's row, + P times x's first
 *      half, automorphism), then all giants' sums of this row, tile by tile; babies live only as long as their row;
 *   3  per giant step: the second half of a sum is divided by P, decomposed, switched, and the pair joins another sum;
 *   4  the total is divided by P q once.
 * So the b rotations of the babies cost an inner product each and nothing else. Source: [BMTH21], section 4;
 * the row order is ours.
 *
 * One key for all giants. Where the giants are neighbours f, f + s, f + 2s, .. (modulo n), Horner's scheme
 *   out = rot_f( S_0 + rot_s( S_1 + rot_s( S_2 + .. )))
 * takes as many switches as one rotation per giant, with one key (two when f is not 0), and the same noise: each switch
 * adds its own error once, and rotations keep the size of errors.
 *
 * Diagonals in short form. A diagonal that repeats with period p < N/2 encodes to a polynomial in X^(N/2p), whose
 * transform is constant on runs of N/2p neighbours (the transform's order is bit reversed, and X^(2^g) at the points of
 * a run is one value): one word per run is kept. All factors of the DFT but one have short periods. The one that has not
 * may be kept as N coefficients and transformed row by row when it is used (lean).
 *
 * Raised. After ModRaise (c0, c1) is under the sparse secret s' and both parts are integers below q_0, so c1 is its own
 * only digit: with P = p1 p2 .., a key that encrypts p1 rot(s') under s turns it into p1 rot(c1 s') with an error of
 * (q_0 / p1) e, one limb pass instead of one per digit, and the switch back to the dense secret is the same step. The
 * second special prime carries the plaintext: diagonals are encoded at the scale p2 (times the wanted change of scale),
 * and the last division by P brings the sum to its scale. No prime of the chain is spent: this is the level-conserving
 * rescale of [YZSW25] with the plaintext outside the key, so that keys do not depend on the matrix. Special primes
 * p3 .. of the giants' switches enter as a factor of the diagonals; rows of those primes are zero. */
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/encode.h"
#include "ckks/linear.h"

enum { MAX_BABY = 256, MAX_GIANT = 256, MIN_LOG2_RUN = 3, LEAN_GROUP = 4 };

typedef struct cell {
    uint32_t baby, giant; /* positions in the lists below */
    const uint64_t *limb; /* row r at r * (N >> log2_run), or NULL */
    const double *coef;   /* N coefficients, or NULL */
    const int32_t *narrow; /* the same rounded, where all of them are below 2^30 and every prime, or NULL */
} cell;

struct rfhe_linear_map {
    rfhe_ckks *c;
    size_t n;
    bool is_raised, is_lean;
    uint32_t level, special;
    uint32_t own_special; /* special rows of babies and diagonals: `special`, 2 for raised ones */
    uint32_t log2_run;    /* coefficients per word of a kept limb; 0 = all of them are kept      */
    double in_scale, out_scale, pt_scale;
    double row_sum, row_rms; /* largest over rows of sum |d|; root of the largest sum |d|^2 */
    uint32_t babies, giants, cells;
    uint32_t baby[MAX_BABY], giant[MAX_GIANT]; /* rotations                                                        */
    uint32_t step;                             /* of Horner's scheme, giant[j] = giant[0] + j step; 0 = one by one */
    cell *cell;                                /* sorted by giant */
    uint64_t *limbs;                           /* of all cells, one after another, or NULL */
    double *coefs;                             /* likewise                                 */
    int32_t *narrows;                          /* likewise                                 */
};

/* ---- The split ---- */

static int by_value(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* The distinct giant or baby parts of the indices, ascending; max + 1 when there are more than max. */
static uint32_t distinct(const uint32_t *index, size_t count, uint32_t n1, bool want_giant, uint32_t *list,
                         uint32_t max)
{
    uint32_t made = 0;

    for (size_t i = 0; i < count; i++) {
        const uint32_t x = want_giant ? index[i] / n1 * n1 : index[i] % n1;
        uint32_t j = 0;
        while (j < made && list[j] != x) { j++; }
        if (j < made) { continue; }
        if (made == max) { return max + 1; }
        list[made++] = x;
    }
    qsort(list, made, sizeof *list, by_value);
    return made;
}

/* Turns the ascending list into f, f + s, f + 2s .. modulo n and returns s; 0 (and the list unchanged) if it is none. */
static uint32_t as_run(uint32_t *list, uint32_t count, uint32_t n)
{
    uint32_t step = n, start = 0, breaks = 0, turned[MAX_GIANT];

    if (count < 2) { return 0; }
    for (uint32_t j = 0; j < count; j++) {
        const uint32_t gap = (list[(j + 1) % count] + n - list[j]) % n;
        if (gap != 0 && gap < step) { step = gap; }
    }
    for (uint32_t j = 0; j < count; j++) {
        if ((list[(j + 1) % count] + n - list[j]) % n != step) { start = (j + 1) % count, breaks++; }
    }
    if (breaks > 1) { return 0; }
    for (uint32_t j = 0; j < count; j++) { turned[j] = list[(start + j) % count]; }
    memcpy(list, turned, count * sizeof *list);
    return step;
}

/* What the pieces of a map cost, in units of a transform of a limb (measured at N = 2^15 and 2^16). An inner product
 * streams two limbs of key per digit and row, 0.9 of a transform; the raised digits of a giant step go through memory
 * once more. A further key is priced at about one and a half times the reading of it, which decides between
 * splits of nearly equal time; four times as much when memory is scarce. */
typedef struct price {
    double baby, giant, baby_key, giant_key, cell;
} price;

static price price_of(const rfhe_ckks *c, uint32_t level, uint32_t special, bool is_raised, bool is_lean, bool has_runs)
{
    const double limbs = level + 1, rows = limbs + special;
    const double digits = rfhe_gadget_digits(&c->gadget[special - 1], level);
    const double own_rows = is_raised ? limbs + 2 : rows, own_digits = is_raised ? 1 : digits;
    const double weight = is_lean ? 6 : 1.5;
    const double transforms = digits * rows + limbs + special;
    const double conversions = limbs * (rows - limbs / digits) + special * limbs;

    return (price){.baby = own_rows * (0.9 * own_digits + 1.3),
                   .giant = transforms + conversions / 14 + 1.9 * digits * rows + 3.5 * rows,
                   .baby_key = weight * own_digits * own_rows,
                   .giant_key = weight * digits * rows,
                   .cell = own_rows * (has_runs ? 0.3 : is_lean ? 2 : 0.7)};
}

double rfhe_linear_estimate(const rfhe_ckks *c, size_t count, uint32_t log2_period, uint32_t level, bool is_raised,
                            bool is_lean)
{
    const bool has_runs = log2_period + 1 + MIN_LOG2_RUN <= c->log2_n;
    const price p = price_of(c, level, rfhe_best_special(c, level), is_raised, is_lean, has_runs);
    double best = INFINITY;

    for (size_t babies = 1; babies <= count && babies <= MAX_BABY; babies *= 2) {
        const size_t giants = (count + babies - 1) / babies;
        if (giants > MAX_GIANT) { continue; }
        const double x = (double)(babies - (is_raised ? 0 : 1)) * (p.baby + p.baby_key) + (double)(giants - 1) * p.giant +
                         (giants > 1 ? p.giant_key : 0);
        best = fmin(best, x);
    }
    return best + (double)count * p.cell;
}

static rfhe_status choose(rfhe_linear_map *m, const uint32_t *index, size_t count, uint32_t wish, rfhe_error *err)
{
    const price p = price_of(m->c, m->level, m->special, m->is_raised, m->is_lean, m->log2_run != 0);
    double best = INFINITY;
    uint32_t list[MAX_BABY > MAX_GIANT ? MAX_BABY : MAX_GIANT], pick = 0;
    bool one_key = false;

    for (uint32_t n1 = 1; n1 <= m->n; n1 *= 2) {
        if (wish != 0 && n1 != wish) { continue; }
        const uint32_t babies = distinct(index, count, n1, false, list, MAX_BABY);
        const uint32_t switched = babies > MAX_BABY ? 0 : babies - (list[0] == 0 && !m->is_raised ? 1 : 0);
        const uint32_t giants = distinct(index, count, n1, true, list, MAX_GIANT);
        if (babies > MAX_BABY || giants > MAX_GIANT) { continue; }
        const uint32_t singly = giants - (list[0] == 0 ? 1 : 0);
        const bool is_run = as_run(list, giants, (uint32_t)m->n) != 0;
        const uint32_t first = list[0] != 0 ? 1 : 0;
        const double x = switched * (p.baby + p.baby_key);
        const double by_run = is_run ? x + (giants - 1 + first) * p.giant + (1 + first) * p.giant_key : INFINITY;
        const double by_one = x + singly * (p.giant + p.giant_key);
        if (fmin(by_run, by_one) < best) { best = fmin(by_run, by_one), pick = n1, one_key = by_run <= by_one; }
    }
    if (pick == 0) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "no split of %zu diagonals into baby and giant steps%s", count,
                         wish != 0 ? " as wished" : "");
    }
    m->babies = distinct(index, count, pick, false, m->baby, MAX_BABY);
    m->giants = distinct(index, count, pick, true, m->giant, MAX_GIANT);
    m->step = one_key ? as_run(m->giant, m->giants, (uint32_t)m->n) : 0;
    uint32_t at = 0;
    for (uint32_t j = 0; j < m->giants; j++) {
        for (size_t i = 0; i < count; i++) {
            if (index[i] / pick * pick != m->giant[j]) { continue; }
            uint32_t b = 0;
            while (m->baby[b] != index[i] % pick) { b++; }
            m->cell[at++] = (cell){.baby = b, .giant = j};
        }
    }
    m->cells = at;
    return RFHE_OK;
}

/* ---- Making a map ---- */

/* The shortest period, a power of two, of n numbers. */
static size_t period(const double *x, size_t n)
{
    while (n > 1 && memcmp(x, x + n / 2, n / 2 * sizeof *x) == 0) { n /= 2; }
    return n;
}

/* Whether N numbers, rounded, are below 2^30 and below every prime of the map. */
static bool is_narrow(const rfhe_linear_map *m, const double *x)
{
    const rfhe_ckks *c = m->c;
    double most = 0, least = 0x1p30;

    for (uint32_t r = 0; r <= m->level + m->own_special; r++) {
        least = fmin(least, (double)c->m[rfhe_row_prime(c, m->level, r)].q);
    }
    for (size_t i = 0; i < c->n; i++) { most = fmax(most, fabs(x[i])); }
    return most + 1 < least;
}

/* Fills the diagonal of a cell from n slots re, im. work: N + 2n doubles. */
static rfhe_status encode_cell(rfhe_linear_map *m, uint32_t place, const double *re, const double *im, double *work,
                               rfhe_error *err)
{
    const rfhe_ckks *c = m->c;
    const size_t n = c->n, kept = n >> m->log2_run, slots = m->log2_run == 0 ? m->n : kept / 2;
    const uint32_t rows = m->level + 1 + m->own_special;
    cell *const x = &m->cell[place];
    uint64_t *whole = NULL;
    rfhe_status st = RFHE_OK;

    (void)rfhe_slots_to_coeffs(c, work, work + n, re, im, slots, m->pt_scale);
    RFHE_TRY(rfhe_check_coeffs(c, work, n, m->level, err));
    if (m->coefs != NULL || m->narrows != NULL) {
        if (m->narrows != NULL && is_narrow(m, work)) {
            int32_t *const narrow = m->narrows + place * n;
            for (size_t i = 0; i < n; i++) { narrow[i] = (int32_t)rint(work[i]); }
            x->narrow = narrow;
            goto done;
        }
        if (m->coefs == NULL) { m->coefs = rfhe_alloc(m->cells * n, sizeof *m->coefs); }
        if (m->coefs == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a linear map of %" PRIu32 " diagonals", m->cells);
            goto done;
        }
        memcpy(m->coefs + place * n, work, n * sizeof *work);
        x->coef = m->coefs + place * n;
        goto done;
    }
    whole = rfhe_alloc(rows * n, sizeof *whole);
    if (whole == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a linear map of %" PRIu32 " diagonals", m->cells);
        goto done;
    }
    uint64_t *const limb = m->limbs + place * rows * kept;
    rfhe_coeffs_to_limbs(c, whole, work, m->level, m->own_special);
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t prime = rfhe_row_prime(c, m->level, r);
        uint64_t *const from = whole + r * n, *const to = limb + r * kept;
        for (size_t i = 0; i < kept; i++) { to[i] = from[i << m->log2_run]; }
        for (uint32_t p = m->own_special; p < m->special; p++) {
            const uint64_t q = c->m[prime].q;
            c->k->mul_const(to, to, rfhe_shoup_make(c->m[c->n_q + p].q % q, q), kept, &c->m[prime]);
        }
    }
    x->limb = limb;

done:
    rfhe_free(whole);
    return st;
}

static rfhe_status make(rfhe_linear_map **out, const rfhe_ckks *c, size_t n, const rfhe_diagonal *diagonal,
                        size_t count, uint32_t level, bool is_raised, const rfhe_linear_options *opt, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_linear_map *m = NULL;
    uint32_t *index = NULL;
    double *re = NULL, *sum = NULL;
    size_t longest = 1;

    m = rfhe_calloc(1, sizeof *m);
    index = rfhe_alloc(count, sizeof *index);
    re = rfhe_alloc(4 * n + c->n, sizeof *re);
    sum = rfhe_calloc(2 * n, sizeof *sum);
    if (m != NULL) { m->cell = rfhe_calloc(count, sizeof *m->cell); }
    if (m == NULL || index == NULL || re == NULL || sum == NULL || m->cell == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a linear map of %zu diagonals", count);
        goto done;
    }
    m->c = rfhe_ckks_share(c);
    m->n = n;
    m->level = level;
    m->is_raised = is_raised;
    m->is_lean = opt->lean;
    m->special = opt->special != 0 ? opt->special : rfhe_best_special(c, level);
    if (is_raised && m->special < 2) { m->special = 2; }
    m->own_special = is_raised ? 2 : m->special;
    m->in_scale = opt->in_scale != 0 ? opt->in_scale : c->scale[level];
    m->out_scale = opt->out_scale != 0 ? opt->out_scale : c->scale[level - 1];
    m->pt_scale = m->out_scale * ((double)c->m[is_raised ? c->n_q + 1 : level].q / m->in_scale);
    for (size_t i = 0; i < count; i++) {
        const int64_t k = diagonal[i].index % (int64_t)n;
        const size_t p = period(diagonal[i].re, n), q = diagonal[i].im != NULL ? period(diagonal[i].im, n) : 1;
        longest = p > longest ? p : longest;
        longest = q > longest ? q : longest;
        index[i] = (uint32_t)(k < 0 ? k + (int64_t)n : k);
        for (size_t j = 0; j < i; j++) {
            if (index[j] == index[i]) {
                st = rfhe_fail(err, RFHE_E_ARG, "diagonal %" PRIu32 " is given twice", index[i]);
                goto done;
            }
        }
    }
    m->log2_run = c->log2_n - 1 - (uint32_t)__builtin_ctzll(longest);
    if (m->log2_run < MIN_LOG2_RUN) { m->log2_run = 0; }
    RFHE_TRY(choose(m, index, count, opt->baby, err));
    /* One piece for all: memory comes in huge pages, of which every piece leaves half of one unused. */
    if (m->is_lean && m->log2_run == 0 && m->pt_scale <= 0x1p32) {
        m->narrows = rfhe_alloc(m->cells * c->n, sizeof *m->narrows);
    } else if (m->is_lean && m->log2_run == 0) {
        m->coefs = rfhe_alloc(m->cells * c->n, sizeof *m->coefs);
    } else {
        m->limbs = rfhe_alloc(m->cells * (m->level + 1 + m->own_special) * (c->n >> m->log2_run), sizeof *m->limbs);
    }
    if (m->coefs == NULL && m->limbs == NULL && m->narrows == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a linear map of %zu diagonals", count);
        goto done;
    }
    for (uint32_t x = 0; x < m->cells; x++) {
        const uint32_t g = m->giant[m->cell[x].giant], k = (g + m->baby[m->cell[x].baby]) % (uint32_t)n;
        size_t which = 0;
        while (index[which] != k) { which++; }
        const rfhe_diagonal *d = &diagonal[which];
        for (size_t i = 0; i < n; i++) {
            const size_t from = (i + n - g % n) % n;
            re[i] = d->re[from];
            re[n + i] = d->im != NULL ? d->im[from] : 0;
            const double size = hypot(re[i], re[n + i]);
            sum[from] += size;
            sum[n + from] += size * size;
        }
        RFHE_TRY(encode_cell(m, x, re, re + n, re + 2 * n, err));
    }
    for (size_t i = 0; i < n; i++) {
        m->row_sum = fmax(m->row_sum, sum[i]);
        m->row_rms = fmax(m->row_rms, sqrt(sum[n + i]));
    }
    *out = m;
    m = NULL;
done:
    rfhe_free(index);
    rfhe_free(re);
    rfhe_free(sum);
    rfhe_linear_map_free(m);
    return st;
}

static rfhe_status check_shape(const rfhe_ckks *c, size_t n, size_t count, rfhe_error *err)
{
    if (!rfhe_is_slot_count(c, n)) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu slots: must be a power of two of at most %zu", n, c->n / 2);
    }
    if (count == 0 || count > n) {
        return rfhe_fail(err, RFHE_E_ARG, "a matrix of %zu diagonals on %zu slots", count, n);
    }
    return RFHE_OK;
}

rfhe_status rfhe_linear_map_new(rfhe_linear_map **out, const rfhe_ckks *c, size_t n, const rfhe_diagonal *diagonal,
                                size_t count, uint32_t level, const rfhe_linear_options *opt, rfhe_error *err)
{
    const rfhe_linear_options none = {0};
    const rfhe_status st = check_shape(c, n, count, err);

    if (opt == NULL) { opt = &none; }
    if (st != RFHE_OK) { return st; }
    if (level == 0 || level >= c->n_q) {
        return rfhe_fail(err, RFHE_E_DEPTH, "a linear map at level %u: 1 .. %u are possible", level, c->n_q - 1);
    }
    if (opt->special > c->n_p) {
        return rfhe_fail(err, RFHE_E_ARG, "a map with %u special primes: the parameters have %u", opt->special, c->n_p);
    }
    return make(out, c, n, diagonal, count, level, false, opt, err);
}

rfhe_status rfhe_linear_map_raised_new(rfhe_linear_map **out, const rfhe_ckks *c, size_t n,
                                       const rfhe_diagonal *diagonal, size_t count, const rfhe_linear_options *opt,
                                       rfhe_error *err)
{
    const rfhe_status st = check_shape(c, n, count, err);

    if (st != RFHE_OK) { return st; }
    if (c->n_p < 2) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "the way to slots wants two special primes, the parameters have one");
    }
    return make(out, c, n, diagonal, count, c->n_q - 1, true, opt, err);
}

void rfhe_linear_map_free(rfhe_linear_map *m)
{
    if (m == NULL) { return; }
    rfhe_free(m->limbs);
    rfhe_free(m->coefs);
    rfhe_free(m->narrows);
    rfhe_free(m->cell);
    rfhe_ckks_free(m->c);
    rfhe_free(m);
}

size_t rfhe_linear_map_bytes(const rfhe_linear_map *m)
{
    const size_t limb = (m->level + 1 + m->own_special) * (m->c->n >> m->log2_run) * sizeof(uint64_t);
    size_t bytes = 0;

    for (uint32_t x = 0; x < m->cells; x++) {
        const cell *k = &m->cell[x];
        bytes += k->limb != NULL ? limb : m->c->n * (k->narrow != NULL ? sizeof *k->narrow : sizeof *k->coef);
    }
    return bytes;
}

void rfhe_linear_map_rotations(const rfhe_linear_map *m, uint32_t *baby, uint32_t *giant)
{
    *baby = *giant = 0;
    for (uint32_t b = 0; b < m->babies; b++) { *baby += m->baby[b] != 0 || m->is_raised; }
    for (uint32_t g = 0; g < m->giants; g++) { *giant += m->giant[g] != 0; }
    if (m->step != 0) { *giant = m->giants - 1 + (m->giant[0] != 0 ? 1 : 0); }
}

static uint32_t baby_element(const rfhe_linear_map *m, uint32_t b)
{
    const uint32_t g = rfhe_element_rotate(m->c, m->baby[b]);

    return m->is_raised ? RFHE_ELEMENT_RELEASE | g : g;
}

/* Giant j's key: a rotation of its own, or Horner's step (the last one, of giant 0, rotates by where the run starts). */
static uint32_t giant_rotation(const rfhe_linear_map *m, uint32_t j)
{
    return m->step != 0 && j > 0 ? m->step : m->giant[j];
}

rfhe_status rfhe_linear_map_keys(const rfhe_linear_map *m, rfhe_key_list *list, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    for (uint32_t b = 0; b < m->babies; b++) {
        if (m->baby[b] == 0 && !m->is_raised) { continue; }
        RFHE_TRY(rfhe_key_list_add(list, baby_element(m, b), m->level, m->own_special, err));
    }
    for (uint32_t g = 0; g < m->giants; g++) {
        const uint32_t by = giant_rotation(m, g);
        if (by == 0) { continue; }
        RFHE_TRY(rfhe_key_list_add(list, rfhe_element_rotate(m->c, by), m->level, m->special, err));
    }
done:
    return st;
}

/* ---- Applying a map ---- */

/* The digits of row r, transformed where they are still coefficients. */
static void digits_of_row(const rfhe_evaluator *ev, const rfhe_gadget *g, uint32_t level, uint32_t r, bool transform,
                          const uint64_t **digit)
{
    const rfhe_ckks *c = ev->c;
    const uint32_t rows = level + 1 + g->special, digits = rfhe_gadget_digits(g, level);

    for (uint32_t d = 0; d < digits; d++) {
        if (r <= level && g->digit_of[r] == d) {
            digit[d] = ev->own + r * c->n;
        } else {
            uint64_t *const x = ev->raised + ((size_t)d * rows + r) * c->n;
            if (transform) { c->k->ntt_forward(x, &c->ntt[rfhe_row_prime(c, level, r)]); }
            digit[d] = x;
        }
    }
}

static void inner_row(const rfhe_evaluator *ev, const rfhe_key *key, uint32_t digits, uint32_t level, uint32_t r,
                      const uint64_t *const *digit, uint64_t *r0, uint64_t *r1)
{
    const rfhe_ckks *c = ev->c;
    const uint64_t *k0[RFHE_CKKS_MAX_DIGITS], *k1[RFHE_CKKS_MAX_DIGITS];
    const uint32_t key_row = r <= level ? r : key->level + r - level;

    for (uint32_t d = 0; d < digits; d++) {
        k0[d] = rfhe_key_limb(key, d, key_row, 0, c->n);
        k1[d] = rfhe_key_limb(key, d, key_row, 1, c->n);
    }
    c->k->inner(r0, r1, digit, k0, k1, digits, c->n, false, &c->m[rfhe_row_prime(c, level, r)]);
}

/* Limb of half h of the input in row r; special rows of raised inputs lie in ev->lift. */
static const uint64_t *input_row(const rfhe_evaluator *ev, const rfhe_linear_map *m, const rfhe_ct *a, uint32_t h,
                                 uint32_t r)
{
    return r <= m->level ? rfhe_ct_limb(a, h, r) : ev->lift[h] + (size_t)(r - m->level - 1) * ev->c->n;
}

/* The babies of row r: rot_b(x) times P (p1 for raised inputs). babies: half h of baby b at (2b + h) n, then room for two
 * limbs. */
static void row_babies(const rfhe_evaluator *ev, const rfhe_linear_map *m, const rfhe_ct *a,
                       const rfhe_key *const *keys, uint32_t r, uint64_t *babies)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const rfhe_gadget *g = &c->gadget[m->special - 1];
    const size_t n = c->n;
    const uint32_t level = m->level, prime = rfhe_row_prime(c, level, r);
    const rfhe_modulus *mod = &c->m[prime];
    uint64_t *const t0 = babies + (size_t)2 * m->babies * n, *const t1 = t0 + n;
    const uint64_t *digit[RFHE_CKKS_MAX_DIGITS] = {NULL};
    uint32_t digits = 1;
    /* The gadget's factor in this row. */
    rfhe_shoup factor = r <= level ? g->p_mod[r] : (rfhe_shoup){0};

    if (m->is_raised) {
        factor = rfhe_shoup_make(c->m[c->n_q].q % mod->q, mod->q);
        digit[0] = input_row(ev, m, a, 1, r);
    } else if (m->babies > 1 || m->baby[0] != 0) {
        digits = rfhe_gadget_digits(g, level);
        digits_of_row(ev, g, level, r, true, digit);
    }
    for (uint32_t b = 0; b < m->babies; b++) {
        uint64_t *const b0 = babies + (size_t)2 * b * n, *const b1 = b0 + n;
        if (m->baby[b] == 0 && !m->is_raised) { /* P x itself, which is 0 modulo the special primes */
            if (factor.w != 0) {
                k->mul_const(b0, rfhe_ct_limb(a, 0, r), factor, n, mod);
                k->mul_const(b1, rfhe_ct_limb(a, 1, r), factor, n, mod);
            } else {
                memset(b0, 0, 2 * n * sizeof *b0);
            }
            continue;
        }
        const bool moves = m->baby[b] != 0;
        uint64_t *const x0 = moves ? t0 : b0, *const x1 = moves ? t1 : b1;
        inner_row(ev, keys[b], digits, level, r, digit, x0, x1);
        if (factor.w != 0) { k->mul_add_const(x0, input_row(ev, m, a, 0, r), factor, n, mod); }
        if (moves) {
            const uint32_t element = keys[b]->element & ~(uint32_t)RFHE_ELEMENT_RELEASE;
            k->automorphism_ntt(b0, t0, c->log2_n, element, c->rev);
            k->automorphism_ntt(b1, t1, c->log2_n, element, c->rev);
        }
    }
}

/* Limb of prime `mod` of a diagonal kept as coefficients. */
static void make_limb(const rfhe_linear_map *m, const cell *x, uint32_t prime, uint64_t *y)
{
    const rfhe_ckks *c = m->c;
    const size_t n = c->n;
    const rfhe_modulus *mod = &c->m[prime];

    if (x->narrow != NULL) { /* below 2q: the transform takes that */
        for (size_t i = 0; i < n; i++) { y[i] = (uint64_t)((int64_t)x->narrow[i] + (int64_t)mod->q); }
    } else {
        c->k->from_f64(y, x->coef, n, mod);
    }
    for (uint32_t p = m->own_special; p < m->special; p++) {
        c->k->mul_const(y, y, rfhe_shoup_make(c->m[c->n_q + p].q % mod->q, mod->q), n, mod);
    }
    c->k->ntt_forward(y, &c->ntt[prime]);
}

/* Step 2: all babies of a row, then all giants' sums of it. sums: giant j, half h, row r at ((j*2 + h)*rows + r)*n.
 * space: this thread's room for the babies, two limbs, and LEAN_GROUP diagonals when they are kept as coefficients: so
 * many are transformed at a time, and used while they are in the cache. */
static void row_sums(const rfhe_evaluator *ev, const rfhe_linear_map *m, const rfhe_ct *a, const rfhe_key *const *keys,
                     uint32_t r, uint64_t *space, uint64_t *sums)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const size_t n = c->n, kept = n >> m->log2_run;
    const bool is_lean = m->is_lean && m->log2_run == 0;
    const size_t tile = is_lean || n < RFHE_TILE ? n : RFHE_TILE;
    const uint32_t level = m->level, rows = level + 1 + m->special, prime = rfhe_row_prime(c, level, r);
    const rfhe_modulus *mod = &c->m[prime];
    uint64_t *const fresh = space + (2 * (size_t)m->babies + 2) * n;
    const uint64_t *d[MAX_BABY], *x0[MAX_BABY], *x1[MAX_BABY];

    if (r > level + m->own_special) { /* a special prime that divides the raised diagonals */
        for (uint32_t j = 0; j < 2 * m->giants; j++) { memset(sums + ((size_t)j * rows + r) * n, 0, n * sizeof *sums); }
        return;
    }
    row_babies(ev, m, a, keys, r, space);
    for (size_t o = 0; o < n; o += tile) {
        for (uint32_t x = 0; x < m->cells;) {
            const uint32_t j = m->cell[x].giant, most = is_lean ? LEAN_GROUP : MAX_BABY;
            const bool adds = x > 0 && m->cell[x - 1].giant == j;
            uint32_t count = 0;
            for (; count < most && x < m->cells && m->cell[x].giant == j; x++, count++) {
                x0[count] = space + (size_t)2 * m->cell[x].baby * n + o;
                x1[count] = x0[count] + n;
                if (is_lean) {
                    uint64_t *const y = fresh + (size_t)count * n;
                    make_limb(m, &m->cell[x], prime, y);
                    d[count] = y;
                } else {
                    d[count] = m->cell[x].limb + r * kept + (o >> m->log2_run);
                }
            }
            uint64_t *const s0 = sums + ((size_t)j * 2 * rows + r) * n + o, *const s1 = s0 + (size_t)rows * n;
            if (m->log2_run != 0) {
                k->inner_runs(s0, s1, d, x0, x1, count, tile, m->log2_run, mod);
            } else {
                k->inner(s0, s1, d, x0, x1, count, tile, adds, mod);
            }
        }
    }
}

/* Rotates the pair at u (rows limbs each; destroyed) by `key` modulo Q P: into `to`, or added to it. x: level + 1 limbs,
 * space: two limbs per thread. `to` may be u itself when nothing is added. */
static void giant_step(rfhe_evaluator *ev, const rfhe_linear_map *m, const rfhe_key *key, uint64_t *u, uint64_t *to,
                       bool adds, uint64_t *x, uint64_t *space, size_t per_thread)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const rfhe_gadget *g = &c->gadget[m->special - 1];
    const size_t n = c->n;
    const uint32_t level = m->level, rows = level + 1 + m->special;
    uint64_t *const u1 = u + (size_t)rows * n;

    rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = g, .level = level, .halves = 1, .acc = {u1}, .out = {x}});
    rfhe_decompose(ev, g, x, level, false, NULL, NULL);
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
    for (uint32_t r = 0; r < rows; r++) {
        const rfhe_modulus *mod = &c->m[rfhe_row_prime(c, level, r)];
        const uint64_t *digit[RFHE_CKKS_MAX_DIGITS];
        uint64_t *const t0 = space + (size_t)omp_get_thread_num() * per_thread, *const t1 = t0 + n;
        digits_of_row(ev, g, level, r, true, digit);
        inner_row(ev, key, rfhe_gadget_digits(g, level), level, r, digit, t0, t1);
        k->add(t0, t0, u + r * n, n, mod);
        for (uint32_t h = 0; h < 2; h++) {
            uint64_t *const out = to + ((size_t)h * rows + r) * n, *const y = adds ? ev->acc[0] + r * n : out;
            k->automorphism_ntt(y, h == 0 ? t0 : t1, c->log2_n, key->element, c->rev);
            if (adds) { k->add(out, out, y, n, mod); }
        }
    }
}

static rfhe_status check_input(const rfhe_evaluator *ev, const rfhe_ct *out, const rfhe_ct *a, const rfhe_linear_map *m,
                               rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    if (!rfhe_ckks_same(m->c, ev->c)) {
        st = rfhe_fail(err, RFHE_E_ARG, "the linear map belongs to other parameters than the evaluator");
        goto done;
    }
    if (a->parts != 2) {
        st = rfhe_fail(err, RFHE_E_ARG, "the operand has three parts; relinearise it first");
        goto done;
    }
    if (a->level < m->level) {
        st = rfhe_fail(err, RFHE_E_DEPTH, "the linear map was made for level %u, the ciphertext is at %u", m->level,
                       a->level);
        goto done;
    }
    RFHE_TRY(rfhe_check_same_scale(a->scale, m->in_scale, err));
done:
    return st;
}

/* Both halves of a raised input modulo the first two special primes, from its residues modulo q_0, into ev->lift. */
static void lift_to_special(rfhe_evaluator *ev, const rfhe_ct *a)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n;
    const uint64_t q = c->m[0].q;

#pragma omp parallel for schedule(static) num_threads(ev->threads)
    for (uint32_t h = 0; h < 2; h++) {
        int64_t *const centred = (int64_t *)(void *)(ev->lift[h] + 2 * n);
        uint64_t *const base = ev->lift[h];
        memcpy(base, rfhe_ct_limb(a, h, 0), n * sizeof *base);
        c->k->ntt_inverse(base, &c->ntt[0]);
        for (size_t i = 0; i < n; i++) { centred[i] = (int64_t)base[i] - (base[i] > q / 2 ? (int64_t)q : 0); }
        for (uint32_t p = 0; p < 2; p++) {
            c->k->from_i64(ev->lift[h] + p * n, centred, n, &c->m[c->n_q + p]);
            c->k->ntt_forward(ev->lift[h] + p * n, &c->ntt[c->n_q + p]);
        }
    }
}

/* The error of a result, from the operand's; *out still has neither scale nor error. */
static double result_error(const rfhe_linear_map *m, const rfhe_ct *a, double baby_noise, double giant_noise)
{
    const rfhe_ckks *c = m->c;
    const double rounded = rfhe_noise_slot(c, rfhe_noise_rounding(c), m->out_scale);
    const double switched = rfhe_noise_slot(c, baby_noise, a->scale);
    const double encoded = a->bound * rfhe_noise_slot(c, 1.0 / 12, m->pt_scale) * sqrt(m->cells);
    const double carried = m->row_rms * hypot(a->error, switched);
    /* Giants switch sums that have not been rescaled. */
    const double giants = rfhe_noise_slot(c, giant_noise * m->giants,
                                          m->is_raised ? m->out_scale : a->scale * m->pt_scale);

    return sqrt(carried * carried + encoded * encoded + rounded * rounded + giants * giants);
}

rfhe_status rfhe_ct_linear(rfhe_ct *out, const rfhe_ct *a, const rfhe_linear_map *m, rfhe_evaluator *ev,
                           rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    const size_t n = c->n;
    const uint32_t level = m->level, rows = level + 1 + m->special;
    rfhe_status st = RFHE_OK;
    const rfhe_key *baby_key[MAX_BABY] = {NULL}, *giant_key[MAX_GIANT] = {NULL};
    double baby_noise = 0, giant_noise = 0;

    RFHE_TRY(check_input(ev, out, a, m, err));
    const rfhe_gadget *const g = &c->gadget[m->special - 1];
    for (uint32_t b = 0; b < m->babies; b++) {
        if (m->baby[b] == 0 && !m->is_raised) { continue; }
        RFHE_TRY(rfhe_key_need(&baby_key[b], ev, baby_element(m, b), level, m->own_special, err));
        baby_noise = m->is_raised ? rfhe_noise_release(c) : rfhe_noise_key_switch(c, baby_key[b], level);
    }
    for (uint32_t j = 0; j < m->giants; j++) {
        const uint32_t by = giant_rotation(m, j);
        if (by == 0) { continue; }
        RFHE_TRY(rfhe_key_need(&giant_key[j], ev, rfhe_element_rotate(c, by), level, m->special, err));
        giant_noise = rfhe_noise_key_switch(c, giant_key[j], level);
    }
    const bool has_babies = m->babies > 1 || m->baby[0] != 0, is_lean = m->is_lean && m->log2_run == 0;
    const size_t per_thread = (2 * (size_t)m->babies + 2 + (is_lean ? LEAN_GROUP : 0)) * n, sums_words = (size_t)m->giants * 2 * rows * n;
    RFHE_TRY(rfhe_evaluator_wide(ev, ev->threads * per_thread + sums_words + (size_t)(level + 1) * n, err));
    RFHE_TRY(rfhe_ct_reserve(out, m->is_raised ? level : level - 1, 2, err));
    uint64_t *const space = ev->wide, *const sums = space + ev->threads * per_thread, *const x = sums + sums_words;

    if (m->is_raised) {
        lift_to_special(ev, a);
    } else if (has_babies) { /* else there is nothing to switch, and perhaps no key and no room for digits */
        rfhe_decompose(ev, g, rfhe_ct_limb(a, 1, 0), level, false, NULL, NULL);
    }
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
    for (uint32_t r = 0; r < rows; r++) {
        row_sums(ev, m, a, baby_key, r, space + (size_t)omp_get_thread_num() * per_thread, sums);
    }
    const size_t pair = (size_t)2 * rows * n;
    if (m->step != 0) {
        for (uint32_t j = m->giants - 1; j > 0; j--) {
            giant_step(ev, m, giant_key[j], sums + j * pair, sums + (j - 1) * pair, true, x, space, per_thread);
        }
        if (giant_key[0] != NULL) { giant_step(ev, m, giant_key[0], sums, sums, false, x, space, per_thread); }
    } else { /* the total gathers in the first giant's place */
        for (uint32_t j = 0; j < m->giants; j++) {
            if (giant_key[j] == NULL) { continue; }
            giant_step(ev, m, giant_key[j], sums + j * pair, sums, j != 0, x, space, per_thread);
        }
    }
    rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = g,
                                            .level = level,
                                            .rescale = !m->is_raised,
                                            .halves = 2,
                                            .acc = {sums, sums + (size_t)rows * n},
                                            .out = {rfhe_ct_limb(out, 0, 0), rfhe_ct_limb(out, 1, 0)}});
    const double error = result_error(m, a, baby_noise, giant_noise), bound = a->bound * m->row_sum;
    out->scale = a->scale * m->pt_scale / (double)c->m[m->is_raised ? c->n_q + 1 : level].q;
    out->parts = 2;
    out->level = m->is_raised ? level : level - 1;
    out->has_seed = false;
    out->bound = bound;
    out->error = error;
done:
    return st;
}
