"""The northbound socket: JSON-RPC 2.0, one object a line, on a unix socket (methods: docs/northbound.md).

A wrong line is answered by an error and harms nothing. Access is by file mode (0660).
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from controller.client import NOT_PROGRAMMED, PARTLY, REFUSED, REJECTED, UNREACHABLE
from controller.config import OPTIONAL as CONFIG_OPTIONAL
from controller.config import ConfigError, Reader
from controller.fabric import FabricError, PartlyCommittedError, RejectedError
from controller.model import MAX_PORT, Refused
from controller.service import NotProgrammedError, Nva
from vocabulary.lifecycle import TRANSITIONS
from vocabulary.policies import POLICIES

MAX_LINE_BYTES = 64 * 2**20
"""A request of this size configures some 200,000 VMs."""

PARSE_ERROR, INVALID_REQUEST, NO_METHOD, BAD_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603

Check = Callable[[Reader, str, Any], Any]


def _text(reader: Reader, path: str, value: Any) -> Any:
    return reader.text(path, value)


def _text_or_null(reader: Reader, path: str, value: Any) -> Any:
    return None if value is None else reader.text(path, value)


def _port(reader: Reader, path: str, value: Any) -> Any:
    return reader.number(path, value, 1, MAX_PORT)


def _port_or_null(reader: Reader, path: str, value: Any) -> Any:
    return None if value is None else _port(reader, path, value)


def _policy(reader: Reader, path: str, value: Any) -> Any:
    return reader.choice(path, value, POLICIES)


def _count(reader: Reader, path: str, value: Any) -> Any:
    return reader.number(path, value, 0, 2**31 - 1)


def _timeout(reader: Reader, path: str, value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 3600:
        return value
    reader.wrong(path, value, "must be seconds from 0 to 3600")
    return 0


def _any(_reader: Reader, _path: str, value: Any) -> Any:
    return value  # checked in depth by controller.config


_MOVE = {"migration_id": _text}

METHODS: Mapping[str, Mapping[str, Check]] = {
    "configure": {"nves": _any, "networks": _any, "vms": _any, **dict.fromkeys(CONFIG_OPTIONAL, _any)},
    "wait_programmed": {"timeout_s": _timeout},
    "status": {},
    "where": {"vm": _text},
    "desired_flows": {"nve": _text},
    "set_port": {"vm": _text, "nve": _text, "direct": _port, "redirected": _port_or_null},
    "prepare_move": {**_MOVE, "vm": _text, "new_nve": _text, "policy": _policy},
    "redirect": _MOVE,
    "commit_move": _MOVE,
    "end_redirect": _MOVE,
    "misdirected": {"vm": _text},
    "send_end_markers": {**_MOVE, "number": _count},
    "finish_move": _MOVE,
    "abort_move": _MOVE,
    "close_port": {"vm": _text, "nve": _text},
    "allocate": {"vm": _text, "nve": _text_or_null},
    **{verb: {"vm": _text} for verb in TRANSITIONS if verb != "allocate"},
    "watch": {},
}
OPTIONAL = {
    ("set_port", "redirected"),
    ("allocate", "nve"),
    *(("configure", name) for name in CONFIG_OPTIONAL),
}
QUESTIONS = frozenset(
    {"wait_programmed", "status", "where", "desired_flows", "send_end_markers", "misdirected"}
)


class Answer(Exception):  # noqa: N818 - an answer that happens to be an error
    """A JSON-RPC error on its way out; ``id_`` when the request's id could be read."""

    def __init__(self, code: int, message: str, data: Any = None, id_: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.id = id_


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read_request(line: bytes) -> tuple[Any, str, dict[str, Any]]:
    """Return (id, method, params) of a request line. Raises :class:`Answer`."""
    try:
        request = json.loads(line, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise Answer(PARSE_ERROR, f"not a JSON object on one line: {error}") from error
    if not isinstance(request, dict):
        raise Answer(INVALID_REQUEST, "must be one JSON object; batches are not supported")
    id_ = request.get("id")
    if isinstance(id_, bool) or not isinstance(id_, (int, str)):
        raise Answer(INVALID_REQUEST, "id must be a number or a text; calls without id are not supported")
    unknown = sorted(set(request) - {"jsonrpc", "id", "method", "params"})
    if request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str) or unknown:
        raise Answer(
            INVALID_REQUEST,
            'must have jsonrpc "2.0", id, method (a text), params (an object), nothing else',
            id_=id_,
        )
    return id_, request["method"], request.get("params", {})


def check_params(method: str, params: Any) -> dict[str, Any]:
    """Return the params of a known method, complete and of the right types. Raises :class:`Answer`."""
    if method not in METHODS:
        raise Answer(NO_METHOD, f"no method {method!r}; methods are {', '.join(METHODS)}")
    checks = METHODS[method]
    optional = frozenset(name for name in checks if (method, name) in OPTIONAL)
    reader = Reader()
    given = reader.keys("params", params, set(checks) - optional, optional)
    read = {
        name: check(reader, f"params.{name}", given[name]) for name, check in checks.items() if name in given
    }
    if reader.errors:
        raise Answer(BAD_PARAMS, f"{method}: {'; '.join(reader.errors)}", reader.errors)
    return read


def call(nva: Nva, method: str, params: Mapping[str, Any]) -> Any:
    """Do a checked call. Raises :class:`Answer` for what a caller can do something about."""
    try:
        if method in QUESTIONS:
            return getattr(nva, method)(**params)
        return nva.change(method, params)
    except ConfigError as error:
        raise Answer(BAD_PARAMS, f"{method}: {error}", error.errors) from error
    except Refused as error:
        data = {"what": error.what, "now": error.now, "allowed": error.allowed}
        raise Answer(REFUSED, str(error), data) from error
    except NotProgrammedError as error:
        raise Answer(NOT_PROGRAMMED, str(error), error.data) from error
    except FabricError as error:
        code = {RejectedError: REJECTED, PartlyCommittedError: PARTLY}.get(type(error), UNREACHABLE)
        raise Answer(code, str(error), error.data) from error


class Handler(socketserver.StreamRequestHandler):
    """One client: answers line by line; ``watch`` turns the connection into a stream of events."""

    def handle(self) -> None:
        """Serve until the client hangs up."""
        try:
            while line := self.rfile.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    self._error(None, Answer(INVALID_REQUEST, f"line longer than {MAX_LINE_BYTES} bytes"))
                    return
                if line.strip() and not self._serve(line):
                    return
        except (ConnectionError, ValueError):
            return  # the client went away in the middle

    def _serve(self, line: bytes) -> bool:
        nva = cast(Server, self.server).nva
        id_: Any = None
        start_s = nva.now()
        method = None
        try:
            id_, method, raw = read_request(line)
            params = check_params(method, raw)
            if method == "watch":
                self._watch(nva, id_)
                return False
            result = call(nva, method, params)
        except Answer as answer:
            self._error(id_ if answer.id is None else answer.id, answer)
        except ConnectionError:
            raise
        except Exception as error:
            self._error(id_, Answer(INTERNAL, f"{method}: the NVA failed and ends: {error!r}"))
            nva.fault(error)
            return False
        else:
            self._send({"jsonrpc": "2.0", "id": id_, "result": result})
        nva.events.publish("northbound", method=method, start_s=start_s, end_s=nva.now())
        return True

    def _watch(self, nva: Nva, id_: Any) -> None:
        watcher = nva.events.watch()
        try:
            self._send({"jsonrpc": "2.0", "id": id_, "result": {"watching": True}})
            while (event := watcher.get()) is not None:
                self._send(event)
        finally:
            nva.events.unwatch(watcher)

    def _error(self, id_: Any, answer: Answer) -> None:
        error = {"code": answer.code, "message": answer.message, "data": answer.data}
        self._send({"jsonrpc": "2.0", "id": id_, "error": error})

    def _send(self, value: Mapping[str, Any]) -> None:
        self.wfile.write(json.dumps(value).encode() + b"\n")


class Server(socketserver.ThreadingUnixStreamServer):
    """The listening socket; refuses to take over one that another NVA answers on."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path, nva: Nva) -> None:
        self.nva = nva
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    path.unlink()  # left by an NVA that was killed
                else:
                    raise OSError(f"{path}: another NVA answers there; give this one its own --socket")
        mask = os.umask(0o117)
        try:
            super().__init__(str(path), Handler)
        finally:
            os.umask(mask)
