"""What a peer can make the server hold: it must never end it, and never take memory out of proportion."""

import atexit

import h2
from h2 import DATA, END_STREAM, HEADERS, RST, head, message
from harness import Server, run

MIB = 1 << 20
WIDE = 0x7FFFFFFF


def start(*args):
    server = Server(*args)
    atexit.register(server.process.kill)
    return server, server.channel()


def end(server, channel):
    channel.close()
    assert server.stop() == "drained"


def wide(server):
    """A connection whose windows never hold the server back."""
    raw = h2.Raw(server.port, settings=h2.stream_windows(WIDE))
    raw.send(h2.conn_window(WIDE - 65535))
    return raw


def read_all(raw, streams):
    """Bytes of data of each stream, once all of them have ended."""
    left, sizes = set(streams), {stream: 0 for stream in streams}
    while left:
        kind, flags, stream, payload = raw.until(lambda f: f[0] in (HEADERS, DATA, RST))
        sizes[stream] += len(payload) if kind == DATA else 0
        if kind == RST or flags & END_STREAM:
            left.discard(stream)
    return sizes


def test_one_large_reply_into_wide_windows():
    server, channel = start()
    raw = wide(server)
    stream = raw.request(head("/test.Echo/Stream"), message(b"1 %d" % (40 * MIB)))
    assert read_all(raw, [stream])[stream] == 40 * MIB + 5
    raw.close()
    end(server, channel)


def test_many_replies_into_wide_windows():
    server, channel = start()
    raw = wide(server)
    streams = [raw.request(head("/test.Echo/Stream"), message(b"1 %d" % MIB)) for _ in range(60)]
    assert set(read_all(raw, streams).values()) == {MIB + 5}
    raw.close()
    end(server, channel)


run([
    test_one_large_reply_into_wide_windows,
    test_many_replies_into_wide_windows,
])
