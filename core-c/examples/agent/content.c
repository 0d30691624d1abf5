#include "content.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

struct content {
    /* How many readers are in it, and whether any may come. */
    atomic_int readers;
    atomic_bool open;
    struct downbeat_incoming what;
    size_t len;
    uint8_t bytes[CONTENT_MAX];
};

static struct content buffers[2];
/* The one that is being filled; NULL where none could be. */
static struct content *filled;
static struct content_reader own;
static bool copies;

void content_copies(void) { copies = true; }

/* No reader comes to it any more, and those that are there go on in their own time. */
static void clear(struct content *content) {
    atomic_store(&content->open, false);
    while (atomic_load(&content->readers) > 0)
        sched_yield();
}

static bool is_needed(const struct downbeat_agent *agent, struct content *content) {
    uint8_t keeps = 1;
    downbeat_keeps(agent, &content->what.target, &keeps);
    return atomic_load(&content->open) && keeps;
}

void content_begin(const struct downbeat_agent *agent, const struct downbeat_incoming *incoming) {
    filled = copies ? &buffers[incoming->buffer == DOWNBEAT_BUFFER_STAGED] : NULL;
    for (int at = 0; at < 2 && filled == NULL; at++)
        if (!is_needed(agent, &buffers[at]))
            filled = &buffers[at];
    if (filled == NULL)
        return;
    clear(filled);
    filled->what = *incoming;
    filled->len = 0;
}

void content_keep(const struct downbeat_keep *keep) {
    if (filled == NULL || keep->object != 0 || keep->offset != filled->len)
        return;
    /* What doesn't fit is told when all of it would have come. */
    if (keep->bytes.len <= sizeof filled->bytes - filled->len) {
        memcpy(filled->bytes + filled->len, keep->bytes.at, keep->bytes.len);
        filled->len += keep->bytes.len;
    }
}

uint32_t content_verify(const struct downbeat_incoming *incoming) {
    uint64_t records;
    if (incoming->objects != 1)
        return DOWNBEAT_MISMATCH;
    if (filled == NULL)
        return DOWNBEAT_STORAGE;
    if (incoming->object_len > sizeof filled->bytes)
        return DOWNBEAT_TOO_LARGE;
    filled->what = *incoming;
    switch (content_prove(&own, filled, &records)) {
    case DOWNBEAT_OK:
        /* A host's own validation would look at the records here, and say DOWNBEAT_INVALID. */
        atomic_store(&filled->open, true);
        return DOWNBEAT_WHOLE;
    case DOWNBEAT_OBJECT_TOO_MANY_DATASETS:
    case DOWNBEAT_BUFFER_TOO_SHORT:
        return DOWNBEAT_TOO_LARGE;
    default:
        return DOWNBEAT_MISMATCH;
    }
}

void content_copy(void) {
    clear(&buffers[0]);
    buffers[0].what = buffers[1].what;
    buffers[0].len = buffers[1].len;
    memcpy(buffers[0].bytes, buffers[1].bytes, buffers[1].len);
    atomic_store(&buffers[0].open, true);
}

static bool holds(struct content *content, const struct downbeat_generation *generation) {
    return atomic_load(&content->open) &&
           memcmp(content->what.target.digest, generation->digest, sizeof generation->digest) == 0;
}

void content_settle(const struct downbeat_plan *plan) {
    if (copies && plan->has_active && !holds(&buffers[0], &plan->active) && holds(&buffers[1], &plan->active))
        content_copy();
}

struct content *content_hold(const struct downbeat_generation *generation) {
    for (int at = 0; at < (copies ? 1 : 2); at++) {
        struct content *content = &buffers[at];
        /* First it is held, then looked at: whoever closes it looks at its readers after that. */
        atomic_fetch_add(&content->readers, 1);
        if (holds(content, generation))
            return content;
        atomic_fetch_sub(&content->readers, 1);
    }
    return NULL;
}

void content_let_go(struct content *content) { atomic_fetch_sub(&content->readers, 1); }

static downbeat_result begin(struct content_reader *reader, const struct content *content) {
    struct downbeat_expected expected = {.target = content->what.target};
    memcpy(expected.object_name, content->what.object_name, sizeof expected.object_name);
    return downbeat_object_begin(&reader->object, sizeof reader->object, &expected, reader->record,
                                 sizeof reader->record);
}

downbeat_result content_prove(struct content_reader *reader, const struct content *content, uint64_t *records) {
    struct downbeat_bytes rest = {content->bytes, content->len};
    struct downbeat_record record;
    struct downbeat_summary summary;
    downbeat_result result = begin(reader, content);
    while (result == DOWNBEAT_OK)
        result = downbeat_object_next(&reader->object, &rest, &record);
    if (result == DOWNBEAT_DONE)
        result = downbeat_object_end(&reader->object, &summary);
    *records = result == DOWNBEAT_OK ? summary.records : 0;
    return result;
}

static bool same(struct downbeat_bytes one, struct downbeat_bytes other) {
    return one.len == other.len && (one.len == 0 || memcmp(one.at, other.at, one.len) == 0);
}

/* From the front, record by record: a host with many reads makes an index when it verifies. */
bool content_find(struct content_reader *reader, const struct content *content, struct downbeat_bytes dataset,
                  struct downbeat_bytes key, struct downbeat_bytes *value) {
    struct downbeat_bytes rest = {content->bytes, content->len};
    struct downbeat_record record;
    if (begin(reader, content) != DOWNBEAT_OK)
        return false;
    while (downbeat_object_next(&reader->object, &rest, &record) == DOWNBEAT_OK)
        if (same(record.dataset, dataset) && same(record.key, key)) {
            *value = record.value;
            return true;
        }
    return false;
}
