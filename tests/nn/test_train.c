/* nn/train and nn/checkpoint: a tiny network learns made-up images; a run that was interrupted or killed continues to
 * the same bits; foreign and damaged checkpoints are refused. */
#include "test.h"

#include "quadrants.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/threads.h"
#include "nn/checkpoint.h"
#include "nn/train.h"
#include "nn/zoo.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- Made-up images: 8x8, one bright quadrant out of four, in noise --- */

enum { SIDE = 8, CLASSES = QUADRANTS_CLASSES, IMAGES = 256, BATCH = 32 };

static rfhe_batch_source source(quadrants *m, uint64_t seed, uint64_t images, uint32_t batch)
{
    *m = (quadrants){.seed = seed, .images = images, .batch = batch, .side = SIDE, .noise = 0.8};
    return quadrants_source(m);
}

static rfhe_graph *tiny(uint64_t seed)
{
    const rfhe_zoo_options o = {
        .width = 0.25, .channels = 1, .image_height = SIDE, .image_width = SIDE, .classes = CLASSES, .seed = seed};
    rfhe_graph *g = NULL;
    rfhe_error err = {0};

    if (rfhe_zoo_build(&g, "fashion-cnn", &o, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    return g;
}

static rfhe_train_options usual(uint64_t epochs)
{
    rfhe_train_options o = {.epochs = epochs, .rate = 0.05, .schedule = {.kind = RFHE_SCHEDULE_COSINE}};

    o.optim.momentum = 0.9;
    o.optim.nesterov = true;
    o.optim.group[RFHE_PARAM_WEIGHT].decay = 5e-4;
    return o;
}

/* Trains a fresh tiny network; *out receives the graph when it is wanted. */
static rfhe_status train(rfhe_graph **out, rfhe_train_result *r, const rfhe_train_options *o, bool with_select,
                         rfhe_error *err)
{
    quadrants fit_data, select_data;
    const rfhe_batch_source fit = source(&fit_data, 1, IMAGES, BATCH), select = source(&select_data, 99, 100, 48);
    rfhe_graph *g = tiny(3);
    rfhe_status st = rfhe_train(r, g, &fit, with_select ? &select : NULL, o, err);

    if (st == RFHE_OK && out != NULL) {
        *out = g;
    } else {
        rfhe_graph_free(g);
    }
    return st;
}

static void must_train(rfhe_graph **out, rfhe_train_result *r, const rfhe_train_options *o, bool with_select)
{
    rfhe_error err = {0};

    if (train(out, r, o, with_select, &err) != RFHE_OK) { fail_msg("%s", err.text); }
}

static void assert_same_weights(const rfhe_graph *a, const rfhe_graph *b)
{
    assert_int_equal(a->n_values, b->n_values);
    for (uint32_t i = 0; i < a->n_values; i++) {
        const rfhe_tensor *x = a->values[i].constant, *y = b->values[i].constant;
        if (x == NULL) { continue; }
        for (size_t k = 0; k < x->count; k++) {
            if (memcmp(&x->f32[k], &y->f32[k], sizeof(float)) != 0) {
                fail_msg("%s[%zu]: %.9g and %.9g", a->values[i].name, k, (double)x->f32[k], (double)y->f32[k]);
            }
        }
    }
}

/* --- Learning --- */

static double top1_of(const rfhe_graph *g)
{
    quadrants data;
    const rfhe_batch_source src = source(&data, 7, 402, 100); /* a batch of two at the end */
    rfhe_loss_sums sums = {0};
    rfhe_exec *e = NULL;
    rfhe_error err = {0};

    assert_int_equal(rfhe_exec_new(&e, g, &(rfhe_exec_options){.batch = 100}, &err), RFHE_OK);
    assert_int_equal(rfhe_evaluate(&sums, e, &src, NULL, &err), RFHE_OK);
    assert_int_equal(sums.images, 402);
    rfhe_exec_free(e);
    return (double)sums.top1 / 402;
}

static void every_rule_and_average_learns(void **state)
{
    rfhe_train_options cases[6];
    rfhe_graph *before = tiny(3);

    (void)state;
    assert_true(top1_of(before) < 0.6);
    rfhe_graph_free(before);
    for (size_t i = 0; i < 6; i++) { cases[i] = usual(5); }
    cases[1].optim = (rfhe_optim_options){.kind = RFHE_OPTIM_ADAMW};
    cases[1].rate = 0.005;
    cases[2].ema = 0.9;
    cases[3].swa_from = 0.5;
    cases[3].recalibrate = 4;
    cases[4].clip = 1;
    cases[4].loss.smoothing = 0.1;
    cases[4].schedule.kind = RFHE_SCHEDULE_ONECYCLE;
    cases[5].schedule = (rfhe_schedule){0};
    cases[5].use_plateau = true;
    cases[5].plateau = (rfhe_plateau){.factor = 0.5, .patience = 1};
    for (size_t i = 0; i < 6; i++) {
        rfhe_graph *g = NULL;
        rfhe_train_result r = {0};
        must_train(&g, &r, &cases[i], true);
        const double top1 = top1_of(g);
        if (top1 < 0.95 || r.select_top1 < 0.95) {
            fail_msg("case %zu: top-1 %.3f, on the selection split %.3f", i, top1, r.select_top1);
        }
        assert_int_equal(r.steps, 5 * IMAGES / BATCH);
        assert_true(r.rows[4].loss < r.rows[0].loss);
        rfhe_train_result_clear(&r);
        rfhe_graph_free(g);
    }
}

static void a_student_learns_from_its_teacher_alone(void **state)
{
    rfhe_train_options o = usual(5);
    rfhe_graph *teacher = NULL, *student = NULL;
    rfhe_train_result r = {0};

    (void)state;
    must_train(&teacher, &r, &o, false);
    assert_true(isnan(r.select_top1));
    rfhe_train_result_clear(&r);
    o.epochs = 10;
    o.loss = (rfhe_loss_options){.distill = 1, .temperature = 2};
    o.teacher = teacher;
    must_train(&student, &r, &o, false);
    if (top1_of(student) < 0.95) { fail_msg("top-1 %.3f", top1_of(student)); }
    rfhe_train_result_clear(&r);
    rfhe_graph_free(student);
    rfhe_graph_free(teacher);
}

/* The later epoch wins among equals. */
static void the_best_epoch_on_the_selection_split_is_stored(void **state)
{
    rfhe_train_options o = usual(4);
    rfhe_graph *best = NULL, *last = NULL;
    rfhe_train_result r = {0};
    double top = 0;

    (void)state;
    must_train(&best, &r, &o, true);
    for (size_t i = 0; i < 4; i++) { top = fmax(top, r.rows[i].select_top1); }
    assert_true(r.select_top1 == top && r.rows[r.stored_epoch - 1].select_top1 == top);
    for (size_t i = (size_t)r.stored_epoch; i < 4; i++) { assert_true(r.rows[i].select_top1 < top); }
    rfhe_train_result_clear(&r);
    o.keep_last = true;
    must_train(&last, &r, &o, true);
    assert_int_equal(r.stored_epoch, 4);
    rfhe_train_result_clear(&r);
    rfhe_graph_free(best);
    rfhe_graph_free(last);
}

static void a_diverging_run_says_so(void **state)
{
    rfhe_train_options o = usual(3);
    rfhe_train_result r = {0};
    rfhe_error err = {0};

    (void)state;
    o.rate = 1e30;
    assert_int_equal(train(NULL, &r, &o, false, &err), RFHE_E_NUMERIC);
    assert_non_null(strstr(err.text, "no longer finite"));
    assert_null(r.rows);
}

/* --- Continuing --- */

/* The hardest case: EMA, selection, recalibration of the averages, momentum. */
static rfhe_train_options long_run(const char *checkpoint)
{
    rfhe_train_options o = usual(3);

    o.ema = 0.95;
    o.recalibrate = 2;
    o.checkpoint = checkpoint;
    o.checkpoint_every = 1e-9; /* after every step */
    return o;
}

static void an_interrupted_run_continues_to_the_same_bits(void **state)
{
    const uint64_t stops[] = {1, 7, 8, 9, 16, 23};
    rfhe_train_options o = long_run(NULL);
    rfhe_graph *whole = NULL;
    rfhe_train_result r = {0}, whole_r = {0};

    (void)state;
    must_train(&whole, &whole_r, &o, true);
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        char path[128];
        rfhe_graph *g = NULL;
        rfhe_error err = {0};
        (void)snprintf(path, sizeof path, "%s/stop%zu", test_folder(), i);
        o = long_run(path);
        o.checkpoint_every = 1e9; /* written by the stop itself */
        o.stop_after = stops[i];
        assert_int_equal(train(NULL, &r, &o, true, &err), RFHE_E_INTERRUPTED);
        assert_non_null(strstr(err.text, "run again to continue"));
        o.stop_after = 0;
        must_train(&g, &r, &o, true);
        assert_int_equal(r.first_step, stops[i]);
        assert_same_weights(whole, g);
        assert_true(r.select_top1 == whole_r.select_top1 && r.stored_epoch == whole_r.stored_epoch);
        for (size_t k = 0; k < 3; k++) { assert_true(r.rows[k].loss == whole_r.rows[k].loss); }
        rfhe_graph_free(g);
        rfhe_train_result_clear(&r);
    }
    rfhe_train_result_clear(&whole_r);
    rfhe_graph_free(whole);
}

static int die_later(void *user, const char *what, double done, double total, const char *unit, const char *note)
{
    int *left = user;

    (void)what, (void)done, (void)total, (void)unit, (void)note;
    if (--*left == 0) { (void)raise(SIGKILL); }
    return 1;
}

/* The child process: trains with a checkpoint and kills itself at the n-th progress report. */
static int child(const char *path, int reports)
{
    int left = reports;
    const rfhe_progress progress = {.report = die_later, .user = &left};
    rfhe_train_options o = long_run(path);
    rfhe_train_result r = {0};
    quadrants fit_data, select_data;
    const rfhe_batch_source fit = source(&fit_data, 1, IMAGES, BATCH), select = source(&select_data, 99, 100, 48);
    rfhe_graph *g = NULL;

    o.progress = &progress;
    if (rfhe_zoo_build(&g, "fashion-cnn", &(rfhe_zoo_options){.width = 0.25, .channels = 1, .image_height = SIDE,
                                                             .image_width = SIDE, .classes = CLASSES, .seed = 3},
                       NULL) != RFHE_OK ||
        rfhe_train(&r, g, &fit, &select, &o, NULL) != RFHE_OK) {
        return 1;
    }
    rfhe_train_result_clear(&r);
    rfhe_graph_free(g);
    return 0;
}

static void a_killed_run_continues_to_the_same_bits(void **state)
{
    char path[128], reports[16];
    rfhe_train_options o = long_run(NULL);
    rfhe_graph *whole = NULL, *g = NULL;
    rfhe_train_result r = {0};
    int killed = 0, status = 0;

    (void)state;
    must_train(&whole, &r, &o, true);
    rfhe_train_result_clear(&r);
    (void)snprintf(path, sizeof path, "%s/killed", test_folder());
    /* Each life ends a few reports later: in steps, in evaluations, in recalibrations. */
    for (int life = 0; life < 12; life++) {
        (void)snprintf(reports, sizeof reports, "%d", 2 + life);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)execl("/proc/self/exe", "test_train", "child", path, reports, (char *)NULL);
            _exit(127);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFSIGNALED(status)) {
            assert_int_equal(WTERMSIG(status), SIGKILL);
            killed++;
        } else {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
    }
    assert_true(killed >= 3);
    o = long_run(path);
    must_train(&g, &r, &o, true);
    assert_true(r.first_step > 0);
    assert_same_weights(whole, g);
    rfhe_train_result_clear(&r);
    rfhe_graph_free(g);
    rfhe_graph_free(whole);
}

static void other_settings_are_refused_by_name(void **state)
{
    char path[128];
    rfhe_train_result r = {0};
    rfhe_error err = {0};

    (void)state;
    (void)snprintf(path, sizeof path, "%s/other", test_folder());
    rfhe_train_options o = long_run(path);
    o.identity = "data=one\n";
    o.stop_after = 2;
    assert_int_equal(train(NULL, &r, &o, true, &err), RFHE_E_INTERRUPTED);
    err = (rfhe_error){0};
    o.rate = 0.25;
    assert_int_equal(train(NULL, &r, &o, true, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "rate=0.05"));
    assert_non_null(strstr(err.text, "not rate=0.25"));
    err = (rfhe_error){0};
    o.rate = 0.05;
    o.identity = "data=two\n";
    assert_int_equal(train(NULL, &r, &o, true, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "data=one, not data=two"));
}

/* --- The container --- */

static void damaged_checkpoints_are_refused(void **state)
{
    char path[128];
    const rfhe_checkpoint_section s[] = {{"one", "hello", 5}, {"empty", NULL, 0}, {"two", "0123456789", 10}};
    uint8_t *data = NULL;
    size_t size = 0, n = 0;
    char back[10];
    rfhe_checkpoint *c = NULL;
    rfhe_error err = {0};

    (void)state;
    (void)snprintf(path, sizeof path, "%s/container", test_folder());
    assert_int_equal(rfhe_checkpoint_write(path, s, 3, &err), RFHE_OK);
    assert_int_equal(rfhe_checkpoint_open(&c, path, &err), RFHE_OK);
    assert_int_equal(rfhe_checkpoint_read(c, "two", back, 10, &err), RFHE_OK);
    assert_memory_equal(back, "0123456789", 10);
    assert_non_null(rfhe_checkpoint_find(c, "one", &n));
    assert_int_equal(n, 5);
    assert_null(rfhe_checkpoint_find(c, "three", &n));
    assert_int_equal(rfhe_checkpoint_read(c, "two", back, 9, &err), RFHE_E_FORMAT);
    rfhe_checkpoint_close(c);
    assert_int_equal(rfhe_file_read(&data, &size, path, 1 << 20, &err), RFHE_OK);
    for (size_t i = 0; i < size; i++) { /* every byte that means something */
        data[i] ^= 0x40;
        assert_int_equal(rfhe_file_write(path, data, size, 0644, &err), RFHE_OK);
        c = NULL;
        const rfhe_status st = rfhe_checkpoint_open(&c, path, NULL);
        const bool padding = (i >= 28 && i < 32) || (i >= 32 + 3 * 40 && i < 192) || (i >= 197 && i < 256);
        if (st != (padding ? RFHE_OK : RFHE_E_FORMAT)) { fail_msg("byte %zu: status %d", i, (int)st); }
        rfhe_checkpoint_close(c);
        data[i] ^= 0x40;
    }
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(rfhe_file_write(path, data, cut, 0644, &err), RFHE_OK);
        assert_int_equal(rfhe_checkpoint_open(&c, path, NULL), RFHE_E_FORMAT);
    }
    rfhe_free(data);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_checkpoints_are_refused),
        cmocka_unit_test(every_rule_and_average_learns),
        cmocka_unit_test(a_student_learns_from_its_teacher_alone),
        cmocka_unit_test(the_best_epoch_on_the_selection_split_is_stored),
        cmocka_unit_test(a_diverging_run_says_so),
        cmocka_unit_test(an_interrupted_run_continues_to_the_same_bits),
        cmocka_unit_test(a_killed_run_continues_to_the_same_bits),
        cmocka_unit_test(other_settings_are_refused_by_name),
    };
    (void)rfhe_threads_set(1); /* the network is too small for a team */
    if (argc == 4 && strcmp(argv[1], "child") == 0) { return child(argv[2], (int)strtol(argv[3], NULL, 10)); }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
