"""One end of a connection whose receiver logs every read: TCP, MPTCP or SCTP. Standard library only, for a fast start.

Who opens the connection (``server``, ``client``) and who sends (``send``, ``receive``) are chosen apart,
since the review asks about both initiators. The congestion control is always set, because a host's default
may be anything. SIGTERM, or the sender's end, ends it: the log is written and the exit status is 0.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import time
from pathlib import Path

from experiments.probes.log_format import IntegerLog
from experiments.probes.script import finish, run

READ_BYTES = 1 << 18
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "mptcp": 262, "sctp": 132}
"""IP protocol numbers; IPPROTO_MPTCP (linux/in.h) names a kind of socket, on the wire it is TCP (RFC 8684)."""
SOL_MPTCP, MPTCP_INFO, INFO_FLAG_FALLBACK = (
    284,
    1,
    1,
)  # linux/mptcp.h; flags are 8 bytes into struct mptcp_info
SCTP_NODELAY = 3  # linux/sctp.h; RFC 6458 section 8.1.5


def connect(options: argparse.Namespace, log: IntegerLog) -> socket.socket:
    """Open the connection in the role asked for; the log appears when listening, or when connected."""
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, PROTOCOLS[options.protocol]) as opener:
        if options.protocol != "sctp":  # it has one congestion control of its own
            opener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, options.congestion_control.encode())
        if options.role == "client":
            opener.settimeout(options.connect_timeout)
            opener.connect((options.address, options.port))
            opener.settimeout(None)
            log.announce()
            return socket.socket(fileno=opener.detach())
        opener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opener.bind((options.address, options.port))
        opener.listen(1)
        log.announce()
        connection, _ = opener.accept()
        return connection


def fell_back(connection: socket.socket) -> bool:
    """Whether a connection that asked for MPTCP is plain TCP."""
    try:
        info = connection.getsockopt(SOL_MPTCP, MPTCP_INFO, 64)
    except OSError:  # the socket that was accepted is one of TCP
        return True
    return bool(struct.unpack_from("=I", info, 8)[0] & INFO_FLAG_FALLBACK)


def send_at_once(connection: socket.socket, protocol: str) -> None:
    """Have small writes leave without waiting for more."""
    if protocol == "sctp":
        connection.setsockopt(PROTOCOLS["sctp"], SCTP_NODELAY, 1)
    else:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def receive(connection: socket.socket, log: IntegerLog) -> None:
    """Log (time, bytes) of every read until the sender ends."""
    buffer = bytearray(READ_BYTES)
    extend, clock_ns, read = log.values.extend, time.monotonic_ns, connection.recv_into
    while number := read(buffer):
        extend((clock_ns(), number))


def send_bulk(connection: socket.socket, log: IntegerLog) -> None:
    """Send as fast as the connection takes it; log (time, bytes) of every write."""
    block = bytes(1 << 16)
    while True:
        number = connection.send(block)
        log.values.extend((time.monotonic_ns(), number))


def send_paced(
    connection: socket.socket,
    log: IntegerLog,
    rate_bps: float,
    block_bytes: int,
    tick_s: float,
    whole: bool = True,
) -> None:
    """Send like an application with a constant rate: at each tick, the blocks due by then.

    What the connection did not take while it stood still is offered afterwards, as by an application that
    queues. ``whole``: in one write; SCTP keeps each write as a message, which may not be larger than its buffer.
    """
    blocks_per_s = rate_bps / 8 / block_bytes
    tick_s = max(tick_s, 1 / blocks_per_s)
    start_s = time.monotonic()
    sent = tick = 0
    while True:
        reached = int((time.monotonic() - start_s) / tick_s)
        log.counters["missed_ticks"] += max(reached - tick, 0)
        tick = max(reached, tick) + 1
        time.sleep(max(start_s + tick * tick_s - time.monotonic(), 0.0))
        due = int((time.monotonic() - start_s) * blocks_per_s) - sent
        if due > 0:
            for _ in range(1 if whole else due):
                connection.sendall(bytes(due * block_bytes if whole else block_bytes))
            log.values.extend((time.monotonic_ns(), due * block_bytes))
            sent += due


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="tcp_stream", description=__doc__.splitlines()[0] if __doc__ else None
    )
    arguments.add_argument("role", choices=("server", "client"))
    arguments.add_argument("direction", choices=("send", "receive"))
    arguments.add_argument("--address", required=True, help="to listen on (server) or to connect to (client)")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True, help="the log")
    arguments.add_argument("--protocol", choices=tuple(PROTOCOLS), default="tcp")
    arguments.add_argument(
        "--congestion-control", required=True, help="such as cubic, reno, bbr; not of SCTP"
    )
    arguments.add_argument("--rate-bps", type=float, default=0.0, help="of the sender; 0: as fast as it goes")
    arguments.add_argument("--block-bytes", type=int, default=1200)
    arguments.add_argument("--tick-s", type=float, default=0.001)
    arguments.add_argument("--connect-timeout", type=float, default=10.0, help="in seconds")
    return arguments


def main() -> int:
    """Run one end; return 0, or 1 with a line on stderr when the connection cannot be made or breaks."""
    options = parser().parse_args()
    log = IntegerLog(options.out, ("t_ns", "bytes"), ("missed_ticks", "cpu_ns", "broken_errno", "fell_back"))
    opened: list[socket.socket] = []

    def work() -> None:
        opened.append(connect(options, log))
        log.counters["fell_back"] = int(options.protocol == "mptcp" and fell_back(opened[0]))
        if options.direction == "receive":
            receive(opened[0], log)
            return
        send_at_once(opened[0], options.protocol)
        if options.rate_bps > 0:
            whole = options.protocol != "sctp"
            send_paced(opened[0], log, options.rate_bps, options.block_bytes, options.tick_s, whole)
        else:
            send_bulk(opened[0], log)

    try:
        run(work)
    except OSError as error:
        if not opened:
            place = f"{options.address} port {options.port}"
            print(f"tcp_stream {options.role}: {place}: {error.strerror or error}", file=sys.stderr)
            return 1
        log.counters["broken_errno"] = error.errno or 0  # a result, not a failure of the probe
    finish(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
