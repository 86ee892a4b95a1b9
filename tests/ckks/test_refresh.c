/* The refresh on ciphertexts, at a reduced ring degree: identity within the estimated error for real and complex, full
 * and sparse slots; work on coefficients in between; repetition; refusals. */
#include "test.h"

#include "ckks/dft.h"
#include "ckks/internal.h"
#include "rfhe/ckks.h"

#include <math.h>
#include <stdio.h>

enum { LOG2_N = 11, N = 1 << LOG2_N, SLOTS = N / 2 };

typedef struct bench {
    rfhe_ckks *c;
    rfhe_secret_key *sk;
    rfhe_refresh *r;
    rfhe_eval_keys *keys;
    rfhe_evaluator *ev;
    rfhe_ct *a, *b;
    double re[SLOTS], im[SLOTS], got_re[SLOTS], got_im[SLOTS];
} bench;

/* q_0, one level for work on coefficients, two for to_coeffs, three for the user, eight for the reduction, two up. */
static const uint8_t chain[] = {42, 32, 30, 30, 32, 32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48};
enum { LIMBS = sizeof chain };

static void set_up_with(bench *t, const rfhe_ckks_options *o, const rfhe_refresh_options *opt)
{
    rfhe_key_list list = {0};
    rfhe_error err = {0};
    const uint64_t seed = test_seed();

    memset(t, 0, sizeof *t);
    if (rfhe_ckks_new(&t->c, o, &err) != RFHE_OK || rfhe_secret_key_new(&t->sk, t->c, &seed, &err) != RFHE_OK ||
        rfhe_refresh_new(&t->r, t->c, opt, &err) != RFHE_OK || rfhe_refresh_keys(t->r, &list, &err) != RFHE_OK ||
        rfhe_key_list_add(&list, RFHE_ELEMENT_RELIN, 6, 0, &err) != RFHE_OK ||
        rfhe_eval_keys_new(&t->keys, t->sk, list.items, list.count, &err) != RFHE_OK ||
        rfhe_evaluator_new(&t->ev, t->c, t->keys, &err) != RFHE_OK || rfhe_ct_new(&t->a, t->c, 1, &err) != RFHE_OK ||
        rfhe_ct_new(&t->b, t->c, 1, &err) != RFHE_OK) {
        fail_msg("%s", err.text);
    }
    rfhe_key_list_clear(&list);
}

static rfhe_ckks_options usual(void)
{
    rfhe_ckks_options o = {.log2_n = LOG2_N, .insecure_test = true, .chain_length = LIMBS, .special_count = 3,
                           .special_bits = 50};

    memcpy(o.chain, chain, sizeof chain);
    for (uint32_t l = 0; l < LIMBS; l++) { o.chain_scale[l] = l <= 6 ? 32 : 48; }
    return o;
}

static void set_up(bench *t, const rfhe_refresh_options *opt)
{
    const rfhe_ckks_options o = usual();

    set_up_with(t, &o, opt);
}

static void tear_down(bench *t)
{
    rfhe_ct_free(t->a);
    rfhe_ct_free(t->b);
    rfhe_evaluator_free(t->ev);
    rfhe_eval_keys_free(t->keys);
    rfhe_refresh_free(t->r);
    rfhe_secret_key_free(t->sk);
    rfhe_ckks_free(t->c);
}

static void encrypt(bench *t, rfhe_ct *out, size_t n, uint32_t level)
{
    rfhe_pt *pt = NULL;
    rfhe_error err = {0};

    if (rfhe_encode(&pt, t->c, t->re, t->im, n, level, 0, &err) != RFHE_OK ||
        rfhe_encrypt_secret(out, pt, t->sk, &err) != RFHE_OK) {
        fail_msg("%s", err.text);
    }
    rfhe_pt_free(pt);
}

static void decrypt(bench *t, const rfhe_ct *a, size_t n)
{
    rfhe_pt *pt = NULL;
    rfhe_error err = {0};

    if (rfhe_decrypt(&pt, a, t->sk, &err) != RFHE_OK || rfhe_decode(t->got_re, t->got_im, n, pt, &err) != RFHE_OK) {
        fail_msg("%s", err.text);
    }
    rfhe_pt_free(pt);
}

/* Root mean square of the difference to re + i im; *worst its largest part. */
static double difference(const bench *t, size_t n, double *worst)
{
    double sum = 0;

    *worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double e = hypot(t->got_re[i] - t->re[i], t->got_im[i] - t->im[i]);
        sum += e * e / (double)n;
        *worst = fmax(*worst, e);
    }
    return sqrt(sum);
}

static void fill(bench *t, size_t n, bool is_complex, uint64_t stream)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), stream);

    for (size_t i = 0; i < n; i++) {
        t->re[i] = 2 * rfhe_rng_uniform(&rng) - 1;
        t->im[i] = is_complex ? 2 * rfhe_rng_uniform(&rng) - 1 : 0;
    }
}

static void refreshes(const rfhe_ckks_options *o, const rfhe_refresh_options *opt, uint32_t raise_level, const char *name)
{
    bench *t = test_calloc(1, sizeof *t);
    rfhe_error err = {0};
    double worst = 0;

    set_up_with(t, o, opt);
    const rfhe_refresh_info info = rfhe_refresh_get_info(t->r);
    const size_t n = info.slots;
    assert_int_equal(info.raise_level, raise_level);
    assert_true(info.log2_failure <= -128);
    fill(t, n, opt->complex_slots, 31);
    encrypt(t, t->a, n, info.to_coeffs_level);
    if (rfhe_ct_to_coeffs(t->b, t->a, t->r, t->ev, &err) != RFHE_OK || rfhe_ct_raise(t->b, t->b, t->r, t->ev, &err) != RFHE_OK) {
        fail_msg("%s: %s", name, err.text);
    }
    assert_int_equal(rfhe_ct_level(t->b), raise_level);
    assert_true(rfhe_ct_scale(t->b) == rfhe_ckks_scale(t->c, raise_level));
    decrypt(t, t->b, n);
    const double rms = difference(t, n, &worst), estimate = rfhe_ct_error(t->b);
    print_message("%s: %zu slots, degree %u, %u rotations, %u products: 2^%.1f mean, 2^%.1f worst, estimate 2^%.1f\n",
                  name, n, info.degree, info.rotations, info.products, log2(rms), log2(worst), log2(estimate));
    assert_true(worst < 0x1p-12);
    assert_true(rms < 1.5 * estimate && estimate < 2.5 * rms); /* the slack of the estimate */
    tear_down(t);
    test_free(t);
}

static void refresh_is_the_identity(const rfhe_refresh_options *opt, const char *name)
{
    const rfhe_ckks_options o = usual();

    refreshes(&o, opt, 6, name);
}

/* The chains, scales and special primes of the named sets on a small ring: they refresh, with the levels their lines
 * promise and the error that is estimated. */
static void named_sets_refresh_with_the_estimated_error(void **state)
{
    static const struct {
        const char *name;
        uint32_t raise_level;
    } wanted[] = {{"B15-2", 5}, {"B15-3", 6}, {"B15-3w", 6}, {"B15-5", 8}, {"A16", 21}};

    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const rfhe_refresh_set *set = rfhe_refresh_set_find(wanted[i].name);
        assert_non_null(set);
        rfhe_ckks_options o = set->ckks;
        o.log2_n = LOG2_N;
        o.insecure_test = true;
        refreshes(&o, &set->refresh, wanted[i].raise_level, set->name);
    }
    assert_null(rfhe_refresh_set_at(sizeof wanted / sizeof *wanted));
}

static void real_complex_full_and_sparse_slots_come_back(void **state)
{
    (void)state;
    refresh_is_the_identity(&(rfhe_refresh_options){.to_coeffs_level = 3}, "real");
    refresh_is_the_identity(&(rfhe_refresh_options){.complex_slots = true}, "complex");
    refresh_is_the_identity(&(rfhe_refresh_options){.log2_slots = LOG2_N - 4, .to_coeffs_level = 3}, "sparse");
    refresh_is_the_identity(&(rfhe_refresh_options){.to_slots_factors = 3, .to_coeffs_factors = 1}, "one factor");
}

/* N numbers, two per slot: out to all coefficients, worked on there (times X^2: every coefficient moves by two), and back
 * as two real ciphertexts. */
static void both_halves_go_and_come_as_real_vectors(void **state)
{
    bench *t = test_calloc(1, sizeof *t);
    rfhe_error err = {0};
    rfhe_ct *high = NULL;
    double *want = test_calloc(2 * SLOTS, sizeof *want), worst[2] = {0}, rms[2];

    (void)state;
    set_up(t, &(rfhe_refresh_options){.to_coeffs_level = 3});
    assert_int_equal(rfhe_ct_new(&high, t->c, LIMBS - 1, &err), RFHE_OK);
    fill(t, SLOTS, true, 35);
    for (uint32_t h = 0; h < 2; h++) { /* coefficient k moves to k + 2, beyond N with a minus */
        for (uint32_t j = 0; j < SLOTS; j++) {
            const uint32_t to = (rfhe_dft_reverse(j, LOG2_N - 1) + h * SLOTS + 2) % N;
            const bool wraps = rfhe_dft_reverse(j, LOG2_N - 1) + h * SLOTS + 2 >= N;
            const double x = h == 0 ? t->re[j] : t->im[j];
            want[to / SLOTS * SLOTS + rfhe_dft_reverse(to % SLOTS, LOG2_N - 1)] = wraps ? -x : x;
        }
    }
    double *const im = test_calloc(SLOTS, sizeof *im);
    memcpy(im, t->im, sizeof t->im);
    memset(t->im, 0, sizeof t->im);
    encrypt(t, t->a, SLOTS, 3);
    memcpy(t->re, im, sizeof t->re);
    encrypt(t, high, SLOTS, 3);
    assert_int_equal(rfhe_ct_to_coeffs_halves(t->b, t->a, high, t->r, NULL, t->ev, &err), RFHE_OK);
    assert_int_equal(rfhe_ct_mul_monomial(t->b, t->b, 2, t->ev, &err), RFHE_OK);
    if (rfhe_ct_raise_halves(t->a, high, t->b, t->r, t->ev, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    for (int h = 0; h < 2; h++) {
        const rfhe_ct *x = h == 0 ? t->a : high;
        assert_int_equal(rfhe_ct_level(x), 6);
        memcpy(t->re, want + h * SLOTS, sizeof t->re);
        decrypt(t, x, SLOTS);
        rms[h] = difference(t, SLOTS, &worst[h]);
        assert_true(worst[h] < 0x1p-12);
        assert_true(rms[h] < 1.5 * rfhe_ct_error(x) && rfhe_ct_error(x) < 2.5 * rms[h]);
    }
    print_message("two halves: 2^%.1f and 2^%.1f mean, 2^%.1f and 2^%.1f worst\n", log2(rms[0]), log2(rms[1]),
                  log2(worst[0]), log2(worst[1]));
    /* The lower half alone is what rfhe_ct_raise gives, to the bit. */
    assert_int_equal(rfhe_ct_raise(t->b, t->b, t->r, t->ev, &err), RFHE_OK);
    assert_memory_equal(t->b->data, t->a->data, 7 * N * sizeof(uint64_t));
    rfhe_ct_free(high);
    tear_down(t);
    test_free(t);
    test_free(want);
    test_free(im);
}

/* A refresh that saves memory gives the same numbers with fewer keys and shorter diagonals. */
static void lean_refresh_has_fewer_bytes(void **state)
{
    size_t keys[2], plain[2];

    (void)state;
    for (int lean = 0; lean < 2; lean++) {
        bench *t = test_calloc(1, sizeof *t);
        set_up(t, &(rfhe_refresh_options){.to_coeffs_level = 3, .lean = lean == 1});
        keys[lean] = rfhe_eval_keys_bytes(t->keys);
        plain[lean] = rfhe_refresh_get_info(t->r).plain_bytes;
        tear_down(t);
        test_free(t);
    }
    assert_true(keys[1] < keys[0] && 2 * plain[1] < plain[0]);
    refresh_is_the_identity(&(rfhe_refresh_options){.to_coeffs_level = 3, .lean = true}, "lean");
}

/* Fewer slots take fewer rotations than the full packing and less memory, whatever part of the trace is merged. */
static void sparse_packings_are_cheaper(void **state)
{
    uint32_t rotations = UINT32_MAX;
    size_t bytes = SIZE_MAX;

    (void)state;
    for (uint32_t log2_slots = LOG2_N - 1; log2_slots >= 4; log2_slots -= 3) {
        const rfhe_refresh_options opt = {.log2_slots = log2_slots, .to_coeffs_level = 3};
        bench *t = test_calloc(1, sizeof *t);
        set_up(t, &opt);
        const rfhe_refresh_info info = rfhe_refresh_get_info(t->r);
        assert_true(info.rotations < rotations && rfhe_eval_keys_bytes(t->keys) < bytes);
        rotations = info.rotations;
        bytes = rfhe_eval_keys_bytes(t->keys);
        tear_down(t);
        test_free(t);
        refresh_is_the_identity(&opt, "sparse");
    }
}

/* What lies at coefficient gap * rev(j) between the halves is slot j. */
static void coefficients_between_the_halves_are_the_slots(void **state)
{
    bench *t = test_calloc(1, sizeof *t);
    rfhe_error err = {0};
    rfhe_pt *pt = NULL;
    double *coeffs = test_calloc(N, sizeof *coeffs);

    (void)state;
    set_up(t, &(rfhe_refresh_options){.log2_slots = LOG2_N - 3, .complex_slots = true, .to_coeffs_level = 3});
    const size_t n = rfhe_refresh_get_info(t->r).slots, gap = SLOTS / n;
    fill(t, n, true, 32);
    encrypt(t, t->a, n, 3);
    assert_int_equal(rfhe_ct_to_coeffs(t->a, t->a, t->r, t->ev, &err), RFHE_OK);
    assert_int_equal(rfhe_ct_level(t->a), 1);
    assert_int_equal(rfhe_decrypt(&pt, t->a, t->sk, &err), RFHE_OK);
    assert_int_equal(rfhe_decode_coeffs(coeffs, N, pt, &err), RFHE_OK);
    for (size_t j = 0; j < n; j++) {
        const size_t k = gap * rfhe_dft_reverse((uint32_t)j, LOG2_N - 3);
        assert_true(fabs(coeffs[k] - t->re[j]) < 0x1p-14 && fabs(coeffs[k + SLOTS] - t->im[j]) < 0x1p-14);
        coeffs[k] = coeffs[k + SLOTS] = 0;
    }
    for (size_t k = 0; k < N; k++) { assert_true(fabs(coeffs[k]) < 0x1p-14); }
    rfhe_pt_free(pt);
    tear_down(t);
    test_free(t);
    test_free(coeffs);
}

/* x -> 1.02 x - 0.1 x^3 and a refresh, again and again; the plain iteration is the reference. */
static void repetition_does_not_lose_precision(void **state)
{
    bench *t = test_calloc(1, sizeof *t);
    static const double odd[4] = {0, 1.02, 0, -0.1};
    const rfhe_poly_stage stage = {.coef = odd, .degree = 3};
    rfhe_poly_program *p = NULL;
    rfhe_error err = {0};
    double first = 0, worst = 0;

    (void)state;
    set_up(t, &(rfhe_refresh_options){.to_coeffs_level = 4});
    assert_int_equal(rfhe_poly_program_new(&p, &stage, 1, false, &err), RFHE_OK);
    fill(t, SLOTS, false, 33);
    encrypt(t, t->a, SLOTS, 6);
    for (size_t round = 0; round < test_rounds(6); round++) {
        if (rfhe_ct_evaluate(t->a, t->a, p, t->ev, &err) != RFHE_OK ||
            rfhe_ct_to_coeffs(t->a, t->a, t->r, t->ev, &err) != RFHE_OK ||
            rfhe_ct_raise(t->a, t->a, t->r, t->ev, &err) != RFHE_OK) {
            fail_msg("round %zu: %s", round, err.text);
        }
        for (size_t i = 0; i < SLOTS; i++) { t->re[i] = 1.02 * t->re[i] - 0.1 * t->re[i] * t->re[i] * t->re[i]; }
        decrypt(t, t->a, SLOTS);
        const double rms = difference(t, SLOTS, &worst);
        if (round == 0) { first = rms; }
        assert_true(rms < 8 * first && worst < 0x1p-10);
    }
    rfhe_poly_program_free(p);
    tear_down(t);
    test_free(t);
}

/* Keys that release from the sparse secret come back from a file and do the same, to the bit. Impossible ones are
 * refused. */
static void refresh_keys_survive_a_file(void **state)
{
    bench *t = test_calloc(1, sizeof *t);
    rfhe_eval_keys *keys = NULL;
    rfhe_evaluator *ev = NULL;
    rfhe_error err = {0};
    char path[4096];

    (void)state;
    set_up(t, &(rfhe_refresh_options){.log2_slots = LOG2_N - 3, .to_coeffs_level = 3});
    (void)snprintf(path, sizeof path, "%s/refresh-keys", test_folder());
    assert_int_equal(rfhe_eval_keys_save(path, t->keys, &err), RFHE_OK);
    assert_int_equal(rfhe_eval_keys_load(&keys, t->c, path, &err), RFHE_OK);
    assert_int_equal(rfhe_eval_keys_bytes(keys), rfhe_eval_keys_bytes(t->keys));
    assert_int_equal(rfhe_evaluator_new(&ev, t->c, keys, &err), RFHE_OK);
    fill(t, SLOTS / 4, false, 36);
    encrypt(t, t->a, SLOTS / 4, 0);
    assert_int_equal(rfhe_ct_raise(t->b, t->a, t->r, t->ev, &err), RFHE_OK);
    assert_int_equal(rfhe_ct_raise(t->a, t->a, t->r, ev, &err), RFHE_OK);
    for (uint32_t p = 0; p < 2; p++) {
        assert_memory_equal(rfhe_ct_limb(t->a, p, 0), rfhe_ct_limb(t->b, p, 0), 7 * N * sizeof(uint64_t));
    }
    rfhe_evaluator_free(ev);
    rfhe_eval_keys_free(keys);
    keys = NULL;
    /* A release names its special primes and a Galois element. */
    const uint32_t bad[] = {RFHE_ELEMENT_RELEASE, RFHE_ELEMENT_RELEASE | 6, RFHE_ELEMENT_RELEASE | (2 * N + 1)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (rfhe_error){0};
        assert_int_equal(rfhe_eval_keys_new(&keys, t->sk, &(rfhe_key_want){bad[i], LIMBS - 1, 2}, 1, &err), RFHE_E_ARG);
    }
    err = (rfhe_error){0};
    assert_int_equal(rfhe_eval_keys_new(&keys, t->sk, &(rfhe_key_want){RFHE_ELEMENT_RELEASE | 5, LIMBS - 1, 0}, 1, &err),
                     RFHE_E_ARG);
    tear_down(t);
    test_free(t);
}

static void what_cannot_be_refreshed_is_refused_with_a_sentence(void **state)
{
    bench *t = test_calloc(1, sizeof *t);
    rfhe_refresh *other = NULL;
    rfhe_eval_keys *keys = NULL;
    rfhe_error err = {0};

    (void)state;
    set_up(t, &(rfhe_refresh_options){.to_coeffs_level = 3});
    assert_int_equal(rfhe_refresh_new(&other, t->c, &(rfhe_refresh_options){.to_slots_factors = 8, .to_coeffs_factors = 3}, &err),
                     RFHE_E_DEPTH);
    assert_non_null(strstr(err.text, "levels"));
    err = (rfhe_error){0};
    assert_int_equal(rfhe_refresh_new(&other, t->c, &(rfhe_refresh_options){.to_coeffs_level = 9}, &err), RFHE_E_DEPTH);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_refresh_new(&other, t->c, &(rfhe_refresh_options){.log2_slots = LOG2_N}, &err), RFHE_E_ARG);
    err = (rfhe_error){0};
    /* An encapsulation key anywhere but at the bottom would give the sparse secret away. */
    assert_int_equal(rfhe_eval_keys_new(&keys, t->sk, &(rfhe_key_want){RFHE_ELEMENT_ENCAPSULATE, 3, 1}, 1, &err),
                     RFHE_E_INSECURE);
    err = (rfhe_error){0};
    fill(t, SLOTS, false, 34);
    encrypt(t, t->a, SLOTS, 2);
    assert_int_equal(rfhe_ct_to_coeffs(t->b, t->a, t->r, t->ev, &err), RFHE_E_DEPTH);
    err = (rfhe_error){0};
    rfhe_evaluator *bare = NULL;
    assert_int_equal(rfhe_evaluator_new(&bare, t->c, NULL, &err), RFHE_OK);
    assert_int_equal(rfhe_ct_raise(t->b, t->a, t->r, bare, &err), RFHE_E_ARG);
    rfhe_evaluator_free(bare);
    tear_down(t);
    test_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_complex_full_and_sparse_slots_come_back),
        cmocka_unit_test(named_sets_refresh_with_the_estimated_error),
        cmocka_unit_test(both_halves_go_and_come_as_real_vectors),
        cmocka_unit_test(lean_refresh_has_fewer_bytes),
        cmocka_unit_test(sparse_packings_are_cheaper),
        cmocka_unit_test(coefficients_between_the_halves_are_the_slots),
        cmocka_unit_test(repetition_does_not_lose_precision),
        cmocka_unit_test(refresh_keys_survive_a_file),
        cmocka_unit_test(what_cannot_be_refreshed_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
