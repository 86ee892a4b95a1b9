/* The oracle of the network engine: every operator in plain loops over double, row-major, one function per family,
 * written to be read beside the ONNX documents and to share nothing with the engine. */
#ifndef RFHE_TEST_REFERENCE_H
#define RFHE_TEST_REFERENCE_H

#include "nn/graph.h"

/* Values of a graph after rfhe_graph_infer, by value id; NULL where nothing was computed. */
typedef struct reference {
    const rfhe_graph *g;
    double **value;
    bool batch_statistics; /* BatchNormalization normalises by the batch, as in training */
} reference;

reference reference_new(const rfhe_graph *g, bool batch_statistics);
void reference_free(reference *r);
/* The values of input or constant `v`, to be filled or changed by the caller; constants start as in the graph. */
double *reference_value(reference *r, rfhe_value_id v);
size_t reference_count(const reference *r, rfhe_value_id v);
/* Computes all nodes. */
void reference_run(reference *r);

#endif
