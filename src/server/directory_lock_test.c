/* server/directory_lock_test.c - who gets a directory, and what a second one is told. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"
#include "server/directory_lock.h"

static char directory[] = "lock-XXXXXX";

static int setup(void **state)
{
    (void)state;
    (void)memcpy(directory, "lock-XXXXXX", sizeof directory);
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", directory, DIRECTORY_LOCK_NAME);
    (void)unlink(path);
    return rmdir(directory);
}

static void file_write(const char *text, size_t len)
{
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", directory, DIRECTORY_LOCK_NAME);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, text, len) == (ssize_t)len);
    (void)close(fd);
}

static void the_second_is_told_who_has_it(void **state)
{
    (void)state;
    struct directory_lock *first = NULL, *second = NULL;
    struct silo_err err = {0};
    assert_int_equal(directory_lock_take(directory, NULL, &first, &err).code, SILO_OK);
    assert_int_equal(directory_lock_take(directory, NULL, &second, &err).code, SILO_PRECONDITION);
    char pid[32], host[128] = "";
    (void)snprintf(pid, sizeof pid, "pid %ld on host", (long)getpid());
    assert_non_null(strstr(err.text, pid));
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    assert_non_null(strstr(err.text, host));
    assert_non_null(strstr(err.text, " since 20"));
    assert_non_null(strstr(err.text, directory));
    (void)directory_lock_free(first);
    assert_int_equal(directory_lock_take(directory, NULL, &second, &err).code, SILO_OK);
    (void)directory_lock_free(second);
    assert_null(directory_lock_free(NULL));
}

/* Whoever may open the file may lock it, and could keep the server from starting. */
static void no_other_user_may_lock(void **state)
{
    (void)state;
    struct directory_lock *lock = NULL;
    struct stat found;
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", directory, DIRECTORY_LOCK_NAME);
    const mode_t before = umask(0);
    assert_int_equal(directory_lock_take(directory, NULL, &lock, NULL).code, SILO_OK);
    (void)umask(before);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0600);
    (void)directory_lock_free(lock);
}

/* The kernel gives the lock back when its process is killed; what that one wrote is still there. */
static void a_killed_holder_is_no_holder(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        struct directory_lock *lock = NULL;
        const bool ok = directory_lock_take(directory, NULL, &lock, NULL).code == SILO_OK;
        if (write(ready[1], ok ? "y" : "n", 1) == 1) {
            (void)pause();
        }
        _exit(1);
    }
    char answer = 0;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    struct directory_lock *lock = NULL;
    struct silo_err err = {0};
    assert_int_equal(directory_lock_take(directory, NULL, &lock, &err).code, SILO_PRECONDITION);
    (void)kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(ready[0]);
    (void)close(ready[1]);
    assert_int_equal(directory_lock_take(directory, NULL, &lock, &err).code, SILO_OK);
    (void)directory_lock_free(lock);
}

/* The file's content is somebody else's: whatever it is, the message stays one printable line. */
static void any_content_is_shown_as_one_line(void **state)
{
    (void)state;
    struct directory_lock *lock = NULL, *second = NULL;
    struct silo_err err = {0};
    char giant[4096];
    memset(giant, 'x', sizeof giant);
    static const char odd[] = "\x1b[31mpid\x00 9 on \xff\xfehost\nsecond line";
    assert_int_equal(directory_lock_take(directory, NULL, &lock, &err).code, SILO_OK);
    file_write(giant, sizeof giant);
    assert_int_equal(directory_lock_take(directory, NULL, &second, &err).code, SILO_PRECONDITION);
    assert_non_null(strstr(err.text, "stop that one first"));
    file_write(odd, sizeof odd);
    assert_int_equal(directory_lock_take(directory, NULL, &second, &err).code, SILO_PRECONDITION);
    assert_non_null(strstr(err.text, "[31mpid 9 on host;"));
    file_write("", 0);
    assert_int_equal(directory_lock_take(directory, NULL, &second, &err).code, SILO_PRECONDITION);
    assert_non_null(strstr(err.text, "has just begun"));
    (void)directory_lock_free(lock);
}

static void what_cannot_be_opened(void **state)
{
    (void)state;
    struct directory_lock *lock = NULL;
    struct silo_err err = {0};
    assert_int_equal(directory_lock_take("absent", NULL, &lock, &err).code, SILO_INVALID);
    assert_non_null(strstr(err.text, "absent/silo.lock: No such file"));
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", directory, DIRECTORY_LOCK_NAME);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(directory_lock_take(directory, NULL, &lock, &err).code, SILO_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_second_is_told_who_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(no_other_user_may_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_holder_is_no_holder, setup, teardown),
        cmocka_unit_test_setup_teardown(any_content_is_shown_as_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_opened, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
