/* Whatever bytes come in: reading refuses them with one sentence or gives a graph; a graph whose shapes fit can be
 * written, read again as the same graph, and written to the same bytes. */
#include "rfhe/onnx.h"

#include "base/mem.h"
#include "../tests/support/graphs.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition, const char *what, const char *detail)
{
    if (condition) { return; }
    (void)fprintf(stderr, "fuzz_onnx: %s: %s\n", what, detail);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rfhe_graph *g = NULL, *again = NULL;
    rfhe_error err = {0};
    uint8_t *bytes = NULL, *bytes_again = NULL;
    size_t n = 0, n_again = 0;
    const char *what = "";
    const size_t before = rfhe_mem_get_stats().current;
    const rfhe_status st = rfhe_onnx_read_memory(&g, data, size, NULL, &err);

    if (st != RFHE_OK) {
        must(g == NULL && err.code == st && err.text[0] != '\0', "refused without a sentence", rfhe_status_name(st));
        must(st == RFHE_E_FORMAT || st == RFHE_E_UNSUPPORTED, "unexpected status", err.text);
        goto done;
    }
    if (rfhe_graph_infer(g, 1, &err) != RFHE_OK) { goto done; }
    if (rfhe_onnx_write_memory(&bytes, &n, g, &err) != RFHE_OK) {
        must(err.code == RFHE_E_UNSUPPORTED, "an inferred graph cannot be written", err.text);
        goto done;
    }
    must(rfhe_onnx_read_memory(&again, bytes, n, NULL, &err) == RFHE_OK, "what was written cannot be read", err.text);
    must(!graph_is_writable_as_is(g) || graphs_are_equal(g, again, &what), "the graph changed", what);
    must(rfhe_onnx_write_memory(&bytes_again, &n_again, again, &err) == RFHE_OK, "cannot be written again", err.text);
    must(n == n_again && memcmp(bytes, bytes_again, n) == 0, "the bytes changed", "");

done:
    rfhe_onnx_free(bytes);
    rfhe_onnx_free(bytes_again);
    rfhe_graph_free(g);
    rfhe_graph_free(again);
    must(rfhe_mem_get_stats().current == before, "memory leaked", "");
    return 0;
}
