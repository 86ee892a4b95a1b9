/* The encrypted program: what a network becomes, the meeting point of planner, server, twin and client.
 *
 *   graph with PAFs ──fold──> linear pieces between activations ──layout, lower──> program ──> infer/run.c   ciphertexts
 *                                                                                     └─────> infer/clear.c  numbers
 *
 * Two instructions do a network. A tensor between them is *coefficient-encoded*: each of its numbers is one coefficient
 * of a ciphertext's polynomial, at the place its layout says [KG23]; facts in docs/architecture.md.
 *
 *   LINEAR    tensors at `level_linear` -> one tensor at level 0.  Everything linear between activations, folded:
 *             convolutions, BatchNorm, pooling, residual additions, dense layers, the ranges of the activations.
 *             out[o] = sum over terms sum over input channels w * shifted source  + bias. One plaintext product per output
 *             channel and source ciphertext, a packing tree, one rescaling, one plaintext addition.
 *   ACTIVATE  tensor at level 0 -> tensor at `level_linear`.  Per ciphertext: mod raise, way to slots, reduction (for one or
 *             both halves of the coefficients), the PAF with coefficients per channel, masked way back to coefficients:
 *             places that hold no number of the tensor become zero, which is the padding of the next convolution.
 *   REPLY     a LINEAR whose outputs are single numbers, packed so that nothing else is left in the ciphertext.
 *
 * What is carried is normalised: the input of an activation is u = t / range_c, |u| <= 1 for calibrated values, and its
 * output is z with y = gain_c * z; ranges and gains are folded into the weights on either side, so the numbers in a program
 * are not those of the network. `bias` holds the rest.
 *
 * Sparse packing. A network whose numbers would leave most of the ring empty is planned for the ring of degree
 * n = N / 2^g, g = rfhe_program_log2_gap: every index of a layout or a kernel, multiplied by 2^g, is that of a coefficient
 * of the big ring, which is there for security. All that is carried are polynomials in X^(2^g), up to noise, and X^n = -1
 * there becomes X^N = -1. The refresh then has n/2 slots: less time, fewer keys, less memory.
 *
 * Public and private. Layouts, instructions, stencil shapes, forms, parameters are public (program.json, both sides).
 * Weights, biases, coefficients of PAFs, ranges and gains are the server's (weights.bin); the client's copy has none, only
 * the commitment to them. */
#ifndef RFHE_PLAN_PROGRAM_H
#define RFHE_PLAN_PROGRAM_H

#include "base/text.h"
#include "nn/graph.h"
#include "rfhe/ckks.h"
#include "rfhe/paf.h"

/* Where the numbers of a tensor lie: channel c, row y, column x is coefficient
 *   2^g * (block * (y * row + x * column) + c mod block)    of ciphertext  c / block,
 * g the program's gap. block is a power of two. In the brackets is the index; every index is below n = N / 2^g, one of
 * n/2 or more needs both halves. */
typedef struct rfhe_layout {
    uint32_t channels, height, width;
    uint32_t block;       /* channels interleaved in the low index      */
    uint32_t row, column; /* steps, in positions of `block` coefficients */
    uint32_t ciphertexts; /* ceil(channels / block)                      */
    bool both_halves;
} rfhe_layout;

static inline size_t rfhe_layout_index(const rfhe_layout *l, uint32_t c, uint32_t y, uint32_t x)
{
    return (size_t)l->block * ((size_t)y * l->row + (size_t)x * l->column) + c % l->block;
}

/* out[o][y][x] += sum_c,i,j w[o][c][i][j] * in[c][y * stride_y + offset_y + i][x * stride_x + offset_x + j]; what is
 * read outside of the source is zero. */
typedef struct rfhe_stencil {
    uint32_t out_channels, in_channels, height, width; /* of w */
    uint32_t stride_y, stride_x;
    int32_t offset_y, offset_x;
    float *w; /* owned; NULL in a client's program; zeros are skipped */
} rfhe_stencil;

typedef struct rfhe_term {
    uint32_t tensor; /* the source */
    rfhe_stencil stencil;
} rfhe_term;

typedef struct rfhe_linear {
    rfhe_term *term;
    uint32_t n_terms;
    float *bias; /* [channels][height][width] of the result, NULL: none */
} rfhe_linear;

/* The PAF of an activation: one straight-line program for all channels with numbers per channel.
 * z = value of the last register at u; step[k].c is replaced by c[k * channels + channel] for SCALE and CONST steps. */
typedef struct rfhe_activation {
    char form[32];       /* as in the catalogue; "identity" for a refresh without a PAF: n_steps is 0 then */
    uint32_t depth;      /* levels                                                                         */
    uint32_t mask_level; /* 1: numbers outside of the tensor are zeroed before the PAF too, for one more level */
    rfhe_poly_step *step;
    uint32_t n_steps;
    double *c;    /* [n_steps][channels]; NULL in a client's program */
    double *range, *gain; /* per channel, for reports and the twin's statistics; NULL in a client's program */
    /* [channels][height][width], mostly 1: what the masked way to coefficients multiplies each place by, instead of 1
     * (an average whose divisor is smaller at the border). NULL: 1 everywhere, and in a client's program. */
    float *weight;
} rfhe_activation;

typedef enum rfhe_instruction_kind { RFHE_DO_LINEAR = 0, RFHE_DO_ACTIVATE, RFHE_DO_REPLY } rfhe_instruction_kind;

typedef struct rfhe_instruction {
    rfhe_instruction_kind kind;
    char name[96];         /* of the node in the network that it ends with: what errors and bills speak of */
    uint32_t out;          /* tensor written                                                   */
    uint32_t in;           /* ACTIVATE: tensor read (LINEAR: its terms say)                    */
    uint32_t which;        /* index into linear[] or activation[]                              */
    uint32_t level_in, level_out;
    double scale_out;
    /* the bill; filled by rfhe_plan_cost */
    uint64_t products, key_switches;
    double seconds;        /* predicted */
    double bytes;          /* alive while it runs, keys excluded */
} rfhe_instruction;

typedef struct rfhe_tensor_use {
    char name[96];
    rfhe_layout layout;
    uint32_t last_use; /* instruction after which its ciphertexts can go */
} rfhe_tensor_use;

typedef struct rfhe_program {
    char model[96];
    uint8_t id[32]; /* BLAKE2b over everything public: requests, keys and replies carry it */
    /* BLAKE2b over the weights with a random key, the salt, which is the server's: makes the id that of one model without
     * telling anything about its weights. */
    uint8_t commitment[32], salt[32];
    rfhe_ckks_options ckks;
    rfhe_refresh_options refresh;
    char set[16]; /* name of the parameter set */
    uint32_t level_linear;
    rfhe_tensor_use *tensor; /* tensor 0 is the input as the client encodes it */
    uint32_t n_tensors;
    /* The image comes in phase_y * phase_x sub-images as channels: pixel (c, y, x) is channel
     * (c * phase_y + y % phase_y) * phase_x + x % phase_x, row y / phase_y, column x / phase_x of tensor 0. Other
     * tensors may be cut likewise (a tensor's channels, height and width are always those after the cut); to whoever
     * executes the program these are channels like any others. */
    uint32_t phase_y, phase_x;
    uint32_t image_channels, image_height, image_width;
    rfhe_linear *linear;
    rfhe_activation *activation;
    rfhe_instruction *instruction;
    uint32_t n_linear, n_activations, n_instructions;
    uint32_t outputs;     /* numbers in the reply */
    double reply_gain;    /* network output = reply_gain * what is decrypted */
    /* what the client needs to prepare an image and to name a result; rfhe.mean ... of the model */
    rfhe_meta *meta;
    uint32_t n_meta;
    struct rfhe_bill {
        uint32_t security_bits, refreshes;
        double log2_qp, seconds, precision_bits;
        uint64_t key_switches;
        double key_bytes, memory_bytes, request_bytes, reply_bytes, upload_bytes;
        char machine[64]; /* whose calibration */
    } bill;
} rfhe_program;

/* log2 of the gap between the coefficients in use: 0 = all of them. refresh.log2_slots says it. */
static inline uint32_t rfhe_program_log2_gap(const rfhe_program *p)
{
    return p->refresh.log2_slots != 0 ? p->ckks.log2_n - 1 - p->refresh.log2_slots : 0;
}

/* The ring that layouts speak of has this degree (log2 n). */
static inline uint32_t rfhe_program_log2_used(const rfhe_program *p)
{
    return p->ckks.log2_n - rfhe_program_log2_gap(p);
}

/* Sparser packings than this gain nothing and lose bits (docs/decisions/007). */
enum { RFHE_MIN_LOG2_SLOTS = 8 };

/* REPLY: number o of the result is coefficient o * (N / block) of its only ciphertext, block as in the tensor's layout,
 * the rest is zero (rfhe_ct_pack_scalars). */

/* All of it; NULL allowed. */
void rfhe_program_free(rfhe_program *p);

/* Checks everything that can be checked: indices, sizes, levels, that tensors are written before they are read, that
 * layouts hold together, and (where there are weights) that every linear piece reads zeros outside of its sources.
 * RFHE_E_FORMAT or RFHE_E_UNSUPPORTED with one sentence that names the object and the numbers. */
RFHE_MUST_USE rfhe_status rfhe_program_check(const rfhe_program *p, rfhe_error *err);
/* Commits to the weights under a fresh salt, if they are there, and sets the id: after everything else is as it will stay.
 * Sealed twice, the same program has two ids. RFHE_E_IO without random numbers, RFHE_E_NOMEM. */
RFHE_MUST_USE rfhe_status rfhe_program_seal(rfhe_program *p, rfhe_error *err);

/* ---- files ---- */

/* The public part as JSON text (schema rfhe.program/2). */
RFHE_MUST_USE rfhe_status rfhe_program_write_public(rfhe_text *out, const rfhe_program *p);
/* Any bytes: RFHE_E_FORMAT with one sentence unless it is a program that rfhe_program_check accepts and whose id is that
 * of its content. */
RFHE_MUST_USE rfhe_status rfhe_program_read_public(rfhe_program **out, const void *data, size_t size, rfhe_error *err);
/* The server's numbers: versioned, hashed, bound to the id, opening the commitment. *data is freed with rfhe_free. Planes of a kernel that are
 * zero or one number take a byte or five. */
RFHE_MUST_USE rfhe_status rfhe_program_write_weights(uint8_t **data, size_t *size, const rfhe_program *p, rfhe_error *err);
/* Fills the weights of a public program, once: those and only those that it commits to. On failure *p is as it was, but
 * for the salt. */
RFHE_MUST_USE rfhe_status rfhe_program_read_weights(rfhe_program *p, const void *data, size_t size, rfhe_error *err);

/* Makes FOLDER/client/program.json, FOLDER/server/program.json and FOLDER/server/weights.bin. */
RFHE_MUST_USE rfhe_status rfhe_program_save(const char *folder, const rfhe_program *p, rfhe_error *err);
/* From one side's folder (FOLDER/client, FOLDER/server) or from FOLDER itself (its server side); weights if asked for. */
RFHE_MUST_USE rfhe_status rfhe_program_load(rfhe_program **out, const char *folder, bool with_weights, rfhe_error *err);

#endif
