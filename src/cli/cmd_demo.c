/* rfhe demo: the whole journey, on the network and the images that everybody can get. */
#include "cli/demo.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const rfhe_opt options[] = {
    {"model", 'm', RFHE_OPT_TEXT, "FILE", NULL, "the network (default: models/fashion-cnn.onnx of this installation)"},
    {"replaced", 'r', RFHE_OPT_TEXT, "FILE", NULL, "the same with polynomials, from `rfhe replace` (default: what comes with the default network; else fitted here, without training)"},
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "its images (default: fashion-mnist)"},
    {"form", 'f', RFHE_OPT_TEXT, "F", NULL, "polynomial in place of ReLU when it is fitted here (default: even8)"},
    {"images", 'n', RFHE_OPT_UINT, "N", NULL, "test images to encrypt (default: 8)"},
    {"calibrate", 0, RFHE_OPT_UINT, "N", NULL, "training images for ranges and fits (default: 1000; quick 100)"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "measure accuracy on N test images (default: all; quick 200)"},
    {"output", 'o', RFHE_OPT_TEXT, "FILE", NULL, "the page (default: rfhe-demo.html)"},
    {"quick", 0, RFHE_OPT_FLAG, NULL, NULL, "fewer images, and the program on numbers instead of ciphertexts"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

/* In the source tree above build/PRESET, or in the share folder beside bin; else what the working folder has. */
static void find_model(char *out, size_t size, const char *name)
{
    static const char *const up[] = {"../..", "../share/rfhe"};
    char self[2048];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = NULL;

    if (n > 0) {
        self[n] = '\0';
        slash = strrchr(self, '/');
    }
    for (size_t i = 0; slash != NULL && i < sizeof up / sizeof *up; i++) {
        *slash = '\0';
        (void)snprintf(out, size, "%s/%s/%s", self, up[i], name);
        if (rfhe_file_exists(out)) { return; }
    }
    (void)snprintf(out, size, "%s", name);
}

static void show(const demo *d)
{
    if (!d->cli->json) { (void)rfhe_cli_finish(d->cli); } /* the last call reports what went wrong */
    rfhe_text_clear(&d->cli->out);
}

static double percent(const rfhe_loss_sums *s)
{
    return s->images > 0 ? 100 * (double)s->top1 / (double)s->images : 0;
}

static double standard_error(const rfhe_loss_sums *s)
{
    const double p = percent(s);

    return s->images > 0 ? sqrt(p * (100 - p) / (double)s->images) : 0;
}

/* The path as a person would write it: from models/ on, if it comes with us. */
static const char *plainly(const char *path)
{
    const char *at = strstr(path, "/../../models/");

    return at != NULL ? at + strlen("/../../") : path;
}

static void tell_network(const demo *d)
{
    rfhe_text_printf(&d->cli->out,
                     "1. The network\n"
                     "   %s: %u convolutions and dense layers, %u ReLU, %u MaxPool; %.2f million\n"
                     "   multiplications, %" PRIu64 " weights\n"
                     "   right on %" PRIu64 " of %" PRIu64 " test images: %.2f %% (standard error %.2f), %.1f s\n",
                     plainly(d->model), d->linear, d->relus, d->maxpools, (double)d->cost.macs / 1e6, d->cost.parameters,
                     d->plain.top1, d->plain.images, percent(&d->plain), standard_error(&d->plain), d->plain_seconds);
    show(d);
}

static void tell_replacement(const demo *d)
{
    rfhe_text_add(&d->cli->out, "2. Polynomials instead\n");
    if (d->tuned[0] != '\0') {
        rfhe_text_printf(&d->cli->out, "   %s, made by `rfhe replace`: %u activations as %s, pools without maxima\n",
                         plainly(d->tuned), d->pafs, d->forms);
    } else {
        rfhe_text_printf(&d->cli->out,
                         "   each MaxPool as a tree of ReLUs, then %u ReLUs as %s, fitted by channel to %" PRIu64
                         " training\n   images in %.1f s, without training\n",
                         d->pafs, d->forms, d->fitted_images, d->fit_seconds);
    }
    rfhe_text_printf(&d->cli->out,
                     "   right on %" PRIu64 " of %" PRIu64 " test images: %.2f %% (standard error %.2f), %.1f s\n",
                     d->after.top1, d->after.images, percent(&d->after), standard_error(&d->after), d->after_seconds);
    show(d);
}

static void tell_plan(const demo *d)
{
    const rfhe_program *p = d->p;
    rfhe_text_printf(&d->cli->out,
                     "3. The encrypted program\n"
                     "   %u instructions, %u refreshed activations of depth %u; parameters %s, N = 2^%u\n",
                     p->n_instructions, p->n_activations, d->depth, p->set, p->ckks.log2_n);
    if (p->bill.seconds > 0) {
        rfhe_text_printf(&d->cli->out, "   predicted: %.1f s per image, keys %.0f MiB, %.1f GiB of memory\n", p->bill.seconds,
                         p->bill.key_bytes / (1 << 20), p->bill.memory_bytes / (1 << 30));
    }
    show(d);
}

static void tell_keys(const demo *d)
{
    rfhe_text_printf(&d->cli->out,
                     "4. Encrypted images\n"
                     "   %u-bit security (log2 QP = %.0f); the client made keys in %.1f s: %.0f MiB for the server\n",
                     d->t.info.security_bits, d->t.info.log2_qp, d->t.key_seconds, (double)d->t.key_bytes / (1 << 20));
    show(d);
}

static void tell_images(const demo *d)
{
    const trial *t = &d->t;
    char encrypted[64], clear[64];

    if (d->why_not[0] != '\0') {
        rfhe_text_printf(&d->cli->out,
                         "4. The program on numbers\n"
                         "   nothing was encrypted: %s\n"
                         "   with the noise that encryption would add, %zu test images get the same label as without in %.1f %%\n",
                         d->why_not, t->images, 100 * (double)t->agree_twin / (double)t->images);
        show(d);
        return;
    }
    rfhe_text_printf(&d->cli->out, "   %-5s  %-14s %-14s %-14s %8s\n", "image", "is", "decrypted", "on numbers", "seconds");
    for (size_t i = 0; i < t->images; i++) {
        sides_class(encrypted, sizeof encrypted, t->p, t->image[i].encrypted);
        sides_class(clear, sizeof clear, t->p, t->image[i].clear);
        rfhe_text_printf(&d->cli->out, "   %5zu  %-14s %-14s %-14s %8.2f%s\n", i, d->label[i], encrypted, clear,
                         t->image[i].seconds, t->image[i].encrypted == t->image[i].label ? "" : "  wrong");
    }
    rfhe_text_printf(&d->cli->out,
                     "   right on %" PRIu64 " of %zu; the label of the program on numbers on %" PRIu64
                     "; largest error of an output %.1e\n   of a range of %.1f: %.1f bits; %.2f s per image (median)\n",
                     t->right, t->images, t->agree, t->max_error, t->range, trial_precision(t), t->median_seconds);
    show(d);
}

static void tell_end(const demo *d, const char *page)
{
    rfhe_text_printf(&d->cli->out, "%.0f s in all, %.1f GiB of memory at most, %u threads. The page: %s\n", d->seconds,
                     (double)rfhe_peak_rss() / (1 << 30), d->cli->threads, page);
}

/* GiB that the system could give; infinite when it does not say. */
static double available_gib(void)
{
    FILE *f = fopen("/proc/meminfo", "r");
    char line[128];
    double kib = INFINITY;

    if (f == NULL) { return kib; }
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1) { break; }
    }
    (void)fclose(f);
    return kib / (1 << 20);
}

rfhe_status demo_encrypt(demo *d, rfhe_error *err)
{
    static const double wanted_gib = 4;
    rfhe_status st = RFHE_OK;
    sides_images images = {0};
    rfhe_program *p = d->p;

    if (d->quick) {
        (void)snprintf(d->why_not, sizeof d->why_not, "--quick leaves it out");
    } else if (available_gib() < wanted_gib) {
        (void)snprintf(d->why_not, sizeof d->why_not, "it wants %.0f GiB of memory, %.1f are available", wanted_gib,
                       available_gib());
    }
    d->p = NULL;
    RFHE_TRY(d->why_not[0] != '\0' ? trial_make_twin(&d->t, p, d->cli, err) : trial_make(&d->t, p, d->cli, err));
    RFHE_TRY(sides_load(&images, d->t.p, d->spec, "test", d->wanted, NULL, &d->cli->progress, err));
    if (d->why_not[0] != '\0') {
        RFHE_TRY(trial_twin(&d->t, &images, d->cli, err));
    } else {
        tell_keys(d);
        RFHE_TRY(trial_run(&d->t, &images, false, d->cli, err));
    }

done:
    sides_images_clear(&images);
    return st;
}

static rfhe_status journey(demo *d, const char *page, rfhe_error *err)
{
    const double start = rfhe_now();
    rfhe_status st = RFHE_OK;
    rfhe_file_writer probe = {.fd = -1};
    rfhe_paf f;

    RFHE_TRY(rfhe_paf_from_name(&f, d->form, err)); /* what would stop the last steps stops the first */
    RFHE_TRY(rfhe_file_writer_open(&probe, page, 0644, err));
    rfhe_file_writer_cancel(&probe);
    if (!rfhe_file_exists(d->model)) {
        st = rfhe_fail(err, RFHE_E_IO, "there is no network '%s': name one with --model, or make one with `rfhe train "
                                       "fashion-cnn --data fashion-mnist -o %s`", d->model, d->model);
        goto done;
    }
    RFHE_TRY(demo_read(d, err));
    tell_network(d);
    RFHE_TRY(demo_replace(d, err));
    tell_replacement(d);
    RFHE_TRY(demo_plan(d, err));
    tell_plan(d);
    RFHE_TRY(demo_encrypt(d, err));
    tell_images(d);
    d->seconds = rfhe_now() - start;
    RFHE_TRY(demo_write_page(d, page, err));

done:
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    const bool quick = rfhe_args_has(args, "quick");
    const char *page = rfhe_args_text(args, "output", "rfhe-demo.html");
    const char *model = rfhe_args_text(args, "model", NULL), *replaced = rfhe_args_text(args, "replaced", NULL);
    rfhe_error err = {0};
    int code = RFHE_EXIT_DONE;

    if (rfhe_args_uint(args, "images", 8) == 0) { return rfhe_cli_usage(cli, "--images must be at least 1"); }
    demo *d = rfhe_calloc(1, sizeof *d);
    if (d == NULL) { return rfhe_cli_fail(cli, RFHE_E_NOMEM, NULL); }
    d->cli = cli;
    d->args = NULL;
    d->quick = quick;
    d->spec = rfhe_args_text(args, "data", "fashion-mnist");
    d->form = rfhe_args_text(args, "form", "even8");
    d->wanted = rfhe_args_uint(args, "images", 8);
    d->calibration = rfhe_args_uint(args, "calibrate", quick ? 100 : 1000);
    d->limit = rfhe_args_uint(args, "limit", quick ? 200 : 0);
    if (model != NULL) {
        (void)snprintf(d->model, sizeof d->model, "%s", model);
    } else {
        find_model(d->model, sizeof d->model, "models/fashion-cnn.onnx");
        if (!rfhe_args_has(args, "form")) { find_model(d->tuned, sizeof d->tuned, "models/fashion-cnn-d3.onnx"); }
        if (!rfhe_file_exists(d->tuned)) { d->tuned[0] = '\0'; }
    }
    if (replaced != NULL) { (void)snprintf(d->tuned, sizeof d->tuned, "%s", replaced); }
    const rfhe_status st = journey(d, page, &err);
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            demo_write_json(d, page);
        } else {
            tell_end(d, page);
        }
        code = rfhe_cli_finish(cli);
    }
    demo_clear(d);
    rfhe_free(d);
    return code;
}

const rfhe_command rfhe_cmd_demo = {
    .name = "demo",
    .usage = "[--quick] [-o PAGE.html] [options]",
    .summary = "take a network from ReLU to labels computed on encrypted images",
    .description =
        "Reads a trained network and measures it; takes the network with polynomials in place of ReLU and MaxPool and "
        "measures that; plans the encrypted program; makes keys; encrypts test images, runs the whole network on the "
        "ciphertexts with public keys only, decrypts the labels, and compares them with the true ones and with the "
        "program on numbers.\n\n"
        "Everything is computed, at 128-bit security. Nothing is encrypted when less than 4 GiB of memory are "
        "available.\n\n"
        "What was found is also written as one HTML page without scripts.",
    .example = "rfhe demo\nrfhe demo --quick --model net.onnx -o page.html --json",
    .options = options,
    .run = run,
};
