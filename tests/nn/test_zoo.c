/* nn/zoo: every architecture has the published number of weights and multiplications, and options do what they say. */
#include "test.h"

#include "nn/zoo.h"

#include <math.h>

typedef struct known {
    const char *name;
    uint64_t parameters; /* trainable: without running statistics */
    double mega_macs;
    uint32_t relus, maxpools;
} known;

static uint64_t trainable(const rfhe_graph *g)
{
    uint64_t n = 0;

    for (uint32_t v = 0; v < g->n_values; v++) {
        const rfhe_value *x = &g->values[v];
        if (x->constant != NULL && strstr(x->name, "running") == NULL) { n += x->constant->count; }
    }
    return n;
}

static uint32_t count_op(const rfhe_graph *g, rfhe_op op)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->n_nodes; i++) { n += g->nodes[i].op == op; }
    return n;
}

static rfhe_graph *build(const char *name, const rfhe_zoo_options *o)
{
    rfhe_graph *g = NULL;
    rfhe_error err = {0};

    if (rfhe_zoo_build(&g, name, o, &err) != RFHE_OK) { fail_msg("%s: %s", name, err.text); }
    if (rfhe_graph_infer(g, 2, &err) != RFHE_OK) { fail_msg("%s: %s", name, err.text); }
    return g;
}

/* Weights: He et al. 2016 table 6 (0.27 M, 0.46 M, 0.66 M, 0.85 M), exactly as the option-A PyTorch models count them;
 * torchvision resnet18 11,689,512; vgg16_bn without the biases that BN makes idle: 14,718,912 + 5,130; LeNet-5 61,706. */
static void architectures_have_their_published_size(void **state)
{
    static const known table[] = {
        {"resnet20", 269722, 40.55, 19, 0},  {"resnet32", 464154, 68.86, 31, 0},
        {"resnet44", 658586, 97.17, 43, 0},  {"resnet56", 853018, 125.49, 55, 0},
        {"resnet18", 11689512, 1814.07, 17, 1}, {"vgg16", 14724042, 313.20, 13, 5},
        {"lenet", 61706, 0.42, 4, 2},        {"fashion-cnn", 87274, 5.68, 3, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const known *k = &table[i];
        rfhe_graph *g = build(k->name, &(rfhe_zoo_options){.seed = 1});
        const double macs = (double)rfhe_graph_count(g).macs / 1e6; /* of one image */
        assert_true(rfhe_zoo_has(k->name));
        if (trainable(g) != k->parameters || fabs(macs - k->mega_macs) > 0.01 ||
            count_op(g, RFHE_OP_RELU) != k->relus || count_op(g, RFHE_OP_MAXPOOL) != k->maxpools) {
            fail_msg("%s: %llu weights, %.3f M multiplications, %u ReLU, %u MaxPool", k->name,
                     (unsigned long long)trainable(g), macs, count_op(g, RFHE_OP_RELU),
                     count_op(g, RFHE_OP_MAXPOOL));
        }
        rfhe_graph_free(g);
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_string_equal(rfhe_zoo_names()[i], table[i].name);
    }
    assert_null(rfhe_zoo_names()[sizeof table / sizeof *table]);
}

static const rfhe_tensor *weight(const rfhe_graph *g, const char *name)
{
    const rfhe_value_id v = rfhe_graph_find(g, name);

    assert_int_not_equal(v, RFHE_NO_VALUE);
    return g->values[v].constant;
}

static void weights_have_the_variance_of_he_and_follow_the_seed(void **state)
{
    rfhe_graph *a = build("resnet20", &(rfhe_zoo_options){.seed = 5});
    rfhe_graph *b = build("resnet20", &(rfhe_zoo_options){.seed = 5});
    rfhe_graph *c = build("resnet20", &(rfhe_zoo_options){.seed = 6});
    const rfhe_tensor *w = weight(a, "layer3.2.conv2.weight");
    double square = 0;

    (void)state;
    for (size_t i = 0; i < w->count; i++) { square += (double)w->f32[i] * (double)w->f32[i]; }
    assert_true(fabs(square / (double)w->count / (2.0 / (64 * 9)) - 1) < 0.05);
    assert_memory_equal(w->f32, weight(b, "layer3.2.conv2.weight")->f32, w->count * sizeof(float));
    assert_memory_not_equal(w->f32, weight(c, "layer3.2.conv2.weight")->f32, w->count * sizeof(float));
    assert_memory_not_equal(w->f32, weight(a, "layer3.2.conv1.weight")->f32, w->count * sizeof(float));
    rfhe_graph_free(a);
    rfhe_graph_free(b);
    rfhe_graph_free(c);
}

static void options_change_sizes_everywhere(void **state)
{
    for (const char *const *n = rfhe_zoo_names(); *n != NULL; n++) {
        const rfhe_zoo_options o = {.width = 0.25, .channels = 2, .image_height = 64, .image_width = 96, .classes = 7};
        rfhe_graph *g = build(*n, &o);
        const rfhe_shape in = g->values[g->inputs[0]].shape, out = g->values[g->outputs[0]].shape;
        assert_true(in.rank == 4 && in.dim[0] == 2 && in.dim[1] == 2 && in.dim[2] == 64 && in.dim[3] == 96);
        assert_true(out.rank == 2 && out.dim[0] == 2 && out.dim[1] == 7);
        assert_string_equal(g->values[g->inputs[0]].name, "input");
        assert_string_equal(g->values[g->outputs[0]].name, "logits");
        rfhe_graph_free(g);
    }
    (void)state;
}

static void impossible_wishes_are_refused_in_a_sentence(void **state)
{
    rfhe_graph *g = NULL;
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_zoo_build(&g, "resnet21", &(rfhe_zoo_options){0}, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "'resnet21'"));
    assert_non_null(strstr(err.text, "fashion-cnn"));
    err = (rfhe_error){0};
    assert_int_equal(rfhe_zoo_build(&g, "vgg16", &(rfhe_zoo_options){.image_height = 16}, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "16x32"));
    assert_null(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(architectures_have_their_published_size),
        cmocka_unit_test(weights_have_the_variance_of_he_and_follow_the_seed),
        cmocka_unit_test(options_change_sizes_everywhere),
        cmocka_unit_test(impossible_wishes_are_refused_in_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
