/* bench/proc.c - what /proc tells: processor time, memory, bytes written, load. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"

/* User and system CPU seconds of a process, 0 when it cannot be read. */
static double process_cpu_s(long pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = pid != 0 ? fopen(path, "r") : NULL;
    char line[1024] = "";
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL) {
            line[0] = '\0';
        }
        (void)fclose(file);
    }
    const char *at = strrchr(line, ')');
    double ticks = 0;
    if (at != NULL) {
        at += 2;
        for (int field = 3; field < 16 && at != NULL; field++) {
            if (field >= 14) {
                ticks += strtod(at, NULL);
            }
            at = strchr(at, ' ');
            at = at != NULL ? at + 1 : NULL;
        }
    }
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static void process_memory(long pid, struct usage *usage)
{
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%ld/status", pid);
    FILE *file = pid != 0 ? fopen(path, "r") : NULL;
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            usage->rss_kb = strtol(line + 6, NULL, 10);
        } else if (strncmp(line, "VmHWM:", 6) == 0) {
            usage->rss_peak_kb = strtol(line + 6, NULL, 10);
        }
    }
    (void)fclose(file);
}

static long process_written(long pid)
{
    char path[64], line[256];
    long written = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/io", pid);
    FILE *file = pid != 0 ? fopen(path, "r") : NULL;
    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "write_bytes:", 12) == 0) {
            written = strtol(line + 12, NULL, 10);
        }
    }
    (void)fclose(file);
    return written;
}

static void server_usage(long pid, struct usage *usage)
{
    struct usage one = {0};
    process_memory(pid, &one);
    usage->server_cpu_s += process_cpu_s(pid);
    usage->rss_kb += one.rss_kb;
    usage->rss_peak_kb += one.rss_peak_kb;
    usage->written += process_written(pid);
}

struct usage bench_usage(const struct bench *bench)
{
    struct usage usage = {.at_us = env_mono_us(&env_system)};
    struct rusage own;
    if (getrusage(RUSAGE_SELF, &own) == 0) {
        usage.own_cpu_s = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                          (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    }
    if (server_count() <= 1) {
        server_usage(bench->options.pid, &usage);
    }
    for (uint32_t i = 0; server_count() > 1 && i < server_count(); i++) {
        server_usage(server_pid(i), &usage);
    }
    return usage;
}

double server_cpu_s(uint32_t node)
{
    return process_cpu_s(server_pid(node));
}

double load_average(void)
{
    double load = 0;
    return getloadavg(&load, 1) == 1 ? load : 0;
}
