"""Runs the unittest cases of the calling program, so that a suite can also be started by hand:

    if __name__ == "__main__":
        sys.exit(main())

Names on the command line select tests (Class.method). The last line of output is "N passed, N failed"; the status is 0 only
if nothing failed and something ran.
"""

import sys
import unittest


def main():
    program = unittest.main(module="__main__", verbosity=2, exit=False)
    result = program.result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    sys.stderr.flush()
    print("%d passed, %d failed" % (passed, failed))
    return 0 if failed == 0 and passed > 0 else 1
