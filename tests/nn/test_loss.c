/* nn/loss: gradients against central differences, values against the ONNX SoftmaxCrossEntropyLoss vectors, counting. */
#include "test.h"
#include "vectors.h"

#include "nn/loss.h"

#include <math.h>

enum { B = 3, C = 7 };

static double loss_of(const float *z, const float *t, const uint32_t *y, const rfhe_loss_options *o)
{
    rfhe_loss_sums s = {0};

    assert_int_equal(rfhe_loss(&s, NULL, z, t, y, B, C, o, NULL), RFHE_OK);
    assert_int_equal(s.images, B);
    return s.loss / B;
}

static void gradients_match_central_differences(void **state)
{
    static const rfhe_loss_options cases[] = {
        {0}, {.smoothing = 0.1}, {.distill = 0.9, .temperature = 4}, {.smoothing = 0.2, .distill = 0.5},
        {.distill = 1, .temperature = 2}};
    rfhe_rng r = rfhe_rng_seed(test_seed(), 1);
    float z[B * C], t[B * C], g[B * C];
    uint32_t y[B];

    (void)state;
    for (size_t i = 0; i < B * C; i++) {
        z[i] = (float)(2 * rfhe_rng_normal(&r));
        t[i] = (float)(3 * rfhe_rng_normal(&r));
    }
    for (size_t b = 0; b < B; b++) { y[b] = (uint32_t)rfhe_rng_below(&r, C); }
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        rfhe_loss_sums s = {0};
        assert_int_equal(rfhe_loss(&s, g, z, t, y, B, C, &cases[k], NULL), RFHE_OK);
        for (size_t i = 0; i < B * C; i++) {
            const float keep = z[i], h = 0.0078125F;
            z[i] = keep + h;
            const double up = loss_of(z, t, y, &cases[k]), step_up = (double)z[i];
            z[i] = keep - h;
            const double numeric = (up - loss_of(z, t, y, &cases[k])) / (step_up - (double)z[i]);
            z[i] = keep;
            if (fabs(numeric - (double)g[i]) > 2e-5) {
                fail_msg("case %zu logit %zu: analytic %.9g numeric %.9g", k, i, (double)g[i], numeric);
            }
        }
    }
}

/* The divergence is zero, and so is its gradient, where the student equals the teacher. */
static void a_student_equal_to_its_teacher_has_nothing_to_learn(void **state)
{
    const rfhe_loss_options o = {.distill = 1, .temperature = 3};
    const float z[C] = {3, -2, 0.5F, 80, -80, 1, 0};
    const uint32_t y = 2;
    float g[C];
    rfhe_loss_sums s = {0};

    (void)state;
    assert_int_equal(rfhe_loss(&s, g, z, z, &y, 1, C, &o, NULL), RFHE_OK);
    assert_true(fabs(s.divergence) < 1e-12 && fabs(s.loss) < 1e-11);
    for (size_t c = 0; c < C; c++) { assert_true(fabsf(g[c]) < 1e-7F); }
}

static void huge_logits_stay_finite(void **state)
{
    const rfhe_loss_options o = {.smoothing = 0.1};
    const float z[2 * 3] = {1e30F, 0, -1e30F, 3e4F, -3e4F, 0};
    const uint32_t y[2] = {0, 0};
    float g[2 * 3];
    rfhe_loss_sums s = {0};

    (void)state;
    assert_int_equal(rfhe_loss(&s, g, z, NULL, y, 2, 3, &o, NULL), RFHE_OK);
    assert_true(isfinite(s.loss));
    for (size_t i = 0; i < 6; i++) { assert_true(isfinite(g[i])); }
}

/* Reduction "mean" without weights and ignored labels is exactly our loss. Layout (N, C) or (N, C, d1, ...). */
static void cross_entropy_agrees_with_the_onnx_vectors(void **state)
{
    static const char *const nodes[] = {"test_sce_mean", "test_sce_mean_3d", "test_sce_sum",
                                        "test_sce_none", "test_sce_NCd1d2d3d4d5_none_no_weight"};
    static test_vector scores, labels, want;

    (void)state;
    if (!test_vectors_exist()) { skip(); }
    for (size_t k = 0; k < sizeof nodes / sizeof *nodes; k++) {
        test_vector_read(&scores, nodes[k], "input_0");
        test_vector_read(&labels, nodes[k], "input_1");
        test_vector_read(&want, nodes[k], "output_0");
        const size_t classes = scores.dim[1], inner = labels.count / scores.dim[0];
        rfhe_loss_sums s = {0};
        for (size_t i = 0; i < labels.count; i++) {
            float row[64];
            const uint32_t y = (uint32_t)labels.value[i];
            rfhe_loss_sums one = {0};
            assert_true(classes <= 64);
            for (size_t c = 0; c < classes; c++) {
                row[c] = (float)scores.value[((i / inner) * classes + c) * inner + i % inner];
            }
            assert_int_equal(rfhe_loss(&one, NULL, row, NULL, &y, 1, classes,
                                       &(rfhe_loss_options){0}, NULL), RFHE_OK);
            assert_true(want.count == 1 || fabs(one.loss - want.value[i]) < 1e-5 * (1 + one.loss));
            s.loss += one.loss;
        }
        if (want.count == 1) {
            const double scale = strstr(nodes[k], "sum") != NULL ? 1.0 : 1.0 / (double)labels.count;
            assert_true(fabs(s.loss * scale - want.value[0]) < 1e-5 * (1 + want.value[0]));
        }
    }
}

static void top_k_counts_ties_and_nans_conservatively(void **state)
{
    /* label 3 of 8 classes: rank 0, rank 4, rank 5, tie with a lower class, NaN in the row */
    const float z[5 * 8] = {0, 0, 0, 1, 0, 0, 0, 0, 9, 9, 9, 1, 9, 0, 0, 0, 9, 9, 9, 1,
                            9, 9, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, NAN};
    const uint32_t y[5] = {3, 3, 3, 3, 3};
    rfhe_loss_sums s = {0};

    (void)state;
    assert_int_equal(rfhe_loss(&s, NULL, z, NULL, y, 5, 8, &(rfhe_loss_options){0}, NULL), RFHE_OK);
    assert_int_equal(s.top1, 1);
    assert_int_equal(s.top5, 3);
}

static void impossible_arguments_are_refused(void **state)
{
    const float z[4] = {0};
    const uint32_t y[2] = {0, 2};
    rfhe_loss_sums s = {0};
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_loss(&s, NULL, z, NULL, y, 2, 2, &(rfhe_loss_options){0}, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "label 2"));
    assert_int_equal(rfhe_loss(&s, NULL, z, NULL, y, 1, 2, &(rfhe_loss_options){.smoothing = 1}, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_loss(&s, NULL, z, NULL, y, 1, 2, &(rfhe_loss_options){.distill = 0.5}, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_loss(&s, NULL, z, z, y, 1, 2, &(rfhe_loss_options){.distill = 2}, NULL), RFHE_E_ARG);
    assert_int_equal(s.images, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_central_differences),
        cmocka_unit_test(a_student_equal_to_its_teacher_has_nothing_to_learn),
        cmocka_unit_test(huge_logits_stay_finite),
        cmocka_unit_test(cross_entropy_agrees_with_the_onnx_vectors),
        cmocka_unit_test(top_k_counts_ties_and_nans_conservatively),
        cmocka_unit_test(impossible_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
