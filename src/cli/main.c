/* rfhe: finds the verb, parses its arguments, sets the stage (threads, seed, signals, progress) and runs it. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/terminal.h"

#include "base/cpu.h"
#include "base/threads.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int rfhe_cli_finish(rfhe_cli *cli)
{
    rfhe_terminal_clear();
    if (rfhe_text_status(&cli->out) != RFHE_OK) { return rfhe_cli_fail(cli, RFHE_E_NOMEM, NULL); }
    if (cli->out.size > 0 && fwrite(cli->out.data, 1, cli->out.size, stdout) != cli->out.size) {
        (void)fprintf(stderr, "rfhe %s: cannot write the result: %s\n", cli->command->name,
                      strerror(errno));
        return RFHE_EXIT_FAILED;
    }
    if (fflush(stdout) != 0) {
        (void)fprintf(stderr, "rfhe %s: cannot write the result: %s\n", cli->command->name,
                      strerror(errno));
        return RFHE_EXIT_FAILED;
    }
    return RFHE_EXIT_DONE;
}

static int exit_code(rfhe_status st)
{
    switch (st) {
    case RFHE_OK: return RFHE_EXIT_DONE;
    case RFHE_E_ARG: return RFHE_EXIT_USAGE;
    case RFHE_E_FORMAT:
    case RFHE_E_UNSUPPORTED: return RFHE_EXIT_INPUT;
    case RFHE_E_NOMEM: return RFHE_EXIT_RESOURCES;
    case RFHE_E_INTERRUPTED: return RFHE_EXIT_INTERRUPTED;
    case RFHE_E_IO:
    case RFHE_E_DEPTH:
    case RFHE_E_INSECURE: break;
    }
    return RFHE_EXIT_FAILED;
}

int rfhe_cli_fail(rfhe_cli *cli, rfhe_status st, const rfhe_error *err)
{
    const bool told = err != NULL && err->text[0] != '\0';

    rfhe_terminal_clear();
    (void)fprintf(stderr, "rfhe %s: %s\n", cli->command->name,
                  told ? err->text : rfhe_status_name(st));
    return exit_code(st);
}

int rfhe_cli_usage(rfhe_cli *cli, const char *fmt, ...)
{
    va_list args;

    (void)fprintf(stderr, "rfhe %s: ", cli->command->name);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fprintf(stderr, " (see rfhe %s --help)\n", cli->command->name);
    return RFHE_EXIT_USAGE;
}

void rfhe_cli_note(rfhe_cli *cli, const char *fmt, ...)
{
    va_list args;

    if (cli->quiet) { return; }
    rfhe_terminal_clear();
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

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
