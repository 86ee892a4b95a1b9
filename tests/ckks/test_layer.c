/* Layers of an encrypted network, as an executor will run them, on a small ring: coefficients at level 0 -> refresh of both
 * halves -> a polynomial per slot -> masked way to coefficients -> 3 x 3 convolution -> packing -> rescaling -> bias ->
 * coefficients at level 0, twice, against plain numbers. */
#include "refresh_world.h"
#include "rfhe/paf.h"

enum { LOG2_N = 11, N = 1 << LOG2_N, BLOCK = 4, CHANNELS = 3, WIDTH = 16, HEIGHT = 28, PITCH = 17, HALF = N / 2 };

static rfhe_status more_keys(rfhe_key_list *list, const rfhe_ckks *c, rfhe_error *err)
{
    return rfhe_pack_keys(c, BLOCK, 1, 1, list, err);
}

/* Pixel (x, y) of channel c is coefficient BLOCK * (y * PITCH + x) + c; a column and rows of zeros are the padding. */
static bool is_pixel(size_t k)
{
    const size_t at = k / BLOCK;

    return k % BLOCK < CHANNELS && at % PITCH < WIDTH && at / PITCH < HEIGHT;
}

typedef struct network {
    double weight[CHANNELS][CHANNELS][3][3], bias[CHANNELS];
    rfhe_paf_schedule paf[CHANNELS];
} network;

static void make_network(network *net)
{
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 101);

    for (size_t o = 0; o < CHANNELS; o++) {
        double *w = &net->weight[o][0][0][0], sum = 0;
        rfhe_paf f;
        double flat[RFHE_PAF_MAX_STAGES * RFHE_PAF_MAX_TERMS];
        for (size_t i = 0; i < CHANNELS * 9; i++) { sum += fabs(w[i] = 2 * rfhe_rng_uniform(&rng) - 1); }
        for (size_t i = 0; i < CHANNELS * 9; i++) { w[i] *= 3 / sum; } /* values stay within [-1, 1]: checked below */
        net->bias[o] = 0.2 * rfhe_rng_uniform(&rng) - 0.1;
        MUST(rfhe_paf_from_name(&f, "even4", err));
        rfhe_paf_coef_get(&f, flat);
        for (size_t i = 0; i < rfhe_paf_coef_count(&f); i++) { flat[i] *= 1 + 0.1 * (2 * rfhe_rng_uniform(&rng) - 1); }
        rfhe_paf_coef_set(&f, flat);
        MUST(rfhe_paf_schedule_relu(&net->paf[o], &f, err));
    }
}

/* The coefficients of output channel o's kernel: tap (dx, dy) of channel c reads the coefficient that is
 * BLOCK * (dy * PITCH + dx) + c higher. */
static size_t kernel(void *ctx, size_t o, size_t j, uint32_t *index, double *value)
{
    const network *net = ctx;
    size_t count = 0;

    (void)j;
    for (int c = 0; c < CHANNELS; c++) {
        for (int dy = -1; dy <= 1; dy++) {
            for (int dx = -1; dx <= 1; dx++) {
                index[count] = (uint32_t)(2 * N - (BLOCK * (dy * PITCH + dx) + c)) % (2 * N);
                value[count++] = net->weight[o][c][dy + 1][dx + 1];
            }
        }
    }
    return count;
}

/* The layer on numbers, all N coefficients. Returns the largest |result|. */
static double plain_layer(double *x, const network *net)
{
    double *y = test_calloc(N, sizeof *y), most = 0;

    for (size_t k = 0; k < N; k++) { y[k] = is_pixel(k) ? rfhe_paf_schedule_run(&net->paf[k % BLOCK], x[k]) : 0; }
    memset(x, 0, N * sizeof *x);
    for (size_t o = 0; o < CHANNELS; o++) {
        uint32_t index[CHANNELS * 9];
        double value[CHANNELS * 9];
        const size_t count = kernel((void *)(uintptr_t)net, o, 0, index, value);
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < N; k++) {
                const size_t at = (k + index[i]) % (2 * N);
                if (at % BLOCK == 0) { x[at % N + o] += (at < N ? 1 : -1) * value[i] * y[k]; }
            }
        }
        for (size_t k = o; k < N; k += BLOCK) { x[k] += is_pixel(k) ? net->bias[o] : 0; }
    }
    for (size_t k = 0; k < N; k++) { most = fmax(most, fabs(x[k])); }
    test_free(y);
    return most;
}

/* What is made once per layer. Half h holds the coefficients from h * N/2 on. */
typedef struct layer {
    rfhe_poly_vectors *paf[2];
    rfhe_to_coeffs *mask[2];
    rfhe_pt *bias;
} layer;

static void make_layer(layer *l, const refresh_world *w, const network *net)
{
    static const rfhe_poly_op op[] = {[RFHE_PAF_OP_INPUT] = RFHE_POLY_INPUT, [RFHE_PAF_OP_MUL] = RFHE_POLY_MUL,
                                      [RFHE_PAF_OP_SCALE] = RFHE_POLY_SCALE, [RFHE_PAF_OP_INT] = RFHE_POLY_INT,
                                      [RFHE_PAF_OP_ADD] = RFHE_POLY_ADD,     [RFHE_PAF_OP_CONST] = RFHE_POLY_CONST};
    const size_t steps = net->paf[0].n_steps;
    const uint32_t level = rfhe_refresh_get_info(w->r).raise_level;
    rfhe_poly_step step[RFHE_PAF_MAX_STEPS];
    bool is_vector[RFHE_PAF_MAX_STEPS];
    rfhe_poly_program *p = NULL;
    double *values = test_calloc((steps + 1) * HALF, sizeof *values), *mask = test_calloc(HALF, sizeof *mask);
    const double *row[RFHE_PAF_MAX_STEPS];

    for (size_t i = 0; i < steps; i++) {
        step[i] = (rfhe_poly_step){op[net->paf[0].step[i].op], net->paf[0].step[i].a, net->paf[0].step[i].b,
                                   net->paf[0].step[i].c};
        is_vector[i] = step[i].op == RFHE_POLY_SCALE || step[i].op == RFHE_POLY_CONST;
    }
    MUST(rfhe_poly_program_with_vectors(&p, step, is_vector, steps, 1, err));
    const uint32_t depth = rfhe_poly_program_info(p).depth;
    for (size_t h = 0; h < 2; h++) {
        double correction = 1;
        for (size_t j = 0; j < HALF; j++) {
            const size_t k = h * HALF + rfhe_slot_coefficient(w->log2_n, w->log2_slots, (uint32_t)j);
            size_t at = 0;
            for (size_t i = 0; i < steps; i++) {
                if (!is_vector[i]) { continue; }
                values[at * HALF + j] = is_pixel(k) ? net->paf[k % BLOCK].step[i].c : 0;
                row[at] = values + at * HALF;
                at++;
            }
        }
        MUST(rfhe_poly_vectors_new(&l->paf[h], p, w->c, row, HALF, level, 0, err));
        /* The polynomial ends a level higher than the way to coefficients starts: its scale is declared to be the one
         * expected there, which multiplies the numbers by the quotient; the mask takes that back. */
        correction = rfhe_ckks_scale(w->c, rfhe_refresh_get_info(w->r).to_coeffs_level) / rfhe_ckks_scale(w->c, level - depth);
        for (size_t j = 0; j < HALF; j++) {
            const size_t k = h * HALF + rfhe_slot_coefficient(w->log2_n, w->log2_slots, (uint32_t)j);
            mask[j] = is_pixel(k) ? net->paf[k % BLOCK].out_scale * correction : 0;
        }
        MUST(rfhe_to_coeffs_new(&l->mask[h], w->r, h == 0 ? mask : NULL, h == 0 ? NULL : mask, err));
    }
    rfhe_poly_program_free(p);
    double *bias = test_calloc(N, sizeof *bias);
    for (size_t k = 0; k < N; k++) { bias[k] = is_pixel(k) ? net->bias[k % BLOCK] : 0; }
    MUST(rfhe_encode_coeffs(&l->bias, w->c, bias, N, 0, 0, err));
    test_free(bias), test_free(values), test_free(mask);
}

static void free_layer(layer *l)
{
    for (int h = 0; h < 2; h++) {
        rfhe_poly_vectors_free(l->paf[h]);
        rfhe_to_coeffs_free(l->mask[h]);
    }
    rfhe_pt_free(l->bias);
}

/* ct: coefficients at level 0, before and after. */
static void run_layer(rfhe_ct *ct, const refresh_world *w, const layer *l, network *net)
{
    const uint32_t s = rfhe_refresh_get_info(w->r).to_coeffs_level;
    rfhe_ct *half[2] = {NULL}, *out[BLOCK] = {NULL};

    for (int h = 0; h < 2; h++) { MUST(rfhe_ct_new(&half[h], w->c, s, err)); }
    for (size_t o = 0; o < CHANNELS; o++) { MUST(rfhe_ct_new(&out[o], w->c, 1, err)); } /* the block's last place stays NULL */
    MUST(rfhe_refresh_mod_raise(ct, ct, w->r, w->ev, err));
    MUST(rfhe_refresh_to_slots(half[0], half[1], ct, w->r, w->ev, err));
    for (int h = 0; h < 2; h++) {
        MUST(rfhe_refresh_reduce(half[h], half[h], w->r, w->ev, err));
        MUST(rfhe_ct_evaluate_vectors(half[h], half[h], l->paf[h], w->ev, err));
        MUST(rfhe_ct_set_scale(half[h], rfhe_ckks_scale(w->c, s), err));
    }
    MUST(rfhe_ct_to_coeffs_sum(ct, (const rfhe_ct *const *)half, (const rfhe_to_coeffs *const *)l->mask, 2, w->ev, err));
    assert_int_equal(rfhe_ct_level(ct), 1);
    MUST(rfhe_ct_convolve(out, CHANNELS, (const rfhe_ct *[]){ct}, 1, kernel, net, CHANNELS * 9,
                          rfhe_plain_scale(ct, 0) / BLOCK, w->ev, err));
    MUST(rfhe_ct_pack(out, BLOCK, 1, w->ev, err));
    MUST(rfhe_ct_rescale(ct, out[0], w->ev, err));
    MUST(rfhe_ct_add_plain(ct, ct, l->bias, w->ev, err));
    assert_int_equal(rfhe_ct_level(ct), 0);
    for (int h = 0; h < 2; h++) { rfhe_ct_free(half[h]); }
    for (size_t o = 0; o < CHANNELS; o++) { rfhe_ct_free(out[o]); }
}

static void two_layers_agree_with_plain_numbers(void **state)
{
    refresh_world w = refresh_world_new(LOG2_N, &(rfhe_refresh_options){.complex_slots = true, .to_coeffs_level = 3}, more_keys);
    network *net = test_calloc(1, sizeof *net);
    layer l = {{NULL}, {NULL}, NULL};
    double *x = random_numbers(N, 102), rms = 0;

    (void)state;
    make_network(net);
    make_layer(&l, &w, net);
    for (size_t k = 0; k < N; k++) { x[k] = is_pixel(k) ? x[k] : 0; }
    rfhe_ct *ct = refresh_encrypt_coeffs(&w, x, 0, 0);
    for (int round = 1; round <= 2; round++) {
        const double most = plain_layer(x, net);
        assert_true(most < 1 && most > 0.05); /* within the range of the refresh, and not nothing */
        run_layer(ct, &w, &l, net);
        double *got = refresh_decrypt_coeffs(&w, ct);
        const double worst = distance(got, x, N, &rms), estimate = rfhe_ct_error(ct) / sqrt(N);
        print_message("layer %d: values to %.2f, error 2^%.1f mean, 2^%.1f worst; estimate 2^%.1f\n", round, most,
                      log2(rms), log2(worst), log2(estimate));
        assert_true(worst < 0x1p-13);
        assert_true(rms < 1.5 * estimate && estimate < 16 * rms);
        test_free(got);
    }
    rfhe_ct_free(ct);
    free_layer(&l);
    test_free(net), test_free(x);
    refresh_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_layers_agree_with_plain_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
