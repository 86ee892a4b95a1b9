/* The twin: every instruction set gives the same numbers, every size of stencil; noise has the deviation it should have and
 * depends on nothing but seed and image; values outside of a range are counted. */
#include "infer_world.h"

#include "base/cpu.h"
#include "base/threads.h"
#include "infer/stencil.h"

typedef struct kernel {
    const char *name;
    rfhe_isa isa;
    rfhe_stencil_fn *run;
} kernel;

static void instruction_sets_agree(void **state)
{
    static const kernel kernels[] = {{"portable", RFHE_ISA_PORTABLE, rfhe_stencil_run_portable},
                                     {"avx2", RFHE_ISA_AVX2, rfhe_stencil_run_avx2},
                                     {"avx512ifma", RFHE_ISA_AVX512IFMA, rfhe_stencil_run_avx512ifma}};
    enum { IN = 600, TAPS = 37 };
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 12);
    float in[IN + 128], w[4 * TAPS], out[4 * 160], want[4 * 160];
    uint32_t offset[TAPS];

    (void)state;
    for (size_t i = 0; i < IN + 128; i++) { in[i] = (float)(2 * rfhe_rng_uniform(&rng) - 1); }
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        if (kernels[k].isa > rfhe_cpu_best_isa()) { continue; }
        for (size_t n = RFHE_STENCIL_RUN; n <= 128; n += RFHE_STENCIL_RUN) {
            for (size_t taps = 0; taps <= TAPS; taps += 1 + taps / 3) {
                const size_t stride = n + 16;
                for (size_t t = 0; t < taps; t++) {
                    offset[t] = (uint32_t)rfhe_rng_below(&rng, IN);
                    for (size_t c = 0; c < 4; c++) { w[4 * t + c] = (float)(2 * rfhe_rng_uniform(&rng) - 1); }
                }
                for (size_t i = 0; i < 4 * stride; i++) { out[i] = 77; }
                for (size_t c = 0; c < 4; c++) {
                    for (size_t i = 0; i < n; i++) {
                        double sum = 0;
                        for (size_t t = 0; t < taps; t++) { sum += (double)w[4 * t + c] * (double)in[offset[t] + i]; }
                        want[c * stride + i] = (float)sum;
                    }
                }
                kernels[k].run(out, stride, in, offset, w, taps, n);
                for (size_t c = 0; c < 4; c++) {
                    for (size_t i = 0; i < stride && c * stride + i < 4 * stride; i++) {
                        if (i >= n && out[c * stride + i] != 77) { fail_msg("%s writes past its end", kernels[k].name); }
                        if (i < n && fabs((double)(out[c * stride + i] - want[c * stride + i])) > 2e-5) {
                            fail_msg("%s: n=%zu taps=%zu channel %zu at %zu: %g, not %g", kernels[k].name, n, taps, c, i,
                                     (double)out[c * stride + i], (double)want[c * stride + i]);
                        }
                    }
                }
            }
        }
    }
}

/* A program of one linear piece, an identity and a reply, for sizes that leave rests everywhere. */
static void every_shape_of_stencil(void **state)
{
    static const struct {
        uint32_t channels, out, side, stride;
        int32_t pad;
    } shape[] = {{1, 1, 1, 1, 0}, {3, 5, 3, 1, 1}, {2, 4, 5, 1, 2}, {2, 7, 3, 2, 1}, {1, 3, 4, 2, 0}, {3, 2, 2, 2, 0}, {2, 9, 7, 1, 3}};

    (void)state;
    for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
        maker m = maker_new(k + 40);
        rfhe_program *p = m.p;
        const rfhe_twin_options exact = {.is_exact = true};
        float image[3 * 64], got[16];
        double want[16], largest = 0;
        rfhe_twin *t = NULL;
        const uint32_t side = 8 / shape[k].stride - (shape[k].pad == 0 && shape[k].side == 4 ? 1 : 0);
        p->image_channels = shape[k].channels;
        p->image_height = p->image_width = 8;
        const uint32_t t0 = maker_tensor(&m, shape[k].channels, 8, 8, 4, 12, 1);
        const uint32_t t1 = maker_tensor(&m, shape[k].out, side, side, 16, 12, 1);
        maker_linear(&m, RFHE_DO_LINEAR, t1,
                     &(rfhe_term){t0, maker_stencil(&m, shape[k].out, shape[k].channels, shape[k].side, shape[k].stride,
                                                    shape[k].pad, 0.3, 0.2)}, 1);
        const uint32_t t2 = maker_activation(&m, t1, (uint32_t)(k % 3), false, k % 2 == 0);
        maker_reply(&m, t2, 5);
        for (size_t i = 0; i < 192; i++) { image[i] = (float)maker_number(&m, 1); }
        MUST(rfhe_twin_new(&t, p, &exact, err));
        MUST(rfhe_twin_run(t, got, image, 1, 0, NULL, err));
        reference_run(p, image, want, &largest);
        for (uint32_t i = 0; i < p->outputs; i++) {
            if (fabs(want[i] - (double)got[i]) > 1e-4 * (1 + fabs(want[i]))) {
                fail_msg("shape %zu output %u: %g, not %g", k, i, (double)got[i], want[i]);
            }
        }
        rfhe_twin_free(t);
        rfhe_program_free(p);
    }
}

static void noise_has_its_deviation_and_depends_on_the_image_only(void **state)
{
    enum { IMAGES = 12 };
    rfhe_program *p = program_of_blocks(21);
    const rfhe_twin_options noisy = {.noise = {.linear = 1e-3, .refresh = 1e-9, .polynomial = 1e-9}, .seed = 9};
    const rfhe_twin_options exact = {.is_exact = true};
    rfhe_twin *t = NULL, *e = NULL;
    float *images = calloc((size_t)IMAGES * 192, sizeof *images), a[IMAGES * 16], b[IMAGES * 16];
    float *noisy_tensor[32], *exact_tensor[32];
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 31);
    double square = 0;

    (void)state;
    for (size_t i = 0; i < (size_t)IMAGES * 192; i++) { images[i] = (float)(2 * rfhe_rng_uniform(&rng) - 1); }
    MUST(rfhe_twin_new(&t, p, &noisy, err));
    MUST(rfhe_twin_new(&e, p, &exact, err));
    MUST(rfhe_twin_run(t, a, images, IMAGES, 100, NULL, err));
    const unsigned threads = rfhe_threads_get();
    (void)rfhe_threads_set(1);
    for (size_t i = 0; i < IMAGES; i++) { /* one by one, backwards, one thread */
        const size_t k = IMAGES - 1 - i;
        MUST(rfhe_twin_run(t, b + k * p->outputs, images + k * 192, 1, 100 + k, NULL, err));
    }
    (void)rfhe_threads_set(threads);
    assert_memory_equal(a, b, IMAGES * p->outputs * sizeof *a);
    MUST(rfhe_twin_trace(t, noisy_tensor, images, 5, err));
    MUST(rfhe_twin_trace(e, exact_tensor, images, 5, err));
    const size_t n = rfhe_layout_numbers(&p->tensor[1].layout);
    for (size_t k = 0; k < n; k++) { square += pow((double)(noisy_tensor[1][k] - exact_tensor[1][k]), 2); }
    assert_true(fabs(sqrt(square / (double)n) / 1e-3 - 1) < 0.15); /* n = 512: four deviations of the estimate */
    for (uint32_t k = 0; k < p->n_tensors; k++) {
        rfhe_free(noisy_tensor[k]);
        rfhe_free(exact_tensor[k]);
    }
    free(images);
    rfhe_twin_free(t);
    rfhe_twin_free(e);
    rfhe_program_free(p);
}

static void values_outside_are_counted(void **state)
{
    rfhe_program *p = program_of_blocks(22);
    float image[192], logits[16];
    rfhe_twin_range range[3] = {{0}};
    rfhe_twin *t = NULL;

    (void)state;
    for (size_t i = 0; i < 192; i++) { image[i] = 0; }
    for (size_t i = 0; i < rfhe_layout_numbers(&p->tensor[1].layout); i++) { p->linear[0].bias[i] = i < 37 ? 2.0F : 0.5F; }
    MUST(rfhe_twin_new(&t, p, NULL, err));
    MUST(rfhe_twin_run(t, logits, image, 1, 0, range, err));
    assert_int_equal(range[0].values, rfhe_layout_numbers(&p->tensor[1].layout));
    assert_int_equal(range[0].outside, 37);
    assert_true(fabs(range[0].largest - 2) < 1e-3);
    rfhe_twin_free(t);
    rfhe_program_free(p);
}

static void a_client_has_no_twin(void **state)
{
    rfhe_program *p = program_of_blocks(23);
    rfhe_text text = {0};
    rfhe_program *client = NULL;
    rfhe_twin *t = NULL;

    (void)state;
    assert_int_equal(rfhe_program_write_public(&text, p), RFHE_OK);
    MUST(rfhe_program_read_public(&client, text.data, text.size, err));
    assert_int_equal(rfhe_twin_new(&t, client, NULL, NULL), RFHE_E_ARG);
    assert_null(t);
    rfhe_text_clear(&text);
    rfhe_program_free(client);
    rfhe_program_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(every_shape_of_stencil),
        cmocka_unit_test(noise_has_its_deviation_and_depends_on_the_image_only),
        cmocka_unit_test(values_outside_are_counted),
        cmocka_unit_test(a_client_has_no_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
