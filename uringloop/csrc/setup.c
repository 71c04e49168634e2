/* The ring's life: made disabled in any thread, enabled in the thread that runs the loop, closed once. */
#include "engine.h"

#include <sys/mman.h>
#include <unistd.h>

/* IORING_SETUP_CLAMP: too many entries become the most there may be. SUBMIT_ALL: a bad entry does not hold up
 * those behind it. R_DISABLED: the thread that enables the ring becomes its owner, not the one that makes it. */
#define SETUP_FLAGS                                                                                              \
    (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |                      \
     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED)

ul_engine *ul_new(void)
{
    return calloc(1, sizeof(struct ul_engine));
}

int ul_open(ul_engine *e, unsigned sq_entries, unsigned cq_entries)
{
    struct io_uring_params params = {.flags = SETUP_FLAGS, .cq_entries = cq_entries};
    int result = io_uring_queue_init_params(sq_entries, &e->ring, &params);
    if (result < 0)
        return result;
    e->open = true;
    e->features = params.features;
    e->sq_tail = 0;
    /* What was staged for an earlier ring is staged anew by its owners. */
    e->first_ticket += e->staged_tail - e->staged_head;
    e->staged_head = e->staged_tail = 0;
    /* Entries are used in ring order, so the index array never changes. Kernels and liburing versions that do
     * without it leave the pointer NULL. */
    if (e->ring.sq.array)
        for (unsigned i = 0; i < params.sq_entries; i++)
            e->ring.sq.array[i] = i;
    free(e->events);
    e->events_capacity = params.cq_entries;
    e->events = calloc((size_t)e->events_capacity * UL_EVENT_WORDS, sizeof(int64_t));
    /* A forked child must neither see nor touch the ring. */
    result = e->events ? io_uring_ring_dontfork(&e->ring) : -ENOMEM;
    if (result < 0)
        ul_close(e);
    return result;
}

#define MAY_STAGE(operation) {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_##operation}
#define MAY_CALL(call) {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_##call}
#define MAY_FLAG(flags) {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = (flags)}

/* From when it is enabled, the ring can do what stage.c stages and what is registered below, and nothing else. Who
 * gets hold of it (by an error of ours, or of another extension module) cannot make it open a file, say. */
int ul_restrict(ul_engine *e)
{
    struct io_uring_restriction allowed[] = {
        MAY_STAGE(RECV),
        MAY_STAGE(SEND),
        MAY_STAGE(ACCEPT),
        MAY_STAGE(CONNECT),
        MAY_STAGE(POLL_ADD),
        MAY_STAGE(ASYNC_CANCEL),
        MAY_FLAG(IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS),
        MAY_CALL(REGISTER_RING_FDS),
        MAY_CALL(UNREGISTER_RING_FDS),
    };
    return io_uring_register((unsigned)e->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
                             sizeof(allowed) / sizeof(*allowed));
}

int ul_enable(ul_engine *e)
{
    return io_uring_register((unsigned)e->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* An enter that submits nothing and waits for nothing: refused with -EEXIST in any thread but the owner.
 * Asking the kernel is exact where comparing thread identifiers is not: those are used again. */
int ul_owned_here(ul_engine *e)
{
    int result = io_uring_enter2((unsigned)e->ring.ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
    return result == -EEXIST ? 0 : 1;
}

/* A registered descriptor spares the kernel a look-up at each enter. The registration belongs to the calling
 * thread and keeps the ring alive, so it lasts only while that thread runs the loop. */
int ul_register_fd(ul_engine *e)
{
    struct io_uring_rsrc_update update = {.offset = (uint32_t)-1, .data = (unsigned)e->ring.ring_fd};
    int result = io_uring_register((unsigned)e->ring.ring_fd, IORING_REGISTER_RING_FDS, &update, 1);
    if (result != 1)
        return result < 0 ? result : -EINVAL;
    e->registered_index = (int)update.offset;
    e->registered_fd = true;
    return 0;
}

void ul_unregister_fd(ul_engine *e)
{
    struct io_uring_rsrc_update update = {.offset = (unsigned)e->registered_index};
    if (!e->registered_fd)
        return;
    e->registered_fd = false;
    io_uring_register((unsigned)e->ring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
}

unsigned ul_features(const ul_engine *e)
{
    return e->features;
}

int ul_has_opcode(ul_engine *e, unsigned opcode)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&e->ring);
    if (!probe)
        return 0;
    int supported = io_uring_opcode_supported(probe, (int)opcode);
    io_uring_free_probe(probe);
    return supported;
}

/* One NOP through the whole path: a syscall filter may allow the set-up and refuse the enter. */
int ul_self_test(ul_engine *e)
{
    if (!ul_stage(e, IORING_OP_NOP, 1, -1))
        return -ENOMEM;
    int result = ul_turn(e, 1.0);
    if (result < 0)
        return result;
    return result == UL_EVENT_WORDS && e->events[0] == 1 ? 0 : -EIO;
}

void ul_close(ul_engine *e)
{
    if (!e->open)
        return;
    e->open = false;
    io_uring_queue_exit(&e->ring);
}

/* In a forked child: the ring's memory is not mapped there, only its descriptor was inherited. Its addresses are
 * free for others in the child, so unmapping them there would unmap somebody else's. */
void ul_abandon(ul_engine *e)
{
    e->pool_ring = NULL;
    if (!e->open)
        return;
    e->open = false;
    close(e->ring.ring_fd);
}

void ul_free(ul_engine *e)
{
    ul_close(e);
    ul_pool_free(e);
    ul_batch_free(e);
    free(e->staged);
    free(e->dropped);
    free(e->refusals);
    free(e->events);
    free(e);
}
