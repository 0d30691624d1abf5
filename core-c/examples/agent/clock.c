#define _GNU_SOURCE
#include "clock.h"

#include <stdatomic.h>
#include <time.h>

/* Readings that enclose another one more narrowly than this show it well enough. */
#define NARROW (CLOCK_GRANULARITY / 2)
/* The longest time a measurement may take in which nothing was suspended: a suspension takes longer. */
#define BRIEF 1000000
#define TRIES 64

static struct {
    int64_t began, offset_ns, rate_ppm;
} distortion;

static int64_t reading(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* Between which two values the time suspended since the boot is: two clocks are read one after the other. */
static void suspended(int64_t *least, int64_t *most) {
    int64_t before = reading(CLOCK_MONOTONIC);
    int64_t boot = reading(CLOCK_BOOTTIME);
    int64_t after = reading(CLOCK_MONOTONIC);
    *least = boot - after;
    *most = boot - before;
}

int64_t clock_host(void) {
    /* What was measured well once stands until something was suspended: no reading goes back because another
     * measurement is noisier. */
    static _Atomic int64_t known = -1;
    int64_t raw = reading(CLOCK_MONOTONIC_RAW);
    int64_t stands = atomic_load(&known);
    int64_t least, most;
    suspended(&least, &most);
    if (stands >= 0 && stands + NARROW >= least && stands <= most + NARROW && most - least <= BRIEF)
        return raw + stands;
    for (int tried = 0; most - least > NARROW && tried < TRIES; tried++) {
        int64_t low, high;
        suspended(&low, &high);
        if (high - low < most - least) {
            least = low;
            most = high;
        }
    }
    if (least < 0)
        least = 0;
    while (least > stands && !atomic_compare_exchange_weak(&known, &stands, least)) {
    }
    return raw + (least > stands ? least : stands);
}

int64_t clock_local(int64_t host) {
    int64_t elapsed = host - distortion.began;
    return host + distortion.offset_ns + elapsed / 1000000 * distortion.rate_ppm +
           elapsed % 1000000 * distortion.rate_ppm / 1000000;
}

void clock_distort(int64_t offset_ns, int64_t rate_ppm) {
    distortion.began = clock_host();
    distortion.offset_ns = offset_ns;
    distortion.rate_ppm = rate_ppm;
}
