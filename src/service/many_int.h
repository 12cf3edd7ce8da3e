/*
 * service/many_int.h - bulk calls: many commands for one shard, each with a result of its own.
 *
 * Items that could not be decoded fail by themselves (call->faults). The others go out in waves of
 * MANY_WAVE_MAX, in order. All of a wave share the call's arena: one executor runs them, and the
 * loop prepares a wave before it sends any of it and reads it when all of it is back.
 *
 * Ownership  everything lies in the call's arena.
 * Threads    the call's loop.
 */
#ifndef SILO_SERVICE_MANY_INT_H
#define SILO_SERVICE_MANY_INT_H

#include "service/call_int.h"

struct many_result {
    enum silo_code code;
    char *text; /* when code is not OK */
    char *id;   /* EnqueueMany */
};

struct many {
    struct call *call;
    size_t count, next; /* items; the first one not sent yet */
    struct many_result *results;
    struct fan *fan;
    size_t *items; /* which item each part of the wave is */
    SILO_RC (*prepare)(struct many *many, size_t index, struct command *cmd, struct silo_err *err);
    void (*answer)(struct many *many);
};

/* prepare sets kind and arguments, or fails the item; answer ends the call. call->shard is set. */
void many_start(struct call *call, size_t count,
                SILO_RC (*prepare)(struct many *many, size_t index, struct command *cmd,
                                   struct silo_err *err),
                void (*answer)(struct many *many));

#endif
