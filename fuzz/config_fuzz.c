/*
 * fuzz/config_fuzz.c - what the operator writes: the TOML file, the command line, and the texts
 * inside values.
 *
 * The first byte says which. A file that loads prints as a file that loads to the same. The TOML
 * reader is the bridge's and not instrumented, so the fuzzer also gives documents to the walk
 * behind it as JSON.
 */
#include "fuzz.h"

#include "config/keys_int.h"

#define KINDS 5u
#define ARGS_MAX 16u

enum kind { TOML, JSON, ARGS, EXPAND, DURATION };

static const char *fuzz_getenv(void *context, const char *name)
{
    (void)context;
    static const char *const pairs[][2] = {
        {"A", "1"}, {"EMPTY", ""}, {"HOME", "/home/silo"}, {"T", "true"}, {"X", "a\"\\\nb"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (strcmp(name, pairs[i][0]) == 0) {
            return pairs[i][1];
        }
    }
    return NULL;
}

static const struct config_env fuzz_env = {.get = fuzz_getenv};

/* A loaded config is whole, and prints as one that loads to the same. */
static void config_check(struct silo_config *config)
{
    ASSERT(config->server.executors > 0 && config->server.io_loops > 0);
    ASSERT(config->coordination.initial_shard_count > 0);
    ASSERT(config->database.place.set && config->database.place.url != NULL);
    ASSERT(strstr(config->database.place.shard_path, "%shard%") != NULL);

    struct arena arena;
    arena_init(&arena);
    const char *path = config_expand_shard(&arena, config->database.place.shard_path, "id");
    ASSERT(strstr(path, "%shard%") == NULL);
    const char *once = config_print(&arena, config);
    /* A text that expansion has made may hold what would be expanded again. */
    if (strstr(once, "${") == NULL && strcmp(config->database.slatedb_json, "{}") == 0) {
        struct silo_config again;
        struct config_warnings warnings;
        struct silo_err err;
        ASSERT(config_parse(bytes_str(once), "printed", &fuzz_env, &again, &warnings, &err).code ==
               SILO_OK);
        ASSERT(strcmp(once, config_print(&arena, &again)) == 0);
        config_deinit(&again);
    }
    arena_deinit(&arena);
}

static void toml_one(struct bytes in)
{
    struct silo_config config;
    struct config_warnings warnings;
    struct silo_err err;
    if (config_parse(in, "silo.toml", &fuzz_env, &config, &warnings, &err).code == SILO_OK) {
        config_check(&config);
        config_deinit(&config);
    }
}

/* {"value": <input>, "lines": {}} on top of the defaults. */
static void json_one(struct bytes in)
{
    struct silo_config config;
    struct config_warnings warnings;
    struct silo_err err;
    ASSERT(config_parse(BYTES_NONE, NULL, &fuzz_env, &config, &warnings, &err).code == SILO_OK);
    const char *text =
        arena_printf(&config.arena, "{\"value\": %.*s, \"lines\": {\"server\": 3}}", BYTES_FMT(in));
    rc_ignore(config_apply_json(bytes_str(text), "silo.toml", &fuzz_env, &config, &warnings, &err),
              "any answer will do");
    config_deinit(&config);
}

/* One argument to a line. */
static void args_one(struct bytes in)
{
    struct arena arena;
    arena_init(&arena);
    char *argv[ARGS_MAX + 2] = {arena_str(&arena, BYTES_LIT("silo"))};
    int argc = 1;
    while (in.len != 0 && argc <= (int)ARGS_MAX) {
        const uint8_t *end = memchr(in.ptr, '\n', in.len);
        const size_t len = end != NULL ? (size_t)(end - in.ptr) : in.len;
        argv[argc++] = arena_str(&arena, bytes_of(in.ptr, len));
        in = end != NULL ? bytes_of(end + 1, in.len - len - 1) : BYTES_NONE;
    }
    struct config_args args;
    struct silo_err err;
    if (config_args_parse(argc, argv, &args, &err).code == SILO_OK && args.path != NULL) {
        (void)strlen(args.path);
    }
    arena_deinit(&arena);
}

static void expand_one(struct bytes in)
{
    struct arena arena;
    arena_init(&arena);
    const char *text = arena_str(&arena, in);
    bool expanded = false;
    const char *unset = NULL;
    const char *result = config_expand_env(&arena, text, &fuzz_env, &expanded, &unset);
    ASSERT(result == NULL || expanded || strcmp(result, text) == 0);
    const char *shard = config_expand_shard(&arena, text, "0123");
    ASSERT(strstr(shard, "{shard}") == NULL || strstr(text, "{") != NULL);
    for (int backend = CONFIG_FS; backend <= CONFIG_URL; backend++) {
        struct config_place place;
        struct silo_err err;
        if (config_place_resolve(&arena, (enum config_backend)backend, text, "database", &place,
                                 &err)
                .code == SILO_OK) {
            ASSERT(place.set && strstr(place.url, "://") != NULL);
        }
    }
    arena_deinit(&arena);
}

static void duration_one(struct bytes in)
{
    struct arena arena;
    arena_init(&arena);
    int64_t us = 0, again = 0;
    if (config_duration_parse(arena_str(&arena, in), &us)) {
        ASSERT(us >= 0);
        if (us < INT64_C(1000000000000)) {
            const char *text = arena_printf(&arena, "%lldus", (long long)us);
            ASSERT(config_duration_parse(text, &again) && us == again);
        }
    }
    arena_deinit(&arena);
}

void fuzz_one(struct bytes input)
{
    static void (*const parts[KINDS])(struct bytes) = {
        [TOML] = toml_one,     [JSON] = json_one,         [ARGS] = args_one,
        [EXPAND] = expand_one, [DURATION] = duration_one,
    };
    const uint8_t kind = take_u8(&input);
    parts[kind % KINDS](input);
}

/* Every key, with its default. */
static void seed_keys(struct seeds *seeds)
{
    struct arena arena;
    struct silo_config config;
    struct config_warnings warnings;
    struct silo_err err;
    arena_init(&arena);
    ASSERT(config_parse(BYTES_NONE, NULL, &fuzz_env, &config, &warnings, &err).code == SILO_OK);
    seed_put(seeds, TOML, bytes_str(config_print(&arena, &config)));
    config_deinit(&config);
    arena_deinit(&arena);
}

void fuzz_seeds(struct seeds *seeds)
{
    seed_keys(seeds);
    seed_put(
        seeds, TOML,
        BYTES_LIT("server.grpc_addr = '[::1]:0'\n[server]\nexecutors = 2\nauth_token = '${A}'\n"
                  "tls_cert = 'c'\ntls_key = 'k'\n"));
    seed_put(seeds, TOML,
             BYTES_LIT("[database]\nbackend = 's3'\npath = 's3://bucket/p/%shard%/db'\n"
                       "latency_read_ms = 5\n[database.wal]\nbackend = 'fs'\n"
                       "path = '${HOME}/w/{shard}'\n[database.slatedb]\nflush_interval = '1m30s'\n"
                       "l0_max_ssts = 9\nobject_store_cache_options = {part = [1, 'x', 1.5]}\n"));
    seed_put(seeds, TOML,
             BYTES_LIT("[coordination]\nplacement_rings = ['x', \"y${NONE:-z}\"]\n"
                       "node_id = '''a\nb'''\n[tenancy]\nenabled = true\n[logging]\nlevel = 'off'\n"
                       "format = \"json\"\n"));
    seed_put(seeds, TOML,
             BYTES_LIT("[database]\nhydrate_all_at_startup = 1\nbackend = \"memory\"\npath = "
                       "\"\\u00e9\"\nfsync = \"${T}\"\n[server]\nexecutors = \"${A}\"\n"));
    seed_put(seeds, TOML, BYTES_LIT("[server]\ngrpc_adr = 1\n"));
    seed_put(
        seeds, JSON,
        BYTES_LIT("{\"server\":{\"executors\":2,\"dev_mode\":true,\"grpc_addr\":\"1.2.3.4:5\"},"
                  "\"database\":{\"slatedb\":{\"a\":[1,{\"b\":null}]}}}"));
    seed_put(seeds, ARGS, BYTES_LIT("-v\n-c\nsilo.toml\n--check-config"));
    seed_put(seeds, ARGS, BYTES_LIT("--config=x\n--version\n-h\n--\nrest"));
    seed_put(seeds, EXPAND, BYTES_LIT("s3://${A}/${NONE:-x}/%shard%/y${EMPTY}${"));
    seed_put(seeds, EXPAND, BYTES_LIT("/var//lib/./silo/{shard}/"));
    seed_put(seeds, DURATION, BYTES_LIT("1h 30m5s250ms9us"));
}
