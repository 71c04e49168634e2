/*
 * Connections that are made anew for each message: connect, send it, have it
 * back, end the stream, and wait until the server has closed its side, too.  A
 * fixed number of them goes on at any time, and each counts as one message.
 */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Each closed connection keeps its address and port for a minute; with this
 * many addresses to come from, the ports do not run out. */
#define ADDRESSES 200

struct slot {
    int fd;
    uint64_t begun;  /* when its connect was, ns */
    long received;   /* bytes back on this connection */
    bool waiting;    /* a connection is under way */
};

static struct slot *slots;
static uint32_t made; /* connections so far */

static void drop(struct slot *s, const char *reason)
{
    complain(s - slots, reason);
    close(s->fd);
    s->waiting = false;
}

static void start(struct slot *s)
{
    struct sockaddr_in local = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + made++ % ADDRESSES),
    };

    *s = (struct slot){.begun = now_ns(), .waiting = true};
    /* On the loopback network the kernel answers a connect at once, unless too
     * many wait to be accepted, which the number of slots does not allow. */
    s->fd = connect_socket(SOCK_STREAM, (struct sockaddr *)&local, sizeof local);
    ssize_t n = send(s->fd, pattern_at((uint64_t)(s - slots)), (size_t)options.size,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n != options.size)
        drop(s, n < 0 ? strerror(errno) : "the message is too long for one send");
    else
        watch(EPOLL_CTL_ADD, s->fd, EPOLLIN, s);
}

static void finish(struct slot *s)
{
    if (s->received < options.size) {
        drop(s, "closed by the server before all was back");
        return;
    }
    close(s->fd);
    s->waiting = false;
    count(s->begun, now_ns());
    if (phase != DRAIN)
        start(s);
}

void serve(void *who, uint32_t events)
{
    static unsigned char input[CHUNK];
    struct slot *s = who;
    ssize_t n = recv(s->fd, input, sizeof input, MSG_DONTWAIT);

    (void)events; /* only those that a receive tells about were asked for */
    if (n < 0) {
        if (errno != EAGAIN)
            drop(s, strerror(errno));
    } else if (n == 0) {
        finish(s);
    } else if (s->received + n > options.size) {
        drop(s, "more came back than was sent");
    } else if (memcmp(input, pattern_at((uint64_t)(s - slots) + (uint64_t)s->received),
                      (size_t)n) != 0) {
        drop(s, "what came back is not what was sent");
    } else {
        s->received += n;
        if (s->received == options.size && shutdown(s->fd, SHUT_WR) < 0)
            drop(s, strerror(errno));
    }
}

void open_all(void)
{
    if (options.address.ss_family != AF_INET || options.size > CHUNK)
        die("connections made anew go over TCP, with messages of %d bytes at most", CHUNK);
    slots = calloc((size_t)options.connections, sizeof *slots);
    if (slots == NULL)
        die("%s", strerror(errno));
}

void begin_all(void)
{
    for (long i = 0; i < options.connections; i++)
        start(&slots[i]);
}

bool all_back(void)
{
    for (long i = 0; i < options.connections; i++)
        if (slots[i].waiting)
            return false;
    return true;
}

void give_up(void)
{
    for (long i = 0; i < options.connections; i++)
        if (slots[i].waiting)
            drop(&slots[i], slots[i].received < options.size ? "did not come back in time"
                                                             : "was not closed in time");
}
