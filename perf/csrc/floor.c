/*
 * The floor: an echo server with nothing but io_uring in it.
 *
 * It uses the ring the way a fast event loop would (one task, deferred task
 * work, multishot accept and receive, a ring of provided buffers, one system
 * call a turn) and has no callbacks, tasks or objects.  What a loop costs
 * beyond this is its own.
 *
 * It listens on a free port of 127.0.0.1, or on the Unix path given, prints
 * the port or the path, and runs until it is killed.
 */
#define _GNU_SOURCE
#include "ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024
#define MAX_FD 8192
#define NONE (-1)

enum operation { ACCEPT, RECEIVE, SEND };

/* Received buffers wait here, in order, to be sent back.  One send at a time
 * is in flight on a connection: two could overtake each other. */
struct connection {
    int first, last; /* buffers; NONE when nothing waits */
    bool receiving;  /* the receive is armed, or will be once there are buffers */
    bool failed;     /* a send failed: what arrives is thrown away */
};

static unsigned lengths[BUFFERS]; /* bytes received into each buffer */
static int nexts[BUFFERS];        /* the buffer to send after it, or NONE */
static struct connection connections[MAX_FD];
static int starved[MAX_FD]; /* connections whose receive found no buffer */
static int starving;
static int listener;

static void mark(struct io_uring_sqe *sqe, enum operation operation, int fd)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)operation << 32 | (uint32_t)fd);
}

static void arm_accept(void)
{
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    mark(sqe, ACCEPT, listener);
}

static void arm_receive(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    mark(sqe, RECEIVE, fd);
}

/* Sends the first buffer that waits; the kernel goes on until all of it went. */
static void send_first(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    int buffer = connections[fd].first;

    io_uring_prep_send(sqe, fd, memory[buffer], lengths[buffer], MSG_WAITALL | MSG_NOSIGNAL);
    mark(sqe, SEND, fd);
}

static void close_when_done(int fd)
{
    struct connection *c = &connections[fd];

    if (!c->receiving && c->first == NONE)
        close(fd);
}

static void on_accept(const struct io_uring_cqe *cqe)
{
    if (cqe->res < 0)
        die("accept", -cqe->res);
    if (cqe->res >= MAX_FD)
        die("accept", EMFILE);
    connections[cqe->res] = (struct connection){.first = NONE, .last = NONE, .receiving = true};
    arm_receive(cqe->res);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        arm_accept();
}

static void append(int fd, int buffer, unsigned length)
{
    struct connection *c = &connections[fd];

    lengths[buffer] = length;
    nexts[buffer] = NONE;
    if (c->first != NONE) {
        nexts[c->last] = buffer;
        c->last = buffer;
    } else {
        c->first = c->last = buffer;
        send_first(fd);
    }
}

static void on_receive(int fd, const struct io_uring_cqe *cqe)
{
    struct connection *c = &connections[fd];

    if (cqe->flags & IORING_CQE_F_BUFFER) {
        int buffer = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        if (cqe->res > 0 && !c->failed)
            append(fd, buffer, (unsigned)cqe->res);
        else
            give_back(buffer);
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    if (cqe->res == -ENOBUFS) {
        starved[starving++] = fd;
    } else if (cqe->res > 0) {
        arm_receive(fd);
    } else {
        c->receiving = false;
        close_when_done(fd);
    }
}

static void on_send(int fd, const struct io_uring_cqe *cqe)
{
    struct connection *c = &connections[fd];

    if (cqe->res != (int)lengths[c->first]) {
        c->failed = true;
        shutdown(fd, SHUT_RDWR); /* which ends the receive */
    }
    do {
        int buffer = c->first;
        c->first = nexts[buffer];
        give_back(buffer);
    } while (c->failed && c->first != NONE);
    if (c->first != NONE)
        send_first(fd);
    else
        close_when_done(fd);
}

static void dispatch(const struct io_uring_cqe *cqe)
{
    int fd = (int)(uint32_t)cqe->user_data;

    switch ((enum operation)(cqe->user_data >> 32)) {
    case ACCEPT: on_accept(cqe); break;
    case RECEIVE: on_receive(fd, cqe); break;
    case SEND: on_send(fd, cqe); break;
    }
}

/* Makes the buffers given back known, and feeds who waited for one. */
static void end_turn(void)
{
    if (publish() == 0)
        return;
    while (starving > 0)
        arm_receive(starved[--starving]);
}

static void run(void)
{
    arm_accept();
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;

        enter();
        io_uring_for_each_cqe(&ring, head, cqe) {
            dispatch(cqe);
            count++;
        }
        io_uring_cq_advance(&ring, count);
        end_turn();
    }
}

static void listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        die(path, ENAMETOOLONG);
    strcpy(address.sun_path, path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, BACKLOG) < 0)
        die(path, errno);
    printf("%s\n", path);
}

static void listen_tcp(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* What is accepted inherits TCP_NODELAY. */
    if (listener < 0 || setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        die("127.0.0.1", errno);
    printf("%d\n", ntohs(address.sin_port));
}

int main(int argc, char **argv)
{
    if (argc > 3 || (argc > 1 && (argc < 3 || strcmp(argv[1], "--unix") != 0))) {
        fputs("usage: floor [--unix PATH]\n", stderr);
        return 2;
    }
    open_ring();
    if (argc == 3)
        listen_unix(argv[2]);
    else
        listen_tcp();
    fflush(stdout);
    run();
}
