#include "weights/contents.c"

#include "files.h"

#include <sys/mman.h>

/* A thousand tensors, each found, none twice. */
static void finds_among_many(void **state)
{
    (void)state;
    enum { N = 1000 };
    oto_gguf_writer *out;
    oto_weights *w;
    char name[40];
    static float v[N];
    ASSERT_OK(oto_gguf_writer_new(&out, e_));
    for (int i = 0; i < N; i++) {
        v[i] = (float)i;
        snprintf(name, sizeof name, "layer.%d.weight", i);
        ASSERT_OK(
            oto_gguf_put_tensor(out, name, OTO_T_F32, 1, (int64_t[]){1}, &v[i], sizeof *v, e_));
    }
    int fd = memfd_create("x", MFD_CLOEXEC);
    ASSERT_OK(oto_gguf_finish_fd(out, fd, e_));
    oto_gguf_writer_free(out);
    ASSERT_OK(oto_weights_open_fd(fd, "many", &w, e_));
    close(fd);
    for (int i = 0; i < N; i++) {
        float f = -1;
        snprintf(name, sizeof name, "layer.%d.weight", i);
        assert_non_null(oto_weights_find(w, name));
        oto_tensor_row_f32(oto_weights_find(w, name), 0, &f);
        assert_true(f == (float)i);
    }
    assert_null(oto_weights_find(w, "layer.1000.weight"));
    assert_null(oto_weights_find(w, ""));
    oto_weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_among_many),
    };
    return cmocka_run_group_tests_name("weights/contents", tests, NULL, NULL);
}
