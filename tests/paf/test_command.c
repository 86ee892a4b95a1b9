/* rfhe paf as scripts see it: the documented keys, the plot file, mistakes and their exit codes. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

/* Runs the command, returns its exit code; *out (65,536 bytes) receives standard output and error together. */
static int run(const char *arguments, char *out)
{
    char line[512];
    size_t n = 0, got = 0;

    (void)snprintf(line, sizeof line, "'%s' paf %s 2>&1", RFHE_COMMAND, arguments);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    while ((got = fread(out + n, 1, 65535 - n, f)) > 0) { n += got; }
    out[n] = '\0';
    const int status = pclose(f);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static char out[65536];

static void list_has_every_documented_key(void **state)
{
    (void)state;
    assert_int_equal(run("list --json", out), 0);
    json_t *root = json_loads(out, 0, NULL);
    assert_non_null(root);
    json_t *forms = json_object_get(root, "forms"), *form = NULL;
    size_t i = 0;
    bool found = false;
    assert_true(json_array_size(forms) >= 22);
    json_array_foreach(forms, i, form)
    {
        assert_true(json_is_string(json_object_get(form, "name")));
        assert_true(json_array_size(json_object_get(form, "degrees")) >= 1);
        const bool is_line = strcmp(json_string_value(json_object_get(form, "name")), "linear") == 0;
        assert_true((json_integer_value(json_object_get(form, "relu_depth")) >= 1) == !is_line);
        assert_true((json_integer_value(json_object_get(form, "products")) >= 1) == !is_line);
        assert_true(json_number_value(json_object_get(form, "max_relu_error")) > 0);
        if (strcmp(json_string_value(json_object_get(form, "name")), "f2g3") == 0) {
            found = true;
            assert_int_equal(json_integer_value(json_object_get(form, "relu_depth")), 6);
            assert_int_equal(
                json_integer_value(json_array_get(json_object_get(form, "degrees"), 0)), 7);
            assert_true(fabs(json_number_value(json_object_get(form, "weighted_error_tuned")) -
                             0.0511) < 3e-4);
        }
    }
    assert_true(found);
    json_decref(root);
}

static void show_and_design_agree_with_the_library(void **state)
{
    char arguments[256], path[160];
    uint8_t *svg = NULL;
    size_t size = 0;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/form.svg", test_folder());
    (void)snprintf(arguments, sizeof arguments, "show even4 --json --schedule --svg '%s'", path);
    assert_int_equal(run(arguments, out), 0);
    json_t *root = json_loads(out, 0, NULL);
    assert_non_null(root);
    assert_int_equal(json_array_size(json_object_get(root, "schedule")), 9);
    json_decref(root);
    assert_int_equal(rfhe_file_read(&svg, &size, path, 1 << 20, NULL), RFHE_OK);
    assert_non_null(strstr((char *)svg, "derivative"));
    rfhe_free(svg);
    assert_int_equal(run("design --degrees 3,7 --json", out), 0);
    root = json_loads(out, 0, NULL);
    assert_true(fabs(json_number_value(json_object_get(root, "epsilon")) - 0.15249) < 1e-4);
    assert_true(fabs(json_number_value(json_object_get(root, "max_relu_error")) - 0.01491) < 2e-5);
    assert_int_equal(json_integer_value(json_object_get(root, "relu_depth")), 5);
    json_decref(root);
    assert_int_equal(run("design --even 6", out), 0);
    assert_non_null(strstr(out, "levels of ReLU    3"));
    assert_int_equal(run("show f1g2:reversed", out), 0);
    assert_non_null(strstr(out, "0.251 on [1/2, 1]"));
}

static void mistakes_have_their_exit_codes(void **state)
{
    static const struct {
        const char *arguments, *says;
    } wrong[] = {{"", "paf"},
                 {"paint", "none of list, show, design"},
                 {"show", "name of one form"},
                 {"list f1g2", "no further words"},
                 {"design", "--degrees or --even"},
                 {"design --even 4 --degrees 3", "--degrees or --even"},
                 {"design --even 4 --epsilon 0.1", "design --even takes no --epsilon"},
                 {"show f1g2 --degrees 3", "show takes no --degrees"},
                 {"list --schedule", "list takes no --schedule"},
                 {"list --sigma 0", "--sigma wants"}};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const int code = run(wrong[i].arguments, out);
        if (code != 2 || strstr(out, wrong[i].says) == NULL) {
            fail_msg("paf %s: %d %s", wrong[i].arguments, code, out);
        }
    }
    assert_int_not_equal(run("show f9g9", out), 0);
    assert_non_null(strstr(out, "there is no form called 'f9g9'"));
    assert_int_not_equal(run("design --degrees 3,4", out), 0);
    assert_non_null(strstr(out, "degree 4 of stage 2 is not an odd number"));
    assert_int_not_equal(run("design --degrees 3,,7", out), 0);
    assert_non_null(strstr(out, "is not a list"));
    assert_int_not_equal(run("show even4 --svg /no/such/folder/x.svg", out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_has_every_documented_key),
        cmocka_unit_test(show_and_design_agree_with_the_library),
        cmocka_unit_test(mistakes_have_their_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
