/* A client of the original's REST API (client.c; private to measure/). One thread each. */
#ifndef OTO_MEASURE_CLIENT_H
#define OTO_MEASURE_CLIENT_H

#include "base/base.h"

typedef struct oto_client oto_client;

/* `url` as the user gave it: scheme, host and port. key: NULL or an API key. */
int oto_client_new(const char *url, const char *key, oto_client **out, oto_err *e) OTO_CHECK;
void oto_client_free(oto_client *c);
/* What answers there, in words: "otolith 1.0.0, whisper-base". UNAVAILABLE when nothing does. */
int oto_client_server(oto_client *c, char *out, size_t n, oto_err *e) OTO_CHECK;

/* Uploads a recording. 0 and its id; BUSY: the server refuses more for now (503, 429);
 * INPUT, UNAVAILABLE …: it failed. *stop ends it early (CANCELLED). */
int oto_client_submit(oto_client *c, const char *path, const _Atomic bool *stop, char id[64],
                      oto_err *e) OTO_CHECK;

typedef enum { OTO_TASK_WAITS, OTO_TASK_DONE, OTO_TASK_FAILED } oto_task_state;

/* What the reply tells; numbers are NAN, counts -1 when it does not. */
typedef struct {
    oto_task_state state;
    double duration, queued_s, work_s;
    double worker_peak_mb, decoder_peak_mb;
    int attempts, text_chars;
    char sha256[65]; /* of the text; "" none */
    char error[300];
} oto_task_result;
int oto_client_result(oto_client *c, const char *id, oto_task_result *out, oto_err *e) OTO_CHECK;
/* Removes it, done or not; failures do not matter. */
void oto_client_delete(oto_client *c, const char *id);

#endif
