/* base/mailbox.c - a lock-free stack that the reader reverses. */
#include "base/mailbox.h"

void mailbox_init(struct mailbox *box, size_t limit, void (*wake)(void *context), void *context)
{
    atomic_init(&box->top, NULL);
    atomic_init(&box->count, 0);
    atomic_init(&box->asleep, false);
    box->limit = limit;
    box->wake = wake;
    box->context = context;
}

static void mailbox_push(struct mailbox *box, struct mail *mail)
{
    struct mail *top = atomic_load_explicit(&box->top, memory_order_relaxed);
    do {
        mail->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&box->top, &top, mail, memory_order_seq_cst,
                                                    memory_order_relaxed));
    /* seq_cst on both sides: either this load sees `asleep`, or mailbox_sleep sees the message. */
    if (atomic_load(&box->asleep) && atomic_exchange(&box->asleep, false)) {
        box->wake(box->context);
    }
}

bool mailbox_send(struct mailbox *box, struct mail *mail)
{
    return mailbox_send_beyond(box, mail, 0);
}

bool mailbox_send_beyond(struct mailbox *box, struct mail *mail, size_t beyond)
{
    if (atomic_fetch_add_explicit(&box->count, 1, memory_order_relaxed) >= box->limit + beyond) {
        atomic_fetch_sub_explicit(&box->count, 1, memory_order_relaxed);
        return false;
    }
    mailbox_push(box, mail);
    return true;
}

void mailbox_send_always(struct mailbox *box, struct mail *mail)
{
    atomic_fetch_add_explicit(&box->count, 1, memory_order_relaxed);
    mailbox_push(box, mail);
}

struct mail *mailbox_take(struct mailbox *box)
{
    atomic_store_explicit(&box->asleep, false, memory_order_relaxed);
    struct mail *stack = atomic_exchange_explicit(&box->top, NULL, memory_order_acquire);
    struct mail *queue = NULL;
    size_t count = 0;
    while (stack != NULL) {
        struct mail *next = stack->next;
        stack->next = queue;
        queue = stack;
        stack = next;
        count++;
    }
    atomic_fetch_sub_explicit(&box->count, count, memory_order_relaxed);
    return queue;
}

bool mailbox_sleep(struct mailbox *box)
{
    atomic_store(&box->asleep, true);
    if (atomic_load(&box->top) != NULL) {
        atomic_store(&box->asleep, false);
        return false;
    }
    return true;
}
