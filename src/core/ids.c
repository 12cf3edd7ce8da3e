/* core/ids.c - ids of the core's own making, and the row that reserves arrival numbers. */
#include "core/ids.h"

#include "base/limits.h"
#include "core/state.h"

void ids_init(struct core *core, const uint8_t seed[16])
{
    memcpy(core->ids.seed, seed, sizeof core->ids.seed);
}

struct uuid core_make_id(struct core *core)
{
    return uuid_from_seed(core->ids.seed, core->ids.made++);
}

uint64_t arrival_next(struct core *core)
{
    if (core->ids.next_arrival == core->ids.reserved_arrival) {
        core->ids.reserved_arrival += ARRIVAL_BLOCK;
        struct key key;
        key_meta(&key, META_ARRIVAL);
        buf_reset(&core->scratch);
        number_encode(&core->scratch, core->ids.reserved_arrival);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
    return core->ids.next_arrival++;
}
