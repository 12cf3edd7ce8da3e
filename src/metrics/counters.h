/*
 * metrics/counters.h - what is counted: every name, once.
 *
 * COUNTER_FAMILIES declares each name with its type, unit, label and meaning. The tables below it
 * say which numbers executors, loops, shards and the node keep: a field for each, its family, and
 * the value of the family's label ("" where it has none). From them come the structs that are
 * counted in and what GetCounters answers; docs/reference/counters.md is compared with them by a
 * test.
 *
 * Totals only rise while their owner lives; gauges say how it is now. Each scope adds a label of
 * its own, which tells owners apart: executor="0", loop="1", shard="<id>",
 * node="<id>".
 *
 * Ownership  a struct of counters belongs to one thread, which adds to it plainly and publishes it
 *            (metrics/published.h).
 */
#ifndef SILO_METRICS_COUNTERS_H
#define SILO_METRICS_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

enum counter_scope { SCOPE_EXECUTOR, SCOPE_LOOP, SCOPE_SHARD, SCOPE_NODE };
#define COUNTER_SCOPES 4
enum counter_type { TYPE_TOTAL, TYPE_GAUGE };
enum counter_unit { UNIT_ONE, UNIT_BYTES, UNIT_MICROSECONDS };

/* id, name, type, unit, label, meaning */
#define COUNTER_FAMILIES(X)                                                                        \
    X(EXECUTOR_TURNS, "silo_executor_turns_total", TOTAL, ONE, "", "turns of the executor")        \
    X(EXECUTOR_REQUESTS, "silo_executor_requests_total", TOTAL, ONE, "",                           \
      "requests taken from the mailbox")                                                           \
    X(EXECUTOR_MAILBOX, "silo_executor_mailbox_depth", GAUGE, ONE, "",                             \
      "requests that waited in the mailbox at the end of a turn")                                  \
    X(EXECUTOR_SHARDS, "silo_executor_shards", GAUGE, ONE, "", "shards of the executor")           \
    X(EXECUTOR_COMMANDS, "silo_executor_commands_total", TOTAL, ONE, "kind",                       \
      "commands given to shards that were open")                                                   \
    X(EXECUTOR_EVENTS, "silo_executor_store_events_total", TOTAL, ONE, "", "answers of the store") \
    X(EXECUTOR_STORE_CALLS, "silo_executor_store_calls_total", TOTAL, ONE, "call",                 \
      "calls to the store, by what they were for")                                                 \
    X(EXECUTOR_BATCHES, "silo_executor_batches_total", TOTAL, ONE, "", "batches written")          \
    X(EXECUTOR_ROWS, "silo_executor_rows_written_total", TOTAL, ONE, "",                           \
      "rows put and deleted by batches")                                                           \
    X(EXECUTOR_BYTES_WRITTEN, "silo_executor_bytes_written_total", TOTAL, BYTES, "",               \
      "bytes of batches, as packed")                                                               \
    X(EXECUTOR_BYTES_READ, "silo_executor_bytes_read_total", TOTAL, BYTES, "",                     \
      "bytes of rows that the store answered")                                                     \
    X(LOOP_TURNS, "silo_loop_turns_total", TOTAL, ONE, "", "turns of the I/O loop")                \
    X(LOOP_CALLS_BEGUN, "silo_loop_calls_begun_total", TOTAL, ONE, "", "calls that arrived")       \
    X(LOOP_CALLS_ENDED, "silo_loop_calls_ended_total", TOTAL, ONE, "status",                       \
      "calls that ended, by the class of their status")                                            \
    X(LOOP_CONNECTIONS, "silo_loop_connections", GAUGE, ONE, "", "open connections")               \
    X(LOOP_BYTES_RECEIVED, "silo_loop_bytes_received_total", TOTAL, BYTES, "",                     \
      "bytes read from sockets, decrypted")                                                        \
    X(LOOP_BYTES_SENT, "silo_loop_bytes_sent_total", TOTAL, BYTES, "",                             \
      "bytes written to sockets, before they are encrypted")                                       \
    X(SHARD_JOBS, "silo_shard_jobs", GAUGE, ONE, "state",                                          \
      "jobs kept by the shard; open: not ended")                                                   \
    X(SHARD_LEASES, "silo_shard_leases", GAUGE, ONE, "", "tasks leased to workers")                \
    X(SHARD_TASKS, "silo_shard_tasks_in_memory", GAUGE, ONE, "",                                   \
      "due tasks in memory; more may wait in the storage")                                         \
    X(SHARD_COMMANDS, "silo_shard_commands_waiting", GAUGE, ONE, "",                               \
      "commands in the shard, parked polls too")                                                   \
    X(SHARD_SLOTS, "silo_shard_slots_held", GAUGE, ONE, "",                                        \
      "slots of concurrency queues that are held")                                                 \
    X(SHARD_UNDURABLE, "silo_shard_undurable_bytes", GAUGE, BYTES, "",                             \
      "bytes of batches that are not durable yet")                                                 \
    X(SHARD_BATCHES, "silo_shard_batches_durable_total", TOTAL, ONE, "",                           \
      "batches that became durable, since the shard came here")                                    \
    X(SHARD_BATCH_TIME, "silo_shard_batch_microseconds_total", TOTAL, MICROSECONDS, "",            \
      "time from each of those batches' writing to its durability, summed")                        \
    X(NODE_MOVES, "silo_node_moves_total", TOTAL, ONE, "step",                                     \
      "shards that were to be given to another node, that were, or not, and that came from one")   \
    X(NODE_TAKEOVERS, "silo_node_takeovers_total", TOTAL, ONE, "", "shards taken from dead nodes") \
    X(NODE_CLAIMS_LOST, "silo_node_claims_lost_total", TOTAL, ONE, "",                             \
      "shards that were asked for in vain")

enum counter_family_id {
#define X(id, name, type, unit, label, help) FAMILY_##id,
    COUNTER_FAMILIES(X)
#undef X
};

/* field, family, value of the family's label */
#define EXECUTOR_COUNTERS(X)                                        \
    X(turns, EXECUTOR_TURNS, "")                                    \
    X(requests, EXECUTOR_REQUESTS, "")                              \
    X(mailbox_depth, EXECUTOR_MAILBOX, "")                          \
    X(shards, EXECUTOR_SHARDS, "")                                  \
    X(enqueue, EXECUTOR_COMMANDS, "enqueue")                        \
    X(get, EXECUTOR_COMMANDS, "get")                                \
    X(poll, EXECUTOR_COMMANDS, "poll")                              \
    X(heartbeat, EXECUTOR_COMMANDS, "heartbeat")                    \
    X(report, EXECUTOR_COMMANDS, "report")                          \
    X(give_back, EXECUTOR_COMMANDS, "give_back")                    \
    X(change, EXECUTOR_COMMANDS, "change")                          \
    X(import, EXECUTOR_COMMANDS, "import")                          \
    X(await, EXECUTOR_COMMANDS, "await")                            \
    X(other, EXECUTOR_COMMANDS, "other")                            \
    X(events, EXECUTOR_EVENTS, "")                                  \
    X(calls_write, EXECUTOR_STORE_CALLS, "write")                   \
    X(calls_flush_wal, EXECUTOR_STORE_CALLS, "flush_wal")           \
    X(calls_flush_memtable, EXECUTOR_STORE_CALLS, "flush_memtable") \
    X(calls_read, EXECUTOR_STORE_CALLS, "read")                     \
    X(calls_read_answer, EXECUTOR_STORE_CALLS, "read_answer")       \
    X(calls_refresh, EXECUTOR_STORE_CALLS, "refresh")               \
    X(calls_open_close, EXECUTOR_STORE_CALLS, "open_close")         \
    X(batches, EXECUTOR_BATCHES, "")                                \
    X(rows_written, EXECUTOR_ROWS, "")                              \
    X(bytes_written, EXECUTOR_BYTES_WRITTEN, "")                    \
    X(bytes_read, EXECUTOR_BYTES_READ, "")

/* Classes of gRPC statuses: who has to do something about it. */
#define LOOP_COUNTERS(X)                          \
    X(turns, LOOP_TURNS, "")                      \
    X(begun, LOOP_CALLS_BEGUN, "")                \
    X(ended_ok, LOOP_CALLS_ENDED, "ok")           \
    X(ended_refused, LOOP_CALLS_ENDED, "refused") \
    X(ended_busy, LOOP_CALLS_ENDED, "busy")       \
    X(ended_left, LOOP_CALLS_ENDED, "left")       \
    X(ended_failed, LOOP_CALLS_ENDED, "failed")   \
    X(connections, LOOP_CONNECTIONS, "")          \
    X(bytes_received, LOOP_BYTES_RECEIVED, "")    \
    X(bytes_sent, LOOP_BYTES_SENT, "")

#define SHARD_COUNTERS(X)                      \
    X(jobs_open, SHARD_JOBS, "open")           \
    X(jobs_succeeded, SHARD_JOBS, "succeeded") \
    X(jobs_failed, SHARD_JOBS, "failed")       \
    X(jobs_cancelled, SHARD_JOBS, "cancelled") \
    X(leases, SHARD_LEASES, "")                \
    X(tasks, SHARD_TASKS, "")                  \
    X(commands, SHARD_COMMANDS, "")            \
    X(slots, SHARD_SLOTS, "")                  \
    X(undurable_bytes, SHARD_UNDURABLE, "")    \
    X(batches_durable, SHARD_BATCHES, "")      \
    X(batch_us, SHARD_BATCH_TIME, "")

#define NODE_COUNTERS(X)                   \
    X(moves_begun, NODE_MOVES, "begun")    \
    X(handed_over, NODE_MOVES, "given")    \
    X(hand_overs_lost, NODE_MOVES, "lost") \
    X(given, NODE_MOVES, "received")       \
    X(takeovers, NODE_TAKEOVERS, "")       \
    X(claims_lost, NODE_CLAIMS_LOST, "")

/* A number each; their order is that of the series of their scope. */
#define X(field, family, value) uint64_t field;
struct executor_counters {
    EXECUTOR_COUNTERS(X)
};
struct loop_counters {
    LOOP_COUNTERS(X)
};
struct shard_counters {
    SHARD_COUNTERS(X)
};
struct node_counters {
    NODE_COUNTERS(X)
};
#undef X

struct counter_family {
    const char *name, *label, *help;
    enum counter_type type;
    enum counter_unit unit;
};

/* One number of a scope: the series of `family` whose label has `value`. */
struct counter_series {
    enum counter_family_id family;
    const char *value;
};

struct counter_table {
    const char *label; /* of the scope */
    const struct counter_series *series;
    size_t count;
};

const struct counter_family *counter_family(enum counter_family_id id);
size_t counter_families(void);
const struct counter_table *counter_table(enum counter_scope scope);

#endif
