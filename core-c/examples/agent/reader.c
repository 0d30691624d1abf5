#define _GNU_SOURCE
#include "reader.h"

#include "clock.h"
#include "content.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

/* How often it is said that nothing has changed. */
#define REPEAT 5000000
/* Between two looks: a millisecond, and less where a switch is near. */
#define PAUSE 1000000
#define NEAR 5000000

/* A look: what it got, and when that was by the host's own clock. */
struct look {
    struct downbeat_serving got;
    int64_t host;
    int64_t ahead_ns;
};

/* Called by the library after it has loaded the plan. */
static int64_t now(void *context) {
    struct look *look = context;
    look->host = clock_host();
    return clock_local(look->host) + look->ahead_ns;
}

static struct look look_at(const struct readers *readers) {
    struct look look = {.ahead_ns = readers->ahead_ns};
    downbeat_page_look(readers->page, readers->boot, now, &look, &look.got);
    return look;
}

static const char *state_text(uint32_t state) {
    switch (state) {
    case DOWNBEAT_ACTIVE:
    case DOWNBEAT_STAGED:
        return "current";
    case DOWNBEAT_STALE:
        return "stale";
    case DOWNBEAT_HOLD:
        return "held";
    default:
        return "fenced";
    }
}

static bool is_served(const struct downbeat_serving *got) {
    return got->state == DOWNBEAT_ACTIVE || got->state == DOWNBEAT_STAGED || got->state == DOWNBEAT_STALE;
}

/* ── lines ── */

struct line {
    char *at;
    size_t len, used;
};

static void put(struct line *line, const char *text, size_t len) {
    if (len < line->len - line->used) {
        memcpy(line->at + line->used, text, len);
        line->used += len;
        line->at[line->used] = 0;
    }
}

static void put_text(struct line *line, const char *text) { put(line, text, strlen(text)); }

static void put_number(struct line *line, const char *name, int64_t number) {
    char text[64];
    int len = snprintf(text, sizeof text, ",\"%s\":%" PRId64, name, number);
    put(line, text, (size_t)len);
}

/* As a JSON string: a byte beyond ASCII stands for the character of that number. */
static void put_string(struct line *line, struct downbeat_bytes bytes) {
    put_text(line, "\"");
    for (size_t at = 0; at < bytes.len; at++) {
        char text[8];
        bool plain = bytes.at[at] >= ' ' && bytes.at[at] < 0x7f && bytes.at[at] != '"' && bytes.at[at] != '\\';
        int len = snprintf(text, sizeof text, plain ? "%c" : "\\u%04x", bytes.at[at]);
        put(line, text, (size_t)len);
    }
    put_text(line, "\"");
}

/* State, generation and instant of a look. */
static void put_look(struct line *line, const struct look *look) {
    put_text(line, "\"state\":\"");
    put_text(line, state_text(look->got.state));
    put_text(line, "\"");
    if (is_served(&look->got)) {
        char text[2 * sizeof look->got.generation.digest + 1];
        for (size_t at = 0; at < sizeof look->got.generation.digest; at++)
            snprintf(text + 2 * at, 3, "%02x", look->got.generation.digest[at]);
        put_number(line, "epoch", (int64_t)look->got.generation.epoch);
        put_text(line, ",\"digest\":\"");
        put_text(line, text);
        put_text(line, "\"");
    }
    put_number(line, "host_ns", look->host);
}

static struct downbeat_bytes bytes_of(const char *text) {
    return (struct downbeat_bytes){(const uint8_t *)text, strlen(text)};
}

static void put_value(struct line *line, struct content_reader *reader, const struct content *content,
                      const char *dataset, const char *key) {
    struct downbeat_bytes value;
    /* What would not fit even if each of its bytes had to be escaped is left out. */
    if (content_find(reader, content, bytes_of(dataset), bytes_of(key), &value) &&
        value.len < (line->len - line->used) / 8) {
        put_text(line, ",\"value\":");
        put_string(line, value);
    }
}

/* What is there: its digest, computed again from its records, how many they are, and the record that is
 * shown. Nothing where the content was replaced before the reader came to it. */
static void put_content(struct line *line, const struct readers *readers, struct content_reader *reader,
                        const struct downbeat_generation *generation) {
    struct content *content = content_hold(generation);
    uint64_t records;
    if (content == NULL)
        return;
    if (content_prove(reader, content, &records) == DOWNBEAT_OK) {
        char text[2 * sizeof generation->digest + 1];
        for (size_t at = 0; at < sizeof generation->digest; at++)
            snprintf(text + 2 * at, 3, "%02x", generation->digest[at]);
        put_text(line, ",\"records_digest\":\"");
        put_text(line, text);
        put_text(line, "\"");
    } else {
        put_text(line, ",\"records_digest\":\"torn\"");
    }
    put_number(line, "records", (int64_t)records);
    put_value(line, reader, content, readers->dataset, readers->key);
    content_let_go(content);
}

/* ── the thread ── */

static bool is_near(const struct look *look) {
    return look->got.until_ns != DOWNBEAT_NEVER && look->got.until_ns - look->got.at_ns < NEAR;
}

static void *read_for_ever(void *context) {
    static struct content_reader reader;
    static char text[2048];
    const struct readers *readers = context;
    struct look before = {.host = -1};
    int64_t said = 0;
    for (;;) {
        struct look look = look_at(readers);
        bool first = before.host < 0;
        if (first || strcmp(state_text(look.got.state), state_text(before.got.state)) != 0 ||
            memcmp(&look.got.generation, &before.got.generation, sizeof look.got.generation) != 0) {
            struct line line = {text, sizeof text, 0};
            put_text(&line, "{");
            put_look(&line, &look);
            if (!first)
                put_number(&line, "before_until_host_ns", before.host);
            if (is_served(&look.got))
                put_content(&line, readers, &reader, &look.got.generation);
            put_text(&line, "}\n");
            fputs(text, stdout);
            said = look.host;
        } else if (look.host - said >= REPEAT) {
            printf("{\"still_host_ns\":%" PRId64 "}\n", look.host);
            said = look.host;
        }
        before = look;
        struct timespec pause = {0, is_near(&look) ? PAUSE / 20 : PAUSE};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

bool reader_start(const struct readers *readers) {
    pthread_t thread;
    sigset_t all, before;
    /* Signals are for the thread that waits in poll. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, read_for_ever, (void *)readers) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* ── one read ── */

void reader_answer(const struct readers *readers, const char *dataset, const char *key, char *text, size_t len) {
    static struct content_reader reader;
    struct line line = {text, len, 0};
    struct look look = look_at(readers);
    put_text(&line, "{");
    put_look(&line, &look);
    struct content *content = is_served(&look.got) ? content_hold(&look.got.generation) : NULL;
    if (content != NULL) {
        put_value(&line, &reader, content, dataset, key);
        content_let_go(content);
    }
    put_text(&line, "}\n");
}
