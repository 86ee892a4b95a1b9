/* data/jpeg.c, data/png.c, data/image.c: images of every kind, made here with the libraries' own encoders; then every
 * prefix and many bit flips of them. */
#include "test.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "rfhe/data.h"

#include <spng.h>
#include <stdio.h>
#include <stdlib.h>
#include <turbojpeg.h>
#include <zlib.h>

enum { W = 24, H = 18 };

typedef struct blob {
    uint8_t data[1 << 14];
    size_t size;
} blob;

static uint8_t smooth(uint32_t x, uint32_t y, uint32_t c)
{
    return (uint8_t)(40 + 5 * x + 3 * y + 20 * c);
}

/* A JPEG with the given pixel format (TJPF_GRAY, TJPF_RGB or TJPF_CMYK; CMYK inverted as Adobe writes it). */
static void make_jpeg(blob *b, int format, int subsampling, int flags)
{
    static uint8_t pixels[W * H * 4];
    const uint32_t c = format == TJPF_GRAY ? 1 : format == TJPF_RGB ? 3 : 4;
    tjhandle tj = tjInitCompress();
    unsigned char *out = b->data;
    unsigned long size = sizeof b->data;

    for (uint32_t i = 0; i < W * H * c; i++) {
        const uint32_t k = i % c;
        pixels[i] = k == 3 ? 255 : smooth(i / c % W, i / c / W, k); /* no black ink */
    }
    assert_int_equal(tjCompress2(tj, pixels, W, 0, H, format, &out, &size, subsampling, 95,
                                 flags | TJFLAG_NOREALLOC),
                     0);
    b->size = size;
    (void)tjDestroy(tj);
}

static void make_png(blob *b, uint8_t color_type, uint8_t depth)
{
    static uint8_t pixels[W * H * 8];
    static const uint32_t samples[] = {1, 0, 3, 1, 2, 0, 4};
    struct spng_ihdr head = {.width = W, .height = H, .bit_depth = depth, .color_type = color_type};
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    int error = 0;
    size_t size = 0;
    const size_t bytes = ((size_t)W * samples[color_type] * depth + 7) / 8 * H;

    for (size_t i = 0; i < bytes; i++) {
        const uint32_t s = (uint32_t)(depth == 16 ? i / 2 : i), k = s % samples[color_type];
        pixels[i] = depth == 16 && i % 2 == 0
                        ? 77
                        : smooth(s / samples[color_type] % W, s / samples[color_type] / W, k);
        if (color_type == SPNG_COLOR_TYPE_INDEXED) { pixels[i] = (uint8_t)(i % 2); }
    }
    (void)spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    assert_int_equal(spng_set_ihdr(ctx, &head), 0);
    if (color_type == SPNG_COLOR_TYPE_INDEXED) {
        struct spng_plte palette = {.n_entries = 2, .entries = {{1, 2, 3, 0}, {250, 251, 252, 0}}};
        assert_int_equal(spng_set_plte(ctx, &palette), 0);
    }
    assert_int_equal(spng_encode_image(ctx, pixels, bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    void *made = spng_get_png_buffer(ctx, &size, &error);
    assert_non_null(made);
    assert_true(size < sizeof b->data);
    memcpy(b->data, made, size);
    b->size = size;
    free(made);
    spng_ctx_free(ctx);
}

static void expect(const blob *b, uint32_t channels, int tolerance, const char *what)
{
    rfhe_image m = {0};
    rfhe_error err = {0};

    if (rfhe_image_decode(&m, b->data, b->size, what, &err) != RFHE_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(m.width, W);
    assert_int_equal(m.height, H);
    assert_int_equal(m.channels, channels);
    for (uint32_t i = 0; i < W * H * channels; i++) {
        const int want = smooth(i / channels % W, i / channels / W, i % channels);
        if (abs(m.pixels[i] - want) > tolerance) {
            fail_msg("%s: byte %u is %u, not %d", what, i, m.pixels[i], want);
        }
    }
    rfhe_image_clear(&m);
}

static void jpegs_of_every_kind_decode(void **state)
{
    blob b;

    (void)state;
    make_jpeg(&b, TJPF_GRAY, TJSAMP_GRAY, 0);
    expect(&b, 1, 4, "grey");
    make_jpeg(&b, TJPF_RGB, TJSAMP_444, 0);
    expect(&b, 3, 4, "4:4:4");
    make_jpeg(&b, TJPF_RGB, TJSAMP_420, 0);
    expect(&b, 3, 8, "4:2:0");
    make_jpeg(&b, TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE);
    expect(&b, 3, 4, "progressive");
    make_jpeg(&b, TJPF_CMYK, TJSAMP_444, 0);
    expect(&b, 3, 4, "CMYK");
}

static void pngs_of_every_kind_decode(void **state)
{
    rfhe_image m = {0};
    blob b;

    (void)state;
    make_png(&b, SPNG_COLOR_TYPE_TRUECOLOR, 8);
    expect(&b, 3, 0, "RGB 8");
    make_png(&b, SPNG_COLOR_TYPE_TRUECOLOR, 16);
    expect(&b, 3, 0, "RGB 16");
    make_png(&b, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 8);
    expect(&b, 3, 0, "RGBA 8");
    make_png(&b, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 16);
    expect(&b, 3, 0, "RGBA 16");
    make_png(&b, SPNG_COLOR_TYPE_GRAYSCALE, 8);
    expect(&b, 1, 0, "grey 8");
    make_png(&b, SPNG_COLOR_TYPE_GRAYSCALE, 16);
    expect(&b, 1, 0, "grey 16");
    make_png(&b, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 8);
    expect(&b, 1, 0, "grey with alpha");
    make_png(&b, SPNG_COLOR_TYPE_GRAYSCALE, 1);
    assert_int_equal(rfhe_image_decode(&m, b.data, b.size, "grey 1", NULL), RFHE_OK);
    assert_int_equal(m.channels, 1);
    for (uint32_t i = 0; i < W * H; i++) { assert_true(m.pixels[i] == 0 || m.pixels[i] == 255); }
    make_png(&b, SPNG_COLOR_TYPE_INDEXED, 8);
    assert_int_equal(rfhe_image_decode(&m, b.data, b.size, "palette", NULL), RFHE_OK);
    assert_int_equal(m.channels, 3);
    for (uint32_t i = 0; i < W * H; i++) {
        assert_int_equal(m.pixels[3 * i + 1], i % 2 == 0 ? 2 : 251);
    }
    rfhe_image_clear(&m);
}

/* Decodes bytes that may be anything: a status with a sentence that has the name, and nothing leaks. */
static rfhe_status survive(rfhe_image *m, const uint8_t *data, size_t size)
{
    rfhe_error err = {0};
    const rfhe_status st = rfhe_image_decode(m, data, size, "hostile", &err);

    if (st == RFHE_OK) {
        assert_true(m->width > 0 && m->height > 0);
    } else {
        assert_true(st == RFHE_E_FORMAT || st == RFHE_E_UNSUPPORTED);
        assert_non_null(strstr(err.text, "'hostile'"));
        assert_int_equal(err.code, st);
        assert_int_equal(m->width, 0);
    }
    return st;
}

static void sweep(const blob *b, const char *what)
{
    const size_t before = rfhe_mem_get_stats().current;
    rfhe_image m = {0};
    rfhe_rng r = rfhe_rng_seed(test_seed(), b->size);
    uint8_t *copy = malloc(b->size); /* exact size, so that ASan sees an over-read */

    for (size_t n = 0; n < b->size; n++) {
        uint8_t *prefix = malloc(n + 1);
        memcpy(prefix, b->data, n);
        if (survive(&m, prefix, n) == RFHE_OK) {
            fail_msg("%s: the first %zu bytes decode", what, n);
        }
        free(prefix);
    }
    for (size_t k = 0; k < test_rounds(3000); k++) {
        const size_t bit =
            k < 8 * b->size && k < 2000 ? k : (size_t)rfhe_rng_below(&r, 8 * b->size);
        memcpy(copy, b->data, b->size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)survive(&m, copy, b->size);
    }
    free(copy);
    rfhe_image_clear(&m);
    assert_int_equal(rfhe_mem_get_stats().current, before);
}

static void damaged_images_are_refused_and_never_crash(void **state)
{
    blob b;

    (void)state;
    make_jpeg(&b, TJPF_RGB, TJSAMP_420, 0);
    sweep(&b, "JPEG");
    make_jpeg(&b, TJPF_RGB, TJSAMP_420, TJFLAG_PROGRESSIVE);
    sweep(&b, "progressive JPEG");
    make_jpeg(&b, TJPF_CMYK, TJSAMP_444, 0);
    sweep(&b, "CMYK JPEG");
    make_png(&b, SPNG_COLOR_TYPE_TRUECOLOR, 8);
    sweep(&b, "PNG");
}

/* Recomputes the check sum of the PNG's header. */
static void seal_header(blob *b)
{
    const uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), b->data + 12, 17);

    for (int i = 0; i < 4; i++) { b->data[29 + i] = (uint8_t)(crc >> (24 - 8 * i)); }
}

static void claims_are_checked_before_memory_is_asked_for(void **state)
{
    rfhe_image m = {0};
    rfhe_error err = {0};
    blob b;
    size_t sof = 2;

    (void)state;
    make_png(&b, SPNG_COLOR_TYPE_TRUECOLOR, 8);
    b.data[18] =
        0x20; /* width 8,216, height 18: possible for a file, but not for one of this size */
    b.data[22] = 0x1f;
    seal_header(&b);
    rfhe_mem_reset_peak();
    const size_t before = rfhe_mem_get_stats().current;
    assert_int_equal(rfhe_image_decode(&m, b.data, b.size, "bomb.png", &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "claims 8216 x 7954 pixels"));
    b.data[16] = 0x10;
    seal_header(&b);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_image_decode(&m, b.data, b.size, "bomb.png", &err), RFHE_E_UNSUPPORTED);
    make_jpeg(&b, TJPF_RGB, TJSAMP_420, 0);
    while (b.data[sof + 1] != 0xc0) {
        sof += 2u + (size_t)(b.data[sof + 2] << 8 | b.data[sof + 3]);
    }
    b.data[sof + 5] = b.data[sof + 7] = 0x1f;
    err = (rfhe_error){0};
    assert_int_equal(rfhe_image_decode(&m, b.data, b.size, "bomb.jpg", &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "claims"));
    assert_int_equal(rfhe_mem_get_stats().peak, before);
    rfhe_image_clear(&m);
}

static void junk_between_segments_is_skipped_and_told(void **state)
{
    rfhe_image clean = {0}, junk = {0};
    blob b;

    (void)state;
    make_jpeg(&b, TJPF_RGB, TJSAMP_444, 0);
    const size_t at = 4u + (size_t)(b.data[4] << 8 | b.data[5]); /* behind the first segment */
    assert_int_equal(rfhe_image_decode(&clean, b.data, b.size, "clean", NULL), RFHE_OK);
    assert_false(clean.damaged);
    memmove(b.data + at + 3, b.data + at, b.size - at);
    memcpy(b.data + at, "\x00\x12\x00", 3);
    assert_int_equal(rfhe_image_decode(&junk, b.data, b.size + 3, "junk", NULL), RFHE_OK);
    assert_true(junk.damaged);
    assert_memory_equal(junk.pixels, clean.pixels, W * H * 3);
    rfhe_image_clear(&clean);
    rfhe_image_clear(&junk);
}

static void sentences_name_the_file_and_the_offset(void **state)
{
    rfhe_image m = {0};
    rfhe_error err = {0};
    char path[160], where[320];
    blob b;

    (void)state;
    make_png(&b, SPNG_COLOR_TYPE_TRUECOLOR, 8);
    b.data[45] ^= 1; /* inside IDAT, whose chunk begins at 33 */
    (void)snprintf(path, sizeof path, "%s/broken.png", test_folder());
    (void)snprintf(where, sizeof where, "'%s' has a wrong check sum in the chunk at offset 33",
                   path);
    assert_int_equal(rfhe_file_write(path, b.data, b.size, 0644, NULL), RFHE_OK);
    assert_int_equal(rfhe_image_read(&m, path, &err), RFHE_E_FORMAT);
    assert_string_equal(err.text, where);
    make_jpeg(&b, TJPF_GRAY, TJSAMP_GRAY, 0);
    (void)snprintf(where, sizeof where,
                   "'%s' is cut short: the picture has no end before offset %zu", path, b.size - 2);
    assert_int_equal(rfhe_file_write(path, b.data, b.size - 2, 0644, NULL), RFHE_OK);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_image_read(&m, path, &err), RFHE_E_FORMAT);
    assert_string_equal(err.text, where);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_image_read(&m, "no/such.jpg", &err), RFHE_E_IO);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_image_decode(&m, "GIF89a", 6, "x.gif", &err), RFHE_E_UNSUPPORTED);
    rfhe_image_clear(&m);
}

static void allocation_failures_come_back_without_a_leak(void **state)
{
    blob b[3];

    (void)state;
    make_jpeg(&b[0], TJPF_RGB, TJSAMP_420, 0);
    make_jpeg(&b[1], TJPF_CMYK, TJSAMP_444, 0);
    make_png(&b[2], SPNG_COLOR_TYPE_GRAYSCALE, 8);
    for (int k = 0; k < 3; k++) {
        rfhe_status st = RFHE_E_NOMEM;
        for (size_t n = 1; st != RFHE_OK && n < 100; n++) {
            rfhe_image m = {0};
            const size_t before = rfhe_mem_get_stats().current;
            rfhe_mem_fail_at(n);
            st = rfhe_image_decode(&m, b[k].data, b[k].size, "x", NULL);
            rfhe_mem_fail_at(0);
            if (st != RFHE_OK && st != RFHE_E_NOMEM) {
                fail_msg("file %d, allocation %zu: %d", k, n, st);
            }
            rfhe_image_clear(&m);
            assert_int_equal(rfhe_mem_get_stats().current, before);
        }
        assert_int_equal(st, RFHE_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpegs_of_every_kind_decode),
        cmocka_unit_test(pngs_of_every_kind_decode),
        cmocka_unit_test(damaged_images_are_refused_and_never_crash),
        cmocka_unit_test(claims_are_checked_before_memory_is_asked_for),
        cmocka_unit_test(junk_between_segments_is_skipped_and_told),
        cmocka_unit_test(sentences_name_the_file_and_the_offset),
        cmocka_unit_test(allocation_failures_come_back_without_a_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
