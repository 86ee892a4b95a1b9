/* rfhe train ARCHITECTURE|MODEL --data SPEC -o OUT: trains a network, and continues when it was interrupted. */
#include "cli/network.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "nn/train.h"
#include "nn/zoo.h"
#include "rfhe/onnx.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images and labels, such as cifar10:DIR (required)"},
    {"output", 'o', RFHE_OPT_TEXT, "FILE", NULL, "where to write the trained network (required)"},
    {"epochs", 'e', RFHE_OPT_UINT, "N", NULL, "passes over the training images (default: 30)"},
    {"optimizer", 0, RFHE_OPT_CHOICE, "RULE", "sgd|adam|adamw", "update rule (default: sgd)"},
    {"lr", 0, RFHE_OPT_FLOAT, "RATE", NULL, "highest rate (default: sgd 0.1 per 128 images, adam 0.001)"},
    {"schedule", 0, RFHE_OPT_CHOICE, "NAME", "constant|step|cosine|linear|onecycle|plateau",
     "how the rate changes (default: onecycle)"},
    {"warmup", 0, RFHE_OPT_FLOAT, "EPOCHS", NULL, "linear rise of the rate first (default: 0)"},
    {"rise", 0, RFHE_OPT_FLOAT, "SHARE", NULL, "part of a onecycle that rises (default: 0.2)"},
    {"milestones", 0, RFHE_OPT_TEXT, "E,E,...", NULL, "epochs after which `step` lowers the rate"},
    {"gamma", 0, RFHE_OPT_FLOAT, "F", NULL, "factor of `step` and `plateau` (default: 0.1)"},
    {"patience", 0, RFHE_OPT_UINT, "N", NULL, "epochs that `plateau` waits (default: 5)"},
    {"momentum", 0, RFHE_OPT_FLOAT, "F", NULL, "of sgd (default: 0.9)"},
    {"nesterov", 0, RFHE_OPT_FLAG, NULL, NULL, "Nesterov's rule for sgd (the default)"},
    {"no-nesterov", 0, RFHE_OPT_FLAG, NULL, NULL, "classical momentum"},
    {"weight-decay", 0, RFHE_OPT_FLOAT, "F", NULL,
     "pull towards zero of kernels and matrices (default: 0.0005; adamw 0.05)"},
    {"decay-all", 0, RFHE_OPT_FLAG, NULL, NULL, "also of biases and batch normalisation"},
    {"label-smoothing", 0, RFHE_OPT_FLOAT, "F", NULL, "share of the target spread evenly (default: 0)"},
    {"clip", 0, RFHE_OPT_FLOAT, "NORM", NULL, "limit of the gradient's norm (default: none)"},
    {"ema", 0, RFHE_OPT_FLOAT, "DECAY", NULL, "store an exponential average of the weights, such as 0.999"},
    {"swa", 0, RFHE_OPT_FLOAT, "SHARE", NULL, "store the mean over the epochs after this share of them"},
    {"recalibrate", 0, RFHE_OPT_UINT, "N", NULL,
     "estimate BN statistics of an average from N batches (default: swa 100)"},
    {"judge-every", 0, RFHE_OPT_UINT, "N", NULL, "epochs between looks at those (default: 1)"},
    {"keep", 0, RFHE_OPT_CHOICE, "WHICH", "best|last", "epoch to store (default: best)"},
    {"teacher", 0, RFHE_OPT_TEXT, "FILE", NULL, "network to learn from as well"},
    {"distill", 0, RFHE_OPT_FLOAT, "W", NULL, "weight of the teacher against the labels (default: 0.9)"},
    {"temperature", 0, RFHE_OPT_FLOAT, "T", NULL, "of that comparison (default: 4)"},
    {"width", 0, RFHE_OPT_FLOAT, "F", NULL, "multiplies the channels of an architecture (default: 1)"},
    {"image-size", 0, RFHE_OPT_UINT, "N", NULL,
     "input of an architecture, N x N (default: as the images, its own for photos)"},
    {"frozen-bn", 0, RFHE_OPT_FLAG, NULL, NULL, "normalise by the running statistics, unchanged"},
    {"checkpoint", 0, RFHE_OPT_TEXT, "FILE", NULL, "state to continue from (default: OUTPUT.checkpoint)"},
    {"checkpoint-every", 0, RFHE_OPT_FLOAT, "S", NULL, "seconds between writes of it (default: 60)"},
    {"restart", 0, RFHE_OPT_FLAG, NULL, NULL, "begin anew even if there is a checkpoint"},
    RFHE_OPTIONS_TRAINING_IMAGES,
    RFHE_OPTIONS_PREPROCESSING,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

/* Everything one run needs; zero state, then filled from top to bottom. */
typedef struct job {
    rfhe_cli *cli;
    const rfhe_args *args;
    const char *model, *spec, *output, *test_split;
    char checkpoint[4096], augmentation[160];
    uint32_t batch;
    rfhe_graph *net, *teacher;
    rfhe_transform transform;
    rfhe_images fit, select, test;
    rfhe_text identity;
    rfhe_train_options train;
    rfhe_train_result result;
    rfhe_loss_sums tested;
    uint64_t parameters;
    bool from_scratch;
} job;

/* --- Options --- */

static rfhe_status read_milestones(rfhe_schedule *s, const char *list, rfhe_error *err)
{
    char *end = NULL;

    for (const char *at = list; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        const uint64_t v = strtoull(at, &end, 10);
        const bool ascends = s->n_milestones == 0 || v > s->milestone[s->n_milestones - 1];
        if (end == at || (*end != ',' && *end != '\0') || !ascends ||
            s->n_milestones == RFHE_MAX_MILESTONES) {
            return rfhe_fail(err, RFHE_E_ARG, "--milestones wants ascending epochs such as 30,40, not '%s'",
                             list);
        }
        s->milestone[s->n_milestones++] = v;
    }
    return RFHE_OK;
}

static rfhe_status read_schedule(rfhe_train_options *o, const rfhe_args *a, rfhe_error *err)
{
    static const struct {
        const char *name;
        rfhe_schedule_kind kind;
    } kinds[] = {{"constant", RFHE_SCHEDULE_CONSTANT}, {"step", RFHE_SCHEDULE_STEP},
                 {"cosine", RFHE_SCHEDULE_COSINE},     {"linear", RFHE_SCHEDULE_LINEAR},
                 {"onecycle", RFHE_SCHEDULE_ONECYCLE}, {"plateau", RFHE_SCHEDULE_CONSTANT}};
    const char *wanted = rfhe_args_text(a, "schedule", "onecycle");
    const double gamma = rfhe_args_float(a, "gamma", 0.1), rise = rfhe_args_float(a, "rise", 0.2);

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(wanted, kinds[i].name) == 0) { o->schedule.kind = kinds[i].kind; }
    }
    o->use_plateau = strcmp(wanted, "plateau") == 0;
    o->plateau.factor = gamma;
    o->plateau.patience = (uint32_t)rfhe_args_uint(a, "patience", 5);
    o->schedule.gamma = gamma;
    o->schedule.rise = rise;
    o->warmup_epochs = rfhe_args_float(a, "warmup", 0);
    if (!(gamma > 0 && gamma < 1) || !(rise > 0 && rise < 1) || !(o->warmup_epochs >= 0)) {
        return rfhe_fail(err, RFHE_E_ARG, "--gamma and --rise must lie between 0 and 1, --warmup not below 0");
    }
    return read_milestones(&o->schedule, rfhe_args_text(a, "milestones", ""), err);
}

static void read_optimizer(rfhe_train_options *o, const rfhe_args *a, uint32_t batch)
{
    const char *rule = rfhe_args_text(a, "optimizer", "sgd");
    const bool is_sgd = strcmp(rule, "sgd") == 0, is_adamw = strcmp(rule, "adamw") == 0;
    const double decay = rfhe_args_float(a, "weight-decay", is_adamw ? 0.05 : 0.0005);

    o->optim.kind = is_sgd ? RFHE_OPTIM_SGD : is_adamw ? RFHE_OPTIM_ADAMW : RFHE_OPTIM_ADAM;
    o->rate = rfhe_args_float(a, "lr", is_sgd ? 0.1 * batch / 128.0 : 0.001);
    if (is_sgd) {
        o->optim.momentum = rfhe_args_float(a, "momentum", 0.9);
        o->optim.nesterov = !rfhe_args_has(a, "no-nesterov") && o->optim.momentum > 0;
    }
    for (size_t k = 0; k < RFHE_PARAM_KINDS; k++) {
        if (k == RFHE_PARAM_WEIGHT || (rfhe_args_has(a, "decay-all") && k != RFHE_PARAM_PAF)) {
            o->optim.group[k].decay = decay;
        }
    }
}

static rfhe_status read_options(job *j, rfhe_error *err)
{
    const rfhe_args *a = j->args;
    rfhe_train_options *o = &j->train;
    const uint64_t batch = rfhe_args_uint(a, "batch", 128);
    const char *checkpoint = rfhe_args_text(a, "checkpoint", NULL);
    rfhe_status st = RFHE_OK;

    if (batch == 0 || batch > 65536) {
        return rfhe_fail(err, RFHE_E_ARG, "--batch must be 1 to 65536");
    }
    if (rfhe_args_has(a, "nesterov") && rfhe_args_has(a, "no-nesterov")) {
        return rfhe_fail(err, RFHE_E_ARG, "--nesterov and --no-nesterov exclude each other");
    }
    j->batch = (uint32_t)batch;
    o->epochs = rfhe_args_uint(a, "epochs", 30);
    if (o->epochs == 0 || o->epochs > 1000000) {
        return rfhe_fail(err, RFHE_E_ARG, "--epochs must be 1 to 1000000");
    }
    read_optimizer(o, a, j->batch);
    RFHE_TRY(read_schedule(o, a, err));
    o->compute = strcmp(rfhe_args_text(a, "dtype", "f32"), "bf16") == 0 ? RFHE_COMPUTE_BF16
                                                                        : RFHE_COMPUTE_F32;
    o->frozen_bn = rfhe_args_has(a, "frozen-bn");
    o->loss.smoothing = rfhe_args_float(a, "label-smoothing", 0);
    o->clip = rfhe_args_float(a, "clip", 0);
    o->ema = rfhe_args_float(a, "ema", 0);
    o->swa_from = rfhe_args_float(a, "swa", 0);
    o->recalibrate = rfhe_args_uint(a, "recalibrate", o->swa_from > 0 ? 100 : 0);
    o->keep_last = strcmp(rfhe_args_text(a, "keep", "best"), "last") == 0;
    o->judge_every = rfhe_args_uint(a, "judge-every", 1);
    o->checkpoint_every = rfhe_args_float(a, "checkpoint-every", 60);
    o->seed = j->cli->seed;
    o->progress = &j->cli->progress;
    if (rfhe_args_has(a, "teacher")) {
        o->loss.distill = rfhe_args_float(a, "distill", 0.9);
        o->loss.temperature = rfhe_args_float(a, "temperature", 4);
    } else if (rfhe_args_has(a, "distill")) {
        return rfhe_fail(err, RFHE_E_ARG, "--distill needs a --teacher");
    }
    const int n = checkpoint != NULL
                      ? snprintf(j->checkpoint, sizeof j->checkpoint, "%s", checkpoint)
                      : snprintf(j->checkpoint, sizeof j->checkpoint, "%s.checkpoint", j->output);
    if (n < 0 || (size_t)n >= sizeof j->checkpoint) {
        return rfhe_fail(err, RFHE_E_ARG, "the name of the checkpoint is too long");
    }
    o->checkpoint = j->checkpoint;

done:
    return st;
}

/* --- Data and network --- */

static uint64_t size_option(const job *j, uint64_t of_data)
{
    return rfhe_args_uint(j->args, "image-size", of_data);
}

static rfhe_status open_network(job *j, rfhe_error *err)
{
    const rfhe_dataset *d = j->fit.set;
    rfhe_status st = RFHE_OK;

    j->from_scratch = rfhe_zoo_has(j->model);
    if (!j->from_scratch && !rfhe_file_exists(j->model)) {
        /* Neither a file nor a name: the sentence that lists the architectures. */
        return rfhe_zoo_build(&j->net, j->model, &(rfhe_zoo_options){0}, err);
    }
    if (j->from_scratch) {
        const uint64_t height = size_option(j, rfhe_dataset_height(d));
        const uint64_t width = size_option(j, rfhe_dataset_width(d));
        if (height > 8192 || width > 8192) {
            return rfhe_fail(err, RFHE_E_ARG, "--image-size must be at most 8192");
        }
        const rfhe_zoo_options o = {
            .width = rfhe_args_float(j->args, "width", 0),
            .channels = rfhe_dataset_channels(d),
            .image_height = (uint32_t)height,
            .image_width = (uint32_t)width,
            .classes = rfhe_dataset_classes(d),
            .seed = j->cli->seed,
        };
        RFHE_TRY(rfhe_zoo_build(&j->net, j->model, &o, err));
    } else {
        if (rfhe_args_has(j->args, "width") || rfhe_args_has(j->args, "image-size")) {
            return rfhe_fail(err, RFHE_E_ARG, "--width and --image-size shape an architecture, not a file");
        }
        RFHE_TRY(rfhe_network_open(&j->net, j->model, err));
    }
    j->parameters = rfhe_graph_count(j->net).parameters;
    if (rfhe_args_has(j->args, "teacher")) {
        RFHE_TRY(rfhe_network_open(&j->teacher, rfhe_args_text(j->args, "teacher", NULL), err));
        j->train.teacher = j->teacher;
    }

done:
    return st;
}

static rfhe_status start_loaders(job *j, rfhe_error *err)
{
    const char *list = rfhe_args_text(j->args, "augment", rfhe_network_usual_augmentation(j->fit.set));
    rfhe_status st = RFHE_OK;

    (void)snprintf(j->augmentation, sizeof j->augmentation, "%s", list);
    RFHE_TRY(rfhe_network_transform(&j->transform, j->net, j->fit.set, j->args, err));
    RFHE_TRY(rfhe_network_set_metadata(j->net, &j->transform, j->fit.set));
    RFHE_TRY(rfhe_images_start_training(&j->fit, &j->transform, j->batch, j->cli->seed, j->augmentation, err));
    if (j->select.set != NULL) {
        const rfhe_loader_options judging = {
            .batch = rfhe_network_batch(j->net, rfhe_dataset_count(j->select.set))};
        RFHE_TRY(rfhe_images_open(&j->select, j->select.set, &j->transform, &judging, err));
    }

done:
    return st;
}

/* What the loop does not see and a continued run must share. */
static rfhe_status write_identity(job *j)
{
    const rfhe_transform *t = &j->transform;

    rfhe_text_printf(&j->identity, "model=%s\ndata=%s\naugmentation=%s\n", j->model, j->spec,
                     j->augmentation);
    rfhe_text_printf(&j->identity, "mean=%.9g,%.9g,%.9g\nstd=%.9g,%.9g,%.9g\nresize=%u\ncrop=%ux%u\n",
                     (double)t->mean[0], (double)t->mean[1], (double)t->mean[2], (double)t->std[0],
                     (double)t->std[1], (double)t->std[2], t->resize, t->crop_height, t->crop_width);
    rfhe_text_printf(&j->identity, "teacher=%s\n", rfhe_args_text(j->args, "teacher", "none"));
    j->train.identity = j->identity.data;
    return rfhe_text_status(&j->identity);
}

static rfhe_status test(job *j, rfhe_error *err)
{
    const rfhe_dataset_options o = {.limit = rfhe_args_uint(j->args, "limit", 0)};
    rfhe_loader_options loading = {0};
    rfhe_exec_options running = {0};
    rfhe_exec *e = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_dataset_open(&j->test.set, j->spec, j->test_split, &o, err));
    loading.batch = rfhe_network_batch(j->net, rfhe_dataset_count(j->test.set));
    running.batch = loading.batch;
    RFHE_TRY(rfhe_images_open(&j->test, j->test.set, &j->transform, &loading, err));
    RFHE_TRY(rfhe_exec_new(&e, j->net, &running, err));
    RFHE_TRY(rfhe_evaluate(&j->tested, e, &j->test.source, &j->cli->progress, err));

done:
    rfhe_exec_free(e);
    return st;
}

/* --- Telling --- */

static void tell_epoch(void *user, const rfhe_train_epoch *r)
{
    job *j = user;
    char select[48] = "";

    if (!isnan(r->select_top1)) {
        (void)snprintf(select, sizeof select, "  select %.2f %%", 100 * r->select_top1);
    }
    rfhe_cli_note(j->cli, "epoch %3" PRIu64 "/%" PRIu64 "  rate %.4g  loss %.4f  train %.2f %%%s  %.0f images/s",
                  r->epoch, j->train.epochs, r->rate, r->loss, 100 * r->train_top1, select,
                  r->seconds > 0 ? (double)j->fit.source.images / r->seconds : 0);
}

static double tested_top1(const job *j)
{
    return j->tested.images > 0 ? (double)j->tested.top1 / (double)j->tested.images
                                : j->result.select_top1;
}

static void write_json(const job *j)
{
    const rfhe_train_result *r = &j->result;
    rfhe_json w = {.out = &j->cli->out};

    rfhe_json_object(&w, NULL);
    rfhe_json_string(&w, "schema", "rfhe.train/1");
    rfhe_json_string(&w, "model", j->model);
    rfhe_json_string(&w, "data", j->spec);
    rfhe_json_string(&w, "output", j->output);
    rfhe_json_integer(&w, "epochs", (int64_t)r->epochs);
    rfhe_json_number(&w, "images_per_second", r->images_per_second);
    rfhe_json_number(&w, "top1", tested_top1(j));
    if (j->tested.images > 0) {
        rfhe_json_number(&w, "top5", (double)j->tested.top5 / (double)j->tested.images);
    }
    rfhe_json_string(&w, "top1_split", j->tested.images > 0 ? j->test_split : "select");
    rfhe_json_integer(&w, "top1_images", (int64_t)(j->tested.images > 0 ? j->tested.images
                                                   : j->select.set != NULL ? j->select.source.images
                                                                           : 0));
    rfhe_json_number(&w, "select_top1", r->select_top1);
    rfhe_json_integer(&w, "stored_epoch", (int64_t)r->stored_epoch);
    rfhe_json_number(&w, "seconds", r->seconds);
    rfhe_json_integer(&w, "seed", (int64_t)j->cli->seed);
    rfhe_json_integer(&w, "threads", j->cli->threads);
    rfhe_json_integer(&w, "batch", j->batch);
    rfhe_json_string(&w, "dtype", j->train.compute == RFHE_COMPUTE_BF16 ? "bf16" : "f32");
    rfhe_json_string(&w, "augment", j->augmentation);
    rfhe_json_integer(&w, "parameters", (int64_t)j->parameters);
    rfhe_json_integer(&w, "training_images", (int64_t)j->fit.source.images);
    rfhe_json_integer(&w, "image_passes", (int64_t)r->images);
    rfhe_json_integer(&w, "continued_at_step", (int64_t)r->first_step);
    rfhe_json_integer(&w, "peak_rss_mib", (int64_t)(rfhe_peak_rss() >> 20));
    rfhe_json_object(&w, "step_seconds");
    rfhe_json_number(&w, "all", r->step_seconds);
    rfhe_json_number(&w, "wait_for_images", r->wait_seconds);
    rfhe_json_number(&w, "forward_and_loss", r->forward_seconds);
    rfhe_json_number(&w, "backward", r->backward_seconds);
    rfhe_json_number(&w, "update", r->update_seconds);
    rfhe_json_end_object(&w);
    rfhe_json_array(&w, "history");
    for (uint64_t i = 0; i < r->epochs; i++) {
        rfhe_json_object(&w, NULL);
        rfhe_json_integer(&w, "epoch", (int64_t)r->rows[i].epoch);
        rfhe_json_number(&w, "rate", r->rows[i].rate);
        rfhe_json_number(&w, "loss", r->rows[i].loss);
        rfhe_json_number(&w, "train_top1", r->rows[i].train_top1);
        rfhe_json_number(&w, "select_top1", r->rows[i].select_top1);
        rfhe_json_number(&w, "seconds", r->rows[i].seconds);
        rfhe_json_end_object(&w);
    }
    rfhe_json_end_array(&w);
    rfhe_json_end_object(&w);
}

static void write_text(const job *j)
{
    const rfhe_train_result *r = &j->result;
    rfhe_text *out = &j->cli->out;

    rfhe_text_printf(out, "%s: epoch %" PRIu64 " of %" PRIu64 "\n", j->output, r->stored_epoch, r->epochs);
    if (j->select.set != NULL) {
        rfhe_text_printf(out, "select  %.2f %% of %" PRIu64 " images (chosen by these)\n",
                         100 * r->select_top1, j->select.source.images);
    }
    if (j->tested.images > 0) {
        rfhe_text_printf(out, "%-7s %.2f %% of %" PRIu64 " images\n", j->test_split, 100 * tested_top1(j),
                         j->tested.images);
    }
    rfhe_text_printf(out, "time    %.1f s, %.0f images/s, %u threads, %s\n", r->seconds,
                     r->images_per_second, j->cli->threads,
                     j->train.compute == RFHE_COMPUTE_BF16 ? "bf16" : "f32");
}

/* --- The whole --- */

static rfhe_status work(job *j, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint64_t set_aside = 0;

    RFHE_TRY(read_options(j, err));
    RFHE_TRY(rfhe_images_split(&j->fit, &j->select, &set_aside, j->spec, j->args, j->batch, err));
    RFHE_TRY(open_network(j, err));
    RFHE_TRY(start_loaders(j, err));
    RFHE_TRY(write_identity(j));
    if (rfhe_args_has(j->args, "restart") && remove(j->checkpoint) != 0 && errno != ENOENT) {
        st = rfhe_fail(err, RFHE_E_IO, "cannot remove '%s': %s", j->checkpoint, strerror(errno));
        goto done;
    }
    if (rfhe_file_exists(j->checkpoint)) {
        rfhe_cli_note(j->cli, "continuing from %s", j->checkpoint);
    }
    j->train.on_epoch = tell_epoch;
    j->train.user = j;
    RFHE_TRY(rfhe_train(&j->result, j->net, &j->fit.source,
                        j->select.set != NULL ? &j->select.source : NULL, &j->train, err));
    RFHE_TRY(rfhe_onnx_write(j->net, j->output, err));
    if (strcmp(j->test_split, "none") != 0) { RFHE_TRY(test(j, err)); }
    (void)remove(j->checkpoint); /* the result is complete; a leftover would only be read again */

done:
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    job j = {.cli = cli,
             .args = args,
             .model = rfhe_args_at(args, 0),
             .spec = rfhe_args_text(args, "data", NULL),
             .output = rfhe_args_text(args, "output", NULL),
             .test_split = rfhe_args_text(args, "test-split", "test")};
    int code = 0;

    if (j.spec == NULL) { return rfhe_cli_usage(cli, "--data is missing"); }
    if (j.output == NULL) { return rfhe_cli_usage(cli, "--output is missing"); }
    const rfhe_status st = work(&j, &err);
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            write_json(&j);
        } else {
            write_text(&j);
        }
        code = rfhe_cli_finish(cli);
    }
    rfhe_train_result_clear(&j.result);
    rfhe_images_close(&j.fit);
    rfhe_images_close(&j.select);
    rfhe_images_close(&j.test);
    rfhe_graph_free(j.net);
    rfhe_graph_free(j.teacher);
    rfhe_text_clear(&j.identity);
    return code;
}

const rfhe_command rfhe_cmd_train = {
    .name = "train",
    .usage = "ARCHITECTURE|MODEL.onnx --data SPEC -o OUT.onnx [options]",
    .summary = "train a network, from scratch or further",
    .description =
        "Trains an architecture by name (resnet20, resnet32, resnet44, resnet56, resnet18, vgg16, lenet, fashion-cnn) "
        "from random weights, or a model file further, and writes the result with its preprocessing in the metadata.\n\n"
        "Part of the training images (--val-fraction) is set aside, class by class, to choose the epoch that is stored; "
        "the test images are looked at once, after everything is decided, and give the accuracy that is reported.\n\n"
        "The state is written beside the output as it goes. Interrupted, even by kill -9, and run again with the same "
        "options, the command continues, and with the same number of threads the result is the same bit for bit. "
        "Other options are refused until the checkpoint is removed or --restart given.",
    .example = "rfhe train resnet20 --data cifar10:data/cifar10 --epochs 80 --dtype bf16 -o resnet20.onnx",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
