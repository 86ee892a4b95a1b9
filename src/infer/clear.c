/* See clear.h. A linear piece is compiled once: for every term a padded copy of the source is cut into the stride's
 * phases, so that a step of the output is a step of one float in the copy; what a weight reads is then an offset into
 * that copy, and zero weights simply have no tap. Four output channels share one list of taps (stencil.h).
 *
 *   copy[channel][phase y][phase x][row][pitch]      position p = y * pitch + x of the output runs through all rows at
 *                                                    once; the columns beyond the width are computed and dropped */
#include "infer/clear.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/random.h"
#include "infer/stencil.h"

enum { LANES = 64 }; /* numbers that a polynomial is evaluated on at once */
static const double two_pi = 6.28318530717958647692;

typedef struct piece { /* a term, compiled */
    const rfhe_stencil *s;
    uint32_t source;
    int32_t first_y, first_x; /* floor((offset + i) / stride), least */
    uint32_t rows, pitch;     /* of a plane of the copy */
    size_t plane, copy;       /* floats */
    size_t positions;         /* of the output, a multiple of the run */
    uint32_t groups;          /* of four output channels */
    uint32_t *first;          /* groups + 1 indices of taps */
    uint32_t *offset;
    float *w;                 /* four per tap */
} piece;

typedef struct linear {
    piece *piece;
    uint32_t n;
} linear;

struct rfhe_twin {
    const rfhe_program *p;
    rfhe_twin_options opt;
    rfhe_twin_noise noise;
    double angle; /* 2 pi scale_0 / q_0; 0 = no sine */
    rfhe_stencil_fn *run;
    linear *linear;
    size_t copy, flat, steps; /* largest of all pieces: floats, floats, registers */
};

rfhe_stencil_fn *rfhe_stencil_pick(void)
{
    switch (rfhe_cpu_isa()) {
    case RFHE_ISA_AVX512IFMA: return rfhe_stencil_run_avx512ifma;
    case RFHE_ISA_AVX2: return rfhe_stencil_run_avx2;
    default: return rfhe_stencil_run_portable;
    }
}

/* ---- what encryption adds ---- */

static double scale_bits(const rfhe_ckks_options *o, uint32_t level)
{
    if (level < o->chain_length && o->chain_scale[level] != 0) { return o->chain_scale[level]; }
    return level < o->chain_length ? o->chain[level > 0 ? level : 1] : 40;
}

rfhe_twin_noise rfhe_twin_expect(const rfhe_program *p)
{
    const rfhe_ckks_options *o = &p->ckks;
    const double n = exp2(o->log2_n);
    const uint32_t up = p->refresh.to_slots_factors != 0 ? p->refresh.to_slots_factors : 3;
    const double reduction = o->chain_length > up ? scale_bits(o, o->chain_length - 1 - up) : 48;
    const double ratio = o->chain[0] - scale_bits(o, 0); /* log2 q_0 / scale_0 */
    const double rounding = sqrt((2 * n / 3 + 1) / 12);  /* a dense ternary secret times a rounding error */

    /* B15-3 (48 bits): 2^-18 next to the sine, B15-5 (44): 2^-14; two levels of doubling lose what the ratio multiplies. */
    return (rfhe_twin_noise){.linear = rounding * exp2(-scale_bits(o, 0)),
                             .refresh = exp2(30 - reduction + ratio - 10) * sqrt(n / 32768),
                             .polynomial = rounding * sqrt(n / 2) * exp2(-scale_bits(o, p->level_linear + 1))};
}

/* Nearly normal with variance 1: the sum of four uniform numbers, cut at 3.46 deviations. A dozen operations, where the
 * exact thing would cost more than the network. */
static float normal(rfhe_rng *r)
{
    const uint64_t v = rfhe_rng_u64(r);
    const uint32_t sum = (uint32_t)((v & 0xffff) + (v >> 16 & 0xffff) + (v >> 32 & 0xffff) + (v >> 48));

    return ((float)sum - 131070.0F) * (1.0F / 37837.2F); /* 65536 sqrt(4 / 12) */
}

static void add_noise(float *x, size_t n, double sigma, rfhe_rng *r)
{
    for (size_t i = 0; i < n && sigma > 0; i++) { x[i] += (float)sigma * normal(r); }
}

/* ---- compiling ---- */

static int32_t floor_div(int32_t a, int32_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static void piece_clear(piece *k)
{
    rfhe_free(k->first);
    rfhe_free(k->offset);
    rfhe_free(k->w);
}

static void measure_piece(piece *k, const rfhe_layout *to)
{
    const rfhe_stencil *s = k->s;
    const int32_t sy = (int32_t)s->stride_y, sx = (int32_t)s->stride_x;

    k->first_y = floor_div(s->offset_y, sy);
    k->first_x = floor_div(s->offset_x, sx);
    const int32_t last_y = floor_div(s->offset_y + (int32_t)s->height - 1, sy);
    const int32_t last_x = floor_div(s->offset_x + (int32_t)s->width - 1, sx);
    k->rows = to->height + (uint32_t)(last_y - k->first_y);
    k->pitch = to->width + (uint32_t)(last_x - k->first_x);
    k->plane = (size_t)k->rows * k->pitch;
    const size_t used = (size_t)to->height * k->pitch;
    k->positions = (used + RFHE_STENCIL_RUN - 1) / RFHE_STENCIL_RUN * RFHE_STENCIL_RUN;
    /* The last run reads past the last plane. */
    k->copy = (size_t)s->in_channels * s->stride_y * s->stride_x * k->plane + RFHE_STENCIL_RUN + k->pitch;
}

static uint32_t tap_offset(const piece *k, uint32_t c, uint32_t i, uint32_t j)
{
    const rfhe_stencil *s = k->s;
    const int32_t y = s->offset_y + (int32_t)i, x = s->offset_x + (int32_t)j;
    const int32_t fy = floor_div(y, (int32_t)s->stride_y), fx = floor_div(x, (int32_t)s->stride_x);
    const uint32_t py = (uint32_t)(y - fy * (int32_t)s->stride_y), px = (uint32_t)(x - fx * (int32_t)s->stride_x);

    return (uint32_t)((((size_t)c * s->stride_y + py) * s->stride_x + px) * k->plane +
                      (size_t)(fy - k->first_y) * k->pitch + (size_t)(fx - k->first_x));
}

/* Taps of output channels 4 g .. 4 g + 3; NULL outputs only count. */
static size_t group_taps(const piece *k, uint32_t g, uint32_t *offset, float *w)
{
    const rfhe_stencil *s = k->s;
    const uint32_t channels = s->out_channels - 4 * g < 4 ? s->out_channels - 4 * g : 4;
    const size_t per_out = (size_t)s->in_channels * s->height * s->width;
    size_t n = 0;

    for (uint32_t c = 0; c < s->in_channels; c++) {
        for (uint32_t i = 0; i < s->height; i++) {
            for (uint32_t j = 0; j < s->width; j++) {
                float v[4] = {0, 0, 0, 0};
                for (uint32_t o = 0; o < channels; o++) {
                    v[o] = s->w[(4 * g + o) * per_out + ((size_t)c * s->height + i) * s->width + j];
                }
                if (v[0] == 0 && v[1] == 0 && v[2] == 0 && v[3] == 0) { continue; }
                if (offset != NULL) {
                    offset[n] = tap_offset(k, c, i, j);
                    memcpy(w + 4 * n, v, sizeof v);
                }
                n++;
            }
        }
    }
    return n;
}

static rfhe_status compile_piece(piece *k, const rfhe_program *p, const rfhe_term *term, const rfhe_layout *to,
                                 rfhe_error *err)
{
    const rfhe_stencil *s = &term->stencil;
    size_t taps = 0;

    k->s = s;
    k->source = term->tensor;
    if (s->w == NULL) { return rfhe_fail(err, RFHE_E_ARG, "the program has no weights: it is a client's"); }
    if (term->tensor >= p->n_tensors || s->out_channels != to->channels ||
        s->in_channels != p->tensor[term->tensor].layout.channels || s->stride_y == 0 || s->stride_x == 0) {
        return rfhe_fail(err, RFHE_E_ARG, "a stencil of %u by %u channels does not fit its tensors", s->out_channels,
                         s->in_channels);
    }
    measure_piece(k, to);
    if (k->copy > UINT32_MAX) { return rfhe_fail(err, RFHE_E_UNSUPPORTED, "a tensor is too large for the twin"); }
    k->groups = (s->out_channels + 3) / 4;
    k->first = rfhe_calloc(k->groups + 1, sizeof *k->first);
    if (k->first == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the twin"); }
    for (uint32_t g = 0; g < k->groups; g++) {
        taps += group_taps(k, g, NULL, NULL);
        k->first[g + 1] = (uint32_t)taps;
    }
    k->offset = rfhe_alloc(taps, sizeof *k->offset);
    k->w = rfhe_alloc(4 * taps, sizeof *k->w);
    if (k->offset == NULL || k->w == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the twin's %zu taps", taps); }
    for (uint32_t g = 0; g < k->groups; g++) {
        (void)group_taps(k, g, k->offset + k->first[g], k->w + (size_t)4 * k->first[g]);
    }
    return RFHE_OK;
}

static bool is_linear(const rfhe_instruction *i)
{
    return i->kind == RFHE_DO_LINEAR || i->kind == RFHE_DO_REPLY;
}

static rfhe_status compile(rfhe_twin *t, rfhe_error *err)
{
    const rfhe_program *p = t->p;
    rfhe_status st = RFHE_OK;

    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *in = &p->instruction[i];
        if (in->out >= p->n_tensors || in->which >= (is_linear(in) ? p->n_linear : p->n_activations) ||
            (!is_linear(in) && in->in >= p->n_tensors)) {
            st = rfhe_fail(err, RFHE_E_ARG, "instruction %u speaks of something that is not there", i);
            goto done;
        }
        if (!is_linear(in)) {
            const rfhe_activation *a = &p->activation[in->which];
            if (a->n_steps > 0 && a->c == NULL) {
                st = rfhe_fail(err, RFHE_E_ARG, "the program has no weights: it is a client's");
                goto done;
            }
            t->steps = t->steps > a->n_steps ? t->steps : a->n_steps;
            continue;
        }
        const rfhe_linear *from = &p->linear[in->which];
        linear *to = &t->linear[in->which];
        to->piece = rfhe_calloc(from->n_terms, sizeof *to->piece);
        if (to->piece == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the twin");
            goto done;
        }
        to->n = from->n_terms;
        for (uint32_t k = 0; k < from->n_terms; k++) {
            piece *one = &to->piece[k];
            RFHE_TRY(compile_piece(one, p, &from->term[k], &p->tensor[in->out].layout, err));
            t->copy = t->copy > one->copy ? t->copy : one->copy;
            t->flat = t->flat > 4 * one->positions ? t->flat : 4 * one->positions;
        }
    }

done:
    return st;
}

rfhe_status rfhe_twin_new(rfhe_twin **out, const rfhe_program *p, const rfhe_twin_options *opt, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_twin *t = rfhe_calloc(1, sizeof *t);

    if (t == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the twin"); }
    t->p = p;
    t->run = rfhe_stencil_pick();
    if (opt != NULL) { t->opt = *opt; }
    if (!t->opt.is_exact) {
        const rfhe_twin_noise expect = rfhe_twin_expect(p);
        t->noise = t->opt.noise;
        if (t->noise.linear == 0) { t->noise.linear = expect.linear; }
        if (t->noise.refresh == 0) { t->noise.refresh = expect.refresh; }
        if (t->noise.polynomial == 0) { t->noise.polynomial = expect.polynomial; }
        t->angle = two_pi * exp2(scale_bits(&p->ckks, 0) - p->ckks.chain[0]);
    }
    t->linear = rfhe_calloc(p->n_linear, sizeof *t->linear);
    if (t->linear == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the twin");
        goto done;
    }
    RFHE_TRY(compile(t, err));
    *out = t;
    t = NULL;

done:
    rfhe_twin_free(t);
    return st;
}

void rfhe_twin_free(rfhe_twin *t)
{
    if (t == NULL) { return; }
    for (uint32_t i = 0; t->linear != NULL && i < t->p->n_linear; i++) {
        for (uint32_t k = 0; k < t->linear[i].n; k++) { piece_clear(&t->linear[i].piece[k]); }
        rfhe_free(t->linear[i].piece);
    }
    rfhe_free(t->linear);
    rfhe_free(t);
}

/* ---- running ---- */

typedef struct work { /* of one thread */
    float **tensor, *copy, *flat;
    double *reg; /* steps * LANES */
    rfhe_rng rng;
} work;

static void work_clear(work *w, const rfhe_program *p)
{
    for (uint32_t i = 0; w->tensor != NULL && i < p->n_tensors; i++) { rfhe_free(w->tensor[i]); }
    rfhe_free(w->tensor);
    rfhe_free(w->copy);
    rfhe_free(w->flat);
    rfhe_free(w->reg);
    *w = (work){0};
}

static bool work_new(work *w, const rfhe_twin *t)
{
    const rfhe_program *p = t->p;
    bool ok = true;

    *w = (work){.tensor = rfhe_calloc(p->n_tensors, sizeof *w->tensor),
                .copy = rfhe_calloc(t->copy, sizeof *w->copy),
                .flat = rfhe_alloc(t->flat, sizeof *w->flat),
                .reg = rfhe_alloc((t->steps + 1) * LANES, sizeof *w->reg)};
    ok = w->tensor != NULL && w->copy != NULL && w->flat != NULL && w->reg != NULL;
    for (uint32_t i = 0; ok && i < p->n_tensors; i++) {
        w->tensor[i] = rfhe_alloc(rfhe_layout_numbers(&p->tensor[i].layout), sizeof(float));
        ok = w->tensor[i] != NULL;
    }
    if (!ok) { work_clear(w, p); }
    return ok;
}

/* The padded copy, cut into phases. */
static void fill_copy(float *copy, const piece *k, const float *x, const rfhe_layout *from)
{
    const rfhe_stencil *s = k->s;
    const int32_t height = (int32_t)from->height, width = (int32_t)from->width;

    memset(copy, 0, k->copy * sizeof *copy);
    for (uint32_t c = 0; c < s->in_channels; c++) {
        for (int32_t py = 0; py < (int32_t)s->stride_y; py++) {
            for (int32_t px = 0; px < (int32_t)s->stride_x; px++) {
                float *const plane =
                    copy + (((size_t)c * s->stride_y + (uint32_t)py) * s->stride_x + (uint32_t)px) * k->plane;
                for (int32_t r = 0; r < (int32_t)k->rows; r++) {
                    const int32_t y = (r + k->first_y) * (int32_t)s->stride_y + py;
                    if (y < 0 || y >= height) { continue; }
                    const float *const row = x + ((size_t)c * from->height + (uint32_t)y) * from->width;
                    for (int32_t q = 0; q < (int32_t)k->pitch; q++) {
                        const int32_t at = (q + k->first_x) * (int32_t)s->stride_x + px;
                        if (at >= 0 && at < width) { plane[(size_t)r * k->pitch + (size_t)q] = row[at]; }
                    }
                }
            }
        }
    }
}

static void run_piece(float *out, const rfhe_twin *t, const piece *k, const rfhe_layout *to, work *w)
{
    fill_copy(w->copy, k, w->tensor[k->source], &t->p->tensor[k->source].layout);
    for (uint32_t g = 0; g < k->groups; g++) {
        const uint32_t at = k->first[g], taps = k->first[g + 1] - at;
        const uint32_t channels = to->channels - 4 * g < 4 ? to->channels - 4 * g : 4;
        if (taps == 0) { continue; }
        t->run(w->flat, k->positions, w->copy, k->offset + at, k->w + (size_t)4 * at, taps, k->positions);
        for (uint32_t o = 0; o < channels; o++) {
            float *const plane = out + (size_t)(4 * g + o) * to->height * to->width;
            for (uint32_t y = 0; y < to->height; y++) {
                const float *const row = w->flat + o * k->positions + (size_t)y * k->pitch;
                for (uint32_t x = 0; x < to->width; x++) { plane[(size_t)y * to->width + x] += row[x]; }
            }
        }
    }
}

static void run_linear(const rfhe_twin *t, const rfhe_instruction *in, work *w)
{
    const rfhe_layout *to = &t->p->tensor[in->out].layout;
    const size_t n = rfhe_layout_numbers(to);
    const float *bias = t->p->linear[in->which].bias;
    const linear *l = &t->linear[in->which];
    float *const out = w->tensor[in->out];

    if (bias != NULL) {
        memcpy(out, bias, n * sizeof *out);
    } else {
        memset(out, 0, n * sizeof *out);
    }
    for (uint32_t k = 0; k < l->n; k++) { run_piece(out, t, &l->piece[k], to, w); }
    add_noise(out, n, t->noise.linear, &w->rng);
}

/* One block of at most LANES numbers of one channel through the polynomial. Returns the register of the value. */
static const double *run_steps(double *reg, const rfhe_activation *a, uint32_t channel, uint32_t channels)
{
    for (uint32_t s = 0; s < a->n_steps; s++) {
        const rfhe_poly_step *step = &a->step[s];
        const double *const x = reg + (size_t)step->a * LANES, *const y = reg + (size_t)step->b * LANES;
        const double c = a->c[(size_t)s * channels + channel];
        double *const r = reg + (size_t)s * LANES;
        switch (step->op) {
        case RFHE_POLY_INPUT: break;
        case RFHE_POLY_MUL:
            for (size_t i = 0; i < LANES; i++) { r[i] = x[i] * y[i]; }
            break;
        case RFHE_POLY_SCALE:
            for (size_t i = 0; i < LANES; i++) { r[i] = x[i] * c; }
            break;
        case RFHE_POLY_INT:
            for (size_t i = 0; i < LANES; i++) { r[i] = x[i] * step->c; }
            break;
        case RFHE_POLY_ADD:
            for (size_t i = 0; i < LANES; i++) { r[i] = x[i] + y[i]; }
            break;
        case RFHE_POLY_CONST:
            for (size_t i = 0; i < LANES; i++) { r[i] = x[i] + c; }
            break;
        }
    }
    return reg + (size_t)(a->n_steps > 0 ? a->n_steps - 1 : 0) * LANES;
}

static void run_activation(const rfhe_twin *t, const rfhe_instruction *in, work *w, rfhe_twin_range *range)
{
    const rfhe_activation *a = &t->p->activation[in->which];
    const rfhe_layout *l = &t->p->tensor[in->in].layout;
    const size_t one = (size_t)l->height * l->width;
    const double deviation = t->noise.polynomial * sqrt(a->depth + 1);
    const float *const from = w->tensor[in->in];
    float *const to = w->tensor[in->out];

    for (uint32_t c = 0; c < l->channels; c++) {
        for (size_t at = 0; at < one; at += LANES) {
            const size_t n = one - at < LANES ? one - at : LANES;
            const float *const x = from + c * one + at;
            double *const u = w->reg;
            for (size_t i = 0; i < n; i++) {
                const double v = (double)x[i], m = fabs(v), z = v * t->angle;
                range->outside += m > 1;
                range->largest = m > range->largest ? m : range->largest;
                u[i] = t->angle == 0   ? v
                       : fabs(z) < 0.25 ? v * (1 - z * z / 6 * (1 - z * z / 20))
                                        : sin(z) / t->angle;
            }
            range->values += n;
            for (size_t i = 0; i < n && t->noise.refresh > 0; i++) { u[i] += t->noise.refresh * (double)normal(&w->rng); }
            for (size_t i = n; i < LANES; i++) { u[i] = 0; }
            const double *const z = run_steps(w->reg, a, c, l->channels);
            const float *const weight = a->weight != NULL ? a->weight + c * one + at : NULL;
            for (size_t i = 0; i < n; i++) { to[c * one + at + i] = (float)(weight != NULL ? z[i] * (double)weight[i] : z[i]); }
        }
    }
    add_noise(to, rfhe_layout_numbers(l), deviation, &w->rng);
}

void rfhe_program_take_image(float *tensor, const rfhe_program *p, const float *image)
{
    const rfhe_layout *l = &p->tensor[0].layout;
    const uint32_t rows = p->phase_y > 0 ? p->phase_y : 1, columns = p->phase_x > 0 ? p->phase_x : 1;

    for (uint32_t c = 0; c < l->channels; c++) {
        const uint32_t from = c / (rows * columns), py = c / columns % rows, px = c % columns;
        for (uint32_t y = 0; y < l->height; y++) {
            for (uint32_t x = 0; x < l->width; x++) {
                const uint32_t iy = y * rows + py, ix = x * columns + px;
                tensor[((size_t)c * l->height + y) * l->width + x] =
                    iy < p->image_height && ix < p->image_width
                        ? image[((size_t)from * p->image_height + iy) * p->image_width + ix]
                        : 0.0F;
            }
        }
    }
}

static void run_image(const rfhe_twin *t, work *w, const float *image, uint64_t number, rfhe_twin_range *range)
{
    const rfhe_program *p = t->p;
    rfhe_twin_range unused = {0};

    w->rng = rfhe_rng_seed(t->opt.seed, number);
    rfhe_program_take_image(w->tensor[0], p, image);
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *in = &p->instruction[i];
        if (is_linear(in)) {
            run_linear(t, in, w);
        } else {
            run_activation(t, in, w, range != NULL ? &range[in->which] : &unused);
        }
    }
}

static const float *reply_of(const work *w, const rfhe_program *p)
{
    return w->tensor[p->instruction[p->n_instructions - 1].out];
}

static rfhe_status check_reply(const rfhe_program *p, rfhe_error *err)
{
    if (p->n_instructions == 0 || p->instruction[p->n_instructions - 1].kind != RFHE_DO_REPLY ||
        rfhe_layout_numbers(&p->tensor[p->instruction[p->n_instructions - 1].out].layout) < p->outputs) {
        return rfhe_fail(err, RFHE_E_ARG, "the program does not end with a reply of %u numbers", p->outputs);
    }
    return RFHE_OK;
}

rfhe_status rfhe_twin_run(const rfhe_twin *t, float *logits, const float *images, size_t count, uint64_t first,
                          rfhe_twin_range *range, rfhe_error *err)
{
    const rfhe_program *p = t->p;
    const size_t pixels = (size_t)p->image_channels * p->image_height * p->image_width;
    rfhe_status st = check_reply(p, err);
    bool failed = false;

    if (st != RFHE_OK) { return st; }
#pragma omp parallel
    {
        work w;
        rfhe_twin_range *mine = rfhe_calloc(p->n_activations + 1, sizeof *mine);
        const bool ok = work_new(&w, t) && mine != NULL;
        if (!ok) {
#pragma omp atomic write
            failed = true;
        }
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < count; i++) {
            if (!ok) { continue; }
            run_image(t, &w, images + i * pixels, first + i, mine);
            const float *reply = reply_of(&w, p);
            for (uint32_t k = 0; k < p->outputs; k++) {
                logits[i * p->outputs + k] = (float)((double)reply[k] * p->reply_gain);
            }
        }
#pragma omp critical
        for (uint32_t k = 0; ok && range != NULL && k < p->n_activations; k++) { /* counts and maxima: any order */
            range[k].values += mine[k].values;
            range[k].outside += mine[k].outside;
            range[k].largest = fmax(range[k].largest, mine[k].largest);
        }
        work_clear(&w, p);
        rfhe_free(mine);
    }
    return failed ? rfhe_fail(err, RFHE_E_NOMEM, "no memory for the twin's tensors") : RFHE_OK;
}

rfhe_status rfhe_twin_trace(const rfhe_twin *t, float **tensor, const float *image, uint64_t number, rfhe_error *err)
{
    work w;

    for (uint32_t i = 0; i < t->p->n_tensors; i++) { tensor[i] = NULL; }
    const rfhe_status st = check_reply(t->p, err);
    if (st != RFHE_OK) { return st; }
    if (!work_new(&w, t)) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for the twin's tensors"); }
    run_image(t, &w, image, number, NULL);
    for (uint32_t i = 0; i < t->p->n_tensors; i++) {
        tensor[i] = w.tensor[i];
        w.tensor[i] = NULL;
    }
    work_clear(&w, t->p);
    return RFHE_OK;
}
