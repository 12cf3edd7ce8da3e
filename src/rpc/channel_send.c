/*
 * rpc/channel_send.c - a request that goes on: more messages, then its end.
 *
 * nghttp2 asks for data until there is none and is then deferred; whatever is added here resumes
 * it. Messages are copied to the heap, one by one, and freed as they leave, so a stream that lives
 * for weeks holds no more than what waits to be sent.
 */
#include "rpc/channel_int.h"

static void stream_resume(struct client_stream *stream)
{
    struct conn *conn = &stream->conn->conn;
    /* It fails when the stream is not deferred: then its data is asked for anyway. */
    (void)nghttp2_session_resume_data(conn->session, stream->id);
    conn_dirty(conn);
}

SILO_RC rpc_channel_send(struct rpc_request *request, struct bytes message, struct silo_err *err)
{
    struct client_stream *stream = request->own.stream;
    if (stream == NULL) {
        return FAIL(err, SILO_UNAVAILABLE, "the call has no connection yet");
    }
    if (!stream->goes_on) {
        return FAIL(err, SILO_PRECONDITION, "the request has ended");
    }
    if (stream->queue.held_bytes + message.len > RPC_SEND_QUEUE_BYTES) {
        return FAIL(err, SILO_EXHAUSTED, "too many bytes of the request wait to be sent");
    }
    const struct rpc_piece piece = {.bytes = message};
    frame_queue_push(&stream->queue, NULL, &piece, 1, true);
    request->own.sent_more = true;
    stream_resume(stream);
    return RC_OK;
}

void rpc_channel_end(struct rpc_request *request)
{
    struct client_stream *stream = request->own.stream;
    request->goes_on = false; /* of a call that has no connection yet */
    if (stream != NULL && stream->goes_on) {
        stream->goes_on = false;
        stream_resume(stream);
    }
}
