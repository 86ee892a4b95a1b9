/* Kernels and layers: every instruction set against the portable twin bit for bit, the portable twin against the scalar
 * reference, derivatives against central differences, layouts against each other, teams of different sizes. */
#include "test.h"

#include "base/mem.h"
#include "base/threads.h"
#include "paf/kernels.h"
#include "paf/layer.h"

#include <math.h>
#include <stdlib.h>

static const char *const names[] = {"f1g2",  "f2g3",  "f1f1g1g1", "alpha7", "alpha10",
                                    "even2", "even8", "even30",   "cubic",  "alpha5", "linear"};
enum { NAMES = sizeof names / sizeof *names };

static rfhe_paf form(const char *name)
{
    rfhe_paf p;
    rfhe_error err = {0};

    assert_int_equal(rfhe_paf_from_name(&p, name, &err), RFHE_OK);
    return p;
}

/* `columns` PAFs around p, laid out for the kernels in the given arithmetic type. */
typedef struct packed {
    rfhe_paf set[40];
    double scale[40];
    float f[80 * 40];
    double d[80 * 40];
    rfhe_paf_kparam k;
} packed;

static void pack(packed *q, const rfhe_paf *p, size_t columns, bool is_float, rfhe_rng *rng)
{
    const uint32_t n = (uint32_t)rfhe_paf_coef_count(p);
    double flat[RFHE_PAF_MAX_COEFS];

    q->k =
        (rfhe_paf_kparam){.kind = p->kind, .n_stages = p->n_stages, .n_coef = n, .stride = columns};
    memcpy(q->k.n_terms, p->n_terms, sizeof q->k.n_terms);
    if (p->kind == RFHE_PAF_EVEN) { q->k.n_terms[0]--; }
    for (size_t c = 0; c < columns; c++) {
        q->set[c] = *p;
        rfhe_paf_coef_get(p, flat);
        for (uint32_t j = 0; j < n; j++) { flat[j] *= 1 + 0.01 * rfhe_rng_normal(rng); }
        rfhe_paf_coef_set(&q->set[c], flat);
        q->scale[c] = 1 + rfhe_rng_uniform(rng);
        uint32_t row = 0;
        for (uint32_t s = 0; s < p->n_stages; s++) {
            for (uint32_t j = 0; j < p->n_terms[s]; j++, row++) {
                q->d[row * columns + c] = flat[row];
                q->d[(n + row) * columns + c] = (2.0 * j + 1) * flat[row];
            }
        }
        q->d[2 * n * columns + c] = q->scale[c];
        q->d[(2 * n + 1) * columns + c] = 1 / q->scale[c];
    }
    for (size_t i = 0; i < (2 * n + 2) * columns; i++) { q->f[i] = (float)q->d[i]; }
    const size_t size = is_float ? sizeof(float) : sizeof(double);
    const char *base = is_float ? (const char *)q->f : (const char *)q->d;
    q->k.coef = base;
    q->k.slope = base + n * columns * size;
    q->k.scale = base + 2 * n * columns * size;
    q->k.inverse = base + (2 * n + 1) * columns * size;
}

static void every_instruction_set_gives_the_bits_of_the_portable_twin(void **state)
{
    enum { N = 2300 };
    static packed q;
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 1);
    static const size_t lengths[] = {0,  1,  3,  7,   8,    15,   16,   17,
                                     31, 33, 49, 100, 1023, 1024, 1025, 2200};
    double *x = rfhe_alloc(N, 8), *g = rfhe_alloc(N, 8), *y = rfhe_alloc(N, 8),
           *ref = rfhe_alloc(N, 8);

    (void)state;
    for (int isa = RFHE_ISA_AVX2; isa <= (int)rfhe_cpu_best_isa(); isa++) {
        const rfhe_paf_kernels *k = rfhe_paf_kernels_for((rfhe_isa)isa),
                               *twin = &rfhe_paf_kernels_portable;
        assert_int_equal(k->isa, isa);
        for (size_t f = 0; f < NAMES; f++) {
            const rfhe_paf p = form(names[f]);
            for (int type = 0; type < RFHE_PAF_TYPES; type++) {
                for (size_t i = 0; i < N; i++) {
                    const double u = 2.4 * rfhe_rng_uniform(&rng) - 1.2, v = rfhe_rng_normal(&rng);
                    if (type == RFHE_PAF_F64) {
                        x[i] = u, g[i] = v;
                    } else {
                        ((float *)x)[i] = (float)u, ((float *)g)[i] = (float)v;
                    }
                }
                const size_t size = type == RFHE_PAF_F64 ? 8 : 4;
                for (size_t li = 0; li < sizeof lengths / sizeof *lengths; li++) {
                    double grad[80] = {0}, want[80] = {0};
                    const size_t n = lengths[li], count = n < 700 ? 3 : 1, stride = n + 5;
                    pack(&q, &p, 1, type == RFHE_PAF_F32, &rng);
                    memset(y, 0xa5, N * size);
                    memset(ref, 0xa5, N * size);
                    k->row[type](y, x, n, count, stride, &q.k);
                    twin->row[type](ref, x, n, count, stride, &q.k);
                    assert_memory_equal(y, ref, N * size);
                    k->row_grad[type](y, grad, 1, x, g, n, count, stride, &q.k);
                    twin->row_grad[type](ref, want, 1, x, g, n, count, stride, &q.k);
                    assert_memory_equal(y, ref, N * size);
                    assert_memory_equal(grad, want, sizeof grad);
                }
                for (size_t n = 1; n <= 34; n++) { /* columns */
                    static double grad[80 * 40], want[80 * 40];
                    pack(&q, &p, n, type == RFHE_PAF_F32, &rng);
                    const size_t rows = 2 + 64 / n;
                    memset(grad, 0, sizeof grad);
                    memset(want, 0, sizeof want);
                    memset(y, 0xa5, N * size);
                    memset(ref, 0xa5, N * size);
                    k->lane[type](y, x, n, rows, n + 1, &q.k);
                    twin->lane[type](ref, x, n, rows, n + 1, &q.k);
                    assert_memory_equal(y, ref, N * size);
                    k->lane_grad[type](y, grad, n, x, g, n, rows, n + 1, &q.k);
                    twin->lane_grad[type](ref, want, n, x, g, n, rows, n + 1, &q.k);
                    assert_memory_equal(y, ref, N * size);
                    assert_memory_equal(grad, want, sizeof grad);
                }
            }
        }
    }
    rfhe_free(x), rfhe_free(g), rfhe_free(y), rfhe_free(ref);
}

/* clamp, blend and edge: every instruction set against the portable twin, and that against the words of kernels.h. */
static void what_training_adds_has_the_bits_of_the_portable_twin(void **state)
{
    enum { N = 700 };
    static const size_t lengths[] = {1, 3, 8, 15, 16, 17, 31, 32, 40, 64};
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 9);
    float x[N], dy[N], limit[64], inverse[64], y[N], want[N], dx[N], dx_want[N];
    const rfhe_paf_kernels *twin = &rfhe_paf_kernels_portable;

    (void)state;
    for (size_t i = 0; i < N; i++) {
        x[i] = (float)(2 * rfhe_rng_normal(&rng));
        dy[i] = (float)rfhe_rng_normal(&rng);
    }
    for (size_t i = 0; i < 64; i++) {
        limit[i] = (float)(1 + rfhe_rng_uniform(&rng));
        inverse[i] = 1.25F / limit[i];
    }
    x[0] = x[5] = 0.0F, x[1] = -0.0F, x[2] = limit[2];
    for (int isa = RFHE_ISA_PORTABLE; isa <= (int)rfhe_cpu_best_isa(); isa++) {
        const rfhe_paf_kernels *k = rfhe_paf_kernels_for((rfhe_isa)isa);
        for (size_t li = 0; li < sizeof lengths / sizeof *lengths; li++) {
            for (unsigned kind = 0; kind < 16; kind++) {
                const size_t n = lengths[li], rows = 1 + kind % 10, step = kind & 1U, count = rows * n;
                const rfhe_paf_edge e = {.clamp = kind & 2U ? limit : NULL,
                                         .inverse = inverse,
                                         .step = step,
                                         .alpha = kind & 4U ? 0.375F : 0.0F,
                                         .weight = kind & 8U ? 0.5F : 0.0F};
                double sum = 0;
                memset(y, 0xa5, sizeof y);
                memset(want, 0xa5, sizeof want);
                k->clamp(y, x, rows, n, limit, step);
                twin->clamp(want, x, rows, n, limit, step);
                assert_memory_equal(y, want, sizeof y);
                k->blend(y, dy, count, 0.375F);
                twin->blend(want, dy, count, 0.375F);
                assert_memory_equal(y, want, sizeof y);
                memcpy(dx, dy, sizeof dx);
                memcpy(dx_want, dy, sizeof dx_want);
                const double got = k->edge(dx, x, x, rows, n, &e);
                assert_true(got == twin->edge(dx_want, x, x, rows, n, &e));
                assert_memory_equal(dx, dx_want, sizeof dx);
                for (size_t i = 0; i < count; i++) {
                    const size_t at = step * (i % n);
                    const float excess = fmaxf(fabsf(x[i]) * inverse[at] - 1.0F, 0.0F);
                    float d = e.clamp != NULL && fabsf(x[i]) > limit[at] ? 0.0F : dy[i];
                    if (x[i] > 0) { d += e.alpha * x[i]; }
                    d += copysignf(2 * e.weight * excess * inverse[at], x[i]);
                    sum += e.weight > 0 ? (double)(excess * excess) : 0;
                    assert_true(fabsf(dx[i] - d) <= 1e-6F * (1 + fabsf(d)));
                    const float c = fmaxf(-limit[at], fminf(limit[at], x[i]));
                    const float b = 0.375F * fmaxf(dy[i], 0.0F) + 0.625F * c;
                    assert_true(fabsf(y[i] - b) <= 1e-6F * (1 + fabsf(b)));
                }
                assert_true(fabs(got - sum) <= 1e-5 * (1 + sum));
            }
        }
    }
}

static void layers_agree_with_the_scalar_reference(void **state)
{
    enum { N = 999 };
    double x[N], y[N];
    float xf[N], yf[N];
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 2);

    (void)state;
    for (size_t i = 0; i < N; i++) { xf[i] = (float)(x[i] = 5 * (2 * rfhe_rng_uniform(&rng) - 1)); }
    for (size_t f = 0; rfhe_paf_form_at(f) != NULL; f++) {
        const rfhe_paf p = form(rfhe_paf_form_at(f)->name);
        const double scale = 5;
        rfhe_paf_layer *d = NULL, *s = NULL;
        rfhe_error err = {0};
        assert_int_equal(rfhe_paf_layer_new(&d, &p, &scale, 1, (rfhe_paf_layout){1, N, 0},
                                            RFHE_PAF_DOUBLE, &err),
                         0);
        assert_int_equal(
            rfhe_paf_layer_new(&s, &p, &scale, 1, (rfhe_paf_layout){1, N, 0}, RFHE_PAF_FLOAT, &err),
            0);
        rfhe_paf_layer_forward(d, y, x, 1);
        rfhe_paf_layer_forward(s, yf, xf, 1);
        for (size_t i = 0; i < N; i++) {
            const double want = scale * rfhe_paf_value(&p, x[i] / scale);
            if (!(fabs(y[i] - want) < 1e-7) || !(fabs((double)yf[i] - want) < 3e-3)) {
                fail_msg("%s at %.17g: double %.17g float %.9g want %.17g",
                         rfhe_paf_form_at(f)->name, x[i], y[i], (double)yf[i], want);
            }
        }
        rfhe_paf_layer_free(d);
        rfhe_paf_layer_free(s);
    }
}

static double loss(rfhe_paf_layer *l, const double *x, const double *g, size_t n, size_t outer)
{
    double y[64], sum = 0;

    rfhe_paf_layer_forward(l, y, x, outer);
    for (size_t i = 0; i < n; i++) { sum += g[i] * y[i]; }
    return sum;
}

/* Input, every coefficient of every channel, and scale, in the three memory orders. */
static void gradients_match_central_differences(void **state)
{
    enum { N = 48 };
    static const struct {
        rfhe_paf_layout layout;
        size_t sets, outer;
    } cases[] = {{{4, 6, 0}, 4, 2}, {{4, 1, 0}, 4, 12}, {{4, 6, 2}, 4, 2}, {{4, 6, 0}, 1, 2}};
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 3);
    const double h = 1e-6;

    (void)state;
    for (size_t f = 0; f < NAMES; f++) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            rfhe_paf p[4];
            double scale[4], x[N], g[N], dx[N], dcoef[4 * 80], dscale[4];
            for (size_t i = 0; i < 4; i++) {
                double flat[RFHE_PAF_MAX_COEFS];
                p[i] = form(names[f]);
                rfhe_paf_coef_get(&p[i], flat);
                for (size_t j = 0; j < rfhe_paf_coef_count(&p[i]); j++) {
                    flat[j] *= 1 + 0.02 * rfhe_rng_normal(&rng);
                }
                rfhe_paf_coef_set(&p[i], flat);
                scale[i] = 2 + rfhe_rng_uniform(&rng);
            }
            for (size_t i = 0; i < N; i++) {
                x[i] = 3.6 * rfhe_rng_uniform(&rng) - 1.8;
                g[i] = rfhe_rng_normal(&rng);
            }
            rfhe_paf_layer *l = NULL;
            rfhe_error err = {0};
            assert_int_equal(rfhe_paf_layer_new(&l, p, scale, cases[c].sets, cases[c].layout,
                                                RFHE_PAF_DOUBLE, &err),
                             0);
            rfhe_paf_layer_backward(l, dx, dcoef, dscale, x, g, cases[c].outer);
            const size_t n = rfhe_paf_coef_count(&p[0]);
            for (size_t set = 0; set < cases[c].sets; set++) {
                for (size_t j = 0; j <= n; j++) {
                    rfhe_paf q[4];
                    double flat[RFHE_PAF_MAX_COEFS], s[4], value[2];
                    for (int side = 0; side < 2; side++) {
                        memcpy(q, p, sizeof q);
                        memcpy(s, scale, sizeof s);
                        rfhe_paf_coef_get(&q[set], flat);
                        if (j < n) {
                            flat[j] += side == 0 ? h : -h;
                        } else {
                            s[set] += side == 0 ? h : -h;
                        }
                        rfhe_paf_coef_set(&q[set], flat);
                        assert_int_equal(rfhe_paf_layer_set(l, q, s, &err), RFHE_OK);
                        value[side] = loss(l, x, g, N, cases[c].outer);
                    }
                    const double numeric = (value[0] - value[1]) / (2 * h);
                    const double got = j < n ? dcoef[set * n + j] : dscale[set];
                    if (!(fabs(numeric - got) <
                          2e-6 * (1 + fabs(numeric)) * (1 + fabs(value[0])))) {
                        fail_msg("%s case %zu set %zu coefficient %zu: analytic %.9g numeric %.9g",
                                 names[f], c, set, j, got, numeric);
                    }
                }
            }
            assert_int_equal(rfhe_paf_layer_set(l, p, scale, &err), RFHE_OK);
            for (size_t i = 0; i < N; i++) {
                const double old = x[i];
                x[i] = old + h;
                const double up = loss(l, x, g, N, cases[c].outer);
                x[i] = old - h;
                const double numeric = (up - loss(l, x, g, N, cases[c].outer)) / (2 * h);
                x[i] = old;
                if (!(fabs(numeric - dx[i]) < 2e-5 * (1 + fabs(numeric)))) {
                    fail_msg("%s case %zu x[%zu]: analytic %.9g numeric %.9g", names[f], c, i,
                             dx[i], numeric);
                }
            }
            rfhe_paf_layer_free(l);
        }
    }
}

/* The same tensor in NCHW, NHWC and blocked order: same values bit for bit, same sums to rounding; and the same bits
 * for one thread and for several, in place or not. */
static void layouts_and_teams_do_not_change_results(void **state)
{
    enum { B = 9, C = 32, P = 37, N = B * C * P }; /* large enough for a team */
    static float nchw[N], nhwc[N], blocked[N], g1[N], g2[N], g3[N], y1[N], y2[N], y3[N], d1[N],
        d2[N], d3[N], in_place[N];
    static double c1[C * 40], c2[C * 40], c3[C * 40], c4[C * 40], s1[C], s2[C], s3[C], s4[C];
    rfhe_paf p[C];
    double scale[C];
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 4);
    rfhe_error err = {0};
    rfhe_paf_layer *a = NULL, *b = NULL, *c = NULL;
    const unsigned team = rfhe_threads_get();

    (void)state;
    for (size_t i = 0; i < C; i++) {
        p[i] = form("f1f1g1g1");
        p[i].coef[0][0] += 0.01 * rfhe_rng_normal(&rng);
        scale[i] = 1 + rfhe_rng_uniform(&rng);
    }
    for (size_t n = 0; n < B; n++) {
        for (size_t ch = 0; ch < C; ch++) {
            for (size_t i = 0; i < P; i++) {
                const float x = (float)rfhe_rng_normal(&rng) / 3, g = (float)rfhe_rng_normal(&rng);
                const size_t at1 = (n * C + ch) * P + i, at2 = (n * P + i) * C + ch,
                             at3 = ((n * C / 16 + ch / 16) * P + i) * 16 + ch % 16;
                nchw[at1] = nhwc[at2] = blocked[at3] = x;
                g1[at1] = g2[at2] = g3[at3] = g;
            }
        }
    }
    assert_int_equal(
        rfhe_paf_layer_new(&a, p, scale, C, (rfhe_paf_layout){C, P, 0}, RFHE_PAF_FLOAT, &err),
        RFHE_OK);
    assert_int_equal(
        rfhe_paf_layer_new(&b, p, scale, C, (rfhe_paf_layout){C, 1, 0}, RFHE_PAF_FLOAT, &err),
        RFHE_OK);
    assert_int_equal(
        rfhe_paf_layer_new(&c, p, scale, C, (rfhe_paf_layout){C, P, 16}, RFHE_PAF_FLOAT, &err),
        RFHE_OK);
    rfhe_paf_layer_forward(a, y1, nchw, B);
    rfhe_paf_layer_forward(b, y2, nhwc, B * P);
    rfhe_paf_layer_forward(c, y3, blocked, B);
    rfhe_paf_layer_backward(a, d1, c1, s1, nchw, g1, B);
    rfhe_paf_layer_backward(b, d2, c2, s2, nhwc, g2, B * P);
    rfhe_paf_layer_backward(c, d3, c3, s3, blocked, g3, B);
    for (size_t n = 0; n < B; n++) {
        for (size_t ch = 0; ch < C; ch++) {
            for (size_t i = 0; i < P; i++) {
                const size_t at1 = (n * C + ch) * P + i, at2 = (n * P + i) * C + ch,
                             at3 = ((n * C / 16 + ch / 16) * P + i) * 16 + ch % 16;
                assert_true(y1[at1] == y2[at2] && y1[at1] == y3[at3]);
                assert_true(d1[at1] == d2[at2] && d1[at1] == d3[at3]);
            }
        }
    }
    for (size_t i = 0; i < C * rfhe_paf_coef_count(&p[0]); i++) {
        assert_true(fabs(c1[i] - c2[i]) < 1e-4 * (1 + fabs(c1[i])) &&
                    fabs(c1[i] - c3[i]) < 1e-4 * (1 + fabs(c1[i])));
    }
    for (unsigned t = 1; t <= 3; t += 2) {
        (void)rfhe_threads_set(t);
        memcpy(in_place, g1, sizeof g1);
        rfhe_paf_layer_backward(a, in_place, c4, s4, nchw, in_place, B);
        assert_memory_equal(in_place, d1, sizeof d1);
        assert_memory_equal(c4, c1, C * rfhe_paf_coef_count(&p[0]) * sizeof *c4);
        assert_memory_equal(s4, s1, sizeof s1);
        memcpy(in_place, nchw, sizeof nchw);
        rfhe_paf_layer_forward(a, in_place, in_place, B);
        assert_memory_equal(in_place, y1, sizeof y1);
    }
    (void)rfhe_threads_set(team);
    rfhe_paf_layer_free(a);
    rfhe_paf_layer_free(b);
    rfhe_paf_layer_free(c);
}

static void bad_layers_are_refused_with_a_sentence(void **state)
{
    const rfhe_paf p = form("f1g2");
    rfhe_paf two[2] = {p, form("f2g2")};
    double scale[2] = {1, 1};
    rfhe_paf_layer *l = NULL;
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_paf_layer_new(&l, &p, scale, 2, (rfhe_paf_layout){3, 1, 0}, 0, &err),
                     RFHE_E_ARG);
    assert_string_equal(err.text, "2 sets of coefficients do not suit 3 channels in blocks of 0");
    err = (rfhe_error){0};
    assert_int_equal(rfhe_paf_layer_new(&l, two, scale, 2, (rfhe_paf_layout){2, 1, 0}, 0, &err),
                     RFHE_E_ARG);
    assert_non_null(strstr(err.text, "channel 1"));
    err = (rfhe_error){0};
    scale[0] = -1;
    assert_int_equal(rfhe_paf_layer_new(&l, &p, scale, 1, (rfhe_paf_layout){2, 1, 0}, 0, &err),
                     RFHE_E_ARG);
    assert_non_null(strstr(err.text, "scale -1"));
    assert_null(l);
    scale[0] = 1;
    const size_t before = rfhe_mem_get_stats().current;
    for (size_t n = 1;; n++) {
        rfhe_mem_fail_at(n);
        const rfhe_status st =
            rfhe_paf_layer_new(&l, &p, scale, 1, (rfhe_paf_layout){2, 1, 0}, 0, NULL);
        rfhe_mem_fail_at(0);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_NOMEM);
        assert_int_equal(rfhe_mem_get_stats().current, before);
        assert_true(n < 100);
    }
    rfhe_paf_layer_free(l);
    assert_int_equal(rfhe_mem_get_stats().current, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instruction_set_gives_the_bits_of_the_portable_twin),
        cmocka_unit_test(what_training_adds_has_the_bits_of_the_portable_twin),
        cmocka_unit_test(layers_agree_with_the_scalar_reference),
        cmocka_unit_test(gradients_match_central_differences),
        cmocka_unit_test(layouts_and_teams_do_not_change_results),
        cmocka_unit_test(bad_layers_are_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
