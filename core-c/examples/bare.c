/* The smallest firmware that has an agent, for a target without an operating system: what it takes in flash
 * and in memory, and that it links. Its board is a serial line with a byte each way and a counter of
 * nanoseconds, which a real one brings; content goes nowhere but through the check of its digests.
 *
 *   arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -std=c11 -Os -I include \
 *       examples/bare.c libdownbeat_core_c.a --specs=nosys.specs -Wl,--gc-sections */
#include "downbeat.h"

#include <stdbool.h>

/* The board. */
static volatile uint8_t line_in, line_out;
static volatile bool line_has;
static volatile int64_t nanoseconds;

static struct downbeat_agent agent;
static struct downbeat_page page;
static struct downbeat_object object;
/* Content, and room for its longest record: of the size that the product needs. */
static uint8_t content[8 * 1024], record[256];
static size_t content_len;
static volatile uint32_t failures;

static int64_t now(void *context) {
    (void)context;
    return nanoseconds;
}

static void panicked(const char *file, size_t file_len, uint32_t line) {
    (void)file;
    (void)file_len;
    failures = line;
}

static void send_frame(const struct downbeat_effect *effect) {
    uint8_t frame[DOWNBEAT_FRAME_MAX];
    size_t len = 0;
    if (downbeat_encode(&agent, effect, nanoseconds, frame, sizeof frame, &len) != DOWNBEAT_OK)
        failures++;
    for (size_t at = 0; at < len; at++)
        line_out = frame[at];
}

static void keep(struct downbeat_bytes bytes) {
    for (size_t at = 0; at < bytes.len && content_len < sizeof content; at++)
        content[content_len++] = bytes.at[at];
}

static uint32_t prove(const struct downbeat_incoming *incoming) {
    struct downbeat_expected expected = {.target = incoming->target};
    struct downbeat_bytes rest = {content, content_len};
    struct downbeat_record found;
    downbeat_result result;
    if (incoming->object_len > sizeof content)
        return DOWNBEAT_TOO_LARGE;
    for (size_t at = 0; at < sizeof expected.object_name; at++)
        expected.object_name[at] = incoming->object_name[at];
    result = downbeat_object_begin(&object, sizeof object, &expected, record, sizeof record);
    while (result == DOWNBEAT_OK)
        result = downbeat_object_next(&object, &rest, &found);
    if (result == DOWNBEAT_BUFFER_TOO_SHORT)
        return DOWNBEAT_TOO_LARGE;
    return downbeat_object_end(&object, NULL) == DOWNBEAT_OK ? DOWNBEAT_WHOLE : DOWNBEAT_MISMATCH;
}

static void carry_out(downbeat_result result) {
    struct downbeat_effect effect;
    struct downbeat_incoming whole = {.objects = 0};
    if (result < 0)
        failures++;
    while (downbeat_next_effect(&agent, &effect) == DOWNBEAT_OK) {
        if (effect.kind == DOWNBEAT_SEND)
            send_frame(&effect);
        else if (effect.kind == DOWNBEAT_PUBLISH)
            downbeat_page_publish(&page, &effect.about.plan);
        else if (effect.kind == DOWNBEAT_BEGIN)
            content_len = 0;
        else if (effect.kind == DOWNBEAT_KEEP)
            keep(effect.about.keep.bytes);
        else if (effect.kind == DOWNBEAT_VERIFY)
            whole = effect.about.incoming;
    }
    if (whole.objects > 0)
        carry_out(downbeat_verified(&agent, nanoseconds, &whole.target, prove(&whole)));
}

int main(void) {
    struct downbeat_config config;
    struct downbeat_start start = {.incarnation = 1, .boot = 1};
    struct downbeat_plan plan;
    struct downbeat_serving serving;
    downbeat_on_panic(panicked);
    downbeat_config_defaults(&config);
    config.farm = "main";
    config.mode = DOWNBEAT_STRICT;
    if (downbeat_abi() != DOWNBEAT_ABI ||
        downbeat_agent_init(&agent, sizeof agent, &config, &start) != DOWNBEAT_OK)
        return 1;
    downbeat_current_plan(&agent, &plan);
    downbeat_page_init(&page, sizeof page, &plan);
    carry_out(downbeat_connected(&agent, nanoseconds));
    for (;;) {
        uint8_t byte = line_in;
        struct downbeat_bytes rest = {&byte, line_has ? 1 : 0};
        downbeat_result result = DOWNBEAT_OK;
        while (result != DOWNBEAT_DONE)
            carry_out(result = downbeat_receive(&agent, nanoseconds, &rest));
        carry_out(downbeat_wake(&agent, nanoseconds));
        downbeat_page_look(&page, start.boot, now, NULL, &serving);
        line_has = serving.state == DOWNBEAT_STAGED;
    }
}
