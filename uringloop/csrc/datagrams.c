/* Datagrams: a batch of them received by one system call. Nothing here needs the ring. */
#define _GNU_SOURCE
#include "engine.h"

#include <sys/mman.h>
#include <sys/socket.h>

#define LARGEST ((size_t)256 * 1024) /* bytes of a datagram, as with asyncio; what is beyond is cut off */

/* Where batches are received; only what is written becomes resident. Datagrams come first, then addresses. */
struct ul_batch {
    char slots[UL_LARGEST_BATCH][LARGEST];
    struct sockaddr_storage addresses[UL_LARGEST_BATCH];
    struct iovec vectors[UL_LARGEST_BATCH];
    struct mmsghdr messages[UL_LARGEST_BATCH];
    int64_t places[UL_LARGEST_BATCH * UL_PLACE_WORDS];
};

/* The memory for batches, made when it is first asked for; NULL if there is none. */
void *ul_batch_memory(ul_engine *e)
{
    if (e->batch)
        return e->batch;
    struct ul_batch *batch = mmap(NULL, sizeof(*batch), PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (batch == MAP_FAILED)
        return NULL;
    madvise(batch, sizeof(*batch), MADV_NOHUGEPAGE); /* each slot would have one */
    for (unsigned i = 0; i < UL_LARGEST_BATCH; i++) {
        batch->vectors[i] = (struct iovec){.iov_base = batch->slots[i], .iov_len = LARGEST};
        batch->messages[i].msg_hdr.msg_name = &batch->addresses[i];
        batch->messages[i].msg_hdr.msg_namelen = sizeof(batch->addresses[i]);
        batch->messages[i].msg_hdr.msg_iov = &batch->vectors[i];
        batch->messages[i].msg_hdr.msg_iovlen = 1;
    }
    e->batch = batch;
    return batch;
}

size_t ul_batch_size(void)
{
    return offsetof(struct ul_batch, vectors);
}

int64_t *ul_batch_places(ul_engine *e)
{
    return e->batch->places;
}

/* Receives the datagrams that are there, up to so many and a batch. Returns how many; their places say where. */
int ul_receive_batch(ul_engine *e, int fd, unsigned most)
{
    struct ul_batch *batch = e->batch;
    if (most > UL_LARGEST_BATCH)
        most = UL_LARGEST_BATCH;
    int count = recvmmsg(fd, batch->messages, most, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        int64_t *place = &batch->places[i * UL_PLACE_WORDS];
        place[0] = (char *)batch->slots[i] - (char *)batch;
        place[1] = place[0] + batch->messages[i].msg_len;
        place[2] = (char *)&batch->addresses[i] - (char *)batch;
        place[3] = place[2] + batch->messages[i].msg_hdr.msg_namelen;
        batch->messages[i].msg_hdr.msg_namelen = sizeof(batch->addresses[i]); /* again, for the next */
    }
    return count < 0 ? -errno : count;
}

void ul_batch_free(struct ul_engine *e)
{
    if (e->batch)
        munmap(e->batch, sizeof(*e->batch));
}
