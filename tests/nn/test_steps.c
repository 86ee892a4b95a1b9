/* Ten training steps of ResNet-20 against PyTorch in double precision (tools/dump_torch_steps.py explains the file and
 * makes weights, images and labels from the same hash). */
#include "test.h"

#include "nn/evaluate.h"
#include "nn/optim.h"
#include "nn/zoo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Plain loops under a sanitizer take minutes for ten steps: builds without oneDNN check the gradients and two losses. */
#ifdef RFHE_WITH_ONEDNN
enum { STEPS = 10, STEPS_TAKEN = 10, BATCH = 16 };
#else
enum { STEPS = 10, STEPS_TAKEN = 2, BATCH = 16 };
#endif

static uint32_t stream_of(const char *name)
{
    uint32_t h = 2166136261U;

    for (const char *c = name; *c != '\0'; c++) { h = (h ^ (unsigned char)*c) * 16777619U; }
    return h;
}

static uint32_t mix(uint32_t stream, size_t i)
{
    uint32_t h = stream + (uint32_t)i * 2654435761U;

    h = (h ^ (h >> 16)) * 0x85ebca6bU;
    h = (h ^ (h >> 13)) * 0xc2b2ae35U;
    return h ^ (h >> 16);
}

static float uniform(uint32_t stream, size_t i)
{
    return (float)(mix(stream, i) >> 8) * 0x1p-23F - 1.0F;
}

static void fill(float *out, const rfhe_param *p, const rfhe_tensor *like)
{
    const uint32_t stream = stream_of(p->name);
    double fan_in = 1;

    for (uint32_t i = 1; i < like->shape.rank; i++) { fan_in *= (double)like->shape.dim[i]; }
    for (size_t i = 0; i < p->count; i++) {
        const float u = uniform(stream, i);
        switch (p->kind) {
        case RFHE_PARAM_WEIGHT: out[i] = u * (float)sqrt(6.0 / fan_in); break;
        case RFHE_PARAM_BN_MEAN: out[i] = 0.0F; break;
        case RFHE_PARAM_BN_VARIANCE: out[i] = 1.0F; break;
        case RFHE_PARAM_BN_SCALE: out[i] = u * 0.25F + 1.0F; break;
        case RFHE_PARAM_BIAS:
        case RFHE_PARAM_BN_SHIFT:
        case RFHE_PARAM_PAF:
        case RFHE_PARAM_FIXED:
        case RFHE_PARAM_OTHER: out[i] = u * 0.125F; break;
        }
    }
}

static void agree(const char *what, const char *name, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * (1.0 + fabs(want)))) {
        fail_msg("%s %s: got %.9g want %.9g", what, name, got, want);
    }
}

static const rfhe_param *find(const rfhe_exec *e, const char *name)
{
    uint32_t n = 0;
    const rfhe_param *p = rfhe_exec_params(e, &n);

    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(p[i].name, name) == 0) { return &p[i]; }
    }
    fail_msg("no parameter '%s'", name);
    return NULL;
}

static double one_step(rfhe_exec *e, int step)
{
    const rfhe_loss_options smooth = {.smoothing = 0.1};
    rfhe_loss_sums sums = {0};
    rfhe_shape shape = {0};
    rfhe_error err = {0};
    uint32_t labels[BATCH];
    size_t n = 0;
    char name[32];

    float *x = rfhe_exec_input(e, 0, &shape);
    assert_true(rfhe_shape_count(&shape, &n) && n == BATCH * 3 * 32 * 32);
    (void)snprintf(name, sizeof name, "images %d", step);
    for (size_t i = 0; i < n; i++) { x[i] = uniform(stream_of(name), i); }
    (void)snprintf(name, sizeof name, "labels %d", step);
    for (size_t i = 0; i < BATCH; i++) { labels[i] = mix(stream_of(name), i) % 10; }
    assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
    assert_int_equal(rfhe_loss(&sums, rfhe_exec_output_grad(e, 0), rfhe_exec_output(e, 0, NULL), NULL, labels, BATCH,
                               10, &smooth, &err), RFHE_OK);
    assert_int_equal(rfhe_exec_backward(e, &err), RFHE_OK);
    return sums.loss / BATCH;
}

/* Every line of the file is checked; `gradient` lines come after the first backward, `after` lines at the end. Tolerances:
 * PyTorch's own single precision strays from the double numbers by 4e-4 in the losses, 7e-4 in norms, 1.4e-2 in sums. */
static void ten_steps_reproduce_pytorch(void **state)
{
    rfhe_optim_options opt = {.momentum = 0.9, .nesterov = true};
    const rfhe_exec_options training = {.batch = BATCH, .training = true};
    rfhe_graph *g = NULL;
    rfhe_exec *e = NULL;
    rfhe_optim *o = NULL;
    rfhe_error err = {0};
    double losses[STEPS];
    uint32_t n_params = 0;
    size_t count = 0, lines = 0;
    char line[256];

    (void)state;
    FILE *file = fopen(RFHE_SOURCE_DIR "/tests/nn/torch_steps.txt", "r");
    assert_non_null(file);
    opt.group[RFHE_PARAM_WEIGHT].decay = 5e-4;
    assert_int_equal(rfhe_zoo_build(&g, "resnet20", &(rfhe_zoo_options){0}, &err), RFHE_OK);
    if (rfhe_exec_new(&e, g, &training, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    float *values = rfhe_exec_values(e, &count), *grads = rfhe_exec_grads(e);
    const rfhe_param *params = rfhe_exec_params(e, &n_params);
    for (uint32_t i = 0; i < n_params; i++) {
        fill(values + params[i].offset, &params[i],
             g->values[rfhe_graph_find(g, params[i].name)].constant);
    }
    rfhe_exec_weights_changed(e);
    assert_int_equal(rfhe_optim_new(&o, &opt, params, n_params, count, &err), RFHE_OK);
    losses[0] = one_step(e, 0);
    while (fgets(line, sizeof line, file) != NULL) {
        char kind[16], name[64];
        double a = 0, b = 0;
        const int n = sscanf(line, "%15s %63s %lf %lf", kind, name, &a, &b);
        if (kind[0] == '#') { continue; }
        assert_true(n >= 3);
        lines++;
        if (strcmp(kind, "gradient") == 0) {
            const rfhe_param *p = find(e, name);
            agree(kind, name, rfhe_norm(grads + p->offset, p->count), a, 1e-5);
        } else if (strcmp(kind, "loss") == 0) {
            const int step = (int)strtol(name, NULL, 10);
            if (step >= STEPS_TAKEN) { continue; }
            if (step > 0) { losses[step] = one_step(e, step); }
            agree(kind, name, losses[step], a, step == 0 ? 1e-6 : 5e-4);
            rfhe_optim_step(o, values, grads, 0.01, 1.0);
            rfhe_exec_weights_changed(e);
        } else if ((int)STEPS_TAKEN == (int)STEPS) {
            const rfhe_param *p = find(e, name);
            double sum = 0;
            for (size_t i = 0; i < p->count; i++) { sum += (double)values[p->offset + i]; }
            agree("sum", name, sum, a, 2e-2);
            agree("norm", name, rfhe_norm(values + p->offset, p->count), b, 1e-3);
        }
    }
    assert_int_equal(lines, 59 + STEPS + 97);
    (void)fclose(file);
    rfhe_optim_free(o);
    rfhe_exec_free(e);
    rfhe_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ten_steps_reproduce_pytorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
