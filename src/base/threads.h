/* The one place that knows the size of the team. Parallel loops elsewhere are plain OpenMP over chunks whose number
 * does not depend on the team, so that results are the same bits for any number of threads. */
#ifndef RFHE_BASE_THREADS_H
#define RFHE_BASE_THREADS_H

#include <stddef.h>
#include <stdint.h>

/* Sets the team; 0 = all cores the process may use. Returns the number in force. */
unsigned rfhe_threads_set(unsigned n);
unsigned rfhe_threads_get(void);

/* Start of piece `k` of `n` items cut into `pieces` as evenly as possible; k == pieces gives n. */
static inline size_t rfhe_split(size_t n, size_t pieces, size_t k)
{
    const size_t base = n / pieces, extra = n % pieces;

    return k * base + (k < extra ? k : extra);
}

#endif
