"""What is wrong with a topology file: one `Problem` each, all of a file in one `TopologyErrors`."""

import difflib
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from vocabulary.errors import OverlandError

Path = tuple[str | int, ...]
"""Where something stands in a topology: `("nves", 1, "underlay_ip")` is `nves[1].underlay_ip`."""

_LONGEST_SHOWN = 60
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `value` is what was given, as text (None: nothing was given); `allowed` says what is wrong with it and
    what is allowed. `first` is the place of the thing it collides with. `file`, `line` and `column` (from 1)
    are filled in by the loader. `permit`: the word in the file's `allow` that makes it a warning.
    """

    path: Path
    value: str | None
    allowed: str
    first: Path | None = None
    first_line: int | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    permit: str | None = None

    def __str__(self) -> str:
        parts = []
        if self.file is not None:
            parts.append(
                ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
            )
        parts += [key_path(self.path)] if self.path else []
        parts += [self.value] if self.value is not None else []
        text = ": ".join([*parts, self.allowed])
        if self.first is not None:
            line = "" if self.first_line is None else f", line {self.first_line}"
            text += f" (the other: {key_path(self.first)}{line})"
        return printable(text)


class TopologyErrors(OverlandError):  # noqa: N818 - holds several, and says so
    """A topology file that cannot be used; `errors` holds everything that is wrong with it, in file order."""

    def __init__(self, errors: Iterable[Problem]) -> None:
        self.errors = tuple(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def key_path(path: Path) -> str:
    """A path as people write it: `underlay.links[0].between`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _PLAIN_KEY.fullmatch(part) else shown(part)
            text += f".{key}" if text else key
    return text


def shown(value: object) -> str:
    """A value from a file as text for a message: quoted when it is text, shortened when it is long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        cut = value[:_LONGEST_SHOWN]
        return repr(cut) if cut == value else f"{cut!r}..."
    if isinstance(value, int) and value.bit_length() > 64:
        return "a very large number"
    return str(value)


def printable(text: str) -> str:
    """Text that any terminal takes: the name of a file may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely meant to be, or None.

    Looks at words of ordinary length and at the first hundred known ones only, so that no file takes long.
    """
    if len(word) > _LONGEST_SHOWN:
        return None
    looked_at = [other for other in islice(known, 100) if len(other) <= _LONGEST_SHOWN]
    return next(iter(difflib.get_close_matches(word, looked_at, n=1, cutoff=0.6)), None)


def listed(words: Iterable[str], limit: int = 12) -> str:
    """Words for a message, `a, b, c`; past `limit` the number of the others."""
    words = list(words)
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more


def repeated(items: Iterable[tuple[Path, Hashable]], allowed: str) -> Iterator[Problem]:
    """A problem for each value that was there before; of a tuple the last part is what the file says."""
    first: dict[Hashable, Path] = {}
    for path, value in items:
        if value in first:
            key = value[-1] if isinstance(value, tuple) else value
            text = shown(key) if isinstance(key, str | int) else f"'{key}'"
            yield Problem(path, text, allowed, first=first[value])
        else:
            first[value] = path
