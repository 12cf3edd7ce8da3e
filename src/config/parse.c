/*
 * config/parse.c - from the parsed document to the config: every key is known, of the right type
 * and in its range.
 *
 * The document comes as JSON with the line of each key (sdbx_toml_to_json). The walk goes down
 * tables as long as some key lies below them; each leaf is looked up by its dotted path.
 * [database.slatedb] is the engine's: all but flush_interval, which is ours, is passed on as JSON
 * that the engine has checked.
 */
#include "config/keys_int.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

#define ENGINE_TABLE "database.slatedb"
#define DEPTH_MAX 32

struct key_walk {
    struct silo_config *config;
    struct config_warnings *warnings;
    const struct config_env *env;
    const char *name; /* of the file */
    json_t *lines;
    json_t *engine; /* what is passed on */
};

static void json_freep(json_t **json)
{
    json_decref(*json);
}

void config_warn(struct silo_config *config, struct config_warnings *warnings, const char *fmt, ...)
{
    if (warnings->count == CONFIG_WARNINGS_MAX) {
        warnings->dropped++;
        return;
    }
    char text[SILO_ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    warnings->texts[warnings->count++] = arena_str(&config->arena, bytes_str(text));
}

/* "silo.toml:12", or the file's name alone where the line is unknown. */
static const char *walk_place(const struct key_walk *walk, const char *path)
{
    const json_t *line = json_object_get(walk->lines, path);
    if (!json_is_integer(line)) {
        return walk->name;
    }
    return arena_printf(&walk->config->arena, "%s:%lld", walk->name,
                        (long long)json_integer_value(line));
}

/* Puts "file:line: key " before the text of an error about one value. */
static silo_rc walk_refuse(const struct key_walk *walk, const char *path,
                           const struct silo_err *why, struct silo_err *err)
{
    return FAIL(err, why->code, "%s: %s %s", walk_place(walk, path), path, why->text);
}

/* A key as the bridge writes it in a path: bare, or a JSON string. */
static const char *path_join(struct arena *arena, const char *path, const char *key)
{
    const bool bare =
        *key != '\0' &&
        key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] ==
            '\0';
    const char *part = key;
    if (!bare) {
        json_t *quoted = json_string(key);
        char *text = json_dumps(quoted, JSON_ENCODE_ANY);
        part = text != NULL ? arena_str(arena, bytes_str(text)) : "?";
        free(text);
        json_decref(quoted);
    }
    return *path != '\0' ? arena_printf(arena, "%s.%s", path, part) : part;
}

static silo_rc unknown_key(const struct key_walk *walk, const char *path, bool is_table,
                           struct silo_err *err)
{
    const char *dot = strrchr(path, '.');
    const char *suggestion = config_suggest(&walk->config->arena, path, is_table);
    const char *what = is_table ? "table" : "key";
    if (dot == NULL) {
        return FAIL(err, SILO_INVALID, "%s: unknown %s \"%s\" at the top level; %s",
                    walk_place(walk, path), what, path, suggestion);
    }
    return FAIL(err, SILO_INVALID, "%s: unknown %s \"%s\" in [%.*s]; %s", walk_place(walk, path),
                what, dot + 1, (int)(dot - path), path, suggestion);
}

static void remember_unset(struct key_walk *walk, const char *path, const char *name)
{
    struct config_warnings *warnings = walk->warnings;
    if (warnings->unset_count < CONFIG_UNSET_MAX) {
        const size_t i = warnings->unset_count++;
        warnings->unset[i].name = name;
        warnings->unset[i].key = arena_str(&walk->config->arena, bytes_str(path));
    }
}

/*
 * text after ${...} expansion; unset variables become warnings. NULL: too long or no text, err says
 * so.
 */
static const char *walk_expand(struct key_walk *walk, const char *path, const char *text,
                               bool *ret_expanded, struct silo_err *err)
{
    const char *unset = NULL;
    const char *result =
        config_expand_env(&walk->config->arena, text, walk->env, ret_expanded, &unset);
    if (unset != NULL) {
        remember_unset(walk, path, unset);
        config_warn(walk->config, walk->warnings,
                    "%s: %s: the variable %s is not set and has no default; it counts as empty",
                    walk_place(walk, path), path, unset);
    }
    const bool is_text = result != NULL && bytes_utf8(bytes_str(result), NULL);
    if (!is_text) {
        rc_ignore(FAIL(err, SILO_INVALID, "%s: %s is %s after expansion", walk_place(walk, path),
                       path, result == NULL ? "too long" : "not UTF-8"),
                  "NULL says it");
    }
    return is_text ? result : NULL;
}

static SILO_RC leaf_list(struct key_walk *walk, const struct config_key *key, const json_t *value,
                         struct silo_err *err)
{
    struct arena *arena = &walk->config->arena;
    struct config_list list = {
        .items = arena_alloc(arena, (json_array_size(value) + 1) * sizeof list.items[0])};
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *path = arena_printf(arena, "%s[%zu]", key->path, i);
        if (!json_is_string(item)) {
            return FAIL(err, SILO_INVALID, "%s: %s must be a string", walk_place(walk, path), path);
        }
        const char *text = walk_expand(walk, path, json_string_value(item), NULL, err);
        if (text == NULL) {
            return (silo_rc){SILO_INVALID};
        }
        if (*text == '\0') {
            return FAIL(err, SILO_INVALID, "%s: %s must not be empty", walk_place(walk, path),
                        path);
        }
        list.items[list.count++] = text;
    }
    config_key_set_list(key, walk->config, list);
    return RC_OK;
}

static SILO_RC leaf_string(struct key_walk *walk, const struct config_key *key, const char *raw,
                           struct silo_err *err)
{
    struct silo_err why;
    bool expanded = false;
    const char *text = walk_expand(walk, key->path, raw, &expanded, err);
    if (text == NULL) {
        return (silo_rc){SILO_INVALID};
    }
    if (!expanded && (key->type == CONFIG_T_BOOL || key->type == CONFIG_T_INT)) {
        /*
         * Only a substituted string may stand for a number or a truth value: TOML has types for the
         * others.
         */
        return FAIL(err, SILO_INVALID, "%s: %s must be %s, not a string",
                    walk_place(walk, key->path), key->path, config_type_name(key->type));
    }
    if (config_key_set_text(key, walk->config, text, &why).code != SILO_OK) {
        return walk_refuse(walk, key->path, &why, err);
    }
    return RC_OK;
}

static SILO_RC leaf_value(struct key_walk *walk, const struct config_key *key, const json_t *value,
                          struct silo_err *err)
{
    struct silo_err why;
    silo_rc rc;
    if (json_is_string(value)) {
        return leaf_string(walk, key, json_string_value(value), err);
    }
    if (json_is_array(value) && key->type == CONFIG_T_STRINGS) {
        return leaf_list(walk, key, value, err);
    }
    if (json_is_boolean(value)) {
        rc = config_key_set_bool(key, walk->config, json_is_true(value), &why);
    } else if (json_is_integer(value)) {
        rc = config_key_set_int(key, walk->config, json_integer_value(value), &why);
    } else {
        rc = FAIL(&why, SILO_INVALID, "must be %s", config_type_name(key->type));
    }
    return rc.code == SILO_OK ? RC_OK : walk_refuse(walk, key->path, &why, err);
}

static SILO_RC leaf_set(struct key_walk *walk, const struct config_key *key, const json_t *value,
                        struct silo_err *err)
{
    if (key->type != CONFIG_T_IGNORED) {
        TRY(leaf_value(walk, key, value, err));
    }
    if (key->type == CONFIG_T_IGNORED || config_key_in_vain(key, walk->config)) {
        walk->warnings->in_vain++;
        config_warn(walk->config, walk->warnings, "%s: %s has no effect in this version",
                    walk_place(walk, key->path), key->path);
    }
    return RC_OK;
}

/* A copy of an engine value with its strings expanded; NULL on failure. */
static json_t *engine_copy(struct key_walk *walk, const char *path, const json_t *value, int depth,
                           struct silo_err *err)
{
    if (depth > DEPTH_MAX) {
        rc_ignore(FAIL(err, SILO_INVALID, "%s: %s is nested too deeply", walk->name, path),
                  "NULL says it");
        return NULL;
    }
    if (json_is_string(value)) {
        const char *text = walk_expand(walk, path, json_string_value(value), NULL, err);
        return text != NULL ? json_string(text) : NULL;
    }
    if (json_is_object(value)) {
        AUTO(json_freep) json_t *copy = json_object();
        const char *key = NULL;
        json_t *member = NULL;
        json_object_foreach((json_t *)value, key, member)
        {
            json_t *below = engine_copy(walk, path_join(&walk->config->arena, path, key), member,
                                        depth + 1, err);
            if (below == NULL) {
                return NULL;
            }
            json_object_set_new(copy, key, below);
        }
        return STEAL(copy);
    }
    if (json_is_array(value)) {
        AUTO(json_freep) json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++) {
            const char *at = arena_printf(&walk->config->arena, "%s[%zu]", path, i);
            json_t *below = engine_copy(walk, at, json_array_get(value, i), depth + 1, err);
            if (below == NULL) {
                return NULL;
            }
            json_array_append_new(copy, below);
        }
        return STEAL(copy);
    }
    return json_deep_copy(value);
}

static SILO_RC walk_engine(struct key_walk *walk, const json_t *table, struct silo_err *err)
{
    json_t *copy = engine_copy(walk, ENGINE_TABLE, table, 0, err);
    if (copy == NULL) {
        return (silo_rc){SILO_INVALID};
    }
    json_decref(walk->engine);
    walk->engine = copy;
    const json_t *spacing = json_object_get(table, "flush_interval");
    if (spacing != NULL) {
        TRY(leaf_set(walk, config_key_find(ENGINE_TABLE ".flush_interval"), spacing, err));
        json_object_del(copy, "flush_interval");
    }
    return RC_OK;
}

/*
 * Depth is bounded by the table of keys: the walk goes only into tables that some key lies below.
 */
static SILO_RC walk_table(struct key_walk *walk, const char *path, const json_t *table,
                          struct silo_err *err)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)table, name, value)
    {
        const char *at = path_join(&walk->config->arena, path, name);
        const struct config_key *key = config_key_find(at);
        if (key != NULL) {
            TRY(leaf_set(walk, key, value, err));
        } else if (!config_table_known(at)) {
            return unknown_key(walk, at, json_is_object(value), err);
        } else if (!json_is_object(value)) {
            return FAIL(err, SILO_INVALID, "%s: %s must be a table", walk_place(walk, at), at);
        } else if (strcmp(at, ENGINE_TABLE) == 0) {
            TRY(walk_engine(walk, value, err));
        } else {
            TRY(walk_table(walk, at, value, err));
        }
    }
    return RC_OK;
}

SILO_RC config_apply_json(struct bytes json, const char *name, const struct config_env *env,
                          struct silo_config *config, struct config_warnings *warnings,
                          struct silo_err *err)
{
    json_error_t why;
    AUTO(json_freep) json_t *document = json_loadb((const char *)json.ptr, json.len, 0, &why);
    if (document == NULL) {
        return FAIL(err, SILO_INVALID, "%s: %s", name, why.text);
    }
    const json_t *value = json_object_get(document, "value");
    struct key_walk walk = {.config = config,
                            .warnings = warnings,
                            .env = env,
                            .name = name,
                            .lines = json_object_get(document, "lines"),
                            .engine = json_object()};
    silo_rc rc = json_is_object(value)
                     ? walk_table(&walk, "", value, err)
                     : FAIL(err, SILO_INTERNAL, "%s: the parser gave no table", name);
    if (rc.code == SILO_OK) {
        char *text = json_dumps(walk.engine, JSON_COMPACT | JSON_SORT_KEYS);
        ASSERT(text != NULL);
        config->database.slatedb_json = arena_str(&config->arena, bytes_str(text));
        free(text);
        config->database.engine_cache = config_engine_cache(&config->arena, walk.engine);
        rc = config_engine_check(config, name, walk.lines, err);
    }
    json_decref(walk.engine);
    return rc;
}
