/*
 * server/directory_lock.c - the lock file, and what stands in it.
 *
 *     pid 4711 on host db1 since 2026-11-30T15:04:05Z
 *
 * One line for people. It is read only while somebody else has the lock, and shown with everything
 * but printable ASCII left out. A holder that has just begun may not have written it yet.
 */
#include "server/directory_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

#define LOCK_FILE_MODE 0600 /* who may open it may lock it: no other user may */
#define HOST_TEXT_MAX 128

struct directory_lock {
    int fd;
};

/* Who the file says has it, or what is known without. */
static void holder_read(int fd, char ret_text[DIRECTORY_LOCK_TEXT_MAX])
{
    char raw[DIRECTORY_LOCK_TEXT_MAX];
    const ssize_t got = pread(fd, raw, sizeof raw - 1, 0);
    size_t len = 0;
    for (ssize_t i = 0; i < got && raw[i] != '\n'; i++) {
        if (raw[i] >= ' ' && raw[i] <= '~') {
            ret_text[len++] = raw[i];
        }
    }
    ret_text[len] = '\0';
    if (len == 0) {
        (void)snprintf(ret_text, DIRECTORY_LOCK_TEXT_MAX, "a process that has just begun");
    }
}

/* What cannot be written is only missed by the message that another server shows. */
static void holder_write(int fd)
{
    char host[HOST_TEXT_MAX] = "?", since[32] = "?", text[DIRECTORY_LOCK_TEXT_MAX];
    (void)gethostname(host, sizeof host - 1);
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL) {
        (void)strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    const int len =
        snprintf(text, sizeof text, "pid %ld on host %s since %s\n", (long)getpid(), host, since);
    const ssize_t wrote = ftruncate(fd, 0) == 0 ? pwrite(fd, text, (size_t)len, 0) : -1;
    (void)wrote;
}

/* What may not stand in a file's name is written as %XX. */
static void file_name(const char *node, char ret_name[DIRECTORY_LOCK_FILE_MAX + 1])
{
    if (node == NULL) {
        (void)snprintf(ret_name, DIRECTORY_LOCK_FILE_MAX + 1, DIRECTORY_LOCK_NAME);
        return;
    }
    static const char last[] = ".lock";
    size_t len = (size_t)snprintf(ret_name, DIRECTORY_LOCK_FILE_MAX + 1, "silo.");
    for (const char *at = node; *at != '\0' && len + 3 + sizeof last <= DIRECTORY_LOCK_FILE_MAX;
         at++) {
        const unsigned char c = (unsigned char)*at;
        const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                           (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c == '.';
        len += (size_t)snprintf(ret_name + len, 4, plain ? "%c" : "%%%02X", c);
    }
    memcpy(ret_name + len, last, sizeof last);
}

static SILO_RC lock_refused(const char *directory, const char *node, int fd, int failed,
                            struct silo_err *err)
{
    if (failed != EWOULDBLOCK) {
        return FAIL(err, SILO_INVALID,
                    "the file system of %s gives no lock: %s; "
                    "where exactly one server is ever started on it, set database.lock = false",
                    directory, strerror(failed));
    }
    char holder[DIRECTORY_LOCK_TEXT_MAX];
    holder_read(fd, holder);
    if (node != NULL) {
        return FAIL(err, SILO_PRECONDITION,
                    "another server is node \"%s\" on the data directory %s: %s; stop that one "
                    "first, or give this one a coordination.node_id of its own",
                    node, directory, holder);
    }
    return FAIL(err, SILO_PRECONDITION,
                "another server has the data directory: %s; stop that one first, "
                "or give this one a directory of its own instead of %s",
                holder, directory);
}

SILO_RC directory_lock_take(const char *directory, const char *node,
                            struct directory_lock **ret_lock, struct silo_err *err)
{
    char name[DIRECTORY_LOCK_FILE_MAX + 1];
    file_name(node, name);
    const size_t size = strlen(directory) + 1 + sizeof name;
    char *path = xmalloc(size);
    (void)snprintf(path, size, "%s/%s", directory, name);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, LOCK_FILE_MODE);
    const int failed = errno;
    free(path);
    if (fd < 0) {
        return FAIL(err, SILO_INVALID, "cannot open %s/%s: %s", directory, name, strerror(failed));
    }
    int got = flock(fd, LOCK_EX | LOCK_NB);
    while (got != 0 && errno == EINTR) {
        got = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (got != 0) {
        const silo_rc rc = lock_refused(directory, node, fd, errno, err);
        (void)close(fd);
        return rc;
    }
    holder_write(fd);
    struct directory_lock *lock = xcalloc(1, sizeof *lock);
    lock->fd = fd;
    *ret_lock = lock;
    return RC_OK;
}

struct directory_lock *directory_lock_free(struct directory_lock *lock)
{
    if (lock != NULL) {
        const int emptied = ftruncate(lock->fd, 0);
        (void)emptied; /* what is left over is read by nobody while the lock is free */
        (void)close(lock->fd);
        free(lock);
    }
    return NULL;
}
