/* Messages of kind "public_key": whatever the bytes, a status with a sentence; what is accepted is written back as it came. */
#include "fuzz_ckks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_ckks(data, size, FUZZ_PUBLIC_KEY);
}
