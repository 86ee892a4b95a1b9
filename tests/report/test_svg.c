/* The plot writer: well-formed, escaped, ticks where they belong, strange data survived. */
#include "test.h"

#include "base/mem.h"
#include "report/svg.h"

#include <math.h>
#include <stdlib.h>

/* A small check of well-formedness: tags nest and close, no stray < or &. */
static void assert_well_formed(const char *s)
{
    char open[32][16];
    int depth = 0;

    for (; *s != '\0'; s++) {
        if (*s == '&') {
            assert_true(strncmp(s, "&lt;", 4) == 0 || strncmp(s, "&gt;", 4) == 0 ||
                        strncmp(s, "&amp;", 5) == 0 || strncmp(s, "&quot;", 6) == 0);
        }
        if (*s != '<') { continue; }
        const char *end = strchr(s, '>');
        assert_non_null(end);
        const size_t n = strcspn(s + 1, " />\n");
        if (s[1] == '/') {
            const size_t m = strcspn(s + 2, ">");
            assert_true(depth > 0);
            depth--;
            assert_true(strlen(open[depth]) == m && strncmp(open[depth], s + 2, m) == 0);
        } else if (end[-1] != '/') {
            assert_true(depth < 32 && n < 16);
            memcpy(open[depth], s + 1, n);
            open[depth++][n] = '\0';
        }
        s = end;
    }
    assert_int_equal(depth, 0);
}

static void plots_are_well_formed_and_hold_what_was_asked(void **state)
{
    const double x[] = {0, 1, 2, 3, 4}, y[] = {1, 10, NAN, 1000, 250}, bars[] = {3, 0, 5, 1, 0};
    const char *const labels[] = {"a<b", NULL, NULL, "R&D", "\"q\""};
    const rfhe_plot_series line[] = {
        {.name = "one & <two>", .x = x, .y = y, .n = 5},
        {.name = "other", .style = RFHE_PLOT_DASHED, .x = x, .y = bars, .n = 5}};
    const rfhe_plot_series points[] = {
        {.name = "p", .style = RFHE_PLOT_POINTS, .x = x, .y = y, .n = 5, .label = labels}};
    const rfhe_plot_series steps[] = {{.style = RFHE_PLOT_STEPS, .x = x, .y = bars, .n = 5}};
    const rfhe_plot panels[] = {
        {.title = "t", .x_label = "x (s)", .y_label = "y", .series = line, .n_series = 2},
        {.series = points, .n_series = 1, .log_y = true},
        {.series = steps, .n_series = 1}};
    rfhe_text out = {0};

    (void)state;
    rfhe_plot_svg(&out, "a \"title\"", "caption", panels, 3, 0, 0);
    assert_int_equal(rfhe_text_status(&out), RFHE_OK);
    assert_well_formed(out.data);
    assert_non_null(strstr(out.data, "one &amp; &lt;two&gt;"));
    assert_non_null(strstr(out.data, "prefers-color-scheme:dark"));
    assert_non_null(
        strstr(out.data, "class=\"soft\">1000<")); /* a decade on the logarithmic axis */
    assert_non_null(strstr(out.data, "R&amp;D"));
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf"));
    unsigned circles = 0, moves = 0;
    for (const char *s = out.data; (s = strstr(s, "<circle")) != NULL; s++) { circles++; }
    assert_int_equal(circles, 5); /* the NaN is no point; one in the legend */
    const char *path = strstr(out.data, "class=\"line s1\" d=\"M");
    path = strstr(path + 10, "class=\"line s1\" d=\"M"); /* the second: the first is the legend */
    assert_non_null(path);
    for (const char *s = path; *s != '/'; s++) { moves += *s == 'M'; }
    assert_int_equal(moves, 2); /* interrupted once */
    rfhe_text_clear(&out);
}

static void strange_data_draw_something(void **state)
{
    const double same[] = {2, 2}, zero[] = {0, 0}, huge[] = {-1e300, 1e300},
                 bad[] = {NAN, INFINITY}, tiny[] = {1e-12, 3e-12};
    const double *const values[] = {same, zero, huge, bad, tiny};

    (void)state;
    for (int i = 0; i < 5; i++) {
        for (int style = 0; style < 4; style++) {
            for (int logs = 0; logs < 4; logs++) {
                const rfhe_plot_series s = {.name = "s",
                                            .style = (rfhe_plot_style)style,
                                            .x = values[i],
                                            .y = values[4 - i],
                                            .n = 2};
                const rfhe_plot p = {
                    .series = &s, .n_series = 1, .log_x = (logs & 1) != 0, .log_y = logs > 1};
                rfhe_text out = {0};
                rfhe_plot_svg(&out, NULL, NULL, &p, 1, 300, 200);
                assert_int_equal(rfhe_text_status(&out), RFHE_OK);
                assert_well_formed(out.data);
                assert_null(strstr(out.data, "nan"));
                assert_null(strstr(out.data, "inf"));
                rfhe_text_clear(&out);
            }
        }
    }
    const rfhe_plot none = {.title = "empty"};
    rfhe_text out = {0};
    rfhe_plot_svg(&out, NULL, NULL, &none, 1, 0, 0);
    assert_well_formed(out.data);
    rfhe_text_clear(&out);
    rfhe_mem_fail_at(1);
    rfhe_plot_svg(&out, NULL, NULL, &none, 1, 0, 0);
    rfhe_mem_fail_at(0);
    assert_int_equal(rfhe_text_status(&out), RFHE_E_NOMEM);
    rfhe_text_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plots_are_well_formed_and_hold_what_was_asked),
        cmocka_unit_test(strange_data_draw_something),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
