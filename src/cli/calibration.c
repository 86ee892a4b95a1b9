/* See calibration.h. */
#include "cli/calibration.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE = 1 << 16, MAX_FILES = 256, PATH_ROOM = 4096 };

/* False when the environment names no home. */
static bool find_folder(char *out, size_t room)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;

    if (cache != NULL && cache[0] == '/') {
        n = snprintf(out, room, "%s/rfhe", cache);
    } else if (home != NULL && home[0] == '/') {
        n = snprintf(out, room, "%s/.cache/rfhe", home);
    }
    return n > 0 && (size_t)n < room;
}

static rfhe_status read_one(rfhe_machine *out, const char *path, rfhe_error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_status st = rfhe_file_read(&data, &size, path, MAX_FILE, err);

    if (st == RFHE_OK) { st = rfhe_machine_read(out, data, size, err); }
    rfhe_free(data);
    return st;
}

rfhe_status rfhe_calibration_load(rfhe_machine **out, size_t *n, const char *file, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    char folder[PATH_ROOM], path[PATH_ROOM + 512];
    DIR *d = NULL;
    rfhe_machine *list = rfhe_alloc(file != NULL ? 1 : MAX_FILES, sizeof *list);
    size_t count = 0;

    if (list == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for calibrations"); }
    if (file != NULL) {
        RFHE_TRY(read_one(&list[count++], file, err));
    } else if (find_folder(folder, sizeof folder) && (d = opendir(folder)) != NULL) {
        for (struct dirent *e = readdir(d); e != NULL && count < MAX_FILES; e = readdir(d)) {
            if (strncmp(e->d_name, "calibration-", 12) != 0) { continue; }
            (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            if (read_one(&list[count], path, NULL) == RFHE_OK) { count++; }
        }
    }
    *out = list;
    *n = count;
    list = NULL;

done:
    if (d != NULL) { (void)closedir(d); }
    rfhe_free(list);
    return st;
}

rfhe_status rfhe_calibration_save(const rfhe_machine *m, const char *file, char *path, size_t room, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    char folder[PATH_ROOM];
    rfhe_text t = {0};

    if (file != NULL) {
        (void)snprintf(path, room, "%s", file);
    } else {
        if (!find_folder(folder, sizeof folder)) {
            return rfhe_fail(err, RFHE_E_ARG, "neither XDG_CACHE_HOME nor HOME says where to keep the calibration");
        }
        for (char *at = strchr(folder + 1, '/'); at != NULL; at = strchr(at + 1, '/')) { /* what is there already stays */
            *at = '\0';
            (void)mkdir(folder, 0777);
            *at = '/';
        }
        (void)mkdir(folder, 0777);
        (void)snprintf(path, room, "%s/calibration-%s-%u.json", folder, m->set, m->threads);
    }
    st = rfhe_machine_write(&t, m);
    if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "no memory for a calibration");
        goto done;
    }
    RFHE_TRY(rfhe_file_write(path, t.data, t.size, 0644, err));

done:
    rfhe_text_clear(&t);
    return st;
}
