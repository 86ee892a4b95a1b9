/* The table of verbs, in the order of the work, and the options they share. */
#include "cli/cli.h"

#include "cli/commands.h"

#define X(name) &rfhe_cmd_##name,
const rfhe_command *const rfhe_commands[] = {
#include "cli/commands.inc"
    NULL};
#undef X

const rfhe_opt rfhe_common_options[] = {
    {"json", 0, RFHE_OPT_FLAG, NULL, NULL, "write exactly one JSON document to standard output"},
    {"threads", 't', RFHE_OPT_UINT, "N", NULL,
     "size of the team (default: all cores; RFHE_THREADS)"},
    {"seed", 0, RFHE_OPT_UINT, "N", NULL, "seed of everything random but cryptography (default 1)"},
    {"isa", 0, RFHE_OPT_CHOICE, "NAME", "portable|avx2|avx512ifma",
     "use at most this instruction set (RFHE_ISA)"},
    {"quiet", 'q', RFHE_OPT_FLAG, NULL, NULL, "no progress and no remarks"},
    {"color", 0, RFHE_OPT_CHOICE, "WHEN", "auto|always|never", "colour on the terminal (NO_COLOR)"},
    {"help", 'h', RFHE_OPT_FLAG, NULL, NULL, "explain this command and stop"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};
