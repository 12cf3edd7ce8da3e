"""A hand-made HTTP/2 client: frames as bytes, so that a test can send what no library would."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack_length(n):
    if n < 127:
        return bytes([n])
    out, n = [127], n - 127
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def hpack(pairs):
    """Literals never indexed, no Huffman code."""
    out = b""
    for name, value in pairs:
        name, value = name.encode(), value if isinstance(value, bytes) else value.encode()
        out += b"\x10" + hpack_length(len(name)) + name + hpack_length(len(value)) + value
    return out


def head(path="/test.Echo/Unary", method="POST", kind="application/grpc", more=()):
    pairs = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
    if kind is not None:
        pairs.append(("content-type", kind))
    return hpack([*pairs, *more])


def message(body, flag=0):
    return struct.pack(">BI", flag, len(body)) + body


def huffman_free(blocks, code):
    """Whether the digits of an HTTP or gRPC status stand in header blocks that nghttp2 wrote."""
    # nghttp2 Huffman-codes short digits only when that is shorter; one- and two-digit statuses are either form.
    plain = str(code).encode()
    table = {"0": "00000", "1": "00001", "2": "00010", "3": "011001", "4": "011010", "5": "011011",
             "6": "011100", "7": "011101", "8": "011110", "9": "011111"}
    bits = "".join(table[c] for c in str(code))
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return blocks.find(bytes([len(plain)]) + plain) >= 0 or blocks.find(bytes([0x80 | len(coded)]) + coded) >= 0


def stream_windows(size):
    """SETTINGS that give each stream a window of that size."""
    return struct.pack(">HI", 4, size)


def conn_window(more):
    """The WINDOW_UPDATE that widens the connection's window."""
    return frame(WINDOW, 0, 0, struct.pack(">I", more))


class Raw:
    """A connection that says exactly what it is told to. talk: begin with the preface and SETTINGS."""

    def __init__(self, port, talk=True, settings=b""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.data = b""
        self.next = 1
        if talk:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def send(self, data):
        self.socket.sendall(data)

    def frame(self):
        """The next frame as (kind, flags, stream, payload); None at the end."""
        while True:
            if len(self.data) >= 9:
                size = int.from_bytes(self.data[:3], "big")
                if len(self.data) >= 9 + size:
                    kind, flags = self.data[3], self.data[4]
                    stream = int.from_bytes(self.data[5:9], "big")
                    payload, self.data = self.data[9 : 9 + size], self.data[9 + size :]
                    return kind, flags, stream, payload
            try:
                more = self.socket.recv(1 << 16)
            except ConnectionError:
                return None
            if not more:
                return None
            self.data += more

    def until(self, condition):
        while True:
            got = self.frame()
            assert got is not None, "the connection ended"
            if condition(got):
                return got

    def request(self, block, *bodies, end=True):
        """One call; its stream number."""
        stream, self.next = self.next, self.next + 2
        out = frame(HEADERS, END_HEADERS | (0 if bodies or not end else END_STREAM), stream, block)
        for i, body in enumerate(bodies):
            last = end and i + 1 == len(bodies)
            out += frame(DATA, END_STREAM if last else 0, stream, body)
        self.send(out)
        return stream

    def answer(self, stream):
        """All header blocks and data of a stream, to its end; and the reset that follows, if any."""
        blocks, pieces = b"", []
        while True:
            kind, flags, at, payload = self.until(lambda f: f[2] == stream)
            if kind == HEADERS:
                blocks += payload
            elif kind == DATA:
                pieces.append(payload)
            elif kind == RST:
                return blocks, b"".join(pieces), int.from_bytes(payload, "big")
            if flags & END_STREAM and kind in (HEADERS, DATA):
                return blocks, b"".join(pieces), None

    def works(self):
        _, data, _ = self.answer(self.request(head(), message(b"still")))
        return data == message(b"still")

    def close(self):
        self.socket.close()
