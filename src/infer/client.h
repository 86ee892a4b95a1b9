/* What the owner of the data does: makes keys, encrypts images, decrypts replies. Needs the public half of a program and
 * no weights; the secret key never leaves the client's folder. Here `image` means what the network takes, normalised:
 * [image_channels][image_height][image_width]; how a photo becomes that is said by the program's metadata (rfhe.mean,
 * rfhe.std, rfhe.resize, rfhe.crop) and done by data/. */
#ifndef RFHE_INFER_CLIENT_H
#define RFHE_INFER_CLIENT_H

#include "infer/requests.h"
#include "plan/cost.h" /* rfhe_program_keys */

/* Names inside the folders of a program. */
#define RFHE_CLIENT_SECRET "client/secret.key"
#define RFHE_CLIENT_BINDING "client/keys.id"
#define RFHE_CLIENT_REQUESTS "client/requests"
#define RFHE_SERVER_KEYS "server/evaluation.keys"
#define RFHE_SERVER_BINDING "server/keys.id"

/* The program's parameters. An insecure set is accepted when the program says that it is one. */
RFHE_MUST_USE rfhe_status rfhe_program_parameters(rfhe_ckks **out, const rfhe_program *p, rfhe_error *err);

typedef struct rfhe_keygen_report {
    double seconds;
    uint32_t keys;
    uint64_t key_bytes; /* of the file the server gets */
} rfhe_keygen_report;

/* Makes keys for the program in `folder` (as rfhe plan left it, or its client/ alone) and writes them: the secret key (mode
 * 0600) and a binding to client/, the evaluation keys and a binding to server/, which is made if need be. Keys that are
 * there already are replaced only with `replace` (RFHE_E_ARG). `report` may be NULL. */
RFHE_MUST_USE rfhe_status rfhe_client_keygen(const rfhe_program *p, const char *folder, bool replace,
                                             rfhe_keygen_report *report, const rfhe_progress *progress, rfhe_error *err);

/* Borrows the program. For one thread at a time. */
typedef struct rfhe_client rfhe_client;

/* Loads the secret key from `folder`. */
RFHE_MUST_USE rfhe_status rfhe_client_open(rfhe_client **out, const rfhe_program *p, const char *folder, rfhe_error *err);
/* From a key at hand, which the client takes over (also when the call fails). */
RFHE_MUST_USE rfhe_status rfhe_client_new(rfhe_client **out, const rfhe_program *p, const rfhe_ckks *c, rfhe_secret_key *sk,
                                          const uint8_t keys[RFHE_ID_BYTES], rfhe_error *err);
void rfhe_client_free(rfhe_client *k);
const rfhe_ckks *rfhe_client_parameters(const rfhe_client *k);
/* For --debug-key: whoever holds this decrypts everything. Borrowed. */
const rfhe_secret_key *rfhe_client_secret(const rfhe_client *k);

/* Encrypts one image. The caller clears *m / frees *data with rfhe_bytes_free. A client from a folder notes each request
 * in bytes under `name` in its record (requests.h), and takes replies in bytes to these requests only; messages that never
 * left the process, and clients from a key at hand, do without. */
RFHE_MUST_USE rfhe_status rfhe_client_encrypt(rfhe_message *m, rfhe_client *k, const float *image, rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_client_request(uint8_t **data, size_t *size, rfhe_client *k, const float *image,
                                              const char *name, rfhe_error *err);
typedef struct rfhe_reply_report {
    char request[RFHE_REQUEST_NAME]; /* which it answers; empty without a record */
    double fill; /* largest of its numbers by RFHE_REPLY_BOUND: beyond 1, the outputs are not to be relied on */
} rfhe_reply_report;

/* The network's outputs, `p->outputs` numbers. RFHE_E_NUMERIC when one is not finite. `report` may be NULL. */
RFHE_MUST_USE rfhe_status rfhe_client_decrypt(float *logits, rfhe_reply_report *report, rfhe_client *k, const rfhe_message *m,
                                              rfhe_error *err);
RFHE_MUST_USE rfhe_status rfhe_client_reply(float *logits, rfhe_reply_report *report, rfhe_client *k, const void *data,
                                            size_t size, rfhe_error *err);

/* A tensor [channels][height][width] to the N coefficients of ciphertext `t` of its layout in a program of this gap, and
 * back (only what lies in that ciphertext is written). */
void rfhe_layout_scatter(double *coefficient, size_t n, const rfhe_layout *l, uint32_t log2_gap, uint32_t t, const float *tensor);
void rfhe_layout_gather(float *tensor, const rfhe_layout *l, uint32_t log2_gap, uint32_t t, const double *coefficient);

/* The coefficient of output i in the reply: they lie as far apart as they can (rfhe_ct_pack_scalars). */
static inline size_t rfhe_reply_index(const rfhe_program *p, size_t n, uint32_t i)
{
    size_t whole = 1;

    while (whole < p->outputs) { whole *= 2; }
    return i * (n / whole);
}

#endif
