/* See zoo.h. A builder with a sticky status: once something failed, every further call does nothing, and the caller
 * asks once at the end. */
#include "nn/zoo.h"

#include "base/mem.h"
#include "base/random.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct builder {
    rfhe_graph *g;
    rfhe_status st;
    uint64_t seed, stream; /* every weight tensor has its own stream */
    double width;
    int64_t channels; /* of the value built last */
    int64_t map_height, map_width;
} builder;

typedef struct name {
    char s[96];
} name;

static name named(const char *fmt, ...) RFHE_PRINTF(1, 2);
static name named(const char *fmt, ...)
{
    name n;
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(n.s, sizeof n.s, fmt, args);
    va_end(args);
    return n;
}

static int64_t scaled(const builder *b, int64_t channels)
{
    const double c = round((double)channels * b->width);

    return c < 1 ? 1 : (int64_t)c;
}

/* --- Weights --- */

typedef enum fill { FILL_VALUE, FILL_NORMAL, FILL_UNIFORM } fill;

/* A constant of the given shape: `size` itself, normal with deviation `size`, or uniform in +-size. */
static rfhe_value_id constant(builder *b, const char *owner, const char *part, fill how, double size,
                              uint32_t rank, const int64_t *dim)
{
    rfhe_shape shape = {.rank = rank};
    rfhe_tensor *t = NULL;
    rfhe_value_id id = RFHE_NO_VALUE;

    if (b->st != RFHE_OK) { return RFHE_NO_VALUE; }
    memcpy(shape.dim, dim, rank * sizeof *dim);
    b->st = rfhe_tensor_new(&t, RFHE_F32, &shape);
    if (b->st != RFHE_OK) { return RFHE_NO_VALUE; }
    rfhe_rng r = rfhe_rng_seed(b->seed, b->stream++);
    for (size_t i = 0; i < t->count; i++) {
        const double x = how == FILL_VALUE    ? size
                         : how == FILL_NORMAL ? size * rfhe_rng_normal(&r)
                                              : size * (2.0 * rfhe_rng_uniform(&r) - 1.0);
        t->f32[i] = (float)x;
    }
    b->st = rfhe_graph_add_constant(b->g, &id, named("%s.%s", owner, part).s, t);
    if (b->st != RFHE_OK) { rfhe_tensor_free(t); }
    return id;
}

/* --- Layers: each takes the value to work on and returns the new one --- */

/* Appends a node whose output is called NAME.out. */
static rfhe_value_id layer(builder *b, rfhe_op op, const char *node, const rfhe_value_id *in,
                           uint32_t n_in, const rfhe_attr *attr)
{
    static const rfhe_attr none;
    rfhe_value_id out = RFHE_NO_VALUE;

    if (b->st != RFHE_OK) { return out; }
    b->st = rfhe_graph_add_value(b->g, &out, named("%s.out", node).s, RFHE_F32, NULL);
    if (b->st == RFHE_OK) {
        b->st = rfhe_graph_add_node_to(b->g, op, node, in, n_in, &out, 1,
                                       attr != NULL ? attr : &none);
    }
    return out;
}

static rfhe_value_id simple(builder *b, rfhe_op op, const char *node, rfhe_value_id x)
{
    return layer(b, op, node, &x, 1, NULL);
}

static rfhe_window square(int64_t kernel, int64_t stride, int64_t pad)
{
    return (rfhe_window){.spatial = 2,
                         .kernel = {kernel, kernel},
                         .stride = {stride, stride},
                         .dilation = {1, 1},
                         .pad_begin = {pad, pad},
                         .pad_end = {pad, pad},
                         .groups = 1};
}

/* Follows the size of the map through a window. */
static void shrink(builder *b, int64_t kernel, int64_t stride, int64_t pad)
{
    b->map_height = (b->map_height + 2 * pad - kernel) / stride + 1;
    b->map_width = (b->map_width + 2 * pad - kernel) / stride + 1;
}

static rfhe_value_id conv(builder *b, const char *node, rfhe_value_id x, int64_t in, int64_t out,
                          int64_t kernel, int64_t stride, int64_t pad, bool bias)
{
    const double fan_in = (double)(in * kernel * kernel);
    const rfhe_attr a = {.window = square(kernel, stride, pad)};
    rfhe_value_id ids[3] = {x};

    ids[1] = constant(b, node, "weight", FILL_NORMAL, sqrt(2.0 / fan_in), 4,
                      (int64_t[]){out, in, kernel, kernel});
    if (bias) { ids[2] = constant(b, node, "bias", FILL_VALUE, 0.0, 1, &out); }
    b->channels = out;
    return layer(b, RFHE_OP_CONV, node, ids, bias ? 3 : 2, &a);
}

static rfhe_value_id batchnorm(builder *b, const char *node, rfhe_value_id x)
{
    const rfhe_attr a = {.batchnorm = {.epsilon = 1e-5F, .momentum = 0.9F}};
    const rfhe_value_id ids[5] = {
        x,
        constant(b, node, "weight", FILL_VALUE, 1.0, 1, &b->channels),
        constant(b, node, "bias", FILL_VALUE, 0.0, 1, &b->channels),
        constant(b, node, "running_mean", FILL_VALUE, 0.0, 1, &b->channels),
        constant(b, node, "running_var", FILL_VALUE, 1.0, 1, &b->channels),
    };

    return layer(b, RFHE_OP_BATCHNORM, node, ids, 5, &a);
}

static rfhe_value_id pool(builder *b, rfhe_op op, const char *node, rfhe_value_id x, int64_t kernel,
                          int64_t stride, int64_t pad)
{
    const rfhe_attr a = {.window = square(kernel, stride, pad)};

    shrink(b, kernel, stride, pad);
    return layer(b, op, node, &x, 1, &a);
}

static rfhe_value_id flatten(builder *b, rfhe_value_id x)
{
    const rfhe_attr a = {.flatten = {.axis = 1}};

    return layer(b, RFHE_OP_FLATTEN, "flatten", &x, 1, &a);
}

static rfhe_value_id dense(builder *b, const char *node, rfhe_value_id x, int64_t in, int64_t out)
{
    const double bound = 1.0 / sqrt((double)in);
    const rfhe_attr a = {.gemm = {.alpha = 1.0F, .beta = 1.0F, .trans_b = true}};
    const rfhe_value_id ids[3] = {
        x,
        constant(b, node, "weight", FILL_UNIFORM, bound, 2, (int64_t[]){out, in}),
        constant(b, node, "bias", FILL_UNIFORM, bound, 1, &out),
    };

    return layer(b, RFHE_OP_GEMM, node, ids, 3, &a);
}

/* Average over the map, flatten, one dense layer to the classes. */
static rfhe_value_id average_head(builder *b, const char *node, rfhe_value_id x, int64_t classes)
{
    x = flatten(b, simple(b, RFHE_OP_GLOBALAVGPOOL, "pool", x));
    return dense(b, node, x, b->channels, classes);
}

/* --- Residual networks --- */

/* Every second row and column, and zero channels before and after. */
static rfhe_value_id shortcut_a(builder *b, const char *block, rfhe_value_id x, int64_t in,
                                int64_t out)
{
    const rfhe_attr slice = {.slice = {.n = 2,
                                       .axis = {2, 3},
                                       .start = {0, 0},
                                       .end = {INT32_MAX, INT32_MAX},
                                       .step = {2, 2}}};
    const rfhe_attr pad = {
        .pad = {.begin = {0, (out - in) / 2, 0, 0}, .end = {0, out - in - (out - in) / 2, 0, 0}}};

    x = layer(b, RFHE_OP_SLICE, named("%s.slice", block).s, &x, 1, &slice);
    return layer(b, RFHE_OP_PAD, named("%s.pad", block).s, &x, 1, &pad);
}

static rfhe_value_id shortcut_projection(builder *b, const char *block, rfhe_value_id x, int64_t in,
                                         int64_t out, int64_t stride)
{
    x = conv(b, named("%s.downsample.0", block).s, x, in, out, 1, stride, 0, false);
    return batchnorm(b, named("%s.downsample.1", block).s, x);
}

static rfhe_value_id basic_block(builder *b, const char *block, rfhe_value_id x, int64_t out,
                                 int64_t stride, bool projection)
{
    const int64_t in = b->channels;
    rfhe_value_id skip = x;
    rfhe_value_id y = conv(b, named("%s.conv1", block).s, x, in, out, 3, stride, 1, false);

    y = batchnorm(b, named("%s.bn1", block).s, y);
    y = simple(b, RFHE_OP_RELU, named("%s.relu1", block).s, y);
    y = conv(b, named("%s.conv2", block).s, y, out, out, 3, 1, 1, false);
    y = batchnorm(b, named("%s.bn2", block).s, y);
    if (stride != 1 || in != out) {
        skip = projection ? shortcut_projection(b, block, x, in, out, stride)
                          : shortcut_a(b, block, x, in, out);
    }
    y = layer(b, RFHE_OP_ADD, named("%s.add", block).s, (rfhe_value_id[]){y, skip}, 2, NULL);
    return simple(b, RFHE_OP_RELU, named("%s.relu2", block).s, y);
}

static rfhe_value_id resnet_cifar(builder *b, rfhe_value_id x, int blocks, int64_t classes)
{
    x = batchnorm(b, "bn1", conv(b, "conv1", x, b->channels, scaled(b, 16), 3, 1, 1, false));
    x = simple(b, RFHE_OP_RELU, "relu", x);
    for (int stage = 0; stage < 3; stage++) {
        for (int i = 0; i < blocks; i++) {
            x = basic_block(b, named("layer%d.%d", stage + 1, i).s, x, scaled(b, 16 << stage),
                            stage > 0 && i == 0 ? 2 : 1, false);
        }
    }
    return average_head(b, "linear", x, classes);
}

static rfhe_value_id resnet18(builder *b, rfhe_value_id x, int64_t classes)
{
    x = batchnorm(b, "bn1", conv(b, "conv1", x, b->channels, scaled(b, 64), 7, 2, 3, false));
    x = simple(b, RFHE_OP_RELU, "relu", x);
    x = pool(b, RFHE_OP_MAXPOOL, "maxpool", x, 3, 2, 1);
    for (int stage = 0; stage < 4; stage++) {
        for (int i = 0; i < 2; i++) {
            x = basic_block(b, named("layer%d.%d", stage + 1, i).s, x, scaled(b, 64 << stage),
                            stage > 0 && i == 0 ? 2 : 1, true);
        }
    }
    return average_head(b, "fc", x, classes);
}

/* --- The others --- */

/* Convolution 3x3, BN, ReLU, called P.K, P.K+1, P.K+2 as in a PyTorch Sequential. */
static rfhe_value_id conv_bn_relu(builder *b, const char *prefix, int k, rfhe_value_id x,
                                  int64_t out)
{
    x = conv(b, named("%s.%d", prefix, k).s, x, b->channels, out, 3, 1, 1, false);
    x = batchnorm(b, named("%s.%d", prefix, k + 1).s, x);
    return simple(b, RFHE_OP_RELU, named("%s.%d", prefix, k + 2).s, x);
}

static rfhe_value_id vgg16(builder *b, rfhe_value_id x, int64_t classes)
{
    static const int plan[] = {64,  64,  0,   128, 128, 0,   256, 256, 256,
                               0,   512, 512, 512, 0,   512, 512, 512, 0};
    const bool small = b->map_height <= 64 && b->map_width <= 64;
    int k = 0;

    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        if (plan[i] > 0) {
            x = conv_bn_relu(b, "features", k, x, scaled(b, plan[i]));
            k += 3;
        } else {
            x = pool(b, RFHE_OP_MAXPOOL, named("features.%d", k).s, x, 2, 2, 0);
            k += 1;
        }
    }
    x = flatten(b, x);
    const int64_t in = b->channels * b->map_height * b->map_width, hidden = scaled(b, 4096);
    if (small) { return dense(b, "classifier", x, in, classes); }
    x = simple(b, RFHE_OP_RELU, "classifier.1", dense(b, "classifier.0", x, in, hidden));
    x = simple(b, RFHE_OP_RELU, "classifier.4", dense(b, "classifier.3", x, hidden, hidden));
    return dense(b, "classifier.6", x, hidden, classes);
}

static rfhe_value_id lenet(builder *b, rfhe_value_id x, int64_t classes)
{
    const int64_t pad = b->map_height < 32 || b->map_width < 32 ? 2 : 0;
    const int64_t hidden1 = scaled(b, 120), hidden2 = scaled(b, 84);

    x = conv(b, "conv1", x, b->channels, scaled(b, 6), 5, 1, pad, true);
    shrink(b, 5, 1, pad);
    x = pool(b, RFHE_OP_MAXPOOL, "pool1", simple(b, RFHE_OP_RELU, "relu1", x), 2, 2, 0);
    x = conv(b, "conv2", x, b->channels, scaled(b, 16), 5, 1, 0, true);
    shrink(b, 5, 1, 0);
    x = pool(b, RFHE_OP_MAXPOOL, "pool2", simple(b, RFHE_OP_RELU, "relu2", x), 2, 2, 0);
    x = dense(b, "fc1", flatten(b, x), b->channels * b->map_height * b->map_width, hidden1);
    x = dense(b, "fc2", simple(b, RFHE_OP_RELU, "relu3", x), hidden1, hidden2);
    return dense(b, "fc3", simple(b, RFHE_OP_RELU, "relu4", x), hidden2, classes);
}

/* Clothes sit where they sit: the dense layer sees the positions, an average over the map would lose them. */
static rfhe_value_id fashion_cnn(builder *b, rfhe_value_id x, int64_t classes)
{
    for (int i = 0; i < 3; i++) {
        const int64_t out = scaled(b, i == 0 ? 32 : 64);
        x = conv(b, named("conv%d", i + 1).s, x, b->channels, out, 3, 1, 1, false);
        x = batchnorm(b, named("bn%d", i + 1).s, x);
        x = simple(b, RFHE_OP_RELU, named("relu%d", i + 1).s, x);
        if (i < 2) { x = pool(b, RFHE_OP_MAXPOOL, named("pool%d", i + 1).s, x, 2, 2, 0); }
    }
    return dense(b, "linear", flatten(b, x), b->channels * b->map_height * b->map_width, classes);
}

/* --- By name --- */

#define ARCH_LIST(X)                                                                               \
    X("resnet20", 3, 32, 10, 8, resnet_cifar(&b, x, 3, classes))                                   \
    X("resnet32", 3, 32, 10, 8, resnet_cifar(&b, x, 5, classes))                                   \
    X("resnet44", 3, 32, 10, 8, resnet_cifar(&b, x, 7, classes))                                   \
    X("resnet56", 3, 32, 10, 8, resnet_cifar(&b, x, 9, classes))                                   \
    X("resnet18", 3, 224, 1000, 32, resnet18(&b, x, classes))                                      \
    X("vgg16", 3, 32, 10, 32, vgg16(&b, x, classes))                                               \
    X("lenet", 1, 28, 10, 16, lenet(&b, x, classes))                                               \
    X("fashion-cnn", 1, 28, 10, 4, fashion_cnn(&b, x, classes))

/* The sizes of an architecture when nothing else is asked for. */
typedef struct arch {
    const char *name;
    uint32_t channels, side, classes, least_side;
} arch;

static const arch archs[] = {
#define ROW(n, channels, side, classes, least, build) {n, channels, side, classes, least},
    ARCH_LIST(ROW)
#undef ROW
};

const char *const *rfhe_zoo_names(void)
{
    static const char *const names[] = {
#define NAME(n, channels, side, classes, least, build) n,
        ARCH_LIST(NAME)
#undef NAME
        NULL};
    return names;
}

static const arch *find(const char *wanted)
{
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        if (strcmp(archs[i].name, wanted) == 0) { return &archs[i]; }
    }
    return NULL;
}

bool rfhe_zoo_has(const char *wanted)
{
    return find(wanted) != NULL;
}

static rfhe_status unknown(const char *wanted, rfhe_error *err)
{
    char list[256] = "";

    for (size_t i = 0, at = 0; i < sizeof archs / sizeof *archs && at < sizeof list; i++) {
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i > 0 ? ", " : "",
                               archs[i].name);
    }
    return rfhe_fail(err, RFHE_E_ARG, "there is no architecture '%s', only %s", wanted, list);
}

rfhe_status rfhe_zoo_build(rfhe_graph **out, const char *wanted, const rfhe_zoo_options *opt,
                           rfhe_error *err)
{
    const arch *a = find(wanted);
    rfhe_value_id x = RFHE_NO_VALUE, y = RFHE_NO_VALUE;

    if (a == NULL) { return unknown(wanted, err); }
    const int64_t classes = opt->classes > 0 ? opt->classes : a->classes;
    builder b = {.seed = opt->seed,
                 .width = opt->width > 0.0 ? opt->width : 1.0,
                 .channels = opt->channels > 0 ? opt->channels : a->channels,
                 .map_height = opt->image_height > 0 ? opt->image_height : a->side,
                 .map_width = opt->image_width > 0 ? opt->image_width : a->side};
    if (!(b.width <= 64.0)) {
        return rfhe_fail(err, RFHE_E_ARG, "a width of %g is not within 0 and 64", opt->width);
    }
    if (b.map_height < a->least_side || b.map_width < a->least_side) {
        return rfhe_fail(err, RFHE_E_ARG, "%s needs images of at least %ux%u, not %lldx%lld", a->name,
                         a->least_side, a->least_side, (long long)b.map_height, (long long)b.map_width);
    }
    const rfhe_shape in = {.rank = 4, .dim = {-1, b.channels, b.map_height, b.map_width}};
    b.st = rfhe_graph_new(&b.g, a->name);
    if (b.st == RFHE_OK) { b.st = rfhe_graph_add_value(b.g, &x, "input", RFHE_F32, &in); }
    if (b.st == RFHE_OK) { b.st = rfhe_graph_add_input(b.g, x); }
#define BUILD(n, ch, side, cl, least, build)                                                       \
    if (strcmp(a->name, n) == 0) { y = build; }
    ARCH_LIST(BUILD)
#undef BUILD
    if (b.st == RFHE_OK) {
        rfhe_value *v = &b.g->values[y];
        char *label = rfhe_strdup("logits");
        if (label == NULL) {
            b.st = RFHE_E_NOMEM;
        } else {
            rfhe_free(v->name);
            v->name = label;
            b.st = rfhe_graph_add_output(b.g, y);
        }
    }
    if (b.st == RFHE_OK) { b.st = rfhe_graph_infer(b.g, 0, err); }
    if (b.st != RFHE_OK) {
        rfhe_graph_free(b.g);
        return b.st == RFHE_E_NOMEM ? rfhe_fail(err, b.st, "no memory for the weights of %s", a->name)
                                    : b.st;
    }
    *out = b.g;
    return RFHE_OK;
}
