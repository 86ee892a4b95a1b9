/* The JSON writer and the parser of numbers: whatever the bytes of a name, another reader accepts the document and reads
 * the text back unchanged if it was UTF-8; whatever the bits of a number, it reads back exactly. */
#include "base/mem.h"
#include "base/text.h"
#include "cli/args.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_document(const rfhe_text *t, const char *word, double x)
{
    json_error_t why;
    json_t *doc = json_loads(t->data, JSON_REJECT_DUPLICATES, &why);
    json_t *plain = json_string(word); /* NULL when `word` is not UTF-8 */
    const char *read = json_string_value(json_object_get(doc, "word"));

    if (doc == NULL || read == NULL) { abort(); }
    if ((plain != NULL) != (strcmp(read, word) == 0)) { abort(); }
    if (isfinite(x) && json_number_value(json_object_get(doc, "x")) != x) { abort(); }
    json_decref(plain);
    json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    double x = 0;
    uint64_t n = 0;
    rfhe_text t = {0};
    rfhe_json j = {.out = &t};
    char *word = rfhe_calloc(size + 1, 1);

    if (word == NULL) { return 0; }
    if (size > 0) { memcpy(word, data, size); }
    memcpy(&x, data, size < sizeof x ? size : sizeof x);
    rfhe_json_object(&j, NULL);
    rfhe_json_string(&j, "word", word);
    rfhe_json_number(&j, "x", x);
    rfhe_json_end_object(&j);
    check_document(&t, word, x);
    if (rfhe_args_parse_uint(word, &n) && (word[0] < '0' || word[0] > '9')) { abort(); }
    rfhe_text_clear(&t);
    rfhe_free(word);
    if (rfhe_mem_get_stats().current != 0) { abort(); }
    return 0;
}
