"""Pausing a VM where it is, in a way that its peers cannot tell from a hypervisor's.

To stop the processes alone would leave the VM's kernel running in its namespace: it goes on acknowledging what arrives
and sending what is in its socket buffers (measured: up to 2.9 MB acknowledged in a pause of 1 s). So the network is
stopped first, then the processes; at the end the network goes first, too.

    hold    both directions are kept in order, 1,000 frames each as a tap does whose guest stands still, and released
    drop    both directions are lost
    freeze  the processes alone: known to be wrong, kept for comparison

What none of them can do: the timers of the VM's own kernel run on. A paused TCP sender backs off as a real guest does
not, so its counters are not faithful for pauses longer than a retransmission timeout (``SENDER_TIMERS_BOUND_S``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from emulation.control_group import VmGroup
from emulation.errors import EmulationError
from emulation.holders import TAP_FRAMES
from emulation.wiring import Wiring
from vocabulary.moves import PAUSES

SENDER_TIMERS_BOUND_S = 0.2
"""TCP_RTO_MIN of Linux: in a shorter pause no timer of a paused sender runs out."""


def check_mode(mode: str, vm: str, *, prewired: bool) -> None:
    """Refuse a pause that cannot be, with the reason and what is possible. EmulationError."""
    if mode not in PAUSES:
        raise EmulationError(f"pause={mode}: allowed are {', '.join(PAUSES)}")
    if mode != "freeze" and not prewired:
        raise EmulationError(
            f"pause={mode} of {vm} needs a pre-wired VM: with one veth to one NVE there is no place to hold or cut its "
            "frames at; list NVEs in the VM's `prewired`, or take pause=freeze, whose figures are not faithful"
        )


def is_faithful(mode: str) -> bool:
    """Whether a peer cannot tell the pause from a hypervisor's."""
    return mode != "freeze"


def sender_timers_faithful(pause_s: float) -> bool:
    """Whether TCP counters of a sender inside the VM are those a real guest would have after such a pause."""
    return pause_s <= SENDER_TIMERS_BOUND_S


@dataclass
class Pause:
    """One pause of one VM: ``begin``, later ``end``. ``wiring`` is None for a VM that is not pre-wired."""

    vm: str
    group: VmGroup
    wiring: Wiring | None
    mode: str = "hold"
    frames: int = TAP_FRAMES
    began_s: float | None = field(init=False, default=None)
    released: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_mode(self.mode, self.vm, prewired=self.wiring is not None)
        self._place: str | None = None

    def begin(self) -> float:
        """Stop the VM; the time (monotonic, s) from which nothing gets in or out. A failure leaves it running."""
        if self.began_s is not None:
            raise EmulationError(f"{self.vm} is paused already; end that pause first")
        at_s = self._stop_network()
        try:
            frozen_s = self.group.freeze()
        except BaseException:
            self.group.thaw()
            self._start_network()
            raise
        self.began_s = at_s if self.mode != "freeze" else frozen_s
        return self.began_s

    def end(self) -> float:
        """Let the VM go on; how long it was paused (s). ``released``: frames let out of each holder."""
        if self.began_s is None:
            raise EmulationError(f"{self.vm} is not paused")
        self._start_network()
        self.group.thaw()
        paused_s = time.monotonic() - self.began_s
        self.began_s = None
        return paused_s

    def _stop_network(self) -> float:
        if self.wiring is None or self.mode == "freeze":
            return time.monotonic()
        self._place = self.wiring.attached_to
        if self.mode == "drop":
            return self.wiring.detach()
        self.wiring.close_holders(self.frames)
        return self.wiring.hold_here()

    def _start_network(self) -> None:
        if self.wiring is None or self.mode == "freeze":
            return
        if self.mode == "hold":
            self.released = self.wiring.release_here()
        elif self._place is not None:
            self.wiring.switch(self._place)
