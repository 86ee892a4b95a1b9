/* rfhe bench refresh: seconds by stage, precision, keys and memory of the named parameter sets. Every run refreshes other
 * numbers, in turn random ones, zeros, the edges of the range, and a single spike; the precision is measured with the
 * secret key after each run, outside the times. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "cli/bench.h"
#include "rfhe/ckks.h"

#include <math.h>

enum { STAGES = 4, MAX_RUNS = 1024 };
static const char *const stage_names[STAGES] = {"refresh_to_coeffs", "refresh_mod_raise", "refresh_to_slots",
                                                "refresh_reduction"};

typedef struct job {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_refresh *r;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    rfhe_ct *in, *work, *out;
    double *x, *re, *im;
    size_t slots;
    double ms[STAGES][MAX_RUNS], total_ms[MAX_RUNS];
    double sum_squares, worst; /* of the errors so far */
    uint64_t values, failures; /* numbers compared; those off by more than 2^-6 */
} job;

static rfhe_status prepare(job *j, const rfhe_refresh_set *set, uint32_t log2_slots, bool is_lean, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_key_list list = {0};
    rfhe_refresh_options opt = set->refresh;
    rfhe_ckks_info info;

    if (log2_slots != 0) { opt.log2_slots = log2_slots; }
    opt.lean = is_lean;
    RFHE_TRY(rfhe_ckks_new(&j->c, &set->ckks, err));
    RFHE_TRY(rfhe_secret_key_new(&j->sk, j->c, NULL, err));
    RFHE_TRY(rfhe_refresh_new(&j->r, j->c, &opt, err));
    RFHE_TRY(rfhe_refresh_keys(j->r, &list, err));
    RFHE_TRY(rfhe_eval_keys_new(&j->keys, j->sk, list.items, list.count, err));
    RFHE_TRY(rfhe_evaluator_new(&j->ev, j->c, j->keys, err));
    rfhe_ckks_get_info(j->c, &info);
    RFHE_TRY(rfhe_ct_new(&j->in, j->c, info.top_level, err));
    RFHE_TRY(rfhe_ct_new(&j->work, j->c, info.top_level, err));
    RFHE_TRY(rfhe_ct_new(&j->out, j->c, info.top_level, err));
    j->slots = rfhe_refresh_get_info(j->r).slots;
    j->x = rfhe_calloc(3 * j->slots, sizeof *j->x);
    if (j->x == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    j->re = j->x + j->slots;
    j->im = j->re + j->slots;

done:
    rfhe_key_list_clear(&list);
    return st;
}

static void finish(job *j)
{
    rfhe_free(j->x);
    rfhe_ct_free(j->in);
    rfhe_ct_free(j->work);
    rfhe_ct_free(j->out);
    rfhe_evaluator_free(j->ev);
    rfhe_eval_keys_free(j->keys);
    rfhe_refresh_free(j->r);
    rfhe_secret_key_free(j->sk);
    rfhe_ckks_free(j->c);
}

static void fill(job *j, unsigned run, rfhe_rng *rng)
{
    for (size_t i = 0; i < j->slots; i++) {
        switch (run % 8) {
        case 1: j->x[i] = 0; break;
        case 2: j->x[i] = rfhe_rng_below(rng, 2) == 0 ? -1 : 1; break;
        case 3: j->x[i] = 1; break;
        case 4: j->x[i] = i == run * 37 % j->slots ? 1 : 0; break;
        default: j->x[i] = 2 * rfhe_rng_uniform(rng) - 1;
        }
    }
}

static rfhe_status compare(job *j, rfhe_error *err)
{
    rfhe_pt *pt = NULL;
    rfhe_status st = rfhe_decrypt(&pt, j->out, j->sk, err);

    if (st == RFHE_OK) { st = rfhe_decode(j->re, j->im, j->slots, pt, err); }
    rfhe_pt_free(pt);
    for (size_t i = 0; st == RFHE_OK && i < j->slots; i++) {
        const double e = fabs(j->re[i] - j->x[i]);
        j->sum_squares += e * e;
        j->worst = fmax(j->worst, e);
        j->failures += !(e < 0x1p-6);
    }
    j->values += j->slots;
    return st;
}

static rfhe_status one_run(job *j, unsigned run, rfhe_rng *rng, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_pt *pt = NULL;
    double at[STAGES + 1];

    fill(j, run, rng);
    RFHE_TRY(rfhe_encode(&pt, j->c, j->x, NULL, j->slots, rfhe_refresh_get_info(j->r).to_coeffs_level, 0, err));
    RFHE_TRY(rfhe_encrypt_secret(j->in, pt, j->sk, err));
    at[0] = rfhe_now();
    RFHE_TRY(rfhe_ct_to_coeffs(j->work, j->in, j->r, j->ev, err));
    at[1] = rfhe_now();
    RFHE_TRY(rfhe_refresh_mod_raise(j->work, j->work, j->r, j->ev, err));
    at[2] = rfhe_now();
    RFHE_TRY(rfhe_refresh_to_slots(j->work, NULL, j->work, j->r, j->ev, err));
    at[3] = rfhe_now();
    RFHE_TRY(rfhe_refresh_reduce(j->out, j->work, j->r, j->ev, err));
    at[4] = rfhe_now();
    for (int s = 0; s < STAGES; s++) { j->ms[s][run] = 1e3 * (at[s + 1] - at[s]); }
    j->total_ms[run] = 1e3 * (at[STAGES] - at[0]);
    RFHE_TRY(compare(j, err));

done:
    rfhe_pt_free(pt);
    return st;
}

static void add_row(rfhe_bench *b, const char *op, const rfhe_refresh_set *set, const job *j, double *ms, unsigned runs)
{
    const rfhe_refresh_info info = rfhe_refresh_get_info(j->r);
    rfhe_ckks_info p;
    rfhe_timing t = rfhe_bench_summary(ms, runs);

    rfhe_ckks_get_info(j->c, &p);
    rfhe_bench_row_begin(b, op);
    rfhe_bench_text(b, "set", set->name);
    rfhe_bench_integer(b, "log2_n", p.log2_n);
    rfhe_bench_integer(b, "slots", (int64_t)j->slots);
    rfhe_bench_number(b, "log2_qp", p.log2_qp);
    rfhe_bench_integer(b, "security_bits", p.security_bits);
    rfhe_bench_timing(b, &t);
    if (ms == j->total_ms) {
        rfhe_bench_integer(b, "levels_left", (int64_t)info.raise_level);
        rfhe_bench_integer(b, "levels_usable", (int64_t)info.raise_level - (int64_t)info.to_coeffs_level);
        rfhe_bench_number(b, "precision_bits", -log2(sqrt(j->sum_squares / (double)j->values)));
        rfhe_bench_number(b, "worst_bits", -log2(j->worst));
        rfhe_bench_number(b, "estimated_bits", rfhe_ct_precision_bits(j->out));
        rfhe_bench_integer(b, "values", (int64_t)j->values);
        rfhe_bench_integer(b, "failures", (int64_t)j->failures);
        rfhe_bench_number(b, "log2_failure", info.log2_failure);
        rfhe_bench_integer(b, "keys", (int64_t)rfhe_eval_keys_count(j->keys));
        rfhe_bench_number(b, "key_mib", (double)rfhe_eval_keys_bytes(j->keys) / (1 << 20));
        rfhe_bench_number(b, "plain_mib", (double)info.plain_bytes / (1 << 20));
        rfhe_bench_number(b, "work_mib", (double)rfhe_evaluator_bytes(j->ev) / (1 << 20));
        rfhe_bench_number(b, "peak_rss_mib", (double)rfhe_peak_rss() / (1 << 20));
        rfhe_bench_integer(b, "rotations", info.rotations);
        rfhe_bench_integer(b, "relinearisations", info.products);
    }
    rfhe_bench_row_end(b);
}

/* The same ciphertext refreshed again and again, with x -> x - 0.05 x^3 + 0.0025 x^5 in between, whose slope is 1 at zero
 * and hardly less elsewhere, so that errors add up and neither die out nor are amplified; the plain iteration in double
 * is the reference. */
static rfhe_status run_chain(rfhe_bench *b, const rfhe_refresh_set *set, job *j, uint64_t length, rfhe_rng *rng,
                             rfhe_error *err)
{
    static const double coef[6] = {0, 1, 0, -0.05, 0, 0.0025};
    const rfhe_poly_stage stage = {.coef = coef, .degree = 5};
    rfhe_cli *cli = rfhe_bench_cli(b);
    rfhe_poly_program *p = NULL;
    rfhe_pt *pt = NULL;
    rfhe_status st = RFHE_OK;
    double first = 0, last = 0, least = INFINITY, worst = INFINITY, seconds = 0;
    uint64_t failures = 0;
    const rfhe_refresh_info info = rfhe_refresh_get_info(j->r);

    if (info.raise_level < info.to_coeffs_level + 3) {
        st = rfhe_fail(err, RFHE_E_DEPTH, "--chain wants three levels between two refreshes, %s has %u", set->name,
                       info.raise_level - info.to_coeffs_level);
        goto done;
    }
    RFHE_TRY(rfhe_poly_program_new(&p, &stage, 1, false, err));
    fill(j, 0, rng);
    RFHE_TRY(rfhe_encode(&pt, j->c, j->x, NULL, j->slots, info.to_coeffs_level + 3, 0, err));
    RFHE_TRY(rfhe_encrypt_secret(j->out, pt, j->sk, err));
    for (uint64_t i = 0; i < length; i++) {
        RFHE_TRY(rfhe_progress_report(&cli->progress, "refreshing in a row", (double)i, (double)length, "refreshes", ""));
        const double start = rfhe_now();
        RFHE_TRY(rfhe_ct_drop(j->out, j->out, info.to_coeffs_level + 3, j->ev, err));
        RFHE_TRY(rfhe_ct_evaluate(j->out, j->out, p, j->ev, err));
        RFHE_TRY(rfhe_ct_to_coeffs(j->work, j->out, j->r, j->ev, err));
        RFHE_TRY(rfhe_ct_raise(j->out, j->work, j->r, j->ev, err));
        seconds += rfhe_now() - start;
        for (size_t k = 0; k < j->slots; k++) {
            const double x = j->x[k], x2 = x * x;
            j->x[k] = x * (1 + x2 * (-0.05 + 0.0025 * x2));
        }
        j->sum_squares = j->worst = 0;
        j->values = j->failures = 0;
        RFHE_TRY(compare(j, err));
        last = -log2(sqrt(j->sum_squares / (double)j->values));
        if (i == 0) { first = last; }
        least = fmin(least, last);
        worst = fmin(worst, -log2(j->worst));
        failures += j->failures;
    }
    rfhe_bench_row_begin(b, "refresh_chain");
    rfhe_bench_text(b, "set", set->name);
    rfhe_bench_integer(b, "slots", (int64_t)j->slots);
    rfhe_bench_integer(b, "refreshes", (int64_t)length);
    rfhe_bench_number(b, "first_bits", first);
    rfhe_bench_number(b, "last_bits", last);
    rfhe_bench_number(b, "least_bits", least);
    rfhe_bench_number(b, "worst_bits", worst);
    rfhe_bench_integer(b, "failures", (int64_t)failures);
    rfhe_bench_number(b, "seconds_each", seconds / (double)length);
    rfhe_bench_row_end(b);

done:
    rfhe_poly_program_free(p);
    rfhe_pt_free(pt);
    return st;
}

/* All N coefficients: one way to coefficients, one raise with two modular reductions. */
static rfhe_status run_halves(rfhe_bench *b, const rfhe_refresh_set *set, job *j, unsigned runs, rfhe_rng *rng,
                              rfhe_error *err)
{
    const uint32_t level = rfhe_refresh_get_info(j->r).to_coeffs_level;
    rfhe_status st = RFHE_OK;
    rfhe_pt *pt = NULL;
    rfhe_ct *high = NULL;

    RFHE_TRY(rfhe_ct_new(&high, j->c, level, err));
    fill(j, 0, rng);
    RFHE_TRY(rfhe_encode(&pt, j->c, j->x, NULL, j->slots, level, 0, err));
    for (unsigned run = 0; run < runs; run++) {
        RFHE_TRY(rfhe_encrypt_secret(j->in, pt, j->sk, err));
        RFHE_TRY(rfhe_encrypt_secret(high, pt, j->sk, err));
        const double start = rfhe_now();
        RFHE_TRY(rfhe_ct_to_coeffs_halves(j->work, j->in, high, j->r, NULL, j->ev, err));
        RFHE_TRY(rfhe_ct_raise_halves(j->out, high, j->work, j->r, j->ev, err));
        j->total_ms[run] = 1e3 * (rfhe_now() - start);
    }
    j->sum_squares = j->worst = 0;
    j->values = j->failures = 0;
    RFHE_TRY(compare(j, err));
    RFHE_TRY(rfhe_ct_copy(j->out, high, err));
    RFHE_TRY(compare(j, err));
    add_row(b, "refresh_halves", set, j, j->total_ms, runs);

done:
    rfhe_pt_free(pt);
    rfhe_ct_free(high);
    return st;
}

static rfhe_status run_set(rfhe_bench *b, const rfhe_refresh_set *set, const rfhe_args *args, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_cli *cli = rfhe_bench_cli(b);
    rfhe_rng rng = rfhe_rng_seed(cli->seed, 0);
    uint64_t runs = rfhe_args_uint(args, "runs", 9);
    job *j = rfhe_calloc(1, sizeof *j);

    if (j == NULL) { return RFHE_E_NOMEM; }
    runs = runs < 1 ? 1 : runs > MAX_RUNS ? MAX_RUNS : runs;
    RFHE_TRY(rfhe_progress_report(&cli->progress, "making keys", 0, 0, "", set->name));
    RFHE_TRY(prepare(j, set, (uint32_t)rfhe_args_uint(args, "slots", 0), rfhe_args_has(args, "lean"), err));
    RFHE_TRY(one_run(j, 0, &rng, err)); /* warm-up: makes room */
    for (unsigned run = 0; run < runs; run++) {
        RFHE_TRY(rfhe_progress_report(&cli->progress, "refreshing", run, (double)runs, "refreshes", set->name));
        RFHE_TRY(one_run(j, run, &rng, err));
    }
    add_row(b, "refresh", set, j, j->total_ms, (unsigned)runs);
    for (int s = 0; s < STAGES; s++) { add_row(b, stage_names[s], set, j, j->ms[s], (unsigned)runs); }
    if (rfhe_args_has(args, "halves")) { RFHE_TRY(run_halves(b, set, j, (unsigned)runs, &rng, err)); }
    const uint64_t chain = rfhe_args_uint(args, "chain", 0);
    if (chain > 0) { RFHE_TRY(run_chain(b, set, j, chain, &rng, err)); }

done:
    finish(j);
    rfhe_free(j);
    return st;
}

static rfhe_status run(rfhe_bench *b, const rfhe_args *args, rfhe_error *err)
{
    const char *name = rfhe_args_text(args, "set", NULL);

    if (name != NULL && rfhe_refresh_set_find(name) == NULL) {
        return rfhe_fail(err, RFHE_E_ARG, "there is no set of refresh parameters '%s'", name);
    }
    for (size_t i = 0; rfhe_refresh_set_at(i) != NULL; i++) {
        const rfhe_refresh_set *set = rfhe_refresh_set_at(i);
        if (name != NULL && rfhe_refresh_set_find(name) != set) { continue; }
        const rfhe_status st = run_set(b, set, args, err);
        if (st != RFHE_OK) { return st; }
    }
    return RFHE_OK;
}

const rfhe_bench_suite rfhe_bench_suite_refresh = {
    .name = "refresh",
    .summary = "giving levels back to exhausted ciphertexts, by named parameter set",
    .run = run,
    .options = "set|slots|chain|lean|halves",
};
