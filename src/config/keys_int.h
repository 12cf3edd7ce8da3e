/*
 * config/keys_int.h - the table of all configuration keys, and how a value gets into its place.
 *
 * Ownership  the table is static; strings set are copied into the config's arena.
 * Threads    none of its own.
 * Limits     CONFIG_KEY_PATH_MAX bytes of dotted path, NUL included.
 */
#ifndef SILO_CONFIG_KEYS_INT_H
#define SILO_CONFIG_KEYS_INT_H

#include <jansson.h>

#include "config/config.h"

#define CONFIG_KEY_PATH_MAX 192

enum config_type {
    CONFIG_T_BOOL,     /* bool */
    CONFIG_T_INT,      /* int64_t, in [min, max] */
    CONFIG_T_STRING,   /* const char *, not empty */
    CONFIG_T_SECRET,   /* the same, never printed */
    CONFIG_T_ADDR,     /* struct config_addr */
    CONFIG_T_CHOICE,   /* an enum, by its place in `choices` */
    CONFIG_T_STRINGS,  /* struct config_list */
    CONFIG_T_DURATION, /* int64_t microseconds, in [min, max] */
    /* a tuning key of the reference that means nothing here: any value, and a warning */
    CONFIG_T_IGNORED,
};

/*
 * The key's part of Silo is not in this version: its value is checked and kept, and has no effect.
 */
#define CONFIG_LATER 1u
/* Such a key that turns its part on: what happens is false, whatever the default. */
#define CONFIG_LATER_OFF (CONFIG_LATER | 2u)

struct config_key {
    const char *path; /* dotted */
    enum config_type type;
    unsigned flags;
    size_t offset; /* into struct silo_config */
    /* the default as text; NULL: none, or one that depends (then `meaning` says on what) */
    const char *fallback;
    const char *choices; /* "a|b|c" */
    int64_t min, max;
    const char *meaning;
};

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

/* NULL if there is none. */
const struct config_key *config_key_find(const char *path);
/* Whether some key lies below this table. */
bool config_table_known(const char *path);
/* The known key that looks most like path; NULL when none looks like it. */
const struct config_key *config_key_nearest(const char *path);
/* The known table that looks most like path, in the arena; NULL likewise. */
const char *config_table_nearest(struct arena *arena, const char *path);
/* What to say to somebody who wrote a key or a table that is not known, in the arena. */
const char *config_suggest(struct arena *arena, const char *path, bool is_table);

/* Each puts a value of the type named into the key's place, or says why it does not fit. */
SILO_RC config_key_set_bool(const struct config_key *key, struct silo_config *config, bool value,
                            struct silo_err *err);
SILO_RC config_key_set_int(const struct config_key *key, struct silo_config *config, int64_t value,
                           struct silo_err *err);
/* From text, whatever the key's type (except lists). */
SILO_RC config_key_set_text(const struct config_key *key, struct silo_config *config,
                            const char *text, struct silo_err *err);
void config_key_set_list(const struct config_key *key, struct silo_config *config,
                         struct config_list list);

/* Whether the value of a CONFIG_LATER key asks for something that does not happen. */
bool config_key_in_vain(const struct config_key *key, const struct silo_config *config);

/* Puts the default of every key in its place. */
void config_keys_set_defaults(struct silo_config *config);

/* "true or false", "an integer", ...: what a key wants, for messages. Static storage. */
const char *config_type_name(enum config_type type);

/* ---- parts, for each other and for their tests ---- */

/* The directory of the engine's own cache that its table names, in the arena; NULL: none. */
const char *config_engine_cache(struct arena *arena, const json_t *engine);
/*
 * Checks database.slatedb_json with the engine. lines, of a file of that name, are for messages;
 * may be NULL.
 */
SILO_RC config_engine_check(struct silo_config *config, const char *name, const json_t *lines,
                            struct silo_err *err);

void config_warn(struct silo_config *config, struct config_warnings *warnings, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * text with ${NAME} and ${NAME:-fallback} replaced, in the arena. *ret_expanded (may be NULL) says
 * whether there was any; *ret_unset is the name of the first variable that was unset and had no
 * fallback, else NULL.
 */
const char *config_expand_env(struct arena *arena, const char *text, const struct config_env *env,
                              bool *ret_expanded, const char **ret_unset);

/*
 * From {"value": ..., "lines": ...} as sdbx_toml_to_json makes it; fills what the text says over
 * the defaults.
 */
SILO_RC config_apply_json(struct bytes json, const char *name, const struct config_env *env,
                          struct silo_config *config, struct config_warnings *warnings,
                          struct silo_err *err);

/* backend and path into a place; key_prefix ("database" or "database.wal") is for messages. */
SILO_RC config_place_resolve(struct arena *arena, enum config_backend backend, const char *path,
                             const char *key_prefix, struct config_place *ret_place,
                             struct silo_err *err);

/* Defaults that depend on other values, and rules between keys. Last step of every load. */
SILO_RC config_finish(struct silo_config *config, const struct config_env *env,
                      struct config_warnings *warnings, struct silo_err *err);

/* "100ms", "5s", "1m", "1h", also "250us" and sums such as "1m30s", in microseconds. */
bool config_duration_parse(const char *text, int64_t *ret_us);

struct config_args {
    enum config_action action;
    const char *path; /* argv's memory; NULL = none given */
};

SILO_RC config_args_parse(int argc, char **argv, struct config_args *ret_args,
                          struct silo_err *err);
/* The help text, in the arena. */
const char *config_help(struct arena *arena, const char *program);

/*
 * The text of a file, or of a pipe once its writer has closed it, in the arena. INVALID: it cannot
 * be read, is longer than CONFIG_FILE_BYTES_MAX, or is a pipe that nothing comes from.
 */
SILO_RC config_file_read(const char *path, struct arena *arena, struct bytes *ret_text,
                         struct silo_err *err);

#endif
