"""Writing files so that a reader never sees half of one, and saying plainly why a write failed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path

from results.record.contract import RecordError
from results.record.ownership import give_to_owner_of

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain(error: OSError, path: Path) -> RecordError:
    """The error a user sees when writing to or making `path` failed: what, where, what to do."""
    if error.errno in _NO_SPACE:
        return RecordError(
            f"{path}: no space left ({_free_text(path)}); remove old runs from the results folder's runs/, "
            "free some disk space, or choose another results folder, and run again"
        )
    if error.errno in _NOT_ALLOWED:
        return RecordError(
            f"{path}: not writable ({error.strerror}); make it writable for this user "
            "or choose another results folder"
        )
    if error.errno == errno.EISDIR:
        return RecordError(f"{path}: is a folder; name a file")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return RecordError(
            f"{path}: something that is not a folder of results is in the way ({error.strerror}); move it"
        )
    return RecordError(
        f"{path}: cannot be written ({error.strerror or error}); choose another results folder"
    )


def _free_text(path: Path) -> str:
    for folder in [path, *path.parents]:
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free on that disk"
    return "free space unknown"


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; os.write may write less than asked. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut (fsync of the directory). Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: temporary file, fsync, rename, fsync of the folder.

    Readers see the old or the new content, also after a crash. Raises RecordError, leaves no temporary file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        give_to_owner_of(path.parent, temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise explain(error, path) from error


def point_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` in one step, safe beside others; may raise RecordError."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.symlink_to(target)
        give_to_owner_of(link.parent, temporary)
        temporary.replace(link)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise explain(error, link) from error
