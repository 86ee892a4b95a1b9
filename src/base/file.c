/* See file.h. */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static rfhe_status refuse(rfhe_error *err, const char *verb, const char *path)
{
    return rfhe_fail(err, RFHE_E_IO, "cannot %s '%s': %s", verb, path, strerror(errno));
}

static rfhe_status too_large(rfhe_error *err, const char *path, size_t max)
{
    return rfhe_fail(err, RFHE_E_UNSUPPORTED, "'%s' is larger than the limit of %zu bytes", path,
                     max);
}

rfhe_status rfhe_file_read(uint8_t **data, size_t *size, const char *path, size_t max,
                           rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    uint8_t *buf = NULL;
    size_t have = 0, cap = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0) {
        st = refuse(err, "read", path);
        goto done;
    }
    if (S_ISDIR(info.st_mode)) {
        st = rfhe_fail(err, RFHE_E_IO, "cannot read '%s': it is a folder", path);
        goto done;
    }
    if (S_ISREG(info.st_mode) && (uint64_t)info.st_size > max) {
        st = too_large(err, path, max);
        goto done;
    }
    /* One byte more than the file, so that its end is seen without growing, and one for the zero byte. */
    cap = (S_ISREG(info.st_mode) ? (size_t)info.st_size : 65536) + 2;
    for (;;) {
        if (have > max) {
            st = too_large(err, path, max);
            goto done;
        }
        if (buf == NULL || have + 1 == cap) {
            if (buf != NULL) { cap *= 2; }
            uint8_t *more = rfhe_realloc(buf, cap, 1);
            if (more == NULL) {
                st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to read '%s' (%zu bytes)", path, cap);
                goto done;
            }
            buf = more;
        }
        const ssize_t n = read(fd, buf + have, cap - 1 - have);
        if (n < 0 && errno == EINTR) { continue; }
        if (n < 0) {
            st = refuse(err, "read", path);
            goto done;
        }
        if (n == 0) { break; }
        have += (size_t)n;
    }
    buf[have] = 0;
    *data = buf;
    *size = have;
    buf = NULL;

done:
    rfhe_free(buf);
    if (fd >= 0) { (void)close(fd); }
    return st;
}

/* Makes a new file beside w->path. Its name holds the process id, so what a killed run left behind is recognisable. */
static int open_beside(rfhe_file_writer *w, unsigned mode)
{
    static atomic_uint counter;
    int fd = -1;

    for (unsigned tries = 0; fd < 0 && tries < 100; tries++) {
        (void)snprintf(w->temp, sizeof w->temp, "%s.part-%ld-%u", w->path, (long)getpid(),
                       atomic_fetch_add(&counter, 1));
        fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        if (fd < 0 && errno != EEXIST) { break; }
    }
    return fd;
}

rfhe_status rfhe_file_writer_open(rfhe_file_writer *w, const char *path, unsigned mode,
                                  rfhe_error *err)
{
    char target[PATH_MAX];
    struct stat info;
    const bool exists = stat(path, &info) == 0;
    const bool is_link = exists && readlink(path, target, sizeof target) >= 0;
    const int n = snprintf(w->path, sizeof w->path, "%s",
                           is_link && realpath(path, target) != NULL ? target : path);

    w->fd = -1;
    w->written = 0;
    w->temp[0] = '\0';
    if (n < 0 || (size_t)n >= sizeof w->path) {
        return rfhe_fail(err, RFHE_E_ARG, "the path of the output is longer than %zu bytes",
                         sizeof w->path - 1);
    }
    if (exists && S_ISDIR(info.st_mode)) {
        return rfhe_fail(err, RFHE_E_IO, "cannot write '%s': it is a folder", path);
    }
    w->fd =
        exists && !S_ISREG(info.st_mode) ? open(path, O_WRONLY | O_CLOEXEC) : open_beside(w, mode);
    return w->fd < 0 ? refuse(err, "write", path) : RFHE_OK;
}

rfhe_status rfhe_file_writer_put(rfhe_file_writer *w, const void *data, size_t size,
                                 rfhe_error *err)
{
    const uint8_t *p = data;

    while (size > 0) {
        const ssize_t n = write(w->fd, p, size);
        if (n < 0 && errno == EINTR) { continue; }
        if (n < 0) { return refuse(err, "write", w->path); }
        p += n;
        size -= (size_t)n;
        w->written += (uint64_t)n;
    }
    return RFHE_OK;
}

rfhe_status rfhe_file_writer_commit(rfhe_file_writer *w, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    if (fsync(w->fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
        st = refuse(err, "write", w->path);
    } else if (close(w->fd) != 0) {
        w->fd = -1;
        st = refuse(err, "write", w->path);
    } else {
        w->fd = -1;
        if (w->temp[0] != '\0' && rename(w->temp, w->path) != 0) {
            st = refuse(err, "write", w->path);
        }
    }
    if (st != RFHE_OK) {
        if (w->fd >= 0) { (void)close(w->fd); }
        w->fd = -1;
        if (w->temp[0] != '\0') { (void)unlink(w->temp); }
    }
    return st;
}

void rfhe_file_writer_cancel(rfhe_file_writer *w)
{
    if (w->fd < 0) { return; }
    (void)close(w->fd);
    if (w->temp[0] != '\0') { (void)unlink(w->temp); }
    w->fd = -1;
}

rfhe_status rfhe_file_write(const char *path, const void *data, size_t size, unsigned mode,
                            rfhe_error *err)
{
    rfhe_file_writer w;
    rfhe_status st = rfhe_file_writer_open(&w, path, mode, err);

    if (st != RFHE_OK) { return st; }
    st = rfhe_file_writer_put(&w, data, size, err);
    if (st != RFHE_OK) {
        rfhe_file_writer_cancel(&w);
        return st;
    }
    return rfhe_file_writer_commit(&w, err);
}

rfhe_status rfhe_file_append(const char *path, const void *data, size_t size, unsigned mode,
                             rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, mode);

    if (fd < 0) { return refuse(err, "write", path); }
    const ssize_t n = write(fd, data, size);
    if (n >= 0 && (size_t)n != size) { errno = ENOSPC; }
    if (n < 0 || (size_t)n != size || fsync(fd) != 0) { st = refuse(err, "write", path); }
    (void)close(fd);
    return st;
}

rfhe_status rfhe_file_map_open(rfhe_file_map *m, const char *path, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *p = NULL;

    if (fd < 0 || fstat(fd, &info) != 0) {
        st = refuse(err, "read", path);
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        st = rfhe_fail(err, RFHE_E_IO, "cannot map '%s': it is not a regular file", path);
        goto done;
    }
    if (info.st_size > 0) {
        p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            p = NULL;
            st = refuse(err, "map", path);
            goto done;
        }
    }
    *m = (rfhe_file_map){.data = p, .size = (size_t)info.st_size};

done:
    if (fd >= 0) { (void)close(fd); }
    return st;
}

void rfhe_file_map_close(rfhe_file_map *m)
{
    if (m->data != NULL) { (void)munmap((void *)(uintptr_t)m->data, m->size); }
    *m = (rfhe_file_map){0};
}

bool rfhe_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

rfhe_status rfhe_file_make_folder(const char *path, rfhe_error *err)
{
    struct stat info;

    if (mkdir(path, 0777) == 0) { return RFHE_OK; }
    if (errno == EEXIST && stat(path, &info) == 0 && !S_ISDIR(info.st_mode)) { errno = ENOTDIR; }
    return errno == EEXIST ? RFHE_OK : refuse(err, "make the folder", path);
}
