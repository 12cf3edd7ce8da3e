/*
 * bench/silo_bench.c - the load generator: one scenario against one server, see `silo-bench --help`
 * and docs/guides/benchmarking.md.
 */
#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "scenarios.h"

const struct scenario *const bench_scenarios[] = {
    &scenario_life,    &scenario_bulk_life, &scenario_enqueue,   &scenario_bulk_enqueue,
    &scenario_stalls,  &scenario_shard,     &scenario_mixed,     &scenario_noisy,
    &scenario_grant,   &scenario_large,     &scenario_drain,     &scenario_dispatch,
    &scenario_queue1,  &scenario_idle,      &scenario_workers,   &scenario_cold_start,
    &scenario_tenants, &scenario_queues,    &scenario_throttled, &scenario_engine,
    &scenario_moves,
};
const size_t bench_scenarios_count = sizeof bench_scenarios / sizeof bench_scenarios[0];

static struct bench bench;

static void on_exit_server(void)
{
    server_free(&bench);
}

int main(int argc, char **argv)
{
    const int exit_status = bench_options_parse(argc, argv, &bench.options, &bench.scenario);
    if (exit_status >= 0) {
        return exit_status;
    }
    const struct scenario *scenario = bench.scenario;
    log_init(2, false, LOG_WARN);
    bench_catch_signals();
    bench.load_before = load_average();
    if (atexit(on_exit_server) != 0) {
        return 1;
    }
    if (scenario->server != SERVER_NONE) {
        if (bench.options.serve) {
            server_start(&bench);
        }
        bench_connect(&bench);
    }
    scenario->run(&bench);
    const int status = bench_finish(&bench); /* while the server can still be looked at */
    if (scenario->server != SERVER_NONE) {
        bench_disconnect(&bench);
    }
    const uint32_t checks = bench.check_count;
    server_stop(&bench, SIGTERM);
    for (uint32_t i = 0; i < bench.series_count; i++) {
        free(bench.series[i]);
    }
    return status == 0 && bench.check_count == checks ? 0 : 1;
}
