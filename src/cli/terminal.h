/* Progress on a terminal, and the orderly stop on SIGINT and SIGTERM. */
#ifndef RFHE_CLI_TERMINAL_H
#define RFHE_CLI_TERMINAL_H

#include <stdbool.h>

#include "rfhe/status.h"

/* After the first SIGINT or SIGTERM the progress callback asks long work to stop; a second one ends at once. */
void rfhe_terminal_catch_signals(void);
bool rfhe_terminal_interrupted(void);
/* A progress callback. `draw`: a line with rate and time left is kept up to date on standard error. */
rfhe_progress rfhe_terminal_progress(bool draw);
/* Removes the progress line, if one is shown. */
void rfhe_terminal_clear(void);

#endif
