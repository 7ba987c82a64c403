"""The life of a VM at its NVE: states, and which verb leads from which state to which.

RFC 8394 has three states of a tenant system interface (TSI) at its NVE: *init* (the NVE knows nothing of it),
*associated* (its resources are reserved, nothing is forwarded), *activated* (traffic is forwarded), and the
events of a VM that lead from one to another. A VM is in one of four states, since "associated" can come about by
allocation (or a stop) and by a pause, and only the latter keeps it in its peers' mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

VmState = Literal["released", "allocated", "running", "paused"]

TSI_STATES: Mapping[VmState, str] = {
    "released": "init",
    "allocated": "associated",
    "running": "activated",
    "paused": "associated",
}
"""Each state of a VM, and what RFC 8394 calls its interface then."""
STATES: tuple[VmState, ...] = tuple(TSI_STATES)


@dataclass(frozen=True)
class Verb:
    """From which states it is allowed, to which it leads, and the verb that takes it back (empty: none does)."""

    before: tuple[VmState, ...]
    after: VmState
    undone_by: str = ""


VERBS: Mapping[str, Verb] = {
    "allocate": Verb(("released",), "allocated", "release"),
    "start": Verb(("allocated",), "running", "stop"),
    "pause": Verb(("running",), "paused", "resume"),
    "resume": Verb(("paused",), "running", "pause"),
    "move": Verb(("running",), "running"),  # whoever moves a VM pauses it itself
    "stop": Verb(("running", "paused"), "allocated"),
    "release": Verb(("allocated",), "released"),
}
MOVE = "move"
TRANSITIONS: tuple[str, ...] = tuple(verb for verb in VERBS if verb != MOVE)
"""The verbs that are one call to the NVA; a move is a procedure of several."""


def allowed_from(state: VmState) -> list[str]:
    """The verbs that a state allows."""
    return [name for name, verb in VERBS.items() if state in verb.before]
