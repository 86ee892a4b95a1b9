/* Parses a command's arguments by its option table: --name value, --name=value, -n value, -nvalue; bundles of letters are
 * not accepted; -- ends the options; a lone - is an argument. An option given twice is refused rather than guessed. */
#ifndef RFHE_CLI_ARGS_H
#define RFHE_CLI_ARGS_H

#include "cli/cli.h"

enum { RFHE_ARGS_MAX = 4096 };

typedef struct rfhe_arg_value {
    const rfhe_opt *opt;
    const char *text; /* NULL for flags */
    uint64_t uint;
    double number;
} rfhe_arg_value;

struct rfhe_args {
    rfhe_arg_value values[64];
    unsigned n_values;
    const char *positional[RFHE_ARGS_MAX];
    unsigned n_positional;
    bool help;
};

/* On failure `why` holds one sentence. The strings point into argv. */
bool rfhe_args_parse(rfhe_args *out, const rfhe_command *c, int argc, char **argv, rfhe_error *why);
/* Digits with an optional suffix k, M or G (powers of ten); false when that is not what `text` is, or too large. */
bool rfhe_args_parse_uint(const char *text, uint64_t *out);

typedef struct rfhe_unit {
    const char *name; /* "" for none */
    double factor;
} rfhe_unit;
/* A finite number from 0 and one of n units: *value times its factor, *unit (may be NULL) which. False for anything else. */
bool rfhe_args_parse_amount(const char *text, const rfhe_unit *units, size_t n, double *value, size_t *unit);

#endif
