/* bench/scenarios.h - every scenario; each is one file, and one line in silo_bench.c. */
#ifndef SILO_BENCH_SCENARIOS_H
#define SILO_BENCH_SCENARIOS_H

#include "bench.h"

#define SCENARIO_PRESETS(list) .presets = (list), .preset_count = sizeof(list) / sizeof((list)[0])

extern const struct scenario scenario_life, scenario_bulk_life, scenario_enqueue,
    scenario_bulk_enqueue, scenario_stalls, scenario_shard, scenario_mixed, scenario_noisy,
    scenario_grant, scenario_large, scenario_drain, scenario_dispatch, scenario_queue1,
    scenario_idle, scenario_cold_start, scenario_tenants, scenario_queues, scenario_workers,
    scenario_throttled, scenario_engine, scenario_moves;

/*
 * engine.c: rows per second of the engine alone, in batches of `rows` rows of `row_bytes` bytes,
 * for `seconds`.
 */
double engine_rows_per_s(struct bench *bench, uint32_t rows, uint32_t row_bytes, double seconds);

#endif
