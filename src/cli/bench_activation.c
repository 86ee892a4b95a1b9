/* rfhe bench activation: polynomials on clear tensors, forward and backward, as training runs them. */
#include "base/mem.h"
#include "cli/bench.h"
#include "paf/layer.h"

#include <stdio.h>

enum { CHANNELS = 64, PIXELS = 16384, VALUES = CHANNELS * PIXELS };

typedef struct job {
    rfhe_paf_layer *layer;
    float *x, *y, *g;
    size_t outer;
    double *dcoef, dscale[CHANNELS];
} job;

static rfhe_status op_forward(void *user)
{
    job *j = user;

    rfhe_paf_layer_forward(j->layer, j->y, j->x, j->outer);
    return RFHE_OK;
}

static rfhe_status op_backward(void *user)
{
    job *j = user;

    rfhe_paf_layer_backward(j->layer, j->y, j->dcoef, j->dscale, j->x, j->g, j->outer);
    return RFHE_OK;
}

static const struct {
    const char *name;
    rfhe_paf_layout layout;
    size_t outer;
} orders[] = {{"nchw", {CHANNELS, 1024, 0}, 16},
              {"nhwc", {CHANNELS, 1, 0}, PIXELS},
              {"blocked16", {CHANNELS, 1024, 16}, 16}};

static rfhe_status run(rfhe_bench *b, const rfhe_args *args, rfhe_error *err)
{
    static const char *const forms[] = {"even2", "even4",    "even8",  "even30",
                                        "f1g2",  "f1f1g1g1", "alpha7", "alpha10"};
    static const struct {
        const char *op;
        rfhe_status (*fn)(void *user);
    } ops[] = {{"paf_forward", op_forward}, {"paf_backward", op_backward}};
    rfhe_status st = RFHE_OK;
    rfhe_paf *p = rfhe_alloc(CHANNELS, sizeof *p);
    job j = {.x = rfhe_alloc(VALUES, sizeof *j.x),
             .y = rfhe_alloc(VALUES, sizeof *j.y),
             .g = rfhe_alloc(VALUES, sizeof *j.g),
             .dcoef = rfhe_alloc((size_t)CHANNELS * RFHE_PAF_MAX_COEFS, sizeof *j.dcoef)};
    double scale[CHANNELS];

    (void)args;
    if (p == NULL || j.x == NULL || j.y == NULL || j.g == NULL || j.dcoef == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for tensors of %d values", (int)VALUES);
        goto done;
    }
    for (size_t i = 0; i < VALUES; i++) {
        j.x[i] = (float)((i * 7919) % 2001) / 1000.0F - 1.0F;
        j.g[i] = (float)((i * 104729) % 1001) / 500.0F - 1.0F;
    }
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
            for (size_t c = 0; c < CHANNELS; c++) {
                RFHE_TRY(rfhe_paf_from_name(&p[c], forms[f], err));
                scale[c] = 1;
            }
            RFHE_TRY(rfhe_paf_layer_new(&j.layer, p, scale, CHANNELS, orders[o].layout,
                                        RFHE_PAF_FLOAT, err));
            j.outer = orders[o].outer;
            for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
                rfhe_timing t;
                if (!rfhe_bench_wants(b, ops[k].op)) { continue; }
                RFHE_TRY(rfhe_bench_time(&t, b, ops[k].fn, &j, 0, 0));
                rfhe_bench_row_begin(b, ops[k].op);
                rfhe_bench_text(b, "form", forms[f]);
                rfhe_bench_text(b, "layout", orders[o].name);
                rfhe_bench_integer(b, "values", VALUES);
                rfhe_bench_timing(b, &t);
                rfhe_bench_number(b, "ns_per_value", t.median_ms * 1e6 / VALUES);
                rfhe_bench_row_end(b);
            }
            rfhe_paf_layer_free(j.layer);
            j.layer = NULL;
        }
    }
done:
    rfhe_paf_layer_free(j.layer);
    rfhe_free(p), rfhe_free(j.x), rfhe_free(j.y), rfhe_free(j.g), rfhe_free(j.dcoef);
    return st;
}

const rfhe_bench_suite rfhe_bench_suite_activation = {
    .name = "activation",
    .summary = "polynomials on clear tensors, forward and backward",
    .run = run,
    .options = "",
};
