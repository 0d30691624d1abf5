#define _GNU_SOURCE
#include "line.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_BACK_OFF 50000000
#define LONGEST_BACK_OFF 400000000
/* A server that leaves a request unanswered for so long is not there any more. */
#define SILENCE_LIMIT 1500000000

struct pollfd line_wants(const struct line_to_server *line) {
    short events = POLLIN;
    if (line->state == LINE_DIALING)
        events = POLLOUT;
    else if (line->unsent_len > 0)
        events = POLLIN | POLLOUT;
    /* poll passes over a negative socket. */
    return (struct pollfd){.fd = line->state == LINE_DOWN ? -1 : line->socket, .events = events};
}

int64_t line_wakes(const struct line_to_server *line) {
    if (line->state == LINE_DOWN)
        return line->again;
    return line->silent_since > 0 ? line->silent_since + SILENCE_LIMIT : INT64_MAX;
}

void line_lose(struct line_to_server *line, int64_t host) {
    if (line->state != LINE_DOWN)
        close(line->socket);
    line->state = LINE_DOWN;
    line->again = host + line->back_off;
    line->back_off = line->back_off < LONGEST_BACK_OFF / 2 ? line->back_off * 2 : LONGEST_BACK_OFF;
    line->silent_since = 0;
    line->unsent_len = 0;
}

static void dial(struct line_to_server *line, int64_t host) {
    int yes = 1;
    if (line->back_off == 0)
        line->back_off = FIRST_BACK_OFF;
    line->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (line->socket < 0) {
        line->again = host + line->back_off;
        return;
    }
    /* A request waits for nothing: each is a time sample. */
    setsockopt(line->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    line->state = LINE_DIALING;
    line->silent_since = host;
    if (connect(line->socket, (const struct sockaddr *)&line->server, sizeof line->server) != 0 &&
        errno != EINPROGRESS)
        line_lose(line, host);
}

static void flush(struct line_to_server *line) {
    if (line->unsent_len == 0)
        return;
    ssize_t sent = send(line->socket, line->unsent, line->unsent_len, MSG_NOSIGNAL);
    /* An error shows when it is read from. */
    if (sent > 0) {
        line->unsent_len -= (size_t)sent;
        memmove(line->unsent, line->unsent + sent, line->unsent_len);
    }
}

bool line_go_on(struct line_to_server *line, int64_t host, short found) {
    int error = 0;
    socklen_t len = sizeof error;
    switch (line->state) {
    case LINE_DOWN:
        if (host >= line->again)
            dial(line, host);
        return false;
    case LINE_DIALING:
        if (found == 0)
            return false;
        if (getsockopt(line->socket, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
            line_lose(line, host);
            return false;
        }
        line->state = LINE_UP;
        line->silent_since = 0;
        return true;
    default:
        flush(line);
        return false;
    }
}

int line_read(struct line_to_server *line, uint8_t *bytes, size_t len) {
    ssize_t got = recv(line->socket, bytes, len, 0);
    if (got > 0) {
        line->silent_since = 0;
        line->back_off = FIRST_BACK_OFF;
        return (int)got;
    }
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : -1;
}

void line_write(struct line_to_server *line, int64_t host, const uint8_t *bytes, size_t len) {
    ssize_t sent = 0;
    if (line->state != LINE_UP)
        return;
    if (line->silent_since == 0)
        line->silent_since = host;
    if (line->unsent_len == 0)
        sent = send(line->socket, bytes, len, MSG_NOSIGNAL);
    if (sent < 0)
        sent = 0;
    /* A frame that was begun is always finished: the rest of one fits. */
    if (len - (size_t)sent <= sizeof line->unsent - line->unsent_len) {
        memcpy(line->unsent + line->unsent_len, bytes + sent, len - (size_t)sent);
        line->unsent_len += len - (size_t)sent;
    }
}

bool line_is_lost(const struct line_to_server *line, int64_t host) {
    return line->state != LINE_DOWN && line->silent_since > 0 && host - line->silent_since > SILENCE_LIMIT;
}
