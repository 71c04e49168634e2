/* The kernel entry: submit what is staged, wait, and harvest the completions into a flat array. */
#include "engine.h"

#include <math.h>
#include <time.h>

#define NS_PER_S 1000000000LL
#define MOST_ROUNDS 1000 /* to settle the sends of a turn; the first does it but for faults */
#define LOOKS_PER_CLOCK 64
#define LONGEST_WAIT 1e9 /* seconds; longer than any process lives, and far from overflowing */

void ul_busy_poll(ul_engine *e, double seconds)
{
    e->busy_poll = seconds;
}

void ul_no_iowait(ul_engine *e, int enabled)
{
    e->enter_flags = enabled ? IORING_ENTER_NO_IOWAIT : 0;
}

bool ul_work_pending(const struct ul_engine *e)
{
    return IO_URING_READ_ONCE(*e->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Where the kernel says that it has something which only an enter brings out: 0 if not. Valid until ul_close(). */
const volatile unsigned *ul_flags(const ul_engine *e)
{
    return e->ring.sq.kflags;
}

static bool overflown(const struct ul_engine *e)
{
    return IO_URING_READ_ONCE(*e->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW;
}

static unsigned ready_count(const struct ul_engine *e)
{
    return io_uring_smp_load_acquire(e->ring.cq.ktail) - *e->ring.cq.khead;
}

static bool completions_ready(const struct ul_engine *e)
{
    return e->dropped_count || ready_count(e);
}

/* Moves staged entries into the SQ as far as it has room. Returns how many entries the kernel has to fetch. */
static unsigned publish(struct ul_engine *e)
{
    struct io_uring_sq *sq = &e->ring.sq;
    unsigned head = io_uring_smp_load_acquire(sq->khead);
    while (e->staged_head != e->staged_tail && e->sq_tail - head < sq->ring_entries) {
        struct io_uring_sqe *sqe = &e->staged[e->staged_head++];
        e->first_ticket++;
        if (sqe->opcode != UL_DROPPED)
            sq->sqes[e->sq_tail++ & sq->ring_mask] = *sqe;
    }
    if (e->staged_head == e->staged_tail)
        e->staged_head = e->staged_tail = 0;
    io_uring_smp_store_release(sq->ktail, e->sq_tail);
    return e->sq_tail - head;
}

/* One io_uring_enter, which waits until `wanted` completions lie in the CQ. timeout: seconds, 0 to wait for nothing,
 * negative to wait without a limit. */
static int enter(struct ul_engine *e, unsigned to_submit, unsigned wanted, double timeout)
{
    struct __kernel_timespec limit;
    struct io_uring_getevents_arg argument = {0};
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | e->enter_flags;
    int fd = e->ring.ring_fd;
    if (e->registered_fd) {
        fd = e->registered_index;
        flags |= IORING_ENTER_REGISTERED_RING;
    }
    if (timeout > 0) {
        long long ns = (long long)ceil(fmin(timeout, LONGEST_WAIT) * (double)NS_PER_S);
        limit.tv_sec = ns / NS_PER_S;
        limit.tv_nsec = ns % NS_PER_S;
        argument.ts = (uint64_t)(uintptr_t)&limit;
    }
    return io_uring_enter2((unsigned)fd, to_submit, timeout != 0 ? wanted : 0, flags, (sigset_t *)&argument,
                           sizeof(argument));
}

/* Not errors of the ring: the wait timed out or was interrupted by a signal, or the kernel wants the completions
 * reaped or memory freed before it takes more entries. What was not taken stays in the SQ for the next enter. */
static bool passing(int result)
{
    return result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / (double)NS_PER_S;
}

/* Waits without blocking, for so long as busy polling lasts. Returns the seconds that are left of the timeout, or 0
 * if something has come. */
static double busy_poll(const struct ul_engine *e, double timeout)
{
    bool limited = timeout > 0 && timeout <= e->busy_poll;
    double start = now(), end = start + (limited ? timeout : e->busy_poll);
    while (now() < end)
        for (int i = 0; i < LOOKS_PER_CLOCK; i++)
            if (completions_ready(e) || ul_work_pending(e))
                return 0;
    if (limited)
        return 0;
    return timeout < 0 ? timeout : timeout - e->busy_poll;
}

/* Enters as often as the staged entries need; the last enter waits. */
static int enter_all(struct ul_engine *e, double timeout)
{
    for (;;) {
        unsigned to_submit = publish(e);
        bool last = e->staged_head == e->staged_tail;
        double wait = last && !completions_ready(e) ? timeout : 0;
        if (!to_submit && wait == 0 && !ul_work_pending(e))
            return 0;
        int result = enter(e, to_submit, 1, wait);
        if (result < 0)
            return passing(result) ? 0 : result;
        if (last || (to_submit && !result))
            return 0;
    }
}

static int submit_and_wait(struct ul_engine *e, double timeout)
{
    if (!e->open)
        return -EBADF; /* in a forked child, where the ring's memory is not mapped */
    if (timeout != 0 && e->busy_poll > 0) {
        int result = enter_all(e, 0);
        if (result < 0)
            return result;
        timeout = busy_poll(e, timeout);
    }
    return enter_all(e, timeout);
}

static void refuse(struct ul_engine *e, uint64_t number, int result)
{
    int64_t *refusal = &e->refusals[e->refused++ * UL_REFUSAL_WORDS];
    refusal[0] = (int64_t)number;
    refusal[1] = result;
}

static void put_event(struct ul_engine *e, uint64_t key, int result, unsigned flags)
{
    int64_t *event = &e->events[e->harvested];
    event[0] = (int64_t)key;
    event[1] = result;
    event[2] = flags;
    e->harvested += UL_EVENT_WORDS;
}

/* Bytes in the pool, and the receive goes on: what comes most, and needs the least said. */
static bool is_arrival(const struct io_uring_cqe *cqe)
{
    const unsigned flags = IORING_CQE_F_BUFFER | IORING_CQE_F_MORE;
    return (cqe->flags & flags) == flags && cqe->res > 0;
}

static void put_arrival(struct ul_engine *e, const struct io_uring_cqe *cqe)
{
    int64_t *arrival = &e->arrivals[e->arrived];
    int64_t start = (int64_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT) * e->pool_size;
    arrival[0] = (int64_t)cqe->user_data;
    arrival[1] = start;
    arrival[2] = start + cqe->res;
    e->arrived += UL_ARRIVAL_WORDS;
}

/* Is there room for one more completion, or can it be made? */
static bool has_room(struct ul_engine *e)
{
    if ((unsigned)e->harvested < e->events_capacity * UL_EVENT_WORDS)
        return true;
    int64_t *grown = ul_grow(e->events, &e->events_capacity, UL_EVENT_WORDS * sizeof(*grown));
    if (!grown)
        return false;
    e->events = grown;
    return true;
}

/* Copies completions from the CQ to the ends of the arrays: arrivals to one, all others to another. The last of an
 * operation is never an arrival, so the arrivals of each are still in order if they are dispatched first. */
static void harvest(struct ul_engine *e)
{
    struct io_uring_cq *cq = &e->ring.cq;
    unsigned head = *cq->khead, tail = io_uring_smp_load_acquire(cq->ktail);
    for (; head != tail && has_room(e); head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        if (cqe->flags & IORING_CQE_F_BUFFER)
            e->lent[e->lent_count++] = (unsigned short)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        if (is_arrival(cqe))
            put_arrival(e, cqe);
        else if (cqe->user_data & UL_AT_ONCE)
            refuse(e, cqe->user_data & ~UL_AT_ONCE, cqe->res);
        else if (cqe->user_data)
            put_event(e, cqe->user_data, cqe->res, cqe->flags);
    }
    io_uring_smp_store_release(cq->khead, head);
    while (e->dropped_count && has_room(e))
        put_event(e, e->dropped[--e->dropped_count], -ECANCELED, 0);
}

/* The result of the last turn, once more for a caller whom a signal has kept from taking it. */
int ul_harvested(const ul_engine *e)
{
    return e->harvested + e->arrived;
}

/* Harvests what is there, without an enter. Returns the number of words in both arrays, as the turn does. */
int ul_harvest(ul_engine *e)
{
    e->harvested = e->arrived = 0;
    harvest(e);
    return ul_harvested(e);
}

/* Has the kernel answered for all sends at once, so that those it has not refused are done? */
static bool settled(const struct ul_engine *e)
{
    return !e->sends_at_once ||
           (e->staged_head == e->staged_tail && io_uring_smp_load_acquire(e->ring.sq.khead) == e->sq_tail &&
            !overflown(e));
}

/* Submits, waits and harvests. One round does it, unless the kernel is short of memory or the CQ overflows. */
static int collect(struct ul_engine *e, double timeout)
{
    e->harvested = e->arrived = 0;
    for (int round = 0; round < MOST_ROUNDS; round++) {
        int result = submit_and_wait(e, timeout);
        if (result < 0)
            return result;
        harvest(e);
        if (settled(e))
            return ul_harvested(e);
        timeout = 0;
    }
    return -ENOMEM;
}

int ul_turn(ul_engine *e, double timeout)
{
    e->turns++;
    ul_pool_recycle(e);
    return collect(e, timeout);
}

/* As ul_turn(), without a wait and with no buffer given back: completions of the last turn are still to be read.
 * Goes on until the kernel has nothing left to do. */
int ul_collect(ul_engine *e)
{
    int result = collect(e, 0);
    for (int round = 0; result >= 0 && ul_work_pending(e) && round < MOST_ROUNDS; round++) {
        result = submit_and_wait(e, 0);
        harvest(e);
    }
    return result < 0 ? result : ul_harvested(e);
}

unsigned ul_sends_at_once(const ul_engine *e)
{
    return e->sends_at_once;
}

/* Begins anew to count sends at once; returns how many of those counted before were refused. */
unsigned ul_settle(ul_engine *e)
{
    unsigned refused = e->refused;
    e->sends_at_once = e->refused = 0;
    return refused;
}

int64_t *ul_refusals(ul_engine *e)
{
    return e->refusals;
}

/* Submits what is staged and lets the kernel finish what it can; the completions wait for the next turn. */
int ul_flush(ul_engine *e)
{
    return submit_and_wait(e, 0);
}

/* Submits what is staged and has the kernel finish all that it can, before the thread leaves the ring: the kernel
 * would do the rest when the thread ends, and what then found the CQ full would be lost to the next thread, which may
 * not enter this ring. Returns 1 if the CQ is full, so that ul_collect() has to follow. */
int ul_finish(ul_engine *e)
{
    for (int round = 0; round < MOST_ROUNDS; round++) {
        int result = ul_flush(e);
        if (result < 0)
            return result;
        if (overflown(e))
            return 1;
        if (!ul_work_pending(e))
            return 0;
    }
    return 1;
}

int ul_wait_for_more(struct ul_engine *e, double timeout)
{
    int result = enter(e, 0, ready_count(e) + 1, timeout);
    return result < 0 && !passing(result) ? result : 0;
}

int ul_cancel_all(ul_engine *e)
{
    struct io_uring_sqe *sqe = ul_stage(e, IORING_OP_ASYNC_CANCEL, 0, -1);
    if (!sqe)
        return -ENOMEM;
    sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    return ul_flush(e);
}

int64_t *ul_events(ul_engine *e)
{
    return e->events;
}

int64_t *ul_arrivals(ul_engine *e)
{
    return e->arrivals;
}

/* How many turns there were: tells whether the result of the last one was taken. */
int64_t ul_turns(const ul_engine *e)
{
    return e->turns;
}

/* How many words of arrivals the last turn has brought. */
int ul_arrived(const ul_engine *e)
{
    return e->arrived;
}
