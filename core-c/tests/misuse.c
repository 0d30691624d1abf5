/* Every call as it should not be made: each has to be refused with its own result, and none may crash. Then
 * noise, which must change nothing. Linked with the static library and run by tests/tests/processes/linked_in_c.rs. */
#include "downbeat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checked;

#define IS(wanted, call) is(wanted, call, #call, __LINE__)

static void is(downbeat_result wanted, downbeat_result got, const char *call, int line) {
    checked++;
    if (got != wanted) {
        fprintf(stderr, "line %d: %s is %d (%s), not %d\n", line, call, (int)got, downbeat_error_text(got), (int)wanted);
        exit(1);
    }
}

#define HOLDS(claim) holds((claim) != 0, #claim, __LINE__)

static void holds(int claim, const char *text, int line) {
    checked++;
    if (!claim) {
        fprintf(stderr, "line %d: not so: %s\n", line, text);
        exit(1);
    }
}

static struct downbeat_agent agent, other;
static struct downbeat_page page;
static struct downbeat_object object;
static struct downbeat_config config;
static struct downbeat_start start;
static struct downbeat_plan plan;
static struct downbeat_effect effect;
static struct downbeat_serving serving;
static struct downbeat_status status;
static struct downbeat_record record;
static struct downbeat_generation generation;
static uint8_t frame[DOWNBEAT_FRAME_MAX], buffer[1024];
static size_t written;

static void take_all(void) {
    downbeat_result result;
    while ((result = downbeat_next_effect(&agent, &effect)) == DOWNBEAT_OK) {
    }
    IS(DOWNBEAT_DONE, result);
}

static void *crooked(void *memory) { return (char *)memory + 1; }

static downbeat_result init(void) { return downbeat_agent_init(&agent, sizeof agent, &config, &start); }

static void texts(void) {
    static const downbeat_result known[] = {
        DOWNBEAT_OK, DOWNBEAT_DONE, DOWNBEAT_NULL_POINTER, DOWNBEAT_UNSUPPORTED, DOWNBEAT_OBJECT_WRONG_NAME};
    for (size_t one = 0; one < sizeof known / sizeof *known; one++)
        for (size_t two = 0; two < one; two++)
            HOLDS(strcmp(downbeat_error_text(known[one]), downbeat_error_text(known[two])) != 0);
    HOLDS(strlen(downbeat_error_text(12345)) > 0);
    HOLDS(strcmp(downbeat_error_text(INT32_MIN), downbeat_error_text(12345)) == 0);
    HOLDS(downbeat_abi() == DOWNBEAT_ABI);
    HOLDS(strchr(downbeat_version(), '.') != NULL);
    IS(DOWNBEAT_UNSUPPORTED, downbeat_on_panic(NULL));
}

static void memory(void) {
    HOLDS(downbeat_agent_size() <= sizeof agent && downbeat_agent_size() > sizeof agent / 2);
    HOLDS(downbeat_page_size() <= sizeof page && downbeat_page_size() > sizeof page / 2);
    HOLDS(downbeat_object_size() <= sizeof object && downbeat_object_size() > sizeof object / 2);
    HOLDS(downbeat_agent_alignment() <= 8 && downbeat_page_alignment() <= 8 && downbeat_object_alignment() <= 8);
    IS(DOWNBEAT_MEMORY_TOO_SHORT, downbeat_agent_init(&agent, downbeat_agent_size() - 1, &config, &start));
    IS(DOWNBEAT_MISALIGNED, downbeat_agent_init(crooked(&agent), sizeof agent - 1, &config, &start));
    IS(DOWNBEAT_NULL_POINTER, downbeat_agent_init(NULL, sizeof agent, &config, &start));
    IS(DOWNBEAT_MEMORY_TOO_SHORT, downbeat_page_init(&page, downbeat_page_size() - 1, &plan));
    IS(DOWNBEAT_MISALIGNED, downbeat_page_init(crooked(&page), sizeof page - 1, &plan));
    IS(DOWNBEAT_NULL_POINTER, downbeat_page_init(NULL, sizeof page, &plan));
}

static void uninitialized(void) {
    int64_t at;
    uint8_t keeps;
    uint32_t version;
    struct downbeat_bytes rest = {frame, 1};
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_connected(&agent, 0));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_disconnected(&agent, 0));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_receive(&agent, 0, &rest));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_verified(&agent, 0, &generation, DOWNBEAT_WHOLE));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_copied(&agent, 0));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_wake(&agent, 0));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_clock_broke(&agent, 0));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_shut_down(&agent, 0));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_next_effect(&agent, &effect));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_encode(&agent, &effect, 0, frame, sizeof frame, &written));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_poll_at(&agent, &at));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_current_plan(&agent, &plan));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_keeps(&agent, &generation, &keeps));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_get_status(&agent, 0, &status));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_page_publish(&page, &plan));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_page_load(&page, &plan));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_page_version(&page, &version));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_object_next(&object, &rest, &record));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_object_end(&object, NULL));
}

static void settings(void) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    static char too_long[DOWNBEAT_TEXT_MAX + 2];
    memset(too_long, 'x', DOWNBEAT_TEXT_MAX + 1);
    IS(DOWNBEAT_NULL_POINTER, downbeat_config_defaults(NULL));
    IS(DOWNBEAT_OK, downbeat_config_defaults(&config));
    HOLDS(config.rate_ppb == 250000 && config.samples == 8 && config.longest_back_off_ns == 10000000000);
    IS(DOWNBEAT_NULL_POINTER, downbeat_agent_init(&agent, sizeof agent, NULL, &start));
    IS(DOWNBEAT_NULL_POINTER, downbeat_agent_init(&agent, sizeof agent, &config, NULL));
    IS(DOWNBEAT_BAD_NAME, init());
    config.farm = "Not a farm";
    IS(DOWNBEAT_BAD_NAME, init());
    config.farm = too_long;
    IS(DOWNBEAT_BAD_NAME, init());
    config.farm = "eu";
    config.display = too_long;
    IS(DOWNBEAT_BAD_TEXT, init());
    config.display = "\xff";
    IS(DOWNBEAT_BAD_TEXT, init());
    config.display = NULL;
    config.token = too_long;
    IS(DOWNBEAT_BAD_TEXT, init());
    config.token = NULL;
    config.datasets = names;
    config.dataset_count = 9;
    IS(DOWNBEAT_TOO_MANY_NAMES, init());
    config.dataset_count = 1;
    config.datasets = NULL;
    IS(DOWNBEAT_NULL_POINTER, init());
    config.dataset_count = 0;
    config.mode = 2;
    IS(DOWNBEAT_BAD_NUMBER, init());
    config.mode = DOWNBEAT_STRICT;
    config.activation = 7;
    IS(DOWNBEAT_BAD_NUMBER, init());
    config.activation = DOWNBEAT_SWITCH;
    config.rate_ppb = 500000000;
    IS(DOWNBEAT_BAD_SETTING, init());
    config.rate_ppb = 250000;
    config.patience_ns = 0;
    IS(DOWNBEAT_BAD_SETTING, init());
    config.patience_ns = 1000000000;
    config.longest_back_off_ns = config.first_back_off_ns - 1;
    IS(DOWNBEAT_BAD_SETTING, init());
    config.longest_back_off_ns = INT64_MAX;
    config.granularity_ns = -1;
    IS(DOWNBEAT_BAD_SETTING, init());
    config.granularity_ns = 0;
    plan.mode = 9;
    start.page = &plan;
    IS(DOWNBEAT_BAD_PLAN, init());
    start.page = NULL;
    /* Nothing of that made an agent. */
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_wake(&agent, 0));
    IS(DOWNBEAT_OK, init());
}

static void inputs(void) {
    int64_t at;
    uint8_t keeps = 9;
    struct downbeat_bytes rest = {NULL, 1};
    IS(DOWNBEAT_OK, downbeat_connected(&agent, 100));
    IS(DOWNBEAT_EFFECTS_PENDING, downbeat_wake(&agent, 100));
    IS(DOWNBEAT_EFFECTS_PENDING, downbeat_clock_broke(&agent, 100));
    IS(DOWNBEAT_EFFECTS_PENDING, downbeat_receive(&agent, 100, &(struct downbeat_bytes){frame, 1}));
    IS(DOWNBEAT_STALE_EFFECT, downbeat_encode(&agent, &effect, 100, frame, sizeof frame, &written));
    IS(DOWNBEAT_NULL_POINTER, downbeat_next_effect(&agent, NULL));
    IS(DOWNBEAT_OK, downbeat_next_effect(&agent, &effect));
    HOLDS(effect.kind == DOWNBEAT_SEND);
    IS(DOWNBEAT_TIME_WENT_BACK, downbeat_encode(&agent, &effect, 99, frame, sizeof frame, &written));
    IS(DOWNBEAT_BUFFER_TOO_SHORT, downbeat_encode(&agent, &effect, 100, frame, 10, &written));
    IS(DOWNBEAT_BUFFER_TOO_SHORT, downbeat_encode(&agent, &effect, 100, NULL, 0, &written));
    IS(DOWNBEAT_NULL_POINTER, downbeat_encode(&agent, &effect, 100, NULL, sizeof frame, &written));
    IS(DOWNBEAT_NULL_POINTER, downbeat_encode(&agent, &effect, 100, frame, sizeof frame, NULL));
    IS(DOWNBEAT_NULL_POINTER, downbeat_encode(&agent, NULL, 100, frame, sizeof frame, &written));
    IS(DOWNBEAT_NULL_POINTER, downbeat_encode(NULL, &effect, 100, frame, sizeof frame, &written));
    IS(DOWNBEAT_OK, downbeat_encode(&agent, &effect, 100, frame, sizeof frame, &written));
    HOLDS(written > 20 && written <= sizeof frame && frame[written - 1] == 0);
    effect.number++;
    IS(DOWNBEAT_STALE_EFFECT, downbeat_encode(&agent, &effect, 100, frame, sizeof frame, &written));
    take_all();
    effect.number--;
    IS(DOWNBEAT_STALE_EFFECT, downbeat_encode(&agent, &effect, 100, frame, sizeof frame, &written));
    IS(DOWNBEAT_TIME_WENT_BACK, downbeat_wake(&agent, 99));
    IS(DOWNBEAT_NULL_POINTER, downbeat_receive(&agent, 100, NULL));
    IS(DOWNBEAT_NULL_POINTER, downbeat_receive(&agent, 100, &rest));
    rest.len = 0;
    IS(DOWNBEAT_DONE, downbeat_receive(&agent, 100, &rest));
    IS(DOWNBEAT_NULL_POINTER, downbeat_verified(&agent, 100, NULL, DOWNBEAT_WHOLE));
    IS(DOWNBEAT_BAD_NUMBER, downbeat_verified(&agent, 100, &generation, 5));
    /* Answers to what nobody asked change nothing. */
    IS(DOWNBEAT_OK, downbeat_verified(&agent, 100, &generation, DOWNBEAT_WHOLE));
    take_all();
    IS(DOWNBEAT_OK, downbeat_copied(&agent, 100));
    take_all();
    IS(DOWNBEAT_NULL_POINTER, downbeat_keeps(&agent, NULL, &keeps));
    IS(DOWNBEAT_NULL_POINTER, downbeat_keeps(&agent, &generation, NULL));
    IS(DOWNBEAT_OK, downbeat_keeps(&agent, &generation, &keeps));
    HOLDS(keeps == 0);
    IS(DOWNBEAT_NULL_POINTER, downbeat_poll_at(&agent, NULL));
    IS(DOWNBEAT_OK, downbeat_poll_at(&agent, &at));
    HOLDS(at >= 0 && at < DOWNBEAT_NEVER);
    IS(DOWNBEAT_NULL_POINTER, downbeat_get_status(&agent, 100, NULL));
    IS(DOWNBEAT_OK, downbeat_get_status(&agent, 100, &status));
    HOLDS(status.phase == DOWNBEAT_GREETING && !status.clock_known && !status.table_known);
    /* The clock's own fault, and only that, sets time back. */
    IS(DOWNBEAT_OK, downbeat_clock_broke(&agent, -7));
    take_all();
    IS(DOWNBEAT_OK, downbeat_wake(&agent, -7));
    take_all();
    IS(DOWNBEAT_OK, downbeat_wake(&agent, INT64_MAX));
    take_all();
    /* An agent is none of another kind. */
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_object_end((struct downbeat_object *)(void *)&agent, NULL));
    IS(DOWNBEAT_NOT_INITIALIZED, downbeat_wake(&other, 0));
}

static int64_t noon(void *context) { return context == NULL ? 12 : *(int64_t *)context; }

static void pages(void) {
    uint32_t version = 7;
    int64_t at = 20;
    IS(DOWNBEAT_OK, init());
    IS(DOWNBEAT_NULL_POINTER, downbeat_current_plan(&agent, NULL));
    IS(DOWNBEAT_OK, downbeat_current_plan(&agent, &plan));
    IS(DOWNBEAT_NULL_POINTER, downbeat_page_init(&page, sizeof page, NULL));
    IS(DOWNBEAT_OK, downbeat_page_init(&page, sizeof page, &plan));
    IS(DOWNBEAT_NULL_POINTER, downbeat_page_look(&page, 0, NULL, NULL, &serving));
    IS(DOWNBEAT_NULL_POINTER, downbeat_page_look(&page, 0, noon, NULL, NULL));
    IS(DOWNBEAT_NULL_POINTER, downbeat_page_look(NULL, 0, noon, NULL, &serving));
    IS(DOWNBEAT_OK, downbeat_page_look(&page, 0, noon, NULL, &serving));
    HOLDS(serving.state == DOWNBEAT_NOTHING && serving.at_ns == 12 && serving.until_ns == DOWNBEAT_NEVER);

    plan.serial = 1;
    plan.has_active = plan.has_staged = 1;
    plan.active.epoch = 4;
    plan.active_until_ns = 20;
    plan.staged.epoch = 5;
    plan.staged_from_ns = 30;
    plan.staged_until_ns = 40;
    IS(DOWNBEAT_OK, downbeat_page_publish(&page, &plan));
    IS(DOWNBEAT_OK, downbeat_page_version(&page, &version));
    HOLDS(version == 1);
    IS(DOWNBEAT_OK, downbeat_page_look(&page, 0, noon, NULL, &serving));
    HOLDS(serving.state == DOWNBEAT_ACTIVE && serving.generation.epoch == 4 && serving.until_ns == 20);
    HOLDS(serving.version == 1);
    IS(DOWNBEAT_OK, downbeat_page_look(&page, 0, noon, &at, &serving));
    HOLDS(serving.state == DOWNBEAT_HOLD && serving.generation.epoch == 0 && serving.until_ns == 30);
    IS(DOWNBEAT_OK, downbeat_serving_of(&plan, 0, 30, &serving));
    HOLDS(serving.state == DOWNBEAT_STAGED && serving.generation.epoch == 5 && serving.until_ns == 40);
    IS(DOWNBEAT_OK, downbeat_serving_of(&plan, 0, 40, &serving));
    HOLDS(serving.state == DOWNBEAT_FENCED && serving.until_ns == DOWNBEAT_NEVER);
    IS(DOWNBEAT_OK, downbeat_serving_of(&plan, 1, 30, &serving));
    HOLDS(serving.state == DOWNBEAT_FENCED && serving.generation.epoch == 0);
    plan.mode = DOWNBEAT_PROMPT;
    IS(DOWNBEAT_OK, downbeat_serving_of(&plan, 0, 40, &serving));
    HOLDS(serving.state == DOWNBEAT_STALE && serving.generation.epoch == 5);
    plan.stale = 2;
    IS(DOWNBEAT_BAD_PLAN, downbeat_page_publish(&page, &plan));
    IS(DOWNBEAT_BAD_PLAN, downbeat_serving_of(&plan, 0, 40, &serving));
    plan.stale = 0;
    IS(DOWNBEAT_NULL_POINTER, downbeat_serving_of(NULL, 0, 40, &serving));
    IS(DOWNBEAT_NULL_POINTER, downbeat_page_publish(&page, NULL));
    IS(DOWNBEAT_NULL_POINTER, downbeat_page_version(&page, NULL));
    IS(DOWNBEAT_OK, downbeat_page_load(&page, &plan));
    HOLDS(plan.serial == 1 && plan.mode == DOWNBEAT_STRICT && plan.staged.epoch == 5);
    /* A page of a process before this one is taken up: it is of this boot. */
    start.page = &plan;
    IS(DOWNBEAT_OK, init());
    IS(DOWNBEAT_OK, downbeat_current_plan(&agent, &plan));
    HOLDS(plan.serial == 1 && plan.has_staged);
    start.boot = 1;
    IS(DOWNBEAT_OK, init());
    IS(DOWNBEAT_OK, downbeat_current_plan(&agent, &plan));
    HOLDS(plan.serial == 0 && !plan.has_staged);
    start.page = NULL;
}

static void objects(void) {
    struct downbeat_expected expected = {.dataset_count = 9};
    struct downbeat_bytes rest = {(const uint8_t *)"downbeat\1\0", 10};
    IS(DOWNBEAT_NULL_POINTER, downbeat_object_begin(NULL, sizeof object, &expected, buffer, sizeof buffer));
    IS(DOWNBEAT_NULL_POINTER, downbeat_object_begin(&object, sizeof object, NULL, buffer, sizeof buffer));
    IS(DOWNBEAT_MEMORY_TOO_SHORT,
       downbeat_object_begin(&object, downbeat_object_size() - 1, &expected, buffer, sizeof buffer));
    IS(DOWNBEAT_TOO_MANY_NAMES, downbeat_object_begin(&object, sizeof object, &expected, buffer, sizeof buffer));
    expected.dataset_count = 0;
    IS(DOWNBEAT_NULL_POINTER, downbeat_object_begin(&object, sizeof object, &expected, NULL, sizeof buffer));
    IS(DOWNBEAT_OK, downbeat_object_begin(&object, sizeof object, &expected, buffer, sizeof buffer));
    IS(DOWNBEAT_NULL_POINTER, downbeat_object_next(&object, NULL, &record));
    IS(DOWNBEAT_NULL_POINTER, downbeat_object_next(&object, &rest, NULL));
    HOLDS(rest.len == 10);
    IS(DOWNBEAT_DONE, downbeat_object_next(&object, &rest, &record));
    HOLDS(rest.len == 0);
    IS(DOWNBEAT_OBJECT_TRUNCATED, downbeat_object_end(&object, NULL));
    IS(DOWNBEAT_OK, downbeat_object_begin(&object, sizeof object, &expected, buffer, sizeof buffer));
    rest = (struct downbeat_bytes){(const uint8_t *)"upbeat, no object", 17};
    IS(DOWNBEAT_OBJECT_MAGIC, downbeat_object_next(&object, &rest, &record));
    IS(DOWNBEAT_OBJECT_MAGIC, downbeat_object_next(&object, &rest, &record));
    IS(DOWNBEAT_OBJECT_MAGIC, downbeat_object_end(&object, NULL));
}

/* Numbers without pattern, the same in every run. */
static uint32_t chance(void) {
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void noise(void) {
    struct downbeat_plan before, after;
    uint64_t dropped = 0;
    IS(DOWNBEAT_OK, init());
    IS(DOWNBEAT_OK, downbeat_connected(&agent, 1));
    take_all();
    IS(DOWNBEAT_OK, downbeat_current_plan(&agent, &before));
    for (int piece = 0; piece < 20000; piece++) {
        uint8_t bytes[64];
        struct downbeat_bytes rest = {bytes, chance() % sizeof bytes};
        downbeat_result result = DOWNBEAT_OK;
        for (size_t at = 0; at < rest.len; at++)
            bytes[at] = chance() % 8 == 0 ? 0 : (uint8_t)chance();
        while (result != DOWNBEAT_DONE) {
            result = downbeat_receive(&agent, piece + 2, &rest);
            HOLDS(result == DOWNBEAT_DONE || (result <= DOWNBEAT_FRAME_OVERSIZED && result >= DOWNBEAT_FRAME_MALFORMED));
            dropped += result != DOWNBEAT_DONE;
        }
        HOLDS(rest.len == 0 && rest.at <= bytes + sizeof bytes);
    }
    /* A frame that never ends is one that is dropped, when it does. */
    for (int piece = 0; piece < 100; piece++) {
        struct downbeat_bytes rest = {(const uint8_t *)"no end no end no end no end no", 30};
        IS(DOWNBEAT_DONE, downbeat_receive(&agent, 30000, &rest));
    }
    IS(DOWNBEAT_FRAME_OVERSIZED, downbeat_receive(&agent, 30000, &(struct downbeat_bytes){(const uint8_t *)"", 1}));
    IS(DOWNBEAT_OK, downbeat_get_status(&agent, 30000, &status));
    HOLDS(dropped > 1000 && status.dropped.garbled == dropped && status.dropped.oversized == 1);
    IS(DOWNBEAT_OK, downbeat_current_plan(&agent, &after));
    HOLDS(memcmp(&before, &after, sizeof before) == 0);
}

int main(void) {
    texts();
    memory();
    uninitialized();
    settings();
    inputs();
    pages();
    objects();
    noise();
    printf("%d checks; an agent takes %zu bytes here, a page %zu, a reading %zu\n", checked,
           downbeat_agent_size(), downbeat_page_size(), downbeat_object_size());
    return 0;
}
