/*
 * base/rc.h - the one way a call in this program says how it went.
 *
 * A function that can fail returns SILO_RC (a struct, so it never mixes with a count or a
 * descriptor) and fills the caller's struct silo_err on failure only. Programs branch on the code;
 * people read the text. One table (SILO_CODES) gives each code its gRPC status and its name.
 *
 * Ownership  struct silo_err is the caller's storage and may be NULL; `where` is static storage.
 * Threads    no shared state.
 * Limits     SILO_ERR_TEXT_MAX bytes of text; longer texts are cut.
 */
#ifndef SILO_BASE_RC_H
#define SILO_BASE_RC_H

#include <stdbool.h>
#include <stdint.h>

#define SILO_ERR_TEXT_MAX 512

/*
 * Code, gRPC status number, name. ROUTED_WRONG is between service and shards: a caller is never
 * told it.
 */
#define SILO_CODES(X)                         \
    X(OK, 0, "ok")                            \
    X(INVALID, 3, "invalid argument")         \
    X(NOT_FOUND, 5, "not found")              \
    X(NOT_OWNER, 5, "not owner")              \
    X(EXISTS, 6, "already exists")            \
    X(PRECONDITION, 9, "failed precondition") \
    X(EXHAUSTED, 8, "resource exhausted")     \
    X(CONFLICT, 10, "aborted")                \
    X(OUT_OF_RANGE, 11, "out of range")       \
    X(UNIMPLEMENTED, 12, "unimplemented")     \
    X(UNAVAILABLE, 14, "unavailable")         \
    X(DEADLINE, 4, "deadline exceeded")       \
    X(CANCELLED, 1, "cancelled")              \
    X(NO_AUTH, 16, "unauthenticated")         \
    X(DENIED, 7, "permission denied")         \
    X(CORRUPT, 15, "data loss")               \
    X(INTERNAL, 13, "internal")               \
    X(ROUTED_WRONG, 14, "routed wrong")

enum silo_code {
#define SILO_CODE_ENUM(name, grpc, text) SILO_##name,
    SILO_CODES(SILO_CODE_ENUM)
#undef SILO_CODE_ENUM
};

typedef struct {
    enum silo_code code;
} silo_rc;

#define SILO_RC __attribute__((warn_unused_result)) silo_rc
#define RC_OK ((silo_rc){SILO_OK})

struct silo_err {
    enum silo_code code;
    const char *where; /* file:line of the first failure */
    char text[SILO_ERR_TEXT_MAX];
};

#define SILO_STR2(x) #x
#define SILO_STR(x) SILO_STR2(x)
#define SILO_WHERE __FILE__ ":" SILO_STR(__LINE__)

/* Fills err (if not NULL) and returns the code as a silo_rc. */
silo_rc silo_fail(struct silo_err *err, enum silo_code code, const char *where, const char *fmt,
                  ...) __attribute__((format(printf, 4, 5)));
#define FAIL(err, code, ...) silo_fail((err), (code), SILO_WHERE, __VA_ARGS__)

#define TRY(call)                       \
    do {                                \
        const silo_rc try_rc_ = (call); \
        if (try_rc_.code != SILO_OK)    \
            return try_rc_;             \
    } while (0)

#define AUTO(free_fn) __attribute__((cleanup(free_fn)))
#define STEAL(p)                    \
    ({                              \
        __typeof__(p) steal_ = (p); \
        (p) = NULL;                 \
        steal_;                     \
    })

/* Spells out that a result is ignored, and why. */
static inline void rc_ignore(silo_rc rc, const char *why)
{
    (void)rc;
    (void)why;
}

/* gRPC status number of a code. */
uint32_t silo_code_grpc(enum silo_code code);
/* Short lower-case name, for logs. Static storage. */
const char *silo_code_name(enum silo_code code);
/* gRPC's own upper-snake name of a status number, "UNKNOWN" for others. Static storage. */
const char *grpc_status_name(uint32_t status);

#endif
