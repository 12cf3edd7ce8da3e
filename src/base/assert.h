/*
 * base/assert.h - checks of our own invariants. ASSERT stays on in release builds: a process that
 * is wrong stops before it writes. ASSERT_SLOW walks whole structures, in debug builds and
 * simulation. Bytes from outside are never asserted. xmalloc and its kin end the process when
 * memory runs out: no code of ours goes on half done.
 */
#ifndef SILO_BASE_ASSERT_H
#define SILO_BASE_ASSERT_H

#include <stdlib.h>

_Noreturn void assert_failed(const char *what, const char *where);

#define ASSERT_STR2(x) #x
#define ASSERT_STR(x) ASSERT_STR2(x)
#define ASSERT(cond)                                                 \
    do {                                                             \
        if (__builtin_expect(!(cond), 0)) {                          \
            assert_failed(#cond, __FILE__ ":" ASSERT_STR(__LINE__)); \
        }                                                            \
    } while (0)

#ifdef SILO_SLOW_CHECKS
#define ASSERT_SLOW(cond) ASSERT(cond)
#else
#define ASSERT_SLOW(cond) ((void)sizeof(cond))
#endif

/* Allocation that cannot fail: out of memory ends the process. */
void *xmalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
void *xrealloc(void *old, size_t size) __attribute__((alloc_size(2), returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));

#endif
