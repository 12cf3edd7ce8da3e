"""What one connection may take of what all share, and what is kept for calls that matter most. usage: shares_test.py"""

import grpc

from h2 import ACK, DATA, PING, RST, SETTINGS, Raw, frame, head, huffman_free, message, stream_windows
from harness import Server, fails, run, stats, unary, wait_for

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 16384
EXHAUSTED = 8
OUT_OF_RANGE = 11
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


class Shared:
    def __init__(self, *args):
        self.server = Server(*args)
        self.channel = self.server.channel()
        self.raws = []

    def __enter__(self):
        return self

    def raw(self, settings=b""):
        """A connection that has agreed to the server's windows, which are wide."""
        raw = Raw(self.server.port, settings=settings)
        raw.until(lambda f: f[0] == SETTINGS)
        raw.send(frame(SETTINGS, ACK, 0))
        self.raws.append(raw)
        return raw

    def stats(self):
        return stats(self.channel)

    def __exit__(self, *failure):
        for raw in self.raws:
            raw.close()
        self.channel.close()
        ended = self.server.stop()
        assert failure[0] is not None or ended == "drained", ended


def unfinished(raw, size, path="/test.Echo/Unary"):
    """A request of which `size` bytes arrive and the rest does not."""
    stream = raw.request(head(path), end=False)
    body = message(bytes(size + 1))[:-1]
    raw.send(b"".join(frame(DATA, 0, stream, body[i : i + CHUNK]) for i in range(0, len(body), CHUNK)))
    return stream


def is_refused(raw, stream):
    """Whether the call was answered for want of room; what follows an answer is a reset."""
    block, data, _ = raw.answer(stream)
    assert data == b"" and block
    return True


def health_works(shared):
    return unary(shared.channel, CHECK) == b"\x08\x01"


def test_one_connection_does_not_take_all_bytes():
    """Nine unfinished requests that would fill the server: those beyond the connection's share are refused and forgotten."""
    with Shared("--inflight-bytes", str(8 * MIB), "--conn-inflight-bytes", str(4 * MIB)) as shared:
        raw = shared.raw()
        streams = [unfinished(raw, MIB) for _ in range(9)]
        for stream in streams[3:]:  # three and a half fit into seven eighths of four
            assert is_refused(raw, stream)
        wait_for(lambda: 3 * MIB <= shared.stats()["inflight"] <= 3 * MIB + 100 * KIB)
        assert raw.works(), "the connection is good, and small calls still fit into its share"
        body = bytes(3 * MIB)
        assert unary(shared.channel, "/test.Echo/Unary", body) == body
        assert health_works(shared)


def test_calls_given_up_still_count():
    """Their handlers are at work, and hold what arrived: a reset frees nothing of the share until they are done."""
    with Shared("--inflight-bytes", str(8 * MIB), "--conn-inflight-bytes", str(4 * MIB)) as shared:
        raw = shared.raw()
        body = message(b"3000 " + bytes(MIB))
        for _ in range(9):
            stream = raw.request(head("/test.Echo/SleepOn"), *[body[i : i + CHUNK] for i in range(0, len(body), CHUNK)])
            raw.send(frame(RST, 0, stream, b"\0\0\0\x08"))
        wait_for(lambda: shared.stats()["sleeping"] == 3)
        assert raw.works()
        assert shared.stats()["inflight"] < 4 * MIB
        large = bytes(3 * MIB)
        assert unary(shared.channel, "/test.Echo/Unary", large) == large
        wait_for(lambda: shared.stats()["sleeping"] == 0)
        assert shared.stats()["inflight"] < 100
        body = message(b"1 " + bytes(MIB))
        stream = raw.request(head("/test.Echo/SleepOn"), *[body[i : i + CHUNK] for i in range(0, len(body), CHUNK)])
        assert raw.answer(stream)[1] == message(b"slept")


def test_urgent_calls_have_the_last_bytes():
    size = 8 * MIB
    with Shared("--inflight-bytes", str(size), "--conn-inflight-bytes", str(size)) as shared:
        for _ in range(6):
            unfinished(shared.raw(), MIB)
        wait_for(lambda: shared.stats()["inflight"] >= 6 * MIB)
        unfinished(shared.raw(), MIB - 8 * KIB)
        wait_for(lambda: shared.stats()["inflight"] >= 7 * MIB - 16 * KIB)
        big = bytes(32 * KIB)
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: unary(shared.channel, "/test.Echo/Unary", big))
        assert unary(shared.channel, "/test.Echo/Urgent", big) == big
        assert health_works(shared)
        # Large urgent requests stop at half of what is kept; small ones go on.
        half = shared.raw()
        unfinished(half, 480 * KIB, "/test.Echo/Urgent")
        wait_for(lambda: shared.stats()["inflight"] >= 7 * MIB + 460 * KIB)
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: unary(shared.channel, "/test.Echo/Urgent", bytes(200 * KIB)))
        assert unary(shared.channel, "/test.Echo/Urgent", big) == big


def test_urgent_calls_have_the_last_calls():
    with Shared("--calls", "64") as shared:
        raw = shared.raw()
        for _ in range(56):
            raw.request(head("/test.Echo/Sleep"), message(b"60000"))
        wait_for(lambda: shared.stats()["sleeping"] == 56)
        refused = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: unary(shared.channel, "/test.Echo/Unary", b"x"))
        assert "too many calls" in refused.details()
        assert unary(shared.channel, "/test.Echo/Urgent", b"x") == b"x"
        assert health_works(shared)


def test_idle_streams_leave_the_calls_to_others():
    """An eighth of 64 calls, however many connections try."""
    with Shared("--calls", "64") as shared:
        for _ in range(4):
            raw = shared.raw()
            for _ in range(4):
                raw.request(head(REFLECTION), end=False)
        wait_for(lambda: shared.stats()["calls"] == 8 + 1)
        raw = shared.raw()
        assert huffman_free(raw.answer(raw.request(head(REFLECTION), end=False))[0], EXHAUSTED)
        raw = shared.raw()
        assert huffman_free(raw.answer(raw.request(head(WATCH), message(b"")))[0], EXHAUSTED)
        assert health_works(shared)


def test_idle_streams_of_one_connection():
    with Shared() as shared:
        for path, most, body in ((REFLECTION, 8, None), (WATCH, 32, message(b""))):
            raw = shared.raw()
            before = shared.stats()["calls"]
            for _ in range(most):
                raw.request(head(path), *([body] if body is not None else []), end=body is not None)
            wait_for(lambda want=before + most: shared.stats()["calls"] == want)
            more = raw.request(head(path), *([body] if body is not None else []), end=body is not None)
            assert huffman_free(raw.answer(more)[0], EXHAUSTED), path
            assert raw.works()


def test_requests_of_side_services_are_small():
    with Shared() as shared:
        long_name = b"\x0a\x80\x20" + bytes(4 * KIB)  # field 1, as long as a whole request may be
        fails(grpc.StatusCode.OUT_OF_RANGE, lambda: unary(shared.channel, CHECK, long_name))
        fails(grpc.StatusCode.NOT_FOUND, lambda: unary(shared.channel, CHECK, b"\x0a\xfd\x1f" + b"x" * 4093))
        raw = shared.raw()
        stream = raw.request(head(REFLECTION), message(bytes(64 * KIB + 1))[:CHUNK], end=False)
        assert huffman_free(raw.answer(stream)[0], OUT_OF_RANGE)


ASK = message(b"\x1a\xe0\xd4\x03" + b"x" * 60000)  # for a file that is not there: the answer repeats the question


def ask(raw, *more):
    """A reflection stream with a question, and more bytes of it, that reads no answer."""
    stream = raw.request(head(REFLECTION), end=False)
    for body in (ASK, *more):
        raw.send(b"".join(frame(DATA, 0, stream, body[i : i + CHUNK]) for i in range(0, len(body), CHUNK)))


def test_unread_answers_of_side_services_leave_the_room_to_others():
    """Anybody may ask for them: 12 MiB of them where 8 are for all must not keep back a single reply of the work."""
    with Shared("--reply-bytes", str(8 * MIB)) as shared:
        for _ in range(24):
            raw = shared.raw(stream_windows(0))
            for _ in range(8):
                ask(raw)
            raw.send(frame(PING, 0, 0, bytes(8)))
            raw.until(lambda f: f[0] == PING)  # all of it has been looked at
        held = shared.stats()["replies"]
        assert 900 * KIB <= held <= MIB + 24 * 100, held  # and a few bytes of those that were refused
        body = bytes(6 * MIB)
        assert unary(shared.channel, "/test.Echo/Unary", body) == body
        assert next(shared.channel.unary_stream(WATCH)(b"", timeout=20)) == b"\x08\x01"
        assert health_works(shared)


def test_questions_of_side_services_leave_the_bytes_to_others():
    with Shared("--inflight-bytes", str(8 * MIB)) as shared:
        raw = shared.raw(stream_windows(0))
        for _ in range(4):
            ask(raw, ASK, bytes(2 * MIB))
        wait_for(lambda: shared.stats()["calls"] < 4)  # those that were too much
        assert shared.stats()["inflight"] <= MIB + 200 * KIB
        body = bytes(5 * MIB)
        assert unary(shared.channel, "/test.Echo/Unary", body) == body
        assert next(shared.channel.unary_stream(WATCH)(b"", timeout=20)) == b"\x08\x01"


run([
    test_one_connection_does_not_take_all_bytes,
    test_calls_given_up_still_count,
    test_urgent_calls_have_the_last_bytes,
    test_urgent_calls_have_the_last_calls,
    test_idle_streams_leave_the_calls_to_others,
    test_idle_streams_of_one_connection,
    test_requests_of_side_services_are_small,
    test_unread_answers_of_side_services_leave_the_room_to_others,
    test_questions_of_side_services_leave_the_bytes_to_others,
])
