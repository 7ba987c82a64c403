"""A sweep's own record: the trials of all runs beneath it as one record, which every reader can read.

A sweep's folder holds sweep.json (the plan), runs/ (one folder a block of trials) and record.json, made here from the
others. Trials get a new index; `run` names the folder beneath runs/ that has their samples and events, `run_index` is
their index there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from results.figures.statistics import summarise
from results.record.contract import FORMAT_VERSION, RecordError, check_record, checked_verdict, plain
from results.record.files import write_atomic
from results.record.reading import Record, list_runs, load_record


def finished_runs(sweep: Path) -> list[Record]:
    """Runs beneath a sweep that came to their end, oldest first; died, failed and unreadable ones are passed over."""
    found = []
    for folder in list_runs(sweep):
        try:
            record = load_record(folder)
        except RecordError:
            continue
        if record.status != "failed" and "sweep" in record.environment:
            found.append(record)
    return found


def merged_trials(runs: Sequence[Record]) -> list[dict[str, Any]]:
    """All trials in the order of their runs."""
    trials: list[dict[str, Any]] = []
    for run in runs:
        for trial in run.trials:
            place = {"run": run.name, "run_index": trial["index"]}
            trials.append({**trial, **place, "index": len(trials)})
    return trials


def write_sweep_record(
    sweep: Path,
    head: Mapping[str, Any],
    runs: Sequence[Record],
    verdict: tuple[str, str],
    more: Mapping[tuple[str, int], Mapping[str, float]] | None = None,
) -> Record:
    """Write record.json of a sweep and return it. `head`: what a record has besides trials, summary and verdict.

    `more`: further measures of trials, by run and index there. Raises RecordError.
    """
    trials = merged_trials(runs)
    for trial in trials:
        further = (more or {}).get((trial["run"], trial["run_index"]), {})
        trial["measures"] = {**trial["measures"], **further}
    made = plain(dict(head), "sweep")
    data = {
        "format_version": FORMAT_VERSION,
        **made,
        "ended_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "trials": trials,
        "summary": summarise(trials),
        "verdict": checked_verdict(*verdict),
    }
    check_record(data, str(sweep))
    write_atomic(
        sweep / "record.json", json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False).encode()
    )
    return load_record(sweep)
