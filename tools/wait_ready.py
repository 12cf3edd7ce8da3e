#!/usr/bin/env python3
"""Waits until a Silo server answers SERVING to a health check of silo.v1.Silo, or its process is gone.

Usage: wait_ready.py --address HOST:PORT [--pid PID] [--seconds N]

Needs grpcio only; the two health messages are written out as bytes.
"""

import argparse
import os
import sys
import time

import grpc

SERVICE = b"silo.v1.Silo"
REQUEST = b"\x0a" + bytes([len(SERVICE)]) + SERVICE  # HealthCheckRequest{service}
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
PAUSE_SECONDS = 0.05


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A child that ended and was not waited for yet still has a process entry.
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    last = "no answer"
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    with grpc.insecure_channel(args.address, options=options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        while time.monotonic() < deadline:
            if args.pid is not None and not alive(args.pid):
                print(f"wait_ready: process {args.pid} has ended", file=sys.stderr)
                return 1
            try:
                answer = check(REQUEST, timeout=1)
                if answer == SERVING:
                    return 0
                last = "not serving yet"
            except grpc.RpcError as error:
                last = f"{error.code().name}: {error.details()}"
            time.sleep(PAUSE_SECONDS)
    print(f"wait_ready: {args.address} is not ready after {args.seconds:g} s ({last})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
