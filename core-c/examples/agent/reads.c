#define _GNU_SOURCE
#include "reads.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener = -1;
static struct {
    int socket; /* 0: the place is free */
    char line[256];
    size_t len;
} askers[READS_MAX];

int reads_listen(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof here;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(listener, READS_MAX) != 0 || getsockname(listener, (struct sockaddr *)&here, &len) != 0)
        return -1;
    return ntohs(here.sin_port);
}

void reads_want(struct pollfd *places) {
    for (int at = 0; at < READS_MAX; at++)
        places[at] = (struct pollfd){.fd = askers[at].socket > 0 ? askers[at].socket : -1, .events = POLLIN};
    places[READS_MAX] = (struct pollfd){.fd = listener, .events = POLLIN};
}

static void leave(int at) {
    close(askers[at].socket);
    askers[at].socket = 0;
    askers[at].len = 0;
}

/* Answers the whole lines that have come. */
static void answer(const struct readers *readers, int at) {
    char *end;
    while ((end = memchr(askers[at].line, '\n', askers[at].len)) != NULL) {
        char text[2048];
        char *key = memchr(askers[at].line, ' ', (size_t)(end - askers[at].line));
        *end = 0;
        if (key != NULL)
            *key = 0;
        reader_answer(readers, askers[at].line, key != NULL ? key + 1 : "", text, sizeof text);
        if (send(askers[at].socket, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text)) {
            leave(at);
            return;
        }
        size_t used = (size_t)(end + 1 - askers[at].line);
        askers[at].len -= used;
        memmove(askers[at].line, end + 1, askers[at].len);
    }
}

static void hear(const struct readers *readers, int at) {
    size_t room = sizeof askers[at].line - askers[at].len;
    ssize_t got = room == 0 ? 0 : recv(askers[at].socket, askers[at].line + askers[at].len, room, 0);
    if (got > 0) {
        askers[at].len += (size_t)got;
        answer(readers, at);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        leave(at);
    }
}

static void welcome(void) {
    int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (int at = 0; at < READS_MAX && socket > 0; at++)
        if (askers[at].socket == 0) {
            askers[at].socket = socket;
            return;
        }
    if (socket >= 0)
        close(socket);
}

void reads_go_on(const struct readers *readers, const struct pollfd *places) {
    for (int at = 0; at < READS_MAX; at++)
        if (places[at].revents != 0 && askers[at].socket > 0)
            hear(readers, at);
    if (places[READS_MAX].revents != 0)
        welcome();
}
