/*
 * config/parse_test.c - whole files: defaults, every kind of value, and what each mistake is
 * answered with.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "config/testing_int.h"

static const char *const pairs[] = {"TOKEN", "s3cret",  "PORT", "7000",   "YES",
                                    "true",  "COUNT",   "3",    "INJECT", "x\"\ndev_mode = true\n",
                                    "LATIN", "caf\xe9", NULL};

struct fixture {
    struct silo_config config;
    struct config_warnings warnings;
    struct silo_err err;
};

static silo_rc load(struct fixture *f, const char *toml)
{
    const struct config_env env = pairs_env(pairs);
    f->err = (struct silo_err){0};
    return config_parse(bytes_str(toml), "silo.toml", &env, &f->config, &f->warnings, &f->err);
}

/* The text is accepted; the caller deinits f->config. */
static void accept(struct fixture *f, const char *toml)
{
    if (load(f, toml).code != SILO_OK) {
        fail_msg("refused: %s", f->err.text);
    }
}

static void refuse(const char *toml, const char *want)
{
    struct fixture f;
    if (load(&f, toml).code == SILO_OK) {
        fail_msg("accepted: %s", toml);
    }
    if (strstr(f.err.text, want) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", f.err.text, want);
    }
    assert_int_equal(f.config.arena.bytes, 0);
}

static void defaults(void **state)
{
    (void)state;
    struct fixture f;
    accept(&f, "");
    const struct silo_config *c = &f.config;
    assert_string_equal(c->server.grpc_addr.text, "127.0.0.1:50051");
    assert_string_equal(c->server.grpc_addr.host, "127.0.0.1");
    assert_int_equal(c->server.grpc_addr.port, 50051);
    assert_int_equal(c->webui_addr.port, 8080);
    assert_int_equal(c->metrics_addr.port, 9090);
    assert_true(c->metrics_enabled);
    assert_false(c->tenancy_enabled);
    assert_false(c->server.dev_mode);
    assert_null(c->server.auth_token);
    assert_null(c->server.tls_cert);
    assert_int_equal(c->server.shutdown_timeout_ms, 25000);
    assert_true(c->server.executors >= 1);
    assert_true(c->server.io_loops >= 1);
    assert_int_equal(c->coordination.initial_shard_count, 1);
    assert_int_equal(c->coordination.etcd_endpoints.count, 1);
    assert_int_equal(c->coordination.placement_rings.count, 0);
    assert_int_equal(c->database.backend, CONFIG_FS);
    assert_string_equal(c->database.path, "./silo-data/%shard%");
    assert_true(c->database.fsync);
    assert_int_equal(c->database.dispatch_order, CONFIG_ORDER_PRIORITY);
    assert_int_equal(c->database.flush_interval_us, 0);
    assert_false(c->database.wal.set);
    assert_string_equal(c->database.slatedb_json, "{}");
    assert_null(c->database.place.options_json);
    assert_int_equal(c->log_level, LOG_INFO);
    assert_int_equal(f.warnings.count, 0);
    config_deinit(&f.config);
}

static void every_kind_of_value(void **state)
{
    (void)state;
    struct fixture f;
    accept(&f, "[server]\n"
               "grpc_addr = '[::1]:0'\n"
               "dev_mode = true\n"
               "executors = 3\n"
               "[tenancy]\n"
               "enabled = true\n"
               "[logging]\n"
               "format = 'json'\n"
               "level = 'debug'\n"
               "[coordination]\n"
               "placement_rings = ['a', 'b']\n"
               "[database]\n"
               "backend = 's3'\n"
               "path = 's3://bucket/x/%shard%'\n"
               "dispatch_order = 'start'\n"
               "latency_read_ms = 30\n"
               "[database.wal]\n"
               "backend = 'fs'\n"
               "path = '/wal/%shard%'\n");
    const struct silo_config *c = &f.config;
    assert_string_equal(c->server.grpc_addr.host, "::1");
    assert_int_equal(c->server.grpc_addr.port, 0);
    assert_true(c->server.dev_mode);
    assert_int_equal(c->server.executors, 3);
    assert_int_equal(c->coordination.initial_shard_count, 8);
    assert_int_equal(c->log_format, CONFIG_LOG_JSON);
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_int_equal(c->coordination.placement_rings.count, 2);
    assert_string_equal(c->coordination.placement_rings.items[1], "b");
    assert_string_equal(c->database.place.url, "s3://bucket/x");
    assert_int_equal(c->database.dispatch_order, CONFIG_ORDER_START);
    assert_string_equal(c->database.place.options_json,
                        "{\"latency_read_ms\":30,\"latency_write_ms\":0}");
    assert_true(c->database.wal.set);
    assert_string_equal(c->database.wal.directory, "/wal");
    assert_int_equal(c->database.flush_interval_us, 0); /* the log's store is local */
    config_deinit(&f.config);
}

static void the_engine_table_is_passed_on(void **state)
{
    (void)state;
    struct fixture f;
    accept(&f, "[database]\n"
               "backend = 's3'\n"
               "path = 's3://b'\n"
               "[database.slatedb]\n"
               "l0_max_ssts = 9\n"
               "[database.slatedb.object_store_cache_options]\n"
               "root_folder = '/cache/${PORT}/%shard%'\n");
    assert_int_equal(f.config.database.flush_interval_us, 50000);
    assert_string_equal(f.config.database.slatedb_json,
                        "{\"l0_max_ssts\":9,\"object_store_cache_options\":{\"root_folder\":\"/"
                        "cache/7000/%shard%\"}}");
    assert_string_equal(f.config.database.engine_cache, "/cache/7000/%shard%");
    config_deinit(&f.config);
    accept(&f, "[database.slatedb]\nflush_interval = '1ms'\nmanifest_poll_interval = '1s'\n");
    assert_int_equal(f.config.database.flush_interval_us, 1000);
    assert_string_equal(f.config.database.slatedb_json, "{\"manifest_poll_interval\":\"1s\"}");
    config_deinit(&f.config);
    refuse("[database.slatedb]\nflush_interval = 'often'\n",
           "silo.toml:2: database.slatedb.flush_interval must be a duration");
    refuse("[database.slatedb]\nflush_interval = 5\n", "must be a duration");
    refuse("[database]\nslatedb = 5\n", "database.slatedb must be a table");
}

static void variables_are_expanded_after_parsing(void **state)
{
    (void)state;
    struct fixture f;
    accept(&f, "[server]\n"
               "grpc_addr = '127.0.0.1:${PORT}'\n"
               "auth_token = '${TOKEN}'\n"
               "dev_mode = '${YES}'\n"
               "executors = '${COUNT:-1}'\n"
               "io_loops = '${UNSET:-2}'\n"
               "[coordination]\n"
               "node_id = '${INJECT}'\n"
               "# ${COMMENTED_OUT}\n");
    assert_int_equal(f.config.server.grpc_addr.port, 7000);
    assert_string_equal(f.config.server.auth_token, "s3cret");
    assert_true(f.config.server.dev_mode);
    assert_int_equal(f.config.server.executors, 3);
    assert_int_equal(f.config.server.io_loops, 2);
    assert_string_equal(f.config.coordination.node_id, "x\"\ndev_mode = true\n");
    assert_int_equal(f.warnings.count, 0);
    config_deinit(&f.config);

    accept(&f, "[database]\npath = '/var/lib${UNSET}/%shard%'\n");
    assert_int_equal(f.warnings.count, 1);
    assert_non_null(
        strstr(f.warnings.texts[0], "silo.toml:2: database.path: the variable UNSET is not set"));
    config_deinit(&f.config);

    refuse("[coordination]\nnode_id = '${UNSET}'\n", "coordination.node_id must not be empty");
    refuse("[coordination]\nnode_id = 'x${LATIN}'\n",
           "silo.toml:2: coordination.node_id is not UTF-8 after expansion");
    refuse("[coordination]\nplacement_rings = ['${LATIN}']\n",
           "coordination.placement_rings[0] is not UTF-8 after expansion");
    refuse("[server]\nexecutors = ${COUNT}\n", "must stand inside quotes");
    refuse("[server]\nexecutors = '3'\n", "server.executors must be an integer, not a string");
    refuse("[server]\nexecutors = '${YES}'\n", "server.executors must be an integer, not \"true\"");
}

static void unknown_keys_name_their_place_and_the_nearest(void **state)
{
    (void)state;
    refuse("[server]\ngrpc_adr = 'x'\n", "silo.toml:2: unknown key \"grpc_adr\" in [server]; the "
                                         "nearest known key is server.grpc_addr");
    refuse("\n\n[database.wall]\npath = 'x'\n",
           "silo.toml:3: unknown table \"wall\" in [database]; did you mean [database.wal]?");
    refuse("num_shards = 8\n",
           "silo.toml:1: unknown key \"num_shards\" at the top level; the nearest known key is "
           "coordination.initial_shard_count");
    refuse("[servers]\ngrpc_addr = 'x'\n",
           "unknown table \"servers\" at the top level; did you mean [server]?");
    refuse("[nonsense]\n",
           "unknown table \"nonsense\" at the top level; the tables are [server], "
           "[coordination], [tenancy], [webui], [metrics], [logging], [gubernator], "
           "[database], and --help lists all keys");
    refuse("[server]\n\"grpc addr\" = 1\n", "silo.toml:2: unknown key");
    refuse("server = 5\n", "silo.toml:1: server must be a table");
    refuse("[server]\n[server.dev_mode]\nx = 1\n", "server.dev_mode must be true or false");
}

static void values_that_do_not_fit(void **state)
{
    (void)state;
    refuse("[server]\ndev_mode = 1\n",
           "silo.toml:2: server.dev_mode must be true or false, not a number");
    refuse("[server]\nexecutors = true\n",
           "server.executors must be an integer, not true or false");
    refuse("[server]\nexecutors = 1.5\n", "server.executors must be an integer");
    refuse("[server]\nexecutors = -1\n", "server.executors must be from 0 to 64, not -1");
    refuse("[server]\nshutdown_timeout_ms = 0\n", "must be from 100 to");
    refuse("[server]\ngrpc_addr = 50051\n", "server.grpc_addr must be a string \"IP:port\"");
    refuse("[server]\ngrpc_addr = 'localhost:50051'\n", "must be a literal IP:port");
    refuse("[server]\ngrpc_addr = '127.0.0.1'\n", "must be a literal IP:port");
    refuse("[server]\ngrpc_addr = '127.0.0.1:'\n", "must be a literal IP:port");
    refuse("[server]\ngrpc_addr = '127.0.0.1:65536'\n", "must be a literal IP:port");
    refuse("[server]\ngrpc_addr = '::1:50051'\n", "must be a literal IP:port");
    refuse("[server]\nauth_token = ''\n", "server.auth_token must not be empty");
    refuse("[logging]\nformat = 'xml'\n", "logging.format must be one of text|json, not \"xml\"");
    refuse("[database]\nbackend = 'disk'\n",
           "database.backend must be one of fs|s3|gcs|memory|url");
    refuse("[database]\nbackend = 's3'\n", "database.path must look like s3://");
    refuse("[database]\npath = '/x'\n", "database.path must hold %shard%");
    refuse("[database]\ndispatch_order = 'random'\n", "must be one of priority|start");
    refuse("[database.wal]\nbackend = 'fs'\n",
           "database.wal.backend and database.wal.path go together");
    refuse("[database.wal]\npath = '/x/%shard%'\n", "go together");
    refuse("[coordination]\ninitial_shard_count = 0\n", "must be from 1 to");
    refuse("[coordination]\nadvertised_grpc_addr = '0.0.0.0:50051'\n",
           "coordination.advertised_grpc_addr must be an address that clients can dial, "
           "such as \"silo.example.com:50051\", not \"0.0.0.0:50051\"");
    refuse("[coordination]\nadvertised_grpc_addr = 'silo.example.com'\n", "that clients can dial");
    refuse("[coordination]\nadvertised_grpc_addr = 'silo.example.com:0'\n",
           "that clients can dial");
    refuse("[coordination]\nbackend = 'k8s'\n",
           "coordination.backend = \"k8s\" is not in this version");
    refuse("[coordination]\nbackend = 'etcd'\netcd_endpoints = []\n", "must name a server");
    refuse("[coordination]\nbackend = 'etcd'\netcd_tls_cert = 'c.pem'\n",
           "coordination.etcd_tls_cert and etcd_tls_key go together");
    refuse("[coordination]\nbackend = 'etcd'\netcd_password = 'p'\n", "needs etcd_username");
    refuse("[coordination]\nbackend = 'etcd'\n[database]\nbackend = 'memory'\n",
           "needs a store that all nodes share");
    refuse("[coordination]\nlease_ttl_secs = 1\n", "must be from 2 to");
    refuse("[coordination]\nplacement_rings = 'a'\n", "must be an array of strings");
    refuse("[coordination]\nplacement_rings = [1]\n",
           "coordination.placement_rings[0] must be a string");
    refuse("[server]\ntls_cert = 'a.pem'\n", "go together; only server.tls_cert is set");
    refuse("[server]\ntls_client_ca = 'a.pem'\n", "server.tls_client_ca needs");
    refuse("[server]\nauth_token = \"a\\u0000b\"\n", "silo.toml");
    refuse("[server\n", "silo.toml: line 1");
}

static void settings_without_effect_warn(void **state)
{
    (void)state;
    struct fixture f;
    accept(&f, "[database]\ngrant_scanner_batch_size = 5\nhydrate_all_at_startup = true\n"
               "[webui]\nenabled = false\naddr = '127.0.0.1:8080'\n"
               "[metrics]\nenabled = true\n"
               "[server]\nstatement_timeout_ms = 4999\nmax_result_bytes = 67108864\n");
    assert_int_equal(f.warnings.count, 4);
    assert_int_equal(f.warnings.in_vain, 4);
    assert_string_equal(
        f.warnings.texts[0],
        "silo.toml:2: database.grant_scanner_batch_size has no effect in this version");
    assert_string_equal(f.warnings.texts[2],
                        "silo.toml:8: metrics.enabled has no effect in this version");
    assert_string_equal(f.warnings.texts[3],
                        "silo.toml:10: server.statement_timeout_ms has no effect in this version");
    config_deinit(&f.config);
    refuse("[webui]\naddr = 'nowhere'\n", "webui.addr must be a literal IP:port");
}

static void the_engine_knows_its_keys(void **state)
{
    (void)state;
    refuse("[database.slatedb]\nl0_max_ssts = 9\nl0_max_sst = 9\n",
           "silo.toml:3: database.slatedb.l0_max_sst is not a key of the storage engine, "
           "did you mean l0_max_ssts?");
    refuse("[database.slatedb.compactor_options]\nworker = { max_fetch_task = 1 }\n",
           "silo.toml:2: database.slatedb.compactor_options.worker.max_fetch_task is not a key");
    refuse("[database]\nbackend = 's3'\npath = 's3://b'\n[database.slatedb]\n"
           "manifest_poll_interval = 'soon'\n",
           "silo.toml:5: database.slatedb.manifest_poll_interval does not fit");
}

static void what_lacks_a_variable_names_it(void **state)
{
    (void)state;
    refuse("[server]\nauth_token = '${SILO_AUTH_TOKEN}'\n",
           "silo.toml:2: server.auth_token must not be empty; "
           "leave the key out for its default (the variable SILO_AUTH_TOKEN in it is not set");
    refuse("[database]\nbackend = 's3'\npath = 's3://${BUCKET}/silo'\n",
           "(the variable BUCKET in it is not set");
    refuse("[coordination]\nnode_id = 'x${OTHER}'\nadvertised_grpc_addr = '${POD_IP}:50051'\n",
           "(the variable POD_IP in it is not set");
}

static void the_log_level_of_the_environment_goes_first(void **state)
{
    (void)state;
    static const char *const own[] = {"SILO_LOG", "warn", "RUST_LOG", "debug", NULL};
    static const char *const compatible[] = {"RUST_LOG", "error", NULL};
    static const char *const filter[] = {"RUST_LOG", "silo=debug,info", NULL};
    static const char *const wrong[] = {"SILO_LOG", "loud", NULL};
    const struct bytes text = BYTES_LIT("[logging]\nlevel = 'off'\n");
    struct fixture f;
    struct config_env env = pairs_env(own);
    assert_int_equal(config_parse(text, "t", &env, &f.config, &f.warnings, &f.err).code, SILO_OK);
    assert_int_equal(f.config.log_level, LOG_WARN);
    config_deinit(&f.config);
    env = pairs_env(compatible);
    assert_int_equal(config_parse(text, "t", &env, &f.config, &f.warnings, &f.err).code, SILO_OK);
    assert_int_equal(f.config.log_level, LOG_ERROR);
    config_deinit(&f.config);
    env = pairs_env(filter);
    assert_int_equal(config_parse(text, "t", &env, &f.config, &f.warnings, &f.err).code, SILO_OK);
    assert_int_equal(f.config.log_level, LOG_OFF);
    assert_int_equal(f.warnings.count, 1);
    config_deinit(&f.config);
    env = pairs_env(wrong);
    assert_int_equal(config_parse(text, "t", &env, &f.config, &f.warnings, &f.err).code,
                     SILO_INVALID);
}

static void files(void **state)
{
    (void)state;
    struct fixture f;
    static const char text[] = "[server]\ndev_mode = true\n";
    const int fd = open("load_test.toml", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    (void)close(fd);
    assert_int_equal(
        config_load("load_test.toml", &config_env_process, &f.config, &f.warnings, &f.err).code,
        SILO_OK);
    assert_true(f.config.server.dev_mode);
    assert_string_equal(f.config.file, "load_test.toml");
    config_deinit(&f.config);
    (void)unlink("load_test.toml");
    assert_int_equal(
        config_load("absent.toml", &config_env_process, &f.config, &f.warnings, &f.err).code,
        SILO_INVALID);
    assert_non_null(strstr(f.err.text, "cannot open absent.toml"));
    assert_int_equal(config_load(".", &config_env_process, &f.config, &f.warnings, &f.err).code,
                     SILO_INVALID);
    assert_int_equal(config_load(NULL, &config_env_process, &f.config, &f.warnings, &f.err).code,
                     SILO_OK);
    assert_null(f.config.file);
    config_deinit(&f.config);
}

static void threads_by_cores(void **state)
{
    (void)state;
    static const int64_t cases[][2] = {{1, 1}, {4, 1}, {7, 1}, {8, 2}, {12, 3}, {64, 16}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(config_threads_for(cases[i][0]), cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_kind_of_value),
        cmocka_unit_test(the_engine_table_is_passed_on),
        cmocka_unit_test(variables_are_expanded_after_parsing),
        cmocka_unit_test(unknown_keys_name_their_place_and_the_nearest),
        cmocka_unit_test(values_that_do_not_fit),
        cmocka_unit_test(settings_without_effect_warn),
        cmocka_unit_test(the_engine_knows_its_keys),
        cmocka_unit_test(what_lacks_a_variable_names_it),
        cmocka_unit_test(the_log_level_of_the_environment_goes_first),
        cmocka_unit_test(files),
        cmocka_unit_test(threads_by_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
