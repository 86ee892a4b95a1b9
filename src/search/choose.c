/* Targets and successive halving: decisions without side effects. */
#include "search/search.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- targets ---- */

/* By how much each limit is exceeded, as a ratio; at most 1 when it is kept. Floating sums of fractions are given some room. */
static double excess(const rfhe_target *target, const rfhe_trial *t, double relu_top1)
{
    double worst = 0;

    if (target->max_drop > 0) {
        worst = fmax(worst, fmax(relu_top1 - t->top1, 0) / (target->max_drop + 1e-9));
    }
    if (target->max_seconds > 0) {
        worst = fmax(worst, t->predicted_seconds / target->max_seconds);
    }
    if (target->max_bytes > 0) { worst = fmax(worst, t->memory_bytes / target->max_bytes); }
    return worst;
}

size_t rfhe_target_pick(const rfhe_target *target, const rfhe_trial *t, const size_t *at, size_t n,
                        double relu_top1)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < n; i++) {
        const rfhe_trial *mine = &t[at[i]], *its = best == SIZE_MAX ? NULL : &t[at[best]];
        if (!(excess(target, mine, relu_top1) <= 1)) { continue; }
        const bool faster = its != NULL && mine->predicted_seconds < its->predicted_seconds;
        const bool better =
            its != NULL && (mine->top1 > its->top1 || (mine->top1 == its->top1 && faster));
        if (its == NULL || (target->max_drop > 0 ? faster : better)) { best = i; }
    }
    return best;
}

size_t rfhe_target_nearest(const rfhe_target *target, const rfhe_trial *t, const size_t *at,
                           size_t n, double relu_top1)
{
    size_t best = SIZE_MAX;
    double least = INFINITY;

    for (size_t i = 0; i < n; i++) {
        const double e = excess(target, &t[at[i]], relu_top1);
        if (e < least) {
            least = e;
            best = i;
        }
    }
    return best;
}

/* ---- mixed against uniform ---- */

static bool is_network(const rfhe_trial *t)
{
    return strcmp(t->status, "done") == 0 && (strcmp(t->recipe, "ct") == 0 || strcmp(t->recipe, "oneshot") == 0);
}

static bool is_uniform(const char *assignment)
{
    const size_t n = strcspn(assignment, ",");

    for (const char *at = assignment + n; *at != '\0'; at += 1 + n) {
        if (strncmp(at + 1, assignment, n) != 0 || strcspn(at + 1, ",") != n) { return false; }
    }
    return true;
}

/* After as much training: < 0, 0, > 0 as a was shown less, as much, more. */
static int by_training(const rfhe_trial *a, const rfhe_trial *b)
{
    if (a->rung != b->rung) { return a->rung < b->rung ? -1 : 1; }
    return (a->planned > b->planned) - (a->planned < b->planned);
}

size_t rfhe_best_uniform(const rfhe_target *target, const rfhe_trial *t, size_t n, double relu_top1)
{
    size_t best = SIZE_MAX, picked = SIZE_MAX;

    for (size_t i = 0; i < n; i++) {
        if (!is_network(&t[i]) || !is_uniform(t[i].assignment)) { continue; }
        const int later = best == SIZE_MAX ? 1 : by_training(&t[i], &t[best]);
        if (later > 0 || (later == 0 && t[i].top1 > t[best].top1)) { best = i; }
    }
    const double from = best != SIZE_MAX && t[best].rung > 0 ? t[best].top1 : relu_top1;
    for (size_t i = 0; i < n && best != SIZE_MAX; i++) {
        if (!is_network(&t[i]) || !is_uniform(t[i].assignment) || by_training(&t[i], &t[best]) != 0) { continue; }
        const size_t rivals[] = {picked, i}, first = picked == SIZE_MAX;
        const size_t k = rfhe_target_pick(target, t, rivals + first, 2 - first, from);
        if (k != SIZE_MAX) { picked = rivals[first + k]; }
    }
    return picked != SIZE_MAX ? picked : best;
}

size_t rfhe_fastest_as_good(const rfhe_trial *t, size_t n, size_t than)
{
    size_t best = than;

    for (size_t i = 0; i < n; i++) {
        if (is_network(&t[i]) && by_training(&t[i], &t[than]) == 0 && t[i].top1 >= t[than].top1 &&
            t[i].predicted_seconds < t[best].predicted_seconds) {
            best = i;
        }
    }
    return best;
}

/* ---- successive halving ---- */

rfhe_halving rfhe_halving_plan(uint64_t passes, uint32_t candidates, uint32_t batch, uint64_t most)
{
    rfhe_halving h = {0};

    for (uint32_t k = candidates; k > 0 && h.rungs < 8; k = k <= 3 ? 0 : (3 * k + 4) / 5) {
        h.candidates[h.rungs++] = k;
    }
    for (uint32_t r = 0; r < h.rungs; r++) {
        const uint64_t others = h.rungs - 1, parts = others > 0 ? 2 * others : 1;
        uint64_t each = passes / parts * (r == others && others > 0 ? others : 1) / h.candidates[r];
        each = each < most ? each : most;
        h.passes[r] = each / batch * batch;
    }
    while (h.rungs > 0 && h.passes[0] == 0) { /* too little for so many: begin with half of them */
        if (h.candidates[0] == 1) { return (rfhe_halving){0}; }
        h = rfhe_halving_plan(passes, (h.candidates[0] + 1) / 2, batch, most);
    }
    return h;
}

typedef struct place {
    double seconds, top1, area;
    size_t at, layer;
} place;

static int by_seconds(const void *va, const void *vb)
{
    const place *a = va, *b = vb;

    if (a->layer != b->layer) { return a->layer < b->layer ? -1 : 1; }
    if (a->seconds != b->seconds) { return a->seconds < b->seconds ? -1 : 1; }
    return (a->at > b->at) - (a->at < b->at);
}

static int by_worth(const void *va, const void *vb)
{
    const place *a = va, *b = vb;

    if (a->layer != b->layer) { return a->layer < b->layer ? -1 : 1; }
    if (a->area != b->area) { return a->area > b->area ? -1 : 1; }
    return (a->at > b->at) - (a->at < b->at);
}

/* Peels the frontier off, again and again. */
static void peel(place *p, bool *on, double *seconds, double *top1, size_t n)
{
    size_t left = n;

    for (size_t i = 0; i < n; i++) {
        p[i].layer = SIZE_MAX;
        seconds[i] = p[i].seconds;
        top1[i] = p[i].top1;
    }
    for (size_t layer = 0; left > 0; layer++) {
        rfhe_frontier_mark(on, seconds, top1, n);
        size_t marked = 0;
        for (size_t i = 0; i < n; i++) {
            if (!on[i]) { continue; }
            p[i].layer = layer;
            seconds[i] = NAN;
            marked++;
        }
        left = marked > 0 ? left - marked : 0; /* none: the rest are not numbers */
    }
}

/* Sorted by layer and time: what a point of the frontier is worth; below `floor` nothing is. */
static void weigh(place *p, size_t n, double floor)
{
    for (size_t i = 0; i < n; i++) {
        const bool last = i + 1 == n || p[i + 1].layer != p[i].layer;
        const double below = i > 0 && p[i].layer == 0 ? fmax(p[i - 1].top1, floor) : floor;
        p[i].area = p[i].layer > 0 ? p[i].top1
                    : last         ? INFINITY
                                   : log(p[i + 1].seconds / p[i].seconds) * (p[i].top1 - below);
    }
    for (size_t i = 0; i < n; i++) {
        if (p[i].top1 <= floor) { p[i] = (place){.at = p[i].at, .layer = SIZE_MAX - 1, .area = p[i].top1}; }
        if (isnan(p[i].top1)) { p[i].area = 0; }
    }
}

/* `who` moves up to `rank`, unless it is there or higher. */
static void promote(size_t *order, size_t n, size_t who, size_t rank)
{
    for (size_t i = rank + 1; i < n; i++) {
        if (order[i] != who) { continue; }
        memmove(order + rank + 1, order + rank, (i - rank) * sizeof *order);
        order[rank] = who;
    }
}

rfhe_status rfhe_halving_rank(size_t *order, const double *seconds, const double *top1, size_t n,
                              size_t keep)
{
    place *p = rfhe_calloc(n + 1, sizeof *p);
    bool *on = rfhe_alloc(n + 1, sizeof *on);
    double *work = rfhe_alloc(2 * n + 1, sizeof *work), best = 0;
    size_t rival = SIZE_MAX;
    rfhe_status st = RFHE_E_NOMEM;

    if (p == NULL || on == NULL || work == NULL) { goto done; }
    for (size_t i = 0; i < n; i++) {
        p[i] = (place){.seconds = seconds[i], .top1 = top1[i], .at = i};
        best = fmax(best, top1[i]);
    }
    peel(p, on, work, work + n, n);
    qsort(p, n, sizeof *p, by_seconds);
    weigh(p, n, best - 0.03);
    qsort(p, n, sizeof *p, by_worth);
    for (size_t i = 0; i < n; i++) { order[i] = p[i].at; }
    for (size_t i = 0; i < n && keep < n; i++) {
        const bool faster = seconds[i] < seconds[keep], better = rival == SIZE_MAX || top1[i] > top1[rival];
        if (faster && better && !isnan(top1[i])) { rival = i; }
    }
    promote(order, n, keep, 1);
    promote(order, n, rival, 2);
    st = RFHE_OK;

done:
    rfhe_free(p);
    rfhe_free(on);
    rfhe_free(work);
    return st;
}
