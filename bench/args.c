/* bench/args.c - the command line: common options, and for each scenario the numbers it takes. */
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct number_info {
    const char *name, *meaning;
    double least, most;
};

static const struct number_info numbers[] = {
#define NUMBER_INFO(id, name, meaning, least, most) {name, meaning, least, most},
    BENCH_NUMBERS(NUMBER_INFO)
#undef NUMBER_INFO
};

enum common {
    ARG_TARGET = 1000,
    ARG_GROUP,
    ARG_PREFIX,
    ARG_KEY,
    ARG_JSON,
    ARG_PID,
    ARG_INTERVAL,
    ARG_SERVE,
    ARG_CONFIG,
    ARG_PROGRAM,
    ARG_DIR,
    ARG_KEEP,
    ARG_FSYNC,
    ARG_LOG,
    ARG_SHARDS,
    ARG_NODES,
    ARG_ETCD,
    ARG_READ_MS,
    ARG_WRITE_MS,
    ARG_FLUSH,
    ARG_SET,
    ARG_HELP,
    ARG_NUMBERS, /* the first of the numbers */
};

struct common_info {
    const char *name, *arg, *meaning;
    enum common id;
};

static const struct common_info commons[] = {
    {"target", "HOST:PORT,...", "servers to begin with (127.0.0.1:50051)", ARG_TARGET},
    {"group", "NAME", "task group (bench)", ARG_GROUP},
    {"prefix", "TEXT", "tenants are TEXT-0, TEXT-1, ... (bench)", ARG_PREFIX},
    {"concurrency-key", "KEY", "one shared key instead of one for each tenant", ARG_KEY},
    {"json", "FILE", "also write the figures as JSON; - = standard output", ARG_JSON},
    {"pid", "PID", "the server's process: print its CPU and memory", ARG_PID},
    {"interval-ms", "N", "time between progress lines (1000); 0 = none", ARG_INTERVAL},
    {"serve", NULL, "start a server on a fresh temporary directory, end it afterwards", ARG_SERVE},
    {"config", "FILE", "with --serve: its configuration as it stands, see --target", ARG_CONFIG},
    {"server", "PROGRAM", "with --serve: the program (silo beside this one)", ARG_PROGRAM},
    {"dir", "DIR", "with --serve: where the temporary directory is made ($TMPDIR, /tmp)", ARG_DIR},
    {"keep", NULL, "with --serve: leave the directory", ARG_KEEP},
    {"fsync", "0|1", "with --serve: database.fsync (1)", ARG_FSYNC},
    {"log", "0|1", "with --serve: database.local_log (1)", ARG_LOG},
    {"shards", "N", "with --serve: coordination.initial_shard_count", ARG_SHARDS},
    {"nodes", "N", "with --serve: servers of one cluster, on one directory (1)", ARG_NODES},
    {"etcd", "PROGRAM", "with --nodes: the program of etcd (/usr/bin/etcd)", ARG_ETCD},
    {"latency-read-ms", "N", "with --serve: added to each read of the store (0)", ARG_READ_MS},
    {"latency-write-ms", "N", "with --serve: added to each write to the store (0)", ARG_WRITE_MS},
    {"flush-interval", "TIME", "with --serve: least spacing of WAL uploads, such as 50ms",
     ARG_FLUSH},
    {"set", "KEY=VALUE", "with --serve: any further setting, value in TOML (repeatable)", ARG_SET},
    {"help", NULL, "this text; with a scenario, that of the scenario", ARG_HELP},
};

static const struct scenario *scenario_find(const char *name)
{
    for (size_t i = 0; i < bench_scenarios_count; i++) {
        if (strcmp(bench_scenarios[i]->name, name) == 0) {
            return bench_scenarios[i];
        }
    }
    return NULL;
}

static void print_common(FILE *out)
{
    (void)fputs("\nCommon options:\n", out);
    for (size_t i = 0; i < sizeof commons / sizeof commons[0]; i++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s%s%s", commons[i].name,
                       commons[i].arg != NULL ? " " : "",
                       commons[i].arg != NULL ? commons[i].arg : "");
        (void)fprintf(out, "  %-24s %s\n", left, commons[i].meaning);
    }
}

static void print_help(FILE *out)
{
    (void)fputs("silo-bench - load for a silo server, and what it measures\n\n"
                "Usage: silo-bench SCENARIO [OPTIONS]\n"
                "       silo-bench SCENARIO --help\n\n"
                "Scenarios:\n",
                out);
    for (size_t i = 0; i < bench_scenarios_count; i++) {
        (void)fprintf(out, "  %-14s %s\n", bench_scenarios[i]->name, bench_scenarios[i]->summary);
    }
    print_common(out);
    (void)fputs(
        "\nExit status: 0, 1 when a check failed or the run broke off, 2 for bad options.\n", out);
}

static void print_scenario_help(FILE *out, const struct scenario *scenario)
{
    (void)fprintf(out, "silo-bench %s - %s\n\n%s\n\nOptions:\n", scenario->name, scenario->summary,
                  scenario->text);
    for (size_t i = 0; i < scenario->preset_count; i++) {
        const struct preset *preset = &scenario->presets[i];
        char left[64];
        (void)snprintf(left, sizeof left, "--%s N", numbers[preset->number].name);
        (void)fprintf(out, "  %-24s %s (%.10g)\n", left, numbers[preset->number].meaning,
                      preset->value);
    }
    print_common(out);
}

static bool number_parse(const char *name, const char *text, double least, double most,
                         double *ret_value)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        (void)fprintf(stderr, "silo-bench: --%s \"%s\" is not a number from %.10g to %.10g\n", name,
                      text, least, most);
        return false;
    }
    *ret_value = value;
    return true;
}

static bool count_parse(const char *name, const char *text, uint32_t most, uint32_t *ret_value)
{
    double value = 0;
    const bool ok = number_parse(name, text, 0, most, &value);
    if (ok) {
        *ret_value = (uint32_t)value;
    }
    return ok;
}

static bool set_number(const struct scenario *scenario, enum bench_number number, const char *text,
                       struct bench_options *options)
{
    for (size_t i = 0; i < scenario->preset_count; i++) {
        if (scenario->presets[i].number == number) {
            return number_parse(numbers[number].name, text, numbers[number].least,
                                numbers[number].most, &options->numbers[number]);
        }
    }
    (void)fprintf(stderr, "silo-bench: %s takes no --%s\n", scenario->name, numbers[number].name);
    return false;
}

/* Where the text of an option goes; NULL: it is not a text. */
static const char **text_place(enum common id, struct bench_options *o)
{
    static const struct {
        enum common id;
        size_t offset;
    } places[] = {
        {ARG_TARGET, offsetof(struct bench_options, target)},
        {ARG_GROUP, offsetof(struct bench_options, group)},
        {ARG_PREFIX, offsetof(struct bench_options, prefix)},
        {ARG_KEY, offsetof(struct bench_options, key)},
        {ARG_JSON, offsetof(struct bench_options, json)},
        {ARG_CONFIG, offsetof(struct bench_options, config)},
        {ARG_PROGRAM, offsetof(struct bench_options, program)},
        {ARG_ETCD, offsetof(struct bench_options, etcd)},
        {ARG_DIR, offsetof(struct bench_options, dir)},
        {ARG_FLUSH, offsetof(struct bench_options, flush_interval)},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (places[i].id == id) {
            return (const char **)(void *)((char *)o + places[i].offset);
        }
    }
    return NULL;
}

static bool set_common(enum common id, const char *arg, struct bench_options *o)
{
    const char **text = text_place(id, o);
    if (text != NULL) {
        *text = arg;
        return true;
    }
    if (id == ARG_SERVE || id == ARG_KEEP) {
        *(id == ARG_SERVE ? &o->serve : &o->keep) = true;
        return true;
    }
    if (id == ARG_SET) {
        if (o->settings_count == BENCH_SETTINGS_MAX || strchr(arg, '=') == NULL) {
            (void)fputs("silo-bench: --set wants KEY=VALUE, at most 32 times\n", stderr);
            return false;
        }
        o->settings[o->settings_count++] = arg;
        return true;
    }
    uint32_t number = 0;
    if (id == ARG_PID) {
        const bool ok = count_parse("pid", arg, INT32_MAX, &number);
        o->pid = ok ? (long)number : o->pid;
        return ok;
    }
    if (id == ARG_FSYNC || id == ARG_LOG) {
        bool *flag = id == ARG_FSYNC ? &o->fsync : &o->log;
        const bool ok = count_parse(id == ARG_FSYNC ? "fsync" : "log", arg, 1, &number);
        *flag = ok ? number != 0 : *flag;
        return ok;
    }
    if (id == ARG_INTERVAL) {
        return count_parse("interval-ms", arg, 3600000, &o->interval_ms);
    }
    if (id == ARG_SHARDS) {
        return count_parse("shards", arg, BENCH_SHARDS_MAX, &o->shards);
    }
    if (id == ARG_NODES) {
        return count_parse("nodes", arg, BENCH_NODES_MAX, &o->nodes);
    }
    return count_parse("latency", arg, 60000,
                       id == ARG_READ_MS ? &o->latency_read_ms : &o->latency_write_ms);
}

static void longs_make(struct option *longs)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof commons / sizeof commons[0]; i++) {
        longs[n++] = (struct option){commons[i].name,
                                     commons[i].arg != NULL ? required_argument : no_argument, NULL,
                                     (int)commons[i].id};
    }
    for (int i = 0; i < (int)BENCH_NUMBERS_COUNT; i++) {
        longs[n++] =
            (struct option){numbers[i].name, required_argument, NULL, (int)ARG_NUMBERS + i};
    }
    longs[n] = (struct option){NULL, 0, NULL, 0};
}

/* The word before the options; without one the scenario is `life`. */
static const struct scenario *scenario_arg(int *argc, char ***argv)
{
    if (*argc < 2 || (*argv)[1][0] == '-') {
        return scenario_find("life");
    }
    const struct scenario *scenario = scenario_find((*argv)[1]);
    if (scenario == NULL) {
        (void)fprintf(stderr, "silo-bench: there is no scenario %s; see --help\n", (*argv)[1]);
        return NULL;
    }
    (*argc)--;
    (*argv)++;
    return scenario;
}

int bench_options_parse(int argc, char **argv, struct bench_options *options,
                        const struct scenario **ret_scenario)
{
    static struct option longs[sizeof commons / sizeof commons[0] + BENCH_NUMBERS_COUNT + 1];
    const bool named = argc >= 2 && argv[1][0] != '-';
    const struct scenario *scenario = scenario_arg(&argc, &argv);
    if (scenario == NULL) {
        return 2;
    }
    *options = (struct bench_options){.target = "127.0.0.1:50051",
                                      .group = "bench",
                                      .prefix = "bench",
                                      .etcd = "/usr/bin/etcd",
                                      .nodes = 1,
                                      .interval_ms = 1000,
                                      .fsync = true,
                                      .log = true};
    for (size_t i = 0; i < scenario->preset_count; i++) {
        options->numbers[scenario->presets[i].number] = scenario->presets[i].value;
    }
    longs_make(longs);
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        if (c == 'h' || c == ARG_HELP) {
            if (named) {
                print_scenario_help(stdout, scenario);
            } else {
                print_help(stdout);
            }
            return 0;
        }
        if (c < ARG_TARGET ||
            !(c >= ARG_NUMBERS
                  ? set_number(scenario, (enum bench_number)(c - ARG_NUMBERS), optarg, options)
                  : set_common((enum common)c, optarg, options))) {
            return 2;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "silo-bench: what is \"%s\"? see --help\n", argv[optind]);
        return 2;
    }
    options->serve = options->serve || scenario->server == SERVER_OWN;
    if (options->nodes == 0 ||
        (options->nodes > 1 && (!options->serve || options->config != NULL))) {
        (void)fputs("silo-bench: --nodes wants at least 1, and --serve without --config\n", stderr);
        return 2;
    }
    *ret_scenario = scenario;
    return -1;
}
