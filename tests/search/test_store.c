/* search/store: trials come and go, an old database is brought up to date, a newer one and a second writer are refused. */
#include "test.h"

#include "base/mem.h"
#include "search/store.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void ok(rfhe_status st, const rfhe_error *err)
{
    if (st != RFHE_OK) { fail_msg("%s: %s", rfhe_status_name(st), err->text); }
}

static const char *folder(const char *name)
{
    static char path[4096];

    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

static const rfhe_study study = {.model_hash = "abc", .data = "made up", .settings = "", .pool = "average", .seed = 7,
                                 .model = "m.onnx", .version = "0", .machine = "here", .isa = "portable", .threads = 1};

static rfhe_trial trial(const char *assignment)
{
    return (rfhe_trial){.kind = "probe", .recipe = "ct", .assignment = rfhe_strdup(assignment), .seed = 7,
                        .harm = 0.5, .predicted_seconds = 3, .memory_bytes = NAN, .params = "B15-3", .log2_n = 15};
}

static void trials_are_found_again(void **state)
{
    rfhe_store *s = NULL;
    rfhe_error err = {0};
    int64_t id = 0, same = 0;
    bool done = true;
    rfhe_trial t = trial("even4,even8"), again = trial("even4,even8"), other = trial("even8,even8"), *list = NULL;
    size_t n = 0;

    (void)state;
    ok(rfhe_store_open(&s, folder("trials"), true, &err), &err);
    ok(rfhe_store_study(s, &id, &study, &err), &err);
    ok(rfhe_store_study(s, &same, &study, &err), &err);
    assert_int_equal(id, same);
    ok(rfhe_store_begin(s, id, &t, "why not", &done, &err), &err);
    assert_false(done);
    assert_int_equal(t.attempts, 1);
    /* As after a kill: the row is there and running, and is taken over. */
    rfhe_store_close(s);
    ok(rfhe_store_open(&s, folder("trials"), true, &err), &err);
    ok(rfhe_store_begin(s, id, &again, NULL, &done, &err), &err);
    assert_false(done);
    assert_int_equal(again.id, t.id);
    assert_int_equal(again.attempts, 2);
    again.top1 = 0.75;
    again.correct = 75;
    again.images = 100;
    again.cross_entropy = INFINITY;
    (void)snprintf(again.status, sizeof again.status, "done");
    ok(rfhe_store_end(s, &again, &err), &err);
    ok(rfhe_store_begin(s, id, &t, NULL, &done, &err), &err);
    assert_true(done);
    assert_true(t.top1 == 0.75 && t.correct == 75 && isinf(t.cross_entropy) && isnan(t.memory_bytes));
    ok(rfhe_store_begin(s, id, &other, NULL, &done, &err), &err);
    assert_false(done);
    ok(rfhe_store_trials(s, id, &list, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].assignment, "even4,even8");
    assert_string_equal(list[0].status, "done");
    assert_string_equal(list[1].status, "running");
    assert_int_equal(list[0].attempts, 2);
    rfhe_trials_free(list, n);
    rfhe_free(t.assignment);
    rfhe_free(again.assignment);
    rfhe_free(other.assignment);
    rfhe_store_close(s);
}

static void lists_and_notes_come_back(void **state)
{
    rfhe_store *s = NULL;
    rfhe_error err = {0};
    int64_t id = 0;
    rfhe_store_layer layer[2] = {{.node = "a", .channels = 4, .sigma = 0.5, .bar = {0.25, 0.75}}, {.node = "b"}}, *layers = NULL;
    const rfhe_store_choice choice[] = {{.layer = 0, .form = "even4", .depth = 2, .harm_gradient = 0.1, .harm_measured = NAN},
                                        {.layer = 1, .form = "even4", .depth = 2, .harm_gradient = 0.2, .harm_measured = 3}};
    const rfhe_store_cost cost[] = {{"B15-3", -1, "", 1.5}, {"B15-3", 0, "even4", 0.75}};
    rfhe_store_choice *choices = NULL;
    rfhe_store_cost *costs = NULL;
    rfhe_judgement j = {.trial = 3, .top1 = 0.5, .correct = 1, .images = 2}, got = {.trial = 3};
    size_t n = 0;
    bool found = true;
    char *note = NULL, verdict[64];

    (void)state;
    ok(rfhe_store_open(&s, folder("lists"), true, &err), &err);
    ok(rfhe_store_study(s, &id, &study, &err), &err);
    for (int twice = 0; twice < 2; twice++) { /* writing again replaces */
        ok(rfhe_store_put_layers(s, id, layer, 2, &err), &err);
        ok(rfhe_store_put_choices(s, id, choice, 2, &err), &err);
        ok(rfhe_store_put_costs(s, id, cost, 2, &err), &err);
    }
    ok(rfhe_store_get_layers(s, id, &layers, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_true(layers[0].bar[1] == 0.75 && layers[0].channels == 4 && layers[1].bar[0] == 0);
    ok(rfhe_store_get_choices(s, id, &choices, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_true(isnan(choices[0].harm_measured) && choices[1].harm_measured == 3);
    ok(rfhe_store_get_costs(s, id, &costs, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_true(costs[0].layer == -1 && costs[1].seconds == 0.75);
    ok(rfhe_store_get_note(s, id, "k", &note, &err), &err);
    assert_null(note);
    ok(rfhe_store_put_note(s, id, "k", "v", &err), &err);
    ok(rfhe_store_get_note(s, id, "k", &note, &err), &err);
    assert_string_equal(note, "v");
    ok(rfhe_store_judged(s, &got, "test", &found, &err), &err);
    assert_false(found);
    ok(rfhe_store_judge(s, &j, "test", &err), &err);
    ok(rfhe_store_judged(s, &got, "test", &found, &err), &err);
    assert_true(found && got.top1 == 0.5 && got.images == 2);
    ok(rfhe_store_check(s, verdict, sizeof verdict, &err), &err);
    assert_string_equal(verdict, "ok");
    rfhe_free(note);
    rfhe_free(layers);
    rfhe_free(choices);
    rfhe_free(costs);
    rfhe_store_close(s);
}

static void sql(const char *path, const char *text)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) { fail_msg("%s", sqlite3_errmsg(db)); }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void old_stores_are_migrated_and_newer_ones_refused(void **state)
{
    rfhe_store *s = NULL;
    rfhe_error err = {0};
    int64_t id = 0;
    bool done = false, found = true;
    rfhe_trial t = trial("even4"), *list = NULL;
    rfhe_judgement j = {.trial = 1};
    size_t n = 0;
    char path[5000];

    (void)state;
    ok(rfhe_store_open(&s, folder("old"), true, &err), &err);
    ok(rfhe_store_study(s, &id, &study, &err), &err);
    ok(rfhe_store_begin(s, id, &t, NULL, &done, &err), &err);
    rfhe_store_close(s);
    (void)snprintf(path, sizeof path, "%s/search.db", folder("old"));
    sql(path, "DROP TABLE judgement; PRAGMA user_version = 1"); /* what version 1 did not have */
    ok(rfhe_store_open(&s, folder("old"), true, &err), &err);
    ok(rfhe_store_trials(s, id, &list, &n, &err), &err);
    assert_int_equal(n, 1);
    ok(rfhe_store_judged(s, &j, "test", &found, &err), &err);
    assert_false(found);
    rfhe_trials_free(list, n);
    rfhe_store_close(s);
    sql(path, "PRAGMA user_version = 99");
    assert_int_equal(rfhe_store_open(&s, folder("old"), true, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "version 99"));
    err = (rfhe_error){0};
    assert_int_equal(rfhe_store_open(&s, folder("nothing"), false, &err), RFHE_E_IO);
    rfhe_free(t.assignment);
}

static void one_process_writes_at_a_time(void **state)
{
    rfhe_store *s = NULL, *second = NULL;
    rfhe_error err = {0};
    int status = 0;

    (void)state;
    ok(rfhe_store_open(&s, folder("lock"), true, &err), &err);
    const pid_t child = fork();
    if (child == 0) { /* readers are welcome, writers are not */
        rfhe_error e = {0};
        const rfhe_status writer = rfhe_store_open(&second, folder("lock"), true, &e);
        const bool said = strstr(e.text, "another process") != NULL;
        const rfhe_status reader = rfhe_store_open(&second, folder("lock"), false, NULL);
        _exit(writer == RFHE_E_IO && said && reader == RFHE_OK ? 0 : 1);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    rfhe_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trials_are_found_again),
        cmocka_unit_test(lists_and_notes_come_back),
        cmocka_unit_test(old_stores_are_migrated_and_newer_ones_refused),
        cmocka_unit_test(one_process_writes_at_a_time),
    };

    return cmocka_run_group_tests_name("search/store", tests, NULL, NULL);
}
