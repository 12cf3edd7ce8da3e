/*
 * codec/unpack.h - the allocator with which protobuf-c unpacks a message into an arena.
 *
 * Ownership  the arena's: what is unpacked goes with it, and nothing is freed before.
 * Threads    the arena's.
 * Limits     the caller's; an unpacked message takes more than its bytes.
 */
#ifndef SILO_CODEC_UNPACK_H
#define SILO_CODEC_UNPACK_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

ProtobufCAllocator unpack_allocator(struct arena *arena);

#endif
