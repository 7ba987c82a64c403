"""What a guest's processors can do: how long is waited for them, and what probes send where they are emulated. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from experiments.running.parameters import Parameter
from image.boot import Accelerator

PATIENCE: Mapping[Accelerator, int] = {"kvm": 2, "tcg": 10}
"""How much slower than a host a guest may be before a wait is given up."""

AT_MOST: dict[str, int] = {
    "rate_pps": 200,
    "main_pps": 100,
    "side_pps": 100,
    "near_pps": 100,
    "tcp_rate": 1_000_000,
    "quic_rate": 200_000,
}
"""Packets per second each way, and bit/s of a TCP connection, that two processors under TCG keep up with.

Measured: at 1,000 packets/s over a distance of 20 ms packets queued for up to 1.8 s; at 500 in `several-moves`, which
has four flows, no trial was valid. With 200 in the main flow of `in-flight-tunnel` a move under `timeout` took 36 s:
each packet without a mapping goes to the NVA, which answers the slower the more of them there are.
That of QUIC, whose ends are in Python, is not measured: a tenth of what it is elsewhere."""

AT_LEAST: dict[str, float] = {"shortest_gap": 0.01}
"""Seconds between the packets of a flow, for the same reason. Measured: with a flow of 1,000 packets/s whose NVE had to
ask the NVA, the old NVE took 20 s over a change."""


def gentler(words: Sequence[str], parameters: Sequence[Parameter], accelerator: Accelerator) -> list[str]:
    """The words to add: for each parameter beyond a bound here that is not given, the bound."""
    if accelerator != "tcg":
        return []
    given = {word.partition("=")[0].lower() for word in words}
    return [
        f"{one.name}={one.show(limited)}" for one, limited in _too_fast(parameters) if one.name not in given
    ]


def first_try(accelerator: Accelerator) -> str:
    """What somebody who logs in may type first."""
    from experiments.catalog import EXPERIMENTS

    return " ".join(["make hot-l2 quick=1", *gentler([], EXPERIMENTS["hot-l2"].parameters, accelerator)])


def _too_fast(parameters: Sequence[Parameter]) -> Iterator[tuple[Parameter, float]]:
    """The parameters whose default is too fast, and what to take instead."""
    for one in parameters:
        if one.name in AT_MOST and one.default > AT_MOST[one.name]:
            yield one, AT_MOST[one.name]
        if one.name in AT_LEAST and one.default < AT_LEAST[one.name]:
            yield one, AT_LEAST[one.name]
