/* Convolutions and packings as a layer of an encrypted network has them: N = 2^15, the lowest two primes of B15-3.
 *
 * The floor of a row is what its transforms and pointwise products take at the speed of the kernels alone, measured in
 * this process on limbs that are in the cache, divided by the team:
 *   convolve   per input, output and limb: one transform, one pass that adds products to both parts
 *   pack       per merge: the transforms of one key switch, its inner product, the division's passes, four sums
 * Reading inputs and keys from memory, clearing, conversions and scheduling are what a row takes beyond that. */
#include "cli/bench_coefficients.h"

#include "arith/kernels.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/threads.h"
#include "ckks/internal.h"

enum { LOG2_N = 15, N = 1 << LOG2_N, LEVEL = 1, MAX_IN = 8, MAX_OUT = 64, TAPS = 144 };

typedef struct job {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    rfhe_ct *in[MAX_IN], *out[MAX_OUT], *some[MAX_OUT];
    size_t n_in, n_out;
    uint32_t seed;
    uint64_t *limb[3];
} job;

/* A 3 x 3 kernel over 16 interleaved channels, with rows of 34 pixels. */
static size_t kernel(void *ctx, size_t o, size_t j, uint32_t *index, double *value)
{
    const job *const k = ctx;
    uint32_t x = k->seed + (uint32_t)(o * 64 + j);

    for (uint32_t i = 0; i < TAPS; i++) {
        const uint32_t at = 16 * ((i / 16 % 3) + 34 * (i / 48));
        x = x * 1664525 + 1013904223;
        index[i] = (2 * N + at - i % 16) % (2 * N);
        value[i] = (double)(int32_t)x * 0x1p-31;
    }
    return TAPS;
}

static rfhe_status op_convolve(void *user)
{
    job *j = user;

    return rfhe_ct_convolve(j->out, j->n_out, (const rfhe_ct *const *)j->in, j->n_in, kernel, j, TAPS, 0x1p28, j->ev, NULL);
}

/* The contents do not matter for the time, the scale and the level do. */
static rfhe_status reset(job *j, size_t count)
{
    rfhe_status st = RFHE_OK;

    for (size_t i = 0; st == RFHE_OK && i < count; i++) {
        if (j->some[i] != NULL) { st = rfhe_ct_set_scale(j->some[i], 0x1p32, NULL); }
    }
    return st;
}

static rfhe_status op_pack(void *user)
{
    job *j = user;
    const rfhe_status st = reset(j, j->n_out);

    return st != RFHE_OK ? st : rfhe_ct_pack(j->some, j->n_out, 1, j->ev, NULL);
}

static rfhe_status op_scalars(void *user)
{
    job *j = user;
    const rfhe_status st = reset(j, j->n_out);

    return st != RFHE_OK ? st : rfhe_ct_pack_scalars(j->some, j->n_out, 1, j->ev, NULL);
}

static rfhe_status op_ntt(void *user)
{
    job *j = user;

    j->c->k->ntt_forward(j->limb[0], &j->c->ntt[0]);
    return RFHE_OK;
}

/* Both parts of an output, two products each. */
static rfhe_status op_inner(void *user)
{
    job *j = user;
    const uint64_t *const d[2] = {j->limb[0], j->limb[0] + RFHE_TILE};

    for (size_t o = 0; o < N; o += RFHE_TILE) {
        j->c->k->inner(j->limb[1], j->limb[2], d, d, d, 2, RFHE_TILE, false, &j->c->m[0]);
    }
    return RFHE_OK;
}

static rfhe_status op_sum(void *user)
{
    job *j = user;

    for (size_t o = 0; o < N; o += RFHE_TILE) {
        j->c->k->add(j->limb[1], j->limb[0], j->limb[0] + RFHE_TILE, RFHE_TILE, &j->c->m[0]);
    }
    return RFHE_OK;
}

static rfhe_status prepare(job *j, uint64_t seed, rfhe_error *err)
{
    const rfhe_ckks_options o = {.log2_n = LOG2_N, .chain_length = 2, .chain = {42, 32}, .chain_scale = {32, 32},
                                 .special_count = 2, .special_bits = 50};
    rfhe_rng rng = rfhe_rng_seed(seed, 0);
    rfhe_key_list list = {0};
    rfhe_pt *pt = NULL;
    rfhe_status st = RFHE_OK;
    double *x = rfhe_alloc(N, sizeof *x);

    for (int i = 0; i < 3; i++) { j->limb[i] = rfhe_calloc(N, sizeof(uint64_t)); }
    if (x == NULL || j->limb[0] == NULL || j->limb[1] == NULL || j->limb[2] == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    for (size_t i = 0; i < N; i++) {
        x[i] = 2 * rfhe_rng_uniform(&rng) - 1;
        j->limb[0][i] = i + 1;
    }
    j->seed = (uint32_t)seed;
    RFHE_TRY(rfhe_ckks_new(&j->c, &o, err));
    RFHE_TRY(rfhe_secret_key_new(&j->sk, j->c, NULL, err));
    RFHE_TRY(rfhe_pack_scalars_keys(j->c, LEVEL, &list, err));
    RFHE_TRY(rfhe_eval_keys_new(&j->keys, j->sk, list.items, list.count, err));
    RFHE_TRY(rfhe_evaluator_new(&j->ev, j->c, j->keys, err));
    RFHE_TRY(rfhe_encode_coeffs(&pt, j->c, x, N, LEVEL, 0x1p32, err));
    for (size_t i = 0; i < MAX_IN; i++) {
        RFHE_TRY(rfhe_ct_new(&j->in[i], j->c, LEVEL, err));
        RFHE_TRY(rfhe_encrypt_secret(j->in[i], pt, j->sk, err));
    }
    for (size_t i = 0; i < MAX_OUT; i++) {
        RFHE_TRY(rfhe_ct_new(&j->out[i], j->c, LEVEL, err));
        RFHE_TRY(rfhe_ct_copy(j->out[i], j->in[i % MAX_IN], err));
    }
done:
    rfhe_free(x);
    rfhe_pt_free(pt);
    rfhe_key_list_clear(&list);
    return st;
}

static void finish(job *j)
{
    for (size_t i = 0; i < MAX_IN; i++) { rfhe_ct_free(j->in[i]); }
    for (size_t i = 0; i < MAX_OUT; i++) { rfhe_ct_free(j->out[i]); }
    for (int i = 0; i < 3; i++) { rfhe_free(j->limb[i]); }
    rfhe_evaluator_free(j->ev);
    rfhe_eval_keys_free(j->keys);
    rfhe_secret_key_free(j->sk);
    rfhe_ckks_free(j->c);
}

static const struct {
    const char *op;
    size_t n_in, n_out; /* inputs and outputs; operands present and places */
} rows[] = {
    {"convolve", 1, 16}, {"convolve", 4, 16}, {"convolve", 8, 64}, {"pack", 16, 16},
    {"pack", 10, 16},    {"pack", 64, 64},    {"pack_scalars", 10, 10},
};

/* Merges with an operand, when the first `present` of `places` are there. */
static size_t count_merges(size_t present, size_t places)
{
    size_t merges = 0;

    for (size_t m = places / 2; m >= 1; m /= 2) {
        present = present < m ? present : m;
        merges += present;
    }
    return merges;
}

static rfhe_status run_row(rfhe_bench *b, job *j, size_t row, double ntt_ms, double inner_ms, double sum_ms)
{
    const bool convolves = rows[row].op[0] == 'c', scalars = rows[row].op[4] == '_';
    const double limbs = LEVEL + 1;
    rfhe_status st = RFHE_OK;
    rfhe_timing t;
    double least = 0;

    if (!rfhe_bench_wants(b, rows[row].op)) { return RFHE_OK; }
    j->n_in = rows[row].n_in;
    j->n_out = rows[row].n_out;
    for (size_t i = 0; i < MAX_OUT; i++) { j->some[i] = i < j->n_in || convolves ? j->out[i] : NULL; }
    RFHE_TRY(rfhe_bench_time(&t, b, convolves ? op_convolve : scalars ? op_scalars : op_pack, j, 0, 0));
    size_t merges = 0;
    if (convolves) {
        least = (double)(j->n_in * j->n_out) * limbs * (ntt_ms + inner_ms / 2);
    } else {
        const rfhe_key *key = &j->keys->key[0];
        const double rows_of = limbs + key->special, digits = rfhe_gadget_digits(&j->c->gadget[key->special - 1], LEVEL);
        merges = scalars ? 15 + LOG2_N - 4 : count_merges(j->n_in, j->n_out);
        least = (double)merges * ((digits * rows_of + 2 * (key->special + limbs)) * ntt_ms +
                                  (digits * rows_of / 2 + limbs / 2) * inner_ms + 10 * limbs * sum_ms);
    }
    least /= rfhe_threads_get();
    rfhe_bench_row_begin(b, rows[row].op);
    rfhe_bench_integer(b, "log2_n", LOG2_N);
    rfhe_bench_integer(b, "limbs", LEVEL + 1);
    rfhe_bench_integer(b, convolves ? "inputs" : "operands", (int64_t)j->n_in);
    rfhe_bench_integer(b, convolves ? "outputs" : "places", (int64_t)j->n_out);
    if (convolves) {
        rfhe_bench_integer(b, "taps", TAPS);
    } else {
        rfhe_bench_integer(b, "key_switches", (int64_t)merges);
    }
    rfhe_bench_timing(b, &t);
    rfhe_bench_number(b, "floor_ms", least);
    rfhe_bench_number(b, "ratio_to_floor", t.min_ms / least);
    rfhe_bench_row_end(b);
done:
    return st;
}

rfhe_status rfhe_bench_coefficients(rfhe_bench *b, uint32_t log2_n, uint32_t limbs, rfhe_error *err)
{
    job *j = NULL;
    rfhe_status st = RFHE_OK;
    rfhe_timing ntt, inner, sum;
    bool any = false;

    if ((log2_n != 0 && log2_n != LOG2_N) || (limbs != 0 && limbs != LEVEL + 1)) { return RFHE_OK; }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) { any = any || rfhe_bench_wants(b, rows[i].op); }
    if (!any) { return RFHE_OK; }
    j = rfhe_calloc(1, sizeof *j);
    if (j == NULL) { return RFHE_E_NOMEM; }
    RFHE_TRY(prepare(j, rfhe_bench_cli(b)->seed, err));
    RFHE_TRY(rfhe_bench_time(&ntt, b, op_ntt, j, 0, 0.1));
    RFHE_TRY(rfhe_bench_time(&inner, b, op_inner, j, 0, 0.1));
    RFHE_TRY(rfhe_bench_time(&sum, b, op_sum, j, 0, 0.1));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        RFHE_TRY(run_row(b, j, i, ntt.min_ms, inner.min_ms, sum.min_ms));
    }
done:
    if (j != NULL) { finish(j); }
    rfhe_free(j);
    return st;
}
