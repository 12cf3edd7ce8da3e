/*
 * core/lease.h - running jobs: which worker holds which task, and until when. All of them are in
 * memory.
 *
 * Ownership  the core's; a lease lives until its job's token moves on.
 * Threads    the shard's executor only.
 * Limits     SHARD_LEASES_MAX leases.
 */
#ifndef SILO_CORE_LEASE_H
#define SILO_CORE_LEASE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "codec/record.h"

struct core;
struct worker_marks;

struct lease {
    struct map_node by_job, by_task;
    struct heap_node expiry;    /* key: mono ms */
    struct lease_rec rec;       /* its bytes lie in `storage` */
    uint64_t batch;             /* of its last change */
    bool expiring;              /* an internal command that ends it is on its way */
    bool undelivered;           /* its worker never heard of it: at its end it goes back */
    struct worker_marks *marks; /* its worker's, while its job is cancelled; else NULL */
    struct list_node marked;    /* in marks->leases */
    const char *unreadable; /* not NULL: its job cannot be run for this reason, and ends with it */
    struct bytes job_ref;
    uint8_t storage[];
};

void leases_init(struct core *core);
struct lease *lease_find(const struct core *core, const struct uuid *task_id);
struct lease *lease_of_job(const struct core *core, struct bytes job_ref);
struct lease *lease_add(struct core *core, struct bytes job_ref, const struct lease_rec *rec);
void lease_remove(struct core *core, struct lease *lease);
void lease_write(struct core *core, struct lease *lease, bool fresh);
/* It is found by another task id from now on; its row is not written. */
void lease_rename(struct core *core, struct lease *lease, const struct uuid *task_id);
void lease_renew(struct core *core, struct lease *lease);
/* Its job cannot be run: `why` (static) ends it. */
void lease_spoil(struct core *core, struct lease *lease, const char *why);
void leases_free(struct core *core);
/* The same for a shorter term, which a lease that lasts longer does not need. */
void lease_extend(struct core *core, struct lease *lease, int64_t term_ms);

#endif
