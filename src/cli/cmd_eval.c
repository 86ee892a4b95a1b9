/* rfhe eval MODEL --data SPEC: how often a network is right. */
#include "cli/network.h"

#include "base/clock.h"
#include "base/mem.h"
#include "method/method.h"
#include "rfhe/onnx.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images and labels, such as cifar10:DIR (required)"},
    {"split", 0, RFHE_OPT_TEXT, "NAME", NULL, "test, val, train, fit[:N] or select[:N] (default: test)"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "only N images (default: all)"},
    {"batch", 'b', RFHE_OPT_UINT, "N", NULL, "images at once (default: up to 128, by size)"},
    {"dtype", 0, RFHE_OPT_CHOICE, "TYPE", "f32|bf16", "arithmetic"},
    {"overflow", 0, RFHE_OPT_FLAG, NULL, NULL, "count what leaves the ranges of polynomial activations"},
    RFHE_OPTIONS_PREPROCESSING,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

typedef struct evaluation {
    const char *model, *spec, *split, *dtype;
    rfhe_loss_sums sums;
    double seconds;
    bool counts; /* overflows */
    rfhe_overflow *overflow;
    size_t n_overflow;
    uint64_t images_beyond;
} evaluation;

static rfhe_status evaluate(evaluation *r, const rfhe_cli *cli, const rfhe_args *args, rfhe_error *err)
{
    const rfhe_dataset_options select = {.limit = rfhe_args_uint(args, "limit", 0)};
    rfhe_loader_options loading = {0};
    rfhe_exec_options running = {0};
    rfhe_status st = RFHE_OK;
    rfhe_graph *g = NULL;
    rfhe_exec *e = NULL;
    rfhe_images images = {0};
    rfhe_transform t;

    RFHE_TRY(rfhe_network_open(&g, r->model, err));
    RFHE_TRY(rfhe_dataset_open(&images.set, r->spec, r->split, &select, err));
    RFHE_TRY(rfhe_network_transform(&t, g, images.set, args, err));
    const uint64_t batch = rfhe_args_uint(args, "batch",
                                          rfhe_network_batch(g, rfhe_dataset_count(images.set)));
    if (batch == 0 || batch > 65536) {
        st = rfhe_fail(err, RFHE_E_ARG, "--batch must be 1 to 65536");
        goto done;
    }
    loading.batch = (uint32_t)batch;
    running.batch = (int64_t)batch;
    running.compute = strcmp(r->dtype, "bf16") == 0 ? RFHE_COMPUTE_BF16 : RFHE_COMPUTE_F32;
    RFHE_TRY(rfhe_images_open(&images, images.set, &t, &loading, err));
    RFHE_TRY(rfhe_exec_new(&e, g, &running, err));
    const double start = rfhe_now();
    RFHE_TRY(rfhe_evaluate(&r->sums, e, &images.source, &cli->progress, err));
    r->seconds = rfhe_now() - start;
    if (r->counts) {
        RFHE_TRY(rfhe_method_overflow(&r->overflow, &r->n_overflow, &r->images_beyond, g, &images.source,
                                      running.compute, &cli->progress, err));
    }

done:
    rfhe_exec_free(e);
    rfhe_images_close(&images);
    rfhe_graph_free(g);
    return st;
}

static void write_json(rfhe_cli *cli, const evaluation *r)
{
    const double n = (double)r->sums.images, top1 = (double)r->sums.top1 / n;
    rfhe_json j = {.out = &cli->out};

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.eval/1");
    rfhe_json_string(&j, "model", r->model);
    rfhe_json_string(&j, "data", r->spec);
    rfhe_json_string(&j, "split", r->split);
    rfhe_json_integer(&j, "images", (int64_t)r->sums.images);
    rfhe_json_number(&j, "top1", top1);
    rfhe_json_number(&j, "top5", (double)r->sums.top5 / n);
    rfhe_json_number(&j, "stderr", sqrt(top1 * (1 - top1) / n));
    rfhe_json_number(&j, "loss", r->sums.loss / n);
    rfhe_json_number(&j, "seconds", r->seconds);
    rfhe_json_number(&j, "images_per_second", r->seconds > 0 ? n / r->seconds : 0);
    rfhe_json_integer(&j, "threads", cli->threads);
    rfhe_json_string(&j, "dtype", r->dtype);
    if (r->counts) {
        rfhe_json_number(&j, "images_beyond_range", (double)r->images_beyond / n);
        rfhe_json_array(&j, "overflow");
        for (size_t i = 0; i < r->n_overflow; i++) {
            const rfhe_overflow *o = &r->overflow[i];
            rfhe_json_object(&j, NULL);
            rfhe_json_string(&j, "node", o->node);
            rfhe_json_number(&j, "images_beyond", (double)o->beyond / n);
            rfhe_json_number(&j, "values_beyond", o->share);
            rfhe_json_number(&j, "worst", o->worst);
            rfhe_json_end_object(&j);
        }
        rfhe_json_end_array(&j);
    }
    rfhe_json_end_object(&j);
}

static void write_text(rfhe_cli *cli, const evaluation *r)
{
    const double n = (double)r->sums.images, top1 = (double)r->sums.top1 / n;

    rfhe_text_printf(&cli->out,
                     "%s on %s (%s)\n"
                     "images  %" PRIu64 "\n"
                     "top-1   %.2f %% (%" PRIu64 " right, standard error %.2f)\n"
                     "top-5   %.2f %%\n"
                     "loss    %.4f\n"
                     "time    %.2f s, %.0f images/s, %u threads, %s\n",
                     r->model, r->spec, r->split, r->sums.images, 100 * top1, r->sums.top1,
                     100 * sqrt(top1 * (1 - top1) / n), 100 * (double)r->sums.top5 / n,
                     r->sums.loss / n, r->seconds, r->seconds > 0 ? n / r->seconds : 0, cli->threads,
                     r->dtype);
    if (!r->counts) { return; }
    rfhe_text_printf(&cli->out, "beyond  %.2f %% of the images leave a range\n", 100 * (double)r->images_beyond / n);
    for (size_t i = 0; i < r->n_overflow; i++) {
        rfhe_text_printf(&cli->out, "  %-28.28s %7.3f %% of the images, furthest at %.3g of the range\n",
                         r->overflow[i].node, 100 * (double)r->overflow[i].beyond / n, r->overflow[i].worst);
    }
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    evaluation r = {.model = rfhe_args_at(args, 0),
                    .spec = rfhe_args_text(args, "data", NULL),
                    .split = rfhe_args_text(args, "split", "test"),
                    .dtype = rfhe_args_text(args, "dtype", "f32"),
                    .counts = rfhe_args_has(args, "overflow")};
    int code = 0;

    if (r.spec == NULL) { return rfhe_cli_usage(cli, "--data is missing"); }
    const rfhe_status st = evaluate(&r, cli, args, &err);
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            write_json(cli, &r);
        } else {
            write_text(cli, &r);
        }
        code = rfhe_cli_finish(cli);
    }
    rfhe_free(r.overflow);
    return code;
}

const rfhe_command rfhe_cmd_eval = {
    .name = "eval",
    .usage = "MODEL.onnx --data SPEC [options]",
    .summary = "measure a network's accuracy on images",
    .description =
        "Runs the network on every image of a split and counts how often the right class comes first (top-1) or among "
        "the first five (top-5). With --overflow it also counts, for each polynomial activation, the images with any value "
        "beyond the range that the metadata states, and how far the furthest went.\n\n"
        "How bytes become numbers is read from the model's metadata: rfhe.mean and rfhe.std are subtracted and divided "
        "by after byte / 255, rfhe.resize and rfhe.crop give the length of the shorter side and of the centre crop. A "
        "model that says nothing gets 0.485,0.456,0.406 and 0.229,0.224,0.225 on cifar10, cifar100, folder and "
        "imagenet, 0.2860 and 0.3530 on fashion-mnist, 0.1307 and 0.3081 on mnist; it takes images of its own size as they are, and of "
        "larger or smaller photos the centre. Options override both.",
    .example = "rfhe eval resnet20.onnx --data cifar10:data/cifar10 --json",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
