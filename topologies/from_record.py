"""The topology of a record as the text of a topology file again.

A record has attribute names and plain numbers in the unit that ends the name (`delay_s: 0.02`), a file has keys without
that ending and texts (`delay: 20ms`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from topologies.units import format_duration, format_loss, format_rate, format_size


def _bytes(size_bytes: int) -> str | int:
    told = format_size(size_bytes)
    return told if told.endswith("iB") else size_bytes


_WRITTEN: Mapping[str, Callable[[Any], Any]] = {
    "_s": format_duration,
    "_bps": format_rate,
    "_bytes": _bytes,
    "_ratio": format_loss,
    "_packets": int,
}
"""How a file writes what a record has under a name with this ending."""


def file_text(record: Mapping[str, Any], comment: str = "") -> str:
    """The file of `record`, a `Topology.as_record()` after JSON; `comment` goes above it, a line each.

    `parse_topology` makes the same topology of it. The text may be another: a record has no comments and all defaults.
    """
    import yaml  # only for who writes a file

    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + yaml.safe_dump(_as_file(record), sort_keys=False, allow_unicode=True, width=110)


def _as_file(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = (_pair(key, item) for key, item in value.items() if item is not None and item != [])
        return dict(pairs)
    return [_as_file(item) for item in value] if isinstance(value, list) else value


def _pair(key: str, value: Any) -> tuple[str, Any]:
    for ending, write in _WRITTEN.items():
        if key.endswith(ending):
            return key.removesuffix(ending), write(value) if value else 0
    return key, _as_file(value)
