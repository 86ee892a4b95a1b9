/* Resize, crop, random changes, normalisation.
 *
 * Everything after the resize is one copy: a window of the source, which may reach beyond the part of the image that
 * counts (black there) and may be read from right to left, goes through a table of 256 floats per channel into the
 * planes of the result. Raw data sets are read where they lie, without a copy of their bytes. */
#include "data/transform.h"

#include "base/mem.h"
#include "data/image.h"

#include <math.h>
#include <string.h>

enum { PAD_MAX = 1024 };

/* --- Sizes ------------------------------------------------------------------------------------------------------- */

/* Sides after bringing the shorter one to `side`; the longer is rounded down, as torchvision does. */
static void resized_size(uint32_t *width, uint32_t *height, uint32_t side)
{
    const uint64_t w = *width, h = *height;

    if (side == 0) { return; }
    *width = w <= h ? side : (uint32_t)(side * w / h);
    *height = w <= h ? (uint32_t)(side * h / w) : side;
}

rfhe_status rfhe_transform_size(uint32_t *channels, uint32_t *height, uint32_t *width,
                                const rfhe_transform *t, uint32_t in_channels, uint32_t in_height,
                                uint32_t in_width, rfhe_error *err)
{
    const uint32_t c = t->channels != 0 ? t->channels : in_channels != 0 ? in_channels : 3;
    uint32_t w = in_width, h = in_height;

    if (c != 1 && c != 3) {
        return rfhe_fail(err, RFHE_E_ARG, "images can have 1 or 3 channels, not %u", c);
    }
    if (t->resize > RFHE_IMAGE_MAX_SIDE || t->crop_height > RFHE_IMAGE_MAX_SIDE ||
        t->crop_width > RFHE_IMAGE_MAX_SIDE || (t->crop_height == 0) != (t->crop_width == 0)) {
        return rfhe_fail(err, RFHE_E_ARG, "resize %u and crop %u x %u are no sizes of an image",
                         t->resize, t->crop_width, t->crop_height);
    }
    for (uint32_t k = 0; k < c; k++) {
        if (!isfinite(t->mean[k]) || !isfinite(t->std[k]) || t->std[k] < 0) {
            return rfhe_fail(err, RFHE_E_ARG, "mean %g and std %g of channel %u cannot normalise",
                             (double)t->mean[k], (double)t->std[k], k);
        }
    }
    if (t->crop_width != 0) {
        w = t->crop_width;
        h = t->crop_height;
    } else if (w == 0 || h == 0) {
        return rfhe_fail(err, RFHE_E_ARG, "the images may differ in size, so a crop is needed");
    } else {
        resized_size(&w, &h, t->resize);
    }
    if (rfhe_image_check_size(w, h, "the result", NULL) != RFHE_OK) {
        return rfhe_fail(err, RFHE_E_ARG, "a result of %u x %u pixels is too large", w, h);
    }
    *channels = c;
    *height = h;
    *width = w;
    return RFHE_OK;
}

rfhe_status rfhe_mapping_init(rfhe_mapping *m, const rfhe_transform *t, const rfhe_augment *augment,
                              uint32_t in_channels, uint32_t in_height, uint32_t in_width,
                              rfhe_error *err)
{
    static const rfhe_augment none = {0};
    const rfhe_augment *a = augment != NULL ? augment : &none;
    const rfhe_status st = rfhe_transform_size(&m->channels, &m->height, &m->width, t, in_channels,
                                               in_height, in_width, err);

    if (st != RFHE_OK) { return st; }
    if (a->pad_crop > PAD_MAX || a->cutout > RFHE_IMAGE_MAX_SIDE || !(a->area_min >= 0) ||
        !(a->area_min <= 1)) {
        return rfhe_fail(
            err, RFHE_E_ARG,
            "padding is at most %d pixels, a cutout at most %u, the smallest area at most 1",
            PAD_MAX, RFHE_IMAGE_MAX_SIDE);
    }
    m->t = *t;
    if (in_width != 0 && in_height != 0) { /* a resize to what all images are is none */
        uint32_t width = in_width, height = in_height;
        resized_size(&width, &height, t->resize);
        if (width == in_width && height == in_height) { m->t.resize = 0; }
    }
    m->augment = *a;
    for (uint32_t c = 0; c < m->channels; c++) {
        const float std = t->std[c] != 0 ? t->std[c] : 1.0f;
        for (int b = 0; b < 256; b++) { m->value[c][b] = ((float)b / 255.0f - t->mean[c]) / std; }
    }
    return RFHE_OK;
}

void rfhe_mapping_scratch_clear(rfhe_mapping_scratch *s)
{
    rfhe_image_clear(&s->decoded);
    rfhe_image_clear(&s->resized);
}

/* --- The copy ---------------------------------------------------------------------------------------------------- */

/* The window's top left corner in the source, and the part of the source that is not black: [left, right) x
 * [top, bottom), inside the source. */
typedef struct window {
    int64_t x, y, left, right, top, bottom;
    bool flip;
} window;

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* n samples, `step` apart, through the table; the loops for the common steps let the compiler see them. */
static void look_up(float *restrict to, const uint8_t *restrict from, ptrdiff_t step, size_t n,
                    const float *restrict value)
{
    if (step == 1) {
        for (size_t x = 0; x < n; x++) { to[x] = value[from[x]]; }
    } else {
        for (size_t x = 0; x < n; x++) { to[x] = value[from[(ptrdiff_t)x * step]]; }
    }
}

static void fill(float *to, size_t n, float v)
{
    for (size_t x = 0; x < n; x++) { to[x] = v; }
}

static void copy_window(float *out, const rfhe_mapping *m, const rfhe_view *v, const window *w)
{
    const int64_t width = m->width;
    /* Columns [a, b) of the unflipped window hold picture. */
    const int64_t a = clamp(w->left - w->x, 0, width), b = clamp(w->right - w->x, a, width);
    const size_t n = (size_t)(b - a);
    const size_t before = (size_t)(w->flip ? width - b : a), after = (size_t)width - before - n;

    for (uint32_t c = 0; c < m->channels; c++) {
        const uint8_t *plane = v->data + (v->channels == 1 ? 0 : c) * v->channel;
        const float *value = m->value[c];
        for (uint32_t y = 0; y < m->height; y++, out += width) {
            const int64_t from_y = w->y + y;
            if (n == 0 || from_y < w->top || from_y >= w->bottom) {
                fill(out, (size_t)width, value[0]);
                continue;
            }
            const uint8_t *row = plane + (size_t)from_y * v->row;
            const size_t first = (size_t)(w->x + (w->flip ? b - 1 : a));
            fill(out, before, value[0]);
            look_up(out + before, row + first * v->pixel,
                    w->flip ? -(ptrdiff_t)v->pixel : (ptrdiff_t)v->pixel, n, value);
            fill(out + before + n, after, value[0]);
        }
    }
}

/* --- One image --------------------------------------------------------------------------------------------------- */

/* Python's round(n / 2): halves go to the even neighbour. torchvision centres crops with it. */
static int64_t half_to_even(int64_t n)
{
    const int64_t low = n >= 0 ? n / 2 : -((1 - n) / 2); /* floor */

    return n - 2 * low == 0 ? low : low + (low & 1);
}

static rfhe_view view_of(const rfhe_image *m)
{
    return (rfhe_view){.data = m->pixels,
                       .width = m->width,
                       .height = m->height,
                       .channels = m->channels,
                       .pixel = m->channels,
                       .row = (size_t)m->width * m->channels,
                       .channel = 1};
}

/* A random box as torchvision's RandomResizedCrop draws it: ten tries of an area and an aspect ratio, then the largest
 * central box of an allowed ratio. */
static void draw_box(uint32_t box[4], uint32_t width, uint32_t height, float area_min,
                     rfhe_rng *rng)
{
    const double area = (double)width * height, low = area_min > 0 ? (double)area_min : 0.08;
    const double ratio_min = 3.0 / 4.0, ratio_max = 4.0 / 3.0;

    for (int k = 0; k < 10; k++) {
        const double target = area * (low + (1.0 - low) * rfhe_rng_uniform(rng));
        const double ratio =
            exp(log(ratio_min) + (log(ratio_max) - log(ratio_min)) * rfhe_rng_uniform(rng));
        const double w = rint(sqrt(target * ratio)), h = rint(sqrt(target / ratio));
        if (w >= 1 && h >= 1 && w <= width && h <= height) {
            box[2] = (uint32_t)w;
            box[3] = (uint32_t)h;
            box[1] = (uint32_t)rfhe_rng_below(rng, (uint64_t)height - box[3] + 1);
            box[0] = (uint32_t)rfhe_rng_below(rng, (uint64_t)width - box[2] + 1);
            return;
        }
    }
    const double ratio = (double)width / height;
    box[2] = ratio > ratio_max ? (uint32_t)rint(height * ratio_max) : width;
    box[3] = ratio < ratio_min ? (uint32_t)rint(width / ratio_min) : height;
    box[0] = (width - box[2]) / 2;
    box[1] = (height - box[3]) / 2;
}

static void cut_out(float *out, const rfhe_mapping *m, rfhe_rng *rng)
{
    const int64_t side = m->augment.cutout;
    const int64_t y0 = (int64_t)rfhe_rng_below(rng, m->height) - side / 2;
    const int64_t x0 = (int64_t)rfhe_rng_below(rng, m->width) - side / 2;
    const int64_t left = clamp(x0, 0, m->width), right = clamp(x0 + side, 0, m->width);

    for (uint32_t c = 0; c < m->channels; c++) {
        for (int64_t y = clamp(y0, 0, m->height); y < clamp(y0 + side, 0, m->height); y++) {
            fill(out + ((size_t)c * m->height + (size_t)y) * m->width + left,
                 (size_t)(right - left), 0.0f);
        }
    }
}

/* Resizes `in` when the mapping asks for it; *v then shows the result in `resized`, else it stays. */
static rfhe_status resize(rfhe_view *v, rfhe_image *resized, const rfhe_image *in,
                          const rfhe_mapping *m, bool is_random, rfhe_rng *rng, rfhe_error *err)
{
    uint32_t box[4] = {0, 0, in->width, in->height}, width = in->width, height = in->height;
    rfhe_status st = RFHE_OK;

    if (is_random) {
        draw_box(box, in->width, in->height, m->augment.area_min, rng);
        width = m->width;
        height = m->height;
    } else {
        const bool fits = width == m->width && height == m->height;
        if (!fits || !m->t.keep_fitting) { resized_size(&width, &height, m->t.resize); }
        if (width == in->width && height == in->height) { return RFHE_OK; }
    }
    if (rfhe_image_check_size(width, height, "", NULL) != RFHE_OK) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "an image of %u x %u pixels would become %u x %u, which is too large",
                         in->width, in->height, width, height);
    }
    st = rfhe_image_resize(resized, width, height, in, box[0], box[1], box[2], box[3]);
    if (st != RFHE_OK) { return rfhe_fail(err, st, "no memory to resize an image"); }
    *v = view_of(resized);
    return RFHE_OK;
}

/* Everything behind decoding: `v` shows the image; `image` holds it or is NULL when nothing has to be resized. */
static rfhe_status map_view(float *out, const rfhe_mapping *m, rfhe_view v, const rfhe_image *image,
                            rfhe_image *resized, rfhe_rng *rng, rfhe_error *err)
{
    const rfhe_augment *a = &m->augment;
    const bool is_random = rng != NULL && a->random_resized_crop;
    window w = {0};

    if (image != NULL) {
        const rfhe_status st = resize(&v, resized, image, m, is_random, rng, err);
        if (st != RFHE_OK) { return st; }
    }
    w.x = half_to_even((int64_t)v.width - m->width);
    w.y = half_to_even((int64_t)v.height - m->height);
    if (v.width < m->width) { w.x = -(int64_t)((m->width - v.width) / 2); }
    if (v.height < m->height) { w.y = -(int64_t)((m->height - v.height) / 2); }
    w.left = clamp(w.x, 0, v.width);
    w.right = clamp(w.x + m->width, 0, v.width);
    w.top = clamp(w.y, 0, v.height);
    w.bottom = clamp(w.y + m->height, 0, v.height);
    if (rng != NULL && a->pad_crop > 0) {
        w.y += (int64_t)rfhe_rng_below(rng, 2 * (uint64_t)a->pad_crop + 1) - a->pad_crop;
        w.x += (int64_t)rfhe_rng_below(rng, 2 * (uint64_t)a->pad_crop + 1) - a->pad_crop;
    }
    if (rng != NULL && a->flip) { w.flip = rfhe_rng_u64(rng) >> 63 != 0; }
    copy_window(out, m, &v, &w);
    if (rng != NULL && a->cutout > 0) { cut_out(out, m, rng); }
    return RFHE_OK;
}

rfhe_status rfhe_mapping_apply(float *out, const rfhe_mapping *m, const rfhe_dataset *d, size_t i,
                               rfhe_rng *rng, rfhe_mapping_scratch *s, rfhe_error *err)
{
    rfhe_view v;
    const bool needs_image = m->t.resize != 0 || (rng != NULL && m->augment.random_resized_crop);
    rfhe_status st = RFHE_OK;

    if (rfhe_dataset_view(d, i, &v) && !needs_image && (v.channels == 1 || m->channels == 3)) {
        return map_view(out, m, v, NULL, NULL, rng, err);
    }
    st = rfhe_dataset_image(d, i, &s->decoded, err);
    if (st != RFHE_OK) { return st; }
    st = rfhe_image_set_channels(&s->decoded, m->channels);
    if (st != RFHE_OK) {
        return rfhe_fail(err, st, "no memory for an image of '%s'", rfhe_dataset_spec(d));
    }
    return map_view(out, m, view_of(&s->decoded), &s->decoded, &s->resized, rng, err);
}

rfhe_status rfhe_transform_apply(float *out, size_t n, const rfhe_image *image,
                                 const rfhe_transform *t, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_image copy = {0}, resized = {0};
    rfhe_mapping *m = rfhe_alloc(1, sizeof *m);

    if (m == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to transform an image");
        goto done;
    }
    RFHE_TRY(rfhe_mapping_init(m, t, NULL, image->channels, image->height, image->width, err));
    if (n != (size_t)m->channels * m->height * m->width) {
        st = rfhe_fail(err, RFHE_E_ARG, "%zu floats were given for a result of %u x %u x %u", n,
                       m->channels, m->height, m->width);
        goto done;
    }
    st = rfhe_image_reserve(&copy, image->width, image->height, image->channels);
    if (st == RFHE_OK) {
        memcpy(copy.pixels, image->pixels, (size_t)image->width * image->height * image->channels);
        st = rfhe_image_set_channels(&copy, m->channels);
    }
    if (st != RFHE_OK) {
        (void)rfhe_fail(err, st, "no memory to transform an image");
        goto done;
    }
    RFHE_TRY(map_view(out, m, view_of(&copy), &copy, &resized, NULL, err));

done:
    rfhe_image_clear(&copy);
    rfhe_image_clear(&resized);
    rfhe_free(m);
    return st;
}
