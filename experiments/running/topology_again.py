"""Topologies of runs: a file that is gone is found in a run's record, and written again from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from experiments.running.parameters import ParameterError
from results.record.contract import RecordError
from results.record.files import write_atomic
from results.record.reading import Record, list_runs, load_record, open_run
from topologies import Topology, TopologyErrors, load_topology, parse_topology, topology_file
from topologies.from_record import file_text

FOLDER = "topologies"
"""Beneath the results folder: what is written there changes nothing of the work tree."""
ENDINGS = (".yaml", ".yml")


class MissingTopologyError(ParameterError):
    """A topology file is not there, but a run's record has it; says how to get it back."""


def topology_named(name: str, results_folder: Path) -> Topology:
    """The topology that a parameter names. Raises TopologyErrors, or MissingTopologyError where a run has it."""
    path = topology_file(name)
    try:
        return load_topology(path)
    except TopologyErrors:
        if path.exists() or (run := _newest_run_with(path.name, results_folder)) is None:
            raise
        raise MissingTopologyError(
            f"topology={name}: there is no such file, but the record of run {run} has it; make topology RUN={run} "
            "writes it again and says the command"
        ) from None


def _newest_run_with(name: str, results_folder: Path) -> str | None:
    """The newest run whose topology file had this name."""
    for folder in reversed(list_runs(results_folder)):
        try:
            record = load_record(folder)
        except RecordError:
            continue
        if record.data["topology"] and file_name(record) == name:
            return folder.name
    return None


def file_name(record: Record) -> str:
    """The name of the file that its topology came from; of one that goes by a name, or one of several, by that."""
    own = str(record.parameters.get("topology") or "")
    from_file = own.endswith(ENDINGS) and "," not in own
    return PurePath(own).name if from_file else f"{record.data['topology']['name']}.yaml"


def write_topology(words: Sequence[str], results_folder: Path) -> int:
    """`RUN [FILE]`: write the topology of a run as a file, print where it is and the command that runs it again.

    Raises RecordError: no such run, a record without a topology, a file that is there and says another thing.
    """
    record = open_run(results_folder, words[0] if words else "latest")
    if not record.data["topology"]:
        raise RecordError(
            f"{record.folder}: its record has no topology (those kept as reference leave it out)"
        )
    text = file_text(
        record.data["topology"], f"The topology of run {record.name}, made again from its record."
    )
    folder = results_folder / FOLDER
    path = Path(words[1]) if len(words) > 1 else folder / file_name(record)
    if path.exists() and not _says_the_same(path, text):
        raise RecordError(f"{path}: is there and says another thing; name another file: FILE=other.yaml")
    if len(words) < 2:
        folder.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise RecordError(f"{path.parent}: no such folder; make it first or name another FILE")
    write_atomic(path, text.encode())
    print(path)
    if command := _command_with(record, path):
        print(f"run it again: {command}")
    return 0


def _says_the_same(path: Path, text: str) -> bool:
    try:
        return load_topology(path) == parse_topology(text.encode(), str(path))
    except TopologyErrors:
        return False


def _command_with(record: Record, path: Path) -> str:
    """The run's command with the file that was written in the place of its own; '' where none names a file."""
    command, own = str(record.environment.get("command") or ""), str(record.parameters.get("topology") or "")
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return command.replace(f"topology={own}", f"topology={here}") if own.endswith(ENDINGS) else command
