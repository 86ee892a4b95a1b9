/* Programs made by hand, executed on ciphertexts, by the twin and by plain loops: the three agree; requests do not
 * influence one another. */
#include "infer_world.h"

#include "plan/lower.h"
#include "plan_networks.h"

typedef struct watch {
    sides *s;
    float **exact; /* of the twin */
    double worst_bits[32];
    double seconds[32];
    uint32_t calls;
} watch;

static rfhe_status look(void *user, uint32_t i, uint32_t t, const rfhe_ct *ct, rfhe_error *err)
{
    watch *w = user;
    const uint32_t tensor = w->s->p->instruction[i].out;
    const rfhe_layout *l = &w->s->p->tensor[tensor].layout;
    double *x = calloc(WORLD_N, sizeof *x), worst = 0;
    rfhe_pt *pt = NULL;
    rfhe_status st = rfhe_decrypt(&pt, ct, rfhe_client_secret(w->s->client), err);

    if (st == RFHE_OK) { st = rfhe_decode_coeffs(x, WORLD_N, pt, err); }
    if (st == RFHE_OK && w->s->p->instruction[i].kind != RFHE_DO_REPLY) {
        float *got = calloc(rfhe_layout_numbers(l), sizeof *got);
        rfhe_layout_gather(got, l, rfhe_program_log2_gap(w->s->p), t, x);
        const size_t one = (size_t)l->height * l->width, from = t * l->block * one;
        for (size_t k = from; k < from + one * l->block && k < rfhe_layout_numbers(l); k++) {
            worst = fmax(worst, fabs((double)got[k] - (double)w->exact[tensor][k]));
        }
        free(got);
        if (w->s->p->instruction[i].kind == RFHE_DO_ACTIVATE) { /* nothing between the numbers */
            float *zero = calloc(rfhe_layout_numbers(l), sizeof *zero);
            double *mark = calloc(WORLD_N, sizeof *mark);
            for (size_t k = 0; k < rfhe_layout_numbers(l); k++) { zero[k] = 1; }
            rfhe_layout_scatter(mark, WORLD_N, l, rfhe_program_log2_gap(w->s->p), t, zero);
            for (size_t k = 0; k < WORLD_N; k++) { worst = mark[k] == 0 ? fmax(worst, fabs(x[k])) : worst; }
            free(zero);
            free(mark);
        }
        w->worst_bits[i] = fmin(w->worst_bits[i], -log2(worst + 1e-30));
    }
    w->calls++;
    rfhe_pt_free(pt);
    free(x);
    return st;
}

static void note_time(void *user, uint32_t i, double seconds)
{
    ((watch *)user)->seconds[i] = seconds;
}

static void check_program(rfhe_program *p, const char *name)
{
    sides s = sides_new(p);
    watch w = {.s = &s};
    rfhe_twin *twin = NULL, *noisy = NULL;
    const rfhe_twin_options exact = {.is_exact = true};
    double want[16], largest = 0, worst = 0, off = 0, simulated = 0;
    float *tensor[32], got[16], from_twin[16], from_noisy[16];
    rfhe_message request = {0}, reply = {0};
    const rfhe_server_hooks hooks = {.timing = note_time, .tensor = look, .user = &w};

    for (size_t i = 0; i < 32; i++) { w.worst_bits[i] = 100; }
    reference_run(p, s.image, want, &largest);
    assert_true(largest < 1.5);
    MUST(rfhe_twin_new(&twin, p, &exact, err));
    MUST(rfhe_twin_new(&noisy, p, NULL, err));
    MUST(rfhe_twin_trace(twin, tensor, s.image, 0, err));
    MUST(rfhe_twin_run(twin, from_twin, s.image, 1, 0, NULL, err));
    MUST(rfhe_twin_run(noisy, from_noisy, s.image, 1, 0, NULL, err));
    w.exact = tensor;
    MUST(rfhe_client_encrypt(&request, s.client, s.image, err));
    MUST(rfhe_server_run(&reply, s.server, &request, &hooks, NULL, err));
    MUST(rfhe_client_decrypt(got, NULL, s.client, &reply, err));
    for (uint32_t k = 0; k < p->outputs; k++) {
        off = fmax(off, fabs(want[k] - (double)from_twin[k]));
        worst = fmax(worst, fabs(want[k] - (double)got[k]));
        simulated = fmax(simulated, fabs(want[k] - (double)from_noisy[k]));
    }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        print_message("%s %s: %.1f bits at worst, %.0f ms\n", name, p->instruction[i].name, w.worst_bits[i], 1e3 * w.seconds[i]);
        if (w.worst_bits[i] < 11) { fail_msg("%s: instruction %u is off by 2^-%.1f", name, i, w.worst_bits[i]); }
    }
    print_message("%s: largest |u| %.2f; against plain loops twin %.1e, noisy twin %.1e, encrypted %.1e\n", name, largest, off,
                  simulated, worst);
    assert_true(off < 1e-5);
    assert_true(worst < 5e-3);
    assert_true(simulated < 5e-3 && simulated > 1e-7);
    for (uint32_t i = 0; i < p->n_tensors; i++) { rfhe_free(tensor[i]); }
    rfhe_message_clear(&request);
    rfhe_message_clear(&reply);
    rfhe_twin_free(twin);
    rfhe_twin_free(noisy);
    sides_free(&s);
}

static void several_ciphertexts_strides_and_residuals(void **state)
{
    (void)state;
    check_program(program_of_blocks(1), "blocks");
}

static void both_halves_masks_and_phases(void **state)
{
    (void)state;
    check_program(program_of_halves(1), "halves");
}

static void gaps_between_the_coefficients(void **state)
{
    (void)state;
    check_program(program_of_gaps(1), "gaps");
}

/* From a network through the planner, which leaves gaps: ciphertexts, twin and network agree. */
static void a_planned_network_with_gaps(void **state)
{
    const rfhe_plan_options opt = {.insecure_log2_n = WORLD_LOG2_N, .no_bill = true};
    const rfhe_twin_options exact = {.is_exact = true};
    uint32_t found = 0;

    (void)state;
    for (uint64_t seed = 1; found < 3; seed++) {
        rfhe_graph *g = random_network(seed);
        rfhe_program *p = NULL;
        if (rfhe_plan(&p, g, &opt, NULL) != RFHE_OK || rfhe_program_log2_gap(p) == 0 || p->n_activations == 0) {
            rfhe_program_free(p);
            rfhe_graph_free(g);
            continue;
        }
        sides s = sides_new(p);
        rfhe_twin *twin = NULL;
        rfhe_message request = {0}, reply = {0};
        double *want = test_calloc(p->outputs, sizeof *want), most = 1, off = 0, worst = 0;
        float *got = test_calloc(p->outputs, sizeof *got), *clear = test_calloc(p->outputs, sizeof *clear);
        run_network(want, p->outputs, g, s.image);
        MUST(rfhe_twin_new(&twin, p, &exact, err));
        MUST(rfhe_twin_run(twin, clear, s.image, 1, 0, NULL, err));
        MUST(rfhe_client_encrypt(&request, s.client, s.image, err));
        MUST(rfhe_server_run(&reply, s.server, &request, NULL, NULL, err));
        MUST(rfhe_client_decrypt(got, NULL, s.client, &reply, err));
        for (uint32_t k = 0; k < p->outputs; k++) {
            most = fmax(most, fabs(want[k]));
            off = fmax(off, fabs(want[k] - (double)clear[k]));
            worst = fmax(worst, fabs(got[k] - (double)clear[k]));
        }
        print_message("network %" PRIu64 ", gap 2^%u, %u activations: twin off by %.1e, encrypted from it by %.1e, outputs up to %.1f\n",
                      seed, rfhe_program_log2_gap(p), p->n_activations, off, worst, most);
        assert_true(off < 3e-4 * most && worst < 5e-3 * most);
        found++;
        rfhe_message_clear(&request);
        rfhe_message_clear(&reply);
        rfhe_twin_free(twin);
        test_free(want), test_free(got), test_free(clear);
        rfhe_graph_free(g);
        sides_free(&s);
    }
}

static void answer(sides *s, uint8_t **reply, size_t *n, const uint8_t *request, size_t size)
{
    MUST(rfhe_server_answer(reply, n, s->server, request, size, NULL, NULL, err));
}

/* Two requests one after the other give what two fresh servers give, bit for bit. */
static void requests_do_not_influence_one_another(void **state)
{
    sides s = sides_new(program_of_halves(2));
    uint8_t *request[2], *reply[2][2];
    size_t size[2], n[2][2];

    (void)state;
    for (uint64_t i = 0; i < 2; i++) {
        sides_image(&s, i);
        MUST(rfhe_client_request(&request[i], &size[i], s.client, s.image, NULL, err));
        answer(&s, &reply[0][i], &n[0][i], request[i], size[i]);
    }
    for (int i = 1; i >= 0; i--) { /* the other way round, each by a new server; one keeps nothing prepared */
        const rfhe_server_options lean = {.bound_bytes = 1, .mask_bytes = 1};
        rfhe_server_free(s.server);
        s.server = NULL;
        MUST(rfhe_server_new(&s.server, s.p, s.c, s.keys, i == 1 ? &lean : NULL, NULL, err));
        answer(&s, &reply[1][i], &n[1][i], request[i], size[i]);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(n[0][i], n[1][i]);
        assert_memory_equal(reply[0][i], reply[1][i], n[0][i]);
        for (int k = 0; k < 2; k++) { rfhe_bytes_free(reply[k][i]); }
        rfhe_bytes_free(request[i]);
    }
    sides_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_ciphertexts_strides_and_residuals),
        cmocka_unit_test(both_halves_masks_and_phases),
        cmocka_unit_test(gaps_between_the_coefficients),
        cmocka_unit_test(a_planned_network_with_gaps),
        cmocka_unit_test(requests_do_not_influence_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
