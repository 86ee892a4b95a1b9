/* Time in seconds: of the wall, which never goes back, and of the processor. */
#ifndef RFHE_BASE_CLOCK_H
#define RFHE_BASE_CLOCK_H

/* Seconds since an arbitrary start; never goes back. */
double rfhe_now(void);
/* CPU seconds used by all threads of this process. */
double rfhe_cpu_seconds(void);

#endif
