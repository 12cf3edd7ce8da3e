"""How long the server waits for what: silence, idleness, age, output nobody takes, bodies that stop. usage: patience_test.py

Waits are set to a fraction of a second here. A test that something ends awaits that; a test that something goes on stretches it
over several times the wait.
"""

import struct
import time

from h2 import (ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, RST, WINDOW, Raw, conn_window, frame, head, huffman_free, message,
                stream_windows)
from harness import Server, run, stats, unary, wait_for

OFF = {"keepalive": 0, "keepalive-timeout": 0, "idle": 0, "age": 0, "age-grace": 0, "output": 0, "body": 0}
CANCEL = 8


class Waiting:
    """A server with these waits, in milliseconds, and no others."""

    def __init__(self, **waits):
        args = []
        for name, value in {**OFF, **{k.replace("_", "-"): v for k, v in waits.items()}}.items():
            args += ["--" + name, str(value)]
        self.server = Server(*args)
        self.channel = self.server.channel()

    def __enter__(self):
        return self

    def raw(self, **kw):
        return Raw(self.server.port, **kw)

    def stats(self):
        return stats(self.channel)

    def __exit__(self, *failure):
        self.channel.close()
        ended = self.server.stop()
        assert failure[0] is not None or ended == "drained", ended


def rest(raw):
    """All frames to the end of the connection."""
    frames = []
    while (got := raw.frame()) is not None:
        frames.append(got)
    return frames


def test_a_dead_peer_is_found():
    """It has a call parked at the server and answers no ping."""
    with Waiting(keepalive=200, keepalive_timeout=200) as waiting:
        raw = waiting.raw()
        raw.request(head("/test.Echo/Sleep"), message(b"60000"))
        wait_for(lambda: waiting.stats()["sleeping"] == 1)
        assert any(f[0] == PING and not f[1] & ACK for f in rest(raw))
        wait_for(lambda: waiting.stats()["cancels"] == 1)
        raw.close()


def test_a_living_peer_stays():
    with Waiting(keepalive=100, keepalive_timeout=300) as waiting:
        raw = waiting.raw()
        stream = raw.request(head("/test.Echo/Sleep"), message(b"1500"))
        pings = 0
        while True:
            kind, flags, at, payload = raw.until(lambda f: f[0] == PING or f[2] == stream)
            if kind == PING:
                pings += 1
                raw.send(frame(PING, ACK, 0, payload))
            elif flags & END_STREAM:
                break
        assert pings >= 2, pings
        assert raw.works()
        raw.close()


def test_without_a_call_nobody_is_pinged():
    """Some clients read nothing while they have no call."""
    with Waiting(keepalive=100, keepalive_timeout=100) as waiting:
        raw = waiting.raw()
        assert raw.works()
        time.sleep(1)
        assert raw.works()
        raw.close()


def test_idle_connections_are_told_to_go():
    with Waiting(idle=300) as waiting:
        raw = waiting.raw()
        stream = raw.request(head("/test.Echo/Sleep"), message(b"1000"))
        assert raw.answer(stream)[1] == message(b"slept"), "an open call is no idleness"
        began = time.monotonic()
        frames = rest(raw)
        assert time.monotonic() - began > 0.2
        goaways = [f for f in frames if f[0] == GOAWAY]
        assert goaways and all(f[3][4:8] == b"\0\0\0\0" for f in goaways), frames
        raw.close()
        assert unary(waiting.channel, "/test.Echo/Unary", b"again") == b"again"


def test_old_connections_end_with_their_calls():
    with Waiting(age=300, age_grace=20000) as waiting:
        raw = waiting.raw()
        stream = raw.request(head("/test.Echo/Sleep"), message(b"1500"))
        raw.until(lambda f: f[0] == GOAWAY)
        assert raw.answer(stream)[1] == message(b"slept")
        rest(raw)
        raw.close()


def test_grace_is_not_for_ever():
    with Waiting(age=200, age_grace=300) as waiting:
        raw = waiting.raw()
        raw.request(head("/test.Echo/Sleep"), message(b"60000"))
        rest(raw)
        wait_for(lambda: waiting.stats()["sleeping"] == 0)
        raw.close()


def test_a_peer_that_takes_no_byte():
    """Its windows are wide, so everything lies between the socket and the server, until the server has waited enough."""
    with Waiting(output=300) as waiting:
        raw = waiting.raw(settings=stream_windows((1 << 31) - 1))
        raw.send(conn_window((1 << 31) - 1 - 65535))
        raw.request(head("/test.Echo/Stream"), message(b"200 1000000"))
        wait_for(lambda: waiting.stats()["cancels"] == 1)
        wait_for(lambda: waiting.stats()["conns"] == 1)
        raw.close()


def test_an_answer_behind_a_closed_window():
    """The stream ends, its memory is free, and the connection is good."""
    with Waiting(output=300) as waiting:
        raw = waiting.raw(settings=stream_windows(1000))
        stream = raw.request(head("/test.Echo/Pieces"), message(bytes(15000)))
        kind, _, _, payload = raw.until(lambda f: f[2] == stream and f[0] == RST)
        assert payload == struct.pack(">I", CANCEL)
        wait_for(lambda: waiting.stats()["inflight"] < 1000)
        assert raw.works()
        raw.close()


def test_a_slow_reader_stays():
    with Waiting(output=400) as waiting:
        raw = waiting.raw(settings=stream_windows(1000))
        body = bytes(15000)
        stream = raw.request(head(), message(body))
        got = 0
        while got < len(message(body)):
            kind, flags, _, payload = raw.until(lambda f: f[2] == stream and f[0] in (DATA, RST))
            assert kind == DATA, "the stream was reset"
            got += len(payload)
            time.sleep(0.1)
            raw.send(frame(WINDOW, 0, stream, struct.pack(">I", len(payload))))
        raw.until(lambda f: f[2] == stream and f[0] == HEADERS)
        assert raw.works()
        raw.close()


def test_a_body_that_stops():
    with Waiting(body=300) as waiting:
        raw = waiting.raw()
        stream = raw.request(head(), message(b"half of it")[:-4], end=False)
        block, _, _ = raw.answer(stream)
        assert huffman_free(block, 14), "UNAVAILABLE"
        raw.until(lambda f: f[2] == stream and f[0] == RST)
        wait_for(lambda: waiting.stats()["inflight"] < 100)
        assert raw.works()
        raw.close()


def test_headers_alone_are_a_body_that_stops():
    with Waiting(body=300) as waiting:
        raw = waiting.raw()
        assert huffman_free(raw.answer(raw.request(head(), end=False))[0], 14)
        raw.close()


def test_a_slow_body_arrives():
    with Waiting(body=400) as waiting:
        raw = waiting.raw()
        body = bytes(range(20))
        stream = raw.request(head(), end=False)
        sent = message(body)
        for i in range(len(sent)):
            raw.send(frame(DATA, END_STREAM if i + 1 == len(sent) else 0, stream, sent[i : i + 1]))
            time.sleep(0.1)
        assert raw.answer(stream)[1] == sent
        raw.close()


def test_an_idle_bidirectional_stream_ends():
    with Waiting(body=300) as waiting:
        raw = waiting.raw()
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        assert huffman_free(raw.answer(raw.request(head(path), end=False))[0], 14)
        assert raw.works()
        raw.close()


def test_a_call_at_work_is_not_waited_for():
    """It was sent whole: what takes its time is the handler."""
    with Waiting(body=100, output=100) as waiting:
        raw = waiting.raw()
        assert raw.answer(raw.request(head("/test.Echo/Sleep"), message(b"1000")))[1] == message(b"slept")
        raw.close()


run([
    test_a_dead_peer_is_found,
    test_a_living_peer_stays,
    test_without_a_call_nobody_is_pinged,
    test_idle_connections_are_told_to_go,
    test_old_connections_end_with_their_calls,
    test_grace_is_not_for_ever,
    test_a_peer_that_takes_no_byte,
    test_an_answer_behind_a_closed_window,
    test_a_slow_reader_stays,
    test_a_body_that_stops,
    test_headers_alone_are_a_body_that_stops,
    test_a_slow_body_arrives,
    test_an_idle_bidirectional_stream_ends,
    test_a_call_at_work_is_not_waited_for,
])
