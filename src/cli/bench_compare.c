/* `rfhe bench compare`: two documents of `rfhe bench`, matched row by row. */
#include "cli/bench.h"

#include "base/file.h"
#include "base/mem.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { DOCUMENT_MAX = 64 << 20 };

/* Differences below this part of the median are never called a change. */
static const double floor_of_noise = 0.02;

static rfhe_status load(json_t **doc, json_t **rows, const char *path, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint8_t *data = NULL;
    size_t size = 0;
    json_error_t why;
    json_t *d = NULL;

    RFHE_TRY(rfhe_file_read(&data, &size, path, DOCUMENT_MAX, err));
    d = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &why);
    if (d == NULL) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is not JSON: line %d: %s", path, why.line,
                       why.text);
        goto done;
    }
    const char *schema = json_string_value(json_object_get(d, "schema"));
    *rows = json_object_get(d, "rows");
    if (schema == NULL || strcmp(schema, "rfhe.bench/1") != 0 || !json_is_array(*rows)) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is not a document of rfhe bench --json", path);
        goto done;
    }
    *doc = d;
    d = NULL;

done:
    json_decref(d);
    rfhe_free(data);
    return st;
}

/* What identifies a row: the values of the fields in front of the timing, in words. */
static void describe(rfhe_text *out, json_t *row)
{
    const char *key;
    json_t *value;

    json_object_foreach(row, key, value)
    {
        if (strcmp(key, "median_ms") == 0) { break; }
        if (out->size > 0) { rfhe_text_add(out, " "); }
        if (json_is_string(value)) {
            rfhe_text_printf(out, "%s", json_string_value(value));
        } else {
            rfhe_text_printf(out, "%s=%.12g", key, json_number_value(value));
        }
    }
}

static double number(json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

/* Interquartile range as a part of the median; without quartiles, median to minimum stands for half of it. */
static double spread(json_t *row)
{
    const double median = number(row, "median_ms"), q3 = number(row, "q3_ms");
    const double range = q3 > 0 ? q3 - number(row, "q1_ms") : 2 * (median - number(row, "min_ms"));

    return median > 0 ? range / median : 0;
}

static const char *verdict(double ratio, double noise)
{
    if (fabs(ratio - 1) <= fmax(floor_of_noise, noise)) { return "same"; }
    return ratio < 1 ? "faster" : "slower";
}

typedef struct comparison {
    rfhe_cli *cli;
    rfhe_json json;
    unsigned matched;
} comparison;

static void write_pair(comparison *c, const char *what, json_t *a, json_t *b)
{
    const double before = number(a, "median_ms"), after = number(b, "median_ms");
    const double noise = fmax(spread(a), spread(b));
    const double ratio = before > 0 ? after / before : NAN;
    const char *word = isnan(ratio) ? "unknown" : verdict(ratio, noise);

    c->matched++;
    if (c->cli->json) {
        rfhe_json_object(&c->json, NULL);
        rfhe_json_string(&c->json, "row", what);
        rfhe_json_number(&c->json, "before_ms", before);
        rfhe_json_number(&c->json, "after_ms", after);
        rfhe_json_number(&c->json, "ratio", ratio);
        rfhe_json_number(&c->json, "noise", noise);
        rfhe_json_string(&c->json, "verdict", word);
        rfhe_json_end_object(&c->json);
    } else {
        rfhe_text_printf(&c->cli->out, "%12.4f %12.4f %8.3f %7.1f%%  %-8s %s\n", before, after,
                         ratio, 100 * noise, word, what);
    }
}

/* The first row of `rows` that has this description, NULL if there is none. */
static rfhe_status find_row(json_t **out, json_t *rows, const char *what)
{
    rfhe_status st = RFHE_OK;

    *out = NULL;
    for (size_t i = 0; i < json_array_size(rows) && *out == NULL && st == RFHE_OK; i++) {
        rfhe_text other = {0};
        describe(&other, json_array_get(rows, i));
        st = rfhe_text_status(&other);
        if (st == RFHE_OK && other.data != NULL && strcmp(other.data, what) == 0) {
            *out = json_array_get(rows, i);
        }
        rfhe_text_clear(&other);
    }
    return st;
}

static rfhe_status write_pairs(comparison *c, json_t *rows_a, json_t *rows_b)
{
    rfhe_status st = RFHE_OK;

    for (size_t i = 0; i < json_array_size(rows_a) && st == RFHE_OK; i++) {
        json_t *a = json_array_get(rows_a, i), *b = NULL;
        rfhe_text what = {0};
        describe(&what, a);
        st = rfhe_text_status(&what);
        if (st == RFHE_OK && what.data != NULL) { st = find_row(&b, rows_b, what.data); }
        if (st == RFHE_OK && b != NULL) { write_pair(c, what.data, a, b); }
        rfhe_text_clear(&what);
    }
    return st;
}

rfhe_status rfhe_bench_compare(rfhe_cli *cli, const char *path_a, const char *path_b,
                               rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    json_t *a = NULL, *b = NULL, *rows_a = NULL, *rows_b = NULL;
    comparison c = {.cli = cli, .json = {.out = &cli->out}};

    RFHE_TRY(load(&a, &rows_a, path_a, err));
    RFHE_TRY(load(&b, &rows_b, path_b, err));
    if (cli->json) {
        rfhe_json_object(&c.json, NULL);
        rfhe_json_string(&c.json, "schema", "rfhe.bench-compare/1");
        rfhe_json_array(&c.json, "rows");
    } else {
        rfhe_text_printf(&cli->out, "%12s %12s %8s %8s  %-8s %s\n", "before_ms", "after_ms",
                         "ratio", "noise", "verdict", "row");
    }
    RFHE_TRY(write_pairs(&c, rows_a, rows_b));
    const size_t n_a = json_array_size(rows_a), n_b = json_array_size(rows_b);
    const size_t alone_a = n_a - c.matched, alone_b = n_b > c.matched ? n_b - c.matched : 0;
    if (cli->json) {
        rfhe_json_end_array(&c.json);
        rfhe_json_integer(&c.json, "only_before", (int64_t)alone_a);
        rfhe_json_integer(&c.json, "only_after", (int64_t)alone_b);
        rfhe_json_end_object(&c.json);
    } else if (alone_a + alone_b > 0) {
        rfhe_text_printf(&cli->out, "%zu rows only in the first file, %zu only in the second\n",
                         alone_a, alone_b);
    }

done:
    json_decref(a);
    json_decref(b);
    return st;
}
