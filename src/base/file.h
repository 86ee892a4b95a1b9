/* Whole files: read, map, and write so that a reader sees either the old file or the complete new one. */
#ifndef RFHE_BASE_FILE_H
#define RFHE_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

/* Reads all of `path` (at most `max` bytes, else RFHE_E_UNSUPPORTED). One zero byte follows the contents, so text may
 * be used as a string. The caller frees *data with rfhe_free. */
RFHE_MUST_USE rfhe_status rfhe_file_read(uint8_t **data, size_t *size, const char *path, size_t max,
                                         rfhe_error *err);

/* Writes through a temporary file beside `path`, syncs, renames. `mode` such as 0644, or 0600 for secrets; the umask
 * lowers it. A failure leaves no trace and the old file as it was. A symbolic link stays one: the file it points at is
 * replaced. What is no regular file (a pipe, /dev/null) is written to directly. */
RFHE_MUST_USE rfhe_status rfhe_file_write(const char *path, const void *data, size_t size,
                                          unsigned mode, rfhe_error *err);

/* Adds to the end of `path`, made if it is not there, in one piece: what several processes add does not mix. Syncs. */
RFHE_MUST_USE rfhe_status rfhe_file_append(const char *path, const void *data, size_t size,
                                           unsigned mode, rfhe_error *err);

/* rfhe_file_write in pieces. */
typedef struct rfhe_file_writer {
    int fd;                      /* -1 = not open */
    char path[4096], temp[4128]; /* `temp` is empty when `path` is written to directly */
    uint64_t written;
} rfhe_file_writer;

RFHE_MUST_USE rfhe_status rfhe_file_writer_open(rfhe_file_writer *w, const char *path,
                                                unsigned mode, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_file_writer_put(rfhe_file_writer *w, const void *data, size_t size,
                                               rfhe_error *err);
/* Syncs and renames; afterwards the writer is closed whatever happened. */
RFHE_MUST_USE rfhe_status rfhe_file_writer_commit(rfhe_file_writer *w, rfhe_error *err);
/* Drops the temporary file; safe on a closed or zero-fd writer that was opened once. */
void rfhe_file_writer_cancel(rfhe_file_writer *w);

/* A read-only mapping; an empty file maps to size 0 and data NULL. */
typedef struct rfhe_file_map {
    const uint8_t *data;
    size_t size;
} rfhe_file_map;

RFHE_MUST_USE rfhe_status rfhe_file_map_open(rfhe_file_map *m, const char *path, rfhe_error *err);
void rfhe_file_map_close(rfhe_file_map *m);

bool rfhe_file_exists(const char *path);
/* Makes a folder in one that is there; RFHE_OK when there is one already. */
RFHE_MUST_USE rfhe_status rfhe_file_make_folder(const char *path, rfhe_error *err);

#endif
