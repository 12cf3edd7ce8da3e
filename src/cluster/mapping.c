/* cluster/mapping.c - a map is read, taken, or made when there is none. */
#include <stdlib.h>

#include "cluster/cluster_int.h"

/* The map that is being committed is over. */
static void propose_forget(struct cluster *cluster)
{
    cluster_map_deinit(&cluster->proposed);
    free(cluster->proposed_text);
    cluster->proposed_text = NULL;
}

void mapping_deinit(struct cluster *cluster)
{
    propose_forget(cluster);
    cluster_map_deinit(&cluster->map);
}

bool mapping_commits(const struct cluster *cluster)
{
    return cluster->proposed_text != NULL;
}

void mapping_commit(struct cluster *cluster, struct cluster_map *map)
{
    ASSERT(!mapping_commits(cluster));
    map->number = cluster->map.number + 1;
    cluster->proposed = *map;
    *map = (struct cluster_map){0};
    cluster->proposed_text = cluster_record_encode(&cluster->proposed);
    struct cluster_action *action = action_add(cluster, ACTION_COMMIT_MAP);
    action->number = cluster->proposed.number;
    action->text = bytes_str(cluster->proposed_text);
}

/* There is no map: this node makes the first one, if it is the first to do so. */
static void propose_first(struct cluster *cluster)
{
    struct cluster_map map;
    struct silo_err err = {0};
    if (cluster_map_make(&cluster->settings, cluster->seed, &map, &err).code == SILO_OK) {
        mapping_commit(cluster, &map);
    } else {
        cluster_refuse(cluster, err.code, err.text);
    }
}

/* Takes the map. What it lacks is given up. */
static void map_take(struct cluster *cluster, struct cluster_map *map)
{
    for (size_t i = 0; i < cluster->guard_count; i++) {
        cluster->guards[i]->settings = NULL;
    }
    cluster_map_deinit(&cluster->map);
    cluster->map = *map;
    *map = (struct cluster_map){0};
    for (size_t i = 0; i < cluster->map.shard_count; i++) {
        const struct cluster_shard *shard = &cluster->map.shards[i];
        struct guard *guard = guard_find(cluster, &shard->id);
        guard = guard != NULL ? guard : guard_add(cluster, &shard->id);
        guard->settings = shard;
    }
    for (size_t i = 0; i < cluster->guard_count; i++) {
        if (cluster->guards[i]->settings == NULL) {
            give_up(cluster, cluster->guards[i]);
        }
    }
    cluster->map_fresh = true;
    members_assign(cluster);
    balance_stir(cluster);
    cluster->directory_dirty = true;
}

void mapping_read(struct cluster *cluster, const struct cluster_event *event)
{
    if (event->number <= cluster->map.number) {
        if (cluster->map.number == 0 && !mapping_commits(cluster)) {
            propose_first(cluster);
        } else if (event->number == cluster->map.number) {
            cluster->map_fresh = true;
            cluster->changed = true;
        }
        return; /* what is older than the map we have is news that was late */
    }
    struct cluster_map map;
    char name[CLUSTER_RECORD_NAME_MAX];
    cluster_record_name(event->number, name);
    struct silo_err err = {0};
    silo_rc rc = cluster_record_decode(name, event->text, &map, &err);
    if (rc.code == SILO_OK) {
        map.number = event->number;
        rc = cluster_map_check(&map, &cluster->settings, &err);
        if (rc.code == SILO_OK) {
            map_take(cluster, &map);
            return;
        }
        cluster_map_deinit(&map);
    }
    cluster->map_fresh = false; /* there is a newer one than ours: nothing is claimed by it */
    cluster_refuse(cluster, rc.code, err.text);
}

void mapping_committed(struct cluster *cluster)
{
    ASSERT(mapping_commits(cluster));
    cluster->created = cluster->created || cluster->proposed.number == 1;
    cluster->races = 0;
    struct cluster_map map = cluster->proposed;
    cluster->proposed = (struct cluster_map){0};
    propose_forget(cluster);
    if (map.number > cluster->map.number) {
        map_take(cluster, &map);
    }
    cluster_map_deinit(&map);
    question_committed(cluster);
}

void mapping_lost(struct cluster *cluster)
{
    const bool first = cluster->proposed.number == 1;
    propose_forget(cluster);
    if (!first) {
        question_race_lost(cluster);
    } else if (++cluster->races >= CLUSTER_RACES_MAX) {
        struct silo_err err = {0};
        rc_ignore(FAIL(&err, SILO_CONFLICT, "lost the race for the cluster record %u times",
                       CLUSTER_RACES_MAX),
                  "it fills the text");
        cluster_refuse(cluster, err.code, err.text);
        return;
    }
    cluster->map_fresh = false;
    (void)action_add(cluster, ACTION_READ_MAP);
}
