/* The server: executes an encrypted program on ciphertexts. Made once from program, weights and evaluation keys; what
 * does not depend on a request (encoded biases, masked ways to coefficients, polynomials bound to their channels) is
 * prepared then and never changed, so requests do not influence one another: the same request gives the same bits
 * whenever it comes. Nothing here can decrypt.
 *
 * Memory: keys and the refresh's maps, the masked maps (one per layout in use), and while a request runs the ciphertexts
 * that are still needed. A tensor of many ciphertexts goes through its activation one ciphertext at a time. */
#ifndef RFHE_INFER_RUN_H
#define RFHE_INFER_RUN_H

#include "infer/message.h"

typedef struct rfhe_server rfhe_server;

typedef struct rfhe_server_options { /* zero state: choose for me */
    size_t bound_bytes; /* polynomials bound to their channels are kept up to so many bytes, the others are bound anew at
                         * every use, which costs a few percent; 0 = 256 MiB */
    size_t mask_bytes;  /* the same for masked ways to coefficients; 0 = 1 GiB */
} rfhe_server_options;

/* Called by rfhe_server_run; any may be NULL. For one thread. */
typedef struct rfhe_server_hooks {
    /* After every instruction. */
    void (*timing)(void *user, uint32_t instruction, double seconds);
    /* For every ciphertext that an instruction made, in order. With the secret key it can be decrypted and compared:
     * a means of debugging that no server has. What it returns other than RFHE_OK ends the run. */
    rfhe_status (*tensor)(void *user, uint32_t instruction, uint32_t ciphertext, const rfhe_ct *ct, rfhe_error *err);
    void *user;
} rfhe_server_hooks;

/* Borrows the program (with weights) and the keys; both must outlive the server. RFHE_E_ARG: a client's program, or one
 * whose parts contradict each other (the sentence names the instruction); RFHE_E_NOMEM. `opt`, `progress` may be NULL. */
RFHE_MUST_USE rfhe_status rfhe_server_new(rfhe_server **out, const rfhe_program *p, const rfhe_ckks *c,
                                          const rfhe_eval_keys *keys, const rfhe_server_options *opt,
                                          const rfhe_progress *progress, rfhe_error *err);
/* The same with the keys that rfhe_client_keygen left in `folder`; requests must have been made with this set. */
RFHE_MUST_USE rfhe_status rfhe_server_open(rfhe_server **out, const rfhe_program *p, const char *folder,
                                           const rfhe_server_options *opt, const rfhe_progress *progress,
                                           rfhe_error *err);
void rfhe_server_free(rfhe_server *s);
const rfhe_ckks *rfhe_server_parameters(const rfhe_server *s);
const rfhe_eval_keys *rfhe_server_keys(const rfhe_server *s);
/* Bytes of everything prepared, keys left out. */
size_t rfhe_server_bytes(const rfhe_server *s);

/* One request to its reply. The ciphertexts of the request stay as they are. RFHE_E_INTERRUPTED when `progress` says so. */
RFHE_MUST_USE rfhe_status rfhe_server_run(rfhe_message *reply, rfhe_server *s, const rfhe_message *request,
                                          const rfhe_server_hooks *hooks, const rfhe_progress *progress, rfhe_error *err);
/* The same on bytes: refuses what rfhe_message_read refuses. The caller frees *reply with rfhe_bytes_free. */
RFHE_MUST_USE rfhe_status rfhe_server_answer(uint8_t **reply, size_t *reply_size, rfhe_server *s, const void *request,
                                             size_t size, const rfhe_server_hooks *hooks,
                                             const rfhe_progress *progress, rfhe_error *err);

#endif
