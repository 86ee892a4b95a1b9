/* See svg.h. Coordinates are in points from the top left; every number is printed with two decimals at most. */
#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Okabe and Ito's colours, which people with colour-vision deficiency can tell apart; lighter on dark ground. */
/* Plain classes, no variables: older renderers know nothing newer. */
static const char style_sheet[] =
    "<style>\n"
    "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:12px}\n"
    ".title{font-size:16px;font-weight:600}.panel{font-size:13px;font-weight:600}\n"
    ".grid,.axis{stroke-width:1;fill:none}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}\n"
    ".dashed{stroke-dasharray:6 4;stroke-width:1.4}\n"
    ".ground{fill:#ffffff}text{fill:#1f2328}text.soft{fill:#57606a}.grid{stroke:#e4e7ea}.axis{"
    "stroke:#57606a}\n"
    ".s1{stroke:#0072b2}.f1{fill:#0072b2}.s2{stroke:#d55e00}.f2{fill:#d55e00}\n"
    ".s3{stroke:#009e73}.f3{fill:#009e73}.s4{stroke:#aa4499}.f4{fill:#aa4499}\n"
    ".s5{stroke:#b07c00}.f5{fill:#b07c00}.s6{stroke:#3a86c8}.f6{fill:#3a86c8}\n"
    ".s7{stroke:#444444}.f7{fill:#444444}.s8{stroke:#882255}.f8{fill:#882255}\n"
    "@media (prefers-color-scheme:dark){\n"
    ".ground{fill:#14171a}text{fill:#e6e8ea}text.soft{fill:#9aa4ad}.grid{stroke:#2c3238}.axis{"
    "stroke:#9aa4ad}\n"
    ".s1{stroke:#56b4e9}.f1{fill:#56b4e9}.s2{stroke:#ff8c42}.f2{fill:#ff8c42}\n"
    ".s3{stroke:#2fd3a5}.f3{fill:#2fd3a5}.s4{stroke:#dd88cc}.f4{fill:#dd88cc}\n"
    ".s5{stroke:#f0c43a}.f5{fill:#f0c43a}.s6{stroke:#8fc7f5}.f6{fill:#8fc7f5}\n"
    ".s7{stroke:#c4c8cc}.f7{fill:#c4c8cc}.s8{stroke:#e377a2}.f8{fill:#e377a2}\n"
    "}\n"
    "</style>\n";

static void escaped(rfhe_text *out, const char *s)
{
    for (; *s != '\0'; s++) {
        switch (*s) {
        case '<':
            rfhe_text_add(out, "&lt;");
            break;
        case '>':
            rfhe_text_add(out, "&gt;");
            break;
        case '&':
            rfhe_text_add(out, "&amp;");
            break;
        case '"':
            rfhe_text_add(out, "&quot;");
            break;
        default:
            rfhe_text_printf(out, "%c", *s); /* control characters, which XML forbids, become spaces */
        }
    }
}

static void text(rfhe_text *out, double x, double y, const char *anchor, const char *class,
                 const char *s)
{
    rfhe_text_printf(out, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"%s\" class=\"%s\">", x, y,
                     anchor, class);
    escaped(out, s);
    rfhe_text_add(out, "</text>\n");
}

/* ---- axes ---- */

typedef struct axis {
    double lo, hi, from, to; /* values, and where they are in the picture */
    bool log;
} axis;

static double place(const axis *a, double v)
{
    const double s = a->log ? (log10(v) - log10(a->lo)) / (log10(a->hi) - log10(a->lo))
                            : (v - a->lo) / (a->hi - a->lo);

    return a->from + s * (a->to - a->from);
}

static bool drawable(const axis *a, double v)
{
    return isfinite(v) && (!a->log || v > 0);
}

/* The range of all values of one direction; margin as a share of it. */
static axis range(const rfhe_plot *p, bool is_y, double lo, double hi, bool is_log, double margin)
{
    axis a = {.lo = INFINITY, .hi = -INFINITY, .log = is_log};

    for (size_t s = 0; s < p->n_series; s++) {
        const double *v = is_y ? p->series[s].y : p->series[s].x;
        for (size_t i = 0; i < p->series[s].n; i++) {
            if (!drawable(&a, v[i])) { continue; }
            a.lo = fmin(a.lo, v[i]);
            a.hi = fmax(a.hi, v[i]);
        }
        if (is_y && p->series[s].style == RFHE_PLOT_STEPS && !is_log) { a.lo = fmin(a.lo, 0); }
    }
    if (lo < hi) {
        a.lo = lo, a.hi = hi;
    } else if (!(a.lo <= a.hi)) {
        a.lo = is_log ? 0.1 : 0, a.hi = 1;
    } else if (is_log) {
        const double ratio = a.hi > a.lo ? pow(a.hi / a.lo, margin) : 2;
        a.lo /= ratio, a.hi *= ratio;
    } else {
        const double space = a.hi > a.lo ? (a.hi - a.lo) * margin : fmax(fabs(a.hi), 1) * 0.5;
        a.lo -= space, a.hi += space;
    }
    return a;
}

/* About `wish` ticks at 1, 2 or 5 times a power of ten (on logarithmic axes: powers of ten, and 2 and 5 of them when
 * there is room). Returns their number. */
static size_t ticks(const axis *a, int wish, double tick[32], char label[32][16])
{
    size_t n = 0;

    if (a->log) {
        const int from = (int)floor(log10(a->lo)), to = (int)ceil(log10(a->hi)),
                  skip = (to - from) / 12 + 1;
        const bool fine = to - from <= 3;
        for (int e = from; e <= to && n < 30; e += skip) {
            static const double parts[] = {1, 2, 5};
            for (int k = 0; k < (fine ? 3 : 1) && n < 31; k++) {
                const double v = parts[k] * pow(10, e);
                if (v < a->lo * 0.999 || v > a->hi * 1.001) { continue; }
                tick[n] = v;
                (void)snprintf(label[n++], 16, "%.3g", v);
            }
        }
        return n;
    }
    const double raw = (a->hi - a->lo) / wish, unit = pow(10, floor(log10(raw)));
    const double step = unit * (raw / unit <= 1.5   ? 1
                                : raw / unit <= 3.5 ? 2
                                : raw / unit <= 7.5 ? 5
                                                    : 10);
    for (double k = ceil(a->lo / step - 1e-9); k * step <= a->hi + 1e-9 * step && n < 31; k++) {
        tick[n] = k * step;
        (void)snprintf(label[n++], 16, "%.6g", k == 0 ? 0.0 : k * step);
    }
    return n;
}

/* ---- one panel ---- */

static void draw_series(rfhe_text *out, const rfhe_plot_series *s, const axis *ax, const axis *ay,
                        unsigned color)
{
    bool pen = false;

    if (s->style == RFHE_PLOT_POINTS) {
        for (size_t i = 0; i < s->n; i++) {
            if (!drawable(ax, s->x[i]) || !drawable(ay, s->y[i])) { continue; }
            const double x = place(ax, s->x[i]), y = place(ay, s->y[i]);
            rfhe_text_printf(out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"4\" class=\"f%u\"/>\n", x, y,
                             color);
            if (s->label != NULL && s->label[i] != NULL) {
                text(out, x + 7, y - 5, "start", "soft", s->label[i]);
            }
        }
        return;
    }
    if (s->style == RFHE_PLOT_STEPS) {
        const double floor_y = place(ay, ay->log ? ay->lo : fmax(ay->lo, 0));
        rfhe_text_printf(out, "<path class=\"f%u\" fill-opacity=\"0.45\" d=\"", color);
        for (size_t i = 0; i + 1 < s->n; i++) {
            if (!drawable(ax, s->x[i]) || !drawable(ay, s->y[i]) || s->y[i] == 0) { continue; }
            rfhe_text_printf(out, "M%.2f %.2fV%.2fH%.2fV%.2fZ", place(ax, s->x[i]), floor_y,
                             place(ay, s->y[i]), place(ax, s->x[i + 1]), floor_y);
        }
        rfhe_text_add(out, "\"/>\n");
        return;
    }
    rfhe_text_printf(out, "<path class=\"line%s s%u\" d=\"",
                     s->style == RFHE_PLOT_DASHED ? " dashed" : "", color);
    for (size_t i = 0; i < s->n; i++) {
        if (!drawable(ax, s->x[i]) || !drawable(ay, s->y[i])) {
            pen = false;
            continue;
        }
        /* Far outside the panel the clip hides it anyway; keep the numbers small for renderers. */
        const double y = fmin(fmax(place(ay, s->y[i]), -1e5), 1e5);
        rfhe_text_printf(out, "%c%.2f %.2f", pen ? 'L' : 'M', place(ax, s->x[i]), y);
        pen = true;
    }
    rfhe_text_add(out, "\"/>\n");
}

static unsigned color_of(const rfhe_plot *p, size_t i)
{
    return p->series[i].color > 0 ? (p->series[i].color - 1) % 8 + 1 : (unsigned)(i % 8) + 1;
}

static void draw_panel(rfhe_text *out, const rfhe_plot *p, size_t id, double top, double width,
                       double height)
{
    const double left = 90, right = width - 24, upper = top + 48, lower = top + height - 46;
    axis ax = range(p, false, p->x_lo, p->x_hi, p->log_x, 0),
         ay = range(p, true, p->y_lo, p->y_hi, p->log_y, 0.06);
    double tick[32], legend = left;
    char label[32][16];

    if (p->x_lo >= p->x_hi && p->log_x) { ax = range(p, false, 0, 0, true, 0.06); }
    for (size_t s = 0; s < p->n_series && p->x_lo >= p->x_hi; s++) {
        if (p->series[s].style == RFHE_PLOT_POINTS) { ax = range(p, false, 0, 0, p->log_x, 0.06); }
    }
    ax.from = left, ax.to = right, ay.from = lower, ay.to = upper;
    if (p->title != NULL) { text(out, left, top + 18, "start", "panel", p->title); }
    for (size_t s = 0; s < p->n_series; s++) { /* legend: one row above the panel */
        const rfhe_plot_series *q = &p->series[s];
        if (q->name == NULL) { continue; }
        if (q->style == RFHE_PLOT_POINTS) {
            rfhe_text_printf(out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"4\" class=\"f%u\"/>\n",
                             legend + 9, top + 34, color_of(p, s));
        } else {
            rfhe_text_printf(out, "<path class=\"line%s s%u\" d=\"M%.2f %.2fh18\"/>\n",
                             q->style == RFHE_PLOT_DASHED ? " dashed" : "", color_of(p, s), legend,
                             top + 34);
        }
        text(out, legend + 24, top + 38, "start", "soft", q->name);
        legend += 44 + 7.2 * (double)strlen(q->name);
    }
    size_t n = ticks(&ax, (int)((right - left) / 80), tick, label);
    for (size_t i = 0; i < n; i++) {
        const double x = place(&ax, tick[i]);
        rfhe_text_printf(out, "<path class=\"grid\" d=\"M%.2f %.2fV%.2f\"/>\n", x, upper, lower);
        text(out, x, lower + 17, "middle", "soft", label[i]);
    }
    n = ticks(&ay, (int)((lower - upper) / 36), tick, label);
    for (size_t i = 0; i < n; i++) {
        const double y = place(&ay, tick[i]);
        rfhe_text_printf(out, "<path class=\"grid\" d=\"M%.2f %.2fH%.2f\"/>\n", left, y, right);
        text(out, left - 8, y + 4, "end", "soft", label[i]);
    }
    rfhe_text_printf(out, "<path class=\"axis\" d=\"M%.2f %.2fV%.2fH%.2f\"/>\n", left, upper, lower,
                     right);
    if (p->x_label != NULL) { text(out, (left + right) / 2, lower + 36, "middle", "", p->x_label); }
    if (p->y_label != NULL) {
        rfhe_text_printf(
            out, "<text transform=\"translate(16 %.2f) rotate(-90)\" text-anchor=\"middle\">",
            (upper + lower) / 2);
        escaped(out, p->y_label);
        rfhe_text_add(out, "</text>\n");
    }
    rfhe_text_printf(out,
                     "<clipPath id=\"p%zu\"><rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" "
                     "height=\"%.2f\"/></clipPath>\n"
                     "<g clip-path=\"url(#p%zu)\">\n",
                     id, left, upper - 5, right - left + 6, lower - upper + 10, id);
    for (size_t s = 0; s < p->n_series; s++) {
        draw_series(out, &p->series[s], &ax, &ay, color_of(p, s));
    }
    rfhe_text_add(out, "</g>\n");
}

void rfhe_plot_svg(rfhe_text *out, const char *title, const char *caption, const rfhe_plot *plots,
                   size_t n, double width, double height)
{
    const double w = width > 0 ? width : 720, h = height > 0 ? height : 280;
    const double head = (title != NULL ? 34 : 6) + (caption != NULL ? 20 : 0),
                 total = head + h * (double)n;
    const size_t first_id = out->size; /* several pictures may share a page */

    rfhe_text_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
        "height=\"%.0f\" role=\"img\">\n",
        w, total, w, total);
    if (title != NULL) {
        rfhe_text_add(out, "<title>");
        escaped(out, title);
        rfhe_text_add(out, "</title>\n");
    }
    rfhe_text_add(out, style_sheet);
    rfhe_text_add(out, "<rect width=\"100%\" height=\"100%\" class=\"ground\"/>\n");
    if (title != NULL) { text(out, 18, 26, "start", "title", title); }
    if (caption != NULL) { text(out, 18, 46, "start", "soft", caption); }
    for (size_t i = 0; i < n; i++) { draw_panel(out, &plots[i], first_id + i, head + h * (double)i, w, h); }
    rfhe_text_add(out, "</svg>\n");
}
