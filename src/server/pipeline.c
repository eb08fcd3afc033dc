/* Requests that came together with the one before them.
 *
 * libwebsockets 4.1 keeps what it has read behind a request. Where the next one has a body, it
 * takes that one's headers for the body, reads memory it has freed, and may never come back from
 * there. So such a request is not taken, its connection is closed, and the client has to send it
 * again (RFC 9112, 9.3.2).
 *
 * The library reads a connection only when it has kept nothing. So a request was kept if nothing
 * was taken off its connection since the one before it was answered, which the kernel tells. */
#include "server/loop.h"

#include <linux/tcp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Bytes taken off the connection; the end of its stream may count as one. -1: not known. */
static int64_t taken(struct lws *wsi)
{
    const int fd = (int)lws_get_socket_fd(lws_get_network_wsi(wsi));

    for (;;) {
        struct tcp_info info = {0};
        socklen_t n = sizeof info;
        int unread = 0, then = 0;

        if (ioctl(fd, FIONREAD, &unread) != 0 ||
            getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0 ||
            n < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received ||
            info.tcpi_bytes_received == 0 || ioctl(fd, FIONREAD, &then) != 0)
            return -1;
        if (unread == then) /* nothing came in between */
            return (int64_t)info.tcpi_bytes_received - unread;
    }
}

/* Kept with the connection: what the library calls a session ends with each request. */
void oto_pipeline_answered(struct lws *wsi)
{
    lws_set_opaque_user_data(wsi, (void *)(intptr_t)taken(wsi));
}

oto_coming oto_pipeline_coming(struct lws *wsi)
{
    const int64_t now = taken(wsi), then = (intptr_t)lws_get_opaque_user_data(wsi);

    if (now < 0 || then < 0)
        return OTO_NOT_KNOWN;
    return then > 0 && now <= then + 1 ? OTO_WITH_ANOTHER : OTO_ALONE;
}
