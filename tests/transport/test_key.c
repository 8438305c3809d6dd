/* Key files, key texts, addresses. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/addr.h"
#include "transport/key.h"

static char dir[64], path[96];

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/mob-key-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/key", dir);
}
static void teardown(void)
{
    unlink(path);
    cr_assert_eq(rmdir(dir), 0, "something was left behind in %s", dir);
}
TestSuite(key, .init = setup, .fini = teardown, .timeout = 20);

static void put(const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, mode);
    close(fd);
}

Test(key, is_made_once_and_private)
{
    struct key a, b;
    struct stat st;
    bool created = false;
    cr_assert_eq(key_load_or_create(path, &a, &created), MOB_OK, "%s", mob_last_error());
    cr_assert(created);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    cr_assert_eq(key_load_or_create(path, &b, &created), MOB_OK);
    cr_assert_not(created);
    cr_assert_arr_eq(a.bytes, b.bytes, KEY_BYTES);
}

Test(key, both_texts_are_read)
{
    struct key a, b;
    char text[KEY_TEXT_SIZE], hex[80];
    int fd[2];
    size_t used = (size_t)snprintf(hex, sizeof hex, " ");
    key_generate(&a);
    cr_assert_eq(key_parse(key_text(&a, text), 44, &b), MOB_OK);
    cr_assert_arr_eq(a.bytes, b.bytes, KEY_BYTES);
    for (int i = 0; i < KEY_BYTES; i++) {
        used += (size_t)snprintf(hex + used, sizeof hex - used, "%02x", a.bytes[i]);
    }
    snprintf(hex + used, sizeof hex - used, " \n");
    cr_assert_eq(pipe(fd), 0);
    cr_assert_eq(write(fd[1], hex, strlen(hex)), (ssize_t)strlen(hex));
    cr_assert_eq(key_read_fd(fd[0], &b),
                 MOB_OK); /* the pipe stays open: the line is enough */
    cr_assert_arr_eq(a.bytes, b.bytes, KEY_BYTES);
}

Test(key, failures_name_path_and_fix)
{
    struct key key;
    cr_assert_eq(key_load(path, false, &key), MOB_ERR_KEY);
    cr_assert(strstr(mob_last_error(), path) && strstr(mob_last_error(), "copy"));
    char text[KEY_TEXT_SIZE];
    key_generate(&key);
    put(key_text(&key, text), 0640);
    cr_assert_eq(key_load(path, false, &key), MOB_ERR_KEY);
    cr_assert(strstr(mob_last_error(), path) && strstr(mob_last_error(), "chmod 600"));
    cr_assert_eq(key_load_or_create(path, &key, NULL), MOB_ERR_KEY, "took an open file");
    cr_assert_eq(key_load(path, true, &key), MOB_OK);
    put("short", 0600);
    cr_assert_eq(key_load(path, false, &key), MOB_ERR_KEY);
    cr_assert_not_null(strstr(mob_last_error(), path));
    cr_assert_eq(key_load(dir, false, &key), MOB_ERR_KEY);
    char bad[65];
    memset(bad, 'z', 64);
    bad[64] = '\0';
    cr_assert_eq(key_parse(bad, 64, &key), MOB_ERR_KEY);
    cr_assert_eq(key_parse("", 0, &key), MOB_ERR_KEY);
}

Test(addr, forms, .timeout = 20)
{
    static const struct {
        const char *text, *shown;
        enum addr_use use;
    } good[] = {
        {"127.0.0.1:6379", "127.0.0.1:6379", ADDR_CONNECT},
        {"[::1]:6379", "[::1]:6379", ADDR_CONNECT},
        {":6379", "127.0.0.1:6379", ADDR_CONNECT},
        {":6379", "[::]:6379", ADDR_LISTEN},
        {"10.0.0.1:0", "10.0.0.1:0", ADDR_LISTEN},
    };
    static const char *const bad[] = {
        "",      "host", "1.2.3.4:", "1.2.3.4:65536", "::1:80", "[::1]",     "[::1:80",
        "[]:80", ":0",   ":-1",      "a:b:c:1",       "[",      "1.2.3.4:x", "1.2.3.4:0"};
    char text[ADDR_TEXT_SIZE];
    struct addr a;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_assert_eq(addr_parse(good[i].text, good[i].use, &a), MOB_OK, "%s",
                     good[i].text);
        cr_assert_str_eq(addr_text(&a, text), good[i].shown);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(addr_parse(bad[i], ADDR_CONNECT, &a), MOB_ERR_INVALID, "'%s'",
                     bad[i]);
    }
}
