/*
 * server/descriptors.c - open files: how many there may be, and how many of them connections may
 * have.
 *
 * Storage opens files while it works. Connections must never take the last ones, or every commit
 * fails while the process looks healthy. So what the limit allows is divided at the start, and the
 * listener refuses what goes beyond.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "server/server_int.h"

void descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        log_warn("open_files", LOG_STR("text", "the soft limit cannot be raised to the hard one"),
                 LOG_STR("reason", strerror(errno)), LOG_END);
    }
}

uint32_t descriptors_connections(uint64_t limit, uint32_t wanted, size_t shard_count)
{
    uint64_t reserve = SERVER_FILES_RESERVE + (uint64_t)shard_count * SERVER_FILES_PER_SHARD;
    if (reserve > limit / 2) {
        reserve = limit / 2;
    }
    const uint64_t left = limit - reserve;
    if (left >= wanted) {
        return wanted;
    }
    return left != 0 ? (uint32_t)left : 1;
}

uint32_t descriptors_share(uint32_t wanted, size_t shard_count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return wanted;
    }
    const uint64_t files = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    const uint32_t share = descriptors_connections(files, wanted, shard_count);
    if (share < wanted) {
        log_warn("connections_limited", LOG_INT("connections_max", share),
                 LOG_INT("configured", wanted), LOG_INT("open_files", files),
                 LOG_STR("text", "the limit on open files (ulimit -n) leaves no more, "
                                 "some are kept for storage"),
                 LOG_END);
    }
    return share;
}
