/*
 * tests/limits/limiter_probe.c - the server's client of Gubernator as a program, for tests against
 * a real one.
 *
 *     limiter_probe ADDRESS [REQUEST_TIMEOUT_MS [BATCH]]
 *
 * Each line of input is one check, "NAME KEY HITS LIMIT DURATION_MS ALGORITHM BEHAVIOR", its texts
 * without blanks. At an empty line, and at the end, the checks read so far are made at the same
 * time; each gets one line of output, in their order: "under RESET_MS", "over RESET_MS", or "error
 * TEXT".
 *
 * Limits     CHECKS_MAX checks at a time, TEXT_MAX bytes of each text.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "limiter/gubernator.h"

#define CHECKS_MAX 100000u
#define TEXT_MAX 255
#define LINE_MAX_BYTES 1024
#define FIELDS 7

struct probe {
    struct limiter_check check;
    char name[TEXT_MAX + 1], key[TEXT_MAX + 1];
};

/* Guards `waiting`: checks under way. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t waiting;

static void probe_done(struct limiter_check *check)
{
    (void)check;
    (void)pthread_mutex_lock(&lock);
    waiting--;
    (void)pthread_cond_signal(&changed);
    (void)pthread_mutex_unlock(&lock);
}

static bool take_text(const char *word, char *ret_text)
{
    const size_t len = strlen(word);
    if (len > TEXT_MAX) {
        return false;
    }
    memcpy(ret_text, word, len + 1);
    return true;
}

static bool take_number(const char *word, int64_t *ret_number)
{
    char *end = NULL;
    *ret_number = strtoll(word, &end, 10);
    return end != word && *end == '\0';
}

/* Whether the line says a check. */
static bool probe_read(struct probe *probe, char *line)
{
    char *words[FIELDS], *rest = line;
    for (size_t i = 0; i < FIELDS; i++) {
        words[i] = strsep(&rest, " ");
        if (words[i] == NULL) {
            return false;
        }
    }
    struct limiter_check *check = &probe->check;
    int64_t algorithm = 0, behavior = 0;
    *check = (struct limiter_check){.done = probe_done};
    if (rest != NULL || !take_text(words[0], probe->name) || !take_text(words[1], probe->key) ||
        !take_number(words[2], &check->hits) || !take_number(words[3], &check->limit) ||
        !take_number(words[4], &check->duration_ms) || !take_number(words[5], &algorithm) ||
        !take_number(words[6], &behavior)) {
        return false;
    }
    check->algorithm = (int32_t)algorithm;
    check->behavior = (int32_t)behavior;
    check->name = bytes_str(probe->name);
    check->unique_key = bytes_str(probe->key);
    return true;
}

static void probes_run(struct limiter *limiter, struct probe *probes, size_t count)
{
    static const char *const words[] = {
        [LIMITER_UNDER] = "under", [LIMITER_OVER] = "over", [LIMITER_ERROR] = "error"};
    waiting = count;
    for (size_t i = 0; i < count; i++) {
        limiter->check(limiter, &probes[i].check);
    }
    (void)pthread_mutex_lock(&lock);
    while (waiting > 0) {
        (void)pthread_cond_wait(&changed, &lock);
    }
    (void)pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < count; i++) {
        const struct limiter_check *check = &probes[i].check;
        if (check->verdict == LIMITER_ERROR) {
            printf("error %s\n", check->error);
        } else {
            printf("%s %" PRId64 "\n", words[check->verdict], check->reset_ms);
        }
    }
    (void)fflush(stdout);
}

static int probe_main(struct gubernator *gubernator)
{
    struct limiter *limiter = gubernator_limiter(gubernator);
    struct probe *probes = xcalloc(CHECKS_MAX, sizeof *probes);
    char line[LINE_MAX_BYTES];
    size_t count = 0;
    int status = EXIT_SUCCESS;
    while (status == EXIT_SUCCESS && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0') {
            probes_run(limiter, probes, count);
            count = 0;
        } else if (count == CHECKS_MAX || !probe_read(&probes[count++], line)) {
            (void)fprintf(stderr, "limiter_probe: too many checks, or no check: %s\n", line);
            status = EXIT_FAILURE;
        }
    }
    if (status == EXIT_SUCCESS) {
        probes_run(limiter, probes, count);
    }
    free(probes);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 4) {
        (void)fprintf(stderr, "usage: limiter_probe ADDRESS [REQUEST_TIMEOUT_MS [BATCH]]\n");
        return EXIT_FAILURE;
    }
    const struct gubernator_options options = {
        .address = argv[1],
        .coalesce_interval_ms = 5,
        .call_checks_max = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 100,
        .connect_timeout_ms = 5000,
        .request_timeout_ms = argc > 2 ? strtoll(argv[2], NULL, 10) : 10000};
    struct gubernator *gubernator = NULL;
    struct silo_err err = {0};
    if (gubernator_new(&options, &gubernator, &err).code != SILO_OK) {
        (void)fprintf(stderr, "limiter_probe: %s\n", err.text);
        return EXIT_FAILURE;
    }
    const int status = probe_main(gubernator);
    (void)gubernator_free(gubernator);
    return status;
}
