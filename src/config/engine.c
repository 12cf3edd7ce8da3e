/*
 * config/engine.c - the engine's own table, [database.slatedb], checked before anything is opened.
 *
 * Only the engine knows its keys. What it makes of them depends on the kind of store, not on which
 * one.
 */
#include "config/keys_int.h"
#include "sdbx_settings.h"

#define ENGINE_TABLE "database.slatedb"

static const char *store_of_kind(enum config_backend backend)
{
    switch (backend) {
    case CONFIG_FS:
        return "file:///";
    case CONFIG_MEMORY:
        return "memory:///silo";
    case CONFIG_GCS:
        return "gs://bucket";
    case CONFIG_S3:
    case CONFIG_URL:
        break;
    }
    return "s3://bucket";
}

const char *config_engine_cache(struct arena *arena, const json_t *engine)
{
    const json_t *cache = json_object_get(engine, "object_store_cache_options");
    const char *folder = json_string_value(json_object_get(cache, "root_folder"));
    return folder != NULL && *folder != '\0' ? arena_str(arena, bytes_str(folder)) : NULL;
}

SILO_RC config_engine_check(struct silo_config *config, const char *name, const json_t *lines,
                            struct silo_err *err)
{
    struct sdbx_buf place = {0}, why = {0};
    if (sdbx_settings_check(store_of_kind(config->database.backend), config->database.slatedb_json,
                            &place, &why) == SDBX_OK) {
        return RC_OK;
    }
    const char *key = ENGINE_TABLE;
    if (place.len != 0) {
        key = arena_printf(&config->arena, ENGINE_TABLE ".%.*s", (int)place.len,
                           (const char *)place.p);
    }
    const json_t *line = json_object_get(lines, key);
    const char *where = name;
    if (json_is_integer(line)) {
        where = arena_printf(&config->arena, "%s:%lld", name, (long long)json_integer_value(line));
    }
    const silo_rc rc =
        FAIL(err, SILO_INVALID, "%s: %s %.*s", where, key, (int)why.len, (const char *)why.p);
    sdbx_buf_free(place);
    sdbx_buf_free(why);
    return rc;
}
