/* Ownership, checks and files of a program. The public part is JSON, so that anyone may look at it; its id is the hash
 * of that text without the id. Weights are one binary block. */
#include "plan/program.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "ckks/random.h"
#include "plan/layout.h"

enum { MAX_ITEMS = 4096, MAX_TERMS = 256, MAX_TEXT = 1 << 24 };
#define MAX_KERNEL 0x1p30

void rfhe_program_free(rfhe_program *p)
{
    if (p == NULL) { return; }
    for (uint32_t i = 0; i < p->n_linear && p->linear != NULL; i++) {
        for (uint32_t t = 0; t < p->linear[i].n_terms && p->linear[i].term != NULL; t++) {
            rfhe_free(p->linear[i].term[t].stencil.w);
        }
        rfhe_free(p->linear[i].term);
        rfhe_free(p->linear[i].bias);
    }
    for (uint32_t i = 0; i < p->n_activations && p->activation != NULL; i++) {
        rfhe_free(p->activation[i].step);
        rfhe_free(p->activation[i].c);
        rfhe_free(p->activation[i].range);
        rfhe_free(p->activation[i].gain);
        rfhe_free(p->activation[i].weight);
    }
    for (uint32_t i = 0; i < p->n_meta && p->meta != NULL; i++) {
        rfhe_free(p->meta[i].key);
        rfhe_free(p->meta[i].value);
    }
    rfhe_free(p->linear);
    rfhe_free(p->activation);
    rfhe_free(p->instruction);
    rfhe_free(p->tensor);
    rfhe_free(p->meta);
    rfhe_free(p);
}

/* ---- checks ---- */

static rfhe_status check_parameters(const rfhe_program *p, rfhe_error *err)
{
    const rfhe_ckks_options *c = &p->ckks;
    const rfhe_refresh_options *r = &p->refresh;

    if (c->log2_n < 10 || c->log2_n > 17 || c->chain_length < 2 || c->chain_length > RFHE_CKKS_MAX_LEVELS ||
        c->special_count > RFHE_CKKS_MAX_SPECIAL || c->special_bits > 60) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the program's parameters are impossible: ring 2^%" PRIu32 ", %" PRIu32
                         " primes and %" PRIu32 " special ones", c->log2_n, c->chain_length, c->special_count);
    }
    for (uint32_t l = 0; l < c->chain_length; l++) {
        if (c->chain[l] < 14 || c->chain[l] > 60 || c->chain_scale[l] > 60) {
            return rfhe_fail(err, RFHE_E_FORMAT, "prime %" PRIu32 " of the program's chain has %u bits and a scale of %u", l,
                             c->chain[l], c->chain_scale[l]);
        }
    }
    if (p->level_linear < 1 || p->level_linear >= c->chain_length || r->to_coeffs_factors < 1 ||
        r->to_coeffs_factors > RFHE_REFRESH_MAX_FACTORS || r->to_coeffs_level != p->level_linear + r->to_coeffs_factors ||
        r->to_coeffs_level >= c->chain_length || r->to_slots_factors > RFHE_REFRESH_MAX_FACTORS || r->doublings > 8 ||
        (r->log2_slots != 0 && (r->log2_slots < RFHE_MIN_LOG2_SLOTS || r->log2_slots >= c->log2_n)) || !(r->reduction_error >= 0) || !(r->bound >= 0)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the program's refresh does not fit its chain: linear steps at level %" PRIu32
                         ", the way to coefficients from level %" PRIu32 " in %" PRIu32 " steps, 2^%" PRIu32 " slots",
                         p->level_linear, r->to_coeffs_level, r->to_coeffs_factors, r->log2_slots);
    }
    return RFHE_OK;
}

static rfhe_status check_image(const rfhe_program *p, rfhe_error *err)
{
    const rfhe_layout *l = &p->tensor[0].layout;
    const uint64_t cut = (uint64_t)p->phase_y * p->phase_x;

    if (p->phase_y < 1 || p->phase_x < 1 || p->image_channels < 1 || p->image_height % p->phase_y != 0 ||
        p->image_width % p->phase_x != 0 || p->image_channels * cut != l->channels ||
        p->image_height / p->phase_y != l->height || p->image_width / p->phase_x != l->width) {
        return rfhe_fail(err, RFHE_E_FORMAT, "an image of %" PRIu32 " x %" PRIu32 " x %" PRIu32 " in %" PRIu32 " x %" PRIu32
                         " phases is not tensor 0 of %" PRIu32 " x %" PRIu32 " x %" PRIu32, p->image_channels, p->image_height,
                         p->image_width, p->phase_y, p->phase_x, l->channels, l->height, l->width);
    }
    return RFHE_OK;
}

static rfhe_status check_linear(const rfhe_program *p, const rfhe_instruction *n, const bool *written, rfhe_error *err)
{
    const rfhe_linear *l = &p->linear[n->which];
    const rfhe_layout *to = &p->tensor[n->out].layout;
    rfhe_status st = RFHE_OK;

    for (uint32_t t = 0; t < l->n_terms; t++) {
        const rfhe_stencil *s = &l->term[t].stencil;
        if (l->term[t].tensor >= p->n_tensors || !written[l->term[t].tensor]) {
            return rfhe_fail(err, RFHE_E_FORMAT, "'%s' reads tensor %" PRIu32 ", which nothing has written", n->name, l->term[t].tensor);
        }
        const double size = (double)s->out_channels * s->in_channels * s->height * s->width;
        const int32_t far = 1 << 20;
        if (size < 1 || size > MAX_KERNEL || s->stride_y > 1U << 20 || s->stride_x > 1U << 20 || s->offset_y < -far ||
            s->offset_x < -far || s->offset_y > far || s->offset_x > far) {
            return rfhe_fail(err, RFHE_E_FORMAT, "'%s' has an impossible kernel: %" PRIu32 " x %" PRIu32 " channels, %" PRIu32 " x %"
                             PRIu32, n->name, s->out_channels, s->in_channels, s->height, s->width);
        }
        RFHE_TRY(rfhe_layout_check_term(to, &p->tensor[l->term[t].tensor].layout, s, rfhe_program_log2_used(p), n->name, err));
    }

done:
    return st;
}

static bool same_layout(const rfhe_layout *a, const rfhe_layout *b)
{
    return a->channels == b->channels && a->height == b->height && a->width == b->width && a->block == b->block &&
           a->row == b->row && a->column == b->column && a->ciphertexts == b->ciphertexts && a->both_halves == b->both_halves;
}

/* Depth of a list of steps; UINT32_MAX when it is none. */
static uint32_t steps_depth(const rfhe_poly_step *step, uint32_t n)
{
    uint32_t depth[RFHE_POLY_MAX_STEPS] = {0};

    for (uint32_t i = 0; i < n; i++) {
        const rfhe_poly_step *t = &step[i];
        if ((i == 0) != (t->op == RFHE_POLY_INPUT) || (i > 0 && (t->a >= i || t->b >= i)) || !isfinite(t->c)) { return UINT32_MAX; }
        if (t->op == RFHE_POLY_INT && (t->c != rint(t->c) || fabs(t->c) > 64)) { return UINT32_MAX; }
        if (i == 0) { continue; }
        const bool two = t->op == RFHE_POLY_MUL || t->op == RFHE_POLY_ADD;
        depth[i] = two && depth[t->b] > depth[t->a] ? depth[t->b] : depth[t->a];
        depth[i] += t->op == RFHE_POLY_MUL || t->op == RFHE_POLY_SCALE;
    }
    return n > 0 ? depth[n - 1] : 0;
}

static rfhe_status check_activation(const rfhe_program *p, const rfhe_instruction *n, const bool *written, rfhe_error *err)
{
    const rfhe_activation *a = &p->activation[n->which];

    if (n->in >= p->n_tensors || !written[n->in] || n->in == n->out) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s' reads tensor %" PRIu32 ", which nothing has written", n->name, n->in);
    }
    if (!same_layout(&p->tensor[n->in].layout, &p->tensor[n->out].layout)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s' would change the layout of tensor %" PRIu32, n->name, n->in);
    }
    if (p->tensor[n->in].layout.both_halves && !p->refresh.complex_slots) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s' uses both halves of the coefficients, the refresh only one", n->name);
    }
    if (a->n_steps > RFHE_POLY_MAX_STEPS || a->mask_level > 1 || steps_depth(a->step, a->n_steps) != a->depth ||
        a->depth + p->refresh.to_coeffs_level >= p->ckks.chain_length) {
        return rfhe_fail(err, RFHE_E_FORMAT, "'%s' has steps that make no sense: %" PRIu32 " of depth %" PRIu32, n->name, a->n_steps,
                         a->depth);
    }
    return RFHE_OK;
}

rfhe_status rfhe_program_check(const rfhe_program *p, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    bool *written = NULL;

    RFHE_TRY(check_parameters(p, err));
    if (p->n_tensors < 2 || p->n_tensors > MAX_ITEMS || p->n_instructions < 1 || p->n_instructions > MAX_ITEMS ||
        p->n_linear > MAX_ITEMS || p->n_activations > MAX_ITEMS) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "a program of %" PRIu32 " instructions on %" PRIu32 " tensors is not possible",
                       p->n_instructions, p->n_tensors);
        goto done;
    }
    written = rfhe_calloc(p->n_tensors, sizeof *written);
    if (written == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to check a program");
        goto done;
    }
    for (uint32_t t = 0; t < p->n_tensors; t++) {
        if (p->tensor[t].last_use >= p->n_instructions) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "tensor '%s' is said to be used by instruction %" PRIu32 " of %" PRIu32,
                           p->tensor[t].name, p->tensor[t].last_use, p->n_instructions);
            goto done;
        }
        RFHE_TRY(rfhe_layout_check(&p->tensor[t].layout, rfhe_program_log2_used(p), p->tensor[t].name, err));
    }
    RFHE_TRY(check_image(p, err));
    written[0] = true;
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *n = &p->instruction[i];
        const bool activate = n->kind == RFHE_DO_ACTIVATE, reply = n->kind == RFHE_DO_REPLY;
        if (n->out >= p->n_tensors || written[n->out] || n->which >= (activate ? p->n_activations : p->n_linear) ||
            reply != (i + 1 == p->n_instructions) || n->level_in != (activate ? 0 : p->level_linear) ||
            n->level_out != (activate ? p->level_linear : 0)) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "instruction %" PRIu32 " ('%s') is out of place: tensor %" PRIu32 ", levels %" PRIu32
                           " to %" PRIu32, i, n->name, n->out, n->level_in, n->level_out);
            goto done;
        }
        if (activate) {
            RFHE_TRY(check_activation(p, n, written, err));
        } else {
            RFHE_TRY(check_linear(p, n, written, err));
        }
        for (uint32_t t = 0; t < (activate ? 1 : p->linear[n->which].n_terms); t++) {
            const uint32_t in = activate ? n->in : p->linear[n->which].term[t].tensor;
            if (p->tensor[in].last_use < i) {
                st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' reads tensor %" PRIu32 " after its last use", n->name, in);
                goto done;
            }
        }
        written[n->out] = true;
        const rfhe_layout *l = &p->tensor[n->out].layout;
        if (reply && (l->channels != p->outputs || l->height != 1 || l->width != 1 || l->ciphertexts != 1)) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "a reply of %" PRIu32 " numbers does not lie in %" PRIu32 " x %" PRIu32 " x %" PRIu32,
                           p->outputs, l->channels, l->height, l->width);
            goto done;
        }
    }
    if (!(p->reply_gain > 0) || !isfinite(p->reply_gain)) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "the factor of the reply is %g", p->reply_gain);
    }

done:
    rfhe_free(written);
    return st;
}

/* ---- the public part: writing ---- */

static const char *const op_names[] = {"input", "mul", "scale", "int", "add", "const"};
static const char *const kind_names[] = {"linear", "activate", "reply"};
enum { N_OPS = 6, N_KINDS = 3 };

/* Unsigned members of a struct, by name: written and read by the same table. */
typedef struct field {
    const char *name;
    size_t offset;
} field;

#define U32(type, member) {#member, offsetof(type, member)}
static const field ckks_fields[] = {U32(rfhe_ckks_options, log2_n), U32(rfhe_ckks_options, special_count),
                                    U32(rfhe_ckks_options, special_bits), U32(rfhe_ckks_options, security_bits)};
static const field refresh_fields[] = {
    U32(rfhe_refresh_options, log2_slots), U32(rfhe_refresh_options, to_coeffs_level),
    U32(rfhe_refresh_options, to_coeffs_factors), U32(rfhe_refresh_options, to_slots_factors),
    U32(rfhe_refresh_options, doublings)};
static const field layout_fields[] = {U32(rfhe_layout, channels), U32(rfhe_layout, height), U32(rfhe_layout, width),
                                      U32(rfhe_layout, block),    U32(rfhe_layout, row),    U32(rfhe_layout, column),
                                      U32(rfhe_layout, ciphertexts)};
static const field stencil_fields[] = {U32(rfhe_stencil, out_channels), U32(rfhe_stencil, in_channels),
                                       U32(rfhe_stencil, height),       U32(rfhe_stencil, width),
                                       U32(rfhe_stencil, stride_y),     U32(rfhe_stencil, stride_x)};
static const field instruction_fields[] = {U32(rfhe_instruction, out), U32(rfhe_instruction, in), U32(rfhe_instruction, which),
                                           U32(rfhe_instruction, level_in), U32(rfhe_instruction, level_out)};
static const field image_fields[] = {U32(rfhe_program, image_channels), U32(rfhe_program, image_height),
                                     U32(rfhe_program, image_width),    U32(rfhe_program, phase_y),
                                     U32(rfhe_program, phase_x),        U32(rfhe_program, level_linear),
                                     U32(rfhe_program, outputs)};
#undef U32
#define COUNT(list) (sizeof(list) / sizeof *(list))

static void put_fields(rfhe_json *j, const void *object, const field *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t v;
        memcpy(&v, (const char *)object + f[i].offset, sizeof v);
        rfhe_json_integer(j, f[i].name, v);
    }
}

static void put_parameters(rfhe_json *j, const rfhe_program *p)
{
    rfhe_json_object(j, "ckks");
    put_fields(j, &p->ckks, ckks_fields, COUNT(ckks_fields));
    rfhe_json_bool(j, "insecure_test", p->ckks.insecure_test);
    rfhe_json_array(j, "chain");
    for (uint32_t l = 0; l < p->ckks.chain_length; l++) { rfhe_json_integer(j, NULL, p->ckks.chain[l]); }
    rfhe_json_end_array(j);
    rfhe_json_array(j, "chain_scale");
    for (uint32_t l = 0; l < p->ckks.chain_length; l++) { rfhe_json_integer(j, NULL, p->ckks.chain_scale[l]); }
    rfhe_json_end_array(j);
    rfhe_json_end_object(j);
    rfhe_json_object(j, "refresh");
    put_fields(j, &p->refresh, refresh_fields, COUNT(refresh_fields));
    rfhe_json_bool(j, "complex_slots", p->refresh.complex_slots);
    rfhe_json_bool(j, "lean", p->refresh.lean);
    rfhe_json_number(j, "reduction_error", p->refresh.reduction_error);
    rfhe_json_number(j, "bound", p->refresh.bound);
    rfhe_json_end_object(j);
}

static void put_linear(rfhe_json *j, const rfhe_linear *l)
{
    rfhe_json_object(j, NULL);
    rfhe_json_array(j, "terms");
    for (uint32_t t = 0; t < l->n_terms; t++) {
        rfhe_json_object(j, NULL);
        rfhe_json_integer(j, "tensor", l->term[t].tensor);
        put_fields(j, &l->term[t].stencil, stencil_fields, COUNT(stencil_fields));
        rfhe_json_integer(j, "offset_y", l->term[t].stencil.offset_y);
        rfhe_json_integer(j, "offset_x", l->term[t].stencil.offset_x);
        rfhe_json_end_object(j);
    }
    rfhe_json_end_array(j);
    rfhe_json_end_object(j);
}

static void put_activation(rfhe_json *j, const rfhe_activation *a)
{
    rfhe_json_object(j, NULL);
    rfhe_json_string(j, "form", a->form);
    rfhe_json_integer(j, "depth", a->depth);
    rfhe_json_integer(j, "mask_level", a->mask_level);
    rfhe_json_array(j, "steps");
    for (uint32_t k = 0; k < a->n_steps; k++) {
        rfhe_json_object(j, NULL);
        rfhe_json_string(j, "op", op_names[a->step[k].op]);
        rfhe_json_integer(j, "a", a->step[k].a);
        rfhe_json_integer(j, "b", a->step[k].b);
        rfhe_json_number(j, "c", a->step[k].c);
        rfhe_json_end_object(j);
    }
    rfhe_json_end_array(j);
    rfhe_json_end_object(j);
}

static void put_instruction(rfhe_json *j, const rfhe_instruction *n)
{
    rfhe_json_object(j, NULL);
    rfhe_json_string(j, "do", kind_names[n->kind]);
    rfhe_json_string(j, "name", n->name);
    put_fields(j, n, instruction_fields, COUNT(instruction_fields));
    rfhe_json_number(j, "scale_out", n->scale_out);
    rfhe_json_integer(j, "products", (int64_t)n->products);
    rfhe_json_integer(j, "key_switches", (int64_t)n->key_switches);
    rfhe_json_number(j, "seconds", n->seconds);
    rfhe_json_number(j, "bytes", n->bytes);
    rfhe_json_end_object(j);
}

static void put_bill(rfhe_json *j, const rfhe_program *p)
{
    rfhe_json_object(j, "bill");
    rfhe_json_integer(j, "security_bits", p->bill.security_bits);
    rfhe_json_integer(j, "refreshes", p->bill.refreshes);
    rfhe_json_number(j, "log2_qp", p->bill.log2_qp);
    rfhe_json_number(j, "seconds", p->bill.seconds);
    rfhe_json_number(j, "precision_bits", p->bill.precision_bits);
    rfhe_json_integer(j, "key_switches", (int64_t)p->bill.key_switches);
    rfhe_json_number(j, "key_bytes", p->bill.key_bytes);
    rfhe_json_number(j, "memory_bytes", p->bill.memory_bytes);
    rfhe_json_number(j, "request_bytes", p->bill.request_bytes);
    rfhe_json_number(j, "reply_bytes", p->bill.reply_bytes);
    rfhe_json_number(j, "upload_bytes", p->bill.upload_bytes);
    rfhe_json_string(j, "machine", p->bill.machine);
    rfhe_json_end_object(j);
}

static void write_hex(char hex[65], const uint8_t bytes[32])
{
    for (size_t i = 0; i < 32; i++) { (void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]); }
}

/* The text; `id` NULL: without, as it is hashed. */
static rfhe_status put_program(rfhe_text *out, const rfhe_program *p, const char *id)
{
    rfhe_json w = {.out = out}, *j = &w;
    char commitment[65];

    write_hex(commitment, p->commitment);
    rfhe_json_object(j, NULL);
    rfhe_json_string(j, "schema", "rfhe.program/2");
    if (id != NULL) { rfhe_json_string(j, "id", id); }
    rfhe_json_string(j, "commitment", commitment);
    rfhe_json_string(j, "model", p->model);
    rfhe_json_string(j, "set", p->set);
    put_fields(j, p, image_fields, COUNT(image_fields));
    rfhe_json_number(j, "reply_gain", p->reply_gain);
    put_parameters(j, p);
    rfhe_json_array(j, "tensors");
    for (uint32_t t = 0; t < p->n_tensors; t++) {
        rfhe_json_object(j, NULL);
        rfhe_json_string(j, "name", p->tensor[t].name);
        put_fields(j, &p->tensor[t].layout, layout_fields, COUNT(layout_fields));
        rfhe_json_bool(j, "both_halves", p->tensor[t].layout.both_halves);
        rfhe_json_integer(j, "last_use", p->tensor[t].last_use);
        rfhe_json_end_object(j);
    }
    rfhe_json_end_array(j);
    rfhe_json_array(j, "linear");
    for (uint32_t k = 0; k < p->n_linear; k++) { put_linear(j, &p->linear[k]); }
    rfhe_json_end_array(j);
    rfhe_json_array(j, "activations");
    for (uint32_t k = 0; k < p->n_activations; k++) { put_activation(j, &p->activation[k]); }
    rfhe_json_end_array(j);
    rfhe_json_array(j, "instructions");
    for (uint32_t k = 0; k < p->n_instructions; k++) { put_instruction(j, &p->instruction[k]); }
    rfhe_json_end_array(j);
    rfhe_json_array(j, "meta");
    for (uint32_t k = 0; k < p->n_meta; k++) {
        rfhe_json_object(j, NULL);
        rfhe_json_string(j, "key", p->meta[k].key);
        rfhe_json_string(j, "value", p->meta[k].value);
        rfhe_json_end_object(j);
    }
    rfhe_json_end_array(j);
    put_bill(j, p);
    rfhe_json_end_object(j);
    rfhe_text_add(out, "\n");
    return rfhe_text_status(out);
}

static rfhe_status hash_program(uint8_t id[32], const rfhe_program *p, rfhe_error *err)
{
    rfhe_text t = {0};
    const rfhe_status st = put_program(&t, p, NULL);

    if (st == RFHE_OK) {
        (void)crypto_generichash(id, 32, (const uint8_t *)t.data, t.size, NULL, 0);
    } else {
        (void)rfhe_fail(err, st, "no memory to write a program");
    }
    rfhe_text_clear(&t);
    return st;
}

rfhe_status rfhe_program_write_public(rfhe_text *out, const rfhe_program *p)
{
    char hex[65];

    write_hex(hex, p->id);
    return put_program(out, p, hex);
}

/* ---- the public part: reading ---- */

/* Where a value came from, for sentences. */
typedef struct reader {
    rfhe_error *err;
    const char *where;
    rfhe_status st;
} reader;

static bool bad(reader *r, const char *key, const char *why)
{
    if (r->st == RFHE_OK) {
        r->st = rfhe_fail(r->err, RFHE_E_FORMAT, "program.json: '%s' of %s %s", key, r->where, why);
    }
    return false;
}

static bool get_u64(reader *r, const json_t *o, const char *key, uint64_t most, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_integer(v)) { return bad(r, key, "is missing or no whole number"); }
    const json_int_t n = json_integer_value(v);
    if (n < 0 || (uint64_t)n > most) { return bad(r, key, "is out of range"); }
    *out = (uint64_t)n;
    return true;
}

static bool get_u32(reader *r, const json_t *o, const char *key, uint32_t *out)
{
    uint64_t v = 0;

    if (!get_u64(r, o, key, UINT32_MAX, &v)) { return false; }
    *out = (uint32_t)v;
    return true;
}

static bool get_i32(reader *r, const json_t *o, const char *key, int32_t *out)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_integer(v)) { return bad(r, key, "is missing or no whole number"); }
    const json_int_t n = json_integer_value(v);
    if (n < INT32_MIN || n > INT32_MAX) { return bad(r, key, "is out of range"); }
    *out = (int32_t)n;
    return true;
}

static bool get_double(reader *r, const json_t *o, const char *key, double *out)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_number(v)) { return bad(r, key, "is missing or no number"); }
    *out = json_number_value(v);
    return isfinite(*out) ? true : bad(r, key, "is not finite");
}

static bool get_bool(reader *r, const json_t *o, const char *key, bool *out)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_boolean(v)) { return bad(r, key, "is missing or neither true nor false"); }
    *out = json_is_true(v);
    return true;
}

static bool get_text(reader *r, const json_t *o, const char *key, char *out, size_t room)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_string(v)) { return bad(r, key, "is missing or no text"); }
    if (json_string_length(v) >= room || strlen(json_string_value(v)) != json_string_length(v)) { return bad(r, key, "is too long"); }
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return true;
}

/* 32 bytes as 64 digits. */
static bool get_hash(reader *r, const json_t *o, const char *key, uint8_t out[32])
{
    char text[65] = "", again[65];
    size_t n = 0;

    if (!get_text(r, o, key, text, sizeof text)) { return false; }
    if (sodium_hex2bin(out, 32, text, strlen(text), NULL, &n, NULL) != 0 || n != 32) { return bad(r, key, "is no hash"); }
    write_hex(again, out);
    return strcmp(again, text) == 0 ? true : bad(r, key, "is no hash");
}

static bool get_fields(reader *r, const json_t *o, void *object, const field *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t v = 0;
        if (!get_u32(r, o, f[i].name, &v)) { return false; }
        memcpy((char *)object + f[i].offset, &v, sizeof v);
    }
    return true;
}

/* An array of at most `most` items, with room for that many of `size` bytes in *out. */
static const json_t *get_array(reader *r, const json_t *o, const char *key, size_t most, uint32_t *n, void **out, size_t size)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_array(v) || json_array_size(v) > most) {
        (void)bad(r, key, "is missing, no array, or too long");
        return NULL;
    }
    *out = rfhe_calloc(json_array_size(v), size);
    if (*out == NULL) {
        if (r->st == RFHE_OK) { r->st = rfhe_fail(r->err, RFHE_E_NOMEM, "no memory to read a program"); }
        return NULL;
    }
    *n = (uint32_t)json_array_size(v);
    return v;
}

static bool get_bytes(reader *r, const json_t *o, const char *key, uint8_t *out, uint32_t n)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_array(v) || json_array_size(v) != n) { return bad(r, key, "is missing or has another length"); }
    for (uint32_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(v, i);
        if (!json_is_integer(e) || json_integer_value(e) < 0 || json_integer_value(e) > 255) { return bad(r, key, "has an entry out of range"); }
        out[i] = (uint8_t)json_integer_value(e);
    }
    return true;
}

static bool get_parameters(reader *r, const json_t *root, rfhe_program *p)
{
    const json_t *c = json_object_get(root, "ckks"), *f = json_object_get(root, "refresh");
    const size_t n = json_array_size(json_object_get(c, "chain"));

    r->where = "ckks";
    if (n > RFHE_CKKS_MAX_LEVELS) { return bad(r, "chain", "is too long"); }
    p->ckks.chain_length = (uint32_t)n;
    if (!get_fields(r, c, &p->ckks, ckks_fields, COUNT(ckks_fields)) ||
        !get_bool(r, c, "insecure_test", &p->ckks.insecure_test) || !get_bytes(r, c, "chain", p->ckks.chain, (uint32_t)n) ||
        !get_bytes(r, c, "chain_scale", p->ckks.chain_scale, (uint32_t)n)) {
        return false;
    }
    r->where = "refresh";
    return get_fields(r, f, &p->refresh, refresh_fields, COUNT(refresh_fields)) &&
           get_bool(r, f, "complex_slots", &p->refresh.complex_slots) && get_bool(r, f, "lean", &p->refresh.lean) &&
           get_double(r, f, "reduction_error", &p->refresh.reduction_error) && get_double(r, f, "bound", &p->refresh.bound);
}

static bool get_linear(reader *r, const json_t *o, rfhe_linear *l)
{
    void *room = NULL;
    const json_t *terms = get_array(r, o, "terms", MAX_TERMS, &l->n_terms, &room, sizeof *l->term);

    if (terms == NULL) { return false; }
    l->term = room;
    for (uint32_t t = 0; t < l->n_terms; t++) {
        const json_t *e = json_array_get(terms, t);
        if (!get_u32(r, e, "tensor", &l->term[t].tensor) ||
            !get_fields(r, e, &l->term[t].stencil, stencil_fields, COUNT(stencil_fields)) ||
            !get_i32(r, e, "offset_y", &l->term[t].stencil.offset_y) || !get_i32(r, e, "offset_x", &l->term[t].stencil.offset_x)) {
            return false;
        }
    }
    return true;
}

static bool get_named(reader *r, const json_t *o, const char *key, const char *const *names, size_t n, int *out)
{
    char text[16];

    if (!get_text(r, o, key, text, sizeof text)) { return false; }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (int)i;
            return true;
        }
    }
    return bad(r, key, "is not known");
}

static bool get_activation(reader *r, const json_t *o, rfhe_activation *a)
{
    void *room = NULL;

    if (!get_text(r, o, "form", a->form, sizeof a->form) || !get_u32(r, o, "depth", &a->depth) ||
        !get_u32(r, o, "mask_level", &a->mask_level)) {
        return false;
    }
    const json_t *steps = get_array(r, o, "steps", RFHE_POLY_MAX_STEPS, &a->n_steps, &room, sizeof *a->step);
    if (steps == NULL) { return false; }
    a->step = room;
    for (uint32_t k = 0; k < a->n_steps; k++) {
        const json_t *e = json_array_get(steps, k);
        uint32_t x = 0, y = 0;
        int op = 0;
        if (!get_named(r, e, "op", op_names, N_OPS, &op) || !get_u32(r, e, "a", &x) || !get_u32(r, e, "b", &y) ||
            !get_double(r, e, "c", &a->step[k].c)) {
            return false;
        }
        if (x >= RFHE_POLY_MAX_STEPS || y >= RFHE_POLY_MAX_STEPS) { return bad(r, "steps", "has a register out of range"); }
        a->step[k].op = (rfhe_poly_op)op;
        a->step[k].a = (uint16_t)x;
        a->step[k].b = (uint16_t)y;
    }
    return true;
}

static bool get_instruction(reader *r, const json_t *o, rfhe_instruction *n)
{
    int kind = 0;

    if (!get_named(r, o, "do", kind_names, N_KINDS, &kind) || !get_text(r, o, "name", n->name, sizeof n->name) ||
        !get_fields(r, o, n, instruction_fields, COUNT(instruction_fields)) || !get_double(r, o, "scale_out", &n->scale_out) ||
        !get_u64(r, o, "products", INT64_MAX, &n->products) || !get_u64(r, o, "key_switches", INT64_MAX, &n->key_switches) ||
        !get_double(r, o, "seconds", &n->seconds) || !get_double(r, o, "bytes", &n->bytes)) {
        return false;
    }
    n->kind = (rfhe_instruction_kind)kind;
    return true;
}

static bool get_bill(reader *r, const json_t *root, rfhe_program *p)
{
    const json_t *o = json_object_get(root, "bill");

    r->where = "bill";
    return get_u32(r, o, "security_bits", &p->bill.security_bits) && get_u32(r, o, "refreshes", &p->bill.refreshes) &&
           get_double(r, o, "log2_qp", &p->bill.log2_qp) && get_double(r, o, "seconds", &p->bill.seconds) &&
           get_double(r, o, "precision_bits", &p->bill.precision_bits) &&
           get_u64(r, o, "key_switches", INT64_MAX, &p->bill.key_switches) && get_double(r, o, "key_bytes", &p->bill.key_bytes) &&
           get_double(r, o, "memory_bytes", &p->bill.memory_bytes) && get_double(r, o, "request_bytes", &p->bill.request_bytes) &&
           get_double(r, o, "reply_bytes", &p->bill.reply_bytes) && get_double(r, o, "upload_bytes", &p->bill.upload_bytes) &&
           get_text(r, o, "machine", p->bill.machine, sizeof p->bill.machine);
}

static bool get_tensors(reader *r, const json_t *root, rfhe_program *p)
{
    void *room = NULL;
    const json_t *list = get_array(r, root, "tensors", MAX_ITEMS, &p->n_tensors, &room, sizeof *p->tensor);

    if (list == NULL) { return false; }
    p->tensor = room;
    r->where = "a tensor";
    for (uint32_t t = 0; t < p->n_tensors; t++) {
        const json_t *o = json_array_get(list, t);
        rfhe_tensor_use *u = &p->tensor[t];
        if (!get_text(r, o, "name", u->name, sizeof u->name) ||
            !get_fields(r, o, &u->layout, layout_fields, COUNT(layout_fields)) ||
            !get_bool(r, o, "both_halves", &u->layout.both_halves) || !get_u32(r, o, "last_use", &u->last_use)) {
            return false;
        }
    }
    return true;
}

static bool get_meta(reader *r, const json_t *root, rfhe_program *p)
{
    void *room = NULL;
    const json_t *list = get_array(r, root, "meta", MAX_ITEMS, &p->n_meta, &room, sizeof *p->meta);

    if (list == NULL) { return false; }
    p->meta = room;
    r->where = "meta";
    for (uint32_t k = 0; k < p->n_meta; k++) {
        const json_t *o = json_array_get(list, k);
        const char *key = json_string_value(json_object_get(o, "key")), *value = json_string_value(json_object_get(o, "value"));
        if (key == NULL || value == NULL) { return bad(r, "key", "or its value is missing"); }
        p->meta[k].key = rfhe_strdup(key);
        p->meta[k].value = rfhe_strdup(value);
        if (p->meta[k].key == NULL || p->meta[k].value == NULL) {
            r->st = rfhe_fail(r->err, RFHE_E_NOMEM, "no memory to read a program");
            return false;
        }
    }
    return true;
}

static bool get_program(reader *r, const json_t *root, rfhe_program *p)
{
    void *room = NULL;
    const json_t *list = NULL;

    r->where = "the program";
    if (!get_hash(r, root, "commitment", p->commitment) || !get_text(r, root, "model", p->model, sizeof p->model) || !get_text(r, root, "set", p->set, sizeof p->set) ||
        !get_fields(r, root, p, image_fields, COUNT(image_fields)) || !get_double(r, root, "reply_gain", &p->reply_gain) ||
        !get_parameters(r, root, p) || !get_tensors(r, root, p)) {
        return false;
    }
    r->where = "a linear step";
    list = get_array(r, root, "linear", MAX_ITEMS, &p->n_linear, &room, sizeof *p->linear);
    p->linear = list != NULL ? room : NULL;
    for (uint32_t k = 0; list != NULL && k < p->n_linear; k++) {
        if (!get_linear(r, json_array_get(list, k), &p->linear[k])) { return false; }
    }
    if (list == NULL) { return false; }
    r->where = "an activation";
    list = get_array(r, root, "activations", MAX_ITEMS, &p->n_activations, &room, sizeof *p->activation);
    p->activation = list != NULL ? room : NULL;
    for (uint32_t k = 0; list != NULL && k < p->n_activations; k++) {
        if (!get_activation(r, json_array_get(list, k), &p->activation[k])) { return false; }
    }
    if (list == NULL) { return false; }
    r->where = "an instruction";
    list = get_array(r, root, "instructions", MAX_ITEMS, &p->n_instructions, &room, sizeof *p->instruction);
    p->instruction = list != NULL ? room : NULL;
    for (uint32_t k = 0; list != NULL && k < p->n_instructions; k++) {
        if (!get_instruction(r, json_array_get(list, k), &p->instruction[k])) { return false; }
    }
    return list != NULL && get_meta(r, root, p) && get_bill(r, root, p);
}

rfhe_status rfhe_program_read_public(rfhe_program **out, const void *data, size_t size, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    json_error_t why;
    json_t *root = NULL;
    char id[65] = "", schema[32] = "", hex[65];
    uint8_t hash[32];
    reader r = {.err = err, .where = "the program"};
    rfhe_program *p = rfhe_calloc(1, sizeof *p);

    if (p == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory to read a program"); }
    root = size <= MAX_TEXT ? json_loadb(data, size, JSON_REJECT_DUPLICATES, &why) : NULL;
    if (!json_is_object(root)) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "program.json is no JSON document of a program");
        goto done;
    }
    if (!get_text(&r, root, "schema", schema, sizeof schema) || !get_text(&r, root, "id", id, sizeof id)) {
        st = r.st;
        goto done;
    }
    if (strcmp(schema, "rfhe.program/1") == 0) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "program.json was made by an earlier version: plan the network again");
        goto done;
    }
    if (strcmp(schema, "rfhe.program/2") != 0) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "program.json is of another kind: its schema is '%s'", schema);
        goto done;
    }
    if (!get_program(&r, root, p)) {
        st = r.st;
        goto done;
    }
    RFHE_TRY(rfhe_program_check(p, err));
    RFHE_TRY(hash_program(hash, p, err));
    write_hex(hex, hash);
    if (strcmp(hex, id) != 0) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "program.json has been changed: its content does not have the id %.16s...", id);
        goto done;
    }
    memcpy(p->id, hash, sizeof hash);
    *out = p;
    p = NULL;

done:
    json_decref(root);
    rfhe_program_free(p);
    return st;
}

/* ---- weights ----
 *
 *   0   8   "rfhewght"
 *   8   4   version: 2
 *   12  4   zero
 *   16  8   bytes of the whole file
 *   24  32  id of the program
 *   56  32  salt
 *   88      per linear step and term: out_channels * in_channels bytes, the kind of each plane of the kernel (0 zero, 1
 *           one number, 2 all), then their numbers (float); then 1 and the bias (float), or 0
 *           per activation: constants (double, steps * channels), ranges and gains (double); 1 and weights (float), or 0
 *   end-32  BLAKE2b-256 of everything before
 *
 * From 88 to end-32 is what the program commits to: BLAKE2b-256 of it with the salt as key. */

enum { HEADER = 88, SALT_AT = 56, HASH = 32, VERSION = 2 };
static const char magic[8] = {'r', 'f', 'h', 'e', 'w', 'g', 'h', 't'};

typedef struct sizes { /* of what a linear step or an activation writes or works on */
    size_t channels, places;
} sizes;

/* By the instruction that uses it; false when none does. */
static bool sizes_of(const rfhe_program *p, bool activation, uint32_t which, sizes *out)
{
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *n = &p->instruction[i];
        if ((n->kind == RFHE_DO_ACTIVATE) != activation || n->which != which) { continue; }
        const rfhe_layout *l = &p->tensor[n->out].layout;
        *out = (sizes){l->channels, (size_t)l->height * l->width};
        return true;
    }
    return false;
}

static uint8_t plane_kind(const float *w, size_t taps)
{
    for (size_t k = 1; k < taps; k++) {
        if (w[k] != w[0]) { return 2; }
    }
    return w[0] != 0;
}

static void put_stencil(rfhe_text *t, const rfhe_stencil *s)
{
    const size_t taps = (size_t)s->height * s->width, planes = (size_t)s->out_channels * s->in_channels;

    for (size_t k = 0; k < planes; k++) {
        const uint8_t kind = plane_kind(s->w + k * taps, taps);
        rfhe_text_add_bytes(t, &kind, 1);
    }
    for (size_t k = 0; k < planes; k++) {
        const uint8_t kind = plane_kind(s->w + k * taps, taps);
        if (kind != 0) { rfhe_text_add_bytes(t, s->w + k * taps, (kind == 1 ? 1 : taps) * sizeof(float)); }
    }
}

static void put_optional(rfhe_text *t, const float *x, size_t n)
{
    const uint8_t has = x != NULL;

    rfhe_text_add_bytes(t, &has, 1);
    if (has) { rfhe_text_add_bytes(t, x, n * sizeof *x); }
}

/* What is committed to. */
static rfhe_status put_weights(rfhe_text *t, const rfhe_program *p, rfhe_error *err)
{
    sizes z = {0};

    for (uint32_t k = 0; k < p->n_linear; k++) {
        if (!sizes_of(p, false, k, &z)) { continue; }
        for (uint32_t n = 0; n < p->linear[k].n_terms; n++) {
            if (p->linear[k].term[n].stencil.w == NULL) {
                return rfhe_fail(err, RFHE_E_ARG, "a program without weights has none to write");
            }
            put_stencil(t, &p->linear[k].term[n].stencil);
        }
        put_optional(t, p->linear[k].bias, z.channels * z.places);
    }
    for (uint32_t k = 0; k < p->n_activations; k++) {
        const rfhe_activation *a = &p->activation[k];
        if (!sizes_of(p, true, k, &z)) { continue; }
        if (a->n_steps > 0) { rfhe_text_add_bytes(t, a->c, a->n_steps * z.channels * sizeof(double)); }
        rfhe_text_add_bytes(t, a->range, z.channels * sizeof(double));
        rfhe_text_add_bytes(t, a->gain, z.channels * sizeof(double));
        put_optional(t, a->weight, z.channels * z.places);
    }
    const rfhe_status st = rfhe_text_status(t);
    return st == RFHE_OK ? st : rfhe_fail(err, st, "no memory to write the weights of a program");
}

static void commit(uint8_t out[32], const uint8_t salt[32], const void *weights, size_t size)
{
    (void)crypto_generichash(out, 32, weights, size, salt, 32);
}

static bool has_weights(const rfhe_program *p)
{
    for (uint32_t k = 0; k < p->n_linear; k++) {
        for (uint32_t t = 0; t < p->linear[k].n_terms; t++) {
            if (p->linear[k].term[t].stencil.w != NULL) { return true; }
        }
    }
    return false;
}

rfhe_status rfhe_program_seal(rfhe_program *p, rfhe_error *err)
{
    rfhe_text t = {0};
    rfhe_seed salt;
    rfhe_status st = RFHE_OK;

    if (has_weights(p)) {
        RFHE_TRY(put_weights(&t, p, err));
        RFHE_TRY(rfhe_seed_fresh(&salt, err));
        memcpy(p->salt, salt.bytes, sizeof p->salt);
        commit(p->commitment, p->salt, t.data, t.size);
    }
    RFHE_TRY(hash_program(p->id, p, err));

done:
    rfhe_text_clear(&t);
    return st;
}

rfhe_status rfhe_program_write_weights(uint8_t **data, size_t *size, const rfhe_program *p, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_text t = {0};
    uint8_t header[HEADER] = {0}, hash[HASH];

    memcpy(header, magic, sizeof magic);
    rfhe_store_le32(header + 8, VERSION);
    memcpy(header + 24, p->id, 32);
    memcpy(header + SALT_AT, p->salt, 32);
    rfhe_text_add_bytes(&t, header, sizeof header);
    RFHE_TRY(put_weights(&t, p, err));
    rfhe_store_le64(t.data + 16, t.size + HASH);
    (void)crypto_generichash(hash, HASH, (const uint8_t *)t.data, t.size, NULL, 0);
    rfhe_text_add_bytes(&t, hash, HASH);
    st = rfhe_text_status(&t);
    if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "no memory to write the weights of a program");
        goto done;
    }
    *data = (uint8_t *)t.data;
    *size = t.size;
    t = (rfhe_text){0};

done:
    rfhe_text_clear(&t);
    return st;
}

typedef struct source {
    const uint8_t *at;
    size_t left;
    rfhe_error *err;
} source;

static rfhe_status take(source *s, const uint8_t **out, size_t n)
{
    if (n > s->left) {
        return rfhe_fail(s->err, RFHE_E_FORMAT, "the weights end too early: %zu bytes are missing", n - s->left);
    }
    *out = s->at;
    s->at += n;
    s->left -= n;
    return RFHE_OK;
}

static rfhe_status take_floats(source *s, float *out, size_t n)
{
    const uint8_t *from = NULL;
    const rfhe_status st = take(s, &from, n * sizeof *out);

    if (st != RFHE_OK) { return st; }
    memcpy(out, from, n * sizeof *out);
    for (size_t k = 0; k < n; k++) {
        if (!isfinite(out[k])) { return rfhe_fail(s->err, RFHE_E_FORMAT, "the weights contain a number that is not finite"); }
    }
    return RFHE_OK;
}

static rfhe_status take_doubles(source *s, double **out, size_t n)
{
    const uint8_t *from = NULL;
    const rfhe_status st = take(s, &from, n * sizeof **out);

    if (st != RFHE_OK) { return st; }
    *out = rfhe_alloc(n, sizeof **out);
    if (*out == NULL) { return rfhe_fail(s->err, RFHE_E_NOMEM, "no memory for the weights of a program"); }
    memcpy(*out, from, n * sizeof **out);
    for (size_t k = 0; k < n; k++) {
        if (!isfinite((*out)[k])) { return rfhe_fail(s->err, RFHE_E_FORMAT, "the weights contain a number that is not finite"); }
    }
    return RFHE_OK;
}

static rfhe_status take_optional(source *s, float **out, size_t n)
{
    const uint8_t *has = NULL;
    rfhe_status st = take(s, &has, 1);

    if (st != RFHE_OK || *has == 0) { return st; }
    if (*has != 1 || n > s->left / sizeof **out) {
        return rfhe_fail(s->err, RFHE_E_FORMAT, "the weights are damaged: a list of %zu numbers is neither there nor absent", n);
    }
    *out = rfhe_alloc(n, sizeof **out);
    if (*out == NULL) { return rfhe_fail(s->err, RFHE_E_NOMEM, "no memory for the weights of a program"); }
    st = take_floats(s, *out, n);
    return st;
}

static rfhe_status take_stencil(source *s, rfhe_stencil *to)
{
    const size_t taps = (size_t)to->height * to->width, planes = (size_t)to->out_channels * to->in_channels;
    const uint8_t *kind = NULL;
    rfhe_status st = take(s, &kind, planes);

    if (st != RFHE_OK) { return st; }
    to->w = rfhe_calloc(planes * taps, sizeof *to->w);
    if (to->w == NULL) { return rfhe_fail(s->err, RFHE_E_NOMEM, "no memory for a kernel of %zu weights", planes * taps); }
    for (size_t k = 0; k < planes; k++) {
        float *const w = to->w + k * taps;
        if (kind[k] > 2) { return rfhe_fail(s->err, RFHE_E_FORMAT, "the weights are damaged: a plane of kind %u", kind[k]); }
        if (kind[k] == 0) { continue; }
        RFHE_TRY(take_floats(s, w, kind[k] == 1 ? 1 : taps));
        for (size_t i = 1; i < taps && kind[k] == 1; i++) { w[i] = w[0]; }
    }

done:
    return st;
}

static void drop_weights(rfhe_program *p)
{
    for (uint32_t k = 0; k < p->n_linear; k++) {
        for (uint32_t t = 0; t < p->linear[k].n_terms; t++) {
            rfhe_free(p->linear[k].term[t].stencil.w);
            p->linear[k].term[t].stencil.w = NULL;
        }
        rfhe_free(p->linear[k].bias);
        p->linear[k].bias = NULL;
    }
    for (uint32_t k = 0; k < p->n_activations; k++) {
        rfhe_activation *a = &p->activation[k];
        rfhe_free(a->c);
        rfhe_free(a->range);
        rfhe_free(a->gain);
        rfhe_free(a->weight);
        a->c = a->range = a->gain = NULL;
        a->weight = NULL;
    }
}

static rfhe_status take_all(rfhe_program *p, source *s)
{
    rfhe_status st = RFHE_OK;
    sizes z = {0};

    for (uint32_t k = 0; k < p->n_linear; k++) {
        if (!sizes_of(p, false, k, &z)) { continue; }
        for (uint32_t n = 0; n < p->linear[k].n_terms; n++) { RFHE_TRY(take_stencil(s, &p->linear[k].term[n].stencil)); }
        RFHE_TRY(take_optional(s, &p->linear[k].bias, z.channels * z.places));
    }
    for (uint32_t k = 0; k < p->n_activations; k++) {
        rfhe_activation *a = &p->activation[k];
        if (!sizes_of(p, true, k, &z)) { continue; }
        if (a->n_steps > 0) { RFHE_TRY(take_doubles(s, &a->c, a->n_steps * z.channels)); }
        RFHE_TRY(take_doubles(s, &a->range, z.channels));
        RFHE_TRY(take_doubles(s, &a->gain, z.channels));
        RFHE_TRY(take_optional(s, &a->weight, z.channels * z.places));
    }
    if (s->left != 0) { st = rfhe_fail(s->err, RFHE_E_FORMAT, "the weights have %zu bytes too many", s->left); }

done:
    return st;
}

rfhe_status rfhe_program_read_weights(rfhe_program *p, const void *data, size_t size, rfhe_error *err)
{
    const uint8_t *const bytes = data;
    rfhe_status st = RFHE_OK;
    uint8_t hash[HASH];

    if (has_weights(p)) { return rfhe_fail(err, RFHE_E_ARG, "the program has its weights already"); }
    if (size < HEADER + HASH || memcmp(bytes, magic, sizeof magic) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "these %zu bytes are no weights of a program", size);
    }
    if (rfhe_load_le32(bytes + 8) != VERSION || rfhe_load_le32(bytes + 12) != 0) {
        return rfhe_fail(err, rfhe_load_le32(bytes + 8) > VERSION ? RFHE_E_UNSUPPORTED : RFHE_E_FORMAT,
                         "weights of version %" PRIu32 ", not %d", rfhe_load_le32(bytes + 8), VERSION);
    }
    if (rfhe_load_le64(bytes + 16) != size) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the weights should have %" PRIu64 " bytes and have %zu", rfhe_load_le64(bytes + 16), size);
    }
    (void)crypto_generichash(hash, HASH, bytes, size - HASH, NULL, 0);
    if (memcmp(hash, bytes + size - HASH, HASH) != 0) { return rfhe_fail(err, RFHE_E_FORMAT, "the weights are damaged: their hash is wrong"); }
    if (memcmp(bytes + 24, p->id, 32) != 0) { return rfhe_fail(err, RFHE_E_FORMAT, "the weights belong to another program"); }
    commit(hash, bytes + SALT_AT, bytes + HEADER, size - HEADER - HASH);
    if (memcmp(hash, p->commitment, sizeof hash) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the weights are not those that the program was made with");
    }
    memcpy(p->salt, bytes + SALT_AT, sizeof p->salt);
    source s = {bytes + HEADER, size - HEADER - HASH, err};
    RFHE_TRY(take_all(p, &s));
    RFHE_TRY(rfhe_program_check(p, err));

done:
    if (st != RFHE_OK) { drop_weights(p); }
    return st;
}

/* ---- folders ---- */

rfhe_status rfhe_program_save(const char *folder, const rfhe_program *p, rfhe_error *err)
{
    static const char *const side[] = {"client", "server"};
    rfhe_status st = RFHE_OK;
    char path[4096];
    rfhe_text t = {0};
    uint8_t *weights = NULL;
    size_t size = 0;

    if (strlen(folder) > sizeof path - 64) { return rfhe_fail(err, RFHE_E_ARG, "the name of the program's folder is too long"); }
    st = rfhe_program_write_public(&t, p);
    if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "no memory to write a program");
        goto done;
    }
    RFHE_TRY(rfhe_program_write_weights(&weights, &size, p, err));
    RFHE_TRY(rfhe_file_make_folder(folder, err));
    for (size_t k = 0; k < 2; k++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, side[k]);
        RFHE_TRY(rfhe_file_make_folder(path, err));
        (void)snprintf(path, sizeof path, "%s/%s/program.json", folder, side[k]);
        RFHE_TRY(rfhe_file_write(path, t.data, t.size, 0644, err));
    }
    (void)snprintf(path, sizeof path, "%s/server/weights.bin", folder);
    RFHE_TRY(rfhe_file_write(path, weights, size, 0644, err));

done:
    rfhe_text_clear(&t);
    rfhe_free(weights);
    return st;
}

rfhe_status rfhe_program_load(rfhe_program **out, const char *folder, bool with_weights, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    char path[4096];
    uint8_t *text = NULL;
    size_t size = 0;
    rfhe_file_map map = {0};
    rfhe_program *p = NULL;
    const char *inner = "";

    if (strlen(folder) > sizeof path - 64) { return rfhe_fail(err, RFHE_E_ARG, "the name of the program's folder is too long"); }
    (void)snprintf(path, sizeof path, "%s/program.json", folder);
    if (!rfhe_file_exists(path)) {
        inner = "/server";
        (void)snprintf(path, sizeof path, "%s/server/program.json", folder);
        if (!rfhe_file_exists(path)) {
            return rfhe_fail(err, RFHE_E_FORMAT, "%.160s is no program: it has no program.json (`rfhe plan MODEL -o PROGRAM` makes one)",
                             folder);
        }
    }
    RFHE_TRY(rfhe_file_read(&text, &size, path, MAX_TEXT, err));
    RFHE_TRY(rfhe_program_read_public(&p, text, size, err));
    if (with_weights) {
        (void)snprintf(path, sizeof path, "%s%s/weights.bin", folder, inner);
        RFHE_TRY(rfhe_file_map_open(&map, path, err));
        RFHE_TRY(rfhe_program_read_weights(p, map.data, map.size, err));
    }
    *out = p;
    p = NULL;

done:
    rfhe_file_map_close(&map);
    rfhe_free(text);
    rfhe_program_free(p);
    return st;
}
