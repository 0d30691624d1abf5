/* Reads from outside: whoever connects sends a line "DATASET KEY" and gets a line of JSON, again and again. */
#ifndef READS_H
#define READS_H

#include "reader.h"

#include <poll.h>

#define READS_MAX 4

/* Listens on a free port of this host, and gives its number; -1: it can't. */
int reads_listen(void);

/* What to poll for: READS_MAX + 1 places. */
void reads_want(struct pollfd *places);

/* Answers what has come. */
void reads_go_on(const struct readers *readers, const struct pollfd *places);

#endif
