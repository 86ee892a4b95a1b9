/* See search_page.h: reading the store, and the two plain renderings. */
#include "cli/search_page.h"

#include "base/mem.h"
#include "search/frontier.h"

#include <inttypes.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- assignments ---- */

void rfhe_assignment_form(char out[32], const char *assignment, size_t l)
{
    const char *at = assignment;

    for (; l > 0 && *at != '\0'; l--) {
        at += strcspn(at, ",");
        at += *at == ',';
    }
    (void)snprintf(out, 32, "%.*s", (int)(strcspn(at, ",") < 31 ? strcspn(at, ",") : 31), at);
}

void rfhe_assignment_runs(rfhe_text *out, const char *assignment)
{
    const char *at = assignment;

    while (*at != '\0') {
        const size_t n = strcspn(at, ",");
        const char *next = at;
        unsigned count = 0;
        while (*next != '\0' && strncmp(next, at, n) == 0 && strcspn(next, ",") == n) {
            count++;
            next += n;
            next += *next == ',';
        }
        rfhe_text_printf(out, "%s%.*s", at == assignment ? "" : ", ", (int)n, at);
        if (count > 1) { rfhe_text_printf(out, " x%u", count); }
        at = next;
    }
}

/* ---- reading ---- */

static rfhe_status find_frontier(rfhe_search_record *r, rfhe_error *err)
{
    const size_t n = r->n_trials;
    double *seconds = rfhe_alloc(2 * n + 1, sizeof *seconds), *top1 = seconds + n;
    bool *on = rfhe_alloc(n + 1, sizeof *on);

    r->front = rfhe_alloc(n + 1, sizeof *r->front);
    if (seconds == NULL || on == NULL || r->front == NULL) {
        rfhe_free(seconds);
        rfhe_free(on);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu trials", n);
    }
    for (size_t i = 0; i < n; i++) {
        const rfhe_trial *t = &r->trial[i];
        const bool counts = strcmp(t->status, "done") == 0 &&
                            (strcmp(t->recipe, "ct") == 0 || strcmp(t->recipe, "oneshot") == 0);
        seconds[i] = counts ? t->predicted_seconds : NAN;
        top1[i] = counts ? t->top1 : NAN;
        if (strcmp(t->recipe, "relu") == 0 && strcmp(t->status, "done") == 0) { r->relu = i; }
    }
    rfhe_frontier_mark(on, seconds, top1, n);
    for (size_t i = 0; i < n; i++) {
        size_t at = r->n_front;
        if (!on[i]) { continue; }
        for (; at > 0 && seconds[r->front[at - 1]] > seconds[i]; at--) { r->front[at] = r->front[at - 1]; }
        r->front[at] = i;
        r->n_front++;
    }
    rfhe_free(seconds);
    rfhe_free(on);
    return RFHE_OK;
}

/* The trial whose id a note holds; *at stays where there is none. */
static rfhe_status read_noted_trial(size_t *at, const rfhe_search_record *r, rfhe_store *s, int64_t study, const char *key,
                                    rfhe_error *err)
{
    char *text = NULL;
    const rfhe_status st = rfhe_store_get_note(s, study, key, &text, err);

    for (size_t i = 0; text != NULL && i < r->n_trials; i++) {
        if (r->trial[i].id == strtoll(text, NULL, 10)) { *at = i; }
    }
    rfhe_free(text);
    return st;
}

/* Notes that the search left; what is missing stays unknown. */
static rfhe_status read_notes(rfhe_search_record *r, rfhe_store *s, int64_t study, rfhe_error *err)
{
    char *text = NULL;
    rfhe_status st = RFHE_OK;

    r->gradient = r->measured = r->gradient_entropy = r->measured_entropy = NAN;
    RFHE_TRY(rfhe_store_get_note(s, study, "rank_correlation", &text, err));
    if (text != NULL) {
        char *at = text;
        double *const out[] = {&r->gradient, &r->measured, &r->gradient_entropy, &r->measured_entropy};
        for (size_t i = 0; i < 4; i++) { *out[i] = strtod(at, &at); }
        r->uses_measured = strtod(at, &at) > 0;
    }
    rfhe_free(text);
    text = NULL;
    RFHE_TRY(rfhe_store_get_note(s, study, "prices", &text, err));
    (void)snprintf(r->prices, sizeof r->prices, "%s", text != NULL ? text : "");
    rfhe_free(text);
    text = NULL;
    RFHE_TRY(read_noted_trial(&r->recommended, r, s, study, "recommended", err));
    RFHE_TRY(read_noted_trial(&r->best_uniform, r, s, study, "best_uniform", err));

done:
    rfhe_free(text);
    return st;
}

/* The images a store was judged on last are those of the note "test". */
static rfhe_status read_judgements(rfhe_search_record *r, rfhe_store *s, int64_t study, rfhe_error *err)
{
    char *images = NULL;
    rfhe_status st = RFHE_OK;

    r->judged = rfhe_calloc(r->n_trials + 1, sizeof *r->judged);
    if (r->judged == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for results"); }
    RFHE_TRY(rfhe_store_get_note(s, study, "test", &images, err));
    for (size_t i = 0; images != NULL && i < r->n_trials; i++) {
        bool found = false;
        r->judged[i].trial = r->trial[i].id;
        RFHE_TRY(rfhe_store_judged(s, &r->judged[i], images, &found, err));
    }

done:
    rfhe_free(images);
    return st;
}

static rfhe_status read_ablation(rfhe_search_record *r, const char *path, rfhe_error *err)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    size_t capacity = 0;
    rfhe_status st = RFHE_OK;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db,
                           "SELECT recipe, form, scale, top1, stderr, depth, image_passes FROM cell ORDER BY recipe, depth,"
                           " form",
                           -1, &q, NULL) != SQLITE_OK) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is no store of rfhe ablate: %s", path, sqlite3_errmsg(db));
    }
    while (st == RFHE_OK && sqlite3_step(q) == SQLITE_ROW) {
        if (r->n_ablation == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            rfhe_ablation_row *more = rfhe_realloc(r->ablation, capacity, sizeof *more);
            if (more == NULL) {
                st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the ablation");
                break;
            }
            r->ablation = more;
        }
        rfhe_ablation_row *a = &r->ablation[r->n_ablation++];
        *a = (rfhe_ablation_row){.top1 = sqlite3_column_double(q, 3),
                                 .standard_error = sqlite3_column_double(q, 4),
                                 .depth = sqlite3_column_int64(q, 5),
                                 .image_passes = sqlite3_column_int64(q, 6)};
        (void)snprintf(a->recipe, sizeof a->recipe, "%s", (const char *)sqlite3_column_text(q, 0));
        (void)snprintf(a->form, sizeof a->form, "%s", (const char *)sqlite3_column_text(q, 1));
        (void)snprintf(a->scale, sizeof a->scale, "%s", (const char *)sqlite3_column_text(q, 2));
    }
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
    return st;
}

rfhe_status rfhe_search_record_read(rfhe_search_record *out, rfhe_store *s, const char *ablation, rfhe_error *err)
{
    rfhe_search_record r = {.relu = SIZE_MAX, .recommended = SIZE_MAX, .best_uniform = SIZE_MAX};
    int64_t study = 0;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_store_last_study(s, &study, err));
    RFHE_TRY(rfhe_store_describe(s, study, &r.study, err));
    RFHE_TRY(rfhe_store_check(s, r.integrity, sizeof r.integrity, err));
    RFHE_TRY(rfhe_store_trials(s, study, &r.trial, &r.n_trials, err));
    RFHE_TRY(rfhe_store_get_layers(s, study, &r.layer, &r.n_layers, err));
    RFHE_TRY(rfhe_store_get_choices(s, study, &r.choice, &r.n_choices, err));
    RFHE_TRY(rfhe_store_get_costs(s, study, &r.cost, &r.n_costs, err));
    RFHE_TRY(find_frontier(&r, err));
    RFHE_TRY(read_notes(&r, s, study, err));
    RFHE_TRY(read_judgements(&r, s, study, err));
    if (ablation != NULL) { RFHE_TRY(read_ablation(&r, ablation, err)); }
    *out = r;
    r = (rfhe_search_record){0};

done:
    rfhe_search_record_clear(&r);
    return st;
}

void rfhe_search_record_clear(rfhe_search_record *r)
{
    rfhe_trials_free(r->trial, r->n_trials);
    rfhe_free(r->judged);
    rfhe_free(r->front);
    rfhe_free(r->layer);
    rfhe_free(r->choice);
    rfhe_free(r->cost);
    rfhe_free(r->ablation);
    *r = (rfhe_search_record){0};
}

double rfhe_search_record_cost(const rfhe_search_record *r, const char *params, int32_t l, const char *form)
{
    for (size_t i = 0; i < r->n_costs; i++) {
        const rfhe_store_cost *c = &r->cost[i];
        if (c->layer == l && strcmp(c->params, params) == 0 && strcmp(c->form, form) == 0) { return c->seconds; }
    }
    return NAN;
}

/* ---- table and document ---- */

static bool is_on_frontier(const rfhe_search_record *r, size_t i)
{
    for (size_t k = 0; k < r->n_front; k++) {
        if (r->front[k] == i) { return true; }
    }
    return false;
}

static void number(rfhe_text *out, double v)
{
    if (isfinite(v)) {
        rfhe_text_printf(out, ",%.6g", v);
    } else {
        rfhe_text_add(out, ",");
    }
}

void rfhe_search_csv(rfhe_text *out, const rfhe_search_record *r)
{
    rfhe_text_add(out, "trial,kind,recipe,status,rung,frontier,recommended,parameters,log2_n,depth,predicted_seconds,memory_mib,"
                       "harm,top1,cross_entropy,correct,images,test_top1,test_images,image_passes,seconds,seed,assignment\n");
    for (size_t i = 0; i < r->n_trials; i++) {
        const rfhe_trial *t = &r->trial[i];
        rfhe_text_printf(out, "%" PRId64 ",%s,%s,%s,%u,%d,%d,%s,%u,%u", t->id, t->kind, t->recipe, t->status, t->rung,
                         is_on_frontier(r, i), i == r->recommended, t->params, t->log2_n, t->depth);
        number(out, t->predicted_seconds);
        number(out, t->memory_bytes / 0x1p20);
        number(out, t->harm);
        number(out, t->top1);
        number(out, t->cross_entropy);
        rfhe_text_printf(out, ",%" PRIu64 ",%" PRIu64, t->correct, t->images);
        number(out, r->judged[i].images > 0 ? r->judged[i].top1 : NAN);
        rfhe_text_printf(out, ",%" PRIu64 ",%" PRIu64, r->judged[i].images, t->image_passes);
        number(out, t->seconds);
        rfhe_text_printf(out, ",%" PRIu64 ",\"%s\"\n", t->seed, t->assignment);
    }
}

static void trial_json(rfhe_json *w, const char *key, const rfhe_search_record *r, size_t i)
{
    const rfhe_trial *t = &r->trial[i];

    rfhe_json_object(w, key);
    rfhe_json_integer(w, "trial", t->id);
    rfhe_json_string(w, "kind", t->kind);
    rfhe_json_string(w, "recipe", t->recipe);
    rfhe_json_string(w, "status", t->status);
    rfhe_json_integer(w, "rung", t->rung);
    rfhe_json_string(w, "assignment", t->assignment);
    rfhe_json_number(w, "top1", t->top1);
    rfhe_json_number(w, "cross_entropy", t->cross_entropy);
    rfhe_json_integer(w, "images", (int64_t)t->images);
    if (r->judged[i].images > 0) {
        rfhe_json_number(w, "test_top1", r->judged[i].top1);
        rfhe_json_integer(w, "test_images", (int64_t)r->judged[i].images);
    }
    rfhe_json_number(w, "predicted_seconds", t->predicted_seconds);
    rfhe_json_integer(w, "relu_depth_max", t->depth);
    rfhe_json_number(w, "memory_mib", t->memory_bytes / 0x1p20);
    rfhe_json_string(w, "parameters", t->params);
    rfhe_json_integer(w, "log2_n", t->log2_n);
    rfhe_json_number(w, "harm", t->harm);
    rfhe_json_integer(w, "image_passes", (int64_t)t->image_passes);
    rfhe_json_number(w, "seconds", t->seconds);
    rfhe_json_integer(w, "seed", (int64_t)t->seed);
    rfhe_json_integer(w, "attempts", t->attempts);
    rfhe_json_end_object(w);
}

static void study_json(rfhe_json *w, const rfhe_search_record *r)
{
    rfhe_json_object(w, "study");
    rfhe_json_string(w, "model", r->study.model);
    rfhe_json_string(w, "model_hash", r->study.model_hash);
    rfhe_json_string(w, "data", r->study.data);
    rfhe_json_string(w, "settings", r->study.settings);
    rfhe_json_string(w, "pool", r->study.pool);
    rfhe_json_integer(w, "seed", (int64_t)r->study.seed);
    rfhe_json_string(w, "version", r->study.version);
    rfhe_json_string(w, "machine", r->study.machine);
    rfhe_json_string(w, "isa", r->study.isa);
    rfhe_json_integer(w, "threads", r->study.threads);
    rfhe_json_string(w, "begun", r->study.made);
    rfhe_json_end_object(w);
}

void rfhe_search_json(rfhe_text *out, const rfhe_search_record *r)
{
    rfhe_json w = {.out = out};

    rfhe_json_object(&w, NULL);
    rfhe_json_string(&w, "schema", "rfhe.report/1");
    study_json(&w, r);
    rfhe_json_string(&w, "integrity", r->integrity);
    rfhe_json_string(&w, "prices", r->prices);
    rfhe_json_number(&w, "relu_top1", r->relu != SIZE_MAX ? r->trial[r->relu].top1 : NAN);
    rfhe_json_object(&w, "rank_correlation");
    rfhe_json_string(&w, "used", r->uses_measured ? "measured" : "gradient");
    rfhe_json_number(&w, "gradient", r->gradient);
    rfhe_json_number(&w, "measured", r->measured);
    rfhe_json_number(&w, "gradient_cross_entropy", r->gradient_entropy);
    rfhe_json_number(&w, "measured_cross_entropy", r->measured_entropy);
    rfhe_json_end_object(&w);
    rfhe_json_array(&w, "frontier");
    for (size_t i = 0; i < r->n_front; i++) { trial_json(&w, NULL, r, r->front[i]); }
    rfhe_json_end_array(&w);
    if (r->recommended != SIZE_MAX) {
        trial_json(&w, "recommended", r, r->recommended);
    } else {
        rfhe_json_string(&w, "recommended", NULL);
    }
    if (r->best_uniform != SIZE_MAX) { trial_json(&w, "best_uniform", r, r->best_uniform); }
    rfhe_json_array(&w, "trials");
    for (size_t i = 0; i < r->n_trials; i++) { trial_json(&w, NULL, r, i); }
    rfhe_json_end_array(&w);
    rfhe_json_array(&w, "layers");
    for (size_t i = 0; i < r->n_layers; i++) {
        rfhe_json_object(&w, NULL);
        rfhe_json_string(&w, "node", r->layer[i].node);
        rfhe_json_integer(&w, "channels", (int64_t)r->layer[i].channels);
        rfhe_json_integer(&w, "per_image", (int64_t)r->layer[i].per_image);
        rfhe_json_number(&w, "sigma", r->layer[i].sigma);
        rfhe_json_number(&w, "reach", r->layer[i].reach);
        rfhe_json_number(&w, "q999", r->layer[i].q999);
        rfhe_json_end_object(&w);
    }
    rfhe_json_end_array(&w);
    rfhe_json_end_object(&w);
}
