/* See vectors.h. Field numbers: onnx.proto of Debian's libonnx-dev. */
#include "vectors.h"

#include "test.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>

#define FOLDER "/usr/share/libonnx-testdata/data/node"

typedef struct slice {
    const uint8_t *at, *end;
} slice;

/* One field of a message: number, and its value as integer or bytes. */
typedef struct field {
    uint32_t number, wire;
    uint64_t integer;
    slice bytes;
} field;

static uint64_t varint(slice *s)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        assert_true(s->at < s->end);
        const uint8_t b = *s->at++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if ((b & 0x80) == 0) { break; }
    }
    return v;
}

static bool next(slice *s, field *f)
{
    if (s->at >= s->end) { return false; }
    const uint64_t key = varint(s);
    *f = (field){.number = (uint32_t)(key >> 3), .wire = (uint32_t)(key & 7)};
    if (f->wire == 0) {
        f->integer = varint(s);
        return true;
    }
    const uint64_t size = f->wire == 2 ? varint(s) : f->wire == 5 ? 4 : 8;
    assert_true(size <= (uint64_t)(s->end - s->at));
    f->bytes = (slice){s->at, s->at + size};
    s->at += size;
    return true;
}

static double float_at(const uint8_t *p)
{
    float x;

    memcpy(&x, p, sizeof x);
    return (double)x;
}

static void add(test_vector *v, double x)
{
    assert_true(v->count < VECTOR_MAX);
    v->value[v->count++] = x;
}

/* Raw bytes of TensorProto by data type: 1 float, 6 int32, 7 int64. */
static void add_raw(test_vector *v, uint64_t type, slice raw)
{
    const size_t size = type == 7 ? 8 : 4;

    assert_true(type == 1 || type == 6 || type == 7);
    for (; raw.at < raw.end; raw.at += size) {
        int64_t wide;
        int32_t narrow;
        if (type == 7) {
            memcpy(&wide, raw.at, sizeof wide);
            add(v, (double)wide);
        } else if (type == 6) {
            memcpy(&narrow, raw.at, sizeof narrow);
            add(v, narrow);
        } else {
            add(v, float_at(raw.at));
        }
    }
}

static void parse_tensor(test_vector *v, slice s)
{
    uint64_t type = 0;
    slice copy = s;
    field f;

    memset(v, 0, sizeof *v);
    while (next(&copy, &f)) {
        if (f.number == 2) { type = f.integer; }
    }
    while (next(&s, &f)) {
        if (f.number == 1 && f.wire == 0) {
            assert_true(v->rank < 8);
            v->dim[v->rank++] = (size_t)f.integer;
        } else if (f.number == 1) {
            while (f.bytes.at < f.bytes.end) {
                assert_true(v->rank < 8);
                v->dim[v->rank++] = (size_t)varint(&f.bytes);
            }
        } else if (f.number == 4) {
            for (; f.bytes.at < f.bytes.end; f.bytes.at += 4) { add(v, float_at(f.bytes.at)); }
        } else if (f.number == 7 && f.wire == 2) {
            while (f.bytes.at < f.bytes.end) { add(v, (double)(int64_t)varint(&f.bytes)); }
        } else if (f.number == 9) {
            add_raw(v, type, f.bytes);
        }
    }
}

bool test_vectors_exist(void)
{
    return rfhe_file_exists(FOLDER "/test_adam/model.onnx");
}

static uint8_t *read_all(size_t *size, const char *node, const char *file)
{
    char path[512];
    uint8_t *data = NULL;
    rfhe_error err = {0};

    (void)snprintf(path, sizeof path, "%s/%s/%s", FOLDER, node, file);
    if (rfhe_file_read(&data, size, path, 1 << 24, &err) != RFHE_OK) { fail_msg("%s", err.text); }
    return data;
}

void test_vector_read(test_vector *out, const char *node, const char *file)
{
    char path[128];
    size_t size = 0, expect = 1;

    (void)snprintf(path, sizeof path, "test_data_set_0/%s.pb", file);
    uint8_t *data = read_all(&size, node, path);
    parse_tensor(out, (slice){data, data + size});
    for (size_t i = 0; i < out->rank; i++) { expect *= out->dim[i]; }
    assert_int_equal(out->count, expect);
    rfhe_free(data);
}

/* Steps into the first field of that number; an empty slice when there is none. */
static slice enter(slice s, uint32_t number)
{
    field f;

    while (next(&s, &f)) {
        if (f.number == number && f.wire == 2) { return f.bytes; }
    }
    return (slice){s.end, s.end};
}

double test_vector_attribute(const char *node, const char *attribute, double otherwise)
{
    size_t size = 0;
    uint8_t *data = read_all(&size, node, "model.onnx");
    slice body = enter(enter((slice){data, data + size}, 7), 1); /* ModelProto.graph, GraphProto.node */
    field f;

    while (next(&body, &f)) {
        if (f.number != 5) { continue; } /* NodeProto.attribute */
        const slice name = enter(f.bytes, 1);
        if ((size_t)(name.end - name.at) != strlen(attribute) ||
            memcmp(name.at, attribute, strlen(attribute)) != 0) {
            continue;
        }
        slice s = f.bytes;
        field g;
        while (next(&s, &g)) {
            if (g.number == 2 && g.wire == 5) { otherwise = float_at(g.bytes.at); }
            if (g.number == 3) { otherwise = (double)(int64_t)g.integer; }
        }
    }
    rfhe_free(data);
    return otherwise;
}
