/* base/memory.c - glibc's settings. */
#include "base/memory.h"

#include <malloc.h>

void memory_init(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, MEMORY_BLOCK_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, MEMORY_KEEP_BYTES);
}

void memory_give_back(void)
{
    (void)malloc_trim(0);
}
