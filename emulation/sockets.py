"""Larger send buffers for the packet sockets of a switch daemon.

A frame that waits in a holder stays charged to the socket it was sent from; a veth does not end that as a wire would.
With the kernel's default send buffer (net.core.wmem_default, 208 KiB) a userspace NVE could have some 256 small frames
waiting anywhere behind it and would then drop (measured). The default is the whole machine's and stays as it is; here
only the daemon's own sockets get more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from pathlib import Path

from emulation.errors import SystemCallError

_SYS_PIDFD_GETFD = 438  # the same number on all architectures since Linux 5.6
_SO_SNDBUFFORCE, _SO_DOMAIN = 32, 39
_AF_XDP = 44
PACKET_FAMILIES = (socket.AF_PACKET, _AF_XDP)

_libc = ctypes.CDLL(None, use_errno=True)


def enlarge_send_buffers(pid: int, size_bytes: int) -> int:
    """Give every packet socket of a process a send buffer of that size; how many there were."""
    pidfd = os.pidfd_open(pid)
    try:
        return sum(_enlarge(pidfd, int(entry.name), size_bytes) for entry in _sockets_of(pid))
    finally:
        os.close(pidfd)


def _sockets_of(pid: int) -> list[Path]:
    return [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if _is_socket(entry)]


def _is_socket(entry: Path) -> bool:
    try:
        return str(entry.readlink()).startswith("socket:")
    except FileNotFoundError:  # closed since the folder was read
        return False


def _enlarge(pidfd: int, number: int, size_bytes: int) -> bool:
    copy = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
    if copy < 0 and ctypes.get_errno() == errno.EBADF:  # closed since the folder was read
        return False
    if copy < 0:
        raise SystemCallError("take a copy of a switch daemon's socket", ctypes.get_errno())
    # Named as anything: Python would find out by getsockname, which AF_XDP does not have.
    with socket.socket(socket.AF_UNIX, socket.SOCK_RAW, 0, fileno=copy) as shared:
        if shared.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN) not in PACKET_FAMILIES:
            return False
        shared.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size_bytes)
        return True
