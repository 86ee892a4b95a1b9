/* The loader: a ring of batches that background threads fill and the caller empties.
 *
 * The sequence of images is a function of (seed, epoch, position) alone: the order of an epoch is one permutation, and
 * every image draws its augmentation from a stream of its own, so it does not matter who prepares what, or when. Work
 * is handed out under one lock in pieces of a few images; the pixels are written outside the lock. A batch is ready
 * when all its images are. Preparation runs on over the end of an epoch, so that the next one starts without a wait.
 *
 * On two cores the useful thing is one background thread: decoding then overlaps the network's work, whose own team
 * keeps both cores busy between batches. A raw set (CIFAR, IDX) takes well under a millisecond per batch of 128. */
#include "base/mem.h"
#include "base/threads.h"
#include "data/transform.h"

#include <pthread.h>
#include <string.h>

enum { WORKERS_MAX = 64, PREFETCH_MAX = 64, PIECE_RAW = 32 };

#define BATCH_MAX (1u << 20)
/* Streams of rfhe_rng_seed: the order of epoch e, and image i in epoch e (e below 2^31, i below 2^32). */
#define STREAM_ORDER (UINT64_C(1) << 63)

typedef struct slot {
    float *images;
    uint32_t *labels, *indices;
    uint32_t count, given, done; /* images in all, handed out, finished */
    uint64_t epoch, position;    /* of its first image                  */
    bool ends_epoch;
    uint32_t bad; /* lowest number of a failed image, or count */
    rfhe_status status;
    rfhe_error error;
} slot;

struct rfhe_loader {
    const rfhe_dataset *d;
    rfhe_loader_options o;
    rfhe_mapping map;
    size_t image_floats;
    uint64_t per_epoch; /* images delivered in an epoch */
    uint32_t n_slots, piece;
    slot *slots;

    /* Who is served next. Everything below belongs to the lock, but for a slot's pixels. */
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    uint64_t head,
        tail; /* batch numbers: next to deliver, next to open; slot = number mod n_slots */
    rfhe_loader_state next; /* first image of batch `tail`  */
    rfhe_loader_state at;   /* first image of batch `head`  */
    bool holds_head;        /* batch head - 1 is still borrowed by the caller */
    uint32_t busy;          /* workers outside the lock with a piece */
    bool stop, pause;
    uint32_t *order; /* of epoch order_of; NULL when not shuffled */
    uint64_t order_of;
    bool has_lock, has_work, has_ready;
    uint32_t n_workers;
    pthread_t worker[WORKERS_MAX];
    rfhe_mapping_scratch scratch[WORKERS_MAX];
};

/* --- Preparing --------------------------------------------------------------------------------------------------- */

static bool is_over(const rfhe_loader *l, rfhe_loader_state s)
{
    return l->o.epochs != 0 && s.epoch >= l->o.epochs;
}

static uint32_t batch_size(const rfhe_loader *l, rfhe_loader_state s)
{
    const uint64_t left = l->per_epoch - s.position;

    return left < l->o.batch ? (uint32_t)left : l->o.batch;
}

static rfhe_loader_state after(const rfhe_loader *l, rfhe_loader_state s)
{
    s.position += batch_size(l, s);
    if (s.position >= l->per_epoch) { s = (rfhe_loader_state){.epoch = s.epoch + 1}; }
    return s;
}

/* Makes slot `tail` the batch that begins at `next`. */
static void open_slot(rfhe_loader *l)
{
    slot *b = &l->slots[l->tail % l->n_slots];

    if (l->order != NULL && l->order_of != l->next.epoch) {
        rfhe_rng r = rfhe_rng_seed(l->o.seed, STREAM_ORDER | l->next.epoch);
        rfhe_rng_permutation(&r, l->order, rfhe_dataset_count(l->d));
        l->order_of = l->next.epoch;
    }
    b->count = batch_size(l, l->next);
    b->given = b->done = 0;
    b->bad = b->count;
    b->status = RFHE_OK;
    b->error = (rfhe_error){0};
    b->epoch = l->next.epoch;
    b->position = l->next.position;
    for (uint32_t k = 0; k < b->count; k++) {
        const size_t p = (size_t)l->next.position + k;
        b->indices[k] = l->order != NULL ? l->order[p] : (uint32_t)p;
        b->labels[k] = rfhe_dataset_label(l->d, b->indices[k]);
    }
    l->next = after(l, l->next);
    b->ends_epoch = l->next.epoch != b->epoch;
    l->tail++;
}

/* A piece of the earliest batch that has images left, opening a batch if there is a free slot. NULL: nothing to do. */
static slot *take_piece(rfhe_loader *l, uint32_t *from, uint32_t *to)
{
    const uint64_t first = l->head;

    for (uint64_t n = first; n < l->tail; n++) {
        slot *b = &l->slots[n % l->n_slots];
        if (b->given < b->count) {
            *from = b->given;
            *to = b->count - b->given > l->piece ? b->given + l->piece : b->count;
            b->given = *to;
            return b;
        }
    }
    if (l->tail - l->head + l->holds_head < l->n_slots && !is_over(l, l->next)) {
        open_slot(l);
        return take_piece(l, from, to);
    }
    return NULL;
}

/* Prepares images [from, to) of a batch; the first failure is noted in *bad, *st, *err. */
static void prepare(rfhe_loader *l, const slot *b, uint32_t from, uint32_t to,
                    rfhe_mapping_scratch *scratch, uint32_t *bad, rfhe_status *st, rfhe_error *err)
{
    const rfhe_augment *a = &l->o.augment;
    const bool is_random = a->random_resized_crop || a->pad_crop > 0 || a->flip || a->cutout > 0;

    *st = RFHE_OK;
    for (uint32_t k = from; k < to && *st == RFHE_OK; k++) {
        rfhe_rng r = {{0}};
        if (is_random) {
            r = rfhe_rng_seed(l->o.seed, (b->epoch << 32 | b->indices[k]) & ~STREAM_ORDER);
        }
        *st = rfhe_mapping_apply(b->images + k * l->image_floats, &l->map, l->d, b->indices[k],
                                 is_random ? &r : NULL, scratch, err);
        *bad = k;
    }
}

/* Notes a finished piece; needs the lock. */
static void finish_piece(slot *b, uint32_t from, uint32_t to, uint32_t bad, rfhe_status st,
                         const rfhe_error *err)
{
    b->done += to - from;
    if (st != RFHE_OK && bad < b->bad) {
        b->bad = bad;
        b->status = st;
        b->error = *err;
    }
}

static void *work(void *argument)
{
    rfhe_loader *l = argument;
    rfhe_mapping_scratch *scratch = NULL;

    (void)pthread_mutex_lock(&l->lock);
    for (uint32_t k = 0; k < l->n_workers; k++) {
        if (pthread_equal(l->worker[k], pthread_self())) { scratch = &l->scratch[k]; }
    }
    while (!l->stop) {
        uint32_t from = 0, to = 0, bad = 0;
        slot *b = l->pause ? NULL : take_piece(l, &from, &to);
        if (b == NULL) {
            (void)pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        rfhe_status st = RFHE_OK;
        rfhe_error err = {0};
        l->busy++;
        (void)pthread_mutex_unlock(&l->lock);
        prepare(l, b, from, to, scratch, &bad, &st, &err);
        (void)pthread_mutex_lock(&l->lock);
        l->busy--;
        finish_piece(b, from, to, bad, st, &err);
        if (b->done == b->count || l->pause) { (void)pthread_cond_broadcast(&l->ready); }
    }
    (void)pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* --- The caller's side ------------------------------------------------------------------------------------------- */

static void stop_workers(rfhe_loader *l)
{
    (void)pthread_mutex_lock(&l->lock);
    l->stop = true;
    (void)pthread_cond_broadcast(&l->work);
    (void)pthread_mutex_unlock(&l->lock);
    for (uint32_t k = 0; k < l->n_workers; k++) { (void)pthread_join(l->worker[k], NULL); }
}

void rfhe_loader_free(rfhe_loader *l)
{
    if (l == NULL) { return; }
    if (l->has_lock && l->has_work) { stop_workers(l); }
    if (l->has_ready) { (void)pthread_cond_destroy(&l->ready); }
    if (l->has_work) { (void)pthread_cond_destroy(&l->work); }
    if (l->has_lock) { (void)pthread_mutex_destroy(&l->lock); }
    for (uint32_t s = 0; l->slots != NULL && s < l->n_slots; s++) {
        rfhe_free(l->slots[s].images);
        rfhe_free(l->slots[s].labels);
        rfhe_free(l->slots[s].indices);
    }
    for (uint32_t k = 0; k < WORKERS_MAX; k++) { rfhe_mapping_scratch_clear(&l->scratch[k]); }
    rfhe_free(l->slots);
    rfhe_free(l->order);
    rfhe_free(l);
}

static rfhe_status start_workers(rfhe_loader *l, uint32_t n, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    (void)pthread_mutex_lock(
        &l->lock); /* a worker looks itself up in worker[]: let it wait for the entry */
    for (uint32_t k = 0; k < n && st == RFHE_OK; k++) {
        if (pthread_create(&l->worker[k], NULL, work, l) != 0) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "the system gives no thread number %u to the loader",
                           k + 1);
        } else {
            l->n_workers++;
        }
    }
    (void)pthread_mutex_unlock(&l->lock);
    return st;
}

rfhe_status rfhe_loader_new(rfhe_loader **out, const rfhe_dataset *d, const rfhe_transform *t,
                            const rfhe_loader_options *options, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_loader *l = NULL;
    const rfhe_loader_options *o = options;
    const size_t n = rfhe_dataset_count(d);
    const bool is_raw = rfhe_dataset_width(d) != 0;
    uint32_t workers = o->workers;

    if (o->batch == 0 || o->batch > BATCH_MAX || o->workers > WORKERS_MAX ||
        o->prefetch > PREFETCH_MAX) {
        return rfhe_fail(
            err, RFHE_E_ARG,
            "a loader wants a batch of 1 to %u, at most %d workers and %d batches ahead", BATCH_MAX,
            WORKERS_MAX, PREFETCH_MAX);
    }
    if (n == 0 || (o->drop_last && n < o->batch)) {
        return rfhe_fail(err, RFHE_E_ARG, "%zu images do not make a batch of %u", n, o->batch);
    }
    if (workers == 0) { workers = is_raw ? 1 : (rfhe_threads_get() + 1) / 2; }
    if (workers > WORKERS_MAX) { workers = WORKERS_MAX; }
    l = rfhe_calloc(1, sizeof *l);
    if (l == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a loader");
        goto done;
    }
    l->d = d;
    l->o = *o;
    l->per_epoch = o->drop_last ? n - n % o->batch : n;
    l->piece = is_raw ? PIECE_RAW : 1;
    /* One slot is with the caller. */
    l->n_slots = o->no_thread ? 1 : (o->prefetch != 0 ? o->prefetch : 2) + 1;
    RFHE_TRY(rfhe_mapping_init(&l->map, t, &o->augment, rfhe_dataset_channels(d),
                               rfhe_dataset_height(d), rfhe_dataset_width(d), err));
    l->image_floats = (size_t)l->map.channels * l->map.height * l->map.width;
    l->slots = rfhe_calloc(l->n_slots, sizeof *l->slots);
    if (o->shuffle) { l->order = rfhe_alloc(n, sizeof *l->order); }
    l->order_of = UINT64_MAX;
    bool enough = l->slots != NULL && (!o->shuffle || l->order != NULL);
    const uint32_t room = o->batch < l->per_epoch ? o->batch : (uint32_t)l->per_epoch;
    for (uint32_t s = 0; enough && s < l->n_slots; s++) {
        l->slots[s].images = rfhe_alloc(room, l->image_floats * sizeof *l->slots[s].images);
        l->slots[s].labels = rfhe_alloc(room, sizeof *l->slots[s].labels);
        l->slots[s].indices = rfhe_alloc(room, sizeof *l->slots[s].indices);
        enough =
            l->slots[s].images != NULL && l->slots[s].labels != NULL && l->slots[s].indices != NULL;
    }
    if (!enough) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %u batches of %u images of %u x %u x %u",
                       l->n_slots, room, l->map.channels, l->map.height, l->map.width);
        goto done;
    }
    l->has_lock = pthread_mutex_init(&l->lock, NULL) == 0;
    l->has_work = pthread_cond_init(&l->work, NULL) == 0;
    l->has_ready = pthread_cond_init(&l->ready, NULL) == 0;
    if (!l->has_lock || !l->has_work || !l->has_ready) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "the system gives no lock to the loader");
        goto done;
    }
    if (!o->no_thread) { RFHE_TRY(start_workers(l, workers, err)); }
    *out = l;
    l = NULL;

done:
    rfhe_loader_free(l);
    return st;
}

void rfhe_loader_size(const rfhe_loader *l, uint32_t *channels, uint32_t *height, uint32_t *width)
{
    *channels = l->map.channels;
    *height = l->map.height;
    *width = l->map.width;
}

uint64_t rfhe_loader_batches(const rfhe_loader *l)
{
    return (l->per_epoch + l->o.batch - 1) / l->o.batch;
}

/* Needs the lock; returns with it. Without workers the caller does all pieces itself. */
static void wait_for_head(rfhe_loader *l)
{
    if (l->n_workers == 0) {
        uint32_t from = 0, to = 0, bad = 0;
        for (slot *b = take_piece(l, &from, &to); b != NULL; b = take_piece(l, &from, &to)) {
            rfhe_status st = RFHE_OK;
            rfhe_error err = {0};
            prepare(l, b, from, to, &l->scratch[0], &bad, &st, &err);
            finish_piece(b, from, to, bad, st, &err);
        }
        return;
    }
    (void)pthread_cond_broadcast(&l->work);
    for (;;) {
        const slot *b = &l->slots[l->head % l->n_slots];
        if (l->tail > l->head && b->done == b->count) { return; }
        (void)pthread_cond_wait(&l->ready, &l->lock);
    }
}

rfhe_status rfhe_loader_next(rfhe_loader *l, rfhe_batch *out, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    (void)pthread_mutex_lock(&l->lock);
    l->holds_head = false; /* the caller gives back what it borrowed */
    if (is_over(l, l->at)) {
        *out = (rfhe_batch){.epoch = l->at.epoch, .ends_epoch = true};
        goto done;
    }
    wait_for_head(l);
    slot *b = &l->slots[l->head % l->n_slots];
    if (b->status != RFHE_OK) {
        st = rfhe_fail(err, b->status, "%s",
                       b->error.text[0] != '\0' ? b->error.text : "out of memory");
        goto done;
    }
    *out = (rfhe_batch){.images = b->images,
                        .labels = b->labels,
                        .indices = b->indices,
                        .count = b->count,
                        .epoch = b->epoch,
                        .ends_epoch = b->ends_epoch};
    l->at = after(l, l->at);
    l->head++;
    l->holds_head = true;

done:
    (void)pthread_mutex_unlock(&l->lock);
    return st;
}

rfhe_status rfhe_loader_read(rfhe_loader *l, float *images, uint32_t *labels, uint32_t *count,
                             rfhe_error *err)
{
    rfhe_batch b;
    const rfhe_status st = rfhe_loader_next(l, &b, err);

    if (st != RFHE_OK) { return st; }
    if (b.count > 0) {
        memcpy(images, b.images, b.count * l->image_floats * sizeof *images);
        memcpy(labels, b.labels, b.count * sizeof *labels);
    }
    *count = b.count;
    return RFHE_OK;
}

rfhe_loader_state rfhe_loader_get_state(const rfhe_loader *l)
{
    return l->at;
}

rfhe_status rfhe_loader_set_state(rfhe_loader *l, rfhe_loader_state s, rfhe_error *err)
{
    if (s.position >= l->per_epoch || s.position % l->o.batch != 0 || s.epoch >= UINT32_MAX / 2) {
        return rfhe_fail(
            err, RFHE_E_ARG,
            "a loader of %llu images in batches of %u cannot continue at image %llu of epoch %llu",
            (unsigned long long)l->per_epoch, l->o.batch, (unsigned long long)s.position,
            (unsigned long long)s.epoch);
    }
    (void)pthread_mutex_lock(&l->lock);
    l->pause = true; /* pieces in work are finished and forgotten */
    while (l->busy > 0) { (void)pthread_cond_wait(&l->ready, &l->lock); }
    l->head = l->tail = 0;
    l->holds_head = false;
    l->at = l->next = s;
    l->pause = false;
    (void)pthread_cond_broadcast(&l->work);
    (void)pthread_mutex_unlock(&l->lock);
    return RFHE_OK;
}
