/* See trial.h. */
#include "cli/trial.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static rfhe_status make_twins(trial *t, uint64_t seed, rfhe_error *err)
{
    const rfhe_twin_options exact = {.is_exact = true}, noisy = {.seed = seed};
    rfhe_status st = rfhe_twin_new(&t->exact, t->p, &exact, err);

    if (st == RFHE_OK) { st = rfhe_twin_new(&t->noisy, t->p, &noisy, err); }
    return st;
}

static rfhe_status load_program(trial *t, const char *folder, rfhe_error *err)
{
    char side[4096];

    if (snprintf(side, sizeof side, "%s/server", folder) >= (int)sizeof side) {
        return rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
    }
    return rfhe_program_load(&t->p, side, true, err);
}

rfhe_status trial_open_twin(trial *t, const char *folder, rfhe_cli *cli, rfhe_error *err)
{
    const rfhe_status st = load_program(t, folder, err);

    return st == RFHE_OK ? make_twins(t, cli->seed, err) : st;
}

rfhe_status trial_make_twin(trial *t, rfhe_program *p, rfhe_cli *cli, rfhe_error *err)
{
    t->p = p;
    return make_twins(t, cli->seed, err);
}

rfhe_status trial_open(trial *t, const char *folder, rfhe_cli *cli, rfhe_error *err)
{
    char path[4096];
    rfhe_status st = RFHE_OK;
    rfhe_keygen_report made = {0};

    RFHE_TRY(load_program(t, folder, err));
    if (snprintf(path, sizeof path, "%s/%s", folder, RFHE_CLIENT_SECRET) < (int)sizeof path && !rfhe_file_exists(path)) {
        RFHE_TRY(rfhe_client_keygen(t->p, folder, false, &made, &cli->progress, err));
        t->key_seconds = made.seconds;
    }
    RFHE_TRY(rfhe_client_open(&t->client, t->p, folder, err));
    const double start = rfhe_now();
    RFHE_TRY(rfhe_server_open(&t->server, t->p, folder, NULL, &cli->progress, err));
    t->load_seconds = rfhe_now() - start;
    t->key_bytes = rfhe_eval_keys_bytes(rfhe_server_keys(t->server));
    rfhe_ckks_get_info(rfhe_client_parameters(t->client), &t->info);
    sides_warn(cli, rfhe_client_parameters(t->client));
    RFHE_TRY(make_twins(t, cli->seed, err));

done:
    return st;
}

rfhe_status trial_make(trial *t, rfhe_program *p, rfhe_cli *cli, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ckks *c = NULL;
    rfhe_refresh *r = NULL;
    rfhe_secret_key *sk = NULL;
    rfhe_key_list list = {0};
    double start = rfhe_now();

    t->p = p;
    RFHE_TRY(rfhe_program_parameters(&c, p, err));
    rfhe_ckks_get_info(c, &t->info);
    RFHE_TRY(rfhe_progress_report(&cli->progress, "making keys", 0, 0, "", ""));
    RFHE_TRY(rfhe_refresh_new(&r, c, &p->refresh, err));
    RFHE_TRY(rfhe_program_keys(&list, p, c, r, err));
    rfhe_refresh_free(r);
    r = NULL;
    RFHE_TRY(rfhe_secret_key_new(&sk, c, NULL, err));
    RFHE_TRY(rfhe_eval_keys_new(&t->keys, sk, list.items, list.count, err));
    t->key_seconds = rfhe_now() - start;
    t->key_bytes = rfhe_eval_keys_bytes(t->keys);
    st = rfhe_client_new(&t->client, p, c, sk, p->id, err);
    sk = NULL;
    if (st != RFHE_OK) { goto done; }
    start = rfhe_now();
    RFHE_TRY(rfhe_server_new(&t->server, p, c, t->keys, NULL, &cli->progress, err));
    t->load_seconds = rfhe_now() - start;
    RFHE_TRY(make_twins(t, cli->seed, err));

done:
    rfhe_key_list_clear(&list);
    rfhe_secret_key_free(sk);
    rfhe_refresh_free(r);
    rfhe_ckks_free(c);
    return st;
}

void trial_clear(trial *t)
{
    rfhe_server_free(t->server);
    rfhe_client_free(t->client);
    rfhe_eval_keys_free(t->keys);
    rfhe_twin_free(t->exact);
    rfhe_twin_free(t->noisy);
    rfhe_free(t->image);
    rfhe_free(t->instruction);
    rfhe_free(t->logits);
    rfhe_free(t->clear);
    rfhe_free(t->simulated);
    rfhe_free(t->ranges);
    rfhe_program_free(t->p);
    *t = (trial){0};
}

/* ---- the twin ---- */

rfhe_status trial_twin(trial *t, const sides_images *images, rfhe_cli *cli, rfhe_error *err)
{
    enum { CHUNK = 256 };
    const uint32_t n = t->p->outputs;
    const size_t pixels = sides_pixels(t->p);
    rfhe_status st = RFHE_OK;

    t->images = images->count;
    t->clear = rfhe_alloc(images->count * n, sizeof *t->clear);
    t->simulated = rfhe_alloc(images->count * n, sizeof *t->simulated);
    t->ranges = rfhe_calloc(t->p->n_activations, sizeof *t->ranges);
    t->image = rfhe_calloc(images->count, sizeof *t->image);
    if (t->clear == NULL || t->simulated == NULL || t->ranges == NULL || t->image == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the results of %zu images", images->count);
        goto done;
    }
    for (size_t at = 0; at < images->count; at += CHUNK) {
        const size_t count = images->count - at < CHUNK ? images->count - at : CHUNK;
        RFHE_TRY(rfhe_progress_report(&cli->progress, "the twin", (double)at, (double)images->count, "images", ""));
        RFHE_TRY(rfhe_twin_run(t->exact, t->clear + at * n, images->x + at * pixels, count, at, NULL, err));
        RFHE_TRY(rfhe_twin_run(t->noisy, t->simulated + at * n, images->x + at * pixels, count, at, t->ranges, err));
    }
    for (size_t i = 0; i < images->count; i++) {
        trial_image *m = &t->image[i];
        m->label = images->label[i];
        m->clear = sides_label(t->clear + i * n, n);
        m->twin = sides_label(t->simulated + i * n, n);
        t->right_clear += m->clear == m->label;
        t->right_twin += m->twin == m->label;
        t->agree_twin += m->twin == m->clear;
    }

done:
    return st;
}

/* ---- encrypted ---- */

typedef struct watch {
    trial *t;
    float **tensor; /* exact, of this image */
    float *got;
    double *coefficient;
    size_t n;
} watch;

static void note_time(void *user, uint32_t i, double seconds)
{
    ((watch *)user)->t->instruction[i].seconds += seconds;
}

/* Decrypts ciphertext `c` of what instruction i made and compares it with the exact numbers. */
static rfhe_status look(void *user, uint32_t i, uint32_t c, const rfhe_ct *ct, rfhe_error *err)
{
    watch *w = user;
    const rfhe_instruction *in = &w->t->p->instruction[i];
    const rfhe_layout *l = &w->t->p->tensor[in->out].layout;
    trial_instruction *to = &w->t->instruction[i];
    const size_t one = (size_t)l->height * l->width, from = c * l->block * one, all = rfhe_layout_numbers(l);
    const bool reply = in->kind == RFHE_DO_REPLY;
    rfhe_pt *pt = NULL;
    rfhe_status st = rfhe_decrypt(&pt, ct, rfhe_client_secret(w->t->client), err);

    if (st == RFHE_OK) { st = rfhe_decode_coeffs(w->coefficient, w->n, pt, err); }
    if (st == RFHE_OK && !reply) { rfhe_layout_gather(w->got, l, rfhe_program_log2_gap(w->t->p), c, w->coefficient); }
    for (size_t k = from; st == RFHE_OK && k < all && (reply || k < from + one * l->block); k++) {
        const double value = reply ? w->coefficient[rfhe_reply_index(w->t->p, w->n, (uint32_t)k)] : (double)w->got[k];
        const double e = fabs(value - (double)w->tensor[in->out][k]);
        to->square += e * e;
        to->worst = fmax(to->worst, e);
        to->values++;
    }
    rfhe_pt_free(pt);
    return st;
}

static rfhe_status one_image(trial *t, const sides_images *images, size_t i, bool debug, watch *w, rfhe_cli *cli,
                             rfhe_error *err)
{
    const uint32_t n = t->p->outputs;
    const rfhe_server_hooks hooks = {.timing = note_time, .tensor = debug ? look : NULL, .user = w};
    const float *x = images->x + i * sides_pixels(t->p);
    trial_image *m = &t->image[i];
    rfhe_message request = {0}, reply = {0};
    rfhe_status st = RFHE_OK;
    double low = INFINITY, high = -INFINITY, start = rfhe_now();

    if (debug) { RFHE_TRY(rfhe_twin_trace(t->exact, w->tensor, x, i, err)); }
    start = rfhe_now();
    RFHE_TRY(rfhe_client_encrypt(&request, t->client, x, err));
    m->encrypt_ms = 1e3 * (rfhe_now() - start);
    start = rfhe_now();
    RFHE_TRY(rfhe_server_run(&reply, t->server, &request, &hooks, &cli->progress, err));
    m->seconds = rfhe_now() - start;
    start = rfhe_now();
    RFHE_TRY(rfhe_client_decrypt(t->logits + i * n, NULL, t->client, &reply, err));
    m->decrypt_ms = 1e3 * (rfhe_now() - start);
    m->encrypted = sides_label(t->logits + i * n, n);
    t->right += m->encrypted == m->label;
    t->agree += m->encrypted == m->clear;
    for (uint32_t k = 0; k < n; k++) {
        const double c = (double)t->clear[i * n + k], e = fabs((double)t->logits[i * n + k] - c);
        t->max_error = fmax(t->max_error, e);
        t->square_error += e * e;
        low = fmin(low, c);
        high = fmax(high, c);
    }
    t->range = fmax(t->range, high - low);

done:
    for (uint32_t k = 0; w->tensor != NULL && k < t->p->n_tensors; k++) {
        rfhe_free(w->tensor[k]);
        w->tensor[k] = NULL;
    }
    rfhe_message_clear(&request);
    rfhe_message_clear(&reply);
    return st;
}

static int compare_seconds(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const trial *t)
{
    double *v = rfhe_alloc(t->images, sizeof *v), m = 0;

    if (v == NULL || t->images == 0) {
        rfhe_free(v);
        return 0;
    }
    for (size_t i = 0; i < t->images; i++) { v[i] = t->image[i].seconds; }
    qsort(v, t->images, sizeof *v, compare_seconds);
    m = (v[(t->images - 1) / 2] + v[t->images / 2]) / 2;
    rfhe_free(v);
    return m;
}

rfhe_status trial_run(trial *t, const sides_images *images, bool debug, rfhe_cli *cli, rfhe_error *err)
{
    rfhe_status st = trial_twin(t, images, cli, err);
    size_t most = 0;
    watch w = {.t = t, .n = (size_t)1 << t->info.log2_n};

    if (st != RFHE_OK) { return st; }
    for (uint32_t k = 0; k < t->p->n_tensors; k++) {
        const size_t numbers = rfhe_layout_numbers(&t->p->tensor[k].layout);
        most = numbers > most ? numbers : most;
    }
    t->instruction = rfhe_calloc(t->p->n_instructions, sizeof *t->instruction);
    t->logits = rfhe_alloc(images->count * t->p->outputs, sizeof *t->logits);
    w.tensor = rfhe_calloc(t->p->n_tensors, sizeof *w.tensor);
    w.got = rfhe_alloc(most, sizeof *w.got);
    w.coefficient = rfhe_alloc(w.n, sizeof *w.coefficient);
    if (t->instruction == NULL || t->logits == NULL || w.tensor == NULL || w.got == NULL || w.coefficient == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the results of %zu images", images->count);
        goto done;
    }
    for (size_t i = 0; i < images->count; i++) { RFHE_TRY(one_image(t, images, i, debug, &w, cli, err)); }
    t->median_seconds = median(t);

done:
    rfhe_free(w.tensor);
    rfhe_free_secret(w.got);
    rfhe_free_secret(w.coefficient);
    return st;
}

double trial_precision(const trial *t)
{
    return t->range > 0 && t->max_error > 0 ? -log2(t->max_error / t->range) : 0;
}
