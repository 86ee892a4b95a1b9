/* The allocator described in mem.h. Each block is preceded by a 64-byte header that remembers its size. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { HEADER = 64, PAGE = 4096, HUGE_FROM = 2 << 20 };

typedef struct header {
    size_t bytes; /* what the caller asked for */
} header;

static _Atomic size_t current, peak, allocations, limit, fail_at;

static header *header_of(void *p)
{
    return (header *)(void *)((unsigned char *)p - HEADER);
}

static bool must_fail(void)
{
    size_t n = atomic_load_explicit(&fail_at, memory_order_relaxed);

    while (n != 0) {
        if (atomic_compare_exchange_weak(&fail_at, &n, n - 1)) { return n == 1; }
    }
    return false;
}

static bool account(size_t bytes)
{
    const size_t now = atomic_fetch_add(&current, bytes) + bytes;
    const size_t cap = atomic_load_explicit(&limit, memory_order_relaxed);
    size_t high = atomic_load_explicit(&peak, memory_order_relaxed);

    if (cap != 0 && now > cap) {
        atomic_fetch_sub(&current, bytes);
        return false;
    }
    while (now > high && !atomic_compare_exchange_weak(&peak, &high, now)) {}
    return true;
}

void *rfhe_alloc(size_t count, size_t size)
{
    size_t bytes = 0, total = 0;

    if (__builtin_mul_overflow(count, size, &bytes) || must_fail()) { return NULL; }
    /* A large block starts on a huge-page border; its size is whole small pages, so the rest is not wasted. */
    const bool is_huge = bytes >= HUGE_FROM;
    const size_t unit = is_huge ? PAGE : HEADER;
    if (__builtin_add_overflow(bytes, HEADER + unit - 1, &total) || !account(bytes)) {
        return NULL;
    }
    total &= ~(unit - 1);
    void *base = NULL;
    if (posix_memalign(&base, is_huge ? HUGE_FROM : HEADER, total) != 0) {
        atomic_fetch_sub(&current, bytes);
        return NULL;
    }
    if (is_huge) { (void)madvise(base, total, MADV_HUGEPAGE); }
    unsigned char *user = (unsigned char *)base + HEADER;
    header_of(user)->bytes = bytes;
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return user;
}

void *rfhe_calloc(size_t count, size_t size)
{
    void *p = rfhe_alloc(count, size);

    if (p != NULL) { memset(p, 0, count * size); }
    return p;
}

void *rfhe_realloc(void *old, size_t count, size_t size)
{
    void *p = rfhe_alloc(count, size);

    if (p == NULL || old == NULL) { return p; }
    const size_t had = header_of(old)->bytes, want = count * size;
    memcpy(p, old, had < want ? had : want);
    rfhe_free(old);
    return p;
}

void rfhe_free(void *p)
{
    if (p == NULL) { return; }
    atomic_fetch_sub(&current, header_of(p)->bytes);
    free(header_of(p));
}

void rfhe_free_secret(void *p)
{
    if (p == NULL) { return; }
    memset(p, 0, header_of(p)->bytes);
    __asm__ volatile("" : : "r"(p) : "memory"); /* the stores above are visible to "someone" */
    rfhe_free(p);
}

char *rfhe_strdup(const char *s)
{
    const size_t n = strlen(s) + 1;
    char *copy = rfhe_alloc(n, 1);

    if (copy != NULL) { memcpy(copy, s, n); }
    return copy;
}

rfhe_mem_stats rfhe_mem_get_stats(void)
{
    return (rfhe_mem_stats){.current = atomic_load(&current),
                            .peak = atomic_load(&peak),
                            .allocations = atomic_load(&allocations)};
}

void rfhe_mem_reset_peak(void)
{
    atomic_store(&peak, atomic_load(&current));
}

void rfhe_mem_set_limit(size_t bytes)
{
    atomic_store(&limit, bytes);
}

void rfhe_mem_fail_at(size_t n)
{
    atomic_store(&fail_at, n);
}

size_t rfhe_peak_rss(void)
{
    struct rusage u;

    return getrusage(RUSAGE_SELF, &u) == 0 ? (size_t)u.ru_maxrss * 1024 : 0;
}
