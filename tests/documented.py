"""What a run's folder holds that results/FORMAT.md does not name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from results.record.writer import load_record, read_events, read_samples, sample_names

FORMAT = Path(__file__).parents[1] / "results/FORMAT.md"
_ENDS = re.compile(r"(_(to|from)_vm)?(_by_(peer|vm))?\Z")
_ALWAYS = {"t_s", "kind", "trial"}


@cache
def named() -> tuple[re.Pattern[str], ...]:
    """Every name in code style, `*` and `<...>` standing for anything, a path's last part by itself."""
    found = set()
    for text in re.findall(r"`([^`]+)`", FORMAT.read_text()):
        for name in (text.removesuffix("/"), text.removesuffix("[]").rpartition(".")[2]):
            pattern = re.sub(r"<[^>]*>|\*", "\0", name)
            if pattern.strip("\0_"):  # not a name that could be any
                found.add(re.escape(pattern).replace("\0", ".+"))
                found.add(re.escape(pattern.removesuffix("_\0")).replace("\0", ".+"))
    return tuple(re.compile(pattern + r"\Z") for pattern in found)


def is_named(name: str) -> bool:
    """Whether FORMAT.md has the name, with or without the direction and initiator at its end."""
    bare = _ENDS.sub("", name)
    return any(pattern.match(one) for one in (name, bare) for pattern in named())


def without_flows(measures: Any) -> list[str]:
    """The measures' names without the name of a flow beside the traffic: each such flow has its packets counted."""
    flows = [name.removeprefix("sent_packets") for name in measures if name.startswith("sent_packets_")]
    longest = sorted((flow for flow in flows if _ENDS.sub("", flow)), key=len, reverse=True)
    return [
        next((name.removesuffix(flow) for flow in longest if name.endswith(flow)), name) for name in measures
    ]


def undocumented(folder: Path) -> list[str]:
    """Keys, measures, kinds of events and columns of samples of a run that FORMAT.md does not name, each once."""
    record = load_record(folder)
    found: dict[str, None] = {}

    def ask(where: str, names: Any) -> None:
        found.update({f"{where}: {name}": None for name in names if not is_named(name)})

    ask("record", record.data)
    ask("environment", record.environment)
    for trial in record.trials:
        ask("trial", trial)
        ask("measure", without_flows(trial["measures"]))
        ask("class", trial.get("classes", {}))
        for move in trial.get("migrations") or [trial["migration"] or {}]:
            ask("migration", move)
    for event in read_events(folder):
        ask("event", [event["kind"]])
        ask(f"event {event['kind']}", event.keys() - _ALWAYS)
    for name in sample_names(folder):
        ask("samples", [name])
        ask(f"samples {name}", read_samples(folder, name))
    for path in folder.iterdir():
        ask("file", [path.name])
    return sorted(found)
