/*
 * coord/etcd/link.h - the way to etcd: calls and one kind of stream, over any of several servers.
 *
 * A call is repeated until it is answered well: after a pause, on the next server when one is away
 * or silent, and under a fresh token when the old one is refused. So what is asked must be such
 * that doing it twice does no harm, and its answer must tell what came of it. A call that is asked
 * `once` is answered whatever became of it.
 *
 *     call, open -> (etcd_link_turn, sleep until its time or etcd_link_fd) ...
 *
 * All functions given here run inside etcd_link_turn; the network has a thread of its own.
 *
 * Units      _us of the environment's monotonic clock.
 * Ownership  a message is copied; an answer is lent for the call of the function. A call is the
 *            link's and ends with its answer; a stream is the caller's until it closes it or is
 *            told its end.
 * Threads    one at a time, but for the link's own.
 * Limits     ETCD_ENDPOINTS_MAX servers; an answer has at most ETCD_MESSAGE_BYTES_MAX bytes, and of
 *            a stream at most ETCD_STREAM_BYTES_MAX wait for a turn: then it ends.
 */
#ifndef SILO_COORD_ETCD_LINK_H
#define SILO_COORD_ETCD_LINK_H

#include "base/bytes.h"
#include "base/env.h"
#include "base/rc.h"

#define ETCD_ENDPOINTS_MAX 16u
#define ETCD_MESSAGE_BYTES_MAX (32u << 20)
#define ETCD_STREAM_BYTES_MAX (64u << 20)
#define ETCD_PAUSE_US_MIN 50000 /* between two tries of one call, doubled each time */
#define ETCD_PAUSE_US_MAX 1000000
#define ETCD_PATIENCE_US_MAX 5000000 /* for one answer, at most; it begins with the options' */

struct etcd_link_options {
    const struct env *env;
    const char *const *endpoints; /* "http://host:port", "https://host:port" or "host:port" */
    size_t endpoint_count;
    const char *username; /* NULL: etcd asks for none */
    const char *password;
    const char *tls_ca; /* PEM files; NULL: the system's authorities, no certificate of our own */
    const char *tls_cert;
    const char *tls_key;
    const char *tls_name; /* the name that servers prove to have; NULL: that of the endpoint */
    int64_t patience_us;  /* for the answer to a first try */
};

struct etcd_link;

/* INVALID: an endpoint of no known form, or files that cannot be used. Nothing is connected yet. */
SILO_RC etcd_link_new(const struct etcd_link_options *options, struct etcd_link **ret_link,
                      struct silo_err *err);
/* What is not answered never is. NULL is fine. Returns NULL. */
struct etcd_link *etcd_link_free(struct etcd_link *link);

enum etcd_method {
    ETCD_RANGE,
    ETCD_TXN,
    ETCD_LEASE_GRANT,
    ETCD_LEASE_REVOKE,
    ETCD_LEASE_KEEP_ALIVE,
    ETCD_AUTHENTICATE,
};

struct etcd_answer {
    uint32_t status;    /* gRPC; 0: well. Not 0 only of what was asked once */
    struct bytes text;  /* what went wrong */
    struct bytes reply; /* the message */
    int64_t asked_us;   /* when the try that was answered was sent */
};

/* False: it cannot be read, which is like a server that failed. */
typedef bool etcd_answered(void *context, const struct etcd_answer *answer);

/* At most as long as it takes; the context is lent until the answer. */
void etcd_link_call(struct etcd_link *link, enum etcd_method method, struct bytes message,
                    etcd_answered *answered, void *context);
/* One try, on whichever server answers now. */
void etcd_link_call_once(struct etcd_link *link, enum etcd_method method, struct bytes message,
                         etcd_answered *answered, void *context);

/* Takes what came, repeats what is due. Returns when to be called again at the latest. */
int64_t etcd_link_turn(struct etcd_link *link);
/* Readable: turn it. */
int etcd_link_fd(const struct etcd_link *link);
/*
 * OK; UNAVAILABLE with the newest reason; NO_AUTH, DENIED, INVALID: the servers refuse us, and will
 * until somebody changes something.
 */
SILO_RC etcd_link_check(const struct etcd_link *link, struct silo_err *err);

/* --- the watch (link_stream.c) --- */

struct etcd_stream;

struct etcd_stream_ops {
    void (*message)(void *context, struct bytes message);
    /* The last of it; the stream is gone. */
    void (*end)(void *context, uint32_t status, struct bytes text);
};

/* A Watch stream that begins with this message, on the server that is asked now. */
struct etcd_stream *etcd_stream_open(struct etcd_link *link, struct bytes first,
                                     const struct etcd_stream_ops *ops, void *context);
/* Best effort: a stream that is broken says so by its end. */
void etcd_stream_send(struct etcd_stream *stream, struct bytes message);
/* Nothing of it is told any more. NULL is fine. Returns NULL. */
struct etcd_stream *etcd_stream_close(struct etcd_stream *stream);
/*
 * What a stream said shows that its server is of no use, or that the token is not valid: the next
 * one is opened elsewhere, and with another.
 */
void etcd_link_doubt(struct etcd_link *link, bool token);

#endif
