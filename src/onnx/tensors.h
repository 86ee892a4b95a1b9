/* TensorProto to rfhe_tensor: element types, raw and typed fields, external files. */
#ifndef RFHE_ONNX_TENSORS_H
#define RFHE_ONNX_TENSORS_H

#include "nn/tensor.h"

#include "onnx.pb-c.h"

/* "float16" and so on; "unknown" for numbers that are not in the schema. */
const char *rfhe_onnx_type_name(int32_t data_type);
/* What elements of this type become: float, double, float16, bfloat16 -> float32; int64, int32, bool -> int64. False
 * for all others. */
bool rfhe_onnx_type_map(int32_t data_type, rfhe_dtype *out);

/* Makes a tensor from `t`, a message that was parsed and may say anything. `folder`: where external files lie, NULL =
 * refuse them; a path that leaves it is refused. Allocates only what bytes are present for. At most `limit` bytes are
 * made, else RFHE_E_UNSUPPORTED. Narrowing to float32 rounds to nearest; a double beyond its range becomes infinite. */
RFHE_MUST_USE rfhe_status rfhe_onnx_tensor(rfhe_tensor **out, const Onnx__TensorProto *t,
                                           const char *folder, size_t limit, rfhe_error *err);

#endif
