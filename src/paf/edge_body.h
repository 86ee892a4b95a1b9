/* clamp, blend and edge of kernels.h, written once for any vector of floats. No include guard: included once by each
 * instruction set's kernels.c, with these macros defined (W divides 16):
 *   V, W                 vector of floats, its lanes
 *   SET1 ADD SUB MUL     GET(const float *), PUT(float *, V), GETN(const float *, n), PUTN(float *, V, n): first n lanes,
 *                        others 0, 0 < n < W
 *   MIN(a, b) = a < b ? a : b    MAX(a, b) = a > b ? a : b    ABS(a)
 *   IF_LE(a, b, v) = a <= b ? v : 0    IF_LT(a, b, v) = a < b ? v : 0    SIGNED(v, a): v >= 0 with the sign of a  */

/* The first m lanes at p, m = W for all. */
static inline V edge_get(const float *p, size_t m)
{
    return m == W ? GET(p) : GETN(p, m);
}

static inline void edge_put(float *p, V v, size_t m)
{
    if (m == W) {
        PUT(p, v);
    } else {
        PUTN(p, v, m);
    }
}

static inline V edge_limit(const float *p, size_t i, size_t step, size_t m)
{
    return step == 0 ? SET1(*p) : edge_get(p + i, m);
}

static void edge_clamp(float *y, const float *x, size_t rows, size_t n, const float *limit, size_t step)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i += W) {
            const size_t at = r * n + i, m = n - i < W ? n - i : W;
            const V l = edge_limit(limit, i, step, m);
            edge_put(y + at, MIN(MAX(edge_get(x + at, m), SUB(SET1(0), l)), l), m);
        }
    }
}

static void edge_blend(float *y, const float *x, size_t n, float alpha)
{
    const V a = SET1(alpha), b = SET1(1.0F - alpha), zero = SET1(0);

    for (size_t i = 0; i < n; i += W) {
        const size_t m = n - i < W ? n - i : W;
        const V relu = MUL(a, MAX(edge_get(x + i, m), zero));
        edge_put(y + i, ADD(relu, MUL(b, edge_get(y + i, m))), m);
    }
}

static double edge_edge(float *dx, const float *x, const float *dy, size_t rows, size_t n,
                        const rfhe_paf_edge *e)
{
    const V zero = SET1(0), one = SET1(1), alpha = SET1(e->alpha), twice = SET1(2.0F * e->weight);
    const bool mixes = e->alpha > 0, penalises = e->weight > 0;
    float lane[16] = {0};
    double sum = 0;

    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i += W) {
            const size_t at = r * n + i, m = n - i < W ? n - i : W;
            const V v = edge_get(x + at, m), size = ABS(v);
            V d = edge_get(dx + at, m);
            if (e->clamp != NULL) { d = IF_LE(size, edge_limit(e->clamp, i, e->step, m), d); }
            if (mixes) { d = ADD(d, MUL(alpha, IF_LT(zero, v, edge_get(dy + at, m)))); }
            if (penalises) {
                const V inverse = edge_limit(e->inverse, i, e->step, m);
                const V excess = MAX(SUB(MUL(size, inverse), one), zero);
                float *s = lane + i % 16;
                d = ADD(d, SIGNED(MUL(MUL(twice, excess), inverse), v));
                PUT(s, ADD(GET(s), MUL(excess, excess)));
            }
            edge_put(dx + at, d, m);
        }
    }
    for (size_t l = 0; l < 16; l++) { sum += (double)lane[l]; }
    return sum;
}

#undef V
#undef W
#undef SET1
#undef ADD
#undef SUB
#undef MUL
#undef GET
#undef GETN
#undef PUT
#undef PUTN
#undef MIN
#undef MAX
#undef ABS
#undef IF_LE
#undef IF_LT
#undef SIGNED
