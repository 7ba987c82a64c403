"""Code of a test inside a sandbox of its own, and whether anything of a sandbox is left on the host.

A sandbox is known by its PID namespace: whatever runs inside is in it, wherever it was started from, and the
keeper is the one process outside whose children are. So other users of the machine do not disturb these checks.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from emulation import commands
from emulation.commands import wait_until
from emulation.errors import CommandError
from emulation.network import Options
from emulation.nve import Datapath
from emulation.packet_sockets import ETH_P_ALL
from emulation.sandbox import network_namespace, run_in_sandbox
from experiments.running.laboratory import Laboratory
from tests.ipv4_only import without_ipv6
from topologies import Topology

REPOSITORY = Path(__file__).resolve().parents[2]
KEEP = (REPOSITORY, Path(sys.prefix), Path(sys.executable).resolve().parent)
GONE_BOUND_S = 2.0
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _SO_RCVBUFFORCE = 263, 23, 33


def children(pid: int) -> list[int]:
    """The children of a process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def processes_of(namespace: str) -> list[str]:
    """Living processes that are in a PID namespace or would put their children there: ``pid: command``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            names = {str((folder / "ns" / name).readlink()) for name in ("pid", "pid_for_children")}
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if namespace in names and state not in "ZX":
                found.append(f"{folder.name}: {(folder / 'cmdline').read_text().replace(chr(0), ' ')}")
    return found


def host_marks() -> dict[str, set[str]]:
    """What a sandbox could leave on the host besides processes: links, mounts, named namespaces."""
    netns = Path("/run/netns")
    return {
        "links": {name for _, name in socket.if_nameindex()},
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "network namespaces": {path.name for path in netns.iterdir()} if netns.is_dir() else set(),
    }


class Sandboxed:
    """A supervisor in a process of its own, ``body`` is its runner; ``result`` waits for what it returns."""

    def __init__(self, body: Callable[[], Any], keep: Sequence[Path] = ()) -> None:
        self._before = host_marks()
        self._started, started = os.pipe()
        self._answer, answer = os.pipe()
        self.supervisor = os.fork()
        if self.supervisor == 0:
            os.setsid()  # a process group of its own, so that a test can send it what a terminal sends
            os.close(self._started)
            os.close(self._answer)
            status = 99
            try:
                status = run_in_sandbox(
                    lambda: _answered(body, answer),
                    keep=(*KEEP, *keep),
                    on_start=lambda init: os.write(started, f"{init}\n".encode()) and None,
                )
            finally:
                os._exit(status)
        os.close(started)
        os.close(answer)
        with os.fdopen(self._started) as pipe:
            line = pipe.readline()
        assert line, f"the sandbox did not start: {self._text()}"
        self.init = int(line)
        self.namespace = str(Path(f"/proc/{self.init}/ns/pid").readlink())
        self._status: int | None = None

    @property
    def keeper(self) -> int:
        """The only child of the supervisor."""
        (keeper,) = children(self.supervisor)
        return keeper

    @property
    def runner(self) -> int:
        """Init's first child, on the host's count; waits until it is there."""
        found: list[int] = wait_until(lambda: children(self.init), 5.0, "a runner")
        return found[0]

    def status(self, timeout_s: float) -> int:
        """The supervisor's exit status, negative for a signal; AssertionError when it takes longer."""
        if self._status is None:
            deadline_s = time.monotonic() + timeout_s
            while (ended := os.waitpid(self.supervisor, os.WNOHANG)) == (0, 0):
                if time.monotonic() > deadline_s:
                    self.kill()
                    raise AssertionError(f"the sandbox did not end within {timeout_s:g} s: {self._text()}")
                time.sleep(0.005)
            self._status = os.waitstatus_to_exitcode(ended[1])
        return self._status

    def kill(self) -> None:
        """End the supervisor, with which all should end."""
        if self._status is None:
            os.kill(self.supervisor, signal.SIGKILL)
            _, status = os.waitpid(self.supervisor, 0)
            self._status = os.waitstatus_to_exitcode(status)

    def clean_up(self) -> None:
        """After a failed test: end what should have ended by itself."""
        self.kill()
        for pid in processes_of(self.namespace):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.partition(":")[0]), signal.SIGKILL)

    def _read(self) -> bytes:
        os.set_blocking(self._answer, False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._answer, 65536):
                data += more
        return data

    def _text(self) -> str:
        return self._read()[:2000].decode(errors="replace")

    def result(self, timeout_s: float) -> Any:
        """What the body returned; its failure fails the test with its own words."""
        reader = _drain_in_time(self._answer, timeout_s, self.kill)
        status = self.status(GONE_BOUND_S)
        assert reader, f"the body ended with status {status} and said nothing"
        fine, value = pickle.loads(reader)
        assert fine, f"inside the sandbox:\n{value}"
        return value

    def assert_nothing_left(self, bound_s: float = GONE_BOUND_S) -> None:
        """Within the bound: no process, link, mount or named namespace more than before."""
        wait_until(lambda: not processes_of(self.namespace), bound_s, "every process of the sandbox to end")
        now = host_marks()
        more = {what: now[what] - before for what, before in self._before.items()}
        assert not any(more.values()), more


def _drain_in_time(pipe: int, timeout_s: float, give_up: Callable[[], None]) -> bytes:
    os.set_blocking(pipe, False)
    deadline_s, data = time.monotonic() + timeout_s, b""
    while True:
        try:
            more = os.read(pipe, 1 << 20)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                give_up()
                raise AssertionError(f"the body did not end within {timeout_s:g} s") from None
            time.sleep(0.005)
            continue
        if not more:
            os.close(pipe)
            return data
        data += more


def _answered(body: Callable[[], Any], answer: int) -> int:
    """Run the body, send what it returned or how it failed, end with 0, or the body's SystemExit."""
    try:
        message = pickle.dumps((True, body()))
        status = 0
    except SystemExit as error:
        message, status = pickle.dumps((True, None)), int(error.code or 0)
    except BaseException:
        message, status = pickle.dumps((False, traceback.format_exc())), 1
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(message)
    return status


@contextlib.contextmanager
def sandboxed(body: Callable[[], Any], keep: Sequence[Path] = ()) -> Iterator[Sandboxed]:
    """A sandbox for a block; at its end it has ended, or is killed, and nothing of it is left."""
    running = Sandboxed(body, keep)
    try:
        yield running
        running.kill()
        running.assert_nothing_left()
    except BaseException:
        running.clean_up()
        raise


def in_sandbox(body: Callable[[], Any], timeout_s: float = 60.0, keep: Sequence[Path] = ()) -> Any:
    """Run ``body`` in a sandbox; what it returned. Fails with its traceback, or when something is left."""
    with sandboxed(body, keep) as running:
        return running.result(timeout_s)


class Capture:
    """All frames that arrive on a device of a node, kept by its socket until they are asked for."""

    def __init__(self, pid: int, device: str) -> None:
        with network_namespace(pid):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64_000_000)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((device, ETH_P_ALL))

    def frames(self) -> list[bytes]:
        """What has arrived since the last call."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(65536, socket.MSG_DONTWAIT))
        return found


def pings(node_pid: int, address: str, count: int = 2) -> int:
    """How many of ``count`` pings from a node were answered."""
    argv = ["ping", "-c", str(count), "-i", "0.01", "-W", "1", "-n", "-q", address]
    try:
        said = commands.run(argv, pid=node_pid)
    except CommandError:
        return 0
    return int(said.split(" packets transmitted, ")[1].split()[0])


def topology(**changes: Any) -> Topology:
    """two_racks without IPv6, and with other values: ``access__rate="10Mbit"`` sets underlay.access.rate."""
    made = without_ipv6("two_racks").as_file()
    for path, value in changes.items():
        *folders, key = path.split("__")
        place = made["underlay"]
        for folder in folders:
            place = place[int(folder) if folder.isdigit() else folder]
        place[key] = value
    return Topology.model_validate(made)


@contextlib.contextmanager
def laboratory(
    wanted: Topology,
    port_type: str = "afpacket",
    attachment: str = "rebind",
    emit: Any = lambda *_, **__: None,
) -> Iterator[Laboratory]:
    """A running laboratory; call it inside a sandbox."""
    datapath = Datapath("userspace", port_type, "asked for by a test")
    made = Laboratory(wanted, Options(datapath, attachment=attachment), emit)
    made.start()
    try:
        yield made
    finally:
        made.stop()
