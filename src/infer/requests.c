/* See requests.h. */
#include "infer/requests.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

enum { HEX = 2 * RFHE_TAG_BYTES, MAX_RECORD = 1 << 28 };

rfhe_status rfhe_request_note(const char *file, const uint8_t tag[RFHE_TAG_BYTES], const char *name, rfhe_error *err)
{
    const size_t all = strlen(name), kept = all < RFHE_REQUEST_NAME ? all : RFHE_REQUEST_NAME - 1;
    char line[HEX + 1 + RFHE_REQUEST_NAME];

    (void)sodium_bin2hex(line, HEX + 1, tag, RFHE_TAG_BYTES);
    line[HEX] = ' ';
    memcpy(line + HEX + 1, name + all - kept, kept);
    rfhe_text_tame(line + HEX + 1, kept);
    line[HEX + 1 + kept] = '\n';
    return rfhe_file_append(file, line, HEX + 2 + kept, 0600, err);
}

rfhe_status rfhe_request_find(char name[RFHE_REQUEST_NAME], const char *file, const uint8_t tag[RFHE_TAG_BYTES], rfhe_error *err)
{
    char start[HEX + 2];
    uint8_t *text = NULL;
    size_t size = 0;
    const char *at = NULL;
    rfhe_status st = RFHE_OK;

    if (rfhe_file_exists(file)) { RFHE_TRY(rfhe_file_read(&text, &size, file, MAX_RECORD, err)); }
    (void)sodium_bin2hex(start, HEX + 1, tag, RFHE_TAG_BYTES);
    memcpy(start + HEX, " ", 2);
    at = text != NULL ? strstr((const char *)text, start) : NULL;
    if (at == NULL) {
        st = rfhe_fail(err, RFHE_E_FORMAT, "the reply answers no request in '%.200s'", file);
        goto done;
    }
    at += HEX + 1;
    (void)snprintf(name, RFHE_REQUEST_NAME, "%.*s", (int)strcspn(at, "\n"), at);

done:
    rfhe_free(text);
    return st;
}
