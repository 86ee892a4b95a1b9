/* The recommended network of a search as files: ONNX, and the encrypted program where the network can be planned. */
#ifndef RFHE_CLI_SEARCH_EXPORT_H
#define RFHE_CLI_SEARCH_EXPORT_H

#include "nn/graph.h"
#include "search/cost.h"
#include "search/store.h"

typedef struct rfhe_exported {
    char network[4096], program[4096]; /* paths; an empty program: it could not be planned */
    char why_not[400];                 /* ... and why                                      */
    /* the program's bill */
    char params[16];
    uint32_t log2_n, refreshes;
    double seconds, memory_bytes, key_bytes;
} rfhe_exported;

/* Writes FOLDER/recommended.onnx and the folder FOLDER/recommended.program, for that server. The trial is noted in
 * the metadata rfhe.search. */
RFHE_MUST_USE rfhe_status rfhe_search_export(rfhe_exported *out, rfhe_graph *g, const rfhe_trial *t, const char *folder,
                                             const rfhe_server *server, rfhe_error *err);

#endif
