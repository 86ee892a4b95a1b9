/* rfhe keygen PROGRAM: the owner's keys. */
#include "cli/sides.h"

#include <inttypes.h>
#include <stdio.h>

static const rfhe_opt options[] = {
    {"replace", 0, RFHE_OPT_FLAG, NULL, NULL, "replace keys that are there: what they encrypted is lost"},
    RFHE_OPTION_INSECURE,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

static rfhe_status make(rfhe_keygen_report *r, rfhe_ckks_info *info, rfhe_cli *cli, const rfhe_args *args, rfhe_error *err)
{
    const char *folder = rfhe_args_at(args, 0);
    char client[4096];
    rfhe_status st = RFHE_OK;
    rfhe_program *p = NULL;
    rfhe_ckks *c = NULL;

    if (snprintf(client, sizeof client, "%s/client", folder) >= (int)sizeof client) {
        return rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
    }
    RFHE_TRY(rfhe_program_load(&p, client, false, err));
    RFHE_TRY(rfhe_program_parameters(&c, p, err));
    rfhe_ckks_get_info(c, info);
    RFHE_TRY(sides_accept(cli, args, c, err));
    RFHE_TRY(rfhe_client_keygen(p, folder, rfhe_args_has(args, "replace"), r, &cli->progress, err));

done:
    rfhe_ckks_free(c);
    rfhe_program_free(p);
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    rfhe_keygen_report r = {0};
    rfhe_ckks_info info = {0};
    const char *folder = rfhe_args_at(args, 0);
    const rfhe_status st = make(&r, &info, cli, args, &err);

    if (st != RFHE_OK) { return rfhe_cli_fail(cli, st, &err); }
    if (cli->json) {
        rfhe_json j = {.out = &cli->out};
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "schema", "rfhe.keygen/1");
        rfhe_json_string(&j, "program", folder);
        rfhe_json_integer(&j, "keys", r.keys);
        rfhe_json_number(&j, "file_mib", (double)r.key_bytes / (1 << 20));
        rfhe_json_number(&j, "seconds", r.seconds);
        rfhe_json_integer(&j, "log2_n", info.log2_n);
        rfhe_json_number(&j, "log2_qp", info.log2_qp);
        rfhe_json_integer(&j, "security_bits", info.security_bits);
        rfhe_json_end_object(&j);
    } else {
        rfhe_text_printf(&cli->out,
                         "N = 2^%u, log2 QP = %.0f: %u-bit security\n"
                         "%" PRIu32 " evaluation keys for the server: %s/%s, %.0f MiB\n"
                         "the secret key stays here:          %s/%s\n"
                         "%.1f s\n",
                         info.log2_n, info.log2_qp, info.security_bits, r.keys, folder, RFHE_SERVER_KEYS,
                         (double)r.key_bytes / (1 << 20), folder, RFHE_CLIENT_SECRET, r.seconds);
    }
    return rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_keygen = {
    .name = "keygen",
    .usage = "PROGRAM [options]",
    .summary = "make the keys of a data owner for an encrypted program",
    .description =
        "Draws a secret key and makes every evaluation key that the program uses. PROGRAM is the folder that `rfhe plan` "
        "wrote; of it, only client/program.json is read, so client/ alone will do.\n\n"
        "client/secret.key (readable by its owner only) decrypts everything: it must not leave the client. "
        "server/evaluation.keys and the keys.id beside it go to whoever computes, once for all images. keys.id, here and "
        "there, says which keys belong together.",
    .example = "rfhe plan net-even8.onnx -o net.program\nrfhe keygen net.program",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
