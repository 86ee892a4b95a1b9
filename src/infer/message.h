/* Requests and replies: what crosses the wire in encrypted inference, and the small files that say which keys belong
 * together. All are containers of ckks/wire.h (versioned, every byte hashed, bound to the parameters); their first
 * section binds them to a program and to a set of keys too. docs/wire-format.md has the bytes.
 *
 * Readers take any bytes. What is damaged, cut short, of another program, of other keys, or has ciphertexts of a level,
 * scale or number that the program does not expect is refused with RFHE_E_FORMAT and one sentence. */
#ifndef RFHE_INFER_MESSAGE_H
#define RFHE_INFER_MESSAGE_H

#include "plan/program.h"

enum { RFHE_ID_BYTES = 32, RFHE_TAG_BYTES = 16 };
/* Largest number in a reply, before the program's reply_gain; the planner keeps them to half of it. */
enum { RFHE_REPLY_BOUND = 64 };

typedef struct rfhe_message { /* zero state: empty */
    uint8_t program[RFHE_ID_BYTES], keys[RFHE_ID_BYTES];
    uint8_t tag[RFHE_TAG_BYTES]; /* drawn for a request, repeated by its reply */
    rfhe_ct **ct;                /* owned */
    uint32_t count;
} rfhe_message;

typedef enum rfhe_message_kind { RFHE_REQUEST = 0, RFHE_REPLY } rfhe_message_kind;

/* Room for `count` ciphertexts (all NULL). */
RFHE_MUST_USE rfhe_status rfhe_message_init(rfhe_message *m, uint32_t count, rfhe_error *err);
void rfhe_message_clear(rfhe_message *m);
/* The caller frees *data with rfhe_bytes_free. */
RFHE_MUST_USE rfhe_status rfhe_message_write(uint8_t **data, size_t *size, const rfhe_message *m, rfhe_message_kind kind,
                                             const rfhe_ckks *c, rfhe_error *err);
/* keys: the set that it must have been made with; NULL = any. On failure *m is empty. */
RFHE_MUST_USE rfhe_status rfhe_message_read(rfhe_message *m, rfhe_message_kind kind, const rfhe_program *p,
                                            const rfhe_ckks *c, const uint8_t *keys, const void *data, size_t size,
                                            rfhe_error *err);

/* Beside each key file lies its binding: the program it was made for, the set of keys it is part of (32 random bytes,
 * the same on both sides, in every request and reply), and the last 32 bytes of the key file, which depend on all of it.
 * Keys that were exchanged, mixed up or made for another program are noticed before anything is computed. */
typedef struct rfhe_binding {
    uint8_t program[RFHE_ID_BYTES], keys[RFHE_ID_BYTES], file[RFHE_ID_BYTES];
} rfhe_binding;

RFHE_MUST_USE rfhe_status rfhe_binding_save(const char *path, const rfhe_binding *b, const rfhe_ckks *c, unsigned mode,
                                            rfhe_error *err);
/* Reads `path`, compares it with the program and with the end of `key_file`. */
RFHE_MUST_USE rfhe_status rfhe_binding_load(rfhe_binding *b, const char *path, const rfhe_program *p, const rfhe_ckks *c,
                                            const char *key_file, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_binding_parse(rfhe_binding *b, const rfhe_program *p, const rfhe_ckks *c, const void *data,
                                             size_t size, rfhe_error *err);
/* The last RFHE_ID_BYTES bytes of a file. */
RFHE_MUST_USE rfhe_status rfhe_file_fingerprint(uint8_t out[RFHE_ID_BYTES], const char *path, rfhe_error *err);

#endif
