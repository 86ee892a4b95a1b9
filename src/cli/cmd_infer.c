/* rfhe infer PROGRAM REQUEST...: the server's work, on ciphertexts it cannot read. */
#include "cli/sides.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>

static const rfhe_opt options[] = {
    {"output", 'o', RFHE_OPT_TEXT, "DIR", NULL, "folder for the replies, made if need be (default: the working folder)"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

enum { MAX_REQUEST = 1 << 28 };

typedef struct job {
    rfhe_cli *cli;
    const rfhe_args *args;
    const char *folder; /* for the replies */
    rfhe_json j;
    double load_seconds;
} job;

static rfhe_status answer(job *b, rfhe_server *s, const char *name, rfhe_error *err)
{
    char path[4096];
    uint8_t *request = NULL, *reply = NULL;
    size_t size = 0, n = 0;
    rfhe_status st = RFHE_OK;
    rfhe_error why = {0};
    const double start = rfhe_now();

    RFHE_TRY(sides_file(path, sizeof path, b->folder, name, "reply", err));
    RFHE_TRY(rfhe_file_read(&request, &size, name, MAX_REQUEST, err));
    st = rfhe_server_answer(&reply, &n, s, request, size, NULL, &b->cli->progress, &why);
    if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "'%.150s': %.240s", name, why.text);
        goto done;
    }
    RFHE_TRY(rfhe_file_write(path, reply, n, 0644, err));
    const double seconds = rfhe_now() - start;
    if (b->cli->json) {
        rfhe_json_object(&b->j, NULL);
        rfhe_json_string(&b->j, "file", path);
        rfhe_json_integer(&b->j, "bytes", (int64_t)n);
        rfhe_json_number(&b->j, "seconds", seconds);
        rfhe_json_end_object(&b->j);
    } else {
        rfhe_text_printf(&b->cli->out, "%s  %.2f s, %.0f KiB\n", path, seconds, (double)n / 1024);
    }

done:
    rfhe_free(request);
    rfhe_bytes_free(reply);
    return st;
}

static rfhe_status work(job *b, rfhe_error *err)
{
    const char *folder = rfhe_args_at(b->args, 0);
    char side[4096];
    rfhe_status st = RFHE_OK;
    rfhe_program *p = NULL;
    rfhe_server *s = NULL;
    const double start = rfhe_now();

    if (snprintf(side, sizeof side, "%s/server", folder) >= (int)sizeof side) {
        return rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
    }
    RFHE_TRY(sides_distinct(b->args, err));
    RFHE_TRY(rfhe_program_load(&p, side, true, err));
    RFHE_TRY(rfhe_server_open(&s, p, folder, NULL, &b->cli->progress, err));
    sides_warn(b->cli, rfhe_server_parameters(s));
    b->load_seconds = rfhe_now() - start;
    RFHE_TRY(sides_output(&b->folder, b->args, err));
    for (unsigned i = 1; i < rfhe_args_count(b->args); i++) { RFHE_TRY(answer(b, s, rfhe_args_at(b->args, i), err)); }

done:
    rfhe_server_free(s);
    rfhe_program_free(p);
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    job b = {.cli = cli, .args = args, .j = {.out = &cli->out}};

    if (cli->json) {
        rfhe_json_object(&b.j, NULL);
        rfhe_json_string(&b.j, "schema", "rfhe.infer/1");
        rfhe_json_array(&b.j, "replies");
    }
    const rfhe_status st = work(&b, &err);
    if (st != RFHE_OK) { return rfhe_cli_fail(cli, st, &err); }
    if (cli->json) {
        rfhe_json_end_array(&b.j);
        rfhe_json_number(&b.j, "load_seconds", b.load_seconds);
        rfhe_json_integer(&b.j, "threads", cli->threads);
        rfhe_json_number(&b.j, "peak_rss_mib", (double)rfhe_peak_rss() / (1 << 20));
        rfhe_json_end_object(&b.j);
    }
    return rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_infer = {
    .name = "infer",
    .usage = "PROGRAM REQUEST... [-o DIR]",
    .summary = "run an encrypted program on encrypted images",
    .description = "Loads PROGRAM/server (program, weights, the client's evaluation keys) once and answers the requests one "
                   "after the other: NAME.request becomes NAME.reply. Nothing here can decrypt. A request that is damaged, "
                   "or was made for another program or with other keys, ends the run with one sentence and exit code 3.",
    .example = "rfhe infer net.program outbox/*.request -o inbox",
    .options = options,
    .min_args = 2,
    .max_args = 4096,
    .run = run,
};
