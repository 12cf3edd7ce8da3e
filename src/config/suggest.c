/*
 * config/suggest.c - which known key somebody may have meant.
 *
 * Distance is Levenshtein's over the last part of the dotted path, plus WRONG_TABLE_COST when the tables differ, so a
 * slip of the pen in the right table wins over the same word elsewhere, and a key in the wrong table is still found. A word
 * that a key only goes on from ("keepalive" of keepalive_time_ms) is one slip away.
 */
#include "config/keys_int.h"

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

const struct config_key *config_key_nearest(const char *path)
{
    const char *word = path_word(path);
    for (size_t i = 0; i < sizeof suggest_aliases / sizeof suggest_aliases[0]; i++) {
        if (strcmp(suggest_aliases[i].wrong, word) == 0) {
            return config_key_find(suggest_aliases[i].meant);
        }
    }
    const struct config_key *best = &config_keys[0];
    unsigned best_distance = ~0u;
    for (size_t i = 0; i < config_keys_count; i++) {
        const unsigned distance = word_distance(word, path_word(config_keys[i].path)) +
                                  (same_table(path, config_keys[i].path) ? 0 : WRONG_TABLE_COST);
        if (config_keys[i].type != CONFIG_T_IGNORED && distance < best_distance) {
            best_distance = distance;
            best = &config_keys[i];
        }
    }
    return best;
}
