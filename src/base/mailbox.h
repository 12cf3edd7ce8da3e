/*
 * base/mailbox.h - how threads talk: a bounded queue with many senders and one reader.
 *
 * Messages are intrusive nodes; sending hands the message over. The reader takes all that is there
 * in the order of sending. A reader about to sleep calls mailbox_sleep, and the sender that then
 * finds it asleep calls `wake` once; a busy reader is never woken. wake must be callable from any
 * thread (uv_async_send, a write to an eventfd).
 *
 * Threads    mailbox_send: any; mailbox_take and mailbox_sleep: the reader only.
 * Limits     `limit` messages; one more is refused, and the sender answers RESOURCE_EXHAUSTED.
 *            Replies of a peer that already bounds its requests are sent with mailbox_send_always.
 */
#ifndef SILO_BASE_MAILBOX_H
#define SILO_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/mail.h"

struct mailbox {
    _Atomic(struct mail *)
        top;             /* newest first; release by senders pairs with acquire in mailbox_take */
    atomic_size_t count; /* messages inside, approximate while senders race */
    atomic_bool asleep;  /* set by mailbox_sleep, cleared by the sender that wakes */
    size_t limit;
    void (*wake)(void *context);
    void *context;
};

void mailbox_init(struct mailbox *box, size_t limit, void (*wake)(void *context), void *context);
/* False when full; the message then stays the sender's. */
bool mailbox_send(struct mailbox *box, struct mail *mail);
/*
 * The same with room for `beyond` more: for messages that must not be shut out by a crowd of
 * others.
 */
bool mailbox_send_beyond(struct mailbox *box, struct mail *mail, size_t beyond);
void mailbox_send_always(struct mailbox *box, struct mail *mail);
/* All messages, oldest first, linked by next; NULL when empty. */
struct mail *mailbox_take(struct mailbox *box);
/* How many are inside, approximate while senders race. */
static inline size_t mailbox_count(const struct mailbox *box)
{
    return atomic_load_explicit(&box->count, memory_order_relaxed);
}
/* Says that the reader will sleep. False when there is mail: do not sleep. */
bool mailbox_sleep(struct mailbox *box);

#endif
