/* A stream that encrypts the bytes by OpenSSL; whose certificate it is does not matter here. */
#include "channel.h"
#include "load.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <unistd.h>

static SSL_CTX *context;

static void make_context(void)
{
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        die("OpenSSL gives no context");
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Takes what there is from the socket, not the records' heads and bodies one by one. */
    SSL_CTX_set_read_ahead(context, 1);
    /* OpenSSL writes without MSG_NOSIGNAL. */
    signal(SIGPIPE, SIG_IGN);
}

void channel_open(struct channel *channel)
{
    if (context == NULL)
        make_context();
    SSL *session = SSL_new(context);
    if (session == NULL || SSL_set_fd(session, channel->fd) != 1 || SSL_connect(session) != 1)
        die("TLS handshake: %s", ERR_error_string(ERR_get_error(), NULL));
    channel->session = session;
}

/* Turns OpenSSL's answer into that of a system call. */
static ssize_t answer(const SSL *session, int result)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(session, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: return errno != 0 ? -1 : 0;
    default: errno = EPROTO; return -1;
    }
}

ssize_t channel_send(struct channel *channel, const void *data, size_t length)
{
    ERR_clear_error();
    errno = 0;
    return answer(channel->session, SSL_write(channel->session, data, (int)length));
}

ssize_t channel_receive(struct channel *channel, void *data, size_t length)
{
    ERR_clear_error();
    errno = 0;
    return answer(channel->session, SSL_read(channel->session, data, (int)length));
}

bool channel_pending(const struct channel *channel)
{
    return SSL_has_pending(channel->session);
}

void channel_close(struct channel *channel)
{
    SSL_free(channel->session);
    close(channel->fd);
}
