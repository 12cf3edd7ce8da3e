/* core/ids.c - ids from seeds, and the row that reserves arrival numbers. */
#include "core/ids.h"

#include <xxhash.h>

#include "base/limits.h"
#include "core/state.h"

struct uuid id_from_seed(const uint8_t seed[16], uint64_t n)
{
    uint8_t bytes[16];
    const uint64_t a = XXH64(seed, 16, 2 * n);
    const uint64_t b = XXH64(seed, 16, 2 * n + 1);
    memcpy(bytes, &a, 8);
    memcpy(bytes + 8, &b, 8);
    return uuid_v4(bytes);
}

struct uuid core_make_id(struct core *core)
{
    return id_from_seed(core->seed, core->ids_made++);
}

uint64_t arrival_next(struct core *core)
{
    if (core->next_arrival == core->reserved_arrival) {
        core->reserved_arrival += ARRIVAL_BLOCK;
        struct key key;
        key_meta(&key, META_ARRIVAL);
        buf_reset(&core->scratch);
        number_encode(&core->scratch, core->reserved_arrival);
        view_put(&core->view, key_bytes(&key), buf_bytes(&core->scratch), false);
    }
    return core->next_arrival++;
}
