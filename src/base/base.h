/* base: what every folder may use. It knows nothing of sound, models or the network.
 *
 * Errors   every fallible function returns 0 or a negative OTO_E… code; its last parameter is a
 * caller-owned `oto_err *` (NULL allowed) that receives the code and one line naming the thing and
 * the reason. Memory   three lifetimes: process (heap), job (one oto_arena, reset at its end), step
 * (a mark, rolled back).
 */
#ifndef OTO_BASE_H
#define OTO_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OTO_VERSION      "0.1.0"
#define OTO_CHECK        __attribute__((warn_unused_result))
#define OTO_PRINTF(a, b) __attribute__((format(printf, a, b)))
#define OTO_COUNT(a)     (sizeof(a) / sizeof((a)[0]))
#define OTO_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define OTO_MAX(a, b)    ((a) > (b) ? (a) : (b))

/* ---- errors (err.c) -------------------------------------------------------------------------- */

/* One list: code, class, text. The class decides the exit status (cli) and the HTTP status
 * (server). */
#define OTO_ERROR_LIST(X)                                                                          \
    X(INPUT, INPUT, "bad input")   /* the bytes are not what they claim to be */                   \
    X(NO_AUDIO, INPUT, "no audio") /* readable, but holds no sound */                              \
    X(USAGE, USAGE, "bad usage")   /* wrong option or value */                                     \
    X(NOT_FOUND, NOT_FOUND, "not found")                                                           \
    X(CHECKSUM, INPUT, "wrong checksum")                                                           \
    X(UNSUPPORTED, INPUT, "unsupported")                                                           \
    X(DENIED, DENIED, "permission denied")                                                         \
    X(LIMIT, LIMIT, "limit reached") /* an arena, quota or memory cap */                           \
    X(NO_SPACE, LIMIT, "no space left")                                                            \
    X(BUSY, BUSY, "busy")                                                                          \
    X(UNAVAILABLE, UNAVAILABLE, "unavailable") /* network, hub, peer process */                    \
    X(CANCELLED, UNAVAILABLE, "cancelled")                                                         \
    X(IO, UNAVAILABLE, "input/output error")                                                       \
    X(INTERNAL, INTERNAL, "internal error")

enum {
    OTO_OK = 0,
#define X(name, cls, text) OTO_E_##name##_,
    OTO_ERROR_LIST(X)
#undef X
};
enum {
#define X(name, cls, text) OTO_E_##name = -OTO_E_##name##_,
    OTO_ERROR_LIST(X)
#undef X
};
typedef enum {
    OTO_CLASS_OK,
    OTO_CLASS_INPUT,
    OTO_CLASS_USAGE,
    OTO_CLASS_NOT_FOUND,
    OTO_CLASS_DENIED,
    OTO_CLASS_LIMIT,
    OTO_CLASS_BUSY,
    OTO_CLASS_UNAVAILABLE,
    OTO_CLASS_INTERNAL
} oto_err_class;

typedef struct {
    int code;       /* 0 or OTO_E_… */
    char text[500]; /* "talk.mp3: no audio track (2 video streams)", no newline */
} oto_err;

/* Writes code and text into `e` (may be NULL) and returns `code`, so that `return oto_fail(e, …)`
 * reads well. */
int oto_fail(oto_err *e, int code, const char *fmt, ...) OTO_PRINTF(3, 4);
/* The same with ": <strerror(errno)>" appended and the code chosen from errno (ENOENT -> NOT_FOUND,
 * EACCES/EPERM -> DENIED, ENOSPC/EDQUOT -> NO_SPACE, ENOMEM -> LIMIT, else IO). */
int oto_fail_errno(oto_err *e, const char *fmt, ...) OTO_PRINTF(2, 3);
/* Puts "<prefix>: " in front of the text already in `e`; returns e->code. */
int oto_err_prefix(oto_err *e, const char *fmt, ...) OTO_PRINTF(2, 3);
oto_err_class oto_err_classify(int code);
const char *oto_err_name(int code);

typedef enum { OTO_LOG_ERROR, OTO_LOG_WARN, OTO_LOG_INFO, OTO_LOG_DEBUG } oto_log_level;
/* Set once at start-up, before threads. Default: INFO, plain text to stderr. */
void oto_log_setup(oto_log_level level, bool json);
/* One line on stderr: "otolith: <text>" or a JSON object with time, level and text. Thread-safe,
 * one write(2). */
void oto_log(oto_log_level level, const char *fmt, ...) OTO_PRINTF(2, 3);

/* ---- what threads did when (trace.c), for otolith bench ---- */

typedef struct {
    const char *thread, *what; /* string constants */
    double from_s, to_s;       /* of oto_now_s */
} oto_trace_span;
/* Spans of the whole process go into `spans` (borrowed), what does not fit nowhere, until the end,
 * which says how many they are. Both while no other thread traces. */
void oto_trace_begin(oto_trace_span *spans, int n);
int oto_trace_end(void);
/* A span from from_s to now; nothing unless between begin and end. */
void oto_trace(const char *thread, const char *what, double from_s);

/* ---- faults on purpose (fault.c) ---- */

/* True when this call has to fail, with errno set; never in ordinary builds. `what` names the call.
 */
#ifdef OTO_FAULTS
bool oto_fault(const char *what, int error);
void oto_fault_setup(void); /* once, before anything is forked */
/* Loses memory for good, `times` what OTOLITH_LEAK says of `who` ("worker", "decoder", "gateway").
 */
void oto_fault_leak(const char *who, size_t times);
#else
static inline bool oto_fault(const char *what, int error)
{
    (void)what;
    (void)error;
    return false;
}
static inline void oto_fault_setup(void)
{
}
static inline void oto_fault_leak(const char *who, size_t times)
{
    (void)who;
    (void)times;
}
#endif

/* ---- checked sizes ----------------------------------------------------------------------------
 */

/* *out = a * b, or false (and *out untouched) when it does not fit. */
static inline bool oto_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* ---- arenas (arena.c) -------------------------------------------------------------------------
 */

/* A region with a hard cap. Address space is reserved when it is made, opened as it is used and
 * touched as it is first used, so a generous cap costs nothing. Not thread-safe, and not there in a
 * forked child. */
typedef struct oto_arena oto_arena;
typedef size_t oto_mark;

/* `name` is for messages and must outlive the arena. Fails with OTO_E_LIMIT. */
int oto_arena_new(const char *name, size_t cap_bytes, oto_arena **out, oto_err *e) OTO_CHECK;
void oto_arena_free(oto_arena *a); /* runs hooks; NULL allowed */
/* 64-byte aligned, NOT zeroed; NULL when full. */
void *oto_arena_alloc(oto_arena *a, size_t n_bytes);
/* n × size with overflow check; zeroed; NULL when full. */
void *oto_arena_calloc(oto_arena *a, size_t n, size_t size);
/* Like alloc, but writes "NAME: memory limit of N MiB reached" into `e`. */
int oto_arena_get(oto_arena *a, size_t n, size_t size, void *out_ptr, oto_err *e) OTO_CHECK;
char *oto_arena_strdup(oto_arena *a, const char *s, size_t n);
oto_mark oto_arena_mark(const oto_arena *a);
/* Everything allocated since the mark is gone; hooks added since then have run, newest first. */
void oto_arena_rollback(oto_arena *a, oto_mark m);
void oto_arena_reset(oto_arena *a); /* rollback to empty */
/* fn(arg) runs when the arena is rolled back past this point, reset or freed. Returns false when
 * full. */
bool oto_arena_on_reset(oto_arena *a, void (*fn)(void *), void *arg);
size_t oto_arena_used(const oto_arena *a);
size_t oto_arena_peak(const oto_arena *a);
/* Gives pages above the current use back to the kernel. */
void oto_arena_trim(oto_arena *a);

/* ---- strings (str.c) --------------------------------------------------------------------------
 */

typedef struct {
    const char *p;
    size_t n;
} oto_slice; /* borrowed bytes, not terminated */

/* Growable text in an arena (grown in place when it is the newest allocation). Always terminated.
 */
typedef struct {
    oto_arena *a;
    char *p;
    size_t n, cap;
    bool failed; /* the arena was full: the text is cut, never overrun */
} oto_str;

void oto_str_init(oto_str *s, oto_arena *a);
void oto_str_put(oto_str *s, const char *p, size_t n);
void oto_str_puts(oto_str *s, const char *z);
void oto_str_printf(oto_str *s, const char *fmt, ...) OTO_PRINTF(2, 3);
void oto_str_clear(oto_str *s);

/* Decodes one code point at p (n ≥ 1 bytes); returns its length, or 1 with *cp = 0xFFFD for a bad
 * byte. */
size_t oto_utf8_next(const char *p, size_t n, uint32_t *cp);
/* Writes up to 4 bytes; returns the count. */
size_t oto_utf8_put(char *out, uint32_t cp);
/* Length of the longest prefix of p[0..n) that does not end inside a sequence. */
size_t oto_utf8_complete(const char *p, size_t n);

/* ---- foreign bytes (bytes.c) ------------------------------------------------------------------
 */

/* A read-only file map. Empty files map to p = "" and n = 0. */
typedef struct {
    const uint8_t *p;
    size_t n;
} oto_map;
int oto_map_open(const char *path, oto_map *out, oto_err *e) OTO_CHECK;
/* Maps an open descriptor (a memfd, say); the descriptor stays the caller's. */
int oto_map_fd(int fd, const char *name, oto_map *out, oto_err *e) OTO_CHECK;
void oto_map_close(oto_map *m);

/* Bounded little-endian reader: every parser of foreign bytes reads through it. After the first
 * read past the end `bad` is true and everything reads as zero; check once per structure. */
typedef struct {
    const uint8_t *p;
    size_t n, at;
    bool bad;
} oto_reader;
void oto_reader_init(oto_reader *r, const void *p, size_t n);
uint8_t oto_read_u8(oto_reader *r);
uint16_t oto_read_u16(oto_reader *r);
uint32_t oto_read_u32(oto_reader *r);
uint64_t oto_read_u64(oto_reader *r);
float oto_read_f32(oto_reader *r);
/* Borrows n bytes, or NULL (and bad) when fewer are left. */
const uint8_t *oto_read_bytes(oto_reader *r, uint64_t n);
size_t oto_reader_left(const oto_reader *r);

float oto_f16_to_f32(uint16_t h);
uint16_t oto_f32_to_f16(float f); /* round to nearest even */
float oto_bf16_to_f32(uint16_t h);
uint16_t oto_f32_to_bf16(float f); /* round to nearest even; NaN stays NaN */

/* ---- operating system (os.c) ------------------------------------------------------------------
 */

int64_t oto_now_ms(void);        /* monotonic */
double oto_now_s(void);          /* monotonic, ns resolution */
double oto_cpu_s(void);          /* user + system time of this process and its ended children */
size_t oto_rss_bytes(void);      /* now */
size_t oto_rss_anon_bytes(void); /* now, without the pages of files */
size_t oto_peak_rss_bytes(void); /* VmHWM of this process */
size_t oto_data_bytes(void);     /* what RLIMIT_DATA counts: private writable memory */
int oto_cpu_count(void);         /* affinity ∩ cgroup quota, ≥ 1 */
/* Gives resident pages of programs and libraries back: for a process that will hardly run any. */
void oto_release_code(void);
size_t oto_memory_limit_bytes(void); /* min(physical, cgroup limit) */
/* Creates DIR and its parents (0755). */
int oto_mkdirs(const char *dir, oto_err *e) OTO_CHECK;
/* Writes a file so that a crash leaves the old content or the new one: temp file in the same
 * folder, fsync, rename, fsync of the folder. */
int oto_write_file(const char *path, const void *p, size_t n, oto_err *e) OTO_CHECK;

/* ---- sandbox (sandbox.c) ----------------------------------------------------------------------
 */

/* For a process about to parse hostile bytes. Applies, in order: no new privileges, rlimits
 * (address space, CPU seconds, no core file, no new files, open files capped), then a seccomp
 * filter where the kernel has it. After it only the descriptors already open can be used: no open,
 * socket, exec, fork, ptrace or kill. */
typedef struct {
    size_t address_space_bytes; /* 0: leave */
    unsigned cpu_seconds;       /* 0: leave */
    bool threads;               /* allow threads to be made */
} oto_sandbox;
int oto_sandbox_enter(const oto_sandbox *s, oto_err *e) OTO_CHECK;
bool oto_sandbox_has_seccomp(void);

#endif
