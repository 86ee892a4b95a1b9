/* The body of kernels.h, included once per element type and instruction set. The includer defines
 *   T            the element type          NAME(f)   the function's name with its suffix
 *   LD(p)        float value of *p         ST(p, v)  stores float v
 * No include guard: that is the point. */

static void NAME(bn_stats)(float *restrict s, float *restrict q, const void *xv, size_t n,
                           size_t period, const float *restrict k)
{
    const T *restrict x = xv;

    for (size_t at = 0; at < n; at += period) {
        const size_t m = n - at < period ? n - at : period;
        for (size_t j = 0; j < m; j++) {
            const float d = LD(x + at + j) - k[j];
            s[j] += d;
            q[j] += d * d;
        }
    }
}

static void NAME(bn_apply)(void *yv, const void *xv, const void *rv, size_t n, size_t period,
                           const float *restrict a, const float *restrict b, bool relu)
{
    T *y = yv;
    const T *x = xv, *r = rv;
    const float low = relu ? 0.0F : -INFINITY;

    for (size_t at = 0; at < n; at += period) {
        const size_t m = n - at < period ? n - at : period;
        if (r != NULL) {
            IVDEP
            for (size_t j = 0; j < m; j++) {
                const float v = a[j] * LD(x + at + j) + b[j] + LD(r + at + j);
                ST(y + at + j, v < low ? low : v);
            }
        } else {
            IVDEP
            for (size_t j = 0; j < m; j++) {
                const float v = a[j] * LD(x + at + j) + b[j];
                ST(y + at + j, v < low ? low : v);
            }
        }
    }
}

/* The masked gradient of element j; `at` and the arrays are the caller's locals. */
#define GRAD_NONE(j) (LD(dy + at + (j)))
#define GRAD_INPUT(j) (a[j] * LD(x + at + (j)) + b[j] > 0.0F ? LD(dy + at + (j)) : 0.0F)
#define GRAD_OUTPUT(j) (LD(y + at + (j)) > 0.0F ? LD(dy + at + (j)) : 0.0F)
#define GRAD2_NONE(j) (LD(dy + at + (j)) + LD(dy2 + at + (j)))
#define GRAD2_INPUT(j) (a[j] * LD(x + at + (j)) + b[j] > 0.0F ? GRAD2_NONE(j) : 0.0F)
#define GRAD2_OUTPUT(j) (LD(y + at + (j)) > 0.0F ? GRAD2_NONE(j) : 0.0F)

/* Expands `loop` for each way to get the gradient, so that the choice is outside the inner loop. */
#define CHOOSE(loop)                                                                               \
    if (dy2 == NULL) {                                                                             \
        if (mask == RFHE_MASK_NONE) { loop(GRAD_NONE) }                                            \
        else if (mask == RFHE_MASK_INPUT) { loop(GRAD_INPUT) }                                     \
        else { loop(GRAD_OUTPUT) }                                                                 \
    } else if (mask == RFHE_MASK_NONE) { loop(GRAD2_NONE) }                                        \
    else if (mask == RFHE_MASK_INPUT) { loop(GRAD2_INPUT) }                                        \
    else { loop(GRAD2_OUTPUT) }

static void NAME(bn_grad_sums)(float *restrict s, float *restrict q, void *keepv, const void *dyv,
                               const void *dy2v, const void *xv, const void *yv, size_t n,
                               size_t period, const float *restrict mean, const float *restrict a,
                               const float *restrict b, rfhe_mask mask)
{
    T *keep = keepv;
    const T *dy = dyv, *dy2 = dy2v, *x = xv, *y = yv;

    for (size_t at = 0; at < n; at += period) {
        const size_t m = n - at < period ? n - at : period;
        if (keep != NULL) {
#define LOOP(grad)                                                                                 \
    IVDEP                                                                                          \
    for (size_t j = 0; j < m; j++) {                                                               \
        const float g = grad(j);                                                                   \
        s[j] += g;                                                                                 \
        q[j] += g * (LD(x + at + j) - mean[j]);                                                    \
        ST(keep + at + j, g);                                                                      \
    }
            CHOOSE(LOOP)
#undef LOOP
        } else {
#define LOOP(grad)                                                                                 \
    IVDEP                                                                                          \
    for (size_t j = 0; j < m; j++) {                                                               \
        const float g = grad(j);                                                                   \
        s[j] += g;                                                                                 \
        q[j] += g * (LD(x + at + j) - mean[j]);                                                    \
    }
            CHOOSE(LOOP)
#undef LOOP
        }
    }
}

static void NAME(bn_grad_apply)(void *dxv, const void *dyv, const void *dy2v, const void *xv,
                                const void *yv, size_t n, size_t period, const float *restrict p,
                                const float *restrict q, const float *restrict r,
                                const float *restrict a, const float *restrict b, rfhe_mask mask)
{
    T *dx = dxv;
    const T *dy = dyv, *dy2 = dy2v, *x = xv, *y = yv;

    for (size_t at = 0; at < n; at += period) {
        const size_t m = n - at < period ? n - at : period;
#define LOOP(grad)                                                                                 \
    IVDEP                                                                                          \
    for (size_t j = 0; j < m; j++) {                                                               \
        const float g = grad(j);                                                                   \
        ST(dx + at + j, p[j] * g + (q[j] * LD(x + at + j) + r[j]));                                \
    }
        CHOOSE(LOOP)
#undef LOOP
    }
}

static void NAME(relu)(void *yv, const void *xv, size_t n, float low, float high)
{
    T *y = yv;
    const T *x = xv;

    IVDEP
    for (size_t i = 0; i < n; i++) {
        const float v = LD(x + i), w = v < low ? low : v;
        ST(y + i, w > high ? high : w);
    }
}

static void NAME(relu_grad)(void *dxv, const void *dyv, const void *dy2v, const void *xv, size_t n,
                            float low, float high, bool closed, bool add)
{
    T *dx = dxv;
    const T *dy = dyv, *dy2 = dy2v, *x = xv;

    if (!closed && !add && dy2 == NULL) {
        IVDEP
        for (size_t i = 0; i < n; i++) {
            const float v = LD(x + i), g = LD(dy + i);
            ST(dx + i, ((v > low) & (v < high)) ? g : 0.0F);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const float v = LD(x + i);
        const float g = LD(dy + i) + (dy2 != NULL ? LD(dy2 + i) : 0.0F);
        const bool inside = closed ? ((v >= low) & (v <= high)) : ((v > low) & (v < high));
        ST(dx + i, (add ? LD(dx + i) : 0.0F) + (inside ? g : 0.0F));
    }
}

static void NAME(add)(void *yv, const void *av, const void *bv, size_t n)
{
    T *y = yv;
    const T *a = av, *b = bv;

    IVDEP
    for (size_t i = 0; i < n; i++) { ST(y + i, LD(a + i) + LD(b + i)); }
}

static void NAME(mul)(void *yv, const void *av, const void *bv, size_t n)
{
    T *y = yv;
    const T *a = av, *b = bv;

    IVDEP
    for (size_t i = 0; i < n; i++) { ST(y + i, LD(a + i) * LD(b + i)); }
}

static void NAME(load)(float *restrict y, const void *xv, size_t n)
{
    const T *restrict x = xv;

    for (size_t i = 0; i < n; i++) { y[i] = LD(x + i); }
}

static void NAME(store)(void *yv, const float *restrict x, size_t n)
{
    T *restrict y = yv;

    for (size_t i = 0; i < n; i++) { ST(y + i, x[i]); }
}

#undef GRAD_NONE
#undef GRAD_INPUT
#undef GRAD_OUTPUT
#undef GRAD2_NONE
#undef GRAD2_INPUT
#undef GRAD2_OUTPUT
#undef CHOOSE
