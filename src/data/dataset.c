/* Data sets: the spec, the split, and access to images; the formats are in mnist.c, cifar.c and folder.c. */
#include "data/dataset.h"

#include "base/mem.h"
#include "base/random.h"
#include "data/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const fashion_names[10] = {"T-shirt/top", "Trouser",   "Pullover", "Dress",
                                              "Coat",        "Sandal",    "Shirt",    "Sneaker",
                                              "Bag",         "Ankle boot"};
static const char fashion_default[] = "/usr/share/datasets/fashion-mnist";

typedef enum data_kind {
    FASHION,
    MNIST,
    CIFAR10,
    CIFAR100,
    FOLDER,
    IMAGENET,
    KIND_COUNT
} data_kind;

static const struct {
    const char *name, *hint;
} kinds[KIND_COUNT] = {
    [FASHION] =
        {"fashion-mnist",
         "wanted: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
         "t10k-labels-idx1-ubyte, plain or .gz; Debian's package dataset-fashion-mnist installs "
         "them"},
    [MNIST] = {"mnist",
               "wanted: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
               "t10k-labels-idx1-ubyte, plain or .gz, as published by LeCun, Cortes and Burges"},
    [CIFAR10] =
        {"cifar10",
         "wanted: data_batch_1.bin to data_batch_5.bin and test_batch.bin, 3,073 bytes per image; "
         "get "
         "'CIFAR-10 binary version' from the University of Toronto's CIFAR page and unpack it"},
    [CIFAR100] = {"cifar100", "wanted: train.bin and test.bin, 3,074 bytes per image; get "
                              "'CIFAR-100 binary version' from "
                              "the University of Toronto's CIFAR page and unpack it"},
    [FOLDER] = {"folder", "wanted: DIR/train/CLASS/*.jpg, DIR/val/CLASS/*.jpg, "
                          "DIR/test/CLASS/*.jpg, or DIR/CLASS/*.jpg "
                          "for a single set; .jpeg and .png are taken too; class numbers follow "
                          "the sorted folder names"},
    [IMAGENET] =
        {"imagenet",
         "wanted: folders named by WordNet id as for folder:DIR, or flat JPEG files in DIR (or "
         "DIR/val) "
         "with a label list beside or above them: val.txt, val.csv, labels.txt, labels.csv or "
         "LOC_val_solution.csv, lines of file name and class index or WordNet id; WordNet ids also "
         "need "
         "the classes: synset_words.txt, LOC_synset_mapping.txt or classes.csv; get ILSVRC2012 "
         "from "
         "image-net.org after accepting its terms"},
};

static bool find_kind(data_kind *kind, const char **dir, const char *spec)
{
    const size_t n = strcspn(spec, ":");

    for (int k = 0; k < KIND_COUNT; k++) {
        if (strlen(kinds[k].name) == n && memcmp(spec, kinds[k].name, n) == 0) {
            *kind = (data_kind)k;
            *dir = spec[n] == ':' ? spec + n + 1 : "";
            return true;
        }
    }
    return false;
}

const char *rfhe_data_hint(const char *spec)
{
    data_kind kind = FOLDER;
    const char *dir = NULL;

    if (spec != NULL && find_kind(&kind, &dir, spec)) { return kinds[kind].hint; }
    return "a data set is named fashion-mnist[:DIR], mnist:DIR, cifar10:DIR, cifar100:DIR, "
           "folder:DIR or "
           "imagenet:DIR";
}

rfhe_status rfhe_data_path(char *out, const char *dir, const char *name, rfhe_error *err)
{
    const int n = snprintf(out, RFHE_DATA_PATH_MAX, "%s/%s", dir, name);

    if (n < 0 || n >= RFHE_DATA_PATH_MAX) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "a path below '%.100s...' is longer than %d bytes", dir,
                         RFHE_DATA_PATH_MAX - 1);
    }
    return RFHE_OK;
}

rfhe_status rfhe_data_set_classes(rfhe_dataset *d, const char *const *names, uint32_t n,
                                  rfhe_error *err)
{
    char number[16];

    d->class_names = rfhe_calloc(n, sizeof *d->class_names);
    if (d->class_names == NULL) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory for class names");
    }
    d->classes = n;
    for (uint32_t c = 0; c < n; c++) {
        (void)snprintf(number, sizeof number, "%u", c);
        d->class_names[c] = rfhe_strdup(names != NULL ? names[c] : number);
        if (d->class_names[c] == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory for class names");
        }
    }
    return RFHE_OK;
}

void rfhe_dataset_close(rfhe_dataset *d)
{
    if (d == NULL) { return; }
    for (uint32_t c = 0; d->class_names != NULL && c < d->classes; c++) {
        rfhe_free(d->class_names[c]);
    }
    rfhe_free(d->class_names);
    for (uint32_t p = 0; p < d->n_parts; p++) {
        rfhe_file_map_close(&d->part[p].map);
        rfhe_free(d->part[p].owned);
        rfhe_free(d->part[p].path);
    }
    rfhe_free(d->labels);
    rfhe_free(d->index);
    rfhe_free(d->names);
    rfhe_free(d->name_at);
    rfhe_free(d->spec);
    rfhe_free(d);
}

/* --- Splits ------------------------------------------------------------------------------------------------------ */

typedef struct split_wish {
    const char *base; /* "train", "test" or "val"                 */
    enum { ALL, FIT, SELECT } part;
    uint64_t select_count; /* 0 = default                              */
} split_wish;

static rfhe_status parse_split(split_wish *w, const char *split, const rfhe_dataset_options *o,
                               rfhe_error *err)
{
    static const char *const whole[] = {"train", "test", "val"};
    const size_t n = strcspn(split, ":");
    char *end = NULL;

    *w = (split_wish){.select_count = o->select_count};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(split, whole[i]) == 0) {
            w->base = whole[i];
            return RFHE_OK;
        }
    }
    if ((n == 3 && memcmp(split, "fit", 3) == 0) || (n == 6 && memcmp(split, "select", 6) == 0)) {
        w->base = "train";
        w->part = n == 3 ? FIT : SELECT;
        if (split[n] == '\0') { return RFHE_OK; }
        errno = 0;
        w->select_count = strtoull(split + n + 1, &end, 10);
        if (split[n + 1] >= '1' && split[n + 1] <= '9' && *end == '\0' && errno == 0) {
            return RFHE_OK;
        }
    }
    return rfhe_fail(err, RFHE_E_ARG,
                     "there is no split '%s'; use train, test, val, fit[:N] or select[:N]", split);
}

/* Marks `want` of the images for `select`: class c with n_c of n images gives floor(want * n_c / n), and what is still
 * missing comes, one each, from the classes with the largest remainders (ties: the lower class). Within a class a
 * permutation seeded by (seed, class) chooses. */
static rfhe_status mark_selected(uint8_t *marked, const rfhe_dataset *d, uint64_t want,
                                 uint64_t seed)
{
    rfhe_status st = RFHE_E_NOMEM;
    const size_t n = d->total;
    uint64_t *quota = rfhe_calloc(d->classes, sizeof *quota);
    uint64_t *rest = rfhe_calloc(d->classes, sizeof *rest);
    size_t *start = rfhe_calloc((size_t)d->classes + 1, sizeof *start);
    uint32_t *member = rfhe_alloc(n, sizeof *member), *order = rfhe_alloc(n, sizeof *order);
    uint64_t given = 0;

    if (quota == NULL || rest == NULL || start == NULL || member == NULL || order == NULL) {
        goto done;
    }
    for (size_t i = 0; i < n; i++) { start[d->labels[i] + 1]++; }
    for (uint32_t c = 0; c < d->classes; c++) {
        quota[c] = want * start[c + 1] / n; /* want and the class are below 2^32: no overflow */
        rest[c] = want * start[c + 1] % n;
        given += quota[c];
    }
    while (given < want) { /* fewer rounds than classes */
        uint32_t best = 0;
        for (uint32_t c = 1; c < d->classes; c++) {
            if (rest[c] > rest[best]) { best = c; }
        }
        quota[best]++;
        rest[best] = 0;
        given++;
    }
    for (uint32_t c = 0; c < d->classes; c++) { start[c + 1] += start[c]; }
    for (size_t i = n; i-- > 0;) { member[--start[d->labels[i] + 1]] = (uint32_t)i; }
    /* start[c + 1] is now the beginning of class c, and the end of class c is start[c + 2] or n. */
    memset(marked, 0, n);
    for (uint32_t c = 0; c < d->classes; c++) {
        const size_t from = start[c + 1], to = c + 2 <= d->classes ? start[c + 2] : n;
        rfhe_rng r = rfhe_rng_seed(seed, UINT64_C(0x73656c6563740000) + c); /* "select" */
        rfhe_rng_permutation(&r, order, to - from);
        for (uint64_t k = 0; k < quota[c]; k++) { marked[member[from + order[k]]] = 1; }
    }
    st = RFHE_OK;

done:
    rfhe_free(quota);
    rfhe_free(rest);
    rfhe_free(start);
    rfhe_free(member);
    rfhe_free(order);
    return st;
}

static rfhe_status choose_images(rfhe_dataset *d, const split_wish *w,
                                 const rfhe_dataset_options *o, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint8_t *marked = NULL;
    const uint64_t want = w->select_count != 0 ? w->select_count : d->total / 10;

    d->count = d->total;
    if (w->part != ALL) {
        if (want == 0 || want >= d->total) {
            st = rfhe_fail(
                err, RFHE_E_ARG,
                "a selection split of %llu images cannot be taken from %zu training images",
                (unsigned long long)want, d->total);
            goto done;
        }
        marked = rfhe_alloc(d->total, 1);
        d->index = rfhe_alloc(d->total, sizeof *d->index);
        st = marked != NULL && d->index != NULL ? mark_selected(marked, d, want, o->select_seed)
                                                : RFHE_E_NOMEM;
        if (st != RFHE_OK) {
            (void)rfhe_fail(err, st, "no memory to divide the training images");
            goto done;
        }
        d->count = 0;
        for (size_t i = 0; i < d->total; i++) {
            if ((marked[i] != 0) == (w->part == SELECT)) { d->index[d->count++] = (uint32_t)i; }
        }
    }
    if (o->limit != 0 && o->limit < d->count) {
        const size_t n = (size_t)o->limit;
        uint32_t *index = rfhe_alloc(n, sizeof *index);
        if (index == NULL) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to list %zu images", n);
            goto done;
        }
        for (size_t i = 0; i < n; i++) {
            const size_t k = d->is_sorted ? (size_t)((uint64_t)i * d->count / n) : i;
            index[i] = d->index != NULL ? d->index[k] : (uint32_t)k;
        }
        rfhe_free(d->index);
        d->index = index;
        d->count = n;
    }

done:
    rfhe_free(marked);
    return st;
}

/* --- Opening ----------------------------------------------------------------------------------------------------- */

rfhe_status rfhe_dataset_open(rfhe_dataset **out, const char *spec, const char *split,
                              const rfhe_dataset_options *options, rfhe_error *err)
{
    static const rfhe_dataset_options none = {0};
    const rfhe_dataset_options *o = options != NULL ? options : &none;
    rfhe_status st = RFHE_OK;
    rfhe_dataset *d = NULL;
    data_kind kind = FOLDER;
    const char *dir = NULL;
    split_wish wish;
    struct stat info;

    if (!find_kind(&kind, &dir, spec)) {
        return rfhe_fail(err, RFHE_E_ARG, "'%.100s' is no data set; %s", spec,
                         rfhe_data_hint(NULL));
    }
    if (*dir == '\0') {
        if (kind != FASHION) {
            return rfhe_fail(err, RFHE_E_ARG, "'%s' wants a folder: %s:DIR", kinds[kind].name,
                             kinds[kind].name);
        }
        dir = fashion_default;
    }
    RFHE_TRY(parse_split(&wish, split, o, err));
    if (stat(dir, &info) != 0 || !S_ISDIR(info.st_mode)) {
        st = rfhe_fail(err, RFHE_E_IO, "there is no folder '%.200s'", dir);
        goto done;
    }
    d = rfhe_calloc(1, sizeof *d);
    if (d != NULL) { d->spec = rfhe_strdup(spec); }
    if (d == NULL || d->spec == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to open a data set");
        goto done;
    }
    (void)snprintf(d->split, sizeof d->split, "%s", split);
    const bool is_train = strcmp(wish.base, "train") == 0;
    switch (kind) {
    case FASHION:
        RFHE_TRY(rfhe_data_open_idx(d, dir, is_train, fashion_names, err));
        break;
    case MNIST:
        RFHE_TRY(rfhe_data_open_idx(d, dir, is_train, NULL, err));
        break;
    case CIFAR10:
        RFHE_TRY(rfhe_data_open_cifar(d, dir, is_train, false, err));
        break;
    case CIFAR100:
        RFHE_TRY(rfhe_data_open_cifar(d, dir, is_train, true, err));
        break;
    case FOLDER:
        RFHE_TRY(rfhe_data_open_folder(d, dir, wish.base, false, err));
        break;
    case IMAGENET:
        RFHE_TRY(rfhe_data_open_folder(d, dir, wish.base, true, err));
        break;
    case KIND_COUNT:
        break;
    }
    if (d->total > UINT32_MAX) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%.200s' holds more than 2^32 images", spec);
        goto done;
    }
    RFHE_TRY(choose_images(d, &wish, o, err));
    *out = d;
    d = NULL;

done:
    rfhe_dataset_close(d);
    return st;
}

/* --- Access ------------------------------------------------------------------------------------------------------ */

size_t rfhe_dataset_count(const rfhe_dataset *d)
{
    return d->count;
}

uint32_t rfhe_dataset_classes(const rfhe_dataset *d)
{
    return d->classes;
}

const char *rfhe_dataset_class_name(const rfhe_dataset *d, uint32_t c)
{
    return c < d->classes ? d->class_names[c] : NULL;
}

uint32_t rfhe_dataset_width(const rfhe_dataset *d)
{
    return d->width;
}

uint32_t rfhe_dataset_height(const rfhe_dataset *d)
{
    return d->height;
}

uint32_t rfhe_dataset_channels(const rfhe_dataset *d)
{
    return d->channels;
}

size_t rfhe_dataset_source_index(const rfhe_dataset *d, size_t i)
{
    return d->index != NULL ? d->index[i] : i;
}

uint32_t rfhe_dataset_label(const rfhe_dataset *d, size_t i)
{
    return d->labels[rfhe_dataset_source_index(d, i)];
}

const char *rfhe_dataset_spec(const rfhe_dataset *d)
{
    return d->spec;
}

const char *rfhe_dataset_split(const rfhe_dataset *d)
{
    return d->split;
}

/* The part that holds record *r of the whole; *r becomes its number within the part. */
static const rfhe_data_part *find_part(const rfhe_dataset *d, size_t *r)
{
    uint32_t p = 0;

    while (*r >= d->part[p].count) { *r -= d->part[p++].count; }
    return &d->part[p];
}

bool rfhe_dataset_view(const rfhe_dataset *d, size_t i, rfhe_view *out)
{
    if (d->name_at != NULL) { return false; }
    size_t r = rfhe_dataset_source_index(d, i);
    const rfhe_data_part *p = find_part(d, &r);
    *out = (rfhe_view){.data = p->first + r * p->stride,
                       .width = d->width,
                       .height = d->height,
                       .channels = d->channels,
                       .pixel = 1,
                       .row = d->width,
                       .channel = (size_t)d->width * d->height};
    return true;
}

void rfhe_dataset_where(const rfhe_dataset *d, size_t i, char *text, size_t size)
{
    size_t r = rfhe_dataset_source_index(d, i);

    if (d->name_at != NULL) {
        (void)snprintf(text, size, "%s", d->names + d->name_at[r]);
    } else {
        const rfhe_data_part *p = find_part(d, &r);
        (void)snprintf(text, size, "%s, record %zu", p->path, r);
    }
}

rfhe_status rfhe_dataset_image(const rfhe_dataset *d, size_t i, rfhe_image *out, rfhe_error *err)
{
    rfhe_view v;

    if (i >= d->count) {
        return rfhe_fail(err, RFHE_E_ARG, "image %zu was asked for, '%s' has %zu", i, d->spec,
                         d->count);
    }
    if (!rfhe_dataset_view(d, i, &v)) {
        return rfhe_image_read(out, d->names + d->name_at[rfhe_dataset_source_index(d, i)], err);
    }
    const rfhe_status st = rfhe_image_reserve(out, v.width, v.height, v.channels);
    if (st != RFHE_OK) { return rfhe_fail(err, st, "no memory for an image of '%s'", d->spec); }
    for (uint32_t y = 0; y < v.height; y++) {
        for (uint32_t c = 0; c < v.channels; c++) {
            const uint8_t *from = v.data + y * v.row + c * v.channel;
            uint8_t *to = out->pixels + (size_t)y * v.width * v.channels + c;
            for (uint32_t x = 0; x < v.width; x++) { to[(size_t)x * v.channels] = from[x]; }
        }
    }
    return RFHE_OK;
}
