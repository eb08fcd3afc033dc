/* A document in two forms at once. The page is one file: style and charts inside, nothing fetched.
 */
#include "measure/document.h"

#include <string.h>

static const char style[] =
    ":root{--ink:#1f2328;--soft:#59636e;--paper:#fff;--line:#d9dee3;--card:#f6f8fa;--link:#0969da;"
    "--pass:#1a7f37;--fail:#cf222e;--unknown:#9a6700}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--paper:#0d1117;"
    "--line:#333b44;--card:#161b22;--link:#58a6ff;--pass:#3fb950;--fail:#f85149;--unknown:#d29922}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"
    "'Segoe UI','Noto Sans','Noto Sans CJK SC','PingFang SC','Microsoft YaHei',sans-serif}"
    "main{max-width:960px;margin:0 auto;padding:32px 20px 64px}"
    "h1{font-size:1.9em;line-height:1.25;margin:.2em 0 .6em}h2{margin:2em 0 "
    ".6em;padding-bottom:.25em;"
    "border-bottom:1px solid var(--line);font-size:1.4em}h3{margin:1.6em 0 .5em;font-size:1.12em}"
    "a{color:var(--link)}code,pre{font:.88em/1.5 ui-monospace,Menlo,Consolas,monospace;"
    "background:var(--card)}code{padding:.1em .3em;border-radius:4px;overflow-wrap:anywhere}"
    "pre{padding:12px;overflow-x:auto;border-radius:6px}"
    ".wide{overflow-x:auto;margin:1em "
    "0}table{border-collapse:collapse;font-size:.9em;min-width:50%;"
    "font-variant-numeric:tabular-nums}th,td{padding:6px 10px;border:1px solid var(--line);"
    "text-align:left;vertical-align:top}th{background:var(--card)}"
    ".box{border-left:4px solid var(--soft);background:var(--card);padding:10px 16px;margin:1em 0;"
    "border-radius:0 6px 6px "
    "0}.box.pass{border-color:var(--pass)}.box.fail{border-color:var(--fail)}"
    ".box.unknown{border-color:var(--unknown)}"
    "figure{margin:1.4em 0}figure .wide{border:1px solid var(--line);border-radius:8px;padding:6px}"
    "svg{display:block;width:100%;min-width:560px;height:auto}"
    "@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--line:#bbb;--card:#f4f4f4;--link:#000}"
    "main{max-width:none;padding:0}h2,h3{break-after:avoid}figure,.box,tr{break-inside:avoid}"
    "svg{min-width:0}.wide{overflow:visible}body{font-size:11pt}}";

/* ---- escaping; **bold** and `code` ---- */

static void put_html(oto_str *out, const char *s)
{
    bool bold = false, code = false;

    for (; *s != '\0'; s++) {
        if (s[0] == '*' && s[1] == '*' && !code) {
            oto_str_puts(out, bold ? "</strong>" : "<strong>");
            bold = !bold;
            s++;
        } else if (*s == '`') {
            oto_str_puts(out, code ? "</code>" : "<code>");
            code = !code;
        } else if (*s == '&') {
            oto_str_puts(out, "&amp;");
        } else if (*s == '<') {
            oto_str_puts(out, "&lt;");
        } else if (*s == '>') {
            oto_str_puts(out, "&gt;");
        } else {
            oto_str_put(out, s, 1);
        }
    }
    oto_str_puts(out, code ? "</code>" : "");
    oto_str_puts(out, bold ? "</strong>" : "");
}

/* Markdown passes HTML through and takes a bar for the end of a cell. */
static void put_md(oto_str *out, const char *s)
{
    bool code = false;

    for (; *s != '\0'; s++) {
        if (*s == '`')
            code = !code;
        if (*s == '|')
            oto_str_puts(out, "\\|");
        else if (*s == '<' && !code)
            oto_str_puts(out, "&lt;");
        else
            oto_str_put(out, s, 1);
    }
}

const char *oto_plain(oto_arena *a, const char *text)
{
    const size_t n = strlen(text);
    char *copy = oto_arena_alloc(a, n + 1), *to = copy;

    if (copy == NULL)
        return "";
    for (const char *s = text; *s != '\0'; s++)
        if ((unsigned char)*s >= 0x20 && *s != 0x7f)
            *to++ = *s == '`' ? '\'' : *s == '*' ? '+' : *s;
    *to = '\0';
    return copy;
}

/* ---- the frame ---- */

void oto_document_begin(oto_document *d, oto_arena *a, const char *lang, const char *title)
{
    *d = (oto_document){.lang = lang};
    oto_str_init(&d->md, a);
    /* Two texts that grow in one arena would move each other out of the way again and again. */
    oto_str_init(&d->html, a);
    oto_str_printf(&d->html,
                   "<!doctype html>\n<html lang=\"%s\">\n<head>\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                   "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
                   lang);
    put_html(&d->html, title);
    oto_str_printf(&d->html, "</title>\n<style>%s</style>\n</head>\n<body>\n<main>\n", style);
}

void oto_document_end(oto_document *d)
{
    oto_str_puts(&d->html, "</main>\n</body>\n</html>\n");
}

/* ---- blocks ---- */

void oto_document_heading(oto_document *d, int level, const char *text)
{
    oto_str_printf(&d->md, "%.*s ", level, "####");
    put_md(&d->md, text);
    oto_str_puts(&d->md, "\n\n");
    oto_str_printf(&d->html, "<h%d>", level);
    put_html(&d->html, text);
    oto_str_printf(&d->html, "</h%d>\n", level);
}

void oto_document_paragraph(oto_document *d, const char *text)
{
    put_md(&d->md, text);
    oto_str_puts(&d->md, "\n\n");
    oto_str_puts(&d->html, "<p>");
    put_html(&d->html, text);
    oto_str_puts(&d->html, "</p>\n");
}

void oto_document_item(oto_document *d, const char *text)
{
    oto_str_puts(&d->md, "- ");
    put_md(&d->md, text);
    oto_str_puts(&d->md, "\n");
    oto_str_puts(&d->html, d->list ? "<li>" : "<ul>\n<li>");
    put_html(&d->html, text);
    oto_str_puts(&d->html, "</li>\n");
    d->list = true;
}

void oto_document_list_end(oto_document *d)
{
    if (d->list) {
        oto_str_puts(&d->md, "\n");
        oto_str_puts(&d->html, "</ul>\n");
    }
    d->list = false;
}

void oto_document_box(oto_document *d, const char *kind, const char *text)
{
    oto_str_puts(&d->md, "> ");
    put_md(&d->md, text);
    oto_str_puts(&d->md, "\n\n");
    oto_str_printf(&d->html, "<div class=\"box %s\">", kind);
    put_html(&d->html, text);
    oto_str_puts(&d->html, "</div>\n");
}

void oto_document_code(oto_document *d, const char *text)
{
    oto_str_printf(&d->md, "```python\n%s```\n\n", text);
    oto_str_puts(&d->html, "<pre>");
    for (const char *s = text; *s != '\0'; s++)
        if (*s == '<' || *s == '&')
            oto_str_puts(&d->html, *s == '<' ? "&lt;" : "&amp;");
        else
            oto_str_put(&d->html, s, 1);
    oto_str_puts(&d->html, "</pre>\n");
}

void oto_document_links(oto_document *d, const char *const (*links)[2], int n)
{
    oto_str_puts(&d->html, "<p>");
    for (int i = 0; i < n; i++) {
        oto_str_printf(&d->md, "%s[%s](%s.md)", i > 0 ? " | " : "", links[i][0], links[i][1]);
        oto_str_printf(&d->html, "%s<a href=\"%s.html\">%s</a>", i > 0 ? " | " : "", links[i][1],
                       links[i][0]);
    }
    oto_str_puts(&d->md, "\n\n");
    oto_str_puts(&d->html, "</p>\n");
}

/* ---- tables ---- */

void oto_document_table(oto_document *d, int columns)
{
    d->columns = columns;
    d->cells = 0;
    d->head = true;
    oto_str_puts(&d->html, "<div class=\"wide\"><table>\n<tr>");
    oto_str_puts(&d->md, "|");
}

void oto_document_cell(oto_document *d, const char *text)
{
    if (d->cells == d->columns) {
        oto_str_puts(&d->html, "</tr>\n<tr>");
        oto_str_puts(&d->md, "\n|");
        if (d->head)
            for (int i = 0; i < d->columns; i++)
                oto_str_puts(&d->md, i + 1 < d->columns ? "---|" : "---|\n|");
        d->head = false;
        d->cells = 0;
    }
    oto_str_puts(&d->md, " ");
    put_md(&d->md, text);
    oto_str_puts(&d->md, " |");
    oto_str_puts(&d->html, d->head ? "<th>" : "<td>");
    put_html(&d->html, text);
    oto_str_puts(&d->html, d->head ? "</th>" : "</td>");
    d->cells++;
}

void oto_document_table_end(oto_document *d)
{
    d->head = false;
    oto_str_puts(&d->html, "</tr>\n</table></div>\n");
    oto_str_puts(&d->md, "\n\n");
}

/* ---- charts ---- */

void oto_document_chart(oto_document *d, const char *svg, const char *file, const char *title)
{
    oto_str_puts(&d->md, "![");
    put_md(&d->md, title);
    oto_str_printf(&d->md, "](%s)\n\n", file);
    oto_str_puts(&d->html, "<figure><div class=\"wide\">");
    oto_str_puts(&d->html, svg);
    oto_str_puts(&d->html, "</div></figure>\n");
}
