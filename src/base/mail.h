/*
 * base/mail.h - the link by which a message travels through a mailbox (base/mailbox.h), for those
 * who declare messages and send none.
 *
 * Threads    no shared state.
 */
#ifndef SILO_BASE_MAIL_H
#define SILO_BASE_MAIL_H

struct mail {
    struct mail *next;
};

#endif
