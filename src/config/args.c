/*
 * config/args.c - the command line, the help text, and the whole start from argv to a config.
 */
#include "config/keys_int.h"

#include <getopt.h>
#include <stdio.h>

#include "base/buf.h"

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
    "      --check-config  check the configuration and the files it names, print what is in "
    "effect, and exit:\n"
    "                      0 good, 1 the server would not start, 2 some settings have no effect\n"
    "      --version       print version, commit, storage engine and build type, and exit\n"
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

static void help_key(struct buf *out, const struct config_key *key)
{
    if (key->fallback != NULL) {
        buf_printf(out, "  %-43s [%s]", key->path, key->fallback);
    } else {
        buf_printf(out, "  %s", key->path);
    }
    buf_printf(out, "\n      %s", key->meaning);
    if (key->choices != NULL) {
        buf_printf(out, " (%s)", key->choices);
    }
    buf_append(out, "\n", 1);
}

enum help_part { HELP_EFFECTIVE, HELP_LATER, HELP_IGNORED };

static enum help_part help_part_of(const struct config_key *key)
{
    return key->type == CONFIG_T_IGNORED      ? HELP_IGNORED
           : (key->flags & CONFIG_LATER) != 0 ? HELP_LATER
                                              : HELP_EFFECTIVE;
}

static void help_keys(struct buf *out, enum help_part part)
{
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (help_part_of(key) != part) {
            continue;
        }
        if (part == HELP_IGNORED) {
            buf_printf(out, "  %s\n", key->path);
        } else {
            help_key(out, key);
        }
    }
}

const char *config_help(struct arena *arena, const char *program)
{
    struct buf out;
    buf_init(&out, HELP_BYTES_MAX);
    buf_printf(&out, help_head, program);
    help_keys(&out, HELP_EFFECTIVE);
    buf_printf(&out, "\nSettings of parts that are not in this version; they are checked, "
                     "and have no effect:\n");
    help_keys(&out, HELP_LATER);
    buf_printf(&out, "\nSettings of other servers; any value is accepted, and has no effect:\n");
    help_keys(&out, HELP_IGNORED);
    const char *text = arena_str(arena, buf_bytes(&out));
    buf_deinit(&out);
    return text;
}

bool config_startup(int argc, char **argv, enum config_action *ret_action,
                    struct silo_config *ret_config, struct config_warnings *ret_warnings,
                    int *ret_exit)
{
    struct silo_err err;
    struct config_args args = {0};
    *ret_config = (struct silo_config){0};
    *ret_exit = 0;
    silo_rc rc = config_args_parse(argc, argv, &args, &err);
    if (rc.code == SILO_OK && args.action == CONFIG_HELP) {
        AUTO(arena_deinit) struct arena scratch;
        arena_init(&scratch);
        (void)fputs(config_help(&scratch, "silo"), stdout);
        return false;
    }
    if (rc.code == SILO_OK && args.action != CONFIG_VERSION) {
        rc = config_load(args.path, &config_env_process, ret_config, ret_warnings, &err);
    }
    if (rc.code != SILO_OK) {
        (void)fprintf(stderr, "Config error: %s\n", err.text);
        *ret_exit = 1;
        return false;
    }
    *ret_action = args.action;
    return true;
}
