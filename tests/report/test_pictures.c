/* The pictures beside plots: well-formed, escaped, complete; strange data survived. */
#include "test.h"

#include "base/mem.h"
#include "report/html.h"
#include "report/pictures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static size_t count(const char *s, const char *what)
{
    size_t n = 0;

    for (; (s = strstr(s, what)) != NULL; s++) { n++; }
    return n;
}

/* Every opening tag is closed, and no stray < or & is left. */
static void assert_balanced(const char *s)
{
    static const char *const tags[] = {"svg", "text", "g", "title", "style", "div", "b"};
    char open[16], close[16];

    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        (void)snprintf(open, sizeof open, "<%s>", tags[i]);
        size_t n = count(s, open);
        (void)snprintf(open, sizeof open, "<%s ", tags[i]);
        n += count(s, open);
        (void)snprintf(close, sizeof close, "</%s>", tags[i]);
        assert_int_equal(n, count(s, close));
    }
    assert_int_equal(count(s, "&"), count(s, "&amp;") + count(s, "&lt;") + count(s, "&gt;") + count(s, "&quot;") + count(s, "&#39;"));
    assert_null(strstr(s, "nan"));
    assert_null(strstr(s, "inf"));
}

static void cells_show_every_cell(void **state)
{
    const char *const rows[] = {"r<1>", "2"}, *const columns[] = {"a", "b", "c"}, *const ends[] = {"x & y", NULL};
    const int shade[] = {0, 7, 99, -1, 3, 4};
    const char *const text[] = {"2", "\"14\"", "", NULL, "x", "y"}, *const about[] = {"tip <a>", NULL, NULL, NULL, NULL, NULL};
    const rfhe_cells c = {.title = "T & U", .row = rows, .column = columns, .rows = 2, .columns = 3, .shade = shade, .text = text,
                          .about = about, .end = ends, .legend = {"light", NULL, "mid"}};
    const rfhe_cells none = {.title = NULL};
    rfhe_text out = {0};

    (void)state;
    rfhe_cells_svg(&out, &c, 700);
    assert_int_equal(rfhe_text_status(&out), RFHE_OK);
    assert_balanced(out.data);
    assert_int_equal(count(out.data, "<g>"), 6);
    assert_non_null(strstr(out.data, "tip &lt;a&gt;"));
    assert_non_null(strstr(out.data, "x &amp; y"));
    assert_int_equal(count(out.data, "class=\"empty\""), 1);
    rfhe_text_clear(&out);
    rfhe_cells_svg(&out, &none, 700);
    assert_balanced(out.data);
    rfhe_text_clear(&out);
}

static void bars_stand_on_one_another(void **state)
{
    const char *const names[] = {"1", "2", "3"};
    const double low[] = {1, 2, 0}, high[] = {0.5, NAN, 0};
    const rfhe_bars b = {.title = "t", .y_label = "s", .name = names, .part = {low, high, NULL}, .part_name = {"low", "high", NULL}, .n = 3};
    const rfhe_bars none = {.n = 0};
    rfhe_text out = {0};

    (void)state;
    rfhe_bars_svg(&out, &b, 600, 240);
    assert_balanced(out.data);
    assert_int_equal(count(out.data, "class=\"b0\""), 3); /* two bars and the legend */
    assert_int_equal(count(out.data, "class=\"b1\""), 2);
    rfhe_text_clear(&out);
    rfhe_bars_svg(&out, &none, 600, 240);
    assert_balanced(out.data);
    rfhe_text_clear(&out);
}

static void small_histograms_mark_their_places(void **state)
{
    const double share[] = {0, 0.5, 0.25, 1e-9};
    const rfhe_small s[] = {{.name = "a<b", .note = "n", .share = share, .n = 4, .lo = -2, .hi = 2, .mark = {1, 5}},
                            {.name = "b", .share = share, .n = 4, .lo = -1, .hi = 1}};
    rfhe_text out = {0};

    (void)state;
    rfhe_smalls_svg(&out, "title", s, 2, 400);
    assert_balanced(out.data);
    assert_int_equal(count(out.data, "class=\"mark\""), 2); /* +-1; 5 lies outside */
    assert_int_equal(count(out.data, "class=\"mark2\""), 0);
    rfhe_text_clear(&out);
}

static void tiles_are_escaped(void **state)
{
    const char *const names[] = {"a&b", "c"}, *const values[] = {"<1>", "2"}, *const notes[] = {NULL, "'n'"};
    rfhe_text out = {0};

    (void)state;
    rfhe_html_tiles(&out, names, values, notes, 2);
    assert_balanced(out.data);
    assert_non_null(strstr(out.data, "&lt;1&gt;"));
    rfhe_text_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_show_every_cell),
        cmocka_unit_test(bars_stand_on_one_another),
        cmocka_unit_test(small_histograms_mark_their_places),
        cmocka_unit_test(tiles_are_escaped),
    };

    return cmocka_run_group_tests_name("report/pictures", tests, NULL, NULL);
}
