/* What tells one study, or one cell, from another: every option that changes a result, in an order that stores rely on. */
#include "test.h"

#include "cli/args.h"
#include "cli/replace.h"

#include <stdio.h>

extern const rfhe_command rfhe_cmd_search, rfhe_cmd_ablate;

static rfhe_args args; /* too large for the stack */

/* The settings after `argc` words, in a buffer of this function. */
static const char *settings(const rfhe_command *c, bool searching, int argc,
                            const char *const *argv)
{
    static char out[2000];
    const rfhe_replace_job j = {.args = &args, .searching = searching};
    rfhe_error why = {0};
    rfhe_text t = {0};

    if (!rfhe_args_parse(&args, c, argc, (char **)(uintptr_t)argv, &why)) {
        fail_msg("%s", why.text);
    }
    assert_int_equal(rfhe_replace_settings(&t, &j), RFHE_OK);
    (void)snprintf(out, sizeof out, "%s", t.data);
    rfhe_text_clear(&t);
    return out;
}

static bool is_among(const char *name, const char *const *list)
{
    while (*list != NULL && strcmp(name, *list) != 0) { list++; }
    return *list != NULL;
}

/* Each option of `c` by itself: in the settings, or among those that change no result or are keys of their own. */
static void check_options(const rfhe_command *c, bool searching, const char *const *others)
{
    for (const rfhe_opt *o = c->options; o->kind != RFHE_OPT_END; o++) {
        char word[80];
        const char *value = o->kind == RFHE_OPT_CHOICE ? o->choices : "3";
        const int length = o->kind == RFHE_OPT_FLAG ? 0 : (int)strcspn(value, "|");
        (void)snprintf(word, sizeof word, "--%s%s%.*s", o->name, length > 0 ? "=" : "", length,
                       value);
        const char *const argv[] = {"net.onnx", word};
        if ((settings(c, searching, 2, argv)[0] != '\0') == is_among(o->name, others)) {
            fail_msg("rfhe %s --%s: in the settings exactly if it changes a result", c->name,
                     o->name);
        }
    }
}

static void every_option_that_changes_a_result_is_a_setting(void **state)
{
    static const char *const of_search[] = {
        "data",   "output",         "forms",       "budget",    "max-drop",   "max-latency",
        "memory", "test",           "points",      "probes",    "trust",      "candidates",
        "pool",   "server-threads", "calibration", "test-data", "test-split", NULL};
    static const char *const of_ablate[] = {"data",  "store", "forms", "recipes",
                                            "scale", "csv",   "svg",   NULL};

    (void)state;
    check_options(&rfhe_cmd_search, true, of_search);
    check_options(&rfhe_cmd_ablate, false, of_ablate);
}

static void settings_keep_the_order_of_stores(void **state)
{
    static const char *const argv[] = {
        "net.onnx",     "--open=2",    "--crop=28",      "--sense=24",         "--select=160",
        "--limit=640",  "--batch=32",  "--epochs=3",     "--release=0.5",      "--penalty-from=0.7",
        "--ema=0.9",    "--distill=1", "--headroom=1.1", "--penalty-growth=2", "--penalty=1",
        "--margin=1.2", "--mean=0.5",  "--dtype=bf16",   "--augment=none"};

    (void)state;
    assert_string_equal(settings(&rfhe_cmd_search, true, sizeof argv / sizeof *argv, argv),
                        "--augment none --dtype bf16 --mean 0.5 --margin 1.2 --penalty 1 "
                        "--penalty-growth 2 --headroom 1.1 --distill 1 "
                        "--ema 0.9 --penalty-from 0.7 --release 0.5 --open 2 --epochs 3 --batch 32 "
                        "--limit 640 --select 160 --sense 24 "
                        "--crop 28 ");
    static const char *const cell[] = {"net.onnx", "--faults",          "--limit=64", "--passes=9",
                                       "--lr=0.1", "--test-split=test", "--pool=max"};
    assert_string_equal(settings(&rfhe_cmd_ablate, false, sizeof cell / sizeof *cell, cell),
                        "pool=max test-split=test lr=0.1 passes=9 limit=64 faults ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_that_changes_a_result_is_a_setting),
        cmocka_unit_test(settings_keep_the_order_of_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
