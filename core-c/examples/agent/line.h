/* The stream to the server: a TCP connection that is made again whenever it is lost, and never waited for. */
#ifndef LINE_H
#define LINE_H

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum line_state { LINE_DOWN, LINE_DIALING, LINE_UP };

struct line_to_server {
    struct sockaddr_in server;
    enum line_state state;
    int socket;
    /* While it is down: when it is dialed again, by the host's clock. Back-off so far. */
    int64_t again, back_off;
    /* Since when a request is unanswered, by the host's clock; 0: none is. */
    int64_t silent_since;
    /* What the socket didn't take yet. */
    uint8_t unsent[8192];
    size_t unsent_len;
};

/* What to poll for; and when at the latest something is to be done, by the host's clock. */
struct pollfd line_wants(const struct line_to_server *line);
int64_t line_wakes(const struct line_to_server *line);

/* Goes on with what poll has found (0: nothing). True where the connection was made now. */
bool line_go_on(struct line_to_server *line, int64_t host, short found);

/* Reads what has come; 0: nothing; -1: the connection is lost. */
int line_read(struct line_to_server *line, uint8_t *bytes, size_t len);

/* Writes a frame at once, or keeps it; where there is no room it is dropped, and the agent asks again. */
void line_write(struct line_to_server *line, int64_t host, const uint8_t *bytes, size_t len);

/* Whether it was given up: a server that doesn't answer, a peer that has closed. */
bool line_is_lost(const struct line_to_server *line, int64_t host);

/* Closes it; it is dialed again later. */
void line_lose(struct line_to_server *line, int64_t host);

#endif
