/* See threads.h. */
#include "base/threads.h"

#include <omp.h>

unsigned rfhe_threads_set(unsigned n)
{
    if (n == 0) { n = (unsigned)omp_get_num_procs(); }
    omp_set_dynamic(0);
    omp_set_num_threads((int)n);
    return n;
}

unsigned rfhe_threads_get(void)
{
    return (unsigned)omp_get_max_threads();
}
