/* Chunked bodies, which we read off their sockets ourselves.
 *
 * libwebsockets 4.1 takes a body without length for one of 100 MiB, counts that down, and offers no
 * way to say that it may be more. But it does not read a connection that is held back. So a
 * connection is held back from its headers to the end of such a body, and an epoll of ours, which
 * the library watches as any descriptor, tells when there is more to read. What came in one piece
 * with the headers the library hands over before the loop gets here; the rest still lies in the
 * socket or in OpenSSL. With the body's end, a refusal or a connection that broke, the library has
 * it back and does with it what it does with any other. */
#include "server/loop.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define BLOCK_BYTES (64 << 10)
#define AT_ONCE     16 /* blocks, before others have their turn */
#define IDLE_S      30 /* as long as the library gives a body between two pieces */

int oto_chunked_open(gateway *w, oto_err *e)
{
    w->g.bodies = epoll_create1(EPOLL_CLOEXEC);
    return w->g.bodies >= 0 ? 0 : oto_fail_errno(e, "uploads");
}

int oto_chunked_begin(oto_exchange *x)
{
    const int fd = (int)lws_get_socket_fd(x->wsi);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = x};

    if (epoll_ctl(x->g->bodies, EPOLL_CTL_ADD, fd, &event) != 0)
        return -1;
    x->body_fd = fd;
    lws_rx_flow_control(x->wsi, 0);
    return 0;
}

void oto_chunked_end(oto_exchange *x)
{
    if (x->body_fd < 0)
        return;
    /* Fails where the epoll was closed before, at the end of the process. */
    epoll_ctl(x->g->bodies, EPOLL_CTL_DEL, x->body_fd, NULL);
    x->body_fd = -1;
    if (x->wsi != NULL)
        lws_rx_flow_control(x->wsi, 1);
}

void oto_chunked_rest(oto_exchange *x)
{
    if (x->chunked && x->body_done)
        lws_set_timeout(x->wsi, NO_PENDING_TIMEOUT, 0);
}

static int read_tls(SSL *ssl, char *p, int n)
{
    int got;

    ERR_clear_error();
    if ((got = SSL_read(ssl, p, n)) > 0)
        return got;
    got = SSL_get_error(ssl, got);
    return got == SSL_ERROR_WANT_READ || got == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Bytes; 0: none now; -1: no more will come. */
static int read_block(oto_exchange *x, SSL *ssl, char *p, int n)
{
    ssize_t got;

    if (ssl != NULL)
        return read_tls(ssl, p, n);
    got = recv(x->body_fd, p, (size_t)n, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return got > 0 ? (int)got : -1;
}

/* The epoll knows nothing of what OpenSSL has read already, so that is taken at once. */
static void read_some(oto_exchange *x)
{
    static char block[BLOCK_BYTES];
    SSL *ssl = lws_get_ssl(x->wsi);
    int n;

    do {
        n = read_block(x, ssl, block, (int)sizeof block);
        if (n > 0) {
            lws_set_timeout(x->wsi, PENDING_TIMEOUT_HTTP_CONTENT, IDLE_S);
            if (oto_exchange_on_body(lws_wsi_user(x->wsi), block, (size_t)n) != 0)
                n = -1;
        }
    } while (n > 0 && x->body_fd >= 0 && ssl != NULL && SSL_pending(ssl) > 0);
    if (n < 0)
        oto_chunked_end(x); /* the library finds the end itself */
}

void oto_chunked_read(gateway *w)
{
    struct epoll_event event;

    /* One by one: what is done with the first may end another. */
    for (int i = 0; i < AT_ONCE && epoll_wait(w->g.bodies, &event, 1, 0) == 1; i++)
        read_some(event.data.ptr);
}
