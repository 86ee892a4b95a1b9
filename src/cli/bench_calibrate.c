/* rfhe bench calibrate: the operations that an encrypted program is made of, timed with one parameter set, and kept for
 * `rfhe plan`. */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/calibration.h"
#include "plan/lower.h"

#include <stdio.h>
#include <string.h>

enum { CHANNELS = 16, TAPS = 9, MAX_RUNS = 64 };

typedef struct job {
    rfhe_program *p;
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_refresh *r;
    rfhe_refresh_info info;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    rfhe_to_coeffs *mask[2];
    rfhe_ct *bottom, *raised, *real, *imag, *work, *low, *product[CHANNELS];
    rfhe_pt *factor;
    double *ms[12]; /* per operation and run */
} job;

/* In the order in which a layer meets them; the last column of the machine that each becomes. */
static const struct operation {
    const char *name;
    size_t offset;
    double count; /* operations timed together */
} operations[12] = {
#define O(op, member, count) {op, offsetof(rfhe_machine, member), count}
    O("mod_raise", mod_raise, 1),
    O("to_slots", to_slots, 1),
    O("reduce", reduce, 1),
    O("multiply_high", multiply_high, 1),
    O("scale_high", scale_high, 1),
    O("multiply_low", multiply_low, 1),
    O("scale_low", scale_low, 1),
    O("to_coeffs", to_coeffs, 1),
    O("to_coeffs_both", to_coeffs_both, 1),
    O("product", product, CHANNELS),
    O("merge", merge, CHANNELS - 1),
    O("finish", finish, 1),
#undef O
};

static size_t kernel(void *ctx, size_t o, size_t j, uint32_t *index, double *value)
{
    const uint32_t two_n = *(const uint32_t *)ctx;

    (void)j;
    for (uint32_t k = 0; k < TAPS * CHANNELS; k++) {
        index[k] = (two_n - 16 * (k / CHANNELS) - k % CHANNELS) % two_n;
        value[k] = 0.01 * (double)(1 + (o + k) % 7);
    }
    return TAPS * CHANNELS;
}

/* Squares all the way: the keys that a polynomial of so many levels uses. */
static rfhe_status add_relinearisation(rfhe_key_list *list, const job *j, uint32_t depth, rfhe_error *err)
{
    rfhe_poly_step step[32] = {{.op = RFHE_POLY_INPUT}};
    rfhe_poly_program *program = NULL;
    rfhe_status st = RFHE_OK;

    for (uint16_t k = 1; k <= depth && k < 32; k++) {
        step[k] = (rfhe_poly_step){.op = RFHE_POLY_MUL, .a = (uint16_t)(k - 1), .b = (uint16_t)(k - 1)};
    }
    RFHE_TRY(rfhe_poly_program_from_steps(&program, step, depth + 1, 1, err));
    RFHE_TRY(rfhe_poly_program_keys(program, j->c, j->info.raise_level, list, err));

done:
    rfhe_poly_program_free(program);
    return st;
}

static rfhe_status prepare(job *j, const char *set, bool is_lean, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_key_list list = {0};
    rfhe_ckks_info info;
    rfhe_pt *pt = NULL;
    double *x = NULL;

    j->p = rfhe_calloc(1, sizeof *j->p);
    if (j->p == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to calibrate"); }
    RFHE_TRY(rfhe_plan_set(j->p, set, err));
    j->p->refresh.complex_slots = true;
    j->p->refresh.lean = is_lean;
    RFHE_TRY(rfhe_ckks_new(&j->c, &j->p->ckks, err));
    rfhe_ckks_get_info(j->c, &info);
    const size_t n = (size_t)1 << info.log2_n;
    RFHE_TRY(rfhe_secret_key_new(&j->sk, j->c, NULL, err));
    RFHE_TRY(rfhe_refresh_new(&j->r, j->c, &j->p->refresh, err));
    j->info = rfhe_refresh_get_info(j->r);
    RFHE_TRY(rfhe_refresh_keys(j->r, &list, err));
    RFHE_TRY(rfhe_pack_keys(j->c, CHANNELS, 1, j->p->level_linear, &list, err));
    RFHE_TRY(add_relinearisation(&list, j, j->info.raise_level - j->info.to_coeffs_level, err));
    RFHE_TRY(rfhe_eval_keys_new(&j->keys, j->sk, list.items, list.count, err));
    RFHE_TRY(rfhe_evaluator_new(&j->ev, j->c, j->keys, err));
    rfhe_ct **const at_top[] = {&j->raised, &j->real, &j->imag, &j->work, &j->low};
    for (size_t k = 0; k < sizeof at_top / sizeof *at_top; k++) { RFHE_TRY(rfhe_ct_new(at_top[k], j->c, info.top_level, err)); }
    RFHE_TRY(rfhe_ct_new(&j->bottom, j->c, j->p->level_linear, err));
    for (size_t k = 0; k < CHANNELS; k++) { RFHE_TRY(rfhe_ct_new(&j->product[k], j->c, j->p->level_linear, err)); }
    x = rfhe_alloc(n, sizeof *x);
    if (x == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to calibrate");
        goto done;
    }
    for (size_t k = 0; k < n; k++) { x[k] = k % 5 != 0 ? 0.25 : 0; }
    RFHE_TRY(rfhe_to_coeffs_new(&j->mask[0], j->r, x, NULL, err));
    RFHE_TRY(rfhe_to_coeffs_new(&j->mask[1], j->r, NULL, x, err));
    RFHE_TRY(rfhe_encode(&j->factor, j->c, x, NULL, n / 2, j->info.raise_level, 0, err));
    RFHE_TRY(rfhe_encode_coeffs(&pt, j->c, x, n, j->p->level_linear, rfhe_ckks_scale(j->c, 0), err));
    RFHE_TRY(rfhe_encrypt_secret(j->bottom, pt, j->sk, err));

done:
    rfhe_pt_free(pt);
    rfhe_free(x);
    rfhe_key_list_clear(&list);
    return st;
}

static void finish(job *j)
{
    for (size_t k = 0; k < CHANNELS; k++) { rfhe_ct_free(j->product[k]); }
    rfhe_ct *const all[] = {j->bottom, j->raised, j->real, j->imag, j->work, j->low};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) { rfhe_ct_free(all[k]); }
    rfhe_pt_free(j->factor);
    rfhe_to_coeffs_free(j->mask[0]);
    rfhe_to_coeffs_free(j->mask[1]);
    rfhe_evaluator_free(j->ev);
    rfhe_eval_keys_free(j->keys);
    rfhe_refresh_free(j->r);
    rfhe_secret_key_free(j->sk);
    rfhe_ckks_free(j->c);
    rfhe_program_free(j->p);
    rfhe_free(j->ms[0]);
}

static rfhe_status one_run(job *j, unsigned run, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t two_n = 2U << j->p->ckks.log2_n;
    const uint32_t low = j->info.to_coeffs_level + 1;
    const rfhe_ct *const both[2] = {j->real, j->imag}, *const in[1] = {j->bottom};
    const rfhe_to_coeffs *const masks[2] = {j->mask[0], j->mask[1]};
    double start = 0;
    unsigned op = 0;

#define TIME(call)                                          \
    do {                                                    \
        start = rfhe_now();                                 \
        RFHE_TRY(call);                                     \
        j->ms[op++][run] = 1e3 * (rfhe_now() - start);      \
    } while (0)
    RFHE_TRY(rfhe_ct_drop(j->work, j->bottom, 0, j->ev, err));
    TIME(rfhe_refresh_mod_raise(j->raised, j->work, j->r, j->ev, err));
    TIME(rfhe_refresh_to_slots(j->real, j->imag, j->raised, j->r, j->ev, err));
    TIME(rfhe_refresh_reduce(j->real, j->real, j->r, j->ev, err));
    RFHE_TRY(rfhe_refresh_reduce(j->imag, j->imag, j->r, j->ev, err));
    if (j->info.raise_level > j->info.to_coeffs_level) {
        TIME(rfhe_ct_mul(j->work, j->real, j->imag, j->ev, err));
        TIME(rfhe_ct_mul_plain(j->work, j->real, j->factor, true, j->ev, err));
        RFHE_TRY(rfhe_ct_drop(j->low, j->real, low, j->ev, err));
        RFHE_TRY(rfhe_ct_drop(j->raised, j->imag, low, j->ev, err));
        TIME(rfhe_ct_mul(j->work, j->low, j->raised, j->ev, err));
        TIME(rfhe_ct_mul_plain(j->work, j->low, j->factor, true, j->ev, err));
    }
    RFHE_TRY(rfhe_ct_drop(j->real, j->real, j->info.to_coeffs_level, j->ev, err));
    RFHE_TRY(rfhe_ct_drop(j->imag, j->imag, j->info.to_coeffs_level, j->ev, err));
    for (int k = 0; k < 2; k++) {
        RFHE_TRY(rfhe_ct_set_scale(k == 0 ? j->real : j->imag, rfhe_ckks_scale(j->c, j->info.to_coeffs_level), err));
    }
    TIME(rfhe_ct_to_coeffs_by(j->work, j->real, j->mask[0], j->ev, err));
    TIME(rfhe_ct_to_coeffs_sum(j->work, both, masks, 2, j->ev, err));
    TIME(rfhe_ct_convolve(j->product, CHANNELS, in, 1, kernel, &two_n, TAPS * CHANNELS,
                          rfhe_plain_scale(j->bottom, 0) / CHANNELS, j->ev, err));
    TIME(rfhe_ct_pack(j->product, CHANNELS, 1, j->ev, err));
    TIME(rfhe_ct_rescale(j->work, j->product[0], j->ev, err));
#undef TIME

done:
    return st;
}

static rfhe_status run_set(rfhe_bench *b, const char *set, bool is_lean, unsigned runs, rfhe_error *err)
{
    enum { N = sizeof operations / sizeof *operations };
    rfhe_status st = RFHE_OK;
    rfhe_cli *cli = rfhe_bench_cli(b);
    rfhe_machine m = {.threads = cli->threads};
    char path[4096] = "";
    job *j = rfhe_calloc(1, sizeof *j);
    double *times = rfhe_calloc((size_t)N * runs, sizeof *times);

    if (j == NULL || times == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to calibrate");
        goto done;
    }
    for (size_t k = 0; k < N; k++) { j->ms[k] = times + k * runs; }
    times = NULL; /* j->ms[0] owns it now */
    RFHE_TRY(rfhe_progress_report(&cli->progress, "making keys", 0, 0, "", set));
    RFHE_TRY(prepare(j, set, is_lean, err));
    if (j->info.raise_level <= j->info.to_coeffs_level) {
        st = rfhe_fail(err, RFHE_E_ARG, "the set %s has no levels for activations", set);
        goto done;
    }
    RFHE_TRY(one_run(j, 0, err)); /* warm-up: makes room */
    for (unsigned run = 0; run < runs; run++) {
        RFHE_TRY(rfhe_progress_report(&cli->progress, "calibrating", run, (double)runs, "layers", set));
        RFHE_TRY(one_run(j, run, err));
    }
    m.log2_n = j->p->ckks.log2_n;
    (void)snprintf(m.name, sizeof m.name, "%.63s", rfhe_cpu_name());
    (void)snprintf(m.set, sizeof m.set, "%.10s%s", j->p->set, is_lean ? RFHE_LEAN : "");
    for (size_t k = 0; k < N; k++) {
        rfhe_timing t = rfhe_bench_summary(j->ms[k], runs);
        const double seconds = t.median_ms / 1e3 / operations[k].count;
        memcpy((char *)&m + operations[k].offset, &seconds, sizeof seconds);
        t.median_ms /= operations[k].count;
        t.min_ms /= operations[k].count;
        t.max_ms /= operations[k].count;
        t.q1_ms /= operations[k].count;
        t.q3_ms /= operations[k].count;
        rfhe_bench_row_begin(b, operations[k].name);
        rfhe_bench_text(b, "set", m.set);
        rfhe_bench_integer(b, "log2_n", m.log2_n);
        rfhe_bench_timing(b, &t);
        rfhe_bench_row_end(b);
    }
    RFHE_TRY(rfhe_calibration_save(&m, NULL, path, sizeof path, err));
    rfhe_cli_note(cli, "written to %s", path);

done:
    if (j != NULL) { finish(j); }
    rfhe_free(j);
    rfhe_free(times);
    return st;
}

static rfhe_status run(rfhe_bench *b, const rfhe_args *args, rfhe_error *err)
{
    const uint64_t runs = rfhe_args_uint(args, "runs", 7);

    return run_set(b, rfhe_args_text(args, "set", "B15-3"), rfhe_args_has(args, "lean"),
                   runs < 1 ? 1 : runs > MAX_RUNS ? MAX_RUNS : (unsigned)runs, err);
}

const rfhe_bench_suite rfhe_bench_suite_calibrate = {
    .name = "calibrate",
    .summary = "the operations of encrypted inference, kept for the predictions of `rfhe plan`",
    .run = run,
    .options = "set|lean",
};
