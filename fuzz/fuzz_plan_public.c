/* Whatever bytes come in: they are refused with one sentence, or are a program that is written as it was read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plan/program.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition, const char *what)
{
    if (condition) { return; }
    (void)fprintf(stderr, "fuzz_plan_public: %s\n", what);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rfhe_program *p = NULL, *q = NULL;
    rfhe_error err = {0};
    rfhe_text t = {0}, u = {0};
    const size_t before = rfhe_mem_get_stats().current;
    const rfhe_status st = rfhe_program_read_public(&p, data, size, &err);

    if (st != RFHE_OK) {
        must(p == NULL && err.code == st && err.text[0] != '\0', "refused without a sentence");
        must(st == RFHE_E_FORMAT || st == RFHE_E_UNSUPPORTED || st == RFHE_E_NOMEM, "unexpected status");
    } else {
        must(rfhe_program_write_public(&t, p) == RFHE_OK, "cannot be written");
        must(rfhe_program_read_public(&q, t.data, t.size, NULL) == RFHE_OK, "cannot be read again");
        must(rfhe_program_write_public(&u, q) == RFHE_OK && strcmp(t.data, u.data) == 0, "changes when written");
    }
    rfhe_text_clear(&t);
    rfhe_text_clear(&u);
    rfhe_program_free(p);
    rfhe_program_free(q);
    must(rfhe_mem_get_stats().current == before, "leaks");
    return 0;
}
