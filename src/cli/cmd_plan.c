/* rfhe plan MODEL -o PROGRAM: from a network to an encrypted program, its bill, and a drawing of how tensors lie. */
#include "cli/calibration.h"
#include "cli/network.h"
#include "cli/trial.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "plan/lower.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"output", 'o', RFHE_OPT_TEXT, "PROGRAM", NULL, "folder to write (default: only the bill is printed)"},
    {"replace", 0, RFHE_OPT_FLAG, NULL, NULL, "replace a program that has keys: what they encrypted is lost"},
    {"memory", 'm', RFHE_OPT_BYTES, "SIZE", NULL, "what the server may use, such as 8GiB (default: no limit)"},
    {"set", 0, RFHE_OPT_TEXT, "NAME", NULL, "parameter set (default: the smallest that is deep enough)"},
    {"calibration", 0, RFHE_OPT_TEXT, "FILE", NULL,
     "times of this machine (default: what `rfhe bench calibrate` left, else built in)"},
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "also run the program on numbers over training images set aside: which inputs leave their range"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "how many of them (default: 500)"},
    {"draw", 0, RFHE_OPT_TEXT, "FILE.svg", NULL, "draw how a tensor lies in a ciphertext"},
    {"layer", 0, RFHE_OPT_TEXT, "NAME", NULL, "the layer to draw (default: the first activation)"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

/* Digits with KiB, MiB, GiB or KB, MB, GB. */
static const char *what(const rfhe_program *p, const rfhe_instruction *i)
{
    return i->kind == RFHE_DO_LINEAR ? "linear" : i->kind == RFHE_DO_REPLY ? "reply" : p->activation[i->which].form;
}

static void print_table(rfhe_text *out, const rfhe_program *p)
{
    rfhe_text_printf(out, "%-28s %-9s %16s %11s %5s %9s %8s %7s %9s\n", "layer", "step", "tensor", "place", "ct", "products",
                     "switches", "level", "seconds");
    for (uint32_t k = 0; k < p->n_instructions; k++) {
        const rfhe_instruction *i = &p->instruction[k];
        const rfhe_layout *l = &p->tensor[i->out].layout;
        char shape[48], place[48], count[24], level[16];
        const size_t length = strlen(i->name);
        (void)snprintf(shape, sizeof shape, "%" PRIu32 "x%" PRIu32 "x%" PRIu32, l->channels, l->height, l->width);
        (void)snprintf(place, sizeof place, "%" PRIu32 ":%" PRIu32 ",%" PRIu32, l->block, l->row, l->column);
        (void)snprintf(count, sizeof count, "%" PRIu32 "%s", l->ciphertexts, l->both_halves ? "x2" : "");
        (void)snprintf(level, sizeof level, "%" PRIu32 ">%" PRIu32, i->level_in, i->level_out);
        rfhe_text_printf(out, "%-28s %-9s %16s %11s %5s %9" PRIu64 " %8" PRIu64 " %7s %9.3f\n",
                         i->name + (length > 28 ? length - 28 : 0), what(p, i), shape, place, count, i->products, i->key_switches,
                         level, i->seconds);
    }
}

static void print_bill(rfhe_text *out, const rfhe_program *p, const rfhe_plan_options *opt, bool calibrated)
{
    const struct rfhe_bill *b = &p->bill;

    rfhe_text_printf(out, "\nset         %s: ring 2^%" PRIu32 ", %" PRIu32 " primes, log2(QP) %.0f, %" PRIu32 "-bit security%s\n", p->set,
                     p->ckks.log2_n, p->ckks.chain_length, b->log2_qp, b->security_bits, p->refresh.lean ? ", fewer keys" : "");
    if (rfhe_program_log2_gap(p) > 0) {
        rfhe_text_printf(out, "packing     one coefficient of %u in use", 1U << rfhe_program_log2_gap(p));
    } else {
        rfhe_text_printf(out, "packing     all coefficients in use");
    }
    rfhe_text_printf(out, ", %s refreshed: 2^%" PRIu32 " slots%s\n", p->refresh.complex_slots ? "both halves" : "one half",
                     rfhe_program_log2_used(p) - 1, p->refresh.complex_slots ? " each" : "");
    rfhe_text_printf(out, "time        %.1f s per image on %u threads (%s)\n", b->seconds, opt->threads,
                     calibrated ? "calibrated on this machine" : "built-in times; `rfhe bench calibrate` measures this machine");
    rfhe_text_printf(out, "work        %" PRIu32 " refreshes, %" PRIu64 " key switches\n", b->refreshes, b->key_switches);
    rfhe_text_printf(out, "memory      %.2f GiB at the server, of which keys %.2f GiB\n", b->memory_bytes / 0x1p30, b->key_bytes / 0x1p30);
    rfhe_text_printf(out, "transfer    keys %.2f GiB once; request %.0f KiB, reply %.0f KiB\n", b->upload_bytes / 0x1p30,
                     b->request_bytes / 0x1p10, b->reply_bytes / 0x1p10);
    rfhe_text_printf(out, "precision   about %.1f bits behind all refreshes, by estimate\n", b->precision_bits);
}

/* What left the ranges of the polynomials, over all activations. */
typedef struct ranges {
    uint64_t images, outside, values;
    double largest; /* |input| / range */
    const char *layer;
} ranges;

static ranges sum_ranges(const trial *t)
{
    ranges r = {.images = t->images, .layer = ""};

    for (uint32_t k = 0; k < t->p->n_instructions; k++) {
        const rfhe_instruction *i = &t->p->instruction[k];
        if (i->kind != RFHE_DO_ACTIVATE) { continue; }
        const rfhe_twin_range *a = &t->ranges[i->which];
        r.outside += a->outside;
        r.values += a->values;
        if (!(a->largest <= r.largest)) {
            r.largest = a->largest;
            r.layer = i->name;
        }
    }
    return r;
}

/* `seen` may be NULL. */
static void write_json(rfhe_cli *cli, const rfhe_program *p, const rfhe_plan_options *opt, const ranges *seen, bool calibrated,
                       double seconds)
{
    rfhe_json j = {.out = &cli->out};
    const struct rfhe_bill *b = &p->bill;

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.plan/1");
    rfhe_json_string(&j, "set", p->set);
    rfhe_json_integer(&j, "log2_n", p->ckks.log2_n);
    rfhe_json_number(&j, "log2_qp", b->log2_qp);
    rfhe_json_integer(&j, "security_bits", b->security_bits);
    rfhe_json_integer(&j, "refreshes", b->refreshes);
    rfhe_json_integer(&j, "key_switches", (int64_t)b->key_switches);
    rfhe_json_number(&j, "predicted_seconds", b->seconds);
    rfhe_json_integer(&j, "threads", opt->threads);
    rfhe_json_bool(&j, "calibrated", calibrated);
    rfhe_json_string(&j, "machine", b->machine);
    rfhe_json_number(&j, "memory_mib", b->memory_bytes / 0x1p20);
    rfhe_json_number(&j, "key_mib", b->key_bytes / 0x1p20);
    rfhe_json_number(&j, "upload_mib", b->upload_bytes / 0x1p20);
    rfhe_json_number(&j, "request_kib", b->request_bytes / 0x1p10);
    rfhe_json_number(&j, "reply_kib", b->reply_bytes / 0x1p10);
    rfhe_json_number(&j, "precision_bits", b->precision_bits);
    rfhe_json_bool(&j, "lean", p->refresh.lean);
    rfhe_json_integer(&j, "gap", INT64_C(1) << rfhe_program_log2_gap(p));
    rfhe_json_integer(&j, "slots", INT64_C(1) << (rfhe_program_log2_used(p) - 1));
    rfhe_json_bool(&j, "both_halves", p->refresh.complex_slots);
    rfhe_json_number(&j, "seconds", seconds);
    if (seen != NULL) {
        rfhe_json_object(&j, "ranges");
        rfhe_json_integer(&j, "images", (int64_t)seen->images);
        rfhe_json_integer(&j, "values", (int64_t)seen->values);
        rfhe_json_integer(&j, "outside", (int64_t)seen->outside);
        rfhe_json_number(&j, "largest", seen->largest);
        rfhe_json_string(&j, "layer", seen->layer);
        rfhe_json_end_object(&j);
    }
    rfhe_json_array(&j, "layers");
    for (uint32_t k = 0; k < p->n_instructions; k++) {
        const rfhe_instruction *i = &p->instruction[k];
        const rfhe_layout *l = &p->tensor[i->out].layout;
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "name", i->name);
        rfhe_json_string(&j, "step", what(p, i));
        rfhe_json_integer(&j, "channels", l->channels);
        rfhe_json_integer(&j, "height", l->height);
        rfhe_json_integer(&j, "width", l->width);
        rfhe_json_integer(&j, "block", l->block);
        rfhe_json_integer(&j, "row", l->row);
        rfhe_json_integer(&j, "column", l->column);
        rfhe_json_integer(&j, "ciphertexts", l->ciphertexts);
        rfhe_json_bool(&j, "both_halves", l->both_halves);
        rfhe_json_integer(&j, "products", (int64_t)i->products);
        rfhe_json_integer(&j, "key_switches", (int64_t)i->key_switches);
        rfhe_json_integer(&j, "level_in", i->level_in);
        rfhe_json_integer(&j, "level_out", i->level_out);
        rfhe_json_number(&j, "predicted_seconds", i->seconds);
        rfhe_json_number(&j, "memory_mib", i->bytes / 0x1p20);
        rfhe_json_end_object(&j);
    }
    rfhe_json_end_array(&j);
    rfhe_json_end_object(&j);
    rfhe_text_add(&cli->out, "\n");
}

/* ---- the drawing ---- */

/* The places of the first ciphertext, row of the layout under row: a cell is a block of coefficients, coloured by the
 * image row that lies there, grey where nothing does. One block is drawn large below. */
static rfhe_status draw(const char *path, const rfhe_program *p, const char *layer, rfhe_error *err)
{
    const rfhe_instruction *n = NULL;
    rfhe_text t = {0};
    rfhe_status st = RFHE_OK;
    uint8_t *rows = NULL; /* per place: image row modulo 255 plus one; 0 = nothing */

    for (uint32_t k = 0; k < p->n_instructions && n == NULL; k++) {
        const rfhe_instruction *i = &p->instruction[k];
        if (i->kind == RFHE_DO_ACTIVATE && (layer == NULL || strcmp(layer, i->name) == 0)) { n = i; }
    }
    if (n == NULL) { return rfhe_fail(err, RFHE_E_ARG, "there is no activation '%s' to draw", layer != NULL ? layer : ""); }
    const rfhe_layout *l = &p->tensor[n->out].layout;
    const size_t places = ((size_t)1 << rfhe_program_log2_used(p)) / l->block, wide = l->height > 1 ? l->row : l->width * l->column;
    const size_t lines = (places + wide - 1) / wide;
    const double cell = wide > 128 ? 4 : wide > 48 ? 8 : 14, left = 20, top = 60;
    const double width = left * 2 + (double)wide * cell + 320, height = top + (double)lines * cell + 150;
    rows = rfhe_calloc(places, 1);
    if (rows == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a drawing"); }
    for (size_t y = 0; y < l->height; y++) {
        for (size_t x = 0; x < l->width; x++) { rows[y * l->row + x * l->column] = (uint8_t)(1 + y % 255); }
    }
    rfhe_text_printf(&t, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' font-family='sans-serif' font-size='13'>\n",
                     width, height);
    rfhe_text_printf(&t, "<rect width='100%%' height='100%%' fill='#fff'/>\n<text x='%.0f' y='24' font-size='16'>", left);
    for (const char *c = n->name; *c != '\0'; c++) {
        if (*c == '<' || *c == '>' || *c == '&') { continue; }
        rfhe_text_add_bytes(&t, c, 1);
    }
    rfhe_text_printf(&t, "</text>\n<text x='%.0f' y='44'>%" PRIu32 " channels of %" PRIu32 " x %" PRIu32 " in %" PRIu32
                     " ciphertext%s of 2^%" PRIu32 " coefficients", left, l->channels, l->height, l->width, l->ciphertexts,
                     l->ciphertexts == 1 ? "" : "s", rfhe_program_log2_used(p));
    if (rfhe_program_log2_gap(p) > 0) {
        rfhe_text_printf(&t, " (one of %u in a ring of 2^%" PRIu32 ")", 1U << rfhe_program_log2_gap(p), p->ckks.log2_n);
    }
    rfhe_text_printf(&t, "</text>\n");
    for (size_t k = 0; k < places; k++) {
        const double x = left + (double)(k % wide) * cell, y = top + (double)(k / wide) * cell;
        const int hue = (int)(rows[k] * 67U % 360);
        if (rows[k] == 0) {
            rfhe_text_printf(&t, "<rect x='%g' y='%g' width='%g' height='%g' fill='#e4e4e4' stroke='#fff'/>\n", x, y, cell, cell);
        } else {
            rfhe_text_printf(&t, "<rect x='%g' y='%g' width='%g' height='%g' fill='hsl(%d,55%%,%d%%)' stroke='#fff'/>\n", x, y, cell, cell,
                             hue, k % 2 == 0 ? 62 : 68);
        }
    }
    const size_t half = places / 2;
    const double hy = top + (double)(half / wide) * cell, hx = left + (double)(half % wide) * cell;
    rfhe_text_printf(&t, "<path d='M%g %g H%g V%g H%g' fill='none' stroke='#000' stroke-width='2'/>\n", left, hy + cell, hx, hy,
                     left + (double)wide * cell);
    const double side = left + (double)wide * cell + 20;
    rfhe_text_printf(&t, "<text x='%.0f' y='%.0f'>One cell: %" PRIu32 " neighbouring coefficients,</text>\n", side, top + 14, l->block);
    rfhe_text_printf(&t, "<text x='%.0f' y='%.0f'>one pixel of %" PRIu32 " channels.</text>\n", side, top + 32, l->block);
    rfhe_text_printf(&t, "<text x='%.0f' y='%.0f'>Colour: row of the image. Grey: zero,</text>\n", side, top + 56);
    rfhe_text_printf(&t, "<text x='%.0f' y='%.0f'>the padding of the next convolution.</text>\n", side, top + 74);
    rfhe_text_printf(&t, "<text x='%.0f' y='%.0f'>Black line: the middle. %s</text>\n", side, top + 98,
                     l->both_halves ? "Both halves are" : "Only the first half is");
    rfhe_text_printf(&t, "<text x='%.0f' y='%.0f'>refreshed.</text>\n", side, top + 116);
    const double by = top + (double)lines * cell + 30;
    const uint32_t shown = l->block < 32 ? l->block : 32;
    for (uint32_t c = 0; c < shown; c++) {
        const bool is_used = c < l->channels;
        rfhe_text_printf(&t, "<rect x='%g' y='%g' width='24' height='24' fill='%s' stroke='#555'/><text x='%g' y='%g' "
                         "text-anchor='middle' font-size='11'>%" PRIu32 "</text>\n", left + c * 24.0, by, is_used ? "#fff" : "#e4e4e4",
                         left + c * 24.0 + 12, by + 16, c);
    }
    rfhe_text_printf(&t, "<text x='%.0f' y='%.0f'>coefficient %" PRIu32 " (%" PRIu32 " y + %" PRIu32 " x) + c holds channel c at row y, "
                     "column x</text>\n</svg>\n", left, by + 46, l->block, l->row, l->column);
    st = rfhe_text_status(&t);
    if (st == RFHE_OK) { st = rfhe_file_write(path, t.data, t.size, 0644, err); }
    rfhe_text_clear(&t);
    rfhe_free(rows);
    return st;
}

/* A program has a new id each time it is planned: keys made for the one that is there would not serve it. */
static rfhe_status spare_keys(bool *has_keys, const char *folder, bool replace, rfhe_error *err)
{
    char path[4096];

    if (snprintf(path, sizeof path, "%s/%s", folder, RFHE_CLIENT_SECRET) >= (int)sizeof path) {
        return rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
    }
    *has_keys = rfhe_file_exists(path);
    return !*has_keys || replace ? RFHE_OK
                                 : rfhe_fail(err, RFHE_E_ARG, "'%s' is there already: what was encrypted with it could not be "
                                             "read any more (--replace accepts that)", path);
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    rfhe_machine *machine = NULL;
    trial t = {0}; /* owns the program once images have been through it */
    sides_images images = {0};
    ranges seen = {0};
    rfhe_plan_options opt = {.set = rfhe_args_text(args, "set", NULL), .threads = cli->threads};
    const char *out = rfhe_args_text(args, "output", NULL);
    const char *picture = rfhe_args_text(args, "draw", NULL), *data = rfhe_args_text(args, "data", NULL);
    const double start = rfhe_now();
    bool has_keys = false;
    rfhe_status st = RFHE_OK;

    if (picture == NULL && rfhe_args_has(args, "layer")) { return rfhe_cli_usage(cli, "--layer wants --draw"); }
    if (data == NULL && rfhe_args_has(args, "limit")) { return rfhe_cli_usage(cli, "--limit wants --data"); }
    if (out != NULL) { RFHE_TRY(spare_keys(&has_keys, out, rfhe_args_has(args, "replace"), &err)); }
    opt.memory = rfhe_args_float(args, "memory", 0);
    RFHE_TRY(rfhe_calibration_load(&machine, &opt.n_machines, rfhe_args_text(args, "calibration", NULL), &err));
    opt.machine = machine;
    RFHE_TRY(rfhe_network_open(&g, rfhe_args_at(args, 0), &err));
    RFHE_TRY(rfhe_plan(&p, g, &opt, &err));
    if (picture != NULL) { RFHE_TRY(draw(picture, p, rfhe_args_text(args, "layer", NULL), &err)); }
    const bool calibrated = strcmp(p->bill.machine, "built in") != 0;
    const rfhe_program *bill = p;
    if (data != NULL) {
        rfhe_program *const given = p;
        p = NULL; /* taken over */
        RFHE_TRY(trial_make_twin(&t, given, cli, &err));
        RFHE_TRY(sides_load(&images, t.p, data, "select", rfhe_args_uint(args, "limit", 500), NULL, &cli->progress, &err));
        RFHE_TRY(trial_twin(&t, &images, cli, &err));
        seen = sum_ranges(&t);
    }
    if (out != NULL) { RFHE_TRY(rfhe_program_save(out, bill, &err)); }
    if (cli->json) {
        write_json(cli, bill, &opt, data != NULL ? &seen : NULL, calibrated, rfhe_now() - start);
    } else {
        print_table(&cli->out, bill);
        print_bill(&cli->out, bill, &opt, calibrated);
        if (data != NULL) {
            rfhe_text_printf(&cli->out, "ranges      %" PRIu64 " of %" PRIu64 " inputs of activations beyond their range on %" PRIu64
                             " images; furthest %.2f times, in %s\n", seen.outside, seen.values, seen.images, seen.largest, seen.layer);
        }
        if (out != NULL) {
            rfhe_text_printf(&cli->out, "program     %s, in %.1f s; next: rfhe keygen %s%s\n", out, rfhe_now() - start, out,
                             has_keys ? " --replace" : "");
        }
    }

done:
    sides_images_clear(&images);
    trial_clear(&t);
    rfhe_free(machine);
    rfhe_program_free(p);
    rfhe_graph_free(g);
    return st != RFHE_OK ? rfhe_cli_fail(cli, st, &err) : rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_plan = {
    .name = "plan",
    .usage = "MODEL.onnx [-o PROGRAM] [options]",
    .summary = "turn a network into an encrypted program and print its bill",
    .description =
        "Folds everything between two activations into one linear step, chooses parameters and how each tensor lies in "
        "ciphertexts, and predicts what one encrypted image will cost before anything heavy runs: seconds, refreshes, key "
        "switches, memory, keys, request and reply.\n\n"
        "The activations must be polynomials: see `rfhe replace`. What cannot be planned is refused with the name of the "
        "layer and the reason.\n\n"
        "The table names for each step the tensor that it makes (channels x rows x columns, after cutting large images "
        "into phases), its place in the ciphertext (channels side by side: step of a row, step of a column), the number "
        "of ciphertexts (x2: both halves of the coefficients are refreshed), plaintext products, key switches, levels "
        "and seconds. A small network is packed sparsely, in one coefficient of 2, 4, ..., which makes a refresh faster "
        "and its keys fewer. PROGRAM is a folder: client/ and server/ go to the two sides.",
    .example = "rfhe plan resnet20-even8.onnx -o resnet20.program --memory 8GiB",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
