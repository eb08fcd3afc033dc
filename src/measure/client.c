/* The original's REST API from a client's side. Everything in a reply may be absent: another
 * backend tells less than ours. */
#include "measure/client.h"
#include "measure/measure.h"

#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REPLY ((size_t)64 << 20) /* a text of many hours */

struct oto_client {
    CURL *curl;
    struct curl_slist *headers;
    char url[600];
    char detail[CURL_ERROR_SIZE];
    char *reply;
    size_t n;
    const _Atomic bool *stop;
};

int oto_client_new(const char *url, const char *key, oto_client **out, oto_err *e)
{
    oto_client *c = calloc(1, sizeof *c);
    char header[400];
    size_t n = strlen(url);

    while (n > 0 && url[n - 1] == '/')
        n--;
    if (c == NULL)
        return oto_fail(e, OTO_E_INTERNAL, "out of memory");
    if (n == 0 || n > 400 || strstr(url, "://") == NULL) {
        free(c);
        return oto_fail(e, OTO_E_USAGE, "%.100s: not an address such as http://127.0.0.1:8000",
                        url);
    }
    snprintf(c->url, sizeof c->url, "%.*s", (int)n, url);
    c->curl = curl_easy_init();
    if (c->curl == NULL) {
        free(c);
        return oto_fail(e, OTO_E_INTERNAL, "libcurl cannot be started");
    }
    if (key != NULL) {
        snprintf(header, sizeof header, "Authorization: Bearer %.300s", key);
        c->headers = curl_slist_append(c->headers, header);
    }
    /* A refusal comes back before the whole upload is sent, but not after a pause of a second. */
    c->headers = curl_slist_append(c->headers, "Expect:");
    *out = c;
    return 0;
}

void oto_client_free(oto_client *c)
{
    if (c == NULL)
        return;
    curl_slist_free_all(c->headers);
    curl_easy_cleanup(c->curl);
    free(c->reply);
    free(c);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    oto_client *c = arg;
    char *grown;

    n *= size;
    if (c->n + n > MAX_REPLY || (grown = realloc(c->reply, c->n + n + 1)) == NULL)
        return 0;
    c->reply = grown;
    memcpy(c->reply + c->n, p, n);
    c->n += n;
    c->reply[c->n] = '\0';
    return n;
}

static int on_progress(void *arg, curl_off_t dt, curl_off_t dn, curl_off_t ut, curl_off_t un)
{
    const oto_client *c = arg;

    (void)dt;
    (void)dn;
    (void)ut;
    (void)un;
    return c->stop != NULL && atomic_load(c->stop);
}

/* One request; *status its answer's, c->reply the body. */
static int request(oto_client *c, const char *method, const char *path, curl_mime *form,
                   long *status, oto_err *e)
{
    char url[800];
    CURLcode rc;

    snprintf(url, sizeof url, "%s%s", c->url, path);
    c->n = 0;
    c->detail[0] = '\0';
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->detail);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "otolith-stress/" OTO_VERSION);
    if (form != NULL)
        curl_easy_setopt(c->curl, CURLOPT_MIMEPOST, form);
    else
        curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    rc = curl_easy_perform(c->curl);
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return oto_fail(e, OTO_E_CANCELLED, "interrupted");
    if (rc != CURLE_OK)
        return oto_fail(e, OTO_E_UNAVAILABLE, "%s: %s", url,
                        c->detail[0] != '\0' ? c->detail : curl_easy_strerror(rc));
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, status);
    return 0;
}

static const char *text_of(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static double number_of(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* What a refusal says: FastAPI's detail, OpenAI's error.message, or the body's start. */
static int refused(const oto_client *c, const char *what, long status, oto_err *e)
{
    json_t *j = json_loadb(c->reply != NULL ? c->reply : "", c->n, 0, NULL);
    const char *said = text_of(j, "detail");
    const int code = status == 503 || status == 429   ? OTO_E_BUSY
                     : status == 401 || status == 403 ? OTO_E_DENIED
                     : status == 404                  ? OTO_E_NOT_FOUND
                     : status == 507                  ? OTO_E_NO_SPACE
                     : status >= 500                  ? OTO_E_UNAVAILABLE
                                                      : OTO_E_INPUT;

    if (said == NULL)
        said = text_of(json_object_get(j, "error"), "message");
    if (said == NULL)
        said = c->n > 0 ? c->reply : "no reason given";
    oto_fail(e, code, "%s: %ld %.200s", what, status, said);
    json_decref(j);
    return code;
}

int oto_client_server(oto_client *c, char *out, size_t n, oto_err *e)
{
    json_t *j;
    long status;
    int rc = request(c, "GET", "/api/v1/health", NULL, &status, e);

    if (rc != 0)
        return rc;
    if (status != 200)
        return refused(c, "/api/v1/health", status, e);
    j = json_loadb(c->reply != NULL ? c->reply : "", c->n, 0, NULL);
    if (text_of(j, "version") != NULL && text_of(j, "model") != NULL)
        snprintf(out, n, "otolith %.40s, %.80s", text_of(j, "version"), text_of(j, "model"));
    else if (request(c, "GET", "/", NULL, &status, NULL) == 0 && status == 200) {
        json_decref(j);
        j = json_loadb(c->reply != NULL ? c->reply : "", c->n, 0, NULL);
        snprintf(out, n, "%.80s %.40s",
                 text_of(j, "service") != NULL ? text_of(j, "service") : "server",
                 text_of(j, "version") != NULL ? text_of(j, "version") : "");
    } else
        snprintf(out, n, "server");
    json_decref(j);
    return 0;
}

int oto_client_submit(oto_client *c, const char *path, const _Atomic bool *stop, char id[64],
                      oto_err *e)
{
    curl_mime *form = curl_mime_init(c->curl);
    curl_mimepart *part = curl_mime_addpart(form);
    const char *given;
    json_t *j;
    long status;
    int rc;

    curl_mime_name(part, "audio");
    if (curl_mime_filedata(part, path) != CURLE_OK) {
        curl_mime_free(form);
        return oto_fail_errno(e, "%s", path);
    }
    c->stop = stop;
    rc = request(c, "POST", "/api/v1/asr/submit", form, &status, e);
    c->stop = NULL;
    curl_mime_free(form);
    if (rc != 0)
        return rc;
    if (status != 200)
        return refused(c, "submit", status, e);
    j = json_loadb(c->reply != NULL ? c->reply : "", c->n, 0, NULL);
    given = text_of(j, "task_id");
    /* It becomes part of an address. */
    if (given == NULL || given[0] == '\0' || strlen(given) > 63 ||
        given[strspn(given, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.")] !=
            '\0')
        rc = oto_fail(e, OTO_E_UNAVAILABLE, "submit: the reply holds no usable task_id");
    else
        snprintf(id, 64, "%s", given);
    json_decref(j);
    return rc;
}

/* Local times of the reply as seconds, for their difference. */
static double between(const json_t *j, const char *from, const char *to)
{
    return oto_record_time(text_of(j, to)) - oto_record_time(text_of(j, from));
}

static void read_text(const json_t *j, oto_task_result *out)
{
    const char *text = text_of(j, "text");
    unsigned char digest[32];
    unsigned int n;

    if (text == NULL)
        return;
    out->text_chars = 0;
    for (const char *p = text; *p != '\0'; p++)
        out->text_chars += ((unsigned char)*p & 0xc0) != 0x80;
    if (EVP_Digest(text, strlen(text), digest, &n, EVP_sha256(), NULL) == 1)
        for (unsigned int i = 0; i < n; i++)
            snprintf(out->sha256 + 2 * i, 3, "%02x", digest[i]);
}

static void read_result(const json_t *j, oto_task_result *out)
{
    const char *status = text_of(j, "status");
    const json_t *memory = json_object_get(j, "memory");
    const double attempts = number_of(j, "attempts");

    *out = (oto_task_result){.attempts = -1, .text_chars = -1};
    out->duration = number_of(j, "duration");
    out->work_s = number_of(j, "processing_time");
    out->queued_s = between(j, "created_at", "started_at");
    out->worker_peak_mb = number_of(memory, "peak_mb");
    out->decoder_peak_mb = number_of(memory, "decoder_peak_mb");
    if (isfinite(attempts))
        out->attempts = (int)attempts;
    if (status != NULL && (strcmp(status, "done") == 0 || strcmp(status, "success") == 0)) {
        out->state = OTO_TASK_DONE;
        read_text(j, out);
    } else if (status != NULL && strcmp(status, "failed") == 0) {
        out->state = OTO_TASK_FAILED;
        snprintf(out->error, sizeof out->error, "%.299s",
                 text_of(j, "error") != NULL ? text_of(j, "error") : "failed");
    } else {
        out->state = OTO_TASK_WAITS; /* clients take any other word for "go on" */
    }
}

int oto_client_result(oto_client *c, const char *id, oto_task_result *out, oto_err *e)
{
    char path[200];
    json_t *j;
    long status;
    int rc;

    snprintf(path, sizeof path, "/api/v1/asr/result/%.63s", id);
    if ((rc = request(c, "GET", path, NULL, &status, e)) != 0)
        return rc;
    if (status != 200)
        return refused(c, "result", status, e);
    j = json_loadb(c->reply != NULL ? c->reply : "", c->n, 0, NULL);
    if (!json_is_object(j))
        rc = oto_fail(e, OTO_E_UNAVAILABLE, "result: the reply is not JSON");
    else
        read_result(j, out);
    json_decref(j);
    return rc;
}

void oto_client_delete(oto_client *c, const char *id)
{
    char path[200];
    long status;

    snprintf(path, sizeof path, "/api/v1/asr/task/%.63s", id);
    (void)!request(c, "DELETE", path, NULL, &status, NULL);
}
