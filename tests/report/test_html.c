/* The page writer: everything is escaped, tables have whole rows, nothing is fetched, running out of memory is seen. */
#include "test.h"

#include "base/mem.h"
#include "report/html.h"

static unsigned count(const char *s, const char *what)
{
    unsigned n = 0;

    for (s = strstr(s, what); s != NULL; s = strstr(s + 1, what)) { n++; }
    return n;
}

static void write_page(rfhe_text *out)
{
    static const char *const names[] = {"a<b", "c"};
    static const uint8_t grey[4] = {0, 255, 16, 0}, colors[3] = {1, 2, 255};
    const rfhe_text svg = {.data = (char *)(uintptr_t) "<svg></svg>", .size = 11};
    rfhe_html_table t;

    rfhe_html_begin(out, "one & \"two\"");
    rfhe_html_heading(out, "<script>");
    rfhe_html_paragraph(out, "%s %d", "it's", 5);
    rfhe_html_table_begin(&t, out, names, 2);
    rfhe_html_cell(&t, "%s", "<i>");
    rfhe_html_cell(&t, "%.1f", 2.5);
    rfhe_html_cell(&t, "%s", "word");
    rfhe_html_table_end(&t);
    rfhe_html_markup(out, &svg);
    rfhe_html_pixels(out, grey, 2, 2, 1, 6, "a \"picture\"");
    rfhe_html_pixels(out, colors, 1, 1, 3, 6, "blue");
    rfhe_html_end(out);
}

static void strings_are_escaped(void **state)
{
    rfhe_text page = {0};

    (void)state;
    write_page(&page);
    assert_int_equal(rfhe_text_status(&page), RFHE_OK);
    assert_int_equal(count(page.data, "<title>one &amp; &quot;two&quot;</title>"), 1);
    assert_int_equal(count(page.data, "<h2>&lt;script&gt;</h2>"), 1);
    assert_int_equal(count(page.data, "<script"), 0);
    assert_int_equal(count(page.data, "<p>it&#39;s 5</p>"), 1);
    assert_int_equal(count(page.data, "<th>a&lt;b</th>"), 1);
    assert_int_equal(count(page.data, "<td>&lt;i&gt;</td>"), 1);
    assert_int_equal(count(page.data, "aria-label=\"a &quot;picture&quot;\""), 1);
    rfhe_text_clear(&page);
}

static void tables_have_whole_rows_and_numbers_stand_right(void **state)
{
    rfhe_text page = {0};

    (void)state;
    write_page(&page);
    assert_int_equal(count(page.data, "<tr>"), 3);
    assert_int_equal(count(page.data, "</tr>"), 3);
    assert_int_equal(count(page.data, "<td"), 4);
    assert_int_equal(count(page.data, "<td class=\"number\">2.5</td>"), 1);
    rfhe_text_clear(&page);
}

static void pixels_become_squares_of_their_color(void **state)
{
    rfhe_text page = {0};

    (void)state;
    write_page(&page);
    assert_int_equal(count(page.data, "<rect x="), 3); /* black ones are the ground */
    assert_int_equal(count(page.data, "<rect x=\"1\" y=\"0\" width=\"1\" height=\"1\" fill=\"#ffffff\"/>"), 1);
    assert_int_equal(count(page.data, "<rect x=\"0\" y=\"1\" width=\"1\" height=\"1\" fill=\"#101010\"/>"), 1);
    assert_int_equal(count(page.data, "fill=\"#0102ff\""), 1);
    rfhe_text_clear(&page);
}

static void running_out_of_memory_is_seen(void **state)
{
    rfhe_text page = {0}, broken = {.failed = true};

    (void)state;
    rfhe_mem_fail_at(1);
    write_page(&page);
    rfhe_mem_fail_at(0);
    assert_int_equal(rfhe_text_status(&page), RFHE_E_NOMEM);
    rfhe_text_clear(&page);
    page = (rfhe_text){0};
    rfhe_html_markup(&page, &broken);
    assert_int_equal(rfhe_text_status(&page), RFHE_E_NOMEM);
    rfhe_text_clear(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(tables_have_whole_rows_and_numbers_stand_right),
        cmocka_unit_test(pixels_become_squares_of_their_color),
        cmocka_unit_test(running_out_of_memory_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
