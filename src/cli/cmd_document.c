/* rfhe document: writes the man pages and completions that the build installs. */
#include "cli/cli.h"

#include "base/file.h"
#include "cli/document.h"

#include <stdio.h>
#include <string.h>

/* Writes `text` to FOLDER/PREFIX NAME SUFFIX and empties it. */
static rfhe_status save(rfhe_text *text, const char *folder, const char *prefix, const char *name,
                        const char *suffix, rfhe_error *err)
{
    char path[4096];
    rfhe_status st = rfhe_text_status(text);
    const int n = snprintf(path, sizeof path, "%s/%s%s%s", folder, prefix, name, suffix);

    if (n < 0 || (size_t)n >= sizeof path) {
        st = rfhe_fail(err, RFHE_E_ARG, "the path of the folder is too long");
    }
    if (st == RFHE_OK) { st = rfhe_file_write(path, text->data, text->size, 0644, err); }
    rfhe_text_clear(text);
    return st;
}

static rfhe_status write_man(const char *folder, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_text text = {0};

    rfhe_document_man_overview(&text);
    st = save(&text, folder, "rfhe", "", ".1", err);
    for (size_t i = 0; rfhe_commands[i] != NULL && st == RFHE_OK; i++) {
        if (rfhe_commands[i]->hidden) { continue; }
        rfhe_document_man(&text, rfhe_commands[i]);
        st = save(&text, folder, "rfhe-", rfhe_commands[i]->name, ".1", err);
    }
    return st;
}

static rfhe_status write_completions(const char *folder, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_text text = {0};

    rfhe_document_bash(&text);
    RFHE_TRY(save(&text, folder, "", "rfhe", "", err)); /* bash looks for the name of the command */
    rfhe_document_zsh(&text);
    RFHE_TRY(save(&text, folder, "_", "rfhe", "", err));
    rfhe_document_fish(&text);
    RFHE_TRY(save(&text, folder, "", "rfhe", ".fish", err));

done:
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    const char *what = rfhe_args_at(args, 0), *folder = rfhe_args_at(args, 1);
    rfhe_error err = {0};
    rfhe_status st = RFHE_OK;

    if (strcmp(what, "man") == 0) {
        st = write_man(folder, &err);
    } else if (strcmp(what, "completions") == 0) {
        st = write_completions(folder, &err);
    } else {
        return rfhe_cli_usage(cli, "there is no kind of document '%s'", what);
    }
    return st == RFHE_OK ? rfhe_cli_finish(cli) : rfhe_cli_fail(cli, st, &err);
}

const rfhe_command rfhe_cmd_document = {
    .name = "document",
    .usage = "man|completions FOLDER",
    .summary = "write the man pages or the shell completions",
    .description =
        "Writes what is generated from the option tables into a folder that exists: the man pages, "
        "or the "
        "completions for bash (rfhe), zsh (_rfhe) and fish (rfhe.fish). The build runs this.",
    .min_args = 2,
    .max_args = 2,
    .run = run,
    .hidden = true,
};
