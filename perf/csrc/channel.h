/* How bytes go over a stream: as they are (plain.c) or encrypted (tls.c). */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct channel {
    int fd;
    void *session; /* what tls.c keeps */
};

/* Shakes hands over a connected socket, which blocks still. */
void channel_open(struct channel *channel);

/* These answer as send(2) and recv(2) do. */
ssize_t channel_send(struct channel *channel, const void *data, size_t length);
ssize_t channel_receive(struct channel *channel, void *data, size_t length);

/* Is there something to receive that was taken from the socket already? */
bool channel_pending(const struct channel *channel);

void channel_close(struct channel *channel);

#endif
