/* bf16: the upper half of a float. */
#ifndef RFHE_NN_BF16_H
#define RFHE_NN_BF16_H

#include <stdint.h>
#include <string.h>

static inline float rfhe_from_bf16(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

/* Nearest, ties to even; a NaN stays a (quiet) NaN. */
static inline uint16_t rfhe_to_bf16(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    const uint32_t rounded = (u + 0x7fffU + ((u >> 16) & 1U)) >> 16;
    const uint32_t quiet = (u >> 16) | 0x40U;
    return (uint16_t)((u & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
}

#endif
