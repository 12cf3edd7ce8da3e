/* server/sleep.c - what the main thread waits for between two turns of the node. */
#include <poll.h>
#include <unistd.h>

#include "base/assert.h"
#include "server/server_int.h"

void server_wake(void *context)
{
    const struct server *server = context;
    const uint64_t one = 1;
    const ssize_t n = write(server->wake_fd, &one, sizeof one);
    ASSERT(n == (ssize_t)sizeof one); /* an eventfd takes 2^64 - 2 of them before it is read */
}

void server_sleep(struct server *server, int64_t until_mono_us, bool signals)
{
    if (!node_sleep(server->node)) {
        return;
    }
    int64_t wait_ms = SERVER_TICK_MS;
    const int64_t left_us = until_mono_us - env_mono_us(server->env);
    if (left_us < wait_ms * 1000) {
        wait_ms = left_us > 0 ? (left_us + 999) / 1000 : 0;
    }
    struct pollfd fds[2 + NODE_FDS] = {{.fd = server->wake_fd, .events = POLLIN},
                                       {.fd = signals ? server->signal_fd : -1, .events = POLLIN}};
    int node[NODE_FDS];
    node_fds(server->node, node);
    for (size_t i = 0; i < NODE_FDS; i++) {
        fds[2 + i] = (struct pollfd){.fd = node[i], .events = POLLIN};
    }
    (void)poll(fds, 2 + NODE_FDS, (int)wait_ms);
    uint64_t count;
    const ssize_t n = read(server->wake_fd, &count, sizeof count);
    (void)n; /* nothing to read is fine: what came is in the node's mailboxes */
}
