/* A document in two forms at once, Markdown and HTML (document.c; private to measure/). */
#ifndef OTO_MEASURE_DOCUMENT_H
#define OTO_MEASURE_DOCUMENT_H

#include "base/base.h"

typedef struct {
    oto_str md, html;
    const char *lang;   /* "en", "zh-CN" */
    int columns, cells; /* of the table that is being written, of its present row */
    bool head, list;    /* in a table's head; in a list */
} oto_document;

/* Texts given here are escaped; **bold** and `code` in them count in both forms, with oto_plain
 * taking both meanings away from a stranger's text. */
void oto_document_begin(oto_document *d, oto_arena *a, const char *lang, const char *title);
/* The rest of the page; then md and html are complete. */
void oto_document_end(oto_document *d);

void oto_document_heading(oto_document *d, int level, const char *text);
void oto_document_paragraph(oto_document *d, const char *text);
void oto_document_item(oto_document *d, const char *text); /* of a list */
void oto_document_list_end(oto_document *d);
/* A box: kind "pass", "fail", "unknown" or "note". */
void oto_document_box(oto_document *d, const char *kind, const char *text);
void oto_document_code(oto_document *d, const char *text);
/* Links to the other languages and forms. */
void oto_document_links(oto_document *d, const char *const (*links)[2], int n);

/* Cells in order, `columns` to a row, the first row the head. */
void oto_document_table(oto_document *d, int columns);
void oto_document_cell(oto_document *d, const char *text);
void oto_document_table_end(oto_document *d);

/* svg stands in the page; the Markdown shows the file. */
void oto_document_chart(oto_document *d, const char *svg, const char *file, const char *title);

/* A copy without what the two forms would take for markup; control characters left out. */
const char *oto_plain(oto_arena *a, const char *text);

#endif
