/*
 * config/args.c - the command line, the help text, and the whole start from argv to a config.
 */
#include "config/keys_int.h"

#include <getopt.h>
#include <stdio.h>

#include "base/buf.h"

#ifndef SILO_VERSION
#define SILO_VERSION "0.1.0"
#endif

#define HELP_BYTES_MAX (64u * 1024)

enum { OPTION_VERSION = 256, OPTION_CHECK };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {NULL, 0, NULL, 0},
};

SILO_RC config_args_parse(int argc, char **argv, struct config_args *ret_args, struct silo_err *err)
{
    struct config_args args = {.action = CONFIG_RUN};
    int option = 0;
    opterr = 0;
    optind = 0; /* GNU: start over, whatever was parsed before */
    while ((option = getopt_long(argc, argv, ":c:vh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            args.path = optarg;
            break;
        case 'v': /* kept for scripts that pass it; no effect */
            break;
        case 'h':
            args.action = CONFIG_HELP;
            break;
        case OPTION_VERSION:
            args.action = CONFIG_VERSION;
            break;
        case OPTION_CHECK:
            args.action = CONFIG_CHECK;
            break;
        case ':':
            return FAIL(err, SILO_INVALID, "%s needs a value; --help lists the options",
                        argv[optind - 1]);
        default:
            return FAIL(err, SILO_INVALID, "unknown option %s; --help lists the options",
                        argv[optind - 1]);
        }
    }
    if (optind < argc) {
        return FAIL(err, SILO_INVALID, "unexpected argument %s; --help lists the options",
                    argv[optind]);
    }
    *ret_args = args;
    return RC_OK;
}

static const char help_head[] =
    "Silo is a durable background-job server. Its data lies in object storage or on a local disk; "
    "producers and\n"
    "workers speak gRPC.\n"
    "\n"
    "Usage: %s [-c PATH]\n"
    "\n"
    "  -c, --config PATH   TOML file; without it every setting has its default\n"
    "      --check-config  check the configuration, print the effective one with secrets hidden, "
    "and exit\n"
    "      --version       print the version and exit\n"
    "  -v                  accepted, no effect\n"
    "  -h, --help          print this and exit\n"
    "\n"
    "Environment:\n"
    "  SILO_LOG            log level (debug, info, warn, error, off); goes before logging.level\n"
    "  RUST_LOG            the same, if SILO_LOG is not set\n"
    "  AWS_*               region, endpoint and credentials for the backend s3\n"
    "  GOOGLE_*            credentials for the backend gcs\n"
    "  ${NAME}, ${NAME:-text} inside strings of the file are replaced by the variable's value, or "
    "by the text\n"
    "                      when it is not set\n"
    "\n"
    "Settings and their defaults:\n";

const char *config_help(struct arena *arena, const char *program)
{
    struct buf out;
    buf_init(&out, HELP_BYTES_MAX);
    buf_printf(&out, help_head, program);
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->type == CONFIG_T_IGNORED || (key->flags & CONFIG_LATER) != 0) {
            continue;
        }
        buf_printf(&out, "  %-43s", key->path);
        if (key->fallback != NULL) {
            buf_printf(&out, " [%s]", key->fallback);
        }
        buf_printf(&out, "\n      %s", key->meaning);
        if (key->choices != NULL) {
            buf_printf(&out, " (%s)", key->choices);
        }
        buf_append(&out, "\n", 1);
    }
    const char *text = arena_str(arena, buf_bytes(&out));
    buf_deinit(&out);
    return text;
}

static void print_warnings(const struct config_warnings *warnings)
{
    for (size_t i = 0; i < warnings->count; i++) {
        (void)fprintf(stderr, "Warning: %s\n", warnings->texts[i]);
    }
    if (warnings->dropped != 0) {
        (void)fprintf(stderr, "Warning: %zu more warnings\n", warnings->dropped);
    }
}

bool config_startup(int argc, char **argv, struct silo_config *ret_config,
                    struct config_warnings *ret_warnings, int *ret_exit)
{
    struct silo_err err;
    struct config_args args = {0};
    AUTO(arena_deinit) struct arena scratch;
    arena_init(&scratch);
    *ret_config = (struct silo_config){0};
    *ret_exit = 0;
    if (config_args_parse(argc, argv, &args, &err).code != SILO_OK) {
        (void)fprintf(stderr, "Config error: %s\n", err.text);
        *ret_exit = 1;
        return false;
    }
    if (args.action == CONFIG_HELP) {
        (void)fputs(config_help(&scratch, "silo"), stdout);
        return false;
    }
    if (args.action == CONFIG_VERSION) {
        (void)puts("silo " SILO_VERSION);
        return false;
    }
    if (config_load(args.path, &config_env_process, ret_config, ret_warnings, &err).code !=
        SILO_OK) {
        (void)fprintf(stderr, "Config error: %s\n", err.text);
        *ret_exit = 1;
        return false;
    }
    if (args.action == CONFIG_CHECK) {
        print_warnings(ret_warnings);
        (void)fputs(config_print(&scratch, ret_config), stdout);
        return false;
    }
    return true;
}
