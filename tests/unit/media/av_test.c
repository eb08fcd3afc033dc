/* Loading libav, and what is said where a part of it is not installed. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const char *missing; /* the library that is */

static void *open_unless_missing(const char *name, int flags)
{
    return missing != NULL && strstr(name, missing) != NULL ? dlopen("/nonexistent/lib.so", flags)
                                                            : dlopen(name, flags);
}

#define dlopen open_unless_missing
#include "media/av.c"
#undef dlopen

#include "media/media.h"

#include "recordings.h"

/* First: what is loaded stays so. */
static void a_missing_library_is_named(void **state)
{
    static const char *const names[] = {"avutil", "swresample", "avcodec", "avformat"};
    char wanted[100];
    oto_err e;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        missing = names[i];
        e = (oto_err){0};
        assert_int_equal(oto_av_load(&e), OTO_E_UNAVAILABLE);
        assert_int_equal(e.code, OTO_E_UNAVAILABLE);
        assert_string_equal(libraries[i].name, names[i]);
        snprintf(wanted, sizeof wanted,
                 "the decoder library %s cannot be loaded (package %s): ", libraries[i].soname,
                 libraries[i].package);
        assert_memory_equal(e.text, wanted, strlen(wanted));
        assert_memory_equal(oto_media_versions(), "the decoder library", 19);
    }
}

/* The program learns it from the child, for each recording. */
static void a_recording_says_so_too(void **state)
{
    heard h;

    (void)state;
    missing = "avcodec";
    h = hear(in_dir("ref.wav"));
    assert_int_equal(h.rc, OTO_E_UNAVAILABLE);
    assert_non_null(strstr(h.e.text, "ref.wav: the decoder library libavcodec.so."));
    forget(&h);
}

static void every_function_is_found(void **state)
{
    oto_err e = {0};

    (void)state;
    missing = NULL;
    assert_int_equal(oto_av_load(&e), 0);
    assert_int_equal(oto_av_load(&e), 0);
    assert_int_equal(AV_VERSION_MAJOR(oto_av.avformat_version_()), LIBAVFORMAT_VERSION_MAJOR);
    assert_int_equal(AV_VERSION_MAJOR(oto_av.avcodec_version_()), LIBAVCODEC_VERSION_MAJOR);
    assert_memory_equal(oto_media_versions(), "libavformat ", 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_library_is_named),
        cmocka_unit_test(a_recording_says_so_too),
        cmocka_unit_test(every_function_is_found),
    };

    return have_ffmpeg() ? cmocka_run_group_tests(tests, set_up, tear_down) : 77;
}
