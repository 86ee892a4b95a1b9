/* method/: the decisions of the published recipes, profiles, maxima as trees, replacement, overflow, one-shot training
 * and its continuation, on a tiny network that learns made-up images. */
#include "test.h"

#include "quadrants.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/threads.h"
#include "method/progressive.h"
#include "nn/zoo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- Made-up images: 12x12, one bright quadrant out of four, in noise --- */

enum { SIDE = 12, CLASSES = QUADRANTS_CLASSES, BATCH = 16 };

static quadrants fit_images = {.seed = 1000, .images = 128, .batch = BATCH, .side = SIDE, .noise = 0.7},
                 select_images = {.seed = 9000, .images = 100, .batch = BATCH, .side = SIDE, .noise = 0.7};
static const rfhe_batch_source fit = {
    .next = quadrants_next, .seek = quadrants_seek, .user = &fit_images, .images = 128, .batch = BATCH};
static const rfhe_batch_source chosen = {
    .next = quadrants_next, .seek = quadrants_seek, .user = &select_images, .images = 100, .batch = BATCH};

static void ok(rfhe_status st, const rfhe_error *err)
{
    if (st != RFHE_OK) { fail_msg("%s: %s", rfhe_status_name(st), err->text); }
}

/* --- The network: fashion-cnn, narrow, trained once --- */

static rfhe_graph *trained;

static int train_it(void **state)
{
    const rfhe_zoo_options zoo = {.width = 0.25,
                                  .channels = 1,
                                  .image_height = SIDE,
                                  .image_width = SIDE,
                                  .classes = CLASSES,
                                  .seed = 3};
    rfhe_train_options o = {.epochs = 6, .rate = 0.05, .optim = {.momentum = 0.9}};
    rfhe_train_result r = {0};
    rfhe_error err = {0};

    (void)state;
    ok(rfhe_zoo_build(&trained, "fashion-cnn", &zoo, &err), &err);
    ok(rfhe_graph_infer(trained, 0, &err), &err);
    ok(rfhe_train(&r, trained, &fit, &chosen, &o, &err), &err);
    assert_true(r.select_top1 > 0.9);
    rfhe_train_result_clear(&r);
    return 0;
}

static int free_it(void **state)
{
    (void)state;
    rfhe_graph_free(trained);
    return 0;
}

static rfhe_graph *copy_of(const rfhe_graph *g)
{
    rfhe_graph *c = NULL;
    rfhe_error err = {0};

    ok(rfhe_graph_clone(&c, g), &err);
    ok(rfhe_graph_infer(c, 0, &err), &err);
    return c;
}

static double accuracy(const rfhe_graph *g, float *logits)
{
    const rfhe_exec_options o = {.batch = BATCH};
    rfhe_exec *e = NULL;
    rfhe_loss_sums sums = {0};
    rfhe_error err = {0};

    ok(rfhe_exec_new(&e, g, &o, &err), &err);
    ok(rfhe_evaluate(&sums, e, &chosen, NULL, &err), &err);
    if (logits != NULL) {
        memcpy(logits, rfhe_exec_output(e, 0, NULL), BATCH * CLASSES * sizeof *logits);
    }
    rfhe_exec_free(e);
    return (double)sums.top1 / (double)sums.images;
}

static rfhe_profile profile_of(const rfhe_graph *g)
{
    rfhe_profile p = {0};
    rfhe_error err = {0};

    ok(rfhe_profile_collect(&p, g, &fit, 0, RFHE_COMPUTE_F32, NULL, &err), &err);
    return p;
}

/* --- The state machine --- */

static void decisions_follow_the_published_rules(void **state)
{
    static const struct {
        const char *what;
        rfhe_pa_state before;
        rfhe_pa_outcome o;
        bool has_block;
        rfhe_pa_keep keep;
        rfhe_pa_state after;
        bool ends;
    } cases[] = {
        {"a late best epoch stays in its mode",
         {RFHE_PA_COEFFICIENTS, false, 0.5},
         {0.6, 15, 20, 0.55},
         true,
         RFHE_PA_KEEP_EPOCH,
         {RFHE_PA_COEFFICIENTS, true, 0.6},
         false},
        {"an early best epoch changes the mode",
         {RFHE_PA_COEFFICIENTS, false, 0.5},
         {0.6, 9, 20, 0.55},
         true,
         RFHE_PA_KEEP_EPOCH,
         {RFHE_PA_BLOCK, false, 0.6},
         false},
        {"the first epoch of the second half does not",
         {RFHE_PA_BLOCK, true, 0.5},
         {0.6, 10, 20, 0.55},
         true,
         RFHE_PA_KEEP_EPOCH,
         {RFHE_PA_BLOCK, true, 0.6},
         false},
        {"an equal average wins and stays",
         {RFHE_PA_BLOCK, false, 0.5},
         {0.6, 0, 20, 0.6},
         true,
         RFHE_PA_KEEP_AVERAGE,
         {RFHE_PA_BLOCK, true, 0.6},
         false},
        {"nothing better changes the mode once",
         {RFHE_PA_COEFFICIENTS, true, 0.5},
         {0.5, 3, 20, 0.4},
         true,
         RFHE_PA_KEEP_OLD,
         {RFHE_PA_BLOCK, false, 0.5},
         false},
        {"nothing better twice ends the unit",
         {RFHE_PA_BLOCK, false, 0.5},
         {0.5, 3, 20, 0.4},
         true,
         RFHE_PA_KEEP_OLD,
         {RFHE_PA_BLOCK, false, 0.5},
         true},
        {"nothing better without a block ends it at once",
         {RFHE_PA_COEFFICIENTS, true, 0.5},
         {0.4, 3, 20, 0.4},
         false,
         RFHE_PA_KEEP_OLD,
         {RFHE_PA_COEFFICIENTS, true, 0.5},
         true},
        {"an early improvement without a block ends it",
         {RFHE_PA_COEFFICIENTS, true, 0.5},
         {0.6, 0, 20, 0.4},
         false,
         RFHE_PA_KEEP_EPOCH,
         {RFHE_PA_BLOCK, false, 0.6},
         true},
        {"without alternation the mode stays",
         {RFHE_PA_BOTH, true, 0.5},
         {0.5, 3, 20, 0.4},
         true,
         RFHE_PA_KEEP_OLD,
         {RFHE_PA_BOTH, false, 0.5},
         false},
        {"and the second failure ends it",
         {RFHE_PA_BOTH, false, 0.5},
         {0.5, 3, 20, 0.4},
         true,
         RFHE_PA_KEEP_OLD,
         {RFHE_PA_BOTH, false, 0.5},
         true},
        {"a group that diverged is worth nothing",
         {RFHE_PA_COEFFICIENTS, true, 0.5},
         {-1, 0, 20, -1},
         true,
         RFHE_PA_KEEP_OLD,
         {RFHE_PA_BLOCK, false, 0.5},
         false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rfhe_pa_state s = cases[i].before;
        const rfhe_pa_decision d = rfhe_pa_decide(&s, &cases[i].o, cases[i].has_block);
        if (d.keep != cases[i].keep || d.unit_ends != cases[i].ends ||
            s.best != cases[i].after.best ||
            (!d.unit_ends &&
             (s.mode != cases[i].after.mode || s.improved != cases[i].after.improved))) {
            fail_msg("%s: kept %d, ends %d, mode %d, improved %d, best %g", cases[i].what,
                     (int)d.keep, d.unit_ends, (int)s.mode, s.improved, s.best);
        }
    }
}

/* --- Profile, maxima --- */

static void a_profile_sees_every_value(void **state)
{
    rfhe_profile p = profile_of(trained);

    (void)state;
    assert_int_equal(p.n, 3);
    assert_int_equal(p.images, 128);
    for (size_t i = 0; i < p.n; i++) {
        assert_int_equal(p.layer[i].whole.n, 128 * p.layer[i].per_image);
        uint64_t sum = 0;
        for (size_t c = 0; c < p.layer[i].channels; c++) {
            assert_int_equal(p.layer[i].channel[c].n,
                             128 * p.layer[i].per_image / p.layer[i].channels);
            sum += p.layer[i].channel[c].n;
        }
        assert_int_equal(sum, p.layer[i].whole.n);
        assert_false(p.layer[i].is_difference);
    }
    rfhe_profile_clear(&p);
}

static void a_tree_of_comparisons_is_the_maximum(void **state)
{
    rfhe_graph *tree = copy_of(trained), *average = copy_of(trained), *conv = copy_of(trained);
    float a[BATCH * CLASSES], b[BATCH * CLASSES];
    rfhe_error err = {0};
    uint32_t n = 0;

    (void)state;
    ok(rfhe_method_pools(tree, RFHE_POOL_TREE, &n, &err), &err);
    assert_int_equal(n, 2);
    (void)accuracy(trained, a);
    (void)accuracy(tree, b);
    for (size_t i = 0; i < BATCH * CLASSES; i++) { assert_true(fabsf(a[i] - b[i]) < 1e-4F); }
    rfhe_profile p = profile_of(tree);
    assert_int_equal(p.n, 3 + 2 * 2); /* 2x2: one comparison along rows, one along columns */
    size_t differences = 0;
    for (size_t i = 0; i < p.n; i++) { differences += p.layer[i].is_difference; }
    assert_int_equal(differences, 4);
    rfhe_profile_clear(&p);
    ok(rfhe_method_pools(average, RFHE_POOL_AVERAGE, &n, &err), &err);
    ok(rfhe_method_pools(conv, RFHE_POOL_CONV, &n, &err), &err);
    assert_int_equal(n, 2);
    (void)accuracy(average, a);
    (void)accuracy(conv, b);
    for (size_t i = 0; i < BATCH * CLASSES; i++) { assert_true(fabsf(a[i] - b[i]) < 1e-4F); }
    rfhe_graph_free(tree);
    rfhe_graph_free(average);
    rfhe_graph_free(conv);
}

/* 3x3 windows of stride 2 with padding, on values of both signs: 4 comparisons. */
static void overlapping_padded_windows_too(void **state)
{
    const rfhe_shape shape = {.rank = 4, .dim = {2, 3, 9, 8}};
    const rfhe_attr w = {.window = {.spatial = 2,
                                    .kernel = {3, 3},
                                    .stride = {2, 2},
                                    .dilation = {1, 1},
                                    .pad_begin = {1, 1},
                                    .pad_end = {1, 1},
                                    .groups = 1}};
    const rfhe_exec_options o = {.batch = 2};
    rfhe_graph *g = NULL, *tree = NULL;
    rfhe_exec *a = NULL, *b = NULL;
    rfhe_value_id x = 0, y = 0;
    rfhe_error err = {0};
    rfhe_shape out = {0};
    size_t n = 0;

    (void)state;
    ok(rfhe_graph_new(&g, "max"), &err);
    ok(rfhe_graph_add_value(g, &x, "x", RFHE_F32, &shape), &err);
    ok(rfhe_graph_add_input(g, x), &err);
    ok(rfhe_graph_add_node(g, &y, RFHE_OP_MAXPOOL, "pool", &x, 1, &w), &err);
    ok(rfhe_graph_add_output(g, y), &err);
    tree = copy_of(g);
    ok(rfhe_method_pools(tree, RFHE_POOL_TREE, NULL, &err), &err);
    ok(rfhe_exec_new(&a, g, &o, &err), &err);
    ok(rfhe_exec_new(&b, tree, &o, &err), &err);
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 5);
    for (size_t i = 0; i < 2 * 3 * 9 * 8; i++) {
        rfhe_exec_input(a, 0, NULL)[i] = rfhe_exec_input(b, 0, NULL)[i] =
            (float)(rfhe_rng_normal(&rng) - 2);
    }
    ok(rfhe_exec_forward(a, &err), &err);
    ok(rfhe_exec_forward(b, &err), &err);
    const float *ya = rfhe_exec_output(a, 0, &out), *yb = rfhe_exec_output(b, 0, NULL);
    assert_true(rfhe_shape_count(&out, &n));
    assert_int_equal(n, 2 * 3 * 5 * 4);
    for (size_t i = 0; i < n; i++) { assert_true(fabsf(ya[i] - yb[i]) < 1e-5F); }
    rfhe_exec_free(a);
    rfhe_exec_free(b);
    rfhe_graph_free(g);
    rfhe_graph_free(tree);
}

/* --- Replacement --- */

static void tuning_beats_the_coefficients_of_the_book(void **state)
{
    static const char *const form[] = {"f1g2"};
    rfhe_graph *direct = copy_of(trained), *tuned = copy_of(trained);
    rfhe_profile p = profile_of(trained);
    rfhe_replace_options o = {.forms = form, .n_forms = 1, .tuning = RFHE_TUNE_NONE, .margin = 1.5};
    rfhe_replace_report a = {0}, b = {0};
    rfhe_error err = {0};
    uint32_t depth = 0;

    (void)state;
    ok(rfhe_method_replace(&a, direct, &p, &o, &err), &err);
    o.tuning = RFHE_TUNE_LM;
    ok(rfhe_method_replace(&b, tuned, &p, &o, &err), &err);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.row[0].sets, 1);
    assert_int_equal(b.row[0].sets, b.row[0].channels);
    assert_int_equal(b.depth_max, 5);
    for (size_t i = 0; i < b.n; i++) {
        assert_true(b.row[i].relative_after < b.row[i].relative_before);
        assert_true(b.row[i].relative_after < 0.8 * a.row[i].relative_after);
    }
    ok(rfhe_method_depth(&depth, tuned, &err), &err);
    assert_int_equal(depth, 5);
    assert_true(accuracy(tuned, NULL) >= accuracy(direct, NULL) - 0.02);
    assert_true(accuracy(tuned, NULL) > 0.9 * accuracy(trained, NULL));
    const char *const three[] = {"even4", "f1g2", "even8"};
    o.forms = three;
    o.n_forms = 3;
    rfhe_free(b.row);
    ok(rfhe_method_replace(&b, tuned, &p, &o, &err), &err); /* PAFs are replaced anew */
    assert_string_equal(b.row[2].form, "even8");
    assert_int_equal(b.row[0].depth, 2);
    o.n_forms = 2;
    rfhe_replace_report none = {0};
    assert_int_equal(rfhe_method_replace(&none, tuned, &p, &o, &err), RFHE_E_ARG);
    rfhe_free(a.row);
    rfhe_free(b.row);
    rfhe_profile_clear(&p);
    rfhe_graph_free(direct);
    rfhe_graph_free(tuned);
}

static void overflow_counts_images_beyond_the_range(void **state)
{
    static const char *const form[] = {"even8"};
    rfhe_profile p = profile_of(trained);
    rfhe_error err = {0};

    (void)state;
    for (int tight = 0; tight < 2; tight++) {
        rfhe_graph *g = copy_of(trained);
        const rfhe_replace_options o = {
            .forms = form, .n_forms = 1, .layer_range = true, .sigmas = -1, .margin = tight ? 0.2 : 100};
        rfhe_replace_report r = {0};
        rfhe_overflow *rows = NULL;
        size_t n = 0;
        uint64_t beyond = 0;
        ok(rfhe_method_replace(&r, g, &p, &o, &err), &err);
        ok(rfhe_method_overflow(&rows, &n, &beyond, g, &chosen, RFHE_COMPUTE_F32, NULL, &err),
           &err);
        assert_int_equal(n, 3);
        assert_int_equal(rows[0].images, 100);
        if (tight) {
            assert_true(rows[0].beyond > 90 && rows[0].share > 0 && rows[0].worst > 2);
            assert_true(beyond >= rows[0].beyond);
        } else {
            if (rows[0].beyond != 0 || rows[0].share != 0 || rows[0].worst >= 0.1) {
                fail_msg("%u images beyond, share %g, worst %g", (unsigned)rows[0].beyond, rows[0].share,
                         rows[0].worst);
            }
        }
        rfhe_free(rows);
        rfhe_free(r.row);
        rfhe_graph_free(g);
    }
    rfhe_profile_clear(&p);
}

/* --- Training --- */

static rfhe_graph *replaced(const char *form, double sigmas)
{
    const char *const forms[] = {form};
    rfhe_graph *g = copy_of(trained);
    rfhe_replace_report r = {0};
    rfhe_error err = {0};
    const rfhe_replace_options o = {.forms = forms, .n_forms = 1, .sigmas = sigmas};

    ok(rfhe_method_pools(g, RFHE_POOL_AVERAGE, NULL, &err), &err);
    rfhe_profile p = profile_of(g);
    ok(rfhe_method_replace(&r, g, &p, &o, &err), &err);
    rfhe_free(r.row);
    rfhe_profile_clear(&p);
    return g;
}

static rfhe_oneshot_options recipe(const char *checkpoint)
{
    rfhe_oneshot_options o = {.penalty = 0.01, .ramp_epochs = 1};

    o.train.epochs = 3;
    o.train.rate = 0.02;
    o.train.optim.momentum = 0.9;
    o.train.loss.distill = 0.9;
    o.train.loss.temperature = 2;
    o.train.clip = 1;
    o.train.checkpoint = checkpoint;
    return o;
}

static void oneshot_recovers_and_continues_to_the_same_bits(void **state)
{
    char path[4200];
    rfhe_error err = {0};
    rfhe_graph *whole = replaced("even2", 4), *broken = replaced("even2", 4);
    const double before = accuracy(whole, NULL);
    rfhe_oneshot_options o = recipe(NULL);
    rfhe_train_result r = {0};
    double penalty = NAN;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/oneshot", test_folder());
    ok(rfhe_method_oneshot(&r, &penalty, whole, trained, &fit, &chosen, &o, &err), &err);
    rfhe_train_result_clear(&r);
    assert_true(accuracy(whole, NULL) >= before);
    assert_true(accuracy(whole, NULL) > 0.85);
    assert_true(penalty >= 0);
    o = recipe(path);
    o.train.stop_after = 5; /* inside the ramp */
    assert_int_equal(rfhe_method_oneshot(&r, NULL, broken, trained, &fit, &chosen, &o, &err),
                     RFHE_E_INTERRUPTED);
    assert_true(rfhe_file_exists(path));
    o.train.stop_after = 0;
    err = (rfhe_error){0};
    ok(rfhe_method_oneshot(&r, NULL, broken, trained, &fit, &chosen, &o, &err), &err);
    assert_int_equal(r.first_step, 5);
    rfhe_train_result_clear(&r);
    for (uint32_t v = 0; v < whole->n_values; v++) {
        const rfhe_tensor *a = whole->values[v].constant, *b = broken->values[v].constant;
        if (a != NULL) { assert_memory_equal(a->f32, b->f32, a->count * sizeof(float)); }
    }
    assert_null(whole->nodes[2].op == RFHE_OP_CUSTOM ? whole->nodes[2].attr.custom.control : NULL);
    rfhe_graph_free(whole);
    rfhe_graph_free(broken);
}

static void the_schedule_fades_grows_and_opens(void **state)
{
    const rfhe_oneshot_options o = {.penalty = 2, .growth = 16, .ramp_epochs = 2, .release = 0.5, .open = 3};
    const rfhe_oneshot_options always = {.penalty = 2, .release = 1}, usual = {.penalty = 2};
    rfhe_oneshot_state last = {.alpha = 1, .clamp = 1};

    (void)state;
    for (uint64_t step = 0; step < 1000; step++) { /* ten epochs of 100 steps */
        const rfhe_oneshot_state s = rfhe_method_oneshot_at(&o, step, 1000, 100);
        assert_true(s.alpha <= last.alpha && s.clamp >= last.clamp && s.penalty >= last.penalty);
        assert_true((s.alpha > 0) == (step < 200));
        assert_true((s.clamp > 1) == (step > 500));
        assert_true(step < 800 ? s.clamp < 3 : fabs(s.clamp - 3) < 1e-12);
        assert_true(step < 500 ? s.penalty < 2 : fabs(s.penalty - 2) < 1e-12);
        assert_true(rfhe_method_oneshot_at(&always, step, 1000, 100).clamp == 1);
        last = s;
    }
    assert_true(fabs(rfhe_method_oneshot_at(&o, 0, 1000, 100).penalty - 2.0 / 16) < 1e-12);
    assert_true(fabs(rfhe_method_oneshot_at(&o, 250, 1000, 100).penalty - 2.0 / 4) < 1e-12);
    assert_true(fabs(rfhe_method_oneshot_at(&usual, 0, 1000, 100).penalty - 2.0 / 10) < 1e-12);
    assert_true(rfhe_method_oneshot_at(&usual, 0, 1000, 100).alpha == 0);
    assert_true(rfhe_method_oneshot_at(&usual, 999, 1000, 100).clamp == 1);
}

/* Ranges that are too narrow are stated anew: nothing is beyond them any more, and the network computes the same. */
static void widened_ranges_keep_the_function(void **state)
{
    static const char *const forms[] = {"even4", "f1g2"};

    (void)state;
    for (size_t f = 0; f < 2; f++) {
        float before[100 * CLASSES], after[100 * CLASSES];
        rfhe_graph *g = replaced(forms[f], f == 0 ? 3 : 0);
        rfhe_overflow *rows = NULL;
        rfhe_profile p = {0};
        rfhe_error err = {0};
        size_t n = 0, widened = 0;
        uint64_t beyond = 0;
        const double headroom = f == 0 ? 1.01 : 2, was = accuracy(g, before);
        ok(rfhe_method_overflow(&rows, &n, &beyond, g, &chosen, RFHE_COMPUTE_F32, NULL, &err), &err);
        assert_true((beyond > 0) == (f == 0)); /* beyond its range a composite would explode: it is widened for its headroom */
        rfhe_free(rows);
        ok(rfhe_profile_collect(&p, g, &chosen, 0, RFHE_COMPUTE_F32, NULL, &err), &err);
        ok(rfhe_method_widen(g, &p, headroom, &widened, &err), &err);
        assert_true(widened > 0);
        ok(rfhe_method_overflow(&rows, &n, &beyond, g, &chosen, RFHE_COMPUTE_F32, NULL, &err), &err);
        assert_int_equal(beyond, 0);
        assert_int_equal(n, 3);
        assert_string_equal(rfhe_paf_node_form(&g->nodes[2]), forms[f]);
        assert_true(fabs(accuracy(g, after) - was) < 1e-9);
        for (size_t i = 0; i < BATCH * CLASSES; i++) {
            assert_true(fabsf(after[i] - before[i]) < 1e-3F * (1 + fabsf(before[i])));
        }
        ok(rfhe_method_widen(g, &p, headroom, &widened, &err), &err);
        assert_int_equal(widened, 0); /* ranges never shrink */
        rfhe_free(rows);
        rfhe_profile_clear(&p);
        rfhe_graph_free(g);
    }
}

/* The exact part of ReLU is all there is while alpha is 1: the first step sees the teacher's own activations. */
static void the_penalty_pulls_values_into_their_ranges(void **state)
{
    rfhe_error err = {0};
    double worst[2];

    (void)state;
    for (int on = 0; on < 2; on++) {
        rfhe_graph *g = replaced("even8", 2.5);
        rfhe_oneshot_options o = recipe(NULL);
        rfhe_train_result r = {0};
        rfhe_overflow *rows = NULL;
        size_t n = 0;
        uint64_t beyond = 0;
        o.penalty = on ? 1 : 0;
        o.train.epochs = 8;
        o.train.keep_last = true;
        ok(rfhe_method_oneshot(&r, NULL, g, trained, &fit, &chosen, &o, &err), &err);
        ok(rfhe_method_overflow(&rows, &n, &beyond, g, &chosen, RFHE_COMPUTE_F32, NULL, &err),
           &err);
        worst[on] = 0;
        for (size_t i = 0; i < n; i++) { worst[on] += rows[i].share; }
        rfhe_free(rows);
        rfhe_train_result_clear(&r);
        rfhe_graph_free(g);
    }
    assert_true(worst[1] < 0.7 * worst[0]);
}

static void published_recipes_run_and_continue(void **state)
{
    static const char *const form[] = {"f1g2"};
    static const rfhe_pa_options recipes[] = {
        {0},                                                          /* baseline */
        {.alternate = true},                                          /* at       */
        {.replace_progressively = true, .train_progressively = true}, /* pa       */
        {.replace_progressively = true,
         .train_progressively = true,
         .alternate = true,
         .dynamic = true},
        {.replace_progressively = true}, /* Fig. 6   */
        {.train_progressively = true, .faults = true, .epoch_images = 48},
    };
    const rfhe_replace_options replace = {.forms = form, .n_forms = 1, .per_layer = true};
    rfhe_profile p = profile_of(trained);
    rfhe_error err = {0};
    char path[4200];

    (void)state;
    (void)snprintf(path, sizeof path, "%s/groups", test_folder());
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        rfhe_graph *whole = copy_of(trained), *broken = copy_of(trained);
        rfhe_pa_options o = recipes[i];
        rfhe_pa_result a = {0}, b = {0};
        rfhe_status st = RFHE_OK;
        o.epochs_per_group = 2;
        o.max_passes = 3 * 3 * 128;
        o.coef_rate = 1e-3;
        o.block_rate = 1e-3;
        ok(rfhe_method_progressive(&a, whole, &p, &replace, &fit, &chosen, &o, &err), &err);
        assert_true(a.groups >= 1 && a.images > 0 && a.images <= o.max_passes);
        assert_true(a.select_top1 > 0.8);
        size_t pafs = 0;
        for (uint32_t k = 0; k < whole->n_nodes; k++) {
            pafs += rfhe_paf_node_is(&whole->nodes[k]);
            assert_true(whole->nodes[k].op != RFHE_OP_RELU);
        }
        assert_int_equal(pafs, 3);
        for (uint64_t k = 0; k < a.groups; k++) {
            assert_true(a.rows[k].best >= a.rows[k].start);
            if (o.alternate) {
                assert_true(a.rows[k].mode != RFHE_PA_BOTH);
            } else {
                assert_int_equal(a.rows[k].mode, RFHE_PA_BOTH);
            }
        }
        o.checkpoint = path;
        o.stop_after = 1;
        for (int round = 0; round < 40; round++) { /* one group at a time */
            rfhe_graph_free(broken);
            broken = copy_of(trained);
            err = (rfhe_error){0};
            st = rfhe_method_progressive(&b, broken, &p, &replace, &fit, &chosen, &o, &err);
            if (st != RFHE_E_INTERRUPTED) { break; }
        }
        ok(st, &err);
        assert_int_equal(a.groups, b.groups);
        assert_int_equal(a.images, b.images);
        for (size_t k = 0; k < a.groups; k++) { /* field by field: what lies between them is anything */
            const rfhe_pa_row *x = &a.rows[k], *y = &b.rows[k];
            assert_true(x->unit == y->unit && x->mode == y->mode && x->keep == y->keep && x->epoch == y->epoch);
            assert_true(x->start == y->start && x->best_epoch == y->best_epoch);
            assert_true(x->average == y->average && x->best == y->best);
        }
        for (uint32_t v = 0; v < whole->n_values; v++) {
            const rfhe_tensor *x = whole->values[v].constant;
            const rfhe_value_id w = rfhe_graph_find(broken, whole->values[v].name);
            if (x == NULL) { continue; }
            assert_true(w != RFHE_NO_VALUE);
            assert_memory_equal(x->f32, broken->values[w].constant->f32, x->count * sizeof(float));
        }
        assert_int_equal(remove(path), 0);
        rfhe_free(a.rows);
        rfhe_free(b.rows);
        rfhe_graph_free(whole);
        rfhe_graph_free(broken);
    }
    rfhe_profile_clear(&p);
}

/* In a progressive group only the unit's own layers and coefficients move. */
static void only_the_unit_moves(void **state)
{
    static const char *const form[] = {"even4"};
    const rfhe_replace_options replace = {.forms = form, .n_forms = 1};
    rfhe_graph *g = copy_of(trained);
    rfhe_profile p = profile_of(trained);
    rfhe_pa_result r = {0};
    rfhe_error err = {0};
    char path[4200];
    size_t moved = 0, stood = 0;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/unit", test_folder());
    const rfhe_pa_options o = {.replace_progressively = true,
                               .train_progressively = true,
                               .epochs_per_group = 2,
                               .faults = true,
                               .checkpoint = path,
                               .stop_after = 1,
                               .block_rate = 1e-2,
                               .coef_rate = 1e-2};
    assert_int_equal(rfhe_method_progressive(&r, g, &p, &replace, &fit, &chosen, &o, &err),
                     RFHE_E_INTERRUPTED);
    for (uint32_t i = 0; i < trained->n_nodes; i++) {
        const rfhe_node *n = &trained->nodes[i];
        if (n->op != RFHE_OP_CONV && n->op != RFHE_OP_GEMM) { continue; }
        const rfhe_tensor *was = rfhe_graph_constant(trained, n, 1);
        const rfhe_value_id v = rfhe_graph_find(g, trained->values[n->inputs[1]].name);
        const bool same =
            memcmp(was->f32, g->values[v].constant->f32, was->count * sizeof(float)) == 0;
        moved += !same;
        stood += same;
        if (i > 2) { assert_true(same); } /* behind the first activation */
    }
    assert_true(moved <= 1 && stood >= 3);
    assert_int_equal(remove(path), 0);
    rfhe_profile_clear(&p);
    rfhe_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decisions_follow_the_published_rules),
        cmocka_unit_test(a_profile_sees_every_value),
        cmocka_unit_test(a_tree_of_comparisons_is_the_maximum),
        cmocka_unit_test(overlapping_padded_windows_too),
        cmocka_unit_test(tuning_beats_the_coefficients_of_the_book),
        cmocka_unit_test(overflow_counts_images_beyond_the_range),
        cmocka_unit_test(oneshot_recovers_and_continues_to_the_same_bits),
        cmocka_unit_test(the_schedule_fades_grows_and_opens),
        cmocka_unit_test(widened_ranges_keep_the_function),
        cmocka_unit_test(the_penalty_pulls_values_into_their_ranges),
        cmocka_unit_test(published_recipes_run_and_continue),
        cmocka_unit_test(only_the_unit_moves),
    };

    (void)rfhe_threads_set(1); /* the work is too small to share */
    return cmocka_run_group_tests(tests, train_it, free_it);
}
