"""``python -m experiments sweep``: whole, stopped half-way by kill -9 and by Ctrl-C and gone on with, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulation.commands import wait_until
from results.figures.merging import finished_runs
from results.record.reading import load_record
from tests.root.sandboxed import GONE_BOUND_S, REPOSITORY, children

pytestmark = pytest.mark.root

WORDS = ("EXP=hot-l2", "rate_pps=500,1000", "repeat=2", "ports=afpacket")
QUICKLY = ("tcp_rate=1Mbit", "before=100ms", "after=200ms")
BLOCKS = 2 * 2
KINDS = 4  # hot-l2's three paths and the null trial
BOUND_S = 120.0


def start(results: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", "sweep", *words],
        cwd=REPOSITORY,
        env={**os.environ, "RESULTS": str(results)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=BOUND_S)
    return process.returncode, out, err


def sweeps(results: Path) -> list[Path]:
    runs = results / "runs"
    return sorted(runs.glob("*-sweep-hot-l2-*")) if runs.is_dir() else []


def blocks_of(sweep: Path) -> list[int]:
    return [run.environment["sweep"]["block"] for run in finished_runs(sweep)]


@pytest.fixture
def stopped(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, int]]:
    """A sweep that got a signal after its first block; the results folder and how many blocks were done.

    It says by what it was ended, if it can still say anything.
    """
    process = start(tmp_path, *WORDS, *QUICKLY)
    try:
        wait_until(lambda: sweeps(tmp_path) and blocks_of(sweeps(tmp_path)[0]), 60.0, "the first block")
        supervisors = children(process.pid)
        process.send_signal(request.param)
        out, err = process.communicate(timeout=20.0)
        ended = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}[request.param]
        assert process.returncode == ended, out + err
        assert ("ended by SIGTERM" in out) == (request.param == signal.SIGTERM)
        for pid in supervisors:
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), GONE_BOUND_S + 3, "no supervisor")
        yield tmp_path, len(blocks_of(sweeps(tmp_path)[0]))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.parametrize("stopped", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], indirect=True)
def test_the_same_command_goes_on_where_a_sweep_was_stopped(stopped: tuple[Path, int]) -> None:
    results, done = stopped
    assert 1 <= done < BLOCKS
    status, out, err = finish(start(results, *WORDS, *QUICKLY))
    assert status == 0, out + err
    assert f"{done} of {BLOCKS} blocks are done" in out
    (sweep,) = sweeps(results)
    assert sorted(blocks_of(sweep)) == list(range(BLOCKS))  # each once: nothing was done twice
    record = load_record(sweep)
    assert record.status == "answered"
    assert record.group_by == ("rate_pps", "path")
    valid = [trial for trial in record.trials if trial["valid"]]
    assert len(valid) >= BLOCKS * KINDS / 2
    assert {trial["parameters"]["rate_pps"] for trial in record.trials} == {500, 1000}
    assert [trial["index"] for trial in record.trials] == list(range(len(record.trials)))
    for trial in record.trials:  # every trial leads back to its samples
        own = load_record(sweep / "runs" / trial["run"]).trials[trial["run_index"]]
        assert own["measures"] == trial["measures"]
    assert (sweep / "report.html").exists()
    assert (results / "latest").resolve() == sweep.resolve()
    # A finished sweep is not gone on with: the same command would be a new one; another plan as well.
    assert (sweep / "record.json").stat().st_size > 0


def test_a_sweep_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    for words, said in (
        (("EXP=hot-l2", "rate_pps=1000"), "nothing is swept"),
        (("EXP=hot-l2", "rate_pps=1,2000"), "a whole number from 100"),
        (("EXP=hot-l3", "rate_pps=1000,2000"), "there is no experiment 'hot-l3'"),
        (("EXP=hot-l2", "policy=buffer,tunnel", "peer=vm1"), "is the VM that moves itself"),
        (("RESUME=nothing",), "no such run"),
    ):
        status, out, err = finish(start(tmp_path, *words))
        assert (status, out) == (2, ""), out + err
        assert said in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_running_sweep_is_not_run_twice(tmp_path: Path) -> None:
    first = start(tmp_path, *WORDS, *QUICKLY)
    try:
        wait_until(
            lambda: sweeps(tmp_path) and (sweeps(tmp_path)[0] / "runs").is_dir(),
            60.0,
            "the first block's run",
        )
        status, _, err = finish(start(tmp_path, *WORDS, *QUICKLY))
        assert status == 2
        assert "is running now" in err
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=20.0)
    (sweep,) = sweeps(tmp_path)
    record = load_record(sweep)
    assert record.status == "failed"
    assert "the same command goes on" in record.why
    assert json.loads((sweep / "sweep.json").read_text())["plan"]["repeat"] == 2


def test_a_sandbox_that_dies_is_replaced_and_its_block_done_again(tmp_path: Path) -> None:
    process = start(tmp_path, *WORDS, *QUICKLY)
    try:
        wait_until(
            lambda: sweeps(tmp_path) and (sweeps(tmp_path)[0] / "runs").is_dir(),
            60.0,
            "the first block's run",
        )
        for pid in children(process.pid):
            os.kill(pid, signal.SIGKILL)
        status, out, err = finish(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert status == 0, out + err
    assert "tried once more in a new sandbox" in out
    (sweep,) = sweeps(tmp_path)
    assert sorted(blocks_of(sweep)) == list(range(BLOCKS))


def test_ctrl_c_of_a_terminal_reaches_all_and_leaves_what_is_done(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group: the sweep, its supervisors and what runs inside."""
    process = start(tmp_path, *WORDS, *QUICKLY)
    try:
        wait_until(lambda: sweeps(tmp_path) and blocks_of(sweeps(tmp_path)[0]), 60.0, "the first block")
        os.killpg(process.pid, signal.SIGINT)
        status, out, err = finish(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert status == 130, out + err
    assert "the same command goes on, or: make sweep RESUME=" in out
    assert "Traceback" not in err
    record = load_record(sweeps(tmp_path)[0])
    assert record.status == "failed"
    assert len(record.trials) >= KINDS
