/* config/file_test.c - files and pipes that a configuration may come from, and what is no text. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/testing_int.h"

static silo_rc read_path(const char *path, char *ret_text, size_t room, struct silo_err *err)
{
    struct arena arena;
    struct bytes text = BYTES_NONE;
    arena_init(&arena);
    const silo_rc rc = config_file_read(path, &arena, &text, err);
    if (rc.code == SILO_OK) {
        assert_true(text.len < room);
        memcpy(ret_text, text.ptr, text.len);
        ret_text[text.len] = '\0';
    }
    arena_deinit(&arena);
    return rc;
}

static void assert_refused(const char *path, const char *why)
{
    char text[64];
    struct silo_err err = {0};
    assert_int_equal(read_path(path, text, sizeof text, &err).code, SILO_INVALID);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, why));
}

/* A child that writes "a = 1" in two pieces with a pause, as a program behind <(...) does. */
static void a_pipe_is_read_to_its_end(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        (void)usleep(20000);
        bool well = write(ends[1], "a ", 2) == 2;
        (void)usleep(20000);
        well = well && write(ends[1], "= 1", 3) == 3;
        _exit(well ? 0 : 1);
    }
    assert_true(child > 0);
    (void)close(ends[1]);
    char path[32], text[64];
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    struct silo_err err = {0};
    assert_int_equal(read_path(path, text, sizeof text, &err).code, SILO_OK);
    assert_string_equal(text, "a = 1");
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    (void)close(ends[0]);
}

static void what_is_no_text_is_refused(void **state)
{
    (void)state;
    char directory[] = "/tmp/silo-config-XXXXXX", path[64], text[64];
    assert_non_null(mkdtemp(directory));
    assert_refused(directory, "Is a directory");
    (void)snprintf(path, sizeof path, "%s/absent", directory);
    assert_refused(path, "No such file");

    (void)snprintf(path, sizeof path, "%s/fifo", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(path, "nobody writes to");
    assert_int_equal(unlink(path), 0);

    (void)snprintf(path, sizeof path, "%s/large", directory);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, CONFIG_FILE_BYTES_MAX + 1), 0);
    (void)close(fd);
    assert_refused(path, "larger than");
    assert_int_equal(truncate(path, 0), 0);
    struct silo_err err = {0};
    assert_int_equal(read_path(path, text, sizeof text, &err).code, SILO_OK);
    assert_string_equal(text, "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_is_read_to_its_end),
        cmocka_unit_test(what_is_no_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
