/* Version, status codes, the error record, progress, and the attributes every public header uses. */
#ifndef RFHE_STATUS_H
#define RFHE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RFHE_API __attribute__((visibility("default")))
#define RFHE_MUST_USE __attribute__((warn_unused_result))
#define RFHE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define RFHE_API
#define RFHE_MUST_USE
#define RFHE_PRINTF(fmt, args)
#endif

/* The version of the library that is running, such as "0.1.0". */
RFHE_API const char *rfhe_version(void);

/* Every fallible call returns one of these. Values are part of the ABI: add at the end. */
typedef enum rfhe_status {
    RFHE_OK = 0,
    RFHE_E_ARG,         /* the caller broke a documented precondition            */
    RFHE_E_NOMEM,       /* an allocation failed; the operation had no effect     */
    RFHE_E_IO,          /* the operating system refused; errno is in the message */
    RFHE_E_FORMAT,      /* bytes that are not what they claim to be              */
    RFHE_E_UNSUPPORTED, /* valid input that this version cannot handle           */
    RFHE_E_DEPTH,       /* the ciphertext has too few levels left                */
    RFHE_E_INTERRUPTED, /* a signal or a deadline asked for an orderly stop      */
    RFHE_E_INSECURE,    /* the parameters fall short of the promised security    */
    RFHE_E_NUMERIC,     /* a computation left the finite numbers                 */
} rfhe_status;

/* Optional last argument of calls that read files or build plans. NULL is always allowed. */
typedef struct rfhe_error {
    rfhe_status code;
    char text[400]; /* one sentence, lower case, no newline, names the object it is about */
} rfhe_error;

/* Records the first failure and returns `code`, so that `return rfhe_fail(...)` reads naturally. */
RFHE_API rfhe_status rfhe_fail(rfhe_error *err, rfhe_status code, const char *fmt, ...)
    RFHE_PRINTF(3, 4);

/* A short constant name such as "out of memory"; never NULL. */
RFHE_API const char *rfhe_status_name(rfhe_status s);

/* Leaves the function through its `done:` label when `call` fails. Needs a local `st`. */
#define RFHE_TRY(call)                                                                             \
    do {                                                                                           \
        st = (call);                                                                               \
        if (st != RFHE_OK) { goto done; }                                                          \
    } while (0)

/* Long calls report through one of these and stop with RFHE_E_INTERRUPTED when it returns false.
 *   done, total   in `unit`s; total 0 = not known      note   a few words such as "loss 0.412" */
typedef struct rfhe_progress {
    /* May be NULL: nothing is reported. Called from one thread at a time, a few times a second. */
    int (*report)(void *user, const char *what, double done, double total, const char *unit,
                  const char *note);
    void *user;
} rfhe_progress;

/* Returns RFHE_OK to go on, RFHE_E_INTERRUPTED to stop. `p` may be NULL. */
RFHE_API rfhe_status rfhe_progress_report(const rfhe_progress *p, const char *what, double done,
                                          double total, const char *unit, const char *note);

#ifdef __cplusplus
}
#endif
#endif
