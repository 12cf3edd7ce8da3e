/*
 * core/view.h - what a shard knows of its stored rows without asking the store: its own recent
 * changes, and rows that were read for commands.
 *
 * Recent changes are the rows of the open batch and of every batch that is not durable yet, or that
 * a read still on its way may have missed. A look-up asks them first, then the rows pinned by
 * reads; what neither knows is UNKNOWN and can be asked for with view_need. So an old row that
 * arrives late never hides a newer change.
 *
 * The rows of the open batch are collected here, too: a later change of a key replaces the earlier
 * one, and a row that was put where none was (fresh) and deleted within one batch vanishes.
 *
 * Ownership  the view owns its rows; values it lends live until the next change or release.
 * Threads    the shard's executor only.
 * Limits     rows live until durable: bounded by the batches in flight. Reads are bounded by the
 *            commands waiting.
 */
#ifndef SILO_CORE_VIEW_H
#define SILO_CORE_VIEW_H

#include "base/list.h"
#include "base/map.h"
#include "codec/key.h"
#include "core/command.h"

/* Bytes shared within one shard. */
struct blob {
    uint32_t refs;
    size_t len;
    uint8_t data[];
};

struct blob *blob_new(struct bytes b);
struct blob *blob_ref(struct blob *blob);
struct blob *blob_unref(struct blob *blob); /* NULL is accepted; returns NULL */
static inline struct bytes blob_bytes(const struct blob *blob)
{
    return blob != NULL ? bytes_of(blob->data, blob->len) : BYTES_NONE;
}

/* A recent change. */
struct row {
    struct map_node node;
    struct list_node order; /* by batch, oldest first */
    /* ready, timer, waiter and expiry rows: all recent ones of the table */
    struct list_node in_table;
    uint64_t batch;
    bool del, fresh;
    struct blob *value;
    struct bytes lent; /* instead of value: memory of the command, until the batch is sealed */
    size_t key_len;
    uint8_t key[];
};

/* A read on its way or in use: changes since it began are kept. */
struct view_hold {
    struct list_node node;
    uint64_t since; /* newest batch that was applied when it began */
};

enum pin_state { PIN_WANTED, PIN_FLYING, PIN_READY, PIN_FAILED };

/* A row read for commands. */
struct pin {
    struct map_node node;
    struct list_node wanted;
    struct view_hold hold;
    enum pin_state state;
    bool present;
    struct blob *value;
    struct list users; /* pin_use.in_pin */
    size_t key_len;
    uint8_t key[];
};

struct pin_use {
    struct list_node in_command, in_pin;
    struct pin *pin;
    struct command *command;
};

struct view {
    struct map rows, pins;
    struct list order;
    struct list ready_rows, timer_rows, waiter_rows, expiry_rows;
    struct list wanted; /* pins to read */
    struct list holds;  /* oldest first */
    uint64_t open;      /* number of the open batch */
    uint64_t applied, durable;
    uint32_t open_rows; /* in the open batch */
    size_t open_bytes;
    uint64_t newest;  /* newest batch with rows */
    uint64_t touched; /* newest batch a look-up depended on, since view_begin */
};

enum view_answer { VIEW_FOUND, VIEW_ABSENT, VIEW_UNKNOWN };

void view_init(struct view *view);
void view_deinit(struct view *view);

/* Look-ups of one command: afterwards `touched` names the batch its answer waits for. */
static inline void view_begin(struct view *view)
{
    view->touched = 0;
}
static inline void view_touch(struct view *view, uint64_t batch)
{
    view->touched = batch > view->touched ? batch : view->touched;
}
/* The answer rests on something not being there. */
static inline void view_touch_absent(struct view *view)
{
    view_touch(view, view->newest);
}

enum view_answer view_get(struct view *view, struct bytes key, struct bytes *ret_value);
/* The recent change of a key, NULL if none; touches nothing. */
struct row *view_recent(const struct view *view, struct bytes key);
/* All of one of these tables, behind `row`, NULL for the first; NULL at the end. */
const struct row *view_recent_next(struct view *view, enum key_table table, const struct row *row);

/* fresh: the caller knows that no such row exists. */
void view_put(struct view *view, struct bytes key, struct bytes value, bool fresh);
void view_put_blob(struct view *view, struct bytes key, struct blob *value, bool fresh);
/* The value stays in the caller's memory until the batch is sealed; the row cannot be looked up. */
void view_put_lent(struct view *view, struct bytes key, struct bytes value);
void view_del(struct view *view, struct bytes key);

/* Asks for a row on behalf of a command: command->reads_open counts those not there yet. */
void view_need(struct view *view, struct bytes key, struct command *command);
/* Lets go of all the command's rows. */
void view_release(struct view *view, struct command *command);

/* Frees a pin that nobody uses and no read is coming for. */
void view_drop_idle(struct view *view, struct pin *pin);

void view_hold(struct view *view, struct view_hold *hold);
void view_unhold(struct view *view, struct view_hold *hold);

/*
 * The open batch is closed: its rows are walked with view_sealed_next, then the next batch is open.
 */
struct row *view_sealed_next(struct view *view, struct row *row);
uint64_t view_seal(struct view *view);
void view_applied(struct view *view, uint64_t batch);
void view_durable(struct view *view, uint64_t batch);

#endif
