/*
 * base/arena.h - memory that is released all at once: the lifetime of one request or one decoded
 * message.
 *
 * Allocation bumps a pointer in the current chunk; blocks larger than ARENA_CHUNK_BYTES get a chunk
 * of their own. arena_reset keeps one ordinary chunk, so that a reused arena allocates nothing for
 * small requests.
 *
 * Ownership  the arena owns all it hands out; a pointer into it must not outlive
 *            arena_reset/arena_deinit.
 * Threads    one at a time; an arena may move with its request from thread to thread.
 * Limits     no bound of its own: the caller bounds the message that fills it.
 */
#ifndef SILO_BASE_ARENA_H
#define SILO_BASE_ARENA_H

#include "base/bytes.h"

#define ARENA_CHUNK_BYTES 4096u

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t bytes;               /* sum of the chunks' sizes */
};

void arena_init(struct arena *arena);
void arena_deinit(struct arena *arena);
void arena_reset(struct arena *arena);

/* 16-byte aligned, never NULL. */
void *arena_alloc(struct arena *arena, size_t size)
    __attribute__((malloc, alloc_size(2), returns_nonnull));
void *arena_zalloc(struct arena *arena, size_t size)
    __attribute__((malloc, alloc_size(2), returns_nonnull));
struct bytes arena_copy(struct arena *arena, struct bytes b);
/* A NUL-terminated copy. */
char *arena_str(struct arena *arena, struct bytes b);
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(arena, type) ((type *)arena_zalloc((arena), sizeof(type)))

#endif
