/* Listening sockets, bound before anything forks: connections that come while a gateway is being
 * replaced wait in the kernel's queue. */
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

/* "HOST:PORT", "[V6]:PORT", ":PORT" or "PORT". */
static int split(const char *address, char host[256], char port[16], oto_err *e)
{
    const char *colon = strrchr(address, ':'), *from = address;
    size_t n = colon != NULL ? (size_t)(colon - address) : 0;
    char *end;
    long number;

    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        from++;
        n -= 2;
    }
    if (n >= 256)
        return oto_fail(e, OTO_E_USAGE, "listen: '%.80s' is not an address", address);
    memcpy(host, from, n);
    host[n] = '\0';
    snprintf(port, 16, "%.15s", colon != NULL ? colon + 1 : address);
    number = strtol(port, &end, 10);
    if (end == port || *end != '\0' || number < 0 || number > 65535)
        return oto_fail(e, OTO_E_USAGE, "listen: '%.80s' is not ADDRESS:PORT", address);
    return 0;
}

static int bind_one(const struct addrinfo *a, int *fd)
{
    const int one = 1;

    *fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return -1;
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(*fd, a->ai_addr, a->ai_addrlen) == 0 && listen(*fd, BACKLOG) == 0)
        return 0;
    close(*fd);
    return -1;
}

int oto_server_listen(const char *address, int *fd, oto_err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char host[256], port[16];
    struct addrinfo *list;
    int rc = split(address, host, port, e), bound = -1;

    if (rc != 0)
        return rc;
    rc = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &list);
    if (rc != 0)
        return oto_fail(e, OTO_E_USAGE, "listen: %s: %s", address, gai_strerror(rc));
    errno = EADDRNOTAVAIL;
    for (const struct addrinfo *a = list; a != NULL && bound != 0; a = a->ai_next)
        bound = bind_one(a, fd);
    freeaddrinfo(list);
    if (bound == 0)
        return 0;
    if (errno == EADDRINUSE)
        return oto_fail(e, OTO_E_BUSY, "listen: %s: in use by another program", address);
    return oto_fail_errno(e, "listen: %s", address);
}

static bool name_of(int fd, struct sockaddr_storage *a)
{
    socklen_t n = sizeof *a;

    return getsockname(fd, (struct sockaddr *)a, &n) == 0;
}

bool oto_server_is_public(int listen_fd)
{
    struct sockaddr_storage a;

    if (!name_of(listen_fd, &a))
        return true;
    if (a.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&a)->sin_addr.s_addr) >> 24 != 127;
    return !IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&a)->sin6_addr);
}

void oto_server_address(int listen_fd, char *out, size_t n)
{
    struct sockaddr_storage a;
    char host[INET6_ADDRSTRLEN] = "?";

    if (!name_of(listen_fd, &a)) {
        snprintf(out, n, "?");
    } else if (a.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, n, "%s:%u", host, ntohs(in->sin_port));
    } else {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&a;

        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(out, n, "[%s]:%u", host, ntohs(in->sin6_port));
    }
}
