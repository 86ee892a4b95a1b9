/* See search_export.h. */
#include "cli/search_export.h"

#include "rfhe/onnx.h"

#include <inttypes.h>
#include <stdio.h>

rfhe_status rfhe_search_export(rfhe_exported *out, rfhe_graph *g, const rfhe_trial *t, const char *folder, rfhe_error *err)
{
    char about[160];
    rfhe_status st = RFHE_OK;

    (void)snprintf(out->network, sizeof out->network, "%.4000s/recommended.onnx", folder);
    out->program[0] = '\0';
    (void)snprintf(about, sizeof about, "trial %" PRId64 ", %s, parameters %s, predicted %.2f s", t->id, t->recipe, t->params,
                   t->predicted_seconds);
    RFHE_TRY(rfhe_graph_set_meta(g, "rfhe.search", about));
    RFHE_TRY(rfhe_onnx_write(g, out->network, err));

done:
    return st;
}
