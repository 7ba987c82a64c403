"""Control groups: which processes belong to a VM, so that they can be stopped and let go on together.

Version 2 wherever the kernel has it (``cgroup.freeze``, since Linux 5.2), else the freezer of version 1. A sandbox has
one group below the one it was started in, so that limits set there go on counting, and each VM one inside it:

    (where the run was started)/overland-<number of the PID namespace>/<vm>

The kernel keeps a group that is empty; nothing but an empty folder can be left by a killed sandbox, and the next one
takes it away. A process frozen by version 1 cannot be killed, by version 2 it can: one more reason for version 2.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulation import commands
from emulation.errors import EmulationError

MOUNT_POINT = Path("/sys/fs/cgroup")
PREFIX = "overland-"
FREEZE_BOUND_S = 1.0  # median 1.4 ms, at most 69 ms measured with the freezer of version 1 under load
REMOVE_BOUND_S = 0.5
_JOIN = 'echo 0 >"$0" && exec "$@"'


@dataclass(frozen=True)
class VmGroup:
    """The control group of one VM's processes."""

    folder: Path
    version: int

    def add(self, pid: int) -> None:
        """Take a process in; its children of later are in it too. EmulationError when the kernel refuses."""
        self._write("cgroup.procs", str(pid))

    def joining(self, argv: Sequence[str]) -> list[str]:
        """The command line that joins the group and then becomes ``argv``: no child can escape in between."""
        return ["sh", "-c", _JOIN, str(self.folder / "cgroup.procs"), *argv]

    def freeze(self, timeout_s: float = FREEZE_BOUND_S) -> float:
        """Stop every process of the group; the time (monotonic, s) when all of them stand. WaitError at the bound."""
        self._ask(frozen=True)
        commands.wait_until(self.is_frozen, timeout_s, f"{self.folder.name} to freeze", every_s=0.0002)
        return time.monotonic()

    def thaw(self) -> float:
        """Let the processes go on; without effect when they run. The time (monotonic, s)."""
        self._ask(frozen=False)
        return time.monotonic()

    def is_frozen(self) -> bool:
        """Whether every process of the group stands still."""
        if self.version == 2:
            return "frozen 1" in (self.folder / "cgroup.events").read_text()
        return (self.folder / "freezer.state").read_text().strip() == "FROZEN"

    def end(self, keep: Collection[int] = (), timeout_s: float = FREEZE_BOUND_S) -> None:
        """Kill every process of the group but ``keep``, which runs afterwards. WaitError at the bound."""
        self.thaw()  # version 1 cannot kill what is frozen

        def left() -> list[int]:
            pids = (int(line) for line in (self.folder / "cgroup.procs").read_text().split())
            return [pid for pid in pids if pid not in keep]

        def ended() -> bool:
            for pid in left():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left()

        commands.wait_until(ended, timeout_s, f"the processes of {self.folder.name} to end", every_s=0.001)

    def _ask(self, *, frozen: bool) -> None:
        if self.version == 2:
            self._write("cgroup.freeze", "1" if frozen else "0")
        else:
            self._write("freezer.state", "FROZEN" if frozen else "THAWED")

    def _write(self, name: str, value: str) -> None:
        try:
            (self.folder / name).write_text(value)
        except OSError as error:
            raise EmulationError(f"{self.folder.name}: {self.folder / name}: {error.strerror}") from None


@dataclass(frozen=True)
class SandboxGroup:
    """The control group of a whole sandbox."""

    folder: Path
    version: int

    def make(self, vm: str) -> VmGroup:
        """A group for a VM. EmulationError when the kernel refuses."""
        folder = self.folder / vm
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise EmulationError(f"{vm}: cannot make a control group ({folder}: {error.strerror})") from None
        return VmGroup(folder, self.version)

    def join(self) -> None:
        """Take the calling process in, and with it all that it starts. OSError when it is not to be."""
        for _ in range(3):  # another sandbox may take an empty group for one that was left
            self.folder.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self.folder / "cgroup.procs").write_text("0")
                return
        raise OSError(errno.ENOENT, "the group vanishes again and again")

    def is_alive(self) -> bool:
        """Whether the sandbox's init, which is in the group itself, lives."""
        with contextlib.suppress(OSError):
            return bool((self.folder / "cgroup.procs").read_text().split())
        return False

    def remove(self) -> bool:
        """Take the groups away; False when something in them still lives."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.is_dir():
                    if self.version == 1:  # what is frozen could not even be killed
                        VmGroup(path, 1).thaw()
                    path.rmdir()
            self.folder.rmdir()
        return not self.folder.exists()


def version_at(mount_point: Path) -> int | None:
    """Which version is mounted there: 2, 1, or None for nothing that can freeze."""
    if (mount_point / "cgroup.controllers").exists():
        return 2
    return 1 if (mount_point / "cgroup.procs").exists() else None


def own_folder(listing: str, version: int, mount_point: Path) -> Path | None:
    """Where the process with this ``/proc/PID/cgroup`` is in the mounted hierarchy. Pure; cgroups(7) has the format."""
    for line in listing.splitlines():
        number, controllers, path = line.split(":", 2)
        wanted = number == "0" if version == 2 else "freezer" in controllers.split(",")
        if wanted:
            return mount_point / path.lstrip("/")
    return None


def _around(listing: str, mount_point: Path) -> tuple[Path, int] | None:
    version = version_at(mount_point)
    if version is None:
        return None
    folder = own_folder(listing, version, mount_point)
    return None if folder is None else (folder, version)


def own_listing() -> str:
    """The caller's ``/proc/PID/cgroup``."""
    return Path("/proc/self/cgroup").read_text()


def sweep(listing: str, mount_point: Path = MOUNT_POINT) -> bool:
    """Take away the groups of sandboxes that are dead, below the place in ``listing``; whether none is left."""
    around = _around(listing, mount_point)
    if around is None:
        return True
    groups = [SandboxGroup(folder, around[1]) for folder in around[0].glob(PREFIX + "*")]
    removed = [group.remove() for group in groups if not group.is_alive()]
    return all(removed)


def sweep_after_end(listing: str) -> None:
    """For the keeper, whose init has ended: the kernel may still be burying the last ones."""
    deadline_s = time.monotonic() + REMOVE_BOUND_S
    while not sweep(listing) and time.monotonic() < deadline_s:
        time.sleep(0.002)


def enter_own_group(mount_point: Path = MOUNT_POINT) -> None:
    """For a sandbox's init: take away what dead sandboxes left, then live in a group of one's own, where one may."""
    listing = own_listing()
    sweep(listing, mount_point)
    around = _around(listing, mount_point)
    if around is not None:
        number = Path("/proc/self/ns/pid").stat().st_ino
        with contextlib.suppress(
            OSError
        ):  # read-only in some containers: nothing can be frozen, the rest works
            SandboxGroup(around[0] / f"{PREFIX}{number}", around[1]).join()


def current(mount_point: Path = MOUNT_POINT) -> SandboxGroup | None:
    """The sandbox's group as its runner sees it; None when the machine gave it none."""
    around = _around(own_listing(), mount_point)
    if around is None or not around[0].name.startswith(PREFIX):
        return None
    return SandboxGroup(*around)
