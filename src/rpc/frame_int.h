/*
 * rpc/frame_int.h - gRPC's five-byte framing, reading and writing.
 *
 * A reader takes bytes as they come and puts one message together. Small messages go into the arena
 * of the call; large ones into a block that grows with what has arrived, never to what a peer
 * merely announces. A queue holds messages to be sent, in pieces that stay where they lie until
 * they are copied into the output.
 *
 * Ownership  the reader owns its large block until frame_reader_deinit; queued pieces are released
 *            exactly once.
 * Threads    the loop's.
 * Limits     bytes_max a message; FRAME_SMALL_BYTES decides where it lies.
 */
#ifndef SILO_RPC_FRAME_INT_H
#define SILO_RPC_FRAME_INT_H

#include "rpc/rpc.h"

#define FRAME_PREFIX_BYTES 5u
#define FRAME_SMALL_BYTES (32u << 10)

enum frame_result {
    FRAME_MORE,       /* all input taken, message not whole */
    FRAME_DONE,       /* one message is whole; the rest of the input was not looked at */
    FRAME_TOO_LARGE,  /* announced length above bytes_max */
    FRAME_COMPRESSED, /* flag 1 */
    FRAME_BAD,        /* any other flag */
};

struct frame_reader {
    size_t bytes_max;
    struct arena *arena; /* for small messages; NULL: always a block */
    uint8_t prefix[FRAME_PREFIX_BYTES];
    uint8_t prefix_len;
    uint8_t *ptr;
    size_t len;
    size_t want;
    size_t cap;
    uint8_t *block; /* ptr when it is malloc'ed */
};

void frame_reader_init(struct frame_reader *reader, size_t bytes_max, struct arena *arena);
void frame_reader_deinit(struct frame_reader *reader);
/* Takes from *input and moves it on. */
enum frame_result frame_read(struct frame_reader *reader, struct bytes *input);
/* After FRAME_DONE: the message, lent until the next frame_next or deinit. */
struct bytes frame_message(const struct frame_reader *reader);
/* Ready for the next message; the block of the last one is kept for it if it is a small one. */
void frame_next(struct frame_reader *reader);
/* Whether input ended inside a message. */
bool frame_partial(const struct frame_reader *reader);

struct frame_out; /* one message on its way */

struct frame_queue {
    struct frame_out *first, *last;
    size_t bytes; /* framed bytes not yet taken */
    /* of messages of which a byte is not yet taken: their memory is held whole */
    size_t held_bytes;
};

/*
 * Queues one message. arena: where the bookkeeping lies; NULL = the heap. copy: take a copy of the
 * bytes (and release the pieces as sent at once).
 */
void frame_queue_push(struct frame_queue *queue, struct arena *arena,
                      const struct rpc_piece *pieces, size_t count, bool copy);
/* Copies the next `len` bytes (at most queue->bytes) out. */
void frame_queue_take(struct frame_queue *queue, uint8_t *to, size_t len);
/* Drops what is left; its pieces are released as not sent. */
void frame_queue_clear(struct frame_queue *queue);

#endif
