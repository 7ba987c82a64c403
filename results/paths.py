"""Paths in what is recorded: a record is read on other machines, where a path of its own machine means nothing. Pure.

Beneath the work tree a path is told relative to it, elsewhere by its last name alone.
"""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

_SAME_EVERYWHERE = ("dev", "etc", "proc", "sys")
_BEGIN = r"(?:(?:\.\./)+|/(?=[A-Za-z_.~@]))"
_WHOLE = re.compile(rf"{_BEGIN}[^:;,'\"\n]*\.ya?ml\Z")
_QUOTED = re.compile(rf"(?<=')(\w+=)?({_BEGIN}[^':;]*)(?=')")
_WORD = re.compile(rf"(?<![\w./~:)\]}}%+-]){_BEGIN}[^\s'\"`,;:()\[\]{{}}<>]*")


def portable_path(path: str, project: Path = PROJECT) -> str:
    """One path as a record has it: `topologies/mine.yaml` beneath the work tree, `mine.yaml` elsewhere."""
    told = Path(path)
    if not told.is_absolute():
        return told.name if ".." in told.parts else path
    if told.parts[1:2] and told.parts[1] in _SAME_EVERYWHERE:
        return path
    return told.relative_to(project).as_posix() if told.is_relative_to(project) else told.name


def portable_text(text: str, project: Path = PROJECT) -> str:
    """The text with every path in it as a record has it: a topology file, words of a command, an error's sentence."""
    if "/" not in text:
        return text
    if _WHOLE.match(text):  # the one value that may have spaces in it and no quotes around it
        return portable_path(text, project)
    text = _QUOTED.sub(lambda found: (found[1] or "") + portable_path(found[2], project), text)
    return _WORD.sub(lambda found: _in_sentence(found[0], project), text)


def _in_sentence(path: str, project: Path) -> str:
    """A full stop behind a path is its sentence's."""
    bare = path.removesuffix(".")
    return portable_path(bare, project) + path[len(bare) :]
