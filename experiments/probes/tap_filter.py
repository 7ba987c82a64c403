"""The kernel's filter of the taps: probe packets, plain or in a tunnel, and what explains their loss. Pure.

A small assembler for classic BPF (the kernel's Documentation/networking/filter.rst): jumps name labels and go forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SNAP_BYTES = 192
"""Copied of each frame: outer headers (50), the inner ones with IPv6 (62), the probe's 24 bytes, and some room."""

LOAD_BYTE, LOAD_HALF, LOAD_HALF_BEHIND_HEADER, HEADER_LENGTH = 0x30, 0x28, 0x48, 0xB1
JUMP_EQUAL, JUMP_SET, RETURN = 0x15, 0x45, 0x06
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_SYN = 2
_INNER = 50  # outer Ethernet, IPv4 without options, UDP, VXLAN or Geneve without options

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, k: as the kernel takes it."""


@dataclass(frozen=True)
class _Line:
    code: int
    k: int
    yes: str = ""
    no: str = ""
    label: str = ""


def _inside(at: int, prefix: str, ports: Sequence[int], tunnel: str) -> list[_Line]:
    """Lines for a frame whose Ethernet header is at an offset; ``tunnel``: where a UDP packet of no probe goes on."""
    v4, v6 = at + 14, at + 14
    return [
        _Line(LOAD_HALF, at + 12, label=f"{prefix}frame"),
        _Line(JUMP_EQUAL, _ARP, "keep"),
        _Line(JUMP_EQUAL, _IPV6, f"{prefix}v6"),
        _Line(JUMP_EQUAL, _IPV4, "", "drop"),
        _Line(LOAD_BYTE, v4 + 9),
        _Line(JUMP_EQUAL, _ICMP, "keep"),
        _Line(JUMP_EQUAL, _TCP, f"{prefix}tcp4"),
        _Line(JUMP_EQUAL, _UDP, "", "drop"),
        _Line(LOAD_HALF, v4 + 22),  # headers have no options, here and in what the testbed's VMs send
        *(_Line(JUMP_EQUAL, port, "keep") for port in ports),
        _Line(JUMP_EQUAL, 0, tunnel, tunnel),
        _Line(LOAD_BYTE, v6 + 6, label=f"{prefix}v6"),
        _Line(JUMP_EQUAL, _ICMPV6, "keep"),
        _Line(JUMP_EQUAL, _TCP, f"{prefix}tcp6"),
        _Line(JUMP_EQUAL, _UDP, "", "drop"),
        _Line(LOAD_HALF, v6 + 42),
        *(_Line(JUMP_EQUAL, port, "keep") for port in ports),
        _Line(JUMP_EQUAL, 0, "drop", "drop"),
        _Line(LOAD_BYTE, v4 + 33, label=f"{prefix}tcp4"),
        _Line(JUMP_SET, _SYN, "keep", "drop"),
        _Line(LOAD_BYTE, v6 + 53, label=f"{prefix}tcp6"),
        _Line(JUMP_SET, _SYN, "keep", "drop"),
    ]


def filter_program(ports: Sequence[int], tunnel_port: int) -> list[Instruction]:
    """Keep UDP to the probes' ports, ARP, ICMP and TCP's SYN, as they are or in a tunnel; drop all else."""
    lines = [
        *_inside(0, "outer ", ports, "tunnel"),
        _Line(LOAD_HALF, 36, label="tunnel"),
        _Line(JUMP_EQUAL, tunnel_port, "inner frame", "drop"),
        *_inside(_INNER, "inner ", ports, "drop"),
        _Line(RETURN, SNAP_BYTES, label="keep"),
        _Line(RETURN, 0, label="drop"),
    ]
    places = {line.label: number for number, line in enumerate(lines) if line.label}

    def jump(label: str, number: int) -> int:
        return places[label] - number - 1 if label else 0

    return [
        (line.code, jump(line.yes, number), jump(line.no, number), line.k)
        for number, line in enumerate(lines)
    ]
