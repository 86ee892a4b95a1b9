/* Little-endian loads and stores at any alignment, for file formats. */
#ifndef RFHE_BASE_BYTES_H
#define RFHE_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "this version is written for little-endian machines"
#endif

static inline uint16_t rfhe_load_le16(const void *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint32_t rfhe_load_le32(const void *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint64_t rfhe_load_le64(const void *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }
static inline void rfhe_store_le16(void *p, uint16_t v) { memcpy(p, &v, sizeof v); }
static inline void rfhe_store_le32(void *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void rfhe_store_le64(void *p, uint64_t v) { memcpy(p, &v, sizeof v); }

static inline uint32_t rfhe_load_be32(const void *p) { return __builtin_bswap32(rfhe_load_le32(p)); }

#endif
