/*
 * Load generator for an echo server on this machine.
 *
 * One thread, epoll, non-blocking sockets.  Every connection keeps a fixed
 * number of messages in flight (a closed loop) and checks every byte that comes
 * back.  After a warm-up, one window is measured: the messages completed in it,
 * their latency, and the CPU time that the server's process spent in exactly
 * that window.  The result is one line of JSON on standard output.
 *
 * Exit code: 0 when every message sent came back intact, 1 when one did not,
 * 2 when the load could not be run.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

/* Seconds a connect may take, and seconds the messages still in flight at the
 * window's end may take to come back. */
#define PATIENCE_S 5

/* Bytes that one send or one receive moves at most. */
#define CHUNK (256 * 1024)

/* The bytes sent are a repeating random pattern.  Its length is a prime, so
 * that a piece lost, repeated or moved by a round number of bytes shows. */
#define PERIOD 4093

#define MAX_CONNECTIONS 4000 /* below PERIOD: each has a start of its own */
#define MAX_SIZE (16 * 1024 * 1024)
#define MAX_DEPTH 1024
#define MAX_WARMUP 60.0
#define MAX_SECONDS 300.0

struct options {
    struct sockaddr_storage address;
    socklen_t address_length; /* 0 until an address was given */
    long port, connections, size, depth, pid;
    double warmup, seconds;
};

struct connection {
    int fd;            /* -1 once it was dropped */
    uint64_t origin;   /* where in the pattern its stream begins */
    uint64_t due;      /* bytes of the messages begun so far */
    uint64_t sent;     /* bytes the kernel took */
    uint64_t received; /* bytes that came back and were right */
    uint64_t *begun;   /* when message m was begun, ns, at m modulo the depth */
    bool blocked;      /* waits until the socket takes more */
};

enum phase { WARM_UP, MEASURE, DRAIN };

/* What is read at an edge of the window. */
struct edge {
    uint64_t wall_ns; /* since 1970 */
    uint64_t time_ns; /* monotonic */
    uint64_t cpu_ns;  /* of the server */
    double user_s, system_s;
};

/* A log-linear histogram: 64 buckets to each power of two, so a value is known
 * to within 1.6 %, and any number of nanoseconds has its bucket. */
#define BUCKETS (58 * 64 + 64)
static uint64_t histogram[BUCKETS];

static struct options options;
static struct connection *connections;
static unsigned char pattern[PERIOD + CHUNK];
static int epoll;
static clockid_t server_clock;
static enum phase phase = WARM_UP;
static uint64_t messages; /* completed in the window */
static uint64_t errors;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec value;

    if (clock_gettime(clock, &value) < 0)
        die("%s", clock == server_clock ? "the server is gone" : strerror(errno));
    return (uint64_t)value.tv_sec * NS_PER_S + (uint64_t)value.tv_nsec;
}

static unsigned bucket_of(uint64_t value)
{
    if (value < 128)
        return (unsigned)value;
    unsigned shift = 57 - (unsigned)__builtin_clzll(value);
    return shift * 64 + (unsigned)(value >> shift);
}

/* The middle of a bucket's values. */
static double bucket_value(unsigned bucket)
{
    if (bucket < 128)
        return bucket;
    unsigned shift = bucket / 64 - 1;
    uint64_t low = (uint64_t)(bucket - shift * 64) << shift;
    return (double)low + (double)(UINT64_C(1) << shift) / 2;
}

/* The latency in microseconds that a share of the messages did not exceed. */
static double percentile_us(double share)
{
    uint64_t seen = 0;

    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > 0 && (double)seen >= share * (double)messages)
            return bucket_value(bucket) / 1e3;
    }
    return 0;
}

/* Gives a connection up; the first ones are told about, all are counted. */
static void drop(struct connection *c, const char *reason)
{
    if (errors++ < 5)
        fprintf(stderr, "load: connection %td: %s (%" PRIu64 " bytes sent, %" PRIu64 " back)\n",
                c - connections, reason, c->sent, c->received);
    close(c->fd);
    c->fd = -1;
}

static void watch(struct connection *c, int operation, bool blocked)
{
    struct epoll_event event = {
        .events = EPOLLIN | (blocked ? (uint32_t)EPOLLOUT : 0),
        .data.ptr = c,
    };

    if (epoll_ctl(epoll, operation, c->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
    c->blocked = blocked;
}

static void send_due(struct connection *c)
{
    bool blocked = false;

    while (c->sent < c->due && !blocked) {
        uint64_t left = c->due - c->sent;
        ssize_t n = send(c->fd, pattern + (c->origin + c->sent) % PERIOD,
                         left < CHUNK ? left : CHUNK, MSG_NOSIGNAL);
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
        watch(c, EPOLL_CTL_MOD, blocked);
}

/* Accounts for the messages from..to that are complete, and begins another one
 * for each of them unless the load is ending. */
static void complete(struct connection *c, uint64_t from, uint64_t to)
{
    uint64_t now = read_clock(CLOCK_MONOTONIC);

    for (uint64_t m = from; m < to; m++) {
        uint64_t *begun = &c->begun[m % (uint64_t)options.depth];
        if (phase == MEASURE) {
            histogram[bucket_of(now - *begun)]++;
            messages++;
        }
        *begun = now;
    }
    if (phase != DRAIN)
        c->due += (to - from) * (uint64_t)options.size;
}

static void receive(struct connection *c)
{
    static unsigned char input[CHUNK];
    uint64_t size = (uint64_t)options.size;
    ssize_t n = recv(c->fd, input, sizeof input, 0);

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
    if (memcmp(input, pattern + (c->origin + c->received) % PERIOD, (size_t)n) != 0) {
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

static void connect_one(struct connection *c)
{
    int family = options.address.ss_family;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int on = 1;

    c->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    /* The send timeout bounds the connect; it means nothing to the
     * non-blocking sends that follow. */
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (struct sockaddr *)&options.address, options.address_length) < 0)
        die("connect: %s", strerror(errno));
    if (family == AF_INET &&
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        die("TCP_NODELAY: %s", strerror(errno));
}

static void set_non_blocking(struct connection *c)
{
    int flags = fcntl(c->fd, F_GETFL);

    if (flags < 0 || fcntl(c->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        die("fcntl: %s", strerror(errno));
}

static void open_connections(void)
{
    connections = calloc((size_t)options.connections, sizeof *connections);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (connections == NULL || epoll < 0)
        die("%s", strerror(errno));
    for (long i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        c->origin = (uint64_t)i;
        c->begun = calloc((size_t)options.depth, sizeof *c->begun);
        if (c->begun == NULL)
            die("%s", strerror(errno));
        connect_one(c);
        set_non_blocking(c);
        watch(c, EPOLL_CTL_ADD, false);
    }
}

/* Puts the first messages of every connection on their way. */
static void begin(void)
{
    for (long i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        uint64_t now = read_clock(CLOCK_MONOTONIC);
        for (long m = 0; m < options.depth; m++)
            c->begun[m] = now;
        c->due = (uint64_t)options.depth * (uint64_t)options.size;
        send_due(c);
    }
}

/* The number of connections that still wait for something to come back. */
static long waiting(void)
{
    long count = 0;

    for (long i = 0; i < options.connections; i++)
        if (connections[i].fd >= 0 && connections[i].received < connections[i].due)
            count++;
    return count;
}

/* The split of the server's CPU time is what the kernel estimates from its
 * clock ticks; the sum of both is known much better from the CPU clock. */
static void read_split(struct edge *edge)
{
    char path[64], line[1024];
    unsigned long user, system;

    snprintf(path, sizeof path, "/proc/%ld/stat", options.pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        die("%s: %s", path, strerror(errno));
    fclose(file);
    /* The second field is the program's name in parentheses, and may hold
     * anything; what follows its last parenthesis is plain. */
    char *rest = strrchr(line, ')');
    if (rest == NULL ||
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die("%s: unknown format", path);
    double ticks = (double)sysconf(_SC_CLK_TCK);
    edge->user_s = (double)user / ticks;
    edge->system_s = (double)system / ticks;
}

static struct edge read_edge(void)
{
    struct edge edge;

    read_split(&edge);
    edge.wall_ns = read_clock(CLOCK_REALTIME);
    edge.time_ns = read_clock(CLOCK_MONOTONIC);
    edge.cpu_ns = read_clock(server_clock);
    return edge;
}

/* Serves what epoll reports, until the given time at the latest. */
static void turn(uint64_t now, uint64_t until)
{
    struct epoll_event events[64];
    int timeout_ms = until > now ? (int)((until - now) / 1000000 + 1) : 0;
    int n = epoll_wait(epoll, events, 64, timeout_ms);

    if (n < 0 && errno != EINTR)
        die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            send_due(c);
        if (c->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
            receive(c);
    }
}

/* Runs until the given time, or until nothing is on its way any more. */
static void run_until(uint64_t until)
{
    uint64_t now;

    while ((now = read_clock(CLOCK_MONOTONIC)) < until) {
        /* Outside the drain each connection always waits for something, so
         * only dropped ones are left if none does. */
        if ((phase == DRAIN || errors > 0) && waiting() == 0)
            return;
        turn(now, until);
    }
}

static void report(const struct edge *start, const struct edge *end)
{
    double seconds = (double)(end->time_ns - start->time_ns) / 1e9;
    double cpu_s = (double)(end->cpu_ns - start->cpu_ns) / 1e9;

    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"rate\": %.1f, "
           "\"p50_us\": %.2f, \"p99_us\": %.2f, \"errors\": %" PRIu64 ", "
           "\"window_start\": %.6f, \"window_end\": %.6f, "
           "\"server_cpu_us_per_message\": %.4f, \"server_cpu_seconds\": %.9f, "
           "\"server_user_seconds\": %.2f, \"server_system_seconds\": %.2f}\n",
           messages, seconds, messages > 0 ? (double)messages / seconds : 0,
           percentile_us(0.50), percentile_us(0.99), errors,
           (double)start->wall_ns / 1e9, (double)end->wall_ns / 1e9,
           messages > 0 ? cpu_s / (double)messages * 1e6 : 0, cpu_s,
           end->user_s - start->user_s, end->system_s - start->system_s);
}

static double number(const char *name, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= low && value <= high))
        die("--%s: %s is not a number from %g to %.0f", name, text, low, high);
    return value;
}

static void set_unix_path(const char *path)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&options.address;

    if (strlen(path) >= sizeof address->sun_path)
        die("--unix: the path is too long");
    address->sun_family = AF_UNIX;
    strcpy(address->sun_path, path);
    options.address_length = sizeof *address;
}

/* Only the loopback network is accepted: the server's CPU clock is read here,
 * and this program is not meant to load any other machine. */
static void set_host(const char *host, long port)
{
    struct sockaddr_in *address = (struct sockaddr_in *)&options.address;

    if (inet_pton(AF_INET, host, &address->sin_addr) != 1 ||
        ntohl(address->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
        die("--host: %s is not an IPv4 address of the loopback network", host);
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    options.address_length = sizeof *address;
}

static void __attribute__((noreturn)) usage(int status)
{
    fputs("usage: load (--port N [--host 127.0.0.1] | --unix PATH) --pid SERVER\n"
          "            [--connections 1] [--size 100] [--depth 1]\n"
          "            [--warmup 1.0] [--seconds 3.0]\n"
          "size in bytes, depth in messages in flight on each connection\n",
          status == 0 ? stdout : stderr);
    exit(status);
}

static void read_option(int option, const char *name, const char **host)
{
    switch (option) {
    case 'H': *host = optarg; break;
    case 'P': options.port = (long)number(name, optarg, 1, 65535); break;
    case 'u': set_unix_path(optarg); break;
    case 'p': options.pid = (long)number(name, optarg, 1, 4194304); break;
    case 'c': options.connections = (long)number(name, optarg, 1, MAX_CONNECTIONS); break;
    case 's': options.size = (long)number(name, optarg, 1, MAX_SIZE); break;
    case 'd': options.depth = (long)number(name, optarg, 1, MAX_DEPTH); break;
    case 'w': options.warmup = number(name, optarg, 0, MAX_WARMUP); break;
    case 't': options.seconds = number(name, optarg, 0.01, MAX_SECONDS); break;
    case 'h': usage(0);
    default: usage(2);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'H'},        {"port", required_argument, NULL, 'P'},
        {"unix", required_argument, NULL, 'u'},        {"pid", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
        {"depth", required_argument, NULL, 'd'},       {"warmup", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 't'},     {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *host = "127.0.0.1";
    int option, index = 0;

    options = (struct options){
        .connections = 1, .size = 100, .depth = 1, .warmup = 1.0, .seconds = 3.0};
    while ((option = getopt_long(argc, argv, "", known, &index)) != -1)
        read_option(option, known[index].name, &host);
    if (optind < argc || options.pid == 0)
        usage(2);
    if ((options.port != 0) == (options.address_length != 0))
        usage(2);
    if (options.port != 0)
        set_host(host, options.port);
    if (clock_getcpuclockid((pid_t)options.pid, &server_clock) != 0)
        die("--pid: there is no process %ld", options.pid);
}

static void fill_pattern(void)
{
    uint32_t state = 2463534242;

    for (size_t i = 0; i < PERIOD; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        pattern[i] = (unsigned char)(state >> 24);
    }
    for (size_t i = PERIOD; i < sizeof pattern; i++)
        pattern[i] = pattern[i - PERIOD];
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    fill_pattern();
    open_connections();

    uint64_t now = read_clock(CLOCK_MONOTONIC);
    begin();
    run_until(now + (uint64_t)(options.warmup * 1e9));

    phase = MEASURE;
    struct edge start = read_edge();
    run_until(start.time_ns + (uint64_t)(options.seconds * 1e9));
    struct edge end = read_edge();

    phase = DRAIN;
    run_until(end.time_ns + PATIENCE_S * NS_PER_S);
    for (long i = 0; i < options.connections; i++)
        if (connections[i].fd >= 0 && connections[i].received < connections[i].due)
            drop(&connections[i], "did not come back in time");
    if (messages == 0 && errors == 0) {
        fputs("load: no message came back in the window\n", stderr);
        errors++;
    }
    report(&start, &end);
    return errors > 0 ? 1 : 0;
}
