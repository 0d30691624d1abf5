/* Two buffers of content in static memory: one that readers are on, one that is being filled. A buffer is
 * filled anew only when the agent needs nothing in it and no reader is left there.
 *
 * Where the agent switches, the two change their roles. Where it copies, readers are always on the first, as
 * on a device that has its content in a place of its own. */
#ifndef CONTENT_H
#define CONTENT_H

#include "downbeat.h"

#include <stdbool.h>

/* The longest object that is taken, in bytes. */
#define CONTENT_MAX (256 * 1024)

struct content;

/* ── the agent's thread ── */

/* Before anything else: readers stay on the first buffer. */
void content_copies(void);

/* DOWNBEAT_BEGIN: makes room. */
void content_begin(const struct downbeat_agent *agent, const struct downbeat_incoming *incoming);
/* DOWNBEAT_KEEP. */
void content_keep(const struct downbeat_keep *keep);
/* DOWNBEAT_VERIFY: from here on readers find it, where it is whole. Gives enum downbeat_found. */
uint32_t content_verify(const struct downbeat_incoming *incoming);
/* DOWNBEAT_COPY_STAGED: the second buffer to the first. Readers that ask meanwhile are held by the plan. */
void content_copy(void);
/* DOWNBEAT_PUBLISH, before it: where a plan names as active what lies in the second buffer, it is copied. */
void content_settle(const struct downbeat_plan *plan);

/* ── readers, in any thread ── */

/* The content with this digest, kept from being replaced until it is let go; NULL where it was replaced. */
struct content *content_hold(const struct downbeat_generation *generation);
void content_let_go(struct content *content);

/* What a reader needs to go through content: for each thread its own. */
struct content_reader {
    struct downbeat_object object;
    uint8_t record[DOWNBEAT_RECORD_MAX];
};

/* Reads all of it again: DOWNBEAT_OK where it is the generation that it says, and how many records. */
downbeat_result content_prove(struct content_reader *reader, const struct content *content, uint64_t *records);

/* The value of a record; it stays until the next call with the same reader. */
bool content_find(struct content_reader *reader, const struct content *content, struct downbeat_bytes dataset,
                  struct downbeat_bytes key, struct downbeat_bytes *value);

#endif
