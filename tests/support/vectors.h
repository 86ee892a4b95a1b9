/* Reads the node tests of Debian's libonnx-testdata: tensors from .pb files, attributes of a model's only node. A small
 * walk over the protobuf wire format, so that tests of optimizers and losses need no importer. */
#ifndef RFHE_TEST_VECTORS_H
#define RFHE_TEST_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VECTOR_MAX = 32768 };

typedef struct test_vector {
    size_t rank, dim[8], count;
    double value[VECTOR_MAX]; /* floats and integers alike */
} test_vector;

/* Whether the package's folder of node tests is there; tests skip otherwise. */
bool test_vectors_exist(void);
/* Reads NODE/test_data_set_0/FILE.pb; fails the test when it cannot. */
void test_vector_read(test_vector *out, const char *node, const char *file);
/* The float or integer attribute of the only node of NODE/model.onnx, `otherwise` if absent. */
double test_vector_attribute(const char *node, const char *attribute, double otherwise);

#endif
