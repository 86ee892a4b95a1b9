/* See wire.h. protobuf-c recurses once per nested message and allocates a structure for every two bytes of empty
 * message, so a file of a megabyte could exhaust the stack or gigabytes of memory. A walk over the wire format with the
 * generated descriptors as map bounds the depth and finds the offset of damage; the arena bounds the memory. */
#include "onnx/wire.h"

#include "base/mem.h"

enum { MAX_DEPTH = 100, BLOCK = 1 << 16 };

struct rfhe_onnx_block {
    rfhe_onnx_block *next;
    size_t size, used; /* of the bytes behind this header */
    max_align_t data[];
};

static rfhe_onnx_block *add_block(rfhe_onnx_arena *a, size_t size)
{
    size_t total = 0;

    if (__builtin_add_overflow(size, sizeof(rfhe_onnx_block), &total)) { return NULL; }
    rfhe_onnx_block *b = rfhe_alloc(total, 1);
    if (b == NULL) { return NULL; }
    *b = (rfhe_onnx_block){.size = size};
    /* A block made for one large request must not hide the free end of the small one in use. */
    if (a->blocks != NULL && size > BLOCK) {
        b->next = a->blocks->next;
        a->blocks->next = b;
    } else {
        b->next = a->blocks;
        a->blocks = b;
    }
    return b;
}

void *rfhe_onnx_arena_alloc(rfhe_onnx_arena *a, size_t size)
{
    rfhe_onnx_block *b = a->blocks;

    if (size > a->limit - a->used) {
        a->is_full = true;
        return NULL;
    }
    size = (size + 15) & ~(size_t)15; /* the limit keeps this from wrapping around */
    if (b == NULL || b->size - b->used < size) {
        b = add_block(a, size > BLOCK / 4 ? size + 15 : BLOCK);
    }
    if (b == NULL) {
        a->failed = true;
        return NULL;
    }
    void *p = (unsigned char *)b->data + b->used;
    b->used += size;
    a->used = size > a->limit - a->used ? a->limit : a->used + size;
    return p;
}

void rfhe_onnx_arena_clear(rfhe_onnx_arena *a)
{
    while (a->blocks != NULL) {
        rfhe_onnx_block *next = a->blocks->next;
        rfhe_free(a->blocks);
        a->blocks = next;
    }
    *a = (rfhe_onnx_arena){.limit = a->limit};
}

static void *hook_alloc(void *arena, size_t size)
{
    return rfhe_onnx_arena_alloc(arena, size);
}

static void hook_free(void *arena, void *p)
{
    (void)arena, (void)p; /* everything goes at once */
}

static bool varint(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70 && *p < end; shift += 7) {
        const uint8_t byte = *(*p)++;
        if (shift < 64) { v |= (uint64_t)(byte & 127) << shift; }
        if (byte < 128) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Walks one message. On failure *bad is where, *why is what. Depth is bounded, so recursion is. */
static bool walk(const ProtobufCMessageDescriptor *d, const uint8_t *p, const uint8_t *end,
                 unsigned depth, const uint8_t **bad, const char **why)
{
    *why = "is damaged or cut short";
    while (p < end) {
        uint64_t tag = 0, length = 0;
        *bad = p;
        if (!varint(&p, end, &tag) || tag >> 3 == 0 || tag > UINT32_MAX) { return false; }
        switch (tag & 7) {
        case 0:
            if (!varint(&p, end, &length)) { return false; }
            break;
        case 1:
        case 5: {
            const size_t fixed = (tag & 7) == 1 ? 8 : 4;
            if ((size_t)(end - p) < fixed) { return false; }
            p += fixed;
            break;
        }
        case 2: {
            if (!varint(&p, end, &length) || length > (uint64_t)(end - p)) { return false; }
            const ProtobufCFieldDescriptor *f =
                protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
            if (f != NULL && f->type == PROTOBUF_C_TYPE_MESSAGE) {
                if (depth == MAX_DEPTH) {
                    *why = "is nested too deeply";
                    return false;
                }
                if (!walk(f->descriptor, p, p + length, depth + 1, bad, why)) { return false; }
            }
            p += length;
            break;
        }
        default: return false;
        }
    }
    return true;
}

rfhe_status rfhe_onnx_parse(ProtobufCMessage **out, rfhe_onnx_arena *a,
                            const ProtobufCMessageDescriptor *d, const void *data, size_t size,
                            const char *what, rfhe_error *err)
{
    ProtobufCAllocator hooks = {.alloc = hook_alloc, .free = hook_free, .allocator_data = a};
    const uint8_t *start = data, *bad = start;
    const char *why = NULL;

    if (size == 0) { return rfhe_fail(err, RFHE_E_FORMAT, "%s is empty", what); }
    if (size >= (size_t)1 << 31) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "%s is larger than 2 GiB", what);
    }
    if (!walk(d, start, start + size, 1, &bad, &why)) {
        return rfhe_fail(err, RFHE_E_FORMAT, "%s %s at byte %zu of %zu", what, why,
                         (size_t)(bad - start), size);
    }
    a->limit = 4 * size + ((size_t)64 << 20);
    *out = protobuf_c_message_unpack(d, &hooks, size, data);
    if (*out != NULL) { return RFHE_OK; }
    if (a->failed) {
        return rfhe_fail(err, RFHE_E_NOMEM, "no memory to read %s (%zu bytes)", what, size);
    }
    if (a->is_full) {
        return rfhe_fail(err, RFHE_E_UNSUPPORTED, "%s describes too many objects for its size",
                         what);
    }
    return rfhe_fail(err, RFHE_E_FORMAT, "%s does not follow the ONNX schema", what);
}
