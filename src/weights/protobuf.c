/* Protocol Buffers: a message is fields, each a key (field number * 8 + wire type) and a value:
 * 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. */
#include "weights/parts.h"

typedef enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 } wire_type;

uint64_t oto_proto_varint(oto_reader *r)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        const uint8_t b = oto_read_u8(r);

        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
    r->bad = true;
    return 0;
}

bool oto_proto_next(oto_reader *r, oto_proto_field *f)
{
    uint64_t key;

    if (r->bad || oto_reader_left(r) == 0)
        return false;
    key = oto_proto_varint(r);
    *f = (oto_proto_field){.number = (uint32_t)(key >> 3)};
    switch (key & 7) {
    case VARINT:
        f->varint = oto_proto_varint(r);
        break;
    case FIXED64:
        f->varint = oto_read_u64(r);
        break;
    case FIXED32:
        f->varint = oto_read_u32(r);
        break;
    case BYTES: {
        const uint64_t n = oto_proto_varint(r);

        f->bytes.p = (const char *)oto_read_bytes(r, n);
        f->bytes.n = f->bytes.p != NULL ? (size_t)n : 0;
        break;
    }
    default:
        r->bad = true;
    }
    return !r->bad;
}
