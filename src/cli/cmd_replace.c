/* rfhe replace MODEL --form F --recipe R --data SPEC -o OUT: ReLU and MaxPool become polynomials. */
#include "cli/replace.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "rfhe/onnx.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"form", 'f', RFHE_OPT_TEXT, "F[,F...]", NULL,
     "one form for all activations, or one for each, or one and exceptions NODE=F; see `rfhe paf list` (default: even8)"},
    {"recipe", 'r', RFHE_OPT_CHOICE, "NAME",
     "direct|baseline|ct|at|pa|pa+at|ct+pa|ct+pa+at|oneshot", "how (default: oneshot)"},
    {"scale", 0, RFHE_OPT_CHOICE, "KIND", "static|dynamic",
     "fixed ranges, or the largest value of each batch, which a ciphertext cannot know (default: static)"},
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images to tune and train on, such as cifar10:DIR (required)"},
    {"output", 'o', RFHE_OPT_TEXT, "FILE", NULL, "where to write the network (required)"},
    {"checkpoint", 0, RFHE_OPT_TEXT, "FILE", NULL, "state to continue from (default: OUTPUT.checkpoint)"},
    {"restart", 0, RFHE_OPT_FLAG, NULL, NULL, "begin anew even if there is a checkpoint"},
    RFHE_OPTIONS_REPLACE,
    RFHE_OPTIONS_RECIPES,
    RFHE_OPTIONS_PREPROCESSING,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

typedef rfhe_replace_job job;


/* --- Options --- */

/* "NODE=F": form F for that activation alone. Before the network is known only the form is looked at. */
static rfhe_status read_exception(job *j, const char *node, const char *form, rfhe_error *err)
{
    const rfhe_graph *g = j->base;
    uint32_t at = 0, n = 0;
    bool found = g == NULL;

    for (uint32_t i = 0; g != NULL && i < g->n_nodes; i++) {
        if (!rfhe_method_is_activation(&g->nodes[i])) { continue; }
        if (strcmp(g->nodes[i].name, node) == 0) {
            found = true;
            at = n;
        }
        n++;
    }
    if (!found) { return rfhe_fail(err, RFHE_E_ARG, "the network has no activation '%.100s'", node); }
    if (n > RFHE_REPLACE_MAX_FORMS) {
        return rfhe_fail(err, RFHE_E_ARG, "more than %d activations", RFHE_REPLACE_MAX_FORMS);
    }
    for (; j->n_forms < n; j->n_forms++) { j->forms[j->n_forms] = j->forms[0]; }
    if (g != NULL) { j->forms[at] = form; }
    return RFHE_OK;
}

/* F, or F,F,...: one for each activation, or F,NODE=F,...: all but some. Called again when the network is known. */
static rfhe_status read_forms(job *j, rfhe_error *err)
{
    bool has_exceptions = false;

    rfhe_free(j->forms_text);
    j->n_forms = 0;
    j->forms_text = rfhe_strdup(j->form);
    if (j->forms_text == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a list of forms"); }
    for (char *at = j->forms_text; at != NULL;) {
        char *comma = strchr(at, ',');
        rfhe_paf p;
        if (comma != NULL) { *comma = '\0'; }
        char *const equals = strrchr(at, '=');
        rfhe_status st = rfhe_paf_from_name(&p, equals != NULL ? equals + 1 : at, err);
        if (st != RFHE_OK) { return st; }
        if (equals != NULL && (has_exceptions || j->n_forms == 1)) {
            *equals = '\0';
            has_exceptions = true;
            st = read_exception(j, at, equals + 1, err);
            if (st != RFHE_OK) { return st; }
        } else if (equals != NULL || has_exceptions) {
            return rfhe_fail(err, RFHE_E_ARG, "--form is one form, or one for each activation, or one and exceptions NODE=F");
        } else if (j->n_forms == RFHE_REPLACE_MAX_FORMS) {
            return rfhe_fail(err, RFHE_E_ARG, "more than %d forms", RFHE_REPLACE_MAX_FORMS);
        } else {
            j->forms[j->n_forms++] = at;
        }
        at = comma != NULL ? comma + 1 : NULL;
    }
    j->replace.forms = j->forms;
    j->replace.n_forms = j->n_forms;
    return RFHE_OK;
}

static void read_training(job *j)
{
    const rfhe_args *a = j->args;
    rfhe_train_options *o = &j->oneshot.train;
    const bool is_sgd = strcmp(rfhe_args_text(a, "optimizer", "sgd"), "sgd") == 0;
    const double coef_rate = rfhe_args_float(a, "coefficient-rate", 0.1);

    o->epochs = rfhe_args_uint(a, "epochs", 20);
    o->compute = j->compute;
    o->optim.kind = is_sgd ? RFHE_OPTIM_SGD : RFHE_OPTIM_ADAMW;
    o->optim.momentum = is_sgd ? 0.9 : 0;
    o->optim.nesterov = is_sgd;
    o->optim.group[RFHE_PARAM_WEIGHT].decay = rfhe_args_float(a, "weight-decay", is_sgd ? 0.0005 : 0.02);
    o->optim.group[RFHE_PARAM_PAF].rate_factor = coef_rate > 0 ? coef_rate : -1;
    o->rate = rfhe_args_float(a, "lr", is_sgd ? 0.03 : 0.001);
    o->schedule.kind = RFHE_SCHEDULE_ONECYCLE;
    o->schedule.rise = 0.2;
    o->loss.distill = rfhe_args_float(a, "distill", 0.9);
    o->loss.temperature = rfhe_args_float(a, "temperature", 2);
    o->clip = rfhe_args_float(a, "clip", 1);
    o->ema = rfhe_args_float(a, "ema", 0);
    o->recalibrate = o->ema > 0 ? rfhe_args_uint(a, "recalibrate", 50) : 0;
    o->checkpoint = j->checkpoint;
    o->seed = j->cli->seed;
    o->progress = &j->cli->progress;
    j->oneshot.penalty = rfhe_args_float(a, "penalty", 1);
    j->oneshot.growth = rfhe_args_float(a, "penalty-growth", 10);
    j->oneshot.range = rfhe_args_float(a, "penalty-from", 0.8);
    j->oneshot.ramp_epochs = rfhe_args_float(a, "ramp", 0.1 * (double)o->epochs);
    j->oneshot.release = rfhe_args_float(a, "release", 1);
    j->oneshot.open = rfhe_args_float(a, "open", 1.5);
    j->headroom = rfhe_args_float(a, "headroom", 1.05);
}

static void read_published(job *j)
{
    const rfhe_args *a = j->args;
    const char *progressive = strstr(j->recipe, "pa") != NULL ? "progressive" : "direct";

    j->pa = (rfhe_pa_options){
        .replace_progressively = strcmp(rfhe_args_text(a, "replacement", progressive), "direct") != 0,
        .train_progressively = strcmp(rfhe_args_text(a, "training", progressive), "direct") != 0,
        .alternate = strstr(j->recipe, "at") != NULL,
        .dynamic = j->dynamic,
        .faults = rfhe_args_has(a, "faults"),
        .epochs_per_group = rfhe_args_uint(a, "group-epochs", 20),
        .epoch_images = rfhe_args_uint(a, "group-images", 0),
        .coef_rate = 1e-4 * rfhe_args_float(a, "group-rate", 1),
        .block_rate = 1e-5 * rfhe_args_float(a, "group-rate", 1),
        .max_passes = rfhe_args_uint(a, "passes", 0),
        .compute = j->compute,
        .checkpoint = j->checkpoint,
        .progress = &j->cli->progress};
}

static rfhe_status read_options(job *j, rfhe_error *err)
{
    const rfhe_args *a = j->args;
    const uint64_t batch = rfhe_args_uint(a, "batch", 128), epochs = rfhe_args_uint(a, "epochs", 20);
    const bool oneshot = strcmp(j->recipe, "oneshot") == 0;
    const bool tuned = strncmp(j->recipe, "ct", 2) == 0 || oneshot;

    j->trains = strcmp(j->recipe, "direct") != 0 && strcmp(j->recipe, "ct") != 0;
    j->published = j->trains && !oneshot;
    j->dynamic = strcmp(j->scale, "dynamic") == 0;
    if (oneshot && j->dynamic) {
        return rfhe_fail(err, RFHE_E_ARG, "oneshot trains for the static scale it is deployed with");
    }
    if (batch == 0 || batch > 65536 || epochs == 0 || epochs > 1000000) {
        return rfhe_fail(err, RFHE_E_ARG, "--batch must be 1 to 65536, --epochs 1 to 1000000");
    }
    j->batch = (uint32_t)batch;
    j->compute = strcmp(rfhe_args_text(a, "dtype", "f32"), "bf16") == 0 ? RFHE_COMPUTE_BF16 : RFHE_COMPUTE_F32;
    const bool adam = strcmp(rfhe_args_text(a, "tuner", "lm"), "adam") == 0;
    const bool per_layer = strcmp(rfhe_args_text(a, "coefficients", "channel"), "layer") == 0;
    j->replace = (rfhe_replace_options){
        .tuning = !tuned ? RFHE_TUNE_NONE : adam ? RFHE_TUNE_ADAM : RFHE_TUNE_LM,
        .per_layer = per_layer,
        .layer_range = strcmp(rfhe_args_text(a, "range", "channel"), "layer") == 0,
        .margin = rfhe_args_float(a, "margin", oneshot ? 1.5 : 0),
        .sigmas = rfhe_args_float(a, "sigmas", j->dynamic ? -1 : 0),
        .tail = rfhe_args_float(a, "tail", 0),
        .seed = j->cli->seed};
    if (!(j->replace.margin >= 0)) { return rfhe_fail(err, RFHE_E_ARG, "--margin must not be below 0"); }
    read_training(j);
    read_published(j);
    return read_forms(j, err);
}

/* The order is part of the text, and studies are kept under it. A search has the pool as a key of its own, and chooses without
 * test images. */
rfhe_status rfhe_replace_settings(rfhe_text *out, const job *j)
{
    static const char *const names[] = {"pool",     "coefficients", "range", "tuner",     "optimizer",  "augment", "replacement",
                                        "training", "dtype",        "test-data", "test-split", "mean",    "std"};
    static const char *const numbers[] = {"margin",         "sigmas",   "tail",    "lr",           "coefficient-rate",
                                          "weight-decay",   "penalty",  "ramp",    "penalty-growth", "headroom",
                                          "distill",        "temperature", "clip", "ema",          "val-fraction",
                                          "penalty-from",   "release",  "open",    "group-rate"};
    static const char *const counts[] = {"calibrate", "epochs", "batch",  "recalibrate", "group-epochs", "group-images",
                                         "passes",    "limit",  "select", "sense",       "resize",       "crop"};
    const char *dashes = j->searching ? "--" : "", *is = j->searching ? " " : "=";
    const rfhe_args *a = j->args;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!rfhe_args_has(a, names[i])) { continue; }
        if (j->searching && (strcmp(names[i], "pool") == 0 || strncmp(names[i], "test-", 5) == 0)) { continue; }
        rfhe_text_printf(out, "%s%s%s%s ", dashes, names[i], is, rfhe_args_text(a, names[i], ""));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!rfhe_args_has(a, numbers[i])) { continue; }
        rfhe_text_printf(out, "%s%s%s%.12g ", dashes, numbers[i], is, rfhe_args_float(a, numbers[i], 0));
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (!rfhe_args_has(a, counts[i])) { continue; }
        rfhe_text_printf(out, "%s%s%s%" PRIu64 " ", dashes, counts[i], is, rfhe_args_uint(a, counts[i], 0));
    }
    if (rfhe_args_has(a, "faults")) { rfhe_text_add(out, "faults "); }
    rfhe_text_add(out, "");
    return rfhe_text_status(out);
}

/* --- Images --- */

/* Sets for fitting and choosing; the calibration images come from the fitting ones, as they are. */
static rfhe_status open_sets(job *j, rfhe_error *err)
{
    rfhe_dataset_options o = {.limit = rfhe_args_uint(j->args, "calibrate", 2000)};
    rfhe_status st = RFHE_OK;

    if (j->wants_training) {
        RFHE_TRY(rfhe_images_split(&j->fit, &j->select, &o.select_count, j->spec, j->args, j->batch, err));
        if (j->select_limit > 0 && j->select.set != NULL) {
            const rfhe_dataset_options few = {.limit = j->select_limit, .select_count = o.select_count};
            rfhe_dataset_close(j->select.set);
            j->select.set = NULL;
            RFHE_TRY(rfhe_dataset_open(&j->select.set, j->spec, "select", &few, err));
        }
    }
    RFHE_TRY(rfhe_dataset_open(&j->calibrate.set, j->spec, o.select_count > 0 ? "fit" : "train", &o, err));

done:
    return st;
}

static rfhe_status start_loader(job *j, rfhe_images *i, rfhe_error *err)
{
    const rfhe_loader_options o = {.batch = rfhe_network_batch(j->teacher, rfhe_dataset_count(i->set))};

    return rfhe_images_open(i, i->set, &j->transform, &o, err);
}

static rfhe_status start_loaders(job *j, rfhe_error *err)
{
    const char *split = rfhe_args_text(j->args, "test-split", "test");
    const rfhe_dataset_options some = {.limit = rfhe_args_uint(j->args, "limit", 0)};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_network_transform(&j->transform, j->teacher, j->calibrate.set, j->args, err));
    RFHE_TRY(start_loader(j, &j->calibrate, err));
    if (j->select.set != NULL) { RFHE_TRY(start_loader(j, &j->select, err)); }
    if (strcmp(split, "none") != 0 && !j->searching) {
        RFHE_TRY(rfhe_dataset_open(&j->test.set, rfhe_args_text(j->args, "test-data", j->spec), split, &some, err));
        RFHE_TRY(start_loader(j, &j->test, err));
    }
    if (j->wants_training) {
        const char *list = rfhe_args_text(j->args, "augment", rfhe_network_usual_augmentation(j->fit.set));
        RFHE_TRY(rfhe_images_start_training(&j->fit, &j->transform, j->batch, j->cli->seed, list, err));
        j->augmentation = list;
    }

done:
    return st;
}

/* --- Work --- */

/* On the test images, or where there are none on those to choose by. */
static rfhe_images *judges(job *j)
{
    return j->test.set != NULL ? &j->test : j->select.set != NULL ? &j->select : &j->calibrate;
}

static rfhe_status measure(job *j, rfhe_loss_sums *out, rfhe_graph *g, rfhe_error *err)
{
    const rfhe_images *images = judges(j);
    const rfhe_exec_options o = {.batch = images->source.batch};
    rfhe_paf_control control = {.dynamic = true};
    rfhe_exec *e = NULL;
    rfhe_status st = RFHE_OK;

    if (j->dynamic) { rfhe_paf_set_control(g, &control); }
    RFHE_TRY(rfhe_exec_new(&e, g, &o, err));
    RFHE_TRY(rfhe_evaluate(out, e, &images->source, &j->cli->progress, err));

done:
    rfhe_exec_free(e);
    if (j->dynamic) { rfhe_paf_set_control(g, NULL); }
    return st;
}

static void tell_epoch(void *user, const rfhe_train_epoch *r)
{
    const job *j = user;
    char select[48] = "";

    if (!isnan(r->select_top1)) { (void)snprintf(select, sizeof select, "  select %.2f %%", 100 * r->select_top1); }
    rfhe_cli_note(j->cli, "epoch %3" PRIu64 "/%" PRIu64 "  rate %.4g  loss %.4f  train %.2f %%%s  %.0f images/s",
                  r->epoch, j->oneshot.train.epochs, r->rate, r->loss, 100 * r->train_top1, select,
                  r->seconds > 0 ? (double)j->fit.source.images / r->seconds : 0);
}

static void tell_group(void *user, const rfhe_pa_row *r)
{
    static const char *const modes[] = {"coefficients", "block", "both"}, *const kept[] = {"old", "epoch", "average"};
    const job *j = user;

    rfhe_cli_note(j->cli, "unit %3" PRIu32 "  %-12s  best epoch %2" PRIu64 " %.2f %%  average %.2f %%  kept %s: %.2f %%",
                  r->unit + 1, modes[r->mode], r->epoch + 1, 100 * r->best_epoch, 100 * r->average, kept[r->keep],
                  100 * r->best);
}

/* One of the published recipes; with a dynamic scale also what a static one makes of the result. */
static rfhe_status run_published(job *j, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_profile seen = {0};
    rfhe_paf_control control = {.dynamic = true};

    j->pa.identity = j->identity.data;
    j->pa.on_group = tell_group;
    j->pa.user = j;
    RFHE_TRY(rfhe_method_progressive(&j->groups, j->net, &j->profile, &j->replace, &j->fit.source,
                                     j->select.set != NULL ? &j->select.source : NULL, &j->pa, err));
    j->image_passes += j->groups.images;
    j->trained.select_top1 = j->groups.select_top1;
    if (j->dynamic) {
        rfhe_paf_set_control(j->net, &control);
        st = rfhe_profile_collect(&seen, j->net, &j->calibrate.source, 0, RFHE_COMPUTE_F32, &j->cli->progress, err);
        rfhe_paf_set_control(j->net, NULL);
        if (st == RFHE_OK) { st = rfhe_method_fix_scales(j->net, &seen, 1.0, err); }
    }

done:
    rfhe_profile_clear(&seen);
    return st;
}

static rfhe_status overflow(job *j, rfhe_overflow **rows, uint64_t *beyond, rfhe_error *err)
{
    return rfhe_method_overflow(rows, &j->n_overflow, beyond, j->net, &judges(j)->source, RFHE_COMPUTE_F32,
                                &j->cli->progress, err);
}

static rfhe_status train(job *j, bool quick, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_profile seen = {0};
    rfhe_train_options *o = &j->oneshot.train;

    rfhe_text_clear(&j->identity);
    rfhe_text_printf(&j->identity, "augmentation=%s\n", j->augmentation);
    rfhe_text_printf(&j->identity, "model=%s\ndata=%s\nform=%s\npool=%s\ncalibrate=%" PRIu64 "\n", j->model, j->spec,
                     j->form, j->pool, j->calibrate.source.images);
    rfhe_text_printf(&j->identity, "margin=%.17g\nsigmas=%.17g\nper layer=%d,%d\ntail=%.17g\ntuning=%d\n",
                     j->replace.margin, j->replace.sigmas, j->replace.per_layer, j->replace.layer_range,
                     j->replace.tail, (int)j->replace.tuning);
    rfhe_text_printf(&j->identity, "penalty=%.17g\npenalty growth=%.17g\npenalty from=%.17g\nramp=%.17g\nrelease=%.17g, %.17g\n",
                     j->oneshot.penalty, j->oneshot.growth, j->oneshot.range, j->oneshot.ramp_epochs,
                     j->oneshot.release, j->oneshot.open);
    rfhe_text_printf(&j->identity, "recipe=%s\nseed=%" PRIu64 "\n", j->recipe, j->cli->seed);
    RFHE_TRY(rfhe_text_status(&j->identity));
    if (j->published) { return run_published(j, err); }
    o->identity = j->identity.data;
    o->on_epoch = tell_epoch;
    o->user = j;
    RFHE_TRY(rfhe_method_oneshot(&j->trained, &j->penalty, j->net, j->teacher, &j->fit.source,
                                 j->select.set != NULL ? &j->select.source : NULL, &j->oneshot, err));
    j->image_passes += j->trained.images;
    if (j->headroom > 0) {
        if (!quick) { RFHE_TRY(overflow(j, &j->overflow_trained, &j->beyond_trained, err)); }
        rfhe_error refused = {0};
        st = rfhe_profile_collect(&seen, j->net, &j->calibrate.source, 0, RFHE_COMPUTE_F32, &j->cli->progress, &refused);
        if (st == RFHE_E_NUMERIC) { /* an image diverges: no range is wide enough */
            rfhe_cli_note(j->cli, "ranges stay as trained: %s", refused.text);
            st = RFHE_OK;
            goto done;
        }
        if (st != RFHE_OK) {
            st = rfhe_fail(err, st, "%s", refused.text);
            goto done;
        }
        j->image_passes += seen.images;
        RFHE_TRY(rfhe_method_widen(j->net, &seen, j->headroom, &j->widened, err));
    }

done:
    rfhe_profile_clear(&seen);
    return st;
}

rfhe_status rfhe_replace_prepare(rfhe_replace_job *j, bool wants_training, rfhe_error *err)
{
    static const char *const modes[] = {"average", "conv", "max", "keep"};
    rfhe_pool_mode mode = RFHE_POOL_AVERAGE;
    rfhe_status st = RFHE_OK;

    j->wants_training = wants_training;
    RFHE_TRY(read_options(j, err));
    RFHE_TRY(rfhe_network_open(&j->teacher, j->model, err));
    RFHE_TRY(open_sets(j, err));
    RFHE_TRY(start_loaders(j, err));
    RFHE_TRY(rfhe_graph_clone(&j->base, j->teacher));
    RFHE_TRY(rfhe_network_set_metadata(j->base, &j->transform, j->calibrate.set));
    for (int i = 0; i < 4; i++) {
        if (strcmp(j->pool, modes[i]) == 0) { mode = (rfhe_pool_mode)i; }
    }
    RFHE_TRY(rfhe_method_pools(j->base, mode, &j->pools, err));
    RFHE_TRY(read_forms(j, err));
    const bool dynamic = j->dynamic;
    j->dynamic = false;
    if (!j->searching) { RFHE_TRY(measure(j, &j->before, j->teacher, err)); }
    j->dynamic = dynamic;
    RFHE_TRY(rfhe_profile_collect(&j->profile, j->base, &j->calibrate.source, 0, RFHE_COMPUTE_F32, &j->cli->progress,
                                  err));

done:
    return st;
}

rfhe_status rfhe_replace_once(rfhe_replace_job *j, bool quick, rfhe_error *err)
{
    const double start = rfhe_now();
    rfhe_status st = RFHE_OK;

    RFHE_TRY(read_options(j, err));
    j->image_passes = j->profile.images;
    RFHE_TRY(rfhe_graph_clone(&j->net, j->base));
    RFHE_TRY(rfhe_method_replace(&j->report, j->net, &j->profile, &j->replace, err));
    rfhe_cli_note(j->cli, "%zu activations replaced, deepest %u; fits %.2f s", j->report.n, j->report.depth_max,
                  j->report.fit_seconds);
    if (!j->published) { RFHE_TRY(rfhe_method_merge(j->net, &j->report, &j->merged, err)); }
    if (!j->trains || !quick) {
        RFHE_TRY(measure(j, &j->tuned, j->net, err));
        if (!j->dynamic && !quick) { RFHE_TRY(overflow(j, &j->overflow_tuned, &j->beyond_tuned, err)); }
    }
    j->after = j->tuned;
    if (j->trains) {
        if (!quick) {
            rfhe_cli_note(j->cli, "before training: %.2f %% (ReLU %.2f %%)", 100 * rfhe_replace_top1(&j->tuned),
                          100 * rfhe_replace_top1(&j->before));
        }
        if (j->published) {
            rfhe_graph_free(j->net);
            j->net = NULL;
            RFHE_TRY(rfhe_graph_clone(&j->net, j->base));
        }
        RFHE_TRY(train(j, quick, err));
        RFHE_TRY(measure(j, &j->after, j->net, err));
        if (j->dynamic) {
            j->dynamic = false;
            RFHE_TRY(measure(j, &j->fixed, j->net, err));
            j->dynamic = true;
        }
        if (!quick) { RFHE_TRY(overflow(j, &j->overflow_after, &j->beyond_after, err)); }
    }
    RFHE_TRY(rfhe_method_depth(&j->depth, j->net, err));
    j->seconds = rfhe_now() - start;

done:
    return st;
}

void rfhe_replace_forget(rfhe_replace_job *j)
{
    rfhe_train_result_clear(&j->trained);
    rfhe_free(j->groups.rows);
    rfhe_free(j->report.row);
    rfhe_free(j->overflow_tuned);
    rfhe_free(j->overflow_trained);
    rfhe_free(j->overflow_after);
    rfhe_graph_free(j->net);
    j->groups = (rfhe_pa_result){0};
    j->report = (rfhe_replace_report){0};
    j->overflow_tuned = j->overflow_trained = j->overflow_after = NULL;
    j->widened = 0;
    j->merged = 0;
    j->net = NULL;
    j->n_overflow = 0;
    j->tuned = j->after = j->fixed = (rfhe_loss_sums){0};
    j->penalty = NAN;
}

void rfhe_replace_close(rfhe_replace_job *j)
{
    rfhe_replace_forget(j);
    rfhe_profile_clear(&j->profile);
    rfhe_free(j->forms_text);
    rfhe_text_clear(&j->identity);
    rfhe_images_close(&j->calibrate);
    rfhe_images_close(&j->fit);
    rfhe_images_close(&j->select);
    rfhe_images_close(&j->test);
    rfhe_graph_free(j->base);
    rfhe_graph_free(j->teacher);
}

static rfhe_status work(job *j, rfhe_error *err)
{
    const double start = rfhe_now();
    const char *checkpoint = rfhe_args_text(j->args, "checkpoint", NULL);
    const bool trains = strcmp(j->recipe, "direct") != 0 && strcmp(j->recipe, "ct") != 0;
    rfhe_status st = RFHE_OK;

    const int n = checkpoint != NULL ? snprintf(j->checkpoint, sizeof j->checkpoint, "%s", checkpoint)
                                     : snprintf(j->checkpoint, sizeof j->checkpoint, "%s.checkpoint", j->output);
    if (n < 0 || (size_t)n >= sizeof j->checkpoint) {
        return rfhe_fail(err, RFHE_E_ARG, "the name of the checkpoint is too long");
    }
    if (rfhe_args_has(j->args, "restart") && remove(j->checkpoint) != 0 && errno != ENOENT) {
        return rfhe_fail(err, RFHE_E_IO, "cannot remove '%s': %s", j->checkpoint, strerror(errno));
    }
    RFHE_TRY(rfhe_replace_prepare(j, trains, err));
    RFHE_TRY(rfhe_replace_once(j, false, err));
    RFHE_TRY(rfhe_onnx_write(j->net, j->output, err));
    if (j->trains) { (void)remove(j->checkpoint); }
    j->seconds = rfhe_now() - start;

done:
    return st;
}

/* --- Telling --- */

/* The row of that activation; NULL when there is none, as for one that was merged. */
static const rfhe_overflow *overflow_of(const rfhe_overflow *rows, size_t n, const char *node)
{
    for (size_t i = 0; rows != NULL && i < n; i++) {
        if (strcmp(rows[i].node, node) == 0) { return &rows[i]; }
    }
    return NULL;
}

double rfhe_replace_stderr(const rfhe_loss_sums *s)
{
    const double p = rfhe_replace_top1(s);

    return s->images > 0 ? sqrt(p * (1 - p) / (double)s->images) : 0;
}

static void write_layers(const job *j, rfhe_json *w)
{
    rfhe_json_array(w, "layers");
    for (size_t i = 0; i < j->report.n; i++) {
        const rfhe_replace_row *r = &j->report.row[i];
        rfhe_json_object(w, NULL);
        rfhe_json_string(w, "node", r->node);
        rfhe_json_string(w, "form", r->form);
        rfhe_json_integer(w, "channels", (int64_t)r->channels);
        rfhe_json_integer(w, "sets", (int64_t)r->sets);
        rfhe_json_integer(w, "depth", r->depth);
        rfhe_json_integer(w, "products", r->products);
        rfhe_json_number(w, "scale_min", r->scale_lo);
        rfhe_json_number(w, "scale_max", r->scale_hi);
        rfhe_json_number(w, "sigma", r->sigma);
        rfhe_json_number(w, "fit_error_before", r->relative_before);
        rfhe_json_number(w, "fit_error_after", r->relative_after);
        rfhe_json_bool(w, "merged", r->merged);
        const rfhe_overflow *o = overflow_of(j->overflow_tuned, j->n_overflow, r->node);
        if (o != NULL) {
            rfhe_json_number(w, "overflow_before", (double)o->beyond / (double)o->images);
            rfhe_json_number(w, "overflow_worst_before", o->worst);
        }
        o = overflow_of(j->overflow_trained, j->n_overflow, r->node);
        if (o != NULL) {
            rfhe_json_number(w, "overflow_trained", (double)o->beyond / (double)o->images);
            rfhe_json_number(w, "overflow_worst_trained", o->worst);
        }
        o = overflow_of(j->overflow_after, j->n_overflow, r->node);
        if (o != NULL) {
            rfhe_json_number(w, "overflow_after", (double)o->beyond / (double)o->images);
            rfhe_json_number(w, "overflow_values_after", o->share);
            rfhe_json_number(w, "overflow_worst_after", o->worst);
        }
        rfhe_json_end_object(w);
    }
    rfhe_json_end_array(w);
}

static void write_json(const job *j)
{
    rfhe_json w = {.out = &j->cli->out};

    rfhe_json_object(&w, NULL);
    rfhe_json_string(&w, "schema", "rfhe.replace/1");
    rfhe_json_string(&w, "model", j->model);
    rfhe_json_string(&w, "data", j->spec);
    rfhe_json_string(&w, "output", j->output);
    rfhe_json_string(&w, "form", j->form);
    rfhe_json_string(&w, "recipe", j->recipe);
    rfhe_json_string(&w, "scale", j->scale);
    rfhe_json_string(&w, "pool", j->pool);
    rfhe_json_integer(&w, "relu_depth", j->depth);
    rfhe_json_integer(&w, "activations", (int64_t)j->report.n);
    rfhe_json_integer(&w, "merged", j->merged);
    rfhe_json_integer(&w, "images", (int64_t)j->after.images);
    rfhe_json_number(&w, "top1_before", rfhe_replace_top1(&j->before));
    rfhe_json_number(&w, "top1_tuned", rfhe_replace_top1(&j->tuned));
    rfhe_json_number(&w, "top1_after", rfhe_replace_top1(&j->after));
    rfhe_json_number(&w, "stderr", rfhe_replace_stderr(&j->after));
    rfhe_json_string(&w, "judged_on", j->test.set != NULL ? "test" : j->select.set != NULL ? "select" : "calibration");
    if (j->trains) {
        rfhe_json_number(&w, "select_top1", j->trained.select_top1);
        if (j->published) {
            rfhe_json_integer(&w, "groups", (int64_t)j->groups.groups);
            if (j->dynamic) { rfhe_json_number(&w, "top1_static", rfhe_replace_top1(&j->fixed)); }
        } else {
            rfhe_json_integer(&w, "epochs", (int64_t)j->trained.epochs);
            rfhe_json_integer(&w, "stored_epoch", (int64_t)j->trained.stored_epoch);
            rfhe_json_number(&w, "images_per_second", j->trained.images_per_second);
            rfhe_json_number(&w, "penalty", j->penalty);
            rfhe_json_number(&w, "headroom", j->headroom);
            rfhe_json_integer(&w, "ranges_widened", (int64_t)j->widened);
            if (j->overflow_trained != NULL) {
                rfhe_json_number(&w, "images_beyond_trained_range",
                                 (double)j->beyond_trained / (double)j->after.images);
            }
        }
        rfhe_json_number(&w, "images_beyond_range", (double)j->beyond_after / (double)j->after.images);
    }
    if (!j->dynamic) {
        rfhe_json_number(&w, "images_beyond_range_before", (double)j->beyond_tuned / (double)j->tuned.images);
    }
    rfhe_json_integer(&w, "calibration_images", (int64_t)j->profile.images);
    rfhe_json_integer(&w, "image_passes", (int64_t)j->image_passes);
    rfhe_json_number(&w, "profile_seconds", j->profile.seconds);
    rfhe_json_number(&w, "fit_seconds", j->report.fit_seconds);
    rfhe_json_number(&w, "seconds", j->seconds);
    rfhe_json_integer(&w, "seed", (int64_t)j->cli->seed);
    rfhe_json_integer(&w, "threads", j->cli->threads);
    rfhe_json_string(&w, "dtype", j->compute == RFHE_COMPUTE_BF16 ? "bf16" : "f32");
    write_layers(j, &w);
    rfhe_json_end_object(&w);
}

static void write_text(const job *j)
{
    rfhe_text *out = &j->cli->out;

    rfhe_text_printf(out, "%-28s %-10s %5s %8s %10s %8s %8s %9s\n", "activation", "form", "depth", "channels", "range",
                     "range/sd", "fit", "beyond");
    for (size_t i = 0; i < j->report.n; i++) {
        const rfhe_replace_row *r = &j->report.row[i];
        const rfhe_overflow *o = overflow_of(j->overflow_after != NULL ? j->overflow_after : j->overflow_tuned,
                                             j->n_overflow, r->node);
        char beyond[24] = "-";
        if (r->merged) { (void)snprintf(beyond, sizeof beyond, "merged"); }
        if (o != NULL && o->images > 0) {
            (void)snprintf(beyond, sizeof beyond, "%.2f %%", 100 * (double)o->beyond / (double)o->images);
        }
        rfhe_text_printf(out, "%-28.28s %-10s %5u %8zu %10.3g %8.2f %8.4f %9s\n", r->node, r->form, r->depth,
                         r->channels, r->scale_hi, r->sigma > 0 ? r->scale_hi / r->sigma : 0, r->relative_after, beyond);
    }
    rfhe_text_printf(out, "ReLU    %.2f %% of %" PRIu64 " images\n", 100 * rfhe_replace_top1(&j->before), j->before.images);
    if (j->trains) { rfhe_text_printf(out, "tuned   %.2f %%\n", 100 * rfhe_replace_top1(&j->tuned)); }
    rfhe_text_printf(out, "now     %.2f %% (standard error %.2f), %s scale, depth %u\n", 100 * rfhe_replace_top1(&j->after),
                     100 * rfhe_replace_stderr(&j->after), j->scale, j->depth);
    rfhe_text_printf(out, "cost    %" PRIu64 " image passes, fits %.2f s, all %.1f s\n", j->image_passes,
                     j->report.fit_seconds, j->seconds);
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    job j = {.cli = cli,
             .args = args,
             .model = rfhe_args_at(args, 0),
             .spec = rfhe_args_text(args, "data", NULL),
             .output = rfhe_args_text(args, "output", NULL),
             .recipe = rfhe_args_text(args, "recipe", "oneshot"),
             .form = rfhe_args_text(args, "form", "even8"),
             .scale = rfhe_args_text(args, "scale", "static"),
             .pool = rfhe_args_text(args, "pool", "average"),
             .penalty = NAN};
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
    rfhe_replace_close(&j);
    return code;
}

const rfhe_command rfhe_cmd_replace = {
    .name = "replace",
    .usage = "MODEL.onnx --data SPEC -o OUT.onnx [options]",
    .summary = "replace ReLU and MaxPool by polynomials and keep the accuracy",
    .description =
        "Replaces every ReLU by a polynomial (a PAF, see `rfhe paf list`) and every MaxPool by an average, a convolution "
        "or a tree of comparisons, so that the network can run on encrypted images.\n\n"
        "Recipes: `direct` takes the form's own coefficients; `ct` fits them to the values that calibration images "
        "produce, by channel, in seconds and without training; `oneshot` then trains the network for --epochs with all "
        "polynomials in place: they fade in from ReLU, a penalty keeps values inside their ranges, and the ReLU network "
        "teaches. `baseline`, `at`, `pa` and their combinations with `ct` are the published recipes: groups of epochs "
        "that train coefficients and layers in turn (at), activation after activation (pa), as long as that helps; "
        "--faults repeats the mistakes of their released code.\n\n"
        "Activations of the form `linear` are dropped: the line and the two convolutions around it become one convolution "
        "before training, where nothing but BatchNormalization is in between; that saves a refresh of the encrypted "
        "network. At the border the merged convolution differs, which training makes up for. Published recipes that train "
        "do not merge; a line that is not merged is a polynomial like others.\n\n"
        "Training images set aside (--val-fraction) choose the epoch that is stored; test images are looked at for the "
        "report only. The output is standard ONNX: each polynomial is a chain of Mul, Add and Sub, described in the "
        "metadata under rfhe.paf.N. Interrupted, and run again with the same options, the command continues.",
    .example = "rfhe replace resnet20.onnx --form even4 --data cifar10:data/cifar10 --epochs 20 --dtype bf16 -o d2.onnx\n"
               "rfhe replace resnet20.onnx --form even4,layer1.0.relu1=linear,layer3.2.relu1=linear --data cifar10:data/cifar10 -o m2.onnx\n"
               "rfhe replace resnet20.onnx --form f1f1g1g1 --recipe ct --data cifar10:data/cifar10 -o ct.onnx --json",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
