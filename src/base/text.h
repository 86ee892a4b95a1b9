/* A growable string and a JSON writer on top of it. Running out of memory is remembered, not reported per call: build
 * the text, then ask once with rfhe_text_status. */
#ifndef RFHE_BASE_TEXT_H
#define RFHE_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rfhe/status.h"

typedef struct rfhe_text { /* zero state: empty */
    char *data;            /* zero-terminated once anything was added; NULL before */
    size_t size, capacity;
    bool failed;
} rfhe_text;

void rfhe_text_clear(rfhe_text *t);
void rfhe_text_add(rfhe_text *t, const char *s);
void rfhe_text_add_bytes(rfhe_text *t, const void *s, size_t n);
/* Line breaks and other control characters come from `fmt`: those of an argument become spaces, and those inside of `fmt`
 * with them, so that a name cannot forge a line or speak to a terminal. Trusted text of several lines: rfhe_text_add. */
void rfhe_text_printf(rfhe_text *t, const char *fmt, ...) RFHE_PRINTF(2, 3);
void rfhe_text_vprintf(rfhe_text *t, const char *fmt, va_list args) RFHE_PRINTF(2, 0);
/* Makes spaces of the control characters (C0, DEL, and C1 in UTF-8) among `n` bytes. */
void rfhe_text_tame(char *s, size_t n);
/* RFHE_E_NOMEM if any addition failed. */
rfhe_status rfhe_text_status(const rfhe_text *t);

/* JSON, written strictly in order; commas and indentation are the writer's business. `key` is NULL inside arrays and
 * for the top value. Numbers are printed so that they read back exactly; NaN and infinities become null. Bytes that are
 * not UTF-8 become U+FFFD. At most 31 levels deep. */
typedef struct rfhe_json { /* zero state with `out` set */
    rfhe_text *out;
    unsigned depth;
    bool has_item[32];
} rfhe_json;

void rfhe_json_object(rfhe_json *j, const char *key);
void rfhe_json_end_object(rfhe_json *j);
void rfhe_json_array(rfhe_json *j, const char *key);
void rfhe_json_end_array(rfhe_json *j);
void rfhe_json_string(rfhe_json *j, const char *key, const char *value); /* value NULL = null */
void rfhe_json_number(rfhe_json *j, const char *key, double value);
void rfhe_json_integer(rfhe_json *j, const char *key, int64_t value);
void rfhe_json_bool(rfhe_json *j, const char *key, bool value);

#endif
