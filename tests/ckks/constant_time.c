/* Generation of every kind of key, encoding, encryption, decryption and decoding with every secret marked as undefined:
 * under valgrind's memcheck any branch or address that depends on a secret is an error (Langley's ctgrind). What is not
 * seen: the time of single instructions (floating point on subnormal numbers), and kernels for processors that valgrind
 * does not imitate (AVX-512). Run by the script of the same name. */
#include <stdio.h>
#include <string.h>

#include "ckks/internal.h"
#include "ckks/secret.h"

#define MUST(call)                                                                                 \
    do {                                                                                           \
        rfhe_error err_ = {0}, *err = &err_;                                                       \
        if ((call) != RFHE_OK) {                                                                   \
            (void)fprintf(stderr, "%s: %s\n", #call, err_.text);                                   \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* The message as slots or as coefficients: encoded, encrypted in both ways, decrypted, decoded. */
static int round_trip(const rfhe_ckks *c, const rfhe_secret_key *sk, const rfhe_public_key *pk, bool as_slots)
{
    const double message[4] = {1, -2, 3, -4};
    double x[4], got[4];
    rfhe_seed seed;
    rfhe_pt *pt = NULL, *back = NULL;
    rfhe_ct *ct = NULL;

    memcpy(x, message, sizeof x);
    RFHE_SECRET(x, sizeof x);
    if (as_slots) {
        MUST(rfhe_encode(&pt, c, x, NULL, 4, 2, 0, err));
    } else {
        MUST(rfhe_encode_coeffs(&pt, c, x, 4, 2, 0, err));
    }
    MUST(rfhe_ct_new(&ct, c, 2, err));
    for (int way = 0; way < 2; way++) {
        memset(&seed, 3, sizeof seed);
        RFHE_SECRET(&seed, sizeof seed);
        if (way == 0) {
            MUST(rfhe_encrypt_with(ct, pt, pk, &seed, err));
        } else {
            MUST(rfhe_encrypt_secret(ct, pt, sk, err));
        }
        MUST(rfhe_decrypt(&back, ct, sk, err));
        if (as_slots) {
            MUST(rfhe_decode(got, NULL, 4, back, err));
        } else {
            MUST(rfhe_decode_coeffs(got, 4, back, err));
        }
        RFHE_PUBLIC(got, sizeof got); /* the result belongs to the caller */
        for (int i = 0; i < 4; i++) {
            if (got[i] - message[i] > 1e-3 || message[i] - got[i] > 1e-3) { return 1; }
        }
        rfhe_pt_free(back);
    }
    rfhe_ct_free(ct);
    rfhe_pt_free(pt);
    return 0;
}

int main(int argc, char **argv)
{
    const rfhe_ckks_options o = {.log2_n = 10, .depth = 2, .scale_bits = 40, .insecure_test = true};
    const rfhe_key_want want[] = {{RFHE_ELEMENT_RELIN, 2, 0},
                                  {5, 2, 0},
                                  {RFHE_ELEMENT_ENCAPSULATE, 0, 1},
                                  {RFHE_ELEMENT_RELEASE | 1, 2, 1},
                                  {RFHE_ELEMENT_RELEASE | 5, 2, 1}};
    uint64_t number = 7;
    rfhe_ckks *c = NULL;
    rfhe_secret_key *sk = NULL;
    rfhe_public_key *pk = NULL;
    rfhe_eval_keys *keys = NULL;

    if (!RFHE_HAS_MEMCHECK) { return 77; }
    MUST(rfhe_ckks_new(&c, &o, err));
    RFHE_SECRET(&number, sizeof number);
    MUST(rfhe_secret_key_new(&sk, c, &number, err));
    MUST(rfhe_public_key_new(&pk, sk, err));
    MUST(rfhe_eval_keys_new(&keys, sk, want, sizeof want / sizeof *want, err));
    if (round_trip(c, sk, pk, true) != 0 || round_trip(c, sk, pk, false) != 0) { return 1; }
    if (argc > 1 && strcmp(argv[1], "leak") == 0) { /* proves that the check can fail */
        if (sk->coef[5] == 1) { (void)puts("leak"); }
    }
    rfhe_eval_keys_free(keys);
    rfhe_public_key_free(pk);
    rfhe_secret_key_free(sk);
    rfhe_ckks_free(c);
    return 0;
}
