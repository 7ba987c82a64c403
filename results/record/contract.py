"""What a record must look like: pure checks, no I/O. FORMAT.md lists every key with its unit."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

from results.paths import portable_text
from vocabulary.errors import OverlandError

FORMAT_VERSION = 1
STATUSES = ("answered", "invalid", "failed")
DIED = "the run ended before it wrote its result (killed, or the machine stopped)"

# A measure's name says its unit in one of its words: lost_packets_to_vm, tcp_stall_s_from_vm.
_TIMES = ("s", "ms", "us", "ns")
_COUNTS = (
    "bytes",
    "packets",
    "frames",
    "segments",
    "flows",
    "moves",
    "connections",
    "rtos",
    "times",
    "count",
)
UNIT_WORDS = frozenset((*_TIMES, *_COUNTS, "bps", "pps", "ratio", "share", "percent", "mos"))
_TRIAL_KEYS = ("index", "valid", "invalid_reason", "null", "parameters", "migration", "measures")
_MIGRATION_KEYS = ("kind", "old_nve", "new_nve", "phases", "call_to_last_barrier_s")
_RECORD_KEYS: dict[str, type] = {
    "experiment": str,
    "questions": list,
    "parameters": dict,
    "topology": dict,
    "environment": dict,
    "trials": list,
    "summary": dict,
    "verdict": dict,
}

# Optional keys; a reader that does not know them shows less, so they need no newer format.
OPTIONAL_LISTS = ("group_by", "shown_measures")


class RecordError(OverlandError):
    """A record cannot be written or read. The text says what, where and what to do next; one line."""


def plain(value: Any, where: str) -> Any:
    """A copy of `value` made of what JSON holds: dict, list, str, int, finite float, bool, None.

    numpy scalars and arrays, tuples and paths are converted; paths in texts lose what only their own machine knows.
    Raises RecordError for all else, with `where`.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return portable_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(f"{where}: {value} cannot be recorded; give None for 'not measured'")
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item, f"{where}[{number}]") for number, item in enumerate(items)]
    if hasattr(value, "tolist"):  # numpy scalar or array, without importing numpy
        return plain(value.tolist(), where)
    if hasattr(value, "__fspath__"):
        return portable_text(str(value))
    raise RecordError(
        f"{where}: a {type(value).__name__} cannot be recorded; give numbers, text, lists or dicts"
    )


def _need(mapping: Any, keys: tuple[str, ...], where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise RecordError(f"{where}: is a {type(mapping).__name__}, wanted an object with {', '.join(keys)}")
    for key in keys:
        if key not in mapping:
            near = difflib.get_close_matches(key, [str(name) for name in mapping], n=1)
            hint = f" (there is {near[0]!r})" if near else ""
            raise RecordError(f"{where}: {key!r} is missing{hint}; wanted {', '.join(keys)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_migration(migration: Any, where: str) -> None:
    _need(migration, _MIGRATION_KEYS, where)
    for key in ("kind", "old_nve", "new_nve"):
        if not isinstance(migration[key], str):
            raise RecordError(f"{where}.{key}: {migration[key]!r} is not text")
    last_barrier = migration["call_to_last_barrier_s"]
    if last_barrier is not None and not _is_number(last_barrier):
        raise RecordError(
            f"{where}.call_to_last_barrier_s: {last_barrier!r} is neither a number of seconds nor None"
        )
    if not isinstance(migration["phases"], list):
        raise RecordError(f"{where}.phases: wanted a list of {{name, start_s, end_s}}")
    for number, phase in enumerate(migration["phases"]):
        place = f"{where}.phases[{number}]"
        _need(phase, ("name", "start_s", "end_s"), place)
        start_s, end_s = phase["start_s"], phase["end_s"]
        if not (_is_number(start_s) and _is_number(end_s) and start_s <= end_s):
            raise RecordError(
                f"{place}: start_s={start_s!r}, end_s={end_s!r}; wanted numbers, start_s <= end_s"
            )


def checked_trial(trial: Mapping[str, Any], where: str = "trial") -> dict[str, Any]:
    """The trial as plain JSON values, checked against the contract; further keys are kept.

    Raises RecordError naming the key, the value and what is allowed.
    """
    _need(trial, _TRIAL_KEYS, where)
    made: dict[str, Any] = plain(trial, where)
    if not isinstance(made["index"], int) or isinstance(made["index"], bool) or made["index"] < 0:
        raise RecordError(f"{where}.index: {made['index']!r} is not a whole number from 0")
    for key in ("valid", "null"):
        if not isinstance(made[key], bool):
            raise RecordError(f"{where}.{key}: {made[key]!r} is neither true nor false")
    reason = made["invalid_reason"]
    if made["valid"] and reason is not None:
        raise RecordError(f"{where}.invalid_reason: {reason!r} on a valid trial; wanted None")
    if not made["valid"] and not (isinstance(reason, str) and reason.strip()):
        raise RecordError(f"{where}.invalid_reason: an invalid trial must say why, got {reason!r}")
    if not isinstance(made["parameters"], dict):
        raise RecordError(f"{where}.parameters: {made['parameters']!r} is not an object")
    if made["migration"] is not None:
        if made["null"]:
            raise RecordError(f"{where}.migration: a null trial moves nothing; wanted None")
        _check_migration(made["migration"], f"{where}.migration")
    if not isinstance(made["measures"], dict):
        raise RecordError(f"{where}.measures: {made['measures']!r} is not an object")
    for name, value in made["measures"].items():
        if value is not None and not _is_number(value):
            raise RecordError(
                f"{where}.measures.{name}: {value!r} is neither a number nor None (not measured)"
            )
        if UNIT_WORDS.isdisjoint(name.split("_")):
            raise RecordError(
                f"{where}.measures.{name}: the name does not say its unit; make one of its words one of "
                + ", ".join(sorted(UNIT_WORDS))
            )
    return made


def checked_names(key: str, names: Any, where: str) -> list[str]:
    """The names in `group_by` (trial parameters) or `shown_measures`. Raises RecordError."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise RecordError(f"{where}: {key} is {names!r}, wanted a list of names")
    if len(set(names)) != len(names):
        raise RecordError(f"{where}: {key} has a name twice: {', '.join(names)}")
    if not names:
        raise RecordError(f"{where}: {key} is empty; leave it out for the usual one")
    unnamed = [name for name in names if key == "shown_measures" and UNIT_WORDS.isdisjoint(name.split("_"))]
    if unnamed:
        raise RecordError(
            f"{where}: shown_measures: {unnamed[0]!r} does not say its unit, so it is no measure"
        )
    return list(names)


def checked_verdict(status: str, why: str) -> dict[str, str]:
    """The verdict object. Raises RecordError for an unknown status or a missing reason."""
    if status not in STATUSES:
        raise RecordError(f"verdict: status {status!r} is unknown; allowed: {', '.join(STATUSES)}")
    if not isinstance(why, str) or not why.strip():
        raise RecordError(f"verdict: {status!r} needs a reason in words")
    return {"status": status, "why": portable_text(why.strip())}


def check_is_record(data: Any, where: str) -> dict[str, Any]:
    """What was read from JSON, of any version. Raises RecordError for a foreign file."""
    if not isinstance(data, dict) or "format_version" not in data or "experiment" not in data:
        raise RecordError(f"{where}: is JSON but not a record of a run (no format_version or experiment)")
    return data


def check_record(data: dict[str, Any], where: str) -> dict[str, Any]:
    """The record in today's format, checked. Raises RecordError: incomplete, broken trial."""
    for key, kind in _RECORD_KEYS.items():
        if not isinstance(data.get(key), kind):
            found = "is missing" if key not in data else f"is a {type(data[key]).__name__}"
            raise RecordError(
                f"{where}: {key!r} {found}, wanted a {kind.__name__}; not a complete record of a run"
            )
    checked_verdict(data["verdict"].get("status", ""), data["verdict"].get("why", ""))
    for key in OPTIONAL_LISTS:
        if key in data:
            checked_names(key, data[key], where)
    if not isinstance(data.get("answer", ""), str):
        raise RecordError(f"{where}: 'answer' is a {type(data['answer']).__name__}, wanted text")
    for number, trial in enumerate(data["trials"]):
        checked_trial(trial, f"{where}: trials[{number}]")
    return data


DEFAULT_GROUP_BY = ("path",)
"""What trials are grouped by unless their experiment says otherwise."""
