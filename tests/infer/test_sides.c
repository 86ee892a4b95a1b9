#define _GNU_SOURCE /* memmem */
/* The two sides as files: what each folder may hold, the journey through the command, and everything malformed: requests,
 * replies, keys, bindings, programs that are cut short, flipped, exchanged, of a wrong level or with impossible residues
 * are refused with one sentence. */
#include "infer_world.h"

#include <dirent.h>
#include <spng.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "ckks/internal.h"

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

static bytes read_bytes(const char *path)
{
    bytes b = {0};

    MUST(rfhe_file_read(&b.data, &b.size, path, (size_t)1 << 30, err));
    return b;
}

static char *name(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *name(const char *fmt, ...)
{
    static char text[8][512];
    static unsigned next;
    char *out = text[next++ % 8];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(out, sizeof text[0], fmt, args);
    va_end(args);
    return out;
}

/* Runs the command; standard error goes to FOLDER/err. Returns the exit code. */
static int command(const char *arguments)
{
    const int got = system(name("cd '%s' && OMP_NUM_THREADS=1 '%s' %s >out 2>err", test_folder(), RFHE_COMMAND, arguments));

    return WIFEXITED(got) ? WEXITSTATUS(got) : -1;
}

static bool error_says(const char *what)
{
    const bytes b = read_bytes(name("%s/err", test_folder()));
    const bool says = strstr((const char *)b.data, what) != NULL;

    rfhe_free(b.data);
    return says;
}

static size_t lines_of_error(void)
{
    const bytes b = read_bytes(name("%s/err", test_folder()));
    size_t n = 0;

    for (size_t i = 0; i < b.size; i++) { n += b.data[i] == '\n'; }
    rfhe_free(b.data);
    return n;
}

/* ---- folders ---- */

static bool holds(const bytes *b, const void *what, size_t n)
{
    return memmem(b->data, b->size, what, n) != NULL;
}

/* Every file of a folder: none may hold any of these, `n` bytes each, `step` apart. */
static void check_folder(const char *side, const uint8_t *secret, size_t size, size_t n, const char *const *expected)
{
    char folder[512];
    (void)snprintf(folder, sizeof folder, "%s/p/%s", test_folder(), side);
    DIR *d = opendir(folder);
    size_t files = 0;

    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        bool known = false;
        if (e->d_name[0] == '.') { continue; }
        for (size_t k = 0; expected[k] != NULL; k++) { known = known || strcmp(expected[k], e->d_name) == 0; }
        if (!known) { fail_msg("%s holds '%s'", folder, e->d_name); }
        const bytes b = read_bytes(name("%s/%s", folder, e->d_name));
        for (size_t at = 0; at + n <= size; at += n) {
            if (holds(&b, secret + at, n)) { fail_msg("%s/%s holds what it must not", folder, e->d_name); }
        }
        rfhe_free(b.data);
        files++;
    }
    (void)closedir(d);
    for (size_t k = 0; expected[k] != NULL; k++) { files -= 1; }
    assert_int_equal(files, 0);
}

static void folders_hold_what_they_may(void **state)
{
    static const char *const client_files[] = {"program.json", "secret.key", "keys.id", NULL};
    static const char *const server_files[] = {"program.json", "weights.bin", "evaluation.keys", "keys.id", NULL};
    rfhe_program *p = program_of_blocks(7);
    char folder[512];
    rfhe_program *client = NULL;
    struct stat s;

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/p", test_folder());
    MUST(rfhe_program_save(folder, p, err));
    assert_int_equal(command("keygen p --insecure-test"), 0);
    assert_int_equal(command("keygen p --insecure-test"), 2); /* not over keys that are there */
    MUST(rfhe_file_write(name("%s/client/requests", folder), "", 0, 0600, err));
    assert_int_equal(command("keygen p --replace --insecure-test"), 0);
    /* the secret: 512 bytes of coefficients from offset 64 of its file */
    const bytes secret = read_bytes(name("%s/client/secret.key", folder));
    assert_true(secret.size > 64 + WORLD_N / 4);
    check_folder("server", secret.data + 64, WORLD_N / 4, 16, server_files);
    assert_int_equal(stat(name("%s/client/secret.key", folder), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    rfhe_free(secret.data);
    /* the weights: eight in a row of any stencil, and the constants of the polynomials */
    for (uint32_t l = 0; l < p->n_linear; l++) {
        const rfhe_stencil *w = &p->linear[l].term[0].stencil;
        check_folder("client", (const uint8_t *)w->w,
                     (size_t)w->out_channels * w->in_channels * w->height * w->width * sizeof(float), 32, client_files);
    }
    MUST(rfhe_program_load(&client, name("%s/client", folder), false, err));
    assert_null(client->linear[0].term[0].stencil.w);
    assert_null(client->linear[0].bias);
    assert_null(client->activation[0].c);
    assert_null(client->activation[0].range);
    rfhe_program_free(client);
    rfhe_program_free(p);
}

static int stop_at_third(void *user, const char *what, double done, double total, const char *unit, const char *note)
{
    (void)what, (void)total, (void)unit, (void)note;
    *(double *)user = done;
    return done < 3;
}

static void an_interrupted_keygen_leaves_nothing(void **state)
{
    rfhe_program *p = program_of_blocks(9);
    char folder[512];
    double reached = 0;
    const rfhe_progress progress = {stop_at_third, &reached};

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/stopped", test_folder());
    MUST(rfhe_program_save(folder, p, err));
    assert_int_equal(rfhe_client_keygen(p, folder, false, NULL, &progress, NULL), RFHE_E_INTERRUPTED);
    assert_true(reached >= 3);
    assert_false(rfhe_file_exists(name("%s/" RFHE_SERVER_KEYS, folder)));
    assert_false(rfhe_file_exists(name("%s/" RFHE_CLIENT_SECRET, folder)));
    rfhe_program_free(p);
}

/* Compares the outputs in FOLDER/out, as `rfhe decrypt --json` printed them, with the loops. */
static void check_logits(const rfhe_program *full, const float *image)
{
    const bytes out = read_bytes(name("%s/out", test_folder()));
    double want[16], largest = 0;
    const char *at = strstr((const char *)out.data, "\"logits\"");

    reference_run(full, image, want, &largest);
    assert_non_null(at);
    at = strchr(at, '[');
    for (uint32_t i = 0; i < full->outputs; i++) {
        char *end = NULL;
        const double got = strtod(at + 1, &end);
        if (fabs(got - want[i]) > 5e-3) { fail_msg("output %u is %g, not %g", i, got, want[i]); }
        at = strpbrk(end, ",]");
    }
    rfhe_free(out.data);
}

/* encrypt by the library (no image is at hand), infer and decrypt by the command, against the loops. */
static void the_journey_through_files(void **state)
{
    char folder[512];
    rfhe_program *p = NULL, *full = NULL;
    rfhe_client *k = NULL;
    float image[3 * 8 * 8];
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 3);

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/p", test_folder());
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) { image[i] = (float)(2 * rfhe_rng_uniform(&rng) - 1); }
    MUST(rfhe_program_load(&p, name("%s/client", folder), false, err));
    MUST(rfhe_program_load(&full, name("%s/server", folder), true, err));
    MUST(rfhe_client_open(&k, p, folder, err));
    MUST(rfhe_client_request(&data, &size, k, image, "x.request", err));
    MUST(rfhe_file_write(name("%s/x.request", test_folder()), data, size, 0644, err));
    assert_int_equal(command("infer p x.request"), 0);
    assert_int_equal(command("decrypt p x.reply --json"), 0);
    check_logits(full, image);
    rfhe_bytes_free(data);
    rfhe_client_free(k);
    rfhe_program_free(p);
    rfhe_program_free(full);
}

/* Writes an 8 x 8 image of one grey. */
static void write_grey(const char *path, uint8_t grey)
{
    struct spng_ihdr head = {.width = 8, .height = 8, .bit_depth = 8, .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    uint8_t pixels[3 * 8 * 8];
    size_t size = 0;
    int error = 0;

    memset(pixels, grey, sizeof pixels);
    (void)spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    assert_int_equal(spng_set_ihdr(ctx, &head), 0);
    assert_int_equal(spng_encode_image(ctx, pixels, sizeof pixels, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE), 0);
    void *png = spng_get_png_buffer(ctx, &size, &error);
    assert_non_null(png);
    MUST(rfhe_file_write(path, png, size, 0644, err));
    free(png);
    spng_ctx_free(ctx);
}

static void shell(const char *line)
{
    assert_int_equal(system(name("cd '%s' && %s", test_folder(), line)), 0);
}

/* What `rfhe plan` says: client/ goes to one place, server/ to another, and files are carried between them by hand. */
static void the_sides_in_two_places(void **state)
{
    rfhe_program *p = program_of_blocks(5);
    float image[3 * 8 * 8];

    (void)state;
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) { image[i] = (float)(200 / 255.0 * 2 - 1); }
    MUST(rfhe_program_save(name("%s/planned", test_folder()), p, err));
    shell("mkdir -p mine/p theirs/p && mv planned/client mine/p && mv planned/server theirs/p");
    write_grey(name("%s/mine/cat.png", test_folder()), 200);
    write_grey(name("%s/mine/dog.png", test_folder()), 20);

    assert_int_equal(command("keygen mine/p --insecure-test"), 0);
    assert_int_equal(command("encrypt mine/p mine/cat.png mine/dog.png --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 -o mine/outbox --insecure-test"), 0);
    shell("mv mine/p/server/* theirs/p/server && mv mine/outbox theirs/inbox");
    assert_int_equal(command("infer theirs/p theirs/inbox/*.request -o theirs/outbox"), 0);
    shell("mv theirs/outbox mine/inbox && mv mine/inbox/dog.reply mine/inbox/mixed-up.reply");
    for (int i = 0; i < 2; i++) { /* as often as one likes */
        assert_int_equal(command("decrypt mine/p mine/inbox/cat.reply --json"), 0);
        check_logits(p, image);
        shell("grep -q '\"request\": \"mine/outbox/cat.request\"' out");
    }
    assert_int_equal(command("decrypt mine/p mine/inbox/mixed-up.reply"), 0);
    shell("grep -q 'for mine/outbox/dog.request$' out");
    shell("sed -i /dog/d mine/p/client/requests");
    assert_int_equal(command("decrypt mine/p mine/inbox/mixed-up.reply"), 3);
    assert_true(lines_of_error() == 2 && error_says("answers no request"));
    rfhe_program_free(p);
}

static void requests_are_remembered(void **state)
{
    const char *file = name("%s/record", test_folder());
    uint8_t tag[4][RFHE_TAG_BYTES] = {{1}, {1, 2}, {0, 3}, {0xff}};
    char long_name[400], got[RFHE_REQUEST_NAME];
    struct stat s;

    (void)state;
    memset(long_name, 'x', sizeof long_name - 1);
    memcpy(long_name + sizeof long_name - 4, "end", 4);
    assert_int_equal(rfhe_request_find(got, file, tag[0], NULL), RFHE_E_FORMAT); /* no record yet */
    MUST(rfhe_request_note(file, tag[0], "out/a b.request", err));
    MUST(rfhe_request_note(file, tag[1], "two\nlines", err));
    MUST(rfhe_file_append(file, "00", 2, 0600, err)); /* a line that was cut short */
    MUST(rfhe_request_note(file, tag[2], long_name, err));
    MUST(rfhe_request_find(got, file, tag[0], err));
    assert_string_equal(got, "out/a b.request");
    MUST(rfhe_request_find(got, file, tag[1], err));
    assert_string_equal(got, "two lines");
    MUST(rfhe_request_find(got, file, tag[2], err));
    assert_string_equal(got, long_name + sizeof long_name - RFHE_REQUEST_NAME);
    assert_int_equal(rfhe_request_find(got, file, tag[3], NULL), RFHE_E_FORMAT);
    assert_int_equal(stat(file, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
}

/* The simulated noise of `run --twin-only` is that of --seed: the largest inputs of activations tell it. */
static void the_twin_heeds_the_seed(void **state)
{
    static const char *const seed[] = {"1", "2", "1"};
    rfhe_program *p = program_of_blocks(8);

    (void)state;
    MUST(rfhe_program_save(name("%s/seeded", test_folder()), p, err));
    shell("mkdir -p photos/grey");
    write_grey(name("%s/photos/grey/1.png", test_folder()), 150);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(command(name("run seeded --twin-only --data folder:photos --json --seed %s", seed[i])), 0);
        shell(name("grep largest out >seed.%zu", i));
    }
    shell("test -s seed.0 && ! cmp -s seed.0 seed.1 && cmp seed.0 seed.2");
    rfhe_program_free(p);
}

/* A program planned anew has another id: keys that are there would serve it no more. */
static void planning_does_not_orphan_keys(void **state)
{
    static const char model[] = RFHE_SOURCE_DIR "/models/fashion-cnn-d3.onnx";

    (void)state;
    assert_int_equal(command(name("plan '%s' -o own --draw own.svg --layer nothing", model)), 2);
    assert_false(rfhe_file_exists(name("%s/own", test_folder()))); /* written last */
    assert_int_equal(command(name("plan '%s' -o own", model)), 0);
    assert_int_equal(command(name("plan '%s' --layer relu1", model)), 2); /* without --draw */
    assert_int_equal(command(name("plan '%s' --limit 3", model)), 2);     /* without --data */
    shell("touch own/client/secret.key && cp own/client/program.json before.json");
    assert_int_equal(command(name("plan '%s' -o own", model)), 2);
    assert_int_equal(lines_of_error(), 1);
    shell("cmp own/client/program.json before.json");
    assert_int_equal(command(name("plan '%s' -o own --replace", model)), 0);
    shell("grep -q 'rfhe keygen own --replace' out && ! cmp -s own/client/program.json before.json");
}

/* Two inputs that would give one output are refused before anything is written. With the keys of the test before. */
static void a_name_serves_once(void **state)
{
    (void)state;
    shell("mkdir -p a b");
    write_grey(name("%s/a/1.png", test_folder()), 100);
    shell("cp a/1.png b && cp a/1.png a/2.png && cp a/1.png 1.jpg");
    assert_int_equal(command("encrypt weak a/2.png a/1.png b/1.png -o weak/out --insecure-test"), 2);
    assert_int_equal(command("encrypt weak a/1.png 1.jpg -o weak/out --insecure-test"), 2);
    assert_int_equal(command("infer weak a/1.request b/1.request -o weak/out"), 2);
    assert_false(rfhe_file_exists(name("%s/weak/out", test_folder())));
    assert_int_equal(command("encrypt weak a/2.png b/1.png -o weak/out --insecure-test"), 0);
}

static void without_keys_the_way_to_them_is_told(void **state)
{
    static const char *const early[] = {"encrypt bare any.png", "decrypt bare any.reply", "infer bare any.request"};
    rfhe_program *p = program_of_blocks(8);

    (void)state;
    MUST(rfhe_program_save(name("%s/bare", test_folder()), p, err));
    for (size_t i = 0; i < sizeof early / sizeof *early; i++) {
        assert_int_equal(command(early[i]), 1);
        assert_true(lines_of_error() == 1 && error_says("no keys") && error_says("`rfhe keygen bare`"));
    }
    rfhe_program_free(p);
}

/* Whoever wrote the program said that it need not be secure: a client does not follow, and is warned whatever it said. */
static void an_insecure_program_must_be_asked_for(void **state)
{
    rfhe_program *p = program_of_blocks(6);

    (void)state;
    MUST(rfhe_program_save(name("%s/weak", test_folder()), p, err));
    write_grey(name("%s/dog.png", test_folder()), 100);
    assert_int_equal(command("keygen weak"), 1);
    assert_int_equal(lines_of_error(), 1);
    assert_false(rfhe_file_exists(name("%s/weak/client/secret.key", test_folder())));
    assert_int_equal(command("keygen weak -q --insecure-test"), 0);
    assert_int_equal(lines_of_error(), 1);
    assert_int_equal(command("encrypt weak dog.png"), 1);
    assert_int_equal(lines_of_error(), 1);
    assert_false(rfhe_file_exists(name("%s/dog.request", test_folder())));
    assert_int_equal(command("encrypt weak dog.png -q --insecure-test"), 0);
    assert_int_equal(lines_of_error(), 1);
    rfhe_program_free(p);
}

/* ---- malformed ---- */

typedef struct hostile {
    sides a, b; /* two programs with one set of parameters */
    uint8_t other_keys[RFHE_ID_BYTES];
    size_t refused;
} hostile;

typedef rfhe_status reader(hostile *h, const void *data, size_t size, rfhe_error *err);

static rfhe_status as_request(hostile *h, const void *data, size_t size, rfhe_error *err)
{
    rfhe_message m;
    const rfhe_status st = rfhe_message_read(&m, RFHE_REQUEST, h->a.p, h->a.c, h->a.p->id, data, size, err);

    rfhe_message_clear(&m);
    return st;
}

static rfhe_status as_reply(hostile *h, const void *data, size_t size, rfhe_error *err)
{
    float logits[16];

    return rfhe_client_reply(logits, NULL, h->a.client, data, size, err);
}

static rfhe_status as_binding(hostile *h, const void *data, size_t size, rfhe_error *err)
{
    rfhe_binding b;

    return rfhe_binding_parse(&b, h->a.p, h->a.c, data, size, err);
}

static rfhe_status as_program(hostile *h, const void *data, size_t size, rfhe_error *err)
{
    rfhe_program *p = NULL;
    const rfhe_status st = rfhe_program_read_public(&p, data, size, err);

    (void)h;
    rfhe_program_free(p);
    return st;
}

static rfhe_status as_weights(hostile *h, const void *data, size_t size, rfhe_error *err)
{
    rfhe_text text = {0};
    rfhe_program *p = NULL;
    rfhe_status st = rfhe_program_write_public(&text, h->a.p);

    if (st == RFHE_OK) { st = rfhe_program_read_public(&p, text.data, text.size, err); }
    assert_int_equal(st, RFHE_OK);
    st = rfhe_program_read_weights(p, data, size, err);
    rfhe_program_free(p);
    rfhe_text_clear(&text);
    return st;
}

static rfhe_status as_keys(hostile *h, const void *data, size_t size, rfhe_error *err)
{
    rfhe_eval_keys *k = NULL;
    const rfhe_status st = rfhe_eval_keys_parse(&k, h->a.c, data, size, err);

    rfhe_eval_keys_free(k);
    return st;
}

static rfhe_status as_secret(hostile *h, const void *data, size_t size, rfhe_error *err)
{
    rfhe_secret_key *k = NULL;
    const rfhe_status st = rfhe_secret_key_parse(&k, h->a.c, data, size, err);

    rfhe_secret_key_free(k);
    return st;
}

static void refuse(hostile *h, reader *read, const void *data, size_t size, const char *what, size_t detail)
{
    rfhe_error err = {0};
    uint8_t *copy = malloc(size + 1); /* exactly as long: a sanitizer sees what reads past it */
    rfhe_status st = RFHE_OK;

    assert_non_null(copy);
    memcpy(copy, data, size);
    st = read(h, copy, size, &err);
    free(copy);
    if (st != RFHE_E_FORMAT && st != RFHE_E_UNSUPPORTED) { fail_msg("%s %zu: %s (%s)", what, detail, rfhe_status_name(st), err.text); }
    if (err.text[0] == '\0' || strchr(err.text, '\n') != NULL) { fail_msg("%s %zu: says '%s'", what, detail, err.text); }
    h->refused++;
}

/* Cut short, made longer, flipped in `flips` places. */
static void mangle(hostile *h, reader *read, const bytes *b, size_t flips, const char *what)
{
    const size_t cut[] = {0, 1, 63, 64, b->size / 2, b->size - 1};
    uint8_t *copy = malloc(b->size + 1);
    rfhe_rng rng = rfhe_rng_seed(test_seed(), b->size);
    rfhe_error err = {0};

    if (read(h, b->data, b->size, &err) != RFHE_OK) { fail_msg("%s: the genuine one is refused: %s", what, err.text); }
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) { refuse(h, read, b->data, cut[i], what, cut[i]); }
    memcpy(copy, b->data, b->size);
    copy[b->size] = 'x';
    refuse(h, read, copy, b->size + 1, what, b->size + 1);
    for (size_t i = 0; i < flips; i++) {
        /* every part: near the beginning, near the end, anywhere */
        const size_t at = i % 3 == 0 ? rfhe_rng_below(&rng, b->size < 128 ? b->size : 128)
                          : i % 3 == 1 ? b->size - 1 - rfhe_rng_below(&rng, b->size < 128 ? b->size : 128)
                                       : rfhe_rng_below(&rng, b->size);
        copy[at] ^= (uint8_t)(1U << rfhe_rng_below(&rng, 7));
        refuse(h, read, copy, b->size, what, at);
        copy[at] = b->data[at];
    }
    free(copy);
}

static bytes write_message(const rfhe_message *m, rfhe_message_kind kind, const rfhe_ckks *c)
{
    bytes b = {0};

    MUST(rfhe_message_write(&b.data, &b.size, m, kind, c, err));
    return b;
}

/* A sound message with one thing that the program does not expect. */
static void unexpected(hostile *h)
{
    for (int what = 0; what < 8; what++) {
        rfhe_message m = {0};
        MUST(rfhe_client_encrypt(&m, h->a.client, h->a.image, err));
        rfhe_message_kind kind = RFHE_REQUEST;
        rfhe_ct *ct = m.ct[m.count - 1];
        uint64_t q = rfhe_ckks_prime(h->a.c, 0);
        if (what == 0) { m.program[3] ^= 1; }
        if (what == 1) { m.keys[31] ^= 1; }
        if (what == 2) {
            rfhe_ct_free(m.ct[m.count - 1]);
            MUST(rfhe_ct_new(&m.ct[m.count - 1], h->a.c, 2, err)); /* a wrong level */
            MUST(rfhe_ct_set_scale(m.ct[m.count - 1], rfhe_ckks_scale(h->a.c, 0), err));
        }
        if (what == 3) { MUST(rfhe_ct_set_scale(ct, rfhe_ct_scale(ct) * 2, err)); }
        if (what == 4) { rfhe_ct_limb(ct, 0, 0)[5] = q; } /* a residue that is none */
        if (what == 5) { rfhe_ct_limb(ct, 0, 1)[WORLD_N - 1] = rfhe_ckks_prime(h->a.c, 1) + 1; }
        if (what == 6) { kind = RFHE_REPLY; }
        if (what == 7) { /* one ciphertext more */
            rfhe_message two = {0};
            MUST(rfhe_message_init(&two, m.count + 1, err));
            memcpy(two.program, m.program, RFHE_ID_BYTES);
            memcpy(two.keys, m.keys, RFHE_ID_BYTES);
            for (uint32_t t = 0; t <= m.count; t++) {
                MUST(rfhe_ct_new(&two.ct[t], h->a.c, 1, err));
                MUST(rfhe_ct_copy(two.ct[t], m.ct[0], err));
            }
            rfhe_message_clear(&m);
            m = two;
        }
        const bytes b = write_message(&m, kind, h->a.c);
        refuse(h, as_request, b.data, b.size, "unexpected request", (size_t)what);
        rfhe_bytes_free(b.data);
        rfhe_message_clear(&m);
    }
}

/* A reply of our own: its first number is `value`. */
static bytes forge_reply(const hostile *h, const rfhe_message *like, double value, double scale)
{
    double x[WORLD_N] = {0};
    rfhe_pt *pt = NULL;
    rfhe_message m = {0};

    MUST(rfhe_message_init(&m, 1, err));
    memcpy(m.program, like->program, RFHE_ID_BYTES);
    memcpy(m.keys, like->keys, RFHE_ID_BYTES);
    memcpy(m.tag, like->tag, RFHE_TAG_BYTES);
    x[rfhe_reply_index(h->a.p, WORLD_N, 0)] = value;
    MUST(rfhe_encode_coeffs(&pt, h->a.c, x, WORLD_N, 0, scale, err));
    MUST(rfhe_ct_new(&m.ct[0], h->a.c, 0, err));
    MUST(rfhe_encrypt_secret(m.ct[0], pt, rfhe_client_secret(h->a.client), err));
    const bytes b = write_message(&m, RFHE_REPLY, h->a.c);
    rfhe_message_clear(&m);
    rfhe_pt_free(pt);
    return b;
}

/* The scale of a reply is what its reader divides by: it must be the one that the program ends with. Numbers that the
 * program does not come to are told of, and what is no number is refused. */
static void replies_say_what_they_can(void **state)
{
    hostile h = {.a = sides_new(program_of_halves(3))};
    static const double factor[] = {4, 0x1p-4, 1e-300, 1e200};
    rfhe_message request = {0}, reply = {0};
    rfhe_reply_report report = {0};
    rfhe_error why = {0};
    float logits[16];

    (void)state;
    MUST(rfhe_client_encrypt(&request, h.a.client, h.a.image, err));
    MUST(rfhe_server_run(&reply, h.a.server, &request, NULL, NULL, err));
    const double scale = rfhe_ct_scale(reply.ct[0]);
    for (size_t i = 0; i < sizeof factor / sizeof *factor; i++) {
        MUST(rfhe_ct_set_scale(reply.ct[0], scale * factor[i], err));
        const bytes b = write_message(&reply, RFHE_REPLY, h.a.c);
        refuse(&h, as_reply, b.data, b.size, "reply of another scale", i);
        rfhe_bytes_free(b.data);
    }
    const bytes usual = forge_reply(&h, &reply, 60, scale), large = forge_reply(&h, &reply, 100, scale);
    MUST(rfhe_client_reply(logits, &report, h.a.client, usual.data, usual.size, err));
    assert_true(fabs(report.fill - 60.0 / 64) < 1e-3 && fabs((double)logits[0] / h.a.p->reply_gain - 60) < 0.1);
    MUST(rfhe_client_reply(logits, &report, h.a.client, large.data, large.size, err));
    assert_true(fabs(report.fill - 100.0 / 64) < 1e-3);
    h.a.p->reply_gain = 1e38;
    assert_int_equal(rfhe_client_reply(logits, NULL, h.a.client, usual.data, usual.size, &why), RFHE_E_NUMERIC);
    assert_non_null(strstr(why.text, "output 0"));
    rfhe_bytes_free(usual.data);
    rfhe_bytes_free(large.data);
    rfhe_message_clear(&request);
    rfhe_message_clear(&reply);
    sides_free(&h.a);
}

static void everything_malformed_is_refused(void **state)
{
    hostile h = {.a = sides_new(program_of_halves(3)), .b = sides_new(program_of_halves(4))};
    bytes request = {0}, reply = {0}, foreign = {0}, program = {0}, weights = {0};
    rfhe_text text = {0};

    (void)state;
    MUST(rfhe_client_request(&request.data, &request.size, h.a.client, h.a.image, NULL, err));
    MUST(rfhe_client_request(&foreign.data, &foreign.size, h.b.client, h.b.image, NULL, err));
    MUST(rfhe_server_answer(&reply.data, &reply.size, h.a.server, request.data, request.size, NULL, NULL, err));
    mangle(&h, as_request, &request, 30, "request");
    mangle(&h, as_reply, &reply, 30, "reply");
    refuse(&h, as_request, foreign.data, foreign.size, "request of another program", 0);
    refuse(&h, as_request, reply.data, reply.size, "reply as request", 0);
    refuse(&h, as_reply, request.data, request.size, "request as reply", 0);
    unexpected(&h);

    const rfhe_binding binding = {.program = {0}};
    rfhe_binding mine = binding;
    memcpy(mine.program, h.a.p->id, RFHE_ID_BYTES);
    MUST(rfhe_binding_save(name("%s/mine.id", test_folder()), &mine, h.a.c, 0600, err));
    MUST(rfhe_binding_save(name("%s/other.id", test_folder()), &binding, h.a.c, 0600, err));
    const bytes id = read_bytes(name("%s/mine.id", test_folder())), other = read_bytes(name("%s/other.id", test_folder()));
    mangle(&h, as_binding, &id, 20, "binding");
    refuse(&h, as_binding, other.data, other.size, "binding of another program", 0);

    assert_int_equal(rfhe_program_write_public(&text, h.a.p), RFHE_OK);
    program = (bytes){(uint8_t *)text.data, text.size};
    for (size_t cut = 0; cut <= program.size / 8 * 7; cut += program.size / 8) { refuse(&h, as_program, program.data, cut, "program cut", cut); }
    rfhe_rng rng = rfhe_rng_seed(test_seed(), 77);
    for (int i = 0; i < 20; i++) { /* digits: what is no digit may be white space, which means nothing */
        size_t at = rfhe_rng_below(&rng, program.size);
        while (program.data[at] < '0' || program.data[at] > '8') { at = (at + 1) % program.size; }
        program.data[at]++;
        refuse(&h, as_program, program.data, program.size, "program with another digit", at);
        program.data[at]--;
    }
    MUST(rfhe_program_write_weights(&weights.data, &weights.size, h.a.p, err));
    mangle(&h, as_weights, &weights, 20, "weights");
    bytes theirs = {0};
    MUST(rfhe_program_write_weights(&theirs.data, &theirs.size, h.b.p, err));
    refuse(&h, as_weights, theirs.data, theirs.size, "weights of another program", 0);

    const bytes keys = read_bytes(name("%s/p/server/evaluation.keys", test_folder()));
    const bytes secret = read_bytes(name("%s/p/client/secret.key", test_folder()));
    mangle(&h, as_keys, &keys, 6, "evaluation keys");
    mangle(&h, as_secret, &secret, 20, "secret key");
    refuse(&h, as_keys, secret.data, secret.size, "secret key as evaluation keys", 0);
    refuse(&h, as_secret, keys.data, keys.size, "evaluation keys as secret key", 0);
    print_message("%zu malformed messages, keys and programs refused\n", h.refused);
    assert_true(h.refused >= 200);
    rfhe_free(keys.data);
    rfhe_free(secret.data);
    rfhe_free(id.data);
    rfhe_free(other.data);
    rfhe_free(weights.data);
    rfhe_free(theirs.data);
    rfhe_text_clear(&text);
    rfhe_bytes_free(request.data);
    rfhe_bytes_free(foreign.data);
    rfhe_bytes_free(reply.data);
    sides_free(&h.a);
    sides_free(&h.b);
}

static void cut_file(const char *from, const char *to, size_t keep, size_t flip)
{
    const bytes b = read_bytes(from);

    if (flip < b.size) { b.data[flip] ^= 4; }
    MUST(rfhe_file_write(to, b.data, keep < b.size ? keep : b.size, 0644, err));
    rfhe_free(b.data);
}

/* The command says one sentence and ends with 3. */
static void the_command_ends_with_three(void **state)
{
    const char *f = test_folder();
    static const char *const damage[] = {"client/program.json", "client/secret.key", "client/keys.id"};
    static const char *const hurt[] = {"server/program.json", "server/weights.bin", "server/evaluation.keys", "server/keys.id"};

    (void)state;
    cut_file(name("%s/x.request", f), name("%s/short.request", f), 5000, SIZE_MAX);
    cut_file(name("%s/x.request", f), name("%s/flip.request", f), SIZE_MAX, 700);
    cut_file(name("%s/x.reply", f), name("%s/flip.reply", f), SIZE_MAX, 700);
    static const char *const tried[] = {"infer p short.request", "infer p flip.request", "infer p x.reply", "decrypt p flip.reply",
                                        "decrypt p x.request"};
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
        const int code = command(tried[i]);
        if (code != 3) { fail_msg("rfhe %s: exit code %d", tried[i], code); }
        /* a warning about the insecure ring, and the sentence */
        if (lines_of_error() != 2) { fail_msg("rfhe %s: %zu lines", tried[i], lines_of_error()); }
    }
    for (size_t i = 0; i < 7; i++) {
        const char *path = i < 3 ? damage[i] : hurt[i - 3], *verb = i < 3 ? "decrypt p x.reply" : "infer p x.request";
        char whole[512];
        (void)snprintf(whole, sizeof whole, "%s/p/%s", f, path);
        const bytes b = read_bytes(whole);
        cut_file(whole, whole, b.size / 2, SIZE_MAX);
        const int code = command(verb);
        if (code != 3) { fail_msg("rfhe %s with half of %s: exit code %d", verb, path, code); }
        MUST(rfhe_file_write(whole, b.data, b.size, 0600, err));
        rfhe_free(b.data);
    }
    /* keys of another program under the same parameters */
    rfhe_program *p = program_of_blocks(8);
    MUST(rfhe_program_save(name("%s/q", f), p, err));
    rfhe_program_free(p);
    assert_int_equal(command("keygen q --insecure-test"), 0);
    assert_int_equal(command("infer q x.request"), 3);
    assert_int_equal(system(name("cd '%s' && cp q/server/evaluation.keys p/server/", f)), 0);
    assert_int_equal(command("infer p x.request"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_hold_what_they_may),
        cmocka_unit_test(an_interrupted_keygen_leaves_nothing),
        cmocka_unit_test(the_journey_through_files),
        cmocka_unit_test(the_sides_in_two_places),
        cmocka_unit_test(without_keys_the_way_to_them_is_told),
        cmocka_unit_test(an_insecure_program_must_be_asked_for),
        cmocka_unit_test(requests_are_remembered),
        cmocka_unit_test(the_twin_heeds_the_seed),
        cmocka_unit_test(planning_does_not_orphan_keys),
        cmocka_unit_test(a_name_serves_once),
        cmocka_unit_test(replies_say_what_they_can),
        cmocka_unit_test(everything_malformed_is_refused),
        cmocka_unit_test(the_command_ends_with_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
