/* Declares the verbs of commands.inc. */
#ifndef RFHE_CLI_COMMANDS_H
#define RFHE_CLI_COMMANDS_H

#include "cli/cli.h"

#define X(name) extern const rfhe_command rfhe_cmd_##name;
#include "cli/commands.inc"
#undef X

#endif
