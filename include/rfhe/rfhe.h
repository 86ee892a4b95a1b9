/* The whole of librfhe. Conventions that hold everywhere are in docs/conventions.md. */
#ifndef RFHE_RFHE_H
#define RFHE_RFHE_H

#include "rfhe/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is running, such as "0.1.0". */
RFHE_API const char *rfhe_version(void);

#ifdef __cplusplus
}
#endif
#endif
