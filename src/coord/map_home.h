/*
 * coord/map_home.h - the map's records in the store: read, and created, without waiting.
 *
 * The newest map is the object `cluster/<n>.json` with the highest number (cluster/map.h). What is
 * asked for is done one after the other: before the first of them the store is tested, for the
 * records and the engine's fencing rest on create-if-absent; then
 *
 *     read     list cluster/, take the highest number, read that object
 *     commit   create the object of the next number; somebody else was first: EVENT_MAP_LOST
 *
 * A store that is away is asked again after MAP_HOME_RETRY_MS, without end. One that keeps a call
 * for longer than the timeout is away, too: the answer is not waited for. What will not get better
 * by itself (no such bucket, no access, a store without create-if-absent) ends it: map_home_check
 * says so.
 *
 * Ownership  the store is lent; an event is lent until the next map_home_event.
 * Threads    one at a time.
 * Limits     one commit at a time.
 */
#ifndef SILO_COORD_MAP_HOME_H
#define SILO_COORD_MAP_HOME_H

#include "base/env.h"
#include "cluster/event.h"
#include "cluster/map.h"
#include "store/store.h"

#define MAP_HOME_RETRY_MS 1000

enum map_home_step { MAP_HOME_IDLE, MAP_HOME_TEST, MAP_HOME_LIST, MAP_HOME_GET, MAP_HOME_PUT };

struct map_home {
    const struct env *env;
    struct store *store;
    int64_t timeout_ms; /* for each answer */
    struct store_queue *queue;
    enum map_home_step step; /* whose answer is waited for */
    uint64_t call_id;
    int64_t until_ms; /* the answer's, or when the next try is due */
    bool tested;
    bool read_wanted, commit_wanted;
    uint64_t number; /* of the record that is being read, or was */
    char *text;      /* that was read */
    size_t text_len;
    uint64_t commit_number; /* of the record that is to be committed */
    char *commit_text;
    size_t commit_len;
    bool told_wanted; /* an event is ready */
    enum cluster_event_kind told;
    struct silo_err trouble; /* the newest; code OK: none */
};

void map_home_init(struct map_home *home, const struct env *env, struct store *store,
                   int64_t timeout_ms);
void map_home_deinit(struct map_home *home);
void map_home_read(struct map_home *home);
/* The text is copied. */
void map_home_commit(struct map_home *home, uint64_t number, struct bytes text);
/* Takes answers and goes on. Returns when to be called again at the latest, monotonic ms. */
int64_t map_home_turn(struct map_home *home);
bool map_home_event(struct map_home *home, struct cluster_event *ret_event);
/* -1: nothing is waited for but time. */
int map_home_fd(const struct map_home *home);
SILO_RC map_home_check(const struct map_home *home, struct silo_err *err);

#endif
