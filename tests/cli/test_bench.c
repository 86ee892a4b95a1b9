/* cli/bench.c and cli/bench_compare.c: sampling, rows, both outputs, the verdict of a comparison. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/bench.h"

#include <jansson.h>
#include <stdio.h>

extern const rfhe_command rfhe_cmd_bench;

static rfhe_args args; /* too large for the stack */

static void parse(int argc, const char **argv)
{
    rfhe_error why = {0};

    assert_true(rfhe_args_parse(&args, &rfhe_cmd_bench, argc, (char **)(uintptr_t)argv, &why));
}

static unsigned calls;

static rfhe_status count_call(void *user)
{
    (void)user;
    calls++;
    return RFHE_OK;
}

static rfhe_status fail_at_third(void *user)
{
    (void)user;
    return ++calls == 3 ? RFHE_E_DEPTH : RFHE_OK;
}

static int refuse_to_go_on(void *user, const char *what, double done, double total,
                           const char *unit, const char *note)
{
    (void)user, (void)what, (void)done, (void)total, (void)unit, (void)note;
    return 0;
}

static rfhe_status two_shapes(rfhe_bench *b, const rfhe_args *a, rfhe_error *err)
{
    const rfhe_timing t = {.median_ms = 1.5, .min_ms = 0.0612345, .max_ms = 1234.5, .runs = 9};

    (void)a, (void)err;
    for (int i = 14; i < 16; i++) {
        rfhe_bench_row_begin(b, "add");
        rfhe_bench_integer(b, "log2_n", i);
        rfhe_bench_text(b, "isa", "avx2");
        rfhe_bench_integer(b, "threads", 2);
        rfhe_bench_timing(b, &t);
        rfhe_bench_row_end(b);
    }
    rfhe_bench_row_begin(b, "relu");
    rfhe_bench_text(b, "form", "f1g2");
    rfhe_bench_text(b, "isa", "avx2");
    rfhe_bench_integer(b, "threads", 1);
    rfhe_bench_timing(b, &t);
    rfhe_bench_number(b, "ratio_to_alpha10", 0.28);
    rfhe_bench_row_end(b);
    return RFHE_OK;
}

static const rfhe_bench_suite shapes = {.name = "shapes", .summary = "-", .run = two_shapes};

static rfhe_status (*timed_fn)(void *);
static rfhe_timing timing;

static rfhe_status time_it(rfhe_bench *b, const rfhe_args *a, rfhe_error *err)
{
    (void)a, (void)err;
    timing = (rfhe_timing){0};
    return rfhe_bench_time(&timing, b, timed_fn, NULL, 5, 0);
}

static const rfhe_bench_suite timed = {.name = "timed", .summary = "-", .run = time_it};

static rfhe_status run_timed(rfhe_cli *cli, rfhe_status (*fn)(void *))
{
    rfhe_error err = {0};

    timed_fn = fn;
    calls = 0;
    return rfhe_bench_run(cli, &timed, &args, &err);
}

static void summary_interpolates_order_statistics(void **state)
{
    double even[] = {4, 1, 3, 2}, one[] = {7};
    rfhe_timing t = rfhe_bench_summary(even, 4);

    (void)state;
    assert_true(t.median_ms == 2.5 && t.min_ms == 1 && t.max_ms == 4 && t.runs == 4);
    assert_true(t.q1_ms == 1.75 && t.q3_ms == 3.25);
    t = rfhe_bench_summary(one, 1);
    assert_true(t.median_ms == 7 && t.min_ms == 7 && t.q1_ms == 7 && t.q3_ms == 7);
}

static void short_calls_are_batched_and_runs_are_honoured(void **state)
{
    const char *argv[] = {"timed", "--runs", "11", "--seconds", "0"};
    rfhe_cli cli = {.command = &rfhe_cmd_bench};

    (void)state;
    parse(5, argv);
    assert_int_equal(run_timed(&cli, count_call), RFHE_E_ARG); /* the suite made no row */
    assert_int_equal(timing.runs, 11);
    assert_true(calls > 100 * 11);
    assert_true(timing.min_ms > 0 && timing.min_ms < 0.02);
    assert_true(timing.min_ms <= timing.median_ms && timing.median_ms <= timing.max_ms);
}

static void failure_and_interruption_stop_the_sampling(void **state)
{
    const char *argv[] = {"timed", "--seconds", "0"};
    rfhe_cli cli = {.command = &rfhe_cmd_bench};

    (void)state;
    parse(3, argv);
    assert_int_equal(run_timed(&cli, fail_at_third), RFHE_E_DEPTH);
    assert_int_equal(calls, 3);
    cli.progress.report = refuse_to_go_on;
    assert_int_equal(run_timed(&cli, count_call), RFHE_E_INTERRUPTED);
    assert_int_equal(calls, 1);
}

static void table_aligns_and_starts_a_block_when_columns_change(void **state)
{
    const char *argv[] = {"shapes"};
    rfhe_cli cli = {.command = &rfhe_cmd_bench};
    rfhe_error err = {0};

    (void)state;
    parse(1, argv);
    assert_int_equal(rfhe_bench_run(&cli, &shapes, &args, &err), RFHE_OK);
    assert_string_equal(cli.out.data,
                        "op   log2_n  isa   threads  median_ms   min_ms  runs\n"
                        "add      14  avx2        2      1.500  0.06123     9\n"
                        "add      15  avx2        2      1.500  0.06123     9\n"
                        "\n"
                        "op    form  isa   threads  median_ms   min_ms  runs  ratio_to_alpha10\n"
                        "relu  f1g2  avx2        1      1.500  0.06123     9            0.2800\n");
    rfhe_text_clear(&cli.out);
}

static void json_has_exact_numbers_and_the_wanted_rows_only(void **state)
{
    const char *argv[] = {"shapes", "--op", "re*"};
    rfhe_cli cli = {.command = &rfhe_cmd_bench, .json = true};
    rfhe_error err = {0};
    json_error_t why;

    (void)state;
    parse(3, argv);
    assert_int_equal(rfhe_bench_run(&cli, &shapes, &args, &err), RFHE_OK);
    json_t *doc = json_loads(cli.out.data, JSON_REJECT_DUPLICATES, &why);
    assert_non_null(doc);
    assert_string_equal(json_string_value(json_object_get(doc, "schema")), "rfhe.bench/1");
    json_t *rows = json_object_get(doc, "rows"), *row = json_array_get(rows, 0);
    assert_int_equal(json_array_size(rows), 1);
    assert_string_equal(json_string_value(json_object_get(row, "op")), "relu");
    assert_true(json_real_value(json_object_get(row, "min_ms")) == 0.0612345);
    assert_true(json_real_value(json_object_get(row, "max_ms")) == 1234.5);
    assert_int_equal(json_integer_value(json_object_get(row, "threads")), 1);
    json_decref(doc);
    rfhe_text_clear(&cli.out);
}

static void every_failed_allocation_is_reported_and_nothing_leaks(void **state)
{
    const char *argv[] = {"shapes"};
    const size_t before = rfhe_mem_get_stats().current;

    (void)state;
    parse(1, argv);
    for (size_t n = 1;; n++) {
        rfhe_cli cli = {.command = &rfhe_cmd_bench, .json = true};
        rfhe_error err = {0};
        rfhe_mem_fail_at(n);
        rfhe_status st = rfhe_bench_run(&cli, &shapes, &args, &err);
        if (st == RFHE_OK) { st = rfhe_text_status(&cli.out); }
        rfhe_mem_fail_at(0);
        rfhe_text_clear(&cli.out);
        assert_int_equal(rfhe_mem_get_stats().current, before);
        if (st == RFHE_OK) {
            assert_true(n > 3);
            break;
        }
        assert_int_equal(st, RFHE_E_NOMEM);
    }
}

static void write_document(char path[128], const char *name, const char *rows)
{
    char text[2048];
    rfhe_error err = {0};
    const int n =
        snprintf(text, sizeof text, "{\"schema\": \"rfhe.bench/1\", \"rows\": [%s]}", rows);

    (void)snprintf(path, 128, "%s/%s", test_folder(), name);
    assert_int_equal(rfhe_file_write(path, text, (size_t)n, 0644, &err), RFHE_OK);
}

static void comparison_calls_a_change_only_what_exceeds_the_noise(void **state)
{
    char before[128], after[128];
    rfhe_cli cli = {.command = &rfhe_cmd_bench, .json = true};
    rfhe_error err = {0};
    json_error_t why;
    static const struct {
        const char *row, *verdict;
    } expected[] = {{"a n=1", "faster"}, {"a n=2", "same"}, {"b", "slower"}, {"c", "same"}};

    (void)state;
    write_document(
        before, "before.json",
        "{\"op\": \"a\", \"n\": 1, \"median_ms\": 2, \"min_ms\": 2, \"q1_ms\": 1.9, \"q3_ms\": "
        "2.1},"
        "{\"op\": \"a\", \"n\": 2, \"median_ms\": 2, \"min_ms\": 2, \"q1_ms\": 1.5, \"q3_ms\": 3},"
        "{\"op\": \"b\", \"median_ms\": 1, \"min_ms\": 1},"
        "{\"op\": \"c\", \"median_ms\": 1, \"min_ms\": 1},"
        "{\"op\": \"gone\", \"median_ms\": 1, \"min_ms\": 1}");
    write_document(after, "after.json",
                   "{\"op\": \"b\", \"median_ms\": 1.03, \"min_ms\": 1.03},"
                   "{\"op\": \"c\", \"median_ms\": 1.01, \"min_ms\": 1.01},"
                   "{\"op\": \"a\", \"n\": 1, \"median_ms\": 1, \"min_ms\": 1, \"q1_ms\": 0.9, "
                   "\"q3_ms\": 1.1},"
                   "{\"op\": \"a\", \"n\": 2, \"median_ms\": 1, \"min_ms\": 1, \"q1_ms\": 0.9, "
                   "\"q3_ms\": 1.1}");
    assert_int_equal(rfhe_bench_compare(&cli, before, after, &err), RFHE_OK);
    json_t *doc = json_loads(cli.out.data, JSON_REJECT_DUPLICATES, &why);
    json_t *rows = json_object_get(doc, "rows");
    assert_int_equal(json_array_size(rows), 4);
    for (size_t i = 0; i < 4; i++) {
        json_t *r = json_array_get(rows, i);
        assert_string_equal(json_string_value(json_object_get(r, "row")), expected[i].row);
        assert_string_equal(json_string_value(json_object_get(r, "verdict")), expected[i].verdict);
    }
    assert_int_equal(json_integer_value(json_object_get(doc, "only_before")), 1);
    assert_int_equal(json_integer_value(json_object_get(doc, "only_after")), 0);
    json_decref(doc);
    rfhe_text_clear(&cli.out);
}

static void comparison_refuses_other_documents(void **state)
{
    char path[128];
    rfhe_cli cli = {.command = &rfhe_cmd_bench};
    rfhe_error err = {0};

    (void)state;
    (void)snprintf(path, sizeof path, "%s/other.json", test_folder());
    assert_int_equal(rfhe_file_write(path, "[1]", 3, 0644, &err), RFHE_OK);
    assert_int_equal(rfhe_bench_compare(&cli, path, path, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "other.json"));
    err = (rfhe_error){0};
    assert_int_equal(rfhe_file_write(path, "{", 1, 0644, &err), RFHE_OK);
    assert_int_equal(rfhe_bench_compare(&cli, path, path, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "not JSON"));
    err = (rfhe_error){0};
    assert_int_equal(rfhe_bench_compare(&cli, "no/such", path, &err), RFHE_E_IO);
    rfhe_text_clear(&cli.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summary_interpolates_order_statistics),
        cmocka_unit_test(short_calls_are_batched_and_runs_are_honoured),
        cmocka_unit_test(failure_and_interruption_stop_the_sampling),
        cmocka_unit_test(table_aligns_and_starts_a_block_when_columns_change),
        cmocka_unit_test(json_has_exact_numbers_and_the_wanted_rows_only),
        cmocka_unit_test(every_failed_allocation_is_reported_and_nothing_leaks),
        cmocka_unit_test(comparison_calls_a_change_only_what_exceeds_the_noise),
        cmocka_unit_test(comparison_refuses_other_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
