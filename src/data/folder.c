/* Folders of image files: one folder per class, or ImageNet's flat validation files with a label list. Only names are
 * read here; the images are decoded on demand.
 *
 * Where DIR has split folders (train, val, test), the classes are the union of the class folders of all of them, so
 * that a class missing from one split does not shift the numbers of the others. */
#include "data/dataset.h"

#include "base/mem.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { LIST_MAX = 1 << 28 /* bytes of a label list */, FLAT_CLASSES = 1000, CLASSES_MAX = 1 << 20 };

/* A growable list of strings; zero state: empty. */
typedef struct strings {
    char **at;
    size_t n, capacity;
} strings;

static void strings_clear(strings *s)
{
    for (size_t i = 0; i < s->n; i++) { rfhe_free(s->at[i]); }
    rfhe_free(s->at);
    *s = (strings){0};
}

static rfhe_status strings_add(strings *s, const char *text)
{
    if (s->n == s->capacity) {
        const size_t capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
        char **at = rfhe_realloc(s->at, capacity, sizeof *at);
        if (at == NULL) { return RFHE_E_NOMEM; }
        s->at = at;
        s->capacity = capacity;
    }
    s->at[s->n] = rfhe_strdup(text);
    if (s->at[s->n] == NULL) { return RFHE_E_NOMEM; }
    s->n++;
    return RFHE_OK;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void strings_sort(strings *s)
{
    if (s->n > 1) { qsort(s->at, s->n, sizeof *s->at, compare); }
}

/* Drops repetitions of a sorted list. */
static void strings_unique(strings *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (kept > 0 && strcmp(s->at[kept - 1], s->at[i]) == 0) {
            rfhe_free(s->at[i]);
        } else {
            s->at[kept++] = s->at[i];
        }
    }
    s->n = kept;
}

static bool is_image_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot != NULL && (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 ||
                           strcasecmp(dot, ".png") == 0);
}

static bool is_folder(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Adds to `folders` and `images` (each may be NULL) the names in `dir` that are folders or image files; names that
 * begin with a dot are left out. A folder that does not exist adds nothing when `may_lack`. */
static rfhe_status list(strings *folders, strings *images, const char *dir, bool may_lack,
                        rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    char path[RFHE_DATA_PATH_MAX];
    DIR *handle = opendir(dir);
    const struct dirent *e = NULL;

    if (handle == NULL) {
        if (may_lack && errno == ENOENT) { return RFHE_OK; }
        return rfhe_fail(err, RFHE_E_IO, "cannot read the folder '%.200s': %s", dir,
                         strerror(errno));
    }
    while ((errno = 0, e = readdir(handle)) != NULL) {
        if (e->d_name[0] == '.') { continue; }
        bool is_dir = e->d_type == DT_DIR;
        if (e->d_type == DT_LNK || e->d_type == DT_UNKNOWN) {
            RFHE_TRY(rfhe_data_path(path, dir, e->d_name, err));
            is_dir = is_folder(path);
        }
        strings *to = is_dir ? folders : is_image_name(e->d_name) ? images : NULL;
        if (to != NULL && strings_add(to, e->d_name) != RFHE_OK) {
            st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to list '%.200s'", dir);
            goto done;
        }
    }
    if (errno != 0) {
        st = rfhe_fail(err, RFHE_E_IO, "cannot read the folder '%.200s': %s", dir, strerror(errno));
    }

done:
    (void)closedir(handle);
    return st;
}

/* Appends image paths dir/name[i] of class `label` to `d`; *used and *capacity belong to d->names, *room to the
 * arrays. */
typedef struct item_room {
    size_t used, capacity, items;
} item_room;

static rfhe_status add_item(rfhe_dataset *d, item_room *room, const char *dir, const char *name,
                            uint32_t label, rfhe_error *err)
{
    char path[RFHE_DATA_PATH_MAX];
    rfhe_status st = rfhe_data_path(path, dir, name, err);
    const size_t n = st == RFHE_OK ? strlen(path) + 1 : 0;

    if (st != RFHE_OK) { return st; }
    if (room->used + n > room->capacity) {
        const size_t capacity = 2 * (room->used + n) + 65536;
        char *names = rfhe_realloc(d->names, capacity, 1);
        if (names == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory to list '%.200s'", dir);
        }
        d->names = names;
        room->capacity = capacity;
    }
    if (d->total == room->items) {
        const size_t items = 2 * room->items + 1024;
        size_t *name_at = rfhe_realloc(d->name_at, items, sizeof *name_at);
        if (name_at != NULL) { d->name_at = name_at; }
        uint32_t *labels = rfhe_realloc(d->labels, items, sizeof *labels);
        if (labels != NULL) { d->labels = labels; }
        if (name_at == NULL || labels == NULL) {
            return rfhe_fail(err, RFHE_E_NOMEM, "no memory to list '%.200s'", dir);
        }
        room->items = items;
    }
    memcpy(d->names + room->used, path, n);
    d->name_at[d->total] = room->used;
    d->labels[d->total++] = label;
    room->used += n;
    return RFHE_OK;
}

/* --- One folder per class ---------------------------------------------------------------------------------------- */

static rfhe_status add_classes(rfhe_dataset *d, const char *root, const strings *classes,
                               rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    char path[RFHE_DATA_PATH_MAX];
    item_room room = {0};
    strings images = {0};

    for (size_t c = 0; c < classes->n; c++) {
        RFHE_TRY(rfhe_data_path(path, root, classes->at[c], err));
        RFHE_TRY(list(NULL, &images, path, true, err));
        strings_sort(&images);
        for (size_t i = 0; i < images.n; i++) {
            RFHE_TRY(add_item(d, &room, path, images.at[i], (uint32_t)c, err));
        }
        strings_clear(&images);
    }
    if (d->total == 0) {
        st = rfhe_fail(err, RFHE_E_IO,
                       "there is no .jpg, .jpeg or .png file in the class folders of '%.200s'",
                       root);
        goto done;
    }
    RFHE_TRY(rfhe_data_set_classes(d, (const char *const *)classes->at, (uint32_t)classes->n, err));

done:
    strings_clear(&images);
    return st;
}

/* --- Flat files with a label list -------------------------------------------------------------------------------- */

/* "n" and eight digits. */
static bool is_wnid(const char *s)
{
    for (int i = 1; i <= 8; i++) {
        if (s[0] != 'n' || !isdigit((unsigned char)s[i])) { return false; }
    }
    return !isalnum((unsigned char)s[9]);
}

static rfhe_status read_text(char **text, const char *path, rfhe_error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    const rfhe_status st = rfhe_file_read(&data, &size, path, LIST_MAX, err);

    *text = (char *)data;
    return st;
}

/* Class list: the line of each class holds its WordNet id and, behind it, its names. Sorted by id; entries are
 * "nXXXXXXXX names". */
static rfhe_status read_classes(strings *classes, const char *path, rfhe_error *err)
{
    char *text = NULL, *rest = NULL;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(read_text(&text, path, err));
    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL;
         line = strtok_r(NULL, "\r\n", &rest)) {
        for (char *p = line; *p != '\0'; p++) {
            if (is_wnid(p) && (p == line || !isalnum((unsigned char)p[-1]))) {
                if (classes->n >= CLASSES_MAX) {
                    st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%.200s' lists more than %d classes",
                                   path, CLASSES_MAX);
                    goto done;
                }
                if (strings_add(classes, p) != RFHE_OK) {
                    st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to read '%.200s'", path);
                    goto done;
                }
                break;
            }
        }
    }
    strings_sort(classes);

done:
    rfhe_free(text);
    return st;
}

typedef struct listed {
    char *stem;       /* file name without its ending, inside the text of the list */
    const char *wnid; /* or NULL                                                   */
    uint32_t label;
} listed;

static int compare_listed(const void *a, const void *b)
{
    return strcmp(((const listed *)a)->stem, ((const listed *)b)->stem);
}

static void cut_ending(char *name)
{
    if (is_image_name(name)) { *strrchr(name, '.') = '\0'; }
}

/* Lines of "file name, class index or WordNet id", separated by blanks or commas; a first line that is none is taken
 * for a heading. The entries point into *text. */
static rfhe_status read_labels(listed **out, size_t *n, char **text, const char *path,
                               rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    listed *items = NULL;
    size_t have = 0, capacity = 0, line_number = 0;
    char *line = NULL, *next = NULL;

    RFHE_TRY(read_text(text, path, err));
    for (line = *text; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) { *next++ = '\0'; }
        line_number++;
        char *rest = NULL;
        char *name = strtok_r(line, " \t\r,", &rest), *label = strtok_r(NULL, " \t\r,", &rest);
        char *end = NULL;
        if (name == NULL) { continue; }
        const bool has_wnid = label != NULL && is_wnid(label);
        const unsigned long number = label != NULL && !has_wnid ? strtoul(label, &end, 10) : 0;
        if (!has_wnid && (label == NULL || !isdigit((unsigned char)*label) || *end != '\0' ||
                          number >= CLASSES_MAX)) {
            if (line_number == 1) { continue; }
            st = rfhe_fail(err, RFHE_E_FORMAT,
                           "'%.200s' has no file name and class in line %zu (offset %zu)", path,
                           line_number, (size_t)(line - *text));
            goto done;
        }
        if (have == capacity) {
            capacity = 2 * capacity + 1024;
            listed *more = rfhe_realloc(items, capacity, sizeof *items);
            if (more == NULL) {
                st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to read '%.200s'", path);
                goto done;
            }
            items = more;
        }
        cut_ending(name);
        items[have++] =
            (listed){.stem = name, .wnid = has_wnid ? label : NULL, .label = (uint32_t)number};
    }
    if (have > 1) { qsort(items, have, sizeof *items, compare_listed); }
    *out = items;
    *n = have;
    items = NULL;

done:
    rfhe_free(items);
    return st;
}

/* The first of `names` that exists in `dir` or, failing that, in `above`. */
static bool find_file(char *path, const char *const *names, const char *dir, const char *above)
{
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; names[i] != NULL; i++) {
            if (rfhe_data_path(path, k == 0 ? dir : above, names[i], NULL) == RFHE_OK &&
                rfhe_file_exists(path)) {
                return true;
            }
        }
    }
    return false;
}

/* The class of a WordNet id: its rank in the sorted list. */
static bool find_class(uint32_t *label, const strings *classes, const char *wnid)
{
    size_t low = 0, high = classes->n;

    while (low < high) {
        const size_t mid = (low + high) / 2;
        const int order = strncmp(classes->at[mid], wnid, 9);
        if (order == 0) {
            *label = (uint32_t)mid;
            return true;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return false;
}

static rfhe_status add_flat(rfhe_dataset *d, const char *dir, const char *above, strings *images,
                            rfhe_error *err)
{
    static const char *const label_files[] = {
        "val.txt", "val.csv", "labels.txt", "labels.csv", "LOC_val_solution.csv", NULL};
    static const char *const class_files[] = {"synset_words.txt", "LOC_synset_mapping.txt",
                                              "classes.csv", NULL};
    char label_path[RFHE_DATA_PATH_MAX], path[RFHE_DATA_PATH_MAX], *text = NULL;
    rfhe_status st = RFHE_OK;
    strings classes = {0};
    listed *items = NULL;
    size_t n_items = 0;
    item_room room = {0};
    uint32_t n_classes = FLAT_CLASSES;

    if (!find_file(label_path, label_files, dir, above)) {
        st = rfhe_fail(
            err, RFHE_E_IO,
            "'%.200s' has %zu image files but no label list (val.txt, val.csv, labels.txt, "
            "labels.csv or LOC_val_solution.csv)",
            dir, images->n);
        goto done;
    }
    RFHE_TRY(read_labels(&items, &n_items, &text, label_path, err));
    if (find_file(path, class_files, dir, above)) {
        RFHE_TRY(read_classes(&classes, path, err));
        n_classes = (uint32_t)classes.n;
    }
    strings_sort(images);
    for (size_t i = 0; i < images->n; i++) {
        char *stem = images->at[i];
        RFHE_TRY(rfhe_data_path(path, dir, stem, err));
        cut_ending(stem);
        const listed key = {.stem = stem};
        const listed *hit =
            n_items > 0 ? bsearch(&key, items, n_items, sizeof *items, compare_listed) : NULL;
        uint32_t label = hit != NULL ? hit->label : 0;
        if (hit == NULL) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "'%.150s' has no line for '%.150s'", label_path,
                           path);
            goto done;
        }
        if (hit->wnid != NULL && !find_class(&label, &classes, hit->wnid)) {
            st = rfhe_fail(err, RFHE_E_FORMAT,
                           classes.n == 0
                               ? "'%.150s' names the WordNet id %.9s, which needs a class list "
                                 "(synset_words.txt, LOC_synset_mapping.txt or classes.csv)"
                               : "'%.150s' names the WordNet id %.9s, which the class list lacks",
                           label_path, hit->wnid);
            goto done;
        }
        if (classes.n > 0 && label >= n_classes) {
            st = rfhe_fail(err, RFHE_E_FORMAT,
                           "'%.150s' gives '%.100s' the class %u; the list has %u", label_path,
                           stem, label, n_classes);
            goto done;
        }
        if (label >= n_classes) { n_classes = label + 1; }
        RFHE_TRY(add_item(d, &room, dir, strrchr(path, '/') + 1, label, err));
    }
    RFHE_TRY(rfhe_data_set_classes(d, classes.n > 0 ? (const char *const *)classes.at : NULL,
                                   n_classes, err));

done:
    rfhe_free(items);
    rfhe_free(text);
    strings_clear(&classes);
    return st;
}

/* --- Both -------------------------------------------------------------------------------------------------------- */

rfhe_status rfhe_data_open_folder(rfhe_dataset *d, const char *dir, const char *split,
                                  bool is_imagenet, rfhe_error *err)
{
    static const char *const splits[3] = {"train", "val", "test"};
    char path[3][RFHE_DATA_PATH_MAX];
    rfhe_status st = RFHE_OK;
    strings classes = {0}, images = {0};
    bool has[3], has_any = false;
    const char *root = NULL;

    for (int s = 0; s < 3; s++) {
        RFHE_TRY(rfhe_data_path(path[s], dir, splits[s], err));
        has[s] = is_folder(path[s]);
        has_any |= has[s];
        if (has[s] && strcmp(splits[s], split) == 0) { root = path[s]; }
    }
    if (has_any && root == NULL &&
        strcmp(split, "train") != 0) { /* val and test stand in for each other */
        root = has[1] ? path[1] : has[2] ? path[2] : NULL;
    }
    if (has_any && root == NULL) {
        st = rfhe_fail(err, RFHE_E_IO, "'%.200s' has split folders but none for the split '%s'",
                       dir, split);
        goto done;
    }
    if (has_any) {
        for (int s = 0; s < 3; s++) {
            if (has[s]) { RFHE_TRY(list(&classes, NULL, path[s], false, err)); }
        }
    } else {
        root = dir;
        RFHE_TRY(list(&classes, NULL, dir, false, err));
    }
    strings_sort(&classes);
    strings_unique(&classes);
    if (is_imagenet) {
        RFHE_TRY(list(NULL, &images, root, false, err));
        if (images.n > 0) {
            RFHE_TRY(add_flat(d, root, dir, &images, err));
            goto done;
        }
    }
    if (classes.n == 0 || classes.n > CLASSES_MAX) {
        st = rfhe_fail(err, RFHE_E_IO, "'%.200s' has %zu class folders%s", root, classes.n,
                       is_imagenet ? " and no image files" : "");
        goto done;
    }
    d->is_sorted = true;
    RFHE_TRY(add_classes(d, root, &classes, err));

done:
    strings_clear(&classes);
    strings_clear(&images);
    return st;
}
