/* See tensors.h. Every size that a file states is checked against the bytes that are really there before anything is
 * allocated. Half-precision numbers are converted by their definition (IEEE 754 binary16; bfloat16 is the upper half of
 * a float). */
#include "onnx/tensors.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

const char *rfhe_onnx_type_name(int32_t t)
{
    static const char *const names[] = {"undefined",  "float",   "uint8",  "int8",   "uint16",
                                        "int16",      "int32",   "int64",  "string", "bool",
                                        "float16",    "double",  "uint32", "uint64", "complex64",
                                        "complex128", "bfloat16"};

    return t >= 0 && t < (int32_t)(sizeof names / sizeof *names) ? names[t] : "unknown";
}

bool rfhe_onnx_type_map(int32_t t, rfhe_dtype *out)
{
    const bool is_float =
        t == TYPE(FLOAT) || t == TYPE(DOUBLE) || t == TYPE(FLOAT16) || t == TYPE(BFLOAT16);
    const bool is_int = t == TYPE(INT64) || t == TYPE(INT32) || t == TYPE(BOOL);

    *out = is_float ? RFHE_F32 : RFHE_I64;
    return is_float || is_int;
}

static size_t element_size(int32_t t)
{
    switch (t) {
    case TYPE(DOUBLE):
    case TYPE(INT64): return 8;
    case TYPE(FLOAT):
    case TYPE(INT32): return 4;
    case TYPE(FLOAT16):
    case TYPE(BFLOAT16): return 2;
    default: return 1;
    }
}

static float from_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static float from_half(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = (h >> 10) & 31, fraction = h & 1023;

    if (exponent == 31) { return from_bits(sign | 0x7f800000u | fraction << 13); }
    if (exponent == 0) { /* zero or fraction * 2^-24, exact in float */
        const float f = (float)fraction * 0x1p-24f;
        return sign != 0 ? -f : f;
    }
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Little-endian bytes, as in raw_data and external files. */
static void convert_bytes(rfhe_tensor *t, int32_t type, const uint8_t *p)
{
    switch (type) {
    case TYPE(FLOAT):
    case TYPE(INT64):
        if (t->count > 0) { memcpy(t->data, p, t->count * rfhe_dtype_size(t->dtype)); }
        break;
    case TYPE(DOUBLE):
        for (size_t i = 0; i < t->count; i++) {
            double d;
            memcpy(&d, p + 8 * i, sizeof d);
            t->f32[i] = (float)d;
        }
        break;
    case TYPE(FLOAT16):
        for (size_t i = 0; i < t->count; i++) { t->f32[i] = from_half(rfhe_load_le16(p + 2 * i)); }
        break;
    case TYPE(BFLOAT16):
        for (size_t i = 0; i < t->count; i++) {
            t->f32[i] = from_bits((uint32_t)rfhe_load_le16(p + 2 * i) << 16);
        }
        break;
    case TYPE(INT32):
        for (size_t i = 0; i < t->count; i++) { t->i64[i] = (int32_t)rfhe_load_le32(p + 4 * i); }
        break;
    default:
        for (size_t i = 0; i < t->count; i++) { t->i64[i] = p[i] != 0; }
        break;
    }
}

/* The typed field that elements of `type` are in; their number. */
static size_t typed_count(const Onnx__TensorProto *src, int32_t type)
{
    switch (type) {
    case TYPE(FLOAT): return src->n_float_data;
    case TYPE(DOUBLE): return src->n_double_data;
    case TYPE(INT64): return src->n_int64_data;
    default: return src->n_int32_data;
    }
}

static void convert_typed(rfhe_tensor *t, int32_t type, const Onnx__TensorProto *src)
{
    for (size_t i = 0; i < t->count; i++) {
        switch (type) {
        case TYPE(FLOAT): t->f32[i] = src->float_data[i]; break;
        case TYPE(DOUBLE): t->f32[i] = (float)src->double_data[i]; break;
        case TYPE(INT64): t->i64[i] = src->int64_data[i]; break;
        case TYPE(FLOAT16): t->f32[i] = from_half((uint16_t)src->int32_data[i]); break;
        case TYPE(BFLOAT16):
            t->f32[i] = from_bits((uint32_t)(uint16_t)src->int32_data[i] << 16);
            break;
        case TYPE(INT32): t->i64[i] = src->int32_data[i]; break;
        default: t->i64[i] = src->int32_data[i] != 0; break;
        }
    }
}

static bool parse_size(const char *text, uint64_t *out)
{
    char *end = NULL;

    if (text == NULL || text[0] < '0' || text[0] > '9') { return false; }
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

/* Whether `location` is a relative path without ".." components. */
static bool stays_inside(const char *location)
{
    if (location[0] == '/' || location[0] == '\0') { return false; }
    for (const char *c = location; *c != '\0';) {
        const size_t n = strcspn(c, "/");
        if (n == 2 && c[0] == '.' && c[1] == '.') { return false; }
        c += n;
        while (*c == '/') { c++; }
    }
    return strchr(location, '\\') == NULL;
}

/* Opens the external file, links resolved, only if it lies inside `folder`. */
static rfhe_status open_external(rfhe_file_map *map, const char *folder, const char *location,
                                 const char *tensor, rfhe_error *err)
{
    char path[PATH_MAX], root[PATH_MAX], file[PATH_MAX];

    if (folder == NULL) {
        return rfhe_fail(
            err, RFHE_E_UNSUPPORTED,
            "tensor '%s' lies in an external file, which a model in memory cannot have", tensor);
    }
    const int n = snprintf(path, sizeof path, "%s/%s", folder, location);
    if (!stays_inside(location) || n < 0 || (size_t)n >= sizeof path) {
        return rfhe_fail(
            err, RFHE_E_FORMAT,
            "tensor '%s' lies in '%.200s', which is not a path inside the model's folder", tensor,
            location);
    }
    if (realpath(folder, root) == NULL || realpath(path, file) == NULL) {
        return rfhe_fail(err, RFHE_E_IO,
                         "cannot read the external file '%.200s' of tensor '%s': %s", path, tensor,
                         strerror(errno));
    }
    const size_t length = strlen(root);
    if (strncmp(file, root, length) != 0 || (file[length] != '/' && strcmp(root, "/") != 0)) {
        return rfhe_fail(
            err, RFHE_E_FORMAT,
            "the external file '%.200s' of tensor '%s' is a link out of the model's folder",
            location, tensor);
    }
    return rfhe_file_map_open(map, file, err);
}

static rfhe_status load_external(rfhe_tensor **out, const Onnx__TensorProto *src, rfhe_dtype dtype,
                                 const rfhe_shape *shape, size_t bytes, const char *folder,
                                 rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    rfhe_file_map map = {0};
    const char *location = NULL;
    uint64_t offset = 0, length = bytes;

    for (size_t i = 0; i < src->n_external_data; i++) {
        const char *key = src->external_data[i]->key, *value = src->external_data[i]->value;
        bool ok = key != NULL && value != NULL;
        if (ok && strcmp(key, "location") == 0) {
            location = value;
        } else if (ok && strcmp(key, "offset") == 0) {
            ok = parse_size(value, &offset);
        } else if (ok && strcmp(key, "length") == 0) {
            ok = parse_size(value, &length);
        }
        if (!ok) {
            return rfhe_fail(err, RFHE_E_FORMAT,
                             "tensor '%s' has a bad external_data entry '%.40s'", src->name,
                             key != NULL ? key : "");
        }
    }
    if (location == NULL) {
        return rfhe_fail(err, RFHE_E_FORMAT, "tensor '%s' is external but names no file",
                         src->name);
    }
    if (length != bytes) {
        return rfhe_fail(err, RFHE_E_FORMAT,
                         "tensor '%s' states %" PRIu64 " external bytes, its shape needs %zu",
                         src->name, length, bytes);
    }
    RFHE_TRY(open_external(&map, folder, location, src->name, err));
    if (offset > map.size || bytes > map.size - offset) {
        st = rfhe_fail(err, RFHE_E_FORMAT,
                       "tensor '%s' wants bytes %" PRIu64 " to %" PRIu64
                       " of '%.120s', which has %zu",
                       src->name, offset, offset + bytes, location, map.size);
        goto done;
    }
    st = rfhe_tensor_new(out, dtype, shape);
    if (st != RFHE_OK) {
        st = rfhe_fail(err, st, "no memory for tensor '%s' (%zu bytes)", src->name, bytes);
        goto done;
    }
    convert_bytes(*out, src->data_type, bytes > 0 ? map.data + offset : NULL);

done:
    rfhe_file_map_close(&map);
    return st;
}

static rfhe_status read_shape(rfhe_shape *out, const Onnx__TensorProto *src, size_t *count,
                              rfhe_error *err)
{
    if (src->n_dims > RFHE_MAX_RANK) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "tensor '%s' has rank %zu, at most %d is supported", src->name,
                         src->n_dims, RFHE_MAX_RANK);
    }
    out->rank = (uint32_t)src->n_dims;
    for (size_t i = 0; i < src->n_dims; i++) { out->dim[i] = src->dims[i]; }
    if (!rfhe_shape_count(out, count)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "tensor '%s' has an impossible shape", src->name);
    }
    return RFHE_OK;
}

rfhe_status rfhe_onnx_tensor(rfhe_tensor **out, const Onnx__TensorProto *proto, const char *folder,
                             size_t limit, rfhe_error *err)
{
    Onnx__TensorProto src = *proto;
    rfhe_shape shape = {0};
    rfhe_dtype dtype = RFHE_F32;
    size_t count = 0;

    src.name = proto->name != NULL && strlen(proto->name) < 200 ? proto->name : "(unnamed)";
    if (!rfhe_onnx_type_map(src.data_type, &dtype)) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "tensor '%s' has element type %s, which is not supported", src.name,
                         rfhe_onnx_type_name(src.data_type));
    }
    if (src.segment != NULL) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "tensor '%s' is stored in segments", src.name);
    }
    rfhe_status st = read_shape(&shape, &src, &count, err);
    if (st != RFHE_OK) { return st; }
    if (count > limit / rfhe_dtype_size(dtype)) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED,
                         "tensor '%s' makes the model too large for its file", src.name);
    }
    const size_t bytes = count * element_size(src.data_type);
    if (src.data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        return load_external(out, &src, dtype, &shape, bytes, folder, err);
    }
    const size_t have = src.has_raw_data ? src.raw_data.len : typed_count(&src, src.data_type);
    if (have != (src.has_raw_data ? bytes : count)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "tensor '%s' holds %zu %s, its shape needs %zu",
                         src.name, have, src.has_raw_data ? "bytes" : "values",
                         src.has_raw_data ? bytes : count);
    }
    st = rfhe_tensor_new(out, dtype, &shape);
    if (st != RFHE_OK) {
        return rfhe_fail(err, st, "no memory for tensor '%s' (%zu values)", src.name, count);
    }
    if (src.has_raw_data) {
        convert_bytes(*out, src.data_type, src.raw_data.data);
    } else {
        convert_typed(*out, src.data_type, &src);
    }
    return RFHE_OK;
}
