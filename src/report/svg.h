/* Plots as stand-alone SVG: axes with ticks and units, legend, light and dark by the reader's preference. For people
 * who look at results, and for pages that include them; no script, no external font. */
#ifndef RFHE_REPORT_SVG_H
#define RFHE_REPORT_SVG_H

#include "base/text.h"

typedef enum rfhe_plot_style {
    RFHE_PLOT_LINE = 0,
    RFHE_PLOT_DASHED, /* for what the others are compared with */
    RFHE_PLOT_POINTS,
    RFHE_PLOT_STEPS   /* a filled histogram: y[i] holds between x[i] and x[i + 1]; n - 1 bars */
} rfhe_plot_style;

typedef struct rfhe_plot_series {
    const char *name; /* NULL: not in the legend */
    rfhe_plot_style style;
    const double *x, *y; /* n values; pairs that are not finite interrupt a line */
    size_t n;
    const char *const *label; /* n texts beside the points, or NULL */
    unsigned color;           /* 1 .. 8 from the palette; 0 = by the series' place */
} rfhe_plot_series;

/* One panel. Zero state of everything but series: choose for me. */
typedef struct rfhe_plot {
    const char *title;
    const char *x_label, *y_label; /* with the unit in brackets: "latency (s)" */
    const rfhe_plot_series *series;
    size_t n_series;
    double x_lo, x_hi, y_lo, y_hi; /* equal: from the data, with a margin in y */
    bool log_x, log_y;
} rfhe_plot;

/* Panels below one another in one picture, `width` points wide, each `height` high (0 = 720 and 280). The lines below
 * the title are `caption` (may be NULL). Running out of memory is remembered in `out`. */
void rfhe_plot_svg(rfhe_text *out, const char *title, const char *caption, const rfhe_plot *plots, size_t n,
                   double width, double height);

#endif
