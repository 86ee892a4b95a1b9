/* Linear maps against matrix products, packing trees against their definition. */
#include "ckks_test.h"

static void run_map(size_t n, const int64_t *index, size_t count, uint32_t baby, uint32_t level, bool is_complex)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), n + count);
    const rfhe_ckks_options o = {.log2_n = 10, .depth = 3, .scale_bits = 40, .insecure_test = true};
    const uint64_t seed = test_seed();
    const rfhe_linear_options lo = {.baby = baby};
    rfhe_diagonal *d = calloc(count, sizeof *d);
    vec *data = calloc(count, sizeof *data);
    rfhe_linear_map *m = NULL;
    rfhe_key_list list = {0};
    world w = {0};

    MUST(rfhe_ckks_new(&w.c, &o, err));
    MUST(rfhe_secret_key_new(&w.sk, w.c, &seed, err));
    MUST(rfhe_public_key_new(&w.pk, w.sk, err));
    for (size_t k = 0; k < count; k++) {
        data[k] = vec_random(n, &r);
        d[k] = (rfhe_diagonal){index[k], data[k].re, is_complex ? data[k].im : NULL};
    }
    MUST(rfhe_linear_map_new(&m, w.c, n, d, count, level, &lo, err));
    MUST(rfhe_linear_map_keys(m, &list, err));
    MUST(rfhe_eval_keys_new(&w.keys, w.sk, list.items, list.count, err));
    MUST(rfhe_evaluator_new(&w.ev, w.c, w.keys, err));

    vec v = vec_random(n, &r), want = vec_new(n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < count; k++) {
            const size_t from = (size_t)(((int64_t)i + index[k]) % (int64_t)n + (int64_t)n) % n;
            const double re = data[k].re[i], im = is_complex ? data[k].im[i] : 0;
            want.re[i] += re * v.re[from] - im * v.im[from];
            want.im[i] += re * v.im[from] + im * v.re[from];
        }
    }
    rfhe_ct *x = encrypt(&w, &v, level), *z = NULL;
    MUST(rfhe_ct_new(&z, w.c, 0, err));
    MUST(rfhe_ct_linear(z, x, m, w.ev, err));
    assert_int_equal(rfhe_ct_level(z), level - 1);
    assert_true(fabs(rfhe_ct_scale(z) / rfhe_ckks_scale(w.c, level - 1) - 1) < 1e-14);
    check_error(&w, z, &want, 5, "linear map");
    vec got = decrypt(&w, z, n);
    if (vec_max(&got, &want) > 0x1p-20) { fail_msg("n=%zu diagonals=%zu: 2^%.1f", n, count, log2(vec_max(&got, &want))); }
    MUST(rfhe_ct_linear(x, x, m, w.ev, err)); /* in place */
    assert_memory_equal(x->data, z->data, level * w.c->n * 8);

    rfhe_ct_free(x);
    rfhe_ct_free(z);
    for (size_t k = 0; k < count; k++) { vec_free(&data[k]); }
    vec_free(&v);
    vec_free(&want);
    vec_free(&got);
    free(d);
    free(data);
    rfhe_key_list_clear(&list);
    rfhe_linear_map_free(m);
    world_free(&w);
}

static void maps_are_matrix_products(void **state)
{
    int64_t all[64], stride[31], one[] = {5}, zero[] = {0};

    (void)state;
    for (int64_t k = 0; k < 64; k++) { all[k] = k; }
    for (int64_t k = 0; k < 31; k++) { stride[k] = (k - 15) * 16; }
    run_map(64, all, 64, 0, 3, true); /* a full matrix on a sparse packing */
    run_map(512, stride, 31, 0, 2, true);
    run_map(512, stride, 31, 128, 2, false);
    run_map(512, all, 24, 1, 1, true); /* giants only */
    run_map(512, all, 24, 32, 1, true); /* babies only */
    run_map(512, one, 1, 0, 3, true);
    run_map(512, zero, 1, 0, 3, false);
}

static void packing_interleaves_and_cancels_garbage(void **state)
{
    enum { COUNT = 8 };
    const rfhe_ckks_options o = {.log2_n = 10, .depth = 1, .scale_bits = 30, .insecure_test = true};
    const uint64_t seed = test_seed();
    rfhe_rng r = rfhe_rng_seed(test_seed(), 3);
    rfhe_key_list list = {0};
    world w = {0};
    rfhe_ct *ct[COUNT] = {NULL};
    rfhe_pt *pt = NULL;

    (void)state;
    MUST(rfhe_ckks_new(&w.c, &o, err));
    MUST(rfhe_secret_key_new(&w.sk, w.c, &seed, err));
    MUST(rfhe_pack_keys(w.c, COUNT, 1, 1, &list, err));
    assert_int_equal(list.count, 3);
    MUST(rfhe_eval_keys_new(&w.keys, w.sk, list.items, list.count, err));
    MUST(rfhe_evaluator_new(&w.ev, w.c, w.keys, err));
    const size_t n = w.c->n;
    double *x = calloc(COUNT * n, sizeof *x), *got = calloc(n, sizeof *got);
    for (size_t k = 0; k < COUNT; k++) {
        for (size_t i = 0; i < n; i++) { x[k * n + i] = 2 * rfhe_rng_uniform(&r) - 1; } /* garbage included */
        MUST(rfhe_encode_coeffs(&pt, w.c, x + k * n, n, 1, 0, err));
        MUST(rfhe_ct_new(&ct[k], w.c, 1, err));
        MUST(rfhe_encrypt_secret(ct[k], pt, w.sk, err));
        rfhe_pt_free(pt);
    }
    MUST(rfhe_ct_pack(ct, COUNT, 1, w.ev, err));
    MUST(rfhe_decrypt(&pt, ct[0], w.sk, err));
    MUST(rfhe_decode_coeffs(got, n, pt, err));
    double sum = 0;
    for (size_t i = 0; i < n; i++) { sum += pow(got[i] - x[(i % COUNT) * n + i / COUNT * COUNT], 2); }
    /* From the standard deviation of a coefficient to that of a slot. */
    const double measured = sqrt(sum / (double)n * (double)n);
    if (measured > 2 * rfhe_ct_error(ct[0]) || measured < rfhe_ct_error(ct[0]) / 8) {
        fail_msg("packing: measured 2^%.2f, estimate 2^%.2f", log2(measured), log2(rfhe_ct_error(ct[0])));
    }
    REFUSED(RFHE_E_ARG, "powers of two", rfhe_ct_pack(ct, 3, 1, w.ev, err));
    rfhe_pt_free(pt);
    for (size_t k = 0; k < COUNT; k++) { rfhe_ct_free(ct[k]); }
    free(x);
    free(got);
    rfhe_key_list_clear(&list);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_are_matrix_products),
        cmocka_unit_test(packing_interleaves_and_cancels_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
