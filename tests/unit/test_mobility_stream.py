"""Copying real bytes (over loopback), and the samples of the holders' fill."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emulation import commands
from emulation.errors import EmulationError
from mobility.buffer_watch import BufferWatch
from mobility.stream import MemoryStream, end_argv


class Loopback:
    """Both NVEs are this machine."""

    def __init__(self) -> None:
        self.processes: list[Any] = []

    def spawn(self, node: str, argv: list[str]) -> Any:
        process = commands.spawn(argv)
        self.processes.append(process)
        return process


@pytest.fixture
def stream(tmp_path: Path) -> Any:
    network = Loopback()
    made = MemoryStream(network, "nve1", "nve2", "127.0.0.1", tmp_path)
    made.network = network  # type: ignore[attr-defined]
    yield made
    made.close()
    assert all(process.poll() is not None for process in network.processes)


def test_the_seconds_are_those_until_the_other_end_had_all(stream: MemoryStream) -> None:
    size = 1_000_000
    took_s = stream.send(size, 40e6)
    assert 0.2 <= took_s < 0.6  # 8 Mbit at 40 Mbit/s
    quick_s = stream.send(size, 10e9)
    assert quick_s < took_s
    assert stream.send(0, 1e6) < 0.1


def test_an_end_that_dies_is_said_and_not_waited_for(stream: Any) -> None:
    stream.network.processes[0].kill()
    with pytest.raises(EmulationError, match="the copy from nve1 to nve2 broke off"):
        stream.send(10_000_000, 10e9)


def test_an_end_that_does_not_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmulationError, match="its receiving end ended with status"):
        MemoryStream(Loopback(), "nve1", "nve2", "192.0.2.77", tmp_path)


def test_the_ends_need_nothing_but_the_standard_library() -> None:
    done = commands.run(
        [*end_argv()[:3], "-S", "-c", "import sys; import mobility.stream_end; print(len(sys.modules))"]
    )
    assert int(done) > 0


class Gauge:
    def __init__(self) -> None:
        self.fill, self.closed = 0, False
        self.read_often = threading.Event()
        self.reads = 0

    def read(self) -> dict[str, tuple[int, int]]:
        self.reads += 1
        if self.reads >= 5:
            self.read_often.set()
        return {"direct": (self.fill, self.fill * 100), "outbound": (0, 0)}

    def close(self) -> None:
        self.closed = True


def test_samples_are_events_when_something_has_changed() -> None:
    gauge, events = Gauge(), []
    begin_s = time.monotonic()
    watch = BufferWatch(gauge, 0.001, lambda t_s, kind, **fields: events.append((t_s, kind, fields)))
    assert gauge.read_often.wait(5.0)
    assert events == []  # empty holders stay empty: nothing to say
    gauge.fill = 7
    watch.stop()
    assert [(kind, fields) for _, kind, fields in events] == [
        ("buffer", {"holder": "direct", "frames": 7, "bytes": 700})
    ]
    assert begin_s < events[0][0] <= time.monotonic()
    assert (watch.peak, watch.together) == ({"direct": 7, "outbound": 0}, 7)
    assert gauge.closed
    watch.stop()
    assert len(events) == 1


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(EmulationError, match="Address already in use"):
            commands.run(end_argv("receive", "127.0.0.1", port))


def test_the_most_at_one_moment_is_not_the_sum_of_each_ones_most() -> None:
    fills = iter([{"direct": (0, 0), "redirected": (9, 900)}, {"direct": (7, 700), "redirected": (1, 100)}])
    last = {"direct": (0, 0), "redirected": (0, 0)}
    gauge = SimpleNamespace(read=lambda: next(fills, last), close=lambda: None)
    watch = BufferWatch(gauge, 3600.0, lambda *_, **__: None)
    commands.wait_until(lambda: watch.together == 9, 5.0, "the first sample")
    watch.stop()
    assert watch.peak == {"direct": 7, "redirected": 9}
    assert watch.together == 9  # 9 alone, then 7 + 1
