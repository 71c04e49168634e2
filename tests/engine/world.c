#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SEND_BUFFER 8192 /* so that sends often find their socket full */
#define PATIENCE 60000   /* ms that bytes may take over the loopback */

struct pair pairs[PAIRS];
atomic_ulong byte_count;

static unsigned first_seed, seed;
static pthread_t peer;
static atomic_bool active;

void plant(unsigned number)
{
    first_seed = seed = number;
}

int below(int limit)
{
    return rand_r(&seed) % limit;
}

noreturn void failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "seed %u, %s, line %d: not %s (%s)\n", first_seed, file, line, condition, strerror(errno));
    abort();
}

double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static char byte_at(int number, uint64_t position)
{
    return (char)(number * 31 + (int)(position % 251));
}

static void fill(char *bytes, int number, uint64_t position, int size)
{
    for (int i = 0; i < size; i++)
        bytes[i] = byte_at(number, position + (uint64_t)i);
}

char *bytes_from(int number, uint64_t position, int size)
{
    char *bytes = malloc((size_t)size);
    CHECK(bytes);
    fill(bytes, number, position, size);
    return bytes;
}

/* Closed without a TIME_WAIT, of which a port has only so many. */
static void make_tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    static int gate = -1;
    if (gate < 0) {
        gate = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(bind(gate, (struct sockaddr *)&address, size) == 0 && listen(gate, 10) == 0);
    }
    CHECK(getsockname(gate, (struct sockaddr *)&address, &size) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fds[0], (struct sockaddr *)&address, size) == 0 || errno == EINTR); /* then it goes on by itself */
    while ((fds[1] = accept4(gate, NULL, NULL, SOCK_NONBLOCK)) < 0)
        CHECK(errno == EINTR);
    for (int end = 0; end < 2; end++)
        CHECK(setsockopt(fds[end], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
}

void make_pair(int number)
{
    struct pair *pair = &pairs[number];
    int size = SEND_BUFFER;
    if (number % 2)
        make_tcp_pair(pair->fds);
    else
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair->fds) == 0);
    CHECK(setsockopt(pair->fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
    pair->generation++;
    pair->sent = pair->received = 0;
}

void close_pair(int number)
{
    close(pairs[number].fds[0]);
    close(pairs[number].fds[1]);
}

void take_bytes(int number, const char *bytes, int count)
{
    struct pair *pair = &pairs[number];
    for (int i = 0; i < count; i++)
        CHECK(bytes[i] == byte_at(number, pair->received + (uint64_t)i));
    pair->received += (uint64_t)count;
    byte_count += (unsigned long)count;
    CHECK(pair->received <= pair->sent + LARGEST); /* one send may not have been answered for yet */
}

void take_the_rest(int number)
{
    struct pair *pair = &pairs[number];
    static char bytes[LARGEST];
    double latest = now() + PATIENCE / 1000.0;
    for (;;) {
        int waiting; /* in the sender's buffer: TCP may be slow to send again what the receiver had no room for */
        CHECK(ioctl(pair->fds[0], SIOCOUTQ, &waiting) == 0);
        ssize_t count = recv(pair->fds[1], bytes, sizeof(bytes), MSG_DONTWAIT);
        if (count > 0)
            take_bytes(number, bytes, (int)count);
        else if (pair->received >= pair->sent)
            break;
        else
            CHECK(waiting && now() < latest);
    }
    CHECK(pair->received == pair->sent);
}

void await(int fd, short events)
{
    struct pollfd awaited = {.fd = fd, .events = events};
    int found;
    while ((found = poll(&awaited, 1, PATIENCE)) < 0)
        CHECK(errno == EINTR);
    CHECK(found == 1);
}

void send_byte(int number)
{
    struct pair *pair = &pairs[number];
    char byte = byte_at(number, pair->sent);
    await(pair->fds[0], POLLOUT); /* TCP has no room before an acknowledgement */
    CHECK(send(pair->fds[0], &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1);
    pair->sent++;
}

/* Sends what the socket takes. */
static void feed(int number, unsigned *own_seed)
{
    struct pair *pair = &pairs[number];
    static char bytes[LARGEST];
    int size = 1 + rand_r(own_seed) % (rand_r(own_seed) % 8 ? 200 : LARGEST);
    fill(bytes, number, pair->sent, size);
    ssize_t count = send(pair->fds[0], bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0)
        pair->sent += (uint64_t)count;
}

static void eat(int number)
{
    static char bytes[LARGEST];
    ssize_t count = recv(pairs[number].fds[1], bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count > 0)
        take_bytes(number, bytes, (int)count);
}

/* Acts at moments that nobody knows. */
static void *act(void *unused)
{
    unsigned own_seed = first_seed;
    (void)unused;
    while (active) {
        int number = rand_r(&own_seed) % OURS;
        if (number < FED)
            feed(number, &own_seed);
        else
            eat(number);
        usleep((useconds_t)(rand_r(&own_seed) % 200));
    }
    return NULL;
}

void start_peer(void)
{
    active = true;
    CHECK(pthread_create(&peer, NULL, act, NULL) == 0);
}

void stop_peer(void)
{
    active = false;
    CHECK(pthread_join(peer, NULL) == 0);
}
