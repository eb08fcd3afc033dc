#include "store/sqlite_keys.c"
#include "unit/store/kit.h"

#include <fcntl.h>

#define NOW 1000000

static oto_key add(const char *name, int max_jobs, char secret[72])
{
    oto_key k = {0};

    OK(oto_store_key_add(kit_store, name, max_jobs, NOW, secret, kit_arena, &k, &e));
    return k;
}

static void keys_live_and_die(void **state)
{
    char a[72], b[72];
    const oto_key ka = add("laptop", 7, a), kb = add("", 0, b);
    oto_key found, list[4];
    int n;

    (void)state;
    assert_int_equal(strlen(a), 4 + 64);
    assert_int_equal(strncmp(a, "oto_", 4), 0);
    assert_string_not_equal(a, b);
    assert_string_not_equal(ka.id, kb.id);
    OK(oto_store_key_check(kit_store, a, NOW, kit_arena, &found, &e));
    assert_string_equal(found.id, ka.id);
    assert_string_equal(found.name, "laptop");
    assert_int_equal(found.max_jobs, 7);
    OK(oto_store_key_revoke(kit_store, ka.id, NOW, &e));
    FAILS(OTO_E_DENIED, oto_store_key_check(kit_store, a, NOW, kit_arena, &found, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_key_revoke(kit_store, ka.id, NOW, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_key_revoke(kit_store, "nobody", NOW, &e));
    OK(oto_store_key_check(kit_store, b, NOW, kit_arena, &found, &e));
    OK(oto_store_key_list(kit_store, kit_arena, list, 4, &n, &e));
    assert_int_equal(n, 2); /* revoked ones last */
    assert_string_equal(list[0].id, kb.id);
    assert_int_equal(list[1].revoked_at, NOW);
    OK(oto_store_key_list(kit_store, kit_arena, list, 1, &n, &e));
    assert_int_equal(n, 1);
}

static void near_misses_are_denied(void **state)
{
    char a[72], wrong[72];
    const oto_key k = add("k", 0, a);
    oto_key found;

    (void)state;
    snprintf(wrong, sizeof wrong, "%s", a);
    wrong[67] = wrong[67] == '0' ? '1' : '0';
    FAILS(OTO_E_DENIED, oto_store_key_check(kit_store, wrong, NOW, kit_arena, &found, &e));
    FAILS(OTO_E_DENIED, oto_store_key_check(kit_store, "", NOW, kit_arena, &found, &e));
    FAILS(OTO_E_DENIED, oto_store_key_check(kit_store, k.id, NOW, kit_arena, &found, &e));
    FAILS(OTO_E_DENIED, oto_store_key_check(kit_store, a + 4, NOW, kit_arena, &found, &e));
    FAILS(OTO_E_DENIED, oto_store_key_check(kit_store, "' OR 1=1", NOW, kit_arena, &found, &e));
}

static void use_is_kept_to_the_minute(void **state)
{
    char a[72];
    oto_key found;

    (void)state;
    add("k", 0, a);
    OK(oto_store_key_check(kit_store, a, NOW, kit_arena, &found, &e));
    OK(oto_store_key_check(kit_store, a, NOW + 59999, kit_arena, &found, &e));
    assert_int_equal(found.used_at, NOW);
    OK(oto_store_key_check(kit_store, a, NOW + 60000, kit_arena, &found, &e));
    OK(oto_store_key_check(kit_store, a, NOW + 60001, kit_arena, &found, &e));
    assert_int_equal(found.used_at, NOW + 60000);
}

static bool file_holds(const char *end, const char *text, size_t n)
{
    char name[100], *bytes = malloc(4 << 20);
    ssize_t got;
    bool found;
    int fd;

    snprintf(name, sizeof name, "%s%s", kit_path, end);
    fd = open(name, O_RDONLY);
    got = fd >= 0 ? read(fd, bytes, 4 << 20) : 0;
    found = got > 0 && memmem(bytes, (size_t)got, text, n) != NULL;
    if (fd >= 0)
        close(fd);
    free(bytes);
    return found;
}

static void no_secret_is_on_disk(void **state)
{
    char a[72];
    oto_key k;

    (void)state;
    add("findable", 0, a);
    OK(oto_store_key_check(kit_store, a, NOW, kit_arena, &k, &e));
    oto_store_close(kit_store);
    assert_true(file_holds("", "findable", 8));
    assert_false(file_holds("", a + 4, 32));
    assert_false(file_holds("-wal", a + 4, 32));
    OK(oto_store_open(kit_path, &kit_store, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(keys_live_and_die),
        KIT_TEST(near_misses_are_denied),
        KIT_TEST(use_is_kept_to_the_minute),
        KIT_TEST(no_secret_is_on_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
