/* The pool: buffers of one size that the kernel picks from when data arrives, so that an idle connection holds
 * none. The ring of buffer descriptors is shared with the kernel; the memory behind it is ours. */
#include "engine.h"

#include <sys/mman.h>
#include <unistd.h>

static void provide(struct ul_engine *e, unsigned short id, int offset)
{
    io_uring_buf_ring_add(e->pool_ring, e->pool_memory + (size_t)id * e->pool_size, e->pool_size, id,
                          io_uring_buf_ring_mask(e->pool_count), offset);
}

int ul_pool_open(ul_engine *e, unsigned count, unsigned size)
{
    int protection = PROT_READ | PROT_WRITE, flags = MAP_ANONYMOUS | MAP_PRIVATE;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t ring_size = (count * sizeof(struct io_uring_buf) + page - 1) / page * page;
    void *ring = mmap(NULL, ring_size, protection, flags, -1, 0);
    if (ring == MAP_FAILED)
        return -errno;
    void *memory = mmap(NULL, (size_t)count * size, protection, flags, -1, 0);
    e->lent = calloc(count, sizeof(*e->lent));
    e->arrivals = calloc(count, UL_ARRIVAL_WORDS * sizeof(*e->arrivals));
    if (memory == MAP_FAILED || !e->lent || !e->arrivals) {
        munmap(ring, ring_size);
        if (memory != MAP_FAILED)
            munmap(memory, (size_t)count * size);
        free(e->lent);
        free(e->arrivals);
        e->lent = NULL;
        e->arrivals = NULL;
        return -ENOMEM;
    }
    madvise(ring, ring_size, MADV_DONTFORK);
    e->pool_ring = ring;
    e->pool_ring_size = ring_size;
    e->pool_memory = memory;
    e->pool_count = count;
    e->pool_size = size;
    return 0;
}

/* Registers the pool with the ring and provides every buffer that Python does not hold. Called again for each
 * new ring: harvested data stays where it is. */
int ul_pool_attach(ul_engine *e)
{
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)e->pool_ring,
        .ring_entries = e->pool_count,
        .bgid = UL_POOL_GROUP,
    };
    io_uring_buf_ring_init(e->pool_ring);
    int result = io_uring_register_buf_ring(&e->ring, &registration, 0);
    if (result < 0)
        return result;
    int provided = 0;
    for (unsigned id = 0; id < e->pool_count; id++) {
        bool lent = false;
        for (unsigned i = 0; i < e->lent_count; i++)
            lent = lent || e->lent[i] == id;
        if (!lent)
            provide(e, (unsigned short)id, provided++);
    }
    io_uring_buf_ring_advance(e->pool_ring, provided);
    return 0;
}

void *ul_pool_memory(ul_engine *e)
{
    return e->pool_memory;
}

void ul_pool_recycle(struct ul_engine *e)
{
    for (unsigned i = 0; i < e->lent_count; i++)
        provide(e, e->lent[i], (int)i);
    if (e->lent_count)
        io_uring_buf_ring_advance(e->pool_ring, (int)e->lent_count);
    e->lent_count = 0;
}

void ul_pool_free(struct ul_engine *e)
{
    if (!e->pool_ring)
        return;
    munmap(e->pool_memory, (size_t)e->pool_count * e->pool_size);
    munmap(e->pool_ring, e->pool_ring_size);
    free(e->lent);
    free(e->arrivals);
    e->pool_ring = NULL;
}
