/* The harness behind `rfhe bench`: takes samples, keeps rows of named cells, writes them as JSON or as a table. */
#include "cli/bench.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/threads.h"
#include "rfhe/status.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 40, TEXT_MAX = 80, COLUMNS_MAX = 32 };

typedef enum cell_kind { CELL_TEXT, CELL_INTEGER, CELL_NUMBER } cell_kind;

typedef struct cell {
    char key[KEY_MAX], text[TEXT_MAX];
    double number;
    int64_t integer;
    cell_kind kind;
    bool json_only; /* not shown in the table */
} cell;

typedef struct row {
    size_t first, count; /* its cells */
} row;

struct rfhe_bench {
    rfhe_cli *cli;
    const rfhe_bench_suite *suite;
    const rfhe_args *args;
    cell *cells;
    row *rows;
    size_t n_cells, cap_cells, n_rows, cap_rows;
    bool in_row, failed; /* failed: memory ran out */
};

/* Room for one more element; NULL (and remembered) when memory runs out. */
static void *grow(rfhe_bench *b, void *old, size_t *cap, size_t n, size_t size)
{
    if (n < *cap) { return old; }
    const size_t wanted = *cap == 0 ? 64 : *cap * 2;
    void *more = rfhe_realloc(old, wanted, size);
    if (more == NULL) {
        b->failed = true;
        return NULL;
    }
    *cap = wanted;
    return more;
}

rfhe_cli *rfhe_bench_cli(rfhe_bench *b)
{
    return b->cli;
}

/* ---- timing ---- */

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics; `q` in [0, 1]. */
static double quantile(const double *sorted, unsigned n, double q)
{
    const double at = q * (double)(n - 1);
    const unsigned below = (unsigned)at, above = below + 1 < n ? below + 1 : below;

    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

rfhe_timing rfhe_bench_summary(double *samples_ms, unsigned n)
{
    qsort(samples_ms, n, sizeof *samples_ms, by_size);
    return (rfhe_timing){.median_ms = quantile(samples_ms, n, 0.5),
                         .min_ms = samples_ms[0],
                         .max_ms = samples_ms[n - 1],
                         .q1_ms = quantile(samples_ms, n, 0.25),
                         .q3_ms = quantile(samples_ms, n, 0.75),
                         .runs = n};
}

/* Seconds of `batch` calls. */
static rfhe_status time_batch(double *out, rfhe_status (*fn)(void *user), void *user,
                              unsigned batch)
{
    const double start = rfhe_now();

    for (unsigned i = 0; i < batch; i++) {
        const rfhe_status st = fn(user);
        if (st != RFHE_OK) { return st; }
    }
    *out = rfhe_now() - start;
    return RFHE_OK;
}

static rfhe_status keep_going(rfhe_bench *b)
{
    return rfhe_progress_report(&b->cli->progress, b->suite->name, (double)b->n_rows, 0, "rows",
                                NULL);
}

/* Doubles the batch until one takes 20 us. The calls made here are the warm-up. */
static rfhe_status choose_batch(unsigned *batch, rfhe_bench *b, rfhe_status (*fn)(void *user),
                                void *user)
{
    double took = 0;

    *batch = 1;
    for (;;) {
        rfhe_status st = time_batch(&took, fn, user, *batch);
        if (st == RFHE_OK) { st = keep_going(b); }
        if (st != RFHE_OK || took >= 20e-6 || *batch >= 1U << 20) { return st; }
        *batch *= 2;
    }
}

rfhe_status rfhe_bench_time(rfhe_timing *out, rfhe_bench *b, rfhe_status (*fn)(void *user),
                            void *user, unsigned min_runs, double seconds)
{
    rfhe_status st = RFHE_OK;
    double *samples = NULL;
    size_t cap = 0;
    unsigned n = 0, batch = 1;
    const uint64_t wanted = rfhe_args_uint(b->args, "runs", min_runs == 0 ? 9 : min_runs);
    const double budget = rfhe_args_float(b->args, "seconds", seconds > 0 ? seconds : 0.5);

    RFHE_TRY(choose_batch(&batch, b, fn, user));
    for (double start = rfhe_now(); n < wanted || rfhe_now() - start < budget; n++) {
        double took = 0;
        double *more = grow(b, samples, &cap, n, sizeof *samples);
        if (more == NULL) {
            st = RFHE_E_NOMEM;
            goto done;
        }
        samples = more;
        RFHE_TRY(time_batch(&took, fn, user, batch));
        samples[n] = 1e3 * took / (double)batch;
        RFHE_TRY(keep_going(b));
    }
    *out = rfhe_bench_summary(samples, n);

done:
    rfhe_free(samples);
    return st;
}

/* ---- rows ---- */

bool rfhe_bench_wants(const rfhe_bench *b, const char *op)
{
    const char *wish = rfhe_args_text(b->args, "op", "*");
    const size_t n = strlen(wish);

    return n > 0 && wish[n - 1] == '*' ? strncmp(wish, op, n - 1) == 0 : strcmp(wish, op) == 0;
}

static cell *find_cell(const rfhe_bench *b, const row *r, const char *key)
{
    for (size_t i = r->first; i < r->first + r->count; i++) {
        if (strcmp(b->cells[i].key, key) == 0) { return &b->cells[i]; }
    }
    return NULL;
}

/* The cell of this key in the open row, made if it is new; NULL outside a row or without memory. */
static cell *put(rfhe_bench *b, const char *key, cell_kind kind)
{
    if (!b->in_row || b->failed) { return NULL; }
    row *r = &b->rows[b->n_rows];
    cell *c = find_cell(b, r, key);
    if (c == NULL) {
        cell *cells = grow(b, b->cells, &b->cap_cells, b->n_cells, sizeof *cells);
        if (cells == NULL) { return NULL; }
        b->cells = cells;
        c = &cells[b->n_cells++];
        r->count++;
    }
    *c = (cell){.kind = kind};
    (void)snprintf(c->key, sizeof c->key, "%s", key);
    return c;
}

void rfhe_bench_row_begin(rfhe_bench *b, const char *op)
{
    b->in_row = false;
    if (b->failed || !rfhe_bench_wants(b, op)) { return; }
    row *rows = grow(b, b->rows, &b->cap_rows, b->n_rows, sizeof *rows);
    if (rows == NULL) { return; }
    b->rows = rows;
    rows[b->n_rows] = (row){.first = b->n_cells};
    b->in_row = true;
    rfhe_bench_text(b, "op", op);
}

void rfhe_bench_text(rfhe_bench *b, const char *key, const char *value)
{
    cell *c = put(b, key, CELL_TEXT);

    if (c != NULL) { (void)snprintf(c->text, sizeof c->text, "%s", value); }
}

void rfhe_bench_integer(rfhe_bench *b, const char *key, int64_t value)
{
    cell *c = put(b, key, CELL_INTEGER);

    if (c != NULL) {
        c->integer = value;
        (void)snprintf(c->text, sizeof c->text, "%" PRId64, value);
    }
}

/* Four significant digits without an exponent, which is what a reader of a table wants. */
static void format_number(char out[TEXT_MAX], double v)
{
    const double size = v == 0 ? 0 : floor(log10(fabs(v)));
    const int decimals = size >= 3 ? 0 : size <= -5 ? 8 : 3 - (int)size;

    (void)snprintf(out, TEXT_MAX, "%.*f", decimals, v);
}

void rfhe_bench_number(rfhe_bench *b, const char *key, double value)
{
    cell *c = put(b, key, CELL_NUMBER);

    if (c != NULL) {
        c->number = value;
        if (isfinite(value)) {
            format_number(c->text, value);
        } else {
            (void)snprintf(c->text, sizeof c->text, "-");
        }
    }
}

static void number_for_json(rfhe_bench *b, const char *key, double value)
{
    cell *c = put(b, key, CELL_NUMBER);

    if (c != NULL) {
        c->number = value;
        c->json_only = true;
    }
}

static void add_stage(rfhe_bench *b)
{
    if (!b->in_row || b->failed) { return; }
    const row *r = &b->rows[b->n_rows];
    if (find_cell(b, r, "threads") == NULL) {
        rfhe_bench_integer(b, "threads", rfhe_threads_get());
    }
    if (find_cell(b, r, "isa") == NULL) {
        rfhe_bench_text(b, "isa", rfhe_isa_name(rfhe_cpu_isa()));
    }
}

void rfhe_bench_timing(rfhe_bench *b, const rfhe_timing *t)
{
    add_stage(b);
    rfhe_bench_number(b, "median_ms", t->median_ms);
    rfhe_bench_number(b, "min_ms", t->min_ms);
    if (t->q3_ms > 0) {
        number_for_json(b, "q1_ms", t->q1_ms);
        number_for_json(b, "q3_ms", t->q3_ms);
    }
    number_for_json(b, "max_ms", t->max_ms);
    rfhe_bench_integer(b, "runs", t->runs);
}

void rfhe_bench_row_end(rfhe_bench *b)
{
    add_stage(b);
    if (b->in_row && !b->failed) { b->n_rows++; }
    b->in_row = false;
}

/* ---- output ---- */

static void write_json(const rfhe_bench *b, rfhe_text *out)
{
    rfhe_json j = {.out = out};

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.bench/1");
    rfhe_json_string(&j, "suite", b->suite->name);
    rfhe_json_string(&j, "version", rfhe_version());
    rfhe_json_string(&j, "compiler", __VERSION__);
    rfhe_json_string(&j, "cpu", rfhe_cpu_name());
    rfhe_json_integer(&j, "seed", (int64_t)b->cli->seed);
    rfhe_json_array(&j, "rows");
    for (size_t i = 0; i < b->n_rows; i++) {
        const row *r = &b->rows[i];
        rfhe_json_object(&j, NULL);
        for (size_t k = r->first; k < r->first + r->count; k++) {
            const cell *c = &b->cells[k];
            switch (c->kind) {
            case CELL_TEXT: rfhe_json_string(&j, c->key, c->text); break;
            case CELL_INTEGER: rfhe_json_integer(&j, c->key, c->integer); break;
            case CELL_NUMBER: rfhe_json_number(&j, c->key, c->number); break;
            }
        }
        rfhe_json_end_object(&j);
    }
    rfhe_json_end_array(&j);
    rfhe_json_end_object(&j);
}

/* The columns of a row as the table shows them. */
static unsigned visible(const rfhe_bench *b, const row *r, const cell *out[COLUMNS_MAX])
{
    unsigned n = 0;

    for (size_t i = r->first; i < r->first + r->count && n < COLUMNS_MAX; i++) {
        if (!b->cells[i].json_only) { out[n++] = &b->cells[i]; }
    }
    return n;
}

static bool same_columns(const rfhe_bench *b, const row *x, const row *y)
{
    const cell *cx[COLUMNS_MAX], *cy[COLUMNS_MAX];
    const unsigned n = visible(b, x, cx);

    if (visible(b, y, cy) != n) { return false; }
    for (unsigned i = 0; i < n; i++) {
        if (strcmp(cx[i]->key, cy[i]->key) != 0) { return false; }
    }
    return true;
}

static void end_line(rfhe_text *out)
{
    while (out->size > 0 && out->data[out->size - 1] == ' ') { out->data[--out->size] = '\0'; }
    rfhe_text_add(out, "\n");
}

/* Rows [from, to) have the same columns: a heading, then text to the left and numbers to the right. */
static void write_block(const rfhe_bench *b, rfhe_text *out, size_t from, size_t to)
{
    int width[COLUMNS_MAX] = {0};
    const cell *c[COLUMNS_MAX];
    unsigned n = 0;

    for (size_t i = from; i < to; i++) {
        n = visible(b, &b->rows[i], c);
        for (unsigned k = 0; k < n; k++) {
            const int key = (int)strlen(c[k]->key), text = (int)strlen(c[k]->text);
            const int need = key > text ? key : text;
            if (width[k] < need) { width[k] = need; }
        }
    }
    for (unsigned k = 0; k < n; k++) {
        rfhe_text_printf(out, "%*s  ", c[k]->kind == CELL_TEXT ? -width[k] : width[k], c[k]->key);
    }
    end_line(out);
    for (size_t i = from; i < to; i++) {
        n = visible(b, &b->rows[i], c);
        for (unsigned k = 0; k < n; k++) {
            rfhe_text_printf(out, "%*s  ", c[k]->kind == CELL_TEXT ? -width[k] : width[k],
                             c[k]->text);
        }
        end_line(out);
    }
}

static void write_table(const rfhe_bench *b, rfhe_text *out)
{
    size_t from = 0;

    for (size_t i = 1; i <= b->n_rows; i++) {
        if (i < b->n_rows && same_columns(b, &b->rows[from], &b->rows[i])) { continue; }
        if (from > 0) { rfhe_text_add(out, "\n"); }
        write_block(b, out, from, i);
        from = i;
    }
}

rfhe_status rfhe_bench_run(rfhe_cli *cli, const rfhe_bench_suite *suite, const rfhe_args *args,
                           rfhe_error *err)
{
    rfhe_bench b = {.cli = cli, .suite = suite, .args = args};
    rfhe_status st = suite->run(&b, args, err);

    if (st == RFHE_OK && b.failed) { st = RFHE_E_NOMEM; }
    if (st == RFHE_OK && b.n_rows == 0) {
        st = rfhe_fail(err, RFHE_E_ARG, "no row of '%s' matches --op '%s'", suite->name,
                       rfhe_args_text(args, "op", "*"));
    }
    if (st == RFHE_OK && cli->json) { write_json(&b, &cli->out); }
    if (st == RFHE_OK && !cli->json) { write_table(&b, &cli->out); }
    rfhe_free(b.cells);
    rfhe_free(b.rows);
    return st;
}
