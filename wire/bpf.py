"""Classic BPF (the kernel's Documentation/networking/filter.rst): a small assembler, and short programs. Pure."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from wire import ethernet, ip

LOAD_BYTE, LOAD_HALF, LOAD_HALF_BEHIND_HEADER, HEADER_LENGTH = 0x30, 0x28, 0x48, 0xB1
JUMP_EQUAL, JUMP_SET, RETURN = 0x15, 0x45, 0x06
WHOLE_FRAME = 0xFFFF
"""What a filter returns to keep all of a frame: more bytes than one has."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, k: as the kernel takes it."""


@dataclass(frozen=True)
class Line:
    """One instruction; jumps name labels and go forward, an empty one to the next line."""

    code: int
    k: int
    yes: str = ""
    no: str = ""
    label: str = ""


def assemble(lines: Sequence[Line]) -> list[Instruction]:
    """The instructions of a program, labels as distances."""
    places = {line.label: number for number, line in enumerate(lines) if line.label}

    def jump(label: str, number: int) -> int:
        return places[label] - number - 1 if label else 0

    return [
        (line.code, jump(line.yes, number), jump(line.no, number), line.k)
        for number, line in enumerate(lines)
    ]


def packed(program: Sequence[Instruction]) -> bytes:
    """An array of the kernel's ``struct sock_filter``."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def of_ethertype(ethertype: int) -> list[Instruction]:
    """Keep frames of one Ethernet type."""
    return assemble(
        [
            Line(LOAD_HALF, 12),
            Line(JUMP_EQUAL, ethertype, "", "drop"),
            Line(RETURN, WHOLE_FRAME),
            Line(RETURN, 0, label="drop"),
        ]
    )


def of_dhcp() -> list[Instruction]:
    """Keep what comes from DHCP's ports (67 and 68, RFC 2131 section 4.1) in IPv4 without options."""
    return assemble(
        [
            Line(LOAD_HALF, 12),
            Line(JUMP_EQUAL, ethernet.IPV4, "", "drop"),
            Line(LOAD_BYTE, 23),
            Line(JUMP_EQUAL, ip.UDP, "", "drop"),
            Line(LOAD_HALF, 34),
            Line(JUMP_EQUAL, 67, "keep"),
            Line(JUMP_EQUAL, 68, "", "drop"),
            Line(RETURN, WHOLE_FRAME, label="keep"),
            Line(RETURN, 0, label="drop"),
        ]
    )
