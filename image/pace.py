"""On emulated processors probes send less unless they are told how much. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.running.parameters import Parameter

from .boot import Accelerator

AT_MOST: dict[str, int] = {"rate_pps": 200, "tcp_rate": 1_000_000, "quic_rate": 200_000}
"""Packets per second each way, and bit/s of a TCP connection, that two processors under TCG keep up with.

Measured: at 1,000 packets/s over a distance of 20 ms packets queued for up to 1.8 s; at 500 in `several-moves`, which
has four flows, no trial was valid.
That of QUIC, whose ends are in Python, is not measured: a tenth of what it is elsewhere."""


def gentler(words: Sequence[str], parameters: Sequence[Parameter], accelerator: Accelerator) -> list[str]:
    """The words to add: for each rate above ``AT_MOST`` that is not given, the rate to use instead."""
    if accelerator != "tcg":
        return []
    given = {word.partition("=")[0].lower() for word in words}
    return [
        f"{one.name}={one.show(AT_MOST[one.name])}"
        for one in parameters
        if one.name in AT_MOST and one.name not in given and one.default > AT_MOST[one.name]
    ]
