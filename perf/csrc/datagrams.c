/*
 * Echo of datagrams: each socket has one in flight.  One that does not come
 * back in time is counted as lost, and the next one sent.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_DATAGRAM 65507
#define PATIENCE_NS (NS_PER_S / 5) /* after which a datagram is lost */
#define TICK_NS 20000000           /* between two looks for lost ones */

struct peer {
    int fd;
    uint64_t number; /* of the datagram in flight, which begins with it */
    uint64_t begun;
    bool waiting;
    uint64_t missing; /* datagrams that were given up and may be late */
};

static struct peer *peers;
static int timer;
static unsigned char output[MAX_DATAGRAM], input[MAX_DATAGRAM];

static void drop(struct peer *p, const char *reason)
{
    complain(p - peers, reason);
    close(p->fd);
    p->waiting = false;
}

/* What follows a datagram's number: bytes that depend on it and on the peer. */
static const unsigned char *content(const struct peer *p, uint64_t number)
{
    return pattern_at((uint64_t)(p - peers) + number);
}

static void send_next(struct peer *p)
{
    size_t size = (size_t)options.size;

    p->number++;
    p->begun = now_ns();
    p->waiting = true;
    memcpy(output, &p->number, sizeof p->number);
    memcpy(output + sizeof p->number, content(p, p->number), size - sizeof p->number);
    /* Without room for it the datagram is lost, as it may be anywhere else. */
    if (send(p->fd, output, size, MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ENOBUFS)
        drop(p, strerror(errno));
}

static void receive(struct peer *p)
{
    ssize_t n = recv(p->fd, input, sizeof input, MSG_DONTWAIT);
    uint64_t number;

    if (n < 0) {
        if (errno != EAGAIN)
            drop(p, strerror(errno));
        return;
    }
    memcpy(&number, input, sizeof number);
    if (n != options.size || number > p->number ||
        memcmp(input + sizeof number, content(p, number), (size_t)n - sizeof number) != 0) {
        drop(p, "what came back is not what was sent");
        return;
    }
    if (number < p->number || !p->waiting) {
        if (p->missing-- == 0)
            drop(p, "came back twice");
        return;
    }
    p->waiting = false;
    count(p->begun, now_ns());
    if (phase != DRAIN)
        send_next(p);
}

static void look_for_lost(void)
{
    uint64_t expirations, now = now_ns();

    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        die("timer: %s", strerror(errno));
    for (long i = 0; i < options.connections; i++) {
        struct peer *p = &peers[i];
        if (!p->waiting || now - p->begun < PATIENCE_NS)
            continue;
        lost++;
        p->missing++;
        p->waiting = false;
        if (phase != DRAIN)
            send_next(p);
    }
}

void serve(void *who, uint32_t events)
{
    (void)events; /* only those that a receive tells about were asked for */
    if (who == NULL)
        look_for_lost();
    else
        receive(who);
}

static void start_timer(void)
{
    struct timespec tick = {.tv_nsec = TICK_NS};
    struct itimerspec ticks = {.it_interval = tick, .it_value = tick};

    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0 || timerfd_settime(timer, 0, &ticks, NULL) < 0)
        die("timer: %s", strerror(errno));
    watch(EPOLL_CTL_ADD, timer, EPOLLIN, NULL);
}

void open_all(void)
{
    if (options.size < (long)sizeof(uint64_t) || options.size > MAX_DATAGRAM)
        die("--size: a datagram has from %zu to %d bytes", sizeof(uint64_t), MAX_DATAGRAM);
    if (options.depth != 1)
        die("--depth: a socket has one datagram in flight");
    peers = calloc((size_t)options.connections, sizeof *peers);
    if (peers == NULL)
        die("%s", strerror(errno));
    for (long i = 0; i < options.connections; i++) {
        peers[i].fd = connect_socket(SOCK_DGRAM, NULL, 0);
        watch(EPOLL_CTL_ADD, peers[i].fd, EPOLLIN, &peers[i]);
    }
    start_timer();
}

void begin_all(void)
{
    for (long i = 0; i < options.connections; i++)
        send_next(&peers[i]);
}

bool all_back(void)
{
    for (long i = 0; i < options.connections; i++)
        if (peers[i].waiting)
            return false;
    return true;
}

/* What is missing at the end was counted by then: it may take less long than the drain. */
void give_up(void)
{
}
