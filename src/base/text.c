/* See text.h. */
#include "base/text.h"

#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(rfhe_text *t, size_t more)
{
    size_t need = 0;

    if (t->failed || __builtin_add_overflow(t->size, more + 1, &need)) {
        t->failed = true;
        return false;
    }
    if (need > t->capacity) {
        const size_t capacity = need * 2 < 256 ? 256 : need * 2;
        char *data = rfhe_realloc(t->data, capacity, 1);
        if (data == NULL) {
            t->failed = true;
            return false;
        }
        t->data = data;
        t->capacity = capacity;
    }
    return true;
}

void rfhe_text_clear(rfhe_text *t)
{
    rfhe_free(t->data);
    *t = (rfhe_text){0};
}

void rfhe_text_add_bytes(rfhe_text *t, const void *s, size_t n)
{
    if (!reserve(t, n)) { return; }
    memcpy(t->data + t->size, s, n);
    t->size += n;
    t->data[t->size] = '\0';
}

void rfhe_text_add(rfhe_text *t, const char *s)
{
    rfhe_text_add_bytes(t, s, strlen(s));
}

/* Bytes of the control character at the start of the `n` bytes at `s`; 0 when there is none. */
static size_t control_length(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;

    if (n == 0) { return 0; }
    if (u[0] < 0x20 || u[0] == 0x7f) { return 1; }
    return n > 1 && u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0 ? 2 : 0;
}

static size_t count_controls(const char *s, size_t n)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++) { found += control_length(s + i, n - i) > 0; }
    return found;
}

void rfhe_text_tame(char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) { memset(s + i, ' ', control_length(s + i, n - i)); }
}

/* What was made of `fmt` keeps only the control characters that `fmt` begins and ends with, if arguments brought others. */
static void tame_arguments(char *s, size_t n, const char *fmt)
{
    const size_t length = strlen(fmt);
    size_t first = 0, last = 0;

    if (count_controls(s, n) == count_controls(fmt, length)) { return; }
    while (control_length(fmt + first, length - first) == 1) { first++; }
    while (last < length - first && control_length(fmt + length - last - 1, 1) == 1) { last++; }
    rfhe_text_tame(s + first, n - first - last);
}

void rfhe_text_vprintf(rfhe_text *t, const char *fmt, va_list args)
{
    va_list again;

    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    if (n >= 0 && reserve(t, (size_t)n)) {
        (void)vsnprintf(t->data + t->size, (size_t)n + 1, fmt, again);
        tame_arguments(t->data + t->size, (size_t)n, fmt);
        t->size += (size_t)n;
    }
    va_end(again);
}

void rfhe_text_printf(rfhe_text *t, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    rfhe_text_vprintf(t, fmt, args);
    va_end(args);
}

rfhe_status rfhe_text_status(const rfhe_text *t)
{
    return t->failed ? RFHE_E_NOMEM : RFHE_OK;
}

/* Bytes of the UTF-8 character at `s` (1 .. 4), 0 when there is none: a stray or missing continuation, an overlong form,
 * a surrogate, or beyond U+10FFFF (RFC 3629). */
static size_t utf8_length(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    const size_t n = u[0] < 0x80   ? 1
                     : u[0] < 0xc2 ? 0
                     : u[0] < 0xe0 ? 2
                     : u[0] < 0xf0 ? 3
                     : u[0] < 0xf5 ? 4
                                   : 0;

    for (size_t i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80) { return 0; }
    }
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f)) {
        return 0;
    }
    return n;
}

static void quote(rfhe_text *t, const char *s)
{
    rfhe_text_add(t, "\"");
    for (const char *c = s; *c != '\0'; c++) {
        const unsigned char u = (unsigned char)*c;
        const size_t n = utf8_length(c);
        if (u == '"' || u == '\\') {
            rfhe_text_printf(t, "\\%c", u);
        } else if (u == '\n') {
            rfhe_text_add(t, "\\n");
        } else if (control_length(c, n) > 0) {
            rfhe_text_printf(t, "\\u%04x", n == 1 ? u : (unsigned char)c[1]);
            c += n - 1;
        } else if (n == 0) {
            /* The replacement character: file names may hold anything. */
            rfhe_text_add(t, "\\ufffd");
        } else {
            rfhe_text_add_bytes(t, c, n);
            c += n - 1;
        }
    }
    rfhe_text_add(t, "\"");
}

/* Comma, newline and indentation before an item, then its key. */
static void item(rfhe_json *j, const char *key)
{
    if (j->depth > 0) {
        if (j->has_item[j->depth]) { rfhe_text_add(j->out, ","); }
        j->has_item[j->depth] = true;
        rfhe_text_printf(j->out, "\n%*s", (int)(2 * j->depth), "");
    }
    if (key != NULL) {
        quote(j->out, key);
        rfhe_text_add(j->out, ": ");
    }
}

static void open_scope(rfhe_json *j, const char *key, const char *bracket)
{
    item(j, key);
    rfhe_text_add(j->out, bracket);
    assert(j->depth + 1 < sizeof j->has_item / sizeof j->has_item[0]);
    j->depth++;
    j->has_item[j->depth] = false;
}

static void close_scope(rfhe_json *j, const char *bracket)
{
    const bool any = j->has_item[j->depth];

    j->depth--;
    if (any) { rfhe_text_printf(j->out, "\n%*s", (int)(2 * j->depth), ""); }
    rfhe_text_add(j->out, bracket);
    if (j->depth == 0) { rfhe_text_add(j->out, "\n"); }
}

void rfhe_json_object(rfhe_json *j, const char *key)
{
    open_scope(j, key, "{");
}

void rfhe_json_end_object(rfhe_json *j)
{
    close_scope(j, "}");
}

void rfhe_json_array(rfhe_json *j, const char *key)
{
    open_scope(j, key, "[");
}

void rfhe_json_end_array(rfhe_json *j)
{
    close_scope(j, "]");
}

void rfhe_json_string(rfhe_json *j, const char *key, const char *value)
{
    item(j, key);
    if (value == NULL) {
        rfhe_text_add(j->out, "null");
    } else {
        quote(j->out, value);
    }
}

void rfhe_json_number(rfhe_json *j, const char *key, double value)
{
    char shortest[40];

    item(j, key);
    if (!isfinite(value)) {
        rfhe_text_add(j->out, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(shortest, sizeof shortest, "%.*g", digits, value);
        if (strtod(shortest, NULL) == value) { break; }
    }
    for (char *c = shortest; *c != '\0'; c++) {
        if (*c == ',') { *c = '.'; } /* a program around the library may have set a locale */
    }
    rfhe_text_add(j->out, shortest);
}

void rfhe_json_integer(rfhe_json *j, const char *key, int64_t value)
{
    item(j, key);
    rfhe_text_printf(j->out, "%" PRId64, value);
}

void rfhe_json_bool(rfhe_json *j, const char *key, bool value)
{
    item(j, key);
    rfhe_text_add(j->out, value ? "true" : "false");
}
