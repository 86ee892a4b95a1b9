/* A page that stands alone: one file, styles inside, light and dark by the reader's preference, no scripts, nothing
 * fetched. Pieces are written in order into a text; every string is escaped except where it says markup. */
#ifndef RFHE_REPORT_HTML_H
#define RFHE_REPORT_HTML_H

#include "base/text.h"

/* Everything up to the first heading, which is `title`. */
void rfhe_html_begin(rfhe_text *out, const char *title);
void rfhe_html_end(rfhe_text *out);
void rfhe_html_heading(rfhe_text *out, const char *s);
void rfhe_html_paragraph(rfhe_text *out, const char *fmt, ...) RFHE_PRINTF(2, 3);

/* Figures that matter most, side by side: a name, a value in large type, a remark (may be NULL). */
void rfhe_html_tiles(rfhe_text *out, const char *const *names, const char *const *values, const char *const *notes, size_t n);

/* A table: begin with its column names, then the cells row after row (columns of them make a row), then end. Cells that
 * begin with a digit, a sign or a point are set as numbers. */
typedef struct rfhe_html_table {
    rfhe_text *out;
    unsigned columns, at;
} rfhe_html_table;

void rfhe_html_table_begin(rfhe_html_table *t, rfhe_text *out, const char *const *names, unsigned columns);
void rfhe_html_cell(rfhe_html_table *t, const char *fmt, ...) RFHE_PRINTF(2, 3);
void rfhe_html_table_end(rfhe_html_table *t);

/* Markup of our own, such as a plot from rfhe_plot_svg. */
void rfhe_html_markup(rfhe_text *out, const rfhe_text *svg);
/* An image of height x width x channels bytes (1 grey or 3 RGB) as squares of `side` points; for small ones. */
void rfhe_html_pixels(rfhe_text *out, const uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels,
                      unsigned side, const char *alternative);
/* Adds `s` with the five special characters as entities. */
void rfhe_html_escape(rfhe_text *out, const char *s);

#endif
