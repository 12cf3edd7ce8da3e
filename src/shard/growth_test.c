/* shard/growth_test.c - the line, once an hour, about how many jobs are kept. */
#include <fcntl.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/test.h"
#include "shard/shard_rig_test.h"

#define KEPT_MS 60000

static int log_fds[2];

/* What was logged since, as far as it is about that. */
static bool logged(const char *text)
{
    char lines[8192];
    const ssize_t len = read(log_fds[0], lines, sizeof lines - 1);
    lines[len > 0 ? len : 0] = 0;
    const char *line = strstr(lines, "jobs_kept");
    if (line == NULL) {
        return text == NULL;
    }
    return text != NULL && strstr(line, text) != NULL && strstr(line + 1, "jobs_kept") == NULL;
}

static void test_a_line_an_hour(void **state)
{
    (void)state;
    assert_int_equal(pipe(log_fds), 0);
    assert_int_equal(fcntl(log_fds[0], F_SETFL, O_NONBLOCK), 0);
    log_init(log_fds[1], false, LOG_INFO);
    struct rig *rig =
        shard_rig_open_with(&(struct shard_rig_options){.seed = 1, .completed_expire_ms = KEPT_MS});
    static const char *const ids[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++) {
        enqueue(rig, ids[i], 5, 0);
    }
    rig_pass(rig, GROWTH_LINE_MS - 5000);
    rig_turn(rig);
    assert_true(logged(NULL));
    rig_pass(rig, 5000);
    rig_turn(rig);
    assert_true(logged("open=5 succeeded=0 failed=0 cancelled=0 expired=0"));
    for (size_t i = 0; i < 5; i++) {
        const struct uuid task = lease_one(rig, ids[i]);
        assert_int_equal(report(rig, &task, ATTEMPT_SUCCEEDED), SILO_OK);
    }
    rig_turn(rig);
    assert_true(logged(NULL)); /* not twice in an hour */
    rig_pass(rig, GROWTH_LINE_MS);
    rig_turn(rig);
    assert_true(logged("open=0 succeeded=0 failed=0 cancelled=0 expired=5"));
    rig_pass(rig, GROWTH_LINE_MS);
    rig_turn(rig);
    assert_true(logged(NULL)); /* nothing has changed */
    log_init(STDERR_FILENO, false, LOG_INFO);
    close_all(rig);
    (void)close(log_fds[0]);
    (void)close(log_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_line_an_hour)};
    return cmocka_run_group_tests_name("growth", tests, NULL, NULL);
}
