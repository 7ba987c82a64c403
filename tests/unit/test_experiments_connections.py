"""What became of each connection in a trial, and how long a trial waits for it: by a made clock, and for real."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from emulation import commands
from experiments.probes.transports.base import Ends, Progress
from experiments.probes.transports.streams import Connection, Streams
from experiments.running.connections import (
    DRAINED_S,
    FIRST_TIMEOUT_S,
    LONGEST_TIMEOUT_S,
    QUIET_S,
    Connections,
    Fate,
    bound_s,
    connection_measures,
)

RATE_BPS = 5_000_000.0
PER_S = RATE_BPS / 8


class World:
    """Connections as functions of the time, which goes on only by sleeping."""

    def __init__(self, **connections: Callable[[float], Progress]) -> None:
        self.now_s, self.connections = 100.0, connections

    def look(self) -> Mapping[str, Progress]:
        return {name: at(self.now_s) for name, at in self.connections.items()}

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def made(self) -> Connections:
        return Connections(self.look, lambda: self.now_s, self.sleep)


def lively(now_s: float) -> Progress:
    return Progress(int(now_s * PER_S), int((now_s - 0.002) * PER_S), now_s - 0.002, rate_bps=RATE_BPS)


def silent_between(begin_s: float, end_s: float, catching_up_s: float = 0.0) -> Callable[[float], Progress]:
    """A connection that reads nothing between two moments, and behind them catches up for a while."""

    def at(now_s: float) -> Progress:
        if begin_s <= now_s < end_s:
            read_bytes, read_at_s = int(begin_s * PER_S), begin_s
        else:
            late = end_s <= now_s < end_s + catching_up_s
            missing = (end_s - begin_s) * (1 - (now_s - end_s) / catching_up_s) if late else 0.0
            read_bytes, read_at_s = int((now_s - missing) * PER_S), now_s
        return Progress(int(now_s * PER_S), read_bytes, read_at_s, rate_bps=RATE_BPS)

    return at


def ended_at(moment_s: float, how: str) -> Callable[[float], Progress]:
    def at(now_s: float) -> Progress:
        return Progress(0, 0, moment_s, moment_s, how) if now_s >= moment_s else lively(now_s)

    return at


def test_a_trial_whose_connections_go_on_ends_when_it_was_to_end() -> None:
    world = World(a=lively, b=lively)
    connections = world.made()
    assert connections.quiet_down() == 0.0
    world.sleep(1.0)
    endings, end_s = connections.fates(moved_s=100.5, end_s=101.0)
    assert {name: one.fate for name, one in endings.items()} == {"a": Fate.WENT_ON, "b": Fate.WENT_ON}
    assert end_s == 101.0
    assert connection_measures(endings, 0) == {
        "went_on_connections_count": 2,
        "ended_connections_count": 0,
        "silent_connections_count": 0,
        "left_out_connections_count": 0,
    }


def test_a_trial_goes_on_while_a_connection_is_in_backoff() -> None:
    # It stood still for 2 s up to 102; TCP's next timeout came at 103.0 s, behind the planned end.
    world = World(a=lively, b=silent_between(100.0, 103.0))
    connections = world.made()
    world.now_s = 102.5
    endings, end_s = connections.fates(moved_s=102.0, end_s=102.5)
    assert endings["b"].fate is Fate.WENT_ON
    assert 103.0 <= end_s < 103.1


def test_what_lay_in_the_receivers_socket_is_no_sign_of_life() -> None:
    moved_s = 102.0

    def drained(now_s: float) -> Progress:
        last_s = moved_s + DRAINED_S / 2 if now_s < 103.5 else now_s
        return Progress(0, 1000, last_s, rate_bps=RATE_BPS)

    world = World(a=drained)
    connections = world.made()
    world.now_s = 102.4
    endings, end_s = connections.fates(moved_s, end_s=102.4)
    assert endings["a"].fate is Fate.WENT_ON
    assert end_s >= 103.5


def test_a_connection_that_stays_silent_is_told_at_the_bound_and_left_out_until_it_speaks_again() -> None:
    world = World(a=lively, b=silent_between(100.0, 200.0))
    connections = world.made()
    world.now_s = 103.0
    endings, end_s = connections.fates(moved_s=102.0, end_s=103.0)
    assert endings["b"].fate is Fate.SILENT
    # 3 s of silence at the planned end: the next timeout at most 3 s and a first timeout later.
    assert end_s == pytest.approx(103.0 + 3.0 + FIRST_TIMEOUT_S, abs=0.05)
    assert connections.quiet_down() == 0.0, "nobody waits for it again"
    assert connections.left_out == {"b"}
    endings, _ = connections.fates(world.now_s - 1, world.now_s)
    assert endings.keys() == {"a"}
    world.now_s = 201.0
    connections.quiet_down()
    assert not connections.left_out


def test_the_bound_grows_with_the_silence_up_to_linux_longest_timeout() -> None:
    assert bound_s(0.5) == 0.5 + FIRST_TIMEOUT_S
    # A standstill of 20 s: timeouts come at 0.2 * (2^n - 1) s, the one behind it at 25.4 s.
    assert 21.5 + bound_s(21.5) > 25.4
    assert bound_s(1000.0) == LONGEST_TIMEOUT_S + FIRST_TIMEOUT_S


def test_an_ended_connection_is_told_once_with_its_moment_and_its_error() -> None:
    world = World(a=lively, b=ended_at(100.7, "sender: Connection reset by peer"))
    connections = world.made()
    world.now_s = 101.0
    endings, end_s = connections.fates(moved_s=100.5, end_s=101.0)
    assert end_s == 101.0
    assert endings["b"].as_dict() == {
        "fate": "ended",
        "ended_s": 100.7,
        "how": "sender: Connection reset by peer",
    }
    assert not connections.ended_since()
    endings, _ = connections.fates(moved_s=101.0, end_s=101.0)
    assert endings.keys() == {"a"}, "it takes part in no later trial"


def test_an_end_between_two_trials_is_not_forgotten() -> None:
    world = World(a=ended_at(101.5, "closed"))
    connections = world.made()
    world.now_s = 101.0
    connections.fates(moved_s=100.5, end_s=101.0)
    world.now_s = 102.0
    assert connections.ended_since()["a"].fate is Fate.ENDED


def test_the_next_trial_waits_for_who_is_in_backoff_and_then_for_who_catches_up() -> None:
    world = World(a=lively, b=silent_between(98.0, 101.0, catching_up_s=0.4))
    connections = world.made()
    took_s = connections.quiet_down()
    assert 1.3 <= took_s < 1.6
    assert not connections.left_out


def test_who_is_offered_more_than_the_path_carries_is_not_waited_for() -> None:
    def overloaded(now_s: float) -> Progress:
        return Progress(int(now_s * PER_S), int(now_s * PER_S / 2), now_s, rate_bps=RATE_BPS)

    world = World(a=overloaded)
    assert world.made().quiet_down() < 0.1


def test_a_bulk_connection_has_no_backlog_and_a_slow_one_longer_pauses() -> None:
    def bulk(now_s: float) -> Progress:
        return Progress(10**9, 0, now_s - QUIET_S / 2)

    def slow(now_s: float) -> Progress:  # a block each 1.9 s
        return Progress(0, 0, now_s - 2 * QUIET_S - 1.0, rate_bps=5000.0)

    assert World(a=bulk, b=slow).made().quiet_down() == 0.0


class Real:
    """Two TCP connections over the loopback, one each way; ``end`` finds the process of one end."""

    def __init__(self, folder: Path) -> None:
        self._pids: dict[str, int] = {}

        def spawner(_node: str, _pauses_with_vm: bool) -> Callable[[list[str]], subprocess.Popen[bytes]]:
            def spawn(argv: list[str]) -> subprocess.Popen[bytes]:
                process = commands.spawn(argv, stderr=subprocess.PIPE)
                self._pids[Path(argv[argv.index("--out") + 1]).name] = process.pid
                return process

            return spawn

        ends = Ends("vm1", "peer1", dict.fromkeys(("vm1", "peer1"), "127.0.0.1"), spawner, folder)
        ways = [Connection(way, "by_peer", free_port()) for way in ("to_vm", "from_vm")]
        self.streams = Streams(ends, 1_600_000.0, connections=ways)

    def signal(self, connection: str, duty: str, number: signal.Signals) -> None:
        os.kill(self._pids[f"tcp_{connection}_{duty}"], number)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    made = Real(tmp_path)
    try:
        made.streams.start()
        commands.wait_until(
            lambda: all(one.read_bytes for one in made.streams.progress().values()), 10, "bytes both ways"
        )
        yield made
    finally:
        made.streams.kill()


def test_a_receiver_that_stands_still_is_waited_for(real: Real) -> None:
    connections = Connections(real.streams.progress)
    real.signal("to_vm_by_peer", "receive", signal.SIGSTOP)
    moved_s = time.monotonic()
    runs = threading.Timer(1.0, real.signal, ("to_vm_by_peer", "receive", signal.SIGCONT))
    runs.start()
    endings, end_s = connections.fates(moved_s, moved_s + 0.3)
    runs.join()
    assert {one.fate for one in endings.values()} == {Fate.WENT_ON}
    assert end_s >= moved_s + 1.0


def test_an_end_that_dies_resets_its_connection_and_the_other_one_goes_on(real: Real) -> None:
    connections = Connections(real.streams.progress)
    real.signal("to_vm_by_peer", "receive", signal.SIGSTOP)  # what it has not read makes the kernel send RST
    read_bytes = real.streams.progress()["to_vm_by_peer"].read_bytes
    commands.wait_until(
        lambda: real.streams.progress()["to_vm_by_peer"].offered_bytes > read_bytes + 50_000,
        10,
        "unread bytes",
    )
    moved_s = time.monotonic()
    real.signal("to_vm_by_peer", "receive", signal.SIGKILL)
    endings, _ = connections.fates(moved_s, moved_s)
    ended = endings["to_vm_by_peer"]
    assert ended.fate is Fate.ENDED
    assert ended.ended_s is not None
    assert ended.ended_s >= moved_s
    assert ended.how in ("sender: Connection reset by peer", "sender: Broken pipe")
    assert endings["from_vm_by_peer"].fate is Fate.WENT_ON
