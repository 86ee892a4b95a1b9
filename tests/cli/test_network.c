/* cli/network.c: how images of files, folders and data sets become a model's input, and what is written into the model so that
 * the next reader does the same. */
#include "test.h"

#include "cli/args.h"
#include "cli/network.h"

#include <spng.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { SIDE = 28, IMAGES = 3, PIXELS = SIDE * SIDE };

static char sets[300], folder[300]; /* specs of the same images: IDX files, PNG files */
static const rfhe_meta plain[] = {{"rfhe.mean", "0.25"}, {"rfhe.std", "0.5"}};

static uint8_t pixel(size_t image, size_t i)
{
    return (uint8_t)((image * 977 + i) * UINT32_C(2654435761) >> 24);
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* A grey PNG of the pixels of `image`. */
static void write_png(const char *path, size_t image, uint32_t width, uint32_t height)
{
    uint8_t pixels[64 * 64];
    struct spng_ihdr head = {.width = width, .height = height, .bit_depth = 8, .color_type = SPNG_COLOR_TYPE_GRAYSCALE};
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    size_t size = 0;
    int error = 0;

    assert_true(width * height <= sizeof pixels);
    for (size_t i = 0; i < width * height; i++) { pixels[i] = pixel(image, i); }
    assert_int_equal(spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1), 0);
    assert_int_equal(spng_set_ihdr(ctx, &head), 0);
    assert_int_equal(spng_encode_image(ctx, pixels, width * height, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    void *made = spng_get_png_buffer(ctx, &size, &error);
    assert_non_null(made);
    write_file(path, made, size);
    free(made);
    spng_ctx_free(ctx);
}

static int make(void **state)
{
    static const uint8_t head[] = {0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, IMAGES, 0, 0, 0};
    uint8_t images[sizeof head + IMAGES * PIXELS];
    char path[256];

    (void)state;
    memcpy(images, head, sizeof head);
    for (size_t i = 0; i < IMAGES * PIXELS; i++) { images[sizeof head + i] = pixel(i / PIXELS, i % PIXELS); }
    (void)snprintf(path, sizeof path, "%s/t10k-images-idx3-ubyte", test_folder());
    write_file(path, images, sizeof images);
    (void)snprintf(path, sizeof path, "%s/t10k-labels-idx1-ubyte", test_folder());
    write_file(path, labels, sizeof labels);
    (void)snprintf(path, sizeof path, "%s/png", test_folder());
    assert_int_equal(mkdir(path, 0755), 0);
    (void)snprintf(folder, sizeof folder, "folder:%s", path);
    (void)snprintf(path, sizeof path, "%s/png/zero", test_folder());
    assert_int_equal(mkdir(path, 0755), 0);
    for (size_t i = 0; i < IMAGES; i++) {
        (void)snprintf(path, sizeof path, "%s/png/zero/%zu.png", test_folder(), i);
        write_png(path, i, SIDE, SIDE);
    }
    (void)snprintf(sets, sizeof sets, "mnist:%s", test_folder());
    return 0;
}

static rfhe_network_needs needs(const rfhe_meta *metas, uint32_t n)
{
    return (rfhe_network_needs){.metas = metas, .n_metas = n, .channels = 1, .height = SIDE, .width = SIDE};
}

static const char *meta(const rfhe_graph *g, const char *key)
{
    for (uint32_t i = 0; i < g->n_metas; i++) {
        if (strcmp(g->metas[i].key, key) == 0) { return g->metas[i].value; }
    }
    return "none";
}

/* All images of a data set as the model's input, through a loader. */
static void load(float out[IMAGES * PIXELS], const char *spec, const rfhe_network_needs *n)
{
    rfhe_dataset *d = NULL;
    rfhe_loader *l = NULL;
    rfhe_transform t;
    uint32_t labels[IMAGES], count = 0;

    MUST(rfhe_dataset_open(&d, spec, "test", NULL, err));
    MUST(rfhe_network_transform_for(&t, n, d, NULL, err));
    MUST(rfhe_loader_new(&l, d, &t, &(rfhe_loader_options){.batch = IMAGES, .no_thread = true}, err));
    MUST(rfhe_loader_read(l, out, labels, &count, err));
    assert_int_equal(count, IMAGES);
    rfhe_loader_free(l);
    rfhe_dataset_close(d);
}

static void apply(float out[PIXELS], const char *path, const rfhe_transform *t)
{
    rfhe_image image = {0};

    MUST(rfhe_image_read(&image, path, err));
    MUST(rfhe_transform_apply(out, PIXELS, &image, t, err));
    rfhe_image_clear(&image);
}

/* One image file, as the verb encrypt takes it. */
static void load_file(float out[PIXELS], const char *path, const rfhe_network_needs *n, const rfhe_args *args)
{
    rfhe_transform t;

    MUST(rfhe_network_transform_for(&t, n, NULL, args, err));
    apply(out, path, &t);
}

/* The metadata of a network for side x side pixels that learnt from `spec`, whose own were `plain`. */
static void learn_from(rfhe_graph **g, const char *spec, int64_t side)
{
    const rfhe_network_needs n = {.metas = plain, .n_metas = 2, .channels = 1, .height = side, .width = side};
    rfhe_dataset *d = NULL;
    rfhe_transform t;

    assert_int_equal(rfhe_graph_new(g, "learner"), RFHE_OK);
    MUST(rfhe_dataset_open(&d, spec, "test", NULL, err));
    MUST(rfhe_network_transform_for(&t, &n, d, NULL, err));
    assert_int_equal(rfhe_network_set_metadata(*g, &t, d), RFHE_OK);
    rfhe_dataset_close(d);
}

/* The same images from everywhere: bit for bit what the data set gives to a model without metadata about sizes. */
static void check_images(const rfhe_network_needs *n)
{
    const rfhe_network_needs reference = needs(plain, 2);
    float want[IMAGES * PIXELS], got[IMAGES * PIXELS];
    char path[256];

    load(want, sets, &reference);
    assert_true(want[1] == ((float)pixel(0, 1) / 255.0F - 0.25F) / 0.5F);
    load(got, sets, n);
    assert_memory_equal(got, want, sizeof want);
    load(got, folder, n);
    assert_memory_equal(got, want, sizeof want);
    for (size_t i = 0; i < IMAGES; i++) {
        (void)snprintf(path, sizeof path, "%s/png/zero/%zu.png", test_folder(), i);
        load_file(got, path, n, NULL);
        assert_memory_equal(got, want + i * PIXELS, PIXELS * sizeof *want);
    }
}

static void images_of_the_models_size_are_taken_as_they_are(void **state)
{
    const rfhe_network_needs old = needs(plain, 2);

    (void)state;
    check_images(&old);
    for (int k = 0; k < 2; k++) {
        rfhe_graph *g = NULL;
        learn_from(&g, k == 0 ? sets : folder, SIDE);
        assert_string_equal(meta(g, "rfhe.resize"), k == 0 ? "28" : "none");
        const rfhe_network_needs learnt = needs(g->metas, g->n_metas);
        check_images(&learnt);
        rfhe_graph_free(g);
    }
}

static void check_photo(const char *path, const rfhe_network_needs *n, const rfhe_args *args, uint32_t resize)
{
    const rfhe_transform t = {
        .channels = 1, .resize = resize, .crop_height = SIDE, .crop_width = SIDE, .mean = {0.25F}, .std = {0.5F}};
    float want[PIXELS], got[PIXELS];

    apply(want, path, &t);
    load_file(got, path, n, args);
    assert_memory_equal(got, want, sizeof want);
}

static void other_images_are_resized_as_model_and_options_say(void **state)
{
    static const rfhe_opt options[] = {RFHE_OPTIONS_PREPROCESSING, {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL}};
    static const rfhe_command command = {.name = "test", .options = options};
    static const rfhe_meta resized[] = {{"rfhe.mean", "0.25"}, {"rfhe.std", "0.5"}, {"rfhe.resize", "36"}};
    static rfhe_args args; /* too large for the stack */
    char *const words[] = {(char[]){"--resize"}, (char[]){"30"}, NULL};
    const rfhe_network_needs old = needs(plain, 2), told = needs(resized, 3);
    rfhe_graph *frames = NULL, *photos = NULL, *enlarged = NULL;
    char photo[256], small[256];
    rfhe_error err = {0};

    (void)state;
    (void)snprintf(photo, sizeof photo, "%s/photo.png", test_folder());
    (void)snprintf(small, sizeof small, "%s/png/zero/0.png", test_folder());
    write_png(photo, 9, 40, 48);
    assert_true(rfhe_args_parse(&args, &command, 2, (char **)(uintptr_t)words, &err));
    check_photo(photo, &old, NULL, SIDE * 8 / 7); /* the centre of a photo */
    check_photo(photo, &told, NULL, 36);
    check_photo(photo, &old, &args, 30);
    check_photo(small, &told, NULL, 36); /* even what has the model's size, when somebody says so */
    check_photo(small, &told, &args, 30);
    learn_from(&frames, sets, SIDE);
    const rfhe_network_needs whole = needs(frames->metas, frames->n_metas);
    check_photo(photo, &whole, NULL, SIDE); /* it has seen whole pictures */
    learn_from(&photos, folder, SIDE);
    const rfhe_network_needs centre = needs(photos->metas, photos->n_metas);
    check_photo(photo, &centre, NULL, SIDE * 8 / 7);
    learn_from(&enlarged, sets, 32);
    assert_string_equal(meta(enlarged, "rfhe.resize"), "32");
    rfhe_graph_free(frames);
    rfhe_graph_free(photos);
    rfhe_graph_free(enlarged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_of_the_models_size_are_taken_as_they_are),
        cmocka_unit_test(other_images_are_resized_as_model_and_options_say),
    };
    return cmocka_run_group_tests(tests, make, test_nothing_is_left);
}
