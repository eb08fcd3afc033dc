/* Retention: ended jobs and their recordings go when they are old, recordings alone when they are
 * too many. A little at a time, since it happens beside the work. */
#include "server/parts.h"

#define AT_ONCE 50

static void gone(void *arg, const char *audio)
{
    oto_spool_remove(arg, audio);
}

void oto_retain(const oto_server_options *o, oto_store *store, int64_t now)
{
    const int64_t before = o->keep_ms > 0 ? now - o->keep_ms : 0;
    oto_spool spool = *o->spool;
    oto_err e = {0};
    int n = 0;

    if (oto_store_prune(store, before, o->keep_bytes, AT_ONCE, gone, &spool, &n, &e) != 0)
        oto_log(OTO_LOG_WARN, "retention: %s", e.text);
    else if (n > 0)
        oto_log(OTO_LOG_INFO, "retention: %d job(s) or recording(s) removed", n);
}
