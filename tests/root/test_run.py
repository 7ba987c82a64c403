"""``python -m experiments run``: a whole run, two at once, every way to end early, and input that cannot be."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulation import preflight
from emulation.commands import wait_until
from experiments.__main__ import main
from results.record.contract import DIED
from tests.root.sandboxed import GONE_BOUND_S, REPOSITORY, children, processes_of

pytestmark = pytest.mark.root

SMALL = ("repeat=1", "rate_pps=1000", "tcp_rate=1Mbit", "before=150ms", "after=250ms", "ports=afpacket")
RUN_BOUND_S = 60.0


class Started:
    """A run in a process group of its own; ended and looked after at the end of the test."""

    def __init__(self, results: Path, *words: str) -> None:
        self.results = results
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments", "run", *words],
            cwd=REPOSITORY,
            env={**os.environ, "RESULTS": str(results)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.namespace: str | None = None

    def folder(self) -> Path:
        """The one run's folder, once it is there."""
        (found,) = wait_until(lambda: self._folders(), 20.0, "a run's folder")
        assert isinstance(found, Path)
        return found

    def _folders(self) -> list[Path]:
        runs = self.results / "runs"
        return [path for path in runs.iterdir() if (path / "record.json").exists()] if runs.is_dir() else []

    def init(self) -> int:
        """The sandbox's PID 1, by its PID on the host, once the sandbox is there."""
        path = self.folder() / "sandbox.json"
        wait_until(lambda: path.exists() and path.read_text(), 20.0, "a sandbox")
        init = int(json.loads(path.read_text())["init_pid"])
        self.namespace = str(Path(f"/proc/{init}/ns/pid").readlink())
        return init

    def until_moving(self) -> int:
        """Wait until the trials have begun; the runner's PID on the host."""
        init = self.init()
        events = self.folder() / "events.jsonl"
        wait_until(lambda: events.exists() and "switch" in events.read_text(), 40.0, "the first move")
        return children(init)[0]

    def ended(self, timeout_s: float) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        stdout, stderr = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, stdout, stderr

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder() / "record.json").read_text())
        return found

    def assert_nothing_left(self) -> None:
        assert self.namespace is not None
        wait_until(lambda: not processes_of(self.namespace or ""), GONE_BOUND_S, "all of the run to end")

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(ValueError):  # read to the end already
            self.process.communicate()


@contextlib.contextmanager
def started(results: Path, *words: str) -> Iterator[Started]:
    run = Started(results, *words)
    try:
        yield run
    finally:
        run.clean_up()


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Each has its own network; on a busy machine trials may be invalid and repeated, but both find an answer."""
    with (
        started(tmp_path / "one", "hot-l2", *SMALL) as one,
        started(tmp_path / "other", "hot-l2", *SMALL, "policy=tunnel") as other,
    ):
        assert one.init() != other.init()
        for run in (one, other):
            status, stdout, stderr = run.ended(2 * RUN_BOUND_S)
            assert stderr == ""
            verdict = run.record()["verdict"]
            # Two runs share the processors: the guard may rule one out, and must then say so.
            assert (status, verdict["status"]) in ((0, "answered"), (1, "invalid")), (stdout, verdict)
            if verdict["status"] == "invalid":
                assert "the machine was too busy" in verdict["why"]
            run.assert_nothing_left()


PLAN_FACTOR = 3.0
"""Machines of one kind differ by two times, and somebody else may be working on this one."""


def test_a_run_takes_about_as_long_as_it_says_before(tmp_path: Path) -> None:
    """From the command to its report; what a busy machine spoils is done again, which no plan knows."""
    begin_s = time.monotonic()
    with started(tmp_path, "hot-l2", "quick=1", "rate_pps=1000", "ports=afpacket") as run:
        _, stdout, _ = run.ended(3 * RUN_BOUND_S)
        took_s = time.monotonic() - begin_s
        record = run.record()
    plan = record["environment"]["planned"]
    assert "hot-l2: 8 valid trials, about" in stdout.split("management network")[0]
    assert plan["trials"] == 8 and plan["longest_guarded_s"] < 1
    repeated_s = plan["longest_guarded_s"] * (len(record["trials"]) - plan["trials"])
    assert took_s / PLAN_FACTOR < plan["duration_s"] + repeated_s < took_s * PLAN_FACTOR


DISTURBER = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
while True:
    until_s = time.monotonic() + 0.04
    while time.monotonic() < until_s:
        pass
    time.sleep(0.16)
"""
"""Takes a processor for 40 ms five times a second, and who wakes meanwhile waits."""


def test_a_busy_machine_is_told_before_the_first_long_trial(tmp_path: Path) -> None:
    busy = [
        subprocess.Popen([sys.executable, "-S", "-c", DISTURBER, str(cpu)])
        for cpu in sorted(os.sched_getaffinity(0))
    ]
    words = ("rate_pps=200", "tcp_rate=0Mbit", "ports=afpacket", "after=60s", "repeat=1")
    try:
        with started(tmp_path, "hot-l2", *words) as run:
            run.init()

            def known() -> Any:
                return run.record()["environment"].get("odds")

            odds = wait_until(known, 4 * RUN_BOUND_S, "the machine to be looked at")
            run.process.send_signal(signal.SIGTERM)
            _, stdout, _ = run.ended(RUN_BOUND_S)
            trials = run.record()["trials"]
            run.assert_nothing_left()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert trials == []
    assert odds["longest_trial_valid_share"] < 0.5 and odds["longest_lag_s"] > 0.02
    assert "hot-l2: this machine is busy: processes wait for more than 20 ms" in stdout
    assert "make trials shorter (after, before)" in stdout


def test_a_killed_run_leaves_a_record_that_says_so_and_nothing_else(tmp_path: Path) -> None:
    with started(tmp_path, "hot-l2", *SMALL, "repeat=100") as run:
        os.kill(run.until_moving(), signal.SIGKILL)
        status, stdout, stderr = run.ended(5.0)
        assert status == 128 + signal.SIGKILL
        assert run.record()["verdict"] == {"status": "failed", "why": DIED}
        assert DIED[:30] in stdout
        assert "Traceback" not in stdout + stderr
        run.assert_nothing_left()


def test_a_killed_supervisor_takes_everything_with_it(tmp_path: Path) -> None:
    with started(tmp_path, "hot-l2", *SMALL, "repeat=100") as run:
        run.until_moving()
        run.process.kill()
        run.assert_nothing_left()
        assert run.record()["verdict"] == {"status": "failed", "why": DIED}


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGINT, "stopped by the user (Ctrl-C)"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_a_run_can_be_stopped(tmp_path: Path, number: signal.Signals, why: str) -> None:
    with started(tmp_path, "hot-l2", *SMALL, "repeat=100") as run:
        run.until_moving()
        start_s = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(run.process.pid, number)  # what a terminal does
        else:
            run.process.send_signal(number)
        status, stdout, stderr = run.ended(10.0)
        # 2 s for the sandbox to end; the table is printed by the process that has loaded everything already.
        assert time.monotonic() - start_s < 3.0
        assert status == 128 + number
        verdict = run.record()["verdict"]
        assert (verdict["status"], verdict["why"]) == ("failed", why)
        assert why in stdout
        assert stderr == ""
        run.assert_nothing_left()


ONE_NVE = """\
name: one_nve
underlay:
  racks: [{name: rack1}]
nves: [{name: nve1, rack: rack1, underlay_ip: 192.0.2.1}]
tenants: [{name: acme}]
virtual_networks: [{name: blue, tenant: acme, vni: 1, subnet_v4: 10.1.0.0/24}]
vms:
  - {name: vm1, virtual_network: blue, nve: nve1, ipv4: 10.1.0.10, prewired: all}
  - {name: peer1, virtual_network: blue, nve: nve1, ipv4: 10.1.0.1}
"""
TWO_NETWORKS = """\
name: two_networks
underlay:
  racks: [{name: rack1}]
nves:
  - {name: nve1, rack: rack1, underlay_ip: 192.0.2.1}
  - {name: nve2, rack: rack1, underlay_ip: 192.0.2.2}
tenants: [{name: acme}]
virtual_networks:
  - {name: blue, tenant: acme, vni: 1, subnet_v4: 10.1.0.0/24}
  - {name: red, tenant: acme, vni: 2, subnet_v4: 10.1.0.0/24}
vms:
  - {name: vm1, virtual_network: blue, nve: nve1, ipv4: 10.1.0.10, prewired: all}
  - {name: peer1, virtual_network: red, nve: nve1, ipv4: 10.1.0.1}
"""

BAD = [
    (["hot_l3"], "there is no experiment 'hot_l3'; did you mean 'hot-l2'?"),
    (["hot-l2", "polcy=tunnel"], "there is no parameter 'polcy'; did you mean 'policy'?"),
    (["hot-l2", "tunnel"], "'tunnel' is not a parameter: write NAME=value"),
    (["hot-l2", "repeat=0"], "repeat=0: allowed is a whole number from 1 to 10,000"),
    (["hot-l2", "repeat=two"], "repeat=two: allowed is a whole number"),
    (["hot-l2", "after=3"], "after=3: allowed is a duration such as"),
    (["hot-l2", "policy=hope"], "policy=hope: allowed is one of silent-drop, icmp, tunnel, forward, buffer"),
    (["hot-l2", "attachment=replug"], "policy=buffer needs attachment=rebind"),
    (["hot-l2", "topology=two_raks"], "two_racks"),
    (["hot-l2", "topology=/no/such.yaml"], "/no/such.yaml"),
    (["hot-l2", "vm=vm2"], "vm=vm2: there is no VM 'vm2'"),
    (["hot-l2", "peer=pear1"], "peer=pear1: there is no VM 'pear1'; did you mean 'peer1'?"),
    (["hot-l2", "peer=vm1"], "peer=vm1: is the VM that moves itself"),
    (["hot-l2", "vm=peer2"], "attachment=rebind: peer2 is not pre-wired in topology two_racks"),
    (["hot-l2", "topology={one_nve}"], "has one NVE; a move needs two at least"),
    (["hot-l2", "topology={two_networks}"], "peer1: is in virtual network red and vm1 in blue"),
]


def refused(results: Path, words: list[str], program: tuple[str, ...] = ("-m", "experiments", "run")) -> str:
    """Exit status 2, nothing but one line on stderr, no run folder; the line."""
    done = subprocess.run(
        [sys.executable, *program, *words],
        cwd=REPOSITORY,
        env={**os.environ, "RESULTS": str(results)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (2, ""), (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not results.is_dir() or not list(results.glob("runs/*"))
    return done.stderr


@pytest.mark.parametrize(("words", "text"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_clear_line(
    words: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: a new one for each takes a second to load."""
    files = {}
    for name, content in (("one_nve", ONE_NVE), ("two_networks", TWO_NETWORKS)):
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(content)
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    assert main(["run", *(word.format_map(files) for word in words)]) == 2
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert text in said.err
    assert not list(tmp_path.glob("results/runs/*"))


def test_bad_input_is_the_same_from_the_command_line(tmp_path: Path) -> None:
    words, text = BAD[0]
    assert text in refused(tmp_path / "results", words)


def test_delay_without_netem_is_refused(tmp_path: Path) -> None:
    if preflight._module("sch_netem"):
        pytest.skip("this kernel has netem")
    line = refused(tmp_path, ["hot-l2", "topology=wide_area"])
    assert "underlay.links[2].delay needs netem, and this kernel has none (CONFIG_NET_SCH_NETEM)" in line


def test_a_results_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert str(file) in refused(file, ["hot-l2"])
    assert refused(Path("/proc/there-is-none"), ["hot-l2"]).startswith("/proc")


def test_without_root_it_says_what_to_do() -> None:
    """Everything is loaded first: another user may not be able to read the interpreter's own files."""
    program = (
        "import os, sys\n"
        "from experiments import __main__, catalog\n"
        "from experiments.running import parameters, start\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(__main__.main(['run', 'hot-l2']))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        line = refused(Path(folder) / "results", [], ("-c", program))
    assert line == "not root: namespaces and Open vSwitch need it; run the same command with sudo\n"


def test_a_results_folder_of_somebody_else_is_refused_without_a_traceback(tmp_path: Path) -> None:
    """tmp_path lies under a folder that only its owner may enter."""
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom emulation import preflight\nos.setuid(65534)\n"
        f"print(preflight._space_problems(Path({str(tmp_path)!r}) / 'results'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "is not writable: results go there; choose another place with RESULTS=FOLDER" in done.stdout
