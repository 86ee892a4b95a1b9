/* See pictures.h. */
#include "report/pictures.h"

#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One hue from light to dark, for what grows; the two others are Okabe and Ito's. Letters on a cell are dark on light shades
 * and light on dark ones, whatever the page. */
static const char style_sheet[] =
    "<style>\n"
    "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:12px;fill:#1f2328}\n"
    ".title{font-size:15px;font-weight:600}.soft{fill:#57606a}.small{font-size:10.5px}\n"
    ".ground{fill:#ffffff}.grid{stroke:#e4e7ea;fill:none}.axis{stroke:#57606a;fill:none}\n"
    ".mark{stroke:#d55e00;stroke-dasharray:3 3;fill:none}.mark2{stroke:#aa4499;stroke-dasharray:1 2;fill:none}\n"
    ".b0{fill:#0072b2}.b1{fill:#e69f00}.b2{fill:#009e73}.empty{fill:#eef1f4}\n"
    ".k0{fill:#e0f0f3}.k1{fill:#b9dfe6}.k2{fill:#86c6d6}.k3{fill:#4fa8c4}.k4{fill:#2b86ae}.k5{fill:#1f6592}"
    ".k6{fill:#1a4675}.k7{fill:#132a52}\n"
    "text.d{fill:#10303a;font-size:11px}text.l{fill:#ffffff;font-size:11px}\n"
    "@media (prefers-color-scheme:dark){text{fill:#e6e8ea}.soft{fill:#9aa4ad}.ground{fill:#14171a}"
    ".grid{stroke:#2c3238}.axis{stroke:#9aa4ad}.b0{fill:#56b4e9}.b1{fill:#f0c43a}.b2{fill:#2fd3a5}"
    ".empty{fill:#20252a}.mark{stroke:#ff8c42}.mark2{stroke:#dd88cc}}\n"
    "</style>\n";

static void begin(rfhe_text *out, const char *title, double width, double height)
{
    rfhe_text_printf(out,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
                     "height=\"%.0f\" role=\"img\">\n", width, height, width, height);
    if (title != NULL) {
        rfhe_text_add(out, "<title>");
        rfhe_html_escape(out, title);
        rfhe_text_add(out, "</title>\n");
    }
    rfhe_text_add(out, style_sheet);
    rfhe_text_add(out, "<rect width=\"100%\" height=\"100%\" class=\"ground\"/>\n");
}

static void text(rfhe_text *out, double x, double y, const char *anchor, const char *class, const char *s)
{
    rfhe_text_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, class);
    rfhe_html_escape(out, s);
    rfhe_text_add(out, "</text>\n");
}

static void tooltip(rfhe_text *out, const char *s)
{
    if (s == NULL) { return; }
    rfhe_text_add(out, "<title>");
    rfhe_html_escape(out, s);
    rfhe_text_add(out, "</title>");
}

/* ---- cells ---- */

static void legend(rfhe_text *out, const rfhe_cells *c, double x, double y)
{
    for (int k = 0; k < RFHE_SHADES; k++) {
        if (c->legend[k] == NULL) { continue; }
        rfhe_text_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"14\" rx=\"3\" class=\"k%d\"/>\n", x, y - 11, k);
        text(out, x + 19, y, "start", "soft small", c->legend[k]);
        x += 32 + 6.4 * (double)strlen(c->legend[k]);
    }
}

static void one_cell(rfhe_text *out, const rfhe_cells *c, size_t at, double x, double y, double w, double h)
{
    const int shade = c->shade[at];

    rfhe_text_printf(out, "<g><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" class=\"", x + 1, y + 1,
                     w - 2, h - 2);
    if (shade < 0) {
        rfhe_text_add(out, "empty\">");
    } else {
        rfhe_text_printf(out, "k%d\">", shade < RFHE_SHADES ? shade : RFHE_SHADES - 1);
    }
    tooltip(out, c->about != NULL ? c->about[at] : NULL);
    rfhe_text_add(out, "</rect>");
    if (c->text != NULL && c->text[at] != NULL) {
        text(out, x + w / 2, y + h / 2 + 4, "middle", shade >= 3 ? "l" : "d", c->text[at]);
    }
    rfhe_text_add(out, "</g>\n");
}

void rfhe_cells_svg(rfhe_text *out, const rfhe_cells *c, double width)
{
    const double left = 104, right = c->end != NULL ? 148 : 12, top = 92, h = 24;
    const double w = fmin((width - left - right) / (double)(c->columns > 0 ? c->columns : 1), 64);
    const double end = left + w * (double)c->columns;

    begin(out, c->title, width, top + h * (double)c->rows + 16);
    if (c->title != NULL) { text(out, 12, 22, "start", "title", c->title); }
    legend(out, c, 12, 46);
    if (c->row_title != NULL) { text(out, left - 8, top - 8, "end", "soft small", c->row_title); }
    if (c->column_title != NULL) { text(out, left, top - 24, "start", "soft small", c->column_title); }
    for (size_t k = 0; k < c->columns; k++) {
        text(out, left + w * ((double)k + 0.5), top - 8, "middle", "soft small", c->column[k]);
    }
    for (size_t r = 0; r < c->rows; r++) {
        const double y = top + h * (double)r;
        text(out, left - 8, y + h / 2 + 4, "end", "", c->row[r]);
        for (size_t k = 0; k < c->columns; k++) { one_cell(out, c, r * c->columns + k, left + w * (double)k, y, w, h); }
        if (c->end != NULL && c->end[r] != NULL) { text(out, end + 8, y + h / 2 + 4, "start", "soft small", c->end[r]); }
    }
    rfhe_text_add(out, "</svg>\n");
}

/* ---- bars ---- */

static double total(const rfhe_bars *b, size_t i)
{
    double sum = 0;

    for (int k = 0; k < 3; k++) { sum += b->part[k] != NULL ? b->part[k][i] : 0; }
    return sum;
}

static double round_step(double most, int wish)
{
    const double raw = most / wish, unit = pow(10, floor(log10(raw)));

    return unit * (raw / unit <= 1 ? 1 : raw / unit <= 2 ? 2 : raw / unit <= 5 ? 5 : 10);
}

static void one_bar(rfhe_text *out, const rfhe_bars *b, size_t i, double x, double w, double lower, double per_unit)
{
    double sum = 0;
    char about[200];

    for (int k = 0; k < 3; k++) {
        if (b->part[k] == NULL || !(b->part[k][i] > 0)) { continue; }
        const double from = lower - sum * per_unit, v = b->part[k][i];
        sum += v;
        rfhe_text_printf(out, "<rect x=\"%.1f\" y=\"%.2f\" width=\"%.1f\" height=\"%.2f\" class=\"b%d\">", x, from - v * per_unit,
                         w, v * per_unit, k);
        (void)snprintf(about, sizeof about, "%s, %s: %.4g", b->name[i], b->part_name[k], v);
        tooltip(out, about);
        rfhe_text_add(out, "</rect>\n");
    }
}

void rfhe_bars_svg(rfhe_text *out, const rfhe_bars *b, double width, double height)
{
    const double left = 70, right = width - 16, top = 62, lower = height - 40;
    const double each = (right - left) / (double)(b->n > 0 ? b->n : 1);
    double most = 0, at = 12;
    char label[32];

    for (size_t i = 0; i < b->n; i++) { most = fmax(most, total(b, i)); }
    most = most > 0 ? most * 1.04 : 1;
    begin(out, b->title, width, height);
    if (b->title != NULL) { text(out, 12, 22, "start", "title", b->title); }
    for (int k = 0; k < 3; k++) {
        if (b->part[k] == NULL) { continue; }
        rfhe_text_printf(out, "<rect x=\"%.1f\" y=\"34\" width=\"14\" height=\"14\" rx=\"3\" class=\"b%d\"/>\n", at, k);
        text(out, at + 19, 45, "start", "soft small", b->part_name[k]);
        at += 36 + 6.4 * (double)strlen(b->part_name[k]);
    }
    const double step = round_step(most, 5);
    for (double v = 0; v <= most; v += step) {
        const double y = lower - v / most * (lower - top);
        rfhe_text_printf(out, "<path class=\"grid\" d=\"M%.1f %.2fH%.1f\"/>\n", left, y, right);
        (void)snprintf(label, sizeof label, "%.3g", v);
        text(out, left - 8, y + 4, "end", "soft small", label);
    }
    if (b->y_label != NULL) {
        rfhe_text_printf(out, "<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\" class=\"small\">",
                         (top + lower) / 2);
        rfhe_html_escape(out, b->y_label);
        rfhe_text_add(out, "</text>\n");
    }
    for (size_t i = 0; i < b->n; i++) {
        const double x = left + each * (double)i;
        one_bar(out, b, i, x + each * 0.14, each * 0.72, lower, (lower - top) / most);
        text(out, x + each / 2, lower + 16, "middle", "soft small", b->name[i]);
    }
    rfhe_text_printf(out, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", left, lower, right);
    rfhe_text_add(out, "</svg>\n");
}

/* ---- small histograms ---- */

static void one_small(rfhe_text *out, const rfhe_small *s, double x, double y, double w, double h)
{
    const double top = y + 34, lower = y + h - 20, floor_share = 1e-6;
    double most = floor_share * 10;
    char label[32];

    for (size_t i = 0; i < s->n; i++) { most = fmax(most, s->share[i]); }
    const double unit = (lower - top) / log10(most / floor_share);
    text(out, x, y + 13, "start", "small", s->name);
    if (s->note != NULL) { text(out, x, y + 27, "start", "soft small", s->note); }
    rfhe_text_add(out, "<path class=\"b0\" d=\"");
    for (size_t i = 0; i < s->n; i++) {
        if (!(s->share[i] > floor_share)) { continue; }
        rfhe_text_printf(out, "M%.1f %.1fV%.1fH%.1fV%.1fZ", x + w * (double)i / (double)s->n, lower,
                         lower - unit * log10(s->share[i] / floor_share), x + w * (double)(i + 1) / (double)s->n, lower);
    }
    rfhe_text_add(out, "\"/>\n");
    for (int k = 0; k < 2; k++) {
        for (int sign = -1; sign <= 1 && s->mark[k] > 0; sign += 2) {
            const double at = x + w * ((double)sign * s->mark[k] - s->lo) / (s->hi - s->lo);
            if (at < x || at > x + w) { continue; }
            rfhe_text_printf(out, "<path class=\"%s\" d=\"M%.1f %.1fV%.1f\"/>\n", k == 0 ? "mark" : "mark2", at, top, lower);
        }
    }
    rfhe_text_printf(out, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", x, lower, x + w);
    (void)snprintf(label, sizeof label, "%.3g", s->lo);
    text(out, x, lower + 13, "start", "soft small", label);
    (void)snprintf(label, sizeof label, "%.3g", s->hi);
    text(out, x + w, lower + 13, "end", "soft small", label);
    text(out, x + w * (0 - s->lo) / (s->hi - s->lo), lower + 13, "middle", "soft small", "0");
}

void rfhe_smalls_svg(rfhe_text *out, const char *title, const rfhe_small *s, size_t n, double width)
{
    const size_t across = (size_t)fmax(floor((width - 12) / 176), 1), down = (n + across - 1) / across;
    const double each = (width - 12) / (double)across, h = 132, top = title != NULL ? 38 : 8;

    begin(out, title, width, top + h * (double)down + 6);
    if (title != NULL) { text(out, 12, 22, "start", "title", title); }
    for (size_t i = 0; i < n; i++) {
        one_small(out, &s[i], 12 + each * (double)(i % across), top + h * (double)(i / across), each - 18, h - 8);
    }
    rfhe_text_add(out, "</svg>\n");
}
