/* rfhe bench ckks: the operations on ciphertexts, at the two points where docs/results/ckks.md compares with others. */
#include "base/mem.h"
#include "base/random.h"
#include "cli/bench.h"
#include "cli/bench_coefficients.h"
#include "rfhe/ckks.h"

typedef struct point {
    uint32_t log2_n, limbs, first_bits, scale_bits;
} point;

typedef struct job {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_public_key *pk;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    rfhe_pt *pt, *factor;
    rfhe_ct *a, *b, *out, *many[8];
    double *re, *im;
    size_t slots;
    uint32_t level;
} job;

enum { HOISTED = 8 };

static rfhe_status op_encode(void *user)
{
    job *j = user;

    rfhe_pt_free(j->pt);
    j->pt = NULL;
    return rfhe_encode(&j->pt, j->c, j->re, j->im, j->slots, j->level, 0, NULL);
}

static rfhe_status op_encrypt(void *user)
{
    job *j = user;

    return rfhe_encrypt(j->out, j->pt, j->pk, NULL);
}

static rfhe_status op_decrypt(void *user)
{
    job *j = user;
    rfhe_pt *pt = NULL;
    rfhe_status st = rfhe_decrypt(&pt, j->a, j->sk, NULL);

    if (st == RFHE_OK) { st = rfhe_decode(j->re, j->im, j->slots, pt, NULL); }
    rfhe_pt_free(pt);
    return st;
}

static rfhe_status op_add(void *user)
{
    job *j = user;

    return rfhe_ct_add(j->out, j->a, j->b, j->ev, NULL);
}

static rfhe_status op_mul_plain(void *user)
{
    job *j = user;

    return rfhe_ct_mul_plain(j->out, j->a, j->factor, true, j->ev, NULL);
}

static rfhe_status op_mul(void *user)
{
    job *j = user;

    return rfhe_ct_mul(j->out, j->a, j->b, j->ev, NULL);
}

static rfhe_status op_rotate(void *user)
{
    job *j = user;

    return rfhe_ct_rotate(j->out, j->a, 1, j->ev, NULL);
}

static rfhe_status op_rotate_hoisted(void *user)
{
    static const int64_t by[HOISTED] = {1, 2, 3, 4, 5, 6, 7, 8};
    job *j = user;

    return rfhe_ct_rotate_many(j->many, j->a, by, HOISTED, j->ev, NULL);
}

static const struct {
    const char *op;
    rfhe_status (*fn)(void *user);
    double per; /* results of one call */
} ops[] = {
    {"encode", op_encode, 1},         {"encrypt", op_encrypt, 1},
    {"decrypt", op_decrypt, 1},       {"add", op_add, 1},
    {"mul_plain", op_mul_plain, 1},   {"mul", op_mul, 1},
    {"rotate", op_rotate, 1},         {"rotate_hoisted", op_rotate_hoisted, HOISTED},
};

static rfhe_status prepare(job *j, const point *p, uint64_t seed, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ckks_options o = {.log2_n = p->log2_n, .depth = p->limbs - 1, .scale_bits = p->scale_bits,
                           .first_bits = p->first_bits};
    rfhe_rng rng = rfhe_rng_seed(seed, 0);
    rfhe_key_list list = {0};

    j->slots = (size_t)1 << (p->log2_n - 1);
    j->level = p->limbs - 1;
    RFHE_TRY(rfhe_ckks_new(&j->c, &o, err));
    RFHE_TRY(rfhe_secret_key_new(&j->sk, j->c, NULL, err));
    RFHE_TRY(rfhe_public_key_new(&j->pk, j->sk, err));
    RFHE_TRY(rfhe_key_list_add(&list, RFHE_ELEMENT_RELIN, j->level, 0, err));
    for (int64_t by = 1; by <= HOISTED; by++) {
        RFHE_TRY(rfhe_key_list_add(&list, rfhe_element_rotate(j->c, by), j->level, 0, err));
    }
    RFHE_TRY(rfhe_eval_keys_new(&j->keys, j->sk, list.items, list.count, err));
    RFHE_TRY(rfhe_evaluator_new(&j->ev, j->c, j->keys, err));
    j->re = rfhe_alloc(j->slots, sizeof *j->re);
    j->im = rfhe_alloc(j->slots, sizeof *j->im);
    if (j->re == NULL || j->im == NULL) {
        st = RFHE_E_NOMEM;
        goto done;
    }
    for (size_t i = 0; i < j->slots; i++) {
        j->re[i] = 2 * rfhe_rng_uniform(&rng) - 1;
        j->im[i] = 2 * rfhe_rng_uniform(&rng) - 1;
    }
    RFHE_TRY(rfhe_encode(&j->pt, j->c, j->re, j->im, j->slots, j->level, 0, err));
    RFHE_TRY(rfhe_ct_new(&j->a, j->c, j->level, err));
    RFHE_TRY(rfhe_ct_new(&j->b, j->c, j->level, err));
    RFHE_TRY(rfhe_ct_new(&j->out, j->c, j->level, err));
    for (size_t i = 0; i < HOISTED; i++) { RFHE_TRY(rfhe_ct_new(&j->many[i], j->c, j->level, err)); }
    RFHE_TRY(rfhe_encrypt(j->a, j->pt, j->pk, err));
    RFHE_TRY(rfhe_encrypt(j->b, j->pt, j->pk, err));
    RFHE_TRY(rfhe_encode(&j->factor, j->c, j->re, j->im, j->slots, j->level, rfhe_plain_scale(j->a, 0), err));
done:
    rfhe_key_list_clear(&list);
    return st;
}

static void finish(job *j)
{
    rfhe_free(j->re);
    rfhe_free(j->im);
    rfhe_pt_free(j->pt);
    rfhe_pt_free(j->factor);
    rfhe_ct_free(j->a);
    rfhe_ct_free(j->b);
    rfhe_ct_free(j->out);
    for (size_t i = 0; i < HOISTED; i++) { rfhe_ct_free(j->many[i]); }
    rfhe_evaluator_free(j->ev);
    rfhe_eval_keys_free(j->keys);
    rfhe_public_key_free(j->pk);
    rfhe_secret_key_free(j->sk);
    rfhe_ckks_free(j->c);
}

static rfhe_status run_point(rfhe_bench *b, const point *p, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    job j = {0};
    rfhe_ckks_info info;
    bool any = false;

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) { any = any || rfhe_bench_wants(b, ops[i].op); }
    if (!any) { return RFHE_OK; }
    RFHE_TRY(prepare(&j, p, rfhe_bench_cli(b)->seed, err));
    rfhe_ckks_get_info(j.c, &info);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        rfhe_timing t;
        if (!rfhe_bench_wants(b, ops[i].op)) { continue; }
        RFHE_TRY(rfhe_bench_time(&t, b, ops[i].fn, &j, 0, 0));
        t.median_ms /= ops[i].per, t.min_ms /= ops[i].per, t.max_ms /= ops[i].per;
        t.q1_ms /= ops[i].per, t.q3_ms /= ops[i].per;
        rfhe_bench_row_begin(b, ops[i].op);
        rfhe_bench_integer(b, "log2_n", p->log2_n);
        rfhe_bench_integer(b, "limbs", p->limbs);
        rfhe_bench_integer(b, "special", info.special_count);
        rfhe_bench_integer(b, "digits", info.top_digits);
        rfhe_bench_number(b, "log2_qp", info.log2_qp);
        rfhe_bench_integer(b, "security_bits", info.security_bits);
        rfhe_bench_timing(b, &t);
        rfhe_bench_number(b, "ct_kib", (double)rfhe_ct_bytes(j.a) / 1024);
        rfhe_bench_number(b, "key_kib",
                          (double)rfhe_eval_keys_bytes(j.keys) / 1024 / (double)rfhe_eval_keys_count(j.keys));
        rfhe_bench_row_end(b);
    }
done:
    finish(&j);
    return st;
}

static rfhe_status run(rfhe_bench *b, const rfhe_args *args, rfhe_error *err)
{
    static const point points[] = {{15, 14, 50, 40}, {16, 24, 48, 48}};
    const uint32_t log2_n = (uint32_t)rfhe_args_uint(args, "log2-n", 0);
    const uint32_t limbs = (uint32_t)rfhe_args_uint(args, "limbs", 0);

    const rfhe_status coefficients = rfhe_bench_coefficients(b, log2_n, limbs, err);
    if (coefficients != RFHE_OK) { return coefficients; }
    if (log2_n != 0 && limbs != 0) {
        const point p = {log2_n, limbs, 50, 40};
        for (size_t i = 0; i < 2; i++) {
            if (points[i].log2_n == log2_n && points[i].limbs == limbs) { return run_point(b, &points[i], err); }
        }
        return run_point(b, &p, err);
    }
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        if ((log2_n != 0 && log2_n != points[i].log2_n) || (limbs != 0 && limbs != points[i].limbs)) { continue; }
        const rfhe_status st = run_point(b, &points[i], err);
        if (st != RFHE_OK) { return st; }
    }
    return RFHE_OK;
}

const rfhe_bench_suite rfhe_bench_suite_ckks = {
    .name = "ckks",
    .summary = "encoding, encryption and arithmetic on ciphertexts; convolution and packing of coefficients",
    .run = run,
    .options = "log2-n|limbs",
};
