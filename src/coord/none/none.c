/* coord/none/none.c - see none.h. */
#include "coord/none/none.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/saturate.h"
#include "coord/map_home.h"

struct news {
    struct list_node node;
    struct cluster_event event;
    struct cluster_owner owner;
};

struct none {
    struct coord coord;
    const struct env *env;
    struct map_home home;
    char *id, *address;
    struct cluster_member self;
    struct list news;
    struct news *lent;
    uint64_t epochs;
};

static struct none *none_of(struct coord *coord)
{
    return CONTAINER_OF(coord, struct none, coord);
}

static struct cluster_event *news_add(struct none *none, enum cluster_event_kind kind)
{
    struct news *news = xcalloc(1, sizeof *news);
    news->event.kind = kind;
    list_push_back(&none->news, &news->node);
    return &news->event;
}

static void none_free(struct coord *coord)
{
    struct none *none = none_of(coord);
    struct list_node *node;
    while ((node = list_pop_front(&none->news)) != NULL) {
        free(CONTAINER_OF(node, struct news, node));
    }
    free(none->lent);
    map_home_deinit(&none->home);
    free(none->id);
    free(none->address);
    free(none);
}

/* Alone it takes every shard, whatever its rings. */
static void none_join(struct coord *coord, bool replace)
{
    (void)replace; /* nobody else is known */
    struct none *none = none_of(coord);
    (void)news_add(none, EVENT_CONFIRMED);
    struct cluster_event *members = news_add(none, EVENT_MEMBERS);
    members->members = &none->self;
    members->member_count = 1;
    (void)news_add(none, EVENT_OWNERS);
}

static void none_leave(struct coord *coord)
{
    (void)coord; /* there is nobody to tell */
}

static void none_read_map(struct coord *coord)
{
    map_home_read(&none_of(coord)->home);
}

static void none_commit_map(struct coord *coord, uint64_t number, struct bytes text)
{
    map_home_commit(&none_of(coord)->home, number, text);
}

static void none_read_owner(struct coord *coord, const struct uuid *shard)
{
    struct cluster_event *event = news_add(none_of(coord), EVENT_OWNER_READ);
    struct news *news = CONTAINER_OF(event, struct news, event);
    news->owner = (struct cluster_owner){.shard = *shard, .holder = CLUSTER_HOLDER_UNKNOWN};
    event->owners = &news->owner;
    event->owner_count = 1;
}

static void none_claim(struct coord *coord, const struct uuid *shard, uint64_t expected,
                       uint64_t map)
{
    (void)expected;
    (void)map; /* there is no record that anybody else could change */
    struct none *none = none_of(coord);
    struct cluster_event *event = news_add(none, EVENT_CLAIMED);
    event->shard = *shard;
    event->epoch = ++none->epochs;
}

static void none_release(struct coord *coord, const struct uuid *shard, uint64_t epoch)
{
    (void)epoch;
    news_add(none_of(coord), EVENT_RELEASED)->shard = *shard;
}

/* There is no other member. */
static void none_hand_over(struct coord *coord, const struct uuid *shard, uint64_t epoch,
                           const char *to)
{
    (void)epoch;
    (void)to;
    news_add(none_of(coord), EVENT_HAND_OVER_LOST)->shard = *shard;
}

/* There is no record that could name a node that is gone. */
static void none_force_release(struct coord *coord, const struct uuid *shard, uint64_t expected,
                               bool force)
{
    (void)expected;
    (void)force;
    news_add(none_of(coord), EVENT_FORCED)->shard = *shard;
}

static int64_t none_turn(struct coord *coord)
{
    struct none *none = none_of(coord);
    const int64_t next_ms = map_home_turn(&none->home);
    if (!list_empty(&none->news)) {
        return env_mono_us(none->env);
    }
    return us_of_ms(next_ms);
}

static bool none_next_event(struct coord *coord, struct cluster_event *ret_event)
{
    struct none *none = none_of(coord);
    free(none->lent);
    none->lent = LIST_ENTRY(list_pop_front(&none->news), struct news, node);
    if (none->lent != NULL) {
        *ret_event = none->lent->event;
        return true;
    }
    return map_home_event(&none->home, ret_event);
}

static int64_t none_until_us(const struct coord *coord)
{
    (void)coord;
    return INT64_MAX; /* no lease keeps others out, so none ends */
}

static int none_fd(const struct coord *coord)
{
    return map_home_fd(&CONTAINER_OF(coord, const struct none, coord)->home);
}

static silo_rc none_check(const struct coord *coord, struct silo_err *err)
{
    return map_home_check(&CONTAINER_OF(coord, const struct none, coord)->home, err);
}

static const struct coord_ops none_ops = {.free = none_free,
                                          .join = none_join,
                                          .leave = none_leave,
                                          .read_map = none_read_map,
                                          .commit_map = none_commit_map,
                                          .read_owner = none_read_owner,
                                          .claim = none_claim,
                                          .release = none_release,
                                          .hand_over = none_hand_over,
                                          .force_release = none_force_release,
                                          .turn = none_turn,
                                          .next_event = none_next_event,
                                          .until_us = none_until_us,
                                          .fd = none_fd,
                                          .check = none_check};

SILO_RC coord_none_new(const struct coord_options *options, struct coord **ret_coord,
                       struct silo_err *err)
{
    (void)err; /* nothing is needed that could be missing */
    struct none *none = xcalloc(1, sizeof *none);
    none->coord.ops = &none_ops;
    none->env = options->env;
    none->id = xstrdup(options->self.id);
    none->address = xstrdup(options->self.address);
    none->self = (struct cluster_member){
        .id = none->id, .nonce = options->self.nonce, .address = none->address};
    list_init(&none->news);
    map_home_init(&none->home, options->env, options->store, options->store_timeout_ms);
    *ret_coord = &none->coord;
    return RC_OK;
}
