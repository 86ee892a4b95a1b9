/* Linear maps on slots by diagonals, baby-step giant-step with double hoisting.
 *
 * Rotation by k = g + b, b < n1 the baby step, g a multiple of n1 the giant step:
 *   out = sum_g rot_g( sum_b D'_(g,b) * rot_b(x) ),   D'_(g,b)[i] = D_(g+b)[i - g]
 * Everything stays modulo Q P until it must be decomposed:
 *   1  x's second half is decomposed once;
 *   2  per row (prime of Q or P): all babies of this row are made (inner product with a key's row, + P times x's first
 *      half, automorphism), then all giants' sums of this row; babies live only as long as their row;
 *   3  per giant g != 0: the second half of its sum is divided by P, decomposed, switched, and the pair joins the total;
 *   4  the total is divided by P q once.
 * So the b rotations of the babies cost an inner product each and nothing else. Source: [BMTH21], section 4;
 * the row order is ours. */
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/encode.h"

enum { MAX_BABY = 256, MAX_GIANT = 256 };

typedef struct cell {
    uint32_t baby, giant; /* positions in the lists below */
    rfhe_pt *pt;
} cell;

struct rfhe_linear_map {
    rfhe_ckks *c;
    size_t n;
    uint32_t level, special;
    double in_scale, pt_scale;
    double row_sum, row_rms; /* largest over rows of sum |d|; root of the largest sum |d|^2 */
    uint32_t babies, giants, cells;
    uint32_t baby[MAX_BABY], giant[MAX_GIANT]; /* rotations; giant[0] = 0 when present */
    cell *cell;                                /* sorted by giant */
};

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
    return made;
}

/* In units of a transform. The inner product of a rotation streams its key from memory, 2 b rows limbs of it, at about
 * 0.9 of a transform's time per digit and row (measured: 12 GB/s against 43 us at N = 2^15); key_price adds a third of
 * that for the memory a further key occupies, which decides between splits of nearly equal time. */
static double cost(const rfhe_ckks *c, uint32_t level, uint32_t special, uint32_t babies, uint32_t giants)
{
    const double rows = level + 1 + special, b = rfhe_gadget_digits(&c->gadget[special - 1], level);
    const double key_price = 0.3 * b * rows;
    const double baby = rows * (0.9 * b + 0.3) + key_price;
    const double giant = b * rows + 2 * special + 2 * (level + 1) + 0.9 * b * rows + rows + key_price;

    return babies * baby + giants * giant;
}

static rfhe_status choose(rfhe_linear_map *m, const uint32_t *index, size_t count, uint32_t wish, rfhe_error *err)
{
    double best = INFINITY;
    uint32_t list[MAX_BABY > MAX_GIANT ? MAX_BABY : MAX_GIANT], pick = 0;

    for (uint32_t n1 = 1; n1 <= m->n; n1 *= 2) {
        if (wish != 0 && n1 != wish) { continue; }
        const uint32_t babies = distinct(index, count, n1, false, list, MAX_BABY);
        const uint32_t giants = distinct(index, count, n1, true, list, MAX_GIANT);
        if (babies > MAX_BABY || giants > MAX_GIANT) { continue; }
        const double x = cost(m->c, m->level, m->special, babies, giants);
        if (x < best) { best = x, pick = n1; }
    }
    if (pick == 0) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "no split of %zu diagonals into baby and giant steps%s", count,
                         wish != 0 ? " as wished" : "");
    }
    m->babies = distinct(index, count, pick, false, m->baby, MAX_BABY);
    m->giants = distinct(index, count, pick, true, m->giant, MAX_GIANT);
    /* The giant step 0 first: it needs no switch. */
    for (uint32_t j = 1; j < m->giants; j++) {
        if (m->giant[j] == 0) {
            m->giant[j] = m->giant[0];
            m->giant[0] = 0;
        }
    }
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

rfhe_status rfhe_linear_map_new(rfhe_linear_map **out, const rfhe_ckks *c, size_t n, const rfhe_diagonal *diagonal,
                                size_t count, uint32_t level, const rfhe_linear_options *opt, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_linear_map *m = NULL;
    uint32_t *index = NULL;
    double *re = NULL, *sum = NULL;
    const rfhe_linear_options none = {0};

    if (opt == NULL) { opt = &none; }
    if (!rfhe_is_slot_count(c, n)) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu slots: must be a power of two of at most %zu", n, c->n / 2);
    }
    if (count == 0 || count > n) {
        return rfhe_fail(err, RFHE_E_ARG, "a matrix of %zu diagonals on %zu slots", count, n);
    }
    if (level == 0 || level >= c->n_q) {
        return rfhe_fail(err, RFHE_E_DEPTH, "a linear map at level %u: 1 .. %u are possible", level, c->n_q - 1);
    }
    if (opt->special > c->n_p) {
        return rfhe_fail(err, RFHE_E_ARG, "a map with %u special primes: the parameters have %u", opt->special, c->n_p);
    }
    m = rfhe_calloc(1, sizeof *m);
    index = rfhe_alloc(count, sizeof *index);
    re = rfhe_alloc(2 * n, sizeof *re);
    sum = rfhe_calloc(2 * n, sizeof *sum);
    if (m != NULL) { m->cell = rfhe_calloc(count, sizeof *m->cell); }
    if (m == NULL || index == NULL || re == NULL || sum == NULL || m->cell == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a linear map of %zu diagonals", count);
        goto done;
    }
    m->c = rfhe_ckks_share(c);
    m->n = n;
    m->level = level;
    m->special = opt->special != 0 ? opt->special : rfhe_best_special(c, level);
    m->in_scale = opt->in_scale != 0 ? opt->in_scale : c->scale[level];
    m->pt_scale = (opt->out_scale != 0 ? opt->out_scale : c->scale[level - 1]) * ((double)c->m[level].q / m->in_scale);
    for (size_t i = 0; i < count; i++) {
        const int64_t k = diagonal[i].index % (int64_t)n;
        index[i] = (uint32_t)(k < 0 ? k + (int64_t)n : k);
        for (size_t j = 0; j < i; j++) {
            if (index[j] == index[i]) {
                st = rfhe_fail(err, RFHE_E_ARG, "diagonal %" PRIu32 " is given twice", index[i]);
                goto done;
            }
        }
    }
    RFHE_TRY(choose(m, index, count, opt->baby, err));
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
        RFHE_TRY(rfhe_encode_wide(&m->cell[x].pt, c, re, re + n, n, level, m->special, m->pt_scale, err));
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

void rfhe_linear_map_free(rfhe_linear_map *m)
{
    if (m == NULL) { return; }
    for (uint32_t x = 0; x < m->cells && m->cell != NULL; x++) { rfhe_pt_free(m->cell[x].pt); }
    rfhe_free(m->cell);
    rfhe_ckks_free(m->c);
    rfhe_free(m);
}

size_t rfhe_linear_map_bytes(const rfhe_linear_map *m)
{
    return (size_t)m->cells * (m->level + 1 + m->special) * m->c->n * sizeof(uint64_t);
}

void rfhe_linear_map_rotations(const rfhe_linear_map *m, uint32_t *baby, uint32_t *giant)
{
    *baby = *giant = 0;
    for (uint32_t b = 0; b < m->babies; b++) { *baby += m->baby[b] != 0; }
    for (uint32_t g = 0; g < m->giants; g++) { *giant += m->giant[g] != 0; }
}

rfhe_status rfhe_linear_map_keys(const rfhe_linear_map *m, rfhe_key_list *list, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    for (uint32_t b = 0; b < m->babies; b++) {
        if (m->baby[b] == 0) { continue; }
        RFHE_TRY(rfhe_key_list_add(list, rfhe_element_rotate(m->c, m->baby[b]), m->level, m->special, err));
    }
    for (uint32_t g = 0; g < m->giants; g++) {
        if (m->giant[g] == 0) { continue; }
        RFHE_TRY(rfhe_key_list_add(list, rfhe_element_rotate(m->c, m->giant[g]), m->level, m->special, err));
    }
done:
    return st;
}

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

static void inner_row(const rfhe_evaluator *ev, const rfhe_key *key, const rfhe_gadget *g, uint32_t level, uint32_t r,
                      const uint64_t *const *digit, uint64_t *r0, uint64_t *r1)
{
    const rfhe_ckks *c = ev->c;
    const uint64_t *k0[RFHE_CKKS_MAX_DIGITS], *k1[RFHE_CKKS_MAX_DIGITS];
    const uint32_t key_row = r <= level ? r : key->level + r - level, digits = rfhe_gadget_digits(g, level);

    for (uint32_t d = 0; d < digits; d++) {
        k0[d] = rfhe_key_limb(key, d, key_row, 0, c->n);
        k1[d] = rfhe_key_limb(key, d, key_row, 1, c->n);
    }
    c->k->inner(r0, r1, digit, k0, k1, digits, c->n, false, &c->m[rfhe_row_prime(c, level, r)]);
}

/* Step 2: all babies of a row, then all giants' sums of it. sums: giant j, half h, row r at ((j*2 + h)*rows + r)*n. */
static void row_sums(const rfhe_evaluator *ev, const rfhe_linear_map *m, const rfhe_ct *a, const rfhe_key *const *keys,
                     uint32_t r, uint64_t *babies, uint64_t *sums)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const rfhe_gadget *g = &c->gadget[m->special - 1];
    const size_t n = c->n;
    const uint32_t level = m->level, rows = level + 1 + m->special;
    const rfhe_modulus *mod = &c->m[rfhe_row_prime(c, level, r)];
    uint64_t *const t0 = babies + (size_t)2 * m->babies * n, *const t1 = t0 + n;
    const uint64_t *digit[RFHE_CKKS_MAX_DIGITS], *d[MAX_BABY], *x0[MAX_BABY], *x1[MAX_BABY];

    if (m->babies > 1 || m->baby[0] != 0) { digits_of_row(ev, g, level, r, true, digit); }
    for (uint32_t b = 0; b < m->babies; b++) {
        uint64_t *const b0 = babies + (size_t)2 * b * n, *const b1 = b0 + n;
        if (m->baby[b] == 0) { /* P x itself, which is 0 modulo the special primes */
            if (r <= level) {
                k->mul_const(b0, rfhe_ct_limb(a, 0, r), g->p_mod[r], n, mod);
                k->mul_const(b1, rfhe_ct_limb(a, 1, r), g->p_mod[r], n, mod);
            } else {
                memset(b0, 0, 2 * n * sizeof *b0);
            }
            continue;
        }
        inner_row(ev, keys[b], g, level, r, digit, t0, t1);
        if (r <= level) { k->mul_add_const(t0, rfhe_ct_limb(a, 0, r), g->p_mod[r], n, mod); }
        k->automorphism_ntt(b0, t0, c->log2_n, keys[b]->element, c->rev);
        k->automorphism_ntt(b1, t1, c->log2_n, keys[b]->element, c->rev);
    }
    for (uint32_t x = 0; x < m->cells;) {
        const uint32_t j = m->cell[x].giant;
        uint32_t count = 0;
        for (; x < m->cells && m->cell[x].giant == j; x++, count++) {
            d[count] = m->cell[x].pt->data + r * n;
            x0[count] = babies + (size_t)2 * m->cell[x].baby * n;
            x1[count] = x0[count] + n;
        }
        k->inner(sums + ((size_t)j * 2 * rows + r) * n, sums + (((size_t)j * 2 + 1) * rows + r) * n, d, x0, x1, count,
                 n, false, mod);
    }
}

rfhe_status rfhe_ct_linear(rfhe_ct *out, const rfhe_ct *a, const rfhe_linear_map *m, rfhe_evaluator *ev,
                           rfhe_error *err)
{
    const rfhe_ckks *c = ev->c;
    const rfhe_kernels *k = c->k;
    const size_t n = c->n;
    const rfhe_gadget *g = &c->gadget[m->special - 1];
    const uint32_t level = m->level, rows = level + 1 + m->special;
    rfhe_status st = RFHE_OK;
    const rfhe_key *baby_key[MAX_BABY] = {NULL}, *giant_key[MAX_GIANT] = {NULL};
    double switch_noise = 0;

    RFHE_TRY(rfhe_check_ct(ev, a, "the operand", err));
    RFHE_TRY(rfhe_check_ct(ev, out, "the output", err));
    if (!rfhe_ckks_same(m->c, c)) {
        st = rfhe_fail(err, RFHE_E_ARG, "the linear map belongs to other parameters than the evaluator");
        goto done;
    }
    if (a->parts != 2) {
        st = rfhe_fail(err, RFHE_E_ARG, "the operand has three parts; relinearise it first");
        goto done;
    }
    if (a->level < level) {
        st = rfhe_fail(err, RFHE_E_DEPTH, "the linear map was made for level %u, the ciphertext is at %u", level,
                       a->level);
        goto done;
    }
    RFHE_TRY(rfhe_check_same_scale(a->scale, m->in_scale, err));
    for (uint32_t b = 0; b < m->babies; b++) {
        if (m->baby[b] == 0) { continue; }
        RFHE_TRY(rfhe_key_need(&baby_key[b], ev, rfhe_element_rotate(c, m->baby[b]), level, m->special, err));
        switch_noise = rfhe_noise_key_switch(c, baby_key[b], level);
    }
    for (uint32_t j = 0; j < m->giants; j++) {
        if (m->giant[j] == 0) { continue; }
        RFHE_TRY(rfhe_key_need(&giant_key[j], ev, rfhe_element_rotate(c, m->giant[j]), level, m->special, err));
        switch_noise = rfhe_noise_key_switch(c, giant_key[j], level);
    }
    const size_t per_thread = (2 * (size_t)m->babies + 2) * n, sums_words = (size_t)m->giants * 2 * rows * n;
    RFHE_TRY(rfhe_evaluator_wide(ev, ev->threads * per_thread + sums_words + (size_t)(level + 1) * n, err));
    RFHE_TRY(rfhe_ct_reserve(out, level - 1, 2, err));
    uint64_t *const babies = ev->wide, *const sums = babies + ev->threads * per_thread, *const x = sums + sums_words;

    /* Without a rotation there is nothing to switch, and perhaps no key and no room for digits. */
    if (m->babies > 1 || m->baby[0] != 0) {
        rfhe_decompose(ev, g, rfhe_ct_limb(a, 1, 0), level, false, NULL, NULL);
    }
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
    for (uint32_t r = 0; r < rows; r++) {
        row_sums(ev, m, a, baby_key, r, babies + (size_t)omp_get_thread_num() * per_thread, sums);
    }
    /* The total gathers in the first giant's place; a first giant that is not 0 is switched in its own place. */
    uint64_t *const total0 = sums, *const total1 = sums + (size_t)rows * n;
    for (uint32_t j = 0; j < m->giants; j++) {
        if (m->giant[j] == 0) { continue; }
        uint64_t *const u0 = sums + (size_t)j * 2 * rows * n, *const u1 = u0 + (size_t)rows * n;
        rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = g, .level = level, .halves = 1, .acc = {u1}, .out = {x}});
        rfhe_decompose(ev, g, x, level, false, NULL, NULL);
#pragma omp parallel for schedule(dynamic) num_threads(ev->threads)
        for (uint32_t r = 0; r < rows; r++) {
            const rfhe_modulus *mod = &c->m[rfhe_row_prime(c, level, r)];
            const uint64_t *digit[RFHE_CKKS_MAX_DIGITS];
            uint64_t *const t = babies + (size_t)omp_get_thread_num() * per_thread;
            digits_of_row(ev, g, level, r, true, digit);
            inner_row(ev, giant_key[j], g, level, r, digit, t, t + n);
            k->add(t, t, u0 + r * n, n, mod);
            if (j == 0) {
                k->automorphism_ntt(total0 + r * n, t, c->log2_n, giant_key[j]->element, c->rev);
                k->automorphism_ntt(total1 + r * n, t + n, c->log2_n, giant_key[j]->element, c->rev);
            } else {
                uint64_t *const y = ev->acc[0] + r * n;
                k->automorphism_ntt(y, t, c->log2_n, giant_key[j]->element, c->rev);
                k->add(total0 + r * n, total0 + r * n, y, n, mod);
                k->automorphism_ntt(y, t + n, c->log2_n, giant_key[j]->element, c->rev);
                k->add(total1 + r * n, total1 + r * n, y, n, mod);
            }
        }
    }
    rfhe_mod_down(ev, &(rfhe_mod_down_args){.g = g,
                                            .level = level,
                                            .rescale = true,
                                            .halves = 2,
                                            .acc = {total0, total1},
                                            .out = {rfhe_ct_limb(out, 0, 0), rfhe_ct_limb(out, 1, 0)}});
    const double scale = a->scale * m->pt_scale / (double)c->m[level].q;
    const double switched = rfhe_noise_slot(c, switch_noise, a->scale);
    const double encoded = a->bound * rfhe_noise_slot(c, 1.0 / 12, m->pt_scale) * sqrt(m->cells);
    const double rounded = rfhe_noise_slot(c, rfhe_noise_rounding(c), scale);
    const double carried = m->row_rms * hypot(a->error, switched);
    const double bound = a->bound * m->row_sum;
    out->parts = 2;
    out->level = level - 1;
    out->has_seed = false;
    out->scale = scale;
    out->bound = bound;
    out->error = sqrt(carried * carried + encoded * encoded + rounded * rounded);
done:
    return st;
}
