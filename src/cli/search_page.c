/* See search_page.h: the page. */
#include "cli/search_page.h"

#include "base/mem.h"
#include "report/html.h"
#include "report/pictures.h"
#include "report/svg.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 800 };

static const struct {
    const char *name, *title;
} paper_forms[] = {{"f1g2", "f1\xE2\x88\x98g2"},           {"f2g2", "f2\xE2\x88\x98g2"}, {"f2g3", "f2\xE2\x88\x98g3"},
                   {"f1f1g1g1", "f1\xC2\xB2\xE2\x88\x98g1\xC2\xB2"}, {"alpha7", "\xCE\xB1=7"}, {"alpha10", "\xCE\xB1=10"}};

static double relu_top1(const rfhe_search_record *r)
{
    return r->relu != SIZE_MAX ? r->trial[r->relu].top1 : NAN;
}

/* The form that a uniform assignment has everywhere; false when it is mixed. */
static bool uniform_form(char form[32], const char *assignment)
{
    const char *at = assignment;
    const size_t n = strcspn(assignment, ",");

    for (; *at != '\0'; at += at[strcspn(at, ",")] == ',' ? strcspn(at, ",") + 1 : strcspn(at, ",")) {
        if (strcspn(at, ",") != n || strncmp(at, assignment, n) != 0) { return false; }
    }
    rfhe_assignment_form(form, assignment, 0);
    return true;
}

static const char *paper_title(const rfhe_trial *t)
{
    char form[32];

    if (!uniform_form(form, t->assignment) || strcmp(t->recipe, "ct") != 0) { return NULL; }
    for (size_t i = 0; i < sizeof paper_forms / sizeof *paper_forms; i++) {
        if (strcmp(form, paper_forms[i].name) == 0) { return paper_forms[i].title; }
    }
    return NULL;
}

/* A few letters for a cell. */
static const char *short_name(char out[32], const char *form)
{
    if (strncmp(form, "even", 4) == 0) {
        (void)snprintf(out, 32, "%.4s", form + 4);
    } else if (strncmp(form, "alpha", 5) == 0) {
        (void)snprintf(out, 32, "\xCE\xB1%.4s", form + 5);
    } else if (strcmp(form, "f1f1g1g1") == 0) {
        (void)snprintf(out, 32, "f\xC2\xB2g\xC2\xB2");
    } else {
        (void)snprintf(out, 32, "%.5s", form);
    }
    return out;
}

/* ---- head ---- */

/* The fastest uniform form of the paper, without training, that is at least as accurate as trial t; NULL when none is. */
static const rfhe_trial *paper_rival(const rfhe_search_record *r, const rfhe_trial *t)
{
    const rfhe_trial *best = NULL;

    for (size_t i = 0; i < r->n_trials; i++) {
        const rfhe_trial *u = &r->trial[i];
        if (strcmp(u->status, "done") != 0 || paper_title(u) == NULL || !(u->top1 >= t->top1)) { continue; }
        if (best == NULL || u->predicted_seconds < best->predicted_seconds) { best = u; }
    }
    return best;
}

static void tiles(rfhe_text *page, const rfhe_search_record *r)
{
    char value[6][96];
    const char *names[6], *values[6], *notes[6];
    char note[6][160];
    size_t n = 0;
    const rfhe_trial *pick = r->recommended != SIZE_MAX ? &r->trial[r->recommended] : NULL;

#define TILE(name, ...) (names[n] = (name), (void)snprintf(value[n], sizeof value[n], __VA_ARGS__), values[n] = value[n])
#define NOTE(...) ((void)snprintf(note[n], sizeof note[n], __VA_ARGS__), notes[n] = note[n], n++)
    TILE("ReLU network", "%.2f %%", 100 * relu_top1(r));
    NOTE("top-1 on the selection split");
    if (pick != NULL) {
        TILE("recommended", "%.2f %%", 100 * pick->top1);
        NOTE("%.2f points below ReLU", 100 * (relu_top1(r) - pick->top1));
        TILE("one encrypted image", pick->predicted_seconds < 10 ? "%.2f s" : "%.1f s", pick->predicted_seconds);
        NOTE("%s, depth %u, %.1f GiB", pick->params, pick->depth, pick->memory_bytes / 0x1p30);
        const rfhe_trial *rival = paper_rival(r, pick);
        if (rival != NULL) {
            TILE("against the paper's forms", "%.1f \xC3\x97", rival->predicted_seconds / pick->predicted_seconds);
            NOTE("faster than %s everywhere, the first as accurate", paper_title(rival));
        }
    }
    TILE("trials", "%zu", r->n_trials);
    NOTE("%zu on the frontier", r->n_front);
    const double rho = r->uses_measured ? r->measured : r->gradient;
    if (isfinite(rho)) {
        TILE("rank correlation", "%.2f", rho);
        NOTE("of predicted harm and accuracy lost");
    }
#undef TILE
#undef NOTE
    rfhe_html_tiles(page, names, values, notes, n);
}

/* ---- the frontier ---- */

typedef struct cloud { /* points of a plot */
    double *x, *y;
    const char **label;
    size_t n;
} cloud;

static bool cloud_new(cloud *c, size_t n)
{
    *c = (cloud){.x = rfhe_alloc(n + 1, sizeof *c->x),
                 .y = rfhe_alloc(n + 1, sizeof *c->y),
                 .label = rfhe_calloc(n + 1, sizeof *c->label)};
    return c->x != NULL && c->y != NULL && c->label != NULL;
}

static void cloud_clear(cloud *c)
{
    rfhe_free(c->x);
    rfhe_free(c->y);
    rfhe_free(c->label);
}

static void cloud_add(cloud *c, double x, double y, const char *label)
{
    c->x[c->n] = x;
    c->y[c->n] = y;
    c->label[c->n++] = label;
}

static int larger(const void *va, const void *vb)
{
    const double a = *(const double *)va, b = *(const double *)vb;

    return (a < b) - (a > b);
}

/* Where the second panel begins: three points below the best, or lower so that it shows ten trials. In per cent. */
static double upper_end(const rfhe_search_record *r, double best)
{
    double *top1 = rfhe_alloc(r->n_trials + 1, sizeof *top1), from = best - 3;
    size_t n = 0;

    for (size_t i = 0; top1 != NULL && i < r->n_trials; i++) {
        const rfhe_trial *t = &r->trial[i];
        if (strcmp(t->status, "done") == 0 && isfinite(t->predicted_seconds)) { top1[n++] = 100 * t->top1; }
    }
    if (n > 0) {
        qsort(top1, n, sizeof *top1, larger);
        from = fmin(from, top1[n > 10 ? 9 : n - 1] - 0.3);
    }
    rfhe_free(top1);
    return from;
}

static void frontier_plot(rfhe_text *page, const rfhe_search_record *r, cloud *steps, cloud *others, cloud *trained, cloud *paper,
                          cloud *pick)
{
    const rfhe_plot_series series[] = {
        {.name = "other trials", .style = RFHE_PLOT_POINTS, .x = others->x, .y = others->y, .n = others->n, .color = 7},
        {.name = "trained", .style = RFHE_PLOT_POINTS, .x = trained->x, .y = trained->y, .n = trained->n, .color = 3},
        {.name = "frontier", .style = RFHE_PLOT_LINE, .x = steps->x, .y = steps->y, .n = steps->n, .color = 1},
        {.name = "paper's forms, everywhere", .style = RFHE_PLOT_POINTS, .x = paper->x, .y = paper->y, .n = paper->n,
         .label = paper->label, .color = 2},
        {.name = "recommended", .style = RFHE_PLOT_POINTS, .x = pick->x, .y = pick->y, .n = pick->n, .color = 4}};
    const double top = 100 * relu_top1(r);
    double best = 0;
    for (size_t i = 0; i < steps->n; i++) { best = fmax(best, steps->y[i]); }
    const rfhe_plot panels[] = {
        {.title = "All trials", .x_label = "predicted seconds for one encrypted image", .y_label = "top-1 (%)", .series = series,
         .n_series = 5, .log_x = true},
        {.title = "The upper end", .x_label = "predicted seconds for one encrypted image", .y_label = "top-1 (%)",
         .series = series, .n_series = 5, .log_x = true, .y_lo = upper_end(r, best), .y_hi = fmax(best + 0.3, fmin(top, best + 1) + 0.1)}};

    rfhe_plot_svg(page, NULL, NULL, panels, 2, WIDTH, 330);
}

static rfhe_status frontier_part(rfhe_text *page, const rfhe_search_record *r)
{
    cloud c[5] = {{0}};
    rfhe_status st = RFHE_OK;

    for (int i = 0; i < 5; i++) {
        if (!cloud_new(&c[i], 2 * r->n_trials + 2)) { st = RFHE_E_NOMEM; }
    }
    if (st != RFHE_OK) { goto done; }
    for (size_t i = 0; i < r->n_front; i++) {
        const rfhe_trial *t = &r->trial[r->front[i]];
        if (i > 0) { cloud_add(&c[0], t->predicted_seconds, 100 * r->trial[r->front[i - 1]].top1, NULL); }
        cloud_add(&c[0], t->predicted_seconds, 100 * t->top1, NULL);
    }
    for (size_t i = 0; i < r->n_trials; i++) {
        const rfhe_trial *t = &r->trial[i];
        const char *title = paper_title(t);
        if (strcmp(t->status, "done") != 0 || !isfinite(t->predicted_seconds)) { continue; }
        cloud *in = title != NULL ? &c[3] : t->rung > 0 ? &c[2] : &c[1];
        cloud_add(in, t->predicted_seconds, 100 * t->top1, title);
        if (i == r->recommended) { cloud_add(&c[4], t->predicted_seconds, 100 * t->top1, NULL); }
    }
    rfhe_html_heading(page, "Accuracy and latency");
    rfhe_html_paragraph(page, "Each point is a network that was tried, judged on images of the selection split, which nothing was "
                              "trained on. Up and to the left is better. Seconds are predicted for one image: %s.",
                        r->prices);
    frontier_plot(page, r, &c[0], &c[1], &c[2], &c[3], &c[4]);

done:
    for (int i = 0; i < 5; i++) { cloud_clear(&c[i]); }
    return st;
}

static void frontier_table(rfhe_text *page, const rfhe_search_record *r)
{
    static const char *const names[] = {"trial", "seconds", "top-1 (%)", "lost", "test (%)", "depth", "parameters", "GiB", "recipe",
                                        "forms"};
    rfhe_html_table t;
    rfhe_text runs = {0};

    rfhe_html_heading(page, "The frontier");
    rfhe_html_table_begin(&t, page, names, 10);
    for (size_t i = 0; i < r->n_front; i++) {
        const rfhe_trial *p = &r->trial[r->front[i]];
        const rfhe_judgement *j = &r->judged[r->front[i]];
        rfhe_text_clear(&runs);
        rfhe_assignment_runs(&runs, p->assignment);
        rfhe_html_cell(&t, "%" PRId64 "%s", p->id, r->front[i] == r->recommended ? " \xE2\x98\x85" : "");
        rfhe_html_cell(&t, p->predicted_seconds < 10 ? "%.2f" : "%.1f", p->predicted_seconds);
        rfhe_html_cell(&t, "%.2f", 100 * p->top1);
        rfhe_html_cell(&t, "%.2f", 100 * (relu_top1(r) - p->top1));
        if (j->images > 0) {
            rfhe_html_cell(&t, "%.2f", 100 * j->top1);
        } else {
            rfhe_html_cell(&t, "%s", "");
        }
        rfhe_html_cell(&t, "%u", p->depth);
        rfhe_html_cell(&t, "%s", p->params);
        rfhe_html_cell(&t, "%.1f", p->memory_bytes / 0x1p30);
        if (p->rung > 0) {
            rfhe_html_cell(&t, "%s, rung %u", p->recipe, p->rung);
        } else {
            rfhe_html_cell(&t, "%s", p->recipe);
        }
        rfhe_html_cell(&t, "%s", runs.data != NULL ? runs.data : "");
    }
    rfhe_html_table_end(&t);
    if (r->recommended != SIZE_MAX) { rfhe_html_paragraph(page, "\xE2\x98\x85 recommended for the target given last."); }
    if (r->recommended != SIZE_MAX && r->best_uniform != SIZE_MAX && r->best_uniform != r->recommended) {
        const rfhe_trial *p = &r->trial[r->recommended], *u = &r->trial[r->best_uniform];
        rfhe_html_paragraph(page,
                            "Against one form everywhere: trial %" PRId64 " takes %.2f s with %.2f %%; the best uniform one%s, trial %" PRId64
                            " (%.*s), %.2f s with %.2f %%.",
                            p->id, p->predicted_seconds, 100 * p->top1, u->rung > 0 ? " of the last rung" : "", u->id,
                            (int)strcspn(u->assignment, ","), u->assignment, u->predicted_seconds, 100 * u->top1);
    }
    if (r->relu != SIZE_MAX && r->judged[r->relu].images > 0) {
        rfhe_html_paragraph(page, "Test images were looked at once, at the end, and chose nothing: the ReLU network has %.2f %% of %" PRIu64
                                  " there.", 100 * r->judged[r->relu].top1, r->judged[r->relu].images);
    }
    rfhe_text_clear(&runs);
}

/* ---- assignments ---- */

enum { MAX_ROWS = 16 };

static uint32_t depth_of(const rfhe_search_record *r, const char *form)
{
    for (size_t i = 0; i < r->n_choices; i++) {
        if (strcmp(r->choice[i].form, form) == 0) { return r->choice[i].depth; }
    }
    return 0;
}

/* Shades by depth: 1, 2, 3, 4, 5, 6, 7-9, 10 and more. */
static int shade_of(uint32_t depth)
{
    return depth == 0 ? -1 : depth <= 6 ? (int)depth - 1 : depth <= 9 ? 6 : 7;
}

static rfhe_status assignment_part(rfhe_text *page, const rfhe_search_record *r)
{
    static const char *const legend[RFHE_SHADES] = {"depth 1", "2", "3", "4", "5", "6", "7 to 9", "10 and more"};
    const size_t rows = r->n_front < MAX_ROWS ? r->n_front : MAX_ROWS, columns = r->n_layers, n = rows * columns;
    int *shade = rfhe_alloc(n + 1, sizeof *shade);
    char (*letters)[32] = rfhe_alloc(n + 1, sizeof *letters), (*tips)[192] = rfhe_alloc(n + 1, sizeof *tips);
    const char **text = rfhe_calloc(n + 1, sizeof *text), **about = rfhe_calloc(n + 1, sizeof *about);
    char (*numbers)[24] = rfhe_alloc(columns + 1, sizeof *numbers);
    const char **column = rfhe_calloc(columns + 1, sizeof *column), *row[MAX_ROWS], *end[MAX_ROWS];
    char row_text[MAX_ROWS][32], end_text[MAX_ROWS][64];
    rfhe_status st = RFHE_E_NOMEM;

    if (shade == NULL || letters == NULL || tips == NULL || text == NULL || about == NULL || numbers == NULL || column == NULL) {
        goto done;
    }
    for (size_t l = 0; l < columns; l++) {
        (void)snprintf(numbers[l], sizeof numbers[l], "%zu", l + 1);
        column[l] = numbers[l];
    }
    for (size_t k = 0; k < rows; k++) {
        const size_t at = r->front[rows > 1 ? k * (r->n_front - 1) / (rows - 1) : 0];
        const rfhe_trial *t = &r->trial[at];
        (void)snprintf(row_text[k], sizeof row_text[k], "%s%" PRId64, at == r->recommended ? "\xE2\x98\x85 " : "", t->id);
        (void)snprintf(end_text[k], sizeof end_text[k], "%.2f %%   %.2f s", 100 * t->top1, t->predicted_seconds);
        row[k] = row_text[k];
        end[k] = end_text[k];
        for (size_t l = 0; l < columns; l++) {
            char form[32];
            rfhe_assignment_form(form, t->assignment, l);
            shade[k * columns + l] = shade_of(depth_of(r, form));
            text[k * columns + l] = short_name(letters[k * columns + l], form);
            (void)snprintf(tips[k * columns + l], sizeof tips[0], "%.100s: %s, depth %u", r->layer[l].node, form, depth_of(r, form));
            about[k * columns + l] = tips[k * columns + l];
        }
    }
    rfhe_html_heading(page, "Which form where");
    rfhe_html_paragraph(page, "Rows are points of the frontier, columns the activations from the image to the answer. A bare number is the "
                              "degree of an even polynomial; darker is deeper.");
    rfhe_cells c = {.row_title = "trial", .column_title = "activation", .row = row, .column = column, .rows = rows, .columns = columns,
                    .shade = shade, .text = text, .about = about, .end = end};
    memcpy(c.legend, legend, sizeof legend);
    rfhe_cells_svg(page, &c, WIDTH);
    st = RFHE_OK;

done:
    rfhe_free(shade);
    rfhe_free(letters);
    rfhe_free(tips);
    rfhe_free(text);
    rfhe_free(about);
    rfhe_free(numbers);
    rfhe_free(column);
    return st;
}

/* ---- costs ---- */

static rfhe_status cost_part(rfhe_text *page, const rfhe_search_record *r)
{
    const size_t at = r->recommended != SIZE_MAX ? r->recommended : r->n_front > 0 ? r->front[r->n_front - 1] : SIZE_MAX, n = r->n_layers;
    double *least = rfhe_calloc(2 * n + 1, sizeof *least), *more = least + n;
    char (*numbers)[24] = rfhe_alloc(n + 1, sizeof *numbers);
    const char **name = rfhe_calloc(n + 1, sizeof *name);
    rfhe_status st = RFHE_E_NOMEM;

    if (least == NULL || numbers == NULL || name == NULL) { goto done; }
    st = RFHE_OK;
    if (at == SIZE_MAX) { goto done; }
    const rfhe_trial *t = &r->trial[at];
    for (size_t l = 0; l < n; l++) {
        char form[32];
        rfhe_assignment_form(form, t->assignment, l);
        const double all = rfhe_search_record_cost(r, t->params, (int32_t)l, form);
        double cheapest = all;
        for (size_t i = 0; i < r->n_costs; i++) {
            const rfhe_store_cost *c = &r->cost[i];
            if (c->layer == (int32_t)l && strcmp(c->params, t->params) == 0) { cheapest = fmin(cheapest, c->seconds); }
        }
        (void)snprintf(numbers[l], sizeof numbers[l], "%zu", l + 1);
        name[l] = numbers[l];
        least[l] = isfinite(cheapest) ? cheapest : 0;
        more[l] = isfinite(all) ? all - cheapest : 0;
    }
    const double fixed = rfhe_search_record_cost(r, t->params, -1, "");
    const rfhe_bars b = {.y_label = "seconds", .name = name, .part = {least, more, NULL},
                         .part_name = {"refresh and the cheapest form", "what the chosen form costs more", NULL}, .n = n};
    rfhe_html_heading(page, "Where the time goes");
    rfhe_html_paragraph(page, "Activations of trial %" PRId64 " on %s; everything else, convolutions above all, takes %.2f s more.", t->id,
                        t->params, isfinite(fixed) ? fixed : 0);
    rfhe_bars_svg(page, &b, WIDTH, 260);

done:
    rfhe_free(least);
    rfhe_free(numbers);
    rfhe_free(name);
    return st;
}

/* ---- values ---- */

static rfhe_status value_part(rfhe_text *page, const rfhe_search_record *r)
{
    rfhe_small *s = rfhe_calloc(r->n_layers + 1, sizeof *s);
    char (*names)[64] = rfhe_alloc(r->n_layers + 1, sizeof *names), (*notes)[64] = rfhe_alloc(r->n_layers + 1, sizeof *notes);
    rfhe_status st = RFHE_E_NOMEM;

    if (s == NULL || names == NULL || notes == NULL) { goto done; }
    for (size_t l = 0; l < r->n_layers; l++) {
        const rfhe_store_layer *y = &r->layer[l];
        (void)snprintf(names[l], sizeof names[l], "%zu  %.18s", l + 1, y->node);
        (void)snprintf(notes[l], sizeof notes[l], "\xCF\x83 %.2g, reach %.1f \xCF\x83", y->sigma, y->sigma > 0 ? y->reach / y->sigma : 0);
        s[l] = (rfhe_small){.name = names[l], .note = notes[l], .share = y->bar, .n = RFHE_STORE_BARS, .lo = -y->reach, .hi = y->reach,
                            .mark = {y->q999, 6 * y->sigma}};
    }
    rfhe_html_heading(page, "What reaches the activations");
    rfhe_html_paragraph(page, "Inputs of every activation over the calibration images, counts on a logarithmic scale. Between the dashed lines "
                              "lie 99.9 %% of the values; the dotted ones are six standard deviations. Far reach makes low degrees hard.");
    rfhe_smalls_svg(page, NULL, s, r->n_layers, WIDTH);
    st = RFHE_OK;

done:
    rfhe_free(s);
    rfhe_free(names);
    rfhe_free(notes);
    return st;
}

/* ---- predictions ---- */

static rfhe_status prediction_part(rfhe_text *page, const rfhe_search_record *r)
{
    cloud c[2] = {{0}};
    rfhe_status st = RFHE_OK;

    for (int i = 0; i < 2; i++) {
        if (!cloud_new(&c[i], r->n_trials)) { st = RFHE_E_NOMEM; }
    }
    if (st != RFHE_OK) { goto done; }
    for (size_t i = 0; i < r->n_trials; i++) {
        const rfhe_trial *t = &r->trial[i];
        char form[32];
        if (strcmp(t->recipe, "ct") != 0 || strcmp(t->status, "done") != 0) { continue; }
        cloud_add(&c[uniform_form(form, t->assignment) ? 0 : 1], t->harm, 100 * (relu_top1(r) - t->top1), NULL);
    }
    const rfhe_plot_series series[] = {
        {.name = "one form everywhere", .style = RFHE_PLOT_POINTS, .x = c[0].x, .y = c[0].y, .n = c[0].n, .color = 2},
        {.name = "mixed", .style = RFHE_PLOT_POINTS, .x = c[1].x, .y = c[1].y, .n = c[1].n, .color = 1}};
    const rfhe_plot plot = {.x_label = "predicted harm (no unit)", .y_label = "top-1 lost (points)", .series = series, .n_series = 2,
                            .log_x = true};
    rfhe_html_heading(page, "Did the predictions hold?");
    rfhe_html_paragraph(page, "Harm is what the choice of forms does to the margins of the network's answers, found %s. It ranks %zu trials "
                              "without training by the accuracy they lose with Spearman's correlation %.2f%s.",
                        r->uses_measured ? "by replacing one activation at a time" : "from one backward pass per image",
                        c[0].n + c[1].n, r->uses_measured ? r->measured : r->gradient,
                        r->uses_measured ? " (gradients did worse)" : "");
    rfhe_plot_svg(page, NULL, NULL, &plot, 1, WIDTH, 320);

done:
    cloud_clear(&c[0]);
    cloud_clear(&c[1]);
    return st;
}

/* ---- ablation, and how to repeat ---- */

static void ablation_part(rfhe_text *page, const rfhe_search_record *r)
{
    static const char *const names[] = {"recipe", "form", "depth", "top-1 (%)", "standard error", "scale", "image passes"};
    rfhe_html_table t;

    if (r->n_ablation == 0) { return; }
    rfhe_html_heading(page, "Ablation");
    rfhe_html_table_begin(&t, page, names, 7);
    for (size_t i = 0; i < r->n_ablation; i++) {
        const rfhe_ablation_row *a = &r->ablation[i];
        rfhe_html_cell(&t, "%s", a->recipe);
        rfhe_html_cell(&t, "%s", a->form);
        rfhe_html_cell(&t, "%" PRId64, a->depth);
        rfhe_html_cell(&t, "%.2f", 100 * a->top1);
        rfhe_html_cell(&t, "%.2f", 100 * a->standard_error);
        rfhe_html_cell(&t, "%s", a->scale);
        rfhe_html_cell(&t, "%" PRId64, a->image_passes);
    }
    rfhe_html_table_end(&t);
}

static void origin_part(rfhe_text *page, const rfhe_search_record *r)
{
    static const char *const names[] = {"what", "value"};
    const rfhe_study_text *y = &r->study;
    rfhe_html_table t;
    uint64_t passes = 0, images = 0;
    double seconds = 0;

    for (size_t i = 0; i < r->n_trials; i++) {
        passes += r->trial[i].image_passes;
        seconds += isfinite(r->trial[i].seconds) ? r->trial[i].seconds : 0;
        images = r->trial[i].images > images ? r->trial[i].images : images;
    }
    rfhe_html_heading(page, "How to repeat this");
    rfhe_html_table_begin(&t, page, names, 2);
#define ROW(name, ...) (rfhe_html_cell(&t, "%s", (name)), rfhe_html_cell(&t, __VA_ARGS__))
    ROW("network", "%s", y->model);
    ROW("its BLAKE2b", "%.32s\xE2\x80\xA6", y->model_hash);
    ROW("data", "%s", y->data);
    ROW("settings", "%s", y->settings[0] != '\0' ? y->settings : "defaults");
    ROW("maxima become", "%s", y->pool);
    ROW("seed", "%" PRIu64, y->seed);
    ROW("images of the selection split", "%" PRIu64, images);
    ROW("image passes of training", "%" PRIu64, passes);
    ROW("seconds of trials", "%.0f", seconds);
    ROW("prices", "%s", r->prices);
    ROW("version", "rfhe %s", y->version);
    ROW("machine", "%s, %s, %u threads", y->machine, y->isa, y->threads);
    ROW("begun", "%s UTC", y->made);
    ROW("store", "integrity %s", r->integrity);
#undef ROW
    rfhe_html_table_end(&t);
}

rfhe_status rfhe_search_page(rfhe_text *out, const rfhe_search_record *r)
{
    const char *slash = strrchr(r->study.model, '/');
    char title[300];
    rfhe_status st = RFHE_OK;

    (void)snprintf(title, sizeof title, "Forms for %.200s", slash != NULL ? slash + 1 : r->study.model);
    rfhe_html_begin(out, title);
    tiles(out, r);
    RFHE_TRY(frontier_part(out, r));
    frontier_table(out, r);
    RFHE_TRY(assignment_part(out, r));
    RFHE_TRY(cost_part(out, r));
    RFHE_TRY(value_part(out, r));
    RFHE_TRY(prediction_part(out, r));
    ablation_part(out, r);
    origin_part(out, r);
    rfhe_html_end(out);
    st = rfhe_text_status(out);

done:
    return st;
}
