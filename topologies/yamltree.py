"""Reads YAML text into plain values and remembers where each of them stands.

Scalars follow the core schema of YAML 1.2: `on` and `12:30:00` are text and `010` is not eight, unlike in
YAML 1.1. Refused: duplicate keys, merge keys, tags, several documents, and more than `MAX_*` of anything (an
alias counts each time it is used, so a file of nested aliases cannot grow without bound).
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from topologies.problems import Path, Problem, shown

MAX_BYTES = 512 * 1024
MAX_DEPTH = 24
MAX_VALUES = 50_000

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,99})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,99}(?:\.[0-9]{0,99})?(?:[eE][-+]?[0-9]{1,3})?|[-+]?\.[0-9]{1,99}")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")

Place = tuple[int, int]
"""Line and column, from 1."""


class _Composer(yaml.SafeLoader):
    """PyYAML's composer with the core schema's scalars and a limit to nesting (it works by recursion)."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the base class's name for it
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


@dataclass
class Tree:
    """The values of a file (`data`), the place of each, and what is wrong with the text itself."""

    data: Any = None
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path, *, of_key: bool = False) -> Place | None:
        """Where the value (or the key) at `path` stands; of what is missing, where its parent stands."""
        if of_key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return None


class _LimitError(Exception):
    def __init__(self, allowed: str, path: Path) -> None:
        super().__init__(allowed)
        self.allowed = allowed
        self.path = path


def read_tree(text: str) -> Tree:
    """The tree of a YAML text. Raises nothing: `problems` says what is wrong, `data` is then partial."""
    tree = Tree()
    try:
        composer = _Composer(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problem = f"is not YAML: holds the character {chr(error.character)!r}, which is not allowed"
        tree.problems.append(Problem((), None, problem, line=line, column=column))
        return tree
    try:
        root = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        tree.problems.append(_syntax_problem(error))
        return tree
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML lets a few of Python's own errors out, for instance for the escape "\UFFFFFFFF".
        mark = composer.get_mark()
        problem = "is not YAML: holds an escape or a number that does not exist"
        tree.problems.append(Problem((), None, problem, line=mark.line + 1, column=mark.column + 1))
        return tree
    if root is None:
        return tree
    try:
        tree.data = _convert(root, (), tree)
    except _LimitError as error:
        place = tree.place(error.path) or (1, 1)
        tree.problems.append(Problem((), None, error.allowed, line=place[0], column=place[1]))
        tree.data = None
    return tree


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(part for part in (error.context, error.problem) if part)
    if error.problem == "but found another document":
        what = "a topology file holds one document; a second one begins here"
    line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
    return Problem((), None, f"is not YAML: {what}", line=line, column=column)


def _convert(node: yaml.Node, path: Path, tree: Tree) -> Any:
    tree.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(tree.values) > MAX_VALUES:
        raise _LimitError(f"holds more than {MAX_VALUES} values, aliases written out", path)
    if len(path) > MAX_DEPTH:
        raise _LimitError(f"is nested deeper than {MAX_DEPTH} levels, aliases written out", path)
    expected = "map" if isinstance(node, yaml.MappingNode) else "seq"
    known = isinstance(node, yaml.ScalarNode) or node.tag == _TAG + expected
    if not known or not node.tag.startswith(_TAG):
        allowed = f"has the tag {shown(node.tag)}; tags are not used in topology files, leave it out"
        tree.problems.append(Problem(path, None, allowed))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, tree)
    if isinstance(node, yaml.SequenceNode):
        return [_convert(item, (*path, index), tree) for index, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node, path, tree)


def _mapping(node: yaml.MappingNode, path: Path, tree: Tree) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problem = Problem(
                path, None, "a key must be text, not a list or a mapping", line=line, column=column
            )
            tree.problems.append(problem)
            continue
        key = str(key_node.value)
        if key == "<<" and not key_node.style:
            allowed = "merge keys are not supported; write the keys out"
            tree.problems.append(Problem((*path, key), None, allowed, line=line, column=column))
        elif key in data:
            allowed = f"the key is there already, in line {tree.keys[(*path, key)][0]}; remove one of the two"
            tree.problems.append(Problem((*path, key), None, allowed, line=line, column=column))
        else:
            tree.keys[(*path, key)] = (line, column)
            data[key] = _convert(value_node, (*path, key), tree)
    return data


def _scalar(node: yaml.ScalarNode, path: Path, tree: Tree) -> Any:
    text = str(node.value)
    tag = node.tag.removeprefix(_TAG)
    if tag == "null" and _NULL.fullmatch(text):
        return None
    if tag == "bool" and _BOOL.fullmatch(text):
        return text.lower() == "true"
    if tag == "int" and _INT.fullmatch(text):
        return int(text)
    if tag == "float" and _FLOAT.fullmatch(text):
        return float(text)
    if tag not in ("str",) and node.tag.startswith(_TAG):
        allowed = f"has the tag {shown(node.tag)}; tags are not used in topology files, leave it out"
        tree.problems.append(Problem(path, None, allowed))
    return text


_Composer.add_implicit_resolver(_TAG + "null", re.compile(rf"(?:{_NULL.pattern})\Z"), ["~", "n", "N", ""])
_Composer.add_implicit_resolver(_TAG + "bool", re.compile(rf"(?:{_BOOL.pattern})\Z"), list("tTfF"))
_Composer.add_implicit_resolver(_TAG + "int", re.compile(rf"(?:{_INT.pattern})\Z"), list("-+0123456789"))
_Composer.add_implicit_resolver(
    _TAG + "float", re.compile(rf"(?!{_LEADING_ZERO.pattern}\Z)(?:{_FLOAT.pattern})\Z"), list("-+.0123456789")
)
