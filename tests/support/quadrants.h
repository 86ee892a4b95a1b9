/* Made-up images that a tiny network learns in seconds: side x side, one channel, noise, and one of the four quadrants
 * brighter by 1; its number is the label. */
#ifndef RFHE_TEST_QUADRANTS_H
#define RFHE_TEST_QUADRANTS_H

#include "base/random.h"
#include "nn/evaluate.h"

enum { QUADRANTS_CLASSES = 4 };

typedef struct quadrants {
    uint64_t seed, images, epoch, position;
    uint32_t batch, side;
    double noise; /* its standard deviation */
} quadrants;

static inline rfhe_status quadrants_next(void *user, float *images, uint32_t *labels, uint32_t *count, rfhe_error *err)
{
    quadrants *m = user;
    const size_t side = m->side;

    (void)err;
    *count = (uint32_t)(m->images - m->position < m->batch ? m->images - m->position : m->batch);
    for (uint32_t i = 0; i < *count; i++) {
        /* The label belongs to the image's number; the noise, like augmentation, to epoch and number. */
        rfhe_rng r = rfhe_rng_seed(m->seed + m->epoch, m->position + i);
        labels[i] = (uint32_t)((m->position + i) % QUADRANTS_CLASSES);
        for (size_t p = 0; p < side * side; p++) {
            const size_t quadrant = p / side / (side / 2) * 2 + p % side / (side / 2);
            images[i * side * side + p] = (float)(m->noise * rfhe_rng_normal(&r) + (quadrant == labels[i] ? 1.0 : 0.0));
        }
    }
    m->position += *count;
    if (m->position == m->images) {
        m->position = 0;
        m->epoch++;
    }
    return RFHE_OK;
}

static inline rfhe_status quadrants_seek(void *user, uint64_t epoch, uint64_t position, rfhe_error *err)
{
    quadrants *m = user;

    (void)err;
    m->epoch = epoch;
    m->position = position;
    return RFHE_OK;
}

/* A source of them; `m` has seed, images, batch, side and noise, and must outlive it. */
static inline rfhe_batch_source quadrants_source(quadrants *m)
{
    return (rfhe_batch_source){.next = quadrants_next, .seek = quadrants_seek, .user = m, .images = m->images, .batch = m->batch};
}

#endif
