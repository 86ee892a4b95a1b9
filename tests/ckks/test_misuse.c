/* What every public call on ciphertexts owes its caller: objects of other parameters are refused before anything is read
 * or written, and a call that fails leaves all its ciphertexts as they were. One table of calls, so that a new one has one
 * line to write. */
#include "refresh_world.h"

enum { LEVEL = 3 }; /* of fresh inputs: what the way to coefficients starts from */

typedef enum input { /* what the first operand is */
    FRESH,  /* slots at LEVEL                              */
    COEFFS, /* the same at the scale that raise expects    */
    RAISED, /* behind mod_raise                            */
    SLOTS   /* behind to_slots                             */
} input;

/* Everything that one set of parameters has to offer. */
typedef struct side {
    refresh_world w;
    rfhe_ct *input[SLOTS + 1];
    rfhe_pt *pt;
    rfhe_linear_map *map;
    rfhe_poly_program *program;
    rfhe_poly_vectors *vectors;
    rfhe_to_coeffs *mask;
} side;

/* What a call gets: outputs and inputs are copies, `with` has the plaintext, the maps and the refresh, `sk` the key. */
typedef struct operands {
    rfhe_ct *out, *a, *b;
    const side *with;
    const rfhe_secret_key *sk;
    rfhe_evaluator *ev;
} operands;

enum { OUT = 1, A = 2, B = 4, WITH = 8 }; /* what a call uses */

static size_t one_coefficient(void *ctx, size_t o, size_t j, uint32_t *index, double *value)
{
    (void)ctx;
    index[0] = (uint32_t)(o + j);
    value[0] = 0.5;
    return 1;
}

static rfhe_status decrypted(const operands *p, rfhe_error *err)
{
    rfhe_pt *pt = NULL;
    const rfhe_status st = rfhe_decrypt(&pt, p->a, p->sk, err);

    rfhe_pt_free(pt);
    return st;
}

#define CALLS(X)                                                                                                         \
    X(copy, FRESH, OUT | A, rfhe_ct_copy(p->out, p->a, err))                                                             \
    X(add, FRESH, OUT | A | B, rfhe_ct_add(p->out, p->a, p->b, p->ev, err))                                              \
    X(sub, FRESH, OUT | A | B, rfhe_ct_sub(p->out, p->a, p->b, p->ev, err))                                              \
    X(neg, FRESH, OUT | A, rfhe_ct_neg(p->out, p->a, p->ev, err))                                                        \
    X(add_plain, FRESH, OUT | A | WITH, rfhe_ct_add_plain(p->out, p->a, p->with->pt, p->ev, err))                        \
    X(add_const, FRESH, OUT | A, rfhe_ct_add_const(p->out, p->a, 0.5, p->ev, err))                                       \
    X(mul_plain, FRESH, OUT | A | WITH, rfhe_ct_mul_plain(p->out, p->a, p->with->pt, false, p->ev, err))                 \
    X(mul_plain_rescaled, FRESH, OUT | A | WITH, rfhe_ct_mul_plain(p->out, p->a, p->with->pt, true, p->ev, err))         \
    X(mul_const, FRESH, OUT | A, rfhe_ct_mul_const(p->out, p->a, 0.5, 0, p->ev, err))                                    \
    X(mul_int, FRESH, OUT | A, rfhe_ct_mul_int(p->out, p->a, 3, p->ev, err))                                             \
    X(mul_monomial, FRESH, OUT | A, rfhe_ct_mul_monomial(p->out, p->a, 5, p->ev, err))                                   \
    X(mul, FRESH, OUT | A | B, rfhe_ct_mul(p->out, p->a, p->b, p->ev, err))                                              \
    X(mul_lazy, FRESH, OUT | A | B, rfhe_ct_mul_lazy(p->out, p->a, p->b, p->ev, err))                                    \
    X(relinearise, FRESH, OUT | A, rfhe_ct_relinearise(p->out, p->a, false, p->ev, err))                                 \
    X(rescale, FRESH, OUT | A, rfhe_ct_rescale(p->out, p->a, p->ev, err))                                                \
    X(drop, FRESH, OUT | A, rfhe_ct_drop(p->out, p->a, 1, p->ev, err))                                                   \
    X(rotate, FRESH, OUT | A, rfhe_ct_rotate(p->out, p->a, 1, p->ev, err))                                               \
    X(conjugate, FRESH, OUT | A, rfhe_ct_conjugate(p->out, p->a, p->ev, err))                                            \
    X(rotate_many, FRESH, OUT | A | B,                                                                                   \
      rfhe_ct_rotate_many((rfhe_ct *[]){p->out, p->b}, p->a, (int64_t[]){0, 1}, 2, p->ev, err))                          \
    X(evaluate, FRESH, OUT | A, rfhe_ct_evaluate(p->out, p->a, p->with->program, p->ev, err))                            \
    X(evaluate_vectors, FRESH, OUT | A | WITH, rfhe_ct_evaluate_vectors(p->out, p->a, p->with->vectors, p->ev, err))     \
    X(linear, FRESH, OUT | A | WITH, rfhe_ct_linear(p->out, p->a, p->with->map, p->ev, err))                             \
    X(convolve, FRESH, OUT | A | B,                                                                                      \
      rfhe_ct_convolve(&p->out, 1, (const rfhe_ct *[]){p->a, p->b}, 2, one_coefficient, NULL, 1, 0, p->ev, err))         \
    X(pack, FRESH, OUT | B, rfhe_ct_pack((rfhe_ct *[]){p->out, p->b}, 2, 1, p->ev, err))                                 \
    X(pack_scalars, FRESH, OUT | B, rfhe_ct_pack_scalars((rfhe_ct *[]){p->out, p->b}, 2, 1, p->ev, err))                 \
    X(to_coeffs, FRESH, OUT | A | WITH, rfhe_ct_to_coeffs(p->out, p->a, p->with->w.r, p->ev, err))                       \
    X(to_coeffs_by, FRESH, OUT | A | WITH, rfhe_ct_to_coeffs_by(p->out, p->a, p->with->mask, p->ev, err))                \
    X(to_coeffs_sum, FRESH, OUT | A | B | WITH,                                                                          \
      rfhe_ct_to_coeffs_sum(p->out, (const rfhe_ct *[]){p->a, p->b},                                                     \
                            (const rfhe_to_coeffs *[]){p->with->mask, p->with->mask}, 2, p->ev, err))                    \
    X(to_coeffs_halves, FRESH, OUT | A | B | WITH,                                                                       \
      rfhe_ct_to_coeffs_halves(p->out, p->a, p->b, p->with->w.r, NULL, p->ev, err))                                      \
    X(raise, COEFFS, OUT | A | WITH, rfhe_ct_raise(p->out, p->a, p->with->w.r, p->ev, err))                               \
    X(raise_low, COEFFS, OUT | A | WITH, rfhe_ct_raise_halves(p->out, NULL, p->a, p->with->w.r, p->ev, err))              \
    X(raise_halves, COEFFS, OUT | A | B | WITH, rfhe_ct_raise_halves(p->out, p->b, p->a, p->with->w.r, p->ev, err))       \
    X(mod_raise, COEFFS, OUT | A | WITH, rfhe_refresh_mod_raise(p->out, p->a, p->with->w.r, p->ev, err))                  \
    X(to_slots, RAISED, OUT | A | B | WITH, rfhe_refresh_to_slots(p->out, p->b, p->a, p->with->w.r, p->ev, err))         \
    X(reduce, SLOTS, OUT | A | WITH, rfhe_refresh_reduce(p->out, p->a, p->with->w.r, p->ev, err))                        \
    X(encrypt_secret, FRESH, OUT | WITH, rfhe_encrypt_secret(p->out, p->with->pt, p->sk, err))                           \
    X(decrypt, FRESH, A, decrypted(p, err))

#define FUNCTION(name, from, uses, call)                                                                                 \
    static rfhe_status call_##name(const operands *p, rfhe_error *err)                                                   \
    {                                                                                                                    \
        return call;                                                                                                     \
    }
CALLS(FUNCTION)

static const struct {
    const char *name;
    input from;
    unsigned uses;
    rfhe_status (*run)(const operands *p, rfhe_error *err);
} calls[] = {
#define ROW(name, from, uses, call) {#name, from, uses, call_##name},
    CALLS(ROW)};

/* ---- Two sides ---- */

static rfhe_status make_map(rfhe_linear_map **out, const rfhe_ckks *c, rfhe_error *err)
{
    const double weight[4] = {1, 2, 3, 4};
    const rfhe_diagonal diagonal[2] = {{.index = 0, .re = weight}, {.index = 1, .re = weight}};

    return rfhe_linear_map_new(out, c, 4, diagonal, 2, LEVEL, NULL, err);
}

static rfhe_status more_keys(rfhe_key_list *list, const rfhe_ckks *c, rfhe_error *err)
{
    rfhe_linear_map *map = NULL;
    rfhe_status st = make_map(&map, c, err);

    if (st == RFHE_OK) { st = rfhe_linear_map_keys(map, list, err); }
    if (st == RFHE_OK) { st = rfhe_pack_scalars_keys(c, LEVEL, list, err); }
    if (st == RFHE_OK) { st = rfhe_key_list_add(list, rfhe_element_rotate(c, 1), LEVEL, 0, err); }
    rfhe_linear_map_free(map);
    return st;
}

static rfhe_ct *copy_of(const rfhe_ct *a)
{
    rfhe_ct *x = NULL;

    MUST(rfhe_ct_new(&x, a->c, a->level, err));
    MUST(rfhe_ct_copy(x, a, err));
    return x;
}

static side side_new(uint32_t log2_n)
{
    const rfhe_poly_step step[] = {{.op = RFHE_POLY_INPUT}, {.op = RFHE_POLY_MUL}, {.op = RFHE_POLY_CONST, .a = 1, .c = 1}};
    const rfhe_refresh_options o = {.to_coeffs_level = LEVEL, .log2_slots = 4, .complex_slots = true};
    side s = {.w = refresh_world_new(log2_n, &o, more_keys)};
    rfhe_poly_program *open = NULL;
    double *x = random_numbers(s.w.slots, log2_n);

    s.input[FRESH] = refresh_encrypt(&s.w, x, NULL, LEVEL);
    s.input[COEFFS] = copy_of(s.input[FRESH]);
    MUST(rfhe_ct_set_scale(s.input[COEFFS], rfhe_ckks_scale(s.w.c, 0), err));
    MUST(rfhe_ct_new(&s.input[RAISED], s.w.c, 0, err));
    MUST(rfhe_refresh_mod_raise(s.input[RAISED], s.input[COEFFS], s.w.r, s.w.ev, err));
    MUST(rfhe_ct_new(&s.input[SLOTS], s.w.c, 0, err));
    MUST(rfhe_refresh_to_slots(s.input[SLOTS], NULL, s.input[RAISED], s.w.r, s.w.ev, err));
    MUST(rfhe_encode(&s.pt, s.w.c, x, NULL, s.w.slots, LEVEL, 0, err));
    MUST(make_map(&s.map, s.w.c, err));
    MUST(rfhe_poly_program_from_steps(&s.program, step, 3, 1, err));
    MUST(rfhe_poly_program_with_vectors(&open, step, (bool[]){false, false, true}, 3, 1, err));
    MUST(rfhe_poly_vectors_new(&s.vectors, open, s.w.c, (const double *[]){x}, s.w.slots, LEVEL, 0, err));
    MUST(rfhe_to_coeffs_new(&s.mask, s.w.r, x, NULL, err));
    rfhe_poly_program_free(open);
    test_free(x);
    return s;
}

static void side_free(side *s)
{
    for (int i = FRESH; i <= SLOTS; i++) { rfhe_ct_free(s->input[i]); }
    rfhe_pt_free(s->pt);
    rfhe_linear_map_free(s->map);
    rfhe_poly_program_free(s->program);
    rfhe_poly_vectors_free(s->vectors);
    rfhe_to_coeffs_free(s->mask);
    refresh_world_free(&s->w);
}

static void check_same(const rfhe_ct *x, const rfhe_ct *y, const char *name, const char *what)
{
    bool same = x->level == y->level && x->parts == y->parts && x->scale == y->scale && x->bound == y->bound &&
                x->error == y->error && x->has_seed == y->has_seed;

    for (uint32_t p = 0; same && p < x->parts; p++) {
        const size_t bytes = (size_t)(x->level + 1) * x->c->n * sizeof(uint64_t);
        same = memcmp(rfhe_ct_limb(x, p, 0), rfhe_ct_limb(y, p, 0), bytes) == 0;
    }
    if (!same) { fail_msg("%s failed and has changed %s", name, what); }
}

/* Call i with an evaluator and key of `own`; what `foreign` names comes from `other`; allocation number `fail_at` fails
 * (0 = none). When the call fails, all is as before. */
static rfhe_status run(size_t i, const side *own, const side *other, unsigned foreign, rfhe_evaluator *ev, size_t fail_at,
                       rfhe_error *err)
{
    const rfhe_ct *const out = (foreign & OUT ? other : own)->input[FRESH];
    const rfhe_ct *const a = (foreign & A ? other : own)->input[calls[i].from];
    const rfhe_ct *const b = (foreign & B ? other : own)->input[FRESH];
    const operands p = {.out = copy_of(out),
                        .a = copy_of(a),
                        .b = copy_of(b),
                        .with = foreign & WITH ? other : own,
                        .sk = own->w.sk,
                        .ev = ev};

    rfhe_mem_fail_at(fail_at);
    const rfhe_status st = calls[i].run(&p, err);
    rfhe_mem_fail_at(0);
    if (st != RFHE_OK) {
        check_same(p.out, out, calls[i].name, "its output");
        check_same(p.a, a, calls[i].name, "its first operand");
        check_same(p.b, b, calls[i].name, "its second operand or output");
    }
    rfhe_ct_free(p.out);
    rfhe_ct_free(p.a);
    rfhe_ct_free(p.b);
    return st;
}

static void objects_of_another_ring_are_refused(void **state)
{
    static const uint32_t degree[2] = {11, 10}; /* too much written, too much read */
    side s[2] = {side_new(degree[0]), side_new(degree[1])};

    (void)state;
    for (int k = 0; k < 2; k++) {
        const side *own = &s[k], *other = &s[1 - k];
        rfhe_evaluator *none = NULL;
        REFUSED(RFHE_E_ARG, "parameters", rfhe_evaluator_new(&none, own->w.c, other->w.keys, err));
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
            MUST(run(i, own, other, 0, own->w.ev, 0, err));
            for (unsigned f = OUT; f <= WITH; f *= 2) {
                rfhe_error err = {0};
                if ((calls[i].uses & f) == 0) { continue; }
                if (run(i, own, other, f, own->w.ev, 0, &err) != RFHE_E_ARG || strstr(err.text, "other parameters") == NULL) {
                    fail_msg("%s takes a foreign %s: '%s'", calls[i].name,
                             f == OUT ? "output" : f == A ? "first operand" : f == B ? "second operand" : "object", err.text);
                }
            }
        }
    }
    side_free(&s[0]);
    side_free(&s[1]);
}

static void a_missing_key_leaves_everything_as_it_was(void **state)
{
    side s = side_new(10);
    const rfhe_eval_keys *const all = s.w.keys;
    rfhe_eval_keys some = {.c = all->c, .key = test_calloc(all->count, sizeof *some.key), .count = all->count - 1};
    size_t failed = 0;

    (void)state;
    for (size_t k = 0; k < all->count; k++) {
        rfhe_evaluator *ev = NULL;
        memcpy(some.key, all->key, k * sizeof *some.key);
        memcpy(some.key + k, all->key + k + 1, (some.count - k) * sizeof *some.key);
        MUST(rfhe_evaluator_new(&ev, s.w.c, &some, err));
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) { failed += run(i, &s, &s, 0, ev, 0, NULL) != RFHE_OK; }
        rfhe_evaluator_free(ev);
    }
    print_message("%zu keys, %zu failed calls\n", all->count, failed);
    assert_true(failed >= all->count);
    test_free(some.key);
    side_free(&s);
}

static void a_failed_allocation_leaves_everything_as_it_was(void **state)
{
    side s = side_new(10);
    size_t failed = 0;

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        rfhe_status st = RFHE_E_NOMEM;
        for (size_t n = 1; st != RFHE_OK; n++) { /* with a new evaluator each: it keeps what it once had */
            rfhe_evaluator *ev = NULL;
            MUST(rfhe_evaluator_new(&ev, s.w.c, s.w.keys, err));
            st = run(i, &s, &s, 0, ev, n, NULL);
            rfhe_evaluator_free(ev);
            if (st != RFHE_OK && st != RFHE_E_NOMEM) { fail_msg("%s: %s", calls[i].name, rfhe_status_name(st)); }
            failed += st != RFHE_OK;
        }
    }
    print_message("%zu failed calls\n", failed);
    assert_true(failed >= sizeof calls / sizeof *calls);
    side_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_of_another_ring_are_refused),
        cmocka_unit_test(a_missing_key_leaves_everything_as_it_was),
        cmocka_unit_test(a_failed_allocation_leaves_everything_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, test_nothing_is_left);
}
