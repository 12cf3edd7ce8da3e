/*
 * cluster/question.h - what an operator asks of the cluster, at whichever node: to take a shard
 * from its holder, or to change which nodes a shard may go to.
 *
 * Whoever asks fills kind, shard and what the kind needs, and `done`; the answer is in the same
 * struct when `done` runs, once.
 *
 * Ownership  whoever asks owns the question, and keeps it until `done`.
 * Threads    handed over when it is sent; `done` runs on the node's thread and only hands it back.
 * Limits     CLUSTER_QUESTIONS_MAX of them at a time; one more is answered EXHAUSTED.
 */
#ifndef SILO_CLUSTER_QUESTION_H
#define SILO_CLUSTER_QUESTION_H

#include "base/limits.h"
#include "base/list.h"
#include "base/mail.h"
#include "base/rc.h"
#include "base/uuid.h"

#define CLUSTER_QUESTIONS_MAX 256u

enum cluster_question_kind {
    /*
     * Nobody holds the shard any more, so that whoever should have it takes it. Answers: OK;
     * NOT_FOUND: the map has no such shard; PRECONDITION: its holder is a member and `force` is not
     * set, the text names it; CONFLICT: the record changed meanwhile, ask again; UNAVAILABLE: this
     * node does not know the records, or does not hear of the coordinator.
     */
    QUESTION_FORCE_RELEASE,
    /*
     * The shard goes to nodes of `ring`. Answers: OK, with the previous one; NOT_FOUND; INVALID: no
     * name of a ring; PRECONDITION: no member has that ring and `unpopulated` is not set; CONFLICT:
     * the map changed too often meanwhile; UNAVAILABLE.
     */
    QUESTION_CONFIGURE,
};

struct cluster_question {
    struct mail mail;      /* on its way to the node's thread */
    struct list_node node; /* there, with when it is answered at the latest and the tries so far */
    int64_t until_ms;
    uint32_t tries;
    enum cluster_question_kind kind;
    struct uuid shard;
    bool force;                    /* FORCE_RELEASE: though its holder is a member */
    char ring[RING_BYTES_MAX + 1]; /* CONFIGURE; "" and "default": the default one */
    bool unpopulated;              /* CONFIGURE: though no member has the ring */
    void (*done)(struct cluster_question *question);
    void *context; /* the asker's */
    /* The answer. */
    silo_rc rc;
    char text[SILO_ERR_TEXT_MAX];           /* why, when rc is not OK */
    char previous_ring[RING_BYTES_MAX + 1]; /* CONFIGURE, OK; "": the default one */
};

#endif
