"""What git says of a work tree: which commit it is, and whether anything in it that runs is not of that commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emulation import commands

WRITTEN_BY_RUNS = ("README.md", "results/ANSWERS.md", "results/answers.html", "results/reference")
"""Kept in git or lying about, but written from runs: a change of these changes nothing of what runs."""


def state(folder: Path) -> dict[str, Any]:
    """``commit`` and ``commit_changed``, as a record's environment has them. Raises CommandError."""
    # Without the optional lock git does not write its index, which would be root's in somebody else's clone.
    git = ["git", "--no-optional-locks", "-C", str(folder)]
    ours = (".", *(f":(exclude){name}" for name in WRITTEN_BY_RUNS))
    return {
        "commit": commands.run([*git, "rev-parse", "HEAD"]).strip(),
        "commit_changed": bool(commands.run([*git, "status", "--porcelain", "--", *ours]).strip()),
    }
