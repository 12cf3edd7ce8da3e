/*
 * config/print.c - what is in effect as TOML, in the order of the table of keys.
 */
#include "config/keys_int.h"

#include <inttypes.h>

#include "base/buf.h"

#define PRINTED_BYTES_MAX (4u << 20)

static void print_string(struct buf *out, const char *text)
{
    buf_append(out, "\"", 1);
    for (const char *at = text; *at != '\0'; at++) {
        const unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\') {
            buf_printf(out, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(out, "\\u%04X", c);
        } else {
            buf_append(out, at, 1);
        }
    }
    buf_append(out, "\"", 1);
}

static void print_choice(struct buf *out, const char *choices, int place)
{
    for (; place > 0; place--) {
        choices = strchr(choices, '|') + 1;
    }
    buf_printf(out, "\"%.*s\"", (int)strcspn(choices, "|"), choices);
}

static void print_duration(struct buf *out, int64_t us)
{
    if (us % 1000 == 0) {
        buf_printf(out, "\"%" PRId64 "ms\"", us / 1000);
    } else {
        buf_printf(out, "\"%" PRId64 "us\"", us);
    }
}

static void print_list(struct buf *out, const struct config_list *list)
{
    buf_append(out, "[", 1);
    for (size_t i = 0; i < list->count; i++) {
        buf_append(out, ", ", i != 0 ? 2 : 0);
        print_string(out, list->items[i]);
    }
    buf_append(out, "]", 1);
}

/*
 * Whether the key has a value that has an effect: strings and secrets may be unset, and so may the
 * WAL's own store.
 */
static bool key_is_set(const struct config_key *key, const struct silo_config *config)
{
    const void *place = (const char *)config + key->offset;
    if ((key->flags & CONFIG_LATER) != 0) {
        return false;
    }
    switch (key->type) {
    case CONFIG_T_STRING:
    case CONFIG_T_SECRET:
        return *(const char *const *)place != NULL;
    case CONFIG_T_CHOICE:
        return place != &config->database.wal_backend || config->database.wal.set;
    case CONFIG_T_IGNORED:
        return false;
    case CONFIG_T_BOOL:
    case CONFIG_T_INT:
    case CONFIG_T_ADDR:
    case CONFIG_T_STRINGS:
    case CONFIG_T_DURATION:
        return true;
    }
    return false;
}

static void print_value(struct buf *out, const struct config_key *key,
                        const struct silo_config *config)
{
    const void *place = (const char *)config + key->offset;
    switch (key->type) {
    case CONFIG_T_BOOL:
        buf_printf(out, "%s", *(const bool *)place ? "true" : "false");
        break;
    case CONFIG_T_INT:
        buf_printf(out, "%" PRId64, *(const int64_t *)place);
        break;
    case CONFIG_T_STRING:
        print_string(out, *(const char *const *)place);
        break;
    case CONFIG_T_SECRET:
        buf_printf(out, "\"(hidden)\"");
        break;
    case CONFIG_T_ADDR:
        print_string(out, ((const struct config_addr *)place)->text);
        break;
    case CONFIG_T_CHOICE:
        print_choice(out, key->choices, *(const int *)place);
        break;
    case CONFIG_T_STRINGS:
        print_list(out, place);
        break;
    case CONFIG_T_DURATION:
        print_duration(out, *(const int64_t *)place);
        break;
    case CONFIG_T_IGNORED:
        break;
    }
}

/* One table: its header and the keys that lie directly in it. */
static void print_table(struct buf *out, const struct silo_config *config, const char *table,
                        size_t table_len)
{
    bool headed = false;
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];
        const char *word = strrchr(key->path, '.');
        if ((size_t)(word - key->path) != table_len || strncmp(key->path, table, table_len) != 0 ||
            !key_is_set(key, config)) {
            continue;
        }
        if (!headed) {
            buf_printf(out, "%s[%.*s]\n", out->len != 0 ? "\n" : "", (int)table_len, table);
            headed = true;
        }
        buf_printf(out, "%s = ", word + 1);
        print_value(out, key, config);
        buf_append(out, "\n", 1);
    }
}

const char *config_print(struct arena *arena, const struct silo_config *config)
{
    struct buf out;
    buf_init(&out, PRINTED_BYTES_MAX);
    for (size_t i = 0; i < config_keys_count; i++) {
        const char *path = config_keys[i].path;
        const size_t table_len = (size_t)(strrchr(path, '.') - path);
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            const char *other = config_keys[j].path;
            seen = (size_t)(strrchr(other, '.') - other) == table_len &&
                   strncmp(other, path, table_len) == 0;
        }
        if (!seen) {
            print_table(&out, config, path, table_len);
        }
    }
    if (strcmp(config->database.slatedb_json, "{}") != 0) {
        buf_printf(&out, "\n# passed on to the storage engine: %s\n",
                   config->database.slatedb_json);
    }
    const char *text = arena_str(arena, buf_bytes(&out));
    buf_deinit(&out);
    return text;
}
