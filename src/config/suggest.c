/*
 * config/suggest.c - which known key somebody may have meant.
 *
 * Distance is Levenshtein's over the last part of the dotted path, plus WRONG_TABLE_COST when the
 * tables differ, so a slip of the pen in the right table wins over the same word elsewhere, and a
 * key in the wrong table is still found. A word that a key only goes on from ("keepalive" of
 * keepalive_time_ms) is one slip away. Tables are compared by their whole paths. What is too far
 * from everything gets no guess: a wrong one sends people to the wrong place.
 */
#include "config/keys_int.h"

#include <limits.h>

#define WORD_MAX 63u /* longer words are compared by their first bytes */
#define WRONG_TABLE_COST 3u

/* Names that documents of the reference use for keys nothing ever read. */
static const struct {
    const char *wrong, *meant;
} suggest_aliases[] = {
    {"num_shards", "coordination.initial_shard_count"},
    {"shard_count", "coordination.initial_shard_count"},
    {"port", "server.grpc_addr"},
    {"log_level", "logging.level"},
};

static const char *path_word(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL ? dot + 1 : path;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    const unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

static unsigned edit_distance(const char *a, const char *b)
{
    const size_t a_len = strnlen(a, WORD_MAX);
    const size_t b_len = strnlen(b, WORD_MAX);
    unsigned row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            const unsigned above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_len];
}

static bool begins_key(const char *word, const char *key)
{
    const size_t len = strlen(word);
    return len > 0 && strncmp(word, key, len) == 0 && key[len] == '_';
}

static unsigned word_distance(const char *word, const char *key)
{
    return begins_key(word, key) ? 1 : edit_distance(word, key);
}

static bool same_table(const char *a, const char *b)
{
    const size_t a_len = (size_t)(path_word(a) - a);
    const size_t b_len = (size_t)(path_word(b) - b);
    return a_len == b_len && strncmp(a, b, a_len) == 0;
}

/* More slips than this are no slips: the longer the word, the more of them. */
static unsigned distance_max(size_t len)
{
    return WRONG_TABLE_COST + (unsigned)((len < WORD_MAX ? len : WORD_MAX) / 3);
}

static const struct config_key *key_nearest(const char *path, unsigned *ret_distance)
{
    const char *word = path_word(path);
    const struct config_key *best = &config_keys[0];
    unsigned best_distance = UINT_MAX;
    for (size_t i = 0; i < config_keys_count; i++) {
        const unsigned distance = word_distance(word, path_word(config_keys[i].path)) +
                                  (same_table(path, config_keys[i].path) ? 0 : WRONG_TABLE_COST);
        if (config_keys[i].type != CONFIG_T_IGNORED && distance < best_distance) {
            best_distance = distance;
            best = &config_keys[i];
        }
    }
    *ret_distance = best_distance;
    return best;
}

const struct config_key *config_key_nearest(const char *path)
{
    const char *word = path_word(path);
    for (size_t i = 0; i < sizeof suggest_aliases / sizeof suggest_aliases[0]; i++) {
        if (strcmp(suggest_aliases[i].wrong, word) == 0) {
            return config_key_find(suggest_aliases[i].meant);
        }
    }
    unsigned distance;
    const struct config_key *key = key_nearest(path, &distance);
    return distance <= distance_max(strlen(word)) ? key : NULL;
}

/* The table that a key lies in, in the arena. */
static const char *table_of_key(struct arena *arena, const struct config_key *key)
{
    return arena_str(arena, bytes_of(key->path, (size_t)(path_word(key->path) - 1 - key->path)));
}

const char *config_table_nearest(struct arena *arena, const char *path)
{
    const char *best = NULL;
    unsigned best_distance = distance_max(strlen(path)) - WRONG_TABLE_COST + 1;
    for (size_t i = 0; i < config_keys_count; i++) {
        const char *table = table_of_key(arena, &config_keys[i]);
        const unsigned distance = edit_distance(path, table);
        if (distance <= best_distance && (best == NULL || distance < best_distance)) {
            best_distance = distance;
            best = table;
        }
    }
    return best;
}

/* All of them, as "[server], [coordination], ..."; keys of one table stand together. */
static const char *tables_known(struct arena *arena)
{
    const char *list = "";
    const char *last = "";
    for (size_t i = 0; i < config_keys_count; i++) {
        const char *table = table_of_key(arena, &config_keys[i]);
        if (strchr(table, '.') == NULL && strcmp(table, last) != 0) {
            list = arena_printf(arena, "%s%s[%s]", list, *list != '\0' ? ", " : "", table);
            last = table;
        }
    }
    return list;
}

const char *config_suggest(struct arena *arena, const char *path, bool is_table)
{
    const char *table = is_table ? config_table_nearest(arena, path) : NULL;
    if (table != NULL) {
        return arena_printf(arena, "did you mean [%s]?", table);
    }
    const struct config_key *key = config_key_nearest(path);
    if (key != NULL) {
        return arena_printf(arena, "the nearest known key is %s", key->path);
    }
    return arena_printf(arena, "the tables are %s, and --help lists all keys", tables_known(arena));
}
