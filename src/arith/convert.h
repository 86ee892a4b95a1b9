/* The constants of base conversion, whose contract is in kernels.h: c[j] for the inputs' moduli m[0 .. count); the row
 * h[0 .. count) of the target p (none of the inputs), returning its neg; and the product modulo q of all m but m[skip]
 * (skip = count: of all). count >= 1; quadratic in count, for when a table is made. */
#ifndef RFHE_ARITH_CONVERT_H
#define RFHE_ARITH_CONVERT_H

#include "arith/modulus.h"

#include <stddef.h>

rfhe_shoup rfhe_convert_factor(const rfhe_modulus *const *m, size_t count, size_t j);
uint64_t rfhe_convert_row(uint64_t *h, const rfhe_modulus *const *m, size_t count, const rfhe_modulus *p);
uint64_t rfhe_mod_product(const rfhe_modulus *const *m, size_t count, size_t skip, uint64_t q);

#endif
