/*
 * coord/etcd/link_stream.c - a Watch stream: what it says is carried to the turn in order.
 *
 * A stream has two halves. The loop's half is the request; it ends once, with on_done. The turn's
 * half is told so, and only then is the stream freed, by a message to the loop that comes after all
 * others about it.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "coord/etcd/link_int.h"

struct etcd_stream {
    struct list_node node; /* link.streams */
    struct etcd_link *link;
    struct rpc_channel *channel;
    struct rpc_request request;
    struct rpc_header headers[LINK_HEADERS];
    char *token;
    uint8_t *first;
    const struct etcd_stream_ops *ops;
    void *context;
    bool closed;                 /* the turn's: nothing is told any more */
    bool over;                   /* the loop's: on_done ran */
    atomic_size_t waiting_bytes; /* came, and no turn has taken them yet */
    struct link_arrival end;
    uint32_t status;
    char text[256];
    size_t text_len;
    struct rpc_mail last;
};

struct stream_message {
    struct link_arrival arrival;
    struct etcd_stream *stream;
    size_t len;
    uint8_t bytes[];
};

struct stream_order {
    struct rpc_mail mail;
    struct etcd_stream *stream;
    bool close;
    size_t len;
    uint8_t bytes[];
};

/* --- from the loop --- */

static void message_take(struct link_arrival *arrival)
{
    struct stream_message *message = CONTAINER_OF(arrival, struct stream_message, arrival);
    struct etcd_stream *stream = message->stream;
    atomic_fetch_sub(&stream->waiting_bytes, message->len);
    if (!stream->closed) {
        stream->ops->message(stream->context, bytes_of(message->bytes, message->len));
    }
    free(message);
}

static void stream_free(struct rpc_mail *mail)
{
    struct etcd_stream *stream = CONTAINER_OF(mail, struct etcd_stream, last);
    free(stream->token);
    free(stream->first);
    free(stream);
}

static void end_take(struct link_arrival *arrival)
{
    struct etcd_stream *stream = CONTAINER_OF(arrival, struct etcd_stream, end);
    list_remove(&stream->node);
    if (!stream->closed) {
        stream->ops->end(stream->context, stream->status, bytes_of(stream->text, stream->text_len));
    }
    stream->last.run = stream_free;
    rpc_loop_post(stream->link->loop, &stream->last);
}

/* --- on the loop --- */

static void stream_message_came(struct rpc_request *request, struct bytes message)
{
    struct etcd_stream *stream = CONTAINER_OF(request, struct etcd_stream, request);
    if (atomic_fetch_add(&stream->waiting_bytes, message.len) + message.len >
        ETCD_STREAM_BYTES_MAX) {
        rpc_channel_cancel(stream->channel, request);
        return;
    }
    struct stream_message *copy = xmalloc(sizeof *copy + message.len);
    *copy =
        (struct stream_message){.arrival.take = message_take, .stream = stream, .len = message.len};
    memcpy(copy->bytes, message.ptr, message.len);
    link_arrive(stream->link, &copy->arrival);
}

static void stream_done(struct rpc_request *request)
{
    struct etcd_stream *stream = CONTAINER_OF(request, struct etcd_stream, request);
    stream->over = true;
    stream->status = request->status;
    stream->text_len =
        request->text.len < sizeof stream->text ? request->text.len : sizeof stream->text;
    if (stream->text_len > 0) {
        memcpy(stream->text, request->text.ptr, stream->text_len);
    }
    stream->end.take = end_take;
    link_arrive(stream->link, &stream->end);
}

static void order_run(struct rpc_mail *mail)
{
    struct stream_order *order = CONTAINER_OF(mail, struct stream_order, mail);
    struct etcd_stream *stream = order->stream;
    if (!stream->over && order->close) {
        rpc_channel_cancel(stream->channel, &stream->request);
    } else if (!stream->over) {
        rc_ignore(rpc_channel_send(&stream->request, bytes_of(order->bytes, order->len), NULL),
                  "a stream that takes nothing says nothing, which its reader notices");
    }
    free(order);
}

/* --- the turn's --- */

static void order_post(struct etcd_stream *stream, bool close, struct bytes message)
{
    struct stream_order *order = xmalloc(sizeof *order + message.len);
    *order = (struct stream_order){
        .mail.run = order_run, .stream = stream, .close = close, .len = message.len};
    if (message.len > 0) {
        memcpy(order->bytes, message.ptr, message.len);
    }
    rpc_loop_post(stream->link->loop, &order->mail);
}

struct etcd_stream *etcd_stream_open(struct etcd_link *link, struct bytes first,
                                     const struct etcd_stream_ops *ops, void *context)
{
    struct etcd_stream *stream = xcalloc(1, sizeof *stream);
    stream->link = link;
    stream->channel = link->endpoints[link->current].channel;
    stream->ops = ops;
    stream->context = context;
    stream->first = xmalloc(first.len + 1);
    memcpy(stream->first, first.ptr, first.len);
    list_push_back(&link->streams, &stream->node);
    const size_t headers = link_headers(link, &stream->token, stream->headers);
    stream->request = (struct rpc_request){.path = "/etcdserverpb.Watch/Watch",
                                           .message = bytes_of(stream->first, first.len),
                                           .goes_on = true,
                                           .headers = stream->headers,
                                           .header_count = headers,
                                           .on_message = stream_message_came,
                                           .on_done = stream_done};
    rpc_channel_call(stream->channel, &stream->request);
    return stream;
}

void etcd_stream_send(struct etcd_stream *stream, struct bytes message)
{
    order_post(stream, false, message);
}

struct etcd_stream *etcd_stream_close(struct etcd_stream *stream)
{
    if (stream != NULL && !stream->closed) {
        stream->closed = true;
        order_post(stream, true, BYTES_NONE);
    }
    return NULL;
}

void link_stream_drop(struct list_node *node)
{
    struct etcd_stream *stream = CONTAINER_OF(node, struct etcd_stream, node);
    list_remove(node);
    (void)etcd_stream_close(stream);
}
