/* counted.c - what the server counted during the run, from GetCounters. */
#include <string.h>

#include "bench.h"

static uint64_t *number_of(struct server_counts *counts, const Silo__V1__Counter *counter)
{
    static const struct {
        const char *name, *value; /* of the last label; NULL: whatever it is */
        size_t at;
    } wanted[] = {
        {"silo_executor_turns_total", NULL, offsetof(struct server_counts, turns)},
        {"silo_executor_commands_total", NULL, offsetof(struct server_counts, commands)},
        {"silo_executor_batches_total", NULL, offsetof(struct server_counts, batches)},
        {"silo_executor_rows_written_total", NULL, offsetof(struct server_counts, rows)},
        {"silo_executor_bytes_written_total", NULL, offsetof(struct server_counts, bytes)},
        {"silo_executor_store_calls_total", "flush_wal", offsetof(struct server_counts, flushes)},
        {"silo_executor_store_calls_total", "read", offsetof(struct server_counts, reads)},
        {"silo_loop_calls_ended_total", NULL, offsetof(struct server_counts, calls)},
        {"silo_shard_batches_durable_total", NULL, offsetof(struct server_counts, durable)},
        {"silo_shard_batch_microseconds_total", NULL, offsetof(struct server_counts, batch_us)},
    };
    const char *value = counter->n_labels != 0 ? counter->labels[counter->n_labels - 1]->value : "";
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (strcmp(counter->name, wanted[i].name) == 0 &&
            (wanted[i].value == NULL || strcmp(value, wanted[i].value) == 0)) {
            return (uint64_t *)(void *)((char *)counts + wanted[i].at);
        }
    }
    return NULL;
}

/* Adds what a node has counted. False: it is an older one, or did not answer. */
static bool counts_add(struct bench *bench, uint32_t node, struct server_counts *counts)
{
    struct rpc_answer answer;
    const uint32_t status = ask_node(bench, node, SILO_PATH("GetCounters"), NULL, &answer);
    Silo__V1__GetCountersResponse *m =
        status != RPC_STATUS_OK
            ? NULL
            : silo__v1__get_counters_response__unpack(NULL, answer.reply.len, answer.reply.ptr);
    for (size_t i = 0; m != NULL && i < m->n_counters; i++) {
        uint64_t *number = number_of(counts, m->counters[i]);
        if (number != NULL) {
            *number += m->counters[i]->value;
        }
    }
    const bool known = m != NULL;
    if (known) {
        silo__v1__get_counters_response__free_unpacked(m, NULL);
    }
    rpc_answer_deinit(&answer);
    return known;
}

static bool counts_ask(struct bench *bench, struct server_counts *ret_counts)
{
    *ret_counts = (struct server_counts){0};
    bool known = true;
    for (uint32_t node = 0; known && node < bench->node_count; node++) {
        known = counts_add(bench, node, ret_counts);
    }
    return known;
}

void bench_counts_begin(struct bench *bench)
{
    bench->counts_known = counts_ask(bench, &bench->counts_before);
    bench->counts_us = env_mono_us(&env_system);
}

static void ratio(struct bench *bench, const char *name, uint64_t part, uint64_t whole)
{
    if (whole != 0) {
        bench_fact(bench, (double)part / (double)whole, "%s", name);
    }
}

void bench_counts_say(struct bench *bench)
{
    struct server_counts now;
    if (!bench->counts_known || !counts_ask(bench, &now)) {
        return;
    }
    const struct server_counts *before = &bench->counts_before;
    const uint64_t commands = now.commands - before->commands;
    const uint64_t batches = now.batches - before->batches;
    const uint64_t calls = now.calls - before->calls;
    const double seconds = bench_seconds_since(bench->counts_us);
    ratio(bench, "server_commands_per_batch", commands, batches);
    ratio(bench, "server_rows_per_batch", now.rows - before->rows, batches);
    ratio(bench, "server_bytes_per_command", now.bytes - before->bytes, commands);
    ratio(bench, "server_calls_per_executor_turn", calls, now.turns - before->turns);
    ratio(bench, "server_batch_to_durable_us", now.batch_us - before->batch_us,
          now.durable - before->durable);
    bench_fact(bench, (double)batches / seconds, "server_batches_per_s");
    bench_fact(bench, (double)(now.flushes - before->flushes) / seconds,
               "server_wal_flushes_per_s");
    bench_fact(bench, (double)(now.reads - before->reads), "server_reads_of_the_core");
}
