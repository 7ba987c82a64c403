"""Reference results: the figures of runs, kept small in the repository, and a new run held against them.

`results/reference/<experiment>-<accelerator, or host>/record.json` is a record like any other, without
what no comparison needs: events, samples, phases of moves, the topology, measures that are not shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from results.figures.answers import conditions, is_quick, may_answer, read_all
from results.figures.comparison import ROUND_TRIP, NotComparableError, compare, comparison_lines
from results.figures.display import label, shown_measures
from results.pages.answers_pages import write_kept
from results.record.contract import RecordError
from results.record.files import write_atomic
from results.record.reading import Record, load_record

_KEPT_OF_TRIALS = ("index", "valid", "invalid_reason", "null", "parameters", "causes")
_KEPT_OF_MOVES = ("vm", "kind", "old_nve", "new_nve", "call_to_last_barrier_s")
HOST = "host"


def reduced(record: Record) -> dict[str, Any]:
    """The record with what comparisons and tables need. Pure."""
    shown = {*shown_measures(record.trials, record.shown_measures), *ROUND_TRIP}
    trials = [
        {
            **{key: trial[key] for key in _KEPT_OF_TRIALS if key in trial},
            "migration": _reduced_move(trial["migration"]),
            "measures": {name: value for name, value in trial["measures"].items() if name in shown},
        }
        for trial in record.trials
    ]
    return {**record.data, "trials": trials, "topology": {}, "summary": {}, "kept_from": record.name}


def _reduced_move(migration: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What findings and answers name of a move: its kind and its ends."""
    if migration is None:
        return None
    return {name: migration[name] for name in _KEPT_OF_MOVES if name in migration} | {"phases": []}


def worth_keeping(records: Iterable[Record]) -> dict[str, Record]:
    """The newest answered run of each experiment in the image (by accelerator) and on the host, by folder name.

    A short form counts only where there is no full run. Records oldest first.
    """
    newest: dict[str, Record] = {}
    for record in records:
        if not may_answer(record):
            continue
        name = f"{record.experiment}-{conditions(record)[1] or HOST}"
        if not (is_quick(record) and name in newest and not is_quick(newest[name])):
            newest[name] = record
    return newest


def write_reference(results_dir: Path, reference: Path) -> list[Path]:
    """Keep the newest runs as reference, and write the answers of all that are kept; what was written. RecordError."""
    found = worth_keeping(read_all(results_dir)[0])
    if not found:
        raise RecordError(
            f"{results_dir}: no answered run here to keep: make evaluate, or make an experiment"
        )
    written = []
    for name, record in found.items():
        (reference / name).mkdir(parents=True, exist_ok=True)
        path = reference / name / "record.json"
        write_atomic(path, (json.dumps(reduced(record), indent=1, sort_keys=True) + "\n").encode())
        written.append(path)
    return [*written, *write_kept(reference)]


def counterpart(kept: Record, records: Sequence[Record]) -> Record | None:
    """The newest answered run under the reference's conditions, as long or as short as it; None: there is none."""
    same = [
        record
        for record in records
        if record.status == "answered"
        and record.experiment == kept.experiment
        and conditions(record) == conditions(kept)
        and is_quick(record) == is_quick(kept)
    ]
    return same[-1] if same else None


def compare_reference(results_dir: Path, reference: Path) -> int:
    """Print how the newest runs stand to the reference; 1 when any moved, 2 when nothing could be compared."""
    folders = sorted(path.parent for path in reference.glob("*/record.json"))
    if not folders:
        raise RecordError(
            f"{reference}: no reference results; `make evaluate-reference` keeps those of this machine"
        )
    records, _ = read_all(results_dir)
    moved, compared = [], 0
    for folder in folders:
        kept = load_record(folder)
        new = counterpart(kept, records)
        if new is None:
            print(
                f"{folder.name}: no run to compare; {kept.environment.get('command') or f'make {kept.experiment}'}"
            )
            continue
        if new.name == kept.name:
            print(
                f"{folder.name}: the newest run is the one that was kept, {kept.name}; make another one to compare"
            )
            continue
        try:
            found = compare(kept, new)
        except NotComparableError as error:
            print(f"{folder.name}: {error}")
            continue
        compared += 1
        print("\n".join([f"{folder.name}:", *comparison_lines(found, kept, new)]))
        moved += [
            f"{folder.name}: {label(change.measure)} {change.verdict}"
            for change in found.changes
            if change.moved
        ]
    if not compared:
        return 2
    print(
        f"differs from the reference: {'; '.join(moved)}" if moved else f"{compared} agree with the reference"
    )
    return 1 if moved else 0
