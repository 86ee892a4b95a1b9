/* See run.h. What each instruction does to ciphertexts, from the inside:
 *
 * LINEAR. Output channel o of a block of B wants, at the coefficients B * position, the sum over taps of weight times
 * source. A weight that reads channel c at offset (i, j) sits in the kernel polynomial at minus the index of that place,
 * modulo X^N + 1 [KG23]; the product then has the sum where it belongs, because one step of the output is as many
 * coefficients as the stride's steps of the source (checked when the server is made). rfhe_ct_pack merges the B products,
 * cancels what lies between, and the one rescaling follows.
 *
 * ACTIVATE. From level 0 up, to slots (both halves of the coefficients where the layout needs them), the integers away,
 * the polynomial with its constants per slot, and back through a way to coefficients that multiplies every place of the
 * tensor by its weight and everything else by zero.
 *
 * Scales. A tensor at level_linear has the nominal scale of level 0, which is what the way to coefficients ends with and
 * what the client encrypts at; kernels are encoded so that product, packing and rescaling give it back. A polynomial that
 * leaves levels over ends at a nominal scale that is not quite that of the level where the way to coefficients starts;
 * the masked map makes up for it. */
#include "infer/run.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "ckks/internal.h"
#include "infer/clear.h"
#include "infer/client.h"
#include "plan/layout.h"

static const size_t default_bound_bytes = (size_t)256 << 20;
enum { PATH = 4096, HASH = 32 };

typedef struct mask { /* a way to coefficients with weights, shared by all that want the same ones */
    uint8_t hash[HASH];
    rfhe_to_coeffs *map; /* NULL: made at every use */
} mask;

typedef struct place { /* one ciphertext of one ACTIVATE */
    uint32_t halves;               /* 1 or 2 */
    bool is_joined;                /* both halves have the same weights: one map serves real + i imag */
    uint32_t mask[2];              /* index into masks */
    rfhe_poly_vectors *bound;      /* of both halves; NULL: bound at every use */
} place;

typedef struct stage { /* of an instruction, prepared */
    rfhe_pt **bias; /* LINEAR, REPLY: per ciphertext of the result; NULL = none */
    rfhe_poly_program *program; /* ACTIVATE; NULL for a refresh without polynomial */
    rfhe_pt **before; /* ACTIVATE with mask_level: [ciphertext * 2 + half] */
    place *place;
} stage;

struct rfhe_server {
    const rfhe_program *p;
    rfhe_ckks *c;
    const rfhe_eval_keys *keys;
    rfhe_eval_keys *owned; /* NULL: borrowed */
    bool is_bound;         /* requests must carry keys_id */
    uint8_t keys_id[RFHE_ID_BYTES];
    rfhe_refresh *r;
    rfhe_refresh_info info;
    rfhe_evaluator *ev;
    size_t n, bound_bytes, mask_bytes, used_bound, used_mask;
    uint32_t log2_n, log2_gap;
    stage *stage;          /* per instruction */
    mask *masks;
    uint32_t n_masks;
    rfhe_ct *low, *high;   /* halves, of ACTIVATE */
    double *scratch;               /* N numbers */
};

static bool is_linear(const rfhe_instruction *i)
{
    return i->kind == RFHE_DO_LINEAR || i->kind == RFHE_DO_REPLY;
}

/* ---- checking ---- */

static rfhe_status broken(const rfhe_instruction *in, const char *what, rfhe_error *err)
{
    return rfhe_fail(err, RFHE_E_ARG, "the program cannot be run: '%s' %s", in->name, what);
}

static bool layout_is_sound(const rfhe_layout *l, size_t n)
{
    return l->channels > 0 && l->height > 0 && l->width > 0 && l->block > 0 && (l->block & (l->block - 1)) == 0 &&
           l->ciphertexts == (l->channels + l->block - 1) / l->block &&
           (double)l->block * ((double)(l->height - 1) * l->row + (double)(l->width - 1) * l->column + 1) <= (double)n;
}

static rfhe_status check_term(const rfhe_program *p, const rfhe_instruction *in, const rfhe_term *t, rfhe_error *err)
{
    const rfhe_layout *to = &p->tensor[in->out].layout;

    if (t->tensor >= p->n_tensors) { return broken(in, "reads a tensor that is not there", err); }
    const rfhe_layout *from = &p->tensor[t->tensor].layout;
    if (t->stencil.w == NULL) { return broken(in, "has no weights: this is a client's program", err); }
    if (t->stencil.out_channels != to->channels || t->stencil.in_channels != from->channels) {
        return broken(in, "has a stencil that does not fit its tensors", err);
    }
    if (in->kind == RFHE_DO_LINEAR &&
        ((to->height > 1 && (uint64_t)to->block * to->row != (uint64_t)from->block * from->row * t->stencil.stride_y) ||
         (to->width > 1 && (uint64_t)to->block * to->column != (uint64_t)from->block * from->column * t->stencil.stride_x))) {
        return broken(in, "reads a layout whose steps are not those of its result", err);
    }
    return RFHE_OK;
}

static rfhe_status check_program(const rfhe_server *s, rfhe_error *err)
{
    const rfhe_program *p = s->p;
    rfhe_status st = RFHE_OK;

    if (p->n_instructions == 0 || p->n_tensors == 0 || p->instruction[p->n_instructions - 1].kind != RFHE_DO_REPLY ||
        p->level_linear == 0 || s->info.to_coeffs_out_level != p->level_linear) {
        return rfhe_fail(err, RFHE_E_ARG, "the program cannot be run: it has no reply or levels that do not fit its refresh");
    }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *in = &p->instruction[i];
        if (in->out >= p->n_tensors || in->which >= (is_linear(in) ? p->n_linear : p->n_activations) ||
            (!is_linear(in) && in->in >= p->n_tensors)) {
            return broken(in, "speaks of something that is not there", err);
        }
        if (!layout_is_sound(&p->tensor[in->out].layout, s->n >> s->log2_gap)) { return broken(in, "has a layout that does not fit", err); }
        if (is_linear(in)) {
            const rfhe_linear *l = &p->linear[in->which];
            for (uint32_t k = 0; k < l->n_terms; k++) { RFHE_TRY(check_term(p, in, &l->term[k], err)); }
        } else {
            const rfhe_activation *a = &p->activation[in->which];
            if (a->n_steps > 0 && a->c == NULL) { return broken(in, "has no weights: this is a client's program", err); }
            if (a->depth + a->mask_level > s->info.raise_level - s->info.to_coeffs_level) {
                return broken(in, "needs more levels than the refresh gives", err);
            }
        }
    }
    if (!layout_is_sound(&p->tensor[0].layout, s->n >> s->log2_gap)) {
        st = rfhe_fail(err, RFHE_E_ARG, "the program cannot be run: its input has a layout that does not fit");
    }

done:
    return st;
}

/* ---- preparing ---- */

/* weight[half][slot] of ciphertext t; returns how many halves have any. */
static uint32_t fill_weights(const rfhe_server *s, const rfhe_instruction *in, uint32_t t, double *weight)
{
    const rfhe_activation *a = &s->p->activation[in->which];
    /* The scale at which the polynomial ends, against the one at which the way to coefficients starts. */
    const uint32_t end = s->info.raise_level - a->mask_level - a->depth;
    const double gain = rfhe_ckks_scale(s->c, s->info.to_coeffs_level) / rfhe_ckks_scale(s->c, end);

    return rfhe_layout_weights(weight, &s->p->tensor[in->out].layout, t, rfhe_program_log2_used(s->p), a->weight, gain);
}

static rfhe_status make_mask(rfhe_to_coeffs **out, const rfhe_server *s, const double *weight, bool upper, rfhe_error *err)
{
    return rfhe_to_coeffs_new(out, s->r, upper ? NULL : weight, upper ? weight : NULL, err);
}

/* The index of a mask with these weights, made if it is new and there is room to keep it. */
static rfhe_status find_mask(uint32_t *out, rfhe_server *s, const double *weight, bool upper, rfhe_error *err)
{
    crypto_generichash_state h;
    uint8_t hash[HASH];
    const uint8_t side = upper;
    mask *m = NULL;

    (void)crypto_generichash_init(&h, NULL, 0, HASH);
    (void)crypto_generichash_update(&h, &side, 1);
    (void)crypto_generichash_update(&h, (const uint8_t *)weight, s->info.slots * sizeof *weight);
    (void)crypto_generichash_final(&h, hash, HASH);
    for (uint32_t i = 0; i < s->n_masks; i++) {
        if (memcmp(s->masks[i].hash, hash, HASH) == 0) {
            *out = i;
            return RFHE_OK;
        }
    }
    m = rfhe_realloc(s->masks, s->n_masks + 1, sizeof *m);
    if (m == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a server"); }
    s->masks = m;
    m = &s->masks[s->n_masks];
    *m = (mask){0};
    memcpy(m->hash, hash, HASH);
    if (s->used_mask < s->mask_bytes) {
        const rfhe_status st = make_mask(&m->map, s, weight, upper, err);
        if (st != RFHE_OK) { return st; }
        s->used_mask += rfhe_to_coeffs_bytes(m->map);
    }
    *out = s->n_masks++;
    return RFHE_OK;
}

/* Binds the polynomial of an activation to the channels of ciphertext t, one half of the coefficients. Slots between the
 * channels get the constants of their channel's neighbours, so that what is equal everywhere stays a number. */
static rfhe_status bind(rfhe_poly_vectors **out, const rfhe_server *s, uint32_t i, uint32_t t, rfhe_error *err)
{
    const rfhe_instruction *in = &s->p->instruction[i];
    const rfhe_activation *a = &s->p->activation[in->which];
    const rfhe_layout *l = &s->p->tensor[in->in].layout;
    const size_t slots = s->info.slots;
    const uint32_t level = s->info.raise_level - a->mask_level, log2_used = rfhe_program_log2_used(s->p);
    rfhe_status st = RFHE_OK;
    const double **value = rfhe_calloc(a->n_steps, sizeof *value);
    double *room = NULL;
    uint32_t *channel = rfhe_alloc(slots, sizeof *channel);
    size_t flagged = 0;

    for (uint32_t k = 0; k < a->n_steps; k++) { flagged += a->step[k].op == RFHE_POLY_SCALE || a->step[k].op == RFHE_POLY_CONST; }
    room = rfhe_alloc(flagged * slots, sizeof *room);
    if (value == NULL || room == NULL || channel == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to bind '%s'", in->name);
        goto done;
    }
    for (size_t j = 0; j < slots; j++) { /* slots are a multiple of the block: both halves have the channels in one order */
        const uint32_t c = t * l->block + rfhe_slot_coefficient(log2_used, log2_used - 1, (uint32_t)j) % l->block;
        channel[j] = c < l->channels ? c : l->channels - 1;
    }
    flagged = 0;
    for (uint32_t k = 0; k < a->n_steps; k++) {
        if (a->step[k].op != RFHE_POLY_SCALE && a->step[k].op != RFHE_POLY_CONST) { continue; }
        double *const v = room + flagged * slots;
        for (size_t j = 0; j < slots; j++) { v[j] = a->c[(size_t)k * l->channels + channel[j]]; }
        value[flagged++] = v;
    }
    RFHE_TRY(rfhe_poly_vectors_new(out, s->stage[i].program, s->c, value, slots, level, 0, err));

done:
    rfhe_free(value);
    rfhe_free(room);
    rfhe_free(channel);
    return st;
}

/* The 0/1 mask in front of a polynomial that would not bear what lies outside of the tensor. */
static rfhe_status make_before(rfhe_pt **out, const rfhe_server *s, const double *weight, rfhe_error *err)
{
    const uint32_t level = s->info.raise_level;
    const double scale = (double)rfhe_ckks_prime(s->c, level) * (rfhe_ckks_scale(s->c, level - 1) / rfhe_ckks_scale(s->c, level));
    double *const v = s->scratch;

    for (size_t j = 0; j < s->info.slots; j++) { v[j] = weight[j] != 0 ? 1 : 0; }
    return rfhe_encode(out, s->c, v, NULL, s->info.slots, level, scale, err);
}

static rfhe_status prepare_activation(rfhe_server *s, uint32_t i, double *weight, rfhe_error *err)
{
    const rfhe_instruction *in = &s->p->instruction[i];
    const rfhe_activation *a = &s->p->activation[in->which];
    const rfhe_layout *l = &s->p->tensor[in->in].layout;
    stage *g = &s->stage[i];
    bool is_vector[RFHE_POLY_MAX_STEPS] = {false};
    rfhe_status st = RFHE_OK;

    if (a->n_steps > RFHE_POLY_MAX_STEPS) { return broken(in, "has too many steps", err); }
    for (uint32_t k = 0; k < a->n_steps; k++) {
        is_vector[k] = a->step[k].op == RFHE_POLY_SCALE || a->step[k].op == RFHE_POLY_CONST;
    }
    if (a->n_steps > 0) {
        RFHE_TRY(rfhe_poly_program_with_vectors(&g->program, a->step, is_vector, a->n_steps, 1, err));
        if (rfhe_poly_program_info(g->program).depth != a->depth) {
            st = broken(in, "states another depth than its steps have", err);
            goto done;
        }
    }
    g->place = rfhe_calloc(l->ciphertexts, sizeof *g->place);
    g->before = rfhe_calloc((size_t)2 * l->ciphertexts, sizeof *g->before);
    if (g->place == NULL || g->before == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a server");
        goto done;
    }
    for (uint32_t t = 0; t < l->ciphertexts; t++) {
        place *w = &g->place[t];
        const size_t slots = s->info.slots;
        w->halves = fill_weights(s, in, t, weight);
        w->is_joined = w->halves == 2 && memcmp(weight, weight + slots, slots * sizeof *weight) == 0;
        RFHE_TRY(find_mask(&w->mask[0], s, weight, false, err));
        if (w->halves == 2 && !w->is_joined) { RFHE_TRY(find_mask(&w->mask[1], s, weight + slots, true, err)); }
        for (uint32_t h = 0; h < w->halves && a->mask_level > 0; h++) {
            RFHE_TRY(make_before(&g->before[2 * t + h], s, weight + h * slots, err));
        }
        if (g->program != NULL && s->used_bound < s->bound_bytes) {
            RFHE_TRY(bind(&w->bound, s, i, t, err));
            s->used_bound += rfhe_poly_vectors_bytes(w->bound);
        }
    }

done:
    return st;
}

static rfhe_status prepare_bias(rfhe_server *s, uint32_t i, rfhe_error *err)
{
    const rfhe_instruction *in = &s->p->instruction[i];
    const rfhe_linear *linear = &s->p->linear[in->which];
    const rfhe_layout *l = &s->p->tensor[in->out].layout;
    rfhe_status st = RFHE_OK;

    if (linear->bias == NULL || in->kind == RFHE_DO_REPLY) { return RFHE_OK; }
    s->stage[i].bias = rfhe_calloc(l->ciphertexts, sizeof *s->stage[i].bias);
    if (s->stage[i].bias == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a server"); }
    for (uint32_t t = 0; t < l->ciphertexts; t++) {
        rfhe_layout_scatter(s->scratch, s->n, l, s->log2_gap, t, linear->bias);
        RFHE_TRY(rfhe_encode_coeffs(&s->stage[i].bias[t], s->c, s->scratch, s->n, 0, 0, err));
    }

done:
    return st;
}

static rfhe_status prepare(rfhe_server *s, const rfhe_progress *progress, rfhe_error *err)
{
    const rfhe_program *p = s->p;
    rfhe_status st = RFHE_OK;
    double *weight = rfhe_alloc(s->n, sizeof *weight);

    if (weight == NULL || s->stage == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a server");
        goto done;
    }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        RFHE_TRY(rfhe_progress_report(progress, "preparing", i, p->n_instructions, "instructions", p->instruction[i].name));
        if (is_linear(&p->instruction[i])) {
            RFHE_TRY(prepare_bias(s, i, err));
        } else {
            RFHE_TRY(prepare_activation(s, i, weight, err));
        }
    }

done:
    rfhe_free(weight);
    return st;
}

rfhe_status rfhe_server_new(rfhe_server **out, const rfhe_program *p, const rfhe_ckks *c, const rfhe_eval_keys *keys,
                            const rfhe_server_options *opt, const rfhe_progress *progress, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ckks_info info;
    rfhe_server *s = rfhe_calloc(1, sizeof *s);

    if (s == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a server"); }
    rfhe_ckks_get_info(c, &info);
    s->p = p;
    s->c = rfhe_ckks_share(c);
    s->keys = keys;
    s->log2_n = info.log2_n;
    s->n = (size_t)1 << info.log2_n;
    s->log2_gap = rfhe_program_log2_gap(p);
    s->bound_bytes = opt != NULL && opt->bound_bytes != 0 ? opt->bound_bytes : default_bound_bytes;
    s->mask_bytes = opt != NULL && opt->mask_bytes != 0 ? opt->mask_bytes : RFHE_KEPT_MASK_BYTES;
    s->stage = rfhe_calloc(p->n_instructions, sizeof *s->stage);
    s->scratch = rfhe_alloc(s->n, sizeof *s->scratch);
    if (s->stage == NULL || s->scratch == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a server");
        goto done;
    }
    RFHE_TRY(rfhe_refresh_new(&s->r, c, &p->refresh, err));
    s->info = rfhe_refresh_get_info(s->r);
    RFHE_TRY(check_program(s, err));
    RFHE_TRY(rfhe_evaluator_new(&s->ev, c, keys, err));
    RFHE_TRY(rfhe_ct_new(&s->low, c, s->info.raise_level, err));
    RFHE_TRY(rfhe_ct_new(&s->high, c, s->info.raise_level, err));
    RFHE_TRY(prepare(s, progress, err));
    *out = s;
    s = NULL;

done:
    rfhe_server_free(s);
    return st;
}

rfhe_status rfhe_server_open(rfhe_server **out, const rfhe_program *p, const char *folder, const rfhe_server_options *opt,
                             const rfhe_progress *progress, rfhe_error *err)
{
    char path[PATH], keys_path[PATH];
    rfhe_status st = RFHE_OK;
    rfhe_ckks *c = NULL;
    rfhe_eval_keys *keys = NULL;
    rfhe_binding binding;

    if (snprintf(path, sizeof path, "%s/%s", folder, RFHE_SERVER_BINDING) >= PATH ||
        snprintf(keys_path, sizeof keys_path, "%s/%s", folder, RFHE_SERVER_KEYS) >= PATH) {
        return rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
    }
    if (!rfhe_file_exists(keys_path)) {
        return rfhe_fail(err, RFHE_E_IO, "there are no keys in '%.100s/server' yet: `rfhe keygen %.100s` makes them, at the "
                         "client's", folder, folder);
    }
    RFHE_TRY(rfhe_program_parameters(&c, p, err));
    RFHE_TRY(rfhe_binding_load(&binding, path, p, c, keys_path, err));
    RFHE_TRY(rfhe_progress_report(progress, "loading keys", 0, 0, "", ""));
    RFHE_TRY(rfhe_eval_keys_load(&keys, c, keys_path, err));
    RFHE_TRY(rfhe_server_new(out, p, c, keys, opt, progress, err));
    (*out)->owned = keys;
    keys = NULL;
    (*out)->is_bound = true;
    memcpy((*out)->keys_id, binding.keys, RFHE_ID_BYTES);

done:
    rfhe_eval_keys_free(keys);
    rfhe_ckks_free(c);
    return st;
}

static void stage_clear(stage *g, const rfhe_program *p, const rfhe_instruction *in)
{
    const uint32_t n = in->out < p->n_tensors ? p->tensor[in->out].layout.ciphertexts : 0;

    for (uint32_t t = 0; t < n; t++) {
        if (g->bias != NULL) { rfhe_pt_free(g->bias[t]); }
        for (uint32_t h = 0; h < 2; h++) {
            if (g->before != NULL) { rfhe_pt_free(g->before[2 * t + h]); }
        }
        if (g->place != NULL) { rfhe_poly_vectors_free(g->place[t].bound); }
    }
    rfhe_free(g->bias);
    rfhe_free(g->before);
    rfhe_free(g->place);
    rfhe_poly_program_free(g->program);
}

void rfhe_server_free(rfhe_server *s)
{
    if (s == NULL) { return; }
    for (uint32_t i = 0; s->stage != NULL && i < s->p->n_instructions; i++) {
        stage_clear(&s->stage[i], s->p, &s->p->instruction[i]);
    }
    for (uint32_t i = 0; i < s->n_masks; i++) { rfhe_to_coeffs_free(s->masks[i].map); }
    rfhe_free(s->masks);
    rfhe_free(s->stage);
    rfhe_free(s->scratch);
    rfhe_ct_free(s->low);
    rfhe_ct_free(s->high);
    rfhe_evaluator_free(s->ev);
    rfhe_refresh_free(s->r);
    rfhe_eval_keys_free(s->owned);
    rfhe_ckks_free(s->c);
    rfhe_free(s);
}

const rfhe_ckks *rfhe_server_parameters(const rfhe_server *s)
{
    return s->c;
}

const rfhe_eval_keys *rfhe_server_keys(const rfhe_server *s)
{
    return s->keys;
}

size_t rfhe_server_bytes(const rfhe_server *s)
{
    return s->used_bound + s->used_mask + s->info.plain_bytes + rfhe_evaluator_bytes(s->ev) + rfhe_ct_bytes(s->low) +
           rfhe_ct_bytes(s->high);
}

/* ---- running ---- */

typedef struct run { /* of one request */
    rfhe_server *s;
    const rfhe_server_hooks *hooks;
    rfhe_ct ***tensor; /* per tensor its ciphertexts, NULL when there are none (yet or any more) */
    bool *borrowed;    /* the request's */
} run;

static void drop_tensor(run *r, uint32_t k)
{
    const uint32_t n = r->s->p->tensor[k].layout.ciphertexts;

    if (r->tensor[k] == NULL) { return; }
    for (uint32_t t = 0; t < n && !r->borrowed[k]; t++) { rfhe_ct_free(r->tensor[k][t]); }
    rfhe_free(r->tensor[k]);
    r->tensor[k] = NULL;
}

/* What the kernels of one ciphertext of the result are made from. */
typedef struct kernel {
    const run *r;
    const rfhe_linear *linear;
    const rfhe_layout *to;
    uint32_t first;        /* channel of output 0 */
    const uint32_t *term, *ciphertext; /* of every input */
    rfhe_instruction_kind kind;
    size_t n, most;        /* ring degree; largest number of weights between two ciphertexts' channels */
} kernel;

/* The coefficients of the kernel from input j to output o; see rfhe_kernel_fn. */
static size_t each_weight(void *ctx, size_t o, size_t j, uint32_t *index, double *value)
{
    const kernel *k = ctx;
    const rfhe_term *t = &k->linear->term[k->term[j]];
    const rfhe_stencil *s = &t->stencil;
    const rfhe_layout *from = &k->r->s->p->tensor[t->tensor].layout;
    const uint32_t low = k->ciphertext[j] * from->block;
    const uint32_t high = low + from->block < s->in_channels ? low + from->block : s->in_channels;
    const int64_t two_n = 2 * (int64_t)k->n, gap = INT64_C(1) << k->r->s->log2_gap;
    size_t n = 0;

    for (uint32_t c = low; c < high; c++) {
        const float *w = s->w + ((k->first + o) * s->in_channels + c) * s->height * s->width;
        for (uint32_t i = 0; i < s->height; i++) {
            for (uint32_t x = 0; x < s->width; x++, w++) {
                if (*w == 0) { continue; }
                const int64_t at = ((int64_t)from->block * ((int64_t)(s->offset_y + (int32_t)i) * from->row +
                                                           (int64_t)(s->offset_x + (int32_t)x) * from->column) +
                                    (int64_t)(c - low)) * gap;
                index[n] = (uint32_t)((two_n - at % two_n) % two_n);
                value[n++] = (double)*w;
            }
        }
    }
    return n;
}

/* The scale of kernels with which a packing of `count` products, rescaled, has the nominal scale of level 0. Of a reply:
 * as fine as the modulus allows next to numbers up to RFHE_REPLY_BOUND and the factor N of its packing. */
static double kernel_scale(const rfhe_server *s, rfhe_instruction_kind kind, uint32_t count)
{
    const uint32_t level = s->p->level_linear;
    double room = -2 - (double)s->log2_n - log2(rfhe_ckks_scale(s->c, 0) * RFHE_REPLY_BOUND);

    if (kind == RFHE_DO_LINEAR) { return (double)rfhe_ckks_prime(s->c, level) / (double)count; }
    for (uint32_t l = 0; l <= level; l++) { room += log2((double)rfhe_ckks_prime(s->c, l)); }
    return exp2(floor(room));
}

/* Products of one block of the result, packed and rescaled to level 0. */
static rfhe_status pack_products(rfhe_ct *out, rfhe_ct **product, uint32_t count, const kernel *k, rfhe_error *err)
{
    rfhe_server *s = k->r->s;
    const uint32_t block = k->to->block;
    rfhe_status st = RFHE_OK;

    if (k->kind == RFHE_DO_REPLY) {
        RFHE_TRY(rfhe_ct_pack_scalars(product, count, RFHE_REPLY_BOUND, s->ev, err));
    } else {
        RFHE_TRY(rfhe_ct_pack(product, block, (size_t)1 << s->log2_gap, s->ev, err));
    }
    RFHE_TRY(rfhe_ct_rescale(out, product[0], s->ev, err));
    RFHE_TRY(rfhe_ct_drop(out, out, 0, s->ev, err));
    if (k->kind == RFHE_DO_LINEAR) { /* equal but for the last bits */
        RFHE_TRY(rfhe_ct_set_scale(out, rfhe_ckks_scale(s->c, 0), err));
    }

done:
    return st;
}

/* The bias of a reply, at the scale that its packing ended with. */
static rfhe_status add_reply_bias(rfhe_ct *ct, const rfhe_server *s, const rfhe_linear *linear, rfhe_error *err)
{
    rfhe_pt *pt = NULL;
    rfhe_status st = RFHE_OK;

    if (linear->bias == NULL) { return RFHE_OK; }
    memset(s->scratch, 0, s->n * sizeof *s->scratch);
    for (uint32_t o = 0; o < s->p->outputs; o++) {
        s->scratch[rfhe_reply_index(s->p, s->n, o)] = (double)linear->bias[o];
    }
    RFHE_TRY(rfhe_encode_coeffs(&pt, s->c, s->scratch, s->n, 0, rfhe_ct_scale(ct), err));
    RFHE_TRY(rfhe_ct_add_plain(ct, ct, pt, s->ev, err));

done:
    rfhe_pt_free(pt);
    return st;
}

/* Ciphertext t of the result. */
static rfhe_status linear_block(rfhe_ct **out, uint32_t i, uint32_t t, rfhe_ct *const *in, kernel *k, uint32_t inputs,
                                rfhe_error *err)
{
    rfhe_server *s = k->r->s;
    const rfhe_layout *l = k->to;
    const uint32_t left = l->channels - t * l->block, count = k->kind == RFHE_DO_REPLY || left < l->block ? left : l->block;
    const double scale = kernel_scale(s, k->kind, l->block);
    rfhe_status st = RFHE_OK;
    rfhe_ct **product = rfhe_calloc(count > l->block ? count : l->block, sizeof *product);

    if (product == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for '%s'", s->p->instruction[i].name); }
    k->first = t * l->block;
    for (uint32_t o = 0; o < count; o++) { RFHE_TRY(rfhe_ct_new(&product[o], s->c, s->p->level_linear, err)); }
    RFHE_TRY(rfhe_ct_convolve(product, count, (const rfhe_ct *const *)in, inputs, each_weight, k, k->most, scale, s->ev, err));
    RFHE_TRY(rfhe_ct_new(out, s->c, s->p->level_linear, err));
    RFHE_TRY(pack_products(*out, product, count, k, err));
    if (k->kind == RFHE_DO_REPLY) {
        RFHE_TRY(add_reply_bias(*out, s, k->linear, err));
    } else if (s->stage[i].bias != NULL) {
        RFHE_TRY(rfhe_ct_add_plain(*out, *out, s->stage[i].bias[t], s->ev, err));
    }

done:
    for (uint32_t o = 0; o < count; o++) { rfhe_ct_free(product[o]); }
    rfhe_free(product);
    return st;
}

static rfhe_status run_linear(run *r, uint32_t i, rfhe_error *err)
{
    rfhe_server *s = r->s;
    const rfhe_program *p = s->p;
    const rfhe_instruction *inst = &p->instruction[i];
    const rfhe_linear *linear = &p->linear[inst->which];
    const rfhe_layout *to = &p->tensor[inst->out].layout;
    rfhe_status st = RFHE_OK;
    uint32_t inputs = 0, at = 0;
    uint32_t *which = NULL;
    rfhe_ct **in = NULL;

    for (uint32_t k = 0; k < linear->n_terms; k++) { inputs += p->tensor[linear->term[k].tensor].layout.ciphertexts; }
    in = rfhe_calloc(inputs, sizeof *in);
    which = rfhe_calloc((size_t)2 * inputs, sizeof *which);
    if (in == NULL || which == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for '%s'", inst->name);
        goto done;
    }
    for (uint32_t k = 0; k < linear->n_terms; k++) {
        const uint32_t source = linear->term[k].tensor;
        if (r->tensor[source] == NULL) {
            st = broken(inst, "reads a tensor that is not there any more", err);
            goto done;
        }
        for (uint32_t t = 0; t < p->tensor[source].layout.ciphertexts; t++, at++) {
            in[at] = r->tensor[source][t];
            which[at] = k;
            which[inputs + at] = t;
        }
    }
    kernel k = {.r = r, .linear = linear, .to = to, .term = which, .ciphertext = which + inputs, .kind = inst->kind, .n = s->n};
    for (uint32_t j = 0; j < linear->n_terms; j++) {
        const rfhe_stencil *w = &linear->term[j].stencil;
        const uint32_t block = p->tensor[linear->term[j].tensor].layout.block;
        const size_t most = (size_t)(block < w->in_channels ? block : w->in_channels) * w->height * w->width;
        k.most = most > k.most ? most : k.most;
    }
    const uint32_t blocks = inst->kind == RFHE_DO_REPLY ? 1 : to->ciphertexts;
    for (uint32_t t = 0; t < blocks; t++) {
        RFHE_TRY(linear_block(&r->tensor[inst->out][t], i, t, in, &k, inputs, err));
        if (r->hooks != NULL && r->hooks->tensor != NULL) {
            RFHE_TRY(r->hooks->tensor(r->hooks->user, i, t, r->tensor[inst->out][t], err));
        }
    }

done:
    rfhe_free(in);
    rfhe_free(which);
    return st;
}

static rfhe_status use_mask(rfhe_to_coeffs **out, bool *is_mine, const rfhe_server *s, uint32_t k, uint32_t i, uint32_t t,
                            bool upper, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    double *weight = NULL;

    *is_mine = false;
    if (s->masks[k].map != NULL) {
        *out = s->masks[k].map;
        return RFHE_OK;
    }
    weight = rfhe_alloc(s->n, sizeof *weight);
    if (weight == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a mask"); }
    (void)fill_weights(s, &s->p->instruction[i], t, weight);
    st = make_mask(out, s, weight + (upper ? s->info.slots : 0), upper, err);
    *is_mine = st == RFHE_OK;
    rfhe_free(weight);
    return st;
}

/* Half h: from the refreshed numbers to z, at the level where the way to coefficients starts. */
static rfhe_status activate_half(run *r, uint32_t i, uint32_t t, uint32_t h, rfhe_ct *x, const rfhe_poly_vectors *bound,
                                 rfhe_error *err)
{
    rfhe_server *s = r->s;
    const stage *g = &s->stage[i];
    rfhe_status st = RFHE_OK;

    if (g->before[2 * t + h] != NULL) {
        RFHE_TRY(rfhe_ct_mul_plain(x, x, g->before[2 * t + h], true, s->ev, err));
        RFHE_TRY(rfhe_ct_set_scale(x, rfhe_ckks_scale(s->c, rfhe_ct_level(x)), err));
    }
    if (bound != NULL) { RFHE_TRY(rfhe_ct_evaluate_vectors(x, x, bound, s->ev, err)); }
    RFHE_TRY(rfhe_ct_drop(x, x, s->info.to_coeffs_level, s->ev, err));
    RFHE_TRY(rfhe_ct_set_scale(x, rfhe_ckks_scale(s->c, s->info.to_coeffs_level), err)); /* the weights make up */
    rfhe_ct_set_bound(x, 1);

done:
    return st;
}

static rfhe_status activate(rfhe_ct **out, run *r, uint32_t i, uint32_t t, const rfhe_ct *in, rfhe_error *err)
{
    rfhe_server *s = r->s;
    const place *w = &s->stage[i].place[t];
    rfhe_status st = RFHE_OK;
    rfhe_poly_vectors *mine = NULL;
    rfhe_to_coeffs *map[2] = {NULL, NULL};
    bool is_mine[2] = {false, false};
    rfhe_ct *const half[2] = {s->low, s->high};

    if (w->bound == NULL && s->stage[i].program != NULL) { RFHE_TRY(bind(&mine, s, i, t, err)); }
    RFHE_TRY(use_mask(&map[0], &is_mine[0], s, w->mask[0], i, t, false, err));
    if (w->halves == 2 && !w->is_joined) { RFHE_TRY(use_mask(&map[1], &is_mine[1], s, w->mask[1], i, t, true, err)); }
    RFHE_TRY(rfhe_ct_raise_halves(s->low, w->halves == 2 ? s->high : NULL, in, s->r, s->ev, err));
    for (uint32_t h = 0; h < w->halves; h++) {
        RFHE_TRY(activate_half(r, i, t, h, half[h], w->bound != NULL ? w->bound : mine, err));
    }
    RFHE_TRY(rfhe_ct_new(out, s->c, s->p->level_linear, err));
    if (w->halves == 1) {
        RFHE_TRY(rfhe_ct_to_coeffs_by(s->low, s->low, map[0], s->ev, err));
    } else if (w->is_joined) {
        RFHE_TRY(rfhe_ct_to_coeffs_halves(s->low, s->low, s->high, s->r, map[0], s->ev, err));
    } else {
        const rfhe_ct *const both[2] = {s->low, s->high};
        const rfhe_to_coeffs *const maps[2] = {map[0], map[1]};
        RFHE_TRY(rfhe_ct_to_coeffs_sum(s->low, both, maps, 2, s->ev, err));
    }
    RFHE_TRY(rfhe_ct_copy(*out, s->low, err));

done:
    rfhe_poly_vectors_free(mine);
    for (int h = 0; h < 2; h++) {
        if (is_mine[h]) { rfhe_to_coeffs_free(map[h]); }
    }
    return st;
}

static rfhe_status run_activation(run *r, uint32_t i, const rfhe_progress *progress, rfhe_error *err)
{
    const rfhe_program *p = r->s->p;
    const rfhe_instruction *inst = &p->instruction[i];
    const uint32_t n = p->tensor[inst->out].layout.ciphertexts;
    rfhe_status st = RFHE_OK;

    if (r->tensor[inst->in] == NULL) { return broken(inst, "reads a tensor that is not there any more", err); }
    for (uint32_t t = 0; t < n; t++) {
        RFHE_TRY(rfhe_progress_report(progress, "computing", i, p->n_instructions, "instructions", inst->name));
        RFHE_TRY(activate(&r->tensor[inst->out][t], r, i, t, r->tensor[inst->in][t], err));
        if (r->hooks != NULL && r->hooks->tensor != NULL) {
            RFHE_TRY(r->hooks->tensor(r->hooks->user, i, t, r->tensor[inst->out][t], err));
        }
        if (p->tensor[inst->in].last_use <= i && !r->borrowed[inst->in]) { /* one by one: the peak is half as high */
            rfhe_ct_free(r->tensor[inst->in][t]);
            r->tensor[inst->in][t] = NULL;
        }
    }

done:
    return st;
}

static rfhe_status check_request(const rfhe_server *s, const rfhe_message *m, rfhe_error *err)
{
    if (memcmp(m->program, s->p->id, RFHE_ID_BYTES) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the request was made for another program than this one");
    }
    if (s->is_bound && memcmp(m->keys, s->keys_id, RFHE_ID_BYTES) != 0) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the request was made with other keys than those at hand");
    }
    if (m->count != s->p->tensor[0].layout.ciphertexts) {
        return rfhe_fail(err, RFHE_E_FORMAT, "the request has %u ciphertexts, not %u", m->count,
                         s->p->tensor[0].layout.ciphertexts);
    }
    return RFHE_OK;
}

static rfhe_status run_all(run *r, const rfhe_progress *progress, rfhe_error *err)
{
    const rfhe_program *p = r->s->p;
    rfhe_status st = RFHE_OK;

    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *inst = &p->instruction[i];
        const double start = rfhe_now();
        if (r->tensor[inst->out] != NULL) { return broken(inst, "writes a tensor twice", err); }
        r->tensor[inst->out] = rfhe_calloc(p->tensor[inst->out].layout.ciphertexts, sizeof **r->tensor);
        if (r->tensor[inst->out] == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for '%s'", inst->name); }
        RFHE_TRY(rfhe_progress_report(progress, "computing", i, p->n_instructions, "instructions", inst->name));
        if (is_linear(inst)) {
            RFHE_TRY(run_linear(r, i, err));
        } else {
            RFHE_TRY(run_activation(r, i, progress, err));
        }
        if (r->hooks != NULL && r->hooks->timing != NULL) { r->hooks->timing(r->hooks->user, i, rfhe_now() - start); }
        for (uint32_t k = 0; k < p->n_tensors; k++) {
            if (p->tensor[k].last_use <= i && k != inst->out) { drop_tensor(r, k); }
        }
    }

done:
    return st;
}

rfhe_status rfhe_server_run(rfhe_message *reply, rfhe_server *s, const rfhe_message *request,
                            const rfhe_server_hooks *hooks, const rfhe_progress *progress, rfhe_error *err)
{
    const rfhe_program *p = s->p;
    const uint32_t last = p->instruction[p->n_instructions - 1].out;
    rfhe_status st = RFHE_OK;
    run r = {.s = s, .hooks = hooks};

    *reply = (rfhe_message){0};
    r.tensor = rfhe_calloc(p->n_tensors, sizeof *r.tensor);
    r.borrowed = rfhe_calloc(p->n_tensors, sizeof *r.borrowed);
    if (r.tensor == NULL || r.borrowed == NULL || (r.tensor[0] = rfhe_calloc(request->count, sizeof **r.tensor)) == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to run a request");
        goto done;
    }
    RFHE_TRY(check_request(s, request, err));
    r.borrowed[0] = true;
    for (uint32_t t = 0; t < request->count; t++) { r.tensor[0][t] = request->ct[t]; }
    RFHE_TRY(run_all(&r, progress, err));
    RFHE_TRY(rfhe_message_init(reply, 1, err));
    memcpy(reply->program, request->program, RFHE_ID_BYTES);
    memcpy(reply->keys, request->keys, RFHE_ID_BYTES);
    memcpy(reply->tag, request->tag, RFHE_TAG_BYTES);
    reply->ct[0] = r.tensor[last][0];
    r.tensor[last][0] = NULL;

done:
    for (uint32_t k = 0; r.tensor != NULL && r.borrowed != NULL && k < p->n_tensors; k++) { drop_tensor(&r, k); }
    rfhe_free(r.tensor);
    rfhe_free(r.borrowed);
    if (st != RFHE_OK) { rfhe_message_clear(reply); }
    return st;
}

rfhe_status rfhe_server_answer(uint8_t **reply, size_t *reply_size, rfhe_server *s, const void *request, size_t size,
                               const rfhe_server_hooks *hooks, const rfhe_progress *progress, rfhe_error *err)
{
    rfhe_message in = {0}, out = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_message_read(&in, RFHE_REQUEST, s->p, s->c, s->is_bound ? s->keys_id : NULL, request, size, err));
    RFHE_TRY(rfhe_server_run(&out, s, &in, hooks, progress, err));
    RFHE_TRY(rfhe_message_write(reply, reply_size, &out, RFHE_REPLY, s->c, err));

done:
    rfhe_message_clear(&in);
    rfhe_message_clear(&out);
    return st;
}
