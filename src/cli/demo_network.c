/* See demo.h: the network before and after its activations became polynomials. */
#include "cli/demo.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { SLOTS = 16384 }; /* of one ciphertext at N = 2^15 */

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

/* The picture that is shown, with what a person calls it. */
static rfhe_status take_picture(demo *d, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_dataset *set = NULL;

    RFHE_TRY(rfhe_dataset_open(&set, d->spec, "test", NULL, err));
    RFHE_TRY(rfhe_network_transform(&d->transform, d->net, set, d->args, err));
    if (d->image >= rfhe_dataset_count(set)) {
        st = rfhe_fail(err, RFHE_E_ARG, "there are %zu test images: --image must be less", rfhe_dataset_count(set));
        goto done;
    }
    RFHE_TRY(rfhe_dataset_image(set, d->image, &d->picture, err));
    const char *name = rfhe_dataset_class_name(set, rfhe_dataset_label(set, d->image));
    (void)snprintf(d->label, sizeof d->label, "%s", name != NULL ? name : "?");
    d->classes = rfhe_dataset_classes(set);

done:
    rfhe_dataset_close(set);
    return st;
}

rfhe_status demo_read(demo *d, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_network_open(&d->net, d->model, err));
    count_layers(d);
    RFHE_TRY(take_picture(d, err));
    RFHE_TRY(measure(&d->plain, &d->plain_seconds, d, d->net, err));

done:
    return st;
}

/* MaxPool becomes its exact tree of ReLUs first: averages would want training. Ranges and coefficients are fitted per
 * channel, but the first activation gets one set for all channels, so that the polynomial measured here is the very one
 * that a program with constants evaluates on the ciphertext. */
static rfhe_status tune(demo *d, rfhe_error *err)
{
    const rfhe_replace_options opt = {.forms = &d->form, .n_forms = 1, .seed = d->cli->seed};
    rfhe_replace_options first = opt;
    rfhe_status st = RFHE_OK;
    rfhe_images images = {0};
    size_t sets = 0;

    RFHE_TRY(rfhe_graph_clone(&d->replaced, d->net));
    RFHE_TRY(rfhe_method_pools(d->replaced, RFHE_POOL_TREE, NULL, err));
    RFHE_TRY(rfhe_graph_infer(d->replaced, 0, err));
    RFHE_TRY(open_images(&images, d, "fit", 0, true, err));
    RFHE_TRY(rfhe_profile_collect(&d->profile, d->replaced, &images.source, d->calibration, RFHE_COMPUTE_F32,
                                  &d->cli->progress, err));
    RFHE_TRY(rfhe_method_replace(&d->report, d->replaced, &d->profile, &opt, err));
    first.per_layer = true;
    RFHE_TRY(rfhe_method_replace_one(&d->report.row[0], d->replaced, &d->profile.layer[0], d->form, &first, err));
    RFHE_TRY(rfhe_graph_tidy(d->replaced, err));
    RFHE_TRY(rfhe_graph_infer(d->replaced, 0, err));
    for (uint32_t i = 0; i < d->replaced->n_nodes; i++) {
        if (strcmp(d->replaced->nodes[i].name, d->profile.layer[0].node) != 0) { continue; }
        RFHE_TRY(rfhe_paf_node_get(d->replaced, &d->replaced->nodes[i], &d->paf, &d->scale, &sets, err));
    }

done:
    rfhe_images_close(&images);
    return st;
}

/* What the first activation of the original network receives for the picture. */
static rfhe_status look_inside(demo *d, rfhe_error *err)
{
    const rfhe_profile_layer *l = &d->profile.layer[0];
    const char *keep[] = {l->value};
    const rfhe_exec_options running = {.batch = 1, .keep = keep, .n_keep = 1};
    rfhe_status st = RFHE_OK;
    rfhe_exec *e = NULL;
    rfhe_shape shape;
    size_t inputs = 0;

    RFHE_TRY(rfhe_exec_new(&e, d->net, &running, err));
    float *in = rfhe_exec_input(e, 0, &shape);
    if (!rfhe_shape_count(&shape, &inputs)) { inputs = 0; }
    RFHE_TRY(rfhe_transform_apply(in, inputs, &d->picture, &d->transform, err));
    RFHE_TRY(rfhe_exec_forward(e, err));
    d->all_values = l->per_image;
    d->all_channels = l->channels;
    const size_t one = l->per_image / l->channels;
    d->channels = one * l->channels <= SLOTS ? l->channels : SLOTS / one;
    d->values = d->channels > 0 ? d->channels * one : SLOTS;
    d->x = rfhe_alloc(d->all_values, sizeof *d->x);
    if (d->x == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for %zu values", d->all_values);
        goto done;
    }
    RFHE_TRY(rfhe_exec_read(e, l->value, d->x, d->all_values, err));

done:
    rfhe_exec_free(e);
    return st;
}

rfhe_status demo_replace(demo *d, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;

    RFHE_TRY(tune(d, err));
    RFHE_TRY(measure(&d->after, &d->after_seconds, d, d->replaced, err));
    RFHE_TRY(look_inside(d, err));

done:
    return st;
}

void demo_clear(demo *d)
{
    rfhe_graph_free(d->net);
    rfhe_graph_free(d->replaced);
    rfhe_profile_clear(&d->profile);
    rfhe_free(d->report.row);
    rfhe_image_clear(&d->picture);
    rfhe_free(d->x);
}
