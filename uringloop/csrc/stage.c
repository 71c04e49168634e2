/* Staging: each function writes one submission entry. Nothing here enters the kernel, except ul_cancel(). */
#include "engine.h"

#include <sys/socket.h>

#define FIRST_CAPACITY 64
#define MOST_TRIES 1000 /* to cancel one operation; a bound against traffic that never lets up */
#define WORKER_PATIENCE 0.01 /* seconds, in each try, for a kernel thread, which gives up as soon as it is told */

void *ul_grow(void *array, unsigned *capacity, size_t item_size)
{
    unsigned doubled = *capacity ? *capacity * 2 : FIRST_CAPACITY;
    void *grown = realloc(array, doubled * item_size);
    if (grown)
        *capacity = doubled;
    return grown;
}

struct io_uring_sqe *ul_stage(struct ul_engine *e, uint8_t opcode, uint64_t key, int fd)
{
    if (e->staged_tail == e->staged_capacity) {
        struct io_uring_sqe *grown = ul_grow(e->staged, &e->staged_capacity, sizeof(*grown));
        if (!grown)
            return NULL;
        e->staged = grown;
    }
    struct io_uring_sqe *sqe = &e->staged[e->staged_tail++];
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = key;
    return sqe;
}

static int64_t stage_memory(ul_engine *e, uint8_t opcode, uint64_t key, int fd, const void *memory, unsigned size,
                            unsigned message_flags)
{
    struct io_uring_sqe *sqe = ul_stage(e, opcode, key, fd);
    if (!sqe)
        return -ENOMEM;
    sqe->addr = (uint64_t)(uintptr_t)memory;
    sqe->len = size;
    sqe->msg_flags = message_flags;
    return ul_last_ticket(e);
}

/* A transfer is at most this long, as read(2) and send(2) have it: the length of an entry has 32 bits. */
static unsigned clamp_size(size_t size)
{
    return size > 0x7ffff000 ? 0x7ffff000 : (unsigned)size;
}

int64_t ul_stage_recv(ul_engine *e, uint64_t key, int fd, void *buffer, size_t size)
{
    return stage_memory(e, IORING_OP_RECV, key, fd, buffer, clamp_size(size), 0);
}

static int64_t stage_pooled(ul_engine *e, uint64_t key, int fd, unsigned size, uint16_t receive_flags)
{
    struct io_uring_sqe *sqe = ul_stage(e, IORING_OP_RECV, key, fd);
    if (!sqe)
        return -ENOMEM;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = UL_POOL_GROUP;
    sqe->len = size;
    sqe->ioprio = receive_flags;
    return ul_last_ticket(e);
}

int64_t ul_stage_recv_pooled(ul_engine *e, uint64_t key, int fd, unsigned size)
{
    return stage_pooled(e, key, fd, size, 0);
}

/* Length 0: kernels before 6.17 refuse any other for a multishot receive. */
int64_t ul_stage_recv_multishot(ul_engine *e, uint64_t key, int fd)
{
    return stage_pooled(e, key, fd, 0, IORING_RECV_MULTISHOT);
}

/* MSG_WAITALL: the kernel goes on by itself until everything is sent, so a send is answered once. */
int64_t ul_stage_send(ul_engine *e, uint64_t key, int fd, const void *data, size_t size)
{
    return stage_memory(e, IORING_OP_SEND, key, fd, data, clamp_size(size), MSG_NOSIGNAL | MSG_WAITALL);
}

/* Room for the refusal of one more send, so that none need be lost for want of memory when it comes. */
static bool reserve_refusal(struct ul_engine *e)
{
    if (e->sends_at_once < e->refusals_capacity)
        return true;
    int64_t *grown = ul_grow(e->refusals, &e->refusals_capacity, UL_REFUSAL_WORDS * sizeof(*grown));
    if (!grown)
        return false;
    e->refusals = grown;
    return true;
}

/* The kernel sends what the socket takes when the entry is submitted, and answers only if that was not everything:
 * MSG_DONTWAIT ends the send there and then, MSG_WAITALL makes a part of it a failure, and a failure is what
 * CQE_SKIP_SUCCESS still reports. */
static int stage_send_at_once(struct ul_engine *e, int fd, const char *data, int size)
{
    if (!reserve_refusal(e))
        return -ENOMEM;
    unsigned flags = MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT;
    if (stage_memory(e, IORING_OP_SEND, UL_AT_ONCE | e->sends_at_once, fd, data, (unsigned)size, flags) < 0)
        return -ENOMEM;
    e->staged[e->staged_tail - 1].flags = IOSQE_CQE_SKIP_SUCCESS;
    e->sends_at_once++;
    return 0;
}

/* The data of all these sends lies in one piece of memory, one after the other. */
int ul_stage_sends_at_once(ul_engine *e, int count, const int *fds, const int *sizes, const char *data)
{
    for (int i = 0; i < count; i++) {
        if (stage_send_at_once(e, fds[i], data, sizes[i]) < 0)
            return -ENOMEM;
        data += sizes[i];
    }
    return 0;
}

int64_t ul_stage_accept(ul_engine *e, uint64_t key, int fd, void *address, void *address_size)
{
    struct io_uring_sqe *sqe = ul_stage(e, IORING_OP_ACCEPT, key, fd);
    if (!sqe)
        return -ENOMEM;
    sqe->addr = (uint64_t)(uintptr_t)address;
    sqe->addr2 = (uint64_t)(uintptr_t)address_size;
    sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    return ul_last_ticket(e);
}

int64_t ul_stage_connect(ul_engine *e, uint64_t key, int fd, const void *address, unsigned size)
{
    struct io_uring_sqe *sqe = ul_stage(e, IORING_OP_CONNECT, key, fd);
    if (!sqe)
        return -ENOMEM;
    sqe->addr = (uint64_t)(uintptr_t)address;
    sqe->off = size;
    return ul_last_ticket(e);
}

int64_t ul_stage_poll(ul_engine *e, uint64_t key, int fd, unsigned events, int multishot)
{
    struct io_uring_sqe *sqe = ul_stage(e, IORING_OP_POLL_ADD, key, fd);
    if (!sqe)
        return -ENOMEM;
    sqe->poll32_events = events;
    sqe->len = multishot ? IORING_POLL_ADD_MULTI : 0;
    return ul_last_ticket(e);
}

static int drop(struct ul_engine *e, struct io_uring_sqe *sqe)
{
    if (e->dropped_count == e->dropped_capacity) {
        uint64_t *grown = ul_grow(e->dropped, &e->dropped_capacity, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        e->dropped = grown;
    }
    e->dropped[e->dropped_count++] = sqe->user_data;
    sqe->opcode = UL_DROPPED;
    return 0;
}

/* Has the kernel posted this operation's last completion? */
static bool finished(const struct ul_engine *e, uint64_t key)
{
    const struct io_uring_cq *cq = &e->ring.cq;
    unsigned tail = io_uring_smp_load_acquire(cq->ktail);
    for (unsigned head = *cq->khead; head != tail; head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        if (cqe->user_data == key && !(cqe->flags & IORING_CQE_F_MORE))
            return true;
    }
    return false;
}

/* The answer to a cancel that was submitted when the CQ ended there; 0 also stands for none, as success brings none. */
static int answer_since(const struct ul_engine *e, unsigned head)
{
    const struct io_uring_cq *cq = &e->ring.cq;
    unsigned tail = io_uring_smp_load_acquire(cq->ktail);
    for (; head != tail; head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        if (!cqe->user_data)
            return cqe->res;
    }
    return 0;
}

/* Is there work that the kernel has deferred to an enter? Not counted are completions for which the CQ has no room:
 * no enter brings those in before the CQ is harvested. */
static bool work_deferred(const struct ul_engine *e)
{
    return IO_URING_READ_ONCE(*e->ring.sq.kflags) & IORING_SQ_TASKRUN;
}

/* Submits a cancel, and has the kernel do the work that it has deferred. Returns the cancel's answer. */
static int try_to_cancel(struct ul_engine *e, uint64_t key)
{
    unsigned head = io_uring_smp_load_acquire(e->ring.cq.ktail);
    struct io_uring_sqe *sqe = ul_stage(e, IORING_OP_ASYNC_CANCEL, 0, -1);
    if (!sqe)
        return -ENOMEM;
    sqe->addr = key;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    int result = ul_flush(e);
    for (int enters = 1; result == 0 && enters < MOST_TRIES && work_deferred(e) && !finished(e, key); enters++)
        result = ul_flush(e);
    return result < 0 ? result : answer_since(e, head);
}

/* Takes an operation back: one that is only staged never reaches the kernel; one in flight is cancelled at once,
 * so that on return the kernel holds neither its file nor its memory. Either way it gets its last completion.
 *
 * The kernel does not find an operation that is part of its deferred work at that moment, and which may wait for its
 * socket again afterwards: so one that was not found has ended only if there was no such work. And a send that has
 * found its socket full very often is done by a kernel thread, which takes a moment to give up. */
int ul_cancel(ul_engine *e, uint64_t key, int64_t ticket)
{
    if (ticket >= e->first_ticket)
        return drop(e, &e->staged[e->staged_head + (unsigned)(ticket - e->first_ticket)]);
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        bool visible = !work_deferred(e);
        int answer = try_to_cancel(e, key);
        if (answer == 0 || finished(e, key) || (answer == -ENOENT && visible))
            return 0;
        if (answer == -EALREADY)
            answer = ul_wait_for_more(e, WORKER_PATIENCE);
        if (answer < 0 && answer != -ENOENT)
            return answer;
    }
    return 0;
}
