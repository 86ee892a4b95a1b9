/* rfhe bench kernels: the loops under everything else, one limb at a time on one thread, each with its count of
 * operations and bytes and the ratio to the machine's floor.
 *
 * The floor of a row is the larger of two times: its vector instructions at the rate that a loop of nothing but such
 * instructions reaches (rows machine_multiply_add, machine_add), and the bytes that must come from memory or go there at
 * the rate of a plain streaming read (row machine_read). Both are measured in the same run. The count of instructions is
 * that of the AVX-512 IFMA bodies, by hand, per eight coefficients; loads and stores are counted as bytes, not as
 * instructions. Where another instruction set is in force the floor is left out. */
#include "arith/kernels.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/threads.h"
#include "cli/bench.h"
#include "ring/ring.h"

#include <string.h>

enum { DIGITS = 3, STREAM_WORDS = 32 << 20 >> 3 };

typedef struct job {
    rfhe_ring *ring;
    const rfhe_kernels *k;
    const rfhe_modulus *m;
    uint64_t *x, *y, *z, *many; /* n words each; many: 16 n */
    uint8_t *bytes;
    const uint64_t *d[DIGITS], *k0[DIGITS], *k1[DIGITS];
    uint32_t g;
    rfhe_poly r, a, a_ntt; /* whole ring */
    rfhe_conversion *conversion;
    rfhe_division *division;
    uint64_t *work, *stream;
    uint64_t sink;
} job;

static rfhe_status op_forward(void *user)
{
    job *j = user;

    j->k->ntt_forward(j->x, &j->ring->ntt[0]);
    return RFHE_OK;
}

static rfhe_status op_inverse(void *user)
{
    job *j = user;

    j->k->ntt_inverse(j->x, &j->ring->ntt[0]);
    return RFHE_OK;
}

static rfhe_status op_add(void *user)
{
    job *j = user;

    j->k->add(j->z, j->x, j->y, j->ring->n, j->m);
    return RFHE_OK;
}

static rfhe_status op_mul(void *user)
{
    job *j = user;

    j->k->mul(j->z, j->x, j->y, j->ring->n, j->m);
    return RFHE_OK;
}

static rfhe_status op_mul_add(void *user)
{
    job *j = user;

    j->k->mul_add(j->z, j->x, j->y, j->ring->n, j->m);
    return RFHE_OK;
}

static rfhe_status op_inner(void *user)
{
    job *j = user;

    j->k->inner(j->z, j->y, j->d, j->k0, j->k1, DIGITS, j->ring->n, false, j->m);
    return RFHE_OK;
}

static rfhe_status op_automorphism(void *user)
{
    job *j = user;

    j->k->automorphism_ntt(j->z, j->x, j->ring->log2_n, j->g, j->ring->rev);
    return RFHE_OK;
}

static rfhe_status op_automorphism_coef(void *user)
{
    job *j = user;

    j->k->automorphism_coef(j->z, j->x, j->ring->log2_n, j->g, j->m);
    return RFHE_OK;
}

static rfhe_status op_sampling(void *user)
{
    job *j = user;
    size_t used = 0;

    (void)j->k->sample_uniform(j->z, j->ring->n, j->bytes, j->ring->n + 64, &used, j->m);
    return RFHE_OK;
}

static rfhe_status op_noise(void *user)
{
    job *j = user;

    j->k->sample_noise((int64_t *)(void *)j->z, j->ring->n, j->bytes);
    return RFHE_OK;
}

static rfhe_status op_conversion(void *user)
{
    job *j = user;

    rfhe_conversion_run(j->ring, j->conversion, &j->r, &j->a);
    return RFHE_OK;
}

static rfhe_status op_raise(void *user)
{
    job *j = user;

    rfhe_conversion_raise(j->ring, j->conversion, &j->r, &j->a_ntt, &j->a);
    return RFHE_OK;
}

static rfhe_status op_rescale(void *user)
{
    job *j = user;
    rfhe_poly out = rfhe_poly_head(&j->r, j->r.basis.count - 1);
    rfhe_poly *r[1] = {&out};
    const rfhe_poly *a[1] = {&j->a_ntt};

    rfhe_division_run(j->ring, j->division, r, a, 1, j->work);
    return RFHE_OK;
}

static rfhe_status op_stream(void *user)
{
    job *j = user;
    uint64_t s[8] = {0};

    for (size_t i = 0; i < STREAM_WORDS; i += 8) {
        for (size_t e = 0; e < 8; e++) { s[e] ^= j->stream[i + e]; }
    }
    for (size_t e = 0; e < 8; e++) { j->sink ^= s[e]; }
    return RFHE_OK;
}

/* Instructions per call of the two probes. */
enum { PROBE = 1 << 16 };

static rfhe_status op_probe_mul(void *user)
{
    job *j = user;

    (void)j->k->probe_multiply(&j->sink, PROBE);
    return RFHE_OK;
}

static rfhe_status op_probe_add(void *user)
{
    job *j = user;

    (void)j->k->probe_add(&j->sink, PROBE);
    return RFHE_OK;
}

/* What the machine gives, measured first: nanoseconds per instruction on eight words, bytes per nanosecond. */
typedef struct floor_rates {
    double multiply, add, bytes;
} floor_rates;

static rfhe_status measure_machine(floor_rates *f, rfhe_bench *b, job *j)
{
    rfhe_status st = RFHE_OK;
    rfhe_timing t;

    RFHE_TRY(rfhe_bench_time(&t, b, op_probe_mul, j, 9, 0.2));
    f->multiply = t.min_ms * 1e6 / PROBE;
    rfhe_bench_row_begin(b, "machine_multiply_add");
    rfhe_bench_integer(b, "operations", PROBE);
    rfhe_bench_timing(b, &t);
    rfhe_bench_number(b, "ns_per_operation", f->multiply);
    rfhe_bench_row_end(b);
    RFHE_TRY(rfhe_bench_time(&t, b, op_probe_add, j, 9, 0.2));
    f->add = t.min_ms * 1e6 / PROBE;
    rfhe_bench_row_begin(b, "machine_add");
    rfhe_bench_integer(b, "operations", PROBE);
    rfhe_bench_timing(b, &t);
    rfhe_bench_number(b, "ns_per_operation", f->add);
    rfhe_bench_row_end(b);
    RFHE_TRY(rfhe_bench_time(&t, b, op_stream, j, 9, 0.3));
    f->bytes = STREAM_WORDS * 8.0 / (t.min_ms * 1e6);
    rfhe_bench_row_begin(b, "machine_read");
    rfhe_bench_integer(b, "bytes", (int64_t)STREAM_WORDS * 8);
    rfhe_bench_timing(b, &t);
    rfhe_bench_number(b, "gb_per_s", f->bytes);
    rfhe_bench_row_end(b);

done:
    return st;
}

/* One kernel: multiply-adds and other instructions per eight coefficients of AVX-512 IFMA (0, 0: not counted), words
 * that a call touches per coefficient, and of those the words that do not stay in the cache. */
typedef struct row {
    const char *op;
    rfhe_status (*fn)(void *user);
    double multiplies, others, words, words_far;
} row;

static rfhe_status run_row(rfhe_bench *b, job *j, const row *r, const floor_rates *f, uint32_t bits, uint32_t limbs)
{
    rfhe_status st = RFHE_OK;
    rfhe_timing t;
    const double n = (double)j->ring->n, groups = n / 8.0;

    if (!rfhe_bench_wants(b, r->op)) { return RFHE_OK; }
    RFHE_TRY(rfhe_bench_time(&t, b, r->fn, j, 15, 0.15));
    rfhe_bench_row_begin(b, r->op);
    rfhe_bench_integer(b, "log2_n", j->ring->log2_n);
    rfhe_bench_integer(b, "bits", bits);
    rfhe_bench_integer(b, "limbs", limbs);
    rfhe_bench_timing(b, &t);
    rfhe_bench_number(b, "bytes", r->words * n * 8.0);
    if (j->k->isa == RFHE_ISA_AVX512IFMA && r->multiplies + r->others > 0.0) {
        const double work = groups * (r->multiplies * f->multiply + r->others * f->add);
        const double far = r->words_far * n * 8.0 / f->bytes, least = (work > far ? work : far) * 1e-6;
        rfhe_bench_number(b, "operations", groups * (r->multiplies + r->others));
        rfhe_bench_number(b, "floor_ms", least);
        rfhe_bench_number(b, "ratio_to_floor", t.min_ms / least);
    }
    rfhe_bench_row_end(b);

done:
    return st;
}

static void free_job(job *j)
{
    rfhe_poly_clear(&j->r);
    rfhe_poly_clear(&j->a);
    rfhe_poly_clear(&j->a_ntt);
    rfhe_conversion_free(j->conversion);
    rfhe_division_free(j->division);
    rfhe_free(j->work);
    rfhe_free(j->many);
    rfhe_free(j->bytes);
    rfhe_ring_free(j->ring);
    rfhe_free(j->stream);
    *j = (job){0};
}

static void fill(uint64_t *x, size_t n, uint64_t q, rfhe_rng *rng)
{
    for (size_t i = 0; i < n; i++) { x[i] = rfhe_rng_below(rng, q); }
}

/* A ring of `limbs` primes of `bits` bits and everything that the rows work on. */
static rfhe_status make_job(job *j, uint32_t log2_n, uint32_t bits, uint32_t limbs, uint64_t seed, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint64_t q[RFHE_RING_MAX_PRIMES];
    rfhe_rng rng = rfhe_rng_seed(seed, 0);
    const size_t n = (size_t)1 << log2_n;

    RFHE_TRY(rfhe_primes_find(q, limbs, bits, log2_n, NULL, 0, err));
    RFHE_TRY(rfhe_ring_new(&j->ring, log2_n, q, limbs, err));
    const rfhe_basis all = rfhe_basis_range(0, limbs), digit = rfhe_basis_range(0, DIGITS);
    const rfhe_basis rest = rfhe_basis_range(DIGITS, limbs - DIGITS), keep = rfhe_basis_range(0, limbs - 1);
    const rfhe_basis last = rfhe_basis_range(limbs - 1, 1);
    j->k = rfhe_kernels_get();
    j->m = &j->ring->mod[0];
    j->many = rfhe_alloc((3 + 3 * DIGITS) * n, sizeof *j->many);
    j->bytes = rfhe_alloc(n + 64, 8);
    if (j->many == NULL || j->bytes == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the operands of the benchmark");
        goto done;
    }
    fill(j->many, (3 + 3 * DIGITS) * n, q[0], &rng);
    fill((uint64_t *)(void *)j->bytes, n + 64, UINT64_MAX, &rng);
    j->x = j->many;
    j->y = j->x + n;
    j->z = j->y + n;
    for (size_t d = 0; d < DIGITS; d++) {
        j->d[d] = j->many + (3 + d) * n;
        j->k0[d] = j->many + (3 + DIGITS + d) * n;
        j->k1[d] = j->many + (3 + 2 * DIGITS + d) * n;
    }
    j->g = 5 * 5 * 5;
    RFHE_TRY(rfhe_poly_new(&j->r, j->ring, &all, true));
    RFHE_TRY(rfhe_poly_new(&j->a, j->ring, &all, false));
    RFHE_TRY(rfhe_poly_new(&j->a_ntt, j->ring, &all, true));
    for (uint32_t l = 0; l < limbs; l++) {
        fill(j->a.limb[l], n, q[l], &rng);
        fill(j->a_ntt.limb[l], n, q[l], &rng);
        fill(j->r.limb[l], n, q[l], &rng);
    }
    RFHE_TRY(rfhe_conversion_new(&j->conversion, j->ring, &digit, &rest, err));
    RFHE_TRY(rfhe_division_new(&j->division, j->ring, &keep, &last, err));
    j->work = rfhe_alloc(rfhe_division_workspace(j->ring, j->division), sizeof *j->work);
    j->stream = rfhe_calloc(STREAM_WORDS, sizeof *j->stream);
    if (j->work == NULL || j->stream == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the workspace of the benchmark");
    }

done:
    return st;
}

/* Instructions per butterfly on eight lanes and per eight coefficients around it, of the variant for this size. */
static row transform_row(const char *op, rfhe_status (*fn)(void *user), uint32_t log2_n, uint32_t bits, bool is_forward)
{
    /* forward: quotient, two multiply-adds, one for 2x, one subtraction; a reduction is two multiply-adds */
    const double reductions = bits <= 46 ? 0.0 : bits <= 49 ? 1.0 / 3.0 : 1.0;
    const double half = log2_n / 2.0; /* butterflies per coefficient */

    return (row){
        .op = op,
        .fn = fn,
        .multiplies = half * ((is_forward ? 4.0 : 3.0) + 2.0 * reductions) + (is_forward ? 2.0 : 0.0),
        .others = half * (is_forward ? 1.0 : 3.0) + 6.0 + 3.0, /* exchanges inside registers; the last reduction */
        .words = 4.0, /* read and write, twiddles and their quotients; all within the second-level cache */
    };
}

static rfhe_status run(rfhe_bench *b, const rfhe_args *args, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    static const uint32_t all_sizes[] = {12, 13, 14, 15, 16, 17}, all_bits[] = {50, 48, 45, 30};
    const uint32_t only = (uint32_t)rfhe_args_uint(args, "log2-n", 0);
    const uint32_t limbs = (uint32_t)rfhe_args_uint(args, "limbs", 14);
    const unsigned team = rfhe_threads_get();
    floor_rates f = {0};
    job j = {0};
    bool is_measured = false;

    if (limbs < DIGITS + 1 || limbs > 40 || (only != 0 && (only < 10 || only > RFHE_RING_MAX_LOG2_N))) {
        return rfhe_fail(err, RFHE_E_ARG, "bench kernels takes 4 to 40 limbs and ring degrees from 2^10 to 2^17");
    }
    for (size_t s = 0; s < sizeof all_sizes / sizeof *all_sizes; s++) {
        const uint32_t log2_n = only != 0 ? only : all_sizes[s];
        if (only != 0 && s > 0) { break; }
        if (only == 0 && log2_n != 15 && log2_n != 16 && !rfhe_bench_wants(b, "ntt_forward") &&
            !rfhe_bench_wants(b, "ntt_inverse")) {
            continue;
        }
        for (size_t k = 0; k < sizeof all_bits / sizeof *all_bits; k++) {
            const uint32_t bits = all_bits[k];
            RFHE_TRY(make_job(&j, log2_n, bits, limbs, rfhe_bench_cli(b)->seed, err));
            (void)rfhe_threads_set(1);
            if (!is_measured) { RFHE_TRY(measure_machine(&f, b, &j)); }
            is_measured = true;
            const row forward = transform_row("ntt_forward", op_forward, log2_n, j.m->bits, true);
            const row inverse = transform_row("ntt_inverse", op_inverse, log2_n, j.m->bits, false);
            RFHE_TRY(run_row(b, &j, &forward, &f, bits, 1));
            RFHE_TRY(run_row(b, &j, &inverse, &f, bits, 1));
            if (k == 0 && (only != 0 || log2_n == 15 || log2_n == 16)) {
                const double rest = limbs - DIGITS, L = limbs, h = log2_n / 2.0;
                const row rows[] = {
                    {"add", op_add, 0, 3, 3, 0},
                    {"mul", op_mul, 4, 7, 3, 0},
                    {"mul_add", op_mul_add, 4, 10, 4, 0},
                    /* per digit 4 multiply-adds, per half 5 and 8 for the reduction; keys come from memory */
                    {"inner_product", op_inner, 4 * DIGITS + 2 * 5, 2 * 8, 3 * DIGITS + 2, 2 * DIGITS},
                    {"automorphism", op_automorphism, 0, 1, 2, 0},
                    {"automorphism_coef", op_automorphism_coef, 0, 0, 2, 0},
                    {"sampling_uniform", op_sampling, 5, 6, 2, 0},
                    {"sampling_noise", op_noise, 0, 0, 2, 0},
                    /* scaling: 3 and 3, the double 4; per target 2 per input, 2 for the correction, 4 and 7 at the end */
                    {"base_conversion", op_conversion, 3.0 * DIGITS + rest * (2.0 * DIGITS + 6.0),
                     7.0 * DIGITS + 7.0 * rest, L, L},
                    {"raise_digit", op_raise, 3.0 * DIGITS + rest * (2.0 * DIGITS + 6.0 + 6.0 * h + 2.0),
                     7.0 * DIGITS + rest * (16.0 + h), L + 2.0 * DIGITS + 2.0 * rest, L + 2.0 * DIGITS + 2.0 * rest},
                    {"rescale", op_rescale, 5.0 * h + 3.0 + (L - 1.0) * (8.0 + 6.0 * h + 2.0 + 3.0),
                     3.0 * h + 16.0 + (L - 1.0) * (7.0 + h + 9.0 + 5.0), 2.0 + (L - 1.0) * 4.0, 2.0 + (L - 1.0) * 4.0},
                };
                for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                    const bool is_whole = i + 3 >= sizeof rows / sizeof *rows;
                    RFHE_TRY(run_row(b, &j, &rows[i], &f, bits, is_whole ? limbs : 1));
                }
            }
            free_job(&j);
        }
    }

done:
    free_job(&j);
    (void)rfhe_threads_set(team);
    return st;
}

const rfhe_bench_suite rfhe_bench_suite_kernels = {
    .name = "kernels",
    .summary = "transforms, products, base conversion, sampling: one limb, one thread, ratio to the machine's floor",
    .run = run,
    .options = "log2-n|limbs",
};
