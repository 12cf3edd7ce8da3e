/*
 * rpc/timeout.c - grpc-timeout: one to eight digits and a unit (H M S m u n).
 */
#include "rpc/rpc.h"
#include "rpc/text_int.h"

#define TIMEOUT_DIGITS_MAX 8u
#define TIMEOUT_COUNT_MAX 99999999
#define TIMEOUT_US_MAX (TIMEOUT_COUNT_MAX * INT64_C(3600000000))

static const struct {
    char unit;
    int64_t us;
} timeout_units[] = {
    {'u', 1}, {'m', 1000}, {'S', 1000000}, {'M', 60000000}, {'H', 3600000000},
};

bool timeout_parse(struct bytes value, int64_t *ret_us)
{
    if (value.len < 2 || value.len > TIMEOUT_DIGITS_MAX + 1) {
        return false;
    }
    int64_t count = 0;
    for (size_t i = 0; i + 1 < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') {
            return false;
        }
        count = count * 10 + (value.ptr[i] - '0');
    }
    const char unit = (char)value.ptr[value.len - 1];
    if (unit == 'n') {
        *ret_us = (count + 999) / 1000;
        return true;
    }
    for (size_t i = 0; i < sizeof timeout_units / sizeof timeout_units[0]; i++) {
        if (timeout_units[i].unit == unit) {
            *ret_us = count * timeout_units[i].us;
            return true;
        }
    }
    return false;
}

struct bytes timeout_print(struct arena *arena, int64_t us)
{
    const size_t last = sizeof timeout_units / sizeof timeout_units[0] - 1;
    us = us < 0 ? 0 : us > TIMEOUT_US_MAX ? TIMEOUT_US_MAX : us;
    size_t i = 0;
    while (i < last && (us + timeout_units[i].us - 1) / timeout_units[i].us > TIMEOUT_COUNT_MAX) {
        i++;
    }
    const int64_t count = (us + timeout_units[i].us - 1) / timeout_units[i].us;
    return bytes_str(arena_printf(arena, "%lld%c", (long long)count, timeout_units[i].unit));
}
