"""The only writer of a run's folder, and the door through which a record is read again.

A run's folder holds record.json (always whole: it is replaced, never changed in place), events.jsonl and
samples/<name>.parquet. FORMAT.md lists every key.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from results.record.contract import (
    DIED,
    FORMAT_VERSION,
    RecordError,
    checked_names,
    checked_trial,
    checked_verdict,
    plain,
)
from results.record.files import explain, point_link, write_all, write_atomic
from results.record.ownership import give_to_owner_of, make_folder
from results.record.reading import Record, find_run, list_runs, load_record, read_events
from results.record.samples import SampleFile, read_samples, sample_names

__all__ = [
    "Record",
    "RecordError",
    "RunRecord",
    "find_run",
    "list_runs",
    "load_record",
    "read_events",
    "read_samples",
    "sample_names",
]

MINIMUM_FREE_BYTES = (
    50_000_000  # about ten runs of 45 trials; below it a run would likely end without its samples
)
FLUSH_EVERY_EVENTS = 256
FLUSH_EVERY_S = 1.0
SLOW_WRITE_S = (
    0.02  # a record that takes longer to write is not written after every trial: that share of time at most
)
WRITE_SHARE = 0.1
_EXPERIMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class RunRecord:
    """A run being recorded. Methods may be called from several threads.

    From `create` on, the folder's record.json says that the run failed; only `finish` changes that. Used as a
    context manager, an exception inside becomes the verdict, as does leaving without a verdict.
    """

    def __init__(self, folder: Path, data: dict[str, Any]) -> None:
        self.folder = folder
        self._data = data
        self._lock = threading.RLock()
        self._lines: list[str] = []
        self._events: int | None = None
        self._events_bytes = 0
        self._flushed_s = time.monotonic()
        self._written_s, self._write_took_s = 0.0, 0.0
        self._samples: dict[str, SampleFile] = {}
        self._indexes: set[int] = set()
        self._closed = False

    @classmethod
    def create(
        cls,
        results_dir: Path,
        experiment: str,
        questions: Sequence[str],
        parameters: Mapping[str, Any],
        topology: Mapping[str, Any],
        *,
        group_by: Sequence[str] | None = None,
        shown_measures: Sequence[str] | None = None,
    ) -> Self:
        """Make results_dir/runs/<UTC stamp>-<experiment>-<6 hex>/ with a record that says the run died.

        `group_by`: trial parameters whose values make the rows of tables and charts, default `path`.
        `shown_measures`: what they show, default the standard measures. `results_dir/latest` then points to
        the run. Raises RecordError (not writable, no space), leaves nothing.
        """
        if not _EXPERIMENT.match(experiment):
            raise RecordError(f"experiment {experiment!r}: a name has only letters, digits, '.', '_' and '-'")
        now = datetime.now(UTC)
        data: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "experiment": experiment,
            "questions": plain(list(questions), "questions"),
            "started_utc": now.isoformat(timespec="milliseconds"),
            "ended_utc": None,
            "parameters": plain(parameters, "parameters"),
            "topology": plain(topology, "topology"),
            "environment": {},
            "trials": [],
            "summary": {},
            "verdict": checked_verdict("failed", DIED),
        }
        for key, names in (("group_by", group_by), ("shown_measures", shown_measures)):
            if names is not None:
                data[key] = checked_names(key, names, experiment)
        results_dir = Path(results_dir).absolute()
        folder = _make_folder(results_dir, f"{now:%Y%m%dT%H%M%SZ}-{experiment}")
        record = cls(folder, data)
        try:
            record._write()
            point_link(results_dir / "latest", f"runs/{folder.name}")
        except RecordError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return record

    @property
    def trials(self) -> list[dict[str, Any]]:
        """The trials added so far (the list is a copy, the trials are not)."""
        return list(self._data["trials"])

    def set_environment(self, environment: Mapping[str, Any]) -> None:
        """Add what the run found around it (kernel, datapath, versions); later calls add to earlier ones."""
        with self._lock:
            self._open()
            self._data["environment"].update(plain(environment, "environment"))
            self._write()

    def event(self, t_s: float, kind: str, **fields: Any) -> None:
        """Add a line to events.jsonl. `t_s`: CLOCK_MONOTONIC in seconds. `trial` is -1 unless given.

        Buffered; written every FLUSH_EVERY_EVENTS events, every FLUSH_EVERY_S seconds, and at the end.
        """
        event = plain({"t_s": float(t_s), "kind": kind, "trial": -1} | fields, f"event {kind}")
        with self._lock:
            self._open()
            self._lines.append(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
            due = time.monotonic() - self._flushed_s >= FLUSH_EVERY_S
            if due or len(self._lines) >= FLUSH_EVERY_EVENTS:
                self._flush_events()

    def add_trial(self, trial: Mapping[str, Any]) -> None:
        """Add one finished trial and save the record. Raises RecordError when it breaks the contract."""
        made = checked_trial(trial)
        with self._lock:
            self._open()
            if made["index"] in self._indexes:
                raise RecordError(f"trial.index: {made['index']} was added before; each trial has its own")
            self._indexes.add(made["index"])
            self._data["trials"].append(made)
            since_s = time.monotonic() - self._written_s
            if self._write_took_s < SLOW_WRITE_S or since_s * WRITE_SHARE >= self._write_took_s:
                self._flush_events()
                self._write()

    def add_samples(self, name: str, columns: Mapping[str, Any]) -> None:
        """Append numpy columns of equal length to samples/<name>.parquet. Raises RecordError."""
        with self._lock:
            self._open()
            if name not in self._samples:
                self._samples[name] = SampleFile(self.folder / "samples", name)
            self._samples[name].append(columns)

    def finish(
        self,
        status: str,
        why: str,
        summary: Mapping[str, Any] | None = None,
        *,
        answer: str | None = None,
    ) -> None:
        """Close every file and write the verdict: `answered`, `invalid` or `failed`, and why in words.

        `answer`: the answer in one sentence, with its figure and interval; without it one is made of the
        measures. Raises RecordError; if events or samples could not be completed the verdict says so and is
        `failed`.
        """
        verdict = checked_verdict(status, why)
        if answer is not None and not (isinstance(answer, str) and answer.strip()):
            raise RecordError(f"answer: {answer!r} is not a sentence; leave it out to have one made")
        made = plain(summary or {}, "summary")
        with self._lock:
            self._open()
            if answer is not None:
                self._data["answer"] = plain(" ".join(answer.split()), "answer")
            self._conclude(verdict, made)

    def _conclude(self, verdict: dict[str, str], summary: dict[str, Any]) -> None:
        trouble: RecordError | None = None
        for close in (self._close_events, *(sample.close for sample in self._samples.values())):
            try:
                close()
            except RecordError as error:
                trouble = trouble or error
        if trouble is not None:
            verdict = checked_verdict("failed", f"the record is incomplete: {trouble}")
        self._closed = True
        self._data |= {
            "summary": summary,
            "verdict": verdict,
            "ended_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self._write()
        if trouble is not None:
            raise trouble

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if error is None:
                if not self._closed:
                    self.finish("failed", "the experiment ended without saying what it found")
                return
            try:
                if not isinstance(error, Exception) and self._data["ended_utc"] is not None:
                    self._write()  # the run had ended: only its writing may have been interrupted
                    return
                verdict = checked_verdict("failed", _in_words(error))
                self._conclude(verdict, self._data["summary"] if self._closed else {})
            except RecordError as second:  # must not hide what went wrong first
                error.add_note(f"The record could not be completed either: {second}")

    def _open(self) -> None:
        if self._closed:
            raise RecordError(f"{self.folder}: this run is finished; nothing can be added")

    def _write(self) -> None:
        begin_s = time.monotonic()
        text = json.dumps(self._data, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomic(self.folder / "record.json", text.encode() + b"\n")
        self._written_s = time.monotonic()
        self._write_took_s = self._written_s - begin_s

    def _flush_events(self) -> None:
        self._flushed_s = time.monotonic()
        if not self._lines:
            return
        path = self.folder / "events.jsonl"
        data = ("\n".join(self._lines) + "\n").encode()
        try:
            if self._events is None:
                self._events = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                give_to_owner_of(self.folder, path)
            write_all(self._events, data)
        except OSError as error:
            if self._events is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._events, self._events_bytes)  # no half line
            raise explain(error, path) from error
        self._events_bytes += len(data)
        self._lines.clear()

    def _close_events(self) -> None:
        try:
            self._flush_events()
            if self._events is not None:
                os.fsync(self._events)
        except OSError as error:
            raise explain(error, self.folder / "events.jsonl") from error
        finally:
            self._lines.clear()
            if self._events is not None:
                os.close(self._events)
                self._events = None


def new_folder(results_dir: Path, name: str) -> Path:
    """Make results_dir/runs/<UTC stamp>-<name>-<6 hex>/, empty, for a sweep. RecordError as of `create`."""
    results_dir = Path(results_dir).absolute()
    folder = _make_folder(results_dir, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}")
    point_link(results_dir / "latest", f"runs/{folder.name}")
    return folder


def _make_folder(results_dir: Path, stem: str) -> Path:
    """A new folder results_dir/runs/<stem>-<6 hex>. Raises RecordError (not writable, too little space)."""
    runs = results_dir / "runs"
    made: Path | None = None
    try:
        make_folder(runs)
        free_bytes = shutil.disk_usage(runs).free
        if free_bytes < MINIMUM_FREE_BYTES:
            raise RecordError(
                f"{runs}: {free_bytes / 1e6:.0f} MB free, a run needs {MINIMUM_FREE_BYTES / 1e6:.0f} MB; "
                "remove old runs, free some disk space, or choose another results folder"
            )
        while made is None:
            candidate = runs / f"{stem}-{secrets.token_hex(3)}"
            with contextlib.suppress(FileExistsError):
                candidate.mkdir()
                made = candidate
        give_to_owner_of(runs, made)
    except OSError as error:
        raise explain(error, Path(error.filename or runs)) from error
    return made


def _in_words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped by the user (Ctrl-C)"
    if isinstance(error, SystemExit):
        return f"ended early with exit status {error.code}"
    told = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, Exception):  # a signal: what it came in the middle of is no reason
        return told
    return "; ".join([told, *getattr(error, "__notes__", [])])
