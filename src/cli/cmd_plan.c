/* rfhe plan MODEL -o PROGRAM: from a network to an encrypted program and its bill. */
#include "cli/network.h"

#include "base/clock.h"
#include "plan/lower.h"
#include "rfhe/onnx.h"

#include <inttypes.h>

static const rfhe_opt options[] = {
    {"output", 'o', RFHE_OPT_TEXT, "PROGRAM", NULL, "folder to write (default: only the bill is printed)"},
    {"memory", 0, RFHE_OPT_TEXT, "SIZE", NULL, "what keys, weights and ciphertexts may take, such as 8GiB"},
    {"set", 0, RFHE_OPT_TEXT, "NAME", NULL, "parameter set (default: the smallest that is deep enough)"},
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    rfhe_graph *g = NULL;
    rfhe_program *p = NULL;
    const rfhe_plan_options opt = {.set = rfhe_args_text(args, "set", NULL), .threads = cli->threads};
    const double start = rfhe_now();
    rfhe_status st = rfhe_network_open(&g, rfhe_args_at(args, 0), &err);

    if (st == RFHE_OK) { st = rfhe_plan(&p, g, &opt, &err); }
    if (st == RFHE_OK && rfhe_args_has(args, "output")) { st = rfhe_program_save(rfhe_args_text(args, "output", ""), p, &err); }
    if (st != RFHE_OK) {
        rfhe_program_free(p);
        rfhe_graph_free(g);
        return rfhe_cli_fail(cli, st, &err);
    }
    for (uint32_t k = 0; k < p->n_instructions; k++) {
        const rfhe_instruction *i = &p->instruction[k];
        const rfhe_layout *l = &p->tensor[i->out].layout;
        rfhe_text_printf(&cli->out, "%-8s %-40s %4" PRIu32 " x %3" PRIu32 " x %3" PRIu32 "  block %4" PRIu32 " row %5" PRIu32
                         " column %2" PRIu32 "  %2" PRIu32 " ct%s\n",
                         i->kind == RFHE_DO_LINEAR ? "linear" : i->kind == RFHE_DO_ACTIVATE ? p->activation[i->which].form : "reply",
                         i->name, l->channels, l->height, l->width, l->block, l->row, l->column, l->ciphertexts,
                         l->both_halves ? ", both halves" : "");
    }
    rfhe_text_printf(&cli->out, "set %s; planned in %.2f s\n", p->set, rfhe_now() - start);
    rfhe_program_free(p);
    rfhe_graph_free(g);
    return rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_plan = {
    .name = "plan",
    .usage = "MODEL.onnx [-o PROGRAM] [options]",
    .summary = "turn a network into an encrypted program and print its bill",
    .description = "Folds everything between two activations into one linear step, chooses layouts and parameters, and "
                   "predicts what an encrypted image will cost before anything runs.",
    .example = "rfhe plan resnet20-even8.onnx -o resnet20.program",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
