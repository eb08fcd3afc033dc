/* Loading libav: exactly the versions whose headers were compiled in. */
#define OTO_AV_NAMES
#include "media/av.h"

#include <dlfcn.h>
#include <string.h>

oto_av_table oto_av;

#define LIBRARY(name, major)                                                                       \
    {                                                                                              \
#name, "lib" #name ".so." AV_STRINGIFY(major), "lib" #name AV_STRINGIFY(major)             \
    }

static const struct {
    const char *name, *soname, *package; /* as Debian and its kin name them */
} libraries[] = {
    LIBRARY(avutil, LIBAVUTIL_VERSION_MAJOR), LIBRARY(swresample, LIBSWRESAMPLE_VERSION_MAJOR),
    LIBRARY(avcodec, LIBAVCODEC_VERSION_MAJOR), LIBRARY(avformat, LIBAVFORMAT_VERSION_MAJOR)};

static void *handles[OTO_COUNT(libraries)];

static void *find(const char *library, const char *function)
{
    for (size_t i = 0; i < OTO_COUNT(libraries); i++)
        if (strcmp(libraries[i].name, library) == 0)
            return dlsym(handles[i], function);
    return NULL;
}

int oto_av_load(oto_err *e)
{
    static bool loaded;
    void *f;

    if (loaded)
        return 0;
    for (size_t i = 0; i < OTO_COUNT(libraries); i++) {
        handles[i] = dlopen(libraries[i].soname, RTLD_NOW | RTLD_LOCAL);
        if (handles[i] == NULL)
            return oto_fail(e, OTO_E_UNAVAILABLE,
                            "the decoder library %s cannot be loaded (package %s): %s",
                            libraries[i].soname, libraries[i].package, dlerror());
    }
#define X(library, function)                                                                       \
    if ((f = find(#library, #function)) == NULL)                                                   \
        return oto_fail(e, OTO_E_UNAVAILABLE, "lib" #library " has no " #function);                \
    memcpy(&oto_av.function##_, &f, sizeof f);
    OTO_AV_FUNCTIONS(X)
#undef X
    loaded = true;
    return 0;
}
