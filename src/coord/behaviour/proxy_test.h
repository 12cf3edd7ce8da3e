/*
 * coord/behaviour/proxy_test.h - a server before etcd that carries calls over, and loses the answer
 * to a transaction, or keeps it for a while, when it is told to.
 *
 * It carries single calls and the Watch stream. A lost answer is an UNAVAILABLE after the
 * transaction was carried out.
 *
 * Threads    proxy_lose, proxy_keep, proxy_let: any; the rest one.
 */
#ifndef SILO_COORD_BEHAVIOUR_PROXY_TEST_H
#define SILO_COORD_BEHAVIOUR_PROXY_TEST_H

struct proxy;

/* Of an etcd at http://host:port. Aborts when it cannot be. */
struct proxy *proxy_new(const char *endpoint);
/* Returns NULL. */
struct proxy *proxy_free(struct proxy *proxy);
/* "host:port"; lent. */
const char *proxy_endpoint(const struct proxy *proxy);
/* The answer to the next transaction that changes something is lost. */
void proxy_lose(struct proxy *proxy);
/* The answer to the next transaction is kept until it is let go; one at a time. */
void proxy_keep(struct proxy *proxy);
void proxy_let(struct proxy *proxy);

#endif
