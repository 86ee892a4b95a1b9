/* rfhe bench paf: every form of the catalogue as ReLU on ciphertexts, each at the smallest secure parameters that fit it
 * and all at common ones, with the ratio to the 27-degree composite alpha10. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "cli/bench.h"
#include "plan/poly_steps.h"

/* The common set: 45 + 11 * 41 bits, so that six primes of the chain are a digit for five special primes of 50 bits, seven
 * for six and eight for seven: at each level the number of special primes can be the one that is fastest there. */
enum { COMMON_LOG2_N = 15, COMMON_DEPTH = 11, COMMON_SCALE_BITS = 41, COMMON_FIRST_BITS = 45, COMMON_SPECIAL = 7 };
enum { SCALE_BITS = 40 };

typedef struct job {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    rfhe_poly_program *program;
    rfhe_ct *in, *out;
    double *x, *y;
    size_t slots;
} job;

static rfhe_status op_relu(void *user)
{
    job *j = user;

    return rfhe_ct_evaluate(j->out, j->in, j->program, j->ev, NULL);
}

static void finish(job *j)
{
    rfhe_free(j->x);
    rfhe_free(j->y);
    rfhe_ct_free(j->in);
    rfhe_ct_free(j->out);
    rfhe_poly_program_free(j->program);
    rfhe_evaluator_free(j->ev);
    rfhe_eval_keys_free(j->keys);
    rfhe_secret_key_free(j->sk);
    rfhe_ckks_free(j->c);
    *j = (job){0};
}

/* ReLU's stand-in as a program on ciphertexts. */
static rfhe_status make_program(rfhe_poly_program **out, const rfhe_paf *f, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf_schedule *s = rfhe_calloc(1, sizeof *s);
    rfhe_poly_step *step = rfhe_calloc(RFHE_PAF_MAX_STEPS, sizeof *step);

    if (s == NULL || step == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a schedule");
        goto done;
    }
    RFHE_TRY(rfhe_paf_schedule_relu(s, f, err));
    rfhe_poly_steps(step, s);
    RFHE_TRY(rfhe_poly_program_from_steps(out, step, s->n_steps, s->out_scale, err));

done:
    rfhe_free(s);
    rfhe_free(step);
    return st;
}

static rfhe_status prepare(job *j, const rfhe_paf *f, bool is_common, uint64_t seed, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ckks_options o = {.scale_bits = SCALE_BITS};
    rfhe_ckks_info info;
    rfhe_key_list list = {0};
    rfhe_rng rng = rfhe_rng_seed(seed, 0);
    rfhe_pt *pt = NULL;

    RFHE_TRY(make_program(&j->program, f, err));
    const uint32_t depth = rfhe_poly_program_info(j->program).depth;
    o.depth = depth;
    if (is_common) {
        o = (rfhe_ckks_options){.log2_n = COMMON_LOG2_N,
                                .depth = COMMON_DEPTH,
                                .scale_bits = COMMON_SCALE_BITS,
                                .first_bits = COMMON_FIRST_BITS,
                                .special_count = COMMON_SPECIAL,
                                .special_bits = 50};
    }
    RFHE_TRY(rfhe_ckks_new(&j->c, &o, err));
    rfhe_ckks_get_info(j->c, &info);
    j->slots = (size_t)1 << (info.log2_n - 1);
    RFHE_TRY(rfhe_secret_key_new(&j->sk, j->c, NULL, err));
    RFHE_TRY(rfhe_poly_program_keys(j->program, j->c, depth, &list, err));
    RFHE_TRY(rfhe_eval_keys_new(&j->keys, j->sk, list.items, list.count, err));
    RFHE_TRY(rfhe_evaluator_new(&j->ev, j->c, j->keys, err));
    j->x = rfhe_alloc(j->slots, sizeof *j->x);
    j->y = rfhe_alloc(j->slots, sizeof *j->y);
    if (j->x == NULL || j->y == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu numbers", j->slots);
        goto done;
    }
    for (size_t i = 0; i < j->slots; i++) { j->x[i] = 2 * rfhe_rng_uniform(&rng) - 1; }
    RFHE_TRY(rfhe_encode(&pt, j->c, j->x, NULL, j->slots, depth, 0, err));
    RFHE_TRY(rfhe_ct_new(&j->in, j->c, depth, err));
    RFHE_TRY(rfhe_ct_new(&j->out, j->c, depth, err));
    RFHE_TRY(rfhe_encrypt_secret(j->in, pt, j->sk, err));
done:
    rfhe_pt_free(pt);
    rfhe_key_list_clear(&list);
    return st;
}

/* Worst error against the polynomial in double. */
static rfhe_status measure(job *j, const rfhe_paf *f, double *worst, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_pt *pt = NULL;

    RFHE_TRY(rfhe_decrypt(&pt, j->out, j->sk, err));
    RFHE_TRY(rfhe_decode(j->y, NULL, j->slots, pt, err));
    *worst = 0;
    for (size_t i = 0; i < j->slots; i++) { *worst = fmax(*worst, fabs(j->y[i] - rfhe_paf_value(f, j->x[i]))); }
done:
    rfhe_pt_free(pt);
    return st;
}

/* One form: timing, and a row unless `quiet`. */
static rfhe_status run_form(rfhe_bench *b, const char *name, bool is_common, double *alpha10_ms, bool quiet,
                            rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf f;
    job j = {0};
    rfhe_timing t;
    double worst = 0;
    rfhe_ckks_info info;

    RFHE_TRY(rfhe_paf_from_name(&f, name, err));
    st = prepare(&j, &f, is_common, rfhe_bench_cli(b)->seed, err);
    if (st == RFHE_E_DEPTH && is_common) { /* deeper than the common chain: no row */
        st = RFHE_OK;
        if (err != NULL) { *err = (rfhe_error){0}; }
        goto done;
    }
    if (st != RFHE_OK) { goto done; }
    rfhe_ckks_get_info(j.c, &info);
    const rfhe_poly_info p = rfhe_poly_program_info(j.program);
    RFHE_TRY(rfhe_bench_time(&t, b, op_relu, &j, 5, 0.5));
    if (strcmp(name, "alpha10") == 0) { *alpha10_ms = t.median_ms; }
    if (quiet) { goto done; }
    RFHE_TRY(measure(&j, &f, &worst, err));
    rfhe_bench_row_begin(b, "relu");
    rfhe_bench_text(b, "form", name);
    rfhe_bench_text(b, "parameters", is_common ? "common" : "smallest");
    rfhe_bench_integer(b, "log2_n", info.log2_n);
    rfhe_bench_number(b, "log2_qp", info.log2_qp);
    rfhe_bench_integer(b, "security_bits", info.security_bits);
    rfhe_bench_integer(b, "levels", p.depth);
    rfhe_bench_integer(b, "products", p.products);
    rfhe_bench_integer(b, "relinearisations", p.relinearisations);
    rfhe_bench_timing(b, &t);
    if (*alpha10_ms > 0) { rfhe_bench_number(b, "ratio_to_alpha10", t.median_ms / *alpha10_ms); }
    rfhe_bench_number(b, "precision_bits", -log2(worst));
    rfhe_bench_number(b, "estimated_bits", rfhe_ct_precision_bits(j.out));
    rfhe_bench_number(b, "key_mib", (double)rfhe_eval_keys_bytes(j.keys) / 1048576);
    rfhe_bench_row_end(b);
done:
    finish(&j);
    return st;
}

static rfhe_status run(rfhe_bench *b, const rfhe_args *args, rfhe_error *err)
{
    const char *only = rfhe_args_text(args, "form", NULL), *set = rfhe_args_text(args, "parameters", NULL);
    rfhe_status st = RFHE_OK;

    if (!rfhe_bench_wants(b, "relu")) { return RFHE_OK; }
    for (int common = 0; common < 2; common++) {
        double alpha10_ms = 0;
        if (set != NULL && strcmp(set, common ? "common" : "smallest") != 0) { continue; }
        /* The yardstick first, so that every row has its ratio. */
        RFHE_TRY(run_form(b, "alpha10", common == 1, &alpha10_ms, true, err));
        if (only != NULL) {
            RFHE_TRY(run_form(b, only, common == 1, &alpha10_ms, false, err));
            continue;
        }
        const rfhe_paf_form *form;
        for (size_t i = 0; (form = rfhe_paf_form_at(i)) != NULL; i++) {
            RFHE_TRY(run_form(b, form->name, common == 1, &alpha10_ms, false, err));
        }
    }
done:
    return st;
}

const rfhe_bench_suite rfhe_bench_suite_paf = {
    .name = "paf",
    .summary = "every activation form as ReLU on ciphertexts",
    .run = run,
    .options = "form|parameters",
};
