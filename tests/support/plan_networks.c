/* See plan_networks.h. */
#include "test.h"
#include "plan_networks.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/random.h"
#include "nn/exec.h"
#include "paf/node.h"

/* ---- random networks ---- */

typedef struct maker {
    rfhe_graph *g;
    rfhe_rng rng, lines; /* lines: which activations are lines; apart, so that all else does not depend on it */
    rfhe_value_id x; /* the value that grows */
    int64_t c, h, w; /* its shape            */
} maker;

static size_t below(maker *m, size_t n)
{
    return (size_t)rfhe_rng_below(&m->rng, n);
}

static bool chance(maker *m, double p)
{
    return rfhe_rng_uniform(&m->rng) < p;
}

static rfhe_value_id numbers(maker *m, const rfhe_shape *shape, double mean, double spread)
{
    rfhe_tensor *t = NULL;
    rfhe_value_id v = 0;

    assert_int_equal(rfhe_tensor_new(&t, RFHE_F32, shape), RFHE_OK);
    for (size_t i = 0; i < t->count; i++) { t->f32[i] = (float)(mean + spread * rfhe_rng_normal(&m->rng)); }
    assert_int_equal(rfhe_graph_add_constant(m->g, &v, NULL, t), RFHE_OK);
    return v;
}

static rfhe_value_id node(maker *m, rfhe_op op, const rfhe_value_id *in, uint32_t n, const rfhe_attr *attr)
{
    rfhe_value_id v = 0;

    assert_int_equal(rfhe_graph_add_node(m->g, &v, op, NULL, in, n, attr), RFHE_OK);
    return v;
}

static void conv(maker *m, int64_t out, int64_t kernel, int64_t stride, bool same)
{
    rfhe_attr a = {.window = {.spatial = 2, .groups = 1}};
    const int64_t dilation = kernel > 1 && !same && chance(m, 0.25) ? 2 : 1;

    if (m->c % 2 == 0 && out % 2 == 0 && chance(m, 0.3)) { a.window.groups = 2; }
    if (!same && chance(m, 0.15)) { a.window.groups = out = m->c; }
    for (int k = 0; k < 2; k++) {
        a.window.kernel[k] = kernel;
        a.window.stride[k] = stride;
        a.window.dilation[k] = dilation;
        a.window.pad_begin[k] = same ? kernel / 2 : (int64_t)below(m, (size_t)kernel);
        a.window.pad_end[k] = same ? kernel - 1 - kernel / 2 : (int64_t)below(m, (size_t)kernel);
    }
    const int64_t reach = (kernel - 1) * dilation + 1;
    const int64_t h = (m->h + a.window.pad_begin[0] + a.window.pad_end[0] - reach) / stride + 1;
    const int64_t w = (m->w + a.window.pad_begin[1] + a.window.pad_end[1] - reach) / stride + 1;
    if (m->h + a.window.pad_begin[0] + a.window.pad_end[0] < reach || m->w + a.window.pad_begin[1] + a.window.pad_end[1] < reach) { return; }
    const int64_t in = m->c / a.window.groups;
    const rfhe_shape shape = {.rank = 4, .dim = {out, in, kernel, kernel}}, vector = {.rank = 1, .dim = {out}};
    const double spread = 1 / sqrt((double)(in * kernel * kernel));
    rfhe_value_id op[3] = {m->x, numbers(m, &shape, 0, spread), 0};
    uint32_t n = 2;
    if (chance(m, 0.6)) { op[n++] = numbers(m, &vector, 0, 0.3); }
    m->x = node(m, RFHE_OP_CONV, op, n, &a);
    m->c = out;
    m->h = h;
    m->w = w;
}

static void pool(maker *m)
{
    rfhe_attr a = {.window = {.spatial = 2, .groups = 1, .count_include_pad = chance(m, 0.5)}};
    const int64_t kernel = 2 + (int64_t)below(m, 2), stride = 1 + (int64_t)below(m, 2);

    for (int k = 0; k < 2; k++) {
        a.window.kernel[k] = kernel;
        a.window.stride[k] = stride;
        a.window.dilation[k] = 1;
        a.window.pad_begin[k] = chance(m, 0.3);
        a.window.pad_end[k] = chance(m, 0.3);
    }
    const int64_t h = m->h + a.window.pad_begin[0] + a.window.pad_end[0] - kernel;
    const int64_t w = m->w + a.window.pad_begin[1] + a.window.pad_end[1] - kernel;
    if (h < 0 || w < 0) { return; }
    m->x = node(m, RFHE_OP_AVGPOOL, &m->x, 1, &a);
    m->h = h / stride + 1;
    m->w = w / stride + 1;
}

static void activation(maker *m)
{
    static const char *const forms[] = {"even2", "even4", "even8", "cubic", "f1g2", "alpha4", "even14"};
    const char *form = forms[below(m, 7)];
    const size_t sets = chance(m, 0.5) ? 1 : (size_t)m->c;
    rfhe_paf *p = rfhe_alloc(sets, sizeof *p);
    double *scale = rfhe_alloc(sets, sizeof *scale);
    rfhe_error err = {0};

    m->x = node(m, RFHE_OP_RELU, &m->x, 1, NULL);
    for (size_t i = 0; i < sets; i++) {
        assert_int_equal(rfhe_paf_from_name(&p[i], form, &err), RFHE_OK);
        double flat[RFHE_PAF_MAX_COEFS];
        rfhe_paf_coef_get(&p[i], flat);
        for (size_t k = 0; k < rfhe_paf_coef_count(&p[i]); k++) { flat[k] *= 1 + 0.02 * rfhe_rng_normal(&m->rng); }
        rfhe_paf_coef_set(&p[i], flat);
        scale[i] = 4 + 4 * rfhe_rng_uniform(&m->rng);
    }
    if (rfhe_rng_uniform(&m->lines) < 0.2) {
        form = "linear";
        for (size_t i = 0; i < sets; i++) {
            assert_int_equal(rfhe_paf_from_name(&p[i], form, &err), RFHE_OK);
            p[i].coef[0][0] *= scale[i] / 6;
            p[i].coef[0][1] *= 4 / scale[i];
        }
    }
    assert_int_equal(rfhe_paf_node_set(m->g, m->g->n_nodes - 1, form, p, scale, sets, &err), RFHE_OK);
    rfhe_free(p);
    rfhe_free(scale);
}

static void slice(maker *m)
{
    rfhe_attr a = {.slice = {.n = 3, .axis = {1, 2, 3}, .step = {1, 1, 1}}};
    int64_t *const size[3] = {&m->c, &m->h, &m->w};

    for (int k = 0; k < 3; k++) {
        const int64_t step = k > 0 && *size[k] > 3 && chance(m, 0.3) ? 2 : 1, start = *size[k] > 2 && chance(m, 0.3) ? 1 : 0;
        const int64_t end = *size[k] > 3 && chance(m, 0.3) ? *size[k] - 1 : *size[k];
        a.slice.start[k] = start;
        a.slice.end[k] = end;
        a.slice.step[k] = step;
        *size[k] = (end - start + step - 1) / step;
    }
    m->x = node(m, RFHE_OP_SLICE, &m->x, 1, &a);
}

static void pad(maker *m)
{
    rfhe_attr a = {.pad = {.mode = RFHE_PAD_CONSTANT, .value = chance(m, 0.5) ? 0.0F : 0.7F}};

    for (int k = 1; k < 4; k++) {
        a.pad.begin[k] = (int64_t)below(m, 2);
        a.pad.end[k] = (int64_t)below(m, 2);
    }
    m->x = node(m, RFHE_OP_PAD, &m->x, 1, &a);
    m->c += a.pad.begin[1] + a.pad.end[1];
    m->h += a.pad.begin[2] + a.pad.end[2];
    m->w += a.pad.begin[3] + a.pad.end[3];
}

static void batchnorm(maker *m)
{
    const rfhe_shape v = {.rank = 1, .dim = {m->c}};
    rfhe_attr a = {.batchnorm = {.epsilon = 1e-5F, .momentum = 0.9F}};
    rfhe_value_id in[5] = {m->x, numbers(m, &v, 1, 0.2), numbers(m, &v, 0, 0.2), numbers(m, &v, 0, 0.2), numbers(m, &v, 1, 0)};

    m->x = node(m, RFHE_OP_BATCHNORM, in, 5, &a);
}

/* Adds, subtracts or multiplies by a constant, from either side. */
static void constant(maker *m)
{
    const rfhe_shape per_channel = {.rank = 3, .dim = {m->c, 1, 1}}, scalar = {.rank = 0}, whole = {.rank = 4, .dim = {1, m->c, m->h, m->w}};
    const size_t kind = below(m, 3);
    const rfhe_op op = kind == 0 ? RFHE_OP_ADD : kind == 1 ? RFHE_OP_SUB : RFHE_OP_MUL;
    const rfhe_value_id c = numbers(m, kind == 2 ? (chance(m, 0.5) ? &per_channel : &scalar) : chance(m, 0.5) ? &whole : &per_channel,
                                    kind == 2 ? 1 : 0, 0.3);
    const bool turned = chance(m, 0.5);

    m->x = node(m, op, turned ? (rfhe_value_id[]){c, m->x} : (rfhe_value_id[]){m->x, c}, 2, NULL);
}

/* Two ways from here that meet again. */
static void branch(maker *m)
{
    const maker here = *m;
    const int64_t c = chance(m, 0.5) ? m->c : m->c % 2 + 2, kernel = chance(m, 0.5) ? 3 : 1;

    conv(m, c, kernel, 1, true);
    if (chance(m, 0.5)) { activation(m); }
    const rfhe_value_id first = m->x;
    const int64_t c1 = m->c;
    m->x = here.x;
    m->c = here.c;
    if (chance(m, 0.5)) { conv(m, c1, chance(m, 0.5) ? 3 : 1, 1, true); }
    if (m->c != c1 || chance(m, 0.4)) {
        rfhe_attr a = {.concat = {.axis = 1}};
        m->x = node(m, RFHE_OP_CONCAT, (rfhe_value_id[]){first, m->x}, 2, &a);
        m->c += c1;
    } else {
        m->x = node(m, chance(m, 0.8) ? RFHE_OP_ADD : RFHE_OP_SUB, (rfhe_value_id[]){first, m->x}, 2, NULL);
    }
}

static void finish_network(maker *m)
{
    rfhe_attr a = {.flatten = {.axis = 1}};

    if (chance(m, 0.3)) {
        m->x = node(m, RFHE_OP_GLOBALAVGPOOL, &m->x, 1, NULL);
        m->h = m->w = 1;
    } else if (chance(m, 0.3)) {
        rfhe_attr r = {.reduce = {.n = 2, .axis = {2, 3}, .keep_dims = true}};
        m->x = node(m, RFHE_OP_REDUCEMEAN, &m->x, 1, &r);
        m->h = m->w = 1;
    }
    m->x = node(m, RFHE_OP_FLATTEN, &m->x, 1, &a);
    m->c *= m->h * m->w;
    m->h = m->w = 1;
    const size_t layers = 1 + below(m, 2);
    for (size_t k = 0; k < layers; k++) {
        const int64_t out = 2 + (int64_t)below(m, 9);
        const bool turned = chance(m, 0.5);
        const rfhe_shape w = {.rank = 2, .dim = {turned ? out : m->c, turned ? m->c : out}}, b = {.rank = 1, .dim = {out}};
        rfhe_attr d = {.gemm = {.alpha = 1, .beta = 1, .trans_b = turned}};
        const rfhe_value_id matrix = numbers(m, &w, 0, 1 / sqrt((double)m->c));
        const rfhe_value_id in[3] = {m->x, matrix, numbers(m, &b, 0, 0.3)};
        m->x = turned || chance(m, 0.5) ? node(m, RFHE_OP_GEMM, in, 3, &d) : node(m, RFHE_OP_MATMUL, in, 2, NULL);
        m->c = out;
        if (k + 1 < layers && chance(m, 0.8)) { activation(m); }
    }
    if (chance(m, 0.2)) {
        rfhe_attr s = {.softmax = {.axis = 1}};
        (void)s; /* left out: the program gives what enters it */
    }
}

rfhe_graph *random_network(uint64_t seed)
{
    maker m = {.rng = rfhe_rng_seed(seed, 77), .lines = rfhe_rng_seed(seed, 78)};

    assert_int_equal(rfhe_graph_new(&m.g, "random"), RFHE_OK);
    m.c = 1 + (int64_t)below(&m, 3);
    m.h = 4 + (int64_t)below(&m, 7);
    m.w = 4 + (int64_t)below(&m, 7);
    const rfhe_shape shape = {.rank = 4, .dim = {1, m.c, m.h, m.w}};
    assert_int_equal(rfhe_graph_add_value(m.g, &m.x, "image", RFHE_F32, &shape), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(m.g, m.x), RFHE_OK);
    const size_t steps = 2 + below(&m, 6);
    for (size_t k = 0; k < steps; k++) {
        switch (below(&m, 12)) {
        case 0:
        case 1: conv(&m, 1 + (int64_t)below(&m, 8), 1 + (int64_t)below(&m, 4), 1 + (int64_t)below(&m, 2), false); break;
        case 2: conv(&m, 4, 3, 1, true); break;
        case 3: pool(&m); break;
        case 4: slice(&m); break;
        case 5: pad(&m); break;
        case 6: batchnorm(&m); break;
        case 7: constant(&m); break;
        case 8: branch(&m); break;
        case 9: m.x = node(&m, chance(&m, 0.5) ? RFHE_OP_IDENTITY : RFHE_OP_DROPOUT, &m.x, 1, NULL); break;
        default: activation(&m); break;
        }
    }
    finish_network(&m);
    assert_int_equal(rfhe_graph_add_output(m.g, m.x), RFHE_OK);
    rfhe_error err = {0};
    if (rfhe_graph_infer(m.g, 1, &err) != RFHE_OK) { fail_msg("seed %" PRIu64 ": %s", seed, err.text); }
    return m.g;
}

void run_network(double *out, size_t count, const rfhe_graph *g, const float *image)
{
    const rfhe_exec_options o = {.batch = 1};
    rfhe_exec *e = NULL;
    rfhe_error err = {0};
    rfhe_shape shape;
    size_t n = 0;

    if (rfhe_exec_new(&e, g, &o, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    float *const in = rfhe_exec_input(e, 0, &shape);
    assert_true(rfhe_shape_count(&shape, &n));
    memcpy(in, image, n * sizeof *in);
    if (rfhe_exec_forward(e, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    const float *const y = rfhe_exec_output(e, 0, &shape);
    assert_true(rfhe_shape_count(&shape, &n));
    assert_int_equal(n, count);
    for (size_t i = 0; i < n; i++) { out[i] = (double)y[i]; }
    rfhe_exec_free(e);
}

/* ---- programs in coefficient space ---- */

static double run_steps(const rfhe_activation *a, size_t channels, size_t c, double u)
{
    double r[RFHE_POLY_MAX_STEPS];

    if (a->n_steps == 0) { return u; }
    for (uint32_t k = 0; k < a->n_steps; k++) {
        const rfhe_poly_step *t = &a->step[k];
        switch (t->op) {
        case RFHE_POLY_INPUT: r[k] = u; break;
        case RFHE_POLY_MUL: r[k] = r[t->a] * r[t->b]; break;
        case RFHE_POLY_SCALE: r[k] = r[t->a] * a->c[k * channels + c]; break;
        case RFHE_POLY_INT: r[k] = r[t->a] * t->c; break;
        case RFHE_POLY_ADD: r[k] = r[t->a] + r[t->b]; break;
        case RFHE_POLY_CONST: r[k] = r[t->a] + a->c[k * channels + c]; break;
        }
    }
    return r[a->n_steps - 1];
}

/* product[i] = sum over terms of source polynomial times kernel polynomial of output channel o. */
static void product(double *to, size_t n, const rfhe_program *p, const rfhe_linear *l, double *const *tensor, size_t o)
{
    memset(to, 0, n * sizeof *to);
    for (uint32_t t = 0; t < l->n_terms; t++) {
        const rfhe_stencil *s = &l->term[t].stencil;
        const rfhe_layout *in = &p->tensor[l->term[t].tensor].layout;
        for (size_t c = 0; c < s->in_channels; c++) {
            const double *from = tensor[l->term[t].tensor] + c / in->block * n;
            for (int64_t i = 0; i < s->height; i++) {
                for (int64_t j = 0; j < s->width; j++) {
                    const float w = s->w[((o * s->in_channels + c) * s->height + (size_t)i) * s->width + (size_t)j];
                    if (w == 0) { continue; }
                    const int64_t e = -((int64_t)in->block * ((i + s->offset_y) * in->row + (j + s->offset_x) * in->column) +
                                        (int64_t)(c % in->block));
                    const int64_t two = 2 * (int64_t)n, shift = (e % two + two) % two;
                    for (size_t k = 0; k < n; k++) {
                        const size_t at = (k + (size_t)shift) % (2 * n);
                        to[at % n] += (at < n ? 1 : -1) * (double)w * from[k];
                    }
                }
            }
        }
    }
}

void run_in_coefficients(double *out, const rfhe_program *p, const float *image)
{
    const size_t n = (size_t)1 << rfhe_program_log2_used(p);
    double **tensor = rfhe_calloc(p->n_tensors, sizeof *tensor), *poly = rfhe_alloc(n, sizeof *poly);
    bool *valid = rfhe_alloc(n, sizeof *valid);

    for (uint32_t t = 0; t < p->n_tensors; t++) { tensor[t] = rfhe_calloc(n * p->tensor[t].layout.ciphertexts, sizeof(double)); }
    for (uint32_t c = 0; c < p->image_channels; c++) {
        for (uint32_t y = 0; y < p->image_height; y++) {
            for (uint32_t x = 0; x < p->image_width; x++) {
                const rfhe_layout *l = &p->tensor[0].layout;
                const uint32_t cc = (c * p->phase_y + y % p->phase_y) * p->phase_x + x % p->phase_x;
                tensor[0][cc / l->block * n + rfhe_layout_index(l, cc, y / p->phase_y, x / p->phase_x)] =
                    (double)image[(c * p->image_height + y) * p->image_width + x];
            }
        }
    }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *q = &p->instruction[i];
        const rfhe_layout *l = &p->tensor[q->out].layout;
        double *const to = tensor[q->out];
        if (q->kind == RFHE_DO_ACTIVATE) {
            const rfhe_activation *a = &p->activation[q->which];
            for (uint32_t ct = 0; ct < l->ciphertexts; ct++) {
                memset(valid, 0, n * sizeof *valid);
                float weight = 1;
                for (size_t k = 0; k < n; k++) { /* everything, garbage included, goes through the polynomial */
                    const size_t c = (size_t)ct * l->block + k % l->block;
                    to[ct * n + k] = 0;
                    if (c < l->channels && (l->both_halves || k < n / 2)) {
                        const double z = run_steps(a, l->channels, c, tensor[q->in][ct * n + k]);
                        assert_true(a->mask_level > 0 || !isnan(z));
                        poly[k] = z;
                    }
                }
                for (uint32_t c = ct * l->block; c < l->channels && c < (ct + 1) * l->block; c++) {
                    for (uint32_t y = 0; y < l->height; y++) {
                        for (uint32_t x = 0; x < l->width; x++) {
                            const size_t k = rfhe_layout_index(l, c, y, x);
                            assert_false(valid[k]);
                            assert_true(l->both_halves || k < n / 2);
                            valid[k] = true;
                            weight = a->weight != NULL ? a->weight[((size_t)c * l->height + y) * l->width + x] : 1;
                            to[ct * n + k] = poly[k] * (double)weight;
                        }
                    }
                }
            }
            continue;
        }
        const rfhe_linear *m = &p->linear[q->which];
        for (size_t o = 0; o < l->channels; o++) {
            product(poly, n, p, m, tensor, o);
            if (q->kind == RFHE_DO_REPLY) {
                out[o] = p->reply_gain * (poly[0] + (m->bias != NULL ? (double)m->bias[o] : 0));
                continue;
            }
            double *const ct = to + o / l->block * n;
            for (size_t k = 0; k < n; k += l->block) { ct[k + o % l->block] = poly[k]; }
            for (uint32_t y = 0; y < l->height && m->bias != NULL; y++) {
                for (uint32_t x = 0; x < l->width; x++) {
                    ct[rfhe_layout_index(l, (uint32_t)o, y, x)] += (double)m->bias[(o * l->height + y) * l->width + x];
                }
            }
        }
    }
    for (uint32_t t = 0; t < p->n_tensors; t++) { rfhe_free(tensor[t]); }
    rfhe_free(tensor);
    rfhe_free(poly);
    rfhe_free(valid);
}
