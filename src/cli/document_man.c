/* Man pages in mdoc(7). Text lines are broken after each sentence, as the format wants it. */
#include "cli/document.h"

#include <ctype.h>
#include <string.h>

/* Some bytes of a line of input: no request at its start, no backslash taken as an escape. */
static void plain(rfhe_text *out, const char *s, size_t n, bool at_start)
{
    if (at_start && n > 0 && (*s == '.' || *s == '\'')) { rfhe_text_add(out, "\\&"); }
    for (size_t i = 0; i < n; i++) {
        rfhe_text_add_bytes(out, s[i] == '\\' ? "\\e" : s + i, s[i] == '\\' ? 2 : 1);
    }
}

/* Running text in lines of at most 78 columns, a new line after each sentence; an empty line becomes a paragraph. Ends
 * with a newline. */
static void text(rfhe_text *out, const char *s)
{
    size_t column = 0;

    while (*s != '\0') {
        const size_t n = strcspn(s, " \n"), gap = strspn(s + n, " \n");
        if (column > 0 && column + 1 + n > 78) {
            rfhe_text_add(out, "\n");
            column = 0;
        }
        if (column > 0) { rfhe_text_add(out, " "); }
        plain(out, s, n, column == 0);
        column += n + 1;
        if (strncmp(s + n, "\n\n", 2) == 0 && s[n + gap] != '\0') {
            rfhe_text_add(out, "\n.Pp\n");
            column = 0;
        } else if (n > 0 && strchr(".?!", s[n - 1]) != NULL && s[n + gap] != '\0') {
            rfhe_text_add(out, "\n");
            column = 0;
        }
        s += n + gap;
    }
    rfhe_text_add(out, "\n");
}

/* Text whose lines are kept. */
static void literal(rfhe_text *out, const char *s)
{
    while (*s != '\0') {
        const size_t n = strcspn(s, "\n");
        plain(out, s, n, true);
        rfhe_text_add(out, "\n");
        s += n + (s[n] == '\n');
    }
}

/* `.Dd` to `.Nd`. */
static void head(rfhe_text *out, const char *name, const char *summary)
{
    rfhe_text_add(out,
                  ".\\\" Generated from the option tables of the command: edit src/cli, not this.\n"
                  ".Dd " RFHE_RELEASE_DATE "\n.Dt ");
    for (const char *c = name; *c != '\0'; c++) {
        rfhe_text_printf(out, "%c", toupper((unsigned char)*c));
    }
    rfhe_text_printf(out, " 1\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s\n", name, summary);
}

static void options(rfhe_text *out, const rfhe_opt *table)
{
    for (const rfhe_opt *o = table; o != NULL && o->kind != RFHE_OPT_END; o++) {
        rfhe_text_add(out, ".It ");
        if (o->letter != 0) { rfhe_text_printf(out, "Fl %c , ", o->letter); }
        rfhe_text_printf(out, "Fl -%s", o->name);
        if (o->value != NULL) { rfhe_text_printf(out, " Ar \"%s\"", o->value); }
        rfhe_text_add(out, "\n");
        text(out, o->text);
        if (o->choices != NULL) {
            if (out->size > 0) { out->size--; } /* the newline */
            rfhe_text_add(out, ":\n");
            for (const char *c = o->choices; *c != '\0';) {
                const size_t n = strcspn(c, "|");
                rfhe_text_printf(out, ".Cm %.*s%s\n", (int)n, c, c[n] == '|' ? " ," : " .");
                c += n + (c[n] == '|');
            }
        }
    }
}

static void option_list(rfhe_text *out, const char *intro, const rfhe_opt *table)
{
    if (table == NULL || table->kind == RFHE_OPT_END) { return; } /* an empty list is an error of mandoc's */
    rfhe_text_printf(out, ".Pp\n%s\n.Bl -tag -width Ds\n", intro);
    options(out, table);
    rfhe_text_add(out, ".El\n");
}

static void exit_status(rfhe_text *out)
{
    rfhe_text_add(out, ".Sh EXIT STATUS\n.Bl -tag -width 130\n");
    for (const rfhe_exit_meaning *e = rfhe_exit_meanings; e->meaning != NULL; e++) {
        rfhe_text_printf(out, ".It %d\n", e->code);
        text(out, e->meaning);
    }
    rfhe_text_add(out, ".El\n");
}

void rfhe_document_man(rfhe_text *out, const rfhe_command *c)
{
    rfhe_text name = {0};

    rfhe_text_printf(&name, "rfhe-%s", c->name);
    head(out, name.data != NULL ? name.data : c->name, c->summary);
    if (rfhe_text_status(&name) != RFHE_OK) { out->failed = true; }
    rfhe_text_clear(&name);
    rfhe_text_printf(out, ".Sh SYNOPSIS\n.Nm rfhe %s\n", c->name);
    text(out, c->usage);
    rfhe_text_add(out, ".Sh DESCRIPTION\n");
    text(out, c->description);
    if (c->options != NULL) { option_list(out, "The options are:", c->options); }
    option_list(out, "Options of every command:", rfhe_common_options);
    exit_status(out);
    if (c->example != NULL) {
        rfhe_text_add(out, ".Sh EXAMPLES\n.Bd -literal -offset indent\n");
        literal(out, c->example);
        rfhe_text_add(out, ".Ed\n");
    }
    rfhe_text_add(out, ".Sh SEE ALSO\n.Xr rfhe 1\n");
}

void rfhe_document_man_overview(rfhe_text *out)
{
    head(out, "rfhe", "run trained neural networks on encrypted data");
    rfhe_text_add(
        out, ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar arguments\n.Op Ar options\n"
             ".Nm\n.Cm help\n.Op Ar command\n.Sh DESCRIPTION\n"
             ".Nm\ndoes its work in commands, here in the order in which they are usually run:\n"
             ".Bl -tag -width Ds\n");
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        const rfhe_command *c = rfhe_commands[i];
        if (c->hidden) { continue; }
        rfhe_text_printf(out, ".It Xr rfhe-%s 1\n", c->name);
        text(out, c->summary);
    }
    rfhe_text_add(out, ".El\n.Pp\n"
                       "Results go to standard output, everything else to standard error;\n"
                       "progress is shown only when standard error is a terminal.\n");
    option_list(out, "Options of every command:", rfhe_common_options);
    rfhe_text_add(out, ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n");
    for (const rfhe_environment_meaning *e = rfhe_environment_meanings; e->meaning != NULL; e++) {
        rfhe_text_printf(out, ".It Ev %s\n", e->variable);
        text(out, e->meaning);
    }
    rfhe_text_add(out, ".El\n");
    exit_status(out);
}
