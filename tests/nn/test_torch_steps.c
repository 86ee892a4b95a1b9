/* Ten training steps of a narrow ResNet-20 as PyTorch made them (tools/dump_torch_steps.py writes the fixture and
 * describes its format): the losses of all steps and every weight and running statistic after the last. */
#include "test.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/threads.h"
#include "nn/exec.h"
#include "nn/loss.h"
#include "nn/optim.h"
#include "rfhe/onnx.h"

#include <math.h>

static float load_float(const uint8_t *p)
{
    const uint32_t u = rfhe_load_le32(p);
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static void ten_steps_of_pytorch_are_reproduced(void **state)
{
    rfhe_graph *g = NULL;
    rfhe_exec *e = NULL;
    rfhe_optim *o = NULL;
    rfhe_error err = {0};
    uint8_t *data = NULL;
    size_t size = 0, count = 0;
    uint32_t head[8], n = 0, labels[64], found = 0;
    rfhe_optim_options sgd = {.kind = RFHE_OPTIM_SGD, .momentum = 0.9, .nesterov = true};
    const rfhe_loss_options plain = {.smoothing = 0};

    (void)state;
    (void)rfhe_threads_set(1);
    assert_int_equal(rfhe_file_read(&data, &size, RFHE_SOURCE_DIR "/tests/nn/resnet20-steps.bin", 1 << 20, &err), RFHE_OK);
    assert_int_equal(rfhe_onnx_read(&g, RFHE_SOURCE_DIR "/tests/nn/resnet20-steps.onnx", NULL, &err), RFHE_OK);
    const uint8_t *at = data;
    for (int i = 0; i < 8; i++, at += 4) { head[i] = rfhe_load_le32(at); }
    assert_true(head[0] == 0x53544552 && head[2] <= 64);
    const size_t pixels = (size_t)head[2] * head[3] * head[4] * head[5];
    const rfhe_exec_options opt = {.batch = head[2], .training = true};
    if (rfhe_exec_new(&e, g, &opt, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    for (int k = 0; k < RFHE_PARAM_KINDS; k++) { sgd.group[k].decay = 5e-4; }
    const rfhe_param *params = rfhe_exec_params(e, &n);
    float *values = rfhe_exec_values(e, &count);
    assert_int_equal(rfhe_optim_new(&o, &sgd, params, n, count, &err), RFHE_OK);
    for (uint32_t step = 0; step < head[1]; step++) {
        rfhe_loss_sums sums = {0};
        float *x = rfhe_exec_input(e, 0, NULL);
        for (size_t i = 0; i < pixels; i++, at += 4) { x[i] = load_float(at); }
        for (uint32_t i = 0; i < head[2]; i++, at += 4) { labels[i] = rfhe_load_le32(at); }
        assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
        assert_int_equal(rfhe_loss(&sums, rfhe_exec_output_grad(e, 0), rfhe_exec_output(e, 0, NULL), NULL,
                                   labels, head[2], head[6], &plain, &err), RFHE_OK);
        assert_int_equal(rfhe_exec_backward(e, &err), RFHE_OK);
        rfhe_optim_step(o, values, rfhe_exec_grads(e), 0.01, 1);
        rfhe_exec_weights_changed(e);
        const double want = (double)load_float(at), got = sums.loss / (double)head[2];
        at += 4;
        if (!(fabs(got - want) < 1e-5 * want)) { fail_msg("step %u: loss %.7f, PyTorch %.7f", step, got, want); }
    }
    for (uint32_t w = 0; w < head[7]; w++) {
        char name[128] = {0};
        const uint32_t length = rfhe_load_le32(at);
        assert_true(length < sizeof name);
        memcpy(name, at + 4, length);
        at += 4 + length;
        const uint32_t elements = rfhe_load_le32(at);
        at += 4;
        double apart = 0, square = 0;
        for (uint32_t p = 0; p < n; p++) {
            if (strcmp(params[p].name, name) != 0) { continue; }
            assert_int_equal(params[p].count, elements);
            found++;
            for (uint32_t i = 0; i < elements; i++) {
                const double want = (double)load_float(at + 4 * i);
                const double d = (double)values[params[p].offset + i] - want;
                apart += d * d;
                square += want * want;
            }
        }
        if (!(sqrt(apart) <= 1e-4 * (sqrt(square) + 0.05))) {
            fail_msg("%s: off by %.3g of %.3g", name, sqrt(apart), sqrt(square));
        }
        at += 4 * (size_t)elements;
    }
    assert_int_equal(found, head[7]);
    assert_true(at == data + size);
    rfhe_optim_free(o);
    rfhe_exec_free(e);
    rfhe_graph_free(g);
    rfhe_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ten_steps_of_pytorch_are_reproduced)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
