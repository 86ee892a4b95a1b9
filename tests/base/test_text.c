/* base/text.c: growth, memory that runs out, JSON that any reader accepts and that reads back exactly. */
#include "test.h"

#include "base/mem.h"
#include "base/text.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

static void text_grows_and_stays_terminated(void **state)
{
    rfhe_text t = {0};

    (void)state;
    assert_null(t.data);
    for (int i = 0; i < 10000; i++) {
        rfhe_text_printf(&t, "%d,", i);
        assert_int_equal(t.data[t.size], 0);
    }
    assert_int_equal(t.size, strlen(t.data));
    assert_int_equal(t.size, 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5);
    assert_int_equal(rfhe_text_status(&t), RFHE_OK);
    rfhe_text_clear(&t);
    assert_true(t.data == NULL && t.size == 0);
    rfhe_text_add(&t, ""); /* empty text is a string too */
    assert_string_equal(t.data, "");
    rfhe_text_clear(&t);
}

/* What a name holds cannot forge a line or speak to a terminal: control characters come from formats only. */
static void names_bring_no_control_characters(void **state)
{
    rfhe_text t = {0};

    (void)state;
    rfhe_text_printf(&t, "%-6s|%d\n", "a\nb\x1b", 7);
    assert_string_equal(t.data, "a b   |7\n");
    rfhe_text_clear(&t);
    rfhe_text_printf(&t, "\n\t%s: %s\n\n", "\x7fx\r",
                     "\xc2\x9b"
                     "31m");
    assert_string_equal(t.data, "\n\t x :   31m\n\n");
    rfhe_text_clear(&t);
    rfhe_text_printf(&t, "%s\n  %s\n", "M\xc3\xa4rz",
                     "\xe2\x80\x9b"); /* no control characters, nothing changes */
    assert_string_equal(t.data, "M\xc3\xa4rz\n  \xe2\x80\x9b\n");
    rfhe_text_clear(&t);
}

static void bytes_may_hold_zeros(void **state)
{
    rfhe_text t = {0};

    (void)state;
    rfhe_text_add_bytes(&t, "a\0b", 3);
    assert_int_equal(t.size, 3);
    assert_memory_equal(t.data, "a\0b", 4);
    rfhe_text_clear(&t);
}

static void memory_that_runs_out_is_remembered(void **state)
{
    const size_t before = rfhe_mem_get_stats().current;

    (void)state;
    for (size_t n = 1; n < 4; n++) {
        rfhe_text t = {0};
        rfhe_mem_fail_at(n);
        for (int i = 0; i < 1000; i++) { rfhe_text_printf(&t, "line %d\n", i); }
        rfhe_mem_fail_at(0);
        assert_int_equal(rfhe_text_status(&t), RFHE_E_NOMEM);
        rfhe_text_add(&t, "x"); /* harmless, and forgets nothing */
        assert_int_equal(rfhe_text_status(&t), RFHE_E_NOMEM);
        rfhe_text_clear(&t);
        assert_int_equal(rfhe_text_status(&t), RFHE_OK);
        assert_int_equal(rfhe_mem_get_stats().current, before);
    }
}

static json_t *one_string(const char *s)
{
    rfhe_text t = {0};
    rfhe_json j = {.out = &t};
    json_error_t why;

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "s", s);
    rfhe_json_end_object(&j);
    json_t *doc = json_loads(t.data, JSON_REJECT_DUPLICATES, &why);
    rfhe_text_clear(&t);
    assert_non_null(doc);
    return doc;
}

static void assert_read_back(const char *written, const char *expected)
{
    json_t *doc = one_string(written);

    assert_string_equal(json_string_value(json_object_get(doc, "s")), expected);
    json_decref(doc);
}

static void strings_read_back_and_bad_utf8_is_replaced(void **state)
{
    static const char *const good[] = {"",
                                       "a\"b\\c/\t\r\n\b\x1f\x7f",
                                       "gr\xc3\xbcn",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x90\x8e",
                                       "\xed\x9f\xbf",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\xff",
                                      "\xc0\x80",
                                      "\xc3",
                                      "\xe2\x82",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\x80"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_read_back(good[i], good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *doc = one_string(bad[i]);
        assert_non_null(strstr(json_string_value(json_object_get(doc, "s")), "\xef\xbf\xbd"));
        json_decref(doc);
    }
    assert_read_back("a\xff"
                     "b",
                     "a\xef\xbf\xbd"
                     "b");
    assert_read_back("a\xc3", "a\xef\xbf\xbd");
    json_t *doc = one_string(NULL);
    assert_true(json_is_null(json_object_get(doc, "s")));
    json_decref(doc);
}

static void numbers_read_back_to_the_bit(void **state)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 0);
    const size_t rounds = test_rounds(2000);

    (void)state;
    for (size_t i = 0; i < rounds; i++) {
        rfhe_text t = {0};
        rfhe_json j = {.out = &t};
        json_error_t why;
        double x = 0;
        const uint64_t bits = i == 0 ? 1 : i == 1 ? UINT64_C(0x7fefffffffffffff) : rfhe_rng_u64(&r);
        memcpy(&x, &bits, sizeof x);
        rfhe_json_array(&j, NULL);
        rfhe_json_number(&j, NULL, x);
        rfhe_json_integer(&j, NULL, INT64_MIN);
        rfhe_json_bool(&j, NULL, true);
        rfhe_json_end_array(&j);
        json_t *doc = json_loads(t.data, 0, &why);
        assert_non_null(doc);
        if (isfinite(x)) {
            assert_true(json_number_value(json_array_get(doc, 0)) == x);
        } else {
            assert_true(json_is_null(json_array_get(doc, 0)));
        }
        assert_true(json_integer_value(json_array_get(doc, 1)) == INT64_MIN);
        assert_true(json_is_true(json_array_get(doc, 2)));
        json_decref(doc);
        rfhe_text_clear(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_and_stays_terminated),
        cmocka_unit_test(names_bring_no_control_characters),
        cmocka_unit_test(bytes_may_hold_zeros),
        cmocka_unit_test(memory_that_runs_out_is_remembered),
        cmocka_unit_test(strings_read_back_and_bad_utf8_is_replaced),
        cmocka_unit_test(numbers_read_back_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
