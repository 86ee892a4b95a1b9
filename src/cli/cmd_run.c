/* rfhe run PROGRAM --data SPEC: all sides at once, compared with the program on numbers. */
#include "cli/trial.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>

static const rfhe_opt options[] = {
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images and labels, such as cifar10:DIR (required)"},
    {"split", 0, RFHE_OPT_TEXT, "NAME", NULL, "test, val, train, fit[:N] or select[:N] (default: test)"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "N images (default: 1; with --twin-only all)"},
    {"twin-only", 0, RFHE_OPT_FLAG, NULL, NULL, "only the program on numbers, with simulated noise: no keys, no ciphertexts"},
    {"debug-key", 0, RFHE_OPT_FLAG, NULL, NULL, "DECRYPT every tensor on the way and report its error: for debugging only"},
    RFHE_OPTIONS_PREPROCESSING,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

typedef struct outcome {
    trial t;
    bool twin_only, debug;
    const char *program, *spec;
    double seconds;
} outcome;

static rfhe_status work(outcome *o, rfhe_cli *cli, const rfhe_args *args, rfhe_error *err)
{
    const double start = rfhe_now();
    rfhe_status st = RFHE_OK;
    sides_images images = {0};

    RFHE_TRY(o->twin_only ? trial_open_twin(&o->t, o->program, cli, err) : trial_open(&o->t, o->program, cli, err));
    RFHE_TRY(sides_load(&images, o->t.p, o->spec, rfhe_args_text(args, "split", "test"),
                        rfhe_args_uint(args, "limit", o->twin_only ? 0 : 1), args, &cli->progress, err));
    RFHE_TRY(o->twin_only ? trial_twin(&o->t, &images, cli, err) : trial_run(&o->t, &images, o->debug, cli, err));
    o->seconds = rfhe_now() - start;

done:
    sides_images_clear(&images);
    return st;
}

/* -log2, with nothing where there is nothing. */
static double bits(double x)
{
    return x > 0 ? -log2(x) : NAN;
}

static double outside(const trial *t, uint64_t *values)
{
    uint64_t out = 0;

    *values = 0;
    for (uint32_t k = 0; k < t->p->n_activations; k++) {
        out += t->ranges[k].outside;
        *values += t->ranges[k].values;
    }
    return *values > 0 ? (double)out / (double)*values : 0;
}

static void instructions_json(rfhe_json *j, const outcome *o)
{
    const trial *t = &o->t;
    const double n = t->images > 0 ? (double)t->images : 1;

    rfhe_json_array(j, "instructions");
    for (uint32_t i = 0; i < t->p->n_instructions; i++) {
        const rfhe_instruction *in = &t->p->instruction[i];
        static const char *const kinds[] = {"linear", "activate", "reply"};
        rfhe_json_object(j, NULL);
        rfhe_json_string(j, "name", in->name);
        rfhe_json_string(j, "kind", kinds[in->kind]);
        rfhe_json_number(j, "predicted_seconds", in->seconds);
        if (!o->twin_only) { rfhe_json_number(j, "seconds", t->instruction[i].seconds / n); }
        if (o->debug) {
            rfhe_json_number(j, "error_bits", bits(sqrt(t->instruction[i].square / (double)t->instruction[i].values)));
            rfhe_json_number(j, "worst_bits", bits(t->instruction[i].worst));
        }
        if (in->kind == RFHE_DO_ACTIVATE) {
            const rfhe_twin_range *r = &t->ranges[in->which];
            rfhe_json_number(j, "outside", r->values > 0 ? (double)r->outside / (double)r->values : 0);
            rfhe_json_number(j, "largest", r->largest);
        }
        rfhe_json_end_object(j);
    }
    rfhe_json_end_array(j);
}

static void write_json(rfhe_cli *cli, const outcome *o)
{
    const trial *t = &o->t;
    const double n = (double)t->images;
    uint64_t values = 0;
    rfhe_json j = {.out = &cli->out};

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.run/1");
    rfhe_json_string(&j, "program", o->program);
    rfhe_json_string(&j, "data", o->spec);
    rfhe_json_string(&j, "set", t->p->set);
    rfhe_json_integer(&j, "images", (int64_t)t->images);
    rfhe_json_number(&j, "top1_clear", (double)t->right_clear / n);
    rfhe_json_number(&j, "top1_twin", (double)t->right_twin / n);
    rfhe_json_number(&j, "twin_agree", (double)t->agree_twin / n);
    rfhe_json_number(&j, "outside", outside(t, &values));
    if (!o->twin_only) {
        rfhe_json_number(&j, "top1_encrypted", (double)t->right / n);
        rfhe_json_number(&j, "agree", (double)t->agree / n);
        rfhe_json_number(&j, "max_abs_error", t->max_error);
        rfhe_json_number(&j, "rms_error", sqrt(t->square_error / (n * t->p->outputs)));
        rfhe_json_number(&j, "logit_range", t->range);
        rfhe_json_number(&j, "precision_bits", trial_precision(t));
        rfhe_json_number(&j, "seconds_per_image", t->median_seconds);
        rfhe_json_number(&j, "encrypt_ms", t->image[0].encrypt_ms);
        rfhe_json_number(&j, "decrypt_ms", t->image[0].decrypt_ms);
        rfhe_json_number(&j, "key_seconds", t->key_seconds);
        rfhe_json_number(&j, "load_seconds", t->load_seconds);
        rfhe_json_number(&j, "key_mib", (double)t->key_bytes / (1 << 20));
        rfhe_json_number(&j, "server_mib", (double)rfhe_server_bytes(t->server) / (1 << 20));
        rfhe_json_integer(&j, "log2_n", t->info.log2_n);
        rfhe_json_number(&j, "log2_qp", t->info.log2_qp);
        rfhe_json_integer(&j, "security_bits", t->info.security_bits);
        rfhe_json_bool(&j, "debug_key", o->debug);
        rfhe_json_array(&j, "labels");
        for (size_t i = 0; i < t->images; i++) {
            rfhe_json_object(&j, NULL);
            rfhe_json_integer(&j, "true", t->image[i].label);
            rfhe_json_integer(&j, "encrypted", t->image[i].encrypted);
            rfhe_json_integer(&j, "clear", t->image[i].clear);
            rfhe_json_number(&j, "seconds", t->image[i].seconds);
            rfhe_json_end_object(&j);
        }
        rfhe_json_end_array(&j);
    }
    rfhe_json_number(&j, "predicted_seconds", t->p->bill.seconds);
    instructions_json(&j, o);
    rfhe_json_number(&j, "peak_rss_mib", (double)rfhe_peak_rss() / (1 << 20));
    rfhe_json_integer(&j, "threads", cli->threads);
    rfhe_json_string(&j, "isa", rfhe_isa_name(rfhe_cpu_isa()));
    rfhe_json_number(&j, "seconds", o->seconds);
    rfhe_json_end_object(&j);
}

static void write_instructions(rfhe_cli *cli, const outcome *o)
{
    const trial *t = &o->t;

    rfhe_text_printf(&cli->out, "%-10s %-32s %9s %9s %12s %10s%s\n", "", "", o->twin_only ? "" : "s", "predicted", "outside",
                     "largest u", o->debug ? "   error, bits (worst)" : "");
    for (uint32_t i = 0; i < t->p->n_instructions; i++) {
        const rfhe_instruction *in = &t->p->instruction[i];
        static const char *const kinds[] = {"linear", "activate", "reply"};
        rfhe_text_printf(&cli->out, "%-10s %-32s ", kinds[in->kind], in->name);
        if (o->twin_only) {
            rfhe_text_printf(&cli->out, "%9s %9.3f", "", in->seconds);
        } else {
            rfhe_text_printf(&cli->out, "%9.3f %9.3f", t->instruction[i].seconds / (double)t->images, in->seconds);
        }
        if (in->kind == RFHE_DO_ACTIVATE) {
            const rfhe_twin_range *r = &t->ranges[in->which];
            rfhe_text_printf(&cli->out, " %11.4f%% %10.2f", 100 * (double)r->outside / (double)r->values, r->largest);
        } else {
            rfhe_text_printf(&cli->out, " %12s %10s", "", "");
        }
        if (o->debug) {
            rfhe_text_printf(&cli->out, "   %.1f (%.1f)", bits(sqrt(t->instruction[i].square / (double)t->instruction[i].values)),
                             bits(t->instruction[i].worst));
        }
        rfhe_text_add(&cli->out, "\n");
    }
}

static void write_text(rfhe_cli *cli, const outcome *o)
{
    const trial *t = &o->t;
    const double n = (double)t->images;
    uint64_t values = 0;

    if (o->debug) { rfhe_text_add(&cli->out, "THE DEBUG KEY WAS USED: every tensor was decrypted. This is no way to serve anybody.\n"); }
    write_instructions(cli, o);
    rfhe_text_printf(&cli->out, "images     %zu of %s\n", t->images, o->spec);
    if (!o->twin_only) {
        rfhe_text_printf(&cli->out,
                         "encrypted  %.2f %% right (%" PRIu64 "); the label of the program on numbers in %.1f %%\n"
                         "           largest error of an output %.2e, of a range of %.1f: %.1f bits\n"
                         "time       %.2f s per image (median), predicted %.2f s; %u threads; keys loaded in %.1f s\n"
                         "security   N = 2^%u, log2 QP = %.0f: %u bits; keys %.0f MiB, %.1f GiB of memory at most\n",
                         100 * (double)t->right / n, t->right, 100 * (double)t->agree / n, t->max_error, t->range,
                         trial_precision(t), t->median_seconds, t->p->bill.seconds, cli->threads, t->load_seconds,
                         t->info.log2_n, t->info.log2_qp, t->info.security_bits, (double)t->key_bytes / (1 << 20),
                         (double)rfhe_peak_rss() / (1 << 30));
    }
    rfhe_text_printf(&cli->out,
                     "on numbers %.2f %% right exactly, %.2f %% with simulated noise (the same label in %.2f %%)\n"
                     "           %.4f %% of the activations' inputs outside of their range\n",
                     100 * (double)t->right_clear / n, 100 * (double)t->right_twin / n, 100 * (double)t->agree_twin / n,
                     100 * outside(t, &values));
    if (o->twin_only) { rfhe_text_printf(&cli->out, "time       %.1f s, %u threads\n", o->seconds, cli->threads); }
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    outcome o = {.program = rfhe_args_at(args, 0),
                 .spec = rfhe_args_text(args, "data", NULL),
                 .twin_only = rfhe_args_has(args, "twin-only"),
                 .debug = rfhe_args_has(args, "debug-key")};
    int code = RFHE_EXIT_DONE;

    if (o.spec == NULL) { return rfhe_cli_usage(cli, "--data is missing"); }
    if (o.twin_only && o.debug) { return rfhe_cli_usage(cli, "--twin-only has nothing to decrypt for --debug-key"); }
    if (o.debug) { rfhe_cli_note(cli, "DEBUG KEY: every tensor on the way is decrypted; nobody but the owner may do so"); }
    const rfhe_status st = work(&o, cli, args, &err);
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            write_json(cli, &o);
        } else {
            write_text(cli, &o);
        }
        code = rfhe_cli_finish(cli);
    }
    trial_clear(&o.t);
    return code;
}

const rfhe_command rfhe_cmd_run = {
    .name = "run",
    .usage = "PROGRAM --data SPEC [--limit N] [options]",
    .summary = "run all sides of an encrypted program at once and compare them",
    .description =
        "Encrypts test images, runs the program on the ciphertexts, decrypts, and compares with the same program on "
        "numbers, exactly and with simulated noise. Makes keys in PROGRAM if there are none. --twin-only runs the "
        "program on numbers only, which a whole test set takes minutes for. The range of an activation is what its "
        "polynomial was fitted for: inputs outside of it are counted.",
    .example = "rfhe run resnet20.program --data cifar10:DIR --limit 50 --json\n"
               "rfhe run resnet20.program --data cifar10:DIR --twin-only",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
