"""The standby experiment: its processes over loopback, and what it reads in a client's log."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emulation import commands
from experiments.studies.standby.ends import state_of
from experiments.studies.standby.study import conclude, seen_by_clients

PROJECT = Path(__file__).resolve().parents[2]
PORT, STATE_PORT = 45301, 45302


@pytest.fixture
def ends(tmp_path):
    """Starts ends on loopback; all of them are gone afterwards."""
    started = []

    def start(*words):
        argv = [sys.executable, "-S", "-m", "experiments.studies.standby.ends", *words]
        process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(PROJECT)}, cwd=tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_updates_are_applied_acknowledged_and_their_state_reaches_the_standby(ends, tmp_path):
    first, second, log = tmp_path / "a.sock", tmp_path / "b.sock", tmp_path / "log.json"
    ends("serve", f"port={PORT}", f"control={first}")
    ends("serve", f"port={PORT + 10}", f"control={second}")
    commands.wait_until(lambda: first.exists() and second.exists(), 5.0, "the services")
    taking = ends("take", f"at=127.0.0.1:{STATE_PORT}", f"control={second}", f"log={tmp_path / 'take.json'}")
    table = Path("/proc/net/tcp")
    commands.wait_until(lambda: f":{STATE_PORT:04X} 00000000:0000 0A" in table.read_text(), 5.0, "a listener")
    words = (
        f"to=127.0.0.1:{STATE_PORT}",
        f"control={first}",
        f"own={tmp_path / 'own.sock'}",
        "interval=0.01",
    )
    ends("ship", *words, "bytes=1000")
    asking = ends("ask", "to=127.0.0.1", f"port={PORT}", "rate=200", f"log={log}")
    own = str(tmp_path / "asked.sock")
    commands.wait_until(lambda: state_of(str(second), own)["last"] >= 20, 5.0, "state at the standby")
    state = state_of(str(second), own)
    assert state["applied"] <= 2 * (state["last"] + 1)  # by UDP and by TCP
    asking.send_signal(signal.SIGTERM)
    taking.send_signal(signal.SIGTERM)
    assert (asking.wait(5), taking.wait(5)) == (0, 0)
    told = json.loads(log.read_text())
    numbers = [number for number, *_ in told["udp"]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 20
    answered = [row for row in told["udp"] if row[2] is not None]
    assert len(answered) >= len(numbers) - 2  # the last may be on their way
    assert all(sent_s <= at_s for _, sent_s, at_s in answered)
    assert (len(told["connected"]), told["broken"]) == (1, [])
    assert set(told["answered_by"]["127.0.0.1"]) == {
        number for number, _, at_s in told["udp"] + told["tcp"] if at_s
    }
    came = json.loads((tmp_path / "take.json").read_text())
    assert came["states"] * 1000 < came["bytes"] < came["states"] * 1200


def log(udp, tcp, broken=(), connected=((0.0, "10.0.0.1"),), sent=100):
    return {"udp": udp, "tcp": tcp, "broken": broken, "connected": connected, "bytes_sent": sent}


def test_an_update_is_lost_when_it_was_acknowledged_before_the_failure_and_the_state_is_older():
    udp = [[0, 1.0, 1.001], [1, 1.1, 1.101], [2, 1.2, 1.201], [3, 1.3, None], [4, 1.5, 1.501]]
    tcp = [[0, 1.0, 1.002], [1, 1.1, None], [2, 1.2, None], [3, 1.3, None], [4, 1.5, 1.6]]
    found = {"failed_s": 1.25, "last": 0, "state_lag_s": 0.2}
    measures, words = seen_by_clients(log(udp, tcp, [[1.4, "10.0.0.1", "Connection reset by peer"]]), found)
    # 1 and 2 were acknowledged before 1.25 and are newer than 0; 4 was acknowledged by the standby itself
    assert measures["lost_updates_count"] == 2
    assert measures["service_gap_s_udp"] == pytest.approx(0.3)
    assert measures["service_gap_s_tcp"] == pytest.approx(0.598)
    assert measures["broken_after_s"] == pytest.approx(0.15)
    assert measures["state_lag_s"] == 0.2
    assert words == {"connection_end": "Connection reset by peer"}


def test_a_hot_standby_has_lost_what_it_never_acknowledged_itself():
    udp = [[0, 1.0, 1.001], [1, 1.1, 1.101], [2, 1.2, 1.201], [3, 1.3, 1.301]]
    answers = {"10.0.0.1": [0, 1, 2], "10.0.0.2": [0, 1, 3]}
    found = {"failed_s": 1.25, "standby_address": "10.0.0.2"}
    measures, _ = seen_by_clients({**log(udp, []), "answered_by": answers}, found)
    assert measures["lost_updates_count"] == 1  # 2: the primary alone said that it has it
    assert "standby_address" not in measures


def test_a_null_trial_has_gaps_and_nothing_of_a_failover():
    measures, words = seen_by_clients(log([[0, 1.0, 1.001], [1, 1.1, 1.101]], []), {})
    assert words == {}
    assert "lost_updates_count" not in measures
    assert "service_gap_s_tcp" not in measures


def test_the_sentence_names_interval_lag_loss_and_that_nothing_was_released():
    def trial(kind, interval_s, **measures):
        return {
            "valid": True,
            "null": False,
            "parameters": {"standby": kind, "interval_s": interval_s},
            "measures": measures,
        }

    said = conclude(
        [
            trial("warm", 0.1, state_lag_s=0.05, lost_updates_count=9, service_gap_s_udp=0.06, service_gap_s_tcp=0.07,
                  broken_connections_count=1, released_count=0),
            trial("hot", None, service_gap_s_tcp=0.011, connections_count=2, lost_updates_count=0),
        ]
    )  # fmt: skip
    assert "sent every 100 ms, 50 ms old, 9 acknowledged updates gone" in said
    assert "broke in 1 of 1 failovers" in said
    assert said.startswith(
        "A failover lost 9 (state sent every 100 ms) acknowledged updates with warm standby and 0 with hot standby."
    )
    assert "11 ms by TCP with 2 connections" in said
    assert "0 acknowledged updates gone. Released" in said
    assert "Released: 0" in said
