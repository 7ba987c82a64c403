"""The data disk: ext4 in a file, made with its contents and read back without root and without mounting."""

from __future__ import annotations

import shutil
from pathlib import Path

from emulation import commands
from emulation.errors import CommandError
from image.errors import ImageError

SIZE_BYTES = 4_000_000_000  # sparse: what is written counts
LABEL = "overland"


def make_argv(disk: Path, contents: Path) -> list[str]:
    """The command that makes the file system with all that is in a folder."""
    options = ["-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-m", "0", "-L", LABEL]
    return ["mkfs.ext4", "-q", *options, "-d", str(contents), str(disk)]


def make(disk: Path, contents: Path) -> None:
    """Make the disk. Raises ImageError."""
    try:
        with disk.open("wb") as file:
            file.truncate(SIZE_BYTES)
        commands.run(make_argv(disk, contents), timeout_s=60)
    except (OSError, CommandError) as error:
        raise ImageError(f"cannot make the data disk {disk}: {error}") from None


def read_back(disk: Path, folder: str, target: Path) -> list[Path]:
    """Copy what is in a folder of the disk into ``target``; the paths of its entries. Raises ImageError.

    After a guest that was killed the file system is put in order first: it has no journal, and the guest writes it
    out every few seconds.
    """
    try:
        commands.run(["e2fsck", "-fy", str(disk)], timeout_s=120)
    except CommandError as error:
        if not 1 <= error.exit_code <= 3:  # e2fsck(8): bits 1 and 2: corrected
            raise ImageError(f"the data disk {disk} cannot be read any more: {error}") from None
    target.mkdir(parents=True, exist_ok=True)
    before = set(target.iterdir())
    try:
        # It ends with 0 whatever happens, and complains where it may not give files to root: nobody wants that.
        listing = commands.run(["debugfs", "-R", f"ls -p {folder}", str(disk)], timeout_s=60)
        for name in entries(listing):
            commands.run(["debugfs", "-R", f'rdump "{folder}/{name}" "{target}"', str(disk)], timeout_s=300)
    except CommandError as error:
        raise ImageError(f"the data disk {disk} cannot be read: {error}") from None
    return sorted(set(target.iterdir()) - before)


def entries(listing: str) -> list[str]:
    """Names in a folder from debugfs's ``ls -p``: /inode/mode/uid/gid/name/size/."""
    names = (line.split("/")[5] for line in listing.splitlines() if line.count("/") >= 6)
    return [name for name in names if name not in (".", "..", "")]


def free_space_problem(folder: Path) -> str | None:
    """Too little room for a run's disk, in words."""
    free = shutil.disk_usage(folder).free
    if free < 500_000_000:
        return f"{folder} has {free // 1_000_000} MB free and a guest's disk needs 500 MB: make room"
    return None
