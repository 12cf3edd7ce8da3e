/*
 * base/mailbox_test.c - order, the limit, and many senders against one reader that really sleeps.
 */
#include "base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/list.h"
#include "base/test.h"

#define SENDERS 4u
#define MAILS_EACH 20000u
#define WAIT_MS 30000

struct letter {
    struct mail mail;
    unsigned sender;
    unsigned number;
};

static void count_wake(void *context)
{
    (*(int *)context)++;
}

static void order_and_limit(void **state)
{
    (void)state;
    int wakes = 0;
    struct mailbox box;
    struct letter letters[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    mailbox_init(&box, 2, count_wake, &wakes);
    assert_null(mailbox_take(&box));
    assert_true(mailbox_send(&box, &letters[0].mail));
    assert_true(mailbox_send(&box, &letters[1].mail));
    assert_false(mailbox_send(&box, &letters[2].mail));
    mailbox_send_always(&box, &letters[2].mail);
    assert_int_equal(wakes, 0);
    struct mail *mail = mailbox_take(&box);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(CONTAINER_OF(mail, struct letter, mail)->number, i);
        mail = mail->next;
    }
    assert_null(mail);
    assert_true(mailbox_send(&box, &letters[0].mail));
}

static void a_sleeper_is_woken_once(void **state)
{
    (void)state;
    int wakes = 0;
    struct mailbox box;
    struct letter letters[2] = {0};
    mailbox_init(&box, 10, count_wake, &wakes);
    assert_true(mailbox_sleep(&box));
    assert_true(mailbox_send(&box, &letters[0].mail));
    assert_int_equal(wakes, 1);
    assert_true(mailbox_send(&box, &letters[1].mail));
    assert_int_equal(wakes, 1);
    assert_false(mailbox_sleep(&box));
    assert_non_null(mailbox_take(&box));
    assert_true(mailbox_sleep(&box));
}

struct crowd {
    struct mailbox box;
    int wake_fd;
};

struct sender {
    struct crowd *crowd;
    struct letter *letters;
};

static void fd_wake(void *context)
{
    const struct crowd *crowd = context;
    const uint64_t one = 1;
    if (write(crowd->wake_fd, &one, sizeof one) != (ssize_t)sizeof one) {
        abort();
    }
}

static void *sender_main(void *argument)
{
    const struct sender *sender = argument;
    for (unsigned i = 0; i < MAILS_EACH; i++) {
        mailbox_send_always(&sender->crowd->box, &sender->letters[i].mail);
    }
    return NULL;
}

/* Takes what is there; each sender's letters come in their order. Returns how many. */
static unsigned take_all(struct crowd *crowd, unsigned *next)
{
    unsigned count = 0;
    for (struct mail *mail = mailbox_take(&crowd->box); mail != NULL; mail = mail->next) {
        const struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
        assert_int_equal(letter->number, next[letter->sender]);
        next[letter->sender]++;
        count++;
    }
    return count;
}

static void many_senders_lose_nothing(void **state)
{
    (void)state;
    struct crowd crowd = {.wake_fd = eventfd(0, 0)};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    unsigned next[SENDERS] = {0};
    mailbox_init(&crowd.box, 1, fd_wake, &crowd);
    for (unsigned s = 0; s < SENDERS; s++) {
        senders[s] = (struct sender){&crowd, calloc(MAILS_EACH, sizeof(struct letter))};
        for (unsigned i = 0; i < MAILS_EACH; i++) {
            senders[s].letters[i].sender = s;
            senders[s].letters[i].number = i;
        }
        assert_int_equal(pthread_create(&threads[s], NULL, sender_main, &senders[s]), 0);
    }
    unsigned count = 0;
    while (count < SENDERS * MAILS_EACH) {
        count += take_all(&crowd, next);
        if (count < SENDERS * MAILS_EACH && mailbox_sleep(&crowd.box)) {
            struct pollfd wait = {.fd = crowd.wake_fd, .events = POLLIN};
            uint64_t woken = 0;
            assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
            assert_int_equal(read(crowd.wake_fd, &woken, sizeof woken), sizeof woken);
        }
    }
    for (unsigned s = 0; s < SENDERS; s++) {
        assert_int_equal(pthread_join(threads[s], NULL), 0);
        assert_int_equal(next[s], MAILS_EACH);
        free(senders[s].letters);
    }
    (void)close(crowd.wake_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_limit),
        cmocka_unit_test(a_sleeper_is_woken_once),
        cmocka_unit_test(many_senders_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
