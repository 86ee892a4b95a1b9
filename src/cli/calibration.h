/* Where the times of this machine are kept: one small file per parameter set and number of threads, in
 * $XDG_CACHE_HOME/rfhe or ~/.cache/rfhe. `rfhe bench calibrate` writes them, `rfhe plan` reads them. */
#ifndef RFHE_CLI_CALIBRATION_H
#define RFHE_CLI_CALIBRATION_H

#include "plan/cost.h"

/* All calibrations of the folder, or the one in `file` if that is not NULL; *out is freed with rfhe_free. Files of the
 * folder that cannot be read are passed over; `file` must be sound. */
RFHE_MUST_USE rfhe_status rfhe_calibration_load(rfhe_machine **out, size_t *n, const char *file, rfhe_error *err);
/* Writes one, to `file` or to its place in the folder; path[] receives where. */
RFHE_MUST_USE rfhe_status rfhe_calibration_save(const rfhe_machine *m, const char *file, char *path, size_t room,
                                                rfhe_error *err);

#endif
