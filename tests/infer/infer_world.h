/* What the tests of infer/ share: small programs made by hand on an insecure ring, with random weights, their two sides in
 * memory, and the network computed by plain loops. */
#ifndef RFHE_INFER_WORLD_H
#define RFHE_INFER_WORLD_H

#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "infer/clear.h"
#include "infer/client.h"
#include "infer/run.h"

enum { WORLD_LOG2_N = 11, WORLD_N = 1 << WORLD_LOG2_N };

/* ---- programs ---- */

typedef struct maker {
    rfhe_program *p;
    rfhe_rng rng;
} maker;

static inline double maker_number(maker *m, double size)
{
    return size * (2 * rfhe_rng_uniform(&m->rng) - 1);
}

/* q_0, one level for linear pieces, two for the way to coefficients, three for polynomials, the reduction, two up. */
static inline maker maker_new(uint64_t seed)
{
    static const uint8_t chain[] = {42, 32, 30, 30, 32, 32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48};
    maker m = {.p = rfhe_calloc(1, sizeof *m.p), .rng = rfhe_rng_seed(test_seed() + seed, 5)};
    rfhe_program *p = m.p;

    p->ckks = (rfhe_ckks_options){.log2_n = WORLD_LOG2_N, .insecure_test = true, .chain_length = sizeof chain,
                                  .special_count = 3, .special_bits = 50};
    memcpy(p->ckks.chain, chain, sizeof chain);
    for (uint32_t l = 0; l < sizeof chain; l++) { p->ckks.chain_scale[l] = l <= 6 ? 32 : 48; }
    p->refresh = (rfhe_refresh_options){.to_coeffs_level = 3, .to_coeffs_factors = 2, .to_slots_factors = 3, .complex_slots = true};
    p->level_linear = 1;
    p->phase_y = p->phase_x = 1;
    p->reply_gain = 1;
    p->tensor = rfhe_calloc(32, sizeof *p->tensor);
    p->linear = rfhe_calloc(16, sizeof *p->linear);
    p->activation = rfhe_calloc(16, sizeof *p->activation);
    p->instruction = rfhe_calloc(32, sizeof *p->instruction);
    return m;
}

static inline uint32_t maker_tensor(maker *m, uint32_t channels, uint32_t height, uint32_t width, uint32_t block,
                                    uint32_t row, uint32_t column)
{
    rfhe_tensor_use *t = &m->p->tensor[m->p->n_tensors];

    t->layout = (rfhe_layout){.channels = channels, .height = height, .width = width, .block = block, .row = row,
                              .column = column, .ciphertexts = (channels + block - 1) / block};
    const size_t n = (size_t)1 << rfhe_program_log2_used(m->p);
    t->layout.both_halves = rfhe_layout_index(&t->layout, block - 1, height - 1, width - 1) >= n / 2;
    assert_true(rfhe_layout_index(&t->layout, block - 1, height - 1, width - 1) < n);
    t->last_use = UINT32_MAX;
    (void)snprintf(t->name, sizeof t->name, "t%u", m->p->n_tensors);
    return m->p->n_tensors++;
}

static inline rfhe_instruction *maker_instruction(maker *m, rfhe_instruction_kind kind, uint32_t out, uint32_t which)
{
    rfhe_instruction *i = &m->p->instruction[m->p->n_instructions];

    *i = (rfhe_instruction){.kind = kind, .out = out, .which = which};
    (void)snprintf(i->name, sizeof i->name, "i%u", m->p->n_instructions++);
    return i;
}

/* A stencil with random weights of this size; `share` of them are zero. */
static inline rfhe_stencil maker_stencil(maker *m, uint32_t out, uint32_t in, uint32_t side, uint32_t stride, int32_t pad,
                                         double size, double share)
{
    rfhe_stencil s = {.out_channels = out, .in_channels = in, .height = side, .width = side, .stride_y = stride,
                      .stride_x = stride, .offset_y = -pad, .offset_x = -pad};
    const size_t n = (size_t)out * in * side * side;

    s.w = rfhe_alloc(n, sizeof *s.w);
    for (size_t i = 0; i < n; i++) {
        s.w[i] = rfhe_rng_uniform(&m->rng) < share ? 0.0F : (float)maker_number(m, size);
    }
    return s;
}

static inline void maker_linear(maker *m, rfhe_instruction_kind kind, uint32_t out, const rfhe_term *term, uint32_t terms)
{
    rfhe_program *p = m->p;
    rfhe_linear *l = &p->linear[p->n_linear];
    const size_t n = rfhe_layout_numbers(&p->tensor[out].layout);

    l->term = rfhe_calloc(terms, sizeof *l->term);
    memcpy(l->term, term, terms * sizeof *term);
    l->n_terms = terms;
    l->bias = rfhe_alloc(n, sizeof *l->bias);
    for (size_t i = 0; i < n; i++) { l->bias[i] = (float)maker_number(m, 0.2); }
    for (uint32_t k = 0; k < terms; k++) { p->tensor[term[k].tensor].last_use = p->n_instructions; }
    rfhe_instruction *i = maker_instruction(m, kind, out, p->n_linear++);
    i->level_in = p->level_linear;
}

enum { WORLD_LINE = 3 };

/* z = (u^2 + a)^2 + b u + c by channel (depth 2), or u^2 + b u + c (depth 1), or u (depth 0), or u + c (WORLD_LINE). */
static inline uint32_t maker_activation(maker *m, uint32_t in, uint32_t depth, bool mask, bool weight)
{
    rfhe_program *p = m->p;
    const rfhe_layout l = p->tensor[in].layout;
    const uint32_t out = maker_tensor(m, l.channels, l.height, l.width, l.block, l.row, l.column);
    rfhe_activation *a = &p->activation[p->n_activations];
    static const rfhe_poly_step two[] = {{RFHE_POLY_INPUT, 0, 0, 0}, {RFHE_POLY_MUL, 0, 0, 0}, {RFHE_POLY_CONST, 1, 0, 0},
                                         {RFHE_POLY_MUL, 2, 2, 0}, {RFHE_POLY_SCALE, 0, 0, 0}, {RFHE_POLY_ADD, 3, 4, 0},
                                         {RFHE_POLY_CONST, 5, 0, 0}};
    static const rfhe_poly_step one[] = {{RFHE_POLY_INPUT, 0, 0, 0}, {RFHE_POLY_MUL, 0, 0, 0}, {RFHE_POLY_SCALE, 0, 0, 0},
                                         {RFHE_POLY_ADD, 1, 2, 0}, {RFHE_POLY_CONST, 3, 0, 0}};
    static const rfhe_poly_step line[] = {{RFHE_POLY_INPUT, 0, 0, 0}, {RFHE_POLY_CONST, 0, 0, 0}};
    const rfhe_poly_step *step = depth == 2 ? two : depth == 1 ? one : line;

    (void)snprintf(a->form, sizeof a->form, "%s", depth == 0 ? "identity" : "test");
    a->depth = depth == WORLD_LINE ? 0 : depth;
    a->mask_level = mask;
    a->n_steps = depth == 2 ? 7 : depth == 1 ? 5 : depth == WORLD_LINE ? 2 : 0;
    a->step = rfhe_alloc(a->n_steps, sizeof *step);
    memcpy(a->step, step, a->n_steps * sizeof *step);
    a->c = rfhe_alloc((size_t)a->n_steps * l.channels, sizeof *a->c);
    for (size_t i = 0; i < (size_t)a->n_steps * l.channels; i++) { a->c[i] = maker_number(m, 0.4); }
    a->range = rfhe_calloc(l.channels, sizeof *a->range);
    a->gain = rfhe_calloc(l.channels, sizeof *a->gain);
    if (weight) {
        a->weight = rfhe_alloc(rfhe_layout_numbers(&l), sizeof *a->weight);
        for (size_t i = 0; i < rfhe_layout_numbers(&l); i++) { a->weight[i] = i % 3 == 0 ? 0.5F : 1.0F; }
    }
    p->tensor[in].last_use = p->n_instructions;
    rfhe_instruction *i = maker_instruction(m, RFHE_DO_ACTIVATE, out, p->n_activations++);
    i->in = in;
    i->level_out = p->level_linear;
    return out;
}

static inline void maker_reply(maker *m, uint32_t from, uint32_t outputs)
{
    rfhe_program *p = m->p;
    const rfhe_layout l = p->tensor[from].layout;
    uint32_t block = 1;
    while (block < outputs) { block *= 2; }
    const uint32_t out = maker_tensor(m, outputs, 1, 1, block, 1, 1);
    const double size = 1.0 / sqrt((double)l.channels * l.height * l.width);
    rfhe_term t = {.tensor = from, .stencil = maker_stencil(m, outputs, l.channels, 1, 1, 0, 1, 0)};

    rfhe_free(t.stencil.w);
    t.stencil.height = l.height;
    t.stencil.width = l.width;
    const size_t n = (size_t)outputs * l.channels * l.height * l.width;
    t.stencil.w = rfhe_alloc(n, sizeof *t.stencil.w);
    for (size_t i = 0; i < n; i++) { t.stencil.w[i] = (float)maker_number(m, size); }
    maker_linear(m, RFHE_DO_REPLY, out, &t, 1);
    p->outputs = outputs;
    p->reply_gain = 3.5;
}

/* Sets what a planner would: last uses, the id; and has it checked. */
static inline rfhe_program *maker_finish(maker *m)
{
    rfhe_program *p = m->p;

    for (uint32_t i = 0; i < p->n_instructions; i++) {
        rfhe_tensor_use *t = &p->tensor[p->instruction[i].out];
        t->last_use = t->last_use == UINT32_MAX ? i : t->last_use;
    }
    (void)snprintf(p->set, sizeof p->set, "test");
    MUST(rfhe_program_seal(p, err));
    MUST(rfhe_program_check(p, err));
    return p;
}

/* Several ciphertexts a tensor, stride 2 with a projection, an identity beside a convolution. */
static inline rfhe_program *program_of_blocks(uint64_t seed)
{
    maker m = maker_new(seed);
    rfhe_program *p = m.p;

    p->image_channels = 3;
    p->image_height = p->image_width = 8;
    const uint32_t t0 = maker_tensor(&m, 3, 8, 8, 4, 9, 1), t1 = maker_tensor(&m, 8, 8, 8, 4, 9, 1);
    maker_linear(&m, RFHE_DO_LINEAR, t1, &(rfhe_term){t0, maker_stencil(&m, 8, 3, 3, 1, 1, 0.15, 0)}, 1);
    const uint32_t t2 = maker_activation(&m, t1, 2, false, false);
    const uint32_t t3 = maker_tensor(&m, 16, 4, 4, 8, 9, 1);
    const rfhe_term down[] = {{t2, maker_stencil(&m, 16, 8, 3, 2, 1, 0.12, 0.3)}, {t2, maker_stencil(&m, 16, 8, 1, 2, 0, 0.2, 0)}};
    maker_linear(&m, RFHE_DO_LINEAR, t3, down, 2);
    const uint32_t t4 = maker_activation(&m, t3, 1, false, true);
    const uint32_t t5 = maker_tensor(&m, 16, 4, 4, 8, 9, 1);
    rfhe_term same[] = {{t4, maker_stencil(&m, 16, 16, 3, 1, 1, 0.08, 0)}, {t4, maker_stencil(&m, 16, 16, 1, 1, 0, 0, 0)}};
    for (uint32_t c = 0; c < 16; c++) { same[1].stencil.w[c * 16 + c] = 0.5F; }
    maker_linear(&m, RFHE_DO_LINEAR, t5, same, 2);
    const uint32_t t6 = maker_activation(&m, t5, 0, false, false);
    maker_reply(&m, t6, 10);
    return maker_finish(&m);
}

/* One ciphertext a tensor, both halves of it, a mask in front of a polynomial, an image in phases. */
static inline rfhe_program *program_of_halves(uint64_t seed)
{
    maker m = maker_new(seed + 100);
    rfhe_program *p = m.p;

    p->image_channels = 1;
    p->image_height = p->image_width = 16;
    p->phase_y = p->phase_x = 2;
    const uint32_t t0 = maker_tensor(&m, 4, 8, 8, 16, 10, 1), t1 = maker_tensor(&m, 16, 8, 8, 16, 10, 1);
    maker_linear(&m, RFHE_DO_LINEAR, t1, &(rfhe_term){t0, maker_stencil(&m, 16, 4, 3, 1, 1, 0.1, 0)}, 1);
    assert_true(p->tensor[t1].layout.both_halves);
    const uint32_t t2 = maker_activation(&m, t1, 2, true, true);
    const uint32_t t3 = maker_tensor(&m, 20, 4, 4, 32, 10, 1);
    maker_linear(&m, RFHE_DO_LINEAR, t3, &(rfhe_term){t2, maker_stencil(&m, 20, 16, 5, 2, 2, 0.05, 0)}, 1);
    const uint32_t t4 = maker_activation(&m, t3, 1, false, false);
    maker_reply(&m, t4, 3 + (uint32_t)(seed % 2)); /* programs of neighbouring seeds have different public parts */
    return maker_finish(&m);
}

/* Sparse: every fourth coefficient. Both halves with a mask and weights, then of several ciphertexts, then one half and a
 * line. */
static inline rfhe_program *program_of_gaps(uint64_t seed)
{
    maker m = maker_new(seed + 200);
    rfhe_program *p = m.p;

    p->refresh.log2_slots = WORLD_LOG2_N - 3;
    p->image_channels = 1;
    p->image_height = p->image_width = 16;
    p->phase_y = p->phase_x = 2;
    const uint32_t t0 = maker_tensor(&m, 4, 8, 8, 4, 10, 1), t1 = maker_tensor(&m, 8, 8, 8, 4, 10, 1);
    maker_linear(&m, RFHE_DO_LINEAR, t1, &(rfhe_term){t0, maker_stencil(&m, 8, 4, 3, 1, 1, 0.1, 0)}, 1);
    assert_true(p->tensor[t1].layout.both_halves && p->tensor[t1].layout.ciphertexts == 2);
    const uint32_t t2 = maker_activation(&m, t1, 2, true, true);
    const uint32_t t3 = maker_tensor(&m, 10, 4, 4, 8, 10, 1);
    maker_linear(&m, RFHE_DO_LINEAR, t3, &(rfhe_term){t2, maker_stencil(&m, 10, 8, 3, 2, 1, 0.1, 0.2)}, 1);
    const uint32_t t4 = maker_activation(&m, t3, 1, false, false);
    const uint32_t t5 = maker_tensor(&m, 6, 2, 2, 16, 10, 1);
    maker_linear(&m, RFHE_DO_LINEAR, t5, &(rfhe_term){t4, maker_stencil(&m, 6, 10, 2, 2, 0, 0.2, 0)}, 1);
    assert_false(p->tensor[t5].layout.both_halves);
    const uint32_t t6 = maker_activation(&m, t5, WORLD_LINE, false, false);
    maker_reply(&m, t6, 10);
    return maker_finish(&m);
}

/* ---- the network by plain loops ---- */

static inline double reference_at(const rfhe_layout *l, const double *x, uint32_t c, int64_t y, int64_t at)
{
    return y < 0 || at < 0 || y >= l->height || at >= l->width ? 0 : x[((size_t)c * l->height + (size_t)y) * l->width + (size_t)at];
}

static inline void reference_linear(const rfhe_program *p, const rfhe_instruction *in, double **x)
{
    const rfhe_linear *l = &p->linear[in->which];
    const rfhe_layout *to = &p->tensor[in->out].layout;
    size_t k = 0;

    for (uint32_t o = 0; o < to->channels; o++) {
        for (uint32_t y = 0; y < to->height; y++) {
            for (uint32_t q = 0; q < to->width; q++, k++) {
                double sum = l->bias != NULL ? (double)l->bias[k] : 0;
                for (uint32_t t = 0; t < l->n_terms; t++) {
                    const rfhe_stencil *s = &l->term[t].stencil;
                    const rfhe_layout *from = &p->tensor[l->term[t].tensor].layout;
                    const float *w = s->w + (size_t)o * s->in_channels * s->height * s->width;
                    for (uint32_t c = 0; c < s->in_channels; c++) {
                        for (uint32_t i = 0; i < s->height; i++) {
                            for (uint32_t j = 0; j < s->width; j++) {
                                sum += (double)*w++ * reference_at(from, x[l->term[t].tensor], c,
                                                                   (int64_t)y * s->stride_y + s->offset_y + i,
                                                                   (int64_t)q * s->stride_x + s->offset_x + j);
                            }
                        }
                    }
                }
                x[in->out][k] = sum;
            }
        }
    }
}

static inline void reference_activation(const rfhe_program *p, const rfhe_instruction *in, double **x)
{
    const rfhe_activation *a = &p->activation[in->which];
    const rfhe_layout *l = &p->tensor[in->in].layout;
    const size_t one = (size_t)l->height * l->width;

    for (size_t k = 0; k < rfhe_layout_numbers(l); k++) {
        const double u = x[in->in][k];
        const size_t c = k / one, n = l->channels;
        double z = u;
        if (a->n_steps == 2) { z = u + a->c[n + c]; }
        if (a->n_steps == 5) { z = u * u + a->c[2 * n + c] * u + a->c[4 * n + c]; }
        if (a->n_steps == 7) { z = pow(u * u + a->c[2 * n + c], 2) + a->c[4 * n + c] * u + a->c[6 * n + c]; }
        x[in->out][k] = z * (a->weight != NULL ? (double)a->weight[k] : 1);
    }
}

static inline void reference_run(const rfhe_program *p, const float *image, double *logits, double *largest)
{
    double *x[32] = {NULL};
    float first[4096];

    for (uint32_t t = 0; t < p->n_tensors; t++) { x[t] = calloc(rfhe_layout_numbers(&p->tensor[t].layout), sizeof(double)); }
    rfhe_program_take_image(first, p, image);
    for (size_t i = 0; i < rfhe_layout_numbers(&p->tensor[0].layout); i++) { x[0][i] = (double)first[i]; }
    *largest = 0;
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *in = &p->instruction[i];
        if (in->kind == RFHE_DO_ACTIVATE) {
            for (size_t k = 0; k < rfhe_layout_numbers(&p->tensor[in->in].layout); k++) { *largest = fmax(*largest, fabs(x[in->in][k])); }
            reference_activation(p, in, x);
        } else {
            reference_linear(p, in, x);
        }
    }
    for (uint32_t k = 0; k < p->outputs; k++) { logits[k] = x[p->instruction[p->n_instructions - 1].out][k] * p->reply_gain; }
    for (uint32_t t = 0; t < p->n_tensors; t++) { free(x[t]); }
}

/* ---- both sides ---- */

typedef struct sides {
    rfhe_program *p;
    rfhe_ckks *c;
    rfhe_eval_keys *keys;
    rfhe_client *client;
    rfhe_server *server;
    float *image; /* one, random */
    size_t pixels;
} sides;

static inline void sides_image(sides *s, uint64_t stream)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 1000 + stream);

    for (size_t i = 0; i < s->pixels; i++) { s->image[i] = (float)(2 * rfhe_rng_uniform(&rng) - 1); }
}

/* Takes the program over. */
static inline sides sides_new(rfhe_program *p)
{
    const uint64_t seed = test_seed();
    sides s = {.p = p};
    rfhe_refresh *r = NULL;
    rfhe_secret_key *sk = NULL;
    rfhe_key_list list = {0};

    MUST(rfhe_program_parameters(&s.c, p, err));
    MUST(rfhe_refresh_new(&r, s.c, &p->refresh, err));
    MUST(rfhe_program_keys(&list, p, s.c, r, err));
    MUST(rfhe_secret_key_new(&sk, s.c, &seed, err));
    MUST(rfhe_eval_keys_new(&s.keys, sk, list.items, list.count, err));
    MUST(rfhe_client_new(&s.client, p, s.c, sk, p->id, err));
    MUST(rfhe_server_new(&s.server, p, s.c, s.keys, NULL, NULL, err));
    rfhe_key_list_clear(&list);
    rfhe_refresh_free(r);
    s.pixels = (size_t)p->image_channels * p->image_height * p->image_width;
    s.image = calloc(s.pixels, sizeof *s.image);
    sides_image(&s, 0);
    return s;
}

static inline void sides_free(sides *s)
{
    rfhe_server_free(s->server);
    rfhe_client_free(s->client);
    rfhe_eval_keys_free(s->keys);
    rfhe_ckks_free(s->c);
    rfhe_program_free(s->p);
    free(s->image);
}

#endif
