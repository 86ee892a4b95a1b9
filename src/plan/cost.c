/* See cost.h. */
#include "plan/cost.h"

#include <stdio.h>

uint64_t rfhe_pack_merges(uint32_t channels, uint32_t block)
{
    uint64_t n = 0;

    for (uint32_t m = block / 2; m >= 1; m /= 2) { n += m < channels ? m : channels; }
    return n;
}

uint64_t rfhe_linear_products(const rfhe_stencil *s, uint32_t in_block)
{
    const size_t taps = (size_t)s->height * s->width;
    uint64_t n = 0;

    if (s->w == NULL) { return 0; }
    for (size_t o = 0; o < s->out_channels; o++) {
        for (size_t c0 = 0; c0 < s->in_channels; c0 += in_block) {
            const size_t c1 = c0 + in_block < s->in_channels ? c0 + in_block : s->in_channels;
            const float *w = s->w + (o * s->in_channels + c0) * taps;
            size_t k = 0;
            while (k < (c1 - c0) * taps && w[k] == 0) { k++; }
            n += k < (c1 - c0) * taps;
        }
    }
    return n;
}

/* Work relative to B15-3: transforms of a key switch at the top, N log N. */
void rfhe_machine_built_in(rfhe_machine *out, const rfhe_program *p, uint32_t threads)
{
    const double n = (double)(UINT64_C(1) << (p->ckks.log2_n - 15)) * p->ckks.log2_n / 15.0;
    const double limbs = (double)p->ckks.chain_length / 18.0, speed = threads <= 1 ? 2.1 : 2.0 / threads;

    *out = (rfhe_machine){.log2_n = p->ckks.log2_n, .threads = threads, .mod_raise = 0.016, .to_slots = 0.315,
                          .reduce = 0.088, .to_coeffs = 0.079, .multiply_high = 0.006, .multiply_low = 0.004,
                          .scale_high = 0.001, .product = 0.00015, .merge = 0.0005, .finish = 0.0005};
    (void)snprintf(out->name, sizeof out->name, "built in");
    (void)snprintf(out->set, sizeof out->set, "%s", p->set);
    double *const high[] = {&out->mod_raise, &out->to_slots, &out->reduce};
    double *const low[] = {&out->to_coeffs, &out->multiply_high, &out->multiply_low, &out->scale_high,
                           &out->product, &out->merge, &out->finish};
    for (size_t i = 0; i < sizeof high / sizeof *high; i++) { *high[i] *= n * limbs * limbs * speed; }
    for (size_t i = 0; i < sizeof low / sizeof *low; i++) { *low[i] *= n * speed; }
}
