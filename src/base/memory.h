/*
 * base/memory.h - the allocator as a server wants it: what was freed goes back to the system.
 *
 * By default the C library learns to keep blocks of up to 32 MiB once one of them was freed, so
 * that a burst of large payloads stays with the process for good.
 *
 * Threads    memory_init before the first thread starts; memory_give_back any.
 */
#ifndef SILO_BASE_MEMORY_H
#define SILO_BASE_MEMORY_H

/* Blocks from here up are mapped one by one, and unmapped when freed. */
#define MEMORY_BLOCK_BYTES (512 << 10)
/* Free at the end of a heap: kept, so that it need not be asked for anew. */
#define MEMORY_KEEP_BYTES (16 << 20)

/* Once, first thing in main. */
void memory_init(void);
/*
 * Returns what is free inside the heaps. Takes milliseconds to some tenths of a second: not for a
 * thread others wait for.
 */
void memory_give_back(void);

#endif
