/* Where the two sides that know nothing of one another meet: a polynomial of paf/ as a program of ckks/. */
#ifndef RFHE_CLI_PAF_PROGRAM_H
#define RFHE_CLI_PAF_PROGRAM_H

#include "rfhe/ckks.h"
#include "rfhe/paf.h"

/* The schedule of ReLU's stand-in as a program on ciphertexts: the same operations under other names. RFHE_E_ARG,
 * RFHE_E_NOMEM as the two calls behind it. */
RFHE_MUST_USE rfhe_status rfhe_paf_compile(rfhe_poly_program **out, const rfhe_paf *f, rfhe_error *err);

#endif
