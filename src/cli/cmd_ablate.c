/* rfhe ablate MODEL --data SPEC: recipes x forms, each cell measured once and kept in a store. */
#include "cli/replace.h"

#include "base/file.h"
#include "base/mem.h"
#include "report/svg.h"

#include <inttypes.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images to tune and train on (required)"},
    {"store", 's', RFHE_OPT_TEXT, "FILE", NULL, "SQLite file of finished cells (default: ablate.sqlite)"},
    {"forms", 0, RFHE_OPT_TEXT, "F,F,...", NULL, "columns (default: the six of the paper)"},
    {"recipes", 0, RFHE_OPT_TEXT, "R,R,...", NULL, "rows (default: direct,ct)"},
    {"scale", 0, RFHE_OPT_CHOICE, "KIND", "static|dynamic", "as for `rfhe replace` (default: static)"},
    {"csv", 0, RFHE_OPT_TEXT, "FILE", NULL, "write the rows as CSV too"},
    {"svg", 0, RFHE_OPT_TEXT, "FILE", NULL, "plot accuracy over depth, a line per recipe"},
    RFHE_OPTIONS_REPLACE,
    RFHE_OPTIONS_RECIPES,
    RFHE_OPTIONS_PREPROCESSING,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

enum { MAX_CELLS = 1024, MAX_NAMES = 64 };

typedef struct cell {
    const char *recipe, *form;
    double top1, standard_error, select_top1, seconds, fit_seconds, overflow;
    int64_t image_passes, depth, images;
    bool done, from_store;
} cell;

typedef struct ablation {
    rfhe_cli *cli;
    const rfhe_args *args;
    rfhe_replace_job job;
    sqlite3 *db;
    char *forms_text, *recipes_text;
    const char *forms[MAX_NAMES], *recipes[MAX_NAMES];
    size_t n_forms, n_recipes, n_cells;
    cell *cells;
    rfhe_text settings;
    double relu;
} ablation;

static rfhe_status split_names(char **copy, const char **out, size_t *n, const char *list, rfhe_error *err)
{
    *copy = rfhe_strdup(list);
    if (*copy == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a list"); }
    for (char *at = *copy; at != NULL;) {
        char *comma = strchr(at, ',');
        if (comma != NULL) { *comma = '\0'; }
        if (*n == MAX_NAMES || *at == '\0') {
            return rfhe_fail(err, RFHE_E_ARG, "'%s' is no list of 1 to %d names", list, MAX_NAMES);
        }
        out[(*n)++] = at;
        at = comma != NULL ? comma + 1 : NULL;
    }
    return RFHE_OK;
}

static bool is_recipe(const char *name)
{
    static const char *const all[] = {"direct", "baseline", "ct",      "at",     "pa",
                                      "pa+at",  "ct+pa",    "ct+pa+at", "oneshot"};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(name, all[i]) == 0) { return true; }
    }
    return false;
}

static rfhe_status read_lists(ablation *a, bool *trains, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_paf p;

    RFHE_TRY(split_names(&a->forms_text, a->forms, &a->n_forms,
                         rfhe_args_text(a->args, "forms", "f1g2,f2g2,f2g3,f1f1g1g1,alpha7,alpha10"), err));
    RFHE_TRY(split_names(&a->recipes_text, a->recipes, &a->n_recipes, rfhe_args_text(a->args, "recipes", "direct,ct"),
                         err));
    for (size_t i = 0; i < a->n_forms; i++) { RFHE_TRY(rfhe_paf_from_name(&p, a->forms[i], err)); }
    for (size_t i = 0; i < a->n_recipes; i++) {
        if (!is_recipe(a->recipes[i])) {
            return rfhe_fail(err, RFHE_E_ARG, "'%s' is no recipe; see `rfhe replace --help`", a->recipes[i]);
        }
        *trains = *trains || (strcmp(a->recipes[i], "direct") != 0 && strcmp(a->recipes[i], "ct") != 0);
    }
    a->n_cells = a->n_forms * a->n_recipes;
    a->cells = rfhe_calloc(a->n_cells, sizeof *a->cells);
    if (a->cells == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu cells", a->n_cells); }
    for (size_t i = 0; i < a->n_cells; i++) {
        a->cells[i].recipe = a->recipes[i / a->n_forms];
        a->cells[i].form = a->forms[i % a->n_forms];
    }

done:
    return st;
}

/* ---- the store ---- */

static rfhe_status db_fail(const ablation *a, rfhe_error *err)
{
    return rfhe_fail(err, RFHE_E_IO, "the store: %s", sqlite3_errmsg(a->db));
}

static rfhe_status open_store(ablation *a, rfhe_error *err)
{
    static const char schema[] =
        "CREATE TABLE IF NOT EXISTS cell(model TEXT, data TEXT, settings TEXT, recipe TEXT, form TEXT, scale TEXT,"
        " top1 REAL, stderr REAL, select_top1 REAL, images INTEGER, image_passes INTEGER, depth INTEGER,"
        " fit_seconds REAL, seconds REAL, seed INTEGER, made TEXT DEFAULT CURRENT_TIMESTAMP,"
        " PRIMARY KEY(model, data, settings, recipe, form, scale, seed))";
    const char *path = rfhe_args_text(a->args, "store", "ablate.sqlite");

    if (sqlite3_open(path, &a->db) != SQLITE_OK) {
        return rfhe_fail(err, RFHE_E_IO, "cannot open '%s': %s", path, sqlite3_errmsg(a->db));
    }
    return sqlite3_exec(a->db, schema, NULL, NULL, NULL) == SQLITE_OK ? RFHE_OK : db_fail(a, err);
}

static void bind_key(const ablation *a, sqlite3_stmt *s, const cell *c)
{
    (void)sqlite3_bind_text(s, 1, a->job.model, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 2, a->job.spec, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 3, a->settings.data, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 4, c->recipe, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 5, c->form, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 6, a->job.scale, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 7, (sqlite3_int64)a->cli->seed);
}

static rfhe_status look_up(const ablation *a, cell *c, rfhe_error *err)
{
    sqlite3_stmt *s = NULL;
    rfhe_status st = RFHE_OK;

    if (sqlite3_prepare_v2(a->db,
                           "SELECT top1, stderr, select_top1, images, image_passes, depth, fit_seconds, seconds FROM cell"
                           " WHERE model=? AND data=? AND settings=? AND recipe=? AND form=? AND scale=? AND seed=?",
                           -1, &s, NULL) != SQLITE_OK) {
        return db_fail(a, err);
    }
    bind_key(a, s, c);
    const int got = sqlite3_step(s);
    if (got == SQLITE_ROW) {
        c->top1 = sqlite3_column_double(s, 0);
        c->standard_error = sqlite3_column_double(s, 1);
        c->select_top1 = sqlite3_column_double(s, 2);
        c->images = sqlite3_column_int64(s, 3);
        c->image_passes = sqlite3_column_int64(s, 4);
        c->depth = sqlite3_column_int64(s, 5);
        c->fit_seconds = sqlite3_column_double(s, 6);
        c->seconds = sqlite3_column_double(s, 7);
        c->done = c->from_store = true;
    } else if (got != SQLITE_DONE) {
        st = db_fail(a, err);
    }
    (void)sqlite3_finalize(s);
    return st;
}

static rfhe_status put_down(const ablation *a, const cell *c, rfhe_error *err)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(a->db,
                           "INSERT OR REPLACE INTO cell(model, data, settings, recipe, form, scale, seed, top1, stderr,"
                           " select_top1, images, image_passes, depth, fit_seconds, seconds)"
                           " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                           -1, &s, NULL) != SQLITE_OK) {
        return db_fail(a, err);
    }
    bind_key(a, s, c);
    (void)sqlite3_bind_double(s, 8, c->top1);
    (void)sqlite3_bind_double(s, 9, c->standard_error);
    (void)sqlite3_bind_double(s, 10, c->select_top1);
    (void)sqlite3_bind_int64(s, 11, c->images);
    (void)sqlite3_bind_int64(s, 12, c->image_passes);
    (void)sqlite3_bind_int64(s, 13, c->depth);
    (void)sqlite3_bind_double(s, 14, c->fit_seconds);
    (void)sqlite3_bind_double(s, 15, c->seconds);
    const int got = sqlite3_step(s);
    (void)sqlite3_finalize(s);
    return got == SQLITE_DONE ? RFHE_OK : db_fail(a, err);
}

/* ---- cells ---- */

static rfhe_status measure(ablation *a, cell *c, rfhe_error *err)
{
    rfhe_replace_job *j = &a->job;
    rfhe_status st = RFHE_OK;

    j->recipe = c->recipe;
    j->form = c->form;
    (void)snprintf(j->checkpoint, sizeof j->checkpoint, "%.3900s.%s.%s.checkpoint",
                   rfhe_args_text(a->args, "store", "ablate.sqlite"), c->recipe, c->form);
    RFHE_TRY(rfhe_replace_once(j, true, err));
    c->top1 = rfhe_replace_top1(&j->after);
    c->standard_error = rfhe_replace_stderr(&j->after);
    c->select_top1 = j->trains ? j->trained.select_top1 : NAN;
    c->images = (int64_t)j->after.images;
    c->image_passes = (int64_t)j->image_passes;
    c->depth = j->depth;
    c->fit_seconds = j->report.fit_seconds;
    c->seconds = j->seconds;
    c->done = true;
    RFHE_TRY(put_down(a, c, err));
    (void)remove(j->checkpoint);

done:
    rfhe_replace_forget(j);
    return st;
}

static rfhe_status work(ablation *a, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    bool trains = false, all_there = true;

    RFHE_TRY(read_lists(a, &trains, err));
    RFHE_TRY(rfhe_replace_settings(&a->settings, &a->job));
    RFHE_TRY(open_store(a, err));
    for (size_t i = 0; i < a->n_cells; i++) {
        RFHE_TRY(look_up(a, &a->cells[i], err));
        all_there = all_there && a->cells[i].done;
    }
    cell relu = {.recipe = "relu", .form = "relu"};
    RFHE_TRY(look_up(a, &relu, err));
    if (all_there && relu.done) {
        a->relu = relu.top1;
        goto done;
    }
    a->job.form = a->forms[0];
    a->job.recipe = a->recipes[0];
    RFHE_TRY(rfhe_replace_prepare(&a->job, trains, err));
    relu.top1 = a->relu = rfhe_replace_top1(&a->job.before);
    relu.standard_error = rfhe_replace_stderr(&a->job.before);
    relu.images = (int64_t)a->job.before.images;
    RFHE_TRY(put_down(a, &relu, err));
    for (size_t i = 0; i < a->n_cells; i++) {
        cell *c = &a->cells[i];
        if (!c->done) { RFHE_TRY(measure(a, c, err)); }
        rfhe_cli_note(a->cli, "%-10s %-10s %.2f %% (ReLU %.2f %%)%s", c->recipe, c->form, 100 * c->top1, 100 * a->relu,
                      c->from_store ? ", from the store" : "");
    }

done:
    return st;
}

/* ---- telling ---- */

static void write_csv(rfhe_text *out, const ablation *a)
{
    rfhe_text_add(out, "recipe,form,scale,depth,top1,stderr,relu_top1,images,image_passes,fit_seconds,seconds,seed\n");
    for (size_t i = 0; i < a->n_cells; i++) {
        const cell *c = &a->cells[i];
        rfhe_text_printf(out, "%s,%s,%s,%" PRId64 ",%.6f,%.6f,%.6f,%" PRId64 ",%" PRId64 ",%.3f,%.1f,%" PRIu64 "\n",
                         c->recipe, c->form, a->job.scale, c->depth, c->top1, c->standard_error, a->relu, c->images,
                         c->image_passes, c->fit_seconds, c->seconds, a->cli->seed);
    }
}

static rfhe_status write_svg(const char *path, const ablation *a, rfhe_error *err)
{
    rfhe_plot_series series[MAX_NAMES];
    double *xy = rfhe_alloc(2 * a->n_cells, sizeof *xy);
    rfhe_text svg = {0};
    rfhe_plot plot = {.title = "accuracy after replacement",
                      .x_label = "encrypted depth of an activation (levels)",
                      .y_label = "top-1 (%)",
                      .series = series,
                      .n_series = a->n_recipes};

    if (xy == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a plot"); }
    for (size_t r = 0; r < a->n_recipes; r++) {
        double *x = xy + 2 * r * a->n_forms, *y = x + a->n_forms;
        for (size_t f = 0; f < a->n_forms; f++) {
            x[f] = (double)a->cells[r * a->n_forms + f].depth;
            y[f] = 100 * a->cells[r * a->n_forms + f].top1;
        }
        series[r] = (rfhe_plot_series){
            .name = a->recipes[r], .style = RFHE_PLOT_POINTS, .x = x, .y = y, .n = a->n_forms, .label = a->forms};
    }
    rfhe_plot_svg(&svg, "Recipes and forms", a->job.model, &plot, 1, 0, 420);
    rfhe_status st = rfhe_text_status(&svg);
    if (st == RFHE_OK) { st = rfhe_file_write(path, svg.data, svg.size, 0644, err); }
    rfhe_text_clear(&svg);
    rfhe_free(xy);
    return st;
}

static rfhe_status write_files(const ablation *a, rfhe_error *err)
{
    const char *csv = rfhe_args_text(a->args, "csv", NULL), *svg = rfhe_args_text(a->args, "svg", NULL);
    rfhe_text text = {0};
    rfhe_status st = RFHE_OK;

    if (csv != NULL) {
        write_csv(&text, a);
        st = rfhe_text_status(&text);
        if (st == RFHE_OK) { st = rfhe_file_write(csv, text.data, text.size, 0644, err); }
    }
    rfhe_text_clear(&text);
    if (st == RFHE_OK && svg != NULL) { st = write_svg(svg, a, err); }
    return st;
}

static void write_json(const ablation *a)
{
    rfhe_json w = {.out = &a->cli->out};

    rfhe_json_object(&w, NULL);
    rfhe_json_string(&w, "schema", "rfhe.ablate/1");
    rfhe_json_string(&w, "model", a->job.model);
    rfhe_json_string(&w, "data", a->job.spec);
    rfhe_json_string(&w, "settings", a->settings.data);
    rfhe_json_number(&w, "relu_top1", a->relu);
    rfhe_json_array(&w, "rows");
    for (size_t i = 0; i < a->n_cells; i++) {
        const cell *c = &a->cells[i];
        rfhe_json_object(&w, NULL);
        rfhe_json_string(&w, "recipe", c->recipe);
        rfhe_json_string(&w, "form", c->form);
        rfhe_json_number(&w, "top1", c->top1);
        rfhe_json_number(&w, "stderr", c->standard_error);
        rfhe_json_string(&w, "scale", a->job.scale);
        rfhe_json_integer(&w, "image_passes", c->image_passes);
        rfhe_json_integer(&w, "depth", c->depth);
        rfhe_json_integer(&w, "images", c->images);
        rfhe_json_number(&w, "fit_seconds", c->fit_seconds);
        rfhe_json_number(&w, "seconds", c->seconds);
        rfhe_json_end_object(&w);
    }
    rfhe_json_end_array(&w);
    rfhe_json_end_object(&w);
}

static void write_text(const ablation *a)
{
    rfhe_text *out = &a->cli->out;

    rfhe_text_printf(out, "%-12s", "top-1 %");
    for (size_t f = 0; f < a->n_forms; f++) { rfhe_text_printf(out, " %12.12s", a->forms[f]); }
    rfhe_text_add(out, "\n");
    for (size_t r = 0; r < a->n_recipes; r++) {
        rfhe_text_printf(out, "%-12s", a->recipes[r]);
        for (size_t f = 0; f < a->n_forms; f++) {
            const cell *c = &a->cells[r * a->n_forms + f];
            rfhe_text_printf(out, " %5.2f +-%4.2f", 100 * c->top1, 100 * c->standard_error);
        }
        rfhe_text_add(out, "\n");
    }
    rfhe_text_printf(out, "ReLU %.2f %%, %s scale\n", 100 * a->relu, a->job.scale);
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    int code = 0;
    ablation a = {.cli = cli,
                  .args = args,
                  .job = {.cli = cli,
                          .args = args,
                          .model = rfhe_args_at(args, 0),
                          .spec = rfhe_args_text(args, "data", NULL),
                          .output = "",
                          .scale = rfhe_args_text(args, "scale", "static"),
                          .pool = rfhe_args_text(args, "pool", "average"),
                          .penalty = NAN}};

    if (a.job.spec == NULL) { return rfhe_cli_usage(cli, "--data is missing"); }
    rfhe_status st = work(&a, &err);
    if (st == RFHE_OK) { st = write_files(&a, &err); }
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            write_json(&a);
        } else {
            write_text(&a);
        }
        code = rfhe_cli_finish(cli);
    }
    (void)sqlite3_close(a.db);
    rfhe_replace_close(&a.job);
    rfhe_text_clear(&a.settings);
    rfhe_free(a.cells);
    rfhe_free(a.forms_text);
    rfhe_free(a.recipes_text);
    return code;
}

const rfhe_command rfhe_cmd_ablate = {
    .name = "ablate",
    .usage = "MODEL.onnx --data SPEC [options]",
    .summary = "measure recipes and forms against each other",
    .description =
        "Replaces the activations of one network by every form with every recipe, and measures each result on the same "
        "images: the tables of the paper. --passes gives every training recipe the same number of images.\n\n"
        "Finished cells are kept in an SQLite store; run again, the command measures only what is missing, and a cell "
        "that was interrupted continues where it stopped. Other settings are other cells of the same store.",
    .example = "rfhe ablate resnet20.onnx --data cifar10:data/cifar10 --recipes direct,ct --csv table.csv",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
