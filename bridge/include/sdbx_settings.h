/*
 * sdbx_settings.h - whether the engine takes settings, without opening a database.
 *
 * Ownership  texts are borrowed for the call; the buffers that come out are the caller's
 *            (sdbx_buf_free).
 * Threads    any; needs no environment.
 * Limits     those of JSON.
 */
#ifndef SDBX_SETTINGS_H
#define SDBX_SETTINGS_H

#include "sdbx.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * settings_json as in struct sdbx_open_args, for databases in the store that url names. On failure
 * *ret_err holds what is wrong and *ret_place the dotted place of it, as in
 * "compactor_options.worker.max_fetch_tasks"; empty where no one key is to blame. Both stay
 * untouched on success.
 */
int sdbx_settings_check(const char *url, const char *settings_json, struct sdbx_buf *ret_place,
                        struct sdbx_buf *ret_err);

#ifdef __cplusplus
}
#endif

#endif
