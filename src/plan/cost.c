/* See cost.h.
 *
 * Time is a sum over instructions of counts times seconds per operation; polynomials are interpolated between the two
 * levels that were measured. Memory is what the server holds while it works: keys, the refresh's encoded maps, one
 * masked first map per different layout and half, workspaces, weights, and the ciphertexts that are alive at the worst
 * moment. */
#include "plan/cost.h"

#include <jansson.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ckks/internal.h"
#include "plan/layout.h"

uint64_t rfhe_pack_merges(uint32_t channels, uint32_t block)
{
    uint64_t n = 0;

    for (uint32_t m = block / 2; m >= 1; m /= 2) { n += m < channels ? m : channels; }
    return n;
}

uint64_t rfhe_linear_products(const rfhe_stencil *s, uint32_t in_block)
{
    const size_t taps = (size_t)s->height * s->width;
    uint64_t n = 0;

    if (s->w == NULL) { return 0; }
    for (size_t o = 0; o < s->out_channels; o++) {
        for (size_t c0 = 0; c0 < s->in_channels; c0 += in_block) {
            const size_t c1 = c0 + in_block < s->in_channels ? c0 + in_block : s->in_channels;
            const float *w = s->w + (o * s->in_channels + c0) * taps;
            size_t k = 0;
            while (k < (c1 - c0) * taps && w[k] == 0) { k++; }
            n += k < (c1 - c0) * taps;
        }
    }
    return n;
}

uint32_t rfhe_usable_levels(const rfhe_program *p)
{
    /* The reduction takes eight levels, the way to slots one for each factor but the first. */
    const uint32_t up = p->refresh.to_slots_factors != 0 ? p->refresh.to_slots_factors : 3;
    const uint32_t taken = 8 + up - 1 + p->refresh.to_coeffs_level;

    return p->ckks.chain_length - 1 > taken ? p->ckks.chain_length - 1 - taken : 0;
}

/* ---- seconds ---- */

double rfhe_cost_polynomial(const rfhe_machine *m, const rfhe_activation *a, uint32_t usable_levels)
{
    uint32_t depth[RFHE_POLY_MAX_STEPS] = {0};
    double sum = a->mask_level > 0 ? m->scale_high : 0;

    for (uint32_t k = 1; k < a->n_steps; k++) {
        const rfhe_poly_step *t = &a->step[k];
        const bool two = t->op == RFHE_POLY_MUL || t->op == RFHE_POLY_ADD;
        const uint32_t d = two && depth[t->b] > depth[t->a] ? depth[t->b] : depth[t->a];
        const double low = usable_levels > 1 ? (double)(d + a->mask_level) / (usable_levels - 1) : 0;
        depth[k] = d + (t->op == RFHE_POLY_MUL || t->op == RFHE_POLY_SCALE);
        if (t->op == RFHE_POLY_MUL) { sum += m->multiply_high + low * (m->multiply_low - m->multiply_high); }
        if (t->op == RFHE_POLY_SCALE) { sum += m->scale_high + low * (m->scale_low - m->scale_high); }
    }
    return sum;
}

double rfhe_cost_activation(const rfhe_machine *m, const rfhe_activation *a, uint32_t usable_levels, bool both_halves)
{
    return m->mod_raise + m->to_slots + (both_halves ? m->to_coeffs_both : m->to_coeffs) +
           (both_halves ? 2 : 1) * (m->reduce + rfhe_cost_polynomial(m, a, usable_levels));
}

/* Half of the way to slots does not depend on the slots: decompositions at the top level, the trace instead of diagonals. A
 * factor of f on the way to coefficients has 2^(log2 slots / f) diagonals, whose rotations cost between the root of their
 * number and all of it. */
void rfhe_machine_for_slots(rfhe_machine *m, const rfhe_program *p)
{
    const double gap = rfhe_program_log2_gap(p);
    const double up = (1 + exp2(-gap / 2)) / 2, down = exp2(-gap / (p->refresh.to_coeffs_factors + 1.0));

    m->to_slots *= up;
    m->to_coeffs *= down;
    m->to_coeffs_both *= down;
}

/* Digits of a key switch from the top of the chain. */
static double digits_of(const rfhe_ckks_options *o)
{
    double width[RFHE_CKKS_MAX_LEVELS];

    for (uint32_t k = 0; k < o->chain_length; k++) { width[k] = o->chain[k]; }
    return rfhe_chain_digits(width, o->chain_length, o->special_count * o->special_bits, NULL, RFHE_CKKS_MAX_DIGITS);
}

/* What `rfhe bench calibrate` measured at B15-3, two threads (docs/results/inference.md), scaled by the transforms' N log N.
 * A refresh is seven parts work on limbs, three parts reading keys of so many digits; that, and an eighth for the larger ring's
 * way through memory, fits B15-2, B15-5, C16-9 and C16-11 within a tenth. A way to coefficients in three factors has shorter
 * ones. */
void rfhe_machine_built_in(rfhe_machine *out, const rfhe_program *p, uint32_t threads)
{
    const double n = (double)(UINT64_C(1) << p->ckks.log2_n) / 32768 * p->ckks.log2_n / 15.0;
    const double chain = p->ckks.chain_length, key = digits_of(&p->ckks) * (chain + p->ckks.special_count);
    const double limbs = (0.7 * chain / 17 + 0.3 * key / 100) * (p->ckks.log2_n > 15 ? 1.125 : 1), low = (rfhe_usable_levels(p) + p->refresh.to_coeffs_level + 1) / 7.0;
    const double team = threads <= 1 ? 2.05 : 2.0 / (threads > 8 ? 8 : threads), down = p->refresh.to_coeffs_factors == 3 ? 0.5 : 1;

    *out = (rfhe_machine){.log2_n = p->ckks.log2_n,
                          .threads = threads,
                          .mod_raise = 0.0028 * n * limbs * team,
                          .to_slots = 0.205 * n * limbs * team,
                          .reduce = 0.086 * n * limbs * team,
                          .to_coeffs = 0.095 * n * down * team,
                          .to_coeffs_both = 0.155 * n * down * team,
                          .multiply_high = 0.0030 * n * low * team,
                          .multiply_low = 0.0021 * n * team,
                          .scale_high = 0.00105 * n * low * team,
                          .scale_low = 0.0007 * n * team,
                          .product = 0.00011 * n * team,
                          .merge = 0.00095 * n * team,
                          .finish = 0.00018 * n * team};
    (void)snprintf(out->name, sizeof out->name, "built in");
    (void)snprintf(out->set, sizeof out->set, "%.10s%s", p->set, p->refresh.lean ? RFHE_LEAN : "");
    if (p->refresh.lean) {
        out->to_slots *= 1.3;
        out->to_coeffs *= 1.3;
        out->to_coeffs_both *= 1.3;
    }
    rfhe_machine_for_slots(out, p);
}

void rfhe_machine_choose(rfhe_machine *out, const rfhe_program *p, uint32_t threads, const rfhe_machine *list, size_t n)
{
    rfhe_machine_built_in(out, p, threads);
    for (size_t k = 0; k < n; k++) {
        if (strcmp(list[k].set, out->set) == 0 && list[k].log2_n == p->ckks.log2_n && list[k].threads == threads) {
            *out = list[k];
            rfhe_machine_for_slots(out, p);
            return;
        }
    }
}

/* ---- the calibration as a file ---- */

static const struct time_field {
    const char *name;
    size_t offset;
} times[] = {
#define T(member) {#member, offsetof(rfhe_machine, member)}
    T(mod_raise), T(to_slots),     T(reduce),     T(to_coeffs), T(to_coeffs_both), T(multiply_high),
    T(multiply_low), T(scale_high), T(scale_low), T(product),   T(merge),          T(finish),
#undef T
};

rfhe_status rfhe_machine_write(rfhe_text *out, const rfhe_machine *m)
{
    rfhe_json j = {.out = out};

    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "schema", "rfhe.calibration/1");
    rfhe_json_string(&j, "machine", m->name);
    rfhe_json_string(&j, "set", m->set);
    rfhe_json_integer(&j, "log2_n", m->log2_n);
    rfhe_json_integer(&j, "threads", m->threads);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        double v;
        memcpy(&v, (const char *)m + times[i].offset, sizeof v);
        rfhe_json_number(&j, times[i].name, v);
    }
    rfhe_json_end_object(&j);
    rfhe_text_add(out, "\n");
    return rfhe_text_status(out);
}

rfhe_status rfhe_machine_read(rfhe_machine *out, const void *data, size_t size, rfhe_error *err)
{
    json_error_t why;
    json_t *root = size <= 1 << 16 ? json_loadb(data, size, JSON_REJECT_DUPLICATES, &why) : NULL;
    const char *schema = json_string_value(json_object_get(root, "schema"));
    const char *name = json_string_value(json_object_get(root, "machine")), *set = json_string_value(json_object_get(root, "set"));
    const json_int_t log2_n = json_integer_value(json_object_get(root, "log2_n"));
    const json_int_t threads = json_integer_value(json_object_get(root, "threads"));
    rfhe_machine m = {0};
    rfhe_status st = RFHE_OK;

    if (schema == NULL || strcmp(schema, "rfhe.calibration/1") != 0 || name == NULL || set == NULL || log2_n < 10 || log2_n > 17 ||
        threads < 1 || threads > 4096 || strlen(name) >= sizeof m.name || strlen(set) >= sizeof m.set) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "this is no calibration of a machine");
        goto done;
    }
    memcpy(m.name, name, strlen(name) + 1);
    memcpy(m.set, set, strlen(set) + 1);
    m.log2_n = (uint32_t)log2_n;
    m.threads = (uint32_t)threads;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        const double v = json_number_value(json_object_get(root, times[i].name));
        if (!(v > 0 && v < 1e6)) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "the calibration gives %g seconds for '%s'", v, times[i].name);
            goto done;
        }
        memcpy((char *)&m + times[i].offset, &v, sizeof v);
    }
    *out = m;

done:
    json_decref(root);
    return st;
}

/* ---- the bill ---- */

static double ciphertext_bytes(const rfhe_program *p, uint32_t level)
{
    return 2.0 * (level + 1) * 8 * (double)(UINT64_C(1) << p->ckks.log2_n);
}

static double tensor_bytes(const rfhe_program *p, const rfhe_tensor_use *t, uint32_t level)
{
    return t->layout.ciphertexts * ciphertext_bytes(p, level);
}

/* Bytes of a key in memory, and on the wire: uniform halves are seeds, residues have the bits of their primes. */
static void key_size(const rfhe_ckks *c, const rfhe_key_want *w, double *memory, double *wire)
{
    const uint32_t special = w->special != 0 ? w->special : rfhe_best_special(c, w->level);
    const uint32_t digits = rfhe_key_digits(c, w->element, w->level, special);
    double bits = 0;

    for (uint32_t l = 0; l <= w->level; l++) { bits += ceil(log2((double)rfhe_ckks_prime(c, l))); }
    for (uint32_t s = 0; s < special; s++) { bits += ceil(log2((double)rfhe_ckks_prime(c, c->n_q + s))); }
    *memory += 2.0 * digits * (w->level + 1 + special) * (double)c->n * 8;
    *wire += digits * bits * (double)c->n / 8;
}

static void cost_linear(rfhe_program *p, rfhe_instruction *n, const rfhe_machine *m)
{
    const rfhe_linear *l = &p->linear[n->which];
    const rfhe_layout *to = &p->tensor[n->out].layout;
    const bool reply = n->kind == RFHE_DO_REPLY;
    uint64_t merges = 0;

    n->products = 0;
    for (uint32_t t = 0; t < l->n_terms; t++) {
        n->products += rfhe_linear_products(&l->term[t].stencil, p->tensor[l->term[t].tensor].layout.block);
    }
    if (reply) {
        uint32_t whole = 1, log2_whole = 0;
        while (whole < p->outputs) {
            whole *= 2;
            log2_whole++;
        }
        merges = rfhe_pack_merges(p->outputs, whole) + p->ckks.log2_n - log2_whole;
    } else {
        for (uint32_t c = 0; c < to->channels; c += to->block) {
            merges += rfhe_pack_merges(to->channels - c < to->block ? to->channels - c : to->block, to->block);
        }
    }
    n->key_switches = merges;
    n->seconds = (double)n->products * m->product + (double)merges * m->merge + to->ciphertexts * m->finish;
}

enum { MASK_HASH = 32, MAX_MASKS = 4096 };

/* Bytes of the ways to coefficients that the server keeps (infer/run.c): one for each mask that differs, up to what
 * it keeps, and then one that it makes when it is needed. */
static rfhe_status mask_bytes(double *out, const rfhe_program *p, const rfhe_refresh *r, rfhe_error *err)
{
    const size_t slots = rfhe_refresh_get_info(r).slots;
    double *weight = rfhe_alloc(2 * slots, sizeof *weight), sum = 0;
    uint8_t(*seen)[MASK_HASH] = rfhe_alloc(MAX_MASKS, sizeof *seen);
    uint32_t n = 0;
    rfhe_status st = RFHE_OK;

    if (weight == NULL || seen == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for a bill");
        goto done;
    }
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *a = &p->instruction[i];
        if (a->kind != RFHE_DO_ACTIVATE) { continue; }
        const rfhe_layout *l = &p->tensor[a->out].layout;
        for (uint32_t t = 0; t < l->ciphertexts; t++) {
            uint32_t halves = rfhe_layout_weights(weight, l, t, rfhe_program_log2_used(p), p->activation[a->which].weight, 1);
            if (halves == 2 && memcmp(weight, weight + slots, slots * sizeof *weight) == 0) { halves = 1; } /* one for both */
            for (uint32_t h = 0; h < halves; h++) {
                rfhe_to_coeffs *map = NULL;
                uint32_t k = 0;
                (void)crypto_generichash(seen[n], MASK_HASH, (const uint8_t *)(weight + h * slots), slots * sizeof *weight, NULL, 0);
                seen[n][0] = (uint8_t)h;
                while (memcmp(seen[k], seen[n], MASK_HASH) != 0) { k++; }
                if (k < n || n + 1 == MAX_MASKS) { continue; }
                n++;
                RFHE_TRY(rfhe_to_coeffs_new(&map, r, h == 0 ? weight : NULL, h == 0 ? NULL : weight + slots, err));
                const double bytes = (double)rfhe_to_coeffs_bytes(map);
                rfhe_to_coeffs_free(map);
                sum += bytes;
                if (sum >= RFHE_KEPT_MASK_BYTES) { /* the next is made when it is needed */
                    sum += bytes;
                    goto done;
                }
            }
        }
    }

done:
    *out = sum;
    rfhe_free(seen);
    rfhe_free(weight);
    return st;
}

static double weight_bytes(const rfhe_program *p)
{
    double n = 0;

    for (uint32_t i = 0; i < p->n_instructions; i++) {
        const rfhe_instruction *q = &p->instruction[i];
        if (q->kind == RFHE_DO_ACTIVATE) { continue; }
        const rfhe_linear *l = &p->linear[q->which];
        const rfhe_layout *to = &p->tensor[q->out].layout;
        for (uint32_t t = 0; t < l->n_terms; t++) {
            const rfhe_stencil *s = &l->term[t].stencil;
            n += 4.0 * s->out_channels * s->in_channels * s->height * s->width;
        }
        if (l->bias != NULL) {
            n += 4.0 * to->channels * to->height * to->width + to->ciphertexts * ciphertext_bytes(p, 0) / 2; /* numbers, encoded */
        }
    }
    return n;
}

/* log2 of the security table's room is checked by rfhe_ckks_new; precision: what the modular reduction leaves of |u| <= 1,
 * root mean square, calibrated on docs/results/refresh.md, after the errors of all refreshes add up as random ones do. */
static double precision(const rfhe_program *p, uint32_t depth)
{
    const uint32_t up = p->refresh.to_slots_factors != 0 ? p->refresh.to_slots_factors : 3, l = p->ckks.chain_length - 1 - up;
    const double reduction = p->ckks.chain_scale[l] != 0 ? p->ckks.chain_scale[l] : p->ckks.chain[l];
    const double ratio = (double)p->ckks.chain[0] - p->ckks.chain_scale[0];

    return reduction - 30 - (ratio - 10) - 0.5 * ((double)p->ckks.log2_n - 15) - 0.5 * log2(depth > 0 ? depth : 1);
}

/* Parameters, keys, sizes. */
static rfhe_status bill_of_parameters(rfhe_program *p, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_ckks *c = NULL;
    rfhe_refresh *r = NULL;
    rfhe_evaluator *ev = NULL;
    rfhe_key_list list = {0};
    rfhe_ckks_info info;
    double masks = 0;

    RFHE_TRY(rfhe_ckks_new(&c, &p->ckks, err));
    rfhe_ckks_get_info(c, &info);
    p->bill.security_bits = info.security_bits;
    p->bill.log2_qp = info.log2_qp;
    RFHE_TRY(rfhe_refresh_new(&r, c, &p->refresh, err));
    const rfhe_refresh_info ri = rfhe_refresh_get_info(r);
    if (ri.raise_level < p->refresh.to_coeffs_level || ri.raise_level - p->refresh.to_coeffs_level != rfhe_usable_levels(p)) {
        st = rfhe_fail(err, RFHE_E_UNSUPPORTED, "the set %s leaves %u levels, not the %u that were planned for", p->set,
                       ri.raise_level - p->refresh.to_coeffs_level, rfhe_usable_levels(p));
        goto done;
    }
    RFHE_TRY(rfhe_program_keys(&list, p, c, r, err));
    p->bill.key_bytes = p->bill.upload_bytes = 0;
    for (size_t k = 0; k < list.count; k++) { key_size(c, &list.items[k], &p->bill.key_bytes, &p->bill.upload_bytes); }
    RFHE_TRY(rfhe_evaluator_new(&ev, c, NULL, err));
    RFHE_TRY(mask_bytes(&masks, p, r, err));
    p->bill.memory_bytes = p->bill.key_bytes + (double)ri.plain_bytes + (double)rfhe_evaluator_bytes(ev) + masks +
                           3 * ciphertext_bytes(p, info.top_level);
    /* Rotations and conjugations of one refresh; the relinearisations of its reduction, for each half. */
    const uint32_t halves = p->refresh.complex_slots ? 2 : 1;
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        rfhe_instruction *n = &p->instruction[i];
        if (n->kind != RFHE_DO_ACTIVATE) { continue; }
        const rfhe_layout *l = &p->tensor[n->out].layout;
        n->key_switches += (uint64_t)l->ciphertexts * (ri.rotations + 2 + (l->both_halves ? 2 : 1) * (ri.products / halves));
    }

done:
    rfhe_key_list_clear(&list);
    rfhe_evaluator_free(ev);
    rfhe_refresh_free(r);
    rfhe_ckks_free(c);
    return st;
}

double rfhe_plan_seconds(rfhe_program *p, const rfhe_machine *m)
{
    const uint32_t usable = rfhe_usable_levels(p);
    double sum = 0;

    for (uint32_t i = 0; i < p->n_instructions; i++) {
        rfhe_instruction *n = &p->instruction[i];
        const rfhe_layout *l = &p->tensor[n->out].layout;
        if (n->kind != RFHE_DO_ACTIVATE) {
            cost_linear(p, n, m);
            sum += n->seconds;
            continue;
        }
        const rfhe_activation *a = &p->activation[n->which];
        uint64_t products = 0;
        for (uint32_t k = 0; k < a->n_steps; k++) { products += a->step[k].op == RFHE_POLY_MUL; }
        n->products = l->ciphertexts * products * (l->both_halves ? 2 : 1);
        n->key_switches = n->products;
        n->seconds = l->ciphertexts * rfhe_cost_activation(m, a, usable, l->both_halves);
        sum += n->seconds;
    }
    return sum;
}

rfhe_status rfhe_plan_cost(rfhe_program *p, const rfhe_machine *m, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    double alive = 0, most = 0;
    uint32_t layers = 0;

    memset(&p->bill, 0, sizeof p->bill);
    p->bill.seconds = rfhe_plan_seconds(p, m);
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        rfhe_instruction *n = &p->instruction[i];
        const rfhe_layout *to = &p->tensor[n->out].layout;
        n->scale_out = exp2(p->ckks.chain_scale[0]);
        n->bytes = 0;
        if (n->kind != RFHE_DO_ACTIVATE) { /* the products of one result at a time */
            n->bytes = (to->block < to->channels ? to->block : to->channels) * ciphertext_bytes(p, p->level_linear);
            continue;
        }
        p->bill.refreshes += to->ciphertexts;
        layers++;
    }
    RFHE_TRY(bill_of_parameters(p, err));
    for (uint32_t i = 0; i < p->n_instructions; i++) {
        rfhe_instruction *n = &p->instruction[i];
        alive = 0;
        for (uint32_t t = 0; t < p->n_tensors; t++) {
            uint32_t born = 0;
            for (uint32_t k = 0; k < p->n_instructions && t > 0; k++) { born = p->instruction[k].out == t ? k : born; }
            if (born <= i && p->tensor[t].last_use >= i) { alive += tensor_bytes(p, &p->tensor[t], p->level_linear); }
        }
        n->bytes += alive;
        most = n->bytes > most ? n->bytes : most;
        p->bill.key_switches += n->key_switches;
    }
    p->bill.memory_bytes += most + weight_bytes(p) + 0x1p28; /* polynomials bound to their channels: up to 256 MiB */
    double bits = 0;
    for (uint32_t l = 0; l <= p->level_linear; l++) { bits += p->ckks.chain[l]; }
    const double residues = (double)(UINT64_C(1) << p->ckks.log2_n) / 8;
    p->bill.request_bytes = p->tensor[0].layout.ciphertexts * (residues * bits + 512);
    p->bill.reply_bytes = 2 * residues * p->ckks.chain[0] + 512;
    p->bill.precision_bits = precision(p, layers);
    (void)snprintf(p->bill.machine, sizeof p->bill.machine, "%s", m->name);

done:
    return st;
}
