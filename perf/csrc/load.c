/* The course of a load: warm-up, window, drain, and the report on them. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum phase phase = WARM_UP;
uint64_t errors;
uint64_t lost;

static uint64_t messages; /* completed in the window */
static int epoll;

void die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

uint64_t now_ns(void)
{
    struct timespec value;

    clock_gettime(CLOCK_MONOTONIC, &value);
    return (uint64_t)value.tv_sec * NS_PER_S + (uint64_t)value.tv_nsec;
}

void complain(long connection, const char *reason)
{
    if (errors++ < 5)
        fprintf(stderr, "load: connection %ld: %s\n", connection, reason);
}

void count(uint64_t begun, uint64_t now)
{
    if (phase != MEASURE)
        return;
    note_latency(now - begun);
    messages++;
}

void watch(int operation, int fd, uint32_t events, void *who)
{
    struct epoll_event event = {.events = events, .data.ptr = who};

    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

int connect_socket(int type, const struct sockaddr *local, socklen_t length)
{
    int family = options.address.ss_family;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int on = 1;
    int fd = socket(family, type | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket: %s", strerror(errno));
    /* The send timeout bounds the connect; it means nothing to the
     * non-blocking sends that follow. */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    /* The port is chosen at the connect, so that it need not be free towards
     * other servers, too. */
    if (local != NULL &&
        (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0 ||
         bind(fd, local, length) < 0))
        die("bind: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&options.address, options.address_length) < 0)
        die("connect: %s", strerror(errno));
    if (family == AF_INET && type == SOCK_STREAM &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        die("TCP_NODELAY: %s", strerror(errno));
    return fd;
}

/* Serves what epoll reports, until the given time at the latest. */
static void turn(uint64_t now, uint64_t until)
{
    struct epoll_event events[64];
    int timeout_ms = until > now ? (int)((until - now) / 1000000 + 1) : 0;
    int n = epoll_wait(epoll, events, 64, timeout_ms);

    if (n < 0 && errno != EINTR)
        die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++)
        serve(events[i].data.ptr, events[i].events);
}

/* Runs until the given time, or until nothing is on its way any more. */
static void run_until(uint64_t until)
{
    uint64_t now;

    while ((now = now_ns()) < until) {
        /* Outside the drain each connection always waits for something, so
         * only those with errors are left if none does. */
        if ((phase == DRAIN || errors > 0) && all_back())
            return;
        turn(now, until);
    }
}

static void report(const struct edge *start, const struct edge *end)
{
    double seconds = (double)(end->time_ns - start->time_ns) / 1e9;
    double cpu_s = (double)(end->cpu_ns - start->cpu_ns) / 1e9;

    printf("{\"messages\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"seconds\": %.6f, "
           "\"cpu_seconds\": %.9f, \"user_seconds\": %.2f, \"system_seconds\": %.2f, "
           "\"p50_us\": %.2f, \"p99_us\": %.2f}\n",
           messages, lost, seconds, cpu_s, end->user_s - start->user_s,
           end->system_s - start->system_s, latency_us(0.50), latency_us(0.99));
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    find_server();
    fill_pattern();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll: %s", strerror(errno));
    open_all();

    uint64_t now = now_ns();
    begin_all();
    run_until(now + (uint64_t)(options.warmup * 1e9));

    phase = MEASURE;
    struct edge start = read_edge();
    run_until(start.time_ns + (uint64_t)(options.seconds * 1e9));
    struct edge end = read_edge();

    phase = DRAIN;
    run_until(end.time_ns + PATIENCE_S * NS_PER_S);
    give_up();
    if (messages == 0 && errors == 0)
        complain(0, "no message came back in the window");
    report(&start, &end);
    return errors > 0 ? 1 : 0;
}
