/* What is generated from the option tables: help, man pages, shell completions. They cannot drift from what the parser
 * accepts, because the parser reads the same tables. Hidden commands appear in none of them. */
#ifndef RFHE_CLI_DOCUMENT_H
#define RFHE_CLI_DOCUMENT_H

#include "cli/cli.h"

/* The list of commands. */
void rfhe_document_overview(rfhe_text *out);
/* One command: usage, description, options, example. */
void rfhe_document_help(rfhe_text *out, const rfhe_command *c);

/* The page rfhe.1: the commands, exit codes and environment. mdoc, clean under mandoc -T lint. */
void rfhe_document_man_overview(rfhe_text *out);
/* The page rfhe-NAME.1. */
void rfhe_document_man(rfhe_text *out, const rfhe_command *c);

void rfhe_document_bash(rfhe_text *out);
void rfhe_document_zsh(rfhe_text *out);
void rfhe_document_fish(rfhe_text *out);

/* What a script may rely on; both tables end with a NULL meaning. */
typedef struct rfhe_exit_meaning {
    int code;
    const char *meaning;
} rfhe_exit_meaning;

typedef struct rfhe_environment_meaning {
    const char *variable, *meaning;
} rfhe_environment_meaning;

extern const rfhe_exit_meaning rfhe_exit_meanings[];
extern const rfhe_environment_meaning rfhe_environment_meanings[];

#endif
