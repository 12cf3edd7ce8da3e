/*
 * sdbx_toml.h - TOML text to JSON text, with the line of every key.
 *
 * Ownership  text is borrowed for the call; the buffers that come out are the caller's
 *            (sdbx_buf_free).
 * Threads    any; needs no environment.
 * Limits     SDBX_TOML_BYTES_MAX bytes of text; nesting as deep as the parser allows (it bounds
 *            itself).
 */
#ifndef SDBX_TOML_H
#define SDBX_TOML_H

#include "sdbx.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SDBX_TOML_BYTES_MAX 4194304u

/*
 * On SDBX_OK *ret_json holds {"value": {...}, "lines": {"server.grpc_addr": 3, ...}}.
 *   value  the document: tables are objects, dates are strings, integers and floats are numbers;
 *          nan and inf become the strings "nan", "inf", "-inf" (JSON has none).
 *   lines  one entry per key: dotted path to line (from 1). Elements of arrays are "a[0]",
 *          "a[0].name". Tables have the line of their header or first key. A key that is not a bare
 *          key (letters, digits, _ and -) stands in the path as a JSON string: a."b.c"
 * On SDBX_EINVAL *ret_err holds "line L, column C: message" and *ret_line, *ret_column (may be
 * NULL) the place. *ret_err stays untouched on success, *ret_json on failure.
 */
int sdbx_toml_to_json(const char *text, size_t text_len, struct sdbx_buf *ret_json,
                      struct sdbx_buf *ret_err, uint32_t *ret_line, uint32_t *ret_column);

#ifdef __cplusplus
}
#endif

#endif
