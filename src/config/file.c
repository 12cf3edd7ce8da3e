/*
 * config/file.c - the text of a configuration file, or of a pipe such as a shell's <(...).
 *
 * The file is opened without blocking: a FIFO that nobody writes to would hold an open, and with it
 * the start or the check of a configuration, for ever. What cannot be told from an empty pipe is
 * refused, as an empty configuration is all defaults, which nobody means who names a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/keys_int.h"

static void fd_close(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

/* The next bytes; 0 at the end. Waits for a pipe whose writer is slow. */
static ssize_t read_some(int fd, uint8_t *to, size_t room)
{
    for (;;) { /* a pipe ends or stays silent for CONFIG_PIPE_WAIT_MS */
        const ssize_t got = read(fd, to, room);
        if (got >= 0 || (errno != EINTR && errno != EAGAIN)) {
            return got;
        }
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        if (errno == EAGAIN && poll(&readable, 1, CONFIG_PIPE_WAIT_MS) == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

SILO_RC config_file_read(const char *path, struct arena *arena, struct bytes *ret_text,
                         struct silo_err *err)
{
    AUTO(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0) {
        return FAIL(err, SILO_INVALID, "cannot open %s: %s", path, strerror(errno));
    }
    uint8_t *text = arena_alloc(arena, CONFIG_FILE_BYTES_MAX + 1);
    size_t len = 0;
    ssize_t got = 1;
    while (got > 0 && len <= CONFIG_FILE_BYTES_MAX) {
        got = read_some(fd, text + len, CONFIG_FILE_BYTES_MAX + 1 - len);
        len += got > 0 ? (size_t)got : 0;
    }
    if (got < 0) {
        return FAIL(err, SILO_INVALID, "cannot read %s: %s", path, strerror(errno));
    }
    if (len == 0 && S_ISFIFO(stat.st_mode)) {
        return FAIL(err, SILO_INVALID, "%s is a pipe that nobody writes to", path);
    }
    if (len > CONFIG_FILE_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, "%s is larger than %u bytes", path, CONFIG_FILE_BYTES_MAX);
    }
    *ret_text = bytes_of(text, len);
    return RC_OK;
}
