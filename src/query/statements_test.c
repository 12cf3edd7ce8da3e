/* query/statements_test.c - statements run one by one, are refused when many wait, end in time. */
#include "query/statements.h"

#include <semaphore.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/test.h"
#include "query/rows_test.h"
#include "query/tenants.h"

struct asked {
    struct statement statement;
    struct rows *rows;
    uint64_t open; /* what it read */
    sem_t begun, go, over;
    bool waits; /* for `go` */
};

static SILO_RC asked_run(struct statement *statement, struct snapshot *snapshot,
                         struct silo_err *err)
{
    struct asked *asked = CONTAINER_OF(statement, struct asked, statement);
    (void)sem_post(&asked->begun);
    if (asked->waits) {
        (void)sem_wait(&asked->go);
    }
    struct shard_totals totals = {0};
    TRY(shard_totals_read(snapshot, &totals, err));
    asked->open = totals.counts.open;
    return RC_OK;
}

static void asked_done(struct statement *statement)
{
    (void)sem_post(&CONTAINER_OF(statement, struct asked, statement)->over);
}

static struct asked *asked_new(struct rows *rows, struct statements *statements)
{
    struct asked *asked = xcalloc(1, sizeof *asked);
    asked->rows = rows;
    (void)sem_init(&asked->begun, 0, 0);
    (void)sem_init(&asked->go, 0, 0);
    (void)sem_init(&asked->over, 0, 0);
    asked->statement.run = asked_run;
    asked->statement.done = asked_done;
    struct snapshot_options *options = &asked->statement.options;
    assert_int_equal(
        rows->ops
            ->snapshot(rows->db, statements_queue(statements), &options->snap, &options->seq, NULL)
            .code,
        SILO_OK);
    return asked;
}

static enum silo_code asked_end(struct asked *asked)
{
    (void)sem_wait(&asked->over);
    const enum silo_code code = asked->statement.rc.code;
    (void)sem_destroy(&asked->begun);
    (void)sem_destroy(&asked->go);
    (void)sem_destroy(&asked->over);
    free(asked);
    return code;
}

static void put_total(struct rows *rows, uint64_t open)
{
    struct key key;
    struct buf buf;
    buf_init(&buf, 256);
    counts_encode(&buf, &(struct counts){.open = open});
    key_meta(&key, META_TOTALS);
    rows_put(rows, &key, buf_bytes(&buf));
    rows_commit(rows);
    buf_deinit(&buf);
}

static struct statements *begin(struct rows *rows)
{
    struct statements *statements = NULL;
    assert_int_equal(statements_new(rows->store, &env_system, &statements, NULL).code, SILO_OK);
    return statements;
}

static void each_reads_its_own_moment(void **state)
{
    (void)state;
    struct rows *rows = rows_new_mem();
    struct statements *statements = begin(rows);
    put_total(rows, 1);
    struct asked *first = asked_new(rows, statements);
    put_total(rows, 2);
    struct asked *second = asked_new(rows, statements);
    put_total(rows, 3);
    assert_true(statements_send(statements, &second->statement));
    assert_true(statements_send(statements, &first->statement));
    (void)sem_wait(&first->over);
    (void)sem_post(&first->over);
    assert_int_equal(first->open, 1);
    assert_int_equal(second->open, 2);
    assert_int_equal(asked_end(first), SILO_OK);
    assert_int_equal(asked_end(second), SILO_OK);
    assert_null(statements_free(statements));
    rows_free(rows);
}

static void a_crowd_is_refused(void **state)
{
    (void)state;
    static struct asked *waiting[STATEMENTS_WAITING_MAX];
    struct rows *rows = rows_new_mem();
    struct statements *statements = begin(rows);
    struct asked *slow = asked_new(rows, statements);
    slow->waits = true;
    assert_true(statements_send(statements, &slow->statement));
    (void)sem_wait(&slow->begun);
    for (size_t i = 0; i < STATEMENTS_WAITING_MAX; i++) {
        waiting[i] = asked_new(rows, statements);
        assert_true(statements_send(statements, &waiting[i]->statement));
    }
    struct asked *over = asked_new(rows, statements);
    assert_false(statements_send(statements, &over->statement));
    rows->ops->snapshot_free(over->statement.options.snap);
    free(over);
    (void)sem_post(&slow->go);
    /* What was sent before the end is run. */
    assert_null(statements_free(statements));
    assert_int_equal(asked_end(slow), SILO_OK);
    for (size_t i = 0; i < STATEMENTS_WAITING_MAX; i++) {
        assert_int_equal(asked_end(waiting[i]), SILO_OK);
    }
    rows_free(rows);
}

static void time_runs_out(void **state)
{
    (void)state;
    struct rows *rows = rows_new_mem();
    struct statements *statements = begin(rows);
    struct asked *late = asked_new(rows, statements);
    late->statement.options.deadline_mono_ms = 1;
    assert_true(statements_send(statements, &late->statement));
    assert_int_equal(asked_end(late), SILO_DEADLINE);
    assert_null(statements_free(statements));
    rows_free(rows); /* no snapshot is left, or the store would not be freed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reads_its_own_moment),
        cmocka_unit_test(a_crowd_is_refused),
        cmocka_unit_test(time_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
