/* bench/coord.c - what the etcd of our own servers tells. */
#include "bench.h"

#define ASK_US 2000000

static uint64_t varint(struct bytes *in)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; in->len != 0 && shift < 64; shift += 7) {
        const uint8_t byte = in->ptr[0];
        *in = bytes_of(in->ptr + 1, in->len - 1);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    return value;
}

/* Field 3, the revision, of the header, which is field 1 of an answer and comes first. */
static uint64_t revision_of(struct bytes answer)
{
    if (varint(&answer) != (1u << 3 | 2)) {
        return 0;
    }
    const uint64_t len = varint(&answer);
    struct bytes header = bytes_of(answer.ptr, len < answer.len ? (size_t)len : answer.len);
    while (header.len != 0) {
        const uint64_t field = varint(&header);
        const uint64_t value = varint(&header);
        if (field == (3u << 3)) {
            return value;
        }
    }
    return 0;
}

uint64_t coord_revision(void)
{
    static const uint8_t count_one_key[] = {0x0a, 0x01, 0x00, 0x48,
                                            0x01}; /* key "\0", count_only */
    struct silo_err err;
    struct rpc_loop *loop = NULL;
    struct rpc_channel *channel = NULL;
    const struct rpc_channel_options options = {.target = server_etcd()};
    if (options.target == NULL) {
        return 0;
    }
    if (rpc_loop_new(&loop, &err).code != SILO_OK ||
        rpc_channel_new(loop, &options, &channel, &err).code != SILO_OK) {
        bench_die("%s", err.text);
    }
    struct rpc_answer answer;
    rpc_channel_call_wait(channel, "/etcdserverpb.KV/Range",
                          bytes_of(count_one_key, sizeof count_one_key), ASK_US, &answer);
    const uint64_t revision = answer.status == RPC_STATUS_OK ? revision_of(answer.reply) : 0;
    rpc_answer_deinit(&answer);
    channel = rpc_channel_free(channel);
    loop = rpc_loop_free(loop);
    return revision;
}
