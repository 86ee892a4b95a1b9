/* See progressive.h. */
#include "method/progressive.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "nn/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

rfhe_pa_decision rfhe_pa_decide(rfhe_pa_state *s, const rfhe_pa_outcome *o, bool has_block)
{
    rfhe_pa_decision d = {.keep = RFHE_PA_KEEP_OLD};
    bool flip = false;

    if (o->best_epoch > s->best || o->average > s->best) {
        if (o->best_epoch > o->average) {
            d.keep = RFHE_PA_KEEP_EPOCH;
            s->best = o->best_epoch;
            flip = o->epoch < o->epochs / 2;
        } else {
            d.keep = RFHE_PA_KEEP_AVERAGE;
            s->best = o->average;
        }
        s->improved = true;
    } else {
        flip = true;
        d.unit_ends = !has_block;
    }
    if (flip && !d.unit_ends) {
        d.unit_ends = !s->improved;
        s->improved = false;
        if (s->mode != RFHE_PA_BOTH && !d.unit_ends) {
            s->mode = s->mode == RFHE_PA_COEFFICIENTS ? RFHE_PA_BLOCK : RFHE_PA_COEFFICIENTS;
            d.unit_ends = s->mode == RFHE_PA_BLOCK && !has_block;
        }
    }
    return d;
}

/* Stored in checkpoints as it is. */
typedef struct numbers {
    uint64_t unit, groups, images, unit_images, epoch, mode, improved, in_unit;
    double best;
} numbers;

typedef struct machine {
    const rfhe_pa_options *opt;
    const rfhe_profile *profile;
    const rfhe_replace_options *replace;
    const rfhe_batch_source *fit, *select;
    rfhe_graph *g;
    rfhe_paf_control control;
    rfhe_text settings;
    rfhe_pa_row *rows;
    uint64_t cap_rows, units;
    numbers n;
} machine;

/* ---- what moves ---- */

static uint32_t index_of(const rfhe_graph *g, const char *node)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (strcmp(g->nodes[i].name, node) == 0) { return i; }
    }
    return g->n_nodes;
}

/* Nodes [*from, *to) are the unit's block, node *at its activation. */
static void block_of(const machine *m, uint64_t unit, uint32_t *from, uint32_t *to, uint32_t *at)
{
    const uint64_t n = m->profile->n;

    *at = index_of(m->g, m->profile->layer[unit].node);
    *from = unit == 0 ? 0 : index_of(m->g, m->profile->layer[unit - 1].node) + 1;
    *to = *at;
    if (unit + 1 == n && !m->opt->faults) { *to = m->g->n_nodes; }
}

static bool uses(const rfhe_graph *g, uint32_t from, uint32_t to, rfhe_value_id v)
{
    for (uint32_t i = from; i < to && i < g->n_nodes; i++) {
        for (uint32_t k = 0; k < g->nodes[i].n_inputs; k++) {
            if (g->nodes[i].inputs[k] == v) { return true; }
        }
    }
    return false;
}

/* Marks what stands still as RFHE_PARAM_FIXED. Returns whether any layer's weight moves or could move (the block). */
static bool choose(const machine *m, rfhe_param *p, uint32_t n, rfhe_pa_mode mode)
{
    uint32_t from = 0, to = m->g->n_nodes, at = m->g->n_nodes;
    bool has_block = false;

    if (m->opt->train_progressively) { block_of(m, m->n.unit, &from, &to, &at); }
    for (uint32_t i = 0; i < n; i++) {
        const bool coef = p[i].kind == RFHE_PARAM_PAF;
        const bool trained = p[i].kind != RFHE_PARAM_BN_MEAN &&
                             p[i].kind != RFHE_PARAM_BN_VARIANCE && p[i].kind != RFHE_PARAM_FIXED;
        const rfhe_value_id v = rfhe_graph_find(m->g, p[i].name);
        bool moves = trained && mode != (coef ? RFHE_PA_BLOCK : RFHE_PA_COEFFICIENTS);
        if (m->opt->train_progressively) {
            const bool mine = coef ? uses(m->g, at, at + 1, v) : uses(m->g, from, to, v);
            has_block = has_block || (mine && trained && !coef);
            moves = moves && mine;
        } else {
            has_block = has_block || (trained && !coef);
        }
        if (!moves) { p[i].kind = RFHE_PARAM_FIXED; }
    }
    return has_block;
}

/* ---- one group ---- */

static uint64_t epoch_images(const machine *m)
{
    return m->opt->epoch_images > 0 ? m->opt->epoch_images : m->fit->images;
}

static rfhe_status accuracy(const machine *m, double *out, rfhe_exec *judge, rfhe_error *err)
{
    rfhe_loss_sums sums = {0};
    const rfhe_status st = rfhe_evaluate(&sums, judge, m->select, m->opt->progress, err);

    *out = sums.images > 0 ? (double)sums.top1 / (double)sums.images : 0;
    return st;
}

static rfhe_status accuracy_of(const machine *m, double *out, const rfhe_graph *g, rfhe_error *err)
{
    const rfhe_exec_options o = {.batch = m->select->batch, .compute = m->opt->compute};
    rfhe_exec *e = NULL;
    rfhe_status st = rfhe_exec_new(&e, g, &o, err);

    if (st == RFHE_OK) { st = accuracy(m, out, e, err); }
    rfhe_exec_free(e);
    return st;
}

static rfhe_optim_options optimizer(const machine *m)
{
    const rfhe_pa_options *o = m->opt;
    rfhe_optim_options r = {.kind = o->faults ? RFHE_OPTIM_ADAM : RFHE_OPTIM_ADAMW};

    for (int k = 0; k < RFHE_PARAM_KINDS; k++) {
        const bool coef = k == RFHE_PARAM_PAF;
        r.group[k].rate_factor = coef ? (o->coef_rate > 0 ? o->coef_rate : 1e-4)
                                      : (o->block_rate > 0 ? o->block_rate : 1e-5);
        r.group[k].decay = coef ? (o->coef_decay > 0 ? o->coef_decay : 0.01)
                                : (o->block_decay > 0 ? o->block_decay : 0.1);
    }
    return r;
}

/* The executors and arrays of a group. */
typedef struct group {
    rfhe_exec *net, *judge;
    rfhe_optim *optim;
    rfhe_param *params;
    rfhe_average average;
    float *best;
    uint32_t *labels;
    size_t count, classes;
    rfhe_graph *averaged;
    bool has_block, diverged;
} group;

static void group_clear(group *w)
{
    rfhe_exec_free(w->net);
    rfhe_exec_free(w->judge);
    rfhe_optim_free(w->optim);
    rfhe_average_clear(&w->average);
    rfhe_graph_free(w->averaged);
    rfhe_free(w->params);
    rfhe_free(w->best);
    rfhe_free(w->labels);
}

static rfhe_status group_open(group *w, const machine *m, rfhe_error *err)
{
    const rfhe_exec_options training = {
        .batch = m->fit->batch, .training = true, .frozen_bn = true, .compute = m->opt->compute};
    const rfhe_exec_options judging = {.batch = m->select->batch, .compute = m->opt->compute};
    const rfhe_optim_options o = optimizer(m);
    rfhe_status st = RFHE_OK;
    uint32_t n = 0;

    RFHE_TRY(rfhe_exec_new(&w->net, m->g, &training, err));
    RFHE_TRY(rfhe_exec_new(&w->judge, m->g, &judging, err));
    RFHE_TRY(rfhe_exec_classes(w->net, m->fit->batch, &w->classes, err));
    (void)rfhe_exec_values(w->net, &w->count);
    const rfhe_param *p = rfhe_exec_params(w->net, &n);
    w->params = rfhe_alloc(n, sizeof *w->params);
    w->best = rfhe_alloc(w->count, sizeof *w->best);
    w->labels = rfhe_alloc(m->fit->batch, sizeof *w->labels);
    if (w->params == NULL || w->best == NULL || w->labels == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for the state of a training of %zu values",
                       w->count);
        goto done;
    }
    memcpy(w->params, p, n * sizeof *p);
    w->has_block = choose(m, w->params, n, (rfhe_pa_mode)m->n.mode);
    RFHE_TRY(rfhe_optim_new(&w->optim, &o, w->params, n, w->count, err));
    RFHE_TRY(rfhe_average_init(&w->average, w->count, 0, err));

done:
    return st;
}

static rfhe_status one_epoch(group *w, machine *m, rfhe_error *err)
{
    static const rfhe_loss_options plain;
    const uint64_t steps = epoch_images(m) / m->fit->batch, first = m->n.epoch * epoch_images(m);
    const double grad_scale = m->opt->faults ? 1.0 / (double)m->fit->batch : 1.0;
    rfhe_loss_sums sums = {0};
    rfhe_status st = RFHE_OK;
    uint32_t count = 0;
    char note[64];

    RFHE_TRY(m->fit->seek(m->fit->user, first / m->fit->images, first % m->fit->images, err));
    for (uint64_t s = 0; s < steps && !w->diverged; s++) {
        RFHE_TRY(
            m->fit->next(m->fit->user, rfhe_exec_input(w->net, 0, NULL), w->labels, &count, err));
        RFHE_TRY(rfhe_exec_forward(w->net, err));
        RFHE_TRY(rfhe_loss(&sums, rfhe_exec_output_grad(w->net, 0),
                           rfhe_exec_output(w->net, 0, NULL), NULL, w->labels, count, w->classes,
                           &plain, err));
        w->diverged = !isfinite(sums.loss);
        if (w->diverged) { break; }
        RFHE_TRY(rfhe_exec_backward(w->net, err));
        rfhe_optim_step(w->optim, rfhe_exec_values(w->net, NULL), rfhe_exec_grads(w->net), 1.0,
                        grad_scale);
        rfhe_exec_weights_changed(w->net);
        m->n.images += count;
        m->n.unit_images += count;
        (void)snprintf(note, sizeof note, "unit %" PRIu64 "/%" PRIu64 "  loss %.4f", m->n.unit + 1,
                       m->units, sums.loss / (double)sums.images);
        RFHE_TRY(rfhe_progress_report(m->opt->progress, "train", (double)((s + 1) * m->fit->batch),
                                      (double)epoch_images(m), "images", note));
    }
    m->n.epoch++;

done:
    return st;
}

/* Epochs until the group is over; the network of the best epoch waits in w->best, the mean in w->averaged. */
static rfhe_status run_group(group *w, machine *m, rfhe_pa_outcome *o, uint64_t epochs,
                             rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    *o = (rfhe_pa_outcome){.best_epoch = -1, .average = -1, .epochs = epochs};
    for (uint64_t e = 0; e < epochs && !w->diverged; e++) {
        double a = 0;
        RFHE_TRY(one_epoch(w, m, err));
        if (w->diverged) { break; }
        rfhe_average_update(&w->average, rfhe_exec_values(w->net, NULL));
        RFHE_TRY(rfhe_exec_copy(w->judge, w->net, NULL, err));
        RFHE_TRY(accuracy(m, &a, w->judge, err));
        if (a > o->best_epoch) {
            o->best_epoch = a;
            o->epoch = e;
            memcpy(w->best, rfhe_exec_values(w->net, NULL), w->count * sizeof *w->best);
        }
    }
    if (w->diverged) { goto done; }
    RFHE_TRY(rfhe_graph_clone(&w->averaged, m->g));
    memcpy(rfhe_exec_values(w->net, NULL), w->average.values, w->count * sizeof *w->best);
    RFHE_TRY(rfhe_exec_store(w->net, w->averaged, err));
    RFHE_TRY(rfhe_method_recalibrate(w->averaged, m->fit, epoch_images(m) / m->fit->batch,
                                     m->opt->compute, m->opt->progress, err));
    m->n.images += epoch_images(m);
    m->n.unit_images += epoch_images(m);
    RFHE_TRY(accuracy_of(m, &o->average, w->averaged, err));

done:
    return st;
}

/* The weights of `from` into the constants of m->g. */
static rfhe_status take_graph(machine *m, const rfhe_graph *from, rfhe_error *err)
{
    for (uint32_t v = 0; v < m->g->n_values; v++) {
        rfhe_tensor *to = m->g->values[v].constant;
        const rfhe_value_id other =
            to != NULL ? rfhe_graph_find(from, m->g->values[v].name) : RFHE_NO_VALUE;
        const rfhe_tensor *t = other != RFHE_NO_VALUE ? from->values[other].constant : NULL;
        if (to == NULL || to->dtype != RFHE_F32) { continue; }
        if (t == NULL || t->count != to->count) {
            return rfhe_fail(err, RFHE_E_ARG, "the averaged network lacks '%s'",
                             m->g->values[v].name);
        }
        memcpy(to->f32, t->f32, t->count * sizeof(float));
    }
    return RFHE_OK;
}

static rfhe_status add_row(machine *m, const rfhe_pa_row *row)
{
    if (m->n.groups == m->cap_rows) {
        const uint64_t wanted = m->cap_rows == 0 ? 64 : 2 * m->cap_rows;
        rfhe_pa_row *more = rfhe_realloc(m->rows, wanted, sizeof *more);
        if (more == NULL) { return RFHE_E_NOMEM; }
        m->rows = more;
        m->cap_rows = wanted;
    }
    m->rows[m->n.groups++] = *row;
    return RFHE_OK;
}

/* ---- checkpoints: between groups ---- */

static size_t count_constants(const rfhe_graph *g, float *out, const float *in)
{
    size_t n = 0;

    for (uint32_t v = 0; v < g->n_values; v++) {
        rfhe_tensor *t = g->values[v].constant;
        if (t == NULL || t->dtype != RFHE_F32) { continue; }
        if (out != NULL) { memcpy(out + n, t->f32, t->count * sizeof *out); }
        if (in != NULL) { memcpy(t->f32, in + n, t->count * sizeof *in); }
        n += t->count;
    }
    return n;
}

static rfhe_status save(machine *m, rfhe_error *err)
{
    const size_t n = count_constants(m->g, NULL, NULL);
    rfhe_status st = RFHE_OK;

    if (m->opt->checkpoint == NULL) { return RFHE_OK; }
    float *values = rfhe_alloc(n, sizeof *values);
    if (values == NULL) { return rfhe_fail(err, RFHE_E_NOMEM, "no memory for a checkpoint"); }
    (void)count_constants(m->g, values, NULL);
    const rfhe_checkpoint_section s[] = {{"settings", m->settings.data, m->settings.size},
                                         {"numbers", &m->n, sizeof m->n},
                                         {"constants", values, n * sizeof *values},
                                         {"rows", m->rows, m->n.groups * sizeof *m->rows}};
    st = rfhe_checkpoint_write(m->opt->checkpoint, s, 4, err);
    rfhe_free(values);
    return st;
}

static rfhe_status replace_unit(machine *m, uint64_t unit, rfhe_error *err)
{
    const rfhe_replace_options *o = m->replace;
    rfhe_status st = rfhe_method_replace_one(NULL, m->g, &m->profile->layer[unit],
                                             o->forms[o->n_forms == 1 ? 0 : unit], o, err);

    /* Sorting keeps the constants' order a function of the graph alone, which resuming relies on. */
    if (st == RFHE_OK) { st = rfhe_graph_tidy(m->g, err); }
    if (st == RFHE_OK) { st = rfhe_graph_infer(m->g, 0, err); }
    if (st == RFHE_OK) { rfhe_paf_set_control(m->g, &m->control); }
    return st;
}

static rfhe_status load(machine *m, rfhe_error *err)
{
    rfhe_checkpoint *c = NULL;
    rfhe_status st = RFHE_OK;
    size_t size = 0;
    const char *path = m->opt->checkpoint;

    if (path == NULL || !rfhe_file_exists(path)) { return RFHE_OK; }
    RFHE_TRY(rfhe_checkpoint_open(&c, path, err));
    const char *was = rfhe_checkpoint_find(c, "settings", &size);
    if (was == NULL || size != m->settings.size || memcmp(was, m->settings.data, size) != 0) {
        st = rfhe_fail(err, RFHE_E_ARG,
                       "'%s' was begun with other settings; continue with the same or remove it",
                       path);
        goto done;
    }
    RFHE_TRY(rfhe_checkpoint_read(c, "numbers", &m->n, sizeof m->n, err));
    if (m->n.unit > m->units) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' is past the end of this training", path);
        goto done;
    }
    if (m->opt->replace_progressively) {
        for (uint64_t u = 0; u < m->n.unit + m->n.in_unit && u < m->profile->n; u++) {
            RFHE_TRY(replace_unit(m, u, err));
        }
    }
    m->rows = rfhe_alloc(m->n.groups + 64, sizeof *m->rows);
    m->cap_rows = m->n.groups + 64;
    const size_t n = count_constants(m->g, NULL, NULL);
    const float *values = rfhe_checkpoint_find(c, "constants", &size);
    if (m->rows == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory to continue");
        goto done;
    }
    if (values == NULL || size != n * sizeof *values) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' does not fit this network", path);
        goto done;
    }
    RFHE_TRY(rfhe_checkpoint_read(c, "rows", m->rows, m->n.groups * sizeof *m->rows, err));
    (void)count_constants(m->g, NULL, values);

done:
    rfhe_checkpoint_close(c);
    return st;
}

/* ---- the loop over units ---- */

/* Epochs of the next group: what the budget leaves of a whole one; 0 = the unit's share is used up. */
static uint64_t next_epochs(const machine *m)
{
    const uint64_t whole = m->opt->epochs_per_group > 0 ? m->opt->epochs_per_group : 20;

    if (m->opt->max_passes == 0) { return whole; }
    const uint64_t used = m->n.images - m->n.unit_images;
    const uint64_t left = m->opt->max_passes > used ? m->opt->max_passes - used : 0;
    const uint64_t share = left / (m->units - m->n.unit);
    const uint64_t mine =
        share > m->n.unit_images ? (share - m->n.unit_images) / epoch_images(m) : 0;
    /* One pass goes to the statistics of the average. */
    return mine < 2 ? 0 : mine - 1 < whole ? mine - 1 : whole;
}

static rfhe_status tune_group(machine *m, uint64_t epochs, bool *unit_ends, rfhe_error *err)
{
    rfhe_pa_state s = {
        .mode = (rfhe_pa_mode)m->n.mode, .improved = m->n.improved != 0, .best = m->n.best};
    rfhe_pa_row row = {.unit = (uint32_t)m->n.unit, .mode = s.mode, .start = s.best};
    rfhe_pa_outcome o;
    group w = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(group_open(&w, m, err));
    RFHE_TRY(run_group(&w, m, &o, epochs, err));
    const rfhe_pa_decision d = rfhe_pa_decide(&s, &o, w.has_block);
    rfhe_pa_keep take = d.keep;
    if (m->opt->faults && take == RFHE_PA_KEEP_OLD && !w.diverged) {
        take = RFHE_PA_KEEP_AVERAGE; /* the released baseline goes on from the newest model */
    }
    if (take == RFHE_PA_KEEP_EPOCH) {
        memcpy(rfhe_exec_values(w.net, NULL), w.best, w.count * sizeof *w.best);
        RFHE_TRY(rfhe_exec_store(w.net, m->g, err));
    } else if (take == RFHE_PA_KEEP_AVERAGE) {
        RFHE_TRY(take_graph(m, w.averaged, err));
    }
    *unit_ends = d.unit_ends;
    m->n.mode = s.mode;
    m->n.improved = s.improved;
    m->n.best = s.best;
    row.keep = d.keep;
    row.epoch = o.epoch;
    row.best_epoch = o.best_epoch;
    row.average = o.average;
    row.best = s.best;
    RFHE_TRY(add_row(m, &row));
    if (m->opt->on_group != NULL) { m->opt->on_group(m->opt->user, &row); }

done:
    group_clear(&w);
    return st;
}

static rfhe_status run_unit(machine *m, uint64_t first_group, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    bool ends = false;

    if (m->n.in_unit == 0) {
        if (m->opt->replace_progressively) { RFHE_TRY(replace_unit(m, m->n.unit, err)); }
        m->n.mode = m->opt->alternate ? RFHE_PA_COEFFICIENTS : RFHE_PA_BOTH;
        m->n.improved = 1;
        m->n.in_unit = 1;
        m->n.unit_images = 0;
        RFHE_TRY(accuracy_of(m, &m->n.best, m->g, err));
    }
    while (!ends) {
        const uint64_t epochs = next_epochs(m);
        if (epochs == 0) { break; }
        RFHE_TRY(tune_group(m, epochs, &ends, err));
        if (ends) { break; }
        RFHE_TRY(save(m, err));
        if (m->opt->stop_after > 0 && m->n.groups - first_group >= m->opt->stop_after) {
            st = rfhe_fail(err, RFHE_E_INTERRUPTED,
                           "interrupted after %" PRIu64 " groups; run again to continue",
                           m->n.groups);
            goto done;
        }
    }
    m->n.unit++;
    m->n.in_unit = 0;
    RFHE_TRY(save(m, err));

done:
    return st;
}

static void write_settings(machine *m)
{
    const rfhe_pa_options *o = m->opt;
    rfhe_text *s = &m->settings;

    rfhe_text_printf(
        s, "published recipe\nprogressive=%d,%d\nalternate=%d\ndynamic=%d\nfaults=%d\n",
        o->replace_progressively, o->train_progressively, o->alternate, o->dynamic, o->faults);
    rfhe_text_printf(
        s, "epochs=%" PRIu64 "\npasses=%" PRIu64 "\nrates=%.17g,%.17g\ndecays=%.17g,%.17g\n",
        o->epochs_per_group, o->max_passes, o->coef_rate, o->block_rate, o->coef_decay,
        o->block_decay);
    rfhe_text_printf(
        s, "epoch images=%" PRIu64 "\ncompute=%d\nimages=%" PRIu64 " in %" PRIu32 ", %" PRIu64 "\nactivations=%zu\n",
        epoch_images(m), (int)o->compute, m->fit->images, m->fit->batch, m->select->images, m->profile->n);
    if (o->identity != NULL) { rfhe_text_add(s, o->identity); }
}

rfhe_status rfhe_method_progressive(rfhe_pa_result *out, rfhe_graph *g, const rfhe_profile *profile,
                                    const rfhe_replace_options *replace,
                                    const rfhe_batch_source *fit, const rfhe_batch_source *select,
                                    const rfhe_pa_options *opt, rfhe_error *err)
{
    machine m = {.opt = opt,
                 .profile = profile,
                 .replace = replace,
                 .fit = fit,
                 .select = select,
                 .g = g,
                 .control = {.dynamic = opt->dynamic}};
    rfhe_status st = RFHE_OK;

    if (profile->n == 0 || (replace->n_forms != 1 && replace->n_forms != profile->n) ||
        fit->batch == 0 || fit->images == 0 || fit->images % fit->batch != 0 ||
        opt->epoch_images % fit->batch != 0 || opt->epoch_images > fit->images || select == NULL) {
        return rfhe_fail(
            err, RFHE_E_ARG,
            "the published recipes want activations, a form for each, whole batches and "
            "images to choose by");
    }
    m.units = opt->replace_progressively || opt->train_progressively ? profile->n : 1;
    write_settings(&m);
    RFHE_TRY(rfhe_text_status(&m.settings));
    if (!opt->replace_progressively) {
        for (uint64_t u = 0; u < profile->n; u++) { RFHE_TRY(replace_unit(&m, u, err)); }
    }
    RFHE_TRY(load(&m, err));
    const uint64_t first_group = m.n.groups;
    while (m.n.unit < m.units) { RFHE_TRY(run_unit(&m, first_group, err)); }
    RFHE_TRY(accuracy_of(&m, &out->select_top1, g, err));
    out->groups = m.n.groups;
    out->images = m.n.images;
    out->rows = m.rows;
    m.rows = NULL;

done:
    rfhe_paf_set_control(g, NULL);
    rfhe_free(m.rows);
    rfhe_text_clear(&m.settings);
    return st;
}
