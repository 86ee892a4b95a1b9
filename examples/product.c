/* Multiplies two encrypted vectors, and adds to each slot of the product its neighbour. Prints the parameters that were
 * chosen, the error that was estimated and the error that came out. */
#include <rfhe/rfhe.h>

#include <math.h>
#include <stdio.h>

enum { SLOTS = 1024 };

/* Everything that has to be released. */
typedef struct scene {
    rfhe_ckks *ckks;
    rfhe_secret_key *secret;
    rfhe_public_key *public;
    rfhe_eval_keys *keys;
    rfhe_evaluator *evaluator;
    rfhe_ct *a, *b, *shifted;
    rfhe_pt *plain;
} scene;

static void leave(scene *s)
{
    rfhe_pt_free(s->plain);
    rfhe_ct_free(s->shifted);
    rfhe_ct_free(s->b);
    rfhe_ct_free(s->a);
    rfhe_evaluator_free(s->evaluator);
    rfhe_eval_keys_free(s->keys);
    rfhe_public_key_free(s->public);
    rfhe_secret_key_free(s->secret);
    rfhe_ckks_free(s->ckks);
}

/* Parameters for two products, at 128-bit security, and the keys for a product and one rotation. */
static rfhe_status make_keys(scene *s, rfhe_error *err)
{
    const rfhe_ckks_options options = {.depth = 2};
    rfhe_ckks_info info;
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_ckks_new(&s->ckks, &options, err));
    rfhe_ckks_get_info(s->ckks, &info);
    (void)printf("ring degree 2^%u, modulus of %.0f bits, security %u bits\n", info.log2_n,
                 info.log2_qp, info.security_bits);
    const rfhe_key_want want[] = {
        {.element = RFHE_ELEMENT_RELIN, .level = info.top_level},
        {.element = rfhe_element_rotate(s->ckks, 1), .level = info.top_level},
    };
    RFHE_TRY(rfhe_secret_key_new(&s->secret, s->ckks, NULL, err));
    RFHE_TRY(rfhe_public_key_new(&s->public, s->secret, err));
    RFHE_TRY(rfhe_eval_keys_new(&s->keys, s->secret, want, 2, err));
    RFHE_TRY(rfhe_evaluator_new(&s->evaluator, s->ckks, s->keys, err));

done:
    return st;
}

static rfhe_status encrypt(rfhe_ct **out, scene *s, const double *x, rfhe_error *err)
{
    rfhe_ckks_info info;
    rfhe_status st = RFHE_OK;

    rfhe_ckks_get_info(s->ckks, &info);
    RFHE_TRY(rfhe_encode(&s->plain, s->ckks, x, NULL, SLOTS, info.top_level, 0, err));
    RFHE_TRY(rfhe_ct_new(out, s->ckks, info.top_level, err));
    RFHE_TRY(rfhe_encrypt(*out, s->plain, s->public, err));

done:
    rfhe_pt_free(s->plain);
    s->plain = NULL;
    return st;
}

static rfhe_status run(scene *s, rfhe_error *err)
{
    static double x[SLOTS], y[SLOTS], z[SLOTS];
    double worst = 0;
    rfhe_status st = RFHE_OK;

    for (int i = 0; i < SLOTS; i++) {
        x[i] = sin(0.01 * i);
        y[i] = cos(0.02 * i);
    }
    RFHE_TRY(make_keys(s, err));
    RFHE_TRY(encrypt(&s->a, s, x, err));
    RFHE_TRY(encrypt(&s->b, s, y, err));
    RFHE_TRY(rfhe_ct_mul(s->a, s->a, s->b, s->evaluator, err));
    RFHE_TRY(rfhe_ct_new(&s->shifted, s->ckks, rfhe_ct_level(s->a), err));
    RFHE_TRY(rfhe_ct_rotate(s->shifted, s->a, 1, s->evaluator, err));
    RFHE_TRY(rfhe_ct_add(s->a, s->a, s->shifted, s->evaluator, err));

    RFHE_TRY(rfhe_decrypt(&s->plain, s->a, s->secret, err));
    RFHE_TRY(rfhe_decode(z, NULL, SLOTS, s->plain, err));
    for (int i = 0; i < SLOTS; i++) {
        const int next = (i + 1) % SLOTS;
        worst = fmax(worst, fabs(z[i] - (x[i] * y[i] + x[next] * y[next])));
    }
    (void)printf("estimated precision %.1f bits, largest error of %d slots 2^%.1f\n",
                 rfhe_ct_precision_bits(s->a), SLOTS, log2(worst));
    if (worst > 1e-4) { st = rfhe_fail(err, RFHE_E_FORMAT, "the result is wrong"); }

done:
    return st;
}

int main(void)
{
    scene s = {0};
    rfhe_error err = {RFHE_OK, ""};
    const rfhe_status st = run(&s, &err);

    if (st != RFHE_OK) {
        (void)fprintf(stderr, "product: %s\n",
                      err.text[0] != '\0' ? err.text : rfhe_status_name(st));
    }
    leave(&s);
    return st == RFHE_OK ? 0 : 1;
}
