/* sim/coord_member.c - see coord_member.h. */
#include "sim/coord_member.h"

#define LAG_US_MAX 300000   /* of a change, until its watch brings it */
#define BREAK_US_MAX 900000 /* a watch that broke is away so long */
#define TRIP_US_MAX 400000  /* one way; twice of it is less than MEMBER_PATIENCE_US */

/* What a question is for: an answer means something else each time. */
enum purpose {
    TO_JOIN,
    TO_CONFIRM, /* it has joined: what is there? */
    TO_RENEW,
    TO_LEAVE,
    TO_CATCH_UP, /* the watch fell behind what is kept */
    TO_READ_MAP,
    TO_READ_OWNER,
    TO_CLAIM,
    TO_SETTLE, /* a claim was not answered */
    TO_RELEASE,
    TO_HAND_OVER,
    TO_FORCE,
    TO_PUT_MAP,
};

struct question {
    struct list_node node; /* coord_member.asked */
    struct event trip;
    struct coord_member *member;
    enum purpose purpose;
    struct coordinator_ask ask;
    uint8_t *text;         /* the ask's own */
    int64_t asked_us;      /* when it went on its way last */
    struct parcel *answer; /* on its way back */
};

/* What arrived: an answer with all that it says, or changes. */
struct parcel {
    struct list_node node; /* coord_member.arrived */
    struct question *question;
    struct coordinator_answer answer;
    struct coordinator_state state; /* with a map text of its own */
    struct coordinator_change *changes;
    size_t change_count;
};

struct told {
    struct list_node node;
    struct cluster_event event;
    struct cluster_member members[COORDINATOR_MEMBERS_MAX];
    struct cluster_owner owners[COORDINATOR_SHARDS_MAX];
    char names[COORDINATOR_MEMBERS_MAX + COORDINATOR_SHARDS_MAX][COORDINATOR_ID_MAX];
    char *text;
};

/* --- questions --- */

static int64_t now_us(const struct coord_member *member)
{
    return *member->coordinator->now_us;
}

static int64_t trip_us(struct coord_member *member)
{
    struct sim_random *random = member->coordinator->random;
    return random_one_in(random, 8) ? random_between(random, 1, TRIP_US_MAX)
                                    : random_between(random, 1, 5000);
}

static bool trip_lost(struct coord_member *member)
{
    return member->cut || member->coordinator->away ||
           random_one_in(member->coordinator->random, 40);
}

static void parcel_free(struct parcel *parcel)
{
    list_remove(&parcel->node);
    free(parcel->changes);
    free(parcel->state.map_text);
    free(parcel);
}

static struct parcel *parcel_new(const struct coord_member *member)
{
    const struct coordinator_state *state = &member->coordinator->state;
    struct parcel *parcel = xcalloc(1, sizeof *parcel);
    parcel->state = *state;
    parcel->state.map_text = state->map_text != NULL ? xstrdup(state->map_text) : NULL;
    return parcel;
}

static void question_free(struct question *question)
{
    event_cancel(question->member->coordinator->events, &question->trip);
    if (question->answer != NULL) {
        parcel_free(question->answer);
    }
    list_remove(&question->node);
    free(question->text);
    free(question);
}

static void answer_arrives(struct event *event)
{
    struct question *question = CONTAINER_OF(event, struct question, trip);
    struct parcel *parcel = question->answer;
    if (question->member->cut) {
        return;
    }
    question->answer = NULL;
    list_remove(&question->node); /* it is settled, and goes with its answer */
    parcel->question = question;
    list_push_back(&question->member->arrived, &parcel->node);
}

static void question_arrives(struct event *event)
{
    struct question *question = CONTAINER_OF(event, struct question, trip);
    struct coord_member *member = question->member;
    struct coordinator *co = member->coordinator;
    if (member->cut || co->away) {
        return;
    }
    struct coordinator_answer answer;
    coordinator_ask(co, &question->ask, &answer);
    if (trip_lost(member)) {
        return;
    }
    question->answer = parcel_new(member);
    question->answer->answer = answer;
    event_at(co->events, &question->trip, now_us(member) + trip_us(member), answer_arrives);
}

static void question_send(struct question *question)
{
    struct coord_member *member = question->member;
    question->asked_us = now_us(member);
    event_cancel(member->coordinator->events, &question->trip);
    if (question->answer != NULL) {
        parcel_free(question->answer);
        question->answer = NULL;
    }
    if (!trip_lost(member)) {
        event_at(member->coordinator->events, &question->trip, question->asked_us + trip_us(member),
                 question_arrives);
    }
}

static struct question *question_new(struct coord_member *member, enum purpose purpose,
                                     enum coordinator_question what)
{
    struct question *question = xcalloc(1, sizeof *question);
    question->member = member;
    question->purpose = purpose;
    question->ask.question = what;
    question->ask.nonce = member->nonce;
    memcpy(question->ask.id, member->id, sizeof question->ask.id);
    list_push_back(&member->asked, &question->node);
    return question;
}

static void ask(struct coord_member *member, enum purpose purpose, enum coordinator_question what)
{
    question_send(question_new(member, purpose, what));
}

static void ask_about(struct coord_member *member, enum purpose purpose,
                      enum coordinator_question what, const struct uuid *shard, uint64_t expected,
                      uint64_t map)
{
    struct question *question = question_new(member, purpose, what);
    question->ask.shard = *shard;
    question->ask.expected = expected;
    question->ask.map = map;
    question_send(question);
}

static bool asks(const struct coord_member *member, enum purpose purpose)
{
    for (struct list_node *n = list_first(&member->asked); n != NULL;
         n = list_next(&member->asked, n)) {
        if (CONTAINER_OF(n, struct question, node)->purpose == purpose) {
            return true;
        }
    }
    return false;
}

/* --- what is told --- */

static struct told *tell(struct coord_member *member, enum cluster_event_kind kind)
{
    struct told *told = xcalloc(1, sizeof *told);
    told->event.kind = kind;
    list_push_back(&member->told, &told->node);
    return told;
}

static void tell_about(struct coord_member *member, enum cluster_event_kind kind,
                       const struct uuid *shard, uint64_t epoch)
{
    struct told *told = tell(member, kind);
    told->event.shard = *shard;
    told->event.epoch = epoch;
}

static const char *keep(struct told *told, size_t index, const char *name)
{
    (void)snprintf(told->names[index], sizeof told->names[index], "%s", name);
    return told->names[index];
}

static void told_owner(struct told *told, const struct coordinator_owner *owner)
{
    const size_t index = told->event.owner_count++;
    told->owners[index] =
        (struct cluster_owner){.shard = owner->shard,
                               .holder = keep(told, COORDINATOR_MEMBERS_MAX + index, owner->holder),
                               .epoch = owner->epoch};
    told->event.owners = told->owners;
}

static void tell_owner(struct coord_member *member, enum cluster_event_kind kind,
                       const struct coordinator_owner *owner)
{
    told_owner(tell(member, kind), owner);
}

static void tell_members(struct coord_member *member)
{
    struct told *told = tell(member, EVENT_MEMBERS);
    for (size_t i = 0; i < member->member_count; i++) {
        const struct coordinator_member *from = &member->members[i];
        told->members[i] = (struct cluster_member){.id = keep(told, i, from->id),
                                                   .nonce = from->nonce,
                                                   .address = told->names[i],
                                                   .leaving = from->leaving};
    }
    told->event.members = told->members;
    told->event.member_count = member->member_count;
}

static void tell_map(struct coord_member *member, const struct coordinator_state *state)
{
    struct told *told = tell(member, EVENT_MAP);
    told->event.number = state->map_number;
    if (state->map_number != 0) {
        told->text = xstrdup(state->map_text);
        told->event.text = bytes_str(told->text);
    }
}

static void tell_lapse(struct coord_member *member)
{
    member->joined = false;
    if (member->confirmed) {
        member->confirmed = false;
        (void)tell(member, EVENT_LAPSED);
    }
}

/* --- how new it is --- */

static uint64_t *record_revision(struct coord_member *member, const struct uuid *shard)
{
    for (size_t i = 0; i < member->record_count; i++) {
        if (uuid_eq(&member->records[i].shard, shard)) {
            return &member->records[i].revision;
        }
    }
    ASSERT(member->record_count < COORDINATOR_SHARDS_MAX);
    member->records[member->record_count].shard = *shard;
    return &member->records[member->record_count++].revision;
}

/* False when what is known of the record already is newer than that revision. */
static bool record_newer(struct coord_member *member, const struct uuid *shard, uint64_t revision)
{
    uint64_t *known = record_revision(member, shard);
    const bool newer = revision >= *known;
    *known = newer ? revision : *known;
    return newer;
}

/* Something that was told already is newer than this. */
static bool state_stale(struct coord_member *member, const struct coordinator_state *state)
{
    bool stale = false;
    for (size_t i = 0; i < member->record_count; i++) {
        stale = stale || member->records[i].revision > state->revision;
    }
    return stale;
}

/* --- the watch --- */

static void watch_brings(struct event *event);

static void watch_later(struct coord_member *member, int64_t most_us)
{
    if (member->watch.place == 0) {
        event_at(member->coordinator->events, &member->watch,
                 now_us(member) + random_between(member->coordinator->random, 1, most_us),
                 watch_brings);
    }
}

/* All changes since the last ones, as they stand in the log; or word that the log begins later. */
static void watch_brings(struct event *event)
{
    struct coord_member *member = CONTAINER_OF(event, struct coord_member, watch);
    struct coordinator *co = member->coordinator;
    if (!member->watching || member->watched == co->state.revision) {
        return;
    }
    if (member->cut || co->away || random_one_in(co->random, 30)) {
        watch_later(member, BREAK_US_MAX);
        return;
    }
    if (member->watched < co->compacted) {
        member->watching = false;
        ask(member, TO_CATCH_UP, ASK_LIST);
        return;
    }
    struct parcel *parcel = parcel_new(member);
    size_t from = 0;
    while (co->changes[from].revision <= member->watched) {
        from++;
    }
    parcel->change_count = co->change_count - from;
    parcel->changes = xcalloc(parcel->change_count, sizeof *parcel->changes);
    memcpy(parcel->changes, co->changes + from, parcel->change_count * sizeof *parcel->changes);
    member->watched = co->state.revision;
    list_push_back(&member->arrived, &parcel->node);
}

void coord_members_watch(struct coordinator *co)
{
    for (struct list_node *n = list_first(&co->watchers); n != NULL;
         n = list_next(&co->watchers, n)) {
        struct coord_member *member = CONTAINER_OF(n, struct coord_member, node);
        watch_later(member, random_one_in(co->random, 6) ? LAG_US_MAX : 10000);
    }
}

static void tell_all(struct coord_member *member, const struct coordinator_state *state)
{
    memcpy(member->members, state->members, sizeof member->members);
    member->member_count = state->member_count;
    tell_members(member);
    struct told *told = tell(member, EVENT_OWNERS);
    for (size_t i = 0; i < state->owner_count; i++) {
        (void)record_newer(member, &state->owners[i].shard, state->revision);
        if (state->owners[i].epoch != 0) {
            told_owner(told, &state->owners[i]);
        }
    }
    member->watched = state->revision;
    member->watching = true;
    watch_later(member, 10000); /* what has changed since the listing */
}

static void members_change(struct coord_member *member, const struct coordinator_change *change)
{
    size_t at = 0;
    while (at < member->member_count && strcmp(member->members[at].id, change->member.id) != 0) {
        at++;
    }
    if (!change->gone) {
        member->member_count += at == member->member_count;
        member->members[at] = change->member;
    } else if (at < member->member_count) {
        member->members[at] = member->members[--member->member_count];
    }
    tell_members(member);
    if (change->gone && strcmp(change->member.id, member->id) == 0 &&
        change->member.nonce == member->nonce) {
        tell_lapse(member);
    }
}

static void changes_take(struct coord_member *member, const struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->change_count; i++) {
        const struct coordinator_change *change = &parcel->changes[i];
        switch (change->what) {
        case CHANGED_MEMBERS:
            members_change(member, change);
            break;
        case CHANGED_OWNER:
            if (record_newer(member, &change->owner.shard, change->revision)) {
                tell_owner(member, EVENT_OWNER, &change->owner);
            }
            break;
        case CHANGED_MAP:
            tell_map(member, &parcel->state);
            break;
        }
    }
}

/* --- answers --- */

/* The lease may have been put by an ask whose answer was lost: it is as old as this one at most. */
static void joined(struct coord_member *member, const struct parcel *parcel)
{
    if (!parcel->answer.done) { /* asked again when it is told to */
        member->wanted = false;
        tell(member, EVENT_JOIN_TAKEN)->event.number = parcel->answer.taken;
        return;
    }
    member->joined = true;
    member->watching = false; /* it begins anew with what is listed */
    member->renewed_us = parcel->question->asked_us;
    member->renew_us = now_us(member) + MEMBER_RENEW_US;
    ask(member, TO_CONFIRM, ASK_LIST);
}

static void confirmed(struct coord_member *member, const struct parcel *parcel)
{
    if (!member->joined || member->confirmed) {
        return;
    }
    if (state_stale(member, &parcel->state)) {
        ask(member, TO_CONFIRM, ASK_LIST);
        return;
    }
    member->confirmed = true;
    (void)tell(member, EVENT_CONFIRMED);
    tell_all(member, &parcel->state);
}

static void claim_lost(struct coord_member *member, const struct parcel *parcel)
{
    const struct coordinator_owner *owner = &parcel->answer.owner;
    tell_about(member, EVENT_CLAIM_LOST, &owner->shard, 0);
    if (record_newer(member, &owner->shard, parcel->state.revision)) {
        tell_owner(member, EVENT_OWNER, owner);
    }
}

/* A claim was answered, or not and then the record was read; it can be granted, lost or undone. */
static void claim_answered(struct coord_member *member, const struct parcel *parcel)
{
    const struct coordinator_ask *claim = &parcel->question->ask;
    const struct coordinator_owner *owner = &parcel->answer.owner;
    const bool settles = parcel->question->purpose == TO_SETTLE;
    const bool mine = strcmp(owner->holder, member->id) == 0 && owner->epoch != claim->expected;
    if (settles && parcel->answer.member && owner->epoch == claim->expected) {
        ask_about(member, TO_CLAIM, ASK_CLAIM, &claim->shard, claim->expected, claim->map);
    } else if (!(settles ? mine : parcel->answer.done)) {
        claim_lost(member, parcel);
    } else if (record_newer(member, &claim->shard, parcel->state.revision)) {
        tell_about(member, EVENT_CLAIMED, &claim->shard, owner->epoch);
    } else { /* the record has changed since: what is it now? */
        ask_about(member, TO_SETTLE, ASK_OWNER, &claim->shard, claim->expected, claim->map);
    }
}

static void owner_answered(struct coord_member *member, const struct parcel *parcel)
{
    const struct coordinator_owner *owner = &parcel->answer.owner;
    if (record_newer(member, &owner->shard, parcel->state.revision)) {
        tell_owner(member, EVENT_OWNER_READ, owner);
    } else {
        ask_about(member, TO_READ_OWNER, ASK_OWNER, &owner->shard, 0, 0);
    }
}

static void release_answered(struct coord_member *member, const struct parcel *parcel)
{
    const struct coordinator_owner *owner = &parcel->answer.owner;
    if (!parcel->answer.done) { /* it names this node, by a later claim of its own */
        return;
    }
    if (record_newer(member, &owner->shard, parcel->state.revision) && owner->epoch != 0) {
        tell_owner(member, EVENT_OWNER, owner);
    }
    tell_about(member, EVENT_RELEASED, &owner->shard, 0);
}

/* One that was granted and asked for again is granted; one that is refused is read, so any is. */
static void hand_over_answered(struct coord_member *member, const struct parcel *parcel)
{
    const struct coordinator_owner *owner = &parcel->answer.owner;
    if (!parcel->answer.done) {
        tell_about(member, EVENT_HAND_OVER_LOST, &owner->shard, 0);
    } else {
        (void)record_newer(member, &owner->shard, parcel->state.revision);
        tell_about(member, EVENT_HANDED_OVER, &owner->shard, owner->epoch);
    }
}

static void force_answered(struct coord_member *member, const struct parcel *parcel)
{
    const struct coordinator_owner *owner = &parcel->answer.owner;
    struct told *told = tell(member, EVENT_FORCED);
    told->event.shard = owner->shard;
    if (!parcel->answer.done && owner->epoch == parcel->question->ask.expected) {
        told->event.rc.code = SILO_PRECONDITION;
        told->event.text = bytes_str(keep(told, 0, owner->holder));
    } else if (!parcel->answer.done) {
        told->event.rc.code = SILO_CONFLICT;
    }
}

static void answer_take(struct coord_member *member, const struct parcel *parcel)
{
    const struct question *question = parcel->question;
    switch (question->purpose) {
    case TO_JOIN:
        joined(member, parcel);
        break;
    case TO_CONFIRM:
        confirmed(member, parcel);
        break;
    case TO_RENEW:
        if (!parcel->answer.done) {
            tell_lapse(member);
        } else if (question->asked_us > member->renewed_us) {
            member->renewed_us = question->asked_us;
        }
        break;
    case TO_CATCH_UP:
        if (state_stale(member, &parcel->state)) {
            ask(member, TO_CATCH_UP, ASK_LIST);
        } else if (member->confirmed && !member->watching) {
            tell_all(member, &parcel->state);
            tell_map(member, &parcel->state);
        }
        break;
    case TO_READ_MAP:
        tell_map(member, &parcel->state);
        break;
    case TO_READ_OWNER:
        owner_answered(member, parcel);
        break;
    case TO_CLAIM:
    case TO_SETTLE:
        claim_answered(member, parcel);
        break;
    case TO_RELEASE:
        release_answered(member, parcel);
        break;
    case TO_HAND_OVER:
        hand_over_answered(member, parcel);
        break;
    case TO_FORCE:
        force_answered(member, parcel);
        break;
    case TO_PUT_MAP:
        (void)tell(member, parcel->answer.done ? EVENT_MAP_COMMITTED : EVENT_MAP_LOST);
        break;
    case TO_LEAVE:
        break;
    }
}

/* --- coord.h --- */

static struct coord_member *member_of(struct coord *coord)
{
    return (struct coord_member *)coord;
}

/* Not answered in time: asked again; of a claim it is asked what came of it. */
static void questions_repeat(struct coord_member *member)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&member->asked); n != NULL; n = next) {
        next = list_next(&member->asked, n);
        struct question *question = CONTAINER_OF(n, struct question, node);
        if (now_us(member) - question->asked_us < MEMBER_PATIENCE_US) {
            continue;
        }
        if (question->purpose == TO_RENEW) { /* the next one is due anyway */
            question_free(question);
            continue;
        }
        if (question->purpose == TO_CLAIM) {
            question->purpose = TO_SETTLE;
            question->ask.question = ASK_OWNER;
        }
        question_send(question);
    }
}

static int64_t next_us(const struct coord_member *member)
{
    int64_t next = INT64_MAX;
    for (struct list_node *n = list_first(&member->asked); n != NULL;
         n = list_next(&member->asked, n)) {
        const int64_t at_us = CONTAINER_OF(n, struct question, node)->asked_us + MEMBER_PATIENCE_US;
        next = at_us < next ? at_us : next;
    }
    if (member->joined) {
        next = member->renew_us < next ? member->renew_us : next;
        const int64_t lapse_us = member->renewed_us + COORDINATOR_TTL_US;
        next = lapse_us < next ? lapse_us : next;
    } else if (member->wanted && !asks(member, TO_JOIN)) {
        next = member->renew_us < next ? member->renew_us : next;
    }
    return list_empty(&member->told) ? next : now_us(member);
}

static int64_t member_turn(struct coord *coord)
{
    struct coord_member *member = member_of(coord);
    for (struct list_node *n = list_first(&member->arrived); n != NULL;
         n = list_first(&member->arrived)) {
        struct parcel *parcel = CONTAINER_OF(n, struct parcel, node);
        if (parcel->question != NULL) {
            answer_take(member, parcel);
            question_free(parcel->question);
        } else {
            changes_take(member, parcel);
        }
        parcel_free(parcel);
    }
    if (member->joined && now_us(member) >= member->renewed_us + COORDINATOR_TTL_US) {
        tell_lapse(member);
    }
    questions_repeat(member);
    if (member->joined && now_us(member) >= member->renew_us) {
        member->renew_us = now_us(member) + MEMBER_RENEW_US;
        ask(member, TO_RENEW, ASK_RENEW);
    } else if (member->wanted && !member->joined && now_us(member) >= member->renew_us &&
               !asks(member, TO_JOIN)) {
        struct question *question = question_new(member, TO_JOIN, ASK_JOIN);
        question->ask.replace = member->replace;
        question_send(question);
    }
    const int64_t next = next_us(member);
    return next == INT64_MAX ? next : next + member->ahead_us;
}

static bool member_next_event(struct coord *coord, struct cluster_event *ret)
{
    struct coord_member *member = member_of(coord);
    if (member->lent != NULL) {
        free(member->lent->text);
        free(member->lent);
    }
    member->lent = LIST_ENTRY(list_pop_front(&member->told), struct told, node);
    if (member->lent == NULL) {
        return false;
    }
    *ret = member->lent->event;
    member->lapsed = ret->kind == EVENT_LAPSED || (member->lapsed && ret->kind != EVENT_CONFIRMED);
    member->lapsed_us = ret->kind == EVENT_LAPSED ? now_us(member) : member->lapsed_us;
    return true;
}

static void member_join(struct coord *coord, bool replace)
{
    struct coord_member *member = member_of(coord);
    member->wanted = true;
    member->replace = replace;
    member->renew_us = now_us(member);
}

static void member_leave(struct coord *coord)
{
    ask(member_of(coord), TO_LEAVE, ASK_LEAVING);
}

static void member_read_map(struct coord *coord)
{
    ask(member_of(coord), TO_READ_MAP, ASK_LIST);
}

static void member_commit_map(struct coord *coord, uint64_t number, struct bytes text)
{
    struct question *question = question_new(member_of(coord), TO_PUT_MAP, ASK_MAP_PUT);
    question->text = xmalloc(text.len + 1);
    memcpy(question->text, text.ptr, text.len);
    question->ask.map = number;
    question->ask.text = bytes_of(question->text, text.len);
    question_send(question);
}

static void member_read_owner(struct coord *coord, const struct uuid *shard)
{
    ask_about(member_of(coord), TO_READ_OWNER, ASK_OWNER, shard, 0, 0);
}

static void member_claim(struct coord *coord, const struct uuid *shard, uint64_t expected,
                         uint64_t map)
{
    struct coord_member *member = member_of(coord);
    if (member->on_claim != NULL) {
        member->on_claim(member, shard);
    }
    ask_about(member, TO_CLAIM, ASK_CLAIM, shard, expected, map);
}

static void member_release(struct coord *coord, const struct uuid *shard, uint64_t epoch)
{
    struct coord_member *member = member_of(coord);
    if (member->on_release != NULL) {
        member->on_release(member, shard);
    }
    ask_about(member, TO_RELEASE, ASK_RELEASE, shard, epoch, 0);
}

static void member_hand_over(struct coord *coord, const struct uuid *shard, uint64_t epoch,
                             const char *to)
{
    struct coord_member *member = member_of(coord);
    if (member->on_release != NULL) {
        member->on_release(member, shard);
    }
    struct question *question = question_new(member, TO_HAND_OVER, ASK_HAND_OVER);
    question->ask.shard = *shard;
    question->ask.expected = epoch;
    (void)snprintf(question->ask.to, sizeof question->ask.to, "%s", to);
    question_send(question);
}

static void member_force_release(struct coord *coord, const struct uuid *shard, uint64_t expected,
                                 bool force)
{
    struct coord_member *member = member_of(coord);
    if (member->on_force != NULL) {
        member->on_force(member, shard, force);
    }
    struct question *question = question_new(member, TO_FORCE, ASK_FORCE);
    question->ask.shard = *shard;
    question->ask.expected = expected;
    question->ask.force = force;
    question_send(question);
}

static int64_t member_until_us(const struct coord *coord)
{
    const struct coord_member *member = CONTAINER_OF(coord, const struct coord_member, coord);
    return member->joined ? coord_member_until_us(member) + member->ahead_us : INT64_MIN;
}

static int member_fd(const struct coord *coord)
{
    (void)coord;
    return -1;
}

static silo_rc member_check(const struct coord *coord, struct silo_err *err)
{
    (void)coord;
    (void)err;
    return RC_OK;
}

static void member_free(struct coord *coord)
{
    struct coord_member *member = member_of(coord);
    for (struct list_node *n = list_first(&member->asked); n != NULL;
         n = list_first(&member->asked)) {
        question_free(CONTAINER_OF(n, struct question, node));
    }
    for (struct list_node *n = list_first(&member->arrived); n != NULL;
         n = list_first(&member->arrived)) {
        struct parcel *parcel = CONTAINER_OF(n, struct parcel, node);
        if (parcel->question != NULL) {
            question_free(parcel->question);
        }
        parcel_free(parcel);
    }
    struct cluster_event event;
    while (member_next_event(coord, &event)) {
        /* told to nobody */
    }
    event_cancel(member->coordinator->events, &member->watch);
    list_remove(&member->node);
    free(member);
}

static const struct coord_ops member_ops = {
    .free = member_free,
    .join = member_join,
    .leave = member_leave,
    .read_map = member_read_map,
    .commit_map = member_commit_map,
    .read_owner = member_read_owner,
    .claim = member_claim,
    .release = member_release,
    .hand_over = member_hand_over,
    .force_release = member_force_release,
    .turn = member_turn,
    .next_event = member_next_event,
    .until_us = member_until_us,
    .fd = member_fd,
    .check = member_check,
};

struct coord_member *coord_member_new(struct coordinator *co, const char *id, uint64_t nonce,
                                      int64_t ahead_us)
{
    struct coord_member *member = xcalloc(1, sizeof *member);
    member->coord.ops = &member_ops;
    member->coordinator = co;
    member->nonce = nonce;
    member->ahead_us = ahead_us;
    (void)snprintf(member->id, sizeof member->id, "%s", id);
    list_init(&member->asked);
    list_init(&member->arrived);
    list_init(&member->told);
    list_push_back(&co->watchers, &member->node);
    return member;
}

int64_t coord_member_until_us(const struct coord_member *member)
{
    return member->renewed_us + COORDINATOR_TTL_US;
}

bool coord_member_due(const struct coord_member *member)
{
    return !list_empty(&member->arrived) || !list_empty(&member->told);
}
