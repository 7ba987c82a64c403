"""The socket: wrong lines get clear errors and harm nothing; the client speaks all of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.client import NvaClient, NvaError
from controller.events import EventHub
from controller.journal import Journal
from controller.northbound import METHODS, Server
from controller.service import Nva
from tests.fake_nva_world import config
from tests.fake_nve import FakeNve


class Running:
    """A served NVA with fake NVEs."""

    def __init__(self, path: Path) -> None:
        self.path = path / "nva.sock"
        self.faults: list[BaseException] = []
        self.faulted = threading.Event()
        self.journal = Journal(path / "journal")
        self.events = EventHub(time.monotonic)
        self.nva = Nva(self.journal, self.events, self.fault)
        self.server = Server(self.path, self.nva)
        self.nves = [FakeNve(n) for n in (1, 2, 3)]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        for nve in self.nves:
            self.nva.nve_connected(nve.session)

    def fault(self, error: BaseException) -> None:
        self.faults.append(error)
        self.faulted.set()

    def raw(self, line: bytes) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5.0)
            connection.connect(str(self.path))
            connection.sendall(line)
            with connection.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(lines.readline())
        return answer


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.events.close(1.0)
    made.server.shutdown()
    made.server.server_close()
    for nve in made.nves:
        nve.close()
    with made.nva.fabric.lock:
        made.journal.close()


@pytest.fixture
def client(running: Running) -> Iterator[NvaClient]:
    with NvaClient(running.path, 5.0) as made:
        yield made


def test_the_whole_life_of_a_move_through_the_client(client: NvaClient) -> None:
    assert client.configure(**config()) == {"version": 1}
    assert set(client.wait_programmed(5.0)["nves"]) == {"nve1", "nve2", "nve3"}
    assert client.where("vm1")["nve"] == "nve1"
    assert client.set_port("vm1", "nve2", 12, 13)["version"] == 2
    client.prepare_move("m1", "vm1", "nve2", "buffer")
    client.redirect("m1")
    assert client.status()["moves"][0]["stage"] == "redirected"
    assert set(client.commit_move("m1")["nves"]) == {"nve2", "nve3"}
    assert client.send_end_markers("m1", 1)["nves"] == ["nve1", "nve2", "nve3"]
    client.close_port("vm1", "nve1")
    assert client.finish_move("m1")["version"] == 7
    assert client.where("vm1")["nve"] == "nve2"
    client.prepare_move("m2", "vm1", "nve1", "tunnel")
    client.abort_move("m2")
    assert client.status()["vms"]["vm1"] == "nve2"
    assert client.status()["dead_threads"] == 0


def test_policy_strategy_and_life_cycle_calls_through_the_client(client: NvaClient) -> None:
    client.configure(**config(), strategy="pull", outside=None, packet_in_limit_pps=100)
    client.wait_programmed(5.0)
    client.prepare_move("m1", "vm1", "nve2", "icmp")
    client.redirect("m1")
    client.commit_move("m1")
    assert client.where("vm1")["believed"] == {"nve3": "nve1"}
    first = client.end_redirect("m1")
    assert client.end_redirect("m1") == first
    assert client.misdirected("vm1")["counted_at"] == ["nve1"]
    client.finish_move("m1")
    with client.watch() as watch:
        for verb in ("pause", "resume", "stop", "release", "allocate", "start"):
            getattr(client, verb)("vm1")
        events = iter(watch)
        told = [next(e for e in events if e["kind"] == "lifecycle") for _ in range(6)]
    assert [e["state"] for e in told] == [
        "paused",
        "running",
        "allocated",
        "released",
        "allocated",
        "running",
    ]
    with pytest.raises(NvaError, match="resume 'vm1': 'vm1' is running") as error:
        client.resume("vm1")
    assert error.value.code == -32001
    assert client.where("vm1")["tsi_state"] == "activated"


def test_a_watch_that_is_closed_keeps_no_file_open(client: NvaClient) -> None:
    with client.watch() as watch:
        number = watch._socket.fileno()
        os.fstat(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


WRONG = [
    (b"hello\n", -32700, "not a JSON object"),
    (b'{"jsonrpc": "2.0", "id": NaN}\n', -32700, "NaN is not JSON"),
    (b"[" * 100_000 + b"\n", -32700, "not a JSON object"),
    (b"\xff\xfe\n", -32700, "not a JSON object"),
    (b"[]\n", -32600, "batches are not supported"),
    (b'{"jsonrpc": "2.0", "method": "status"}\n', -32600, "without id"),
    (b'{"jsonrpc": "1.0", "id": 1, "method": "status"}\n', -32600, 'jsonrpc "2.0"'),
    (b'{"jsonrpc": "2.0", "id": 1, "method": 3}\n', -32600, "method (a text)"),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "fly"}\n', -32601, "no method 'fly'; methods are configure"),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "__init__"}\n', -32601, "no method"),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "status", "params": [1]}\n', -32602, "must be an object"),
    (b'{"jsonrpc": "2.0", "id": 1, "method": "where"}\n', -32602, "params.vm: missing"),
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "where", "params": {"vm": 1}}\n',
        -32602,
        "params.vm: 1: must be",
    ),
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "redirect", "params": {"migration_id": "a", "x": 1}}\n',
        -32602,
        "params.x: 1: unknown key; keys are migration_id",
    ),
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "wait_programmed", "params": {"timeout_s": true}}\n',
        -32602,
        "must be seconds from 0 to 3600",
    ),
    (
        b'{"jsonrpc": "2.0", "id": 1, "method": "where", "params": {"vm": "x"}}\n',
        -32001,
        "there is no such VM",
    ),
]


@pytest.mark.parametrize(("line", "code", "says"), WRONG, ids=[says for _, _, says in WRONG])
def test_wrong_line_is_answered_and_harms_nothing(
    running: Running, client: NvaClient, line: bytes, code: int, says: str
) -> None:
    client.configure(**config())
    state = running.nva.state
    answer = running.raw(line)
    assert (answer["error"]["code"], answer["jsonrpc"]) == (code, "2.0")
    assert says in answer["error"]["message"]
    assert running.nva.state is state
    assert client.status()["version"] == state.version
    assert running.faults == []


def test_error_reaches_the_client_with_code_message_data(client: NvaClient) -> None:
    client.configure(**config())
    client.wait_programmed(5.0)
    client.prepare_move("m1", "vm1", "nve2", "tunnel")
    with pytest.raises(NvaError) as error:
        client.prepare_move("m2", "vm1", "nve3", "tunnel")
    assert error.value.code == -32001
    assert "'vm1' is moving already ('m1' to 'nve2', stage prepared)" in error.value.message
    assert error.value.data["allowed"] == "finish or abort that one first"


def test_watch_sees_calls_and_barriers_and_ends_from_another_thread(client: NvaClient) -> None:
    client.configure(**config())
    client.wait_programmed(5.0)
    seen: list[dict[str, Any]] = []
    with client.watch() as watch:
        reader = threading.Thread(target=lambda: seen.extend(watch))
        reader.start()
        timing = client.prepare_move("m1", "vm1", "nve2", "tunnel")
        client.status()
        deadline = time.monotonic() + 5.0
        while not any(e.get("method") == "prepare_move" for e in list(seen)):
            assert time.monotonic() < deadline, seen
            threading.Event().wait(0.005)
    reader.join(5.0)
    assert not reader.is_alive()
    # What came before this call may still be told after the watch began: the resync, the call before.
    own = [e for e in seen if e.get("method") == "prepare_move" or e["t_s"] >= timing["received_s"]]
    own = [e for e in own if e.get("method") in (None, "prepare_move")]
    assert [e["kind"] for e in own] == ["flow_mods", "barrier", "barrier", "northbound"]
    assert own[2]["t_s"] == timing["nves"]["nve2"]["committed_s"]
    assert own[3]["start_s"] <= timing["received_s"] <= timing["last_barrier_s"] <= own[3]["end_s"]


def test_a_bug_ends_the_nva_and_the_caller_is_told(
    running: Running, client: NvaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.nva, "status", lambda: 1 // 0)
    with pytest.raises(NvaError, match="the NVA failed and ends: ZeroDivisionError"):
        client.status()
    assert running.faulted.wait(5.0)
    assert isinstance(running.faults[0], ZeroDivisionError)


def test_socket_mode_keeps_others_out(running: Running) -> None:
    assert oct(running.path.stat().st_mode & 0o777) == "0o660"


def test_second_nva_on_the_socket_is_refused_and_a_dead_ones_is_taken(
    running: Running, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="another NVA answers there"):
        Server(running.path, running.nva)
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    Server(stale, running.nva).server_close()


def test_client_without_an_nva_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NvaError, match=r"no NVA answers at .*nowhere .*start it"):
        NvaClient(tmp_path / "nowhere").status()
    too_long = tmp_path / ("x" * 120)
    with pytest.raises(NvaError, match="AF_UNIX path too long"):
        NvaClient(too_long).status()


def test_client_has_one_method_for_each_call() -> None:
    assert set(METHODS) <= {name for name in vars(NvaClient) if not name.startswith("_")}


def test_client_needs_no_framework() -> None:
    code = "import sys, controller.client; print([m for m in sys.modules if 'os_ken' in m or 'oslo' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_first_call_after_a_restart_of_the_nva_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "nva.sock"

    def serve(answers: int) -> Callable[[], None]:
        """An NVA that is killed after so many calls."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                for _ in range(answers):
                    id_ = json.loads(lines.readline())["id"]
                    connection.sendall(
                        json.dumps({"id": id_, "result": {"version": answers}}).encode() + b"\n"
                    )

        serving = threading.Thread(target=answer, daemon=True)
        serving.start()

        def ended() -> None:
            serving.join(5.0)
            listening.close()
            path.unlink()

        return ended

    with NvaClient(path, 5.0) as client:
        for life in (1, 2):
            ended = serve(life)
            assert [client.status() for _ in range(life)] == [{"version": life}] * life
            ended()
        with pytest.raises(NvaError, match="no NVA answers"):
            client.status()
