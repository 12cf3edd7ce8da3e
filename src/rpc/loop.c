/*
 * rpc/loop.c - the turn of an I/O thread.
 *
 *     uv timers (deadlines) -> prepare: flush, decide whether to sleep -> poll: reads -> check:
 *     mail, flush
 *
 * Reads and mail only mark their connection dirty; the flush at the end of the turn drains each
 * dirty connection into one buffer and writes it once. The mailbox is declared asleep in `prepare`
 * only, after everything else was done, so a busy loop is never woken and an idle one exactly once.
 * If mail came in between, the idle handle makes the poll return at once: I/O is never starved by
 * mail nor mail by I/O.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/env.h"
#include "rpc/conn_int.h"
#include "rpc/loop_int.h"

static void loop_wake(void *context)
{
    struct rpc_loop *loop = context;
    (void)uv_async_send(&loop->wake);
}

static void loop_on_wake(uv_async_t *handle)
{
    (void)handle; /* the mail is taken in check */
}

static void loop_on_idle(uv_idle_t *handle)
{
    (void)handle; /* its being active is what counts */
}

int64_t loop_now_us(struct rpc_loop *loop)
{
    if (loop->now_us == 0) {
        loop->now_us = env_mono_us(&env_system);
    }
    return loop->now_us;
}

void loop_timer_start(struct rpc_loop *loop, struct rpc_timer *timer, int64_t at_us)
{
    if (heap_has(&timer->node)) {
        heap_update(&loop->timers, &timer->node, at_us);
    } else {
        heap_insert(&loop->timers, &timer->node, at_us);
    }
}

void loop_timer_stop(struct rpc_loop *loop, struct rpc_timer *timer)
{
    if (heap_has(&timer->node)) {
        heap_remove(&loop->timers, &timer->node);
    }
}

void loop_post(struct rpc_loop *loop, struct rpc_mail *mail)
{
    mailbox_send_always(&loop->mailbox, &mail->mail);
}

static const struct rpc_loop_ops loop_ops = {
    .post = loop_post,
    .now_us = loop_now_us,
    .timer_start = loop_timer_start,
    .timer_stop = loop_timer_stop,
};

static void loop_on_timer(uv_timer_t *handle)
{
    struct rpc_loop *loop = handle->data;
    loop->timer_at_us = INT64_MAX;
    loop->now_us = 0;
    const int64_t now = loop_now_us(loop);
    struct heap_node *node = heap_min(&loop->timers);
    while (node != NULL && node->key <= now) {
        heap_remove(&loop->timers, node);
        struct rpc_timer *timer = CONTAINER_OF(node, struct rpc_timer, node);
        timer->fire(timer);
        node = heap_min(&loop->timers);
    }
}

static void loop_arm_timer(struct rpc_loop *loop)
{
    const struct heap_node *node = heap_min(&loop->timers);
    if (node == NULL) {
        /*
         * An armed uv timer with nothing due is one spurious turn; stopping it each time would cost
         * more.
         */
        return;
    }
    if (node->key < loop->timer_at_us) {
        const int64_t left = node->key - env_mono_us(&env_system);
        uv_update_time(&loop->uv);
        (void)uv_timer_start(&loop->timer, loop_on_timer,
                             left > 0 ? (uint64_t)(left + 999) / 1000 : 0, 0);
        loop->timer_at_us = node->key;
    }
}

void loop_flush(struct rpc_loop *loop)
{
    struct list todo;
    list_init(&todo);
    struct list_node *node;
    while ((node = list_pop_front(&loop->dirty)) != NULL) {
        list_push_back(&todo, node);
    }
    /*
     * A flush may make another connection, or the same one, dirty again: that is for the next turn.
     */
    while ((node = list_pop_front(&todo)) != NULL) {
        conn_flush(CONTAINER_OF(node, struct conn, dirty));
    }
}

static void loop_run_mail(struct rpc_loop *loop)
{
    struct mail *mail = mailbox_take(&loop->mailbox);
    while (mail != NULL) {
        struct mail *next = mail->next;
        struct rpc_mail *rpc_mail = CONTAINER_OF(mail, struct rpc_mail, mail);
        rpc_mail->run(rpc_mail);
        mail = next;
    }
}

static bool loop_done(const struct rpc_loop *loop)
{
    return loop->stopping && list_empty(&loop->conns) &&
           atomic_load_explicit(&loop->held_calls, memory_order_relaxed) == 0;
}

static void loop_publish(struct rpc_loop *loop)
{
    loop->counted.turns++;
    loop->counted.connections = atomic_load_explicit(&loop->conn_count, memory_order_relaxed);
    published_put(loop->published, (const uint64_t *)&loop->counted);
}

static void loop_on_prepare(uv_prepare_t *handle)
{
    struct rpc_loop *loop = handle->data;
    loop_flush(loop);
    loop_publish(loop);
    loop_arm_timer(loop);
    if (loop_done(loop)) {
        uv_stop(&loop->uv);
    }
    const bool more = !list_empty(&loop->dirty) || !mailbox_sleep(&loop->mailbox);
    if (more) {
        (void)uv_idle_start(&loop->idle, loop_on_idle);
    } else {
        (void)uv_idle_stop(&loop->idle);
    }
    loop->now_us = 0;
}

static void loop_on_check(uv_check_t *handle)
{
    struct rpc_loop *loop = handle->data;
    loop_run_mail(loop);
    loop_flush(loop);
    loop->now_us = 0;
}

SILO_RC loop_init(struct rpc_loop *loop, struct silo_err *err)
{
    *loop = (struct rpc_loop){.base.ops = &loop_ops, .timer_at_us = INT64_MAX};
    if (uv_loop_init(&loop->uv) != 0) {
        return FAIL(err, SILO_UNAVAILABLE, "cannot make an event loop");
    }
    if (uv_async_init(&loop->uv, &loop->wake, loop_on_wake) != 0) {
        (void)uv_loop_close(&loop->uv);
        return FAIL(err, SILO_UNAVAILABLE, "cannot make an event loop's wake-up");
    }
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    (void)uv_check_init(&loop->uv, &loop->check);
    (void)uv_idle_init(&loop->uv, &loop->idle);
    (void)uv_timer_init(&loop->uv, &loop->timer);
    loop->prepare.data = loop->check.data = loop->timer.data = loop;
    (void)uv_prepare_start(&loop->prepare, loop_on_prepare);
    (void)uv_check_start(&loop->check, loop_on_check);
    mailbox_init(&loop->mailbox, SIZE_MAX, loop_wake, loop);
    heap_init(&loop->timers);
    list_init(&loop->dirty);
    list_init(&loop->conns);
    list_init(&loop->free_calls);
    list_init(&loop->watchers);
    buf_init(&loop->out, LOOP_OUT_BYTES_MAX);
    loop->read_buf = xmalloc(LOOP_READ_BYTES);
    loop->published = published_new(sizeof loop->counted / sizeof(uint64_t));
    return RC_OK;
}

/* Which loop the calling thread is, if any. */
static _Thread_local const struct rpc_loop *loop_here;

static void *loop_main(void *arg)
{
    struct rpc_loop *loop = arg;
    loop_here = loop;
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

SILO_RC loop_start(struct rpc_loop *loop, struct silo_err *err)
{
    /*
     * Signals are the main thread's; a blocked SIGPIPE also makes writes to closed sockets plain
     * errors.
     */
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&loop->thread, NULL, loop_main, loop);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        return FAIL(err, SILO_UNAVAILABLE, "cannot start an I/O thread: %s", strerror(failed));
    }
    loop->running = true;
    return RC_OK;
}

struct loop_stop {
    struct rpc_mail mail;
    struct rpc_loop *loop;
};

static void loop_run_stop(struct rpc_mail *mail)
{
    struct loop_stop *stop = CONTAINER_OF(mail, struct loop_stop, mail);
    stop->loop->stopping = true;
    free(stop);
}

void loop_join(struct rpc_loop *loop)
{
    if (!loop->running) {
        return;
    }
    struct loop_stop *stop = xcalloc(1, sizeof *stop);
    stop->mail.run = loop_run_stop;
    stop->loop = loop;
    loop_post(loop, &stop->mail);
    (void)pthread_join(loop->thread, NULL);
    loop->running = false;
}

static void loop_close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void loop_deinit(struct rpc_loop *loop)
{
    loop_join(loop);
    loop_run_mail(loop);
    (void)uv_idle_stop(&loop->idle);
    (void)uv_prepare_stop(&loop->prepare);
    (void)uv_check_stop(&loop->check);
    uv_walk(&loop->uv, loop_close_handle, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    ASSERT(uv_loop_close(&loop->uv) == 0);
    heap_deinit(&loop->timers);
    buf_deinit(&loop->out);
    published_free(loop->published);
    free(loop->read_buf);
}

SILO_RC rpc_loop_new(struct rpc_loop **ret_loop, struct silo_err *err)
{
    struct rpc_loop *loop = xcalloc(1, sizeof *loop);
    silo_rc rc = loop_init(loop, err);
    if (rc.code != SILO_OK) {
        free(loop);
        return rc;
    }
    rc = loop_start(loop, err);
    if (rc.code != SILO_OK) {
        loop_deinit(loop);
        free(loop);
        return rc;
    }
    *ret_loop = loop;
    return RC_OK;
}

struct rpc_loop *rpc_loop_free(struct rpc_loop *loop)
{
    if (loop != NULL) {
        loop_deinit(loop);
        free(loop);
    }
    return NULL;
}

bool loop_is_here(const struct rpc_loop *loop)
{
    return loop_here == loop;
}
