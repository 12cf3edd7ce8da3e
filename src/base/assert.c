/* base/assert.c - how a broken invariant or an exhausted heap ends the process. */
#include "base/assert.h"

#include <stdio.h>
#include <string.h>

_Noreturn void assert_failed(const char *what, const char *where)
{
    (void)fprintf(stderr, "silo: invariant broken at %s: %s\n", where, what);
    abort();
}

static void *alloc_checked(void *p)
{
    if (p == NULL) {
        (void)fputs("silo: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *xmalloc(size_t size)
{
    return alloc_checked(malloc(size != 0 ? size : 1));
}

void *xcalloc(size_t count, size_t size)
{
    return alloc_checked(calloc(count != 0 ? count : 1, size != 0 ? size : 1));
}

void *xrealloc(void *old, size_t size)
{
    return alloc_checked(realloc(old, size != 0 ? size : 1));
}

char *xstrdup(const char *text)
{
    const size_t size = strlen(text) + 1;
    return memcpy(xmalloc(size), text, size);
}
