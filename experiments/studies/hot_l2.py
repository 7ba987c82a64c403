"""hot-l2: what does a hot move cost when the VM keeps IP and MAC? (Q1)

Question   A VM moves between NVEs while it exchanges UDP and TCP with a peer that stays. How many packets are lost,
           duplicated, reordered, for how long is each direction dark, how long does TCP stand still?
Varies     The path of the move relative to the peer: from the peer's own NVE to a remote one, between two remote
           ones, and back to the peer's. With parameters also policy, attachment, rates, port type.
Held fixed The topology, the peer, the VM's memory (none is copied: the VM runs on, so the figures are the network's
           share of a move), the traffic in both directions, both initiators of TCP.
Answer     One row a path with medians and 95 % intervals, beside null trials (no move) of the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.designs.moving_vm import PARAMETERS, check, go_round
from experiments.running import mistakes
from experiments.running.experiment import Experiment
from experiments.running.parameters import (
    QUICK,
)
from experiments.running.run import Run
from experiments.running.sentences import BOTH_WAYS, measured, milliseconds, moves_cost, stage_s, stalls


def trials(run: Run) -> None:
    """Move the VM around the cycle that starts at its peer's NVE, null trials in between."""
    go_round(run, run.laboratory.network.location[run.values["peer"]])


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """What was lost, the pauses, and what part of a move they are to be held against."""
    dark = {way: measured(trials, f"blackout_s_{way}") for way in BOTH_WAYS}
    blackouts = ", ".join(
        f"{milliseconds(found)} {BOTH_WAYS[way]}" for way, found in dark.items() if any(found)
    )
    whole = milliseconds(measured(trials, "move_total_s"))
    waits = milliseconds(stage_s(trials, "stop", "resume"))
    return (
        f"{moves_cost(trials, BOTH_WAYS)}{f' The blackout was {blackouts}.' if blackouts else ''}"
        f"{stalls(trials, BOTH_WAYS)} A move takes {whole}; in {waits} of it, "
        "from stop to resume, packets wait or are lost."
    )


EXPERIMENT = Experiment(
    name="hot-l2",
    questions=("Q1",),
    question="What does a hot move cost when the VM keeps its IP and MAC?",
    answer="packets lost, duplicated, reordered; blackout; TCP stall; both directions, three paths, beside no move",
    parameters=(*PARAMETERS, QUICK, mistakes.FAULT),
    trials=trials,
    check=check,
    conclude=conclude,
)
