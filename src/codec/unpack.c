/* codec/unpack.c - protobuf-c's two calls as an arena answers them. */
#include "codec/unpack.h"

static void *unpack_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void unpack_release(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

ProtobufCAllocator unpack_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){
        .alloc = unpack_alloc, .free = unpack_release, .allocator_data = arena};
}
