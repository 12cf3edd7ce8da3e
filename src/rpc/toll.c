/* rpc/toll.c - allowances that come back with time, which is that of the loop's turn. */
#include "rpc/toll_int.h"

#include <stddef.h>

#define SECOND_US 1000000
#define REFILL_US_MAX (3600ll * SECOND_US) /* brings back all of every kind */

static const struct {
    uint32_t burst, rate;
    const char *name;
} tolls[TOLL_KINDS] = {
    [TOLL_SETTINGS] = {TOLL_SETTINGS_BURST, TOLL_SETTINGS_RATE, "SETTINGS"},
    [TOLL_PING] = {TOLL_PING_BURST, TOLL_PING_RATE, "PING"},
    [TOLL_RESET] = {TOLL_RESET_BURST, TOLL_RESET_RATE, "resets"},
    [TOLL_WINDOW] = {TOLL_WINDOW_BURST, TOLL_WINDOW_RATE, "WINDOW_UPDATE"},
    [TOLL_PRIORITY] = {TOLL_PRIORITY_BURST, TOLL_PRIORITY_RATE, "PRIORITY"},
    [TOLL_EMPTY] = {TOLL_EMPTY_BURST, TOLL_EMPTY_RATE, "empty DATA"},
    [TOLL_HEADERS] = {TOLL_HEADERS_BURST, TOLL_HEADERS_RATE, "too large headers"},
    [TOLL_KEYS] = {TOLL_KEYS_BURST, TOLL_KEYS_RATE, "new TLS keys"},
    [TOLL_OTHER] = {TOLL_OTHER_BURST, TOLL_OTHER_RATE, "other frames"},
};

void toll_init(struct toll *toll, int64_t now_us)
{
    toll->at_us = now_us;
    for (size_t i = 0; i < TOLL_KINDS; i++) {
        toll->left[i] = tolls[i].burst;
    }
}

void toll_give(struct toll *toll, enum toll_kind kind, uint32_t count)
{
    const uint32_t room = tolls[kind].burst - toll->left[kind];
    toll->left[kind] += count < room ? count : room;
}

/* At least a tenth of a second's worth at a time, so that rounding loses little. */
static void toll_refill(struct toll *toll, int64_t now_us)
{
    int64_t passed_us = now_us - toll->at_us;
    if (passed_us < SECOND_US / 10) {
        return;
    }
    passed_us = passed_us < REFILL_US_MAX ? passed_us : REFILL_US_MAX;
    toll->at_us = now_us;
    for (size_t i = 0; i < TOLL_KINDS; i++) {
        const int64_t back = passed_us / 1000 * tolls[i].rate / 1000;
        toll_give(toll, (enum toll_kind)i, back < UINT32_MAX ? (uint32_t)back : UINT32_MAX);
    }
}

bool toll_take(struct toll *toll, enum toll_kind kind, int64_t now_us)
{
    toll_refill(toll, now_us);
    if (toll->left[kind] == 0) {
        return false;
    }
    toll->left[kind]--;
    return true;
}

const char *toll_name(enum toll_kind kind)
{
    return tolls[kind].name;
}
