/* rfhe_data_check: decodes everything once and says what is there. */
#include "base/mem.h"
#include "base/threads.h"
#include "data/dataset.h"

#include <string.h>

enum { BLOCK = 256 /* images between two progress reports; also what is checked in parallel */ };

void rfhe_data_report_clear(rfhe_data_report *r)
{
    rfhe_free(r->per_class);
    *r = (rfhe_data_report){0};
}

typedef struct finding {
    rfhe_status status;
    uint32_t width, height, channels;
    bool damaged;
} finding;

static void look_at(finding *f, const rfhe_dataset *d, size_t i, rfhe_image *scratch)
{
    f->status = rfhe_dataset_image(d, i, scratch, NULL);
    f->width = scratch->width;
    f->height = scratch->height;
    f->channels = scratch->channels;
    f->damaged = scratch->damaged;
}

static void add(rfhe_data_report *r, const finding *f)
{
    if (f->status != RFHE_OK) {
        r->bad++;
        return;
    }
    r->damaged += f->damaged;
    r->grey += f->channels == 1;
    r->color += f->channels == 3;
    if (r->min_width == 0 || f->width < r->min_width) { r->min_width = f->width; }
    if (r->min_height == 0 || f->height < r->min_height) { r->min_height = f->height; }
    if (f->width > r->max_width) { r->max_width = f->width; }
    if (f->height > r->max_height) { r->max_height = f->height; }
}

rfhe_status rfhe_data_check(rfhe_data_report *out, const rfhe_dataset *d,
                            const rfhe_progress *progress, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_data_report r = {.images = rfhe_dataset_count(d), .classes = rfhe_dataset_classes(d)};
    finding *found = rfhe_alloc(BLOCK, sizeof *found);

    r.per_class = rfhe_calloc(r.classes, sizeof *r.per_class);
    if (r.per_class == NULL || found == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to check '%s'", rfhe_dataset_spec(d));
        goto done;
    }
    for (size_t i = 0; i < r.images; i++) { r.per_class[rfhe_dataset_label(d, i)]++; }
    for (uint32_t c = 0; c < r.classes; c++) { r.empty_classes += r.per_class[c] == 0; }
    for (size_t from = 0; from < r.images; from += BLOCK) {
        const size_t n = r.images - from < BLOCK ? r.images - from : BLOCK;
        RFHE_TRY(rfhe_progress_report(progress, "checking", (double)from, (double)r.images, "image",
                                      NULL));
#pragma omp parallel
        {
            rfhe_image scratch = {0};
#pragma omp for schedule(static)
            for (size_t k = 0; k < n; k++) { look_at(&found[k], d, from + k, &scratch); }
            rfhe_image_clear(&scratch);
        }
        for (size_t k = 0; k < n; k++) {
            if (found[k].status == RFHE_E_NOMEM) {
                st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to decode an image of '%s'",
                               rfhe_dataset_spec(d));
                goto done;
            }
            if (found[k].status != RFHE_OK && r.bad == 0) { /* once more, for its sentence */
                rfhe_image again = {0};
                found[k].status = rfhe_dataset_image(d, from + k, &again, &r.first_problem);
                rfhe_image_clear(&again);
            }
            add(&r, &found[k]);
        }
    }
    *out = r;
    r.per_class = NULL;

done:
    rfhe_free(r.per_class);
    rfhe_free(found);
    return st;
}
