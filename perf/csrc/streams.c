/* Echo over connections that stay: each has a fixed number of messages in flight. */
#include "channel.h"
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

struct connection {
    struct channel channel;
    bool dropped;
    uint64_t origin;   /* where in the pattern its stream begins */
    uint64_t due;      /* bytes of the messages begun so far */
    uint64_t sent;     /* bytes that went out */
    uint64_t received; /* bytes that came back and were right */
    uint64_t *begun;   /* when message m was begun, ns, at m modulo the depth */
    bool blocked;      /* waits until the socket takes more */
};

static struct connection *connections;

static void drop(struct connection *c, const char *reason)
{
    complain(c - connections, reason);
    channel_close(&c->channel);
    c->dropped = true;
}

static void send_due(struct connection *c)
{
    bool blocked = false;

    while (c->sent < c->due && !blocked) {
        uint64_t left = c->due - c->sent;
        ssize_t n = channel_send(&c->channel, pattern_at(c->origin + c->sent),
                                 left < CHUNK ? left : CHUNK);
        if (n >= 0) {
            c->sent += (uint64_t)n;
        } else if (errno == EAGAIN) {
            blocked = true;
        } else {
            drop(c, strerror(errno));
            return;
        }
    }
    if (blocked != c->blocked)
        watch(EPOLL_CTL_MOD, c->channel.fd, EPOLLIN | (blocked ? (uint32_t)EPOLLOUT : 0), c);
    c->blocked = blocked;
}

/* Accounts for the messages from..to that are complete, and begins another one
 * for each of them unless the load is ending. */
static void complete(struct connection *c, uint64_t from, uint64_t to)
{
    uint64_t now = now_ns();

    for (uint64_t m = from; m < to; m++) {
        uint64_t *begun = &c->begun[m % (uint64_t)options.depth];
        count(*begun, now);
        *begun = now;
    }
    if (phase != DRAIN)
        c->due += (to - from) * (uint64_t)options.size;
}

static void receive(struct connection *c)
{
    static unsigned char input[CHUNK];
    uint64_t size = (uint64_t)options.size;
    ssize_t n = channel_receive(&c->channel, input, sizeof input);

    if (n < 0) {
        if (errno != EAGAIN)
            drop(c, strerror(errno));
        return;
    }
    if (n == 0) {
        drop(c, "closed by the server");
        return;
    }
    if (c->received + (uint64_t)n > c->sent) {
        drop(c, "more came back than was sent");
        return;
    }
    if (memcmp(input, pattern_at(c->origin + c->received), (size_t)n) != 0) {
        drop(c, "what came back is not what was sent");
        return;
    }
    uint64_t before = c->received / size;
    c->received += (uint64_t)n;
    uint64_t after = c->received / size;
    if (after > before) {
        complete(c, before, after);
        send_due(c);
    }
}

void serve(void *who, uint32_t events)
{
    struct connection *c = who;

    if (events & EPOLLOUT)
        send_due(c);
    if (events & ~(uint32_t)EPOLLOUT && !c->dropped) {
        do
            receive(c);
        while (!c->dropped && channel_pending(&c->channel));
    }
}

static void open_one(struct connection *c)
{
    c->origin = (uint64_t)(c - connections);
    c->begun = calloc((size_t)options.depth, sizeof *c->begun);
    if (c->begun == NULL)
        die("%s", strerror(errno));
    c->channel.fd = connect_socket(SOCK_STREAM, NULL, 0);
    channel_open(&c->channel);
    int flags = fcntl(c->channel.fd, F_GETFL);
    if (flags < 0 || fcntl(c->channel.fd, F_SETFL, flags | O_NONBLOCK) < 0)
        die("fcntl: %s", strerror(errno));
    watch(EPOLL_CTL_ADD, c->channel.fd, EPOLLIN, c);
}

void open_all(void)
{
    connections = calloc((size_t)options.connections, sizeof *connections);
    if (connections == NULL)
        die("%s", strerror(errno));
    for (long i = 0; i < options.connections; i++)
        open_one(&connections[i]);
}

void begin_all(void)
{
    for (long i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        uint64_t now = now_ns();
        for (long m = 0; m < options.depth; m++)
            c->begun[m] = now;
        c->due = (uint64_t)options.depth * (uint64_t)options.size;
        send_due(c);
    }
}

static bool waiting(const struct connection *c)
{
    return !c->dropped && c->received < c->due;
}

bool all_back(void)
{
    for (long i = 0; i < options.connections; i++)
        if (waiting(&connections[i]))
            return false;
    return true;
}

void give_up(void)
{
    for (long i = 0; i < options.connections; i++)
        if (waiting(&connections[i]))
            drop(&connections[i], "did not come back in time");
}
