"""Where the image is, and what its manifest says."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image.errors import ImageError
from image.recipe import PROJECT, image_hash

FOLDER = PROJECT / ".build" / "image"
BOOT_FILES = ("vmlinuz", "initrd", "root.sqfs")
DISK_FILE = "overland.qcow2"


@dataclass(frozen=True)
class Image:
    """An image's folder."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """Linux, as QEMU loads it."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The small root that finds the large one."""
        return self.folder / "initrd"

    @property
    def root(self) -> Path:
        """The read-only root."""
        return self.folder / "root.sqfs"

    @property
    def manifest_path(self) -> Path:
        """What the image holds; written last."""
        return self.folder / "manifest.json"

    def manifest(self) -> dict[str, Any] | None:
        """What was built, or None when there is no whole image. ImageError when the file is damaged."""
        try:
            found: dict[str, Any] = json.loads(self.manifest_path.read_text())
        except FileNotFoundError:
            return None
        except json.JSONDecodeError:
            raise ImageError(f"{self.manifest_path} is damaged: remove it and run `make image`") from None
        return found if all((self.folder / name).exists() for name in BOOT_FILES) else None

    def record(self) -> dict[str, Any]:
        """What a run inside says of its image: hashes, the kernel, the packages' versions as one hash."""
        found = self.manifest()
        if found is None:
            raise ImageError("there is no image yet: run `make image`")
        return {
            "hash": found["hash"],
            "files": found["files"],
            "kernel": found["kernel"],
            "packages": len(found["packages"]),
            "packages_sha256": found["packages_sha256"],
            "requirements_sha256": found["requirements_sha256"],
        }


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that boots, and one of all."""
    files = {name: digest(folder / name) for name in BOOT_FILES}
    return {**files, "all": image_hash(files)}


@contextmanager
def locked(folder: Path, name: str = "lock") -> Iterator[None]:
    """One at a time: a second builder waits and finds the image made."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
