/* The agent's local clock: nanoseconds that run on while the host is suspended and that nobody slews or
 * steps. What the readings mean is decided by the library. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/* The step in which it is taken to be read, in nanoseconds. */
#define CLOCK_GRANULARITY 500

/* The host's clock; never goes back. */
int64_t clock_host(void);

/* The agent's local time at a reading of the host's clock: the same, but where a test asked for a clock
 * that is wrong. */
int64_t clock_local(int64_t host);

/* For tests: from now on the local clock is ahead by so much, and runs faster by so much. Once, before any
 * other thread. */
void clock_distort(int64_t offset_ns, int64_t rate_ppm);

#endif
