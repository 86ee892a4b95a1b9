/* See evaluate.h. */
#include "nn/evaluate.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

rfhe_status rfhe_exec_classes(rfhe_exec *e, int64_t batch, size_t *classes, rfhe_error *err)
{
    rfhe_shape shape = {0};
    size_t count = 0;
    char text[96];

    (void)rfhe_exec_output(e, 0, &shape);
    if (!rfhe_shape_count(&shape, &count) || shape.rank < 2 || shape.dim[0] != batch ||
        count < 2 * (size_t)batch) {
        return rfhe_fail(err, RFHE_E_FORMAT,
                         "the network's output %s is not a row of logits for each of %lld images",
                         rfhe_shape_text(text, sizeof text, &shape), (long long)batch);
    }
    *classes = count / (size_t)batch;
    return RFHE_OK;
}

/* Reads one batch into e's input; rows that the source does not fill are set to zero. */
static rfhe_status fill_input(rfhe_exec *e, const rfhe_batch_source *src, uint32_t *labels,
                              uint32_t *count, rfhe_error *err)
{
    rfhe_shape shape = {0};
    size_t n = 0;
    float *input = rfhe_exec_input(e, 0, &shape);
    rfhe_status st = src->next(src->user, input, labels, count, err);

    if (st != RFHE_OK) { return st; }
    if (*count == 0 || *count > src->batch || !rfhe_shape_count(&shape, &n)) {
        return rfhe_fail(err, RFHE_E_ARG, "a batch has %u images instead of 1 to %u", *count,
                         src->batch);
    }
    const size_t each = n / src->batch;
    memset(input + *count * each, 0, (src->batch - *count) * each * sizeof *input);
    return RFHE_OK;
}

rfhe_status rfhe_evaluate(rfhe_loss_sums *out, rfhe_exec *e, const rfhe_batch_source *src,
                          const rfhe_progress *progress, rfhe_error *err)
{
    static const rfhe_loss_options plain;
    rfhe_status st = RFHE_OK;
    rfhe_loss_sums sums = {0};
    uint32_t *labels = NULL, count = 0;
    size_t classes = 0;
    char note[48];

    RFHE_TRY(rfhe_exec_classes(e, src->batch, &classes, err));
    labels = rfhe_alloc(src->batch, sizeof *labels);
    if (labels == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %u labels", src->batch);
        goto done;
    }
    RFHE_TRY(src->seek(src->user, 0, 0, err));
    while (sums.images < src->images) {
        RFHE_TRY(fill_input(e, src, labels, &count, err));
        RFHE_TRY(rfhe_exec_forward(e, err));
        RFHE_TRY(rfhe_loss(&sums, NULL, rfhe_exec_output(e, 0, NULL), NULL, labels, count, classes,
                           &plain, err));
        (void)snprintf(note, sizeof note, "top-1 %.2f %%",
                       100.0 * (double)sums.top1 / (double)sums.images);
        RFHE_TRY(rfhe_progress_report(progress, "evaluate", (double)sums.images,
                                      (double)src->images, "images", note));
    }
    *out = sums;

done:
    rfhe_free(labels);
    return st;
}

rfhe_status rfhe_recalibrate(rfhe_exec *e, const rfhe_batch_source *src, uint64_t batches,
                             float momentum, const rfhe_progress *progress, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint32_t *labels = rfhe_alloc(src->batch, sizeof *labels), count = 0;

    if (labels == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for %u labels", src->batch); }
    rfhe_exec_bn_momentum(e, -1.0F);
    RFHE_TRY(src->seek(src->user, 0, 0, err));
    for (uint64_t b = 0; b < batches; b++) {
        RFHE_TRY(fill_input(e, src, labels, &count, err));
        if (count < src->batch) { break; } /* rows of zeros would count as images */
        RFHE_TRY(rfhe_exec_forward(e, err));
        RFHE_TRY(rfhe_progress_report(progress, "recalibrate", (double)(b + 1), (double)batches,
                                      "batches", ""));
    }

done:
    rfhe_exec_bn_momentum(e, momentum);
    rfhe_free(labels);
    return st;
}

static const rfhe_param *same_name(const rfhe_param *params, uint32_t n, uint32_t hint,
                                   const char *name)
{
    if (hint < n && strcmp(params[hint].name, name) == 0) { return &params[hint]; }
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(params[i].name, name) == 0) { return &params[i]; }
    }
    return NULL;
}

rfhe_status rfhe_exec_copy(rfhe_exec *dst, rfhe_exec *src, const float *values, rfhe_error *err)
{
    uint32_t n_dst = 0, n_src = 0;
    const rfhe_param *to = rfhe_exec_params(dst, &n_dst), *from = rfhe_exec_params(src, &n_src);
    float *out = rfhe_exec_values(dst, NULL);

    if (values == NULL) { values = rfhe_exec_values(src, NULL); }
    for (uint32_t i = 0; i < n_dst; i++) {
        const rfhe_param *p = same_name(from, n_src, i, to[i].name);
        if (p == NULL || p->count != to[i].count) {
            return rfhe_fail(err, RFHE_E_ARG, "the networks differ in parameter '%s'", to[i].name);
        }
        memcpy(out + to[i].offset, values + p->offset, p->count * sizeof *out);
    }
    rfhe_exec_weights_changed(dst);
    return RFHE_OK;
}
