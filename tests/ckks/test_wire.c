/* Bytes and files: round trips, every truncation, bit flips, foreign parameters, file modes, sizes. */
#include "ckks_test.h"

#include <sys/stat.h>

#include "base/file.h"
#include "ckks/wire.h"

static world w;
static rfhe_ckks *foreign;

static int make(void **state)
{
    static const int64_t steps[] = {1, 5};
    const rfhe_ckks_options o = {.log2_n = 10, .depth = 2, .scale_bits = 40, .insecure_test = true};

    (void)state;
    w = world_new(10, 1, 40, steps, 2);
    MUST(rfhe_ckks_new(&foreign, &o, err));
    return 0;
}

static int drop(void **state)
{
    (void)state;
    rfhe_ckks_free(foreign);
    world_free(&w);
    return 0;
}

typedef rfhe_status parse_fn(void **out, const rfhe_ckks *c, const uint8_t *data, size_t size, rfhe_error *err);

static rfhe_status parse_ct(void **out, const rfhe_ckks *c, const uint8_t *d, size_t n, rfhe_error *err)
{
    rfhe_ct *x = NULL;
    const rfhe_status st = rfhe_ct_read(&x, c, d, n, err);
    *out = x;
    if (st == RFHE_OK) { rfhe_ct_free(x); }
    return st;
}

static rfhe_status parse_pk(void **out, const rfhe_ckks *c, const uint8_t *d, size_t n, rfhe_error *err)
{
    rfhe_public_key *x = NULL;
    const rfhe_status st = rfhe_public_key_read(&x, c, d, n, err);
    *out = x;
    if (st == RFHE_OK) { rfhe_public_key_free(x); }
    return st;
}

static rfhe_status parse_sk(void **out, const rfhe_ckks *c, const uint8_t *d, size_t n, rfhe_error *err)
{
    rfhe_secret_key *x = NULL;
    const rfhe_status st = rfhe_secret_key_parse(&x, c, d, n, err);
    *out = x;
    if (st == RFHE_OK) { rfhe_secret_key_free(x); }
    return st;
}

static rfhe_status parse_keys(void **out, const rfhe_ckks *c, const uint8_t *d, size_t n, rfhe_error *err)
{
    rfhe_eval_keys *x = NULL;
    const rfhe_status st = rfhe_eval_keys_parse(&x, c, d, n, err);
    *out = x;
    if (st == RFHE_OK) { rfhe_eval_keys_free(x); }
    return st;
}

static rfhe_status parse_set(void **out, const rfhe_ckks *c, const uint8_t *d, size_t n, rfhe_error *err)
{
    rfhe_ckks *x = NULL;
    const rfhe_status st = rfhe_ckks_read(&x, d, n, true, err);
    (void)c;
    *out = x;
    if (st == RFHE_OK) { rfhe_ckks_free(x); }
    return st;
}

/* Reads back; refuses every kind of damage without a crash, a leak, or an output. */
static void attack(parse_fn *parse, const uint8_t *data, size_t size, bool has_foreign, const char *what)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), size);
    void *x = NULL;
    const size_t before = rfhe_mem_get_stats().current;
    uint8_t *copy = malloc(size);

    MUST(parse(&x, w.c, data, size, err));
    /* All short lengths near the ends and a sample of those between; exact allocations, so that ASan sees over-reads. */
    for (size_t n = 0; n < size; n += n < 200 || n + 400 > size ? 1 : 1 + size / 97) {
        uint8_t *cut = malloc(n > 0 ? n : 1);
        rfhe_error err = {0};
        memcpy(cut, data, n);
        x = NULL;
        if (parse(&x, w.c, cut, n, &err) == RFHE_OK || x != NULL) { fail_msg("%s: %zu of %zu bytes accepted", what, n, size); }
        free(cut);
    }
    for (size_t round = 0; round < 300; round++) {
        rfhe_error err = {0};
        const size_t bit = round < 8 * 64 ? (size_t)rfhe_rng_below(&r, 8 * (round % 2 == 0 ? size : 256)) : 0;
        memcpy(copy, data, size);
        copy[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        x = NULL;
        const rfhe_status st = parse(&x, w.c, copy, size, &err);
        if (st == RFHE_OK || x != NULL || err.text[0] == 0) { fail_msg("%s: flip of bit %zu accepted", what, bit); }
    }
    if (has_foreign) { REFUSED(RFHE_E_FORMAT, "other parameters", parse(&x, foreign, data, size, err)); }
    free(copy);
    assert_int_equal(rfhe_mem_get_stats().current, before);
}

static void ciphertexts_survive_and_damage_is_refused(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 1);
    vec v = vec_random(w.slots, &r);
    rfhe_ct *x = encrypt(&w, &v, 1), *y = NULL;
    rfhe_pt *pt = NULL;
    uint8_t *data = NULL;
    size_t size = 0, seeded = 0;

    (void)state;
    MUST(rfhe_ct_write(&data, &size, x, err));
    MUST(rfhe_ct_read(&y, w.c, data, size, err));
    assert_memory_equal(x->data, y->data, 4 * w.c->n * 8);
    assert_true(rfhe_ct_scale(x) == rfhe_ct_scale(y) && rfhe_ct_error(x) == rfhe_ct_error(y));
    rfhe_ct_free(y);
    attack(parse_ct, data, size, true, "ciphertext");
    rfhe_bytes_free(data);
    MUST(rfhe_encode(&pt, w.c, v.re, v.im, v.n, 1, 0, err));
    MUST(rfhe_encrypt_secret(x, pt, w.sk, err));
    MUST(rfhe_ct_write(&data, &seeded, x, err));
    assert_true(seeded < size / 2 + 400);
    MUST(rfhe_ct_read(&y, w.c, data, seeded, err));
    assert_memory_equal(x->data, y->data, 4 * w.c->n * 8);
    attack(parse_ct, data, seeded, true, "seeded ciphertext");
    rfhe_bytes_free(data);
    /* A ciphertext that was worked on is no expansion of its seed any more. */
    MUST(rfhe_ct_add_const(x, x, 0.5, w.ev, err));
    MUST(rfhe_ct_write(&data, &size, x, err));
    assert_true(size > seeded * 3 / 2);
    rfhe_bytes_free(data);
    rfhe_pt_free(pt);
    rfhe_ct_free(x);
    rfhe_ct_free(y);
    vec_free(&v);
}

static void keys_survive_and_damage_is_refused(void **state)
{
    char path[256];
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_public_key *pk = NULL;
    rfhe_secret_key *sk = NULL;
    rfhe_eval_keys *keys = NULL;
    struct stat info;

    (void)state;
    MUST(rfhe_public_key_write(&data, &size, w.pk, err));
    MUST(rfhe_public_key_read(&pk, w.c, data, size, err));
    assert_memory_equal(pk->a, w.pk->a, 2 * w.c->n * 8);
    assert_memory_equal(pk->b, w.pk->b, 2 * w.c->n * 8);
    attack(parse_pk, data, size, true, "public key");
    rfhe_public_key_free(pk);
    rfhe_bytes_free(data);

    (void)snprintf(path, sizeof path, "%s/secret", test_folder());
    MUST(rfhe_secret_key_save(path, w.sk, err));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    MUST(rfhe_secret_key_load(&sk, w.c, path, err));
    assert_memory_equal(sk->s, w.sk->s, (w.c->n_q + w.c->n_p) * w.c->n * 8);
    assert_memory_not_equal(sk->seed.bytes, w.sk->seed.bytes, 32); /* a stream of noise is never resumed */
    MUST(rfhe_file_read(&data, &size, path, 1 << 20, err));
    attack(parse_sk, data, size, true, "secret key");
    rfhe_secret_key_free(sk);
    rfhe_free(data);

    (void)snprintf(path, sizeof path, "%s/keys", test_folder());
    MUST(rfhe_eval_keys_save(path, w.keys, err));
    MUST(rfhe_eval_keys_load(&keys, w.c, path, err));
    assert_int_equal(keys->count, w.keys->count);
    for (size_t i = 0; i < keys->count; i++) {
        const rfhe_key *a = &keys->key[i], *b = &w.keys->key[i];
        assert_true(a->element == b->element && a->level == b->level && a->digits == b->digits);
        assert_memory_equal(a->data, b->data, 2 * (size_t)a->digits * rfhe_key_rows(a) * w.c->n * 8);
    }
    MUST(rfhe_file_read(&data, &size, path, 1 << 24, err));
    assert_true((double)size <= 0.55 * (double)rfhe_eval_keys_bytes(keys));
    attack(parse_keys, data, size, true, "evaluation keys");
    REFUSED(RFHE_E_FORMAT, "not a public key", parse_pk((void *[]){NULL}, w.c, data, size, err));
    rfhe_eval_keys_free(keys);
    rfhe_free(data);
    REFUSED(RFHE_E_IO, "no/such", rfhe_eval_keys_load(&keys, w.c, "no/such", err));
}

static void parameters_survive_and_damage_is_refused(void **state)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_ckks *c = NULL;

    (void)state;
    MUST(rfhe_ckks_write(&data, &size, w.c, err));
    MUST(rfhe_ckks_read(&c, data, size, true, err));
    assert_memory_equal(c->id, w.c->id, 32);
    assert_true(rfhe_ckks_scale(c, 0) == rfhe_ckks_scale(w.c, 0));
    REFUSED(RFHE_E_INSECURE, "128-bit", rfhe_ckks_read(&c, data, size, false, err));
    attack(parse_set, data, size, false, "parameters");
    data[8] = 9;
    REFUSED(RFHE_E_UNSUPPORTED, "version 9", rfhe_ckks_read(&c, data, size, true, err));
    rfhe_bytes_free(data);
    rfhe_ckks_free(c);
}

static void residues_are_packed_to_every_width(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 5);
    uint64_t x[128], y[128];
    uint8_t b[128 * 7];

    (void)state;
    for (uint32_t bits = 20; bits <= 50; bits++) {
        rfhe_modulus m = {.q = (UINT64_C(1) << bits) - 1, .bits = bits};
        for (size_t i = 0; i < 128; i++) { x[i] = rfhe_rng_below(&r, m.q); }
        x[5] = m.q - 1;
        rfhe_pack_residues(b, x, 128, bits);
        assert_true(rfhe_unpack_residues(y, b, 128, &m));
        assert_memory_equal(x, y, sizeof x);
        m.q--; /* now x[5] is too large */
        assert_false(rfhe_unpack_residues(y, b, 128, &m));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ciphertexts_survive_and_damage_is_refused),
        cmocka_unit_test(keys_survive_and_damage_is_refused),
        cmocka_unit_test(parameters_survive_and_damage_is_refused),
        cmocka_unit_test(residues_are_packed_to_every_width),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
