"""The northbound client: what other programs import to talk to the NVA. Needs no OpenFlow framework."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vocabulary.errors import OverlandError
from wire.markers import EndMarker, decode_end_marker

__all__ = ["EndMarker", "NvaClient", "NvaError", "Watch", "decode_end_marker"]

UNUSABLE = -32000
"""Code of an :class:`NvaError` made by the client: no connection, or it broke."""

REFUSED, UNREACHABLE, REJECTED, PARTLY, NOT_PROGRAMMED = -32001, -32002, -32003, -32004, -32005
"""Codes of the NVA's own errors (docs/northbound.md)."""

CALL_WITHIN_S = 10.0
"""How long the NVA may take to answer a call."""

Json = dict[str, Any]


class NvaError(OverlandError):
    """A call that failed: JSON-RPC ``code``, ``message`` (what, and what is allowed), ``data``."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def _connect(path: Path, timeout_s: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        why = error.strerror or error
        raise NvaError(
            UNUSABLE, f"no NVA answers at {path} ({why}); start it (in the console: nva restart)"
        ) from error
    return connection


def _ended(connection: socket.socket) -> bool:
    """Tell whether a connection on which nothing is awaited has ended: it says so by being readable."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class Watch:
    """An open stream of events; iterate over it in one thread, close it from any."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = _connect(path, timeout_s)
        self._lines = self._socket.makefile("rb")
        self._socket.sendall(_request(1, "watch", {}))
        try:
            _result(self._lines.readline(), "watch")
        except NvaError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise NvaError(UNUSABLE, f"watch: the NVA at {path} did not answer ({error})") from error
        self._socket.settimeout(None)

    def __iter__(self) -> Iterator[Json]:
        """Yield events until the NVA ends or :meth:`close`."""
        while True:
            try:
                line = self._lines.readline()
            except (OSError, ValueError):
                return
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)

    def close(self) -> None:
        """End the stream; a thread that iterates leaves its loop."""
        with contextlib.suppress(OSError):  # the NVA ended it first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()  # the socket stays open as long as this is
        self._socket.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _request(id_: int, method: str, params: Mapping[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}).encode() + b"\n"


def _result(line: bytes, method: str) -> Any:
    if not line.endswith(b"\n"):
        raise NvaError(UNUSABLE, f"{method}: the NVA ended during the call; look at its output")
    answer = json.loads(line)
    if "error" in answer:
        error = answer["error"]
        raise NvaError(error["code"], error["message"], error.get("data"))
    return answer["result"]


class NvaClient:
    """A connection to the NVA, opened at the first call; calls from several threads take turns."""

    def __init__(self, socket_path: Path | str, timeout_s: float = CALL_WITHIN_S) -> None:
        """``timeout_s`` bounds every call but :meth:`wait_programmed`, which adds its own."""
        self._path = Path(socket_path)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._lines: Any = None
        self._id = 0

    def call(self, method: str, params: Mapping[str, Any], extra_s: float = 0.0) -> Any:
        """Make one call and return its result. Raises :class:`NvaError`."""
        with self._lock:
            if self._socket is not None and _ended(self._socket):
                self._drop()  # the NVA has been restarted since the last call
            if self._socket is None:
                self._socket = _connect(self._path, self._timeout_s)
                self._lines = self._socket.makefile("rb")
            self._id += 1
            try:
                self._socket.settimeout(self._timeout_s + extra_s)
                self._socket.sendall(_request(self._id, method, params))
                line = self._lines.readline()
            except OSError as error:
                self._drop()
                raise NvaError(
                    UNUSABLE, f"{method}: no answer from the NVA at {self._path} ({error})"
                ) from error
            except BaseException:  # interrupted: its answer would be taken for the next call's
                self._drop()
                raise
            if not line:
                self._drop()
        return _result(line, method)

    def _drop(self) -> None:
        if self._socket is not None:
            self._lines.close()
            self._socket.close()
        self._socket = None

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            self._drop()

    def __enter__(self) -> NvaClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def configure(self, nves: list[Json], networks: list[Json], vms: list[Json], **more: Any) -> Json:
        """Give the NVA its whole mapping; the same again changes nothing.

        ``more``: ``routes``, ``outside`` and what else docs/northbound.md lists; None is the same as leaving it out.
        """
        given = {name: value for name, value in more.items() if value is not None}
        return self._json("configure", nves=nves, networks=networks, vms=vms, **given)

    def wait_programmed(self, timeout_s: float) -> Json:
        """Wait until every NVE is connected and has its flows; the error names those that have not."""
        result: Json = self.call("wait_programmed", {"timeout_s": timeout_s}, timeout_s)
        return result

    def status(self) -> Json:
        """Return mapping, moves in progress, NVEs."""
        return self._json("status")

    def where(self, vm: str) -> Json:
        """Return a VM's NVE, addresses, ports and move."""
        return self._json("where", vm=vm)

    def desired_flows(self, nve: str) -> Json:
        """Return the flows that an NVE is to have, as Open vSwitch writes them, and the mapping's version."""
        return self._json("desired_flows", nve=nve)

    def set_port(self, vm: str, nve: str, direct: int, redirected: int | None = None) -> Json:
        """Tell the port numbers of a VM at an NVE."""
        return self._json("set_port", vm=vm, nve=nve, direct=direct, redirected=redirected)

    def prepare_move(self, migration_id: str, vm: str, new_nve: str, policy: str) -> Json:
        """Start a move: the new NVE accepts the VM."""
        return self._json("prepare_move", migration_id=migration_id, vm=vm, new_nve=new_nve, policy=policy)

    def redirect(self, migration_id: str) -> Json:
        """Apply the policy at the old NVE."""
        return self._json("redirect", migration_id=migration_id)

    def commit_move(self, migration_id: str) -> Json:
        """Make the new NVE the VM's place for everybody."""
        return self._json("commit_move", migration_id=migration_id)

    def end_redirect(self, migration_id: str) -> Json:
        """End the old NVE's policy: what still comes there is dropped and counted."""
        return self._json("end_redirect", migration_id=migration_id)

    def misdirected(self, vm: str) -> Json:
        """Return how many frames for a VM came where it was, and from which NVEs."""
        return self._json("misdirected", vm=vm)

    def send_end_markers(self, migration_id: str, number: int) -> Json:
        """Send one frame from each NVE along the old path; ``number`` comes back in the frames."""
        return self._json("send_end_markers", migration_id=migration_id, number=number)

    def finish_move(self, migration_id: str) -> Json:
        """End a committed move."""
        return self._json("finish_move", migration_id=migration_id)

    def abort_move(self, migration_id: str) -> Json:
        """Take a move back."""
        return self._json("abort_move", migration_id=migration_id)

    def allocate(self, vm: str, nve: str | None = None) -> Json:
        """Reserve a released VM's resources at an NVE (None: where it was)."""
        return self._json("allocate", vm=vm, nve=nve)

    def start(self, vm: str) -> Json:
        """Let an allocated VM send and receive."""
        return self._json("start", vm=vm)

    def pause(self, vm: str) -> Json:
        """Stop forwarding for a running VM; its peers keep their mapping."""
        return self._json("pause", vm=vm)

    def resume(self, vm: str) -> Json:
        """Let a paused VM send and receive again."""
        return self._json("resume", vm=vm)

    def stop(self, vm: str) -> Json:
        """End a running or paused VM; its resources stay reserved."""
        return self._json("stop", vm=vm)

    def release(self, vm: str) -> Json:
        """Give a stopped VM's resources back."""
        return self._json("release", vm=vm)

    def close_port(self, vm: str, nve: str) -> Json:
        """Close a VM's port where it no longer is."""
        return self._json("close_port", vm=vm, nve=nve)

    def watch(self) -> Watch:
        """Open a stream of events, on a connection of its own."""
        return Watch(self._path, self._timeout_s)

    def _json(self, method: str, **params: Any) -> Json:
        result: Json = self.call(method, params)
        return result
