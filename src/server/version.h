/*
 * server/version.h - what program this is, for --version and the first line of the log.
 *
 * Threads    any; all texts are static.
 */
#ifndef SILO_SERVER_VERSION_H
#define SILO_SERVER_VERSION_H

struct version {
    const char *number; /* "0.1.0" */
    const char *commit; /* of the source; "-dirty": it was changed since; "unknown": no checkout */
    const char *engine; /* the storage engine and its version */
    const char *build;  /* the build type, "Release" for what runs */
};

struct version version_get(void);
/* To standard output, one fact to a line, the number first. */
void version_print(void);

#endif
