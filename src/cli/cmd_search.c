/* rfhe search MODEL --data SPEC -o DIR: the frontier of accuracy and encrypted latency, a form per activation. */
#include "cli/args.h"
#include "cli/replace.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/calibration.h"
#include "cli/search_export.h"
#include "cli/search_page.h"
#include "rfhe/onnx.h"
#include "search/search.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char default_forms[] =
    "linear,even2,even4,even6,even8,even10,even14,f1g2,f2g2,f2g3,f1f1g1g1,alpha7,alpha10";

static const rfhe_opt options[] = {
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images to tune and choose on (required)"},
    {"output", 'o', RFHE_OPT_TEXT, "DIR", NULL, "folder of the search, made or continued (required)"},
    {"forms", 0, RFHE_OPT_TEXT, "F,F,...", NULL,
     "what an activation may become (default: linear, the paper's six and even ones of degree 2 to 14)"},
    {"budget", 0, RFHE_OPT_TEXT, "AMOUNT", NULL,
     "of training: a duration such as 10m or 6h, or images such as 500k (default: 0, none)"},
    {"max-drop", 0, RFHE_OPT_FLOAT, "POINTS", NULL, "recommend the fastest that loses at most so many points"},
    {"max-latency", 0, RFHE_OPT_TEXT, "TIME", NULL, "recommend within this time for one image, such as 10s"},
    {"memory", 0, RFHE_OPT_BYTES, "SIZE", NULL, "recommend within this memory of the server, such as 8GiB"},
    {"test", 0, RFHE_OPT_FLAG, NULL, NULL, "look at the test images at the end, once for each point"},
    {"select", 0, RFHE_OPT_UINT, "N", NULL, "images of the selection split to judge by (default: all)"},
    {"points", 0, RFHE_OPT_UINT, "N", NULL, "points of the predicted frontier to try (default: 24)"},
    {"probes", 0, RFHE_OPT_UINT, "N", NULL, "mixed assignments that check the predictions (default: 8)"},
    {"candidates", 0, RFHE_OPT_UINT, "N", NULL, "points that training begins with (default: 8)"},
    {"sense", 0, RFHE_OPT_UINT, "N", NULL, "images for sensitivities (default: 256)"},
    {"trust", 0, RFHE_OPT_FLOAT, "R", NULL,
     "rank correlation below which each choice is tried by itself (default: 0.8)"},
    {"server-threads", 0, RFHE_OPT_UINT, "N", NULL, "threads of the machine that will serve (default: 2)"},
    {"calibration", 0, RFHE_OPT_TEXT, "FILE", NULL,
     "times of that machine (default: what `rfhe bench calibrate` left, else built in)"},
    RFHE_OPTIONS_REPLACE,
    RFHE_OPTIONS_PREPROCESSING,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

enum { MAX_NAMES = RFHE_SEARCH_MAX_FORMS };

typedef struct finder {
    rfhe_cli *cli;
    const rfhe_args *args;
    rfhe_replace_job job;
    const char *folder;
    rfhe_store *store;
    rfhe_search *search;
    int64_t study;
    char *forms_text, hash[65];
    const char *forms[MAX_NAMES];
    size_t n_forms;
    rfhe_text settings;
    double budget_seconds;
    uint64_t budget_passes;
    bool trains_pools;
    rfhe_target target;
    rfhe_judgement *test; /* of every trial; images 0: not looked at. NULL without --test */
    size_t pick, nearest, uniform; /* trials: recommended, missing by least, the uniform one to compare with */
    rfhe_server server;
    rfhe_machine *calibration;
    rfhe_exported exported;
    double seconds;
} finder;

/* ---- options ---- */

static rfhe_status read_targets(finder *f, rfhe_error *err)
{
    static const rfhe_unit amounts[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"", 1}, {"k", 1e3}, {"M", 1e6}};
    static const rfhe_unit times[] = {{"s", 1}, {"ms", 1e-3}, {"m", 60}, {"h", 3600}, {"", 1}};
    const char *budget = rfhe_args_text(f->args, "budget", "0");
    const char *latency = rfhe_args_text(f->args, "max-latency", NULL);
    double v = 0;
    size_t unit = 0;

    if (!rfhe_args_parse_amount(budget, amounts, sizeof amounts / sizeof *amounts, &v, &unit)) {
        return rfhe_fail(err, RFHE_E_ARG, "--budget wants a duration such as 10m or images such as 500k, not '%s'", budget);
    }
    f->budget_seconds = unit < 3 ? v : 0;
    f->budget_passes = unit < 3 ? 0 : (uint64_t)v;
    if (latency != NULL &&
        !rfhe_args_parse_amount(latency, times, sizeof times / sizeof *times, &f->target.max_seconds, NULL)) {
        return rfhe_fail(err, RFHE_E_ARG, "--max-latency wants a time such as 10s, not '%s'", latency);
    }
    f->target.max_bytes = rfhe_args_float(f->args, "memory", 0);
    f->target.max_drop = rfhe_args_float(f->args, "max-drop", 0) / 100;
    if (!(f->target.max_drop >= 0)) { return rfhe_fail(err, RFHE_E_ARG, "--max-drop must not be below 0"); }
    return RFHE_OK;
}

static rfhe_status read_forms(finder *f, rfhe_error *err)
{
    const char *list = rfhe_args_text(f->args, "forms", default_forms);

    f->forms_text = rfhe_strdup(list);
    if (f->forms_text == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a list"); }
    for (char *at = f->forms_text; at != NULL;) {
        char *comma = strchr(at, ',');
        rfhe_paf p;
        if (comma != NULL) { *comma = '\0'; }
        const rfhe_status st = rfhe_paf_from_name(&p, at, err);
        if (st != RFHE_OK) { return st; }
        if (f->n_forms == MAX_NAMES) { return rfhe_fail(err, RFHE_E_ARG, "more than %d forms", MAX_NAMES); }
        f->forms[f->n_forms++] = at;
        at = comma != NULL ? comma + 1 : NULL;
    }
    return RFHE_OK;
}

static rfhe_status hash_model(finder *f, rfhe_error *err)
{
    rfhe_file_map map = {0};
    unsigned char digest[32];
    const rfhe_status st = rfhe_file_map_open(&map, f->job.model, err);

    if (st != RFHE_OK) { return st; }
    (void)crypto_generichash(digest, sizeof digest, map.data, map.size, NULL, 0);
    rfhe_file_map_close(&map);
    for (size_t i = 0; i < sizeof digest; i++) { (void)snprintf(f->hash + 2 * i, 3, "%02x", digest[i]); }
    return RFHE_OK;
}

/* ---- work ---- */

static void tell(void *user, const char *sentence)
{
    finder *f = user;

    if (f->cli->stderr_is_terminal) { rfhe_cli_note(f->cli, "%s", sentence); }
}

/* Trained pools make other networks of the same assignments, hence another study; once there is one, it goes on also without a
 * budget. */
static rfhe_status open_study(finder *f, rfhe_error *err)
{
    char trained[32];
    rfhe_study y = {.model_hash = f->hash,
                          .data = f->job.spec,
                          .settings = f->settings.data,
                          .pool = f->job.pool,
                          .seed = f->cli->seed,
                          .model = f->job.model,
                          .version = rfhe_version(),
                          .machine = rfhe_cpu_name(),
                          .isa = rfhe_isa_name(rfhe_cpu_isa()),
                          .threads = f->cli->threads};
    rfhe_status st = RFHE_OK;

    (void)snprintf(trained, sizeof trained, "%.20s, trained", f->job.pool);
    f->trains_pools = f->job.pools > 0;
    if (f->trains_pools) {
        y.pool = trained;
        if (f->budget_seconds <= 0 && f->budget_passes == 0) {
            RFHE_TRY(rfhe_store_has_trials(f->store, &f->trains_pools, &y, err));
            if (!f->trains_pools) { y.pool = f->job.pool; }
        }
    }
    RFHE_TRY(rfhe_store_study(f->store, &f->study, &y, err));

done:
    return st;
}

static rfhe_status search(finder *f, rfhe_error *err)
{
    const rfhe_replace_job *j = &f->job;
    const rfhe_search_world world = {.teacher = j->teacher,
                                     .base = j->base,
                                     .pools_replaced = j->pools > 0,
                                     .profile = &j->profile,
                                     .calibrate = &j->calibrate.source,
                                     .fit = &j->fit.source,
                                     .select = &j->select.source};
    const rfhe_search_options o = {.forms = f->forms,
                                   .n_forms = f->n_forms,
                                   .replace = j->replace,
                                   .oneshot = j->oneshot,
                                   .settings = f->settings.data,
                                   .seed = f->cli->seed,
                                   .server = f->server,
                                   .probes = (uint32_t)rfhe_args_uint(f->args, "probes", 0),
                                   .points = (uint32_t)rfhe_args_uint(f->args, "points", 0),
                                   .candidates = (uint32_t)rfhe_args_uint(f->args, "candidates", 0),
                                   .sense_images = rfhe_args_uint(f->args, "sense", 0),
                                   .trust = rfhe_args_float(f->args, "trust", 0),
                                   .headroom = j->headroom,
                                   .budget_seconds = f->budget_seconds,
                                   .budget_passes = f->budget_passes,
                                   .max_seconds = f->target.max_seconds,
                                   .train_pools = f->trains_pools,
                                   .progress = &f->cli->progress,
                                   .tell = tell,
                                   .user = f};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_search_new(&f->search, f->store, f->study, &world, &o, err));
    RFHE_TRY(rfhe_search_run(f->search, err));

done:
    return st;
}

/* ---- test images ---- */

static rfhe_status judge_one(finder *f, rfhe_images *images, const char *which, const rfhe_trial *t, rfhe_judgement *out,
                             rfhe_error *err)
{
    rfhe_graph *g = NULL;
    rfhe_exec *e = NULL;
    rfhe_loss_sums sums = {0};
    bool found = false;
    rfhe_status st = RFHE_OK;

    out->trial = t->id;
    RFHE_TRY(rfhe_store_judged(f->store, out, which, &found, err));
    if (found) { goto done; }
    RFHE_TRY(rfhe_search_network(&g, f->search, t, err));
    const rfhe_exec_options o = {.batch = images->source.batch};
    RFHE_TRY(rfhe_exec_new(&e, g, &o, err));
    RFHE_TRY(images->source.seek(images->source.user, 0, 0, err));
    RFHE_TRY(rfhe_evaluate(&sums, e, &images->source, &f->cli->progress, err));
    out->correct = sums.top1;
    out->images = sums.images;
    out->top1 = (double)sums.top1 / (double)sums.images;
    RFHE_TRY(rfhe_store_judge(f->store, out, which, err));

done:
    rfhe_exec_free(e);
    rfhe_graph_free(g);
    return st;
}

static rfhe_status judge_all(finder *f, rfhe_error *err)
{
    const rfhe_dataset_options some = {.limit = rfhe_args_uint(f->args, "limit", 0)};
    const char *spec = rfhe_args_text(f->args, "test-data", f->job.spec),
               *split = rfhe_args_text(f->args, "test-split", "test");
    rfhe_images images = {0};
    char which[600];
    size_t n = 0, n_front = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n);
    const size_t *front = rfhe_search_frontier(f->search, &n_front);
    rfhe_status st = RFHE_OK;

    f->test = rfhe_calloc(n + 1, sizeof *f->test);
    if (f->test == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for results"); }
    RFHE_TRY(rfhe_dataset_open(&images.set, spec, split, &some, err));
    (void)snprintf(which, sizeof which, "%.500s %.40s %zu", spec, split, rfhe_dataset_count(images.set));
    const rfhe_loader_options lo = {.batch = rfhe_network_batch(f->job.teacher, rfhe_dataset_count(images.set))};
    RFHE_TRY(rfhe_images_open(&images, images.set, &f->job.transform, &lo, err));
    for (size_t i = 0; i < n; i++) {
        bool wanted = i == f->pick || i == f->uniform || strcmp(t[i].recipe, "relu") == 0;
        for (size_t k = 0; k < n_front && !wanted; k++) { wanted = front[k] == i; }
        if (wanted) { RFHE_TRY(judge_one(f, &images, which, &t[i], &f->test[i], err)); }
    }
    RFHE_TRY(rfhe_store_put_note(f->store, f->study, "test", which, err));

done:
    rfhe_images_close(&images);
    return st;
}

/* ---- the recommendation ---- */

static rfhe_status note_trial(finder *f, const char *key, size_t i, rfhe_error *err)
{
    size_t n = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n);
    char id[32] = "";

    if (i != SIZE_MAX) { (void)snprintf(id, sizeof id, "%" PRId64, t[i].id); }
    return rfhe_store_put_note(f->store, f->study, key, id, err);
}

/* Without any wish: after training the fastest of the last rung that is as accurate as its best uniform network; without
 * training the fastest that loses at most RFHE_SEARCH_DROP, else the most accurate. */
static rfhe_status recommend(finder *f, rfhe_error *err)
{
    size_t n = 0, n_front = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n);
    const size_t *front = rfhe_search_frontier(f->search, &n_front);
    const double relu = rfhe_search_relu_top1(f->search);
    rfhe_target target = f->target;
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;

    const bool no_wish = !(target.max_drop > 0 || target.max_seconds > 0 || target.max_bytes > 0);
    if (no_wish) { target.max_drop = RFHE_SEARCH_DROP; }
    f->uniform = rfhe_best_uniform(&target, t, n, relu);
    size_t at = rfhe_target_pick(&target, t, front, n_front, relu);
    if (at == SIZE_MAX && no_wish) {
        const rfhe_target best = {0};
        at = rfhe_target_pick(&best, t, front, n_front, relu);
    }
    f->pick = at != SIZE_MAX ? front[at] : SIZE_MAX;
    if (no_wish && f->uniform != SIZE_MAX && t[f->uniform].rung > 0) { f->pick = rfhe_fastest_as_good(t, n, f->uniform); }
    at = rfhe_target_nearest(&target, t, front, n_front, relu);
    f->nearest = at != SIZE_MAX ? front[at] : SIZE_MAX;
    RFHE_TRY(note_trial(f, "recommended", f->pick, err));
    RFHE_TRY(note_trial(f, "best_uniform", f->uniform, err));
    if (f->pick == SIZE_MAX) { goto done; }
    RFHE_TRY(rfhe_search_network(&g, f->search, &t[f->pick], err));
    RFHE_TRY(rfhe_search_export(&f->exported, g, &t[f->pick], f->folder, &f->server, err));

done:
    rfhe_graph_free(g);
    return st;
}

static rfhe_status work(finder *f, rfhe_error *err)
{
    const double start = rfhe_now();
    rfhe_status st = RFHE_OK;

    RFHE_TRY(read_targets(f, err));
    RFHE_TRY(read_forms(f, err));
    RFHE_TRY(rfhe_replace_settings(&f->settings, &f->job));
    RFHE_TRY(hash_model(f, err));
    f->job.recipe = "oneshot";
    f->job.form = f->forms[0];
    f->job.select_limit = rfhe_args_uint(f->args, "select", 0);
    RFHE_TRY(rfhe_calibration_load(&f->calibration, &f->server.n, rfhe_args_text(f->args, "calibration", NULL), err));
    f->server.calibration = f->calibration;
    f->server.threads = (uint32_t)rfhe_args_uint(f->args, "server-threads", 2);
    RFHE_TRY(rfhe_store_open(&f->store, f->folder, true, err));
    RFHE_TRY(rfhe_replace_prepare(&f->job, true, err));
    RFHE_TRY(open_study(f, err));
    RFHE_TRY(search(f, err));
    RFHE_TRY(recommend(f, err));
    if (rfhe_args_has(f->args, "test")) { RFHE_TRY(judge_all(f, err)); }
    f->seconds = rfhe_now() - start;

done:
    return st;
}

/* ---- telling ---- */

static double standard_error(double p, uint64_t n)
{
    return n > 0 ? sqrt(p * (1 - p) / (double)n) : 0;
}

static void write_point(rfhe_json *w, const char *key, const finder *f, size_t i)
{
    size_t n = 0;
    const rfhe_trial *p = &rfhe_search_trials(f->search, &n)[i];

    rfhe_json_object(w, key);
    rfhe_json_integer(w, "trial", p->id);
    rfhe_json_string(w, "assignment", p->assignment);
    rfhe_json_string(w, "recipe", p->recipe);
    rfhe_json_integer(w, "rung", p->rung);
    rfhe_json_number(w, "top1", p->top1);
    rfhe_json_number(w, "stderr", standard_error(p->top1, p->images));
    rfhe_json_number(w, "drop", rfhe_search_relu_top1(f->search) - p->top1);
    if (f->test != NULL && f->test[i].images > 0) {
        rfhe_json_number(w, "test_top1", f->test[i].top1);
        rfhe_json_number(w, "test_stderr", standard_error(f->test[i].top1, f->test[i].images));
    }
    rfhe_json_number(w, "predicted_seconds", p->predicted_seconds);
    rfhe_json_integer(w, "relu_depth_max", p->depth);
    rfhe_json_number(w, "memory_mib", p->memory_bytes / 0x1p20);
    rfhe_json_string(w, "parameters", p->params);
    rfhe_json_integer(w, "log2_n", p->log2_n);
    rfhe_json_number(w, "harm", p->harm);
    rfhe_json_integer(w, "image_passes", (int64_t)p->image_passes);
    rfhe_json_end_object(w);
}

static void write_trust(rfhe_json *w, const finder *f)
{
    const rfhe_search_trust q = rfhe_search_get_trust(f->search);

    rfhe_json_object(w, "rank_correlation");
    rfhe_json_string(w, "used", q.uses_measured ? "measured" : "gradient");
    rfhe_json_integer(w, "trials", (int64_t)q.trials);
    rfhe_json_number(w, "gradient", q.gradient);
    rfhe_json_number(w, "measured", q.measured);
    rfhe_json_number(w, "gradient_cross_entropy", q.gradient_entropy);
    rfhe_json_number(w, "measured_cross_entropy", q.measured_entropy);
    rfhe_json_end_object(w);
}

/* The trial of that recipe and rung; NULL when there is none. */
static const rfhe_trial *find_trial(const finder *f, const char *recipe, uint32_t rung)
{
    size_t n = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(t[i].recipe, recipe) == 0 && t[i].rung == rung) { return &t[i]; }
    }
    return NULL;
}

/* Of the ReLU network; NaN without --test. */
static double relu_test_top1(const finder *f)
{
    size_t n = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n), *relu = find_trial(f, "relu", 0);

    return f->test != NULL && relu != NULL ? f->test[relu - t].top1 : NAN;
}

static void write_json(const finder *f)
{
    rfhe_json w = {.out = &f->cli->out};
    size_t n = 0, n_front = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n), *pools = find_trial(f, "pools", 0),
                     *tuned = find_trial(f, "pools", 1);
    const size_t *front = rfhe_search_frontier(f->search, &n_front);
    uint64_t passes = 0, attempts = 0;

    for (size_t i = 0; i < n; i++) {
        passes += t[i].image_passes;
        attempts += t[i].attempts;
    }
    rfhe_json_object(&w, NULL);
    rfhe_json_string(&w, "schema", "rfhe.search/1");
    rfhe_json_string(&w, "model", f->job.model);
    rfhe_json_string(&w, "model_hash", f->hash);
    rfhe_json_string(&w, "data", f->job.spec);
    rfhe_json_string(&w, "settings", f->settings.data);
    rfhe_json_string(&w, "output", f->folder);
    rfhe_json_integer(&w, "images", (int64_t)f->job.select.source.images);
    rfhe_json_number(&w, "relu_top1", rfhe_search_relu_top1(f->search));
    if (pools != NULL) { rfhe_json_number(&w, "pools_top1", pools->top1); }
    if (tuned != NULL) {
        rfhe_json_number(&w, "pools_trained_top1", tuned->top1);
        rfhe_json_integer(&w, "pools_image_passes", (int64_t)tuned->image_passes);
    }
    if (f->test != NULL) { rfhe_json_number(&w, "relu_test_top1", relu_test_top1(f)); }
    rfhe_json_integer(&w, "trials", (int64_t)n);
    rfhe_json_integer(&w, "attempts", (int64_t)attempts);
    write_trust(&w, f);
    rfhe_json_string(&w, "prices", rfhe_search_prices(f->search)->source);
    rfhe_json_array(&w, "frontier");
    for (size_t i = 0; i < n_front; i++) { write_point(&w, NULL, f, front[i]); }
    rfhe_json_end_array(&w);
    if (f->uniform != SIZE_MAX) { write_point(&w, "best_uniform", f, f->uniform); }
    if (f->pick != SIZE_MAX) {
        write_point(&w, "recommended", f, f->pick);
        rfhe_json_string(&w, "network", f->exported.network);
        const rfhe_exported *x = &f->exported;
        rfhe_json_string(&w, "program", x->program[0] != '\0' ? x->program : NULL);
        if (x->program[0] != '\0') {
            rfhe_json_object(&w, "bill");
            rfhe_json_string(&w, "parameters", x->params);
            rfhe_json_integer(&w, "log2_n", x->log2_n);
            rfhe_json_integer(&w, "refreshes", x->refreshes);
            rfhe_json_number(&w, "predicted_seconds", x->seconds);
            rfhe_json_number(&w, "memory_mib", x->memory_bytes / 0x1p20);
            rfhe_json_number(&w, "key_mib", x->key_bytes / 0x1p20);
            rfhe_json_end_object(&w);
        } else {
            rfhe_json_string(&w, "not_planned", x->why_not);
        }
    } else {
        rfhe_json_string(&w, "recommended", NULL);
        if (f->nearest != SIZE_MAX) { write_point(&w, "nearest", f, f->nearest); }
    }
    rfhe_json_integer(&w, "image_passes", (int64_t)passes);
    rfhe_json_number(&w, "seconds", f->seconds);
    rfhe_json_integer(&w, "seed", (int64_t)f->cli->seed);
    rfhe_json_integer(&w, "threads", f->cli->threads);
    rfhe_json_string(&w, "version", rfhe_version());
    rfhe_json_end_object(&w);
}

static void write_row(rfhe_text *out, const finder *f, size_t i, char mark)
{
    size_t n = 0;
    const rfhe_trial *p = &rfhe_search_trials(f->search, &n)[i];

    rfhe_text_printf(out, "%c %9.2f %8.2f %8.2f %6u %5.1f GiB %-8s ", mark, p->predicted_seconds, 100 * p->top1,
                     f->test != NULL ? 100 * f->test[i].top1 : 100 * (rfhe_search_relu_top1(f->search) - p->top1), p->depth,
                     p->memory_bytes / 0x1p30, p->recipe);
    rfhe_assignment_runs(out, p->assignment);
    rfhe_text_add(out, "\n");
}

static void write_text(const finder *f)
{
    rfhe_text *out = &f->cli->out;
    size_t n = 0, n_front = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n), *pools = find_trial(f, "pools", 0),
                     *tuned = find_trial(f, "pools", 1);
    const size_t *front = rfhe_search_frontier(f->search, &n_front);
    const rfhe_search_trust q = rfhe_search_get_trust(f->search);

    rfhe_text_printf(out, "ReLU %.2f %% of %" PRIu64 " images; %zu trials; predictions by %s rank them with %.2f; prices: %s\n",
                     100 * rfhe_search_relu_top1(f->search), f->job.select.source.images, n,
                     q.uses_measured ? "trying" : "gradient", q.uses_measured ? q.measured : q.gradient,
                     rfhe_search_prices(f->search)->source);
    if (pools != NULL) {
        rfhe_text_printf(out, "with ReLU and %s pooling, not trained: %.2f %%", f->job.pool, 100 * pools->top1);
        if (tuned != NULL) {
            rfhe_text_printf(out, "; trained on %" PRIu64 " images: %.2f %%", tuned->image_passes, 100 * tuned->top1);
        }
        rfhe_text_add(out, "\n");
    }
    rfhe_text_printf(out, "  %9s %8s %8s %6s %9s %-8s %s\n", "seconds", "top-1 %", f->test != NULL ? "test %" : "drop", "depth",
                     "memory", "recipe", "assignment");
    for (size_t i = 0; i < n_front; i++) { write_row(out, f, front[i], front[i] == f->pick ? '*' : ' '); }
    if (f->test != NULL) { rfhe_text_printf(out, "ReLU on test images: %.2f %%\n", 100 * relu_test_top1(f)); }
    if (f->uniform != SIZE_MAX && f->pick != SIZE_MAX && f->uniform != f->pick) {
        rfhe_text_printf(out, "recommended, and the best uniform assignment%s:\n",
                         t[f->uniform].rung > 0 ? " of the last rung" : "");
        write_row(out, f, f->pick, '*');
        write_row(out, f, f->uniform, ' ');
    }
    if (f->pick != SIZE_MAX) {
        rfhe_text_printf(out, "* recommended: %s%s%s\n", f->exported.network, f->exported.program[0] != '\0' ? ", " : "",
                         f->exported.program);
        if (f->exported.program[0] != '\0') {
            rfhe_text_printf(out, "  its bill: %s, %.2f s, %.1f GiB of which keys %.1f, %u refreshes\n", f->exported.params,
                             f->exported.seconds, f->exported.memory_bytes / 0x1p30, f->exported.key_bytes / 0x1p30,
                             f->exported.refreshes);
        } else {
            rfhe_text_printf(out, "  no program: %s\n", f->exported.why_not);
        }
    }
}

static int nothing_fits(finder *f)
{
    rfhe_error err = {0};
    size_t n = 0;
    const rfhe_trial *t = rfhe_search_trials(f->search, &n);

    if (f->nearest == SIZE_MAX) {
        return rfhe_cli_fail(f->cli, rfhe_fail(&err, RFHE_E_NUMERIC, "no trial gave a network"), &err);
    }
    const rfhe_trial *p = &t[f->nearest];
    return rfhe_cli_fail(f->cli,
                         rfhe_fail(&err, RFHE_E_NUMERIC,
                                   "nothing satisfies this; the nearest is trial %" PRId64 " with %.2f points lost, %.2f s and %.1f GiB",
                                   p->id, 100 * (rfhe_search_relu_top1(f->search) - p->top1), p->predicted_seconds,
                                   p->memory_bytes / 0x1p30),
                         &err);
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    int code = 0;
    finder f = {.cli = cli,
                .args = args,
                .folder = rfhe_args_text(args, "output", NULL),
                .pick = SIZE_MAX,
                .nearest = SIZE_MAX,
                .uniform = SIZE_MAX,
                .job = {.cli = cli,
                        .args = args,
                        .searching = true,
                        .model = rfhe_args_at(args, 0),
                        .spec = rfhe_args_text(args, "data", NULL),
                        .output = "",
                        .scale = "static",
                        .pool = rfhe_args_text(args, "pool", "average"),
                        .penalty = NAN}};

    if (f.job.spec == NULL) { return rfhe_cli_usage(cli, "--data is missing"); }
    if (f.folder == NULL) { return rfhe_cli_usage(cli, "--output is missing"); }
    if (!rfhe_args_has(args, "test") && (rfhe_args_has(args, "test-data") || rfhe_args_has(args, "test-split"))) {
        return rfhe_cli_usage(cli, "--test-data and --test-split want --test");
    }
    const rfhe_status st = work(&f, &err);
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            write_json(&f);
        } else {
            write_text(&f);
        }
        code = rfhe_cli_finish(cli);
        if (code == 0 && f.pick == SIZE_MAX) { code = nothing_fits(&f); }
    }
    rfhe_search_free(f.search);
    rfhe_store_close(f.store);
    rfhe_free(f.calibration);
    rfhe_replace_close(&f.job);
    rfhe_text_clear(&f.settings);
    rfhe_free(f.test);
    rfhe_free(f.forms_text);
    return code;
}

const rfhe_command rfhe_cmd_search = {
    .name = "search",
    .usage = "MODEL.onnx --data SPEC -o DIR [options]",
    .summary = "find the form for each activation: accuracy against encrypted latency",
    .description =
        "Finds the frontier of accuracy and latency: which polynomial for which activation, for every speed one may want. "
        "Each form is fitted to each activation (CT); one backward pass tells how much each choice would harm; the planner "
        "prices each form on each parameter set; dynamic programming finds all best assignments at once. Real trials on "
        "the selection split check the predictions, whose rank correlation is reported: where it is low, each choice is "
        "tried by itself. The form `linear` is offered where dropping an activation saves its refresh.\n\n"
        "With --budget, points of the frontier are trained by the one-shot recipe, and successive halving decides who gets "
        "more: half of the images go to the last rung, which ranks three or fewer; the rate grows with the cube root of a "
        "run's length. Points are those within --max-latency, and faster than the fastest network that is within a point of ReLU "
        "untrained, the best uniform form of each parameter set among them. Where maxima were replaced, a quarter of the budget first trains the network "
        "with ReLUs to live with that. The budget is that of the folder: run again with a larger one, the search goes on.\n\n"
        "--max-drop counts from the ReLU network on the selection split. Where that network was trained on those images too, "
        "every student loses there first; without --max-drop, --max-latency and --memory a search with training therefore "
        "recommends the fastest network of the last rung that is as accurate as its best uniform one, which was shown as "
        "many images.\n\n"
        "Every trial is a row of DIR/search.db. Killed at any moment and run again, the command continues; other --forms "
        "extend the search. Choices are made on training images set aside; test images are looked at with --test only, and "
        "never choose. The recommended network is written to DIR/recommended.onnx; `rfhe report DIR` makes a page of it "
        "all.",
    .example = "rfhe search resnet20.onnx --data cifar10:data/cifar10 -o search --max-drop 0.3\n"
               "rfhe search resnet20.onnx --data cifar10:data/cifar10 -o search --budget 6h --dtype bf16 --test",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
