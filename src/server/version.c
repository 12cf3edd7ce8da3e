/*
 * server/version.c - the one file that is compiled again for every commit.
 */
#include "server/version.h"

#include <stdio.h>

#include "sdbx.h"
#include "silo_commit.h"

struct version version_get(void)
{
    return (struct version){.number = SILO_VERSION,
                            .commit = SILO_COMMIT,
                            .engine = sdbx_engine_version(),
                            .build = SILO_BUILD_TYPE};
}

void version_print(void)
{
    const struct version version = version_get();
    (void)printf("silo %s\ncommit %s\nengine %s\nbuild %s\n", version.number, version.commit,
                 version.engine, version.build);
}
