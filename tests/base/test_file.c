/* base/file.c: limits, faults of memory and disk, links and devices, mappings. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[256];

static const char *in_folder(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

static unsigned entries(void)
{
    DIR *d = opendir(test_folder());
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL) { n++; }
    (void)closedir(d);
    return n - 2; /* without . and .. */
}

static void assert_contents(const char *name, const char *expected)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_error err = {0};

    assert_int_equal(rfhe_file_read(&data, &size, in_folder(name), 1 << 20, &err), RFHE_OK);
    assert_int_equal(size, strlen(expected));
    assert_string_equal((char *)data, expected);
    rfhe_free(data);
}

static rfhe_status write_text(const char *name, const char *text, unsigned mode)
{
    return rfhe_file_write(in_folder(name), text, strlen(text), mode, NULL);
}

static void sizes_around_the_limit_are_told_apart(void **state)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(write_text("five", "12345", 0644), RFHE_OK);
    assert_int_equal(rfhe_file_read(&data, &size, in_folder("five"), 5, &err), RFHE_OK);
    assert_int_equal(size, 5);
    assert_int_equal(data[5], 0);
    rfhe_free(data);
    data = NULL;
    assert_int_equal(rfhe_file_read(&data, &size, in_folder("five"), 4, &err), RFHE_E_UNSUPPORTED);
    assert_null(data);
    assert_non_null(strstr(err.text, "limit of 4 bytes"));
    assert_int_equal(write_text("empty", "", 0644), RFHE_OK);
    assert_contents("empty", "");
}

static void a_large_file_is_read_in_one_allocation(void **state)
{
    uint8_t *data = rfhe_calloc(3, 1 << 20);
    size_t size = 0;
    rfhe_error err = {0};

    (void)state;
    data[2 << 20] = 7;
    assert_int_equal(rfhe_file_write(in_folder("large"), data, 3 << 20, 0644, &err), RFHE_OK);
    rfhe_free(data);
    const size_t before = rfhe_mem_get_stats().allocations;
    assert_int_equal(rfhe_file_read(&data, &size, in_folder("large"), SIZE_MAX, &err), RFHE_OK);
    assert_int_equal(rfhe_mem_get_stats().allocations - before, 1);
    assert_int_equal(size, 3 << 20);
    assert_int_equal(data[2 << 20], 7);
    rfhe_free(data);
}

static void files_without_a_size_are_read_to_their_end(void **state)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_file_read(&data, &size, "/proc/self/maps", 1 << 24, &err), RFHE_OK);
    assert_true(size > 100);
    assert_int_equal(data[size], 0);
    rfhe_free(data);
    assert_int_equal(rfhe_file_read(&data, &size, "/dev/zero", 1 << 20, &err), RFHE_E_UNSUPPORTED);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_file_read(&data, &size, test_folder(), 100, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "folder"));
}

/* A file without a size is read in pieces that double: 64 KiB to 1 MiB here, where the limit ends it. */
static void every_failed_allocation_of_a_read_is_reported(void **state)
{
    uint8_t *data = NULL;
    size_t size = 0;
    const size_t before = rfhe_mem_get_stats().current;
    rfhe_status st = RFHE_E_NOMEM;
    size_t n = 1;

    (void)state;
    for (; st == RFHE_E_NOMEM; n++) {
        rfhe_error err = {0};
        rfhe_mem_fail_at(n);
        st = rfhe_file_read(&data, &size, "/dev/zero", 1 << 20, &err);
        rfhe_mem_fail_at(0);
        assert_non_null(strstr(err.text, st == RFHE_E_NOMEM ? "no memory to read" : "limit"));
        assert_null(data);
        assert_int_equal(rfhe_mem_get_stats().current, before);
    }
    assert_int_equal(st, RFHE_E_UNSUPPORTED);
    assert_true(n > 5);
}

static void a_full_disk_leaves_the_old_file_and_no_trace(void **state)
{
    static uint8_t big[100000];
    struct rlimit old, small;
    rfhe_error err = {0};
    rfhe_file_writer w;

    (void)state;
    assert_int_equal(write_text("kept", "old", 0644), RFHE_OK);
    const unsigned before = entries();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const rfhe_status whole = rfhe_file_write(in_folder("kept"), big, sizeof big, 0644, &err);
    const rfhe_status opened = rfhe_file_writer_open(&w, in_folder("kept"), 0644, NULL);
    const rfhe_status first = rfhe_file_writer_put(&w, big, 4096, NULL);
    const rfhe_status second = rfhe_file_writer_put(&w, big, 1, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(whole, RFHE_E_IO);
    assert_non_null(strstr(err.text, "cannot write"));
    assert_non_null(strstr(err.text, strerror(EFBIG)));
    assert_int_equal(opened, RFHE_OK);
    assert_int_equal(first, RFHE_OK);
    assert_int_equal(second, RFHE_E_IO);
    rfhe_file_writer_cancel(&w);
    assert_int_equal(entries(), before);
    assert_contents("kept", "old");
}

static void devices_are_written_to_and_not_replaced(void **state)
{
    struct stat info;
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_file_write("/dev/null", "x", 1, 0644, &err), RFHE_OK);
    assert_int_equal(rfhe_file_write("/dev/full", "x", 1, 0644, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, strerror(ENOSPC)));
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    assert_int_equal(stat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
}

static void links_stay_links(void **state)
{
    char link[256];
    struct stat info;

    (void)state;
    assert_int_equal(write_text("target", "old", 0644), RFHE_OK);
    (void)snprintf(link, sizeof link, "%s/link", test_folder());
    assert_int_equal(symlink("target", link), 0);
    assert_int_equal(write_text("link", "new", 0644), RFHE_OK);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_contents("target", "new");
}

static void permissions_are_the_mode_under_the_umask(void **state)
{
    struct stat info;
    const mode_t old = umask(022);

    (void)state;
    assert_int_equal(write_text("secret", "x", 0600), RFHE_OK);
    assert_int_equal(write_text("open", "x", 0666), RFHE_OK);
    (void)umask(old);
    assert_int_equal(stat(in_folder("secret"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(in_folder("open"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644);
}

static void impossible_outputs_are_refused(void **state)
{
    static char long_path[5000];
    rfhe_error err = {0};
    rfhe_file_writer w;

    (void)state;
    memset(long_path, 'a', sizeof long_path - 1);
    assert_int_equal(rfhe_file_writer_open(&w, long_path, 0644, &err), RFHE_E_ARG);
    assert_int_equal(w.fd, -1);
    rfhe_file_writer_cancel(&w);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_file_write(test_folder(), "x", 1, 0644, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "folder"));
    err = (rfhe_error){0};
    assert_int_equal(rfhe_file_write("no/such/file", "x", 1, 0644, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "no/such/file"));
}

static void mappings_show_the_file(void **state)
{
    rfhe_file_map m = {0};
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(write_text("mapped", "abc", 0644), RFHE_OK);
    assert_int_equal(rfhe_file_map_open(&m, in_folder("mapped"), &err), RFHE_OK);
    assert_int_equal(m.size, 3);
    assert_memory_equal(m.data, "abc", 3);
    rfhe_file_map_close(&m);
    assert_null(m.data);
    assert_int_equal(write_text("nothing", "", 0644), RFHE_OK);
    assert_int_equal(rfhe_file_map_open(&m, in_folder("nothing"), &err), RFHE_OK);
    assert_true(m.size == 0 && m.data == NULL);
    rfhe_file_map_close(&m);
    assert_int_equal(rfhe_file_map_open(&m, test_folder(), &err), RFHE_E_IO);
    assert_int_equal(rfhe_file_map_open(&m, "no/such", &err), RFHE_E_IO);
    assert_false(rfhe_file_exists("no/such"));
    assert_true(rfhe_file_exists(in_folder("mapped")));
}

static void what_is_added_comes_last(void **state)
{
    uint8_t *data = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(rfhe_file_append(in_folder("log"), "one\n", 4, 0600, NULL), RFHE_OK);
    assert_int_equal(rfhe_file_append(in_folder("log"), "two\n", 4, 0600, NULL), RFHE_OK);
    assert_int_equal(rfhe_file_read(&data, &size, in_folder("log"), 100, NULL), RFHE_OK);
    assert_string_equal((const char *)data, "one\ntwo\n");
    rfhe_free(data);
    assert_int_equal(rfhe_file_append(in_folder("no/such"), "x", 1, 0600, NULL), RFHE_E_IO);
    assert_int_equal(rfhe_file_append("/dev/full", "x", 1, 0600, NULL), RFHE_E_IO);
}

static void a_folder_is_made_unless_it_is_there(void **state)
{
    (void)state;
    assert_int_equal(write_text("plain", "abc", 0644), RFHE_OK);
    assert_int_equal(rfhe_file_make_folder(in_folder("made"), NULL), RFHE_OK);
    assert_int_equal(rfhe_file_make_folder(in_folder("made"), NULL), RFHE_OK);
    assert_true(rfhe_file_exists(in_folder("made")));
    assert_int_equal(rfhe_file_make_folder(in_folder("no/such"), NULL), RFHE_E_IO);
    assert_int_equal(rfhe_file_make_folder(in_folder("plain"), NULL), RFHE_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_around_the_limit_are_told_apart),
        cmocka_unit_test(a_large_file_is_read_in_one_allocation),
        cmocka_unit_test(files_without_a_size_are_read_to_their_end),
        cmocka_unit_test(every_failed_allocation_of_a_read_is_reported),
        cmocka_unit_test(a_full_disk_leaves_the_old_file_and_no_trace),
        cmocka_unit_test(devices_are_written_to_and_not_replaced),
        cmocka_unit_test(links_stay_links),
        cmocka_unit_test(permissions_are_the_mode_under_the_umask),
        cmocka_unit_test(impossible_outputs_are_refused),
        cmocka_unit_test(mappings_show_the_file),
        cmocka_unit_test(what_is_added_comes_last),
        cmocka_unit_test(a_folder_is_made_unless_it_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
