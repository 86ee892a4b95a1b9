/* base/: memory accounting and failure injection, files, text and JSON, random numbers, splitting. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/threads.h"

#include <math.h>
#include <stdio.h>

static void allocations_are_aligned_counted_and_limited(void **state)
{
    const size_t before = rfhe_mem_get_stats().current;
    void *small = rfhe_alloc(3, 5), *large = rfhe_alloc(5, 1 << 20);

    (void)state;
    assert_non_null(small);
    assert_non_null(large);
    assert_int_equal((uintptr_t)small % 64, 0);
    assert_int_equal((uintptr_t)large % 64, 0);
    assert_int_equal(rfhe_mem_get_stats().current - before, 15 + (5 << 20));
    rfhe_free(small);
    rfhe_mem_set_limit(before + (6 << 20));
    assert_null(rfhe_alloc(2 << 20, 1));
    rfhe_mem_set_limit(0);
    rfhe_free(large);
    assert_int_equal(rfhe_mem_get_stats().current, before);
    assert_null(rfhe_alloc(SIZE_MAX / 2, 3));
}

static void injected_failure_hits_the_chosen_allocation_once(void **state)
{
    (void)state;
    rfhe_mem_fail_at(2);
    void *a = rfhe_alloc(1, 1), *b = rfhe_alloc(1, 1), *c = rfhe_alloc(1, 1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    rfhe_free(a);
    rfhe_free(c);
}

static void files_are_written_whole_or_not_at_all(void **state)
{
    char path[128];
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_error err = {0};
    rfhe_file_writer w;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/file", test_folder());
    assert_int_equal(rfhe_file_write(path, "old", 3, 0644, &err), RFHE_OK);
    assert_int_equal(rfhe_file_writer_open(&w, path, 0644, &err), RFHE_OK);
    assert_int_equal(rfhe_file_writer_put(&w, "new", 3, &err), RFHE_OK);
    rfhe_file_writer_cancel(&w);
    assert_int_equal(rfhe_file_read(&data, &size, path, 100, &err), RFHE_OK);
    assert_int_equal(size, 3);
    assert_string_equal((char *)data, "old");
    rfhe_free(data);
    assert_int_equal(rfhe_file_read(&data, &size, path, 2, &err), RFHE_E_UNSUPPORTED);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_file_read(&data, &size, "no/such", 2, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "no/such"));
}

static void json_numbers_read_back_and_strings_are_escaped(void **state)
{
    rfhe_text t = {0};
    rfhe_json j = {.out = &t};

    (void)state;
    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "s", "a\"b\\c\n\x01");
    rfhe_json_number(&j, "x", 0.1);
    rfhe_json_number(&j, "nan", NAN);
    rfhe_json_array(&j, "empty");
    rfhe_json_end_array(&j);
    rfhe_json_end_object(&j);
    assert_string_equal(t.data, "{\n  \"s\": \"a\\\"b\\\\c\\n\\u0001\",\n  \"x\": 0.1,\n"
                                "  \"nan\": null,\n  \"empty\": []\n}\n");
    rfhe_text_clear(&t);
}

static void splitting_covers_everything_once(void **state)
{
    (void)state;
    for (size_t n = 0; n < 50; n++) {
        for (size_t pieces = 1; pieces < 12; pieces++) {
            assert_int_equal(rfhe_split(n, pieces, 0), 0);
            assert_int_equal(rfhe_split(n, pieces, pieces), n);
            for (size_t k = 0; k < pieces; k++) {
                assert_true(rfhe_split(n, pieces, k + 1) - rfhe_split(n, pieces, k) <=
                            n / pieces + 1);
            }
        }
    }
}

static void random_streams_are_uniform_repeatable_and_distinct(void **state)
{
    rfhe_rng a = rfhe_rng_seed(test_seed(), 0), b = rfhe_rng_seed(test_seed(), 0);
    rfhe_rng c = rfhe_rng_seed(test_seed(), 1);
    uint32_t perm[97], seen[97] = {0};
    double mean = 0, square = 0;

    (void)state;
    assert_true(rfhe_rng_u64(&a) == rfhe_rng_u64(&b));
    assert_true(rfhe_rng_u64(&a) != rfhe_rng_u64(&c));
    rfhe_rng_permutation(&a, perm, 97);
    for (size_t i = 0; i < 97; i++) { seen[perm[i]]++; }
    for (size_t i = 0; i < 97; i++) { assert_int_equal(seen[i], 1); }
    for (int i = 0; i < 100000; i++) {
        const double x = rfhe_rng_normal(&a);
        mean += x / 100000;
        square += x * x / 100000;
    }
    assert_true(fabs(mean) < 0.02 && fabs(square - 1) < 0.03);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_counted_and_limited),
        cmocka_unit_test(injected_failure_hits_the_chosen_allocation_once),
        cmocka_unit_test(files_are_written_whole_or_not_at_all),
        cmocka_unit_test(json_numbers_read_back_and_strings_are_escaped),
        cmocka_unit_test(splitting_covers_everything_once),
        cmocka_unit_test(random_streams_are_uniform_repeatable_and_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
