"""What no gRPC client sends: hand-made HTTP/2 frames, garbage, floods. usage: http2_test.py"""

import os
import random
import socket
import struct

import grpc

import h2
from h2 import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST, SETTINGS, WINDOW,
                frame, head, huffman_free, message)
from harness import Server, fails, run, stats, unary, wait_for

server = Server("--token", "sesame")
channel = server.channel()


def Raw(**kw):
    return h2.Raw(server.port, **kw)


def refused(*args, **kw):
    """Sends one call on a connection of its own, which must stay usable; returns its header blocks."""
    raw = Raw()
    blocks, data, _ = raw.answer(raw.request(*args, **kw))
    assert data == b""
    assert raw.works()
    raw.close()
    return blocks


def status_of(path, *bodies, code, **kw):
    """The same request, judged by what a grpc client on a fresh connection would read: the digits in the block."""
    blocks = refused(head(path, **kw), *bodies)
    return huffman_free(blocks, code)


def test_http_refusals():
    assert huffman_free(refused(head(method="GET")), 405)
    assert huffman_free(refused(head(method="PUT"), message(b"x")), 405)
    assert huffman_free(refused(head(kind="application/json"), message(b"x")), 415)
    assert huffman_free(refused(head(kind="application/grpcx"), message(b"x")), 415)
    assert huffman_free(refused(head(kind=None), message(b"x")), 415)


def test_content_types():
    for kind in ["application/grpc+proto", "application/grpc;charset=utf-8"]:
        raw = Raw()
        assert raw.answer(raw.request(head(kind=kind), message(b"x")))[1] == message(b"x")
        raw.close()


def test_framing():
    echo = "/test.Echo/Unary"
    assert status_of(echo, message(b"x", flag=2), code=13)
    assert status_of(echo, message(b"x", flag=1), code=12)
    assert status_of(echo, message(b"x")[:-1], code=13)
    assert status_of(echo, b"\0\0", code=13)
    assert status_of(echo, message(b"x") + message(b"y"), code=13)
    assert status_of(echo, message(b"x"), message(b"y"), code=13)
    assert status_of(echo, code=13)
    assert status_of(echo, struct.pack(">BI", 0, (128 << 20) + 1), code=11)
    assert status_of(echo, struct.pack(">BI", 0, 0xFFFFFFFF), code=11)


def test_split_frames():
    raw = Raw()
    body = message(b"one byte at a time")
    stream = raw.request(head(), *[body[i : i + 1] for i in range(len(body))])
    assert raw.answer(stream)[1] == body
    raw.close()


def test_early_answer_is_followed_by_a_reset():
    raw = Raw()
    stream = raw.request(head(), struct.pack(">BI", 0, (128 << 20) + 1), end=False)
    assert raw.answer(stream)[0]
    kind, _, _, payload = raw.until(lambda f: f[2] == stream)
    assert kind == RST and payload == b"\0\0\0\0"
    raw.send(frame(DATA, 0, stream, b"late " * 1000) + frame(DATA, END_STREAM, stream, b"later"))
    assert raw.works()
    raw.close()


def test_late_frames_on_a_reset_stream():
    raw = Raw()
    stream = raw.request(head("/test.Echo/Sleep"), message(b"60000"), end=False)
    raw.send(frame(RST, 0, stream, b"\0\0\0\x08") + frame(WINDOW, 0, stream, b"\0\0\0\1"))
    raw.send(frame(DATA, END_STREAM, stream, b"late"))
    assert raw.works()
    raw.close()


def test_auth_texts():
    for value in ["Bearer nö".encode(), b"\xff"]:
        assert status_of("/test.Locked/Unary", message(b"x"), code=16, more=[("authorization", value)])
    assert status_of("/test.Locked/Unary", message(b"x"), code=16)


def test_timeouts():
    for bad in ["", "5", "x", "123456789S", "5X", "-1S"]:
        raw = Raw()
        block = head(more=[("grpc-timeout", bad)])
        assert raw.answer(raw.request(block, message(b"x")))[1] == message(b"x")
        raw.close()
    for short in ["20m", "20000u", "20000000n", "0S"]:
        assert status_of("/test.Echo/Sleep", message(b"60000"), code=4, more=[("grpc-timeout", short)])
    for long in ["99999999H", "99999999M"]:
        raw = Raw()
        block = head("/test.Echo/Sleep", more=[("grpc-timeout", long)])
        assert raw.answer(raw.request(block, message(b"10")))[1] == message(b"slept")
        raw.close()


def test_big_headers():
    """40 KB of headers, which some clients send whatever SETTINGS say; in pieces, too."""
    block = head(more=[(f"x-{i}", "v" * 4000) for i in range(10)])
    raw = Raw()
    raw.send(frame(HEADERS, END_STREAM, 1, block[:16000]))
    raw.send(frame(CONTINUATION, 0, 1, block[16000:32000]))
    raw.send(frame(CONTINUATION, END_HEADERS, 1, block[32000:]))
    raw.next = 3
    assert huffman_free(raw.answer(1)[0], 8)
    assert raw.works()
    raw.close()


def test_ping_flood():
    raw = Raw()
    for burst in range(10):
        raw.send(frame(PING, 0, 0, b"12345678") * 5000)
        for _ in range(5000):
            raw.until(lambda f: f[0] == PING and f[1] & ACK)
    assert raw.works()
    raw.close()


def test_reset_flood():
    """4,000 calls and resets in one go on one connection: it stays, and no call is left behind."""
    raw = Raw()
    out = []
    for _ in range(4000):
        out.append(frame(HEADERS, END_HEADERS, raw.next, head("/test.Echo/Sleep")))
        out.append(frame(DATA, END_STREAM, raw.next, message(b"60000")))
        out.append(frame(RST, 0, raw.next, b"\0\0\0\x08"))
        raw.next += 2
    raw.send(b"".join(out))
    assert raw.works()
    wait_for(lambda: stats(channel)["sleeping"] == 0)
    raw.close()


def test_lost_connection_cancels():
    before = stats(channel)["cancels"]
    raw = Raw()
    raw.request(head("/test.Echo/Sleep"), message(b"60000"))
    raw.request(head("/test.Echo/Unary"), message(b"half")[:-2], end=False)
    wait_for(lambda: stats(channel)["sleeping"] == 1)
    raw.close()
    wait_for(lambda: stats(channel)["cancels"] == before + 1)
    wait_for(lambda: stats(channel)["inflight"] < 100)


def test_window_is_given_back():
    """More than a connection window in requests that are refused early must not use the window up."""
    raw = Raw()
    for _ in range(40):
        stream = raw.request(head("/test.Echo/Nothing"), end=False)
        for _ in range(32):
            raw.send(frame(DATA, 0, stream, bytes(16384)))
        raw.answer(stream)
    assert raw.works()
    raw.close()


def test_blocked_output():
    """A client that reads nothing while the server has much to say; then it reads, and all is there."""
    raw = Raw()
    raw.send(frame(WINDOW, 0, 0, struct.pack(">I", 0x70000000 - 65535)))
    stream = raw.request(head("/test.Echo/Stream"), message(b"40 1000000"))
    raw.send(frame(WINDOW, 0, stream, struct.pack(">I", 0x70000000 - 65535)))
    assert unary(channel, "/test.Echo/Unary", b"others") == b"others"
    assert len(raw.answer(stream)[1]) == 40 * 1000005
    raw.close()


def test_goaway_on_protocol_error():
    raw = Raw()
    raw.send(frame(DATA, 0, 0, b"data on stream zero"))
    raw.until(lambda f: f[0] == GOAWAY)
    assert raw.frame() is None
    raw.close()


def test_garbage():
    """Random bytes, before and after a good beginning, whole and mutated: the server lives and forgets."""
    seed = int(os.environ.get("RPC_GARBAGE_SEED") or random.randrange(1 << 32))
    print(f"RPC_GARBAGE_SEED={seed}")
    rng = random.Random(seed)
    good = frame(HEADERS, END_HEADERS, 1, head()) + frame(DATA, END_STREAM, 1, message(b"hello"))
    good += frame(PING, 0, 0, b"12345678") + frame(WINDOW, 0, 0, b"\0\1\0\0")
    for round in range(600):
        raw = Raw(talk=False)
        kind = round % 4
        if kind == 0:
            out = rng.randbytes(rng.randrange(1, 2000))
        elif kind == 1:
            out = PREFACE + frame(SETTINGS, 0, 0) + rng.randbytes(rng.randrange(1, 2000))
        elif kind == 2:
            body = bytearray(good)
            for _ in range(rng.randrange(1, 8)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            out = PREFACE + frame(SETTINGS, 0, 0) + bytes(body)
        else:
            out = PREFACE + frame(SETTINGS, 0, 0)
            for _ in range(rng.randrange(1, 30)):
                size = rng.choice([0, 1, 4, 5, 8, 9, 100, 17000])
                out += frame(rng.randrange(12), rng.randrange(256), rng.randrange(8), rng.randbytes(size))
        try:
            raw.send(out)
        except ConnectionError:
            pass
        raw.close()
    assert unary(channel, "/test.Echo/Unary", b"alive") == b"alive"
    wait_for(lambda: stats(channel)["conns"] == 1)
    wait_for(lambda: stats(channel)["calls"] == 1 and stats(channel)["inflight"] < 100)


def test_slow_byte_by_byte():
    raw = Raw(talk=False)
    raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    out = PREFACE + frame(SETTINGS, 0, 0)
    out += frame(HEADERS, END_HEADERS, 1, head()) + frame(DATA, END_STREAM, 1, message(b"slow"))
    for i in range(len(out)):
        raw.send(out[i : i + 1])
    raw.next = 3
    assert raw.answer(1)[1] == message(b"slow")
    raw.close()


def test_end():
    fails(grpc.StatusCode.UNIMPLEMENTED, lambda: unary(channel, "/a"))
    channel.close()
    assert server.stop() == "drained"


run([
    test_http_refusals,
    test_content_types,
    test_framing,
    test_split_frames,
    test_early_answer_is_followed_by_a_reset,
    test_late_frames_on_a_reset_stream,
    test_auth_texts,
    test_timeouts,
    test_big_headers,
    test_ping_flood,
    test_reset_flood,
    test_lost_connection_cancels,
    test_window_is_given_back,
    test_blocked_output,
    test_goaway_on_protocol_error,
    test_garbage,
    test_slow_byte_by_byte,
    test_end,
])
