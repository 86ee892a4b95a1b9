/* See training.h. */
#include "search/training.h"

#include <math.h>

/* A source whose epochs have `images` images, whatever those of the one below. */
typedef struct slice {
    const rfhe_batch_source *below;
    uint64_t images;
} slice;

static rfhe_status slice_next(void *user, float *images, uint32_t *labels, uint32_t *count,
                              rfhe_error *err)
{
    const slice *c = user;

    return c->below->next(c->below->user, images, labels, count, err);
}

static rfhe_status slice_seek(void *user, uint64_t epoch, uint64_t position, rfhe_error *err)
{
    const slice *c = user;
    const uint64_t all = epoch * c->images + position;

    return c->below->seek(c->below->user, all / c->below->images, all % c->below->images, err);
}

double rfhe_training_rate(const rfhe_oneshot_options *o, uint64_t fit_images, uint64_t passes)
{
    const double whole = (double)o->train.epochs * (double)fit_images;

    return o->train.rate * fmin(1, cbrt((double)passes / whole));
}

static rfhe_status widen(rfhe_graph *g, const rfhe_training *w, rfhe_error *err)
{
    rfhe_profile seen = {0};
    rfhe_error refused = {0};
    rfhe_status st = w->calibrate->seek(w->calibrate->user, 0, 0, err);

    if (st != RFHE_OK) { return st; }
    st = rfhe_profile_collect(&seen, g, w->calibrate, 0, RFHE_COMPUTE_F32, w->progress, &refused);
    if (st == RFHE_OK) {
        st = rfhe_method_widen(g, &seen, w->headroom, NULL, err);
    } else if (st == RFHE_E_NUMERIC) { /* an image diverges: no range is wide enough */
        st = RFHE_OK;
    } else {
        st = rfhe_fail(err, st, "%s", refused.text);
    }
    rfhe_profile_clear(&seen);
    return st;
}

rfhe_status rfhe_training_run(rfhe_graph *g, uint64_t *images, double *speed,
                              const rfhe_training *w, const rfhe_training_part *part,
                              rfhe_error *err)
{
    const rfhe_batch_source *fit = w->fit;
    const uint64_t epochs = (part->passes + fit->images - 1) / fit->images;
    slice cut = {.below = fit, .images = part->passes / epochs / fit->batch * fit->batch};
    const rfhe_batch_source source = {.next = slice_next, .seek = slice_seek, .user = &cut,
                                      .images = cut.images, .batch = fit->batch};
    rfhe_oneshot_options o = *w->oneshot;
    rfhe_train_result r = {0};
    rfhe_status st = RFHE_OK;

    o.train.rate = rfhe_training_rate(w->oneshot, fit->images, part->passes);
    o.train.epochs = epochs;
    o.ramp_epochs = part->rung <= 1 ? 0.1 * (double)epochs : 0;
    if (part->rung > 1) { o.growth = 1; } /* the penalty has grown already */
    o.train.keep_last = epochs == 1;
    o.train.seed = part->seed;
    o.train.progress = w->progress;
    o.train.identity = part->identity;
    o.train.checkpoint = part->checkpoint;
    RFHE_TRY(source.seek(source.user, 0, 0, err));
    RFHE_TRY(rfhe_method_oneshot(&r, NULL, g, w->teacher, &source, epochs > 1 ? w->select : NULL,
                                 &o, err));
    *images = r.images;
    if (speed != NULL) { *speed = r.images_per_second; }
    if (w->headroom > 0) { RFHE_TRY(widen(g, w, err)); }

done:
    rfhe_train_result_clear(&r);
    return st;
}
