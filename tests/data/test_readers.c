/* data/idx.c, data/cifar.c, data/mnist.c, data/folder.c, data/dataset.c: small sets written here, their splits, and
 * files that lie. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "data/dataset.h"
#include "data/idx.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <zlib.h>

static void put_file(const char *dir, const char *name, const void *data, size_t size)
{
    char path[2048];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(rfhe_file_write(path, data, size, 0644, NULL), RFHE_OK);
}

static void put_text(const char *dir, const char *name, const char *text)
{
    put_file(dir, name, text, strlen(text));
}

static const char *make_dir(const char *name)
{
    static char path[512];

    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    assert_int_equal(mkdir(path, 0755), 0);
    return path;
}

static size_t make_gzip(uint8_t *out, size_t room, const uint8_t *data, size_t size)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    const size_t n = room - z.avail_out;
    (void)deflateEnd(&z);
    return n;
}

enum { IDX_N = 6, IDX_H = 3, IDX_W = 4 };

/* An IDX file of IDX_N images whose byte i is 7 i, or of labels i mod 10. */
static size_t make_idx(uint8_t *f, bool is_labels)
{
    const uint8_t head[16] = {0, 0, 8,    is_labels ? 1 : 3, 0, 0, 0, IDX_N, 0, 0, 0, IDX_H, 0,
                              0, 0, IDX_W};
    const size_t from = is_labels ? 8 : 16, n = is_labels ? IDX_N : IDX_N * IDX_H * IDX_W;

    memcpy(f, head, from);
    for (size_t i = 0; i < n; i++) { f[from + i] = (uint8_t)(is_labels ? i % 10 : 7 * i); }
    return from + n;
}

static void idx_reads_the_same_plain_and_packed(void **state)
{
    uint8_t plain[256], packed[256];
    const size_t n = make_idx(plain, false), m = make_gzip(packed, sizeof packed, plain, n);
    rfhe_idx a = {0}, b = {0};

    (void)state;
    assert_int_equal(rfhe_idx_parse(&a, plain, n, "a", 3, NULL), RFHE_OK);
    assert_int_equal(rfhe_idx_parse(&b, packed, m, "b", 3, NULL), RFHE_OK);
    assert_int_equal(a.size, IDX_N * IDX_H * IDX_W);
    assert_int_equal(b.size, a.size);
    assert_memory_equal(a.data, b.data, a.size);
    assert_int_equal(a.dim[2], IDX_W);
    rfhe_free(a.data);
    rfhe_free(b.data);
}

static void expect_idx(const uint8_t *f, size_t n, uint32_t rank, rfhe_status want,
                       const char *text)
{
    rfhe_error err = {0};
    rfhe_idx x = {0};

    assert_int_equal(rfhe_idx_parse(&x, f, n, "f", rank, &err), want);
    assert_null(x.data);
    if (strstr(err.text, text) == NULL) { fail_msg("'%s' lacks '%s'", err.text, text); }
}

static void idx_complaints_name_the_offset(void **state)
{
    uint8_t f[256], z[256];
    size_t n = make_idx(f, false), m = 0;

    (void)state;
    expect_idx(f, 10, 3, RFHE_E_FORMAT, "'f' ends at offset 10");
    expect_idx(f, n, 1, RFHE_E_FORMAT, "begins with 00000803 at offset 0");
    expect_idx(f, n - 1, 3, RFHE_E_FORMAT, "has 71 bytes behind its header at offset 16");
    f[4] = 0x0f;
    expect_idx(f, n, 3, RFHE_E_FORMAT, "want 3019898952");
    f[8] = 0xff;
    expect_idx(f, n, 3, RFHE_E_FORMAT, "impossible dimension 4278190083 at offset 8");
    (void)make_idx(f, false);
    f[4] = 0x0f;
    m = make_gzip(z, sizeof z, f, n);
    rfhe_mem_reset_peak();
    expect_idx(z, m, 3, RFHE_E_FORMAT, "more than");
    assert_true(rfhe_mem_get_stats().peak < 1 << 20); /* zlib's window only */
    n = make_idx(f, false);
    f[7] = IDX_N - 1;
    m = make_gzip(z, sizeof z, f, n);
    expect_idx(z, m, 3, RFHE_E_FORMAT, "holds more than the 60 bytes");
    f[7] = IDX_N + 1;
    m = make_gzip(z, sizeof z, f, n);
    expect_idx(z, m, 3, RFHE_E_FORMAT, "unpacks to 72 bytes");
    expect_idx(z, m - 20, 3, RFHE_E_FORMAT, "cut short at offset");
}

static void idx_survives_every_prefix_and_bit_flip(void **state)
{
    uint8_t f[2][256];
    size_t n[2];

    (void)state;
    n[0] = make_idx(f[0], false);
    n[1] = make_gzip(f[1], sizeof f[1], f[0], n[0]);
    const size_t before = rfhe_mem_get_stats().current;
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < n[k]; i++) {
            uint8_t *prefix = malloc(i + 1);
            rfhe_idx x = {0};
            memcpy(prefix, f[k], i);
            assert_int_equal(rfhe_idx_parse(&x, prefix, i, "f", 3, NULL), RFHE_E_FORMAT);
            free(prefix);
        }
        for (size_t bit = 0; bit < 8 * n[k]; bit++) {
            rfhe_idx x = {0};
            rfhe_error err = {0};
            f[k][bit / 8] ^= (uint8_t)(1u << bit % 8);
            const rfhe_status st = rfhe_idx_parse(&x, f[k], n[k], "f", 3, &err);
            assert_true(st == RFHE_OK || (st == RFHE_E_FORMAT && err.text[0] != '\0'));
            rfhe_free(x.data);
            f[k][bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    assert_int_equal(rfhe_mem_get_stats().current, before);
}

static void mnist_folders_open_and_tell_what_is_missing(void **state)
{
    char spec[600];
    uint8_t f[256];
    rfhe_error err = {0};
    rfhe_dataset *d = NULL;
    rfhe_image m = {0};
    const char *dir = make_dir("mnist");
    uint8_t z[256];

    (void)state;
    (void)snprintf(spec, sizeof spec, "mnist:%s", dir);
    assert_int_equal(rfhe_dataset_open(&d, spec, "train", NULL, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "there is no 'train-images-idx3-ubyte' (nor .gz) in"));
    put_file(dir, "train-images.idx3-ubyte", f, make_idx(f, false));
    (void)make_idx(f, true);
    put_file(dir, "train-labels-idx1-ubyte.gz", z, make_gzip(z, sizeof z, f, 8 + IDX_N));
    assert_int_equal(rfhe_dataset_open(&d, spec, "train", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(d), IDX_N);
    assert_int_equal(rfhe_dataset_width(d), IDX_W);
    assert_int_equal(rfhe_dataset_channels(d), 1);
    assert_string_equal(rfhe_dataset_class_name(d, 9), "9");
    assert_null(rfhe_dataset_class_name(d, 10));
    assert_int_equal(rfhe_dataset_label(d, 5), 5);
    assert_int_equal(rfhe_dataset_image(d, 2, &m, NULL), RFHE_OK);
    for (uint32_t i = 0; i < 12; i++) { assert_int_equal(m.pixels[i], (uint8_t)(7 * (24 + i))); }
    assert_int_equal(rfhe_dataset_image(d, IDX_N, &m, NULL), RFHE_E_ARG);
    rfhe_dataset_close(d);
    f[8 + 3] = 10;
    put_file(dir, "train-labels-idx1-ubyte", f, 8 + IDX_N);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_dataset_open(&d, spec, "train", NULL, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "has label 10 at offset 11"));
    rfhe_image_clear(&m);
}

/* n records of CIFAR: label i mod classes, pixel j of record i is i + j. */
static uint8_t *make_cifar(size_t n, size_t label_bytes, uint8_t classes)
{
    uint8_t *f = malloc(n * (label_bytes + 3072));

    for (size_t i = 0; i < n; i++) {
        uint8_t *r = f + i * (label_bytes + 3072);
        r[0] = 1;
        r[label_bytes - 1] = (uint8_t)(i % classes);
        for (size_t j = 0; j < 3072; j++) { r[label_bytes + j] = (uint8_t)(i + j); }
    }
    return f;
}

static const char *cifar_spec(void)
{
    static char spec[600];
    static const size_t counts[] = {40, 30, 10, 20, 100};
    char name[32];

    if (spec[0] == '\0') {
        const char *dir = make_dir("cifar");
        for (int b = 0; b < 5; b++) {
            uint8_t *f = make_cifar(counts[b], 1, 10);
            (void)snprintf(name, sizeof name, "data_batch_%d.bin", b + 1);
            put_file(dir, name, f, counts[b] * 3073);
            free(f);
        }
        (void)snprintf(spec, sizeof spec, "cifar10:%s", dir);
    }
    return spec;
}

static void cifar_records_come_back_in_order(void **state)
{
    rfhe_dataset *d = NULL;
    rfhe_image m = {0};
    char where[600];
    const char *dir = NULL;
    char spec[600];

    (void)state;
    assert_int_equal(rfhe_dataset_open(&d, cifar_spec(), "train", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(d), 200);
    assert_string_equal(rfhe_dataset_class_name(d, 3), "cat");
    assert_int_equal(rfhe_dataset_image(d, 75, &m, NULL), RFHE_OK); /* record 5 of the third file */
    assert_int_equal(rfhe_dataset_label(d, 75), 5);
    rfhe_dataset_where(d, 75, where, sizeof where);
    assert_non_null(strstr(where, "data_batch_3.bin, record 5"));
    for (uint32_t c = 0; c < 3; c++) {
        assert_int_equal(m.pixels[3 * 33 + c], (uint8_t)(5 + 1024 * c + 33));
    }
    rfhe_dataset_close(d);

    dir = make_dir("cifar100");
    uint8_t *f = make_cifar(101, 2, 100);
    put_file(dir, "test.bin", f, (size_t)101 * 3074);
    (void)snprintf(spec, sizeof spec, "cifar100:%s", dir);
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(d), 101);
    assert_int_equal(rfhe_dataset_classes(d), 100);
    assert_int_equal(rfhe_dataset_label(d, 99), 99);
    rfhe_dataset_close(d);
    free(f);
    rfhe_image_clear(&m);
}

static void cifar_complaints_name_the_offset(void **state)
{
    uint32_t labels[4];
    size_t n = 9;
    rfhe_error err = {0};
    uint8_t *f = make_cifar(3, 1, 10);

    (void)state;
    assert_int_equal(rfhe_cifar_parse(labels, &n, f, 3 * 3073, 1, 10, "f", NULL), RFHE_OK);
    assert_int_equal(n, 3);
    assert_int_equal(rfhe_cifar_parse(labels, &n, f, 3 * 3073 - 1, 1, 10, "f", &err),
                     RFHE_E_FORMAT);
    assert_string_equal(
        err.text, "'f' is cut short: 3072 bytes are left behind offset 6146, a record has 3073");
    f[2 * 3073] = 10;
    err = (rfhe_error){0};
    assert_int_equal(rfhe_cifar_parse(labels, &n, f, 3 * 3073, 1, 10, "f", &err), RFHE_E_FORMAT);
    assert_string_equal(err.text,
                        "'f' has label 10 at offset 6146 (record 2); there are 10 classes");
    assert_int_equal(rfhe_cifar_parse(labels, &n, f, 0, 1, 10, "f", NULL), RFHE_E_FORMAT);
    assert_int_equal(n, 0);
    free(f);
}

static void fit_and_select_divide_the_training_images(void **state)
{
    const rfhe_dataset_options o = {.select_count = 25, .select_seed = 3},
                               other = {.select_count = 25};
    rfhe_dataset *fit = NULL, *sel = NULL, *again = NULL, *named = NULL;
    unsigned seen[200] = {0}, per_class[10] = {0}, differ = 0;

    (void)state;
    assert_int_equal(rfhe_dataset_open(&fit, cifar_spec(), "fit", &o, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_open(&sel, cifar_spec(), "select", &o, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_open(&again, cifar_spec(), "select", &other, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_open(&named, cifar_spec(), "select:25", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(fit), 175);
    assert_int_equal(rfhe_dataset_count(sel), 25);
    for (size_t i = 0; i < 175; i++) { seen[rfhe_dataset_source_index(fit, i)]++; }
    for (size_t i = 0; i < 25; i++) {
        seen[rfhe_dataset_source_index(sel, i)]++;
        per_class[rfhe_dataset_label(sel, i)]++;
        differ += rfhe_dataset_source_index(sel, i) != rfhe_dataset_source_index(again, i);
        assert_int_equal(rfhe_dataset_source_index(named, i), rfhe_dataset_source_index(again, i));
    }
    for (size_t i = 0; i < 200; i++) { assert_int_equal(seen[i], 1); }
    for (size_t c = 0; c < 10; c++) { assert_true(per_class[c] == 2 || per_class[c] == 3); }
    assert_true(differ > 5); /* another seed, another selection */
    rfhe_dataset_close(fit);
    rfhe_dataset_close(sel);
    rfhe_dataset_close(again);
    rfhe_dataset_close(named);
}

static void limits_take_the_first_images_of_mixed_sets(void **state)
{
    const rfhe_dataset_options o = {.limit = 7};
    rfhe_dataset *d = NULL;

    (void)state;
    assert_int_equal(rfhe_dataset_open(&d, cifar_spec(), "train", &o, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(d), 7);
    for (size_t i = 0; i < 7; i++) { assert_int_equal(rfhe_dataset_source_index(d, i), i); }
    rfhe_dataset_close(d);
}

static void unknown_specs_and_splits_are_refused(void **state)
{
    static const struct {
        const char *spec, *split, *text;
    } bad[] = {{"imagenette:x", "train", "is no data set"},
               {"cifar10", "train", "wants a folder"},
               {"mnist:", "train", "wants a folder"},
               {"folder:x", "all", "there is no split 'all'"},
               {"folder:x", "fit:", "no split"},
               {"folder:x", "fit:0", "no split"},
               {"folder:x", "select:-3", "no split"},
               {"", "train", "is no data set"}};
    rfhe_dataset *d = NULL;
    rfhe_error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (rfhe_error){0};
        assert_int_equal(rfhe_dataset_open(&d, bad[i].spec, bad[i].split, NULL, &err), RFHE_E_ARG);
        assert_non_null(strstr(err.text, bad[i].text));
        assert_null(d);
    }
    err = (rfhe_error){0};
    assert_int_equal(rfhe_dataset_open(&d, cifar_spec(), "select:200", NULL, &err), RFHE_E_ARG);
    assert_non_null(strstr(err.text, "cannot be taken from 200"));
    assert_non_null(strstr(rfhe_data_hint("cifar100:x"), "3,074"));
    assert_non_null(strstr(rfhe_data_hint("nonsense"), "cifar100:DIR"));
}

/* --- Folders ----------------------------------------------------------------------------------------------------- */

static void put_jpeg(const char *dir, const char *name, int side)
{
    static uint8_t pixels[64 * 64 * 3], out[1 << 15];
    unsigned char *to = out;
    unsigned long size = sizeof out;
    tjhandle tj = tjInitCompress();

    memset(pixels, 100, sizeof pixels);
    assert_int_equal(tjCompress2(tj, pixels, side, 0, side, TJPF_RGB, &to, &size, TJSAMP_420, 90,
                                 TJFLAG_NOREALLOC),
                     0);
    put_file(dir, name, out, size);
    (void)tjDestroy(tj);
}

static void folders_number_their_classes_alike_in_all_splits(void **state)
{
    char spec[600], where[600];
    rfhe_dataset *d = NULL;
    rfhe_image m = {0};
    rfhe_error err = {0};
    const char *root = make_dir("set");

    (void)state;
    (void)snprintf(spec, sizeof spec, "folder:%s", root);
    assert_int_equal(rfhe_dataset_open(&d, spec, "train", NULL, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "has 0 class folders"));
    (void)make_dir("set/train");
    (void)make_dir("set/val");
    put_jpeg(make_dir("set/train/ant"), "b.jpg", 16);
    put_jpeg(make_dir("set/train/cow"), "a.JPEG", 24);
    put_jpeg(make_dir("set/train/bee"), "z.png", 20); /* the ending does not decide the format */
    put_text(make_dir("set/val/cow"), "notes.txt", "x");
    (void)snprintf(where, sizeof where, "%s/set/val/cow", test_folder());
    put_jpeg(where, "1.jpg", 8);
    put_jpeg(where, "0.jpg", 8);
    assert_int_equal(rfhe_dataset_open(&d, spec, "train", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(d), 3);
    assert_int_equal(rfhe_dataset_classes(d), 3);
    assert_int_equal(rfhe_dataset_width(d), 0);
    assert_string_equal(rfhe_dataset_class_name(d, 1), "bee");
    assert_int_equal(rfhe_dataset_label(d, 2), 2);
    assert_int_equal(rfhe_dataset_image(d, 2, &m, NULL), RFHE_OK);
    assert_int_equal(m.width, 24);
    rfhe_dataset_close(d);
    const rfhe_dataset_options two = {.limit = 2}; /* evenly spaced: not only the first classes */
    assert_int_equal(rfhe_dataset_open(&d, spec, "train", &two, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(d), 2);
    assert_int_equal(rfhe_dataset_source_index(d, 0), 0);
    assert_int_equal(rfhe_dataset_source_index(d, 1), 1);
    rfhe_dataset_close(d);
    assert_int_equal(rfhe_dataset_open(&d, spec, "test", NULL, NULL),
                     RFHE_OK); /* val under its other name */
    assert_int_equal(rfhe_dataset_count(d), 2);
    assert_int_equal(rfhe_dataset_label(d, 0),
                     2); /* cow is class 2 although val has no ant and no bee */
    rfhe_dataset_where(d, 0, where, sizeof where);
    assert_non_null(strstr(where, "val/cow/0.jpg"));
    rfhe_dataset_close(d);
    rfhe_image_clear(&m);
}

static void flat_imagenet_follows_its_label_list(void **state)
{
    static const char classes[] = "n00000003 third\nn00000001 first, one\nn00000002 second\n";
    char spec[600];
    rfhe_dataset *d = NULL;
    rfhe_error err = {0};
    static char dir[512];

    (void)state;
    (void)snprintf(dir, sizeof dir, "%s", make_dir("flat"));
    (void)snprintf(spec, sizeof spec, "imagenet:%s", dir);
    put_jpeg(dir, "v_1.JPEG", 8);
    put_jpeg(dir, "v_2.JPEG", 8);
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, &err), RFHE_E_IO);
    assert_non_null(strstr(err.text, "no label list"));
    put_text(dir, "val.txt", "v_2.JPEG 4\nv_1.JPEG 1234\n");
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_classes(d), 1235);
    assert_int_equal(rfhe_dataset_label(d, 0), 1234);
    assert_int_equal(rfhe_dataset_label(d, 1), 4);
    rfhe_dataset_close(d);
    put_text(dir, "val.txt", "ImageId,Prediction\nv_2,n00000003 1 2 3 4\nv_1,n00000002\n");
    err = (rfhe_error){0};
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "needs a class list"));
    put_file(dir, "synset_words.txt", classes, sizeof classes - 1);
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_classes(d), 3);
    assert_int_equal(rfhe_dataset_label(d, 0), 1);
    assert_int_equal(rfhe_dataset_label(d, 1), 2);
    assert_string_equal(rfhe_dataset_class_name(d, 0), "n00000001 first, one");
    rfhe_dataset_close(d);
    put_text(dir, "val.txt", "v_2 7\nv_1 1\n");
    err = (rfhe_error){0};
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "the class 7; the list has 3"));
    put_text(dir, "val.txt", "v_2 1\nv_1\n");
    err = (rfhe_error){0};
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "in line 2 (offset 6)"));
    put_text(dir, "val.txt", "v_2 1\n");
    err = (rfhe_error){0};
    assert_int_equal(rfhe_dataset_open(&d, spec, "val", NULL, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "has no line for"));
}

static void checking_counts_good_and_bad_images(void **state)
{
    char spec[600];
    rfhe_dataset *d = NULL;
    rfhe_data_report r = {0};
    rfhe_error err = {0};

    (void)state;
    put_jpeg(make_dir("mixed") == NULL ? "" : make_dir("mixed/a"), "1.jpg", 16);
    (void)snprintf(spec, sizeof spec, "%s/mixed/a", test_folder());
    put_jpeg(spec, "2.jpg", 48);
    put_file(spec, "3.jpg", "\xff\xd8\xff\xd9", 4);
    put_file(spec, "4.png", "", 0);
    (void)snprintf(spec, sizeof spec, "folder:%s/mixed", test_folder());
    assert_int_equal(rfhe_dataset_open(&d, spec, "train", NULL, NULL), RFHE_OK);
    if (rfhe_data_check(&r, d, NULL, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    assert_int_equal(r.images, 4);
    assert_int_equal(r.bad, 2);
    assert_int_equal(r.color, 2);
    assert_int_equal(r.per_class[0], 4);
    assert_true(r.min_width == 16 && r.max_width == 48 && r.max_height == 48);
    assert_non_null(strstr(r.first_problem.text, "3.jpg'"));
    rfhe_data_report_clear(&r);
    rfhe_dataset_close(d);
}

static void opening_survives_every_failing_allocation(void **state)
{
    char spec[4][600];
    uint8_t f[256], z[256];
    const char *dir = make_dir("mnist2");

    (void)state;
    (void)snprintf(spec[0], sizeof spec[0], "mnist:%s", dir);
    (void)make_idx(f, false);
    put_file(dir, "train-images-idx3-ubyte.gz", z,
             make_gzip(z, sizeof z, f, 16 + IDX_N * IDX_H * IDX_W));
    put_file(dir, "train-labels-idx1-ubyte", f, make_idx(f, true));
    (void)snprintf(spec[1], sizeof spec[1], "%s", cifar_spec());
    (void)snprintf(spec[2], sizeof spec[2], "folder:%s/set", test_folder());
    put_text(test_folder(), "flat/val.txt", "v_2 n00000001\nv_1 n00000002\n");
    (void)snprintf(spec[3], sizeof spec[3], "imagenet:%s/flat", test_folder());
    for (int k = 0; k < 4; k++) {
        const rfhe_dataset_options o = {.limit = 1, .select_count = 1};
        rfhe_status st = RFHE_E_NOMEM;
        const size_t before = rfhe_mem_get_stats().current;
        size_t n = 1;
        for (; st != RFHE_OK && n < 300; n++) {
            rfhe_dataset *d = NULL;
            rfhe_mem_fail_at(n);
            st = rfhe_dataset_open(&d, spec[k], "select", &o, NULL);
            rfhe_mem_fail_at(0);
            if (st != RFHE_OK && st != RFHE_E_NOMEM) {
                fail_msg("%s, allocation %zu: %d", spec[k], n, st);
            }
            rfhe_dataset_close(d);
            assert_int_equal(rfhe_mem_get_stats().current, before);
        }
        assert_int_equal(st, RFHE_OK);
        assert_true(n > 10);
    }
}

static void fashion_mnist_of_debian_opens(void **state)
{
    rfhe_dataset *d = NULL;
    size_t per_class[10] = {0};

    (void)state;
    if (!rfhe_file_exists("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")) {
        skip();
    }
    assert_int_equal(rfhe_dataset_open(&d, "fashion-mnist", "test", NULL, NULL), RFHE_OK);
    assert_int_equal(rfhe_dataset_count(d), 10000);
    assert_int_equal(rfhe_dataset_width(d), 28);
    for (size_t i = 0; i < 10000; i++) { per_class[rfhe_dataset_label(d, i)]++; }
    for (size_t c = 0; c < 10; c++) { assert_int_equal(per_class[c], 1000); }
    assert_int_equal(rfhe_dataset_label(d, 0), 9); /* the first test image is an ankle boot */
    assert_string_equal(rfhe_dataset_class_name(d, 9), "Ankle boot");
    rfhe_dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_reads_the_same_plain_and_packed),
        cmocka_unit_test(idx_complaints_name_the_offset),
        cmocka_unit_test(idx_survives_every_prefix_and_bit_flip),
        cmocka_unit_test(mnist_folders_open_and_tell_what_is_missing),
        cmocka_unit_test(cifar_records_come_back_in_order),
        cmocka_unit_test(cifar_complaints_name_the_offset),
        cmocka_unit_test(fit_and_select_divide_the_training_images),
        cmocka_unit_test(limits_take_the_first_images_of_mixed_sets),
        cmocka_unit_test(unknown_specs_and_splits_are_refused),
        cmocka_unit_test(folders_number_their_classes_alike_in_all_splits),
        cmocka_unit_test(flat_imagenet_follows_its_label_list),
        cmocka_unit_test(checking_counts_good_and_bad_images),
        cmocka_unit_test(opening_survives_every_failing_allocation),
        cmocka_unit_test(fashion_mnist_of_debian_opens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
