/* See network.h. */
#include "cli/network.h"

#include "paf/node.h"
#include "rfhe/onnx.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

rfhe_status rfhe_network_open(rfhe_graph **out, const char *path, rfhe_error *err)
{
    rfhe_graph *g = NULL;
    rfhe_status st = RFHE_OK;
    char text[96];

    RFHE_TRY(rfhe_onnx_read(&g, path, NULL, err));
    RFHE_TRY(rfhe_graph_infer(g, 0, err));
    RFHE_TRY(rfhe_paf_fuse(g, NULL, err));
    if (g->n_inputs != 1 || g->n_outputs < 1 || g->values[g->inputs[0]].shape.rank != 4) {
        st = rfhe_fail(err, RFHE_E_FORMAT,
                       "'%s' is not a network on images: it has %u inputs, the first of shape %s",
                       path, g->n_inputs,
                       g->n_inputs > 0
                           ? rfhe_shape_text(text, sizeof text, &g->values[g->inputs[0]].shape)
                           : "none");
        goto done;
    }
    *out = g;
    g = NULL;

done:
    rfhe_graph_free(g);
    return st;
}

void rfhe_network_input(const rfhe_graph *g, int64_t *channels, int64_t *height, int64_t *width)
{
    const rfhe_shape *s = &g->values[g->inputs[0]].shape;

    *channels = s->dim[1];
    *height = s->dim[2];
    *width = s->dim[3];
}

/* "0.5" or "0.5,0.4,0.3": one number stands for all channels. */
static bool parse_triple(float out[3], const char *text)
{
    char *end = NULL;
    unsigned n = 0;

    for (const char *s = text; n < 3; s = end + 1) {
        const double x = strtod(s, &end);
        if (end == s || !isfinite(x)) { return false; }
        out[n++] = (float)x;
        if (*end == '\0') { break; }
        if (*end != ',') { return false; }
    }
    if (*end != '\0' || n == 2) { return false; }
    if (n == 1) { out[1] = out[2] = out[0]; }
    return true;
}

static bool spec_is(const rfhe_dataset *d, const char *kind)
{
    const char *spec = rfhe_dataset_spec(d);
    const size_t n = strlen(kind);

    return strncmp(spec, kind, n) == 0 && (spec[n] == ':' || spec[n] == '\0');
}

static const char *find_meta(const rfhe_network_needs *n, const char *key)
{
    for (uint32_t i = 0; i < n->n_metas; i++) {
        if (strcmp(n->metas[i].key, key) == 0) { return n->metas[i].value; }
    }
    return NULL;
}

/* One of mean and std: option, metadata, default. */
static rfhe_status triple(float out[3], const char *option, const char *key, const rfhe_network_needs *g,
                          const rfhe_args *args, const char *otherwise, rfhe_error *err)
{
    const char *given = args != NULL ? rfhe_args_text(args, option, NULL) : NULL;
    const char *meta = find_meta(g, key);

    if (given != NULL && !parse_triple(out, given)) {
        return rfhe_fail(err, RFHE_E_ARG, "--%s wants one or three numbers, not '%s'", option, given);
    }
    if (given == NULL && meta != NULL && !parse_triple(out, meta)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the model's %s is '%s', not one or three numbers", key,
                         meta);
    }
    if (given == NULL && meta == NULL) { (void)parse_triple(out, otherwise); }
    return RFHE_OK;
}

/* One of resize and crop; false when neither option nor metadata says anything. */
static rfhe_status length(uint32_t *out, bool *found, const char *option, const char *key,
                          const rfhe_network_needs *g, const rfhe_args *args, rfhe_error *err)
{
    const char *meta = find_meta(g, key);
    uint64_t v = args != NULL ? rfhe_args_uint(args, option, UINT64_MAX) : UINT64_MAX;
    char *end = NULL;

    *found = true;
    if (v == UINT64_MAX && meta != NULL) {
        v = strtoull(meta, &end, 10);
        if (end == meta || *end != '\0' || v > 65536) {
            return rfhe_fail(err, RFHE_E_FORMAT, "the model's %s is '%s', not a number of pixels", key,
                             meta);
        }
    }
    if (v == UINT64_MAX) {
        *found = false;
    } else if (v > 65536) {
        return rfhe_fail(err, RFHE_E_ARG, "--%s %llu is not a sensible number of pixels", option,
                         (unsigned long long)v);
    } else {
        *out = (uint32_t)v;
    }
    return RFHE_OK;
}

rfhe_status rfhe_network_transform(rfhe_transform *out, const rfhe_graph *g, const rfhe_dataset *d,
                                   const rfhe_args *args, rfhe_error *err)
{
    rfhe_network_needs n = {.metas = g->metas, .n_metas = g->n_metas};

    rfhe_network_input(g, &n.channels, &n.height, &n.width);
    return rfhe_network_transform_for(out, &n, d, args, err);
}

rfhe_status rfhe_network_transform_for(rfhe_transform *out, const rfhe_network_needs *g, const rfhe_dataset *d,
                                       const rfhe_args *args, rfhe_error *err)
{
    rfhe_transform t = {0};
    rfhe_status st = RFHE_OK;
    const int64_t channels = g->channels, height = g->height, width = g->width;
    uint32_t crop = 0;
    bool has_resize = false, has_crop = false;
    const char *mean = "0.485,0.456,0.406", *std = "0.229,0.224,0.225";
    const bool photos = d == NULL || rfhe_dataset_width(d) == 0;

    if (d != NULL && spec_is(d, "fashion-mnist")) { mean = "0.2860", std = "0.3530"; }
    if (d != NULL && spec_is(d, "mnist")) { mean = "0.1307", std = "0.3081"; }
    if (channels != 1 && channels != 3) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "the model wants images of %lld channels, not 1 or 3",
                         (long long)channels);
    }
    t.channels = (uint32_t)channels;
    RFHE_TRY(triple(t.mean, "mean", "rfhe.mean", g, args, mean, err));
    RFHE_TRY(triple(t.std, "std", "rfhe.std", g, args, std, err));
    RFHE_TRY(length(&t.resize, &has_resize, "resize", "rfhe.resize", g, args, err));
    RFHE_TRY(length(&crop, &has_crop, "crop", "rfhe.crop", g, args, err));
    t.crop_height = t.crop_width = crop;
    if (height > 0 && width > 0 &&
        (photos || rfhe_dataset_height(d) != height || rfhe_dataset_width(d) != width)) {
        if (!has_crop) {
            t.crop_height = (uint32_t)height;
            t.crop_width = (uint32_t)width;
        }
        if (!has_resize) {
            const int64_t side = height > width ? height : width;
            t.resize = (uint32_t)(photos ? (side * 8 + 6) / 7 : side);
            t.keep_fitting = photos;
        }
    }
    *out = t;

done:
    return st;
}

rfhe_status rfhe_network_set_metadata(rfhe_graph *g, const rfhe_transform *t, const rfhe_dataset *d)
{
    const uint32_t width = rfhe_dataset_width(d), height = rfhe_dataset_height(d);
    /* Whole images of one size: the resize that leaves them as they are. A guess is left to be made again: it is not the
     * same for every image. */
    const uint32_t resize = t->keep_fitting ? 0 : t->resize > 0 ? t->resize : width < height ? width : height;
    rfhe_status st = RFHE_OK;
    rfhe_text classes = {0};
    char text[96];

    for (int i = 0; i < 2; i++) {
        const float *v = i == 0 ? t->mean : t->std;
        if (t->channels == 1) {
            (void)snprintf(text, sizeof text, "%.6g", (double)v[0]);
        } else {
            (void)snprintf(text, sizeof text, "%.6g,%.6g,%.6g", (double)v[0], (double)v[1], (double)v[2]);
        }
        RFHE_TRY(rfhe_graph_set_meta(g, i == 0 ? "rfhe.mean" : "rfhe.std", text));
    }
    if (resize > 0) {
        (void)snprintf(text, sizeof text, "%u", resize);
        RFHE_TRY(rfhe_graph_set_meta(g, "rfhe.resize", text));
    }
    if (t->crop_height > 0 && t->crop_height == t->crop_width) {
        (void)snprintf(text, sizeof text, "%u", t->crop_height);
        RFHE_TRY(rfhe_graph_set_meta(g, "rfhe.crop", text));
    }
    if (rfhe_dataset_classes(d) <= 100) {
        for (uint32_t c = 0; c < rfhe_dataset_classes(d); c++) {
            rfhe_text_printf(&classes, "%s%s", c > 0 ? "," : "", rfhe_dataset_class_name(d, c));
        }
        RFHE_TRY(rfhe_text_status(&classes));
        RFHE_TRY(rfhe_graph_set_meta(g, "rfhe.classes", classes.data));
    }

done:
    rfhe_text_clear(&classes);
    return st;
}

uint32_t rfhe_network_batch(const rfhe_graph *g, uint64_t images)
{
    int64_t channels = 0, height = 0, width = 0;

    rfhe_network_input(g, &channels, &height, &width);
    const int64_t floats = channels * (height > 0 ? height : 224) * (width > 0 ? width : 224);
    uint64_t batch = (uint64_t)((INT64_C(1) << 22) / (floats > 0 ? floats : 1));
    batch = batch > 128 ? 128 : batch < 8 ? 8 : batch;
    return (uint32_t)(batch > images && images > 0 ? images : batch);
}

rfhe_status rfhe_network_augmentation(rfhe_augment *out, const char *list, rfhe_error *err)
{
    rfhe_augment a = {0};

    for (const char *at = list; *at != '\0';) {
        const size_t n = strcspn(at, ","), name = strcspn(at, ":,");
        const char *value = at[name] == ':' ? at + name + 1 : NULL;
        char *end = NULL;
        const double v = value != NULL ? strtod(value, &end) : 0;
        const bool number_ok = value != NULL && end == at + n && v > 0 && v <= 1024;
        bool ok = false;
        if (name == 4 && strncmp(at, "none", 4) == 0) {
            ok = value == NULL;
        } else if (name == 4 && strncmp(at, "flip", 4) == 0) {
            a.flip = true;
            ok = value == NULL;
        } else if (name == 4 && strncmp(at, "crop", 4) == 0) {
            a.pad_crop = number_ok ? (uint32_t)v : 0;
            ok = number_ok;
        } else if (name == 6 && strncmp(at, "cutout", 6) == 0) {
            a.cutout = number_ok ? (uint32_t)v : 0;
            ok = number_ok;
        } else if (name == 12 && strncmp(at, "resized-crop", 12) == 0) {
            a.random_resized_crop = true;
            a.area_min = number_ok ? (float)v : 0.0F;
            ok = value == NULL || (number_ok && v <= 1);
        }
        if (!ok) {
            return rfhe_fail(err, RFHE_E_ARG,
                             "--augment wants none, or some of crop:N, flip, cutout:N, resized-crop[:AREA], "
                             "not '%.*s'",
                             (int)n, at);
        }
        at += n + (at[n] == ',');
    }
    *out = a;
    return RFHE_OK;
}

const char *rfhe_network_usual_augmentation(const rfhe_dataset *d)
{
    const char *spec = rfhe_dataset_spec(d);

    if (rfhe_dataset_width(d) == 0) { return "resized-crop,flip"; }
    if (strncmp(spec, "mnist", 5) == 0) { return "none"; }
    return strncmp(spec, "fashion", 7) == 0 ? "crop:2,flip" : "crop:4,flip";
}

static rfhe_status next(void *user, float *images, uint32_t *labels, uint32_t *count, rfhe_error *err)
{
    return rfhe_loader_read(user, images, labels, count, err);
}

static rfhe_status seek(void *user, uint64_t epoch, uint64_t position, rfhe_error *err)
{
    return rfhe_loader_set_state(user, (rfhe_loader_state){epoch, position}, err);
}

rfhe_status rfhe_images_open(rfhe_images *out, rfhe_dataset *set, const rfhe_transform *t,
                             const rfhe_loader_options *options, rfhe_error *err)
{
    uint64_t images = rfhe_dataset_count(set);

    out->set = set;
    rfhe_status st = rfhe_loader_new(&out->loader, set, t, options, err);
    if (st != RFHE_OK) { return st; }
    if (options->drop_last) { images -= images % options->batch; }
    out->source = (rfhe_batch_source){.next = next,
                                      .seek = seek,
                                      .user = out->loader,
                                      .images = images,
                                      .batch = options->batch};
    return RFHE_OK;
}

void rfhe_images_close(rfhe_images *s)
{
    rfhe_loader_free(s->loader);
    rfhe_dataset_close(s->set);
    *s = (rfhe_images){0};
}

rfhe_status rfhe_images_split(rfhe_images *fit, rfhe_images *select, uint64_t *set_aside, const char *spec,
                              const rfhe_args *args, uint32_t batch, rfhe_error *err)
{
    const double share = rfhe_args_float(args, "val-fraction", 0.1);
    rfhe_dataset_options o = {.limit = rfhe_args_uint(args, "limit", 0)};
    rfhe_status st = RFHE_OK;

    if (!(share >= 0 && share <= 0.9)) {
        return rfhe_fail(err, RFHE_E_ARG, "--val-fraction must be 0 to 0.9, not %g", share);
    }
    if (share > 0) {
        rfhe_dataset *all = NULL;
        RFHE_TRY(rfhe_dataset_open(&all, spec, "train", NULL, err));
        o.select_count = (uint64_t)llround(share * (double)rfhe_dataset_count(all));
        rfhe_dataset_close(all);
        if (o.select_count == 0) { o.select_count = 1; }
        RFHE_TRY(rfhe_dataset_open(&select->set, spec, "select", &o, err));
    }
    RFHE_TRY(rfhe_dataset_open(&fit->set, spec, share > 0 ? "fit" : "train", &o, err));
    if (rfhe_dataset_count(fit->set) < batch) {
        st = rfhe_fail(err, RFHE_E_ARG, "%zu training images do not fill a batch of %" PRIu32,
                       rfhe_dataset_count(fit->set), batch);
        goto done;
    }
    *set_aside = o.select_count;

done:
    return st;
}

rfhe_status rfhe_images_start_training(rfhe_images *fit, const rfhe_transform *t, uint32_t batch, uint64_t seed,
                                       const char *list, rfhe_error *err)
{
    rfhe_loader_options o = {.batch = batch, .shuffle = true, .drop_last = true, .prefetch = 4, .seed = seed};
    const rfhe_status st = rfhe_network_augmentation(&o.augment, list, err);

    return st == RFHE_OK ? rfhe_images_open(fit, fit->set, t, &o, err) : st;
}
