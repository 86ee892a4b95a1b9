/* See demo.h: what the steps found, as a page for people and as a document for scripts. */
#include "cli/demo.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "report/html.h"
#include "report/svg.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { BARS = 128, CURVE = 257 };

typedef struct drawing {
    double edge[BARS + 1], share[BARS + 1];
    double x[CURVE], relu[CURVE], paf[CURVE];
} drawing;

/* The histogram over [-scale, scale], its highest bar at half the height of the curves. */
static void fill_bars(drawing *w, const demo *d)
{
    const rfhe_histogram *h = &d->profile.layer[0].whole;
    const double width = 2 * h->range / RFHE_HISTOGRAM_BINS;
    double most = 0;

    for (size_t i = 0; i <= BARS; i++) { w->edge[i] = d->scale * (2.0 * (double)i / BARS - 1); }
    for (size_t i = 0; i < RFHE_HISTOGRAM_BINS; i++) {
        const double at = (-h->range + ((double)i + 0.5) * width) / d->scale;
        const double bar = floor((at + 1) / 2 * BARS);
        if (bar >= 0 && bar < BARS) { w->share[(size_t)bar] += (double)h->count[i]; }
    }
    for (size_t i = 0; i < BARS; i++) { most = fmax(most, w->share[i]); }
    for (size_t i = 0; i < BARS && most > 0; i++) { w->share[i] *= 0.5 * d->scale / most; }
}

static rfhe_status draw(rfhe_text *svg, const demo *d)
{
    drawing *w = rfhe_calloc(1, sizeof *w);

    if (w == NULL) { return RFHE_E_NOMEM; }
    fill_bars(w, d);
    for (size_t i = 0; i < CURVE; i++) {
        const double u = 2.0 * (double)i / (CURVE - 1) - 1;
        w->x[i] = d->scale * u;
        w->relu[i] = fmax(w->x[i], 0);
        w->paf[i] = d->scale * rfhe_paf_value(&d->paf, u);
    }
    const rfhe_plot_series series[] = {
        {.name = "inputs (share, not to scale)", .style = RFHE_PLOT_STEPS, .x = w->edge, .y = w->share, .n = BARS + 1, .color = 3},
        {.name = "ReLU", .style = RFHE_PLOT_DASHED, .x = w->x, .y = w->relu, .n = CURVE, .color = 2},
        {.name = d->form, .x = w->x, .y = w->paf, .n = CURVE, .color = 1},
    };
    const rfhe_plot plot = {.x_label = "input of the first activation", .y_label = "output", .series = series, .n_series = 3};
    rfhe_plot_svg(svg, NULL, NULL, &plot, 1, 720, 320);
    rfhe_free(w);
    return rfhe_text_status(svg);
}

static double percent(const rfhe_loss_sums *s)
{
    return s->images > 0 ? 100 * (double)s->top1 / (double)s->images : 0;
}

static void accuracy_table(rfhe_text *out, const demo *d)
{
    static const char *const names[] = {"network", "right", "of", "top-1 (%)", "standard error"};
    const struct {
        const char *name;
        const rfhe_loss_sums *s;
    } rows[] = {{"with ReLU and MaxPool", &d->plain}, {"with tuned polynomials", &d->after}};
    rfhe_html_table t;

    rfhe_html_table_begin(&t, out, names, 5);
    for (size_t i = 0; i < 2; i++) {
        const double p = percent(rows[i].s);
        rfhe_html_cell(&t, "%s", rows[i].name);
        rfhe_html_cell(&t, "%" PRIu64, rows[i].s->top1);
        rfhe_html_cell(&t, "%" PRIu64, rows[i].s->images);
        rfhe_html_cell(&t, "%.2f", p);
        rfhe_html_cell(&t, "%.2f", sqrt(p * (100 - p) / (double)rows[i].s->images));
    }
    rfhe_html_table_end(&t);
}

static void cipher_table(rfhe_text *out, const demo *d)
{
    static const char *const names[] = {"polynomial", "levels", "products", "time (ms)", "error (bits)", "keys (MiB)", "parameters"};
    const demo_encrypted *rows[] = {&d->tuned, &d->published};
    rfhe_html_table t;

    rfhe_html_table_begin(&t, out, names, 7);
    for (size_t i = 0; i < 2; i++) {
        rfhe_html_cell(&t, "%s, %s", rows[i]->form, rows[i]->is_tuned ? "tuned" : "as published");
        rfhe_html_cell(&t, "%u", rows[i]->levels);
        rfhe_html_cell(&t, "%u", rows[i]->products);
        rfhe_html_cell(&t, "%.1f", rows[i]->ms);
        rfhe_html_cell(&t, "%.1f", rows[i]->error_bits);
        rfhe_html_cell(&t, "%.1f", rows[i]->key_mib);
        rfhe_html_cell(&t, "N = 2^%u, log2 QP = %.0f", rows[i]->log2_n, rows[i]->log2_qp);
    }
    rfhe_html_table_end(&t);
}

static void refresh_part(rfhe_text *out, const demo *d)
{
    const demo_refresh *r = &d->refresh;

    rfhe_html_heading(out, "Refresh");
    if (!r->done) {
        rfhe_html_paragraph(out, "Not run: %s.", r->why_not);
        return;
    }
    rfhe_html_paragraph(out, "Parameters B15-3: %.2f s, level %u to %u, %u levels regained; error %.1f bits at worst, %.1f "
                             "root mean square; %u keys, %.0f MiB, made by the client in %.1f s.", r->seconds,
                        r->level_before, r->level_after, r->levels_regained, r->error_bits, r->rms_bits, r->keys,
                        r->key_mib, r->key_seconds);
}

rfhe_status demo_write_page(const demo *d, const char *path, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_text page = {0}, svg = {0};

    rfhe_html_begin(&page, "rfhe demo: polynomials in place of ReLU, under encryption");
    rfhe_html_pixels(&page, d->picture.pixels, d->picture.width, d->picture.height, d->picture.channels,
                     d->picture.width > 64 ? 2 : 6, d->label);
    rfhe_html_paragraph(&page, "Test image %" PRIu64 " of %s: %s.", d->image, d->spec, d->label);
    rfhe_html_heading(&page, "Accuracy");
    accuracy_table(&page, d);
    rfhe_html_paragraph(&page, "Each of the %zu activations is now %s with coefficients fitted by channel (the first: one set for all) to %" PRIu64
                               " training images; ranges are fixed.", d->report.n, d->form, d->profile.images);
    rfhe_html_heading(&page, "The first activation");
    RFHE_TRY(draw(&svg, d));
    rfhe_html_markup(&page, &svg);
    rfhe_html_heading(&page, "On a ciphertext");
    cipher_table(&page, d);
    rfhe_html_paragraph(&page, "%zu of the %zu values that reach the first activation for this image, in one ciphertext; %u-bit "
                               "security; the side that evaluates holds evaluation keys only.", d->values, d->all_values,
                        d->tuned.security_bits);
    refresh_part(&page, d);
    rfhe_html_heading(&page, "Not there yet");
    rfhe_html_paragraph(&page, "Whole networks under encryption: the convolutions here ran in the clear.");
    rfhe_html_paragraph(&page, "rfhe %s, %s, %u threads, %s, seed %" PRIu64 ", %.0f s in all.", rfhe_version(),
                        rfhe_cpu_name(), d->cli->threads, rfhe_isa_name(rfhe_cpu_isa()), d->cli->seed, d->seconds);
    rfhe_html_end(&page);
    RFHE_TRY(rfhe_text_status(&page));
    RFHE_TRY(rfhe_file_write(path, page.data, page.size, 0644, err));

done:
    rfhe_text_clear(&svg);
    rfhe_text_clear(&page);
    return st;
}

/* ---- JSON ---- */

static void encrypted_json(rfhe_json *j, const char *key, const demo_encrypted *e)
{
    rfhe_json_object(j, key);
    rfhe_json_string(j, "form", e->form);
    rfhe_json_bool(j, "tuned", e->is_tuned);
    rfhe_json_integer(j, "log2_n", e->log2_n);
    rfhe_json_number(j, "log2_qp", e->log2_qp);
    rfhe_json_integer(j, "security_bits", e->security_bits);
    rfhe_json_integer(j, "levels", e->levels);
    rfhe_json_integer(j, "products", e->products);
    rfhe_json_number(j, "min_ms", e->ms);
    rfhe_json_integer(j, "runs", e->runs);
    rfhe_json_number(j, "encrypt_ms", e->encrypt_ms);
    rfhe_json_number(j, "max_error", e->worst);
    rfhe_json_number(j, "precision_bits", e->error_bits);
    rfhe_json_number(j, "relu_rms", e->relu_rms);
    rfhe_json_number(j, "key_mib", e->key_mib);
    rfhe_json_end_object(j);
}

static void refresh_json(rfhe_json *j, const demo_refresh *r)
{
    rfhe_json_object(j, "refresh");
    rfhe_json_bool(j, "done", r->done);
    if (r->done) {
        rfhe_json_string(j, "set", "B15-3");
        rfhe_json_number(j, "seconds", r->seconds);
        rfhe_json_integer(j, "level_before", r->level_before);
        rfhe_json_integer(j, "level_after", r->level_after);
        rfhe_json_integer(j, "levels_regained", r->levels_regained);
        rfhe_json_number(j, "precision_bits", r->rms_bits);
        rfhe_json_number(j, "worst_bits", r->error_bits);
        rfhe_json_number(j, "key_seconds", r->key_seconds);
        rfhe_json_integer(j, "keys", r->keys);
        rfhe_json_number(j, "key_mib", r->key_mib);
    } else {
        rfhe_json_string(j, "why_not", r->why_not);
    }
    rfhe_json_end_object(j);
}

void demo_write_json(const demo *d, const char *page)
{
    rfhe_json j = {.out = &d->cli->out};

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.demo/1");
    rfhe_json_string(&j, "model", d->model);
    rfhe_json_string(&j, "data", d->spec);
    rfhe_json_integer(&j, "images", (int64_t)d->plain.images);
    rfhe_json_integer(&j, "macs", (int64_t)d->cost.macs);
    rfhe_json_integer(&j, "parameters", (int64_t)d->cost.parameters);
    rfhe_json_integer(&j, "activations", d->relus);
    rfhe_json_integer(&j, "maxpools", d->maxpools);
    rfhe_json_string(&j, "form", d->form);
    rfhe_json_integer(&j, "replaced", (int64_t)d->report.n);
    rfhe_json_string(&j, "scale", "static");
    rfhe_json_integer(&j, "relu_depth", d->report.depth_max);
    rfhe_json_integer(&j, "calibration_images", (int64_t)d->profile.images);
    rfhe_json_number(&j, "fit_seconds", d->report.fit_seconds);
    rfhe_json_number(&j, "top1_before", percent(&d->plain) / 100);
    rfhe_json_number(&j, "top1_after", percent(&d->after) / 100);
    rfhe_json_integer(&j, "image", (int64_t)d->image);
    rfhe_json_string(&j, "label", d->label);
    rfhe_json_integer(&j, "values", (int64_t)d->values);
    rfhe_json_integer(&j, "values_of_layer", (int64_t)d->all_values);
    encrypted_json(&j, "tuned", &d->tuned);
    encrypted_json(&j, "published", &d->published);
    refresh_json(&j, &d->refresh);
    rfhe_json_string(&j, "page", page);
    rfhe_json_string(&j, "version", rfhe_version());
    rfhe_json_string(&j, "cpu", rfhe_cpu_name());
    rfhe_json_string(&j, "isa", rfhe_isa_name(rfhe_cpu_isa()));
    rfhe_json_integer(&j, "threads", d->cli->threads);
    rfhe_json_integer(&j, "seed", (int64_t)d->cli->seed);
    rfhe_json_number(&j, "seconds", d->seconds);
    rfhe_json_number(&j, "peak_rss_mib", (double)rfhe_peak_rss() / (1 << 20));
    rfhe_json_end_object(&j);
}
