/* rfhe demo: the journey as far as it goes today, on the network and the images that everybody can get. */
#include "cli/demo.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const rfhe_opt options[] = {
    {"model", 'm', RFHE_OPT_TEXT, "FILE", NULL, "the network (default: models/fashion-cnn.onnx of this installation)"},
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "its images (default: fashion-mnist)"},
    {"form", 'f', RFHE_OPT_TEXT, "F", NULL, "polynomial in place of ReLU, see `rfhe paf list` (default: even8)"},
    {"image", 0, RFHE_OPT_UINT, "N", NULL, "test image whose values are encrypted (default: 0)"},
    {"calibrate", 0, RFHE_OPT_UINT, "N", NULL, "training images for ranges and fits (default: 1000; quick 100)"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "measure accuracy on N test images (default: all; quick 200)"},
    {"output", 'o', RFHE_OPT_TEXT, "FILE", NULL, "the page (default: rfhe-demo.html)"},
    {"quick", 0, RFHE_OPT_FLAG, NULL, NULL, "fewer images, no refresh; the security stays 128 bits"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

/* `path` without detours, and relative where it lies below the working folder. `out` has PATH_MAX bytes. */
static void tidy_path(char *out, const char *path)
{
    char whole[PATH_MAX], here[PATH_MAX];

    if (realpath(path, whole) == NULL) {
        (void)snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    const size_t n = getcwd(here, sizeof here) != NULL ? strlen(here) : 0;
    const bool is_below = n > 1 && strncmp(whole, here, n) == 0 && whole[n] == '/';
    (void)snprintf(out, PATH_MAX, "%s", is_below ? whole + n + 1 : whole);
}

/* In the source tree above build/PRESET, or in the share folder beside bin; else what the working folder has. `out` has
 * PATH_MAX bytes. */
static void find_model(char *out)
{
    static const char name[] = "models/fashion-cnn.onnx", *const up[] = {"../..", "../share/rfhe"};
    char self[2048], found[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = NULL;

    if (n > 0) {
        self[n] = '\0';
        slash = strrchr(self, '/');
    }
    for (size_t i = 0; slash != NULL && i < sizeof up / sizeof *up; i++) {
        *slash = '\0';
        (void)snprintf(found, sizeof found, "%s/%s/%s", self, up[i], name);
        if (rfhe_file_exists(found)) {
            tidy_path(out, found);
            return;
        }
    }
    (void)snprintf(out, PATH_MAX, "%s", name);
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

void demo_tell_network(const demo *d)
{
    rfhe_text_printf(&d->cli->out,
                     "1. The network\n"
                     "   %s\n"
                     "   %u convolutions and dense layers, %u ReLU, %u MaxPool; %.2f million multiplications, %" PRIu64
                     " weights\n"
                     "   right on %" PRIu64 " of %" PRIu64 " test images: %.2f %% (standard error %.2f), %.1f s\n",
                     d->model, d->linear, d->relus, d->maxpools, (double)d->cost.macs / 1e6, d->cost.parameters,
                     d->plain.top1, d->plain.images, percent(&d->plain), standard_error(&d->plain), d->plain_seconds);
    show(d);
}

void demo_tell_replacement(const demo *d)
{
    rfhe_text_printf(&d->cli->out,
                     "2. Polynomials instead\n"
                     "   each MaxPool as a tree of ReLUs, then %zu ReLUs as %s, fitted to %" PRIu64
                     " training images\n"
                     "   by channel (the first with one set for all its channels, for step 3):\n"
                     "   %.1f s of looking, %.2f s of fitting, no training; ranges fixed; %u levels each\n"
                     "   right on %" PRIu64 " of %" PRIu64 " test images: %.2f %% (standard error %.2f), %.1f s\n",
                     d->report.n, d->form, d->profile.images, d->profile.seconds, d->report.fit_seconds,
                     d->report.depth_max, d->after.top1, d->after.images, percent(&d->after),
                     standard_error(&d->after), d->after_seconds);
    show(d);
}

static void tell_encrypted(const demo *d, const demo_encrypted *e)
{
    rfhe_text_printf(&d->cli->out,
                     "   %-10s %-12s %6u %8u %9.1f %11.1f %10.1f   N = 2^%u, log2 QP = %.0f: %u-bit security\n",
                     e->form, e->is_tuned ? "tuned" : "as published", e->levels, e->products, e->ms, e->error_bits,
                     e->key_mib, e->log2_n, e->log2_qp, e->security_bits);
}

void demo_tell_ciphertext(const demo *d)
{
    const demo_refresh *r = &d->refresh;

    rfhe_text_printf(&d->cli->out,
                     "3. The first activation on a ciphertext\n"
                     "   test image %" PRIu64 " (%s): %zu of the layer's %zu values (%zu of %zu channels) in one ciphertext,\n"
                     "   encrypted by the client in %.0f ms; the other side holds public keys only\n"
                     "   %-10s %-12s %6s %8s %9s %11s %10s\n",
                     d->image, d->label, d->values, d->all_values, d->channels, d->all_channels, d->tuned.encrypt_ms,
                     "form", "coefficients", "levels", "products", "ms", "error, bits", "keys, MiB");
    tell_encrypted(d, &d->tuned);
    tell_encrypted(d, &d->published);
    rfhe_text_printf(&d->cli->out, "   %s takes %.2f times the time of %s (the best of %u runs each)\n", d->published.form,
                     d->published.ms / d->tuned.ms, d->tuned.form, d->tuned.runs);
    rfhe_text_add(&d->cli->out, "4. Refresh of the result\n");
    if (r->done) {
        rfhe_text_printf(&d->cli->out,
                         "   %.2f s (B15-3), level %u to %u: %u levels regained; error %.1f bits at worst, %.1f root mean square\n"
                         "   %u keys, %.0f MiB, made by the client in %.1f s\n",
                         r->seconds, r->level_before, r->level_after, r->levels_regained, r->error_bits, r->rms_bits,
                         r->keys, r->key_mib, r->key_seconds);
    } else {
        rfhe_text_printf(&d->cli->out, "   not run: %s\n", r->why_not);
    }
    show(d);
}

void demo_tell_end(const demo *d, const char *page)
{
    rfhe_text_printf(&d->cli->out,
                     "%.0f s in all, %.1f GiB of memory at most, %u threads. The page: %s\n"
                     "Not there yet: whole networks under encryption. The convolutions above ran in the clear;\n"
                     "only %s ran on ciphertexts.\n",
                     d->seconds, (double)rfhe_peak_rss() / (1 << 30), d->cli->threads, page,
                     d->refresh.done ? "the first activation and the refresh" : "the first activation");
}

static rfhe_status journey(demo *d, bool quick, const char *page, rfhe_error *err)
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
    demo_tell_network(d);
    RFHE_TRY(demo_replace(d, err));
    demo_tell_replacement(d);
    RFHE_TRY(demo_encrypt(d, quick, err));
    demo_tell_ciphertext(d);
    d->seconds = rfhe_now() - start;
    RFHE_TRY(demo_write_page(d, page, err));

done:
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    const bool quick = rfhe_args_has(args, "quick");
    const char *page = rfhe_args_text(args, "output", "rfhe-demo.html");
    const char *model = rfhe_args_text(args, "model", NULL);
    rfhe_error err = {0};
    demo *d = rfhe_calloc(1, sizeof *d);
    int code = RFHE_EXIT_DONE;

    if (d == NULL) { return rfhe_cli_fail(cli, RFHE_E_NOMEM, NULL); }
    d->cli = cli;
    d->args = args;
    d->spec = rfhe_args_text(args, "data", "fashion-mnist");
    d->form = rfhe_args_text(args, "form", "even8");
    d->image = rfhe_args_uint(args, "image", 0);
    d->calibration = rfhe_args_uint(args, "calibrate", quick ? 100 : 1000);
    d->limit = rfhe_args_uint(args, "limit", quick ? 200 : 0);
    if (model != NULL) {
        (void)snprintf(d->model, sizeof d->model, "%s", model);
    } else {
        find_model(d->model);
    }
    const rfhe_status st = journey(d, quick, page, &err);
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            demo_write_json(d, page);
        } else {
            demo_tell_end(d, page);
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
    .summary = "take a network as far as encryption goes today",
    .description =
        "Reads a trained network and measures it; replaces its activations by low-degree polynomials whose coefficients "
        "are fitted to training images, and measures again; encrypts what reaches the first activation for one test "
        "image, evaluates the polynomial on the ciphertext with public keys only, and compares the decrypted result "
        "with the plain one, beside the composite of degree 27 that the literature compares with; refreshes the "
        "result.\n\n"
        "Everything is computed, at 128-bit security. The refresh is left out when less than 7 GiB of memory are "
        "available. Whole networks do not run on ciphertexts yet: the convolutions run in the clear.\n\n"
        "What was found is also written as one HTML page without scripts.",
    .example = "rfhe demo\nrfhe demo --quick --model net.onnx -o page.html --json",
    .options = options,
    .run = run,
};
