/* base/status.c, base/cpu.c, base/clock.c, base/threads.c: the error record, progress, what the machine offers. */
#include "test.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/threads.h"
#include "rfhe/status.h"

static void the_first_failure_is_kept(void **state)
{
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_fail(&err, RFHE_E_IO, "cannot read '%s'", "a"), RFHE_E_IO);
    assert_int_equal(rfhe_fail(&err, RFHE_E_NOMEM, "second"), RFHE_E_NOMEM);
    assert_int_equal(err.code, RFHE_E_IO);
    assert_string_equal(err.text, "cannot read 'a'");
    assert_int_equal(rfhe_fail(NULL, RFHE_E_FORMAT, "nobody listens"), RFHE_E_FORMAT);
}

static void messages_are_one_line_and_end(void **state)
{
    static char name[2000];
    rfhe_error err = {0};

    (void)state;
    memset(name, 'x', sizeof name - 1);
    (void)rfhe_fail(&err, RFHE_E_FORMAT, "bad\n\x1b[31m\x7f '%s'", name);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_memory_equal(err.text, "bad  [31m  'xxx", 15);
}

static void every_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = RFHE_OK; a <= RFHE_E_INSECURE + 1; a++) {
        for (int b = RFHE_OK; b < a; b++) {
            assert_string_not_equal(rfhe_status_name((rfhe_status)a),
                                    rfhe_status_name((rfhe_status)b));
        }
    }
}

static int answer(void *user, const char *what, double done, double total, const char *unit,
                  const char *note)
{
    assert_string_equal(what, "training");
    assert_string_equal(unit, "images");
    assert_true(done == 3 && total == 4 && note == NULL);
    return *(int *)user;
}

static void progress_may_ask_to_stop(void **state)
{
    int go_on = 1;
    const rfhe_progress p = {.report = answer, .user = &go_on}, silent = {0};

    (void)state;
    assert_int_equal(rfhe_progress_report(&p, "training", 3, 4, "images", NULL), RFHE_OK);
    go_on = 0;
    assert_int_equal(rfhe_progress_report(&p, "training", 3, 4, "images", NULL),
                     RFHE_E_INTERRUPTED);
    assert_int_equal(rfhe_progress_report(&silent, "training", 3, 4, "images", NULL), RFHE_OK);
    assert_int_equal(rfhe_progress_report(NULL, "training", 3, 4, "images", NULL), RFHE_OK);
}

static void instruction_sets_are_named_and_only_lowered(void **state)
{
    rfhe_isa isa = RFHE_ISA_COUNT;
    const rfhe_isa before = rfhe_cpu_isa();

    (void)state;
    for (int i = 0; i < RFHE_ISA_COUNT; i++) {
        assert_true(rfhe_isa_parse(rfhe_isa_name((rfhe_isa)i), &isa));
        assert_int_equal(isa, i);
        rfhe_cpu_limit_isa((rfhe_isa)i);
        assert_int_equal(rfhe_cpu_isa(),
                         (rfhe_isa)i < rfhe_cpu_best_isa() ? (rfhe_isa)i : rfhe_cpu_best_isa());
    }
    assert_false(rfhe_isa_parse("mmx", &isa));
    assert_false(rfhe_isa_parse("", &isa));
    rfhe_cpu_limit_isa(before);
    assert_true(strlen(rfhe_cpu_name()) > 0);
}

static void clocks_go_forward_and_teams_have_the_size_asked_for(void **state)
{
    const double wall = rfhe_now(), cpu = rfhe_cpu_seconds();
    volatile double x = 1;

    (void)state;
    while (rfhe_cpu_seconds() <= cpu) { x = x * 1.000001; }
    assert_true(rfhe_now() > wall);
    for (unsigned n = 1; n < 4; n++) {
        assert_int_equal(rfhe_threads_set(n), n);
        assert_int_equal(rfhe_threads_get(), n);
    }
    assert_true(rfhe_threads_set(0) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_is_kept),
        cmocka_unit_test(messages_are_one_line_and_end),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
        cmocka_unit_test(progress_may_ask_to_stop),
        cmocka_unit_test(instruction_sets_are_named_and_only_lowered),
        cmocka_unit_test(clocks_go_forward_and_teams_have_the_size_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
