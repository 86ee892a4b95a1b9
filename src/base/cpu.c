/* See cpu.h. The features are asked once; RFHE_ISA in the environment is read once. */
#include "base/cpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static rfhe_isa best, allowed;
static bool bf16;
static char name[96] = "unknown";
static const char *const names[RFHE_ISA_COUNT] = {"portable", "avx2", "avx512ifma"};

static void read_name(void)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];

    if (f == NULL) { return; }
    while (fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            (void)snprintf(name, sizeof name, "%s", colon + 2);
            name[strcspn(name, "\n")] = '\0';
            break;
        }
    }
    (void)fclose(f);
}

static void ask(void)
{
    const char *wish = getenv("RFHE_ISA");

#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) { best = RFHE_ISA_AVX2; }
    if (best == RFHE_ISA_AVX2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512ifma")) {
        best = RFHE_ISA_AVX512IFMA;
    }
    bf16 = __builtin_cpu_supports("avx512bf16") != 0;
#endif
    allowed = best;
    if (wish != NULL) {
        rfhe_isa w = best;
        if (rfhe_isa_parse(wish, &w) && w < best) { allowed = w; }
    }
    read_name();
}

rfhe_isa rfhe_cpu_best_isa(void)
{
    (void)pthread_once(&once, ask);
    return best;
}

rfhe_isa rfhe_cpu_isa(void)
{
    (void)pthread_once(&once, ask);
    return allowed;
}

void rfhe_cpu_limit_isa(rfhe_isa at_most)
{
    (void)pthread_once(&once, ask);
    allowed = at_most < best ? at_most : best;
}

const char *rfhe_isa_name(rfhe_isa isa)
{
    return isa < RFHE_ISA_COUNT ? names[isa] : "unknown";
}

bool rfhe_isa_parse(const char *text, rfhe_isa *out)
{
    for (int i = 0; i < RFHE_ISA_COUNT; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (rfhe_isa)i;
            return true;
        }
    }
    return false;
}

bool rfhe_cpu_has_bf16(void)
{
    (void)pthread_once(&once, ask);
    return bf16;
}

const char *rfhe_cpu_name(void)
{
    (void)pthread_once(&once, ask);
    return name;
}
