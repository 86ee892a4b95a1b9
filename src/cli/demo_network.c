/* See demo.h: the network before and after its activations became polynomials, and the program made of it. */
#include "cli/demo.h"

#include "base/clock.h"
#include "base/mem.h"
#include "paf/node.h"
#include "plan/lower.h"

#include <stdio.h>
#include <string.h>

static rfhe_status open_images(rfhe_images *out, const demo *d, const char *split, uint64_t limit, bool shuffle,
                               rfhe_error *err)
{
    const rfhe_dataset_options select = {.limit = limit};
    rfhe_loader_options loading = {.seed = d->cli->seed, .shuffle = shuffle};
    rfhe_status st = rfhe_dataset_open(&out->set, d->spec, split, &select, err);

    if (st == RFHE_OK) {
        loading.batch = rfhe_network_batch(d->net, rfhe_dataset_count(out->set));
        st = rfhe_images_open(out, out->set, &d->transform, &loading, err);
    }
    return st;
}

static rfhe_status measure(rfhe_loss_sums *out, double *seconds, const demo *d, const rfhe_graph *g, rfhe_error *err)
{
    rfhe_exec_options running = {0};
    rfhe_status st = RFHE_OK;
    rfhe_images images = {0};
    rfhe_exec *e = NULL;
    const double start = rfhe_now();

    RFHE_TRY(open_images(&images, d, "test", d->limit, false, err));
    running.batch = images.source.batch;
    RFHE_TRY(rfhe_exec_new(&e, g, &running, err));
    RFHE_TRY(rfhe_evaluate(out, e, &images.source, &d->cli->progress, err));
    *seconds = rfhe_now() - start;

done:
    rfhe_exec_free(e);
    rfhe_images_close(&images);
    return st;
}

static void count_layers(demo *d)
{
    d->cost = rfhe_graph_count(d->net);
    for (uint32_t i = 0; i < d->net->n_nodes; i++) {
        const rfhe_op op = d->net->nodes[i].op;
        d->linear += op == RFHE_OP_CONV || op == RFHE_OP_GEMM || op == RFHE_OP_MATMUL;
        d->relus += rfhe_method_is_activation(&d->net->nodes[i]);
        d->maxpools += op == RFHE_OP_MAXPOOL;
    }
}

/* The pictures that will be encrypted, with what a person calls them. */
static rfhe_status take_pictures(demo *d, rfhe_error *err)
{
    const rfhe_dataset_options select = {.limit = d->wanted};
    rfhe_status st = RFHE_OK;
    rfhe_dataset *set = NULL;

    RFHE_TRY(rfhe_dataset_open(&set, d->spec, "test", &select, err));
    RFHE_TRY(rfhe_network_transform(&d->transform, d->net, set, d->args, err));
    d->wanted = rfhe_dataset_count(set);
    d->picture = rfhe_calloc(d->wanted, sizeof *d->picture);
    d->label = rfhe_calloc(d->wanted, sizeof *d->label);
    if (d->picture == NULL || d->label == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu pictures", (size_t)d->wanted);
        goto done;
    }
    for (size_t i = 0; i < d->wanted; i++) {
        RFHE_TRY(rfhe_dataset_image(set, i, &d->picture[i], err));
        const char *name = rfhe_dataset_class_name(set, rfhe_dataset_label(set, i));
        (void)snprintf(d->label[i], sizeof d->label[i], "%s", name != NULL ? name : "?");
    }

done:
    rfhe_dataset_close(set);
    return st;
}

rfhe_status demo_read(demo *d, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_network_open(&d->net, d->model, err));
    if (d->tuned[0] != '\0') { RFHE_TRY(rfhe_network_open(&d->replaced, d->tuned, err)); }
    count_layers(d);
    RFHE_TRY(take_pictures(d, err));
    RFHE_TRY(measure(&d->plain, &d->plain_seconds, d, d->net, err));

done:
    return st;
}

/* Without a tuned file: MaxPool becomes its exact tree of ReLUs (averages would want training), ranges and coefficients
 * are fitted per channel. */
static rfhe_status fit(demo *d, rfhe_error *err)
{
    const rfhe_replace_options opt = {.forms = &d->form, .n_forms = 1, .seed = d->cli->seed};
    rfhe_replace_report report = {0};
    rfhe_profile profile = {0};
    rfhe_status st = RFHE_OK;
    rfhe_images images = {0};
    const double start = rfhe_now();

    RFHE_TRY(rfhe_graph_clone(&d->replaced, d->net));
    RFHE_TRY(rfhe_method_pools(d->replaced, RFHE_POOL_TREE, NULL, err));
    RFHE_TRY(rfhe_graph_infer(d->replaced, 0, err));
    RFHE_TRY(open_images(&images, d, "fit", 0, true, err));
    RFHE_TRY(rfhe_profile_collect(&profile, d->replaced, &images.source, d->calibration, RFHE_COMPUTE_F32,
                                  &d->cli->progress, err));
    RFHE_TRY(rfhe_method_replace(&report, d->replaced, &profile, &opt, err));
    RFHE_TRY(rfhe_graph_tidy(d->replaced, err));
    RFHE_TRY(rfhe_graph_infer(d->replaced, 0, err));
    d->fit_seconds = rfhe_now() - start;
    d->fitted_images = profile.images;
    d->depth = report.depth_max;

done:
    rfhe_images_close(&images);
    rfhe_profile_clear(&profile);
    rfhe_free(report.row);
    return st;
}

rfhe_status demo_replace(demo *d, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    if (d->replaced == NULL) { RFHE_TRY(fit(d, err)); }
    for (uint32_t i = 0; i < d->replaced->n_nodes; i++) {
        const rfhe_node *n = &d->replaced->nodes[i];
        if (!rfhe_paf_node_is(n)) { continue; }
        const char *form = rfhe_paf_node_form(n);
        d->pafs++;
        if (strstr(d->forms, form) == NULL && strlen(d->forms) + strlen(form) + 3 < sizeof d->forms) {
            (void)snprintf(d->forms + strlen(d->forms), sizeof d->forms - strlen(d->forms), "%s%s",
                           d->forms[0] != '\0' ? ", " : "", form);
        }
    }
    RFHE_TRY(measure(&d->after, &d->after_seconds, d, d->replaced, err));

done:
    return st;
}

rfhe_status demo_plan(demo *d, rfhe_error *err)
{
    const rfhe_plan_options opt = {.threads = d->cli->threads};
    const double start = rfhe_now();
    const rfhe_status st = rfhe_plan(&d->p, d->replaced, &opt, err);

    if (st != RFHE_OK) { return st; }
    d->plan_seconds = rfhe_now() - start;
    for (uint32_t i = 0; i < d->p->n_activations; i++) {
        d->depth = d->p->activation[i].depth > d->depth ? d->p->activation[i].depth : d->depth;
    }
    return RFHE_OK;
}

void demo_clear(demo *d)
{
    for (uint64_t i = 0; d->picture != NULL && i < d->wanted; i++) { rfhe_image_clear(&d->picture[i]); }
    rfhe_free(d->picture);
    rfhe_free(d->label);
    rfhe_program_free(d->p);
    trial_clear(&d->t);
    rfhe_graph_free(d->net);
    rfhe_graph_free(d->replaced);
}
