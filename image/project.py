"""What of the project goes into a guest: the work tree's files as git knows them, compiled, and how to run them.

What this host can compile for the guest is compiled here, where it takes a tenth of the time; the guest does the rest.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emulation import commands, work_tree
from emulation.errors import CommandError
from experiments.probes.build import BUILD_FOLDER, SOURCES, BuildError, probe_binary
from image.errors import ImageError
from image.recipe import PROJECT, VENV

PYTHON = f"{VENV}/bin/python"
GUEST_PYTHON = (3, 11)  # Debian 12's
GUEST_LIBC = ("glibc", "2.36")  # the same
_NOT_NEEDED = ("tests/", "docs/", ".ci/")


def lay_out(
    folder: Path,
    argv: Sequence[str],
    machine: Mapping[str, Any],
    patience: int = 1,
    brought: Sequence[str] = (),
) -> None:
    """Fill the data disk's folder: project/, command, machine.json, results/, brought/. Raises ImageError.

    ``argv``: what is run in project/. ``machine``: what the records' environment is told of the machine around the
    guest. ``patience``: by how much its bounds on waiting are longer. ``brought``: paths of files and folders that
    are not in the work tree; the guest finds each by the very path, so that ``argv`` means there what it means here.
    """
    _lay_out_tree(folder / "project")
    (folder / "results").mkdir()
    lines = [f"export OVERLAND_PATIENCE={patience}", *_bring(folder, brought), f"exec {shlex.join(argv)}"]
    (folder / "command").write_text("".join(line + "\n" for line in lines))
    (folder / "machine.json").write_text(json.dumps(machine))


def _lay_out_tree(project: Path) -> None:
    """The work tree's files, compiled."""
    for name in _files():
        target = project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target)
    if sys.version_info[:2] == GUEST_PYTHON:
        compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        commands.run([*compiling, str(project)], timeout_s=120)
    if (platform.machine(), platform.libc_ver()) == ("x86_64", GUEST_LIBC):
        for source in SOURCES:
            with contextlib.suppress(BuildError):  # no compiler here; the guest has one
                probe_binary(
                    project / source.relative_to(PROJECT), project / BUILD_FOLDER.relative_to(PROJECT)
                )


def _bring(folder: Path, paths: Sequence[str]) -> list[str]:
    """Copy files and folders onto the data disk; the commands that put each where its path leads from project/."""
    (folder / "brought").mkdir()
    lines = []
    for number, path in enumerate(paths):
        copy = folder / "brought" / str(number)
        try:
            if Path(path).is_dir():
                shutil.copytree(path, copy)
            else:
                shutil.copyfile(path, copy)
        except (OSError, shutil.Error) as error:
            raise ImageError(f"{path}: cannot be taken into the guest: {error}") from None
        target = shlex.quote(path)
        lines.append(
            f'mkdir -p -- "$(dirname -- {target})" && cp -rT -- ../brought/{number} {target} || exit 2'
        )
    return lines


def outside_of_tree(path: str | Path) -> bool:
    """Whether a file is not among those that the guest gets with the work tree. Raises ImageError."""
    resolved = Path(path).resolve()
    return not resolved.is_relative_to(PROJECT) or str(resolved.relative_to(PROJECT)) not in _files()


def _files() -> list[str]:
    """Files of the work tree that are in git or could be, those of git that are gone left out."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [
        name for name in listed if name and not name.startswith(_NOT_NEEDED) and (PROJECT / name).is_file()
    ]


def commit() -> dict[str, Any]:
    """The work tree's commit, and whether what runs has changes beside it. Raises ImageError."""
    try:
        return work_tree.state(PROJECT)
    except CommandError as error:
        raise _no_git(error) from None


def _git(*words: str) -> str:
    try:
        return commands.run(["git", "-C", str(PROJECT), *words])
    except CommandError as error:
        raise _no_git(error) from None


def _no_git(error: CommandError) -> ImageError:
    return ImageError(f"the guest gets the project's files from git, and that failed: {error}")
