/* Networks as PyTorch exports them (tools/make_onnx_fixtures.py): read, checked for structure, run on PyTorch's input and
 * compared with PyTorch's output; then the same through a written file. The reference models, where RFHE_TEST_DATA says,
 * are read and counted. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "graphs.h"
#include "nn/exec.h"
#include "rfhe/onnx.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FOLDER RFHE_SOURCE_DIR "/tests/onnx/fixtures"

static unsigned count_op(const rfhe_graph *g, rfhe_op op)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < g->n_nodes; i++) { n += g->nodes[i].op == op; }
    return n;
}

static float *read_floats(const char *name, const char *kind, size_t want)
{
    char path[512];
    uint8_t *data = NULL;
    size_t size = 0;

    (void)snprintf(path, sizeof path, "%s/%s.%s.bin", FOLDER, name, kind);
    assert_int_equal(rfhe_file_read(&data, &size, path, 1 << 20, NULL), RFHE_OK);
    assert_true(size >= want * sizeof(float));
    return (float *)(void *)data;
}

/* Runs `batch` images of the fixture and compares with what PyTorch gave for them. */
static void check_numbers(const char *name, const rfhe_graph *g, int64_t batch)
{
    rfhe_exec *e = NULL;
    rfhe_error err = {0};
    rfhe_shape shape = {0};
    size_t n = 0;

    if (rfhe_exec_new(&e, g, &(rfhe_exec_options){.batch = batch}, &err) != RFHE_OK) {
        fail_msg("%s: %s", name, err.text);
    }
    float *x = rfhe_exec_input(e, 0, &shape);
    assert_true(rfhe_shape_count(&shape, &n) && shape.dim[0] == batch);
    float *input = read_floats(name, "input", n);
    memcpy(x, input, n * sizeof *x);
    assert_int_equal(rfhe_exec_forward(e, &err), RFHE_OK);
    const float *y = rfhe_exec_output(e, 0, &shape);
    assert_true(rfhe_shape_count(&shape, &n));
    float *want = read_floats(name, "output", n);
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)y[i] - (double)want[i]) <= 2e-6 + 2e-5 * fabs((double)want[i]))) {
            fail_msg("%s: output %zu is %.9g, PyTorch gave %.9g", name, i, (double)y[i],
                     (double)want[i]);
        }
    }
    rfhe_free(input);
    rfhe_free(want);
    rfhe_exec_free(e);
}

static void exports_of_pytorch_give_its_numbers(void **state)
{
    static const struct {
        const char *name;
        int64_t batch; /* 1 where the export fixed it */
        unsigned nodes, convs, batchnorms, identities;
    } cases[] = {
        {"folded", 2, 10, 3, 0, 0},  {"preserved", 2, 12, 3, 2, 0}, {"preserved9", 2, 12, 3, 2, 0},
        {"fixed", 1, 12, 3, 2, 0},   {"external", 2, 12, 3, 2, 0},  {"mixed9", 2, 23, 2, 0, 0},
        {"mixed10", 2, 23, 2, 0, 0}, {"mixed11", 2, 23, 2, 0, 0},   {"mixed13", 2, 23, 2, 0, 0},
        {"mixed16", 2, 23, 2, 0, 0}, {"shapes9", 2, 6, 0, 0, 0},    {"shapes13", 2, 6, 0, 0, 0},
    };
    char path[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rfhe_graph *g = NULL, *again = NULL;
        rfhe_error err = {0};
        const char *what = "";
        (void)snprintf(path, sizeof path, "%s/%s.onnx", FOLDER, cases[i].name);
        if (rfhe_onnx_read(&g, path, NULL, &err) != RFHE_OK) { fail_msg("%s", err.text); }
        assert_int_equal(g->n_nodes, cases[i].nodes);
        assert_int_equal(count_op(g, RFHE_OP_CONV), cases[i].convs);
        assert_int_equal(count_op(g, RFHE_OP_BATCHNORM), cases[i].batchnorms);
        assert_int_equal(count_op(g, RFHE_OP_IDENTITY), cases[i].identities);
        assert_int_equal(g->values[g->inputs[0]].shape.dim[0], cases[i].batch == 1 ? 1 : -1);
        check_numbers(cases[i].name, g, cases[i].batch);
        (void)snprintf(path, sizeof path, "%s/again.onnx", test_folder());
        if (rfhe_onnx_write(g, path, &err) != RFHE_OK ||
            rfhe_onnx_read(&again, path, NULL, &err) != RFHE_OK) {
            fail_msg("%s: %s", cases[i].name, err.text);
        }
        if (!graphs_are_equal(g, again, &what)) {
            fail_msg("%s: the round trip changed %s", cases[i].name, what);
        }
        check_numbers(cases[i].name, again, cases[i].batch);
        rfhe_graph_free(g);
        rfhe_graph_free(again);
    }
}

/* Both layers start with equal values, so the exporter kept one initializer and Identity; training must tell them apart. */
static void merged_initializers_are_separate_again(void **state)
{
    rfhe_graph *g = NULL;
    rfhe_error err = {0};
    const rfhe_tensor *scale[2] = {NULL, NULL};
    unsigned n = 0;

    (void)state;
    assert_int_equal(rfhe_onnx_read(&g, FOLDER "/preserved.onnx", NULL, &err), RFHE_OK);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op == RFHE_OP_BATCHNORM) {
            scale[n++] = rfhe_graph_constant(g, &g->nodes[i], 1);
        }
    }
    assert_int_equal(n, 2);
    assert_ptr_not_equal(scale[0], scale[1]);
    assert_memory_equal(scale[0]->f32, scale[1]->f32, 6 * sizeof(float));
    assert_int_not_equal(rfhe_graph_find(g, "bn1.weight"), RFHE_NO_VALUE);
    assert_int_not_equal(rfhe_graph_find(g, "bn2.weight"), RFHE_NO_VALUE);
    rfhe_graph_free(g);
}

static void reference_models_have_the_right_structure(void **state)
{
    static const struct {
        const char *file;
        unsigned convs, batchnorms, relus, adds;
        int64_t classes;
        uint64_t parameters;
    } cases[] = {
        {"cifar10_resnet20.onnx", 19, 19, 19, 9, 10, 271098},
        {"cifar10_resnet32.onnx", 31, 31, 31, 15, 10, 466426},
        {"cifar10_resnet56.onnx", 55, 55, 55, 27, 10, 857082},
        {"resnet18_imagenet.onnx", 20, 20, 17, 8, 1000, 11699112},
    };
    const char *folder = getenv("RFHE_TEST_DATA"); /* the reference models are not ours to ship */
    char path[512];
    unsigned found = 0;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rfhe_graph *g = NULL;
        rfhe_error err = {0};
        (void)snprintf(path, sizeof path, "%s/models/%s", folder != NULL ? folder : "",
                       cases[i].file);
        if (!rfhe_file_exists(path)) { continue; }
        found++;
        if (rfhe_onnx_read(&g, path, NULL, &err) != RFHE_OK ||
            rfhe_graph_infer(g, 1, &err) != RFHE_OK) {
            fail_msg("%s", err.text);
        }
        assert_int_equal(count_op(g, RFHE_OP_CONV), cases[i].convs);
        assert_int_equal(count_op(g, RFHE_OP_BATCHNORM), cases[i].batchnorms);
        assert_int_equal(count_op(g, RFHE_OP_RELU), cases[i].relus);
        assert_int_equal(count_op(g, RFHE_OP_ADD), cases[i].adds);
        assert_int_equal(g->values[g->outputs[0]].shape.dim[1], cases[i].classes);
        /* Running statistics count. */
        const rfhe_graph_cost cost = rfhe_graph_count(g);
        print_message("%s: %" PRIu64 " parameters, %" PRIu64 " multiply-accumulates\n",
                      cases[i].file, cost.parameters, cost.macs);
        assert_int_equal(cost.parameters, cases[i].parameters);
        rfhe_graph_free(g);
    }
    if (found == 0) { skip(); }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_of_pytorch_give_its_numbers),
        cmocka_unit_test(merged_initializers_are_separate_again),
        cmocka_unit_test(reference_models_have_the_right_structure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
