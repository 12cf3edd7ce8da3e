/*
 * bench/peers/beanstalk.c - a driver for beanstalkd: put, reserve, delete, in its text protocol
 * over TCP.
 *
 * Several jobs in a step are so many commands in one write, as the protocol allows; their answers
 * come in order.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define COMMAND_MAX 160u /* a put with its body */
#define ANSWER_MAX 128u  /* a reservation with its body */

struct connection {
    char out[LOAD_BULK_MAX * COMMAND_MAX];
    char in[LOAD_BULK_MAX * ANSWER_MAX];
    size_t in_len;
    uint64_t held[LOAD_BULK_MAX];
    uint32_t answered;
};

static void bean_open(struct client *client, const struct load_options *options)
{
    const struct sockaddr_in addr = {.sin_family = AF_INET,
                                     .sin_port = htons(options->port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    client->state = calloc(1, sizeof(struct connection));
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->state == NULL || client->fd < 0 ||
        connect(client->fd, (const struct sockaddr *)&addr, sizeof addr) != 0 ||
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        load_die("beanstalkd: %s", strerror(errno));
    }
}

static void write_all(int fd, const char *at, size_t len)
{
    while (len != 0) {
        const ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            load_die("beanstalkd: %s", strerror(errno));
        }
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void bean_send(struct client *client)
{
    struct connection *connection = client->state;
    size_t len = 0;
    for (uint32_t i = 0; i < client->wanted; i++) {
        char *at = connection->out + len;
        int n = 0;
        switch (client->step) {
        case STEP_ENQUEUE: /* priority, delay, time to run, size */
            n = snprintf(at, COMMAND_MAX, "put 50 0 10 %u\r\n%.*s\r\n", LOAD_PAYLOAD,
                         (int)LOAD_PAYLOAD, load_payload);
            break;
        case STEP_RESERVE:
            n = snprintf(at, COMMAND_MAX, "reserve\r\n");
            break;
        case STEP_COMPLETE:
            n = snprintf(at, COMMAND_MAX, "delete %llu\r\n",
                         (unsigned long long)connection->held[i]);
            break;
        }
        len += (size_t)n;
    }
    connection->answered = 0;
    write_all(client->fd, connection->out, len);
}

/* Length of the answer at `at`, 0 if it is not complete. Fills the job id of a reservation. */
static size_t answer_take(struct client *client, const char *at, size_t len)
{
    static const char *const expected[STEP_COUNT] = {"INSERTED ", "RESERVED ", "DELETED\r\n"};
    const char *end = memchr(at, '\n', len);
    if (end == NULL) {
        return 0;
    }
    const char *word = expected[client->step];
    const size_t line = (size_t)(end - at) + 1;
    if (line < strlen(word) || memcmp(at, word, strlen(word)) != 0) {
        load_die("beanstalkd answers %.*s", (int)line, at);
    }
    if (client->step != STEP_RESERVE) {
        return line;
    }
    struct connection *connection = client->state;
    char *rest = NULL;
    connection->held[connection->answered] = strtoull(at + strlen(word), &rest, 10);
    const unsigned long size = strtoul(rest, NULL, 10);
    if (size != LOAD_PAYLOAD) {
        load_die("beanstalkd answers with %lu bytes of payload", size);
    }
    return line + size + 2 <= len ? line + size + 2 : 0;
}

static bool bean_receive(struct client *client, uint32_t *ret_jobs)
{
    struct connection *connection = client->state;
    const ssize_t n = recv(client->fd, connection->in + connection->in_len,
                           sizeof connection->in - connection->in_len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (n <= 0) {
        load_die("beanstalkd: %s", n == 0 ? "connection closed" : strerror(errno));
    }
    connection->in_len += (size_t)n;
    size_t used = 0;
    while (connection->answered < client->wanted) {
        const size_t one = answer_take(client, connection->in + used, connection->in_len - used);
        if (one == 0) {
            break;
        }
        used += one;
        connection->answered++;
    }
    connection->in_len -= used;
    memmove(connection->in, connection->in + used, connection->in_len);
    *ret_jobs = connection->answered;
    return connection->answered == client->wanted;
}

static uint64_t stat_value(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    if (at == NULL) {
        load_die("beanstalkd tells no %s", name);
    }
    return strtoull(at + strlen(name), NULL, 10);
}

static uint64_t bean_left(struct client *client)
{
    char text[8192];
    size_t len = 0;
    write_all(client->fd, "stats\r\n", 7);
    do { /* the answer ends with an empty line of its own */
        const ssize_t n = recv(client->fd, text + len, sizeof text - 1 - len, 0);
        if (n <= 0) {
            load_die("beanstalkd: no stats");
        }
        len += (size_t)n;
        text[len] = '\0';
    } while (len < 4 || strcmp(text + len - 3, "\n\r\n") != 0);
    return stat_value(text, "current-jobs-ready: ") + stat_value(text, "current-jobs-reserved: ") +
           stat_value(text, "current-jobs-buried: ");
}

int main(int argc, char **argv)
{
    static const struct driver driver = {
        .open = bean_open, .send = bean_send, .receive = bean_receive, .left = bean_left};
    return load_main(argc, argv, &driver);
}
