/* An agent of a Downbeat farm, in C: one thread that waits in poll() for the server, for reads from outside
 * and for the time, and a second thread that reads. All memory is static. What a file is for stands in its
 * header; here are the options, the loop, and how effects are carried out.
 *
 *   agent --server 127.0.0.1:7420 --farm main --mode strict --show prices/apple
 *
 * It prints lines of JSON: what a reader gets whenever that changes, and, marked "told", what the agent does. */
#define _GNU_SOURCE
#include "clock.h"
#include "content.h"
#include "line.h"
#include "reader.h"
#include "reads.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The longest sleep. */
#define LONGEST_SLEEP 500000000

static struct downbeat_agent agent;
static struct downbeat_page page;
static struct line_to_server line;
static struct readers readers = {.page = &page, .dataset = "", .key = ""};
static volatile sig_atomic_t is_over;

static void end(int signal) {
    (void)signal;
    is_over = 1;
}

static int64_t local_now(void) { return clock_local(clock_host()); }

/* A result that a right host doesn't get. */
static void expect(const char *what, downbeat_result result) {
    if (result >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, downbeat_error_text(result));
    exit(1);
}

/* ── effects ── */

static void send_frame(const struct downbeat_effect *effect) {
    uint8_t frame[DOWNBEAT_FRAME_MAX];
    size_t len;
    int64_t host = clock_host();
    expect("encode", downbeat_encode(&agent, effect, clock_local(host), frame, sizeof frame, &len));
    line_write(&line, host, frame, len);
}

static void publish(const struct downbeat_plan *plan) {
    struct downbeat_status then;
    content_settle(plan);
    expect("publish", downbeat_page_publish(&page, plan));
    if (!plan->has_staged)
        return;
    expect("status", downbeat_get_status(&agent, plan->staged_from_ns, &then));
    printf("{\"told\":\"plan\",\"staged\":%" PRIu64 ",\"staged_from_ns\":%" PRId64 ",\"now_ns\":%" PRId64
           ",\"epsilon_ns\":%" PRId64 "}\n",
           plan->staged.epoch, plan->staged_from_ns, local_now(), then.epsilon_ns);
}

static void tell(const struct downbeat_event *event) {
    if (event->kind == DOWNBEAT_SWITCHED)
        printf("{\"switched\":%" PRIu64 ",\"epsilon_ns\":%" PRId64 "}\n", event->switched.epoch,
               event->switched.epsilon_ns);
    else
        printf("{\"told\":\"event\",\"kind\":%u,\"why\":%u}\n", event->kind, event->why);
}

/* What an effect asks to be answered: an answer is an input, and inputs come after the last effect. */
struct asked {
    bool to_verify, copied;
    struct downbeat_incoming incoming;
};

/* Takes all effects of the last input. True where one is to be answered. */
static bool carry_out(struct asked *asked) {
    struct downbeat_effect effect;
    asked->to_verify = asked->copied = false;
    downbeat_result result;
    while ((result = downbeat_next_effect(&agent, &effect)) == DOWNBEAT_OK) {
        switch (effect.kind) {
        case DOWNBEAT_SEND:
            send_frame(&effect);
            break;
        case DOWNBEAT_PUBLISH:
            publish(&effect.about.plan);
            break;
        case DOWNBEAT_BEGIN:
            content_begin(&agent, &effect.about.incoming);
            break;
        case DOWNBEAT_KEEP:
            content_keep(&effect.about.keep);
            break;
        case DOWNBEAT_VERIFY:
            asked->incoming = effect.about.incoming;
            asked->to_verify = true;
            break;
        case DOWNBEAT_COPY_STAGED:
            content_copy();
            asked->copied = true;
            break;
        case DOWNBEAT_EVENT:
            tell(&effect.about.event);
            break;
        default: /* There is no other in this version of the interface. */
            break;
        }
    }
    expect("next_effect", result);
    return asked->to_verify || asked->copied;
}

/* What every input ends with. True where it took its time: content was verified or copied. */
static bool after(const char *what, downbeat_result result) {
    struct asked asked;
    bool answered = false;
    if (result == DOWNBEAT_TIME_WENT_BACK)
        result = downbeat_clock_broke(&agent, local_now());
    expect(what, result);
    while (carry_out(&asked)) {
        if (asked.copied)
            result = downbeat_copied(&agent, local_now());
        else
            result = downbeat_verified(&agent, local_now(), &asked.incoming.target, content_verify(&asked.incoming));
        expect("answer", result);
        answered = true;
    }
    return answered;
}

/* ── inputs ── */

static void lose(int64_t host) {
    bool was_up = line.state == LINE_UP;
    line_lose(&line, host);
    if (was_up)
        after("disconnected", downbeat_disconnected(&agent, clock_local(host)));
}

/* What has come, frame by frame. */
static void receive(void) {
    uint8_t bytes[4096];
    int got = line_read(&line, bytes, sizeof bytes);
    /* As early as can be: all of it has arrived by now. */
    int64_t host = clock_host();
    struct downbeat_bytes rest = {bytes, got > 0 ? (size_t)got : 0};
    downbeat_result result = DOWNBEAT_OK;
    struct downbeat_status status;
    if (got < 0) {
        lose(host);
        return;
    }
    while (result != DOWNBEAT_DONE) {
        result = downbeat_receive(&agent, clock_local(host), &rest);
        if (result <= DOWNBEAT_FRAME_OVERSIZED && result >= DOWNBEAT_FRAME_MALFORMED)
            fprintf(stderr, "%s\n", downbeat_error_text(result));
        else if (after("receive", result))
            host = clock_host();
    }
    host = clock_host();
    expect("status", downbeat_get_status(&agent, clock_local(host), &status));
    if (got > 0 && status.clock_known)
        printf("{\"told\":\"clock\",\"host_ns\":%" PRId64 ",\"earliest_server_ns\":%" PRId64
               ",\"latest_server_ns\":%" PRId64 ",\"timeline\":\"%" PRIu64 "-%016" PRIx64 "\",\"phase\":%u}\n",
               host, status.earliest_server_ns, status.latest_server_ns, status.timeline_counter,
               status.timeline_random, status.phase);
}

/* How long to sleep from now on, in nanoseconds. */
static int64_t sleep_for(int64_t host) {
    int64_t at, wait = LONGEST_SLEEP;
    expect("poll_at", downbeat_poll_at(&agent, &at));
    if (at != DOWNBEAT_NEVER && at - clock_local(host) < wait)
        wait = at - clock_local(host);
    if (line_wakes(&line) - host < wait)
        wait = line_wakes(&line) - host;
    /* Never zero: what wants to be done at once must not take the whole processor. */
    return wait > 1000 ? wait : 1000;
}

static void run(void) {
    while (!is_over) {
        struct pollfd places[READS_MAX + 2];
        int64_t wait = sleep_for(clock_host());
        struct timespec time = {wait / 1000000000, wait % 1000000000};
        reads_want(places);
        places[READS_MAX + 1] = line_wants(&line);
        if (ppoll(places, READS_MAX + 2, &time, NULL) < 0)
            continue;
        short found = places[READS_MAX + 1].revents;
        bool was_up = line.state == LINE_UP;
        if (line_go_on(&line, clock_host(), found))
            after("connected", downbeat_connected(&agent, local_now()));
        else if (was_up && (found & ~POLLOUT) != 0)
            receive();
        if (line_is_lost(&line, clock_host()))
            lose(clock_host());
        after("wake", downbeat_wake(&agent, local_now()));
        reads_go_on(&readers, places);
    }
    after("shut_down", downbeat_shut_down(&agent, local_now()));
}

/* ── options ── */

static void usage(void) {
    fprintf(stderr, "usage: agent --server ADDRESS:PORT --farm NAME [--mode prompt|strict] [--activation switch|copy]\n"
                    "             [--token TOKEN] [--display NAME] [--show DATASET/KEY]\n"
                    "for tests:   [--clock-offset-ns N] [--clock-rate-ppm N] [--reader-ahead-ns N]\n");
    exit(2);
}

/* An IPv4 address and a port. */
static void set_server(char *text) {
    char *port = strrchr(text, ':');
    if (port == NULL)
        usage();
    *port = 0;
    line.server.sin_family = AF_INET;
    line.server.sin_port = htons((uint16_t)atoi(port + 1));
    if (inet_pton(AF_INET, text, &line.server.sin_addr) != 1)
        usage();
}

static void set_shown(char *text) {
    char *key = strchr(text, '/');
    if (key == NULL)
        usage();
    *key = 0;
    readers.dataset = text;
    readers.key = key + 1;
}

static void take_options(int count, char **arguments, struct downbeat_config *config) {
    int64_t offset_ns = 0, rate_ppm = 0;
    for (int at = 1; at + 1 < count; at += 2) {
        const char *option = arguments[at];
        char *value = arguments[at + 1];
        if (strcmp(option, "--server") == 0)
            set_server(value);
        else if (strcmp(option, "--farm") == 0)
            config->farm = value;
        else if (strcmp(option, "--mode") == 0)
            config->mode = strcmp(value, "strict") == 0 ? DOWNBEAT_STRICT : DOWNBEAT_PROMPT;
        else if (strcmp(option, "--activation") == 0)
            config->activation = strcmp(value, "copy") == 0 ? DOWNBEAT_COPY : DOWNBEAT_SWITCH;
        else if (strcmp(option, "--token") == 0)
            config->token = value;
        else if (strcmp(option, "--display") == 0)
            config->display = value;
        else if (strcmp(option, "--show") == 0)
            set_shown(value);
        else if (strcmp(option, "--clock-offset-ns") == 0)
            offset_ns = strtoll(value, NULL, 10);
        else if (strcmp(option, "--clock-rate-ppm") == 0)
            rate_ppm = strtoll(value, NULL, 10);
        else if (strcmp(option, "--reader-ahead-ns") == 0)
            readers.ahead_ns = strtoll(value, NULL, 10);
        else
            usage();
    }
    if (count % 2 == 0 || line.server.sin_port == 0 || config->farm == NULL)
        usage();
    clock_distort(offset_ns, rate_ppm);
}

static void draw(void *place, size_t len) {
    if (getrandom(place, len, 0) != (ssize_t)len) {
        perror("getrandom");
        exit(1);
    }
}

int main(int count, char **arguments) {
    struct downbeat_config config;
    struct downbeat_start start = {0};
    struct downbeat_plan plan;
    if (downbeat_abi() != DOWNBEAT_ABI) {
        fprintf(stderr, "the header is not of version %s, which is linked\n", downbeat_version());
        return 1;
    }
    expect("defaults", downbeat_config_defaults(&config));
    take_options(count, arguments, &config);
    if (config.activation == DOWNBEAT_COPY)
        content_copies();
    /* A device keeps this from its installation on. */
    draw(config.agent, sizeof config.agent);
    config.granularity_ns = CLOCK_GRANULARITY;
    config.longest_back_off_ns = 400000000;
    draw(&start.incarnation, sizeof start.incarnation);
    draw(&start.boot, sizeof start.boot);
    start.now_ns = local_now();
    readers.boot = start.boot;
    expect("init", downbeat_agent_init(&agent, sizeof agent, &config, &start));
    expect("plan", downbeat_current_plan(&agent, &plan));
    expect("page", downbeat_page_init(&page, sizeof page, &plan));

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, end);
    signal(SIGINT, end);
    int port = reads_listen();
    if (port < 0 || !reader_start(&readers)) {
        perror("agent");
        return 1;
    }
    printf("{\"told\":\"begin\",\"reads\":%d}\n", port);
    run();
    return 0;
}
