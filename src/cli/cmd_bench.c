/* rfhe bench: times one part of the system and says on what machine. */
#include "cli/bench.h"
#include "cli/cli.h"

#include <string.h>

/* One table for all suites; a suite reads what concerns it and names that in its `options`. */
static const rfhe_opt options[] = {
    {"op", 'o', RFHE_OPT_TEXT, "NAME", NULL,
     "only rows of this op; a '*' at the end stands for any rest"},
    {"runs", 'r', RFHE_OPT_UINT, "N", NULL,
     "at least this many samples per row (default: the suite's)"},
    {"seconds", 's', RFHE_OPT_FLOAT, "S", NULL,
     "sample each row for about this long (default: the suite's)"},
    {"log2-n", 'n', RFHE_OPT_UINT, "N", NULL, "ring degree 2^N (default: the suite's)"},
    {"limbs", 'l', RFHE_OPT_UINT, "N", NULL, "residues per polynomial"},
    {"set", 0, RFHE_OPT_TEXT, "NAME", NULL, "only this named set of refresh parameters"},
    {"slots", 0, RFHE_OPT_UINT, "N", NULL, "2^N slots (default: all)"},
    {"chain", 0, RFHE_OPT_UINT, "N", NULL, "also refresh one ciphertext N times in a row and follow its precision"},
    {"lean", 0, RFHE_OPT_FLAG, NULL, NULL, "the refresh that takes least memory"},
    {"halves", 0, RFHE_OPT_FLAG, NULL, NULL, "also refresh both halves of the coefficients"},
    {"form", 'f', RFHE_OPT_TEXT, "NAME", NULL, "only this activation, as named by rfhe paf list"},
    {"parameters", 0, RFHE_OPT_CHOICE, "SET", "smallest|common",
     "parameters fitted to each form, or the same for all"},
    {"model", 'm', RFHE_OPT_TEXT, "NAME", NULL, "architecture such as resnet20, or an ONNX file"},
    {"batch", 'b', RFHE_OPT_UINT, "N", NULL, "images per training step"},
    {"dtype", 0, RFHE_OPT_CHOICE, "TYPE", "f32|bf16", "arithmetic of the training step"},
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL,
     "take images from this data set (default: made-up images)"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

#define X(name) &rfhe_bench_suite_##name,
static const rfhe_bench_suite *const suites[] = {
#include "cli/benches.inc"
    NULL};
#undef X

static int list_suites(rfhe_cli *cli)
{
    rfhe_json j = {.out = &cli->out};

    if (cli->json) {
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "schema", "rfhe.bench-list/1");
        rfhe_json_array(&j, "suites");
    }
    for (size_t i = 0; suites[i] != NULL; i++) {
        if (cli->json) {
            rfhe_json_object(&j, NULL);
            rfhe_json_string(&j, "name", suites[i]->name);
            rfhe_json_string(&j, "summary", suites[i]->summary);
            rfhe_json_end_object(&j);
        } else {
            rfhe_text_printf(&cli->out, "%-10s %s\n", suites[i]->name, suites[i]->summary);
        }
    }
    if (cli->json) {
        rfhe_json_end_array(&j);
        rfhe_json_end_object(&j);
    }
    return rfhe_cli_finish(cli);
}

static bool names(const char *list, const char *word)
{
    const size_t n = strlen(word);

    for (const char *c = list; *c != '\0';) {
        const size_t len = strcspn(c, "|");
        if (len == n && memcmp(c, word, n) == 0) { return true; }
        c += len + (c[len] == '|');
    }
    return false;
}

/* An option that the suite would ignore; NULL if there is none. */
static const char *useless_option(const rfhe_bench_suite *suite, const rfhe_args *args)
{
    for (const rfhe_opt *o = options; o->kind != RFHE_OPT_END; o++) {
        if (suite->options != NULL && rfhe_args_has(args, o->name) &&
            !names("op|runs|seconds", o->name) && !names(suite->options, o->name)) {
            return o->name;
        }
    }
    return NULL;
}

static int run_suite(rfhe_cli *cli, const rfhe_bench_suite *suite, const rfhe_args *args)
{
    rfhe_error err = {0};
    const char *useless = useless_option(suite, args);

    if (useless != NULL) {
        return rfhe_cli_usage(cli, "the suite '%s' has no use for --%s", suite->name, useless);
    }
    const rfhe_status st = rfhe_bench_run(cli, suite, args, &err);
    return st == RFHE_OK ? rfhe_cli_finish(cli) : rfhe_cli_fail(cli, st, &err);
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    const char *what = rfhe_args_at(args, 0);
    const unsigned n = rfhe_args_count(args);
    const bool is_compare = strcmp(what, "compare") == 0;
    rfhe_error err = {0};

    if (n != (is_compare ? 3 : 1)) {
        return rfhe_cli_usage(cli, is_compare ? "compare wants two files of rfhe bench --json"
                                              : "one suite at a time");
    }
    if (is_compare) {
        const rfhe_status st =
            rfhe_bench_compare(cli, rfhe_args_at(args, 1), rfhe_args_at(args, 2), &err);
        return st == RFHE_OK ? rfhe_cli_finish(cli) : rfhe_cli_fail(cli, st, &err);
    }
    if (strcmp(what, "list") == 0) { return list_suites(cli); }
    for (size_t i = 0; suites[i] != NULL; i++) {
        if (strcmp(suites[i]->name, what) == 0) { return run_suite(cli, suites[i], args); }
    }
    return rfhe_cli_usage(cli, "there is no suite '%s'; rfhe bench list names them", what);
}

const rfhe_command rfhe_cmd_bench = {
    .name = "bench",
    .usage = "SUITE [options] | list | compare BEFORE.json AFTER.json",
    .summary = "time one part of the system on this machine",
    .description = "Runs a suite of timings and prints one row per operation with its parameters, "
                   "the number of threads, the "
                   "instruction set, and the median and minimum of its samples in milliseconds; "
                   "rfhe bench list names the "
                   "suites. Every row is warmed up first, and operations shorter than 20 "
                   "microseconds are timed in batches.\n\n"
                   "With --json the rows are in the array rows of one document, which also names "
                   "version, compiler and CPU; "
                   "rfhe bench compare puts two such documents side by side and calls a row faster "
                   "or slower only when its "
                   "medians differ by more than 2 % and by more than the wider of the two "
                   "interquartile ranges.",
    .example = "rfhe bench compare before.json after.json",
    .options = options,
    .min_args = 1,
    .max_args = 3,
    .run = run,
};
