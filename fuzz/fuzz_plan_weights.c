/* Whatever bytes come in as the weights of a small program, with hash, size and identity made right: they are refused with
 * one sentence, or fill it. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "plan/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition, const char *what)
{
    if (condition) { return; }
    (void)fprintf(stderr, "fuzz_plan_weights: %s\n", what);
    abort();
}

/* An image of 4 x 4, a 3 x 3 convolution to two channels, a square, one number. */
static rfhe_program *small(void)
{
    rfhe_program *p = rfhe_calloc(1, sizeof *p);
    static const rfhe_poly_step square[] = {{.op = RFHE_POLY_INPUT}, {.op = RFHE_POLY_MUL}, {.op = RFHE_POLY_CONST, .a = 1, .b = 1}};
    const rfhe_layout image = {1, 4, 4, 1, 12, 2, 1, false}, middle = {2, 4, 4, 2, 6, 1, 1, false}, end = {1, 1, 1, 1, 1, 1, 1, false};
    const rfhe_layout layout[] = {image, middle, middle, end};

    must(p != NULL, "memory");
    p->ckks = (rfhe_ckks_options){.log2_n = 10, .insecure_test = true, .chain_length = 17};
    memset(p->ckks.chain, 40, 17);
    memset(p->ckks.chain_scale, 32, 17);
    p->refresh = (rfhe_refresh_options){.to_coeffs_factors = 2, .to_coeffs_level = 3};
    p->level_linear = p->phase_y = p->phase_x = p->image_channels = p->outputs = 1;
    p->image_height = p->image_width = 4;
    p->reply_gain = 1;
    p->n_tensors = 4;
    p->n_linear = 2;
    p->n_activations = 1;
    p->n_instructions = 3;
    p->tensor = rfhe_calloc(4, sizeof *p->tensor);
    p->linear = rfhe_calloc(2, sizeof *p->linear);
    p->activation = rfhe_calloc(1, sizeof *p->activation);
    p->instruction = rfhe_calloc(3, sizeof *p->instruction);
    p->meta = rfhe_calloc(1, sizeof *p->meta);
    must(p->tensor != NULL && p->linear != NULL && p->activation != NULL && p->instruction != NULL, "memory");
    for (uint32_t t = 0; t < 4; t++) { p->tensor[t] = (rfhe_tensor_use){.name = "t", .layout = layout[t], .last_use = 2}; }
    for (uint32_t k = 0; k < 2; k++) {
        p->linear[k].term = rfhe_calloc(1, sizeof *p->linear[k].term);
        must(p->linear[k].term != NULL, "memory");
        p->linear[k].n_terms = 1;
    }
    p->linear[0].term[0] = (rfhe_term){0, {2, 1, 3, 3, 1, 1, -1, -1, NULL}};
    p->linear[1].term[0] = (rfhe_term){2, {1, 2, 4, 4, 1, 1, 0, 0, NULL}};
    p->activation[0] = (rfhe_activation){.form = "square", .depth = 1, .n_steps = 3};
    p->activation[0].step = rfhe_alloc(3, sizeof *square);
    must(p->activation[0].step != NULL, "memory");
    memcpy(p->activation[0].step, square, sizeof square);
    p->instruction[0] = (rfhe_instruction){.kind = RFHE_DO_LINEAR, .name = "a", .out = 1, .level_in = 1};
    p->instruction[1] = (rfhe_instruction){.kind = RFHE_DO_ACTIVATE, .name = "b", .in = 1, .out = 2, .level_out = 1};
    p->instruction[2] = (rfhe_instruction){.kind = RFHE_DO_REPLY, .name = "c", .out = 3, .which = 1, .level_in = 1};
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rfhe_error err = {0};
    const size_t before = rfhe_mem_get_stats().current;
    rfhe_program *p = small();
    uint8_t *bytes = rfhe_calloc(size + 88, 1);

    must(bytes != NULL && rfhe_program_check(p, &err) == RFHE_OK, err.text);
    memcpy(bytes, "rfhewght", 8);
    rfhe_store_le32(bytes + 8, 1);
    rfhe_store_le64(bytes + 16, size + 88);
    memcpy(bytes + 24, p->id, 32);
    if (size > 0) { memcpy(bytes + 56, data, size); }
    (void)crypto_generichash(bytes + 56 + size, 32, bytes, 56 + size, NULL, 0);
    const rfhe_status st = rfhe_program_read_weights(p, bytes, size + 88, &err);
    must(st == RFHE_OK || (err.code == st && err.text[0] != '\0'), "refused without a sentence");
    must((st == RFHE_OK) == (p->linear[0].term[0].stencil.w != NULL), "half read");
    /* As it is, too: nobody has made anything right. */
    rfhe_program *q = small();
    must(rfhe_program_read_weights(q, data, size, NULL) != RFHE_OK || size >= 88, "too short");
    rfhe_program_free(q);
    rfhe_free(bytes);
    rfhe_program_free(p);
    must(rfhe_mem_get_stats().current == before, "leaks");
    return 0;
}
