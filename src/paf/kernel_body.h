/* The kernels of kernels.h, written once for any vector type. No include guard: a file in portable/, avx2/ or
 * avx512ifma/ includes this once per arithmetic type, with these macros defined:
 *   T, V, W       arithmetic type, vector of it, its lanes            S            storage type
 *   NAME(f)       name of this instance of f
 *   SET1 ADD SUB MUL FMA(a, b, c) = a b + c, LOAD(const T *), STORE(T *, V), and for storage
 *   GET(const S *), PUT(S *, V), GETN(const S *, n), PUTN(S *, V, n) with 0 < n < W: the first n lanes, others 0
 *   LOADN(const T *, n) the same for arithmetic type                                                              */

#define GROUPS (16 / W)

enum { NAME(MAX_ROWS) = RFHE_PAF_MAX_COEFS + 1 };

/* One vector: f and, for the backward pass, what it left in `y`. COEF(j) is defined by the caller's `c` and `step`:
 * broadcast when step == 0 (row), a vector of columns otherwise (lane, m lanes live; 0 = all). */
static inline V NAME(coef)(const T *c, size_t stride, uint32_t j, bool lane, size_t m)
{
    const T *p = c + j * stride;

    if (!lane) { return SET1(*p); }
    return m == 0 ? LOAD(p) : LOADN(p, m);
}

#define COEF(table, j) NAME(coef)((table), k->stride, (j), lane, m)

/* y[0] = u, y[i] = the output of stage i. */
static inline __attribute__((always_inline)) void NAME(stages)(V *y, const rfhe_paf_kparam *k,
                                                               const T *c, bool lane, size_t m)
{
    uint32_t base = 0;

    for (uint32_t i = 0; i < k->n_stages; i++) {
        const uint32_t n = k->n_terms[i];
        const V t = MUL(y[i], y[i]);
        V v = COEF(c, base + n - 1);
        for (uint32_t j = n - 1; j-- > 0;) { v = FMA(v, t, COEF(c, base + j)); }
        y[i + 1] = MUL(v, y[i]);
        base += n;
    }
}

/* sum c_k T_k(w) and, if slope is not NULL, its derivative by w. */
static inline __attribute__((always_inline)) V NAME(cheb)(V w, V *slope, const rfhe_paf_kparam *k,
                                                          const T *c, bool lane, size_t m)
{
    const V w2 = ADD(w, w);
    V b1 = SET1(0), b2 = b1, d1 = b1, d2 = b1;

    for (uint32_t j = k->n_terms[0] - 1; j > 0; j--) {
        if (slope != NULL) {
            const V d = FMA(w2, d1, SUB(ADD(b1, b1), d2));
            d2 = d1, d1 = d;
        }
        const V b = FMA(w2, b1, SUB(COEF(c, j), b2));
        b2 = b1, b1 = b;
    }
    if (slope != NULL) { *slope = FMA(w, d1, SUB(b1, d2)); }
    return FMA(w, b1, SUB(COEF(c, 0), b2));
}

static inline __attribute__((always_inline)) V NAME(one)(V x, const rfhe_paf_kparam *k,
                                                         size_t column, bool lane, size_t m)
{
    const T *c = (const T *)k->coef + column;
    const V u = MUL(x, COEF((const T *)k->inverse + column, 0));

    if (k->kind == RFHE_PAF_SIGN) {
        V y[RFHE_PAF_MAX_STAGES + 1];
        const V half = MUL(x, SET1((T)0.5));
        y[0] = u;
        NAME(stages)(y, k, c, lane, m);
        return FMA(half, y[k->n_stages], half);
    }
    const bool even = k->kind == RFHE_PAF_EVEN;
    const V w = even ? FMA(ADD(u, u), u, SET1(-1)) : u;
    V f = NAME(cheb)(w, NULL, k, c, lane, m);
    if (even) { f = FMA(COEF(c, k->n_coef - 1), u, f); }
    return MUL(f, COEF((const T *)k->scale + column, 0));
}

/* Adds v to the sums `sum`, W values. */
static inline void NAME(accumulate)(T *sum, V v)
{
    STORE(sum, ADD(LOAD(sum), v));
}

/* dx of one vector; its shares of the sums go to sum[j * 16 ...]. */
static inline __attribute__((always_inline)) V
NAME(one_grad)(V x, V g, T *sum, const rfhe_paf_kparam *k, size_t column, bool lane, size_t m)
{
    const T *c = (const T *)k->coef + column, *dc = (const T *)k->slope + column;
    const V inverse = COEF((const T *)k->inverse + column, 0), u = MUL(x, inverse);

    if (k->kind == RFHE_PAF_SIGN) {
        V y[RFHE_PAF_MAX_STAGES + 1];
        const V half = MUL(g, SET1((T)0.5));
        uint32_t base = k->n_coef;
        y[0] = u;
        NAME(stages)(y, k, c, lane, m);
        V back = MUL(half, x); /* dL/dy_i on the way from the last stage to the first */
        for (uint32_t i = k->n_stages; i-- > 0;) {
            const uint32_t n = k->n_terms[i];
            const V t = MUL(y[i], y[i]);
            V power = MUL(back, y[i]);
            base -= n;
            for (uint32_t j = 0; j < n; j++) {
                NAME(accumulate)(sum + (base + j) * 16, power);
                power = MUL(power, t);
            }
            V v = COEF(dc, base + n - 1);
            for (uint32_t j = n - 1; j-- > 0;) { v = FMA(v, t, COEF(dc, base + j)); }
            back = MUL(back, v);
        }
        back =
            MUL(back, inverse); /* through u = x / scale: du/dx = 1/scale, du/dscale = -u/scale */
        NAME(accumulate)(sum + k->n_coef * 16, SUB(SET1(0), MUL(back, u)));
        return FMA(half, y[k->n_stages], ADD(half, back));
    }
    const bool even = k->kind == RFHE_PAF_EVEN;
    const V w = even ? FMA(ADD(u, u), u, SET1(-1)) : u;
    V slope = SET1(0), f = NAME(cheb)(w, &slope, k, c, lane, m);
    const V gs = MUL(g, COEF((const T *)k->scale + column, 0)), w2 = ADD(w, w);
    V t0 = gs, t1 = MUL(gs, w);
    for (uint32_t j = 0; j < k->n_terms[0]; j++) {
        const V t2 = SUB(MUL(w2, t1), t0);
        NAME(accumulate)(sum + j * 16, t0);
        t0 = t1, t1 = t2;
    }
    if (even) {
        const V linear = COEF(c, k->n_coef - 1);
        NAME(accumulate)(sum + (k->n_coef - 1) * 16, MUL(gs, u));
        f = FMA(linear, u, f);
        slope = FMA(MUL(u, SET1(4)), slope, linear);
    }
    NAME(accumulate)(sum + k->n_coef * 16, MUL(g, SUB(f, MUL(u, slope))));
    return MUL(g, slope);
}

static void NAME(row)(void *y, const void *x, size_t n, size_t count, size_t stride,
                      const rfhe_paf_kparam *k)
{
    for (size_t r = 0; r < count; r++) {
        const S *from = (const S *)x + r * stride;
        S *to = (S *)y + r * stride;
        size_t i = 0;
        for (; i + W <= n; i += W) { PUT(to + i, NAME(one)(GET(from + i), k, 0, false, 0)); }
        if (i < n) { PUTN(to + i, NAME(one)(GETN(from + i, n - i), k, 0, false, 0), n - i); }
    }
}

/* Joins 16 lanes of each row of `sum` to grad, in double, in a fixed order, and clears them. */
static void NAME(flush)(double *grad, size_t gstride, T *sum, uint32_t rows)
{
    for (uint32_t j = 0; j < rows; j++) {
        double d[16];
        for (uint32_t l = 0; l < 16; l++) {
            d[l] = (double)sum[j * 16 + l];
            sum[j * 16 + l] = 0;
        }
        for (uint32_t half = 8; half > 0; half /= 2) {
            for (uint32_t l = 0; l < half; l++) { d[l] += d[l + half]; }
        }
        grad[j * gstride] += d[0];
    }
}

static void NAME(row_grad)(void *dx, double *grad, size_t gstride, const void *x, const void *dy,
                           size_t n, size_t count, size_t stride, const rfhe_paf_kparam *k)
{
    T sum[NAME(MAX_ROWS) * 16];
    size_t added = 0;

    memset(sum, 0, (k->n_coef + 1) * 16 * sizeof *sum);
    for (size_t r = 0; r < count; r++) {
        const S *from = (const S *)x + r * stride, *g = (const S *)dy + r * stride;
        S *to = (S *)dx + r * stride;
        for (size_t i = 0; i < n; i += 16) { /* always groups of 16 elements: lane = i mod 16 */
            for (size_t e = 0; e < GROUPS && i + e * W < n; e++) {
                const size_t at = i + e * W, left = n - at;
                T *s = sum + e * W;
                if (left >= W) {
                    PUT(to + at, NAME(one_grad)(GET(from + at), GET(g + at), s, k, 0, false, 0));
                } else {
                    PUTN(to + at,
                         NAME(one_grad)(GETN(from + at, left), GETN(g + at, left), s, k, 0, false,
                                        0),
                         left);
                }
            }
            added += 16;
            if (added % 1024 == 0 && added > 0 && i + 16 < n) {
                NAME(flush)(grad, gstride, sum, k->n_coef + 1);
                added = 0;
            }
        }
        if (added >= 1024) {
            NAME(flush)(grad, gstride, sum, k->n_coef + 1);
            added = 0;
        }
    }
    NAME(flush)(grad, gstride, sum, k->n_coef + 1);
}

static void NAME(lane)(void *y, const void *x, size_t n, size_t count, size_t stride,
                       const rfhe_paf_kparam *k)
{
    for (size_t top = 0; top < count; top += 64) {
        const size_t bottom = top + 64 < count ? top + 64 : count;
        for (size_t i = 0; i < n; i += W) {
            const size_t left = n - i;
            for (size_t r = top; r < bottom; r++) {
                const S *from = (const S *)x + r * stride + i;
                S *to = (S *)y + r * stride + i;
                if (left >= W) {
                    PUT(to, NAME(one)(GET(from), k, i, true, 0));
                } else {
                    PUTN(to, NAME(one)(GETN(from, left), k, i, true, left), left);
                }
            }
        }
    }
}

static void NAME(lane_grad)(void *dx, double *grad, size_t gstride, const void *x, const void *dy,
                            size_t n, size_t count, size_t stride, const rfhe_paf_kparam *k)
{
    T sum[NAME(MAX_ROWS) * 16];

    memset(sum, 0, (k->n_coef + 1) * 16 * sizeof *sum);
    for (size_t top = 0; top < count; top += 64) {
        const size_t bottom = top + 64 < count ? top + 64 : count;
        for (size_t i = 0; i < n; i += W) {
            const size_t left = n - i < W ? n - i : W;
            for (size_t r = top; r < bottom; r++) {
                const size_t at = r * stride + i;
                const S *from = (const S *)x + at, *g = (const S *)dy + at;
                S *to = (S *)dx + at;
                if (left == W) {
                    PUT(to, NAME(one_grad)(GET(from), GET(g), sum, k, i, true, 0));
                } else {
                    PUTN(to, NAME(one_grad)(GETN(from, left), GETN(g, left), sum, k, i, true, left),
                         left);
                }
            }
            for (uint32_t j = 0; j <= k->n_coef; j++) {
                for (size_t l = 0; l < left; l++) {
                    grad[j * gstride + i + l] += (double)sum[j * 16 + l];
                }
                for (size_t l = 0; l < W; l++) { sum[j * 16 + l] = 0; }
            }
        }
    }
}

#undef COEF
#undef GROUPS
#undef T
#undef V
#undef W
#undef S
#undef NAME
#undef SET1
#undef ADD
#undef SUB
#undef MUL
#undef FMA
#undef LOAD
#undef LOADN
#undef STORE
#undef GET
#undef GETN
#undef PUT
#undef PUTN
