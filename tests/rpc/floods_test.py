"""Too much of something that is cheap to send: the connection is told to calm down, others do not notice. usage: floods_test.py

Each flood is tested at its bound: what an honest client may send at once passes, a little more ends the connection.
"""

import struct
import threading

from h2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST, SETTINGS, WINDOW, Raw, frame, head,
                hpack_length, huffman_free, message)
from harness import Server, run, stats, unary, wait_for

PRIORITY = 2
UNKNOWN = 0x42
ENHANCE_YOUR_CALM = 11

server = Server()
channel = server.channel()


def raw_connection():
    return Raw(server.port)


class Listener(threading.Thread):
    """Reads all frames to the end, so that the server never waits for us."""

    def __init__(self, raw):
        super().__init__(daemon=True)
        self.raw, self.frames = raw, []
        self.start()

    def run(self):
        while (got := self.raw.frame()) is not None:
            self.frames.append(got)

    def goaways(self):
        return [int.from_bytes(f[3][4:8], "big") for f in self.frames if f[0] == GOAWAY]


def send(raw, data):
    try:
        raw.send(data)
    except ConnectionError:
        pass  # it has ended, which is what the test is about


def passes(data, then=None):
    """All of it is taken, and the connection goes on to work."""
    raw = raw_connection()
    raw.send(data)
    if then is not None:
        then(raw)
    assert raw.works()
    return raw


def is_calmed(raw, data):
    """The connection ends, with the right code unless the way down lost it; another one goes on."""
    listener = Listener(raw)
    send(raw, data)
    assert unary(channel, "/test.Echo/Unary", b"other") == b"other"
    listener.join(20)
    assert not listener.is_alive(), "the connection goes on"
    assert set(listener.goaways()) <= {ENHANCE_YOUR_CALM}, listener.goaways()
    raw.close()


def flood(kind, burst, payload=b"", flags=0, stream=0):
    """Three quarters of the allowance pass; twice as much again ends the connection."""
    one = frame(kind, flags, stream, payload)
    raw = passes(one * (burst * 3 // 4))
    is_calmed(raw, one * (burst * 2))


def test_settings():
    """With as many open streams as there may be, through which each of them goes."""
    raw = raw_connection()
    for _ in range(1000):
        raw.request(head("/test.Echo/Sleep"), message(b"60000"))
    wait_for(lambda: stats(channel)["sleeping"] == 1000)
    one = [frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 60000 + i)) for i in range(2)]
    is_calmed(raw, b"".join(one) * 10000)
    wait_for(lambda: stats(channel)["sleeping"] == 0)
    flood(SETTINGS, 256)


def test_pings():
    is_calmed(raw_connection(), frame(PING, 0, 0, b"12345678") * 400000)


def test_priorities():
    flood(PRIORITY, 1000, payload=b"\0\0\0\0\x10", stream=1001)


def test_unknown_frames():
    """They mean nothing and cost next to nothing."""
    passes(frame(UNKNOWN, 0, 0, b"whatever") * 10000).close()


def test_goaways():
    is_calmed(raw_connection(), frame(GOAWAY, 0, 0, bytes(8)) * 5000)


def test_window_updates():
    one = frame(WINDOW, 0, 0, b"\0\0\0\1")
    passes(one * 40000).close()
    is_calmed(raw_connection(), one * 200000)


def test_empty_data():
    raw = raw_connection()
    stream = raw.request(head(), end=False)
    raw.send(frame(DATA, 0, stream) * 700 + frame(DATA, END_STREAM, stream, message(b"x")))
    assert raw.answer(stream)[1] == message(b"x")
    raw.close()
    raw = raw_connection()
    stream = raw.request(head(), end=False)
    is_calmed(raw, frame(DATA, 0, stream) * 3000)


def reset_calls(count, first):
    out = []
    for stream in range(first, first + 2 * count, 2):
        out.append(frame(HEADERS, END_HEADERS, stream, head("/test.Echo/Sleep")))
        out.append(frame(DATA, END_STREAM, stream, message(b"60000")))
        out.append(frame(RST, 0, stream, b"\0\0\0\x08"))
    return b"".join(out)


def test_resets():
    raw = raw_connection()
    raw.send(reset_calls(15000, 1))
    raw.next = 30001
    assert raw.works()
    raw.close()
    is_calmed(raw_connection(), reset_calls(60000, 1))
    wait_for(lambda: stats(channel)["sleeping"] == 0)


def test_resets_that_the_server_is_made_to_send():
    """A window that overflows is a stream's error, which the server answers with a reset."""
    out = []
    for stream in range(1, 120001, 2):
        out.append(frame(HEADERS, END_HEADERS, stream, head("/test.Echo/Sleep")))
        out.append(frame(WINDOW, 0, stream, b"\x7f\xff\xff\xff"))
    is_calmed(raw_connection(), b"".join(out))


def large_entry():
    """The header block of a call, all of it kept in the table, with one large entry that is the newest."""
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", "/test.Echo/Nothing"), (":authority", "x"),
             ("content-type", "application/grpc"), ("te", "trailers"), ("x-large", "v" * 3500)]
    out = b""
    for name, value in pairs:
        name, value = name.encode(), value.encode()
        out += b"\x40" + hpack_length(len(name)) + name + hpack_length(len(value)) + value
    return out


def pointing(count):
    """A call's headers by their places in the table, and the large one `count` times."""
    return bytes(0x80 | at for at in (68, 67, 66, 65, 64, 63)) + b"\xbe" * count


def test_small_blocks_that_point_to_a_large_entry():
    raw = raw_connection()
    assert huffman_free(raw.answer(raw.request(large_entry()))[0], 12)
    assert raw.answer(raw.request(pointing(3)))[0]
    assert huffman_free(raw.answer(raw.request(pointing(10)))[0], 8), "too large, and said so"
    out = b"".join(frame(HEADERS, END_HEADERS | END_STREAM, stream, pointing(40)) for stream in range(7, 20007, 2))
    is_calmed(raw, out)


def test_the_end_of_a_turn_falls_anywhere():
    """Many calls at once, each of them a lot of work for its bytes: a turn ends between two headers of one, also the last."""
    raw = raw_connection()
    raw.answer(raw.request(large_entry()))
    raw.socket.settimeout(10)
    for large in range(1, 5):
        for count in range(30000 // (26 + 55 * large), 33500 // (26 + 55 * large)):
            first, raw.next = raw.next, raw.next + 2 * count
            streams = range(first, raw.next, 2)
            raw.send(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, stream, pointing(large)) for stream in streams))
            raw.until(lambda f: f[2] == streams[-1] and f[1] & END_STREAM)
    raw.close()


def test_headers_out_of_all_proportion_are_a_reset():
    """And no reason to end other calls of the connection."""
    raw = raw_connection()
    parked = raw.request(head("/test.Echo/Sleep"), message(b"700"))
    raw.answer(raw.request(large_entry()))
    stream = raw.request(pointing(8000))
    assert raw.until(lambda f: f[2] == stream)[0] == RST
    assert raw.answer(parked)[1] == message(b"slept")
    raw.close()


def test_continuations():
    raw = raw_connection()
    is_calmed_or_refused(raw, frame(HEADERS, END_STREAM, 1, head()) + frame(CONTINUATION, 0, 1) * 1000)


def is_calmed_or_refused(raw, data):
    """nghttp2 has a bound of its own, and its own word for it."""
    listener = Listener(raw)
    send(raw, data)
    listener.join(20)
    assert not listener.is_alive(), "the connection goes on"
    assert unary(channel, "/test.Echo/Unary", b"other") == b"other"
    raw.close()


def test_end():
    wait_for(lambda: stats(channel)["conns"] == 1)
    channel.close()
    assert server.stop() == "drained"


run([
    test_settings,
    test_pings,
    test_priorities,
    test_unknown_frames,
    test_goaways,
    test_window_updates,
    test_empty_data,
    test_resets,
    test_resets_that_the_server_is_made_to_send,
    test_small_blocks_that_point_to_a_large_entry,
    test_the_end_of_a_turn_falls_anywhere,
    test_headers_out_of_all_proportion_are_a_reset,
    test_continuations,
    test_end,
])
