/* Ciphertext storage, encryption, decryption. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/encode.h"
#include "ckks/keys.h"

rfhe_status rfhe_ct_new(rfhe_ct **out, const rfhe_ckks *c, uint32_t level, rfhe_error *err)
{
    rfhe_ct *ct = NULL;

    if (level >= c->n_q) {
        return rfhe_fail(err, RFHE_E_DEPTH, "level %u is above the top level %u of the parameters", level, c->n_q - 1);
    }
    ct = rfhe_calloc(1, sizeof *ct);
    if (ct != NULL) { ct->data = rfhe_calloc(2 * (size_t)(level + 1) * c->n, sizeof(uint64_t)); }
    if (ct == NULL || ct->data == NULL) {
        rfhe_free(ct);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a ciphertext of %u limbs", level + 1);
    }
    ct->c = rfhe_ckks_share(c);
    ct->level = level;
    ct->parts = ct->room_parts = 2;
    ct->room = level + 1;
    ct->scale = c->scale[level];
    *out = ct;
    return RFHE_OK;
}

void rfhe_ct_free(rfhe_ct *ct)
{
    if (ct == NULL) { return; }
    rfhe_free(ct->data);
    rfhe_ckks_free(ct->c);
    rfhe_free(ct);
}

rfhe_status rfhe_ct_reserve(rfhe_ct *ct, uint32_t level, uint32_t parts, rfhe_error *err)
{
    const size_t n = ct->c->n;

    if (level + 1 > ct->room || parts > ct->room_parts) {
        const uint32_t room = level + 1 > ct->room ? level + 1 : ct->room;
        const uint32_t room_parts = parts > ct->room_parts ? parts : ct->room_parts;
        uint64_t *data = rfhe_alloc((size_t)room_parts * room * n, sizeof *data);
        if (data == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a ciphertext of %u x %u limbs", room_parts, room);
        }
        for (uint32_t p = 0; p < ct->parts; p++) {
            memcpy(data + (size_t)p * room * n, rfhe_ct_limb(ct, p, 0), (size_t)(ct->level + 1) * n * sizeof *data);
        }
        rfhe_free(ct->data);
        ct->data = data;
        ct->room = room;
        ct->room_parts = room_parts;
    }
    return RFHE_OK;
}

void rfhe_ct_take_header(rfhe_ct *to, const rfhe_ct *from)
{
    to->level = from->level;
    to->parts = from->parts;
    to->scale = from->scale;
    to->bound = from->bound;
    to->error = from->error;
    to->has_seed = false;
}

rfhe_status rfhe_ct_copy(rfhe_ct *out, const rfhe_ct *a, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    if (out == a) { return RFHE_OK; }
    if (!rfhe_ckks_same(out->c, a->c)) {
        return rfhe_fail(err, RFHE_E_ARG, "the output ciphertext belongs to other parameters than the input");
    }
    st = rfhe_ct_reserve(out, a->level, a->parts, err);
    if (st != RFHE_OK) { return st; }
    for (uint32_t p = 0; p < a->parts; p++) {
        memcpy(rfhe_ct_limb(out, p, 0), rfhe_ct_limb(a, p, 0), (size_t)(a->level + 1) * a->c->n * sizeof(uint64_t));
    }
    rfhe_ct_take_header(out, a);
    out->has_seed = a->has_seed;
    out->seed = a->seed;
    return RFHE_OK;
}

uint32_t rfhe_ct_level(const rfhe_ct *ct)
{
    return ct->level;
}

double rfhe_ct_scale(const rfhe_ct *ct)
{
    return ct->scale;
}

rfhe_status rfhe_ct_set_scale(rfhe_ct *ct, double scale, rfhe_error *err)
{
    if (!(scale > 0) || !isfinite(scale)) {
        return rfhe_fail(err, RFHE_E_ARG, "a scale of %g is not a positive number", scale);
    }
    ct->bound *= ct->scale / scale;
    ct->error *= ct->scale / scale;
    ct->scale = scale;
    return RFHE_OK;
}

uint32_t rfhe_ct_parts(const rfhe_ct *ct)
{
    return ct->parts;
}

double rfhe_ct_error(const rfhe_ct *ct)
{
    return ct->error;
}

double rfhe_ct_precision_bits(const rfhe_ct *ct)
{
    return -log2(ct->error);
}

double rfhe_ct_bound(const rfhe_ct *ct)
{
    return ct->bound;
}

void rfhe_ct_set_bound(rfhe_ct *ct, double bound)
{
    ct->bound = bound;
}

size_t rfhe_ct_bytes(const rfhe_ct *ct)
{
    return (size_t)ct->parts * (ct->level + 1) * ct->c->n * sizeof(uint64_t);
}

static rfhe_status check_encrypt(const rfhe_ct *out, const rfhe_pt *pt, const rfhe_ckks *key, rfhe_error *err)
{
    if (!rfhe_ckks_same(pt->c, key)) {
        return rfhe_fail(err, RFHE_E_ARG, "the plaintext belongs to other parameters than the key");
    }
    if (!rfhe_ckks_same(out->c, key)) {
        return rfhe_fail(err, RFHE_E_ARG, "the output ciphertext belongs to other parameters than the key");
    }
    return RFHE_OK;
}

static void fresh_header(rfhe_ct *out, const rfhe_pt *pt, double variance)
{
    const double noise = rfhe_noise_slot(pt->c, variance, pt->scale);

    out->level = pt->level;
    out->parts = 2;
    out->scale = pt->scale;
    out->bound = pt->bound;
    out->error = sqrt(noise * noise + pt->error * pt->error);
    out->has_seed = false;
}

rfhe_status rfhe_encrypt_with(rfhe_ct *out, const rfhe_pt *pt, const rfhe_public_key *pk, const rfhe_seed *seed,
                              rfhe_error *err)
{
    const rfhe_ckks *c = pk->c;
    const size_t n = c->n;
    rfhe_stream stream;
    rfhe_status st = check_encrypt(out, pt, c, err);
    int64_t *small = NULL; /* v, e0, e1 */
    uint64_t *vs = NULL;

    if (st != RFHE_OK) { return st; }
    small = rfhe_alloc(3 * n, sizeof *small);
    vs = rfhe_alloc((size_t)(pt->level + 1) * n, sizeof *vs);
    if (small == NULL || vs == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to encrypt");
        goto done;
    }
    RFHE_TRY(rfhe_ct_reserve(out, pt->level, 2, err));
    rfhe_stream_open(&stream, seed, RFHE_PURPOSE_MASK, 0, 0);
    rfhe_stream_ternary(&stream, c->k, small, n);
    rfhe_stream_close(&stream);
    for (uint32_t h = 0; h < 2; h++) {
        rfhe_stream_open(&stream, seed, RFHE_PURPOSE_ERROR, h, 0);
        rfhe_stream_error(&stream, c->k, small + (1 + h) * n, n);
        rfhe_stream_close(&stream);
    }
#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i <= pt->level; i++) {
        uint64_t *const v = vs + i * n, *const c0 = rfhe_ct_limb(out, 0, i), *const c1 = rfhe_ct_limb(out, 1, i);
        rfhe_small_to_limb(c, v, small, i);
        rfhe_small_to_limb(c, c0, small + n, i);
        rfhe_small_to_limb(c, c1, small + 2 * n, i);
        c->k->mul_add(c0, v, pk->b + i * n, n, &c->m[i]);
        c->k->mul_add(c1, v, pk->a + i * n, n, &c->m[i]);
        c->k->add(c0, c0, pt->data + i * n, n, &c->m[i]);
    }
    fresh_header(out, pt, rfhe_noise_fresh_public(c));
done:
    rfhe_free_secret(small);
    rfhe_free_secret(vs);
    return st;
}

rfhe_status rfhe_encrypt(rfhe_ct *out, const rfhe_pt *pt, const rfhe_public_key *pk, rfhe_error *err)
{
    rfhe_seed seed;
    rfhe_status st = rfhe_seed_fresh(&seed, err);

    if (st == RFHE_OK) { st = rfhe_encrypt_with(out, pt, pk, &seed, err); }
    rfhe_seed_wipe(&seed);
    return st;
}

void rfhe_ct_expand_seed(rfhe_ct *ct)
{
#pragma omp parallel for schedule(dynamic) if (ct->c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i <= ct->level; i++) {
        rfhe_uniform_limb(ct->c, rfhe_ct_limb(ct, 1, i), &ct->seed, 0, i);
    }
}

rfhe_status rfhe_encrypt_secret(rfhe_ct *out, const rfhe_pt *pt, const rfhe_secret_key *sk, rfhe_error *err)
{
    const rfhe_ckks *c = sk->c;
    const size_t n = c->n;
    rfhe_secret_key *owner = (rfhe_secret_key *)(uintptr_t)sk; /* only its counter changes */
    rfhe_status st = check_encrypt(out, pt, c, err);
    rfhe_seed noise;
    rfhe_stream stream;
    int64_t *e = NULL;

    if (st != RFHE_OK) { return st; }
    e = rfhe_alloc(n, sizeof *e);
    if (e == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to encrypt"); }
    RFHE_TRY(rfhe_ct_reserve(out, pt->level, 2, err));
    rfhe_next_seeds(owner, &out->seed, &noise);
    rfhe_stream_open(&stream, &noise, RFHE_PURPOSE_ERROR, 0, 0);
    rfhe_stream_error(&stream, c->k, e, n);
    rfhe_stream_close(&stream);
    rfhe_seed_wipe(&noise);
    fresh_header(out, pt, rfhe_noise_fresh_secret(c));
    rfhe_ct_expand_seed(out);
#pragma omp parallel for schedule(dynamic) if (c->n >= RFHE_PARALLEL_FROM)
    for (uint32_t i = 0; i <= pt->level; i++) {
        uint64_t *const c0 = rfhe_ct_limb(out, 0, i);
        /* c0 = -(a s - e) + m */
        rfhe_small_to_limb(c, c0, e, i);
        c->k->neg(c0, c0, n, &c->m[i]);
        c->k->mul_add(c0, rfhe_ct_limb(out, 1, i), sk->s + i * n, n, &c->m[i]);
        c->k->sub(c0, pt->data + i * n, c0, n, &c->m[i]);
    }
    out->has_seed = true;
done:
    rfhe_free_secret(e);
    return st;
}

rfhe_status rfhe_decrypt(rfhe_pt **out, const rfhe_ct *ct, const rfhe_secret_key *sk, rfhe_error *err)
{
    const rfhe_ckks *c = sk->c;
    const size_t n = c->n;
    rfhe_status st = RFHE_OK;
    rfhe_pt *pt = NULL;

    if (!rfhe_ckks_same(ct->c, c)) {
        return rfhe_fail(err, RFHE_E_ARG, "the ciphertext belongs to other parameters than the secret key");
    }
    /* Only the limbs that decoding will look at. */
    const uint32_t level = rfhe_decode_limbs(c, ct->level, ct->scale) - 1;
    st = rfhe_pt_new(&pt, c, level, 0, err);
    if (st != RFHE_OK) { return st; }
    for (uint32_t i = 0; i <= level; i++) {
        uint64_t *const m = pt->data + i * n;
        const uint64_t *const s = sk->s + i * n;
        /* Horner: ((c2 s) + c1) s + c0 */
        memcpy(m, rfhe_ct_limb(ct, ct->parts - 1, i), n * sizeof *m);
        for (uint32_t p = ct->parts - 1; p-- > 0;) {
            c->k->mul(m, m, s, n, &c->m[i]);
            c->k->add(m, m, rfhe_ct_limb(ct, p, i), n, &c->m[i]);
        }
    }
    pt->scale = ct->scale;
    pt->bound = ct->bound;
    pt->error = ct->error;
    *out = pt;
    return st;
}
