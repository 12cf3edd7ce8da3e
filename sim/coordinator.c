/* sim/coordinator.c - see coordinator.h. */
#include "sim/coordinator.h"

#include "sim/coord_member.h"

static void leases_watch(struct coordinator *co);

void coordinator_init(struct coordinator *co)
{
    list_init(&co->watchers);
}

void coordinator_deinit(struct coordinator *co)
{
    ASSERT(list_empty(&co->watchers));
    event_cancel(co->events, &co->expiry);
    free(co->changes);
    free(co->state.map_text);
}

/* --- look-ups --- */

static struct coordinator_member *member_of(struct coordinator *co, const char *id)
{
    for (size_t i = 0; i < co->state.member_count; i++) {
        if (strcmp(co->state.members[i].id, id) == 0) {
            return &co->state.members[i];
        }
    }
    return NULL;
}

const struct coordinator_member *coordinator_member(const struct coordinator *co, const char *id)
{
    return member_of((struct coordinator *)(uintptr_t)co, id);
}

static struct coordinator_owner *owner_of(struct coordinator *co, const struct uuid *shard)
{
    for (size_t i = 0; i < co->state.owner_count; i++) {
        if (uuid_eq(&co->state.owners[i].shard, shard)) {
            return &co->state.owners[i];
        }
    }
    ASSERT(co->state.owner_count < COORDINATOR_SHARDS_MAX);
    struct coordinator_owner *owner = &co->state.owners[co->state.owner_count++];
    *owner = (struct coordinator_owner){.shard = *shard};
    return owner;
}

const struct coordinator_owner *coordinator_owner(const struct coordinator *co,
                                                  const struct uuid *shard)
{
    return owner_of((struct coordinator *)(uintptr_t)co, shard);
}

/* --- changes --- */

static void change_add(struct coordinator *co, struct coordinator_change change)
{
    if (co->change_count == co->change_cap) {
        co->change_cap = co->change_cap != 0 ? 2 * co->change_cap : 64;
        co->changes = xrealloc(co->changes, co->change_cap * sizeof *co->changes);
    }
    change.revision = ++co->state.revision;
    co->changes[co->change_count++] = change;
    coord_members_watch(co);
}

static void owner_put(struct coordinator *co, struct coordinator_owner *owner, const char *holder)
{
    (void)snprintf(owner->holder, sizeof owner->holder, "%s", holder);
    owner->epoch = holder[0] != '\0' ? co->state.revision + 1 : 0;
    trace_line(co->trace, "coordinator: shard %02x is %s's, epoch %llu", owner->shard.b[3],
               holder[0] != '\0' ? holder : "nobody", (unsigned long long)owner->epoch);
    change_add(co, (struct coordinator_change){.what = CHANGED_OWNER, .owner = *owner});
    co->on_owner(co, owner);
}

static void member_put(struct coordinator *co, const struct coordinator_member *member)
{
    trace_line(co->trace, "coordinator: member %s%s", member->id,
               member->leaving ? ", leaving" : "");
    change_add(co, (struct coordinator_change){.what = CHANGED_MEMBERS, .member = *member});
}

static void member_gone(struct coordinator *co, size_t index)
{
    const struct coordinator_member member = co->state.members[index];
    trace_line(co->trace, "coordinator: member %s is gone", member.id);
    co->state.members[index] = co->state.members[--co->state.member_count];
    change_add(
        co, (struct coordinator_change){.what = CHANGED_MEMBERS, .gone = true, .member = member});
}

/* --- leases --- */

static void leases_end(struct event *event)
{
    struct coordinator *co = CONTAINER_OF(event, struct coordinator, expiry);
    for (size_t i = co->state.member_count; i-- > 0;) {
        if (co->state.members[i].until_us <= *co->now_us) {
            member_gone(co, i);
        }
    }
    leases_watch(co);
}

static void leases_watch(struct coordinator *co)
{
    int64_t first_us = INT64_MAX;
    for (size_t i = 0; i < co->state.member_count; i++) {
        const int64_t until_us = co->state.members[i].until_us;
        first_us = until_us < first_us ? until_us : first_us;
    }
    event_cancel(co->events, &co->expiry);
    if (first_us != INT64_MAX && !co->away) {
        event_at(co->events, &co->expiry, first_us, leases_end);
    }
}

/* --- questions --- */

/* Created only if absent; a member of that id with another nonce is another life of it. */
static bool ask_join(struct coordinator *co, const struct coordinator_ask *ask, uint64_t *ret_taken)
{
    struct coordinator_member *member = member_of(co, ask->id);
    if (member != NULL && member->nonce != ask->nonce && ask->replace) {
        member_gone(co, (size_t)(member - co->state.members));
        member = NULL;
    }
    if (member != NULL && member->nonce != ask->nonce) {
        *ret_taken = member->nonce;
        return false;
    }
    const bool fresh = member == NULL;
    if (fresh) {
        ASSERT(co->state.member_count < COORDINATOR_MEMBERS_MAX);
        member = &co->state.members[co->state.member_count++];
        *member = (struct coordinator_member){.nonce = ask->nonce};
        memcpy(member->id, ask->id, sizeof member->id);
    }
    member->until_us = *co->now_us + COORDINATOR_TTL_US;
    if (fresh) {
        member_put(co, member);
    }
    leases_watch(co);
    return true;
}

static bool ask_renew(struct coordinator *co, struct coordinator_member *member)
{
    if (member == NULL) {
        return false;
    }
    member->until_us = *co->now_us + COORDINATOR_TTL_US;
    leases_watch(co);
    return true;
}

static bool ask_leaving(struct coordinator *co, struct coordinator_member *member)
{
    if (member != NULL && !member->leaving) {
        member->leaving = true;
        member_put(co, member);
    }
    return member != NULL;
}

/*
 * One of two: there is no record; or it is the one that was read, and its holder is no member or
 * the claimer in an earlier life.
 */
static bool ask_claim(struct coordinator *co, const struct coordinator_ask *ask, bool member)
{
    struct coordinator_owner *owner = owner_of(co, &ask->shard);
    const bool free = owner->epoch == 0 || strcmp(owner->holder, ask->id) == 0 ||
                      member_of(co, owner->holder) == NULL;
    if (!member || ask->map != co->state.map_number || owner->epoch != ask->expected || !free) {
        return false;
    }
    owner_put(co, owner, ask->id);
    return true;
}

static bool ask_release(struct coordinator *co, const struct coordinator_ask *ask)
{
    struct coordinator_owner *owner = owner_of(co, &ask->shard);
    if (owner->epoch == ask->expected && owner->epoch != 0) {
        owner_put(co, owner, "");
    }
    return strcmp(owner->holder, ask->id) != 0;
}

static bool ask_hand_over(struct coordinator *co, const struct coordinator_ask *ask)
{
    struct coordinator_owner *owner = owner_of(co, &ask->shard);
    if (owner->epoch == ask->expected && owner->epoch != 0 && member_of(co, ask->to) != NULL) {
        owner_put(co, owner, ask->to);
    }
    return strcmp(owner->holder, ask->to) == 0;
}

static bool ask_force(struct coordinator *co, const struct coordinator_ask *ask)
{
    struct coordinator_owner *owner = owner_of(co, &ask->shard);
    if (owner->epoch == ask->expected && owner->epoch != 0 &&
        (ask->force || member_of(co, owner->holder) == NULL)) {
        owner_put(co, owner, "");
    }
    return owner->epoch == 0;
}

static bool ask_map_put(struct coordinator *co, const struct coordinator_ask *ask)
{
    if (ask->map != co->state.map_number + 1) {
        return ask->map == co->state.map_number &&
               bytes_eq(ask->text, bytes_str(co->state.map_text));
    }
    free(co->state.map_text);
    co->state.map_text = xcalloc(1, ask->text.len + 1);
    memcpy(co->state.map_text, ask->text.ptr, ask->text.len);
    co->state.map_number = ask->map;
    change_add(co, (struct coordinator_change){.what = CHANGED_MAP});
    return true;
}

void coordinator_ask(struct coordinator *co, const struct coordinator_ask *ask,
                     struct coordinator_answer *ret)
{
    struct coordinator_member *member = member_of(co, ask->id);
    member = member != NULL && member->nonce == ask->nonce ? member : NULL;
    *ret = (struct coordinator_answer){.done = true, .state = &co->state};
    switch (ask->question) {
    case ASK_JOIN:
        ret->done = ask_join(co, ask, &ret->taken);
        break;
    case ASK_RENEW:
        ret->done = ask_renew(co, member);
        break;
    case ASK_LEAVING:
        ret->done = ask_leaving(co, member);
        break;
    case ASK_CLAIM:
        ret->done = ask_claim(co, ask, member != NULL);
        break;
    case ASK_RELEASE:
        ret->done = ask_release(co, ask);
        break;
    case ASK_HAND_OVER:
        ret->done = ask_hand_over(co, ask);
        break;
    case ASK_FORCE:
        ret->done = ask_force(co, ask);
        break;
    case ASK_MAP_PUT:
        ret->done = ask_map_put(co, ask);
        break;
    case ASK_LIST:
    case ASK_OWNER:
        break;
    }
    ret->member = member != NULL;
    const bool reads = ask->question == ASK_OWNER || ask->question == ASK_CLAIM;
    if (reads || ask->question == ASK_RELEASE || ask->question == ASK_HAND_OVER ||
        ask->question == ASK_FORCE) {
        ret->owner = *owner_of(co, &ask->shard);
    }
    if (reads && strcmp(ret->owner.holder, ask->id) == 0) {
        co->on_named(co, ask->nonce, &ask->shard);
    }
}

/* --- what goes wrong --- */

void coordinator_compact(struct coordinator *co, size_t kept)
{
    if (co->change_count <= kept) {
        return;
    }
    const size_t dropped = co->change_count - kept;
    co->compacted = co->changes[dropped - 1].revision;
    memmove(co->changes, co->changes + dropped, kept * sizeof *co->changes);
    co->change_count = kept;
    trace_line(co->trace, "coordinator: compacted up to %llu", (unsigned long long)co->compacted);
}

void coordinator_goes(struct coordinator *co)
{
    trace_line(co->trace, "coordinator: away");
    co->away = true;
    leases_watch(co);
}

void coordinator_returns(struct coordinator *co, bool revoked)
{
    trace_line(co->trace, "coordinator: back%s", revoked ? ", and all leases ended" : "");
    co->away = false;
    for (size_t i = 0; i < co->state.member_count; i++) {
        co->state.members[i].until_us = *co->now_us + (revoked ? 0 : COORDINATOR_TTL_US);
    }
    leases_watch(co);
}
