"""How many connections there may be, and what becomes of those beyond. usage: conns_test.py"""

import os
import socket
import tempfile
import time

from harness import Server, run, stats, unary, wait_for

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


def connect(server):
    peer = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    try:
        peer.sendall(HELLO)
    except ConnectionError:
        pass
    return peer


def is_open(peer):
    """Whether the server has answered with its SETTINGS rather than with an end."""
    try:
        return len(peer.recv(9)) == 9
    except ConnectionError:
        return False


def logged(*args, **kw):
    """A server whose log is a file."""
    log = tempfile.TemporaryFile("w+")
    server = Server(*args, stderr=log, **kw)

    def lines():
        log.flush()
        log.seek(0)
        return log.read().splitlines()

    return server, lines


def test_all_places_taken():
    server, lines = logged("--conns", "5", "--conns-per-address", "5")
    channel = server.channel()
    assert unary(channel, "/test.Echo/Unary", b"x") == b"x"
    peers = [connect(server) for _ in range(20)]
    opened = [is_open(peer) for peer in peers]
    assert sum(opened) == 4, opened
    assert unary(channel, "/test.Echo/Unary", b"x") == b"x"
    assert sum("connections_refused" in line for line in lines()) == 1, lines()
    for peer in peers:
        peer.close()
    wait_for(lambda: stats(channel)["conns"] == 1)
    late = connect(server)
    assert is_open(late)
    late.close()
    channel.close()
    assert server.stop() == "drained"


def test_one_address_leaves_room_for_others():
    server, lines = logged("--conns", "8")
    peers = [connect(server) for _ in range(8)]
    assert sum(is_open(peer) for peer in peers) == 6
    assert sum("this address" in line for line in lines()) == 1, lines()
    other = socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=("127.0.0.2", 0))
    other.sendall(HELLO)
    assert is_open(other)
    for peer in [*peers, other]:
        peer.close()
    assert server.stop() == "drained"


def test_no_descriptor_left():
    """Connections are taken and closed; nobody waits in the backlog, and the loop rests."""
    server, lines = logged(open_files=40)
    channel = server.channel()
    assert unary(channel, "/test.Echo/Unary", b"x") == b"x"
    peers = [connect(server) for _ in range(100)]
    opened = [is_open(peer) for peer in peers]
    assert 0 < sum(opened) < 40, sum(opened)
    assert unary(channel, "/test.Echo/Unary", b"x") == b"x"
    said = [line for line in lines() if "connections_refused" in line]
    assert len(said) == 1 and "descriptor" in said[0], lines()
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as file:
        start = sum(int(n) for n in file.read().split()[13:15])
    time.sleep(0.5)
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as file:
        ticks = sum(int(n) for n in file.read().split()[13:15]) - start
    assert ticks < 0.25 * os.sysconf("SC_CLK_TCK"), ticks
    for peer in peers:
        peer.close()
    wait_for(lambda: stats(channel)["conns"] == 1)
    channel.close()
    assert server.stop() == "drained"


run([
    test_all_places_taken,
    test_one_address_leaves_room_for_others,
    test_no_descriptor_left,
])
