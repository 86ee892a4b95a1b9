/* rfhe bench train: one optimizer step (forward, loss, backward, update) of ResNet-20 on CIFAR-10 shapes, batch 128, on
 * made-up images already in memory; the loader is not part of it. One row per element type; threads as set. */
#include "base/mem.h"
#include "base/random.h"
#include "cli/bench.h"
#include "nn/exec.h"
#include "nn/loss.h"
#include "nn/optim.h"
#include "nn/zoo.h"

enum { BATCH = 128, CLASSES = 10 };

typedef struct job {
    rfhe_exec *exec;
    rfhe_optim *optim;
    uint32_t labels[BATCH];
} job;

static rfhe_status step(void *user)
{
    job *j = user;
    rfhe_loss_sums sums = {0};
    const rfhe_loss_options plain = {0};
    rfhe_status st = RFHE_OK;

    RFHE_TRY(rfhe_exec_forward(j->exec, NULL));
    RFHE_TRY(rfhe_loss(&sums, rfhe_exec_output_grad(j->exec, 0), rfhe_exec_output(j->exec, 0, NULL), NULL,
                       j->labels, BATCH, CLASSES, &plain, NULL));
    RFHE_TRY(rfhe_exec_backward(j->exec, NULL));
    rfhe_optim_step(j->optim, rfhe_exec_values(j->exec, NULL), rfhe_exec_grads(j->exec), 1e-3, 1);
    rfhe_exec_weights_changed(j->exec);

done:
    return st;
}

static void report(rfhe_bench *b, const job *j, const rfhe_timing *t, const char *model, const char *type)
{
    const rfhe_exec_stats s = rfhe_exec_get_stats(j->exec);
    double conv = 0, norm = 0, other = 0;

    for (int k = 0; k < RFHE_OP_COUNT; k++) {
        const double spent = s.forward_seconds[k] + s.backward_seconds[k];
        *(k == RFHE_OP_CONV ? &conv : k == RFHE_OP_BATCHNORM ? &norm : &other) += spent;
    }
    const double all = conv + norm + other + s.reorder_seconds;
    rfhe_bench_row_begin(b, "train_step");
    rfhe_bench_text(b, "model", model);
    rfhe_bench_integer(b, "batch", BATCH);
    rfhe_bench_text(b, "dtype", type);
    rfhe_bench_timing(b, t);
    rfhe_bench_number(b, "images_per_second", BATCH * 1e3 / t->median_ms);
    rfhe_bench_number(b, "conv_share", all > 0 ? conv / all : 0);
    rfhe_bench_number(b, "batchnorm_share", all > 0 ? norm / all : 0);
    rfhe_bench_number(b, "reorder_share", all > 0 ? s.reorder_seconds / all : 0);
    rfhe_bench_number(b, "memory_mib",
                      (double)(s.weight_bytes + s.activation_bytes + s.gradient_bytes + s.scratch_bytes) / 0x1p20);
    rfhe_bench_row_end(b);
}

static rfhe_status run(rfhe_bench *b, const rfhe_args *args, rfhe_error *err)
{
    static const char *const types[] = {"f32", "bf16"};
    const rfhe_zoo_options zoo = {.seed = 1};
    const rfhe_optim_options sgd = {.kind = RFHE_OPTIM_SGD, .momentum = 0.9};
    rfhe_graph *g = NULL;
    job j = {.exec = NULL};
    rfhe_status st = RFHE_OK;

    (void)args;
    if (!rfhe_bench_wants(b, "train_step")) { return RFHE_OK; }
    RFHE_TRY(rfhe_zoo_build(&g, "resnet20", &zoo, err));
    for (int k = 0; k < 2; k++) {
        const rfhe_exec_options opt = {.batch = BATCH,
                                       .training = true,
                                       .compute = k == 0 ? RFHE_COMPUTE_F32 : RFHE_COMPUTE_BF16};
        rfhe_rng rng = rfhe_rng_seed(1, 0);
        rfhe_timing t;
        rfhe_error refused = {0};
        uint32_t n = 0;
        size_t count = 0;
        st = rfhe_exec_new(&j.exec, g, &opt, &refused);
        if (st == RFHE_E_UNSUPPORTED && k == 1) { /* no bf16 here: the row is left out */
            st = RFHE_OK;
            break;
        }
        if (st != RFHE_OK) {
            st = rfhe_fail(err, st, "%s", refused.text);
            goto done;
        }
        const rfhe_param *params = rfhe_exec_params(j.exec, &n);
        (void)rfhe_exec_values(j.exec, &count);
        RFHE_TRY(rfhe_optim_new(&j.optim, &sgd, params, n, count, err));
        float *x = rfhe_exec_input(j.exec, 0, NULL);
        for (size_t i = 0; i < (size_t)BATCH * 3 * 32 * 32; i++) { x[i] = (float)rfhe_rng_normal(&rng); }
        for (size_t i = 0; i < BATCH; i++) { j.labels[i] = (uint32_t)rfhe_rng_below(&rng, CLASSES); }
        RFHE_TRY(step(&j));
        rfhe_exec_reset_stats(j.exec);
        RFHE_TRY(rfhe_bench_time(&t, b, step, &j, 9, 3));
        report(b, &j, &t, "resnet20", types[k]);
        rfhe_optim_free(j.optim);
        rfhe_exec_free(j.exec);
        j.optim = NULL;
        j.exec = NULL;
    }

done:
    rfhe_optim_free(j.optim);
    rfhe_exec_free(j.exec);
    rfhe_graph_free(g);
    return st;
}

const rfhe_bench_suite rfhe_bench_suite_train = {
    .name = "train", .summary = "one training step of ResNet-20", .run = run, .options = ""};
