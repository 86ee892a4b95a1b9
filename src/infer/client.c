/* See client.h. */
#include "infer/client.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "ckks/random.h"
#include "ckks/internal.h"
#include "infer/clear.h"

struct rfhe_client {
    const rfhe_program *p;
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    uint8_t keys[RFHE_ID_BYTES];
    size_t n;            /* ring degree */
    char *requests;      /* the record of them; NULL = none */
    float *tensor;       /* tensor 0 */
    double *coefficient; /* N */
};

enum { PATH = 4096 };

void rfhe_layout_scatter(double *coefficient, size_t n, const rfhe_layout *l, uint32_t log2_gap, uint32_t t, const float *tensor)
{
    memset(coefficient, 0, n * sizeof *coefficient);
    for (uint32_t c = t * l->block; c < l->channels && c < (t + 1) * l->block; c++) {
        for (uint32_t y = 0; y < l->height; y++) {
            for (uint32_t x = 0; x < l->width; x++) {
                coefficient[rfhe_layout_index(l, c, y, x) << log2_gap] = (double)tensor[((size_t)c * l->height + y) * l->width + x];
            }
        }
    }
}

void rfhe_layout_gather(float *tensor, const rfhe_layout *l, uint32_t log2_gap, uint32_t t, const double *coefficient)
{
    for (uint32_t c = t * l->block; c < l->channels && c < (t + 1) * l->block; c++) {
        for (uint32_t y = 0; y < l->height; y++) {
            for (uint32_t x = 0; x < l->width; x++) {
                tensor[((size_t)c * l->height + y) * l->width + x] = (float)coefficient[rfhe_layout_index(l, c, y, x) << log2_gap];
            }
        }
    }
}

rfhe_status rfhe_program_parameters(rfhe_ckks **out, const rfhe_program *p, rfhe_error *err)
{
    return rfhe_ckks_new(out, &p->ckks, err);
}

/* ---- keys ---- */

static rfhe_status join_path(char out[PATH], const char *folder, const char *name, rfhe_error *err)
{
    const int n = snprintf(out, PATH, "%s/%s", folder, name);

    return n > 0 && n < PATH ? RFHE_OK : rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
}

/* Makes one set of keys and binds its two halves to the program. */
static rfhe_status make_keys(const rfhe_program *p, const char *folder, rfhe_keygen_report *report,
                             const rfhe_progress *progress, rfhe_error *err)
{
    char secret[PATH], server[PATH], path[PATH];
    rfhe_status st = RFHE_OK;
    rfhe_ckks *c = NULL;
    rfhe_refresh *r = NULL;
    rfhe_key_list list = {0};
    rfhe_secret_key *sk = NULL;
    rfhe_seed id;
    rfhe_binding binding;
    rfhe_file_map map = {0};

    RFHE_TRY(join_path(secret, folder, RFHE_CLIENT_SECRET, err));
    RFHE_TRY(join_path(server, folder, RFHE_SERVER_KEYS, err));
    RFHE_TRY(rfhe_program_parameters(&c, p, err));
    RFHE_TRY(rfhe_refresh_new(&r, c, &p->refresh, err));
    RFHE_TRY(rfhe_program_keys(&list, p, c, r, err));
    rfhe_refresh_free(r);
    r = NULL;
    RFHE_TRY(rfhe_secret_key_new(&sk, c, NULL, err));
    RFHE_TRY(join_path(path, folder, "server", err)); /* where the client's half of the program came alone, there is none */
    RFHE_TRY(rfhe_file_make_folder(path, err));
    RFHE_TRY(rfhe_eval_keys_make_file(server, sk, list.items, list.count, progress, err));
    RFHE_TRY(rfhe_secret_key_save(secret, sk, err));
    RFHE_TRY(rfhe_seed_fresh(&id, err));
    memcpy(binding.program, p->id, RFHE_ID_BYTES);
    memcpy(binding.keys, id.bytes, RFHE_ID_BYTES);
    RFHE_TRY(rfhe_file_fingerprint(binding.file, server, err));
    RFHE_TRY(join_path(path, folder, RFHE_SERVER_BINDING, err));
    RFHE_TRY(rfhe_binding_save(path, &binding, c, 0644, err));
    RFHE_TRY(rfhe_file_fingerprint(binding.file, secret, err));
    RFHE_TRY(join_path(path, folder, RFHE_CLIENT_BINDING, err));
    RFHE_TRY(rfhe_binding_save(path, &binding, c, 0600, err));
    RFHE_TRY(join_path(path, folder, RFHE_CLIENT_REQUESTS, err));
    (void)remove(path); /* there is none unless keys are replaced */
    RFHE_TRY(rfhe_file_map_open(&map, server, err));
    report->keys = (uint32_t)list.count;
    report->key_bytes = map.size;

done:
    rfhe_file_map_close(&map);
    rfhe_secret_key_free(sk);
    rfhe_key_list_clear(&list);
    rfhe_refresh_free(r);
    rfhe_ckks_free(c);
    return st;
}

rfhe_status rfhe_client_keygen(const rfhe_program *p, const char *folder, bool replace, rfhe_keygen_report *report,
                               const rfhe_progress *progress, rfhe_error *err)
{
    static const char *const names[] = {RFHE_CLIENT_SECRET, RFHE_SERVER_KEYS};
    const double start = rfhe_now();
    rfhe_keygen_report ignored = {0};
    char path[PATH];
    rfhe_status st = RFHE_OK;

    if (report == NULL) { report = &ignored; }
    for (size_t i = 0; i < sizeof names / sizeof *names && !replace; i++) {
        RFHE_TRY(join_path(path, folder, names[i], err));
        if (rfhe_file_exists(path)) {
            st = rfhe_fail(err, RFHE_E_ARG, "'%s' is there already: what was encrypted with it could not be read any more "
                           "(--replace accepts that)", path);
            goto done;
        }
    }
    RFHE_TRY(make_keys(p, folder, report, progress, err));
    report->seconds = rfhe_now() - start;

done:
    return st;
}

/* ---- the client ---- */

rfhe_status rfhe_client_new(rfhe_client **out, const rfhe_program *p, const rfhe_ckks *c, rfhe_secret_key *sk,
                            const uint8_t keys[RFHE_ID_BYTES], rfhe_error *err)
{
    rfhe_client *k = rfhe_calloc(1, sizeof *k);
    rfhe_ckks_info info;

    if (k == NULL) {
        rfhe_secret_key_free(sk);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a client");
    }
    rfhe_ckks_get_info(c, &info);
    k->p = p;
    k->c = rfhe_ckks_share(c);
    k->sk = sk;
    memcpy(k->keys, keys, RFHE_ID_BYTES);
    k->n = (size_t)1 << info.log2_n;
    k->tensor = rfhe_alloc(rfhe_layout_numbers(&p->tensor[0].layout), sizeof *k->tensor);
    k->coefficient = rfhe_alloc(k->n, sizeof *k->coefficient);
    if (k->tensor == NULL || k->coefficient == NULL) {
        rfhe_client_free(k);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a client");
    }
    *out = k;
    return RFHE_OK;
}

rfhe_status rfhe_client_open(rfhe_client **out, const rfhe_program *p, const char *folder, rfhe_error *err)
{
    char secret[PATH], path[PATH];
    rfhe_status st = RFHE_OK;
    rfhe_ckks *c = NULL;
    rfhe_secret_key *sk = NULL;
    rfhe_client *k = NULL;
    rfhe_binding binding;

    RFHE_TRY(join_path(secret, folder, RFHE_CLIENT_SECRET, err));
    RFHE_TRY(join_path(path, folder, RFHE_CLIENT_BINDING, err));
    if (!rfhe_file_exists(secret)) {
        return rfhe_fail(err, RFHE_E_IO, "there are no keys in '%.120s' yet: `rfhe keygen %.120s` makes them", folder, folder);
    }
    RFHE_TRY(rfhe_program_parameters(&c, p, err));
    RFHE_TRY(rfhe_binding_load(&binding, path, p, c, secret, err));
    RFHE_TRY(rfhe_secret_key_load(&sk, c, secret, err));
    RFHE_TRY(join_path(path, folder, RFHE_CLIENT_REQUESTS, err));
    st = rfhe_client_new(&k, p, c, sk, binding.keys, err);
    sk = NULL;
    if (st != RFHE_OK) { goto done; }
    k->requests = rfhe_strdup(path);
    if (k->requests == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a client");
        goto done;
    }
    *out = k;
    k = NULL;

done:
    rfhe_client_free(k);
    rfhe_secret_key_free(sk);
    rfhe_ckks_free(c);
    return st;
}

void rfhe_client_free(rfhe_client *k)
{
    if (k == NULL) { return; }
    rfhe_secret_key_free(k->sk);
    rfhe_free(k->requests);
    rfhe_free_secret(k->tensor);
    rfhe_free_secret(k->coefficient);
    rfhe_ckks_free(k->c);
    rfhe_free(k);
}

const rfhe_ckks *rfhe_client_parameters(const rfhe_client *k)
{
    return k->c;
}

const rfhe_secret_key *rfhe_client_secret(const rfhe_client *k)
{
    return k->sk;
}

static rfhe_status encrypt(rfhe_message *m, rfhe_client *k, rfhe_error *err)
{
    const rfhe_layout *l = &k->p->tensor[0].layout;
    rfhe_status st = RFHE_OK;
    rfhe_pt *pt = NULL;
    rfhe_seed tag;

    RFHE_TRY(rfhe_message_init(m, l->ciphertexts, err));
    RFHE_TRY(rfhe_seed_fresh(&tag, err));
    memcpy(m->program, k->p->id, RFHE_ID_BYTES);
    memcpy(m->keys, k->keys, RFHE_ID_BYTES);
    memcpy(m->tag, tag.bytes, RFHE_TAG_BYTES);
    for (uint32_t t = 0; t < l->ciphertexts; t++) {
        rfhe_layout_scatter(k->coefficient, k->n, l, rfhe_program_log2_gap(k->p), t, k->tensor);
        RFHE_TRY(rfhe_encode_coeffs(&pt, k->c, k->coefficient, k->n, k->p->level_linear, rfhe_ckks_scale(k->c, 0), err));
        RFHE_TRY(rfhe_ct_new(&m->ct[t], k->c, k->p->level_linear, err));
        RFHE_TRY(rfhe_encrypt_secret(m->ct[t], pt, k->sk, err));
        /* The bound of a message is in the clear: it must not tell one image from another. */
        rfhe_ct_set_bound(m->ct[t], (double)k->n);
        rfhe_pt_free(pt);
        pt = NULL;
    }

done:
    rfhe_pt_free(pt);
    return st;
}

rfhe_status rfhe_client_encrypt(rfhe_message *m, rfhe_client *k, const float *image, rfhe_error *err)
{
    const size_t pixels = (size_t)k->p->image_channels * k->p->image_height * k->p->image_width;

    *m = (rfhe_message){0};
    for (size_t i = 0; i < pixels; i++) {
        if (!isfinite(image[i])) { return rfhe_fail(err, RFHE_E_ARG, "number %zu of the image is not finite", i); }
    }
    rfhe_program_take_image(k->tensor, k->p, image);
    const rfhe_status st = encrypt(m, k, err);
    if (st != RFHE_OK) { rfhe_message_clear(m); }
    return st;
}

rfhe_status rfhe_client_request(uint8_t **data, size_t *size, rfhe_client *k, const float *image, const char *name,
                                rfhe_error *err)
{
    rfhe_message m = {0};
    rfhe_status st = rfhe_client_encrypt(&m, k, image, err);

    if (st == RFHE_OK && k->requests != NULL) { st = rfhe_request_note(k->requests, m.tag, name, err); }
    if (st == RFHE_OK) { st = rfhe_message_write(data, size, &m, RFHE_REQUEST, k->c, err); }
    rfhe_message_clear(&m);
    return st;
}

rfhe_status rfhe_client_decrypt(float *logits, rfhe_reply_report *report, rfhe_client *k, const rfhe_message *m,
                                rfhe_error *err)
{
    const rfhe_program *p = k->p;
    rfhe_pt *pt = NULL;
    rfhe_status st = RFHE_OK;
    double largest = 0;

    RFHE_TRY(rfhe_decrypt(&pt, m->ct[0], k->sk, err));
    RFHE_TRY(rfhe_decode_coeffs(k->coefficient, k->n, pt, err));
    for (uint32_t i = 0; i < p->outputs; i++) {
        const double x = k->coefficient[rfhe_reply_index(p, k->n, i)];
        largest = fmax(largest, fabs(x));
        logits[i] = (float)(x * p->reply_gain);
        if (!isfinite(logits[i])) {
            st = rfhe_fail(err, RFHE_E_NUMERIC, "output %u of the network, %g x %g, is no finite number", i, x, p->reply_gain);
            goto done;
        }
    }
    if (report != NULL) { report->fill = largest / RFHE_REPLY_BOUND; }

done:
    rfhe_pt_free(pt);
    return st;
}

rfhe_status rfhe_client_reply(float *logits, rfhe_reply_report *report, rfhe_client *k, const void *data, size_t size,
                              rfhe_error *err)
{
    rfhe_message m = {0};
    char request[RFHE_REQUEST_NAME] = "";
    rfhe_status st = rfhe_message_read(&m, RFHE_REPLY, k->p, k->c, k->keys, data, size, err);

    if (st == RFHE_OK && k->requests != NULL) { st = rfhe_request_find(request, k->requests, m.tag, err); }
    if (st == RFHE_OK) { st = rfhe_client_decrypt(logits, report, k, &m, err); }
    if (st == RFHE_OK && report != NULL) { memcpy(report->request, request, sizeof request); }
    rfhe_message_clear(&m);
    return st;
}
