/* From bytes to the generated protobuf structures, safely: what protobuf-c trusts is checked before it sees it. */
#ifndef RFHE_ONNX_WIRE_H
#define RFHE_ONNX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "rfhe/status.h"

typedef struct rfhe_onnx_block rfhe_onnx_block;

/* Memory that is freed all at once, with an upper limit. Zero state with `limit` set: empty. */
typedef struct rfhe_onnx_arena {
    rfhe_onnx_block *blocks;
    size_t used, limit; /* bytes */
    bool is_full;       /* the limit was hit     */
    bool failed;        /* the system refused    */
} rfhe_onnx_arena;

/* 16-byte aligned, contents undefined; NULL when the limit is passed or the system refuses. */
void *rfhe_onnx_arena_alloc(rfhe_onnx_arena *a, size_t size);
void rfhe_onnx_arena_clear(rfhe_onnx_arena *a);

/* Parses `size` bytes as message `d` into `a`, which owns the result. Refuses nesting deeper than 100 and, through the
 * arena's limit (set here from `size`), structures far larger than the bytes that describe them. `what` names the
 * bytes in messages, such as "the model". */
RFHE_MUST_USE rfhe_status rfhe_onnx_parse(ProtobufCMessage **out, rfhe_onnx_arena *a,
                                          const ProtobufCMessageDescriptor *d, const void *data,
                                          size_t size, const char *what, rfhe_error *err);

#endif
