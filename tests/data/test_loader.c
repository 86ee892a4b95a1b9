/* data/loader.c: every image once per epoch, the same bits whatever prepares them and wherever one resumes, and the
 * augmentations one by one. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "rfhe/data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <turbojpeg.h>

enum { N = 61, PLANE = 1024, IMAGE = 3 * PLANE };

/* Pixel (x, y, c) of image i; never 0, so that black is recognised. */
static uint8_t pixel(uint32_t i, uint32_t x, uint32_t y, uint32_t c)
{
    return (uint8_t)(1 + (i * 131 + x * 7 + y * 29 + c * 53) % 255);
}

static rfhe_dataset *cifar(void)
{
    static char spec[128];
    rfhe_dataset *d = NULL;
    char path[200];

    if (spec[0] == '\0') {
        uint8_t *f = malloc((size_t)N * 3073);
        for (uint32_t i = 0; i < N; i++) {
            uint8_t *r = f + (size_t)i * 3073;
            r[0] = (uint8_t)(i % 10);
            for (uint32_t k = 0; k < IMAGE; k++) {
                r[1 + k] = pixel(i, k % 32, k % PLANE / 32, k / PLANE);
            }
        }
        (void)snprintf(spec, sizeof spec, "cifar10:%s", test_folder());
        (void)snprintf(path, sizeof path, "%s/test_batch.bin", test_folder());
        assert_int_equal(rfhe_file_write(path, f, (size_t)N * 3073, 0644, NULL), RFHE_OK);
        free(f);
    }
    assert_int_equal(rfhe_dataset_open(&d, spec, "test", NULL, NULL), RFHE_OK);
    return d;
}

static const rfhe_transform plain = {0};

static void every_image_comes_once_per_epoch(void **state)
{
    rfhe_dataset *d = cifar();
    rfhe_loader *l = NULL;
    rfhe_batch b;

    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        const bool drop = variant & 1, shuffle = variant & 2;
        const rfhe_loader_options o = {
            .batch = 8, .shuffle = shuffle, .drop_last = drop, .epochs = 2, .seed = 5};
        uint32_t order[2][N], n = 0;
        assert_int_equal(rfhe_loader_new(&l, d, &plain, &o, NULL), RFHE_OK);
        assert_int_equal(rfhe_loader_batches(l), drop ? 7 : 8);
        for (uint32_t e = 0; e < 2; e++) {
            unsigned seen[N] = {0};
            n = 0;
            do {
                assert_int_equal(rfhe_loader_next(l, &b, NULL), RFHE_OK);
                assert_int_equal(b.epoch, e);
                for (uint32_t k = 0; k < b.count; k++) {
                    const uint32_t i = b.indices[k];
                    order[e][n++] = i;
                    seen[i]++;
                    assert_int_equal(b.labels[k], i % 10);
                    for (uint32_t p = 0; p < IMAGE; p += 97) {
                        assert_true(b.images[k * IMAGE + p] ==
                                    (float)pixel(i, p % 32, p % PLANE / 32, p / PLANE) / 255.0f);
                    }
                }
            } while (!b.ends_epoch);
            assert_int_equal(n, drop ? 56 : N);
            for (uint32_t i = 0; i < N; i++) { assert_true(drop ? seen[i] <= 1 : seen[i] == 1); }
        }
        assert_int_equal(memcmp(order[0], order[1], n * sizeof n) != 0, shuffle);
        if (!shuffle) {
            for (uint32_t i = 0; i < n; i++) { assert_int_equal(order[0][i], i); }
        }
        assert_int_equal(rfhe_loader_next(l, &b, NULL),
                         RFHE_OK); /* after the last epoch: nothing, again and again */
        assert_int_equal(b.count, 0);
        assert_int_equal(rfhe_loader_next(l, &b, NULL), RFHE_OK);
        assert_int_equal(b.count, 0);
        rfhe_loader_free(l);
    }
    rfhe_dataset_close(d);
}

enum { EPOCHS = 3, BATCH = 7, BATCHES = EPOCHS * 9 };

static const rfhe_transform normal = {.mean = {0.5f, 0.4f, 0.3f}, .std = {0.2f, 0.3f, 0.4f}};

static rfhe_loader_options training(void)
{
    return (rfhe_loader_options){.batch = BATCH,
                                 .shuffle = true,
                                 .seed = 17,
                                 .augment = {.pad_crop = 4, .flip = true, .cutout = 8}};
}

/* All floats and labels of the epochs, from `start` on; the state before each batch. */
static void record(float *images, uint32_t *labels, rfhe_loader_state *states,
                   const rfhe_dataset *d, const rfhe_transform *t, const rfhe_loader_options *o,
                   size_t image)
{
    rfhe_loader *l = NULL;

    assert_int_equal(rfhe_loader_new(&l, d, t, o, NULL), RFHE_OK);
    for (size_t b = 0, n = 0; b < BATCHES; b++) {
        uint32_t count = 0;
        if (states != NULL) { states[b] = rfhe_loader_get_state(l); }
        assert_int_equal(rfhe_loader_read(l, images + n * image, labels + n, &count, NULL),
                         RFHE_OK);
        n += count;
    }
    rfhe_loader_free(l);
}

static void batches_do_not_depend_on_threads_or_resuming(void **state)
{
    rfhe_dataset *d = cifar();
    const size_t n = (size_t)EPOCHS * N;
    float *want = malloc(n * IMAGE * sizeof *want), *got = malloc(n * IMAGE * sizeof *got);
    uint32_t want_labels[EPOCHS * N], got_labels[EPOCHS * N];
    rfhe_loader_state states[BATCHES];
    rfhe_loader_options o = training();
    rfhe_loader *l = NULL;

    (void)state;
    o.no_thread = true;
    record(want, want_labels, states, d, &normal, &o, IMAGE);
    o.no_thread = false;
    for (uint32_t k = 0; k < 6; k++) {
        o.workers = 1 + k;
        o.prefetch = 1 + k / 2;
        memset(got, 0, n * IMAGE * sizeof *got);
        record(got, got_labels, NULL, d, &normal, &o, IMAGE);
        assert_memory_equal(got, want, n * IMAGE * sizeof *got);
        assert_memory_equal(got_labels, want_labels, sizeof got_labels);
    }
    /* Jump about with one loader and, for each state, compare one batch. */
    assert_int_equal(rfhe_loader_new(&l, d, &normal, &o, NULL), RFHE_OK);
    for (uint32_t k = 0; k < 60; k++) {
        const uint32_t b = k * 11 % BATCHES;
        const size_t at = (size_t)states[b].epoch * N + states[b].position;
        uint32_t count = 0;
        assert_int_equal(rfhe_loader_set_state(l, states[b], NULL), RFHE_OK);
        assert_int_equal(rfhe_loader_read(l, got, got_labels, &count, NULL), RFHE_OK);
        assert_memory_equal(got, want + at * IMAGE, count * IMAGE * sizeof *got);
        if (b + 1 < BATCHES) {
            const rfhe_loader_state s = rfhe_loader_get_state(l);
            assert_true(s.epoch == states[b + 1].epoch && s.position == states[b + 1].position);
        }
    }
    const rfhe_loader_state odd = {.position = 3}, far = {.position = 70};
    assert_int_equal(rfhe_loader_set_state(l, odd, NULL), RFHE_E_ARG);
    assert_int_equal(rfhe_loader_set_state(l, far, NULL), RFHE_E_ARG);
    rfhe_loader_free(l);
    free(want);
    free(got);
    rfhe_dataset_close(d);
}

/* Whether `got` is image i moved by (dx, dy), black outside, mirrored if `flip`. */
static bool is_moved(const float *got, uint32_t i, int dx, int dy, bool flip)
{
    for (uint32_t c = 0; c < 3; c++) {
        for (int y = 0; y < 32; y++) {
            for (int x = 0; x < 32; x++) {
                const int sx = (flip ? 31 - x : x) + dx, sy = y + dy;
                const float want = sx < 0 || sx > 31 || sy < 0 || sy > 31
                                       ? 0.0f
                                       : (float)pixel(i, (uint32_t)sx, (uint32_t)sy, c) / 255.0f;
                if (got[c * PLANE + (uint32_t)(y * 32 + x)] != want) { return false; }
            }
        }
    }
    return true;
}

static void pad_crop_and_flip_move_and_mirror(void **state)
{
    rfhe_dataset *d = cifar();
    rfhe_loader *l = NULL;
    const rfhe_loader_options o = {.batch = N, .seed = 9, .augment = {.pad_crop = 2, .flip = true}};
    unsigned shifts[5][5] = {{0}}, flips = 0;
    rfhe_batch b;

    (void)state;
    assert_int_equal(rfhe_loader_new(&l, d, &plain, &o, NULL), RFHE_OK);
    for (int e = 0; e < 8; e++) {
        assert_int_equal(rfhe_loader_next(l, &b, NULL), RFHE_OK);
        for (uint32_t k = 0; k < N; k++) {
            bool found = false;
            for (int v = 0; v < 50 && !found; v++) {
                const int dx = v / 2 % 5 - 2, dy = v / 10 - 2;
                found = is_moved(b.images + k * IMAGE, k, dx, dy, v % 2);
                if (found) {
                    shifts[dx + 2][dy + 2]++;
                    flips += (unsigned)v % 2;
                }
            }
            assert_true(found);
        }
    }
    for (int v = 0; v < 25; v++) {
        assert_true(shifts[v / 5][v % 5] > 3);
    } /* of 488 / 25 = 19.5 expected */
    assert_true(flips > 190 && flips < 298);
    rfhe_loader_free(l);
    rfhe_dataset_close(d);
}

static void cutout_clears_one_square(void **state)
{
    rfhe_dataset *d = cifar();
    rfhe_loader *l = NULL;
    const rfhe_loader_options o = {.batch = N, .augment = {.cutout = 6}};
    rfhe_batch b;
    unsigned whole = 0;

    (void)state;
    assert_int_equal(rfhe_loader_new(&l, d, &plain, &o, NULL), RFHE_OK);
    assert_int_equal(rfhe_loader_next(l, &b, NULL), RFHE_OK);
    for (uint32_t k = 0; k < N; k++) {
        uint32_t left = 32, right = 0, top = 32, bottom = 0, zeros = 0;
        for (uint32_t p = 0; p < PLANE; p++) {
            const float *v = b.images + k * IMAGE + p;
            if (v[0] != 0.0f) { continue; }
            assert_true(v[PLANE] == 0.0f && v[2 * PLANE] == 0.0f);
            zeros++;
            left = p % 32 < left ? p % 32 : left;
            right = p % 32 > right ? p % 32 : right;
            top = p / 32 < top ? p / 32 : top;
            bottom = p / 32 > bottom ? p / 32 : bottom;
        }
        assert_int_equal(zeros, (right - left + 1) * (bottom - top + 1));
        assert_true(zeros >= 9 && right - left < 6 && bottom - top < 6);
        whole += zeros == 36;
    }
    assert_true(whole > 20);
    rfhe_loader_free(l);
    rfhe_dataset_close(d);
}

/* A folder of 2 classes with images of different sizes; image 4 may be made bad. */
static rfhe_dataset *folder(bool with_bad)
{
    static uint8_t pixels[64 * 64 * 3], out[1 << 15];
    char path[200];
    rfhe_dataset *d = NULL;
    tjhandle tj = tjInitCompress();

    for (int k = 0; k < 3; k++) {
        (void)snprintf(path, sizeof path, "%s/f%s", test_folder(),
                       k == 0   ? ""
                       : k == 1 ? "/a"
                                : "/b");
        (void)mkdir(path, 0755);
    }
    for (size_t i = 0; i < sizeof pixels; i++) { pixels[i] = (uint8_t)(i % 192 + i / 192 % 64); }
    for (int i = 0; i < 6; i++) {
        unsigned char *to = out;
        unsigned long size = sizeof out;
        assert_int_equal(tjCompress2(tj, pixels, 40 + i, 64 * 3, 60 - 3 * i, TJPF_RGB, &to, &size,
                                     TJSAMP_420, 90, TJFLAG_NOREALLOC),
                         0);
        (void)snprintf(path, sizeof path, "%s/f/%c/%d.jpg", test_folder(), i < 3 ? 'a' : 'b', i);
        assert_int_equal(rfhe_file_write(path, out, with_bad && i == 4 ? 100 : size, 0644, NULL),
                         RFHE_OK);
    }
    (void)tjDestroy(tj);
    (void)snprintf(path, sizeof path, "folder:%s/f", test_folder());
    assert_int_equal(rfhe_dataset_open(&d, path, "train", NULL, NULL), RFHE_OK);
    return d;
}

static void random_resized_crops_repeat_under_a_seed_and_differ(void **state)
{
    rfhe_dataset *d = folder(false);
    const rfhe_transform t = {.crop_height = 16, .crop_width = 20};
    rfhe_loader_options o = {.batch = 6,
                             .seed = 4,
                             .workers = 3,
                             .augment = {.random_resized_crop = true, .flip = true}};
    rfhe_loader *l[2] = {NULL, NULL};
    float first[6 * 960];

    (void)state;
    for (int k = 0; k < 2; k++) {
        assert_int_equal(rfhe_loader_new(&l[k], d, &t, &o, NULL), RFHE_OK);
        o.workers = 1;
    }
    for (int e = 0; e < 20; e++) {
        rfhe_batch a, b;
        assert_int_equal(rfhe_loader_next(l[0], &a, NULL), RFHE_OK);
        assert_int_equal(rfhe_loader_next(l[1], &b, NULL), RFHE_OK);
        assert_memory_equal(a.images, b.images, sizeof first);
        if (e > 0) { assert_memory_not_equal(a.images, first, sizeof first); }
        memcpy(first, a.images, sizeof first);
    }
    rfhe_loader_free(l[0]);
    rfhe_loader_free(l[1]);
    rfhe_dataset_close(d);
}

/* Ramps: the red of column x is 8 x, the green of row y is 8 y, so the ends of a crop tell its box. */
static void random_boxes_have_the_areas_and_ratios_asked_for(void **state)
{
    const rfhe_transform t = {.crop_height = 32, .crop_width = 32};
    const rfhe_loader_options o = {.batch = 500, .augment = {.random_resized_crop = true}};
    static uint8_t f[500 * 3073];
    char path[200];
    rfhe_dataset *d = NULL;
    rfhe_loader *l = NULL;
    rfhe_batch b;
    double mean = 0;
    unsigned left_half = 0;

    (void)state;
    for (uint32_t i = 0; i < sizeof f; i++) {
        const uint32_t k = i % 3073 - 1;
        f[i] = i % 3073 == 0 ? 0 : (uint8_t)(k < PLANE ? 8 * (k % 32) : 8 * (k % PLANE / 32));
    }
    (void)snprintf(path, sizeof path, "%s/ramps", test_folder());
    assert_int_equal(mkdir(path, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/ramps/test_batch.bin", test_folder());
    assert_int_equal(rfhe_file_write(path, f, sizeof f, 0644, NULL), RFHE_OK);
    (void)snprintf(path, sizeof path, "cifar10:%s/ramps", test_folder());
    assert_int_equal(rfhe_dataset_open(&d, path, "test", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_loader_new(&l, d, &t, &o, NULL), RFHE_OK);
    assert_int_equal(rfhe_loader_next(l, &b, NULL), RFHE_OK);
    for (uint32_t k = 0; k < b.count; k++) {
        const float *red = b.images + k * IMAGE, *green = red + PLANE;
        const double x0 = rint((double)red[0] * 255 / 8), x1 = rint((double)red[31] * 255 / 8);
        const double y0 = rint((double)green[0] * 255 / 8),
                     y1 = rint((double)green[31 * 32] * 255 / 8);
        const double w = x1 - x0 + 1,
                     h = y1 - y0 + 1; /* enlarged images begin and end with the box's own pixels */
        assert_true(x0 >= 0 && x1 <= 31 && y0 >= 0 && y1 <= 31);
        assert_true(w * h > 0.08 * 1024 - 20 && w * h < 1025);
        assert_true(w / h > 0.62 && w / h < 1.6); /* 3/4 .. 4/3, sides rounded to whole pixels */
        mean += w * h / 1024 / b.count;
        left_half += x0 < 31 - x1;
    }
    assert_true(mean > 0.40 && mean < 0.60); /* 0.54 less the large boxes that did not fit */
    assert_true(left_half > 150 && left_half < 300);
    rfhe_loader_free(l);
    rfhe_dataset_close(d);
}

static void a_bad_image_fails_its_batch_with_its_name(void **state)
{
    rfhe_dataset *d = folder(true);
    const rfhe_transform t = {.resize = 32, .crop_height = 24, .crop_width = 24};

    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        const rfhe_loader_options o = {
            .batch = 3, .no_thread = variant == 1, .workers = variant == 0 ? 3 : 0};
        rfhe_error err = {0}, again = {0};
        rfhe_loader *l = NULL;
        rfhe_batch b;
        assert_int_equal(rfhe_loader_new(&l, d, &t, &o, NULL), RFHE_OK);
        assert_int_equal(rfhe_loader_next(l, &b, NULL), RFHE_OK);
        assert_int_equal(b.count, 3);
        assert_int_equal(rfhe_loader_next(l, &b, &err), RFHE_E_FORMAT);
        assert_non_null(strstr(err.text, "f/b/4.jpg'"));
        assert_int_equal(rfhe_loader_next(l, &b, &again), RFHE_E_FORMAT);
        assert_string_equal(err.text, again.text);
        assert_int_equal(rfhe_loader_set_state(l, (rfhe_loader_state){0}, NULL), RFHE_OK);
        assert_int_equal(rfhe_loader_next(l, &b, NULL), RFHE_OK);
        rfhe_loader_free(l);
    }
    rfhe_dataset_close(d);
}

static void options_out_of_range_are_refused(void **state)
{
    static const rfhe_loader_options bad[] = {{.batch = 0},
                                              {.batch = 1u << 21},
                                              {.batch = 62, .drop_last = true},
                                              {.batch = 1, .workers = 1000},
                                              {.batch = 1, .prefetch = 1000},
                                              {.batch = 1, .augment = {.pad_crop = 5000}},
                                              {.batch = 1, .augment = {.area_min = 1.5f}}};
    rfhe_dataset *d = cifar();
    rfhe_loader *l = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rfhe_error err = {0};
        assert_int_equal(rfhe_loader_new(&l, d, &plain, &bad[i], &err), RFHE_E_ARG);
        assert_true(err.text[0] != '\0');
        assert_null(l);
    }
    rfhe_dataset_close(d);
    d = folder(false);
    assert_int_equal(rfhe_loader_new(&l, d, &plain, &(rfhe_loader_options){.batch = 2}, NULL),
                     RFHE_E_ARG);
    rfhe_dataset_close(d);
}

static void allocation_failures_come_back_without_a_leak(void **state)
{
    rfhe_dataset *d = folder(false);
    const rfhe_transform t = {.resize = 32, .crop_height = 24, .crop_width = 24};
    rfhe_loader_options o = {.batch = 3, .shuffle = true, .no_thread = true};
    const size_t before = rfhe_mem_get_stats().current;
    size_t n = 1;

    (void)state;
    for (int threads = 0; threads < 2; threads++) {
        rfhe_status st = RFHE_E_NOMEM;
        o.no_thread = threads == 0;
        for (n = 1; st != RFHE_OK && n < 400; n++) {
            rfhe_loader *l = NULL;
            rfhe_batch b;
            rfhe_mem_fail_at(n);
            st = rfhe_loader_new(&l, d, &t, &o, NULL);
            if (st == RFHE_OK) { st = rfhe_loader_next(l, &b, NULL); }
            if (st == RFHE_OK) { st = rfhe_loader_next(l, &b, NULL); }
            rfhe_mem_fail_at(0);
            assert_true(st == RFHE_OK || st == RFHE_E_NOMEM);
            rfhe_loader_free(l);
            assert_int_equal(rfhe_mem_get_stats().current, before);
        }
        assert_int_equal(st, RFHE_OK);
        assert_true(n > 10);
    }
    rfhe_dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_image_comes_once_per_epoch),
        cmocka_unit_test(batches_do_not_depend_on_threads_or_resuming),
        cmocka_unit_test(pad_crop_and_flip_move_and_mirror),
        cmocka_unit_test(cutout_clears_one_square),
        cmocka_unit_test(random_resized_crops_repeat_under_a_seed_and_differ),
        cmocka_unit_test(random_boxes_have_the_areas_and_ratios_asked_for),
        cmocka_unit_test(a_bad_image_fails_its_batch_with_its_name),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(allocation_failures_come_back_without_a_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
