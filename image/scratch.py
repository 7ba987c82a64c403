"""A guest's own folder: its data disk and its console's log, gone when it has ended, or at the next guest's start."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image.folder import locked

PREFIX = "guest-"
IN_USE = "in-use"
"""Locked as long as the guest's runner lives; the kernel unlocks it for one that was killed."""


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A new folder beneath the image's. Those of runners that were killed, a disk of up to gigabytes each, go first."""
    with locked(folder, "guests.lock"):
        _remove_abandoned(folder)
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        in_use = (made / IN_USE).open("w")
        fcntl.flock(in_use, fcntl.LOCK_EX)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        in_use.close()


def _remove_abandoned(folder: Path) -> None:
    for left in folder.glob(f"{PREFIX}*"):
        try:
            with (left / IN_USE).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use, or another's
        shutil.rmtree(left, ignore_errors=True)
