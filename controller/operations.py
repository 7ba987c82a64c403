"""The changes of the mapping by name: what the northbound calls, the journal and the tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controller import lifecycle, mapping, strategies
from controller.config import state_from_config
from controller.model import Refused, State, find_move
from vocabulary.lifecycle import TRANSITIONS


def _configure(state: State, **config: Any) -> State:
    if state.moves:
        going = ", ".join(sorted(move.id for move in state.moves.values()))
        raise Refused("configure", f"moves are in progress: {going}", "finish or abort them first")
    return state_from_config(config, state.version + 1)


OPERATIONS: Mapping[str, Callable[..., State]] = {
    "configure": _configure,
    "prepare_move": mapping.prepare,
    "redirect": mapping.redirect,
    "commit_move": mapping.commit,
    "end_redirect": mapping.end_redirect,
    "finish_move": mapping.finish,
    "abort_move": mapping.abort,
    "set_port": mapping.set_port,
    "close_port": mapping.close_port,
    **{verb: getattr(lifecycle, verb) for verb in TRANSITIONS},
    # Not northbound: what NVEs and VMs themselves bring about.
    "learn": strategies.learn,
    "announced": strategies.announced,
}

STAGES_AHEAD = ("redirect", "commit_move", "finish_move")
"""What follows ``prepare_move`` in a move."""

MOVE_OPERATIONS = frozenset(
    {"prepare_move", "redirect", "commit_move", "end_redirect", "finish_move", "abort_move"}
)
"""Operations that carry a ``migration_id`` and are idempotent by it."""


def apply(state: State, operation: str, params: Mapping[str, Any]) -> State:
    """Return the state after the operation. Raises Refused or ConfigError and then changed nothing."""
    return OPERATIONS[operation](state, **params)


def facts(after: State, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a call's result says besides its timing: of a commit, the NVEs that it did not tell."""
    if operation != "commit_move":
        return {}
    moved = find_move(after, operation, params["migration_id"]).vm
    return {"stale": sorted(after.believed.get(moved, {}))}
