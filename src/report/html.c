/* See html.h. */
#include "report/html.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char style_sheet[] =
    "body{font:16px/1.5 system-ui,'DejaVu Sans',sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;"
    "background:#ffffff;color:#1f2328}\n"
    "h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}\n"
    "table{border-collapse:collapse;margin:1rem 0}\n"
    "th,td{padding:.3rem .8rem;border-bottom:1px solid #d0d7de;text-align:left}\n"
    "td.number{text-align:right;font-variant-numeric:tabular-nums}\n"
    "svg{max-width:100%;height:auto}\n"
    ".tiles{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.2rem 0}"
    ".tile{flex:1 1 9rem;border:1px solid #d0d7de;border-radius:.5rem;padding:.7rem .9rem}"
    ".tile b{display:block;font-size:1.5rem;line-height:1.3;font-variant-numeric:tabular-nums}"
    ".tile span,.tile small{color:#57606a;font-size:.8rem}.wide{overflow-x:auto}\n"
    "@media (prefers-color-scheme:dark){body{background:#14171a;color:#e6e8ea}th,td,.tile{border-color:#2c3238}"
    ".tile span,.tile small{color:#9aa4ad}}\n";

void rfhe_html_escape(rfhe_text *out, const char *s)
{
    for (; *s != '\0'; s++) {
        switch (*s) {
        case '<': rfhe_text_add(out, "&lt;"); break;
        case '>': rfhe_text_add(out, "&gt;"); break;
        case '&': rfhe_text_add(out, "&amp;"); break;
        case '"': rfhe_text_add(out, "&quot;"); break;
        case '\'': rfhe_text_add(out, "&#39;"); break;
        default: rfhe_text_add_bytes(out, s, 1);
        }
    }
}

static void element(rfhe_text *out, const char *name, const char *s)
{
    rfhe_text_printf(out, "<%s>", name);
    rfhe_html_escape(out, s);
    rfhe_text_printf(out, "</%s>\n", name);
}

void rfhe_html_begin(rfhe_text *out, const char *title)
{
    rfhe_text_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width\">\n"
                       "<meta name=\"color-scheme\" content=\"light dark\">\n");
    element(out, "title", title);
    rfhe_text_add(out, "<style>\n");
    rfhe_text_add(out, style_sheet);
    rfhe_text_add(out, "</style>\n</head>\n<body>\n");
    element(out, "h1", title);
}

void rfhe_html_end(rfhe_text *out)
{
    rfhe_text_add(out, "</body>\n</html>\n");
}

void rfhe_html_heading(rfhe_text *out, const char *s)
{
    element(out, "h2", s);
}

void rfhe_html_paragraph(rfhe_text *out, const char *fmt, ...)
{
    char s[2048];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(s, sizeof s, fmt, args);
    va_end(args);
    element(out, "p", s);
}

void rfhe_html_tiles(rfhe_text *out, const char *const *names, const char *const *values, const char *const *notes, size_t n)
{
    rfhe_text_add(out, "<div class=\"tiles\">\n");
    for (size_t i = 0; i < n; i++) {
        rfhe_text_add(out, "<div class=\"tile\"><span>");
        rfhe_html_escape(out, names[i]);
        rfhe_text_add(out, "</span><b>");
        rfhe_html_escape(out, values[i]);
        rfhe_text_add(out, "</b><small>");
        rfhe_html_escape(out, notes[i] != NULL ? notes[i] : "");
        rfhe_text_add(out, "</small></div>\n");
    }
    rfhe_text_add(out, "</div>\n");
}

void rfhe_html_table_begin(rfhe_html_table *t, rfhe_text *out, const char *const *names, unsigned columns)
{
    *t = (rfhe_html_table){.out = out, .columns = columns};
    rfhe_text_add(out, "<div class=\"wide\"><table>\n<thead><tr>");
    for (unsigned i = 0; i < columns; i++) { element(out, "th", names[i]); }
    rfhe_text_add(out, "</tr></thead>\n<tbody>\n");
}

void rfhe_html_cell(rfhe_html_table *t, const char *fmt, ...)
{
    char s[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(s, sizeof s, fmt, args);
    va_end(args);
    const bool is_number = isdigit((unsigned char)s[0]) || (s[0] != '\0' && strchr("+-.", s[0]) != NULL);
    if (t->at % t->columns == 0) { rfhe_text_add(t->out, "<tr>"); }
    rfhe_text_add(t->out, is_number ? "<td class=\"number\">" : "<td>");
    rfhe_html_escape(t->out, s);
    rfhe_text_add(t->out, "</td>");
    t->at++;
    if (t->at % t->columns == 0) { rfhe_text_add(t->out, "</tr>\n"); }
}

void rfhe_html_table_end(rfhe_html_table *t)
{
    while (t->at % t->columns != 0) { rfhe_html_cell(t, "%s", ""); }
    rfhe_text_add(t->out, "</tbody>\n</table></div>\n");
}

void rfhe_html_markup(rfhe_text *out, const rfhe_text *svg)
{
    if (svg->failed) { out->failed = true; }
    rfhe_text_add_bytes(out, svg->data != NULL ? svg->data : "", svg->size);
}

void rfhe_html_pixels(rfhe_text *out, const uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels,
                      unsigned side, const char *alternative)
{
    rfhe_text_printf(out, "<svg viewBox=\"0 0 %u %u\" width=\"%u\" height=\"%u\" shape-rendering=\"crispEdges\" "
                          "role=\"img\" aria-label=\"", width, height, width * side, height * side);
    rfhe_html_escape(out, alternative);
    rfhe_text_printf(out, "\">\n<rect width=\"%u\" height=\"%u\" fill=\"#000000\"/>\n", width, height);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            const uint8_t *p = pixels + ((size_t)y * width + x) * channels;
            const unsigned r = p[0], g = channels == 3 ? p[1] : r, b = channels == 3 ? p[2] : r;
            if ((r | g | b) == 0) { continue; }
            rfhe_text_printf(out, "<rect x=\"%u\" y=\"%u\" width=\"1\" height=\"1\" fill=\"#%02x%02x%02x\"/>\n", x,
                             y, r, g, b);
        }
    }
    rfhe_text_add(out, "</svg>\n");
}
