"""What a peer can make the server hold: it must never end it, and never take memory out of proportion."""

import atexit
import signal
import subprocess
import tempfile

import grpc

import h2
from h2 import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, RST, SETTINGS, frame, head, message
from harness import Server, fails, run, stats, unary, wait_for

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
MIB = 1 << 20
WIDE = 0x7FFFFFFF


def descriptors():
    """A FileDescriptorSet whose one file is some 25 KB; and a reflection request for it."""
    proto = 'syntax = "proto3"; package big;\n'
    proto += "\n".join(f"message M{i} {{ string a_rather_long_field_name = 1; }}" for i in range(800))
    directory = tempfile.TemporaryDirectory()
    with open(f"{directory.name}/big.proto", "w") as file:
        file.write(proto)
    out = f"{directory.name}/big.bin"
    subprocess.run(["protoc", f"-I{directory.name}", f"--descriptor_set_out={out}", "big.proto"], check=True)
    return directory, out


def asks(name=b"big.proto"):
    return message(bytes([0x1A, len(name)]) + name)


directory, descriptor_file = descriptors()


def start(*args):
    server = Server("--descriptors", descriptor_file, *args)
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
        if kind == DATA and stream in sizes:
            sizes[stream] += len(payload)
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


def unread(server, count, path, body, **kw):
    """A connection that asks so many times, gives no window for the answers, and has seen how each call began."""
    raw = h2.Raw(server.port, settings=h2.stream_windows(0))
    streams = [raw.request(head(path, **kw), message(body)) for _ in range(count)]
    refused = set()
    for _ in range(count):
        _, flags, stream, _ = raw.until(lambda f: f[0] == HEADERS)
        if flags & END_STREAM:
            refused.add(stream)
    return raw, [stream for stream in streams if stream not in refused], len(refused)


def test_unread_replies_stay_within_the_share_of_a_connection():
    """100 replies of 24 MiB that nobody reads: those that fit are held, the others refused before they are made."""
    for path, body, count in [("/test.Echo/Reserve", b"%d" % (24 * MIB), 100),
                              ("/test.Echo/Stream", b"1 %d" % (24 * MIB), 20)]:
        server, channel = start()
        raw, _, refused = unread(server, count, path, body)
        assert refused == count - 10, refused
        held = stats(channel)["replies"]
        assert 240 * MIB <= held <= 256 * MIB, held
        assert unary(channel, "/test.Echo/Unary", b"others") == b"others"
        raw.close()
        wait_for(lambda: stats(channel)["replies"] < MIB)
        assert server.rss() < 32 * MIB, server.rss()
        end(server, channel)


def test_a_full_connection_is_refused_until_it_has_read_half():
    """Else each of its calls would have its payload read from storage, to be dropped."""
    server, channel = start("--conn-reply-bytes", str(10 * MIB))
    raw, held, refused = unread(server, 4, "/test.Echo/Reserve", b"%d" % (3 * MIB))
    assert refused == 1
    stream = raw.request(head("/test.Echo/Reserve"), message(b"100000"))  # there is room for this one
    _, flags, _, _ = raw.until(lambda f: f[0] == HEADERS and f[2] == stream)
    assert flags & END_STREAM  # but it is refused at once
    raw.send(h2.conn_window(WIDE - 65535) + frame(SETTINGS, 0, 0, h2.stream_windows(WIDE)))
    read_all(raw, held)
    more = raw.request(head("/test.Echo/Reserve"), message(b"100000"))
    assert read_all(raw, [more])[more] == 100005
    raw.close()
    end(server, channel)


def test_unread_replies_stay_within_the_budget_of_the_server():
    server, channel = start("--reply-bytes", str(100 * MIB))
    raws = [unread(server, 3, "/test.Echo/Reserve", b"%d" % (24 * MIB)) for _ in range(3)]
    assert [refused for _, _, refused in raws] == [0, 2, 3]
    assert server.rss() < 180 * MIB
    fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: unary(channel, "/test.Echo/Reserve", b"%d" % (5 * MIB)))
    assert len(unary(channel, "/test.Echo/Reserve", b"1000")) == 1000
    raws[0][0].close()
    wait_for(lambda: stats(channel)["replies"] < 25 * MIB)
    assert len(unary(channel, "/test.Echo/Reserve", b"%d" % (5 * MIB))) == 5 * MIB
    for raw, _, _ in raws[1:]:
        raw.close()
    end(server, channel)


def test_urgent_calls_are_answered_on_a_full_server():
    """Large replies of this connection are ready, and others hold all there is for small ones: a heartbeat passes."""
    server, channel = start("--reply-bytes", str(4 * MIB))
    raw, held, refused = unread(server, 1, "/test.Echo/Reserve", b"%d" % MIB)
    assert len(held) == 1
    others = [unread(server, 80, "/test.Echo/Reserve", b"65000")[0] for _ in range(2)]
    assert stats(channel)["replies"] > 4 * MIB
    raw.send(h2.conn_window(WIDE - 65535))
    fails_now = raw.request(head("/test.Echo/Unary"), message(b"work"))
    _, flags, _, _ = raw.until(lambda f: f[0] == HEADERS and f[2] == fails_now)
    assert flags & END_STREAM
    urgent = raw.request(head("/test.Echo/Urgent"), message(b"beat"))
    _, flags, _, _ = raw.until(lambda f: f[0] == HEADERS and f[2] == urgent)
    assert not flags & END_STREAM
    for one in [raw, *others]:
        one.close()
    end(server, channel)


def test_small_replies_that_nobody_reads_end_in_refusals():
    """Small replies pass above the maximum, by a quarter; then calls are refused before their handler runs."""
    server, channel = start("--conn-reply-bytes", str(1 * MIB))
    raw, held, refused = unread(server, 40, "/test.Echo/Reserve", b"60000")
    assert 40 - refused == (MIB + MIB // 4) // 60005, refused
    # One that takes what there is is answered again.
    raw.send(h2.conn_window(WIDE - 65535))
    raw.send(frame(SETTINGS, 0, 0, h2.stream_windows(WIDE)))
    read_all(raw, held)
    assert raw.works()
    raw.close()
    end(server, channel)


def test_a_deadline_counts_until_the_reply_was_taken():
    server, channel = start()
    raw, streams, refused = unread(server, 4, "/test.Echo/Reserve", b"%d" % (24 * MIB), more=[("grpc-timeout", "300m")])
    assert refused == 0
    resets = [raw.until(lambda f: f[0] == RST) for _ in streams]
    assert {stream for _, _, stream, _ in resets} == set(streams)
    assert {payload for _, _, _, payload in resets} == {b"\0\0\0\x08"}
    assert stats(channel)["replies"] < MIB
    assert server.rss() < 32 * MIB
    raw.send(frame(SETTINGS, 0, 0, h2.stream_windows(65535)))
    assert raw.works()
    raw.close()
    end(server, channel)


def test_reflection_answers_into_wide_windows():
    server, channel = start()
    raw = wide(server)
    size = len(asks()) - 5
    stream = raw.request(head(REFLECTION), *[asks() * 500] * 3)
    sizes = read_all(raw, [stream])
    assert sizes[stream] > 1500 * (25000 + size)
    raw.close()
    end(server, channel)


def test_unread_reflection_answers_are_not_made():
    """A peer that asks 30,000 times for 25 KB and reads nothing: its requests wait, as far as its windows go."""
    server, channel = start()
    before = server.rss()
    raw = h2.Raw(server.port, settings=h2.stream_windows(0))
    raw.until(lambda f: f[0] == SETTINGS)
    raw.send(frame(SETTINGS, ACK, 0))  # now the server's windows hold
    streams = [raw.request(head(REFLECTION), asks(), end=False) for _ in range(10)]
    for stream in streams:
        for _ in range(6):
            raw.send(frame(DATA, 0, stream, asks() * 500))
    wait_for(lambda: stats(channel)["inflight"] > 10 * 2990 * len(asks()))
    assert stats(channel)["replies"] < 10 * 128 * 1024
    assert server.rss() - before < 8 * MIB, server.rss() - before
    # It reads after all: every request is answered, and the end comes after the last of them.
    raw.send(h2.conn_window(WIDE - 65535) + frame(SETTINGS, 0, 0, h2.stream_windows(WIDE)))
    raw.send(frame(DATA, END_STREAM, streams[0]))
    assert read_all(raw, streams[:1])[streams[0]] > 3001 * 25000
    raw.close()
    end(server, channel)


def amplified(server, count):
    """A connection with that many requests that do not end, of some 100 bytes each, whose headers are 16 KB decoded."""
    raw = h2.Raw(server.port)
    entry = b"\x40" + h2.hpack_length(1) + b"x" + h2.hpack_length(3900) + b"v" * 3900
    raw.send(b"".join(frame(HEADERS, END_HEADERS, 1 + 2 * i, head() + (entry if i == 0 else b"\xbe") + b"\xbe" * 3)
                      for i in range(count)))
    return raw


def test_a_deadline_frees_what_a_full_socket_keeps_back():
    """Its reset cannot leave, since the peer reads nothing at all: what waited is freed all the same."""
    server, channel = start()
    raw = wide(server)
    for _ in range(4):
        raw.request(head("/test.Echo/Reserve", more=[("grpc-timeout", "1S")]), message(b"%d" % (24 * MIB)))
    wait_for(lambda: stats(channel)["replies"] > 64 * MIB)
    wait_for(lambda: stats(channel)["replies"] < MIB)
    assert server.rss() < 32 * MIB
    # It reads after all: what was under way, then the resets; the connection is as good as before.
    resets = [raw.until(lambda f: f[0] == RST) for _ in range(4)]
    assert {stream for _, _, stream, _ in resets} == {1, 3, 5, 7}
    assert raw.works()
    raw.close()
    end(server, channel)


def test_a_server_stream_that_nobody_reads_is_given_up():
    """Also before its end: the producer waits for the peer, and is told when it is waited for no longer."""
    server, channel = start("--output", "300")
    raw, streams, refused = unread(server, 1, "/test.Echo/Stream", b"1000000 1000")
    assert refused == 0 and stats(channel)["replies"] > MIB // 2
    kind, _, _, payload = raw.until(lambda f: f[2] == streams[0])
    assert kind == RST and payload == b"\0\0\0\x08"
    wait_for(lambda: stats(channel)["cancels"] == 1)
    assert stats(channel)["replies"] < 65536 and stats(channel)["calls"] == 1
    raw.close()
    end(server, channel)


def test_headers_of_open_calls_have_a_share_of_each_connection():
    """82 MB of headers from 375 KB were kept for one connection; the server goes on for it and for others."""
    server, channel = start()
    before = server.rss()
    raw = amplified(server, 4000)
    wait_for(lambda: stats(channel)["callbytes"] > 15 * MIB)
    assert unary(channel, "/test.Echo/Unary", b"others") == b"others"
    assert stats(channel)["callbytes"] < 16 * MIB + 65536
    assert server.rss() - before < 20 * MIB, server.rss() - before
    refused = [raw.until(lambda f: f[0] == RST)[3] for _ in range(2000)]
    assert b"\0\0\0\x07" in refused  # REFUSED_STREAM: it may be tried again
    raw.send(b"".join(frame(RST, 0, 1 + 2 * i, b"\0\0\0\x08") for i in range(4000)))
    wait_for(lambda: stats(channel)["callbytes"] < MIB)
    raw.next = 8001
    assert raw.works()
    raw.close()
    end(server, channel)


def test_headers_of_open_calls_have_a_budget_of_the_server():
    server, channel = start("--call-bytes", str(24 * MIB))
    before = server.rss()
    raws = [amplified(server, 1000) for _ in range(8)]
    wait_for(lambda: stats(channel)["callbytes"] > 24 * MIB)
    assert stats(channel)["callbytes"] < 25 * MIB
    assert server.rss() - before < 40 * MIB, server.rss() - before
    # A connection of little weight is served whatever the others hold.
    assert unary(channel, "/test.Echo/Unary", b"others") == b"others"
    for raw in raws:
        raw.close()
    wait_for(lambda: stats(channel)["callbytes"] < MIB)
    end(server, channel)


def test_frames_that_nobody_reads_end_the_connection():
    """Refusals of streams beyond the limit, queued behind output that the peer does not take."""
    server, channel = start()
    before = server.rss()
    raw = wide(server)
    raw.request(head("/test.Echo/Stream"), message(b"1 %d" % (40 * MIB)))
    wait_for(lambda: stats(channel)["replies"] > 20 * MIB)
    sent = 0
    try:
        while sent < 400000:
            block = b"".join(frame(HEADERS, END_HEADERS, raw.next + 2 * i, b"") for i in range(1000))
            raw.next += 2000
            sent += 1000
            raw.send(block)
    except (ConnectionError, TimeoutError):
        pass
    wait_for(lambda: stats(channel)["conns"] == 1)
    assert server.rss() - before < 60 * MIB, server.rss() - before
    raw.close()
    end(server, channel)


PINGS = frame(h2.PING, 0, 0, bytes(8))


def test_frames_for_all_that_read_nothing_have_a_budget_of_the_server():
    """Each may have thousands of them; together they may have fewer than that times the connections."""
    server, channel = start("--queued-frames", "1000")
    raws = [wide(server) for _ in range(4)]
    for raw in raws:
        raw.request(head("/test.Echo/Stream"), message(b"1 %d" % (40 * MIB)))  # fills the socket
    wait_for(lambda: stats(channel)["replies"] > 159 * MIB)
    for _ in range(2):  # the first ones may still become bytes that wait for the socket
        for raw in raws:
            raw.send(PINGS * 240)
        unary(channel, "/test.Echo/Unary")
    assert stats(channel)["conns"] == 5
    for _ in range(20):  # some 5,000 frames for each: somebody is given up, as soon as the server has read that far
        if stats(channel)["conns"] != 5:
            break
        for raw in raws:
            raw.send(PINGS * 250)
    wait_for(lambda: stats(channel)["conns"] != 5)
    for raw in raws:
        raw.close()
    end(server, channel)


def test_frames_that_come_over_many_connections_at_once():
    """Answers leave before the next connection is read: else those of all of them lie in memory together."""
    server, channel = start()
    raws = [h2.Raw(server.port) for _ in range(400)]
    wait_for(lambda: stats(channel)["conns"] == 401)
    server.process.send_signal(signal.SIGSTOP)
    for raw in raws:
        raw.send(PINGS * 3000)
    server.process.send_signal(signal.SIGCONT)
    assert all(raw.until(lambda f: f[0] == h2.PING) for raw in raws)
    assert server.peak() < 60 * MIB, server.peak()
    for raw in raws:
        raw.close()
    end(server, channel)


run([
    test_one_large_reply_into_wide_windows,
    test_many_replies_into_wide_windows,
    test_unread_replies_stay_within_the_share_of_a_connection,
    test_a_full_connection_is_refused_until_it_has_read_half,
    test_unread_replies_stay_within_the_budget_of_the_server,
    test_urgent_calls_are_answered_on_a_full_server,
    test_small_replies_that_nobody_reads_end_in_refusals,
    test_a_deadline_counts_until_the_reply_was_taken,
    test_a_deadline_frees_what_a_full_socket_keeps_back,
    test_a_server_stream_that_nobody_reads_is_given_up,
    test_headers_of_open_calls_have_a_share_of_each_connection,
    test_headers_of_open_calls_have_a_budget_of_the_server,
    test_frames_that_nobody_reads_end_the_connection,
    test_reflection_answers_into_wide_windows,
    test_unread_reflection_answers_are_not_made,
    test_frames_for_all_that_read_nothing_have_a_budget_of_the_server,
    test_frames_that_come_over_many_connections_at_once,
])
