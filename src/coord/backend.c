/* coord/backend.c - the table of coordinators. */
#include "coord/backend.h"

#include <string.h>

#include "coord/etcd/etcd.h"
#include "coord/none/none.h"

static const struct {
    const char *name;
    silo_rc (*make)(const struct coord_options *options, struct coord **ret_coord,
                    struct silo_err *err);
} backends[] = {
    {"none", coord_none_new},
    {"etcd", coord_etcd_new},
};

SILO_RC coord_new(const char *backend, const struct coord_options *options,
                  struct coord **ret_coord, struct silo_err *err)
{
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        if (strcmp(backends[i].name, backend) == 0) {
            return backends[i].make(options, ret_coord, err);
        }
    }
    return FAIL(err, SILO_UNIMPLEMENTED, "coordination.backend: this build has no \"%.64s\"",
                backend);
}
