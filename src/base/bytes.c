/* Read-only file maps and the bounded little-endian reader that every parser of foreign bytes uses.
 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int oto_map_fd(int fd, const char *name, oto_map *out, oto_err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return oto_fail_errno(e, "%s", name);
    }
    if (S_ISDIR(st.st_mode)) {
        return oto_fail(e, OTO_E_INPUT, "%s: is a folder, a file is needed", name);
    }
    if (!S_ISREG(st.st_mode)) {
        return oto_fail(e, OTO_E_INPUT, "%s: is not a regular file", name);
    }
    if (st.st_size == 0) {
        *out = (oto_map){(const uint8_t *)"", 0};
        return 0;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return oto_fail_errno(e, "%s: mapping %lld bytes", name, (long long)st.st_size);
    }
    *out = (oto_map){p, (size_t)st.st_size};
    return 0;
}

int oto_map_open(const char *path, oto_map *out, oto_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is not waited for */
    if (fd < 0) {
        return oto_fail_errno(e, "%s", path);
    }
    int rc = oto_map_fd(fd, path, out, e);
    close(fd);
    return rc;
}

void oto_map_close(oto_map *m)
{
    if (m->n) {
        munmap((void *)(uintptr_t)m->p, m->n);
    }
    *m = (oto_map){(const uint8_t *)"", 0};
}

void oto_reader_init(oto_reader *r, const void *p, size_t n)
{
    *r = (oto_reader){.p = p, .n = n};
}

const uint8_t *oto_read_bytes(oto_reader *r, uint64_t n)
{
    if (r->bad || n > r->n - r->at) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p + r->at;
    r->at += (size_t)n;
    return p;
}

uint8_t oto_read_u8(oto_reader *r)
{
    const uint8_t *p = oto_read_bytes(r, 1);
    return p ? p[0] : 0;
}

uint16_t oto_read_u16(oto_reader *r)
{
    const uint8_t *p = oto_read_bytes(r, 2);
    return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

uint32_t oto_read_u32(oto_reader *r)
{
    const uint8_t *p = oto_read_bytes(r, 4);
    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24
             : 0;
}

uint64_t oto_read_u64(oto_reader *r)
{
    uint64_t lo = oto_read_u32(r);
    uint64_t hi = oto_read_u32(r);
    return r->bad ? 0 : lo | hi << 32;
}

float oto_read_f32(oto_reader *r)
{
    uint32_t u = oto_read_u32(r);
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

size_t oto_reader_left(const oto_reader *r)
{
    return r->bad ? 0 : r->n - r->at;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

float oto_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exp = h >> 10 & 31, man = h & 0x3ff;
    if (exp == 0) { /* zero or subnormal: man × 2^-24 */
        float f = (float)man * 0x1p-24f;
        return sign ? -f : f;
    }
    if (exp == 31) {
        return float_of(sign | 0x7f800000u | man << 13);
    }
    return float_of(sign | (exp + 112) << 23 | man << 13);
}

uint16_t oto_f32_to_f16(float f)
{
    uint32_t u = bits_of(f);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00);
    }
    if (u >= 0x477ff000u) { /* rounds to infinity */
        return (uint16_t)(sign | 0x7c00);
    }
    if (u < 0x38800000u) { /* subnormal: adding 0.5 leaves the rounded mantissa in the low bits */
        return (uint16_t)(sign | (bits_of(float_of(u) + 0.5f) - 0x3f000000u));
    }
    return (uint16_t)(sign | (((u + 0xfff + (u >> 13 & 1)) >> 13) - (112u << 10)));
}

float oto_bf16_to_f32(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

uint16_t oto_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(u >> 16 | 0x40);
    }
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
