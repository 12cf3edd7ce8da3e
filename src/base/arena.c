/* base/arena.c - chunks in a list, the newest in use. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* usable bytes */
    size_t used;
    size_t pad;
    uint8_t data[];
};
_Static_assert(sizeof(struct arena_chunk) % 16 == 0, "chunk data must stay 16-byte aligned");

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

void arena_deinit(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *arena = (struct arena){0};
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *keep = NULL;
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        if (keep == NULL && chunk->size == ARENA_CHUNK_BYTES) {
            keep = chunk;
        } else {
            free(chunk);
        }
        chunk = next;
    }
    *arena = (struct arena){.chunks = keep, .bytes = keep != NULL ? keep->size : 0};
    if (keep != NULL) {
        keep->next = NULL;
        keep->used = 0;
    }
}

static struct arena_chunk *arena_grow(struct arena *arena, size_t size)
{
    const size_t usable = size > ARENA_CHUNK_BYTES ? size : ARENA_CHUNK_BYTES;
    struct arena_chunk *chunk = xmalloc(sizeof *chunk + usable);
    chunk->size = usable;
    chunk->used = 0;
    arena->bytes += usable;
    if (size > ARENA_CHUNK_BYTES && arena->chunks != NULL) {
        /* A block of its own goes second: the chunk in use keeps serving small requests. */
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    } else {
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    ASSERT(size <= SIZE_MAX / 2);
    const size_t need = (size + 15) & ~(size_t)15;
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->size - chunk->used < need) {
        chunk = arena_grow(arena, need);
    }
    void *p = chunk->data + chunk->used;
    chunk->used += need;
    return p;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

struct bytes arena_copy(struct arena *arena, struct bytes b)
{
    if (b.len == 0) {
        return (struct bytes){(const uint8_t *)"", 0};
    }
    return bytes_of(memcpy(arena_alloc(arena, b.len), b.ptr, b.len), b.len);
}

char *arena_str(struct arena *arena, struct bytes b)
{
    char *text = arena_alloc(arena, b.len + 1);
    if (b.len != 0) {
        memcpy(text, b.ptr, b.len);
    }
    text[b.len] = '\0';
    return text;
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    const int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(len >= 0);
    char *text = arena_alloc(arena, (size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    return text;
}
