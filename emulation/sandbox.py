"""Every run lives in namespaces of its own, so that ending one process ends everything.

Four processes, each the parent of the next:

    supervisor   on the host: waits, forwards SIGTERM and SIGHUP, reports how it ended
    keeper       entered the new namespaces; exists because a PID namespace begins with the next child
    init         PID 1 inside: mounts, reaps orphans; when it ends the kernel kills all that is inside
    runner       the run itself

A parent's death kills its child (PR_SET_PDEATHSIG), so SIGKILL of any of them leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from emulation import control_group
from emulation.errors import SystemCallError

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 4096, 8192, 16384, 1 << 18
PR_SET_PDEATHSIG = 1

PRIVATE_FOLDERS = (Path("/run"), Path("/tmp"))
STOP_BOUND_S = 2.0
BY_SIGNAL = 128
"""An exit status above it is this and the number of the signal that ended a process, as shells say it."""


class EndedBySignalError(BaseException):
    """A signal other than Ctrl-C's asked this process to end; like KeyboardInterrupt it passes ``except Exception``."""

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        super().__init__(f"ended by {self.number.name}")

    @property
    def status(self) -> int:
        """The exit status, as shells say it."""
        return BY_SIGNAL + self.number


ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that ask for the end, besides Ctrl-C's. Where one is ignored, as SIGHUP under nohup, it stays ignored."""


def end_by_exception(number: int, _frame: object = None) -> NoReturn:
    """A signal's handler: EndedBySignalError, once. Who ends a process group may send it several times."""
    signal.signal(number, signal.SIG_IGN)
    raise EndedBySignalError(number)


_libc = ctypes.CDLL(None, use_errno=True)


def _checked(attempt: str, result: int) -> None:
    if result != 0:
        raise SystemCallError(attempt, ctypes.get_errno())


def _mount(source: str, target: Path, kind: str | None, flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode() if kind else None, flags, data.encode() or None
    )
    _checked(f"mount {source} on {target}", result)


@contextlib.contextmanager
def network_namespace(pid: int) -> Iterator[None]:
    """Within the block, the calling thread is in the network namespace of process ``pid``."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _checked(f"enter the network namespace of process {pid}", _libc.setns(there, CLONE_NEWNET))
        try:
            yield
        finally:
            _checked("return to the sandbox's network namespace", _libc.setns(here, CLONE_NEWNET))
    finally:
        os.close(there)
        os.close(here)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    _checked("prctl(PR_SET_PDEATHSIG)", _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def run_in_sandbox(
    runner: Callable[[], int],
    *,
    keep: Sequence[Path] = (),
    on_start: Callable[[int], None] = lambda pid: None,
) -> int:
    """Run ``runner`` inside and return its exit status (128 + signal when it was killed).

    ``keep``: folders that stay visible inside even when they lie under a folder that becomes private
    (/run, /tmp). ``on_start`` gets the host's PID of the sandbox's init, for those who want to enter it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid_read, pid_write = os.pipe()
    alive_read, alive_write = os.pipe()
    supervisor = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        os.close(pid_read)
        _become(lambda: _keeper(runner, keep, supervisor, pid_write, alive_read, alive_write))
    os.close(pid_write)
    os.close(alive_read)
    os.close(alive_write)
    with os.fdopen(pid_read) as pipe:
        line = pipe.readline()
    init = int(line) if line else None
    if init is not None:
        on_start(init)
    return _supervise(keeper, init)


def _become(body: Callable[[], int]) -> None:
    """The rest of a forked process's life: it never returns into the caller's code."""
    status = 70  # EX_SOFTWARE, when even printing failed
    try:
        status = body()
    except KeyboardInterrupt:
        status = BY_SIGNAL + signal.SIGINT
    except EndedBySignalError as ended:
        status = ended.status
    except Exception as error:  # the process boundary: nobody above can catch it
        print(f"error: {error}", file=sys.stderr)
        status = 2
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _supervise(keeper: int, init: int | None) -> int:
    """Wait for the keeper; the terminal's Ctrl-C reaches the runner by itself, SIGTERM is passed on."""

    asked: list[int] = []
    killed: list[int] = []

    def on_alarm(_signal: int, _frame: object) -> None:
        killed.extend(asked[:1])
        if init is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(init, signal.SIGKILL)

    def on_stop(number: int, _frame: object) -> None:
        asked.append(number)
        signal.setitimer(signal.ITIMER_REAL, STOP_BOUND_S)
        if number in ENDING and init is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(init, number)

    handlers = {signal.SIGALRM: on_alarm, signal.SIGINT: on_stop} | dict.fromkeys(_heeded(), on_stop)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        _, status = os.waitpid(keeper, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    # What would not end was killed in the name of the signal that asked for it.
    return BY_SIGNAL + killed[0] if killed else _exit_status(status)


def _heeded() -> list[signal.Signals]:
    return [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]


def _exit_status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else BY_SIGNAL - code


def _keeper(
    runner: Callable[[], int],
    keep: Sequence[Path],
    supervisor: int,
    pid_write: int,
    alive_read: int,
    alive_write: int,
) -> int:
    heeded = _heeded()
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    if os.getppid() != supervisor:
        return 1  # the supervisor died before the kernel was asked to tell us
    listing = control_group.own_listing()  # asked now: the inside's /proc does not know the keeper
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    _checked("unshare namespaces (needs root)", _libc.unshare(flags))
    init = os.fork()
    if init == 0:
        os.close(pid_write)
        os.close(alive_write)
        _become(lambda: _init(runner, keep, alive_read, heeded))
    os.close(alive_read)
    os.write(pid_write, f"{init}\n".encode())
    os.close(pid_write)
    _, status = os.waitpid(init, 0)
    control_group.sweep_after_end(listing)
    return _exit_status(status)


def _init(
    runner: Callable[[], int], keep: Sequence[Path], alive_read: int, heeded: Sequence[signal.Signals]
) -> int:
    """PID 1: prepare the inside, start the runner, reap, end with the runner's status."""
    die_with_parent()
    readable, _, _ = select.select([alive_read], [], [], 0)
    if readable:  # end of file: the keeper is gone already
        return 1
    os.close(alive_read)
    _prepare_mounts(keep)
    control_group.enter_own_group()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in heeded:
            signal.signal(number, end_by_exception)
        _become(runner)

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in heeded:
        signal.signal(number, pass_on)
    while True:
        ended, status = os.wait()
        if ended == child:
            return _exit_status(status)


def _prepare_mounts(keep: Sequence[Path]) -> None:
    """Private /run and /tmp, an own /proc and /sys; nothing of it is seen outside."""
    _mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
    for folder in PRIVATE_FOLDERS:
        _make_private(folder, [path for path in _outermost(keep) if path.is_relative_to(folder)])
    _mount("proc", Path("/proc"), "proc")
    # A /sys of before would go on showing the devices of the host's network namespace.
    _mount("sysfs", Path("/sys"), "sysfs")
    _mount_control_groups()
    Path("/run/netns").mkdir()
    _libc.sethostname(b"overland", 8)


def _mount_control_groups() -> None:
    """The whole machine's, as outside; without any a sandbox works, but no VM's processes can be frozen."""
    for kind, data in (("cgroup2", ""), ("cgroup", "freezer")):
        with contextlib.suppress(SystemCallError):
            _mount("overland", control_group.MOUNT_POINT, kind, 0, data)
            return


def _outermost(paths: Sequence[Path]) -> list[Path]:
    resolved = sorted({path.resolve() for path in paths})
    return [
        path
        for path in resolved
        if not any(path.is_relative_to(other) for other in resolved if other != path)
    ]


def _make_private(folder: Path, visible: Sequence[Path]) -> None:
    staging = Path("/mnt")
    _mount("overland", staging, "tmpfs", 0, "mode=1777")
    for path in visible:
        inside = staging / path.relative_to(folder)
        inside.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            inside.mkdir()
        else:
            inside.touch()
        _mount(str(path), inside, None, MS_BIND | MS_REC)
    _mount(str(staging), folder, None, MS_MOVE)
