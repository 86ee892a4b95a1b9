/* Help as the terminal shows it, and the tables of exit codes and environment variables. */
#include "cli/document.h"

#include <stdio.h>
#include <string.h>

const rfhe_exit_meaning rfhe_exit_meanings[] = {
    {RFHE_EXIT_DONE, "done"},
    {RFHE_EXIT_FAILED, "the command ran and failed, or its answer is no"},
    {RFHE_EXIT_USAGE, "wrong usage: an unknown command or option, a missing or senseless value"},
    {RFHE_EXIT_INPUT, "an input is damaged, foreign, or not supported"},
    {RFHE_EXIT_RESOURCES, "out of memory"},
    {RFHE_EXIT_INTERRUPTED, "interrupted by SIGINT or SIGTERM, after an orderly stop"},
    {0, NULL},
};

const rfhe_environment_meaning rfhe_environment_meanings[] = {
    {"RFHE_THREADS", "size of the team when --threads is not given"},
    {"RFHE_ISA", "the best instruction set that kernels may use: portable, avx2 or avx512ifma"},
    {"RFHE_MEMORY", "refuse to allocate more than this many MiB (default: no limit)"},
    {"NO_COLOR", "if set and not empty, output is not coloured unless --color=always is given"},
    {NULL, NULL},
};

/* Adds `text` broken at spaces so that no line passes 100 columns; every line starts with `indent` spaces. */
static void wrap(rfhe_text *out, const char *text, int indent)
{
    int column = 0;

    while (*text != '\0') {
        const int n = (int)strcspn(text, " \n");
        if (column > 0 && (column + 1 + n > 100 || *text == '\n')) {
            rfhe_text_add(out, "\n");
            column = 0;
        }
        if (n > 0) {
            rfhe_text_printf(out, "%*s%.*s", column > 0 ? 1 : indent, "", n, text);
            column += n + (column > 0 ? 1 : indent);
        }
        text += n;
        if (text[0] == '\n' && text[1] == '\n') {
            rfhe_text_add(out, "\n\n");
            column = 0;
        }
        text += strspn(text, " \n");
    }
    rfhe_text_add(out, "\n");
}

void rfhe_document_overview(rfhe_text *out)
{
    rfhe_text_add(
        out, "rfhe runs trained neural networks on encrypted data.\n\n"
             "usage: rfhe COMMAND [arguments] [options]\n\ncommands, in the order of the work:\n");
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        const rfhe_command *c = rfhe_commands[i];
        if (!c->hidden) { rfhe_text_printf(out, "  %-10s %s\n", c->name, c->summary); }
    }
    rfhe_text_add(out, "\n`rfhe COMMAND --help` explains one of them.\n\nexit codes:\n");
    for (const rfhe_exit_meaning *e = rfhe_exit_meanings; e->meaning != NULL; e++) {
        rfhe_text_printf(out, "  %-10d %s\n", e->code, e->meaning);
    }
}

static void options(rfhe_text *out, const rfhe_opt *table)
{
    for (const rfhe_opt *o = table; o != NULL && o->kind != RFHE_OPT_END; o++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter != 0 ? '-' : ' ',
                       o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ", " : "  ", o->name,
                       o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        rfhe_text_printf(out, "  %-26s %s", left, o->text);
        if (o->choices != NULL) { rfhe_text_printf(out, ": %s", o->choices); }
        rfhe_text_add(out, "\n");
    }
}

void rfhe_document_help(rfhe_text *out, const rfhe_command *c)
{
    rfhe_text_printf(out, "usage: rfhe %s %s\n\n", c->name, c->usage);
    wrap(out, c->description, 0);
    if (c->options != NULL) {
        rfhe_text_add(out, "\noptions:\n");
        options(out, c->options);
    }
    rfhe_text_add(out, "\noptions of every command:\n");
    options(out, rfhe_common_options);
    if (c->example != NULL) {
        rfhe_text_add(out, "\nexample:\n  ");
        rfhe_text_add(out, c->example);
        rfhe_text_add(out, "\n");
    }
}
