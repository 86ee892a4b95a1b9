/* data/resize.c and data/transform.c: Pillow's and torchvision's bytes from a golden file (make_golden.py writes it),
 * normalisation, sizes, augmentation. */
#include "test.h"

#include "base/mem.h"
#include "data/image.h"
#include "data/transform.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint8_t pixel(uint32_t x, uint32_t y, uint32_t c)
{
    return (uint8_t)((x * 37 + y * 101 + c * 59) * UINT32_C(2654435761) >> 24);
}

static void make_image(rfhe_image *m, uint32_t w, uint32_t h, uint32_t c)
{
    assert_int_equal(rfhe_image_reserve(m, w, h, c), RFHE_OK);
    for (uint32_t y = 0; y < h; y++) {
        for (uint32_t x = 0; x < w; x++) {
            for (uint32_t k = 0; k < c; k++) { m->pixels[(y * w + x) * c + k] = pixel(x, y, k); }
        }
    }
}

static unsigned golden_byte(const char *hex, size_t i)
{
    const char two[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

    return (unsigned)strtoul(two, NULL, 16);
}

/* The result of `t` as bytes in height x width x channels order. */
static void apply_as_bytes(rfhe_image *out, const rfhe_image *in, const rfhe_transform *t)
{
    uint32_t c = 0, h = 0, w = 0;
    rfhe_error err = {0};

    assert_int_equal(rfhe_transform_size(&c, &h, &w, t, in->channels, in->height, in->width, &err),
                     RFHE_OK);
    float *f = rfhe_alloc((size_t)c * h * w, sizeof *f);
    assert_int_equal(rfhe_transform_apply(f, (size_t)c * h * w, in, t, &err), RFHE_OK);
    assert_int_equal(rfhe_image_reserve(out, w, h, c), RFHE_OK);
    for (uint32_t k = 0; k < c; k++) {
        for (uint32_t i = 0; i < h * w; i++) {
            out->pixels[i * c + k] = (uint8_t)lrintf(f[k * h * w + i] * 255.0f);
        }
    }
    rfhe_free(f);
}

static void resizing_and_cropping_give_the_bytes_of_pillow(void **state)
{
    static char line[1 << 16];
    char kind[16];
    unsigned lines = 0, w = 0, h = 0, c = 0, n[4] = {0};
    int hex_at = 0;
    rfhe_image in = {0}, out = {0};
    FILE *f = fopen(RFHE_SOURCE_DIR "/tests/data/pillow.txt", "r");

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        assert_int_equal(sscanf(line, "%15s %u %u %u %u %u %u %u %n", kind, &w, &h, &c, &n[0],
                                &n[1], &n[2], &n[3], &hex_at),
                         8);
        make_image(&in, w, h, c);
        if (strcmp(kind, "resize") == 0) {
            assert_int_equal(rfhe_image_resize(&out, n[0], n[1], &in, 0, 0, w, h), RFHE_OK);
        } else if (strcmp(kind, "box") == 0) {
            assert_int_equal(rfhe_image_resize(&out, 8, 8, &in, n[0], n[1], n[2], n[3]), RFHE_OK);
        } else {
            const rfhe_transform t = {.resize = n[0], .crop_height = n[1], .crop_width = n[2]};
            apply_as_bytes(&out, &in, &t);
        }
        const size_t size = (size_t)out.width * out.height * out.channels;
        assert_int_equal(strcspn(line + hex_at, "\n"), 2 * size);
        for (size_t i = 0; i < size; i++) {
            if (out.pixels[i] != golden_byte(line + hex_at, i)) {
                fail_msg("%s %ux%ux%u (%u %u %u): byte %zu is %u, Pillow has %u", kind, w, h, c,
                         n[0], n[1], n[2], i, out.pixels[i], golden_byte(line + hex_at, i));
            }
        }
        lines++;
    }
    (void)fclose(f);
    assert_int_equal(lines, 22);
    rfhe_image_clear(&in);
    rfhe_image_clear(&out);
}

static void normalisation_is_the_float_formula(void **state)
{
    const rfhe_transform t = {.mean = {0.485f, 0.456f, 0.406f}, .std = {0.229f, 0.224f, 0.225f}};
    rfhe_image m = {0};
    float out[3 * 5 * 4];

    (void)state;
    make_image(&m, 5, 4, 3);
    assert_int_equal(rfhe_transform_apply(out, 60, &m, &t, NULL), RFHE_OK);
    for (uint32_t c = 0; c < 3; c++) {
        for (uint32_t i = 0; i < 20; i++) {
            const float want = ((float)pixel(i % 5, i / 5, c) / 255.0f - t.mean[c]) / t.std[c];
            assert_true(out[c * 20 + i] == want);
        }
    }
    rfhe_image_clear(&m);
}

static void channels_follow_the_request_and_pillow_weights(void **state)
{
    rfhe_image m = {0};
    rfhe_transform t = {.channels = 3};
    float out[3 * 6];

    (void)state;
    make_image(&m, 3, 2, 1);
    assert_int_equal(rfhe_transform_apply(out, 18, &m, &t, NULL), RFHE_OK);
    for (int i = 0; i < 6; i++) { assert_true(out[i] == out[6 + i] && out[i] == out[12 + i]); }
    t.channels = 0; /* grey stays one channel */
    assert_int_equal(rfhe_transform_apply(out, 18, &m, &t, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_transform_apply(out, 6, &m, &t, NULL), RFHE_OK);
    make_image(&m, 1, 1, 3);
    m.pixels[0] = 200, m.pixels[1] = 100, m.pixels[2] = 50;
    assert_int_equal(rfhe_image_set_channels(&m, 1), RFHE_OK);
    assert_int_equal(m.pixels[0], 124); /* 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2 */
    assert_int_equal(rfhe_image_set_channels(&m, 2), RFHE_E_ARG);
    rfhe_image_clear(&m);
}

static void an_image_that_fits_may_be_kept(void **state)
{
    const rfhe_transform plain = {0}, resized = {.resize = 9, .crop_height = 6, .crop_width = 6};
    rfhe_transform keeps = resized;
    rfhe_image m = {0};
    float want[36], got[36];

    (void)state;
    keeps.keep_fitting = true;
    make_image(&m, 6, 6, 1);
    assert_int_equal(rfhe_transform_apply(want, 36, &m, &plain, NULL), RFHE_OK);
    assert_int_equal(rfhe_transform_apply(got, 36, &m, &keeps, NULL), RFHE_OK);
    assert_memory_equal(got, want, sizeof want);
    for (uint32_t h = 6; h <= 7; h++) { /* one that fits without the wish, one that does not fit with it */
        make_image(&m, 6, h, 1);
        assert_int_equal(rfhe_transform_apply(got, 36, &m, h == 6 ? &resized : &keeps, NULL), RFHE_OK);
        assert_memory_not_equal(got, want, sizeof want);
    }
    assert_int_equal(rfhe_transform_apply(want, 36, &m, &resized, NULL), RFHE_OK);
    assert_memory_equal(got, want, sizeof want);
    rfhe_image_clear(&m);
}

static void impossible_sizes_are_refused_in_a_sentence(void **state)
{
    static const rfhe_transform bad[] = {
        {.channels = 2},  {.crop_height = 3}, {.resize = 1000000},
        {.std = {-1.0f}}, {.mean = {NAN}},    {.crop_height = 32768, .crop_width = 32768}};
    const rfhe_transform good = {0};
    uint32_t c = 7, h = 7, w = 7;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rfhe_error err = {0};
        assert_int_equal(rfhe_transform_size(&c, &h, &w, &bad[i], 3, 10, 10, &err), RFHE_E_ARG);
        assert_true(strlen(err.text) > 10);
    }
    assert_int_equal(rfhe_transform_size(&c, &h, &w, &good, 0, 0, 0, NULL),
                     RFHE_E_ARG); /* needs a crop */
    assert_true(c == 7 && h == 7 && w == 7);
    rfhe_image m = {0}, out = {0};
    make_image(&m, 1, 3000, 1);
    rfhe_error err = {0};
    const rfhe_transform large = {.resize = 100, .crop_height = 8, .crop_width = 8};
    float f[64];
    assert_int_equal(rfhe_transform_apply(f, 64, &m, &large, &err), RFHE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "300000"));
    assert_int_equal(rfhe_image_resize(&out, 4, 4, &m, 0, 0, 2, 1), RFHE_E_ARG);
    assert_int_equal(rfhe_image_resize(&out, 4, 4, &m, 1, 0, 0, 1), RFHE_E_ARG);
    assert_int_equal(rfhe_image_resize(&out, 0, 4, &m, 0, 0, 1, 1), RFHE_E_ARG);
    rfhe_image_clear(&m);
    rfhe_image_clear(&out);
}

static void allocation_failures_come_back_without_a_leak(void **state)
{
    const rfhe_transform t = {.channels = 3, .resize = 6, .crop_height = 5, .crop_width = 5};
    rfhe_image m = {0};
    float out[75];
    rfhe_status st = RFHE_E_NOMEM;
    size_t n = 1;

    (void)state;
    make_image(&m, 20, 13, 1);
    const size_t before = rfhe_mem_get_stats().current;
    for (; st != RFHE_OK && n < 100; n++) {
        rfhe_mem_fail_at(n);
        st = rfhe_transform_apply(out, 75, &m, &t, NULL);
        rfhe_mem_fail_at(0);
        assert_true(st == RFHE_OK || st == RFHE_E_NOMEM);
        assert_int_equal(rfhe_mem_get_stats().current, before);
    }
    assert_true(n > 8);
    assert_int_equal(st, RFHE_OK);
    rfhe_image_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizing_and_cropping_give_the_bytes_of_pillow),
        cmocka_unit_test(normalisation_is_the_float_formula),
        cmocka_unit_test(channels_follow_the_request_and_pillow_weights),
        cmocka_unit_test(an_image_that_fits_may_be_kept),
        cmocka_unit_test(impossible_sizes_are_refused_in_a_sentence),
        cmocka_unit_test(allocation_failures_come_back_without_a_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
