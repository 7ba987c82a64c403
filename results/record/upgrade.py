"""Records of older formats, brought to today's when they are read; the file itself is left as it is. Pure.

When ``FORMAT_VERSION`` is raised, the step from the one before goes into ``STEPS``, with a record of that version among
the tests. A format has no step when nobody has records of it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from results.record.contract import FORMAT_VERSION, RecordError

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""From a record of one version, as read from JSON, to one of the next; ``format_version`` is set by the caller."""

STEPS: Mapping[int, Step] = {}


def upgraded(
    data: dict[str, Any], where: str, steps: Mapping[int, Step] = STEPS, newest: int = FORMAT_VERSION
) -> dict[str, Any]:
    """The record in the newest format. Raises RecordError: no version, a newer one, or one that is too old."""
    version = data["format_version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise RecordError(f"{where}: format_version {version!r} is not a whole number from 0")
    if version > newest:
        raise RecordError(
            f"{where}: written in format {version}, this version reads up to {newest}; "
            "update Overland (git pull) and try again"
        )
    while (version := data["format_version"]) < newest:
        if version not in steps:
            raise RecordError(
                f"{where}: written in format {version}, which is too old: this version reads {_oldest(steps, newest)} "
                f"to {newest}; run the experiment again, or read it with the version of Overland it was made with"
            )
        try:
            data = {**steps[version](dict(data)), "format_version": version + 1}
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise RecordError(
                f"{where}: says format {version} but is not of it ({type(error).__name__}: {error}); damaged or edited"
            ) from error
    return data


def _oldest(steps: Mapping[int, Step], newest: int) -> int:
    while newest - 1 in steps:
        newest -= 1
    return newest
