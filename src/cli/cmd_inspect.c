/* rfhe inspect MODEL: a network layer by layer, what it costs, and what encrypted inference would have to replace. */
#include "cli/network.h"

#include "nn/zoo.h"
#include "rfhe/onnx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"batch", 'b', RFHE_OPT_UINT, "N", NULL, "images to assume for a symbolic batch (default: 1)"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

/* What CKKS does with an operator: it can add and multiply, and nothing else. */
typedef enum fate {
    FATE_FREE,    /* bookkeeping: no arithmetic on ciphertexts                                */
    FATE_FOLDED,  /* constants that disappear into the layer before                           */
    FATE_LINEAR,  /* runs as it is                                                            */
    FATE_PRODUCT, /* product of two computed values: one level                                */
    FATE_REPLACE, /* neither sum nor product: needs a polynomial, or another layer in its place */
    FATE_CLIENT,  /* last step, left to whoever decrypts                                      */
    FATE_COUNT
} fate;

static const char *const fate_names[FATE_COUNT] = {"free",    "folded",  "linear",
                                                   "product", "replace", "client"};

static bool is_computed(const rfhe_graph *g, const rfhe_node *n, uint32_t input)
{
    return input < n->n_inputs && n->inputs[input] != RFHE_NO_VALUE &&
           g->values[n->inputs[input]].constant == NULL;
}

static bool is_output(const rfhe_graph *g, const rfhe_node *n)
{
    for (uint32_t i = 0; i < g->n_outputs; i++) {
        if (n->n_outputs > 0 && g->outputs[i] == n->outputs[0]) { return true; }
    }
    return false;
}

static fate fate_of(const rfhe_graph *g, const rfhe_node *n)
{
    switch (n->op) {
    case RFHE_OP_RELU:
    case RFHE_OP_CLIP:
    case RFHE_OP_MAXPOOL: return FATE_REPLACE;
    case RFHE_OP_SOFTMAX: return is_output(g, n) ? FATE_CLIENT : FATE_REPLACE;
    case RFHE_OP_BATCHNORM: return FATE_FOLDED;
    case RFHE_OP_MUL:
    case RFHE_OP_MATMUL:
    case RFHE_OP_GEMM:
        return is_computed(g, n, 0) && is_computed(g, n, 1) ? FATE_PRODUCT : FATE_LINEAR;
    case RFHE_OP_CONV:
    case RFHE_OP_AVGPOOL:
    case RFHE_OP_GLOBALAVGPOOL:
    case RFHE_OP_REDUCEMEAN:
    case RFHE_OP_ADD:
    case RFHE_OP_SUB: return FATE_LINEAR;
    case RFHE_OP_FLATTEN:
    case RFHE_OP_RESHAPE:
    case RFHE_OP_SLICE:
    case RFHE_OP_CONCAT:
    case RFHE_OP_PAD:
    case RFHE_OP_IDENTITY:
    case RFHE_OP_DROPOUT:
    case RFHE_OP_CUSTOM:
    case RFHE_OP_COUNT: break;
    }
    return FATE_FREE;
}

typedef struct row {
    char output[96];
    uint64_t parameters, macs, elements; /* elements: of the output, for one image */
    fate fate;
} row;

typedef struct totals {
    rfhe_graph_cost cost;
    uint64_t replaced, replaced_elements, relus, maxpools, linear, largest;
} totals;

static row describe(const rfhe_graph *g, const rfhe_node *n)
{
    row r = {.fate = fate_of(g, n), .macs = rfhe_node_macs(g, n)};
    const rfhe_value *y = &g->values[n->outputs[0]];
    rfhe_shape one = y->shape;
    size_t count = 0;

    for (uint32_t i = 0; i < n->n_inputs; i++) {
        const rfhe_tensor *t = n->inputs[i] != RFHE_NO_VALUE ? g->values[n->inputs[i]].constant : NULL;
        if (t != NULL && t->dtype == RFHE_F32) { r.parameters += t->count; }
    }
    if (one.rank > 0) { one.dim[0] = 1; }
    if (rfhe_shape_count(&one, &count)) { r.elements = count; }
    (void)rfhe_shape_text(r.output, sizeof r.output, &y->shape);
    return r;
}

static totals add_up(const rfhe_graph *g)
{
    totals t = {.cost = rfhe_graph_count(g)};

    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const rfhe_node *n = &g->nodes[i];
        const row r = describe(g, n);
        if (r.fate == FATE_REPLACE) {
            t.replaced += 1;
            t.replaced_elements += r.elements;
            t.relus += n->op == RFHE_OP_RELU;
            t.maxpools += n->op == RFHE_OP_MAXPOOL;
        }
        t.linear += n->op == RFHE_OP_CONV || n->op == RFHE_OP_GEMM || n->op == RFHE_OP_MATMUL;
        if (r.fate != FATE_FREE && r.elements > t.largest) { t.largest = r.elements; }
    }
    return t;
}

static void write_json(rfhe_cli *cli, const char *model, const rfhe_graph *g)
{
    const totals t = add_up(g);
    rfhe_json j = {.out = &cli->out};
    char text[96];

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.inspect/1");
    rfhe_json_string(&j, "model", model);
    rfhe_json_string(&j, "name", g->name);
    rfhe_json_string(&j, "input", rfhe_shape_text(text, sizeof text, &g->values[g->inputs[0]].shape));
    rfhe_json_string(&j, "output",
                     rfhe_shape_text(text, sizeof text, &g->values[g->outputs[0]].shape));
    rfhe_json_integer(&j, "parameters", (int64_t)t.cost.parameters);
    rfhe_json_integer(&j, "macs", (int64_t)t.cost.macs);
    rfhe_json_integer(&j, "linear_layers", (int64_t)t.linear);
    rfhe_json_integer(&j, "to_replace", (int64_t)t.replaced);
    rfhe_json_integer(&j, "to_replace_elements", (int64_t)t.replaced_elements);
    rfhe_json_integer(&j, "relu", (int64_t)t.relus);
    rfhe_json_integer(&j, "maxpool", (int64_t)t.maxpools);
    rfhe_json_integer(&j, "largest_map", (int64_t)t.largest);
    rfhe_json_object(&j, "metadata");
    for (uint32_t i = 0; i < g->n_metas; i++) {
        rfhe_json_string(&j, g->metas[i].key, g->metas[i].value);
    }
    rfhe_json_end_object(&j);
    rfhe_json_array(&j, "layers");
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const row r = describe(g, &g->nodes[i]);
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "name", g->nodes[i].name);
        rfhe_json_string(&j, "op", rfhe_op_name(g->nodes[i].op));
        rfhe_json_string(&j, "output", r.output);
        rfhe_json_integer(&j, "parameters", (int64_t)r.parameters);
        rfhe_json_integer(&j, "macs", (int64_t)r.macs);
        rfhe_json_integer(&j, "elements", (int64_t)r.elements);
        rfhe_json_string(&j, "encrypted", fate_names[r.fate]);
        rfhe_json_end_object(&j);
    }
    rfhe_json_end_array(&j);
    rfhe_json_end_object(&j);
}

/* 1234567 as "1.23 M"; a static ring of buffers for one call's arguments. */
static const char *short_number(char out[16], uint64_t n)
{
    if (n >= 1000000000) {
        (void)snprintf(out, 16, "%.2f G", (double)n / 1e9);
    } else if (n >= 1000000) {
        (void)snprintf(out, 16, "%.2f M", (double)n / 1e6);
    } else if (n >= 10000) {
        (void)snprintf(out, 16, "%.1f k", (double)n / 1e3);
    } else if (n > 0) {
        (void)snprintf(out, 16, "%" PRIu64, n);
    } else {
        (void)snprintf(out, 16, "-");
    }
    return out;
}

static void write_text(rfhe_cli *cli, const char *model, const rfhe_graph *g)
{
    const totals t = add_up(g);
    rfhe_text *out = &cli->out;
    char a[16], b[16], c[16], in_text[96], out_text[96];
    int name_width = 5;

    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const int n = (int)strlen(g->nodes[i].name);
        if (n > name_width) { name_width = n > 40 ? 40 : n; }
    }
    rfhe_text_printf(out, "%s: %s, %s to %s\n\n", model, g->name,
                     rfhe_shape_text(in_text, sizeof in_text, &g->values[g->inputs[0]].shape),
                     rfhe_shape_text(out_text, sizeof out_text, &g->values[g->outputs[0]].shape));
    rfhe_text_printf(out, "%-*s  %-18s %-16s %9s %9s %9s  %s\n", name_width, "layer", "operator",
                     "output", "weights", "products", "elements", "encrypted");
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const row r = describe(g, &g->nodes[i]);
        rfhe_text_printf(out, "%-*.40s  %-18s %-16s %9s %9s %9s  %s\n", name_width, g->nodes[i].name,
                         rfhe_op_name(g->nodes[i].op), r.output, short_number(a, r.parameters),
                         short_number(b, r.macs), short_number(c, r.elements),
                         r.fate == FATE_FREE ? "" : fate_names[r.fate]);
    }
    rfhe_text_printf(out, "\nweights   %s\n", short_number(a, t.cost.parameters));
    rfhe_text_printf(out, "products  %s per image, in %" PRIu64 " linear layers\n",
                     short_number(a, t.cost.macs), t.linear);
    rfhe_text_printf(out,
                     "replace   %" PRIu64 " of %" PRIu32 " operators: %" PRIu64 " ReLU, %" PRIu64
                     " MaxPool, %" PRIu64 " others; %s elements per image\n",
                     t.replaced, g->n_nodes, t.relus, t.maxpools, t.replaced - t.relus - t.maxpools,
                     short_number(a, t.replaced_elements));
    rfhe_text_printf(out, "largest   %s values in one map\n", short_number(a, t.largest));
    for (uint32_t i = 0; i < g->n_metas; i++) {
        rfhe_text_printf(out, "%s = %.80s\n", g->metas[i].key, g->metas[i].value);
    }
}

static rfhe_status open_model(rfhe_graph **out, const char *model, uint64_t batch, uint64_t seed,
                              rfhe_error *err)
{
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;

    if (rfhe_zoo_has(model)) {
        RFHE_TRY(rfhe_zoo_build(&g, model, &(rfhe_zoo_options){.seed = seed}, err));
    } else {
        RFHE_TRY(rfhe_onnx_read(&g, model, NULL, err));
    }
    RFHE_TRY(rfhe_graph_infer(g, (int64_t)batch, err));
    if (g->n_inputs == 0 || g->n_outputs == 0) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' has no input or no output", model);
        goto done;
    }
    *out = g;
    g = NULL;

done:
    rfhe_graph_free(g);
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    const char *model = rfhe_args_at(args, 0);
    const uint64_t batch = rfhe_args_uint(args, "batch", 1);
    rfhe_error err = {0};
    rfhe_graph *g = NULL;

    if (batch == 0 || batch > 65536) { return rfhe_cli_usage(cli, "--batch must be 1 to 65536"); }
    const rfhe_status st = open_model(&g, model, batch, cli->seed, &err);
    if (st != RFHE_OK) { return rfhe_cli_fail(cli, st, &err); }
    if (cli->json) {
        write_json(cli, model, g);
    } else {
        write_text(cli, model, g);
    }
    rfhe_graph_free(g);
    return rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_inspect = {
    .name = "inspect",
    .usage = "MODEL.onnx|ARCHITECTURE [options]",
    .summary = "show a network's layers and what encrypted inference would replace",
    .description =
        "Prints every layer with the shape of its output, its weights, the products it takes (multiply-accumulates of "
        "one image), the elements it makes, and what becomes of it under encryption: linear layers run as they are, "
        "batch normalisation is folded into them, `replace` marks what is neither sum nor product (ReLU, MaxPool, "
        "Clip) and needs a polynomial, `client` the softmax that whoever decrypts applies.\n\n"
        "In place of a file the name of an architecture may stand, as for rfhe train.",
    .example = "rfhe inspect resnet20.onnx",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
