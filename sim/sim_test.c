/*
 * The simulator's programs as they are called: seeds pass, the same seed gives the same trace, a
 * failure is an exit status.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/test.h"

#define SEEDS 400u
/* With SILO_FEW_SEEDS: under a sanitizer each is several times slower. */
#define SEEDS_FEW 50u
/* One in so many of them is run with three processes: each takes several times as long. */
#define SEEDS_THREE_PART 8u

/*
 * Exit status of a shell command in the test's own directory; `fmt` names the program after
 * $SILO_BIN_DIR/.
 */
static int run(const char *command)
{
    const int status = system(command); /* NOLINT(cert-env33-c): the test is about programs */
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static unsigned seeds(void)
{
    return getenv("SILO_FEW_SEEDS") != NULL ? SEEDS_FEW : SEEDS;
}

static void run_seeds(const char *program, unsigned first, unsigned count, unsigned processes)
{
    char command[256];
    (void)snprintf(command, sizeof command,
                   "\"$SILO_BIN_DIR\"/%s --seed %u --count %u --processes %u --jobs 2 --quiet "
                   "--complete",
                   program, first, count, processes);
    assert_int_equal(run(command), 0);
}

static void test_seeds(void **state)
{
    (void)state;
    run_seeds("silo-sim", 1, seeds(), 1);
}

static void test_seeds_small(void **state)
{
    (void)state;
    run_seeds("silo-sim-small", 1000001, seeds(), 1);
}

static void test_seeds_three_processes(void **state)
{
    (void)state;
    run_seeds("silo-sim", 1, seeds() / SEEDS_THREE_PART, 3);
}

/*
 * Byte by byte, also across a failing storage, restarts and an external limiter: the seeds differ
 * in these.
 */
static void test_same_trace(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 6; seed++) {
        char command[512];
        (void)snprintf(command, sizeof command,
                       "run() { \"$SILO_BIN_DIR\"/silo-sim --seed %u --processes %u --steps 120 "
                       "--trace; } && run >once && run >twice && cmp once twice && test -s once",
                       seed, seed % 2 == 0 ? 3u : 1u);
        assert_int_equal(run(command), 0);
    }
}

static void test_prefix(void **state)
{
    (void)state;
    /* Fewer steps are the same run up to there. */
    assert_int_equal(run("\"$SILO_BIN_DIR\"/silo-sim --seed 3 --steps 30 --trace >short"), 0);
    assert_int_equal(run("\"$SILO_BIN_DIR\"/silo-sim --seed 3 --steps 60 --trace >long"), 0);
    assert_int_equal(run("n=$(grep -n '^step 29 ' short | cut -d: -f1) && test -n \"$n\" && "
                         "head -n \"$n\" short >short-head && head -n \"$n\" long >long-head && "
                         "cmp short-head long-head"),
                     0);
}

static void test_command_line(void **state)
{
    (void)state;
    assert_int_equal(run("\"$SILO_BIN_DIR\"/silo-sim --help >help"), 0);
    assert_int_equal(run("\"$SILO_BIN_DIR\"/silo-sim --seed x 2>error"), 2);
    assert_int_equal(run("\"$SILO_BIN_DIR\"/silo-sim --no-such-option 2>error"), 2);
    assert_int_equal(run("\"$SILO_BIN_DIR\"/silo-sim surplus 2>error"), 2);
    assert_int_equal(run("\"$SILO_BIN_DIR\"/silo-sim --processes 6 2>error"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_seeds_small),
        cmocka_unit_test(test_seeds_three_processes),
        cmocka_unit_test(test_same_trace),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_command_line),
    };
    return cmocka_run_group_tests_name("simulator", tests, NULL, NULL);
}
