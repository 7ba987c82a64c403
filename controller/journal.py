"""The intent journal: what the NVA was about to do, on disk before any NVE does it.

One JSON object a line: ``epoch`` (a new cookie), ``snapshot`` (the mapping at start), ``intent`` (an
operation, written when every NVE that answers has accepted it and before the first may commit), ``done``
(with the call's result) and ``undone``. An intent without either is rolled forward: some NVE may have
committed, none had refused, and the resync at the next connect brings the rest to the same state. A torn last
line was never acted upon.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from typing import Any

from controller.config import ConfigError, state_from_json, state_to_json
from controller.model import Refused, State
from controller.operations import MOVE_OPERATIONS, apply, facts

EPOCH_BITS = 16
"""Cookies count in this many bits: a resync needs one delete for each bit."""


class JournalError(Exception):
    """The journal cannot be used: the message names file, line and remedy."""


Results = dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]]
"""(migration_id, method) -> (params, result) of calls that were done, for idempotent repeats."""


@dataclass
class Replay:
    """What a journal says: mapping, last epoch used, results of the moves so far."""

    state: State = field(default_factory=State)
    epoch: int = 0
    results: Results = field(default_factory=dict)


def remember(results: Results, operation: str, params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Keep the result of a move call; an abort forgets the earlier calls of its move."""
    if operation not in MOVE_OPERATIONS:
        return
    migration_id = params["migration_id"]
    if operation == "abort_move":
        for other in MOVE_OPERATIONS:
            results.pop((migration_id, other), None)
    results[migration_id, operation] = (dict(params), dict(result))


def replay(text: bytes, name: str = "journal") -> Replay:
    """Read a journal. Raises :class:`JournalError` for anything but a torn last line."""
    found = Replay()
    open_intent: tuple[State, dict[str, Any]] | None = None
    lines = text.split(b"\n")
    # Without its newline the last line is torn, even when what there is of it happens to be JSON.
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            if "snapshot" in record:
                found.state = state_from_json(record["snapshot"])
                found.results = {(m, op): (p, r) for m, op, p, r in record["results"]}
            elif "epoch" in record:
                found.epoch = record["epoch"]
            elif "intent" in record:
                before = found.state
                found.state = apply(before, record["intent"], record["params"])
                open_intent = (before, record)
            elif open_intent is None:
                raise ValueError("a decision without an intent")
            else:
                before, intent = open_intent
                open_intent = None
                if "undone" in record:
                    found.state = before
                else:
                    remember(found.results, intent["intent"], intent["params"], record["done"])
        except (ValueError, KeyError, TypeError, AttributeError, Refused, ConfigError) as error:
            raise JournalError(
                f"{name}, line {number}: cannot be read ({error}); "
                "move the file away to start with no mapping"
            ) from error
    if open_intent is not None:
        _, intent = open_intent
        forward: dict[str, Any] = {
            "version": found.state.version,
            "received_s": None,
            "last_barrier_s": None,
            "nves": {},
            **facts(found.state, intent["intent"], intent["params"]),
        }
        remember(found.results, intent["intent"], intent["params"], forward)
    return found


def _locked(path: Path) -> BufferedWriter:
    """Return the open lock file of a journal."""
    try:
        lock = path.with_name(path.name + ".lock").open("wb")
    except OSError as error:
        raise JournalError(
            f"{path}: {error.strerror}; give a path in a directory that can be written"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise JournalError(f"{path}: another NVA uses this journal; give each NVA its own") from error
    return lock


class Journal:
    """The open journal of one NVA; a second NVA on the same file is refused."""

    def __init__(self, path: Path) -> None:
        """Replay what is there and start a fresh file with its outcome. Raises :class:`JournalError`."""
        self.path = path
        self._lock = _locked(path)
        try:
            found = replay(path.read_bytes() if path.exists() else b"", str(path))
            self.state, self.results = found.state, found.results
            # With no journal, NVEs may still hold flows of any epoch: a random start makes a clash unlikely.
            self._epoch = found.epoch or secrets.randbelow(2**EPOCH_BITS - 1) + 1
            self._file = self._start_file()
        except BaseException:
            self._lock.close()
            raise

    def _start_file(self) -> BufferedWriter:
        fresh = self.path.with_name(self.path.name + ".new")
        with fresh.open("wb") as file:
            results = [[m, op, p, r] for (m, op), (p, r) in self.results.items()]
            for record in (
                {"epoch": self._epoch},
                {"snapshot": state_to_json(self.state), "results": results},
            ):
                file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return self.path.open("ab")

    def _append(self, record: Mapping[str, Any], durable: bool) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        if durable:
            os.fdatasync(self._file.fileno())

    def next_epoch(self) -> int:
        """Return a cookie no NVE has seen from this NVA lately: 1 to 2^16 - 1, going round."""
        self._epoch = self._epoch % (2**EPOCH_BITS - 1) + 1
        # Not synced: losing it takes a crash of the machine, which takes the NVEs' flows along.
        self._append({"epoch": self._epoch}, durable=False)
        return self._epoch

    def intent(self, operation: str, params: Mapping[str, Any]) -> None:
        """Note, durably, what is now going to be committed."""
        self._append({"intent": operation, "params": params}, durable=True)

    def done(self, result: Mapping[str, Any]) -> None:
        """Note that the last intent is committed; not synced, since replay rolls forward anyway."""
        self._append({"done": result}, durable=False)

    def undone(self) -> None:
        """Note, durably, that the last intent was taken back."""
        self._append({"undone": True}, durable=True)

    def close(self) -> None:
        """Let another NVA have the file."""
        self._file.close()
        self._lock.close()
