/* See sides.h. */
#include "cli/sides.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli/terminal.h"

#include <stdio.h>
#include <string.h>

rfhe_status sides_transform(rfhe_transform *out, const rfhe_program *p, const rfhe_dataset *d, const rfhe_args *args,
                            rfhe_error *err)
{
    const rfhe_network_needs n = {.metas = p->meta,
                                  .n_metas = p->n_meta,
                                  .channels = p->image_channels,
                                  .height = p->image_height,
                                  .width = p->image_width};

    return rfhe_network_transform_for(out, &n, d, args, err);
}

void sides_class(char *out, size_t size, const rfhe_program *p, uint32_t label)
{
    for (uint32_t m = 0; m < p->n_meta; m++) {
        const char *at = p->meta[m].value;
        uint32_t k = 0;
        if (strcmp(p->meta[m].key, "rfhe.classes") != 0) { continue; }
        while (k < label && (at = strchr(at, ',')) != NULL) {
            at++;
            k++;
        }
        if (at != NULL) {
            (void)snprintf(out, size, "%.*s", (int)strcspn(at, ","), at);
            return;
        }
    }
    (void)snprintf(out, size, "%u", label);
}

uint32_t sides_label(const float *logits, uint32_t n)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) { best = i; }
    }
    return best;
}

/* What of `name` goes into the names of files made of it: no folders, no last extension. Not terminated: *length bytes. */
static const char *stem_of(const char *name, int *length)
{
    const char *slash = strrchr(name, '/'), *stem = slash != NULL ? slash + 1 : name, *dot = strrchr(stem, '.');

    *length = dot != NULL && dot != stem ? (int)(dot - stem) : (int)strlen(stem);
    return stem;
}

rfhe_status sides_file(char *out, size_t size, const char *folder, const char *name, const char *extension,
                       rfhe_error *err)
{
    int length = 0;
    const char *stem = stem_of(name, &length);
    const int n = snprintf(out, size, "%s/%.*s.%s", folder, length, stem, extension);

    return n > 0 && (size_t)n < size ? RFHE_OK : rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
}

rfhe_status sides_distinct(const rfhe_args *args, rfhe_error *err)
{
    for (unsigned i = 1; i < rfhe_args_count(args); i++) {
        int length = 0;
        const char *stem = stem_of(rfhe_args_at(args, i), &length);
        for (unsigned k = 1; k < i; k++) {
            int n = 0;
            const char *other = stem_of(rfhe_args_at(args, k), &n);
            if (n == length && memcmp(stem, other, (size_t)n) == 0) {
                return rfhe_fail(err, RFHE_E_ARG, "'%.120s' and '%.120s' would be written to one file: rename one, or take two runs "
                                 "with two folders", rfhe_args_at(args, k), rfhe_args_at(args, i));
            }
        }
    }
    return RFHE_OK;
}

rfhe_status sides_output(const char **out, const rfhe_args *args, rfhe_error *err)
{
    const bool is_given = rfhe_args_has(args, "output");

    *out = rfhe_args_text(args, "output", ".");
    return is_given ? rfhe_file_make_folder(*out, err) : RFHE_OK;
}

void sides_warn(const rfhe_cli *cli, const rfhe_ckks *c)
{
    rfhe_ckks_info info;

    rfhe_ckks_get_info(c, &info);
    if (!info.is_insecure) { return; }
    rfhe_terminal_clear();
    (void)fprintf(stderr, "rfhe %s: these parameters are INSECURE: for tests only, they protect nothing\n", cli->command->name);
}

rfhe_status sides_accept(const rfhe_cli *cli, const rfhe_args *args, const rfhe_ckks *c, rfhe_error *err)
{
    rfhe_ckks_info info;

    rfhe_ckks_get_info(c, &info);
    if (info.is_insecure && !rfhe_args_has(args, "insecure-test")) {
        return rfhe_fail(err, RFHE_E_INSECURE,
                         "the program asks for insecure parameters (N = 2^%u, log2 QP = %.0f), which protect nothing: only tests "
                         "want that, with --insecure-test",
                         info.log2_n, info.log2_qp);
    }
    sides_warn(cli, c);
    return RFHE_OK;
}

void sides_image_clear(rfhe_image *m)
{
    rfhe_free_secret(m->pixels);
    m->pixels = NULL;
    rfhe_image_clear(m);
}

static rfhe_status load(sides_images *out, const rfhe_program *p, const rfhe_dataset *set, const rfhe_transform *t,
                        const rfhe_progress *progress, rfhe_error *err)
{
    const size_t pixels = sides_pixels(p);
    rfhe_image image = {0};
    rfhe_status st = RFHE_OK;

    out->count = rfhe_dataset_count(set);
    out->x = rfhe_alloc(out->count * pixels, sizeof *out->x);
    out->label = rfhe_alloc(out->count, sizeof *out->label);
    if (out->x == NULL || out->label == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu images", out->count);
        goto done;
    }
    for (size_t i = 0; i < out->count; i++) {
        RFHE_TRY(rfhe_dataset_image(set, i, &image, err));
        RFHE_TRY(rfhe_transform_apply(out->x + i * pixels, pixels, &image, t, err));
        out->label[i] = rfhe_dataset_label(set, i);
        if (i % 256 == 0) {
            RFHE_TRY(rfhe_progress_report(progress, "reading", (double)i, (double)out->count, "images", ""));
        }
    }

done:
    sides_image_clear(&image);
    return st;
}

rfhe_status sides_load(sides_images *out, const rfhe_program *p, const char *spec, const char *split, uint64_t limit,
                       const rfhe_args *args, const rfhe_progress *progress, rfhe_error *err)
{
    const rfhe_dataset_options select = {.limit = limit};
    rfhe_status st = RFHE_OK;
    rfhe_dataset *set = NULL;
    rfhe_transform t;

    *out = (sides_images){0};
    RFHE_TRY(rfhe_dataset_open(&set, spec, split, &select, err));
    RFHE_TRY(sides_transform(&t, p, set, args, err));
    RFHE_TRY(load(out, p, set, &t, progress, err));

done:
    rfhe_dataset_close(set);
    if (st != RFHE_OK) { sides_images_clear(out); }
    return st;
}

void sides_images_clear(sides_images *s)
{
    rfhe_free_secret(s->x);
    rfhe_free(s->label);
    *s = (sides_images){0};
}
