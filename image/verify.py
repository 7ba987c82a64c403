"""Are two builds of one commit the same, byte for byte? The image that is there is one; another is built beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from image import self_booting
from image.build import Say, build
from image.errors import ImageError
from image.folder import DISK_FILE, Image, digest

SAME, DIFFERENT = 0, 1


def verify(image: Image, say: Say) -> int:
    """Build once more and compare; exit status 0 when all files are the same. Raises ImageError.

    Where the package archive has changed between the two builds they cannot be the same: the old one is then made
    anew first.
    """
    build(image, say)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=image.folder) as name:
        second = Image(Path(name))
        build(second, say)
        first_manifest, second_manifest = _manifest(image), _manifest(second)
        if moved := packages_moved(first_manifest, second_manifest):
            say(f"the package archive has moved since this image was built ({moved}): building it anew")
            build(image, say, afresh=True)
            first_manifest = _manifest(image)
        for one in (image, second):
            self_booting.build(one)
        differing = differing_files(first_manifest, second_manifest)
        if digest(image.folder / DISK_FILE) != digest(second.folder / DISK_FILE):
            differing.append(DISK_FILE)
    if differing:
        say(f"two builds differ in {', '.join(differing)}")
        return DIFFERENT
    say(f"two builds are the same byte for byte: {first_manifest['hash']}")
    for file, found in sorted(first_manifest["files"].items()):
        say(f"  {found}  {file}")
    return SAME


def packages_moved(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The packages whose versions differ, as text; '' when there are none."""
    a, b = first["packages"], second["packages"]
    names = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    return ", ".join(f"{name} {a.get(name)} -> {b.get(name)}" for name in names[:5])


def differing_files(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Files of two manifests whose hashes differ."""
    names = first["files"].keys() | second["files"].keys()
    return sorted(name for name in names if first["files"].get(name) != second["files"].get(name))


def _manifest(image: Image) -> dict[str, Any]:
    found = image.manifest()
    if found is None:
        raise ImageError(f"{image.folder}: the image that was just built is not whole")
    return found
