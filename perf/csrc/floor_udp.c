/*
 * The floor for datagrams: an echo server with nothing but io_uring in it, by
 * one multishot receive and a send for each datagram.
 *
 * It serves on a free port of 127.0.0.1, prints it, and runs until it is killed.
 */
#define _GNU_SOURCE
#include "ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>

#define RECEIVE UINT64_MAX /* marks the receive; a send is marked by its buffer */

static int server;
static bool starved; /* the receive ended because no buffer was free */
static struct msghdr shape = {.msg_namelen = sizeof(struct sockaddr_in)};
static struct msghdr answers[BUFFERS]; /* the one sent from each buffer */
static struct iovec payloads[BUFFERS];

static void arm_receive(void)
{
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_recvmsg_multishot(sqe, server, &shape, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data64(sqe, RECEIVE);
    starved = false;
}

/* Sends what a buffer holds to where it came from. */
static void answer(unsigned buffer, int length)
{
    struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(memory[buffer], length, &shape);

    if (out == NULL)
        die("receive", EPROTO);
    payloads[buffer] = (struct iovec){
        .iov_base = io_uring_recvmsg_payload(out, &shape),
        .iov_len = io_uring_recvmsg_payload_length(out, length, &shape),
    };
    answers[buffer] = (struct msghdr){
        .msg_name = io_uring_recvmsg_name(out),
        .msg_namelen = out->namelen,
        .msg_iov = &payloads[buffer],
        .msg_iovlen = 1,
    };
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_sendmsg(sqe, server, &answers[buffer], 0);
    io_uring_sqe_set_data64(sqe, buffer);
}

static void on_receive(const struct io_uring_cqe *cqe)
{
    starved = cqe->res == -ENOBUFS;
    if (cqe->res < 0 && !starved)
        die("receive", -cqe->res);
    if (!starved)
        answer(cqe->flags >> IORING_CQE_BUFFER_SHIFT, cqe->res);
    if (!starved && !(cqe->flags & IORING_CQE_F_MORE))
        arm_receive();
}

static void run(void)
{
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;

        if (publish() > 0 && starved)
            arm_receive();
        enter();
        io_uring_for_each_cqe(&ring, head, cqe) {
            if (cqe->user_data == RECEIVE)
                on_receive(cqe);
            else
                give_back((int)cqe->user_data);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}

int main(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    open_ring();
    server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (server < 0 || bind(server, (struct sockaddr *)&address, length) < 0 ||
        getsockname(server, (struct sockaddr *)&address, &length) < 0)
        die("127.0.0.1", errno);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    arm_receive();
    run();
}
