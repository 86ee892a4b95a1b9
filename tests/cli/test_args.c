/* cli/args.c: what is accepted, and the sentence with which everything else is refused. */
#include "test.h"

#include "cli/args.h"

static const rfhe_opt options[] = {
    {"flag", 'f', RFHE_OPT_FLAG, NULL, NULL, "-"},
    {"count", 'c', RFHE_OPT_UINT, "N", NULL, "-"},
    {"rate", 0, RFHE_OPT_FLOAT, "X", NULL, "-"},
    {"size", 0, RFHE_OPT_BYTES, "SIZE", NULL, "-"},
    {"name", 'n', RFHE_OPT_TEXT, "NAME", NULL, "-"},
    {"kind", 0, RFHE_OPT_CHOICE, "KIND", "one|two|three", "-"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};
static const rfhe_command command = {
    .name = "test", .options = options, .min_args = 1, .max_args = 2};

static rfhe_args args; /* too large for the stack */
static rfhe_error why;

/* Parses the words up to NULL. */
static bool parse(const char *first, ...)
{
    const char *words[32] = {first};
    int n = 0;
    va_list more;

    va_start(more, first);
    while (words[n] != NULL) { words[++n] = va_arg(more, const char *); }
    va_end(more);
    why = (rfhe_error){0};
    return rfhe_args_parse(&args, &command, n, (char **)(uintptr_t)words, &why);
}

static void values_are_accepted_in_every_form(void **state)
{
    (void)state;
    assert_true(
        parse("a", "--count", "7", "-f", "--rate=-1.5e3", "-nx y", "--kind", "two", "b", NULL));
    assert_int_equal(rfhe_args_uint(&args, "count", 1), 7);
    assert_true(rfhe_args_has(&args, "flag"));
    assert_true(rfhe_args_float(&args, "rate", 0) == -1500);
    assert_string_equal(rfhe_args_text(&args, "name", ""), "x y");
    assert_string_equal(rfhe_args_text(&args, "kind", ""), "two");
    assert_int_equal(rfhe_args_count(&args), 2);
    assert_string_equal(rfhe_args_at(&args, 1), "b");
    assert_null(rfhe_args_at(&args, 2));
    assert_false(args.help);
}

static void what_is_absent_has_the_default(void **state)
{
    (void)state;
    assert_true(parse("a", NULL));
    assert_int_equal(rfhe_args_uint(&args, "count", 3), 3);
    assert_true(rfhe_args_float(&args, "rate", 0.5) == 0.5);
    assert_null(rfhe_args_text(&args, "name", NULL));
    assert_false(rfhe_args_has(&args, "json"));
}

static void a_value_may_look_like_an_option(void **state)
{
    (void)state;
    assert_true(parse("a", "--name", "--flag", NULL));
    assert_string_equal(rfhe_args_text(&args, "name", ""), "--flag");
    assert_false(rfhe_args_has(&args, "flag"));
    assert_true(parse("--name=", "a", NULL));
    assert_string_equal(rfhe_args_text(&args, "name", "-"), "");
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    assert_true(parse("--", "--flag", "-", NULL));
    assert_int_equal(rfhe_args_count(&args), 2);
    assert_string_equal(rfhe_args_at(&args, 0), "--flag");
    assert_true(parse("-", NULL));
    assert_string_equal(rfhe_args_at(&args, 0), "-");
}

static void common_options_are_known_everywhere_and_help_excuses_missing_arguments(void **state)
{
    (void)state;
    assert_true(parse("a", "--json", "-t", "4", NULL));
    assert_true(rfhe_args_has(&args, "json"));
    assert_int_equal(rfhe_args_uint(&args, "threads", 0), 4);
    assert_true(parse("--help", NULL));
    assert_true(args.help);
}

static void whole_numbers_take_suffixes_and_nothing_else(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"12", 12},
                {"3k", 3000},
                {"2M", 2000000},
                {"4G", UINT64_C(4000000000)},
                {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.5",
                                      "0x10",
                                      "k",
                                      "1kk",
                                      "1K",
                                      "1kM",
                                      "1e3",
                                      "18446744073709551616",
                                      "18446744073709551615k"};
    uint64_t v = 0;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(rfhe_args_parse_uint(good[i].text, &v));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(rfhe_args_parse_uint(bad[i], &v));
        assert_false(parse("a", "--count", bad[i], NULL));
        assert_non_null(strstr(why.text, "--count wants a whole number"));
    }
}

static void sizes_have_units(void **state)
{
    static const struct {
        const char *text;
        double bytes;
    } good[] = {{"1", 1}, {"2B", 2}, {"1.5K", 1536}, {"3KiB", 3072}, {"1MiB", 1048576}, {"8G", 0x1p33}, {"8GB", 8e9}};
    static const char *const bad[] = {"", "GiB", "-1GiB", "0", "1 GiB", "1gib", "nanGiB", "infB", "1GiBs"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(parse("a", "--size", good[i].text, NULL));
        assert_true(rfhe_args_float(&args, "size", 0) == good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(parse("a", "--size", bad[i], NULL));
        assert_non_null(strstr(why.text, "--size wants a size such as 8GiB, not"));
    }
}

static void mistakes_are_named(void **state)
{
    (void)state;
#define REFUSED(sentence, ...)                                                                     \
    do {                                                                                           \
        assert_false(parse(__VA_ARGS__, NULL));                                                    \
        assert_string_equal(why.text, sentence);                                                   \
        assert_int_equal(why.code, RFHE_E_ARG);                                                    \
    } while (0)
    REFUSED("there is no option '--fla'", "a", "--fla"); /* no guessing */
    REFUSED("there is no option '--flags'", "a", "--flags");
    REFUSED("there is no option '--none'", "a", "--none=3");
    REFUSED("there is no option '-x'", "a", "-xyz");
    REFUSED("--flag takes no value", "a", "--flag=1");
    REFUSED("--flag takes no value", "a", "-fc");
    REFUSED("--flag is given twice", "a", "--flag", "-f");
    REFUSED("--count wants a value (N)", "a", "--count");
    REFUSED("--rate wants a number, not 'x'", "a", "--rate", "x");
    REFUSED("--rate wants a number, not 'inf'", "a", "--rate", "inf");
    REFUSED("--rate wants a number, not ''", "a", "--rate=");
    REFUSED("--kind wants one of one|two|three, not 'tw'", "a", "--kind", "tw");
    REFUSED("--kind wants one of one|two|three, not 'one|two'", "a", "--kind", "one|two");
    REFUSED("--kind wants one of one|two|three, not ''", "a", "--kind", "");
    REFUSED("wants at least 1 argument, got 0", "--flag");
    REFUSED("'c' is one argument too many (at most 2)", "a", "b", "c");
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_accepted_in_every_form),
        cmocka_unit_test(what_is_absent_has_the_default),
        cmocka_unit_test(a_value_may_look_like_an_option),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(common_options_are_known_everywhere_and_help_excuses_missing_arguments),
        cmocka_unit_test(whole_numbers_take_suffixes_and_nothing_else),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
