/* rfhe decrypt PROGRAM REPLY...: what the network said. */
#include "cli/sides.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>

enum { MAX_REPLY = 1 << 26 };

static void show(rfhe_cli *cli, rfhe_json *j, const rfhe_program *p, const char *name, const float *logits,
                 const rfhe_reply_report *report)
{
    const uint32_t best = sides_label(logits, p->outputs);
    char label[96];

    sides_class(label, sizeof label, p, best);
    if (report->fill > 1) {
        rfhe_cli_note(cli, "%s: outputs %.1f times as large as a reply is made for: do not rely on them", name, report->fill);
    }
    if (!cli->json) {
        rfhe_text_printf(&cli->out, "%s  %s (class %u, logit %.3f) for %s\n", name, label, best, (double)logits[best],
                         report->request);
        return;
    }
    rfhe_json_object(j, NULL);
    rfhe_json_string(j, "file", name);
    rfhe_json_string(j, "request", report->request);
    rfhe_json_string(j, "label", label);
    rfhe_json_integer(j, "class", best);
    rfhe_json_array(j, "logits");
    for (uint32_t i = 0; i < p->outputs; i++) { rfhe_json_number(j, NULL, (double)logits[i]); }
    rfhe_json_end_array(j);
    rfhe_json_number(j, "fill", report->fill);
    rfhe_json_end_object(j);
}

static rfhe_status work(rfhe_cli *cli, const rfhe_args *args, rfhe_json *j, rfhe_error *err)
{
    const char *folder = rfhe_args_at(args, 0);
    char side[4096];
    rfhe_status st = RFHE_OK;
    rfhe_program *p = NULL;
    rfhe_client *k = NULL;
    float *logits = NULL;
    uint8_t *data = NULL;

    if (snprintf(side, sizeof side, "%s/client", folder) >= (int)sizeof side) {
        return rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
    }
    RFHE_TRY(rfhe_program_load(&p, side, false, err));
    RFHE_TRY(rfhe_client_open(&k, p, folder, err));
    sides_warn(cli, rfhe_client_parameters(k));
    logits = rfhe_alloc(p->outputs, sizeof *logits);
    if (logits == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %u numbers", p->outputs);
        goto done;
    }
    for (unsigned i = 1; i < rfhe_args_count(args); i++) {
        size_t size = 0;
        rfhe_error why = {0};
        rfhe_reply_report report = {0};
        rfhe_free(data);
        data = NULL;
        RFHE_TRY(rfhe_file_read(&data, &size, rfhe_args_at(args, i), MAX_REPLY, err));
        st = rfhe_client_reply(logits, &report, k, data, size, &why);
        if (st != RFHE_OK) {
            st = rfhe_fail(err, st, "'%.150s': %.240s", rfhe_args_at(args, i), why.text);
            goto done;
        }
        show(cli, j, p, rfhe_args_at(args, i), logits, &report);
    }

done:
    rfhe_free(data);
    rfhe_free_secret(logits);
    rfhe_client_free(k);
    rfhe_program_free(p);
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    rfhe_json j = {.out = &cli->out};

    if (cli->json) {
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "schema", "rfhe.decrypt/1");
        rfhe_json_array(&j, "results");
    }
    const rfhe_status st = work(cli, args, &j, &err);
    if (st != RFHE_OK) { return rfhe_cli_fail(cli, st, &err); }
    if (cli->json) {
        rfhe_json_end_array(&j);
        rfhe_json_end_object(&j);
    }
    return rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_decrypt = {
    .name = "decrypt",
    .usage = "PROGRAM REPLY...",
    .summary = "decrypt replies and name the classes",
    .description = "Decrypts with the secret key in PROGRAM/client and prints the class with the largest output of the "
                   "network and the request that the reply answers; --json adds all outputs. A reply that answers no request of "
                   "this client is refused. The numbers are for the owner of the key only: approximate "
                   "decryptions given to others leak the key (docs/security.md).",
    .example = "rfhe decrypt net.program inbox/*.reply",
    .min_args = 2,
    .max_args = 4096,
    .run = run,
};
