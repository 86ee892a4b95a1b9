/* See cli.h: how a verb speaks to the person or script that ran it. */
#include "cli/cli.h"

#include "cli/terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    case RFHE_E_INSECURE:
    case RFHE_E_NUMERIC: break;
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

/* A sentence on standard error, without a line break. */
RFHE_PRINTF(1, 0) static void say(const char *fmt, va_list args)
{
    rfhe_text line = {0};

    rfhe_text_vprintf(&line, fmt, args);
    if (line.data != NULL) { (void)fputs(line.data, stderr); }
    rfhe_text_clear(&line);
}

int rfhe_cli_usage(rfhe_cli *cli, const char *fmt, ...)
{
    va_list args;

    (void)fprintf(stderr, "rfhe %s: ", cli->command->name);
    va_start(args, fmt);
    say(fmt, args);
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
    say(fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
}
