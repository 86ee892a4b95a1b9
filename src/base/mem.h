/* Every allocation of the library: 64-byte aligned, overflow-checked, counted, limited, and able to fail on
 * request so that tests can walk every error path. Blocks of 2 MiB or more ask for huge pages. */
#ifndef RFHE_BASE_MEM_H
#define RFHE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* count * size bytes, 64-byte aligned, contents undefined; NULL when the product overflows, the limit would be
 * passed, or the system refuses. A zero-byte request returns a valid block. */
void *rfhe_alloc(size_t count, size_t size);
/* The same, filled with zero bytes. */
void *rfhe_calloc(size_t count, size_t size);
/* Grows or shrinks; on failure the old block stays valid and NULL is returned. `old` may be NULL. */
void *rfhe_realloc(void *old, size_t count, size_t size);
/* `p` may be NULL. */
void rfhe_free(void *p);
/* Wipes the block so that the compiler cannot drop it, then frees. For secrets. */
void rfhe_free_secret(void *p);
char *rfhe_strdup(const char *s);

typedef struct rfhe_mem_stats {
    size_t current, peak; /* bytes asked for and not yet freed; its maximum since the last reset */
    size_t allocations;   /* calls that succeeded */
} rfhe_mem_stats;

rfhe_mem_stats rfhe_mem_get_stats(void);
void rfhe_mem_reset_peak(void);
/* Refuses to let `current` pass `bytes` (0 = no limit): a limit turns into RFHE_E_NOMEM, not into a killed process. */
void rfhe_mem_set_limit(size_t bytes);
/* Test hook: the n-th allocation from now (1 = the next) fails, once; 0 switches it off. */
void rfhe_mem_fail_at(size_t n);

/* Peak resident set of this process in bytes, from the operating system; 0 when it does not tell. */
size_t rfhe_peak_rss(void);

#endif
