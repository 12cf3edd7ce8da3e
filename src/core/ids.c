/* core/ids.c - ids from seeds, and the row that reserves arrival numbers. */
#include "core/ids.h"

#include <xxhash.h>

#include "base/limits.h"
#include "core/state.h"

void ids_init(struct core *core, const uint8_t seed[16])
{
    memcpy(core->ids.seed, seed, sizeof core->ids.seed);
}

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
    return id_from_seed(core->ids.seed, core->ids.made++);
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
