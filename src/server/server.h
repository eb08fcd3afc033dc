/* server: the gateway. One event loop for every connection, a few desk threads for what touches the
 * disk, and one file for each protocol. */
#ifndef OTO_SERVER_H
#define OTO_SERVER_H

#include "base/base.h"
#include "store/store.h"
#include "work/work.h"

#define OTO_MAX_LISTEN 8

typedef struct {
    const int *listen_fds; /* bound and listening, inherited */
    int n_listen;
    const char *store; /* address */
    const oto_spool *spool;
    const oto_served_model *models; /* the first is the default */
    int n_models;
    const char *aliases;            /* "whisper-1,gpt-4o-transcribe": also the default */
    bool itn;                       /* unless a request says otherwise */
    const char *script;             /* the same; NULL: none */
    bool scripts;                   /* requests may ask for one: OpenCC is there */
    const char *tls_cert, *tls_key; /* PEM files, or NULL */
    const char *cors;               /* allowed origin, "*", or NULL */
    int64_t max_upload_bytes;
    int upload_timeout_s; /* a whole request body */
    int64_t max_queued;   /* waiting jobs, 0: no limit */
    int max_connections, desks;
    int64_t max_audio_ms; /* 0: no limit */
    int64_t keep_ms;      /* ended jobs and their recordings; 0: for ever */
    int64_t keep_bytes;   /* recordings of ended jobs; 0: no limit */
    bool require_keys;    /* even when there is none yet */
    bool allow_private_webhooks;
    const char *webhook_secret; /* signs webhooks; NULL: unsigned */
    int drain_s;
    const char *version;
} oto_server_options;
void oto_server_defaults(oto_server_options *o);

/* "127.0.0.1:8000", ":8000", "[::1]:8000", "0" port: any free one. Bound and listening. */
int oto_server_listen(const char *address, int *fd, oto_err *e) OTO_CHECK;
/* Does this address reach other machines? */
bool oto_server_is_public(int listen_fd);
/* "127.0.0.1:8000" of a bound socket. */
void oto_server_address(int listen_fd, char *out, size_t n);

/* The gateway process until SIGTERM; returns the exit status. */
int oto_server_run(const oto_server_options *o, oto_board *b);

#endif
