/* The API described for programs (OpenAPI 3.1, openapi.json beside this file) and for people. */
#include "server/parts.h"

#include <string.h>

#include "server/openapi.h" /* made from openapi.json at build time: openapi_json[] */

static void fail(oto_exchange *x, const oto_problem *p)
{
    oto_reply_json(x, p->status, json_pack("{s:s}", "detail", oto_clean(x->a, p->text)));
}

static void document(oto_exchange *x)
{
    oto_reply_text(x, 200, "application/json", (const char *)openapi_json, sizeof openapi_json);
}

/* A page that lists the calls of the document; nothing comes from another host. */
static void page(oto_exchange *x)
{
    static const char html[] =
        "<!doctype html><meta charset=utf-8><title>ASR Transcription Service</title>"
        "<style>body{font:16px system-ui;margin:2em;max-width:60em}code{font-size:15px}"
        "h2{margin:1.2em 0 .2em}b{display:inline-block;width:5em}p{margin:.2em 0}</style>"
        "<h1>ASR Transcription Service</h1><p><a href=/openapi.json>openapi.json</a><div "
        "id=a></div>"
        "<script>fetch('/openapi.json').then(r=>r.json()).then(d=>{const a="
        "document.getElementById('a');const add=(t,s)=>{const e=document.createElement(t);"
        "e.textContent=s;a.append(e);return e};for(const p in d.paths)for(const m in d.paths[p]){"
        "const o=d.paths[p][m];add('h2',m.toUpperCase()+' '+p);add('p',o.summary);"
        "for(const q of o.parameters||[])add('p',q.in+' '+q.name+(q.description?': '+"
        "q.description:''));add('p',Object.keys(o.responses).map(c=>c+' '+"
        "o.responses[c].description).join('; '))}})</script>";

    oto_reply_text(x, 200, "text/html; charset=utf-8", html, sizeof html - 1);
}

static const oto_route routes[] = {
    {.methods = OTO_GET, .path = "/openapi.json", .open = true, .prompt = document},
    {.methods = OTO_GET, .path = "/docs", .open = true, .prompt = page},
    {.methods = OTO_GET, .path = "/redoc", .open = true, .prompt = page},
    {0},
};

const oto_protocol oto_docs = {.name = "docs", .routes = routes, .fail = fail};
