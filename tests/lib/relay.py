#!/usr/bin/env python3
"""A relay between clients and a server: an address that stays while servers change, and a link that can be bad.

    with Relay() as relay:
        relay.to("127.0.0.1:50051")     # new connections go there; those to another server are cut
        relay.rate(64 * 1024)           # bytes a second for each connection and direction; 0 = as fast as it goes
        relay.hold(True)                # nothing passes, nothing is closed
        relay.cut()                     # all connections are reset
    relay.delay(30)                 # what clients send arrives so many milliseconds later, for connections made from now on

The relay is a process of its own, told what to do by lines on its standard input; it ends when that is closed.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time

CHUNK_BYTES = 64 * 1024
SLICE_SECONDS = 0.05
PIECES_MAX = 256


class Link:
    """One connection and its twin on the other side."""

    def __init__(self, relay, near, far):
        self.relay = relay
        self.writers = [near[1], far[1]]
        ahead = self.pump(near[0], far[1]) if relay.delay_seconds == 0 else self.delayed(near[0], far[1], relay.delay_seconds)
        self.tasks = [asyncio.create_task(ahead), asyncio.create_task(self.pump(far[0], near[1]))]

    async def delayed(self, reader, writer, seconds):
        """What is on its way is in the queue, each piece with the time of its arrival."""
        pieces = asyncio.Queue(PIECES_MAX)
        self.tasks.append(asyncio.create_task(self.arrive(pieces, writer)))
        try:
            while data := await reader.read(CHUNK_BYTES):
                await pieces.put((time.monotonic() + seconds, data))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.close()

    async def arrive(self, pieces, writer):
        try:
            while True:
                at, data = await pieces.get()
                await asyncio.sleep(at - time.monotonic())
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            self.close()

    async def pump(self, reader, writer):
        try:
            while True:
                rate = self.relay.bytes_per_second
                data = await reader.read(max(1, int(rate * SLICE_SECONDS)) if rate else CHUNK_BYTES)
                await self.relay.passing.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
                if rate:
                    await asyncio.sleep(len(data) / rate)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.close()

    def close(self):
        """Resets both sides: what is on its way is lost, as with a host that went away."""
        self.relay.links.discard(self)
        for writer in self.writers:
            if not writer.transport.is_closing():
                writer.transport.abort()
        for task in self.tasks:
            task.cancel()


class RelayProcess:
    def __init__(self):
        self.links = set()
        self.target = None
        self.bytes_per_second = 0
        self.delay_seconds = 0
        self.passing = asyncio.Event()
        self.passing.set()

    async def connected(self, reader, writer):
        target = self.target
        try:
            if target is None:
                raise OSError("no server")
            host, port = target.rsplit(":", 1)
            far = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        for transport in (writer.transport, far[1].transport):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target != self.target:
            far[1].transport.abort()
            writer.transport.abort()
            return
        self.links.add(Link(self, (reader, writer), far))

    def cut(self):
        for link in list(self.links):
            link.close()

    def command(self, word, argument):
        if word == "to":
            self.target = argument
            self.cut()
        elif word == "rate":
            self.bytes_per_second = int(argument)
        elif word == "delay":
            self.delay_seconds = int(argument) / 1000
        elif word == "hold":
            self.passing.clear() if argument == "1" else self.passing.set()
        elif word == "cut":
            self.cut()

    async def main(self):
        server = await asyncio.start_server(self.connected, "127.0.0.1", 0, limit=CHUNK_BYTES)
        print(server.sockets[0].getsockname()[1], flush=True)
        commands = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            word, _, argument = line.decode().strip().partition(" ")
            self.command(word, argument)
            print("done", flush=True)


class Relay:
    def __init__(self):
        self.process = None
        self.address = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.address = "127.0.0.1:%d" % int(self.process.stdout.readline())
        return self

    def stop(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def _tell(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError("the relay has ended")

    def to(self, address):
        self._tell("to", address)

    def rate(self, bytes_per_second):
        self._tell("rate", str(bytes_per_second))

    def delay(self, milliseconds):
        self._tell("delay", str(milliseconds))

    def hold(self, on):
        self._tell("hold", "1" if on else "0")

    def cut(self):
        self._tell("cut")


if __name__ == "__main__":
    asyncio.run(RelayProcess().main())
