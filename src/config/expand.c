/*
 * config/expand.c - text within values: environment variables, durations, the shard placeholder.
 *
 * ${NAME} and ${NAME:-fallback}. There is no escape and no nesting; a "${" without "}" is left as
 * it is to the end of the text; $NAME is plain text. A variable that is set but empty stays empty:
 * only an unset one takes the fallback.
 */
#include "config/keys_int.h"

#include <stdlib.h>

#include "base/buf.h"

#define EXPANDED_BYTES_MAX (1u << 20)

static const char *getenv_process(void *context, const char *name)
{
    (void)context;
    return getenv(name);
}

const struct config_env config_env_process = {.get = getenv_process};

/* The variable between "${" and "}" of len bytes at text. */
static void expand_one(struct arena *arena, struct buf *out, const char *text, size_t len,
                       const struct config_env *env, const char **ret_unset)
{
    const char *split = memmem(text, len, ":-", 2);
    const size_t name_len = split != NULL ? (size_t)(split - text) : len;
    const char *name = arena_str(arena, bytes_of(text, name_len));
    const char *value = env->get(env->context, name);
    if (value != NULL) {
        buf_append(out, value, strlen(value));
    } else if (split != NULL) {
        buf_append(out, split + 2, len - name_len - 2);
    } else if (*ret_unset == NULL) {
        *ret_unset = name;
    }
}

const char *config_expand_env(struct arena *arena, const char *text, const struct config_env *env,
                              bool *ret_expanded, const char **ret_unset)
{
    struct buf out;
    bool expanded = false;
    *ret_unset = NULL;
    buf_init(&out, EXPANDED_BYTES_MAX);
    const char *at = text;
    for (const char *open = strstr(at, "${"); open != NULL; open = strstr(at, "${")) {
        const char *close = strchr(open, '}');
        if (close == NULL) {
            break;
        }
        buf_append(&out, at, (size_t)(open - at));
        expand_one(arena, &out, open + 2, (size_t)(close - open - 2), env, ret_unset);
        expanded = true;
        at = close + 1;
    }
    buf_append(&out, at, strlen(at));
    const char *result = out.full ? NULL : arena_str(arena, buf_bytes(&out));
    buf_deinit(&out);
    if (ret_expanded != NULL) {
        *ret_expanded = expanded;
    }
    return result;
}

static const struct {
    const char *unit;
    int64_t us;
} duration_units[] = {
    {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000},
};

/* Microseconds of the unit of len letters at text, 0 if there is no such unit. */
static int64_t duration_unit(const char *text, size_t len)
{
    for (size_t i = 0; i < sizeof duration_units / sizeof duration_units[0]; i++) {
        if (strlen(duration_units[i].unit) == len &&
            strncmp(duration_units[i].unit, text, len) == 0) {
            return duration_units[i].us;
        }
    }
    return 0;
}

bool config_duration_parse(const char *text, int64_t *ret_us)
{
    int64_t total = 0;
    const char *at = text;
    while (*at != '\0') {
        const size_t digits = strspn(at, "0123456789");
        const size_t letters = strspn(at + digits, "usmhd");
        const int64_t unit = duration_unit(at + digits, letters);
        if (digits == 0 || digits > 12 || unit == 0) {
            return false;
        }
        int64_t part = 0;
        if (__builtin_mul_overflow(strtoll(at, NULL, 10), unit, &part) ||
            __builtin_add_overflow(total, part, &total)) {
            return false;
        }
        at += digits + letters;
        at += strspn(at, " ");
    }
    if (at == text) {
        return false;
    }
    *ret_us = total;
    return true;
}

const char *config_expand_shard(struct arena *arena, const char *text, const char *shard)
{
    static const char *const spellings[] = {"%shard%", "{shard}"};
    struct buf out;
    buf_init(&out, EXPANDED_BYTES_MAX);
    while (*text != '\0') {
        size_t skip = 0;
        for (size_t i = 0; i < 2 && skip == 0; i++) {
            const size_t len = strlen(spellings[i]);
            skip = strncmp(text, spellings[i], len) == 0 ? len : 0;
        }
        if (skip != 0) {
            buf_append(&out, shard, strlen(shard));
        } else {
            buf_append(&out, text, 1);
        }
        text += skip != 0 ? skip : 1;
    }
    const char *result = arena_str(arena, buf_bytes(&out));
    buf_deinit(&out);
    return result;
}
