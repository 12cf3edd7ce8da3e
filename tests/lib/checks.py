"""What tests say: functions marked with @case become unittest cases, one class for each kind of server they need."""

import time
import unittest


class Cases:
    """
    cases = Cases()

    @cases.case("plain")
    def a_thing_holds(server): ...

    globals().update(cases.classes({"plain": SiloServer}))
    """

    def __init__(self):
        self.functions = {}

    def case(self, kind):
        def add(function):
            self.functions.setdefault(kind, []).append(function)
            return function

        return add

    def classes(self, servers):
        """Name -> TestCase class. servers: kind -> function that makes a server, which all cases of the kind share."""
        assert set(servers) == set(self.functions), "kinds of servers"
        return {"Test_" + kind: make_class(kind, servers[kind], self.functions[kind]) for kind in servers}


def make_class(kind, make, functions):
    def set_up(cls):
        cls.server = make()
        try:
            cls.server.start()
        except BaseException:
            cls.server.close()
            raise

    def tear_down(cls):
        cls.server.close()

    members = {"setUpClass": classmethod(set_up), "tearDownClass": classmethod(tear_down)}
    for function in functions:
        members["test_" + function.__name__] = lambda self, function=function: function(self.server)
    return type("Test_" + kind, (unittest.TestCase,), members)


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError("%s: got %r, wanted %r" % (what or "value", got, wanted))


def status_is(status, code, text="", exact=False):
    if status.code != code or (status.text != text if exact else text not in status.text):
        raise AssertionError("got %s %r, wanted %s %r" % (status.code, status.text, code, text))


def until(condition, what, seconds=20):
    """Awaits a condition and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.02)
