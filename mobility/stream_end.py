"""One end of a copy of memory between two NVEs: a program, ``python -m mobility.stream_end receive|send ...``.

    receive LISTEN_IP PORT          takes one connection; answers each run of bytes with one acknowledgement
    send IP PORT CONTROL_SOCKET     connects, then does what lines on a unix socket ask: {"bytes": n,
                                    "bandwidth_bps": b}, each answered with {"bytes": n, "seconds": s}, once the other
                                    end had the last byte

On the wire a run is its length (8 bytes) and so many bytes; the acknowledgement is the length again. The kernel paces
the connection (SO_MAX_PACING_RATE, TCP's own pacing: no queueing discipline is needed). Only the standard library.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import time

_SO_MAX_PACING_RATE = 47
_LENGTH = struct.Struct("!Q")
_CHUNK = bytes(64 * 1024)
_CONNECT_BOUND_S = 10.0


def _exactly(connection: socket.socket, count: int, sink: bytearray | None = None) -> bool:
    """Read so many bytes (kept in ``sink`` when given); False at the end of the stream."""
    buffer = bytearray(256 * 1024)
    while count:
        got = connection.recv_into(buffer, min(count, len(buffer)))
        if not got:
            return False
        if sink is not None:
            sink += buffer[:got]
        count -= got
    return True


def receive(listener: socket.socket) -> None:
    """Take one connection and acknowledge every run of bytes; return when the other end has closed."""
    connection, _ = listener.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            header = bytearray()
            if not _exactly(connection, _LENGTH.size, header):
                return
            (length,) = _LENGTH.unpack(header)
            if not _exactly(connection, length):
                return
            connection.sendall(header)


def send_run(connection: socket.socket, length: int, bandwidth_bps: float) -> float:
    """Send so many bytes at most that fast; the seconds until the other end had them all."""
    connection.setsockopt(
        socket.SOL_SOCKET, _SO_MAX_PACING_RATE, max(1, min(2**32 - 1, int(bandwidth_bps / 8)))
    )
    start_s = time.monotonic()
    connection.sendall(_LENGTH.pack(length))
    left = length
    while left:
        left -= connection.send(_CHUNK[: min(left, len(_CHUNK))])
        # The kernel's pacing does not count what goes out in the first burst.
        ahead_s = (length - left) * 8 / bandwidth_bps - (time.monotonic() - start_s)
        if ahead_s > 0:
            time.sleep(ahead_s)
    if not _exactly(connection, _LENGTH.size):
        raise ConnectionError("the receiving end closed before it had everything")
    return time.monotonic() - start_s


def serve(connection: socket.socket, control: socket.socket) -> None:
    """Do what the lines on the control socket ask; return when it is closed."""
    with control.makefile("rwb") as lines:
        for line in lines:
            asked = json.loads(line)
            seconds = send_run(connection, asked["bytes"], asked["bandwidth_bps"])
            lines.write(json.dumps({"bytes": asked["bytes"], "seconds": seconds}).encode() + b"\n")
            lines.flush()


def _connected(address: tuple[str, int]) -> socket.socket:
    """The receiver may not listen yet."""
    deadline_s = time.monotonic() + _CONNECT_BOUND_S
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(address, _CONNECT_BOUND_S)
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"nobody listens at {address[0]} port {address[1]}")
        time.sleep(0.005)


def main(arguments: list[str]) -> int:
    """Run one end; the exit status."""
    role, ip, port, *rest = arguments
    if role == "receive":
        with socket.create_server((ip, int(port))) as listener:
            receive(listener)
        return 0
    with _connected((ip, int(port))) as connection, socket.socket(socket.AF_UNIX) as server:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.bind(rest[0])
        server.listen(1)
        control, _ = server.accept()
        with control:
            serve(connection, control)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
