/* search/: harms of choices on a tiny network, and a whole search that is interrupted again and again. */
#include "test.h"

#include "base/mem.h"
#include "base/text.h"
#include "nn/zoo.h"
#include "search/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- Made-up images: 12x12, one bright quadrant out of four, in noise --- */

enum { SIDE = 12, CLASSES = 4, BATCH = 16 };

typedef struct made_up {
    uint64_t seed, epoch, position, images;
} made_up;

static rfhe_status next(void *user, float *images, uint32_t *labels, uint32_t *count, rfhe_error *err)
{
    made_up *m = user;

    (void)err;
    *count = (uint32_t)(m->images - m->position < BATCH ? m->images - m->position : BATCH);
    for (uint32_t i = 0; i < *count; i++) {
        rfhe_rng r = rfhe_rng_seed(m->seed + m->epoch, m->position + i);
        labels[i] = (uint32_t)((m->position + i) % CLASSES);
        for (size_t p = 0; p < SIDE * SIDE; p++) {
            const size_t quadrant = p / SIDE / (SIDE / 2) * 2 + p % SIDE / (SIDE / 2);
            images[i * SIDE * SIDE + p] = (float)(rfhe_rng_normal(&r) + (quadrant == labels[i] ? 0.5 : 0.0));
        }
    }
    m->position += *count;
    if (m->position == m->images) {
        m->position = 0;
        m->epoch++;
    }
    return RFHE_OK;
}

static rfhe_status seek(void *user, uint64_t epoch, uint64_t position, rfhe_error *err)
{
    made_up *m = user;

    (void)err;
    m->epoch = epoch;
    m->position = position;
    return RFHE_OK;
}

static made_up fit_images = {.seed = 1000, .images = 128}, select_images = {.seed = 9000, .images = 192};
static const rfhe_batch_source fit = {.next = next, .seek = seek, .user = &fit_images, .images = 128, .batch = BATCH};
static const rfhe_batch_source chosen = {.next = next, .seek = seek, .user = &select_images, .images = 192, .batch = BATCH};

static void ok(rfhe_status st, const rfhe_error *err)
{
    if (st != RFHE_OK) { fail_msg("%s: %s", rfhe_status_name(st), err->text); }
}

static rfhe_graph *relu, *base;     /* with averages from the start */
static rfhe_graph *maxima, *pooled; /* a network with maxima, and averages in their place */
static rfhe_profile profile, pooled_profile;

static void train_one(rfhe_graph **teacher, rfhe_graph **replaced, rfhe_profile *seen, rfhe_pool_mode before, rfhe_pool_mode after)
{
    const rfhe_zoo_options zoo = {.width = 0.25, .channels = 1, .image_height = SIDE, .image_width = SIDE, .classes = CLASSES, .seed = 3};
    rfhe_train_options o = {.epochs = 5, .rate = 0.05, .optim = {.momentum = 0.9}};
    rfhe_train_result r = {0};
    rfhe_error err = {0};

    ok(rfhe_zoo_build(teacher, "fashion-cnn", &zoo, &err), &err);
    ok(rfhe_graph_infer(*teacher, 0, &err), &err);
    ok(rfhe_method_pools(*teacher, before, NULL, &err), &err);
    ok(rfhe_train(&r, *teacher, &fit, &chosen, &o, &err), &err);
    assert_true(r.select_top1 > 0.7);
    rfhe_train_result_clear(&r);
    ok(rfhe_graph_clone(replaced, *teacher), &err);
    ok(rfhe_graph_infer(*replaced, 0, &err), &err);
    ok(rfhe_method_pools(*replaced, after, NULL, &err), &err);
    ok(fit.seek(fit.user, 0, 0, &err), &err);
    ok(rfhe_profile_collect(seen, *replaced, &fit, 0, RFHE_COMPUTE_F32, NULL, &err), &err);
}

static int train_them(void **state)
{
    (void)state;
    train_one(&relu, &base, &profile, RFHE_POOL_AVERAGE, RFHE_POOL_KEEP);
    train_one(&maxima, &pooled, &pooled_profile, RFHE_POOL_KEEP, RFHE_POOL_AVERAGE);
    return 0;
}

static int free_it(void **state)
{
    (void)state;
    rfhe_profile_clear(&profile);
    rfhe_profile_clear(&pooled_profile);
    rfhe_graph_free(relu);
    rfhe_graph_free(base);
    rfhe_graph_free(maxima);
    rfhe_graph_free(pooled);
    return rfhe_mem_get_stats().current == 0 ? 0 : -1;
}

/* --- Harms --- */

static const char *const forms[] = {"even2", "even4", "even14", "even30", "f1g2"};
enum { FORMS = 5 };

static void gradients_tell_small_harms_and_rank_large_ones(void **state)
{
    rfhe_bank b = {0};
    rfhe_error err = {0};
    double gradient[3 * FORMS], measured[3 * FORMS];
    const rfhe_replace_options o = {0};

    (void)state;
    ok(rfhe_bank_fill(&b, base, &profile, forms, FORMS, &o, NULL, &err), &err);
    assert_int_equal(b.layers, 3);
    ok(rfhe_bank_harm_gradient(gradient, &b, base, &profile, &fit, 96, NULL, &err), &err);
    ok(rfhe_bank_harm_measured(measured, &b, base, &profile, &fit, 96, NULL, &err), &err);
    for (size_t l = 0; l < 3; l++) {
        const double *g = gradient + l * FORMS, *m = measured + l * FORMS;
        /* Nearly the ReLU: first order is all there is. */
        assert_true(g[3] > 0 && g[3] / m[3] > 0.5 && g[3] / m[3] < 2);
        assert_true(g[0] > g[1] && g[1] > g[2] && g[2] > g[3]);
        assert_true(m[0] > m[1] && m[1] > m[2] && m[2] > m[3]);
    }
    /* What follows the last activation is linear: there, first order is exact but for images whose runner-up changes. */
    for (size_t f = 1; f < FORMS; f++) {
        const double ratio = gradient[2 * FORMS + f] / measured[2 * FORMS + f];
        assert_true(ratio > 0.7 && ratio < 1.4);
    }
    rfhe_bank_clear(&b);
}

static void banks_put_networks_together(void **state)
{
    const rfhe_replace_options o = {0}, one = {.forms = &forms[2], .n_forms = 1};
    const uint8_t mixed[] = {1, 2, 4}, uniform[] = {2, 2, 2};
    rfhe_bank b = {0};
    rfhe_graph *g = NULL, *same = NULL;
    rfhe_replace_report report = {0};
    rfhe_error err = {0};
    uint32_t depth = 0, at = 0;

    (void)state;
    ok(rfhe_bank_fill(&b, base, &profile, forms, FORMS, &o, NULL, &err), &err);
    ok(rfhe_bank_graph(&g, &b, base, &profile, mixed, &err), &err);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (rfhe_paf_node_is(&g->nodes[i])) { assert_string_equal(rfhe_paf_node_form(&g->nodes[i]), forms[mixed[at++]]); }
    }
    assert_int_equal(at, 3);
    ok(rfhe_method_depth(&depth, g, &err), &err);
    assert_int_equal(depth, 5);
    rfhe_graph_free(g);
    /* The same bits as the method itself. */
    ok(rfhe_bank_graph(&g, &b, base, &profile, uniform, &err), &err);
    ok(rfhe_graph_clone(&same, base), &err);
    ok(rfhe_method_replace(&report, same, &profile, &one, &err), &err);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (!rfhe_paf_node_is(&g->nodes[i])) { continue; }
        const rfhe_tensor *x = rfhe_graph_constant(g, &g->nodes[i], 1), *y = NULL;
        for (uint32_t k = 0; k < same->n_nodes; k++) {
            if (strcmp(same->nodes[k].name, g->nodes[i].name) == 0) { y = rfhe_graph_constant(same, &same->nodes[k], 1); }
        }
        assert_true(x != NULL && y != NULL && x->count == y->count);
        assert_memory_equal(x->f32, y->f32, x->count * sizeof *x->f32);
    }
    rfhe_free(report.row);
    rfhe_graph_free(g);
    rfhe_graph_free(same);
    rfhe_bank_clear(&b);
}

/* --- A search, interrupted --- */

typedef struct plan {
    const char *name;
    double trust;
    bool pools;
} plan;

typedef struct stopper {
    uint64_t calls, stop_at;
} stopper;

static int report(void *user, const char *what, double done, double total, const char *unit, const char *note)
{
    stopper *s = user;

    (void)what, (void)done, (void)total, (void)unit, (void)note;
    return ++s->calls != s->stop_at;
}

/* Everything a search found, as text. */
static rfhe_status search_once(const char *folder, stopper *stop, const plan *how, rfhe_text *found, rfhe_error *err)
{
    static const char *const few[] = {"even2", "even4", "even14"};
    const rfhe_progress progress = {.report = report, .user = stop};
    const rfhe_study study = {.model_hash = "h", .data = "d", .settings = "", .pool = "average", .seed = 1, .model = "m",
                              .version = "0", .machine = "here", .isa = "any", .threads = 1};
    const rfhe_search_world world = {.teacher = how->pools ? maxima : relu, .base = how->pools ? pooled : base,
                                     .pools_replaced = how->pools, .profile = how->pools ? &pooled_profile : &profile,
                                     .calibrate = &fit, .fit = &fit, .select = &chosen};
    const rfhe_search_options o = {
        .forms = few, .n_forms = 3, .replace = {.tuning = RFHE_TUNE_NONE, .margin = 4}, .seed = 1, .server = {.threads = 1}, .probes = 3, .points = 6, .candidates = 4, .sense_images = 48,
        .trust = how->trust, .budget_passes = 2400, .train_pools = how->pools, .headroom = 1.05, .progress = &progress,
        .oneshot = {.train = {.epochs = 2, .rate = 0.01, .optim = {.momentum = 0.9}, .loss = {.distill = 0.9, .temperature = 2}, .clip = 1},
                    .penalty = 0.5, .range = 1}};
    rfhe_store *store = NULL;
    rfhe_search *s = NULL;
    rfhe_graph *g = NULL;
    int64_t id = 0;
    size_t n = 0, n_front = 0;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_store_open(&store, folder, true, err));
    RFHE_TRY(rfhe_store_study(store, &id, &study, err));
    RFHE_TRY(rfhe_search_new(&s, store, id, &world, &o, err));
    RFHE_TRY(rfhe_search_run(s, err));
    const rfhe_trial *t = rfhe_search_trials(s, &n);
    const size_t *at = rfhe_search_frontier(s, &n_front);
    assert_true(n > 10 && n_front > 0);
    for (size_t i = 0; i < n; i++) {
        rfhe_text_printf(found, "%" PRId64 " %s %s %s %u %" PRIu64 " %s %.17g %.17g %" PRIu64 " %" PRId64 "\n", t[i].id, t[i].kind,
                         t[i].recipe, t[i].assignment, t[i].rung, t[i].planned, t[i].status, t[i].top1, t[i].predicted_seconds,
                         t[i].image_passes, t[i].parent);
    }
    for (size_t i = 0; i < n_front; i++) {
        rfhe_text_printf(found, "frontier %zu\n", at[i]);
        RFHE_TRY(rfhe_search_network(&g, s, &t[at[i]], err));
        rfhe_graph_free(g);
    }

done:
    rfhe_search_free(s);
    rfhe_store_close(store);
    return st;
}

static void interrupted(const plan *how)
{
    rfhe_rng r = rfhe_rng_seed(test_seed(), 5);
    char whole_folder[4200], pieces_folder[4200];
    rfhe_text whole = {0}, pieces = {0};
    size_t stops = 0;
    stopper stop = {0};
    rfhe_error err = {0};
    rfhe_status st = RFHE_OK;

    (void)snprintf(whole_folder, sizeof whole_folder, "%.4000s/%s-whole", test_folder(), how->name);
    (void)snprintf(pieces_folder, sizeof pieces_folder, "%.4000s/%s-pieces", test_folder(), how->name);
    ok(search_once(whole_folder, &stop, how, &whole, &err), &err);
    const uint64_t calls = stop.calls;
    for (int round = 0; round < 20; round++) {
        stop = (stopper){.stop_at = round < 12 ? calls / 20 + rfhe_rng_below(&r, calls / 4) : 0};
        err = (rfhe_error){0};
        st = search_once(pieces_folder, &stop, how, &pieces, &err);
        if (st == RFHE_OK) { break; }
        assert_int_equal(st, RFHE_E_INTERRUPTED);
        stops++;
    }
    ok(st, &err);
    assert_true(stops >= 2);
    assert_string_equal(whole.data, pieces.data);
    assert_null(strstr(whole.data, "running"));
    assert_non_null(strstr(whole.data, "oneshot"));
    assert_true((strstr(whole.data, "pools pools relu 1 ") != NULL) == how->pools);
    rfhe_text_clear(&whole);
    /* Once more: nothing is left to do, nothing changes. */
    stop = (stopper){0};
    ok(search_once(pieces_folder, &stop, how, &whole, &err), &err);
    assert_string_equal(whole.data, pieces.data);
    rfhe_text_clear(&whole);
    rfhe_text_clear(&pieces);
}

static void an_interrupted_search_ends_like_another(void **state)
{
    (void)state;
    interrupted(&(plan){.name = "gradient", .trust = 0.01});
}

static void also_when_gradients_are_not_trusted(void **state)
{
    (void)state;
    interrupted(&(plan){.name = "measured", .trust = 1.5});
}

static void also_when_maxima_are_trained_away_first(void **state)
{
    (void)state;
    interrupted(&(plan){.name = "pools", .trust = 0.01, .pools = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_tell_small_harms_and_rank_large_ones),
        cmocka_unit_test(banks_put_networks_together),
        cmocka_unit_test(an_interrupted_search_ends_like_another),
        cmocka_unit_test(also_when_gradients_are_not_trusted),
        cmocka_unit_test(also_when_maxima_are_trained_away_first),
    };

    return cmocka_run_group_tests_name("search/search", tests, train_them, free_it);
}
