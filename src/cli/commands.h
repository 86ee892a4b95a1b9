/* One line per verb; each lives in cmd_NAME.c. */
#ifndef RFHE_CLI_COMMANDS_H
#define RFHE_CLI_COMMANDS_H

#include "cli/cli.h"

#define RFHE_COMMAND_LIST(X) \
    X(data) \
    X(version)

#define DECLARE(name) extern const rfhe_command rfhe_cmd_##name;
RFHE_COMMAND_LIST(DECLARE)
#undef DECLARE

#endif
