/* search/cost: prices of forms, lines among them, against plans of whole assignments; calibrations. */
#include "test.h"

#include "base/mem.h"
#include "nn/zoo.h"
#include "plan/lower.h"
#include "search/cost.h"

#include <math.h>
#include <stdio.h>

enum { SIDE = 16, BATCH = 8 };

static rfhe_status next(void *user, float *images, uint32_t *labels, uint32_t *count, rfhe_error *err)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 3);

    (void)user, (void)err;
    *count = BATCH;
    for (size_t i = 0; i < (size_t)BATCH * 3 * SIDE * SIDE; i++) { images[i] = (float)rfhe_rng_normal(&r); }
    for (size_t i = 0; i < BATCH; i++) { labels[i] = 0; }
    return RFHE_OK;
}

static rfhe_status seek(void *user, uint64_t epoch, uint64_t position, rfhe_error *err)
{
    (void)user, (void)epoch, (void)position, (void)err;
    return RFHE_OK;
}

static const rfhe_batch_source noise = {.next = next, .seek = seek, .images = BATCH, .batch = BATCH};
static const char *const forms[] = {"linear", "even2", "even4", "even14"};
enum { FORMS = 4, LAYERS = 19 };

static rfhe_graph *base;
static rfhe_profile profile;
static rfhe_bank bank;

static int make(void **state)
{
    const rfhe_zoo_options zoo = {.width = 0.125, .image_height = SIDE, .image_width = SIDE, .seed = 4};
    const rfhe_replace_options o = {0};

    (void)state;
    MUST(rfhe_zoo_build(&base, "resnet20", &zoo, err));
    MUST(rfhe_graph_infer(base, 0, err));
    MUST(rfhe_profile_collect(&profile, base, &noise, 0, RFHE_COMPUTE_F32, NULL, err));
    MUST(rfhe_bank_fill(&bank, base, &profile, forms, FORMS, &o, NULL, err));
    assert_int_equal(bank.layers, LAYERS);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    rfhe_bank_clear(&bank);
    rfhe_profile_clear(&profile);
    rfhe_graph_free(base);
    return rfhe_mem_get_stats().current == 0 ? 0 : -1;
}

/* What the bill of the assignment's program would say on that set. */
static double planned_seconds(const char *set, const uint8_t *choice, const rfhe_server *server, uint32_t *refreshes)
{
    const rfhe_plan_options o = {.set = set, .threads = server->threads, .machine = server->calibration,
                                 .n_machines = server->n, .no_bill = true};
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    rfhe_machine m;

    MUST(rfhe_bank_graph(&g, &bank, base, &profile, choice, err));
    MUST(rfhe_plan(&p, g, &o, err));
    rfhe_machine_choose(&m, p, server->threads, server->calibration, server->n);
    const double seconds = rfhe_plan_seconds(p, &m);
    *refreshes = p->n_activations;
    rfhe_program_free(p);
    rfhe_graph_free(g);
    return seconds;
}

static void prices_add_up_to_the_bill(void **state)
{
    const rfhe_server server = {.threads = 1};
    rfhe_prices prices = {0};
    rfhe_rng r = rfhe_rng_seed(test_seed(), 9);
    uint8_t choice[LAYERS];
    uint32_t refreshes = 0;
    double seconds = 0;
    size_t lines = 0;

    (void)state;
    MUST(rfhe_prices_find(&prices, &bank, base, &profile, &server, NULL, err));
    assert_true(prices.planned && prices.n == 3);
    assert_non_null(strstr(prices.source, "times built in for B15-2, B15-3, B15-5"));
    for (size_t k = 0; k < prices.n; k++) { /* inside of the nine blocks, and behind the last one */
        size_t n = 0;
        for (size_t l = 0; l < LAYERS; l++) {
            const bool has = isfinite(prices.set[k].seconds[l * FORMS]);
            assert_true(has == (l % 2 == 1 || l == LAYERS - 1));
            n += has;
        }
        assert_int_equal(n, 10);
    }
    for (size_t round = 0; round < test_rounds(9); round++) {
        for (size_t l = 0; l < LAYERS; l++) {
            do { /* mostly polynomials of few levels, so that all sets come up */
                choice[l] = (uint8_t)rfhe_rng_below(&r, round % 3 == 0 ? 4 : round % 3 == 1 ? 3 : 2);
            } while (choice[l] == 0 && !isfinite(prices.set[0].seconds[l * FORMS]));
        }
        const size_t set = rfhe_prices_best(&prices, &bank, choice, &seconds);
        assert_true(set < prices.n);
        const double bill = planned_seconds(prices.set[set].name, choice, &server, &refreshes);
        uint32_t left = LAYERS;
        for (size_t l = 0; l < LAYERS; l++) { left -= choice[l] == 0; }
        assert_int_equal(refreshes, left);
        lines += LAYERS - left;
        if (fabs(seconds / bill - 1) > 0.03) {
            fail_msg("%s with %u refreshes: %.3f s by prices, %.3f s by its bill", prices.set[set].name, refreshes, seconds, bill);
        }
    }
    assert_true(lines > 5);
    rfhe_prices_clear(&prices);
}

static void calibrations_are_used_as_the_planner_does(void **state)
{
    const rfhe_server plain = {.threads = 1};
    const rfhe_plan_options o = {.set = "B15-3", .threads = 1, .no_bill = true};
    const uint8_t choice[LAYERS] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
    rfhe_prices before = {0}, after = {0};
    rfhe_machine slow;
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    uint32_t refreshes = 0;

    (void)state;
    MUST(rfhe_bank_graph(&g, &bank, base, &profile, choice, err));
    MUST(rfhe_plan(&p, g, &o, err));
    p->refresh.log2_slots = 0; /* calibrations are taken with all slots in use */
    rfhe_machine_built_in(&slow, p, 1);
    rfhe_program_free(p);
    rfhe_graph_free(g);
    (void)snprintf(slow.name, sizeof slow.name, "a slow one");
    slow.to_slots *= 3;
    const rfhe_server server = {.threads = 1, .calibration = &slow, .n = 1};
    MUST(rfhe_prices_find(&before, &bank, base, &profile, &plain, NULL, err));
    MUST(rfhe_prices_find(&after, &bank, base, &profile, &server, NULL, err));
    assert_non_null(strstr(after.source, "a slow one for B15-3"));
    assert_non_null(strstr(after.source, "built in for B15-2"));
    for (size_t i = 1; i < LAYERS * FORMS; i += FORMS) {
        assert_true(after.set[0].seconds[i] == before.set[0].seconds[i]);
        assert_true(after.set[1].seconds[i] > 1.3 * before.set[1].seconds[i]);
    }
    double sum = after.set[1].fixed_seconds;
    for (size_t l = 0; l < LAYERS; l++) { sum += after.set[1].seconds[l * FORMS + 2]; }
    const double bill = planned_seconds("B15-3", choice, &server, &refreshes);
    if (fabs(sum / bill - 1) > 0.01) { fail_msg("%.4f s by prices, %.4f s by the bill", sum, bill); }
    rfhe_prices_clear(&before);
    rfhe_prices_clear(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prices_add_up_to_the_bill),
        cmocka_unit_test(calibrations_are_used_as_the_planner_does),
    };

    return cmocka_run_group_tests_name("search/cost", tests, make, drop);
}
