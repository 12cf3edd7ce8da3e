/* query/statements.c - see statements.h. */
#include "query/statements.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/list.h"

struct statements {
    const struct env *env;
    struct store_queue *queue;
    struct mailbox mailbox;
    int wake_fd;
    pthread_t thread;
    atomic_bool stop; /* set by statements_free, read by the thread after a wake */
    struct snapshot_reader reader;
};

static void statements_wake(void *context)
{
    const struct statements *statements = context;
    const uint64_t one = 1;
    const ssize_t written = write(statements->wake_fd, &one, sizeof one);
    (void)written; /* a full counter wakes, too */
}

static void statement_run(struct statements *statements, struct statement *statement)
{
    struct snapshot snapshot;
    statement->rc =
        snapshot_open(&snapshot, &statements->reader, &statement->options, &statement->err);
    if (statement->rc.code == SILO_OK) {
        statement->rc = statement->run(statement, &snapshot, &statement->err);
        snapshot_close(&snapshot);
    }
    statement->done(statement);
}

static void statements_turn(struct statements *statements)
{
    struct mail *mail = mailbox_take(&statements->mailbox);
    while (mail != NULL) {
        struct mail *next = mail->next; /* a statement that is done is its sender's again */
        statement_run(statements, CONTAINER_OF(mail, struct statement, mail));
        mail = next;
    }
}

static void *statements_main(void *context)
{
    struct statements *statements = context;
    bool stops = false;
    while (!stops) {
        /* Asked before the mail is taken: what was sent before the end is run. */
        stops = atomic_load_explicit(&statements->stop, memory_order_acquire);
        statements_turn(statements);
        if (!stops && mailbox_sleep(&statements->mailbox)) {
            struct pollfd poller = {.fd = statements->wake_fd, .events = POLLIN};
            uint64_t count = 0;
            if (poll(&poller, 1, -1) > 0) {
                const ssize_t got = read(statements->wake_fd, &count, sizeof count);
                (void)got;
            }
        }
    }
    return NULL;
}

static SILO_RC thread_start(struct statements *statements, struct silo_err *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int made = pthread_create(&statements->thread, NULL, statements_main, statements);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (made != 0) {
        return FAIL(err, SILO_INTERNAL, "the thread of statements could not be made");
    }
    return RC_OK;
}

static void statements_drop(struct statements *statements)
{
    if (statements->queue != NULL) {
        store_ops_of(statements->queue)->queue_free(statements->queue);
    }
    if (statements->wake_fd >= 0) {
        (void)close(statements->wake_fd);
    }
    free(statements);
}

SILO_RC statements_new(struct store *store, const struct env *env,
                       struct statements **ret_statements, struct silo_err *err)
{
    struct statements *statements = xcalloc(1, sizeof *statements);
    statements->env = env;
    statements->wake_fd = eventfd(0, EFD_CLOEXEC);
    mailbox_init(&statements->mailbox, STATEMENTS_WAITING_MAX, statements_wake, statements);
    silo_rc rc = RC_OK;
    if (statements->wake_fd < 0) {
        rc = FAIL(err, SILO_INTERNAL, "eventfd: errno %d", errno);
    }
    if (rc.code == SILO_OK) {
        rc = store_ops_of(store)->queue_new(store, &statements->queue, err);
    }
    if (rc.code == SILO_OK) {
        statements->reader = (struct snapshot_reader){.env = env, .queue = statements->queue};
        rc = thread_start(statements, err);
    }
    if (rc.code != SILO_OK) {
        statements_drop(statements);
        return rc;
    }
    *ret_statements = statements;
    return RC_OK;
}

struct statements *statements_free(struct statements *statements)
{
    if (statements != NULL) {
        atomic_store_explicit(&statements->stop, true, memory_order_release);
        statements_wake(statements);
        (void)pthread_join(statements->thread, NULL);
        statements_drop(statements);
    }
    return NULL;
}

struct store_queue *statements_queue(struct statements *statements)
{
    return statements->queue;
}

bool statements_send(struct statements *statements, struct statement *statement)
{
    return mailbox_send(&statements->mailbox, &statement->mail);
}
