/* An exchange from its arena to its end, and what is known of it meanwhile. */
#include "server/loop.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define EXCHANGE_BYTES ((size_t)256 << 20) /* address space; a day of text needs a tenth */

static void link_in(oto_gateway *g, oto_exchange *x)
{
    x->next = g->exchanges;
    x->prev = NULL;
    if (g->exchanges != NULL)
        g->exchanges->prev = x;
    g->exchanges = x;
    g->n_exchanges++;
}

static void make_id(char id[40])
{
    uint8_t r[16];

    if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
        memset(r, 0, sizeof r);
    r[6] = (uint8_t)((r[6] & 15) | 64);
    r[8] = (uint8_t)((r[8] & 63) | 128);
    snprintf(id, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0],
             r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13],
             r[14], r[15]);
}

oto_exchange *oto_exchange_new(gateway *w, struct lws *wsi, const char *path)
{
    oto_arena *a;
    oto_exchange *x;

    if (oto_arena_new("request", EXCHANGE_BYTES, &a, NULL) != 0)
        return NULL;
    x = oto_arena_calloc(a, 1, sizeof *x);
    path = oto_arena_strdup(a, path, strlen(path));
    if (x == NULL || path == NULL) {
        oto_arena_free(a);
        return NULL;
    }
    x->g = &w->g;
    x->wsi = wsi;
    x->a = a;
    x->file_fd = x->upload.fd = x->body_fd = -1;
    x->started_ms = x->sent_ms = oto_now_ms();
    x->path = path;
    x->client = x->key_id = "";
    oto_str_init(&x->headers, a);
    oto_str_init(&x->out, a);
    make_id(x->id);
    link_in(&w->g, x);
    return x;
}

void oto_exchange_drop(oto_exchange *x)
{
    oto_gateway *g = x->g;

    assert(x->body_fd < 0);
    if (x->upload.fd >= 0)
        oto_upload_drop(g->o->spool, &x->upload);
    if (x->file_fd >= 0)
        close(x->file_fd);
    free(x->early);
    if (x->prev != NULL)
        x->prev->next = x->next;
    else
        g->exchanges = x->next;
    if (x->next != NULL)
        x->next->prev = x->prev;
    g->n_exchanges--;
    oto_arena_free(x->a);
}

void oto_exchange_log(const oto_exchange *x)
{
    if (x->route != NULL && x->route->prompt != NULL)
        return;
    oto_log(OTO_LOG_INFO, "%s %s %d %" PRId64 " ms client %s request %s%s%s", x->path,
            x->upload.bytes > 0 ? "upload" : "-", x->status, oto_now_ms() - x->started_ms,
            x->client, x->id, x->job[0] != '\0' ? " job " : "", x->job);
}

bool oto_exchange_is_h2(const oto_exchange *x)
{
    return lws_get_network_wsi(x->wsi) != x->wsi;
}
