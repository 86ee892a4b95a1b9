/* rfhe: finds the verb, parses its arguments, sets the stage (threads, seed, signals, progress) and runs it. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/terminal.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "base/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A whole number from the environment; 0 when the variable is absent or empty. False after a message. */
static bool uint_from_environment(rfhe_cli *cli, const char *name, uint64_t *out)
{
    const char *text = getenv(name);

    *out = 0;
    if (text == NULL || text[0] == '\0' || rfhe_args_parse_uint(text, out)) { return true; }
    (void)rfhe_cli_usage(cli, "%s wants a whole number, not '%s'", name, text);
    return false;
}

/* The size of the team: --threads, else RFHE_THREADS, else 0 = all cores. False after a message. */
static bool choose_threads(rfhe_cli *cli, const rfhe_args *a)
{
    uint64_t n = 0;

    if (!uint_from_environment(cli, "RFHE_THREADS", &n)) { return false; }
    n = rfhe_args_uint(a, "threads", n);
    if (n > 1024) {
        (void)rfhe_cli_usage(cli, "the number of threads is at most 1024");
        return false;
    }
    cli->threads = rfhe_threads_set((unsigned)n);
    return true;
}

static bool choose_memory(rfhe_cli *cli)
{
    uint64_t mib = 0;

    if (!uint_from_environment(cli, "RFHE_MEMORY", &mib)) { return false; }
    rfhe_mem_set_limit(mib < SIZE_MAX >> 20 ? (size_t)mib << 20 : 0);
    return true;
}

/* Lowers the instruction set as --isa or RFHE_ISA asks. False after a message. */
static bool choose_isa(rfhe_cli *cli, const rfhe_args *a)
{
    const char *from_env = getenv("RFHE_ISA");
    rfhe_isa isa = rfhe_cpu_isa();

    if (from_env != NULL && from_env[0] != '\0' && !rfhe_isa_parse(from_env, &isa)) {
        (void)rfhe_cli_usage(cli, "RFHE_ISA names no instruction set: '%s'", from_env);
        return false;
    }
    if (!rfhe_isa_parse(rfhe_args_text(a, "isa", ""), &isa)) { return true; }
    if (isa > rfhe_cpu_best_isa()) {
        (void)rfhe_cli_usage(cli, "this CPU cannot run %s; its best is %s", rfhe_isa_name(isa),
                             rfhe_isa_name(rfhe_cpu_best_isa()));
        return false;
    }
    rfhe_cpu_limit_isa(isa);
    return true;
}

static bool wants_color(const char *when)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    if (strcmp(when, "auto") != 0) { return strcmp(when, "always") == 0; }
    return isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}

/* Sets what every command shares; false after a message when an option is out of range. */
static bool set_stage(rfhe_cli *cli, const rfhe_args *a)
{
    const char *term = getenv("TERM");

    cli->json = rfhe_args_has(a, "json");
    cli->quiet = rfhe_args_has(a, "quiet");
    cli->stderr_is_terminal = isatty(STDERR_FILENO) != 0;
    cli->color = wants_color(rfhe_args_text(a, "color", "auto"));
    cli->seed = rfhe_args_uint(a, "seed", 1);
    if (!choose_threads(cli, a) || !choose_isa(cli, a) || !choose_memory(cli)) { return false; }
    cli->progress = rfhe_terminal_progress(cli->stderr_is_terminal && !cli->quiet && term != NULL &&
                                           strcmp(term, "dumb") != 0);
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

static const rfhe_command *find_command(const char *name)
{
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        if (strcmp(rfhe_commands[i]->name, name) == 0) { return rfhe_commands[i]; }
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    (void)fprintf(stderr, "rfhe: there is no command '%s' (see rfhe --help)\n", name);
    return RFHE_EXIT_USAGE;
}

/* rfhe help [COMMAND] */
static int help(rfhe_cli *cli, int argc, char **argv)
{
    if (argc > 1) { return rfhe_cli_usage(cli, "one command at a time"); }
    if (argc == 0) {
        rfhe_document_overview(&cli->out);
    } else {
        const rfhe_command *about = find_command(argv[0]);
        if (about == NULL) { return unknown_command(argv[0]); }
        rfhe_document_help(&cli->out, about);
    }
    return rfhe_cli_finish(cli);
}

/* rfhe without arguments: the overview, but as a complaint. */
static int explain(rfhe_cli *cli)
{
    rfhe_document_overview(&cli->out);
    if (cli->out.data != NULL) { (void)fputs(cli->out.data, stderr); }
    return RFHE_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static const rfhe_command top = {.name = "help"};
    const char *verb = argc > 1 ? argv[1] : "";
    const bool is_help =
        strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 || strcmp(verb, "help") == 0;
    rfhe_cli cli = {.command = &top};
    int code = 0;

    rfhe_terminal_catch_signals();
    if (strcmp(verb, "--version") == 0) { verb = "version"; }
    const rfhe_command *command = find_command(verb);
    if (command != NULL) {
        cli.command = command;
        code = run_command(&cli, argc - 2, argv + 2);
    } else if (is_help) {
        code = help(&cli, argc - 2, argv + 2);
    } else if (argc < 2) {
        code = explain(&cli);
    } else {
        code = unknown_command(verb);
    }
    rfhe_text_clear(&cli.out);
    return code;
}
