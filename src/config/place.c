/*
 * config/place.c - from backend and path template to a store and a path within it.
 *
 *   template                      store (url)                     shard_path
 *   ./silo-data/%shard%           file:///cwd/silo-data           %shard%
 *   s3://bucket/silo/{shard}/db   s3://bucket/silo                %shard%/db
 *   gs://bucket/silo              gs://bucket/silo                %shard%
 *   anything  (memory)            memory:///anything              %shard%
 *
 * All shards of a template share one store root, which is what a later split of a shard needs:
 * parent and children refer to each other by relative path. The placeholder is a whole path
 * segment; `fs` must have one.
 */
#include "base/assert.h"
#include "config/keys_int.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"

#define PLACE_BYTES_MAX 4096u

/* The first placeholder in text: where it begins and how long it is; NULL if there is none. */
static const char *placeholder_find(const char *text, size_t *ret_len)
{
    const char *percent = strstr(text, "%shard%");
    const char *brace = strstr(text, "{shard}");
    *ret_len = strlen("%shard%");
    if (percent == NULL || (brace != NULL && brace < percent)) {
        return brace;
    }
    return percent;
}

static const char *arena_span(struct arena *arena, const char *from, const char *to)
{
    return arena_str(arena, bytes_of(from, (size_t)(to - from)));
}

/* A path as it stands in a URL: everything but unreserved characters and '/' is percent-encoded. */
static const char *url_path(struct arena *arena, const char *scheme, const char *path)
{
    struct buf out;
    buf_init(&out, 4 * PLACE_BYTES_MAX);
    buf_append(&out, scheme, strlen(scheme));
    ASSERT(path != NULL);
    for (const char *at = path; *at != '\0'; at++) {
        if (isalnum((unsigned char)*at) || strchr("/-._~", *at) != NULL) {
            buf_append(&out, at, 1);
        } else {
            buf_printf(&out, "%%%02X", (unsigned)(unsigned char)*at);
        }
    }
    const char *result = arena_str(arena, buf_bytes(&out));
    buf_deinit(&out);
    return result;
}

/*
 * An absolute form of path without "." and doubled or trailing slashes; ".." is kept for the system
 * to resolve.
 */
static const char *absolute_path(struct arena *arena, const char *path, struct silo_err *err)
{
    char cwd[PLACE_BYTES_MAX] = "";
    if (*path != '/' && getcwd(cwd, sizeof cwd) == NULL) {
        rc_ignore(FAIL(err, SILO_INVALID, "cannot tell the current directory: %s", strerror(errno)),
                  "NULL says it");
        return NULL;
    }
    struct buf out;
    buf_init(&out, 2 * PLACE_BYTES_MAX);
    buf_append(&out, cwd, strcmp(cwd, "/") == 0 ? 0 : strlen(cwd));
    while (*path != '\0') {
        path += strspn(path, "/");
        const size_t len = strcspn(path, "/");
        if (len != 0 && !(len == 1 && *path == '.')) {
            buf_append(&out, "/", 1);
            buf_append(&out, path, len);
        }
        path += len;
    }
    if (out.len == 0) {
        buf_append(&out, "/", 1);
    }
    const char *result = arena_str(arena, buf_bytes(&out));
    buf_deinit(&out);
    return result;
}

static SILO_RC scheme_check(enum config_backend backend, const char *path, const char *prefix,
                            struct silo_err *err)
{
    const char *scheme = backend == CONFIG_S3 ? "s3://" : backend == CONFIG_GCS ? "gs://" : NULL;
    if (scheme != NULL && (strncmp(path, scheme, 5) != 0 || path[5] == '\0' || path[5] == '/')) {
        return FAIL(err, SILO_INVALID,
                    "%s.path must look like %sbucket/prefix/%%shard%%, not \"%s\"", prefix, scheme,
                    path);
    }
    if (backend == CONFIG_URL && strstr(path, "://") == NULL) {
        return FAIL(err, SILO_INVALID, "%s.path must be a URL for the backend url, not \"%s\"",
                    prefix, path);
    }
    /* As URLs these would go unlocked, and be written as if every request cost money. */
    if (backend == CONFIG_URL &&
        (strncasecmp(path, "file:", 5) == 0 || strncasecmp(path, "memory:", 7) == 0)) {
        return FAIL(err, SILO_INVALID,
                    "%s.path must not be a URL of this machine for the backend url; "
                    "set %s.backend = \"%s\" and a plain path instead of \"%s\"",
                    prefix, prefix, tolower((unsigned char)*path) == 'f' ? "fs" : "memory", path);
    }
    if (backend == CONFIG_FS && strstr(path, "://") != NULL) {
        const bool is_s3 = strncmp(path, "s3://", 5) == 0;
        if (is_s3 || strncmp(path, "gs://", 5) == 0) {
            return FAIL(err, SILO_INVALID,
                        "%s.path must be a directory for the backend fs, not \"%s\"; for that "
                        "bucket set %s.backend = \"%s\"",
                        prefix, path, prefix, is_s3 ? "s3" : "gcs");
        }
        return FAIL(err, SILO_INVALID, "%s.path must be a directory for the backend fs, not \"%s\"",
                    prefix, path);
    }
    return RC_OK;
}

/* Splits the template into what is before the placeholder and the path from it on. */
static SILO_RC template_split(struct arena *arena, enum config_backend backend, const char *path,
                              const char *prefix, const char **ret_root,
                              const char **ret_shard_path, struct silo_err *err)
{
    size_t len = 0;
    const char *mark = placeholder_find(path, &len);
    if (mark == NULL) {
        if (backend == CONFIG_FS) {
            return FAIL(err, SILO_INVALID,
                        "%s.path must hold %%shard%% or {shard} as a whole segment, "
                        "such as \"/var/lib/silo/%%shard%%\"; \"%s\" has none",
                        prefix, path);
        }
        *ret_root = path;
        *ret_shard_path = "%shard%";
        return RC_OK;
    }
    const char *after = mark + len;
    size_t again_len = 0;
    const bool starts = mark == path || mark[-1] == '/';
    if (backend != CONFIG_MEMORY && (!starts || (*after != '\0' && *after != '/'))) {
        return FAIL(err, SILO_INVALID,
                    "%s.path: the placeholder must be a whole path segment (\"foo/%%shard%%\", not "
                    "\"foo/x-%%shard%%\"); got \"%s\"",
                    prefix, path);
    }
    if (placeholder_find(after, &again_len) != NULL) {
        return FAIL(err, SILO_INVALID, "%s.path holds the placeholder more than once: \"%s\"",
                    prefix, path);
    }
    const char *rest = *after == '/' ? after + 1 : after;
    *ret_root = arena_span(arena, path, mark);
    *ret_shard_path = *rest != '\0' ? arena_printf(arena, "%%shard%%/%s", rest) : "%shard%";
    return RC_OK;
}

SILO_RC config_place_resolve(struct arena *arena, enum config_backend backend, const char *path,
                             const char *key_prefix, struct config_place *ret_place,
                             struct silo_err *err)
{
    struct config_place place = {.set = true, .backend = backend, .path = path};
    const char *root = NULL;
    if (strlen(path) >= PLACE_BYTES_MAX) {
        return FAIL(err, SILO_INVALID, "%s.path is longer than %u bytes", key_prefix,
                    PLACE_BYTES_MAX - 1);
    }
    TRY(scheme_check(backend, path, key_prefix, err));
    TRY(template_split(arena, backend, path, key_prefix, &root, &place.shard_path, err));
    ASSERT(root != NULL);
    switch (backend) {
    case CONFIG_FS:
        place.directory = absolute_path(arena, root, err);
        if (place.directory == NULL) {
            return (silo_rc){SILO_INVALID};
        }
        place.url = url_path(arena, "file://", place.directory);
        break;
    case CONFIG_MEMORY: {
        const char *name = root + strspn(root, "/");
        place.url = url_path(arena, "memory:///", *name != '\0' ? name : "silo");
        break;
    }
    case CONFIG_S3:
    case CONFIG_GCS:
    case CONFIG_URL: {
        size_t len = strlen(root);
        const char *scheme_end = strstr(root, "://");
        if (scheme_end == NULL) {
            return FAIL(
                err, SILO_INVALID,
                "%s.path: the placeholder must come after the address (\"s3://bucket/%%shard%%\"); "
                "got \"%s\"",
                key_prefix, path);
        }
        const char *authority = scheme_end + 3;
        while (root + len > authority && root[len - 1] == '/') {
            len--;
        }
        place.url = arena_span(arena, root, root + len);
        break;
    }
    }
    *ret_place = place;
    return RC_OK;
}
