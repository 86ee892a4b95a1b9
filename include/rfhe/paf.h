/* PAFs: low-degree polynomials that stand in for ReLU and max where only additions and products exist.
 *
 * Words. A PAF acts on the scaled input u = x / scale; it is made for |u| <= 1 and clamps nothing. Whatever its kind it
 * is a function f(u) near ReLU(u), and the activation is y = scale * f(x / scale). Three kinds:
 *   sign     f(u) = (u + u * P(u)) / 2, P = p_K(...p_2(p_1(u))) a composite of odd polynomials near sign(u)
 *   even     f(u) = l u + sum_k c_k T_k(2u^2 - 1), an even polynomial and a linear term; T_k are Chebyshev polynomials
 *   general  f(u) = sum_k c_k T_k(u)
 * Sources (keys of docs/bibliography.md): [CKK20] f_n and g_n; [LLN22] minimax composites, with the tables released
 * with [LLLNK21]; [ReLUFHE] and [SmartPAF24] their use in place of ReLU and the tuning of their coefficients. */
#ifndef RFHE_PAF_H
#define RFHE_PAF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RFHE_PAF_MAX_STAGES = 6,
    RFHE_PAF_MAX_TERMS = 33,   /* coefficients of one stage                        */
    RFHE_PAF_MAX_COEFS = 6 * 33,
    RFHE_PAF_MAX_STEPS = 320   /* steps of one evaluation schedule                 */
};

typedef enum rfhe_paf_kind { RFHE_PAF_SIGN = 0, RFHE_PAF_EVEN, RFHE_PAF_GENERAL } rfhe_paf_kind;

/* A plain value: copy it freely. Stages stand in the order of evaluation.
 *   sign     n_terms[k] = (degree + 1) / 2, coef[k][j] multiplies y^(2j+1)
 *   even     one stage, n_terms = degree/2 + 2; coef[0][k] multiplies T_k(2u^2-1), the last one multiplies u
 *   general  one stage, n_terms = degree + 1; coef[0][k] multiplies T_k(u)                                    */
typedef struct rfhe_paf {
    rfhe_paf_kind kind;
    uint32_t n_stages;
    uint32_t n_terms[RFHE_PAF_MAX_STAGES];
    double coef[RFHE_PAF_MAX_STAGES][RFHE_PAF_MAX_TERMS];
} rfhe_paf;

/* ---- the catalogue ---- */

typedef struct rfhe_paf_form {
    const char *name;   /* "f1g2", "alpha7", "even8" ...                                              */
    const char *title;  /* the name in mathematics, such as "f1 o g2, g2 first"                       */
    const char *source; /* where the coefficients come from                                           */
    double unit;        /* the scale that its authors had in mind, in standard deviations; 0 = any    */
} rfhe_paf_form;

/* The catalogue in its display order; NULL when i is beyond its end. */
RFHE_API const rfhe_paf_form *rfhe_paf_form_at(size_t i);

/* The PAF of that name. Beyond the catalogue, "evenD" (D even, 2 .. 62) is designed on the spot, and the suffix
 * ":reversed" to a sign form evaluates the stages in the opposite order, as the code published with [SmartPAF24] does.
 * RFHE_E_ARG with a sentence for an unknown name, RFHE_E_NOMEM. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_from_name(rfhe_paf *out, const char *name, rfhe_error *err);

/* Refuses (RFHE_E_ARG) stage counts, term counts and coefficients that no function here could use. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_check(const rfhe_paf *p, rfhe_error *err);
/* The stages of a sign form in the opposite order; other kinds stay as they are. */
RFHE_API void rfhe_paf_reverse(rfhe_paf *p);
/* Degrees of the stages in the order of evaluation; returns their number. */
RFHE_API uint32_t rfhe_paf_degrees(const rfhe_paf *p, uint32_t degrees[RFHE_PAF_MAX_STAGES]);
/* All coefficients in one row, stage after stage: how gradients and fits number them. */
RFHE_API size_t rfhe_paf_coef_count(const rfhe_paf *p);
RFHE_API void rfhe_paf_coef_get(const rfhe_paf *p, double *flat);
RFHE_API void rfhe_paf_coef_set(rfhe_paf *p, const double *flat);

/* ---- values and errors in double ---- */

/* f(u). */
RFHE_API double rfhe_paf_value(const rfhe_paf *p, double u);
/* The sign composite P(u); for the other kinds (2 f(u) - u) / |u|, and 0 at 0. */
RFHE_API double rfhe_paf_sign(const rfhe_paf *p, double u);
/* Returns f(u); *slope = f'(u); dc (if not NULL) receives the derivative by each of the rfhe_paf_coef_count
 * coefficients. With y = s f(x/s): dy/dx = f'(u), dy/dc = s df/dc, dy/ds = f(u) - u f'(u). */
RFHE_API double rfhe_paf_value_grad(const rfhe_paf *p, double u, double *slope, double *dc);
/* max(a, b) = ((a + b) + (a - b) P((a - b) / scale)) / 2 with *da, *db its derivatives (may be NULL). scale > 0. */
RFHE_API double rfhe_paf_max(const rfhe_paf *p, double a, double b, double scale, double *da, double *db);

typedef struct rfhe_paf_error {
    double max_relu, at;  /* largest |f(u) - ReLU(u)| on [-1, 1] and a point where it occurs  */
    double rms_relu;      /* root mean square of the same, u uniform on [-1, 1]               */
    double max_sign[7];   /* largest |P(u) - 1| on [e, 1] for e = 2^-1 ... 2^-7; sign forms only */
    double slope0;        /* P'(0): how fast small values are told apart                      */
    double overflow[4];   /* smallest u > 1 with |P(u) - 1| above 0.1, 0.5, 2, 10; sign forms; INFINITY beyond 16 */
} rfhe_paf_error;

RFHE_API rfhe_paf_error rfhe_paf_measure(const rfhe_paf *p);

/* ---- the evaluation schedule: what a ciphertext has to go through ---- */

typedef enum rfhe_paf_op {
    RFHE_PAF_OP_INPUT,  /* u; for max the difference of the two values                       level 0            */
    RFHE_PAF_OP_MUL,    /* a * b, two ciphertexts (a == b: a square)                         max(a, b) + 1      */
    RFHE_PAF_OP_SCALE,  /* a * c, a plaintext constant                                       a + 1              */
    RFHE_PAF_OP_INT,    /* a * c, c a small whole number: additions or a negation            a                  */
    RFHE_PAF_OP_ADD,    /* a + b                                                             max(a, b)          */
    RFHE_PAF_OP_CONST   /* a + c                                                             a                  */
} rfhe_paf_op;

typedef struct rfhe_paf_step { /* step i writes register i; a and b are earlier registers */
    rfhe_paf_op op;
    uint16_t a, b;
    uint16_t level;   /* levels used up when the step is done                                                     */
    bool relinearise; /* lazy relinearisation: bring this result back to two parts, its user cannot take three    */
    double c;
} rfhe_paf_step;

/* A straight-line program of minimal depth. The value wanted is out_scale * (last register); out_scale is folded into
 * the layer after, 1/scale into the layer before. Found by rfhe_paf_schedule_relu, counted, never typed in. */
typedef struct rfhe_paf_schedule {
    uint32_t n_steps;
    rfhe_paf_step step[RFHE_PAF_MAX_STEPS];
    double out_scale;
    uint32_t depth;            /* levels of the whole activation                              */
    uint32_t products;         /* ciphertext by ciphertext                                    */
    uint32_t plain_products;   /* ciphertext by constant                                      */
    uint32_t relinearisations; /* key switches when sums of products share one                */
} rfhe_paf_schedule;

/* f(u) with the product u * P(u) merged into the last stage.
 * max: the value is ((a - b) P(a - b)) / 2, to which (a + b)/2 is added at no depth: the same program without the
 * term u/2, so it has the same depth.  RFHE_E_ARG for a PAF that fails rfhe_paf_check or where a constant would be all
 * there is, RFHE_E_NOMEM. Milliseconds. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_schedule_relu(rfhe_paf_schedule *out, const rfhe_paf *p,
                                                          rfhe_error *err);
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_schedule_max(rfhe_paf_schedule *out, const rfhe_paf *p,
                                                         rfhe_error *err);
/* As rfhe_paf_schedule_relu, with one of RFHE_PAF_WAYS fixed choices of what the search may do and how the polynomial is
 * scaled, instead of the cheapest: polynomials of one shape scheduled one way have the same steps, unless special
 * coefficients allow fewer. For channels that share a ciphertext. RFHE_E_UNSUPPORTED when the way does not suit. */
enum { RFHE_PAF_WAYS = 16 };
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_schedule_relu_way(rfhe_paf_schedule *out, const rfhe_paf *p,
                                                              uint32_t way, rfhe_error *err);
/* Runs the program on a number: out_scale times the last register. */
RFHE_API double rfhe_paf_schedule_run(const rfhe_paf_schedule *s, double u);

/* ---- design ---- */

typedef struct rfhe_paf_design {
    double epsilon;                      /* the first stage is fitted on [epsilon, 1]                      */
    double error[RFHE_PAF_MAX_STAGES];   /* minimax error of each stage                                    */
    double lo[RFHE_PAF_MAX_STAGES], hi[RFHE_PAF_MAX_STAGES]; /* the interval it was fitted on              */
} rfhe_paf_design;

/* Minimax composite sign by the multi-precision exchange algorithm. Degrees odd, 1 .. 63, n of them, 1 <= n <= 6.
 *   epsilon   in (0, 1), or 0: chosen so that the ReLU error inside the gap [0, epsilon] equals that outside it, which
 *             makes it the best ReLU of these degrees
 *   top       the first interval is [epsilon, top]; 1 unless a published table wants 2 (0 = 1)
 * `info` may be NULL. RFHE_E_ARG, RFHE_E_NOMEM, RFHE_E_UNSUPPORTED when the exchange does not converge. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_design_sign(rfhe_paf *out, rfhe_paf_design *info,
                                                        const uint32_t *degrees, size_t n,
                                                        double epsilon, double top, rfhe_error *err);
/* The even polynomial of this degree (even, 2 .. 62) with the smallest largest error to |u|, halved, plus u/2. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_design_even(rfhe_paf *out, rfhe_paf_design *info,
                                                        uint32_t degree, rfhe_error *err);

/* ---- histograms of activations ---- */

enum { RFHE_HISTOGRAM_BINS = 2048 };

/* Counts over [-range, range), range a power of two that doubles by itself when a larger value comes: bins then merge
 * in pairs, so the counts depend only on the values, never on their order. Zero state: empty. A plain value. */
typedef struct rfhe_histogram {
    double range; /* 0 = empty so far */
    uint64_t count[RFHE_HISTOGRAM_BINS];
    uint64_t n, bad;      /* finite values; NaN and infinities, which are counted nowhere else */
    double sum, sum2;     /* of x and x^2                                                       */
    double sum3, sum4;
    double min, max;      /* valid when n > 0                                                   */
} rfhe_histogram;

/* Adds n values x[0], x[stride], ...; the sums are taken over fixed pieces, so that the bits do not depend on the team. */
RFHE_API void rfhe_histogram_add(rfhe_histogram *h, const float *x, size_t n, size_t stride);
/* A tensor [outer][channels][inner], or [outer][channels/block][inner][block] when block > 0, into h[channels]. */
RFHE_API void rfhe_histogram_add_channels(rfhe_histogram *h, const float *x, size_t outer, size_t channels,
                                          size_t inner, size_t block);
RFHE_API void rfhe_histogram_merge(rfhe_histogram *into, const rfhe_histogram *from);
RFHE_API double rfhe_histogram_mean(const rfhe_histogram *h);
RFHE_API double rfhe_histogram_sigma(const rfhe_histogram *h);
/* The largest |x|. */
RFHE_API double rfhe_histogram_reach(const rfhe_histogram *h);
/* The r such that the fraction q of the values has |x| <= r, to one bin. */
RFHE_API double rfhe_histogram_abs_quantile(const rfhe_histogram *h, double q);

/* ---- coefficient tuning (CT) ---- */

typedef struct rfhe_paf_fit_options { /* zero = choose for me */
    double tail;        /* share of the weight spread evenly over |x| <= scale (0 = 0.001; negative = none) */
    uint32_t max_steps; /* Levenberg-Marquardt iterations (0 = 200)                                          */
    double ridge;       /* pull towards the start, relative to the largest curvature (0 = none)              */
} rfhe_paf_fit_options;

typedef struct rfhe_paf_fit_report {
    double rms_before, rms_after; /* weighted RMS of y - ReLU(x), in the unit of x            */
    double relative_before, relative_after; /* the same divided by the weighted RMS of ReLU(x) */
    double outside;               /* share of the values with |x| > scale                     */
    uint32_t steps;
} rfhe_paf_fit_report;

/* Tunes all coefficients of `p` in place to the weighted least-squares fit of ReLU over the histogram. Even and general
 * PAFs: one orthogonal factorisation. Sign forms: Levenberg-Marquardt from the coefficients given.
 *   scale   > 0. Values beyond it take part with the weight they have; for sign forms, which explode there, as
 *           if they lay at its ends. `report` may be NULL.
 * An empty histogram leaves `p` as it is. RFHE_E_ARG for a bad scale or PAF, RFHE_E_NOMEM. Milliseconds.
 * Source: replaces the tuning of [SmartPAF24] section 4 (Adam on stored activations) by the exact problem it samples; [Mar63]. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_fit(rfhe_paf *p, rfhe_paf_fit_report *report,
                                                const rfhe_histogram *h, double scale,
                                                const rfhe_paf_fit_options *opt, rfhe_error *err);
/* n independent fits, one per channel, on the whole team; report may be NULL. The first failure by index is returned,
 * the other channels are fitted all the same. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_fit_channels(rfhe_paf *p, rfhe_paf_fit_report *report,
                                                         const rfhe_histogram *h, const double *scale,
                                                         size_t n, const rfhe_paf_fit_options *opt,
                                                         rfhe_error *err);
/* Weighted RMS error as in rfhe_paf_fit_report, without fitting. */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_fit_error(double *rms, double *relative, const rfhe_paf *p,
                                                      const rfhe_histogram *h, double scale,
                                                      const rfhe_paf_fit_options *opt, rfhe_error *err);

typedef struct rfhe_paf_adam_options { /* zero = as published */
    double rate;                 /* 0.01                                                   */
    double min_rate;             /* 1e-4                                                   */
    uint32_t epochs;             /* 40                                                     */
    uint32_t steps_per_epoch;    /* 22: 900 images in batches of 40                        */
    uint32_t patience;           /* 2                                                      */
    bool keep_best;              /* the published code keeps the last coefficients         */
    uint64_t seed;
} rfhe_paf_adam_options;

/* The published schedule: mean squared error on n samples, nine tenths to train on, Adam, reduce-on-plateau by the
 * error on the rest. scale > 0 fixed, or 0: the largest |x| of each batch (dynamic). */
RFHE_API RFHE_MUST_USE rfhe_status rfhe_paf_fit_adam(rfhe_paf *p, const float *x, size_t n, double scale,
                                                     const rfhe_paf_adam_options *opt, rfhe_error *err);

#ifdef __cplusplus
}
#endif
#endif
