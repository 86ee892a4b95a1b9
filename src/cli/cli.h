/* The frame of the command line: option tables as data, and what every verb needs to talk to a person or a script.
 * Help, man pages and completions are generated from the same tables (cli/document.h). */
#ifndef RFHE_CLI_CLI_H
#define RFHE_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"
#include "rfhe/status.h"

/* Fixed for ever; help, man page and docs/conventions.md list them. */
enum {
    RFHE_EXIT_DONE = 0,
    RFHE_EXIT_FAILED = 1,
    RFHE_EXIT_USAGE = 2,
    RFHE_EXIT_INPUT = 3,
    RFHE_EXIT_RESOURCES = 4,
    RFHE_EXIT_INTERRUPTED = 130
};

typedef enum rfhe_opt_kind {
    RFHE_OPT_END = 0,
    RFHE_OPT_FLAG,
    RFHE_OPT_UINT, /* a whole number; k, M, G suffixes are powers of ten */
    RFHE_OPT_FLOAT,
    RFHE_OPT_BYTES, /* a number with a unit: B, K, KiB, M, MiB, G, GiB (1024), KB, MB, GB (1000) */
    RFHE_OPT_TEXT,
    RFHE_OPT_CHOICE /* one word out of `choices`, separated by '|'        */
} rfhe_opt_kind;

typedef struct rfhe_opt {
    const char *name; /* without the dashes            */
    char letter;      /* 0 = no short form             */
    rfhe_opt_kind kind;
    const char *value;   /* how help calls the argument, such as "N"; NULL for flags */
    const char *choices; /* "a|b|c" for RFHE_OPT_CHOICE   */
    const char *text;    /* one line of help, lower case  */
} rfhe_opt;

typedef struct rfhe_args rfhe_args;
typedef struct rfhe_cli rfhe_cli;

typedef struct rfhe_command {
    const char *name;        /* "eval"                             */
    const char *usage;       /* "MODEL.onnx --data SPEC [options]" */
    const char *summary;     /* one line for the list of commands  */
    const char *description; /* paragraphs for help and man page, separated by an empty line */
    const char *example;     /* lines of shell; may be NULL        */
    const rfhe_opt *options; /* ended by RFHE_OPT_END; may be NULL */
    unsigned min_args, max_args;
    int (*run)(rfhe_cli *cli, const rfhe_args *args); /* returns the exit code */
    bool hidden; /* for builds and tests: left out of help, man pages and completions */
} rfhe_command;

/* Parsed arguments. Every accessor wants a name that is in the command's table or among the common options. */
bool rfhe_args_has(const rfhe_args *a, const char *name);
uint64_t rfhe_args_uint(const rfhe_args *a, const char *name, uint64_t otherwise);
double rfhe_args_float(const rfhe_args *a, const char *name, double otherwise); /* of RFHE_OPT_BYTES too */
const char *rfhe_args_text(const rfhe_args *a, const char *name, const char *otherwise);
unsigned rfhe_args_count(const rfhe_args *a);
const char *rfhe_args_at(const rfhe_args *a, unsigned i);

struct rfhe_cli {
    const rfhe_command *command;
    bool json, quiet;
    bool stderr_is_terminal, color;
    unsigned threads;
    uint64_t seed;
    rfhe_progress progress; /* draws on a terminal, silent otherwise; stops on SIGINT or SIGTERM */
    rfhe_text out;          /* what goes to standard output, written by rfhe_cli_finish */
};

/* Prints "rfhe VERB: sentence" on standard error and returns the exit code that belongs to `st`. */
int rfhe_cli_fail(rfhe_cli *cli, rfhe_status st, const rfhe_error *err);
/* A usage mistake: the sentence, a pointer to --help, exit code 2. */
int rfhe_cli_usage(rfhe_cli *cli, const char *fmt, ...) RFHE_PRINTF(2, 3);
/* Writes cli->out; a full disk or a closed pipe is an error, not silence. Returns the exit code. */
int rfhe_cli_finish(rfhe_cli *cli);
/* A remark for people on standard error, unless --quiet. */
void rfhe_cli_note(rfhe_cli *cli, const char *fmt, ...) RFHE_PRINTF(2, 3);

/* All commands, in the order of the work, ended by NULL. */
extern const rfhe_command *const rfhe_commands[];
/* Options that every command has: --json --threads --seed --isa --quiet --color --help. */
extern const rfhe_opt rfhe_common_options[];

#endif
