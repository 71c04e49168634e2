#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES 1024 /* of the submission queue */

struct io_uring ring;
unsigned char (*memory)[BUFFER_SIZE];

static struct io_uring_buf_ring *free_buffers;
static int returned; /* buffers given back and not yet known to the kernel */

void die(const char *what, int error)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
    exit(1);
}

struct io_uring_sqe *next_sqe(void)
{
    struct io_uring_sqe *sqe;

    while ((sqe = io_uring_get_sqe(&ring)) == NULL) {
        int result = io_uring_submit(&ring);
        if (result < 0)
            die("submit", -result);
    }
    return sqe;
}

void give_back(int buffer)
{
    io_uring_buf_ring_add(free_buffers, memory[buffer], BUFFER_SIZE, (unsigned short)buffer,
                          io_uring_buf_ring_mask(BUFFERS), returned++);
}

int publish(void)
{
    int count = returned;

    io_uring_buf_ring_advance(free_buffers, count);
    returned = 0;
    return count;
}

void enter(void)
{
    int result = io_uring_submit_and_wait(&ring, 1);

    if (result < 0 && result != -EINTR)
        die("submit and wait", -result);
}

static void provide_buffers(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct io_uring_buf_reg registration = {.ring_entries = BUFFERS, .bgid = GROUP};

    free_buffers = aligned_alloc(page, page); /* holds 128 entries of 16 bytes */
    memory = aligned_alloc(page, sizeof *memory * BUFFERS);
    if (free_buffers == NULL || memory == NULL)
        die("buffers", ENOMEM);
    registration.ring_addr = (uintptr_t)free_buffers;
    int result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0)
        die("buffers", -result);
    io_uring_buf_ring_init(free_buffers);
    for (int buffer = 0; buffer < BUFFERS; buffer++)
        give_back(buffer);
    publish();
}

void open_ring(void)
{
    int result = io_uring_queue_init(ENTRIES, &ring,
                                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

    if (result < 0)
        die("ring", -result);
    result = io_uring_register_ring_fd(&ring);
    if (result < 0)
        die("ring descriptor", -result);
    provide_buffers();
}
