/* query/pager.c - see pager_int.h. */
#include "query/pager_int.h"

SILO_RC pager_init(struct pager *pager, struct snapshot *snapshot, struct bytes cursor,
                   uint32_t listing, const struct page_limits *limits, struct arena *arena,
                   struct silo_err *err)
{
    *pager = (struct pager){
        .snapshot = snapshot,
        .arena = arena,
        .rows_max = limits->rows_max,
        .bytes_max = limits->bytes_max != 0 ? limits->bytes_max : JOBS_PAGE_BYTES_DEFAULT,
    };
    buf_init(&pager->at_suffix, KEY_BYTES_MAX);
    if (limits->rows_max == 0 || limits->rows_max > JOBS_PAGE_MAX) {
        return FAIL(err, SILO_INVALID, "a page has 1 to %u rows", JOBS_PAGE_MAX);
    }
    return cursor_decode(cursor, listing, &pager->from, err);
}

void pager_deinit(struct pager *pager)
{
    ranges_deinit(&pager->ranges);
    buf_deinit(&pager->at_suffix);
}

void pager_at(struct pager *pager, uint64_t tag, struct bytes suffix)
{
    pager->begun = true;
    pager->at_tag = tag;
    buf_reset(&pager->at_suffix);
    buf_append(&pager->at_suffix, suffix.ptr, suffix.len);
}

SILO_RC pager_cursor(struct pager *pager, struct bytes *ret_cursor, struct silo_err *err)
{
    struct range *range = NULL;
    TRY(ranges_peek(&pager->ranges, &range, err));
    *ret_cursor = BYTES_NONE;
    if (range != NULL && pager->begun) {
        const struct cursor cursor = {.listing = pager->from.listing,
                                      .tag = pager->at_tag,
                                      .suffix = buf_bytes(&pager->at_suffix)};
        *ret_cursor = cursor_encode(pager->arena, &cursor);
    }
    return RC_OK;
}
