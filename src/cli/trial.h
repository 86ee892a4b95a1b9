/* All sides of encrypted inference in one process, over labelled images: encrypt, compute, decrypt, and compare with the
 * program on numbers. What `rfhe run` and `rfhe demo` do. */
#ifndef RFHE_CLI_TRIAL_H
#define RFHE_CLI_TRIAL_H

#include "cli/sides.h"
#include "infer/clear.h"

typedef struct trial_image {
    uint32_t label, encrypted, clear, twin; /* true, and what the three say */
    double seconds, encrypt_ms, decrypt_ms; /* of the server; of the client */
} trial_image;

/* Error of one instruction, with --debug-key: encrypted against exact numbers, in bits, -log2 of root mean square and of
 * the worst; seconds are measured always. */
typedef struct trial_instruction {
    double seconds, square, worst; /* of all images: sum of seconds, mean square, largest */
    uint64_t values;
} trial_instruction;

typedef struct trial { /* zero state, then trial_open or trial_make, then trial_run */
    rfhe_program *p;   /* owned */
    rfhe_client *client;
    rfhe_server *server;
    rfhe_eval_keys *keys; /* of trial_make; else the server's own */
    rfhe_twin *exact, *noisy;
    rfhe_ckks_info info;
    size_t key_bytes;
    double key_seconds, load_seconds; /* making keys (0: they were there), loading the server */
    trial_image *image;
    trial_instruction *instruction;
    float *logits, *clear, *simulated; /* [images][outputs] */
    size_t images;
    uint64_t right, right_clear, right_twin, agree, agree_twin;
    double max_error, square_error, range, median_seconds; /* of outputs; range: largest spread of one image's outputs */
    rfhe_twin_range *ranges; /* per activation, of the noisy twin */
} trial;

/* Both sides from a program's folder; keys are made if there are none. */
RFHE_MUST_USE rfhe_status trial_open(trial *t, const char *folder, rfhe_cli *cli, rfhe_error *err);
/* Both sides in memory; takes the program over (also on failure). */
RFHE_MUST_USE rfhe_status trial_make(trial *t, rfhe_program *p, rfhe_cli *cli, rfhe_error *err);
/* The twin alone: no keys. The first takes the program over (also on failure). */
RFHE_MUST_USE rfhe_status trial_make_twin(trial *t, rfhe_program *p, rfhe_cli *cli, rfhe_error *err);
RFHE_MUST_USE rfhe_status trial_open_twin(trial *t, const char *folder, rfhe_cli *cli, rfhe_error *err);

/* count images [count][pixels]. debug: decrypts every tensor on the way. Results stay until trial_clear. */
RFHE_MUST_USE rfhe_status trial_run(trial *t, const sides_images *images, bool debug, rfhe_cli *cli, rfhe_error *err);
/* The twin over all images: fills clear, simulated, right_clear, right_twin, ranges. */
RFHE_MUST_USE rfhe_status trial_twin(trial *t, const sides_images *images, rfhe_cli *cli, rfhe_error *err);
void trial_clear(trial *t);

/* -log2 of the largest error of an output relative to the range of outputs. */
double trial_precision(const trial *t);

#endif
