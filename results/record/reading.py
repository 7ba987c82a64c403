"""Reading runs back: records, events, and finding a run by name. Never writes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.record.contract import DEFAULT_GROUP_BY, DIED, RecordError, check_is_record, check_record
from results.record.upgrade import upgraded


@dataclass(frozen=True)
class Record:
    """A record as read; `data` is record.json whole, the properties are its parts."""

    folder: Path
    data: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's folder name; of a record that is kept as reference, that of the run it was made of."""
        return str(self.data.get("kept_from") or self.folder.name)

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return str(self.data["experiment"])

    @property
    def questions(self) -> list[str]:
        """The questions it answers, such as Q1."""
        return list(self.data["questions"])

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the whole run."""
        return dict(self.data["parameters"])

    @property
    def environment(self) -> dict[str, Any]:
        """What the run found around it."""
        return dict(self.data["environment"])

    @property
    def captures(self) -> dict[str, Any]:
        """What it captured: `links`, `troubles`, the clocks' offset; empty without captures."""
        return dict(self.data["environment"].get("captures") or {})

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Every trial, invalid and null ones too."""
        return list(self.data["trials"])

    @property
    def summary(self) -> dict[str, Any]:
        """Per measure, as the run itself wrote it."""
        return dict(self.data["summary"])

    @property
    def status(self) -> str:
        """`answered`, `invalid` or `failed`."""
        return str(self.data["verdict"]["status"])

    @property
    def why(self) -> str:
        """The verdict's reason."""
        return str(self.data["verdict"]["why"])

    @property
    def group_by(self) -> tuple[str, ...]:
        """Trial parameters whose values make the groups."""
        return tuple(self.data.get("group_by", DEFAULT_GROUP_BY))

    @property
    def shown_measures(self) -> tuple[str, ...] | None:
        """The measures to show first; None for the standard ones."""
        return tuple(self.data["shown_measures"]) if "shown_measures" in self.data else None

    @property
    def answer(self) -> str | None:
        """The experiment's own answer; None when it gave none."""
        return self.data.get("answer") or None

    @property
    def unfinished(self) -> bool:
        """True while the run goes on, and for ever if it was killed."""
        return self.why == DIED


def load_record(folder: Path) -> Record:
    """Read a run's record.json (the folder or the file may be given).

    Raises RecordError with the path: missing, unreadable, empty, truncated, foreign, newer format.
    """
    folder = Path(folder)
    path = folder if folder.name == "record.json" else folder / "record.json"
    text = _read_text(path)
    if not text.strip():
        raise RecordError(f"{path}: is empty; the run cannot be read, run it again")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{path}: line {error.lineno}, column {error.colno}: not complete JSON ({error.msg}); "
            "truncated or edited, restore it or run again"
        ) from error
    data = upgraded(check_is_record(data, str(path)), str(path))
    return Record(path.parent.resolve(), check_record(data, str(path)))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.parent.is_symlink() and not path.parent.exists():
            raise RecordError(f"{path.parent}: points to {path.parent.readlink()}, which is gone") from error
        if path.parent.is_dir():
            raise RecordError(f"{path.parent}: no {path.name} in it, so not the folder of a run") from error
        raise RecordError(f"{path.parent}: no such run; `make runs` shows those there are") from error
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: is not text; damaged or not written by Overland") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All events of a run ordered by `t_s` (CLOCK_MONOTONIC seconds); [] when it recorded none.

    A cut last line is what a killed run leaves and is passed over; a broken one elsewhere raises RecordError.
    """
    path = Path(folder) / "events.jsonl"
    if Path(folder).is_dir() and not path.exists():
        return []
    text = _read_text(path)
    events: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            event["t_s"], event["kind"] = float(event["t_s"]), str(event["kind"])
        except (json.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            if number == text.count("\n") + 1:  # no newline after it
                break
            raise RecordError(f"{path}: line {number} is not an event (t_s, kind): {line[:60]}") from error
        events.append(event)
    events.sort(key=lambda event: event["t_s"])
    return events


def list_runs(results_dir: Path) -> list[Path]:
    """Folders of all runs, oldest first (their names begin with the time they started)."""
    runs = Path(results_dir) / "runs"
    if not runs.is_dir():
        return []
    return sorted(path for path in runs.iterdir() if path.is_dir())


def open_run(results_dir: Path, wanted: str) -> Record:
    """The record of the run that `find_run` finds; says on standard error which one a shorter name meant."""
    record = load_record(find_run(results_dir, wanted))
    if not Path(wanted).is_dir() and wanted != record.folder.name:
        print(f"{wanted}: run {record.folder.name}", file=sys.stderr)
    return record


def find_run(results_dir: Path, wanted: str) -> Path:
    """The folder of a run: a path, `latest`, an experiment's name (its newest run), a run's name or a part of one.

    A part must fit one run only. Raises RecordError that says what there is.
    """
    results_dir = Path(results_dir)
    if wanted == "latest":
        link = results_dir / "latest"
        if link.is_symlink() or link.exists():
            return link
        # As where runs were copied to: the link stayed behind.
        if runs := [path for path in list_runs(results_dir) if (path / "record.json").is_file()]:
            return runs[-1]
        raise RecordError(f"{results_dir}: no run here yet; run an experiment first (make list shows them)")
    as_path = Path(wanted)
    if as_path.name == "record.json" or as_path.is_dir():
        return as_path
    runs = list_runs(results_dir)
    if of_experiment := [path for path in runs if _experiment_in(path.name) == wanted]:
        return of_experiment[-1]
    fitting = [path for path in runs if wanted and wanted in path.name]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        shown = ", ".join(path.name for path in fitting[-3:])
        raise RecordError(
            f"run {wanted!r}: fits {len(fitting)} runs (such as {shown}); give more of the name"
        )
    raise RecordError(f"run {wanted!r}: no such run; `make runs` shows those there are")


def _experiment_in(name: str) -> str:
    """The experiment that a run's folder is named after: 'hot-l2' of 20261125T003807Z-hot-l2-65fc3d."""
    return name.partition("-")[2].rpartition("-")[0]
