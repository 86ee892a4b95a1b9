/* See optim.h. */
#include "nn/optim.h"

#include "base/mem.h"
#include "base/threads.h"

#include <math.h>
#include <string.h>

/* Floats per piece of parallel work; fixed, so that sums have one order whatever the team. */
enum { CHUNK = 1 << 14 };

static size_t chunks_of(size_t n)
{
    return (n + CHUNK - 1) / CHUNK;
}

/* --- Optimizers --- */

static bool is_fraction(double x)
{
    return x >= 0.0 && x < 1.0;
}

static rfhe_status check(const rfhe_optim_options *o, rfhe_error *err)
{
    if (!is_fraction(o->momentum) || !is_fraction(o->dampening)) {
        return rfhe_fail(err, RFHE_E_ARG, "momentum and dampening must be in [0, 1), not %g and %g",
                         o->momentum, o->dampening);
    }
    if (!is_fraction(o->beta1) || !is_fraction(o->beta2) || !(o->epsilon >= 0.0)) {
        return rfhe_fail(err, RFHE_E_ARG,
                         "Adam wants betas in [0, 1) and a positive epsilon, not %g, %g and %g",
                         o->beta1, o->beta2, o->epsilon);
    }
    if (o->kind == RFHE_OPTIM_SGD && o->nesterov && (o->momentum == 0.0 || o->dampening != 0.0)) {
        return rfhe_fail(err, RFHE_E_ARG, "Nesterov's rule needs a momentum and no dampening");
    }
    for (size_t k = 0; k < RFHE_PARAM_KINDS; k++) {
        if (!(o->group[k].decay >= 0.0) || !isfinite(o->group[k].rate_factor)) {
            return rfhe_fail(err, RFHE_E_ARG, "weight decay must not be negative, not %g",
                             o->group[k].decay);
        }
    }
    return RFHE_OK;
}

static bool is_trained(const rfhe_optim_options *o, const rfhe_param *p)
{
    return p->kind != RFHE_PARAM_BN_MEAN && p->kind != RFHE_PARAM_BN_VARIANCE && p->kind != RFHE_PARAM_FIXED &&
           o->group[p->kind].rate_factor >= 0.0 && p->count > 0;
}

static void fill_spans(rfhe_optim *o, const rfhe_param *params, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!is_trained(&o->opt, &params[i])) { continue; }
        rfhe_optim_group g = o->opt.group[params[i].kind];
        if (g.rate_factor == 0.0) { g.rate_factor = 1.0; }
        rfhe_optim_span *last = o->n_spans > 0 ? &o->spans[o->n_spans - 1] : NULL;
        if (last != NULL && last->offset + last->count == params[i].offset &&
            last->group.rate_factor == g.rate_factor && last->group.decay == g.decay) {
            last->count += params[i].count;
        } else {
            o->spans[o->n_spans++] = (rfhe_optim_span){params[i].offset, params[i].count, g};
        }
    }
}

rfhe_status rfhe_optim_new(rfhe_optim **out, const rfhe_optim_options *opt,
                           const rfhe_param *params, uint32_t n_params, size_t count,
                           rfhe_error *err)
{
    rfhe_status st = check(opt, err);
    rfhe_optim *o = NULL;

    if (st != RFHE_OK) { return st; }
    for (uint32_t i = 0; i < n_params; i++) {
        if ((unsigned)params[i].kind >= RFHE_PARAM_KINDS || params[i].count > count ||
            params[i].offset > count - params[i].count) {
            return rfhe_fail(err, RFHE_E_ARG, "parameter '%s' lies outside the %zu values",
                             params[i].name, count);
        }
    }
    o = rfhe_calloc(1, sizeof *o);
    if (o == NULL) { return RFHE_E_NOMEM; }
    o->opt = *opt;
    o->count = count;
    if (o->opt.beta1 == 0.0) { o->opt.beta1 = 0.9; }
    if (o->opt.beta2 == 0.0) { o->opt.beta2 = 0.999; }
    if (o->opt.epsilon == 0.0) { o->opt.epsilon = 1e-8; }
    o->first = rfhe_calloc(count, sizeof *o->first);
    o->spans = rfhe_calloc(n_params, sizeof *o->spans);
    if (opt->kind != RFHE_OPTIM_SGD) { o->second = rfhe_calloc(count, sizeof *o->second); }
    if (o->first == NULL || o->spans == NULL || (opt->kind != RFHE_OPTIM_SGD && o->second == NULL)) {
        rfhe_optim_free(o);
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the optimizer's state of %zu values",
                         count);
    }
    fill_spans(o, params, n_params);
    *out = o;
    return RFHE_OK;
}

void rfhe_optim_free(rfhe_optim *o)
{
    if (o == NULL) { return; }
    rfhe_free(o->first);
    rfhe_free(o->second);
    rfhe_free(o->spans);
    rfhe_free(o);
}

/* The numbers of one step for one span, in float as the loops use them. */
typedef struct step_numbers {
    float scale, rate, decay, shrink; /* gradient factor; rate; coupled decay; 1 - rate * decoupled decay */
    float mu, keep;                   /* SGD: momentum; 1 - dampening */
    float b1, b2, eps, root;          /* Adam: root = 1 / sqrt(1 - b2^t)  */
} step_numbers;

static void sgd(float *restrict x, float *restrict v, const float *restrict g, size_t n,
                const step_numbers *s, bool nesterov)
{
    const float scale = s->scale, rate = s->rate, decay = s->decay, mu = s->mu, keep = s->keep;

    if (nesterov) {
        for (size_t i = 0; i < n; i++) {
            const float d = g[i] * scale + decay * x[i], m = mu * v[i] + d;
            v[i] = m;
            x[i] -= rate * (d + mu * m);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            const float d = g[i] * scale + decay * x[i], m = mu * v[i] + keep * d;
            v[i] = m;
            x[i] -= rate * m;
        }
    }
}

static void adam(float *restrict x, float *restrict m, float *restrict v, const float *restrict g,
                 size_t n, const step_numbers *s)
{
    const float scale = s->scale, rate = s->rate, decay = s->decay, shrink = s->shrink;
    const float b1 = s->b1, b2 = s->b2, c1 = 1.0F - s->b1, c2 = 1.0F - s->b2;
    const float eps = s->eps, root = s->root;

    for (size_t i = 0; i < n; i++) {
        const float d = g[i] * scale + decay * x[i];
        const float mean = b1 * m[i] + c1 * d, square = b2 * v[i] + c2 * (d * d);
        m[i] = mean;
        v[i] = square;
        x[i] = shrink * x[i] - rate * mean / (sqrtf(square) * root + eps);
    }
}

static step_numbers numbers(const rfhe_optim *o, const rfhe_optim_group *g, double rate,
                            double grad_scale)
{
    const rfhe_optim_options *p = &o->opt;
    const double t = (double)o->step, r = rate * g->rate_factor;
    const bool correct = !p->no_bias_correction, decoupled = p->kind == RFHE_OPTIM_ADAMW;
    const bool is_adam = p->kind != RFHE_OPTIM_SGD;

    return (step_numbers){
        .scale = (float)grad_scale,
        .rate = (float)(is_adam && correct ? r / (1.0 - pow(p->beta1, t)) : r),
        .decay = (float)(decoupled ? 0.0 : g->decay),
        .shrink = (float)(decoupled ? 1.0 - r * g->decay : 1.0),
        .mu = (float)p->momentum,
        .keep = (float)(o->step > 1 ? 1.0 - p->dampening : 1.0),
        .b1 = (float)p->beta1,
        .b2 = (float)p->beta2,
        .eps = (float)p->epsilon,
        .root = (float)(correct ? 1.0 / sqrt(1.0 - pow(p->beta2, t)) : 1.0),
    };
}

void rfhe_optim_step(rfhe_optim *o, float *values, const float *grads, double rate,
                     double grad_scale)
{
    o->step += 1;
    for (size_t k = 0; k < o->n_spans; k++) {
        const rfhe_optim_span *s = &o->spans[k];
        const step_numbers num = numbers(o, &s->group, rate, grad_scale);
        const size_t chunks = chunks_of(s->count);
#pragma omp parallel for schedule(static) if (chunks > 1)
        for (size_t c = 0; c < chunks; c++) {
            const size_t at = s->offset + rfhe_split(s->count, chunks, c);
            const size_t n = s->offset + rfhe_split(s->count, chunks, c + 1) - at;
            if (o->opt.kind == RFHE_OPTIM_SGD) {
                sgd(values + at, o->first + at, grads + at, n, &num, o->opt.nesterov);
            } else {
                adam(values + at, o->first + at, o->second + at, grads + at, n, &num);
            }
        }
    }
}

/* Eight running sums in a fixed pattern let the compiler use vectors without reordering anything. */
static double sum_of_squares(const float *x, size_t n)
{
    double s[8] = {0};
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        for (size_t k = 0; k < 8; k++) { s[k] += (double)x[i + k] * (double)x[i + k]; }
    }
    for (; i < n; i++) { s[i % 8] += (double)x[i] * (double)x[i]; }
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

double rfhe_norm(const float *x, size_t n)
{
    enum { PARTS = 64 };
    double part[PARTS], sum = 0.0;

#pragma omp parallel for schedule(static) if (n > CHUNK)
    for (size_t c = 0; c < PARTS; c++) {
        const size_t at = rfhe_split(n, PARTS, c);
        part[c] = sum_of_squares(x + at, rfhe_split(n, PARTS, c + 1) - at);
    }
    for (size_t c = 0; c < PARTS; c++) { sum += part[c]; }
    return sqrt(sum);
}

double rfhe_clip_factor(double norm, double limit)
{
    return limit > 0.0 && norm > limit ? limit / norm : 1.0;
}

/* --- Schedules --- */

static double cosine(double from, double to, double t)
{
    return to + (from - to) * 0.5 * (1.0 + cos(3.14159265358979323846 * t));
}

static double one_cycle(const rfhe_schedule *s, double step)
{
    const double rise = s->rise > 0.0 ? s->rise : 0.25;
    const double last = s->total > 1 ? (double)(s->total - 1) : 1.0, top = rise * last;

    if (step <= top && top > 0.0) { return cosine(1.0 / 25.0, 1.0, step / top); }
    return cosine(1.0, s->floor, last > top ? (step - top) / (last - top) : 1.0);
}

double rfhe_schedule_factor(const rfhe_schedule *s, uint64_t step)
{
    double f = 1.0;

    if (s->total > 0 && step >= s->total) { step = s->total - 1; }
    if (s->kind == RFHE_SCHEDULE_ONECYCLE) { return one_cycle(s, (double)step); }
    if (step < s->warmup) { return (double)(step + 1) / (double)(s->warmup + 1); }
    switch (s->kind) {
    case RFHE_SCHEDULE_STEP:
        for (uint32_t i = 0; i < s->n_milestones && step >= s->milestone[i]; i++) {
            f *= s->gamma > 0.0 ? s->gamma : 0.1;
        }
        return f;
    case RFHE_SCHEDULE_COSINE:
    case RFHE_SCHEDULE_LINEAR:
        /* The fall covers the steps after the warm-up; one step past the last would reach the floor. */
        if (s->total > s->warmup) {
            const double t = (double)(step - s->warmup) / (double)(s->total - s->warmup);
            return s->kind == RFHE_SCHEDULE_COSINE ? cosine(1.0, s->floor, t)
                                                   : 1.0 + (s->floor - 1.0) * t;
        }
        return 1.0;
    case RFHE_SCHEDULE_CONSTANT:
    case RFHE_SCHEDULE_ONECYCLE: break;
    }
    return 1.0;
}

double rfhe_plateau_update(rfhe_plateau *p, double measure)
{
    if (p->scale == 0.0) { p->scale = 1.0; }
    if (!p->started || measure > p->best + p->threshold) {
        p->started = true;
        p->best = measure;
        p->waited = 0;
    } else if (++p->waited >= (p->patience > 0 ? p->patience : 10)) {
        p->scale *= p->factor > 0.0 ? p->factor : 0.1;
        p->waited = 0;
    }
    return p->scale;
}

/* --- Averages --- */

rfhe_status rfhe_average_init(rfhe_average *a, size_t count, double decay, rfhe_error *err)
{
    if (!is_fraction(decay)) {
        return rfhe_fail(err, RFHE_E_ARG, "the decay of an average must be in [0, 1), not %g", decay);
    }
    float *values = rfhe_calloc(count, sizeof *values);
    if (values == NULL) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for an average of %zu values", count);
    }
    *a = (rfhe_average){.values = values, .count = count, .decay = decay};
    return RFHE_OK;
}

void rfhe_average_clear(rfhe_average *a)
{
    rfhe_free(a->values);
    *a = (rfhe_average){0};
}

void rfhe_average_update(rfhe_average *a, const float *values)
{
    const double t = (double)(a->taken++);
    double keep = t / (t + 1.0);

    if (a->decay > 0.0) { keep = t == 0.0 ? 0.0 : fmin(a->decay, (1.0 + t) / (10.0 + t)); }
    const float move = (float)(1.0 - keep);
    const size_t chunks = chunks_of(a->count);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (size_t c = 0; c < chunks; c++) {
        const size_t end = rfhe_split(a->count, chunks, c + 1);
        /* old + w (new - old): exact when both are equal. */
        for (size_t i = rfhe_split(a->count, chunks, c); i < end; i++) {
            a->values[i] += move * (values[i] - a->values[i]);
        }
    }
}
