/* rfhe report DIR: a search as one page, one table and one document. */
#include "cli/search_page.h"

#include "base/file.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static const rfhe_opt options[] = {
    {"output", 'o', RFHE_OPT_TEXT, "DIR", NULL, "where to write report.html, .csv, .json (default: the search's folder)"},
    {"ablation", 0, RFHE_OPT_TEXT, "FILE", NULL,
     "store of rfhe ablate to show too (default: ablate.sqlite in the search's folder, if it is there)"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

typedef struct writer {
    rfhe_cli *cli;
    const char *folder, *output, *ablation;
    rfhe_search_record record;
    char html[4096], csv[4096], json[4096];
} writer;

static rfhe_status write_one(const char *path, rfhe_text *text, rfhe_error *err)
{
    rfhe_status st = rfhe_text_status(text);

    if (st == RFHE_OK) { st = rfhe_file_write(path, text->data, text->size, 0644, err); }
    rfhe_text_clear(text);
    return st;
}

static rfhe_status work(writer *w, rfhe_error *err)
{
    char path[4096];
    rfhe_store *s = NULL;
    rfhe_text text = {0};
    rfhe_status st = RFHE_OK;

    (void)snprintf(path, sizeof path, "%.4000s/ablate.sqlite", w->folder);
    if (w->ablation == NULL && rfhe_file_exists(path)) { w->ablation = path; }
    (void)snprintf(w->html, sizeof w->html, "%.4000s/report.html", w->output);
    (void)snprintf(w->csv, sizeof w->csv, "%.4000s/report.csv", w->output);
    (void)snprintf(w->json, sizeof w->json, "%.4000s/report.json", w->output);
    RFHE_TRY(rfhe_store_open(&s, w->folder, false, err));
    RFHE_TRY(rfhe_search_record_read(&w->record, s, w->ablation, err));
    RFHE_TRY(rfhe_search_page(&text, &w->record));
    RFHE_TRY(write_one(w->html, &text, err));
    rfhe_search_csv(&text, &w->record);
    RFHE_TRY(write_one(w->csv, &text, err));
    rfhe_search_json(&text, &w->record);
    RFHE_TRY(write_one(w->json, &text, err));

done:
    rfhe_text_clear(&text);
    rfhe_store_close(s);
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    int code = 0;
    writer w = {.cli = cli,
                .folder = rfhe_args_at(args, 0),
                .ablation = rfhe_args_text(args, "ablation", NULL)};

    w.output = rfhe_args_text(args, "output", w.folder);
    const rfhe_status st = work(&w, &err);
    if (st != RFHE_OK) {
        code = rfhe_cli_fail(cli, st, &err);
    } else {
        if (cli->json) {
            rfhe_search_json(&cli->out, &w.record);
        } else {
            rfhe_text_printf(&cli->out, "%s\n%s\n%s\n", w.html, w.csv, w.json);
        }
        code = rfhe_cli_finish(cli);
    }
    rfhe_search_record_clear(&w.record);
    return code;
}

const rfhe_command rfhe_cmd_report = {
    .name = "report",
    .usage = "DIR [options]",
    .summary = "make a page of a search",
    .description =
        "Reads the store of `rfhe search` in DIR, while it runs or after, and writes report.html: one file with everything "
        "in it, no scripts, light and dark. It shows the frontier with the paper's forms marked, the form of each "
        "activation at chosen points, what values reach each activation, what each costs, how well the predictions did, and "
        "the table of an ablation if there is one. report.csv has every trial, report.json the same for programs.",
    .example = "rfhe report search",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
