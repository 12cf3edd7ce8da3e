/* coord/etcd/etcd.c - see etcd.h; etcd_int.h says what is where. */
#include "coord/etcd/etcd.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/saturate.h"
#include "coord/etcd/etcd_int.h"
#include "coord/etcd/keys.h"

#define PATIENCE_PER_TTL 3
#define PATIENCE_US_MIN 500000
#define HOST_NAME_BYTES 256

static struct etcd *etcd_of(struct coord *coord)
{
    return CONTAINER_OF(coord, struct etcd, coord);
}

/* --- news --- */

struct etcd_news *news_add(struct etcd *etcd, enum cluster_event_kind kind)
{
    struct etcd_news *news = xcalloc(1, sizeof *news);
    arena_init(&news->arena);
    news->event.kind = kind;
    list_push_back(&etcd->news, &news->node);
    return news;
}

void news_shard(struct etcd *etcd, enum cluster_event_kind kind, const struct uuid *shard,
                uint64_t epoch)
{
    struct etcd_news *news = news_add(etcd, kind);
    news->event.shard = *shard;
    news->event.epoch = epoch;
}

static void news_free(struct etcd_news *news)
{
    if (news != NULL) {
        arena_deinit(&news->arena);
        free(news);
    }
}

static bool etcd_next_event(struct coord *coord, struct cluster_event *ret_event)
{
    struct etcd *etcd = etcd_of(coord);
    news_free(etcd->lent);
    etcd->lent = LIST_ENTRY(list_pop_front(&etcd->news), struct etcd_news, node);
    if (etcd->lent == NULL) {
        return false;
    }
    *ret_event = etcd->lent->event;
    return true;
}

/* --- asks --- */

struct etcd_ask *ask_new(struct etcd *etcd,
                         bool (*take)(struct etcd_ask *ask, const struct etcd_answer *answer,
                                      struct arena *arena))
{
    struct etcd_ask *ask = xcalloc(1, sizeof *ask);
    ask->etcd = etcd;
    ask->take = take;
    list_push_back(&etcd->asks, &ask->node);
    return ask;
}

static void ask_free(struct etcd_ask *ask)
{
    list_remove(&ask->node);
    free(ask->text);
    free(ask);
}

static bool ask_answered(void *context, const struct etcd_answer *answer)
{
    struct etcd_ask *ask = context;
    struct arena arena;
    arena_init(&arena);
    const bool read = ask->take(ask, answer, &arena);
    arena_deinit(&arena);
    if (read) {
        ask_free(ask);
    }
    return read;
}

void ask_send(struct etcd_ask *ask, enum etcd_method method, struct bytes message)
{
    etcd_link_call(ask->etcd->link, method, message, ask_answered, ask);
}

void ask_send_once(struct etcd_ask *ask, enum etcd_method method, struct bytes message)
{
    etcd_link_call_once(ask->etcd->link, method, message, ask_answered, ask);
}

void ask_all(struct etcd_ask *ask)
{
    struct arena arena;
    arena_init(&arena);
    const struct bytes prefix = bytes_str(ask->etcd->prefix);
    ask_send(ask, ETCD_RANGE, etcd_range(&arena, prefix, etcd_prefix_end(&arena, prefix)));
    arena_deinit(&arena);
}

/* --- coord.h --- */

static void etcd_join(struct coord *coord, bool replace)
{
    session_join(etcd_of(coord), replace);
}

static void etcd_leave(struct coord *coord)
{
    session_leave(etcd_of(coord));
}

static void etcd_read_map(struct coord *coord)
{
    mirror_read(etcd_of(coord));
}

static void etcd_commit_map(struct coord *coord, uint64_t number, struct bytes text)
{
    mirror_commit(etcd_of(coord), number, text);
}

static void etcd_read_owner(struct coord *coord, const struct uuid *shard)
{
    claims_read(etcd_of(coord), shard);
}

static void etcd_claim(struct coord *coord, const struct uuid *shard, uint64_t expected,
                       uint64_t map)
{
    claims_claim(etcd_of(coord), shard, expected, map);
}

static void etcd_release(struct coord *coord, const struct uuid *shard, uint64_t epoch)
{
    claims_release(etcd_of(coord), shard, epoch);
}

static void etcd_hand_over(struct coord *coord, const struct uuid *shard, uint64_t epoch,
                           const char *to)
{
    claims_hand_over(etcd_of(coord), shard, epoch, to);
}

static void etcd_force_release(struct coord *coord, const struct uuid *shard, uint64_t expected,
                               bool force)
{
    claims_force(etcd_of(coord), shard, expected, force);
}

/* The map's descriptor comes and goes; one number may be another descriptor each time. */
static void map_fd_follow(struct etcd *etcd)
{
    const int fd = map_home_fd(&etcd->mirror.home);
    if (etcd->map_fd >= 0 && etcd->map_fd != fd) {
        (void)epoll_ctl(etcd->epoll, EPOLL_CTL_DEL, etcd->map_fd, NULL);
    }
    if (fd >= 0) {
        struct epoll_event event = {.events = EPOLLIN};
        (void)epoll_ctl(etcd->epoll, EPOLL_CTL_ADD, fd, &event);
    }
    etcd->map_fd = fd;
}

static int64_t etcd_turn(struct coord *coord)
{
    struct etcd *etcd = etcd_of(coord);
    (void)etcd_link_turn(etcd->link);
    const int64_t now_us = env_mono_us(etcd->env);
    session_turn(etcd, now_us);
    watch_turn(etcd, now_us);
    mirror_turn(etcd, now_us);
    const int64_t map_ms = map_home_turn(&etcd->mirror.home);
    map_fd_follow(etcd);
    int64_t next_us = etcd_link_turn(etcd->link);
    next_us = earlier(next_us, session_next_us(etcd));
    next_us = earlier(next_us, watch_next_us(etcd));
    next_us = earlier(next_us, mirror_next_us(etcd));
    next_us = earlier(next_us, us_of_ms(map_ms));
    return list_empty(&etcd->news) ? next_us : env_mono_us(etcd->env);
}

static int64_t etcd_until_us(const struct coord *coord)
{
    return session_until_us(CONTAINER_OF(coord, const struct etcd, coord));
}

static int etcd_fd(const struct coord *coord)
{
    return CONTAINER_OF(coord, const struct etcd, coord)->epoll;
}

static silo_rc etcd_check(const struct coord *coord, struct silo_err *err)
{
    const struct etcd *etcd = CONTAINER_OF(coord, const struct etcd, coord);
    if (etcd->mirror.trouble.code != SILO_OK) {
        if (err != NULL) {
            *err = etcd->mirror.trouble;
        }
        return (silo_rc){etcd->mirror.trouble.code};
    }
    TRY(map_home_check(&etcd->mirror.home, err));
    const silo_rc rc = etcd_link_check(etcd->link, err);
    /* Once it was a member it may be one again: somebody may be changing a password. */
    return rc.code != SILO_OK && etcd->was_member ? (silo_rc){SILO_UNAVAILABLE} : rc;
}

static void etcd_free(struct coord *coord)
{
    struct etcd *etcd = etcd_of(coord);
    if (etcd->link != NULL) {
        session_end(etcd);
        etcd->watch.stream = etcd_stream_close(etcd->watch.stream);
        etcd->link = etcd_link_free(etcd->link);
    }
    struct list_node *node;
    while ((node = list_first(&etcd->asks)) != NULL) {
        ask_free(CONTAINER_OF(node, struct etcd_ask, node));
    }
    while ((node = list_pop_front(&etcd->news)) != NULL) {
        news_free(CONTAINER_OF(node, struct etcd_news, node));
    }
    news_free(etcd->lent);
    records_deinit(etcd);
    mirror_deinit(etcd);
    if (etcd->epoll >= 0) {
        (void)close(etcd->epoll);
    }
    arena_deinit(&etcd->arena);
    free(etcd->prefix);
    free(etcd);
}

static const struct coord_ops etcd_ops = {.free = etcd_free,
                                          .join = etcd_join,
                                          .leave = etcd_leave,
                                          .read_map = etcd_read_map,
                                          .commit_map = etcd_commit_map,
                                          .read_owner = etcd_read_owner,
                                          .claim = etcd_claim,
                                          .release = etcd_release,
                                          .hand_over = etcd_hand_over,
                                          .force_release = etcd_force_release,
                                          .turn = etcd_turn,
                                          .next_event = etcd_next_event,
                                          .until_us = etcd_until_us,
                                          .fd = etcd_fd,
                                          .check = etcd_check};

/* --- making --- */

static void self_take(struct etcd *etcd, const struct cluster_member *from)
{
    etcd->self = member_dup(&etcd->arena, from);
    etcd->hostname = arena_zalloc(&etcd->arena, HOST_NAME_BYTES);
    if (gethostname(etcd->hostname, HOST_NAME_BYTES - 1) != 0 ||
        !bytes_utf8(bytes_str(etcd->hostname), NULL)) {
        etcd->hostname[0] = '\0';
    }
}

static SILO_RC etcd_setup(struct etcd *etcd, const struct coord_options *options,
                          struct silo_err *err)
{
    const struct coord_etcd_options *from = &options->etcd;
    const int64_t patience_us = etcd->ttl_s * 1000000 / PATIENCE_PER_TTL;
    const struct etcd_link_options link = {
        .env = options->env,
        .endpoints = from->endpoints,
        .endpoint_count = from->endpoint_count,
        .username = from->username,
        .password = from->password,
        .tls_ca = from->tls_ca,
        .tls_cert = from->tls_cert,
        .tls_key = from->tls_key,
        .tls_name = from->tls_name,
        .patience_us = patience_us > PATIENCE_US_MIN ? patience_us : PATIENCE_US_MIN};
    TRY(etcd_link_new(&link, &etcd->link, err));
    etcd->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (etcd->epoll < 0 ||
        epoll_ctl(etcd->epoll, EPOLL_CTL_ADD, etcd_link_fd(etcd->link), &event) != 0) {
        return FAIL(err, SILO_INTERNAL, "no descriptor is left for epoll");
    }
    return RC_OK;
}

SILO_RC coord_etcd_new(const struct coord_options *options, struct coord **ret_coord,
                       struct silo_err *err)
{
    struct etcd *etcd = xcalloc(1, sizeof *etcd);
    etcd->coord.ops = &etcd_ops;
    etcd->env = options->env;
    etcd->epoll = etcd->map_fd = -1;
    etcd->ttl_s = options->ttl_ms / 1000;
    etcd->started_ms = env_wall_ms(options->env);
    etcd->prefix = etcd_key_prefix(options->prefix);
    etcd->session.again_us = etcd->watch.again_us = INT64_MAX;
    arena_init(&etcd->arena);
    list_init(&etcd->asks);
    list_init(&etcd->news);
    records_init(etcd);
    mirror_init(etcd, options);
    self_take(etcd, &options->self);
    const silo_rc rc = etcd_setup(etcd, options, err);
    if (rc.code != SILO_OK) {
        etcd_free(&etcd->coord);
        return rc;
    }
    *ret_coord = &etcd->coord;
    return RC_OK;
}
