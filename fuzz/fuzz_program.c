/* Programs of encrypted inference, both files. The first byte says what the rest is: program.json, edits of a genuine
 * one, edits of genuine weights, the inside of weights; hashes, size and commitment of weights are put right. Whatever the
 * bytes: a status with a sentence, nothing left behind; what is accepted is written back as it came. */
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "paf/node.h"
#include "plan/lower.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) { abort(); }
}

static rfhe_value_id numbers(rfhe_graph *g, rfhe_shape shape)
{
    rfhe_tensor *t = NULL;
    rfhe_value_id v = 0;

    must(rfhe_tensor_new(&t, RFHE_F32, &shape) == RFHE_OK);
    for (size_t i = 0; i < t->count; i++) { t->f32[i] = (float)((int)(i * 7 % 11) - 5) / 16; }
    must(rfhe_graph_add_constant(g, &v, NULL, t) == RFHE_OK);
    return v;
}

static rfhe_value_id convolution(rfhe_graph *g, rfhe_value_id x, int64_t out, int64_t in)
{
    const rfhe_attr a = {.window = {.spatial = 2, .groups = 1, .kernel = {3, 3}, .stride = {1, 1}, .dilation = {1, 1},
                                    .pad_begin = {1, 1}, .pad_end = {1, 1}}};
    const rfhe_value_id operand[] = {x, numbers(g, (rfhe_shape){.rank = 4, .dim = {out, in, 3, 3}}),
                                     numbers(g, (rfhe_shape){.rank = 1, .dim = {out}})};
    rfhe_value_id y = 0;

    must(rfhe_graph_add_node(g, &y, RFHE_OP_CONV, NULL, operand, 3, &a) == RFHE_OK);
    return y;
}

/* Two convolutions around an activation, a mean over the places: small, and with every kind of record. */
static rfhe_program *genuine(void)
{
    const rfhe_shape image = {.rank = 4, .dim = {1, 2, 6, 6}};
    const rfhe_plan_options o = {.insecure_log2_n = 11};
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    rfhe_value_id x = 0, y = 0;
    rfhe_paf f;
    const double scale = 4;

    must(rfhe_graph_new(&g, "fuzz") == RFHE_OK && rfhe_graph_add_value(g, &x, "x", RFHE_F32, &image) == RFHE_OK &&
         rfhe_graph_add_input(g, x) == RFHE_OK && rfhe_graph_set_meta(g, "rfhe.mean", "0.5") == RFHE_OK);
    x = convolution(g, x, 3, 2);
    must(rfhe_graph_add_node(g, &y, RFHE_OP_RELU, "act", &x, 1, NULL) == RFHE_OK);
    must(rfhe_paf_from_name(&f, "even4", NULL) == RFHE_OK &&
         rfhe_paf_node_set(g, g->n_nodes - 1, "even4", &f, &scale, 1, NULL) == RFHE_OK);
    x = convolution(g, y, 2, 3);
    must(rfhe_graph_add_node(g, &y, RFHE_OP_GLOBALAVGPOOL, NULL, &x, 1, NULL) == RFHE_OK);
    must(rfhe_graph_add_output(g, y) == RFHE_OK && rfhe_graph_infer(g, 1, NULL) == RFHE_OK);
    must(rfhe_plan(&p, g, &o, NULL) == RFHE_OK);
    rfhe_graph_free(g);
    return p;
}

static const rfhe_program *the_program(rfhe_text *text, uint8_t **weights, size_t *size)
{
    static rfhe_program *p;
    static rfhe_text t;
    static uint8_t *w;
    static size_t n;

    if (p == NULL) {
        p = genuine();
        must(rfhe_program_write_public(&t, p) == RFHE_OK && rfhe_program_write_weights(&w, &n, p, NULL) == RFHE_OK);
    }
    *text = t;
    *weights = w;
    *size = n;
    return p;
}

static void try_public(const char *data, size_t size)
{
    rfhe_program *p = NULL;
    rfhe_error err = {0};
    const rfhe_status st = rfhe_program_read_public(&p, data, size, &err);

    must((st == RFHE_OK) == (p != NULL) && (st == RFHE_OK || (err.code == st && err.text[0] != '\0')));
    if (st == RFHE_OK) {
        rfhe_text t = {0}, again = {0};
        rfhe_program *q = NULL;
        must(rfhe_program_write_public(&t, p) == RFHE_OK && rfhe_program_read_public(&q, t.data, t.size, NULL) == RFHE_OK &&
             rfhe_program_write_public(&again, q) == RFHE_OK && strcmp(t.data, again.data) == 0);
        rfhe_text_clear(&t);
        rfhe_text_clear(&again);
        rfhe_program_free(q);
    }
    rfhe_program_free(p);
}

enum { HEADER = 88, HASH = 32, SALT_AT = 56 }; /* program.c */

/* Weights of at least HEADER + HASH bytes, as somebody would send them who made the program, too. */
static void try_weights(const rfhe_text *text, uint8_t *data, size_t size)
{
    rfhe_program *p = NULL;
    rfhe_error err = {0};
    uint8_t *back = NULL;
    size_t n = 0;

    must(rfhe_program_read_public(&p, text->data, text->size, NULL) == RFHE_OK);
    (void)crypto_generichash(p->commitment, HASH, data + HEADER, size - HEADER - HASH, data + SALT_AT, HASH);
    (void)crypto_generichash(data + size - HASH, HASH, data, size - HASH, NULL, 0);
    const rfhe_status st = rfhe_program_read_weights(p, data, size, &err);
    must(st == RFHE_OK || (err.code == st && err.text[0] != '\0'));
    must((st == RFHE_OK) == (p->linear[0].term[0].stencil.w != NULL));
    if (st == RFHE_OK) { must(rfhe_program_write_weights(&back, &n, p, NULL) == RFHE_OK); }
    rfhe_free(back);
    rfhe_program_free(p);
}

/* Edits (position, byte) applied to a copy of `from`; NULL without memory. */
static uint8_t *edited(const void *from, size_t n, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(n);

    if (copy == NULL) { return NULL; }
    memcpy(copy, from, n);
    for (size_t i = 0; i + 4 <= size; i += 4) { copy[rfhe_load_le16(data + i) % n] = data[i + 2]; }
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rfhe_text text;
    uint8_t *weights = NULL, *copy = NULL;
    size_t n = 0;

    if (sodium_init() < 0 || size < 2) { return 0; }
    (void)the_program(&text, &weights, &n);
    const size_t before = rfhe_mem_get_stats().current;
    const uint8_t what = data[0] % 4;
    data++;
    size--;
    switch (what) {
    case 0: try_public((const char *)data, size); break;
    case 1:
        copy = edited(text.data, text.size, data, size);
        if (copy != NULL) { try_public((const char *)copy, text.size); }
        break;
    case 2:
        copy = edited(weights, n, data, size);
        if (copy != NULL) { try_weights(&text, copy, n); }
        break;
    default:
        copy = malloc(HEADER + size + HASH);
        if (copy == NULL) { break; }
        memcpy(copy, weights, HEADER);
        memcpy(copy + HEADER, data, size);
        rfhe_store_le64(copy + 16, HEADER + size + HASH);
        try_weights(&text, copy, HEADER + size + HASH);
        break;
    }
    free(copy);
    must(rfhe_mem_get_stats().current == before);
    return 0;
}
