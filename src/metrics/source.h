/*
 * metrics/source.h - where the counters of a scope are read: its owners one by one, by any thread
 * and without a lock.
 *
 * Ownership  a source lends from the module that gave it, which must outlive it.
 * Threads    any; an owner may come or go meanwhile.
 */
#ifndef SILO_METRICS_SOURCE_H
#define SILO_METRICS_SOURCE_H

#include <stdbool.h>

#include "metrics/counters.h"

#define COUNTER_OWNER_BYTES 40 /* a shard's id, with its NUL */
#define COUNTER_NUMBERS_MAX 64 /* of one owner */

struct counter_source {
    enum counter_scope scope;
    size_t owners; /* there can be so many; those that are not there now are passed over */
    /*
     * Numbers of owner `index` as counter_table(scope) has them, and the value of the scope's
     * label. False: it is not there, or stands in the middle of publishing.
     */
    bool (*read)(const void *context, size_t index, char *ret_owner, uint64_t *ret_numbers);
    const void *context;
};

#endif
