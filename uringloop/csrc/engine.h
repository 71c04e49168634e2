/* The engine's inside. The one file that includes liburing.h. */
#ifndef URINGLOOP_ENGINE_H
#define URINGLOOP_ENGINE_H

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

/* Kernel values that liburing 2.3's headers do not have yet. */
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

#define UL_POOL_GROUP 1   /* the buffer group of the one pool */
#define UL_DROPPED 0xff   /* opcode of a staged entry that was cancelled before the kernel saw it */
#define UL_EVENT_WORDS 3  /* a completion is three int64: key, result, flags */
#define UL_ARRIVAL_WORDS 3 /* an arrival is three int64: key, where its bytes begin in the pool, where they end */
#define UL_LARGEST_BATCH 32 /* datagrams */
#define UL_PLACE_WORDS 4   /* a place is four int64: where a datagram begins and ends, and its sender's address */
#define UL_REFUSAL_WORDS 2 /* a refused send is two int64: its number, result */
#define UL_AT_ONCE (1ULL << 63) /* in the user data of a send at once; its number is the rest */

struct ul_engine {
    struct io_uring ring;
    bool open;
    bool registered_fd;
    int registered_index;
    unsigned enter_flags; /* what every enter of this ring adds */
    unsigned features;
    double busy_poll; /* seconds */

    /* Entries prepared but not yet handed to the kernel. They live here and not in the SQ, so that any number
     * can be staged, in any thread, before the ring is enabled, and taken back until the next enter. */
    struct io_uring_sqe *staged;
    unsigned staged_head, staged_tail, staged_capacity;
    int64_t first_ticket; /* ticket of staged[staged_head] */
    unsigned sq_tail;

    /* Keys of dropped entries: they are answered with -ECANCELED at the next harvest. */
    uint64_t *dropped;
    unsigned dropped_count, dropped_capacity;

    int64_t *events;
    unsigned events_capacity; /* completions */
    int harvested;            /* words that the last turn put there */
    int64_t turns;
    int64_t *arrivals;        /* one for each buffer of the pool */
    int arrived;              /* words that the last turn put there */

    /* Sends at once since ul_settle(): how many, and which of them the kernel refused. */
    unsigned sends_at_once, refused;
    int64_t *refusals;
    unsigned refusals_capacity;

    /* The pool. A buffer that a harvest reported belongs to Python until the next turn begins. */
    struct io_uring_buf_ring *pool_ring;
    size_t pool_ring_size;
    char *pool_memory;
    unsigned pool_count, pool_size;
    unsigned short *lent;
    unsigned lent_count;

    struct ul_batch *batch; /* NULL until there are datagrams to receive */
};

/* Gives the buffers lent at the last harvest back to the kernel. */
void ul_pool_recycle(struct ul_engine *e);
void ul_pool_free(struct ul_engine *e);

void ul_batch_free(struct ul_engine *e);

/* Does the kernel hold work or completions that only an enter brings out? Costs no system call. */
bool ul_work_pending(const struct ul_engine *e);

/* Waits, up to timeout seconds, until there is one more completion than there are. */
int ul_wait_for_more(struct ul_engine *e, double timeout);

/* The array with twice the capacity (in items), or NULL without memory: then it stays as it is. */
void *ul_grow(void *array, unsigned *capacity, size_t item_size);

/* A zeroed staged entry for this key, or NULL without memory. Its ticket is ul_last_ticket(). The opcode, and flags
 * that it is given, must be among those that ul_restrict() allows. */
struct io_uring_sqe *ul_stage(struct ul_engine *e, uint8_t opcode, uint64_t key, int fd);
static inline int64_t ul_last_ticket(const struct ul_engine *e)
{
    return e->first_ticket + (int64_t)(e->staged_tail - e->staged_head) - 1;
}

#endif
