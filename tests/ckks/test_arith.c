/* Encoding, encryption and arithmetic: results against plain complex arithmetic, errors against their estimates. */
#include "ckks_test.h"

static const int64_t steps[] = {1, 2, 3, -1, 64, 500};
static world w;

static int make(void **state)
{
    (void)state;
    w = world_new(11, 4, 40, steps, sizeof steps / sizeof *steps);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    world_free(&w);
    return 0;
}

static void slots_survive_encoding_at_every_packing_and_scale(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 1);

    (void)state;
    for (size_t n = 1; n <= w.slots; n *= 2) {
        for (int bits = 30; bits <= 90; bits += 30) {
            rfhe_pt *pt = NULL;
            vec v = vec_random(n, &r), got = vec_new(n);
            MUST(rfhe_encode(&pt, w.c, v.re, v.im, n, 4, ldexp(1, bits), err));
            MUST(rfhe_decode(got.re, got.im, n, pt, err));
            const double limit = 8 * ldexp(sqrt((double)n), -bits) + 1e-15 * log2(2 * (double)n);
            if (vec_max(&v, &got) > limit) { fail_msg("n=%zu bits=%d: %g", n, bits, vec_max(&v, &got)); }
            rfhe_pt_free(pt);
            vec_free(&v);
            vec_free(&got);
        }
    }
}

/* The definition, with long doubles: slot j of a plaintext is its polynomial at zeta^(5^j). */
static void encoding_is_the_canonical_embedding(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 2);
    vec v = vec_random(w.slots, &r);
    rfhe_pt *pt = NULL;
    double *x = calloc(w.c->n, sizeof *x);

    (void)state;
    MUST(rfhe_encode(&pt, w.c, v.re, v.im, v.n, 4, 0x1p70, err));
    MUST(rfhe_decode_coeffs(x, w.c->n, pt, err));
    uint64_t power = 1;
    for (size_t j = 0; j < 20; j++) {
        long double re = 0, im = 0;
        for (size_t k = 0; k < w.c->n; k++) {
            const long double a = 3.14159265358979323846264338327950288L * (long double)(power * k % (2 * w.c->n)) /
                                  (long double)w.c->n;
            re += (long double)x[k] * cosl(a);
            im += (long double)x[k] * sinl(a);
        }
        assert_true(fabs((double)re - v.re[j]) < 1e-13 && fabs((double)im - v.im[j]) < 1e-13);
        power = power * 5 % (2 * w.c->n);
    }
    rfhe_pt_free(pt);
    vec_free(&v);
    free(x);
}

static void coefficients_survive_encoding_and_large_integers_stay_exact(void **state)
{
    const size_t n = w.c->n;
    double *x = calloc(n, sizeof *x), *got = calloc(n, sizeof *got);
    rfhe_rng r = rfhe_rng_seed(test_seed(), 3);
    rfhe_pt *pt = NULL;

    (void)state;
    for (int bits = 0; bits <= 45; bits += 15) {
        for (size_t i = 0; i < n; i++) { x[i] = rint(ldexp(2 * rfhe_rng_uniform(&r) - 1, bits)); }
        MUST(rfhe_encode_coeffs(&pt, w.c, x, n, 4, 0x1p44, err));
        MUST(rfhe_decode_coeffs(got, n, pt, err));
        for (size_t i = 0; i < n; i++) { assert_true(x[i] == got[i]); }
        rfhe_pt_free(pt);
    }
    free(x);
    free(got);
}

static void fresh_ciphertexts_have_the_estimated_error(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 4);

    (void)state;
    for (uint32_t level = 0; level <= 4; level++) {
        vec v = vec_random(w.slots, &r);
        rfhe_ct *ct = encrypt(&w, &v, level);
        rfhe_pt *pt = NULL;
        check_error(&w, ct, &v, 2, "public-key encryption");
        MUST(rfhe_encode(&pt, w.c, v.re, v.im, v.n, level, 0, err));
        MUST(rfhe_encrypt_secret(ct, pt, w.sk, err));
        check_error(&w, ct, &v, 2, "secret-key encryption");
        rfhe_pt_free(pt);
        rfhe_ct_free(ct);
        vec_free(&v);
    }
}

static void sums_and_multiples_act_on_slots(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 5);
    vec a = vec_random(w.slots, &r), b = vec_random(w.slots, &r), want = vec_new(w.slots);
    rfhe_ct *x = encrypt(&w, &a, 3), *y = encrypt(&w, &b, 3), *z = NULL;
    rfhe_pt *pt = NULL;

    (void)state;
    MUST(rfhe_ct_new(&z, w.c, 0, err)); /* too small on purpose: outputs grow */
    MUST(rfhe_ct_add(z, x, y, w.ev, err));
    for (size_t i = 0; i < a.n; i++) { want.re[i] = a.re[i] + b.re[i], want.im[i] = a.im[i] + b.im[i]; }
    check_error(&w, z, &want, 2, "sum");
    MUST(rfhe_ct_sub(z, z, y, w.ev, err));
    MUST(rfhe_ct_sub(z, z, y, w.ev, err));
    for (size_t i = 0; i < a.n; i++) { want.re[i] = a.re[i] - b.re[i], want.im[i] = a.im[i] - b.im[i]; }
    check_error(&w, z, &want, 3, "difference");
    MUST(rfhe_ct_mul_int(z, z, -37, w.ev, err));
    MUST(rfhe_ct_neg(z, z, w.ev, err));
    MUST(rfhe_ct_add_const(z, z, 0.25, w.ev, err));
    for (size_t i = 0; i < a.n; i++) { want.re[i] = 37 * want.re[i] + 0.25, want.im[i] *= 37; }
    check_error(&w, z, &want, 3, "multiple plus constant");
    MUST(rfhe_encode(&pt, w.c, b.re, b.im, b.n, 4, rfhe_ct_scale(z), err));
    MUST(rfhe_ct_add_plain(z, z, pt, w.ev, err));
    for (size_t i = 0; i < a.n; i++) { want.re[i] += b.re[i], want.im[i] += b.im[i]; }
    check_error(&w, z, &want, 3, "plus plaintext");
    MUST(rfhe_ct_mul_monomial(z, x, (uint32_t)w.c->n / 2, w.ev, err));
    for (size_t i = 0; i < a.n; i++) { want.re[i] = -a.im[i], want.im[i] = a.re[i]; }
    check_error(&w, z, &want, 2, "times i");
    rfhe_pt_free(pt);
    rfhe_ct_free(x);
    rfhe_ct_free(y);
    rfhe_ct_free(z);
    vec_free(&a);
    vec_free(&b);
    vec_free(&want);
}

static void products_act_on_slots_and_land_on_nominal_scales(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 6);
    vec a = vec_random(w.slots, &r), b = vec_random(w.slots, &r), want = vec_new(w.slots);
    rfhe_ct *x = encrypt(&w, &a, 4), *y = encrypt(&w, &b, 4), *z = NULL, *lazy = NULL;
    rfhe_pt *pt = NULL;

    (void)state;
    MUST(rfhe_ct_new(&z, w.c, 4, err));
    MUST(rfhe_ct_new(&lazy, w.c, 4, err));
    for (size_t i = 0; i < a.n; i++) {
        want.re[i] = a.re[i] * b.re[i] - a.im[i] * b.im[i];
        want.im[i] = a.re[i] * b.im[i] + a.im[i] * b.re[i];
    }
    MUST(rfhe_ct_mul(z, x, y, w.ev, err));
    assert_int_equal(rfhe_ct_level(z), 3);
    assert_true(rfhe_ct_scale(z) == rfhe_ckks_scale(w.c, 3));
    check_error(&w, z, &want, 2, "product");
    MUST(rfhe_ct_mul_lazy(lazy, x, y, w.ev, err));
    assert_int_equal(rfhe_ct_parts(lazy), 3);
    check_error(&w, lazy, &want, 2, "product of three parts");
    MUST(rfhe_ct_relinearise(z, lazy, false, w.ev, err));
    check_error(&w, z, &want, 2, "relinearised");
    MUST(rfhe_ct_rescale(z, z, w.ev, err));
    check_error(&w, z, &want, 2, "rescaled");
    MUST(rfhe_ct_relinearise(lazy, lazy, true, w.ev, err));
    check_error(&w, lazy, &want, 2, "relinearised and rescaled at once");

    MUST(rfhe_encode(&pt, w.c, b.re, b.im, b.n, 4, rfhe_plain_scale(x, 0), err));
    MUST(rfhe_ct_mul_plain(z, x, pt, true, w.ev, err));
    assert_true(fabs(rfhe_ct_scale(z) / rfhe_ckks_scale(w.c, 3) - 1) < 1e-15);
    check_error(&w, z, &want, 2, "plaintext product");
    MUST(rfhe_ct_mul_plain(lazy, x, pt, false, w.ev, err));
    MUST(rfhe_ct_rescale(lazy, lazy, w.ev, err));
    check_error(&w, lazy, &want, 2, "plaintext product, rescaled later");
    MUST(rfhe_ct_mul_const(z, x, -1.75, 0, w.ev, err));
    for (size_t i = 0; i < a.n; i++) { want.re[i] = -1.75 * a.re[i], want.im[i] = -1.75 * a.im[i]; }
    assert_true(rfhe_ct_scale(z) == rfhe_ckks_scale(w.c, 3));
    check_error(&w, z, &want, 2, "constant product");

    /* Squares down to the bottom, in place. */
    for (uint32_t l = 4; l > 0; l--) {
        MUST(rfhe_ct_mul(x, x, x, w.ev, err));
        for (size_t i = 0; i < a.n; i++) {
            const double re = a.re[i], im = a.im[i];
            a.re[i] = re * re - im * im;
            a.im[i] = 2 * re * im;
        }
        check_error(&w, x, &a, 64, "square");
    }
    assert_true(rfhe_ct_scale(x) == rfhe_ckks_scale(w.c, 0));
    REFUSED(RFHE_E_DEPTH, "level 0", rfhe_ct_mul(x, x, x, w.ev, err));
    rfhe_pt_free(pt);
    rfhe_ct_free(x);
    rfhe_ct_free(y);
    rfhe_ct_free(z);
    rfhe_ct_free(lazy);
    vec_free(&a);
    vec_free(&b);
    vec_free(&want);
}

static void rotations_move_slots_and_hoisting_changes_no_bit(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 7);
    enum { N = sizeof steps / sizeof *steps };
    rfhe_ct *many[N + 1], *one = NULL;
    int64_t by[N + 1] = {0};

    (void)state;
    MUST(rfhe_ct_new(&one, w.c, 4, err));
    for (uint32_t level = 0; level <= 4; level += 2) {
        vec v = vec_random(w.slots, &r), want = vec_new(w.slots);
        rfhe_ct *x = encrypt(&w, &v, level);
        for (size_t k = 0; k <= N; k++) {
            MUST(rfhe_ct_new(&many[k], w.c, level, err));
            by[k] = k < N ? steps[k] : 0;
        }
        MUST(rfhe_ct_rotate_many(many, x, by, N + 1, w.ev, err));
        for (size_t k = 0; k <= N; k++) {
            for (size_t i = 0; i < v.n; i++) {
                const size_t from = (i + v.n + (size_t)by[k]) % v.n;
                want.re[i] = v.re[from], want.im[i] = v.im[from];
            }
            MUST(rfhe_ct_rotate(one, x, by[k], w.ev, err));
            check_error(&w, one, &want, 3, "rotation");
            assert_memory_equal(one->data, many[k]->data, (level + 1) * w.c->n * 8);
            assert_memory_equal(rfhe_ct_limb(one, 1, 0), rfhe_ct_limb(many[k], 1, 0), (level + 1) * w.c->n * 8);
        }
        MUST(rfhe_ct_rotate(one, x, 3, w.ev, err)); /* 3 = 1 + 2 = 2 + 2 - 1, in place */
        MUST(rfhe_ct_rotate(x, x, 2, w.ev, err));
        MUST(rfhe_ct_rotate(x, x, 1, w.ev, err));
        vec got = decrypt(&w, one, v.n);
        /* Both carry the same error of encryption, which cancels: only the errors of the keys are left. */
        check_error(&w, x, &got, 12, "two rotations against one");
        MUST(rfhe_ct_conjugate(x, x, w.ev, err));
        for (size_t i = 0; i < v.n; i++) { got.im[i] = -got.im[i]; }
        check_error(&w, x, &got, 12, "conjugate");
        rfhe_ct_free(x);
        for (size_t k = 0; k <= N; k++) { rfhe_ct_free(many[k]); }
        vec_free(&v);
        vec_free(&want);
        vec_free(&got);
    }
    rfhe_ct_free(one);
}

static void sparse_packings_rotate_within_themselves(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 8);
    vec v = vec_random(8, &r), want = vec_new(8);
    rfhe_ct *x = encrypt(&w, &v, 2);

    (void)state;
    MUST(rfhe_ct_rotate(x, x, 3, w.ev, err));
    for (size_t i = 0; i < 8; i++) { want.re[i] = v.re[(i + 3) % 8], want.im[i] = v.im[(i + 3) % 8]; }
    vec got = decrypt(&w, x, 8);
    assert_true(vec_max(&got, &want) < 1e-6);
    rfhe_ct_free(x);
    vec_free(&v);
    vec_free(&want);
    vec_free(&got);
}

/* Down to `level` at its nominal scale. */
static void settle(rfhe_ct *x, uint32_t level)
{
    if (rfhe_ct_level(x) == level) { return; }
    MUST(rfhe_ct_drop(x, x, level + 1, w.ev, err));
    MUST(rfhe_ct_mul_const(x, x, 1, 0, w.ev, err));
}

/* Random programs of sums, products, rotations and constants on four registers, in step with plain arithmetic. */
static void random_programs_keep_in_step_with_plain_arithmetic(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 10);
    enum { REGS = 4 };

    (void)state;
    for (size_t round = 0; round < test_rounds(12); round++) {
        vec v[REGS];
        rfhe_ct *x[REGS];
        for (int k = 0; k < REGS; k++) {
            v[k] = vec_random(w.slots, &r);
            x[k] = encrypt(&w, &v[k], (uint32_t)rfhe_rng_below(&r, 5));
        }
        for (int step = 0; step < 12; step++) {
            const size_t a = rfhe_rng_below(&r, REGS), b = rfhe_rng_below(&r, REGS), o = rfhe_rng_below(&r, REGS);
            const uint32_t level = rfhe_ct_level(x[a]) < rfhe_ct_level(x[b]) ? rfhe_ct_level(x[a]) : rfhe_ct_level(x[b]);
            vec y = vec_new(w.slots);
            const uint64_t op = rfhe_rng_below(&r, 6);
            if (op < 3) {
                settle(x[a], level);
                settle(x[b], level);
            }
            if (op == 2 && level == 0) {
                vec_free(&y);
                continue;
            }
            for (size_t i = 0; i < w.slots; i++) {
                const double complex p = v[a].re[i] + v[a].im[i] * I, q = v[b].re[i] + v[b].im[i] * I;
                const size_t next = (i + 1) % w.slots;
                double complex z = 0;
                switch (op) {
                case 0: z = p + q; break;
                case 1: z = p - q; break;
                case 2: z = p * q; break;
                case 3: z = v[a].re[next] + v[a].im[next] * I; break;
                case 4: z = conj(p); break;
                default: z = p - 0.5; break;
                }
                y.re[i] = creal(z), y.im[i] = cimag(z);
            }
            switch (op) {
            case 0: MUST(rfhe_ct_add(x[o], x[a], x[b], w.ev, err)); break;
            case 1: MUST(rfhe_ct_sub(x[o], x[a], x[b], w.ev, err)); break;
            case 2: MUST(rfhe_ct_mul(x[o], x[a], x[b], w.ev, err)); break;
            case 3: MUST(rfhe_ct_rotate(x[o], x[a], 1, w.ev, err)); break;
            case 4: MUST(rfhe_ct_conjugate(x[o], x[a], w.ev, err)); break;
            default: MUST(rfhe_ct_add_const(x[o], x[a], -0.5, w.ev, err)); break;
            }
            vec_free(&v[o]);
            v[o] = y;
            /* Registers grow by sums and products of correlated errors: the estimate may fall short by a little. */
            vec got = decrypt(&w, x[o], w.slots);
            const double measured = vec_rms(&got, &y);
            if (measured > 4 * rfhe_ct_error(x[o])) {
                fail_msg("round %zu step %d op %d: measured 2^%.1f, estimate 2^%.1f", round, step, (int)op,
                         log2(measured), log2(rfhe_ct_error(x[o])));
            }
            vec_free(&got);
        }
        for (int k = 0; k < REGS; k++) {
            vec_free(&v[k]);
            rfhe_ct_free(x[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_survive_encoding_at_every_packing_and_scale),
        cmocka_unit_test(encoding_is_the_canonical_embedding),
        cmocka_unit_test(coefficients_survive_encoding_and_large_integers_stay_exact),
        cmocka_unit_test(fresh_ciphertexts_have_the_estimated_error),
        cmocka_unit_test(sums_and_multiples_act_on_slots),
        cmocka_unit_test(products_act_on_slots_and_land_on_nominal_scales),
        cmocka_unit_test(rotations_move_slots_and_hoisting_changes_no_bit),
        cmocka_unit_test(sparse_packings_rotate_within_themselves),
        cmocka_unit_test(random_programs_keep_in_step_with_plain_arithmetic),
    };
    return cmocka_run_group_tests(tests, make, drop);
}
