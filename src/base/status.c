/* Status names, the error record and progress: what every module needs to speak to its caller. */
#include "rfhe/status.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

rfhe_status rfhe_fail(rfhe_error *err, rfhe_status code, const char *fmt, ...)
{
    if (err != NULL && err->code == RFHE_OK) {
        va_list args;

        err->code = code;
        va_start(args, fmt);
        (void)vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
        rfhe_text_tame(err->text, strlen(err->text)); /* hostile names must not forge lines */
    }
    return code;
}

const char *rfhe_status_name(rfhe_status s)
{
    switch (s) {
    case RFHE_OK: return "done";
    case RFHE_E_ARG: return "wrong use of the library";
    case RFHE_E_NOMEM: return "out of memory";
    case RFHE_E_IO: return "the operating system refused";
    case RFHE_E_FORMAT: return "input not understood";
    case RFHE_E_UNSUPPORTED: return "not supported";
    case RFHE_E_DEPTH: return "too few levels left";
    case RFHE_E_INTERRUPTED: return "interrupted";
    case RFHE_E_INSECURE: return "below the required security";
    case RFHE_E_NUMERIC: return "no finite result";
    }
    return "unknown status";
}

rfhe_status rfhe_progress_report(const rfhe_progress *p, const char *what, double done,
                                 double total, const char *unit, const char *note)
{
    if (p == NULL || p->report == NULL) { return RFHE_OK; }
    return p->report(p->user, what, done, total, unit, note) ? RFHE_OK : RFHE_E_INTERRUPTED;
}

const char *rfhe_version(void)
{
    return RFHE_VERSION;
}
