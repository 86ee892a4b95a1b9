/* A small container of named blocks, for the state of long work: written whole or not at all, checked when read.
 *
 *   0   "RFHECKPT"   8  version (1)   12  sections n   16  file size (u64)   24  CRC-32 of the table   28  zero
 *   32  table: n x { name[16] zero-padded, offset u64, size u64, CRC-32 u32, zero u32 }
 *   then the blocks, each at a multiple of 64. All numbers little-endian. */
#ifndef RFHE_NN_CHECKPOINT_H
#define RFHE_NN_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

enum { RFHE_CHECKPOINT_NAME = 16, RFHE_CHECKPOINT_SECTIONS = 32 };

typedef struct rfhe_checkpoint_section {
    const char *name; /* at most 15 bytes */
    const void *data;
    size_t size;
} rfhe_checkpoint_section;

/* At most RFHE_CHECKPOINT_SECTIONS. A reader sees the old file or this one, whatever happens in between. */
RFHE_MUST_USE rfhe_status rfhe_checkpoint_write(const char *path, const rfhe_checkpoint_section *s,
                                                size_t n, rfhe_error *err);

typedef struct rfhe_checkpoint rfhe_checkpoint;

/* Reads and checks all of it. RFHE_E_IO when it cannot be read; RFHE_E_FORMAT when it is damaged or something else. */
RFHE_MUST_USE rfhe_status rfhe_checkpoint_open(rfhe_checkpoint **out, const char *path,
                                               rfhe_error *err);
void rfhe_checkpoint_close(rfhe_checkpoint *c);
/* The block of that name; NULL when there is none. Borrowed, 64-byte aligned. */
const void *rfhe_checkpoint_find(const rfhe_checkpoint *c, const char *name, size_t *size);
/* Copies the block, which must have exactly `size` bytes; RFHE_E_FORMAT otherwise. */
RFHE_MUST_USE rfhe_status rfhe_checkpoint_read(const rfhe_checkpoint *c, const char *name, void *out,
                                               size_t size, rfhe_error *err);

#endif
