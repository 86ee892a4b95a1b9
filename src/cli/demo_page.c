/* See demo.h: what the steps found, as a page for people and as a document for scripts. */
#include "cli/demo.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "report/html.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
    } rows[] = {{"with ReLU and MaxPool", &d->plain}, {"with polynomials", &d->after}};
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

/* The pictures, each above what it is and what was decrypted. */
static void gallery(rfhe_text *out, const demo *d)
{
    const trial *t = &d->t;
    rfhe_text markup = {0};

    rfhe_text_add(&markup, "<div style=\"display:flex;flex-wrap:wrap;gap:1.2em\">");
    rfhe_html_markup(out, &markup);
    for (size_t i = 0; i < t->images; i++) {
        char said[64];
        rfhe_text_clear(&markup);
        rfhe_text_add(&markup, "<div style=\"width:9em\">");
        rfhe_html_markup(out, &markup);
        rfhe_html_pixels(out, d->picture[i].pixels, d->picture[i].width, d->picture[i].height, d->picture[i].channels,
                         d->picture[i].width > 64 ? 1 : 4, d->label[i]);
        sides_class(said, sizeof said, t->p, d->why_not[0] != '\0' ? t->image[i].twin : t->image[i].encrypted);
        if (d->why_not[0] != '\0') {
            rfhe_html_paragraph(out, "is %s; on numbers %s", d->label[i], said);
        } else {
            rfhe_html_paragraph(out, "is %s; decrypted %s; %.2f s", d->label[i], said, t->image[i].seconds);
        }
        rfhe_text_clear(&markup);
        rfhe_text_add(&markup, "</div>");
        rfhe_html_markup(out, &markup);
    }
    rfhe_text_clear(&markup);
    rfhe_text_add(&markup, "</div>");
    rfhe_html_markup(out, &markup);
    rfhe_text_clear(&markup);
}

static void program_table(rfhe_text *out, const demo *d)
{
    static const char *const names[] = {"instruction", "ends with", "channels", "height", "width", "ciphertexts", "seconds"};
    static const char *const kinds[] = {"linear", "activate", "reply"};
    const rfhe_program *p = d->t.p;
    rfhe_html_table t;

    rfhe_html_table_begin(&t, out, names, d->t.instruction != NULL ? 7 : 6);
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *in = &p->instruction[i];
        const rfhe_layout *l = &p->tensor[in->out].layout;
        rfhe_html_cell(&t, "%s", kinds[in->kind]);
        rfhe_html_cell(&t, "%s", in->name);
        rfhe_html_cell(&t, "%u", l->channels);
        rfhe_html_cell(&t, "%u", l->height);
        rfhe_html_cell(&t, "%u", l->width);
        rfhe_html_cell(&t, "%u", l->ciphertexts);
        if (d->t.instruction != NULL) { rfhe_html_cell(&t, "%.3f", d->t.instruction[i].seconds / (double)d->t.images); }
    }
    rfhe_html_table_end(&t);
}

static void tiles(rfhe_text *out, const demo *d)
{
    const trial *t = &d->t;
    char value[4][64], note[4][96];
    const char *const names[] = {"encrypted images right", "seconds per image", "security", "memory at most"};
    const char *const values[] = {value[0], value[1], value[2], value[3]}, *const notes[] = {note[0], note[1], note[2], note[3]};

    (void)snprintf(value[0], sizeof value[0], "%" PRIu64 " of %zu", t->right, t->images);
    (void)snprintf(note[0], sizeof note[0], "%" PRIu64 " as on numbers", t->agree);
    (void)snprintf(value[1], sizeof value[1], "%.2f", t->median_seconds);
    (void)snprintf(note[1], sizeof note[1], "median, %u threads", d->cli->threads);
    (void)snprintf(value[2], sizeof value[2], "%u bits", t->info.security_bits);
    (void)snprintf(note[2], sizeof note[2], "N = 2^%u, log2 QP = %.0f", t->info.log2_n, t->info.log2_qp);
    (void)snprintf(value[3], sizeof value[3], "%.1f GiB", (double)rfhe_peak_rss() / (1 << 30));
    (void)snprintf(note[3], sizeof note[3], "keys %.0f MiB", (double)t->key_bytes / (1 << 20));
    rfhe_html_tiles(out, names, values, notes, 4);
}

rfhe_status demo_write_page(const demo *d, const char *path, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_text page = {0};

    rfhe_html_begin(&page, "rfhe demo: a network on encrypted images");
    if (d->why_not[0] == '\0') {
        tiles(&page, d);
    } else {
        rfhe_html_paragraph(&page, "Nothing was encrypted: %s.", d->why_not);
    }
    rfhe_html_heading(&page, "Images");
    gallery(&page, d);
    rfhe_html_heading(&page, "Accuracy");
    accuracy_table(&page, d);
    rfhe_html_paragraph(&page, "Each of the %u activations is a polynomial (%s) with coefficients by channel; ranges are fixed.",
                        d->pafs, d->forms);
    rfhe_html_heading(&page, "The program");
    program_table(&page, d);
    rfhe_html_paragraph(&page, "Parameters %s. The side that computes holds the program, its weights and evaluation keys; "
                               "images, results and the secret key are the client's.", d->t.p->set);
    rfhe_html_paragraph(&page, "rfhe %s, %s, %u threads, %s, seed %" PRIu64 ", %.0f s in all.", rfhe_version(),
                        rfhe_cpu_name(), d->cli->threads, rfhe_isa_name(rfhe_cpu_isa()), d->cli->seed, d->seconds);
    rfhe_html_end(&page);
    RFHE_TRY(rfhe_text_status(&page));
    RFHE_TRY(rfhe_file_write(path, page.data, page.size, 0644, err));

done:
    rfhe_text_clear(&page);
    return st;
}

/* ---- JSON ---- */

static void encrypted_json(rfhe_json *j, const demo *d)
{
    const trial *t = &d->t;

    rfhe_json_integer(j, "log2_n", t->info.log2_n);
    rfhe_json_number(j, "log2_qp", t->info.log2_qp);
    rfhe_json_integer(j, "security_bits", t->info.security_bits);
    rfhe_json_number(j, "key_seconds", t->key_seconds);
    rfhe_json_number(j, "key_mib", (double)t->key_bytes / (1 << 20));
    rfhe_json_number(j, "top1_encrypted", (double)t->right / (double)t->images);
    rfhe_json_number(j, "agree", (double)t->agree / (double)t->images);
    rfhe_json_number(j, "max_abs_error", t->max_error);
    rfhe_json_number(j, "precision_bits", trial_precision(t));
    rfhe_json_number(j, "seconds_per_image", t->median_seconds);
}

void demo_write_json(const demo *d, const char *page)
{
    const trial *t = &d->t;
    const bool encrypted = d->why_not[0] == '\0';
    rfhe_json j = {.out = &d->cli->out};

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.demo/2");
    rfhe_json_string(&j, "model", d->model);
    rfhe_json_string(&j, "replaced", d->tuned[0] != '\0' ? d->tuned : NULL);
    rfhe_json_string(&j, "data", d->spec);
    rfhe_json_integer(&j, "images", (int64_t)d->plain.images);
    rfhe_json_integer(&j, "macs", (int64_t)d->cost.macs);
    rfhe_json_integer(&j, "parameters", (int64_t)d->cost.parameters);
    rfhe_json_integer(&j, "activations", d->relus);
    rfhe_json_integer(&j, "maxpools", d->maxpools);
    rfhe_json_string(&j, "form", d->forms);
    rfhe_json_integer(&j, "polynomials", d->pafs);
    rfhe_json_string(&j, "scale", "static");
    rfhe_json_integer(&j, "relu_depth", d->depth);
    rfhe_json_number(&j, "top1_before", percent(&d->plain) / 100);
    rfhe_json_number(&j, "top1_after", percent(&d->after) / 100);
    rfhe_json_string(&j, "set", t->p->set);
    rfhe_json_integer(&j, "refreshes", t->p->n_activations);
    rfhe_json_number(&j, "predicted_seconds", t->p->bill.seconds);
    rfhe_json_bool(&j, "encrypted", encrypted);
    if (encrypted) {
        encrypted_json(&j, d);
    } else {
        rfhe_json_string(&j, "why_not", d->why_not);
    }
    rfhe_json_number(&j, "twin_agree", (double)t->agree_twin / (double)t->images);
    rfhe_json_array(&j, "results");
    for (size_t i = 0; i < t->images; i++) {
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "label", d->label[i]);
        rfhe_json_integer(&j, "true", t->image[i].label);
        if (encrypted) {
            rfhe_json_integer(&j, "encrypted", t->image[i].encrypted);
            rfhe_json_number(&j, "seconds", t->image[i].seconds);
        }
        rfhe_json_integer(&j, "clear", t->image[i].clear);
        rfhe_json_end_object(&j);
    }
    rfhe_json_end_array(&j);
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
