/* What is generated from the option tables: help, man pages, shell completions. */
#ifndef RFHE_CLI_DOCUMENT_H
#define RFHE_CLI_DOCUMENT_H

#include "cli/cli.h"

/* The list of commands. */
void rfhe_document_overview(rfhe_text *out);
/* One command: usage, description, options, example. */
void rfhe_document_help(rfhe_text *out, const rfhe_command *c);

#endif
