/* The loops of fft.h, included once per instruction set with ISA defined. Compilers vectorise the inner loops; stages
 * with half length below 8 run on blocks of eight held in registers. */
#include "ckks/fft.h"

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

static void forward_stage(double *restrict re, double *restrict im, size_t n, size_t h,
                          const double *restrict wr, const double *restrict wi)
{
    for (size_t i = 0; i < n; i += 2 * h) {
        double *restrict ar = re + i, *restrict ai = im + i;
        double *restrict br = re + i + h, *restrict bi = im + i + h;
        for (size_t j = 0; j < h; j++) {
            const double tr = br[j] * wr[j] - bi[j] * wi[j];
            const double ti = br[j] * wi[j] + bi[j] * wr[j];
            br[j] = ar[j] - tr;
            bi[j] = ai[j] - ti;
            ar[j] = ar[j] + tr;
            ai[j] = ai[j] + ti;
        }
    }
}

static void inverse_stage(double *restrict re, double *restrict im, size_t n, size_t h,
                          const double *restrict wr, const double *restrict wi)
{
    for (size_t i = 0; i < n; i += 2 * h) {
        double *restrict ar = re + i, *restrict ai = im + i;
        double *restrict br = re + i + h, *restrict bi = im + i + h;
        for (size_t j = 0; j < h; j++) {
            const double dr = ar[j] - br[j], di = ai[j] - bi[j];
            ar[j] = ar[j] + br[j];
            ai[j] = ai[j] + bi[j];
            br[j] = dr * wr[j] + di * wi[j]; /* times the conjugate factor */
            bi[j] = di * wr[j] - dr * wi[j];
        }
    }
}

/* Half lengths 1, 2, 4 on one block of eight numbers (or fewer when n < 8). */
static void small_stages(double *re, double *im, size_t n, const double *w_re, const double *w_im,
                         int is_forward)
{
    const size_t block = n < 8 ? n : 8;

    for (size_t i = 0; i < n; i += block) {
        double r[8], m[8];
        for (size_t j = 0; j < block; j++) { r[j] = re[i + j], m[j] = im[i + j]; }
        if (is_forward) {
            for (size_t h = 1; h < block; h *= 2) {
                forward_stage(r, m, block, h, w_re + h, w_im + h);
            }
        } else {
            for (size_t h = block / 2; h >= 1; h /= 2) {
                inverse_stage(r, m, block, h, w_re + h, w_im + h);
            }
        }
        for (size_t j = 0; j < block; j++) { re[i + j] = r[j], im[i + j] = m[j]; }
    }
}

void JOIN(rfhe_fft_forward_, ISA)(double *re, double *im, size_t n, const double *w_re,
                                  const double *w_im)
{
    small_stages(re, im, n, w_re, w_im, 1);
    for (size_t h = 8; h < n; h *= 2) { forward_stage(re, im, n, h, w_re + h, w_im + h); }
}

void JOIN(rfhe_fft_inverse_, ISA)(double *re, double *im, size_t n, const double *w_re,
                                  const double *w_im)
{
    for (size_t h = n / 2; h >= 8; h /= 2) { inverse_stage(re, im, n, h, w_re + h, w_im + h); }
    small_stages(re, im, n, w_re, w_im, 0);
}
