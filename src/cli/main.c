/* rfhe: finds the verb, parses its arguments, sets the stage (threads, seed, signals, progress) and runs it. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/terminal.h"

#include "base/cpu.h"
#include "base/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Sets what every command shares; false after a message when an option is out of range. */
static bool set_stage(rfhe_cli *cli, const rfhe_args *a)
{
    const char *from_env = getenv("RFHE_THREADS");
    const char *color = rfhe_args_text(a, "color", "auto");
    rfhe_isa isa = RFHE_ISA_PORTABLE;
    const uint64_t threads =
        rfhe_args_uint(a, "threads", from_env != NULL ? strtoull(from_env, NULL, 10) : 0);

    cli->json = rfhe_args_has(a, "json");
    cli->quiet = rfhe_args_has(a, "quiet");
    cli->stderr_is_terminal = isatty(STDERR_FILENO) != 0;
    cli->color = strcmp(color, "always") == 0 ||
                 (strcmp(color, "auto") == 0 && isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL);
    cli->seed = rfhe_args_uint(a, "seed", 1);
    if (threads > 1024) {
        (void)rfhe_cli_usage(cli, "--threads is at most 1024");
        return false;
    }
    cli->threads = rfhe_threads_set((unsigned)threads);
    if (rfhe_isa_parse(rfhe_args_text(a, "isa", ""), &isa)) {
        if (isa > rfhe_cpu_best_isa()) {
            (void)rfhe_cli_usage(cli, "this CPU cannot run %s; its best is %s", rfhe_isa_name(isa),
                                 rfhe_isa_name(rfhe_cpu_best_isa()));
            return false;
        }
        rfhe_cpu_limit_isa(isa);
    }
    rfhe_terminal_catch_signals();
    cli->progress = rfhe_terminal_progress(cli->stderr_is_terminal && !cli->quiet);
    return true;
}

static int run_command(rfhe_cli *cli, int argc, char **argv)
{
    static rfhe_args args; /* too large for the stack of a small thread */
    rfhe_error why = {0};

    if (!rfhe_args_parse(&args, cli->command, argc, argv, &why)) {
        return rfhe_cli_usage(cli, "%s", why.text);
    }
    if (args.help) {
        rfhe_document_help(&cli->out, cli->command);
        return rfhe_cli_finish(cli);
    }
    if (!set_stage(cli, &args)) { return RFHE_EXIT_USAGE; }
    return cli->command->run(cli, &args);
}

int main(int argc, char **argv)
{
    static const rfhe_command top = {.name = "help"};
    const char *verb = argc > 1 ? argv[1] : "";
    rfhe_cli cli = {.command = &top};
    int code = RFHE_EXIT_USAGE;

    if (strcmp(verb, "--version") == 0) { verb = "version"; }
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        if (strcmp(rfhe_commands[i]->name, verb) == 0) { cli.command = rfhe_commands[i]; }
    }
    if (cli.command != &top) {
        code = run_command(&cli, argc - 2, argv + 2);
    } else if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 || strcmp(verb, "help") == 0) {
        rfhe_document_overview(&cli.out);
        code = rfhe_cli_finish(&cli);
    } else if (argc < 2) {
        rfhe_document_overview(&cli.out);
        (void)fwrite(cli.out.data, 1, cli.out.size, stderr);
    } else {
        (void)fprintf(stderr, "rfhe: there is no command '%s' (see rfhe --help)\n", verb);
    }
    rfhe_text_clear(&cli.out);
    return code;
}
