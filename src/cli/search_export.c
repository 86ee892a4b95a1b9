/* See search_export.h. */
#include "cli/search_export.h"

#include "plan/lower.h"
#include "rfhe/onnx.h"

#include <inttypes.h>
#include <stdio.h>

/* The encrypted program, with its full bill; what cannot be planned is told and no failure. */
static rfhe_status export_program(rfhe_exported *out, const rfhe_graph *g, const char *folder, const rfhe_server *server,
                                  rfhe_error *err)
{
    const rfhe_plan_options o = {.threads = server->threads, .machine = server->calibration, .n_machines = server->n};
    rfhe_program *p = NULL;
    rfhe_error e = {0};
    rfhe_status st = rfhe_plan(&p, g, &o, &e);

    if (st != RFHE_OK) {
        (void)snprintf(out->why_not, sizeof out->why_not, "%s", e.text);
        return st == RFHE_E_NOMEM ? rfhe_fail(err, st, "%s", e.text) : RFHE_OK;
    }
    (void)snprintf(out->program, sizeof out->program, "%.4000s/recommended.program", folder);
    st = rfhe_program_save(out->program, p, err);
    (void)snprintf(out->params, sizeof out->params, "%s", p->set);
    out->log2_n = p->ckks.log2_n;
    out->seconds = p->bill.seconds;
    out->memory_bytes = p->bill.memory_bytes;
    out->key_bytes = p->bill.key_bytes;
    out->refreshes = p->bill.refreshes;
    rfhe_program_free(p);
    return st;
}

rfhe_status rfhe_search_export(rfhe_exported *out, rfhe_graph *g, const rfhe_trial *t, const char *folder,
                               const rfhe_server *server,
                               rfhe_error *err)
{
    char about[160];
    rfhe_status st = RFHE_OK;

    *out = (rfhe_exported){0};
    (void)snprintf(out->network, sizeof out->network, "%.4000s/recommended.onnx", folder);
    (void)snprintf(about, sizeof about, "trial %" PRId64 ", %s, parameters %s, predicted %.2f s", t->id, t->recipe, t->params,
                   t->predicted_seconds);
    RFHE_TRY(rfhe_graph_set_meta(g, "rfhe.search", about));
    RFHE_TRY(rfhe_onnx_write(g, out->network, err));
    RFHE_TRY(export_program(out, g, folder, server, err));

done:
    return st;
}
