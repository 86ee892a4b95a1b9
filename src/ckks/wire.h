/* The container of every file and message: header, sections, table, trailer. docs/wire-format.md has the bytes. */
#ifndef RFHE_CKKS_WIRE_H
#define RFHE_CKKS_WIRE_H

#include "base/file.h"
#include "ckks/internal.h"

enum { RFHE_WIRE_VERSION = 1, RFHE_WIRE_HEADER = 64, RFHE_WIRE_ENTRY = 64, RFHE_WIRE_HASH = 32, RFHE_WIRE_MAX = 4096 };

typedef enum rfhe_wire_kind {
    RFHE_WIRE_PARAMETERS = 1,
    RFHE_WIRE_SECRET_KEY = 2,
    RFHE_WIRE_PUBLIC_KEY = 3,
    RFHE_WIRE_EVAL_KEYS = 4,
    RFHE_WIRE_CIPHERTEXT = 5,
    RFHE_WIRE_REQUEST = 6, /* of infer/message.h, as the next two */
    RFHE_WIRE_REPLY = 7,
    RFHE_WIRE_BINDING = 8
} rfhe_wire_kind;

typedef enum rfhe_wire_tag {
    RFHE_TAG_FIELDS = 1, /* fixed-size numbers of the object, see each writer */
    RFHE_TAG_LIMBS = 2,  /* packed residues                                   */
    RFHE_TAG_KEY = 3,    /* one evaluation key                                */
    RFHE_TAG_SECRET = 4, /* ternary coefficients, two bits each               */
    RFHE_TAG_CIPHERTEXT = 5 /* a whole container of kind ciphertext              */
} rfhe_wire_tag;

/* Writing: announce the sections with their sizes, then give their bytes in order. To memory (`file` NULL) or to a
 * file. */
typedef struct rfhe_wire_writer {
    rfhe_file_writer *file;
    uint8_t *memory; /* of `total` bytes when file is NULL */
    size_t at, total;
    uint32_t count, current;
    uint8_t header[RFHE_WIRE_HEADER];
    uint8_t *table; /* count * RFHE_WIRE_ENTRY */
} rfhe_wire_writer;

typedef struct rfhe_wire_size {
    uint32_t tag, index;
    uint64_t length;
} rfhe_wire_size;

/* Takes over nothing; `file` is open and stays the caller's. */
RFHE_MUST_USE rfhe_status rfhe_wire_begin(rfhe_wire_writer *w, rfhe_wire_kind kind, const uint8_t id[32],
                                          const rfhe_wire_size *section, uint32_t count, rfhe_file_writer *file,
                                          rfhe_error *err);
/* The whole next section. */
RFHE_MUST_USE rfhe_status rfhe_wire_section(rfhe_wire_writer *w, const void *data, size_t length, rfhe_error *err);
/* Table and trailer. In memory: the caller takes w->memory (w->total bytes). */
RFHE_MUST_USE rfhe_status rfhe_wire_end(rfhe_wire_writer *w, rfhe_error *err);
/* Frees what a writer holds; safe after end. */
void rfhe_wire_drop(rfhe_wire_writer *w);

/* Reading: checks everything but the sections' hashes; those when a section is asked for. Borrows `data`. */
typedef struct rfhe_wire_reader {
    const uint8_t *data;
    size_t size;
    uint32_t count;
    rfhe_wire_kind kind;
    uint8_t id[32];
} rfhe_wire_reader;

RFHE_MUST_USE rfhe_status rfhe_wire_open(rfhe_wire_reader *r, const void *data, size_t size, rfhe_wire_kind kind,
                                         rfhe_error *err);
/* Tag and index of section i; no hash is computed. */
void rfhe_wire_entry(const rfhe_wire_reader *r, uint32_t i, rfhe_wire_size *out);
/* The bytes of section i, verified; its tag and index must be those given. */
RFHE_MUST_USE rfhe_status rfhe_wire_read(const rfhe_wire_reader *r, uint32_t i, uint32_t tag, uint32_t index,
                                         const uint8_t **data, size_t *length, rfhe_error *err);
/* RFHE_E_FORMAT unless the container was made for `c`. */
RFHE_MUST_USE rfhe_status rfhe_wire_belongs(const rfhe_wire_reader *r, const rfhe_ckks *c, rfhe_error *err);

/* n residues (n a multiple of 64) at `bits` bits each, little-endian, lowest bit first: n * bits / 8 bytes. */
void rfhe_pack_residues(uint8_t *out, const uint64_t *x, size_t n, uint32_t bits);
/* The inverse; false when a residue is not below q. */
bool rfhe_unpack_residues(uint64_t *x, const uint8_t *in, size_t n, const rfhe_modulus *m);

#endif
