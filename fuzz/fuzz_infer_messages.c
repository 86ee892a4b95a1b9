/* Requests, replies and bindings of keys: whatever the bytes, a status with a sentence; what is accepted is written back as
 * it came. The program is a small one with two ciphertexts a request. */
#include "fuzz_ckks.h"

#include "infer/message.h"

static rfhe_program *program(void)
{
    static rfhe_program p;
    static rfhe_tensor_use tensor[1];

    if (p.tensor == NULL) {
        tensor[0].layout = (rfhe_layout){.channels = 2, .height = 2, .width = 2, .block = 1, .row = 2, .column = 1, .ciphertexts = 2};
        p.tensor = tensor;
        p.n_tensors = 1;
        p.level_linear = 1;
        p.outputs = 2;
        memset(p.id, 7, sizeof p.id);
    }
    return &p;
}

static void try_message(const uint8_t *data, size_t size, rfhe_message_kind kind)
{
    rfhe_message m;
    rfhe_error err = {0};
    uint8_t *back = NULL;
    size_t n = 0;
    const rfhe_status st = rfhe_message_read(&m, kind, program(), fuzz_set(), NULL, data, size, &err);

    if (st != RFHE_OK && (err.code != st || err.text[0] == '\0' || m.ct != NULL)) { abort(); }
    if (st == RFHE_OK &&
        (rfhe_message_write(&back, &n, &m, kind, fuzz_set(), NULL) != RFHE_OK || n != size || memcmp(back, data, n) != 0)) {
        abort();
    }
    rfhe_bytes_free(back);
    rfhe_message_clear(&m);
}

static void try_binding(const uint8_t *data, size_t size)
{
    rfhe_binding b;
    rfhe_error err = {0};
    const rfhe_status st = rfhe_binding_parse(&b, program(), fuzz_set(), data, size, &err);

    if (st != RFHE_OK && (err.code != st || err.text[0] == '\0')) { abort(); }
}

/* A genuine request (or reply), made once. */
static const uint8_t *genuine(rfhe_message_kind kind, size_t *size)
{
    static uint8_t *data[2];
    static size_t n[2];

    if (data[kind] == NULL) {
        const uint32_t count = kind == RFHE_REQUEST ? 2 : 1, level = kind == RFHE_REQUEST ? 1 : 0;
        const rfhe_ckks *c = fuzz_set();
        const uint64_t seed = 1;
        const double x[2] = {1, 2};
        rfhe_secret_key *sk = NULL;
        rfhe_message m = {0};
        if (rfhe_secret_key_new(&sk, c, &seed, NULL) != RFHE_OK || rfhe_message_init(&m, count, NULL) != RFHE_OK) { abort(); }
        memcpy(m.program, program()->id, sizeof m.program);
        for (uint32_t i = 0; i < count; i++) {
            rfhe_pt *pt = NULL;
            if (rfhe_encode_coeffs(&pt, c, x, 2, level, rfhe_ckks_scale(c, 0), NULL) != RFHE_OK ||
                rfhe_ct_new(&m.ct[i], c, level, NULL) != RFHE_OK || rfhe_encrypt_secret(m.ct[i], pt, sk, NULL) != RFHE_OK) {
                abort();
            }
            rfhe_pt_free(pt);
        }
        if (rfhe_message_write(&data[kind], &n[kind], &m, kind, c, NULL) != RFHE_OK) { abort(); }
        rfhe_message_clear(&m);
        rfhe_secret_key_free(sk);
    }
    *size = n[kind];
    return data[kind];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n[2] = {0, 0};
    const uint8_t *const start[2] = {genuine(RFHE_REQUEST, &n[0]), genuine(RFHE_REPLY, &n[1])};
    const size_t before = rfhe_mem_get_stats().current;
    const rfhe_message_kind kind = size > 0 && (data[0] & 1) != 0 ? RFHE_REPLY : RFHE_REQUEST;

    try_message(data, size, kind);
    try_binding(data, size);
    /* Edits of (position, byte) on the genuine message: near its ends, near the head of its first ciphertext, anywhere. */
    uint8_t *copy = malloc(n[kind]);
    if (copy == NULL) { return 0; }
    memcpy(copy, start[kind], n[kind]);
    for (size_t i = 1; i + 4 <= size; i += 4) {
        const size_t at = rfhe_load_le16(data + i), length = n[kind];
        const size_t where = (data[i + 2] & 3) == 0   ? at % length
                             : (data[i + 2] & 3) == 1 ? length - 1 - at % 512 % length
                                                      : at % 512 % length;
        copy[where] = data[i + 3];
    }
    /* the ciphertext inside first (it starts at 192), then the message around it */
    if (n[kind] > 192 + RFHE_WIRE_HEADER && size % 2 == 0) {
        const uint64_t inner = rfhe_load_le64(copy + 192 + 16);
        if (inner >= RFHE_WIRE_HEADER + RFHE_WIRE_HASH && inner <= n[kind] - 192) { fuzz_rehash(copy + 192, inner); }
    }
    fuzz_rehash(copy, n[kind]);
    try_message(copy, n[kind], kind);
    free(copy);
    if (rfhe_mem_get_stats().current != before) { abort(); }
    return 0;
}
