"""Polls the kernel's tcp_info of the connections of some ports, from outside the processes that own them.

It asks by inet_diag (linux/inet_diag.h, sock_diag(7)), so it sees a connection whose process is frozen. A
connection is found by a dump and from then on asked for by its addresses: an exact request costs some 20 us
where a dump walks the whole table of the host. Standard library only. SIGTERM ends it; the log is written
then.
"""

from __future__ import annotations

import argparse
import errno
import socket
import struct
import sys
import time
from pathlib import Path

from experiments.probes.log_format import IntegerLog
from experiments.probes.script import finish, run

FIELDS = (
    "t_ns", "local_port", "remote_port", "ca_state", "retransmits", "backoff", "rto_us", "rtt_us", "cwnd",
    "ssthresh", "unacked", "total_retrans", "dsack_dups",
)  # fmt: skip
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
INET_DIAG_INFO = 2
TCP_LISTEN, TCP_CLOSE, TCP_TIME_WAIT, TCP_SYN_RECV = 10, 7, 6, 3
STATES = 0xFFF & ~(1 << TCP_LISTEN | 1 << TCP_TIME_WAIT | 1 << TCP_SYN_RECV | 1 << TCP_CLOSE)
SEARCH_EVERY_S = 0.1
ID_BYTES = 48  # struct inet_diag_sockid
Connection = tuple[int, bytes]
"""Address family and struct inet_diag_sockid of one connection."""


def request(family: int, socket_id: bytes, dump: bool) -> bytes:
    """A netlink message that asks for one connection, or (``dump``) for all of the family."""
    body = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), STATES) + socket_id
    flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else 0)
    return struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body


def tcp_info(message: bytes) -> bytes:
    """Return the tcp_info attribute of one inet_diag answer (its payload); empty when there is none."""
    at = 72  # struct inet_diag_msg
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == INET_DIAG_INFO:
            return message[at + 4 : at + length]
        at += max((length + 3) & ~3, 4)
    return b""


def row(t_ns: int, message: bytes) -> tuple[int, ...] | None:
    """Return the record (see FIELDS) in one answer's payload; None when it carries no tcp_info."""
    info = tcp_info(message)
    if len(info) < 104:
        return None
    local_port, remote_port = struct.unpack_from("!HH", message, 4)
    _, ca_state, retransmits, _, backoff = struct.unpack_from("=5B", info)
    rto_us, unacked, rtt_us = (struct.unpack_from("=I", info, at)[0] for at in (8, 24, 68))
    ssthresh, cwnd = struct.unpack_from("=II", info, 76)
    (total_retrans,) = struct.unpack_from("=I", info, 100)
    dsack_dups = struct.unpack_from("=I", info, 216)[0] if len(info) >= 220 else -1  # Linux 4.19 and later
    return (
        t_ns, local_port, remote_port, ca_state, retransmits, backoff, rto_us, rtt_us, cwnd,
        ssthresh, unacked, total_retrans, dsack_dups,
    )  # fmt: skip


class DiagSocket:
    """The netlink socket: ``find`` by ports, ``ask`` for one connection."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)  # NETLINK_SOCK_DIAG
        self._socket.bind((0, 0))

    def find(self, ports: frozenset[int]) -> list[Connection]:
        """Return the connections of this network namespace that have one of the ports at either end."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            self._socket.send(request(family, bytes(ID_BYTES), dump=True))
            done = False
            while not done:
                data = self._socket.recv(1 << 16)
                while len(data) >= 16:
                    length, kind = struct.unpack_from("=IH", data)
                    done = done or kind in (NLMSG_DONE, NLMSG_ERROR)
                    if kind == SOCK_DIAG_BY_FAMILY and ports.intersection(
                        struct.unpack_from("!HH", data, 20)
                    ):
                        found.append((int(family), data[20 : 20 + ID_BYTES]))
                    data = data[(length + 3) & ~3 :]
        return found

    def ask(self, connection: Connection) -> bytes | None:
        """Return the answer's payload; None when the connection is gone."""
        self._socket.send(request(*connection, dump=False))
        data = self._socket.recv(1 << 13)
        kind = struct.unpack_from("=H", data, 4)[0]
        if kind == NLMSG_ERROR:
            code = -struct.unpack_from("=i", data, 16)[0]
            if code not in (errno.ENOENT, errno.ESTALE):
                raise OSError(code, "the kernel refuses inet_diag requests")
            return None
        return data[16:]


def poll(diag: DiagSocket, log: IntegerLog, ports: frozenset[int], interval_s: float) -> None:
    """Log every connection each ``interval_s``, and look for new ones each 0.1 s, until interrupted."""
    known: list[Connection] = []
    next_search_s = next_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        if now_s >= next_search_s:
            known = diag.find(ports)
            # Once there is one, a dump every second is enough to notice another.
            next_search_s = now_s + (1.0 if known else SEARCH_EVERY_S)
        for connection in known:
            answer = diag.ask(connection)
            record = row(time.monotonic_ns(), answer) if answer else None
            if record is None:
                next_search_s = 0.0
            else:
                log.values.extend(record)
        log.counters["polls"] += 1
        next_s = max(next_s + interval_s, now_s)
        time.sleep(max(next_s - time.monotonic(), 0.0))


def main() -> int:
    """Poll until SIGTERM; return 0, or 1 with a line on stderr when the kernel does not answer."""
    arguments = argparse.ArgumentParser(
        prog="tcp_info", description=__doc__.splitlines()[0] if __doc__ else None
    )
    arguments.add_argument(
        "--port", type=int, action="append", required=True, help="at either end; repeatable"
    )
    arguments.add_argument("--interval-s", type=float, default=0.005)
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()
    log = IntegerLog(options.out, FIELDS, ("polls", "cpu_ns"))

    def work() -> None:
        diag = DiagSocket()
        log.announce()
        poll(diag, log, frozenset(options.port), options.interval_s)

    try:
        run(work)
    except OSError as error:
        print(f"tcp_info: {error.strerror or error}", file=sys.stderr)
        return 1
    finish(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
