"""Interoperability with gRPC C core (python grpcio). usage: RPC_ECHO_SERVER=<binary> grpcio_test.py"""

import threading
import time

import grpc

from harness import Server, fails, run, stats, unary, wait_for

Code = grpc.StatusCode
server = Server("--loops", "2", "--token", "sesame")
channel = server.channel()


def test_unary():
    assert unary(channel, "/test.Echo/Unary", b"hello") == b"hello"
    assert unary(channel, "/test.Echo/Unary", b"") == b""
    assert unary(channel, "/test.Echo/Thread", b"away and back") == b"away and back"
    assert unary(channel, "/test.Echo/Pieces", b"in pieces") == b"in pieces"


def test_error_text():
    for text in ["plain", "100% ünïcode ∞\nline two", "", " blanks at the ends ", "%41"]:
        error = fails(
            Code.FAILED_PRECONDITION,
            lambda t=text: unary(channel, "/test.Echo/Fail", f"9 {t}".encode()),
        )
        assert error.details() == text, repr(error.details())
        trailers = dict(error.trailing_metadata())
        assert trailers.get("x-test") == "a value"
        assert "x-bad" not in trailers


def test_every_status():
    for code in Code:
        if code is not Code.OK:
            fails(code, lambda c=code: unary(channel, "/test.Echo/Fail", f"{c.value[0]} x".encode()))


def test_unknown():
    error = fails(Code.UNIMPLEMENTED, lambda: unary(channel, "/test.Echo/Nothing"))
    assert error.details() == "unknown method /test.Echo/Nothing"
    error = fails(Code.UNIMPLEMENTED, lambda: unary(channel, "/no.Service/Unary"))
    assert error.details() == "unknown service no.Service"


def test_auth():
    def call(method, *values):
        metadata = [("authorization", value) for value in values]
        return lambda: unary(channel, method, b"x", metadata=metadata)

    method = "/test.Locked/Unary"
    assert call(method, "Bearer sesame")() == b"x"
    assert call(method, "Bearer sesame", "Bearer no")() == b"x"
    error = fails(Code.UNAUTHENTICATED, call(method))
    assert error.details() == "missing authorization header"
    for bad in ["Bearer sesam", "Bearer sesame1", "bearer sesame", "Bearer  sesame", "sesame", "Bearer "]:
        error = fails(Code.UNAUTHENTICATED, call(method, bad))
        assert error.details() == "invalid auth token", bad
    fails(Code.UNAUTHENTICATED, call("/test.Locked/Nothing"))
    fails(Code.UNIMPLEMENTED, call("/test.Locked/Nothing", "Bearer sesame"))


def test_deadline():
    before = stats(channel)
    start = time.monotonic()
    fails(Code.DEADLINE_EXCEEDED, lambda: unary(channel, "/test.Echo/Sleep", b"60000", timeout=0.2))
    assert time.monotonic() - start < 5
    # Either side may notice first: the server's own deadline, or the client's reset.
    wait_for(
        lambda: stats(channel)["deadlines"] + stats(channel)["cancels"]
        > before["deadlines"] + before["cancels"]
    )
    assert stats(channel)["sleeping"] == 0
    assert unary(channel, "/test.Echo/Sleep", b"20", timeout=20) == b"slept"


def test_cancel_then_reuse():
    before = stats(channel)["cancels"]
    call = channel.unary_unary("/test.Echo/Sleep").future(b"60000", timeout=100)
    wait_for(lambda: stats(channel)["sleeping"] == 1)
    call.cancel()
    wait_for(lambda: stats(channel)["cancels"] == before + 1)
    assert stats(channel)["sleeping"] == 0
    assert unary(channel, "/test.Echo/Unary", b"again") == b"again"


def test_cancel_stream_then_reuse():
    before = stats(channel)["cancels"]
    stream = channel.unary_stream("/test.Echo/Stream")(b"1000000 1000", timeout=100)
    assert len(next(stream)) == 1000
    stream.cancel()
    wait_for(lambda: stats(channel)["cancels"] == before + 1)
    assert unary(channel, "/test.Echo/Unary", b"again") == b"again"


def test_big():
    before = stats(channel)
    for size in [5 << 20, 100 << 20]:
        message = bytes(range(256)) * (size // 256)
        assert unary(channel, "/test.Echo/Unary", message) == message
    message = b"s" * (5 << 20)
    assert unary(channel, "/test.Echo/Pieces", message) == message
    wait_for(lambda: stats(channel)["released"] == before["released"] + 3)
    assert stats(channel)["sent"] == before["sent"] + 3
    wait_for(lambda: stats(channel)["inflight"] < 1000)


def test_big_at_once():
    message = b"z" * (5 << 20)
    calls = [channel.unary_unary("/test.Echo/Unary").future(message, timeout=60) for _ in range(8)]
    assert all(call.result() == message for call in calls)


def test_over_limit():
    other = server.channel()
    before = stats(other)["conns"]
    message = bytes((128 << 20) + 1)
    error = fails(Code.OUT_OF_RANGE, lambda: unary(other, "/test.Echo/Unary", message))
    assert "message length too large" in error.details()
    assert unary(other, "/test.Echo/Unary", b"still here") == b"still here"
    assert stats(other)["conns"] == before
    other.close()


def test_compressed():
    call = channel.unary_unary("/test.Echo/Unary")
    fails(
        Code.UNIMPLEMENTED,
        lambda: call(b"a" * 10000, timeout=20, compression=grpc.Compression.Gzip),
    )
    assert unary(channel, "/test.Echo/Unary", b"plain") == b"plain"


def test_metadata():
    value = "m" * 12000
    got = unary(channel, "/test.Echo/Header", b"x-large", metadata=[("x-large", value)])
    assert got.decode() == value
    assert unary(channel, "/test.Echo/Header", b"x-absent") == b"(none)"
    # More than the limit is refused, and the connection lives on.
    too_much = [(f"x-{i}", "v" * 2000) for i in range(12)]
    fails(Code.RESOURCE_EXHAUSTED, lambda: unary(channel, "/test.Echo/Unary", metadata=too_much))
    assert unary(channel, "/test.Echo/Unary", b"fine") == b"fine"


def test_streams():
    stream = channel.unary_stream("/test.Echo/Stream")
    assert [len(m) for m in stream(b"1000 1000", timeout=60)] == [1000] * 1000
    assert [len(m) for m in stream(b"20 1000000", timeout=60)] == [1000000] * 20
    assert list(stream(b"0 0", timeout=60)) == []
    assert list(stream(b"3 0", timeout=60)) == [b"", b"", b""]
    fails(Code.INVALID_ARGUMENT, lambda: list(stream(b"1 999999999", timeout=60)))


def test_slow_reader():
    """A client that does not read holds up neither the server nor other calls on its connection."""
    stream = channel.unary_stream("/test.Echo/Stream")(b"300 1000000", timeout=100)
    next(stream)
    assert unary(channel, "/test.Echo/Unary", b"past it") == b"past it"
    assert sum(len(m) for m in stream) == 299 * 1000000


def test_500_concurrent():
    methods = ["/test.Echo/Unary", "/test.Echo/Thread", "/test.Echo/Pieces"]
    calls = [
        channel.unary_unary(methods[i % 3]).future(b"%d" % i, timeout=60) for i in range(500)
    ]
    assert [call.result() for call in calls] == [b"%d" % i for i in range(500)]


def test_reset_bursts():
    """100 clients that cancel bursts of calls: every connection stays usable."""
    clients = [server.channel() for _ in range(100)]
    for client in clients:
        unary(client, "/test.Echo/Unary", b"connect")
    conns = stats(channel)["conns"]
    for _ in range(3):
        calls = [
            client.unary_unary("/test.Echo/Sleep").future(b"60000", timeout=100)
            for client in clients
            for _ in range(20)
        ]
        for call in calls:
            call.cancel()
        for client in clients:
            assert unary(client, "/test.Echo/Unary", b"here") == b"here"
    assert stats(channel)["conns"] <= conns  # those of earlier tests may end meanwhile
    wait_for(lambda: stats(channel)["sleeping"] == 0)
    for client in clients:
        client.close()


def test_resets_on_one_connection():
    """More resets than nghttp2's default burst on one connection, which must stay."""
    conns = stats(channel)["conns"]
    for _ in range(10):
        calls = [
            channel.unary_unary("/test.Echo/Sleep").future(b"60000", timeout=100)
            for _ in range(300)
        ]
        wait_for(lambda: stats(channel)["sleeping"] > 0)
        for call in calls:
            call.cancel()
    wait_for(lambda: stats(channel)["sleeping"] == 0)
    assert stats(channel)["conns"] <= conns  # those of earlier tests may end meanwhile


def test_pings():
    """A ping every second (C core's shortest) for a while, idle: not one complaint, same connection."""
    pinger = server.channel(
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_time_between_pings_ms", 1000),
    )
    unary(pinger, "/test.Echo/Unary", b"connect")
    seen = []
    pinger.subscribe(seen.append)
    conns = stats(channel)["conns"]
    time.sleep(4)  # the time itself is what is tested
    assert unary(pinger, "/test.Echo/Unary", b"alive") == b"alive"
    assert stats(channel)["conns"] <= conns  # those of earlier tests may end meanwhile
    assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in seen
    pinger.close()


def test_health():
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=10) == b"\x08\x01"
    assert check(b"\x0a\x09test.Echo", timeout=10) == b"\x08\x01"
    fails(Code.NOT_FOUND, lambda: check(b"\x0a\x02no", timeout=10))
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    fails(Code.NOT_FOUND, lambda: list(watch(b"\x0a\x02no", timeout=10)))
    stream = watch(b"\x0a\x09test.Echo", timeout=60)
    assert next(stream) == b"\x08\x01"
    stream.cancel()


def test_drain():
    """Calls in flight finish, a health watch is told, the process ends, new calls fail."""
    own = Server("--loops", "2")
    clients = [own.channel() for _ in range(4)]
    calls = [
        client.unary_unary("/test.Echo/Sleep").future(b"1500", timeout=60)
        for client in clients
        for _ in range(50)
    ]
    wait_for(lambda: stats(clients[0])["sleeping"] == 200)
    watch = clients[0].unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\x09test.Echo", timeout=60)
    assert next(watch) == b"\x08\x01"
    own.process.terminate()
    assert next(watch) == b"\x08\x02"
    fails(Code.UNAVAILABLE, lambda: list(watch))
    fails(Code.UNAVAILABLE, lambda: unary(own.channel(), "/test.Echo/Unary", b"new", timeout=10))
    assert all(call.result() == b"slept" for call in calls)
    assert own.stop() == "drained"


def test_drain_cut_off():
    """Calls that outlast the hard limit are cut off, and the handlers are told."""
    own = Server()
    client = own.channel()
    call = client.unary_unary("/test.Echo/Sleep").future(b"600000", timeout=600)
    wait_for(lambda: stats(client)["sleeping"] == 1)
    ended = threading.Thread(target=lambda: fails(Code.UNAVAILABLE, call.result))
    ended.start()
    assert own.stop() == "cut off"
    ended.join()


def test_inflight_limit():
    own = Server("--inflight-bytes", "1000000")
    client = own.channel()
    assert len(unary(client, "/test.Echo/Unary", bytes(400000))) == 400000
    error = fails(Code.RESOURCE_EXHAUSTED, lambda: unary(client, "/test.Echo/Unary", bytes(2000000)))
    assert "in flight" in error.details()
    wait_for(lambda: stats(client)["inflight"] < 1000)
    assert unary(client, "/test.Echo/Unary", b"fine") == b"fine"
    client.close()
    own.stop()


def test_end():
    wait_for(lambda: stats(channel)["calls"] == 1)
    channel.close()
    assert server.stop() == "drained"


run([
    test_unary,
    test_error_text,
    test_every_status,
    test_unknown,
    test_auth,
    test_deadline,
    test_cancel_then_reuse,
    test_cancel_stream_then_reuse,
    test_big,
    test_big_at_once,
    test_over_limit,
    test_compressed,
    test_metadata,
    test_streams,
    test_slow_reader,
    test_500_concurrent,
    test_reset_bursts,
    test_resets_on_one_connection,
    test_pings,
    test_health,
    test_drain,
    test_drain_cut_off,
    test_inflight_limit,
    test_end,
])
