/* Files of programs: what is written is read back; whatever else comes is refused with a sentence. */
#include "test.h"

#include "plan_networks.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "plan/cost.h"
#include "plan/lower.h"

static rfhe_program *some_program(uint64_t seed)
{
    const rfhe_plan_options opt = {.insecure_log2_n = 11, .no_bill = true};

    for (; ; seed++) {
        rfhe_program *p = NULL;
        rfhe_error err = {0};
        rfhe_graph *g = random_network(seed);
        const rfhe_status st = rfhe_plan(&p, g, &opt, &err);
        rfhe_graph_free(g);
        if (st == RFHE_OK && p->n_activations > 0) { return p; }
        rfhe_program_free(p);
    }
}

static void same_numbers(const void *a, const void *b, size_t n)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a != NULL) { assert_memory_equal(a, b, n); }
}

/* Everything that is written. */
static void compare(const rfhe_program *a, const rfhe_program *b)
{
    rfhe_text x = {0}, y = {0};

    assert_int_equal(rfhe_program_write_public(&x, a), RFHE_OK);
    assert_int_equal(rfhe_program_write_public(&y, b), RFHE_OK);
    assert_string_equal(x.data, y.data);
    assert_memory_equal(a->id, b->id, sizeof a->id);
    for (uint32_t i = 0; i < a->n_instructions; i++) {
        const rfhe_instruction *n = &a->instruction[i];
        const rfhe_layout *l = &a->tensor[n->out].layout;
        const size_t numbers = (size_t)l->channels * l->height * l->width;
        if (n->kind == RFHE_DO_ACTIVATE) {
            const rfhe_activation *p = &a->activation[n->which], *q = &b->activation[n->which];
            if (p->n_steps > 0) { same_numbers(p->c, q->c, p->n_steps * l->channels * sizeof(double)); }
            same_numbers(p->range, q->range, l->channels * sizeof(double));
            same_numbers(p->gain, q->gain, l->channels * sizeof(double));
            same_numbers(p->weight, q->weight, numbers * sizeof(float));
            continue;
        }
        const rfhe_linear *p = &a->linear[n->which], *q = &b->linear[n->which];
        same_numbers(p->bias, q->bias, numbers * sizeof(float));
        for (uint32_t t = 0; t < p->n_terms; t++) {
            const rfhe_stencil *s = &p->term[t].stencil;
            same_numbers(s->w, q->term[t].stencil.w, (size_t)s->out_channels * s->in_channels * s->height * s->width * sizeof(float));
        }
    }
    rfhe_text_clear(&x);
    rfhe_text_clear(&y);
}

static void programs_are_read_as_written(void **state)
{
    const uint64_t seed = test_seed();

    (void)state;
    for (size_t i = 0; i < test_rounds(20); i++) {
        rfhe_program *p = some_program(seed + 1000 * i), *q = NULL;
        rfhe_text t = {0};
        rfhe_error err = {0};
        uint8_t *weights = NULL;
        size_t size = 0;
        assert_int_equal(rfhe_program_write_public(&t, p), RFHE_OK);
        if (rfhe_program_read_public(&q, t.data, t.size, &err) != RFHE_OK) { fail_msg("%s", err.text); }
        assert_null(q->activation[0].c);
        assert_int_equal(rfhe_program_write_weights(&weights, &size, q, &err), RFHE_E_ARG);
        assert_int_equal(rfhe_program_write_weights(&weights, &size, p, NULL), RFHE_OK);
        err = (rfhe_error){0};
        if (rfhe_program_read_weights(q, weights, size, &err) != RFHE_OK) { fail_msg("%s", err.text); }
        compare(p, q);
        assert_int_equal(rfhe_program_read_weights(q, weights, size, &err), RFHE_E_ARG);
        rfhe_free(weights);
        rfhe_text_clear(&t);
        rfhe_program_free(p);
        rfhe_program_free(q);
    }
}

static void folders_have_two_sides(void **state)
{
    rfhe_program *p = some_program(test_seed()), *q = NULL;
    rfhe_error err = {0};
    char folder[512], path[600];

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/program", test_folder());
    if (rfhe_program_save(folder, p, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    (void)snprintf(path, sizeof path, "%s/client/weights.bin", folder);
    assert_false(rfhe_file_exists(path));
    (void)snprintf(path, sizeof path, "%s/server", folder);
    assert_int_equal(rfhe_program_load(&q, path, true, &err), RFHE_OK);
    compare(p, q);
    rfhe_program_free(q);
    assert_int_equal(rfhe_program_load(&q, folder, true, &err), RFHE_OK);
    rfhe_program_free(q);
    q = NULL;
    (void)snprintf(path, sizeof path, "%s/client", folder);
    assert_int_equal(rfhe_program_load(&q, path, false, &err), RFHE_OK);
    rfhe_program_free(q);
    q = NULL;
    assert_int_not_equal(rfhe_program_load(&q, path, true, &err), RFHE_OK);
    assert_null(q);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_program_load(&q, test_folder(), false, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "no program"));
    rfhe_program_free(p);
}

static void must_refuse(const rfhe_error *err, rfhe_status st, const rfhe_program *q)
{
    assert_true(st == RFHE_E_FORMAT || st == RFHE_E_UNSUPPORTED);
    assert_int_equal(err->code, st);
    assert_true(err->text[0] != '\0' && strchr(err->text, '\n') == NULL);
    assert_null(q);
}

static void damaged_public_parts_are_refused(void **state)
{
    rfhe_program *p = some_program(test_seed() + 7);
    rfhe_text t = {0};
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 3);
    size_t same = 0;

    (void)state;
    assert_int_equal(rfhe_program_write_public(&t, p), RFHE_OK);
    for (size_t i = 0; i < test_rounds(600); i++) {
        rfhe_program *q = NULL;
        rfhe_error err = {0};
        char *bytes = rfhe_alloc(t.size, 1);
        size_t size = t.size;
        memcpy(bytes, t.data, t.size);
        if (i % 3 == 0) {
            size = rfhe_rng_below(&rng, t.size - 1); /* the last byte is a line feed */
        } else if (i % 3 == 1) {
            bytes[rfhe_rng_below(&rng, size)] ^= (char)(1 << rfhe_rng_below(&rng, 8));
        } else { /* another digit: sound JSON, another program */
            size_t at = rfhe_rng_below(&rng, size);
            while (bytes[at] < '0' || bytes[at] > '9') { at = (at + 1) % size; }
            bytes[at] = (char)('0' + (bytes[at] - '0' + 1 + (int)rfhe_rng_below(&rng, 8)) % 10);
        }
        const rfhe_status st = rfhe_program_read_public(&q, bytes, size, &err);
        if (st == RFHE_OK) { /* white space, or digits beyond what a double holds: the same program */
            compare(p, q);
            same++;
            rfhe_program_free(q);
        } else {
            must_refuse(&err, st, q);
        }
        rfhe_free(bytes);
    }
    assert_true(same * 4 < test_rounds(600));
    char *const schema = strstr(t.data, "rfhe.program/2");
    assert_non_null(schema);
    schema[strlen("rfhe.program/")] = '1';
    rfhe_program *none = NULL;
    rfhe_error err = {0};
    assert_int_equal(rfhe_program_read_public(&none, t.data, t.size, &err), RFHE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "earlier version"));
    assert_null(none);
    rfhe_text_clear(&t);
    rfhe_program_free(p);
}

/* With the id that belongs to it: only the checks are left. */
static void impossible_programs_are_refused(void **state)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 4);
    size_t refused = 0;
    const size_t rounds = test_rounds(320);
    rfhe_text base = {0};

    (void)state;
    for (size_t i = 0; i < rounds; i++) {
        rfhe_program *p = NULL, *q = NULL;
        rfhe_error err = {0};
        rfhe_text t = {0};
        if (i % 64 == 0) {
            p = some_program(test_seed() + i);
            rfhe_text_clear(&base);
            assert_int_equal(rfhe_program_write_public(&base, p), RFHE_OK);
            rfhe_program_free(p);
        }
        assert_int_equal(rfhe_program_read_public(&p, base.data, base.size, &err), RFHE_OK);
        const uint32_t value = (uint32_t)(rfhe_rng_u64(&rng) >> (32 + rfhe_rng_below(&rng, 32)));
        rfhe_layout *l = &p->tensor[rfhe_rng_below(&rng, p->n_tensors)].layout;
        rfhe_instruction *n = &p->instruction[rfhe_rng_below(&rng, p->n_instructions)];
        rfhe_stencil *s = &p->linear[0].term[0].stencil;
        switch (i % 16) {
        case 0: l->channels = value; break;
        case 1: l->height = value; break;
        case 2: l->width = value; break;
        case 3: l->block = value; break;
        case 4: l->row = value; break;
        case 5: l->ciphertexts = value; break;
        case 6: n->out = value; break;
        case 7: n->which = value; break;
        case 8: n->level_in = value; break;
        case 9: s->out_channels = value; break;
        case 10: s->height = value; break;
        case 11: s->stride_x = value; break;
        case 12: p->linear[0].term[0].tensor = value; break;
        case 13: p->activation[0].depth = value; break;
        case 14: p->refresh.to_coeffs_level = value; break;
        default: p->ckks.chain_length = value % (RFHE_CKKS_MAX_LEVELS + 1); break;
        }
        assert_int_equal(rfhe_program_seal(p, NULL), RFHE_OK);
        assert_int_equal(rfhe_program_write_public(&t, p), RFHE_OK);
        const rfhe_status st = rfhe_program_read_public(&q, t.data, t.size, &err);
        if (st != RFHE_OK) {
            must_refuse(&err, st, q);
            refused++;
        }
        rfhe_program_free(q);
        rfhe_text_clear(&t);
        rfhe_program_free(p);
    }
    rfhe_text_clear(&base);
    assert_true(refused * 10 > rounds * 6);
}

static void damaged_weights_are_refused(void **state)
{
    rfhe_program *p = some_program(test_seed() + 7), *q = NULL, *other = some_program(test_seed() + 5000);
    rfhe_text t = {0};
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 5);
    uint8_t *weights = NULL;
    size_t size = 0;
    rfhe_error err = {0};

    (void)state;
    assert_int_equal(rfhe_program_write_public(&t, p), RFHE_OK);
    assert_int_equal(rfhe_program_read_public(&q, t.data, t.size, NULL), RFHE_OK);
    assert_int_equal(rfhe_program_write_weights(&weights, &size, p, NULL), RFHE_OK);
    for (size_t i = 0; i < test_rounds(400); i++) {
        uint8_t *bytes = rfhe_alloc(size + 8, 1);
        size_t length = size;
        memcpy(bytes, weights, size);
        memset(bytes + size, 0, 8);
        if (i % 4 == 0) {
            length = rfhe_rng_below(&rng, size);
        } else if (i % 4 == 1) {
            length = size + 1 + rfhe_rng_below(&rng, 8);
        } else {
            bytes[rfhe_rng_below(&rng, size)] ^= (uint8_t)(1 << rfhe_rng_below(&rng, 8));
        }
        err = (rfhe_error){0};
        const rfhe_status st = rfhe_program_read_weights(q, bytes, length, &err);
        must_refuse(&err, st, NULL);
        assert_null(q->linear[0].term[0].stencil.w);
        rfhe_free(bytes);
    }
    rfhe_free(weights);
    assert_int_equal(rfhe_program_write_weights(&weights, &size, other, NULL), RFHE_OK);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_program_read_weights(q, weights, size, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "another program"));
    rfhe_free(weights);
    rfhe_text_clear(&t);
    rfhe_program_free(p);
    rfhe_program_free(q);
    rfhe_program_free(other);
}

/* Puts the id and the hash of a weights file right, as a forger would. */
static void adopt(uint8_t *weights, size_t size, const rfhe_program *p)
{
    memcpy(weights + 24, p->id, sizeof p->id);
    (void)crypto_generichash(weights + size - 32, 32, weights, size - 32, NULL, 0);
}

/* One architecture with other weights is another program; the same network planned again is one, too, so that nobody can
 * tell whether two programs have the same weights. Nothing else of the public part tells them apart. */
static void every_model_has_an_id_of_its_own(void **state)
{
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL, *again = NULL, *q = NULL;
    const rfhe_plan_options opt = {.insecure_log2_n = 11, .no_bill = true};
    rfhe_text t = {0}, u = {0};
    uint8_t *weights = NULL;
    size_t size = 0;
    rfhe_error err = {0};

    (void)state;
    for (uint64_t seed = test_seed(); p == NULL || p->n_activations == 0; seed++) {
        rfhe_program_free(p);
        rfhe_graph_free(g);
        p = NULL;
        g = random_network(seed);
        if (rfhe_plan(&p, g, &opt, &err) != RFHE_OK) { p = NULL; }
    }
    assert_int_equal(rfhe_plan(&again, g, &opt, &err), RFHE_OK);
    assert_memory_not_equal(p->id, again->id, sizeof p->id);
    assert_memory_not_equal(p->commitment, again->commitment, sizeof p->commitment);
    assert_memory_not_equal(p->salt, again->salt, sizeof p->salt);
    float *const w = &again->linear[0].term[0].stencil.w[0];
    *w = *w != 0 ? 2 * *w : 1;
    assert_int_equal(rfhe_program_seal(again, &err), RFHE_OK);
    assert_int_equal(rfhe_program_write_public(&t, p), RFHE_OK);
    assert_int_equal(rfhe_program_read_public(&q, t.data, t.size, &err), RFHE_OK);
    assert_int_equal(rfhe_program_write_weights(&weights, &size, again, &err), RFHE_OK);
    assert_int_equal(rfhe_program_read_weights(q, weights, size, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "another program"));
    adopt(weights, size, p);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_program_read_weights(q, weights, size, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "not those"));
    assert_null(q->linear[0].term[0].stencil.w);
    /* A public part of its own for the other weights; with both hashes equal nothing is left that differs. */
    memcpy(again->commitment, p->commitment, sizeof p->commitment);
    memcpy(again->id, p->id, sizeof p->id);
    assert_int_equal(rfhe_program_write_public(&u, again), RFHE_OK);
    assert_string_equal(t.data, u.data);
    rfhe_free(weights);
    rfhe_text_clear(&t);
    rfhe_text_clear(&u);
    rfhe_program_free(p);
    rfhe_program_free(q);
    rfhe_program_free(again);
    rfhe_graph_free(g);
}

static void networks_that_cannot_be_planned_are_named(void **state)
{
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    rfhe_error err = {0};
    const rfhe_shape image = {.rank = 4, .dim = {1, 1, 4, 4}};
    rfhe_value_id x = 0, y = 0, z = 0;

    (void)state;
    assert_int_equal(rfhe_graph_new(&g, "relu"), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, &x, "image", RFHE_F32, &image), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, x), RFHE_OK);
    assert_int_equal(rfhe_graph_add_node(g, &y, RFHE_OP_RELU, "the_relu", &x, 1, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, y), RFHE_OK);
    assert_int_equal(rfhe_plan(&p, g, NULL, &err), RFHE_E_UNSUPPORTED);
    assert_null(p);
    assert_non_null(strstr(err.text, "the_relu"));
    assert_non_null(strstr(err.text, "rfhe replace"));
    rfhe_graph_free(g);
    assert_int_equal(rfhe_graph_new(&g, "product"), RFHE_OK);
    assert_int_equal(rfhe_graph_add_value(g, &x, "image", RFHE_F32, &image), RFHE_OK);
    assert_int_equal(rfhe_graph_add_input(g, x), RFHE_OK);
    assert_int_equal(rfhe_graph_add_node(g, &z, RFHE_OP_MUL, "square", (rfhe_value_id[]){x, x}, 2, NULL), RFHE_OK);
    assert_int_equal(rfhe_graph_add_output(g, z), RFHE_OK);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_plan(&p, g, NULL, &err), RFHE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "'square' (Mul)"));
    rfhe_graph_free(g);
}

static void calibrations_are_read_as_written(void **state)
{
    rfhe_program *p = some_program(test_seed());
    rfhe_machine m, n;
    rfhe_text t = {0};
    rfhe_error err = {0};

    (void)state;
    memset(&n, 0, sizeof n);
    rfhe_machine_built_in(&m, p, 2);
    assert_int_equal(rfhe_machine_write(&t, &m), RFHE_OK);
    assert_int_equal(rfhe_machine_read(&n, t.data, t.size, &err), RFHE_OK);
    assert_string_equal(m.set, n.set);
    assert_true(m.mod_raise == n.mod_raise && m.finish == n.finish && m.to_slots == n.to_slots && m.merge == n.merge);
    assert_int_equal(rfhe_machine_read(&n, t.data, t.size / 2, &err), RFHE_E_FORMAT);
    m.reduce = 0;
    rfhe_text_clear(&t);
    assert_int_equal(rfhe_machine_write(&t, &m), RFHE_OK);
    err = (rfhe_error){0};
    assert_int_equal(rfhe_machine_read(&n, t.data, t.size, &err), RFHE_E_FORMAT);
    assert_non_null(strstr(err.text, "reduce"));
    rfhe_text_clear(&t);
    rfhe_program_free(p);
}

/* Slots that make no sense, or a ring in use that is smaller than the layouts. */
static void impossible_gaps_are_refused(void **state)
{
    static const uint32_t wrong[] = {1, 7, 11, 12, 31, 32, 1U << 31, UINT32_MAX};
    rfhe_program *p = NULL;
    rfhe_error err = {0};

    (void)state;
    for (uint64_t seed = test_seed(); p == NULL || rfhe_program_log2_gap(p) > 0; seed++) {
        rfhe_program_free(p);
        p = some_program(seed);
    }
    p->refresh.log2_slots = 10; /* all of them, said explicitly */
    assert_int_equal(rfhe_program_check(p, &err), RFHE_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (rfhe_error){0};
        p->refresh.log2_slots = wrong[i];
        assert_int_equal(rfhe_program_check(p, &err), RFHE_E_FORMAT);
        assert_non_null(strstr(err.text, "slots"));
    }
    p->refresh.log2_slots = 8;
    err = (rfhe_error){0};
    assert_int_not_equal(rfhe_program_check(p, &err), RFHE_OK);
    rfhe_program_free(p);
}

static void packing_trees_are_counted(void **state)
{
    (void)state;
    assert_int_equal(rfhe_pack_merges(1, 1), 0);
    assert_int_equal(rfhe_pack_merges(16, 16), 15);
    assert_int_equal(rfhe_pack_merges(10, 16), 15); /* as rfhe_ct_pack says */
    assert_int_equal(rfhe_pack_merges(3, 16), 3 + 3 + 2 + 1);
    assert_int_equal(rfhe_pack_merges(1, 64), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_are_read_as_written),
        cmocka_unit_test(folders_have_two_sides),
        cmocka_unit_test(damaged_public_parts_are_refused),
        cmocka_unit_test(impossible_programs_are_refused),
        cmocka_unit_test(damaged_weights_are_refused),
        cmocka_unit_test(every_model_has_an_id_of_its_own),
        cmocka_unit_test(networks_that_cannot_be_planned_are_named),
        cmocka_unit_test(calibrations_are_read_as_written),
        cmocka_unit_test(impossible_gaps_are_refused),
        cmocka_unit_test(packing_trees_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, test_nothing_is_left);
}
