/* rfhe version: which build this is and what it found on this machine. */
#include "cli/cli.h"

#include "base/cpu.h"
#include "rfhe/status.h"

static const rfhe_opt options[] = {
    {"verbose", 'v', RFHE_OPT_FLAG, NULL, NULL, "also compiler, CPU and instruction set"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    if (cli->json) {
        rfhe_json j = {.out = &cli->out};
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "schema", "rfhe.version/1");
        rfhe_json_string(&j, "version", rfhe_version());
        rfhe_json_string(&j, "compiler", __VERSION__);
        rfhe_json_string(&j, "cpu", rfhe_cpu_name());
        rfhe_json_string(&j, "isa", rfhe_isa_name(rfhe_cpu_isa()));
        rfhe_json_bool(&j, "bf16", rfhe_cpu_has_bf16());
        rfhe_json_integer(&j, "threads", cli->threads);
        rfhe_json_end_object(&j);
    } else {
        rfhe_text_printf(&cli->out, "rfhe %s\n", rfhe_version());
        if (rfhe_args_has(args, "verbose")) {
            rfhe_text_printf(&cli->out, "compiler  %s\ncpu       %s, %u threads\nisa       %s%s\n",
                             __VERSION__, rfhe_cpu_name(), cli->threads,
                             rfhe_isa_name(rfhe_cpu_isa()), rfhe_cpu_has_bf16() ? ", bf16" : "");
        }
    }
    return rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_version = {
    .name = "version",
    .usage = "[--verbose]",
    .summary = "say which build this is and what it found on this machine",
    .description = "Prints the version in one line; with --verbose also the compiler, the CPU and "
                   "the instruction "
                   "set that the kernels will use.",
    .example = "rfhe version --json",
    .options = options,
    .run = run,
};
