/* See loss.h. One row at a time; everything between float input and float output is double. */
#include "nn/loss.h"

#include <math.h>
#include <stdbool.h>

/* log sum exp(x[c] / temperature), shifted by the maximum so that nothing overflows. */
static double log_sum_exp(const float *x, size_t n, double temperature)
{
    double top = (double)x[0], sum = 0.0;

    for (size_t c = 1; c < n; c++) { top = fmax(top, (double)x[c]); }
    for (size_t c = 0; c < n; c++) { sum += exp(((double)x[c] - top) / temperature); }
    return top / temperature + log(sum);
}

/* How many classes beat the label; `classes` when the row holds a NaN. */
static size_t rank_of(const float *x, size_t n, uint32_t label)
{
    size_t rank = 0;

    for (size_t c = 0; c < n; c++) {
        if (isnan(x[c])) { return n; }
        rank += x[c] > x[label] || (x[c] == x[label] && c < label);
    }
    return rank;
}

/* Adds one row to *sums; grad (may be NULL) receives the gradient divided by the batch. */
static void one_row(rfhe_loss_sums *sums, float *grad, const float *z, const float *t,
                    uint32_t label, size_t n, double scale, const rfhe_loss_options *opt)
{
    const double temperature = opt->temperature > 0.0 ? opt->temperature : 1.0, w = opt->distill;
    const double uniform = opt->smoothing / (double)n, peak = 1.0 - opt->smoothing;
    const double lse = log_sum_exp(z, n, 1.0);
    const double lse_z = t != NULL ? log_sum_exp(z, n, temperature) : 0.0;
    const double lse_t = t != NULL ? log_sum_exp(t, n, temperature) : 0.0;
    double cross = -peak * ((double)z[label] - lse), kl = 0.0;

    for (size_t c = 0; c < n; c++) {
        const double log_p = (double)z[c] - lse;
        double g = 0.0;
        if (uniform > 0.0) { cross -= uniform * log_p; }
        if (grad != NULL) { g = (1.0 - w) * (exp(log_p) - uniform - (c == label ? peak : 0.0)); }
        if (t != NULL) {
            const double log_s = (double)z[c] / temperature - lse_z;
            const double log_q = (double)t[c] / temperature - lse_t, q = exp(log_q);
            if (q > 0.0) { kl += q * (log_q - log_s); }
            if (grad != NULL) { g += w * temperature * (exp(log_s) - q); }
        }
        if (grad != NULL) { grad[c] = (float)(g * scale); }
    }
    const size_t rank = rank_of(z, n, label);
    sums->cross_entropy += cross;
    sums->divergence += kl;
    sums->loss += (1.0 - w) * cross + w * temperature * temperature * kl;
    sums->images += 1;
    sums->top1 += rank < 1;
    sums->top5 += rank < 5 && rank < n;
}

rfhe_status rfhe_loss(rfhe_loss_sums *sums, float *grad, const float *logits, const float *teacher,
                      const uint32_t *labels, size_t batch, size_t classes,
                      const rfhe_loss_options *opt, rfhe_error *err)
{
    if (!(opt->smoothing >= 0.0 && opt->smoothing < 1.0)) {
        return rfhe_fail(err, RFHE_E_ARG, "label smoothing must be in [0, 1), not %g",
                         opt->smoothing);
    }
    if (!(opt->distill >= 0.0 && opt->distill <= 1.0) || !(opt->temperature >= 0.0)) {
        return rfhe_fail(err, RFHE_E_ARG,
                         "distillation wants a weight in [0, 1] and a positive temperature, not %g "
                         "and %g",
                         opt->distill, opt->temperature);
    }
    if (opt->distill > 0.0 && teacher == NULL) {
        return rfhe_fail(err, RFHE_E_ARG, "distillation needs the logits of a teacher");
    }
    for (size_t b = 0; b < batch; b++) {
        if (labels[b] >= classes) {
            return rfhe_fail(err, RFHE_E_ARG,
                             "label %u of image %zu is not one of the network's %zu classes",
                             labels[b], b, classes);
        }
    }
    for (size_t b = 0; b < batch; b++) {
        one_row(sums, grad != NULL ? grad + b * classes : NULL, logits + b * classes,
                opt->distill > 0.0 ? teacher + b * classes : NULL, labels[b], classes,
                1.0 / (double)batch, opt);
    }
    return RFHE_OK;
}
