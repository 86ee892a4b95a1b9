/* Pictures that are not axes with curves: a table of colours, bars, many small histograms. Stand-alone SVG like svg.h: light
 * and dark by the reader's preference, no script, no external font; every shape has a title for whoever points at it. */
#ifndef RFHE_REPORT_PICTURES_H
#define RFHE_REPORT_PICTURES_H

#include <stddef.h>

#include "base/text.h"

enum { RFHE_SHADES = 8 };

/* Rows and columns of cells. shade 0 is the lightest, RFHE_SHADES - 1 the darkest; negative: an empty cell. */
typedef struct rfhe_cells {
    const char *title;
    const char *row_title, *column_title;
    const char *const *row, *const *column; /* their names                              */
    size_t rows, columns;
    const int *shade;         /* [rows][columns]                                            */
    const char *const *text;  /* [rows][columns], a few letters each                        */
    const char *const *about; /* [rows][columns], what a reader who points at it is told; NULL: nothing */
    const char *const *end;   /* [rows], right of the row; NULL: nothing                    */
    const char *legend[RFHE_SHADES]; /* what a shade means; NULL: unused                    */
} rfhe_cells;

void rfhe_cells_svg(rfhe_text *out, const rfhe_cells *c, double width);

/* Bars side by side, each of up to three parts on top of one another. */
typedef struct rfhe_bars {
    const char *title, *y_label;
    const char *const *name; /* [n], below the bars             */
    const double *part[3];   /* [n] each; NULL: not there       */
    const char *part_name[3];
    size_t n;
} rfhe_bars;

void rfhe_bars_svg(rfhe_text *out, const rfhe_bars *b, double width, double height);

/* A histogram of `n` equal steps from lo to hi on a logarithmic scale, with marks at some places. */
typedef struct rfhe_small {
    const char *name, *note;
    const double *share; /* [n] */
    size_t n;
    double lo, hi;
    double mark[2]; /* places of vertical lines, dashed: +-mark[0], +-mark[1]; 0 = none */
} rfhe_small;

/* In rows of as many as fit. */
void rfhe_smalls_svg(rfhe_text *out, const char *title, const rfhe_small *s, size_t n, double width);

#endif
