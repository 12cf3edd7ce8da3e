/*
 * server/main.c - the program `silo`.
 *
 * Exit status: 0 after a stop signal and an orderly end; 1 when the configuration is bad, the start
 * failed, or the end took too long; 2 from --check-config when settings have no effect; 128 +
 * signal after a second stop signal.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "server/server_int.h"
#include "server/version.h"

static void log_setup(const struct silo_config *config, const struct config_warnings *warnings)
{
    log_init(STDERR_FILENO, config->log_format == CONFIG_LOG_JSON, config->log_level);
    const struct version version = version_get();
    log_info("starting", LOG_STR("version", version.number), LOG_STR("commit", version.commit),
             LOG_STR("engine", version.engine), LOG_STR("build", version.build),
             LOG_STR("config", config->file != NULL ? config->file : "defaults"), LOG_END);
    for (size_t i = 0; i < warnings->count; i++) {
        log_warn("config", LOG_STR("text", warnings->texts[i]), LOG_END);
    }
    if (warnings->dropped != 0) {
        log_warn("config", LOG_INT("more_warnings", warnings->dropped), LOG_END);
    }
}

/*
 * Serves until told to stop. *ret_clean is false when parts could not be closed: they are left to
 * the exit then.
 */
static int serve(struct server *server, const struct silo_config *config, bool *ret_clean)
{
    struct silo_err err = {0};
    int signal_fd = -1;
    *ret_clean = true;
    *server = (struct server){.wake_fd = -1};
    descriptors_raise();
    silo_rc rc = signals_init(&signal_fd, &err);
    if (rc.code == SILO_OK) {
        rc = server_build(server, config, signal_fd, &err);
    }
    if (rc.code != SILO_OK) {
        log_error("start_failed", LOG_STR("code", silo_code_name(rc.code)),
                  LOG_STR("text", err.text), LOG_END);
        *ret_clean = server_can_free(server);
        return rc.code == SILO_CANCELLED ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    const int number = server_run(server);
    if (number == 0) {
        *ret_clean = false;
        return EXIT_FAILURE;
    }
    return server_shutdown(server, number, ret_clean);
}

/* What the command line asks for instead of serving. */
static int answer(enum config_action action, const struct silo_config *config,
                  const struct config_warnings *warnings)
{
    if (action == CONFIG_CHECK) {
        return server_check(config, warnings);
    }
    version_print();
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct silo_config config;
    struct config_warnings warnings;
    int status = EXIT_FAILURE;
    memory_init();
    enum config_action action = CONFIG_RUN;
    if (!config_startup(argc, argv, &action, &config, &warnings, &status)) {
        config_deinit(&config);
        return status;
    }
    if (action == CONFIG_VERSION || action == CONFIG_CHECK) {
        status = answer(action, &config, &warnings);
        config_deinit(&config);
        return status;
    }
    log_setup(&config, &warnings);
    struct server server;
    bool clean;
    status = serve(&server, &config, &clean);
    if (!clean) {
        _exit(status);
    }
    server_free(&server);
    config_deinit(&config);
    return status;
}
