/* See demo.h: the same values under encryption. Two sides share nothing but what would cross the wire: the client holds
 * the secret key, the server the evaluation keys. */
#include "cli/demo.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/paf_program.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { RUNS = 3, PUBLISHED_SCALE_BITS = 40 };
static const char published[] = "alpha10", set_name[] = "B15-3";
static const double refresh_gib = 3;

typedef struct client {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_public_key *pk;
    double *x, *y; /* slots */
    size_t slots;
} client;

typedef struct server {
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    rfhe_poly_program *program;
    rfhe_ct *in, *out;
} server;

static void client_clear(client *a)
{
    rfhe_free(a->x);
    rfhe_free(a->y);
    rfhe_public_key_free(a->pk);
    rfhe_secret_key_free(a->sk);
    rfhe_ckks_free(a->c);
}

static void server_clear(server *b)
{
    rfhe_ct_free(b->in);
    rfhe_ct_free(b->out);
    rfhe_poly_program_free(b->program);
    rfhe_evaluator_free(b->ev);
    rfhe_eval_keys_free(b->keys);
}

/* Keys of its own, and the values in units of the activation's range. */
static rfhe_status client_new(client *a, const demo *d, const rfhe_ckks_options *o, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ckks_info info;

    RFHE_TRY(rfhe_ckks_new(&a->c, o, err));
    rfhe_ckks_get_info(a->c, &info);
    RFHE_TRY(rfhe_secret_key_new(&a->sk, a->c, NULL, err));
    RFHE_TRY(rfhe_public_key_new(&a->pk, a->sk, err));
    a->slots = (size_t)1 << (info.log2_n - 1);
    a->x = rfhe_calloc(a->slots, sizeof *a->x);
    a->y = rfhe_calloc(a->slots, sizeof *a->y);
    if (a->x == NULL || a->y == NULL || a->slots < d->values) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no room for %zu numbers in %zu slots", d->values, a->slots);
        goto done;
    }
    for (size_t i = 0; i < d->values; i++) { a->x[i] = (double)d->x[i] / d->scale; }

done:
    return st;
}

/* At the scale whose square, rescaled, is the nominal one below: where the primes become narrower (above level 6 of
 * B15-3) the nominal scale of `level` itself would grow with every product. */
static rfhe_status client_encrypt(rfhe_ct *out, double *ms, const client *a, uint32_t level, rfhe_error *err)
{
    const double scale = sqrt(rfhe_ckks_scale(a->c, level - 1) * (double)rfhe_ckks_prime(a->c, level));
    rfhe_status st = RFHE_OK;
    rfhe_pt *pt = NULL;
    const double start = rfhe_now();

    RFHE_TRY(rfhe_encode(&pt, a->c, a->x, NULL, a->slots, level, scale, err));
    RFHE_TRY(rfhe_encrypt(out, pt, a->pk, err));
    *ms = 1e3 * (rfhe_now() - start);

done:
    rfhe_pt_free(pt);
    return st;
}

static rfhe_status client_decrypt(client *a, const rfhe_ct *ct, rfhe_error *err)
{
    rfhe_pt *pt = NULL;
    rfhe_status st = rfhe_decrypt(&pt, ct, a->sk, err);

    if (st == RFHE_OK) { st = rfhe_decode(a->y, NULL, a->slots, pt, err); }
    rfhe_pt_free(pt);
    return st;
}

/* Worst and root mean square difference of the decrypted numbers from the polynomial in double. */
static void compare(double *worst, double *rms, const client *a, size_t n, const rfhe_paf *f)
{
    double sum = 0;

    *worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double e = fabs(a->y[i] - rfhe_paf_value(f, a->x[i]));
        *worst = fmax(*worst, e);
        sum += e * e;
    }
    *rms = sqrt(sum / (double)n);
}

static double distance_from_relu(const client *a, size_t n, const rfhe_paf *f)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        const double e = rfhe_paf_value(f, a->x[i]) - fmax(a->x[i], 0);
        sum += e * e;
    }
    return sqrt(sum / (double)n);
}

/* The client encrypts at `level`, the server evaluates, the client decrypts and compares. The best of a few runs. */
static rfhe_status evaluate(demo_encrypted *out, client *a, server *b, const demo *d, const rfhe_paf *f,
                            uint32_t level, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ckks_info info;
    double rms = 0;
    const rfhe_poly_info p = rfhe_poly_program_info(b->program);

    rfhe_ckks_get_info(a->c, &info);
    RFHE_TRY(rfhe_ct_new(&b->in, a->c, level, err));
    RFHE_TRY(rfhe_ct_new(&b->out, a->c, level, err));
    RFHE_TRY(client_encrypt(b->in, &out->encrypt_ms, a, level, err));
    out->ms = INFINITY;
    for (unsigned i = 0; i < RUNS; i++) {
        RFHE_TRY(rfhe_progress_report(&d->cli->progress, "evaluating", i, RUNS, "evaluations", out->form));
        const double start = rfhe_now();
        RFHE_TRY(rfhe_ct_evaluate(b->out, b->in, b->program, b->ev, err));
        out->ms = fmin(out->ms, 1e3 * (rfhe_now() - start));
    }
    RFHE_TRY(client_decrypt(a, b->out, err));
    compare(&out->worst, &rms, a, d->values, f);
    out->runs = RUNS;
    out->error_bits = -log2(out->worst);
    out->relu_rms = distance_from_relu(a, d->values, f);
    out->log2_n = info.log2_n;
    out->log2_qp = info.log2_qp;
    out->security_bits = info.security_bits;
    out->levels = p.depth;
    out->products = p.products;
    out->key_mib = (double)rfhe_eval_keys_bytes(b->keys) / (1 << 20);

done:
    return st;
}

static rfhe_status relinearisation_keys(server *b, const client *a, uint32_t level, rfhe_error *err)
{
    rfhe_key_list list = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_poly_program_keys(b->program, a->c, level, &list, err));
    RFHE_TRY(rfhe_eval_keys_new(&b->keys, a->sk, list.items, list.count, err));
    RFHE_TRY(rfhe_evaluator_new(&b->ev, a->c, b->keys, err));

done:
    rfhe_key_list_clear(&list);
    return st;
}

/* The 27-degree composite of the literature as it was published, at the smallest parameters with room for the values. */
static rfhe_status run_published(demo *d, rfhe_error *err)
{
    rfhe_ckks_options o = {.scale_bits = PUBLISHED_SCALE_BITS, .log2_n = 15};
    rfhe_status st = RFHE_OK;
    client a = {0};
    server b = {0};
    rfhe_paf f;

    d->published.form = published;
    RFHE_TRY(rfhe_progress_report(&d->cli->progress, "making keys", 0, 0, "", published));
    RFHE_TRY(rfhe_paf_from_name(&f, published, err));
    RFHE_TRY(rfhe_paf_compile(&b.program, &f, err));
    o.depth = rfhe_poly_program_info(b.program).depth;
    RFHE_TRY(client_new(&a, d, &o, err));
    RFHE_TRY(relinearisation_keys(&b, &a, o.depth, err));
    RFHE_TRY(evaluate(&d->published, &a, &b, d, &f, o.depth, err));

done:
    server_clear(&b);
    client_clear(&a);
    return st;
}

/* GiB that the system could give; infinite when it does not say. */
static double available_gib(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    double kib = INFINITY;

    if (f == NULL) { return kib; }
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1) { break; }
    }
    (void)fclose(f);
    return kib / (1 << 20);
}

/* The server brings the result to the level and scale at which the way to coefficients begins, then raises it. */
static rfhe_status refresh(demo *d, client *a, server *b, const rfhe_refresh *r, rfhe_error *err)
{
    const rfhe_refresh_info info = rfhe_refresh_get_info(r);
    demo_refresh *out = &d->refresh;
    rfhe_status st = RFHE_OK;
    rfhe_key_list list = {0};
    double worst = 0, rms = 0;

    RFHE_TRY(rfhe_progress_report(&d->cli->progress, "making keys for the refresh", 0, 0, "", set_name));
    const double start = rfhe_now();
    RFHE_TRY(rfhe_refresh_keys(r, &list, err));
    rfhe_evaluator_free(b->ev);
    rfhe_eval_keys_free(b->keys);
    b->ev = NULL;
    b->keys = NULL;
    RFHE_TRY(rfhe_eval_keys_new(&b->keys, a->sk, list.items, list.count, err));
    RFHE_TRY(rfhe_evaluator_new(&b->ev, a->c, b->keys, err));
    out->key_seconds = rfhe_now() - start;
    out->keys = (uint32_t)rfhe_eval_keys_count(b->keys);
    out->key_mib = (double)rfhe_eval_keys_bytes(b->keys) / (1 << 20);

    RFHE_TRY(rfhe_ct_mul_const(b->in, b->out, 1, 0, b->ev, err));
    RFHE_TRY(rfhe_ct_drop(b->in, b->in, info.to_coeffs_level, b->ev, err));
    rfhe_ct_set_bound(b->in, 1);
    out->level_before = rfhe_ct_level(b->in);
    RFHE_TRY(rfhe_progress_report(&d->cli->progress, "refreshing", 0, 0, "", set_name));
    const double begin = rfhe_now();
    RFHE_TRY(rfhe_ct_to_coeffs(b->out, b->in, r, b->ev, err));
    RFHE_TRY(rfhe_ct_raise(b->out, b->out, r, b->ev, err));
    out->seconds = rfhe_now() - begin;
    out->level_after = rfhe_ct_level(b->out);
    out->levels_regained = out->level_after - out->level_before;
    RFHE_TRY(client_decrypt(a, b->out, err));
    compare(&worst, &rms, a, d->values, &d->paf);
    out->worst = worst;
    out->error_bits = -log2(worst);
    out->rms_bits = -log2(rms);
    out->done = true;

done:
    rfhe_key_list_clear(&list);
    return st;
}

static rfhe_status try_refresh(demo *d, client *a, server *b, const rfhe_refresh_set *set, bool quick, rfhe_error *err)
{
    rfhe_refresh *r = NULL;
    rfhe_status st = RFHE_OK;
    rfhe_error first = {0};
    const double gib = available_gib();

    if (quick) {
        (void)snprintf(d->refresh.why_not, sizeof d->refresh.why_not, "--quick leaves it out");
    } else if (gib < refresh_gib) {
        (void)snprintf(d->refresh.why_not, sizeof d->refresh.why_not, "it wants %.0f GiB of memory, %.1f are available",
                       refresh_gib, gib);
    }
    if (d->refresh.why_not[0] != '\0') { return RFHE_OK; }
    RFHE_TRY(rfhe_progress_report(&d->cli->progress, "preparing the refresh", 0, 0, "", set_name));
    RFHE_TRY(rfhe_refresh_new(&r, a->c, &set->refresh, &first));
    RFHE_TRY(refresh(d, a, b, r, &first));

done:
    rfhe_refresh_free(r);
    if (st == RFHE_E_NOMEM) { /* the demo goes on without */
        (void)snprintf(d->refresh.why_not, sizeof d->refresh.why_not, "there is not enough memory%s%.160s",
                       first.text[0] != '\0' ? ": " : "", first.text);
        return RFHE_OK;
    }
    if (st != RFHE_OK && err != NULL) { *err = first; }
    return st;
}

rfhe_status demo_encrypt(demo *d, bool quick, rfhe_error *err)
{
    const rfhe_refresh_set *set = rfhe_refresh_set_find(set_name);
    rfhe_status st = RFHE_OK;
    client a = {0};
    server b = {0};

    RFHE_TRY(run_published(d, err));
    d->tuned.form = d->form;
    d->tuned.is_tuned = true;
    RFHE_TRY(rfhe_progress_report(&d->cli->progress, "making keys", 0, 0, "", d->form));
    RFHE_TRY(rfhe_paf_compile(&b.program, &d->paf, err));
    /* One level more than the polynomial needs brings its result to the scale that the refresh expects. */
    const uint32_t level = set->refresh.to_coeffs_level + rfhe_poly_program_info(b.program).depth + 1;
    RFHE_TRY(client_new(&a, d, &set->ckks, err));
    RFHE_TRY(relinearisation_keys(&b, &a, level, err));
    RFHE_TRY(evaluate(&d->tuned, &a, &b, d, &d->paf, level, err));
    RFHE_TRY(try_refresh(d, &a, &b, set, quick, err));

done:
    server_clear(&b);
    client_clear(&a);
    return st;
}
