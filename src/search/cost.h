/* Prices: what every form costs at every activation on encrypted images, for every parameter set the network may run on.
 * Within a set the costs of instructions add up, and a set carries every form up to its depth: so a frontier is found set by
 * set, and the best of all sets together is the frontier.
 *
 * A form that is merged away has no instruction: it takes a refresh and a packing from the program. Its price is what the
 * network planned with that one activation merged takes, less what the same network takes otherwise, plus the price of the
 * form that stood there. That does not add up where wide kernels push all rows apart (docs/decisions/006): the first such
 * line pays for all of them. So a set comes twice, the second time (`wide`) with prices around the network in which all
 * lines are merged that can be; an assignment costs what the cheaper of the two says. */
#ifndef RFHE_SEARCH_COST_H
#define RFHE_SEARCH_COST_H

#include "plan/cost.h"
#include "search/bank.h"

enum { RFHE_SEARCH_MAX_SETS = 12 };

typedef struct rfhe_price_set {
    char name[16];
    char machine[64]; /* whose times */
    bool wide;        /* around the network with all lines                               */
    uint32_t log2_n;
    double fixed_seconds; /* everything but activations                                 */
    double memory_bytes;  /* keys, weights, ciphertexts: largest over the forms          */
    double *seconds;      /* [layers][forms]; INFINITY where the set has too few levels */
} rfhe_price_set;

typedef struct rfhe_prices { /* zero state: empty */
    rfhe_price_set set[RFHE_SEARCH_MAX_SETS];
    size_t n;
    bool planned;     /* by plan/; else a rough count of refreshes and products */
    char source[400]; /* threads, whose times, or why not planned               */
} rfhe_prices;

typedef struct rfhe_server { /* the machine that will serve */
    uint32_t threads;
    const rfhe_machine *calibration; /* n of them; what none fits is priced with built-in times */
    size_t n;
} rfhe_server;

/* Plans the network some times per form and set. What plan/ cannot lower is priced by counting ciphertexts and products with the
 * timings in docs/results/refresh.md. RFHE_E_NOMEM; RFHE_E_UNSUPPORTED when no set carries any form everywhere. */
RFHE_MUST_USE rfhe_status rfhe_prices_find(rfhe_prices *out, const rfhe_bank *b,
                                           const rfhe_graph *base, const rfhe_profile *profile,
                                           const rfhe_server *server, const rfhe_progress *progress,
                                           rfhe_error *err);
void rfhe_prices_clear(rfhe_prices *p);

/* The cheapest set that carries `choice`: its index and the seconds; SIZE_MAX when there is none. */
size_t rfhe_prices_best(const rfhe_prices *p, const rfhe_bank *b, const uint8_t *choice,
                        double *seconds);

#endif
