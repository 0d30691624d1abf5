/* Reads: what somebody who asks now gets. They need the page, the content, and a clock; never the agent. */
#ifndef READER_H
#define READER_H

#include "downbeat.h"

#include <stdbool.h>
#include <stdio.h>

/* What readers share. */
struct readers {
    const struct downbeat_page *page;
    uint64_t boot;
    /* A record that is shown with each generation: dataset and key. */
    const char *dataset, *key;
    /* For tests of whoever judges readers: how far these look ahead of the clock, which is wrong. */
    int64_t ahead_ns;
};

/* Starts a thread that looks again and again, and prints a line whenever what it gets has changed, and every
 * few milliseconds that it has not. */
bool reader_start(const struct readers *readers);

/* Answers one read, as a line: `dataset` and `key` are texts. */
void reader_answer(const struct readers *readers, const char *dataset, const char *key, char *line, size_t len);

#endif
