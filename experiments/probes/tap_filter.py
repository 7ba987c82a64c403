"""The kernel's filter of the taps: probe packets, plain or in a tunnel, and what explains their loss. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wire import ethernet, ip
from wire.bpf import JUMP_EQUAL, JUMP_SET, LOAD_BYTE, LOAD_HALF, RETURN, Instruction, Line, assemble

SNAP_BYTES = 192
"""Copied of each frame: outer headers (50), the inner ones with IPv6 (62), the probe's 24 bytes, and some room."""

_SYN = 2
_INNER = 50  # outer Ethernet, IPv4 without options, UDP, VXLAN or Geneve without options


def _inside(at: int, prefix: str, ports: Sequence[int], tunnel: str) -> list[Line]:
    """Lines for a frame whose Ethernet header is at an offset; ``tunnel``: where a UDP packet of no probe goes on."""
    v4, v6 = at + 14, at + 14
    return [
        Line(LOAD_HALF, at + 12, label=f"{prefix}frame"),
        Line(JUMP_EQUAL, ethernet.ARP, "keep"),
        Line(JUMP_EQUAL, ethernet.IPV6, f"{prefix}v6"),
        Line(JUMP_EQUAL, ethernet.IPV4, "", "drop"),
        Line(LOAD_BYTE, v4 + 9),
        Line(JUMP_EQUAL, ip.ICMP, "keep"),
        Line(JUMP_EQUAL, ip.TCP, f"{prefix}tcp4"),
        Line(JUMP_EQUAL, ip.UDP, "", "drop"),
        Line(LOAD_HALF, v4 + 22),  # headers have no options, here and in what the testbed's VMs send
        *(Line(JUMP_EQUAL, port, "keep") for port in ports),
        Line(JUMP_EQUAL, 0, tunnel, tunnel),
        Line(LOAD_BYTE, v6 + 6, label=f"{prefix}v6"),
        Line(JUMP_EQUAL, ip.ICMPV6, "keep"),
        Line(JUMP_EQUAL, ip.TCP, f"{prefix}tcp6"),
        Line(JUMP_EQUAL, ip.UDP, "", "drop"),
        Line(LOAD_HALF, v6 + 42),
        *(Line(JUMP_EQUAL, port, "keep") for port in ports),
        Line(JUMP_EQUAL, 0, "drop", "drop"),
        Line(LOAD_BYTE, v4 + 33, label=f"{prefix}tcp4"),
        Line(JUMP_SET, _SYN, "keep", "drop"),
        Line(LOAD_BYTE, v6 + 53, label=f"{prefix}tcp6"),
        Line(JUMP_SET, _SYN, "keep", "drop"),
    ]


def filter_program(ports: Sequence[int], tunnel_port: int) -> list[Instruction]:
    """Keep UDP to the probes' ports, ARP, ICMP and TCP's SYN, as they are or in a tunnel; drop all else."""
    lines = [
        *_inside(0, "outer ", ports, "tunnel"),
        Line(LOAD_HALF, 36, label="tunnel"),
        Line(JUMP_EQUAL, tunnel_port, "inner frame", "drop"),
        *_inside(_INNER, "inner ", ports, "drop"),
        Line(RETURN, SNAP_BYTES, label="keep"),
        Line(RETURN, 0, label="drop"),
    ]
    return assemble(lines)
