/*
 * config/testing_int.h - a made-up environment for the tests of this module.
 */
#ifndef SILO_CONFIG_TESTING_INT_H
#define SILO_CONFIG_TESTING_INT_H

#include "base/test.h"
#include "config/keys_int.h"

/* Pairs of name and value, ended by a NULL name. */
static inline const char *pairs_get(void *context, const char *name)
{
    for (const char *const *at = context; at != NULL && at[0] != NULL; at += 2) {
        if (strcmp(at[0], name) == 0) {
            return at[1];
        }
    }
    return NULL;
}

static inline struct config_env pairs_env(const char *const *pairs)
{
    return (struct config_env){.get = pairs_get, .context = (void *)pairs};
}

#endif
