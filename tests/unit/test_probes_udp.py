"""The prober's program: how it is built, what it refuses, and a flow over the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from emulation import commands
from experiments.probes.build import FLAGS, SOURCE, BuildError, probe_binary
from experiments.probes.guard import parse_lag
from experiments.probes.measures import udp_measures
from experiments.probes.process import ProbeError, ProbeProcess
from experiments.probes.udp import (
    UdpProbe,
    UdpStream,
    parse_received,
    parse_sent,
    receiver_argv,
    sender_argv,
    stop_together,
)

pytestmark = pytest.mark.skipif(
    not any((Path(folder) / "cc").exists() for folder in os.get_exec_path()),
    reason="needs a C compiler (gcc)",
)


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return probe_binary(folder=tmp_path_factory.mktemp("build"))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


def spawn(argv: list[str]) -> subprocess.Popen[bytes]:
    return commands.spawn(argv, stderr=subprocess.PIPE)


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    commands.run(["cc", *FLAGS, "-Werror", "-o", str(tmp_path / "probe"), str(SOURCE)])


def test_it_is_built_once_and_again_when_the_source_changes(tmp_path: Path) -> None:
    source = tmp_path / "tiny.c"
    source.write_text("int main(void) { return 0; }\n")
    built = probe_binary(source, tmp_path / "out")
    first = built.stat().st_ino
    assert probe_binary(source, tmp_path / "out").stat().st_ino == first
    later_ns = built.stat().st_mtime_ns + 1_000_000
    os.utime(source, ns=(later_ns, later_ns))
    assert probe_binary(source, tmp_path / "out").stat().st_ino != first
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny"]


def test_build_errors_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="apt-get install gcc"):
        probe_binary(folder=tmp_path, compiler="no-such-compiler")
    source = tmp_path / "bad.c"
    source.write_text("int main(void) { return }\n")
    with pytest.raises(BuildError, match=r"bad\.c does not compile"):
        probe_binary(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot put the prober into"):
        probe_binary(folder=tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage"),
        (["fly", "--out", "x"], "usage"),
        (["send", "--out", "x"], "send needs --to"),
        (["send", "--out", "x", "--to", "nowhere", "--port", "7", "--rate", "5"], "write both as numbers"),
        (["send", "--out", "x", "--to", "127.0.0.1", "--port", "7", "--rate", "fast"], "a number is wanted"),
        (
            ["send", "--out", "x", "--to", "127.0.0.1", "--port", "7", "--rate", "5", "--size", "8"],
            "24 to 65507",
        ),
        (["recv", "--out", "x"], "recv needs --bind"),
        (["recv", "--out", "/no/where", "--bind", "127.0.0.1", "--port", "0"], "cannot create /no/where"),
        (["lag", "--out", "x"], "lag needs --cpu"),
        (["lag", "--out", "x", "--cpu", "900"], "cannot run on CPU 900"),
    ],
)
def test_bad_arguments_get_one_line(binary: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = subprocess.run([binary, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert said in done.stderr


@pytest.fixture
def receiver(port: int, binary: Path, tmp_path: Path) -> Iterator[ProbeProcess]:
    log = tmp_path / "received"
    process = ProbeProcess("receiver", spawn, receiver_argv(binary, "127.0.0.1", port, log), log)
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()


def test_a_flow_over_loopback(port: int, binary: Path, receiver: ProbeProcess, tmp_path: Path) -> None:
    flow = UdpStream("127.0.0.1", port, rate_pps=1000, payload_bytes=100, stream=9)
    log = tmp_path / "sent"
    sender = ProbeProcess("sender", spawn, sender_argv(binary, flow, log, seconds=0.3), log)
    sender.wait(10)
    receiver.stop()
    sent, received = parse_sent(log.read_bytes()), parse_received(receiver.read())
    assert sent.complete
    assert received.complete
    assert len(sent.records) + sent.counters["skipped_slots"] == 300  # 0.3 s x 1000/s
    assert (received.records["stream"] == 9).all()
    assert (received.records["bytes"] == 100).all()
    delay_ns = received.records["rx_ns"] - received.records["tx_ns"]
    assert delay_ns.min() > -20_000  # the two clocks are read some 0.1 us apart; 20 us allow for a preemption
    assert sent.counters["cpu_ns"] > 0
    for cut in range(0, len(receiver.read()), 97):
        assert len(parse_received(receiver.read()[:cut]).records) <= len(received.records)


def test_a_sender_shows_what_it_has_offered_while_it_runs(
    port: int, receiver: ProbeProcess, tmp_path: Path
) -> None:
    probe = UdpProbe("shown", UdpStream("127.0.0.1", port, 1000.0), tmp_path)
    assert probe.offered_so_far()[1] == 0
    argv = sender_argv(probe_binary(), probe.flow, probe.sent_path)
    sender = ProbeProcess("sender", spawn, argv, probe.sent_path)
    try:
        sender.wait_ready()
        first_s, first = commands.wait_until(
            lambda: (told := probe.offered_so_far())[1] > 50 and told, 10, "packets"
        )
        later_s, later = commands.wait_until(
            lambda: (told := probe.offered_so_far())[1] > first and told, 10, "more packets"
        )
        assert (later_s, later) > (first_s, first)
        assert not parse_sent(probe.sent_path.read_bytes()).records.size, "the log itself comes at the end"
    finally:
        sender.stop()
    assert parse_sent(probe.sent_path.read_bytes()).counters["offered"] == probe.offered_so_far()[1]


def test_nobody_listens_is_not_a_refusal_to_send(port: int, binary: Path, tmp_path: Path) -> None:
    # Each packet's ICMP answer waits for the next send() and must not cost that packet.
    flow = UdpStream("127.0.0.1", port, rate_pps=1000)
    sender = ProbeProcess(
        "sender", spawn, sender_argv(binary, flow, tmp_path / "sent", 0.05), tmp_path / "sent"
    )
    sender.wait(10)
    log = parse_sent(sender.read())
    assert log.counters["icmp_answers"] > 0
    assert log.counters["refused"] == 0


def test_sigterm_writes_the_logs_and_they_make_packets(port: int, tmp_path: Path) -> None:
    probe = UdpProbe("to_vm", UdpStream("127.0.0.1", port, rate_pps=1000), tmp_path, bind="127.0.0.1")
    probe.start(spawn, spawn)
    try:
        commands.wait_until(probe.received_so_far, 5, "packets")
        probe.stop(drain_s=0.05)
    finally:
        probe.kill()
    packets = probe.packets()
    measured = udp_measures(packets, (0.0, float("inf")), probe.flow.period_s)
    assert measured["sent_packets"] == len(packets.seq) > 0
    assert measured["lost_packets"] == 0


def test_a_killed_sender_is_noticed(port: int, tmp_path: Path) -> None:
    probe = UdpProbe("to_vm", UdpStream("127.0.0.1", port, rate_pps=1000), tmp_path, bind="127.0.0.1")
    with pytest.raises(ProbeError, match="stop without start"):
        probe.stop()
    probe.start(spawn, spawn)
    probe.kill()
    with pytest.raises(ProbeError, match="to_vm sender: its probe did not end in order"):
        probe.packets()


def test_a_taken_port_is_reported(port: int, receiver: ProbeProcess, tmp_path: Path) -> None:
    probe = UdpProbe("second", UdpStream("127.0.0.1", port), tmp_path, bind="127.0.0.1")
    with pytest.raises(
        ProbeError, match=rf"second receiver did not start.*port {port}: Address already in use"
    ):
        probe.start(spawn, spawn)


def test_probes_that_end_together_drain_together(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = [
        UdpProbe(f"flow{number}", UdpStream("127.0.0.1", own), tmp_path, bind="127.0.0.1")
        for number, own in enumerate((port, free_port()))
    ]
    slept: list[float] = []
    try:
        for probe in probes:
            probe.start(spawn, spawn)
        monkeypatch.setattr("experiments.probes.udp.time.sleep", slept.append)
        stop_together(probes, drain_s=0.25)
    finally:
        for probe in probes:
            probe.kill()
    assert slept.count(0.25) == 1
    assert all(log.complete for probe in probes for log in probe.logs())


def _maxima(meter: ProbeProcess) -> int:
    records = parse_lag(meter.read()).records
    return int((records["is_event"] == 0).sum())


def test_lag_meter_covers_its_time(binary: Path, tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    path = tmp_path / "lag"
    argv = [str(binary), "lag", "--cpu", str(cpu), "--out", str(path), "--threshold-us", "1"]
    meter = ProbeProcess("lag meter", spawn, argv, path)
    try:
        commands.wait_until(lambda: _maxima(meter) >= 5, 5, "five records of the lag meter")
        meter.stop()
    finally:
        meter.kill()
    records = parse_lag(meter.read()).records
    assert set(records["cpu"]) == {cpu}
    maxima = records[records["is_event"] == 0]
    assert len(maxima) >= 5
    # Every trial waits for the next writing: 20 ms and a wake-up of 2 ms; 3 times that on a busy machine.
    assert np.median(np.diff(maxima["t_ns"])) < 66e6
    assert records["lag_ns"].max() == maxima["lag_ns"].max() > 0
