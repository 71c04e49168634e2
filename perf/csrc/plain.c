/* A stream that carries the bytes as they are. */
#include "channel.h"

#include <sys/socket.h>
#include <unistd.h>

void channel_open(struct channel *channel)
{
    channel->session = NULL;
}

ssize_t channel_send(struct channel *channel, const void *data, size_t length)
{
    return send(channel->fd, data, length, MSG_NOSIGNAL);
}

ssize_t channel_receive(struct channel *channel, void *data, size_t length)
{
    return recv(channel->fd, data, length, 0);
}

bool channel_pending(const struct channel *channel)
{
    (void)channel;
    return false;
}

void channel_close(struct channel *channel)
{
    close(channel->fd);
}
