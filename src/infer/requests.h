/* The client's record of its requests, client/requests: a line per request with its tag in hexadecimal digits and the name
 * of its file, added before the request is written. A reply repeats the tag, so that one that was mixed up or is not the
 * client's is noticed, and the others say what they answer. Lines are only ever added (some 60 bytes beside a request of
 * hundreds of KiB), by several processes at a time if need be; new keys begin a new record, since they read no older reply.
 *
 * Against accidents, not against the server: it sees all tags, and may put any of them on any reply. */
#ifndef RFHE_INFER_REQUESTS_H
#define RFHE_INFER_REQUESTS_H

#include "infer/message.h"

enum { RFHE_REQUEST_NAME = 256 };

/* Adds a line to `file` (mode 0600). Of a longer name the end is kept; control characters become spaces. */
RFHE_MUST_USE rfhe_status rfhe_request_note(const char *file, const uint8_t tag[RFHE_TAG_BYTES], const char *name,
                                            rfhe_error *err);
/* The name under which the tag was noted; RFHE_E_FORMAT when it was not. */
RFHE_MUST_USE rfhe_status rfhe_request_find(char name[RFHE_REQUEST_NAME], const char *file, const uint8_t tag[RFHE_TAG_BYTES],
                                            rfhe_error *err);

#endif
