/* See store.h. */
#include "search/store.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct rfhe_store {
    sqlite3 *db;
    int lock;
    char folder[4000];
};

/* Step k turns a database of version k into one of version k + 1. Never changed once released: databases exist. */
static const char *const migrations[RFHE_STORE_VERSION] = {
    "CREATE TABLE study(id INTEGER PRIMARY KEY, model TEXT, model_hash TEXT, data TEXT, settings TEXT, pool TEXT,"
    " seed INTEGER, version TEXT, machine TEXT, isa TEXT, threads INTEGER, made TEXT DEFAULT CURRENT_TIMESTAMP,"
    " used TEXT, UNIQUE(model_hash, data, settings, pool, seed));"
    "CREATE TABLE layer(study INTEGER, layer INTEGER, node TEXT, channels INTEGER, per_image INTEGER, mean REAL,"
    " sigma REAL, reach REAL, q999 REAL, histogram BLOB, PRIMARY KEY(study, layer));"
    "CREATE TABLE choice(study INTEGER, layer INTEGER, form TEXT, depth INTEGER, products INTEGER, fit REAL,"
    " harm_gradient REAL, harm_measured REAL, PRIMARY KEY(study, layer, form));"
    "CREATE TABLE cost(study INTEGER, params TEXT, layer INTEGER, form TEXT, seconds REAL,"
    " PRIMARY KEY(study, params, layer, form));"
    "CREATE TABLE note(study INTEGER, key TEXT, value TEXT, PRIMARY KEY(study, key));"
    "CREATE TABLE trial(id INTEGER PRIMARY KEY, study INTEGER, kind TEXT, recipe TEXT, assignment TEXT, rung INTEGER,"
    " planned INTEGER, seed INTEGER, parent INTEGER, options TEXT, status TEXT, attempts INTEGER, params TEXT,"
    " log2_n INTEGER, depth INTEGER, harm REAL, predicted_seconds REAL, memory_bytes REAL, top1 REAL,"
    " cross_entropy REAL, correct INTEGER, images INTEGER, image_passes INTEGER, seconds REAL, started TEXT,"
    " finished TEXT, UNIQUE(study, recipe, assignment, rung, planned, seed));",
    "CREATE TABLE judgement(trial INTEGER, images_of TEXT, top1 REAL, correct INTEGER, images INTEGER,"
    " made TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY(trial, images_of));",
};

static rfhe_status fail(const rfhe_store *s, rfhe_error *err)
{
    return rfhe_fail(err, RFHE_E_IO, "the store in '%s': %s", s->folder, sqlite3_errmsg(s->db));
}

static rfhe_status run(const rfhe_store *s, const char *sql, rfhe_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? RFHE_OK : fail(s, err);
}

/* One statement with its parameters: t text, i int64_t, d double (NaN becomes NULL). */
static rfhe_status prepare(const rfhe_store *s, sqlite3_stmt **out, rfhe_error *err,
                           const char *sql, const char *types, ...)
{
    va_list args;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, out, NULL);

    va_start(args, types);
    for (int i = 0; rc == SQLITE_OK && types[i] != '\0'; i++) {
        if (types[i] == 't') {
            rc = sqlite3_bind_text(*out, i + 1, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
        } else if (types[i] == 'i') {
            rc = sqlite3_bind_int64(*out, i + 1, va_arg(args, int64_t));
        } else {
            rc = sqlite3_bind_double(*out, i + 1, va_arg(args, double));
        }
    }
    va_end(args);
    return rc == SQLITE_OK ? RFHE_OK : fail(s, err);
}

/* Runs a prepared statement to its end and drops it. */
static rfhe_status finish(const rfhe_store *s, sqlite3_stmt *q, rfhe_error *err)
{
    const int rc = sqlite3_step(q);
    const rfhe_status st = rc == SQLITE_DONE || rc == SQLITE_ROW ? RFHE_OK : fail(s, err);

    (void)sqlite3_finalize(q);
    return st;
}

/* The next row is there, or there is none, or something is wrong. */
static rfhe_status step(const rfhe_store *s, sqlite3_stmt *q, bool *row, rfhe_error *err)
{
    const int rc = sqlite3_step(q);

    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RFHE_OK : fail(s, err);
}

static void copy_text(char *out, size_t size, sqlite3_stmt *q, int column)
{
    const char *t = (const char *)sqlite3_column_text(q, column);

    (void)snprintf(out, size, "%s", t != NULL ? t : "");
}

static double number(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL ? NAN : sqlite3_column_double(q, column);
}

/* ---- opening ---- */

/* The lock goes with the process that holds it, however that ends. */
static rfhe_status take_lock(rfhe_store *s, rfhe_error *err)
{
    char path[4096];
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    (void)snprintf(path, sizeof path, "%s/search.lock", s->folder);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (s->lock < 0) {
        return rfhe_fail(err, RFHE_E_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    /* One that was killed may take a moment to be gone, with all its memory. */
    const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    int held = fcntl(s->lock, F_SETLK, &all);
    for (int tries = 0; held != 0 && (errno == EACCES || errno == EAGAIN) && tries < 100; tries++) {
        (void)nanosleep(&pause, NULL);
        held = fcntl(s->lock, F_SETLK, &all);
    }
    if (held != 0) {
        return rfhe_fail(err, RFHE_E_IO, "another process is searching in '%s'", s->folder);
    }
    return RFHE_OK;
}

static rfhe_status read_version(const rfhe_store *s, int *version, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    bool row = false;
    rfhe_status st = prepare(s, &q, err, "PRAGMA user_version", "");

    if (st == RFHE_OK) { st = step(s, q, &row, err); }
    *version = row ? sqlite3_column_int(q, 0) : 0;
    (void)sqlite3_finalize(q);
    if (st == RFHE_OK && *version > RFHE_STORE_VERSION) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s/search.db' is of version %d, this program knows %d",
                         s->folder, *version, RFHE_STORE_VERSION);
    }
    return st;
}

static rfhe_status migrate(const rfhe_store *s, rfhe_error *err)
{
    int version = 0;
    char mark[64];
    rfhe_status st = RFHE_OK;

    RFHE_TRY(read_version(s, &version, err));
    for (; version < RFHE_STORE_VERSION; version++) {
        RFHE_TRY(run(s, "BEGIN IMMEDIATE", err));
        st = run(s, migrations[version], err);
        (void)snprintf(mark, sizeof mark, "PRAGMA user_version = %d", version + 1);
        if (st == RFHE_OK) { st = run(s, mark, err); }
        if (st == RFHE_OK) { st = run(s, "COMMIT", err); }
        if (st != RFHE_OK) {
            (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
            break;
        }
    }

done:
    return st;
}

rfhe_status rfhe_store_open(rfhe_store **out, const char *folder, bool write, rfhe_error *err)
{
    rfhe_store *s = rfhe_calloc(1, sizeof *s);
    char path[4096];
    int version = 0;
    rfhe_status st = RFHE_OK;

    if (s == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a store"); }
    s->lock = -1;
    if ((size_t)snprintf(s->folder, sizeof s->folder, "%s", folder) >= sizeof s->folder) {
        st = rfhe_fail(err, RFHE_E_ARG, "the name of the folder is too long");
        goto done;
    }
    if (write && mkdir(folder, 0755) != 0 && errno != EEXIST) {
        st = rfhe_fail(err, RFHE_E_IO, "cannot make '%s': %s", folder, strerror(errno));
        goto done;
    }
    if (write) { RFHE_TRY(take_lock(s, err)); }
    (void)snprintf(path, sizeof path, "%s/search.db", s->folder);
    if (!write && access(path, R_OK) != 0) {
        st = rfhe_fail(err, RFHE_E_IO, "there is no search in '%s'", folder);
        goto done;
    }
    const int flags = SQLITE_OPEN_READWRITE | (write ? SQLITE_OPEN_CREATE : 0);
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK) {
        st = fail(s, err);
        goto done;
    }
    (void)sqlite3_busy_timeout(s->db, 10000);
    if (write) {
        RFHE_TRY(run(s, "PRAGMA journal_mode = WAL", err));
        RFHE_TRY(run(s, "PRAGMA synchronous = FULL", err));
        RFHE_TRY(migrate(s, err));
    } else {
        RFHE_TRY(read_version(s, &version, err));
        if (version < 1) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is no store of a search", path);
            goto done;
        }
        if (version < RFHE_STORE_VERSION) { RFHE_TRY(migrate(s, err)); }
    }
    *out = s;
    s = NULL;

done:
    rfhe_store_close(s);
    return st;
}

void rfhe_store_close(rfhe_store *s)
{
    if (s == NULL) { return; }
    (void)sqlite3_close(s->db);
    if (s->lock >= 0) { (void)close(s->lock); }
    rfhe_free(s);
}

const char *rfhe_store_folder(const rfhe_store *s)
{
    return s->folder;
}

/* ---- studies ---- */

rfhe_status rfhe_store_study(rfhe_store *s, int64_t *id, const rfhe_study *y, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    bool row = false;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(prepare(s, &q, err,
                     "INSERT INTO study(model_hash, data, settings, pool, seed, model, version, machine, isa, threads)"
                     " VALUES(?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                     "ttttitttti", y->model_hash, y->data, y->settings, y->pool, (int64_t)y->seed,
                     y->model, y->version, y->machine, y->isa, (int64_t)y->threads));
    RFHE_TRY(finish(s, q, err));
    RFHE_TRY(prepare(s, &q, err,
                     "SELECT id FROM study WHERE model_hash=? AND data=? AND settings=? AND pool=? AND seed=?",
                     "tttti", y->model_hash, y->data, y->settings, y->pool, (int64_t)y->seed));
    st = step(s, q, &row, err);
    if (st == RFHE_OK && row) { *id = sqlite3_column_int64(q, 0); }
    (void)sqlite3_finalize(q);
    if (st == RFHE_OK && !row) { st = rfhe_fail(err, RFHE_E_IO, "the study was not stored"); }
    if (st != RFHE_OK) { goto done; }
    RFHE_TRY(prepare(s, &q, err,
                     "UPDATE study SET used = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = ?", "i",
                     *id));
    RFHE_TRY(finish(s, q, err));

done:
    return st;
}

rfhe_status rfhe_store_has_trials(rfhe_store *s, bool *out, const rfhe_study *y, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    rfhe_status st = prepare(s, &q, err,
                             "SELECT 1 FROM study JOIN trial ON trial.study = study.id WHERE model_hash=? AND data=? AND"
                             " settings=? AND pool=? AND study.seed=? LIMIT 1",
                             "tttti", y->model_hash, y->data, y->settings, y->pool, (int64_t)y->seed);

    if (st == RFHE_OK) { st = step(s, q, out, err); }
    (void)sqlite3_finalize(q);
    return st;
}

rfhe_status rfhe_store_last_study(rfhe_store *s, int64_t *id, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    bool row = false;
    rfhe_status st =
        prepare(s, &q, err, "SELECT id FROM study ORDER BY used DESC, id DESC LIMIT 1", "");

    if (st == RFHE_OK) { st = step(s, q, &row, err); }
    if (row) { *id = sqlite3_column_int64(q, 0); }
    (void)sqlite3_finalize(q);
    if (st == RFHE_OK && !row) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "the search in '%s' has not begun", s->folder);
    }
    return st;
}

rfhe_status rfhe_store_describe(rfhe_store *s, int64_t study, rfhe_study_text *out, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    bool row = false;
    rfhe_status st = prepare(s, &q, err,
                             "SELECT model, model_hash, data, settings, pool, version, machine, isa, made, seed, threads"
                             " FROM study WHERE id=?",
                             "i", study);

    if (st == RFHE_OK) { st = step(s, q, &row, err); }
    if (row) {
        copy_text(out->model, sizeof out->model, q, 0);
        copy_text(out->model_hash, sizeof out->model_hash, q, 1);
        copy_text(out->data, sizeof out->data, q, 2);
        copy_text(out->settings, sizeof out->settings, q, 3);
        copy_text(out->pool, sizeof out->pool, q, 4);
        copy_text(out->version, sizeof out->version, q, 5);
        copy_text(out->machine, sizeof out->machine, q, 6);
        copy_text(out->isa, sizeof out->isa, q, 7);
        copy_text(out->made, sizeof out->made, q, 8);
        out->seed = (uint64_t)sqlite3_column_int64(q, 9);
        out->threads = (uint32_t)sqlite3_column_int64(q, 10);
    }
    (void)sqlite3_finalize(q);
    if (st == RFHE_OK && !row) { st = rfhe_fail(err, RFHE_E_FORMAT, "the store has no such study"); }
    return st;
}

rfhe_status rfhe_store_check(rfhe_store *s, char *verdict, size_t size, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    bool row = false;
    rfhe_status st = prepare(s, &q, err, "PRAGMA integrity_check", "");

    if (st == RFHE_OK) { st = step(s, q, &row, err); }
    if (row) { copy_text(verdict, size, q, 0); }
    (void)sqlite3_finalize(q);
    return st;
}

/* ---- trials ---- */

#define COLUMNS                                                                                    \
    "id, parent, kind, recipe, assignment, rung, planned, seed, status, params, log2_n, depth, attempts, harm,"       \
    " predicted_seconds, memory_bytes, top1, cross_entropy, seconds, correct, images, image_passes"

static rfhe_status read_trial(rfhe_trial *t, sqlite3_stmt *q)
{
    char *assignment = rfhe_strdup((const char *)sqlite3_column_text(q, 4));

    if (assignment == NULL) { return RFHE_E_NOMEM; }
    *t = (rfhe_trial){.id = sqlite3_column_int64(q, 0),
                      .parent = sqlite3_column_int64(q, 1),
                      .assignment = assignment,
                      .rung = (uint32_t)sqlite3_column_int64(q, 5),
                      .planned = (uint64_t)sqlite3_column_int64(q, 6),
                      .seed = (uint64_t)sqlite3_column_int64(q, 7),
                      .log2_n = (uint32_t)sqlite3_column_int64(q, 10),
                      .depth = (uint32_t)sqlite3_column_int64(q, 11),
                      .attempts = (uint32_t)sqlite3_column_int64(q, 12),
                      .harm = number(q, 13),
                      .predicted_seconds = number(q, 14),
                      .memory_bytes = number(q, 15),
                      .top1 = number(q, 16),
                      .cross_entropy = number(q, 17),
                      .seconds = number(q, 18),
                      .correct = (uint64_t)sqlite3_column_int64(q, 19),
                      .images = (uint64_t)sqlite3_column_int64(q, 20),
                      .image_passes = (uint64_t)sqlite3_column_int64(q, 21)};
    copy_text(t->kind, sizeof t->kind, q, 2);
    copy_text(t->recipe, sizeof t->recipe, q, 3);
    copy_text(t->status, sizeof t->status, q, 8);
    copy_text(t->params, sizeof t->params, q, 9);
    return RFHE_OK;
}

static rfhe_status look_up(rfhe_store *s, int64_t study, rfhe_trial *t, bool *found,
                           rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    rfhe_trial old = {0};
    rfhe_status st = RFHE_OK;

    *found = false;
    RFHE_TRY(prepare(s, &q, err,
                     "SELECT " COLUMNS " FROM trial WHERE study=? AND recipe=? AND assignment=? AND rung=? AND"
                     " planned=? AND seed=?",
                     "ittiii", study, t->recipe, t->assignment, (int64_t)t->rung,
                     (int64_t)t->planned, (int64_t)t->seed));
    RFHE_TRY(step(s, q, found, err));
    if (*found) {
        RFHE_TRY(read_trial(&old, q));
        if (strcmp(old.status, "running") == 0) { /* what it is to cost may have changed meanwhile */
            t->id = old.id;
            t->attempts = old.attempts;
            (void)snprintf(t->status, sizeof t->status, "%s", old.status);
            rfhe_free(old.assignment);
        } else {
            rfhe_free(t->assignment);
            *t = old;
        }
    }

done:
    (void)sqlite3_finalize(q);
    return st;
}

rfhe_status rfhe_store_begin(rfhe_store *s, int64_t study, rfhe_trial *t, const char *options,
                             bool *done, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    bool found = false;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(look_up(s, study, t, &found, err));
    *done = found && strcmp(t->status, "running") != 0;
    if (*done) { goto done; }
    (void)snprintf(t->status, sizeof t->status, "running");
    t->attempts++;
    if (found) {
        RFHE_TRY(prepare(s, &q, err,
                         "UPDATE trial SET attempts=?, parent=?, options=?, params=?, log2_n=?, depth=?, harm=?,"
                         " predicted_seconds=?, memory_bytes=?, started=CURRENT_TIMESTAMP WHERE id=?",
                         "iittiidddi", (int64_t)t->attempts, t->parent, options, t->params,
                         (int64_t)t->log2_n, (int64_t)t->depth, t->harm, t->predicted_seconds,
                         t->memory_bytes, t->id));
        RFHE_TRY(finish(s, q, err));
        goto done;
    }
    RFHE_TRY(prepare(s, &q, err,
                     "INSERT INTO trial(study, kind, recipe, assignment, rung, planned, seed, parent, options, status,"
                     " attempts, params, log2_n, depth, harm, predicted_seconds, memory_bytes, started)"
                     " VALUES(?,?,?,?,?,?,?,?,?,'running',?,?,?,?,?,?,?,CURRENT_TIMESTAMP)",
                     "itttiiiititiiddd", study, t->kind, t->recipe, t->assignment, (int64_t)t->rung,
                     (int64_t)t->planned, (int64_t)t->seed, t->parent, options,
                     (int64_t)t->attempts, t->params, (int64_t)t->log2_n, (int64_t)t->depth,
                     t->harm, t->predicted_seconds, t->memory_bytes));
    RFHE_TRY(finish(s, q, err));
    t->id = sqlite3_last_insert_rowid(s->db);

done:
    return st;
}

rfhe_status rfhe_store_end(rfhe_store *s, const rfhe_trial *t, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    const rfhe_status st =
        prepare(s, &q, err,
                "UPDATE trial SET status=?, top1=?, cross_entropy=?, seconds=?, correct=?, images=?, image_passes=?,"
                " params=?, log2_n=?, depth=?, predicted_seconds=?, memory_bytes=?, finished=CURRENT_TIMESTAMP"
                " WHERE id=?",
                "tdddiiitiiddi", t->status, t->top1, t->cross_entropy, t->seconds,
                (int64_t)t->correct, (int64_t)t->images, (int64_t)t->image_passes, t->params,
                (int64_t)t->log2_n, (int64_t)t->depth, t->predicted_seconds, t->memory_bytes,
                t->id);

    return st == RFHE_OK ? finish(s, q, err) : st;
}

rfhe_status rfhe_store_price(rfhe_store *s, const rfhe_trial *t, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    const rfhe_status st = prepare(s, &q, err,
                                   "UPDATE trial SET params=?, log2_n=?, harm=?, predicted_seconds=?, memory_bytes=?"
                                   " WHERE id=?",
                                   "tidddi", t->params, (int64_t)t->log2_n, t->harm,
                                   t->predicted_seconds, t->memory_bytes, t->id);

    return st == RFHE_OK ? finish(s, q, err) : st;
}

/* ---- lists ---- */

/* One more element of `size` bytes, zeroed; NULL on failure. */
static void *grow(void **list, size_t *n, size_t size)
{
    if ((*n & (*n - 1)) == 0 || *n == 0) {
        void *more = rfhe_realloc(*list, *n == 0 ? 1 : 2 * *n, size);
        if (more == NULL) { return NULL; }
        *list = more;
    }
    void *at = (char *)*list + *n * size;
    memset(at, 0, size);
    (*n)++;
    return at;
}

typedef rfhe_status reader(void *item, sqlite3_stmt *q);

static rfhe_status read_list(rfhe_store *s, const char *sql, int64_t study, void **out, size_t *n,
                             size_t size, reader *read, rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    void *list = NULL;
    size_t count = 0;
    bool row = false;
    rfhe_status st = prepare(s, &q, err, sql, "i", study);

    while (st == RFHE_OK && (st = step(s, q, &row, err)) == RFHE_OK && row) {
        void *item = grow(&list, &count, size);
        st = item != NULL ? read(item, q) : RFHE_E_NOMEM;
    }
    (void)sqlite3_finalize(q);
    if (st == RFHE_OK) {
        *out = list;
        *n = count;
    } else {
        rfhe_free(list);
    }
    return st;
}

static rfhe_status trial_reader(void *item, sqlite3_stmt *q)
{
    return read_trial(item, q);
}

rfhe_status rfhe_store_trials(rfhe_store *s, int64_t study, rfhe_trial **out, size_t *n,
                              rfhe_error *err)
{
    void *list = NULL;
    const rfhe_status st =
        read_list(s, "SELECT " COLUMNS " FROM trial WHERE study=? ORDER BY id", study, &list, n,
                  sizeof **out, trial_reader, err);

    if (st == RFHE_OK) { *out = list; }
    return st;
}

void rfhe_trials_free(rfhe_trial *t, size_t n)
{
    for (size_t i = 0; t != NULL && i < n; i++) { rfhe_free(t[i].assignment); }
    rfhe_free(t);
}

/* ---- judgements ---- */

rfhe_status rfhe_store_judged(rfhe_store *s, rfhe_judgement *j, const char *images, bool *found,
                              rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    rfhe_status st =
        prepare(s, &q, err,
                "SELECT top1, correct, images FROM judgement WHERE trial=? AND images_of=?", "it",
                j->trial, images);

    *found = false;
    if (st == RFHE_OK) { st = step(s, q, found, err); }
    if (*found) {
        j->top1 = number(q, 0);
        j->correct = (uint64_t)sqlite3_column_int64(q, 1);
        j->images = (uint64_t)sqlite3_column_int64(q, 2);
    }
    (void)sqlite3_finalize(q);
    return st;
}

rfhe_status rfhe_store_judge(rfhe_store *s, const rfhe_judgement *j, const char *images,
                             rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    const rfhe_status st =
        prepare(s, &q, err,
                "INSERT OR REPLACE INTO judgement(trial, images_of, top1, correct, images) VALUES(?,?,?,?,?)",
                "itdii", j->trial, images, j->top1, (int64_t)j->correct, (int64_t)j->images);

    return st == RFHE_OK ? finish(s, q, err) : st;
}

/* ---- layers, choices, costs ---- */

static rfhe_status close_transaction(rfhe_store *s, rfhe_status st, rfhe_error *err)
{
    if (st == RFHE_OK) { st = run(s, "COMMIT", err); }
    if (st != RFHE_OK) { (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL); }
    return st;
}

rfhe_status rfhe_store_put_layers(rfhe_store *s, int64_t study, const rfhe_store_layer *l, size_t n,
                                  rfhe_error *err)
{
    rfhe_status st = run(s, "BEGIN IMMEDIATE", err);

    if (st != RFHE_OK) { return st; }
    for (size_t i = 0; i < n && st == RFHE_OK; i++) {
        sqlite3_stmt *q = NULL;
        st = prepare(s, &q, err,
                     "INSERT OR REPLACE INTO layer(study, layer, node, channels, per_image, mean, sigma, reach, q999,"
                     " histogram) VALUES(?,?,?,?,?,?,?,?,?,?)",
                     "iitiidddd", study, (int64_t)i, l[i].node, (int64_t)l[i].channels,
                     (int64_t)l[i].per_image, l[i].mean, l[i].sigma, l[i].reach, l[i].q999);
        if (st != RFHE_OK) { break; }
        if (sqlite3_bind_blob(q, 10, l[i].bar, sizeof l[i].bar, SQLITE_STATIC) != SQLITE_OK) {
            st = fail(s, err);
        }
        const rfhe_status end = finish(s, q, err);
        st = st == RFHE_OK ? end : st;
    }
    return close_transaction(s, st, err);
}

rfhe_status rfhe_store_put_choices(rfhe_store *s, int64_t study, const rfhe_store_choice *c,
                                   size_t n, rfhe_error *err)
{
    rfhe_status st = run(s, "BEGIN IMMEDIATE", err);

    if (st != RFHE_OK) { return st; }
    for (size_t i = 0; i < n && st == RFHE_OK; i++) {
        sqlite3_stmt *q = NULL;
        st = prepare(s, &q, err,
                     "INSERT OR REPLACE INTO choice(study, layer, form, depth, products, fit, harm_gradient,"
                     " harm_measured) VALUES(?,?,?,?,?,?,?,?)",
                     "iitiiddd", study, (int64_t)c[i].layer, c[i].form, (int64_t)c[i].depth,
                     (int64_t)c[i].products, c[i].fit, c[i].harm_gradient, c[i].harm_measured);
        if (st == RFHE_OK) { st = finish(s, q, err); }
    }
    return close_transaction(s, st, err);
}

rfhe_status rfhe_store_put_costs(rfhe_store *s, int64_t study, const rfhe_store_cost *c, size_t n,
                                 rfhe_error *err)
{
    rfhe_status st = run(s, "BEGIN IMMEDIATE", err);

    if (st != RFHE_OK) { return st; }
    for (size_t i = 0; i < n && st == RFHE_OK; i++) {
        sqlite3_stmt *q = NULL;
        st = prepare(s, &q, err,
                     "INSERT OR REPLACE INTO cost(study, params, layer, form, seconds) VALUES(?,?,?,?,?)",
                     "ititd", study, c[i].params, (int64_t)c[i].layer, c[i].form, c[i].seconds);
        if (st == RFHE_OK) { st = finish(s, q, err); }
    }
    return close_transaction(s, st, err);
}

static rfhe_status layer_reader(void *item, sqlite3_stmt *q)
{
    rfhe_store_layer *l = item;

    copy_text(l->node, sizeof l->node, q, 0);
    l->channels = (uint64_t)sqlite3_column_int64(q, 1);
    l->per_image = (uint64_t)sqlite3_column_int64(q, 2);
    l->mean = number(q, 3);
    l->sigma = number(q, 4);
    l->reach = number(q, 5);
    l->q999 = number(q, 6);
    const void *bars = sqlite3_column_blob(q, 7);
    if (bars != NULL && sqlite3_column_bytes(q, 7) == (int)sizeof l->bar) {
        memcpy(l->bar, bars, sizeof l->bar);
    }
    return RFHE_OK;
}

rfhe_status rfhe_store_get_layers(rfhe_store *s, int64_t study, rfhe_store_layer **out, size_t *n,
                                  rfhe_error *err)
{
    void *list = NULL;
    const rfhe_status st =
        read_list(s,
                  "SELECT node, channels, per_image, mean, sigma, reach, q999, histogram FROM layer WHERE study=?"
                  " ORDER BY layer",
                  study, &list, n, sizeof **out, layer_reader, err);

    if (st == RFHE_OK) { *out = list; }
    return st;
}

static rfhe_status choice_reader(void *item, sqlite3_stmt *q)
{
    rfhe_store_choice *c = item;

    c->layer = (uint32_t)sqlite3_column_int64(q, 0);
    copy_text(c->form, sizeof c->form, q, 1);
    c->depth = (uint32_t)sqlite3_column_int64(q, 2);
    c->products = (uint32_t)sqlite3_column_int64(q, 3);
    c->fit = number(q, 4);
    c->harm_gradient = number(q, 5);
    c->harm_measured = number(q, 6);
    return RFHE_OK;
}

rfhe_status rfhe_store_get_choices(rfhe_store *s, int64_t study, rfhe_store_choice **out, size_t *n,
                                   rfhe_error *err)
{
    void *list = NULL;
    const rfhe_status st = read_list(
        s,
        "SELECT layer, form, depth, products, fit, harm_gradient, harm_measured FROM choice WHERE study=?"
        " ORDER BY layer, rowid",
        study, &list, n, sizeof **out, choice_reader, err);

    if (st == RFHE_OK) { *out = list; }
    return st;
}

static rfhe_status cost_reader(void *item, sqlite3_stmt *q)
{
    rfhe_store_cost *c = item;

    copy_text(c->params, sizeof c->params, q, 0);
    c->layer = (int32_t)sqlite3_column_int64(q, 1);
    copy_text(c->form, sizeof c->form, q, 2);
    c->seconds = number(q, 3);
    return RFHE_OK;
}

rfhe_status rfhe_store_get_costs(rfhe_store *s, int64_t study, rfhe_store_cost **out, size_t *n,
                                 rfhe_error *err)
{
    void *list = NULL;
    const rfhe_status st =
        read_list(s, "SELECT params, layer, form, seconds FROM cost WHERE study=? ORDER BY layer, rowid",
                  study, &list, n, sizeof **out, cost_reader, err);

    if (st == RFHE_OK) { *out = list; }
    return st;
}

/* ---- notes ---- */

rfhe_status rfhe_store_put_note(rfhe_store *s, int64_t study, const char *key, const char *value,
                                rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    const rfhe_status st =
        prepare(s, &q, err, "INSERT OR REPLACE INTO note(study, key, value) VALUES(?,?,?)", "itt",
                study, key, value);

    return st == RFHE_OK ? finish(s, q, err) : st;
}

rfhe_status rfhe_store_get_note(rfhe_store *s, int64_t study, const char *key, char **value,
                                rfhe_error *err)
{
    sqlite3_stmt *q = NULL;
    bool row = false;
    char *copy = NULL;
    rfhe_status st =
        prepare(s, &q, err, "SELECT value FROM note WHERE study=? AND key=?", "it", study, key);

    if (st == RFHE_OK) { st = step(s, q, &row, err); }
    if (row) {
        copy = rfhe_strdup((const char *)sqlite3_column_text(q, 0));
        if (copy == NULL) { st = RFHE_E_NOMEM; }
    }
    (void)sqlite3_finalize(q);
    if (st == RFHE_OK) { *value = copy; }
    return st;
}
