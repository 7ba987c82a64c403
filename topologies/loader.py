"""Reads a topology file; whatever is wrong with it, `TopologyErrors` says all of it at once."""

import stat
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from topologies.checks import Findings, check_values
from topologies.model import Topology
from topologies.problems import Problem, TopologyErrors, did_you_mean, listed
from topologies.wording import problems_of

if TYPE_CHECKING:
    from topologies.yamltree import Tree

SHIPPED = FilePath(__file__).parent
"""The folder of the topologies that come with the project."""


def load_topology(path: str | FilePath) -> Topology:
    """The topology in a file. Any problem, from a missing file to a wrong address, raises TopologyErrors."""
    return load_with_warnings(path)[0]


def load_with_warnings(path: str | FilePath) -> tuple[Topology, list[Problem]]:
    """The same, and what is wrong with it that its `allow` lets pass, with file, line and column."""
    from topologies.yamltree import MAX_BYTES  # PyYAML is loaded only when a file is read

    try:
        file = FilePath(path)
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _unreadable(path, "is a directory; name a topology file in it")
        if not stat.S_ISREG(mode):
            raise _unreadable(path, "is not a regular file; write the topology to a file first")
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _unreadable(
            path, f"there is no such file (topologies that are shipped: {listed(shipped())})"
        ) from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise _unreadable(path, "is not the name of a file") from None
    return _parse(content, str(path))


def parse_topology(content: bytes, file: str) -> Topology:
    """The topology in a file's content; `file` is its name in messages. Raises TopologyErrors."""
    return _parse(content, file)[0]


def _parse(content: bytes, file: str) -> tuple[Topology, list[Problem]]:
    from topologies.yamltree import MAX_BYTES, read_tree

    if len(content) > MAX_BYTES:
        raise _unreadable(
            file, f"is larger than {MAX_BYTES} bytes; make large topologies with topologies.generated()"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        allowed = f"is not UTF-8 text: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise TopologyErrors([Problem((), None, allowed, file=file, line=line, column=column)]) from None
    tree = read_tree(text)
    problems = list(tree.problems)
    if tree.data is None and not problems:
        raise _unreadable(file, "is empty; topologies/minimal.yaml shows what belongs in it")
    if tree.data is not None and not isinstance(tree.data, dict):
        problems.append(Problem((), None, "must be a mapping: lines of the form 'key: value'"))
    elif tree.data is not None:
        topology, found = _read_values(tree.data)
        problems += found.errors
        if topology is not None and not problems:
            return topology, _placed(found.warnings, tree, file)
    raise TopologyErrors(_placed(problems, tree, file))


def shipped() -> list[str]:
    """Names of the topologies that come with the project, for `topology_file`."""
    return sorted(file.stem for file in SHIPPED.glob("*.yaml"))


def topology_file(name: str | FilePath) -> FilePath:
    """The file of a topology given by a shipped one's name (`two_racks`) or a path. Raises TopologyErrors."""
    text = str(name)
    if text in shipped():
        return SHIPPED / f"{text}.yaml"
    if "/" in text or text.endswith((".yaml", ".yml")):
        return FilePath(name)
    meant = did_you_mean(text, shipped())
    hint = f"; did you mean '{meant}'?" if meant else ""
    allowed = (
        f"is neither a shipped topology nor the path of a YAML file{hint} (shipped: {listed(shipped())})"
    )
    raise _unreadable(text, allowed)


def _read_values(data: dict[str, Any]) -> tuple[Topology | None, Findings]:
    topology, problems = None, []
    try:
        topology = Topology.model_validate(data)
    except ValidationError as error:
        problems = problems_of(error)
    found = check_values(data)
    return topology, replace(found, errors=problems + found.errors)


def _placed(problems: list[Problem], tree: "Tree", file: str) -> list[Problem]:
    """The problems with file, line and column, in the order of the lines."""
    placed = []
    for problem in problems:
        if problem.line is None:
            place = tree.place(problem.path, of_key=problem.value is None) or (1, 1)
            problem = replace(problem, line=place[0], column=place[1])
        first = None if problem.first is None else tree.place(problem.first, of_key=problem.value is None)
        placed.append(replace(problem, file=file, first_line=None if first is None else first[0]))
    return sorted(placed, key=lambda problem: (problem.line or 0, problem.column or 0))


def _unreadable(path: str | FilePath, allowed: str) -> TopologyErrors:
    return TopologyErrors([Problem((), None, allowed, file=str(path))])
