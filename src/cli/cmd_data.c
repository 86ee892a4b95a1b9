/* rfhe data check SPEC: what is in a data set, or what is missing and how to get it. */
#include "cli/cli.h"

#include "rfhe/data.h"

#include <inttypes.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"split", 0, RFHE_OPT_TEXT, "NAME", NULL,
     "train, test, val, fit[:N] or select[:N] (default: train and test)"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "look at N images of each split only"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

typedef struct split_result {
    const char *split;
    rfhe_status status; /* of opening or reading */
    rfhe_error err;
    rfhe_dataset *d; /* NULL when it could not be opened */
    rfhe_data_report report;
} split_result;

static void look(split_result *s, const char *spec, const char *split, uint64_t limit,
                 const rfhe_progress *progress)
{
    const rfhe_dataset_options o = {.limit = limit};

    s->split = split;
    s->status = rfhe_dataset_open(&s->d, spec, split, &o, &s->err);
    if (s->status == RFHE_OK) { s->status = rfhe_data_check(&s->report, s->d, progress, &s->err); }
}

/* A folder without split folders is the same set under every name: looking once is enough. */
static bool is_one_set(const split_result *train, const char *spec)
{
    rfhe_dataset *test = NULL;
    char a[4096], b[4096];
    bool same = false;

    if (train->status == RFHE_OK && rfhe_dataset_open(&test, spec, "test", NULL, NULL) == RFHE_OK) {
        rfhe_dataset_where(train->d, 0, a, sizeof a);
        rfhe_dataset_where(test, 0, b, sizeof b);
        same = strcmp(a, b) == 0;
    }
    rfhe_dataset_close(test);
    return same;
}

static const char *problem(const split_result *s)
{
    if (s->status != RFHE_OK) {
        return s->err.text[0] != '\0' ? s->err.text : rfhe_status_name(s->status);
    }
    return s->report.bad > 0 ? s->report.first_problem.text : NULL;
}

static void write_json(rfhe_json *j, const split_result *s)
{
    const rfhe_data_report *r = &s->report;

    rfhe_json_object(j, NULL);
    rfhe_json_string(j, "split", s->split);
    rfhe_json_bool(j, "ok", problem(s) == NULL);
    rfhe_json_integer(j, "images", (int64_t)r->images);
    rfhe_json_integer(j, "bad", (int64_t)r->bad);
    rfhe_json_integer(j, "damaged", (int64_t)r->damaged);
    rfhe_json_integer(j, "grey", (int64_t)r->grey);
    rfhe_json_integer(j, "color", (int64_t)r->color);
    rfhe_json_integer(j, "min_width", r->min_width);
    rfhe_json_integer(j, "max_width", r->max_width);
    rfhe_json_integer(j, "min_height", r->min_height);
    rfhe_json_integer(j, "max_height", r->max_height);
    rfhe_json_integer(j, "classes", r->classes);
    rfhe_json_integer(j, "empty_classes", r->empty_classes);
    rfhe_json_array(j, "per_class");
    for (uint32_t c = 0; c < r->classes; c++) {
        rfhe_json_object(j, NULL);
        rfhe_json_string(j, "name", rfhe_dataset_class_name(s->d, c));
        rfhe_json_integer(j, "images", r->per_class[c]);
        rfhe_json_end_object(j);
    }
    rfhe_json_end_array(j);
    rfhe_json_string(j, "problem", problem(s));
    rfhe_json_end_object(j);
}

static void write_text(rfhe_text *out, const split_result *s)
{
    const rfhe_data_report *r = &s->report;
    uint32_t least = UINT32_MAX, most = 0;

    if (s->status != RFHE_OK) {
        rfhe_text_printf(out, "%-8s not usable: %s\n", s->split, problem(s));
        return;
    }
    rfhe_text_printf(out, "%-8s %zu images", s->split, r->images);
    if (r->max_width > 0) {
        rfhe_text_printf(out, ", %u", r->min_width);
        if (r->max_width != r->min_width) { rfhe_text_printf(out, "-%u", r->max_width); }
        rfhe_text_printf(out, " x %u", r->min_height);
        if (r->max_height != r->min_height) { rfhe_text_printf(out, "-%u", r->max_height); }
        rfhe_text_printf(out, " pixels, %s",
                         r->grey == 0    ? "colour"
                         : r->color == 0 ? "grey"
                                         : "colour and grey");
    }
    for (uint32_t c = 0; c < r->classes; c++) {
        if (r->per_class[c] < least) { least = r->per_class[c]; }
        if (r->per_class[c] > most) { most = r->per_class[c]; }
    }
    rfhe_text_printf(out, ", %u classes of %u", r->classes, least);
    if (most != least) { rfhe_text_printf(out, " to %u", most); }
    rfhe_text_add(out, " images");
    if (r->empty_classes > 0) { rfhe_text_printf(out, " (%u empty)", r->empty_classes); }
    rfhe_text_add(out, "\n");
    if (r->classes <= 20) {
        for (uint32_t c = 0; c < r->classes; c++) {
            rfhe_text_printf(out, "         %7u  %s\n", r->per_class[c],
                             rfhe_dataset_class_name(s->d, c));
        }
    }
    if (r->damaged > 0) {
        rfhe_text_printf(out,
                         "         %zu decode with small repairs, as other programs would do\n",
                         r->damaged);
    }
    if (r->bad > 0) {
        rfhe_text_printf(out, "         %zu cannot be decoded; the first: %s\n", r->bad,
                         r->first_problem.text);
    }
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    static const char *const usual[] = {"train", "test"};
    const char *spec = rfhe_args_at(args, 1), *wish = rfhe_args_text(args, "split", NULL);
    size_t n = wish != NULL ? 1 : 2;
    split_result results[2];
    const split_result *failed = NULL;
    int code = RFHE_EXIT_DONE;

    if (strcmp(rfhe_args_at(args, 0), "check") != 0) {
        return rfhe_cli_usage(cli, "there is only 'rfhe data check', not '%s'",
                              rfhe_args_at(args, 0));
    }
    memset(results, 0, sizeof results);
    for (size_t i = 0; i < n; i++) {
        if (i == 1 && is_one_set(&results[0], spec)) {
            results[0].split = "all";
            n = 1;
            break;
        }
        look(&results[i], spec, wish != NULL ? wish : usual[i], rfhe_args_uint(args, "limit", 0),
             &cli->progress);
        if (failed == NULL && problem(&results[i]) != NULL) { failed = &results[i]; }
        if (results[i].status == RFHE_E_ARG || results[i].status == RFHE_E_INTERRUPTED ||
            results[i].status == RFHE_E_NOMEM) {
            code = rfhe_cli_fail(cli, results[i].status, &results[i].err);
            goto done;
        }
    }
    if (cli->json) {
        rfhe_json j = {.out = &cli->out};
        rfhe_json_object(&j, NULL);
        rfhe_json_string(&j, "schema", "rfhe.data/1");
        rfhe_json_string(&j, "data", spec);
        rfhe_json_bool(&j, "ok", failed == NULL);
        rfhe_json_array(&j, "splits");
        for (size_t i = 0; i < n; i++) { write_json(&j, &results[i]); }
        rfhe_json_end_array(&j);
        rfhe_json_string(&j, "problem", failed != NULL ? problem(failed) : NULL);
        rfhe_json_string(&j, "hint", failed != NULL ? rfhe_data_hint(spec) : NULL);
        rfhe_json_end_object(&j);
    } else {
        rfhe_text_printf(&cli->out, "%s\n", spec);
        for (size_t i = 0; i < n; i++) { write_text(&cli->out, &results[i]); }
        if (failed != NULL && failed->status != RFHE_OK) {
            rfhe_text_printf(&cli->out, "%s\n", rfhe_data_hint(spec));
        }
    }
    code = rfhe_cli_finish(cli);
    if (code == RFHE_EXIT_DONE && failed != NULL) {
        rfhe_error told = {0};
        code = rfhe_cli_fail(cli, rfhe_fail(&told, RFHE_E_FORMAT, "%s", problem(failed)), &told);
    }

done:
    for (size_t i = 0; i < n; i++) {
        rfhe_data_report_clear(&results[i].report);
        rfhe_dataset_close(results[i].d);
    }
    return code;
}

const rfhe_command rfhe_cmd_data = {
    .name = "data",
    .usage = "check SPEC [--split NAME] [--limit N]",
    .summary = "check a data set: what is there, what is damaged, what is missing",
    .description = "Opens the data set and decodes every image. Says how many images, classes and "
                   "sizes there are, and "
                   "the first problem with its file and offset; where files are missing, what they "
                   "are called and where "
                   "people get them. Exit code 3 when anything is missing or damaged.\n\n"
                   "SPEC is fashion-mnist[:DIR], mnist:DIR, cifar10:DIR, cifar100:DIR (binary "
                   "version), folder:DIR "
                   "(DIR/train/CLASS/FILE or DIR/CLASS/FILE) or imagenet:DIR (the same, or flat "
                   "validation files with a "
                   "label list). The splits fit and select divide the training images for choosing "
                   "between models "
                   "without looking at test images.",
    .example = "rfhe data check fashion-mnist --json",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
