/* rfhe profile MODEL --data SPEC: which values reach the activations of a network. */
#include "cli/network.h"

#include "base/file.h"
#include "base/mem.h"
#include "method/method.h"
#include "report/svg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images, such as cifar10:DIR (required)"},
    {"split", 0, RFHE_OPT_TEXT, "NAME", NULL,
     "train, fit[:N], select[:N], val or test (default: train)"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "images (default: 2000)"},
    {"pool", 0, RFHE_OPT_CHOICE, "KIND", "keep|max|average",
     "look at MaxPool as it is, as a tree of comparisons, or as an average (default: keep)"},
    {"channels", 0, RFHE_OPT_FLAG, NULL, NULL, "with --json: every channel of every activation"},
    {"svg", 0, RFHE_OPT_TEXT, "FILE", NULL, "histograms of all activations"},
    RFHE_OPTIONS_PREPROCESSING,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

static rfhe_status collect(rfhe_profile *out, const rfhe_cli *cli, const rfhe_args *args,
                           rfhe_error *err)
{
    const rfhe_dataset_options some = {.limit = rfhe_args_uint(args, "limit", 2000)};
    const char *pool = rfhe_args_text(args, "pool", "keep");
    const rfhe_pool_mode mode = strcmp(pool, "max") == 0       ? RFHE_POOL_TREE
                                : strcmp(pool, "average") == 0 ? RFHE_POOL_AVERAGE
                                                               : RFHE_POOL_KEEP;
    rfhe_loader_options loading = {0};
    rfhe_images images = {0};
    rfhe_graph *g = NULL;
    rfhe_transform t;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_network_open(&g, rfhe_args_at(args, 0), err));
    RFHE_TRY(rfhe_method_pools(g, mode, NULL, err));
    RFHE_TRY(rfhe_dataset_open(&images.set, rfhe_args_text(args, "data", NULL),
                               rfhe_args_text(args, "split", "train"), &some, err));
    RFHE_TRY(rfhe_network_transform(&t, g, images.set, args, err));
    loading.batch = rfhe_network_batch(g, rfhe_dataset_count(images.set));
    RFHE_TRY(rfhe_images_open(&images, images.set, &t, &loading, err));
    RFHE_TRY(
        rfhe_profile_collect(out, g, &images.source, 0, RFHE_COMPUTE_F32, &cli->progress, err));

done:
    rfhe_images_close(&images);
    rfhe_graph_free(g);
    return st;
}

static void json_histogram(rfhe_json *w, const rfhe_histogram *h)
{
    rfhe_json_number(w, "min", h->min);
    rfhe_json_number(w, "max", h->max);
    rfhe_json_number(w, "mean", rfhe_histogram_mean(h));
    rfhe_json_number(w, "sigma", rfhe_histogram_sigma(h));
    rfhe_json_number(w, "quantile_999", rfhe_histogram_abs_quantile(h, 0.999));
}

static void write_json(rfhe_cli *cli, const rfhe_args *args, const rfhe_profile *p)
{
    rfhe_json w = {.out = &cli->out};

    rfhe_json_object(&w, NULL);
    rfhe_json_string(&w, "schema", "rfhe.profile/1");
    rfhe_json_string(&w, "model", rfhe_args_at(args, 0));
    rfhe_json_string(&w, "data", rfhe_args_text(args, "data", NULL));
    rfhe_json_integer(&w, "images", (int64_t)p->images);
    rfhe_json_number(&w, "seconds", p->seconds);
    rfhe_json_array(&w, "activations");
    for (size_t i = 0; i < p->n; i++) {
        const rfhe_profile_layer *l = &p->layer[i];
        rfhe_json_object(&w, NULL);
        rfhe_json_string(&w, "node", l->node);
        rfhe_json_string(&w, "value", l->value);
        rfhe_json_integer(&w, "channels", (int64_t)l->channels);
        rfhe_json_integer(&w, "values_per_image", (int64_t)l->per_image);
        rfhe_json_bool(&w, "is_difference", l->is_difference);
        json_histogram(&w, &l->whole);
        rfhe_json_number(&w, "range_over_sigma",
                         rfhe_histogram_reach(&l->whole) / rfhe_histogram_sigma(&l->whole));
        if (rfhe_args_has(args, "channels")) {
            rfhe_json_array(&w, "by_channel");
            for (size_t c = 0; c < l->channels; c++) {
                rfhe_json_object(&w, NULL);
                json_histogram(&w, &l->channel[c]);
                rfhe_json_end_object(&w);
            }
            rfhe_json_end_array(&w);
        }
        rfhe_json_end_object(&w);
    }
    rfhe_json_end_array(&w);
    rfhe_json_end_object(&w);
}

static void write_text(rfhe_cli *cli, const rfhe_profile *p)
{
    rfhe_text_printf(&cli->out, "%-28s %8s %9s %9s %9s %9s %9s %8s\n", "activation", "channels",
                     "min", "max", "mean", "sigma", "99.9 %", "range/sd");
    for (size_t i = 0; i < p->n; i++) {
        const rfhe_histogram *h = &p->layer[i].whole;
        rfhe_text_printf(&cli->out, "%-28.28s %8zu %9.4g %9.4g %9.4g %9.4g %9.4g %8.2f\n",
                         p->layer[i].node, p->layer[i].channels, h->min, h->max,
                         rfhe_histogram_mean(h), rfhe_histogram_sigma(h),
                         rfhe_histogram_abs_quantile(h, 0.999),
                         rfhe_histogram_reach(h) / rfhe_histogram_sigma(h));
    }
    rfhe_text_printf(&cli->out, "%" PRIu64 " images, %.1f s\n", p->images, p->seconds);
}

/* One panel per activation: density on a logarithmic axis, 128 bars over the range. */
static rfhe_status write_svg(const char *path, const rfhe_profile *p, const char *model,
                             rfhe_error *err)
{
    enum { BARS = 128, MERGE = RFHE_HISTOGRAM_BINS / BARS };
    rfhe_plot *plots = rfhe_calloc(p->n, sizeof *plots);
    rfhe_plot_series *series = rfhe_calloc(p->n, sizeof *series);
    double *xy = rfhe_alloc(p->n * 2 * (BARS + 1), sizeof *xy);
    rfhe_text svg = {0};
    rfhe_status st = RFHE_OK;

    if (plots == NULL || series == NULL || xy == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu plots", p->n);
        goto done;
    }
    for (size_t i = 0; i < p->n; i++) {
        const rfhe_histogram *h = &p->layer[i].whole;
        double *x = xy + i * 2 * (BARS + 1), *y = x + BARS + 1;
        for (size_t b = 0; b <= BARS; b++) {
            uint64_t count = 0;
            for (size_t k = 0; k < MERGE && b < BARS; k++) { count += h->count[b * MERGE + k]; }
            x[b] = h->range * (2.0 * (double)b / BARS - 1);
            y[b] = count > 0 ? (double)count / (double)h->n : 1e-9;
        }
        series[i] = (rfhe_plot_series){.style = RFHE_PLOT_STEPS, .x = x, .y = y, .n = BARS + 1};
        plots[i] = (rfhe_plot){.title = p->layer[i].node,
                               .x_label = "value",
                               .y_label = "share of the values",
                               .series = &series[i],
                               .n_series = 1,
                               .y_lo = 1e-9,
                               .y_hi = 1,
                               .log_y = true};
    }
    rfhe_plot_svg(&svg, "What reaches the activations", model, plots, p->n, 0, 160);
    st = rfhe_text_status(&svg);
    if (st == RFHE_OK) { st = rfhe_file_write(path, svg.data, svg.size, 0644, err); }

done:
    rfhe_free(plots);
    rfhe_free(series);
    rfhe_free(xy);
    rfhe_text_clear(&svg);
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    rfhe_profile p = {0};
    const char *svg = rfhe_args_text(args, "svg", NULL);
    int code = 0;

    if (!rfhe_args_has(args, "data")) { return rfhe_cli_usage(cli, "--data is missing"); }
    rfhe_status st = collect(&p, cli, args, &err);
    if (st == RFHE_OK && svg != NULL) { st = write_svg(svg, &p, rfhe_args_at(args, 0), &err); }
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            write_json(cli, args, &p);
        } else {
            write_text(cli, &p);
        }
        code = rfhe_cli_finish(cli);
    }
    rfhe_profile_clear(&p);
    return code;
}

const rfhe_command rfhe_cmd_profile = {
    .name = "profile",
    .usage = "MODEL.onnx --data SPEC [options]",
    .summary = "see which values reach a network's activations",
    .description = "Runs images through the network and collects, for every ReLU (and every PAF), "
                   "histograms of what reaches it. "
                   "The ratio of range to standard deviation decides how low the degree of a "
                   "polynomial can be that stands in for "
                   "the ReLU: small is good.",
    .example = "rfhe profile resnet20.onnx --data cifar10:data/cifar10 --svg profile.svg",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
