"""The sandbox: what is private inside, how it ends, and that no way of ending leaves anything behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from emulation.commands import wait_until
from emulation.errors import SystemCallError, WaitError
from emulation.sandbox import run_in_sandbox
from tests.root.sandboxed import GONE_BOUND_S, Sandboxed, children, in_sandbox, processes_of, sandboxed

pytestmark = pytest.mark.root

RUN = Path("/run/overland-test-busy")


def busy() -> NoReturn:
    """What a run looks like: a link, a named namespace, a daemon in its own session, orphans, then waiting."""
    subprocess.run(["ip", "link", "add", "left0", "type", "veth", "peer", "name", "right0"], check=True)
    subprocess.run(["ip", "netns", "add", "inner"], check=True)
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    subprocess.run(["sh", "-c", "setsid sleep 1000 & nohup sleep 1000 >/dev/null 2>&1 &"], check=True)
    RUN.touch()
    while True:
        signal.pause()


def deaf() -> NoReturn:
    """A run that will not listen to anybody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    busy()


def wait_until_busy(running: Sandboxed) -> None:
    """``busy`` is in its last line: its mark is there, seen through the runner's own root."""
    wait_until((Path(f"/proc/{running.runner}/root") / RUN.relative_to("/")).exists, 10.0, "a busy run")


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_exit_status_is_the_runners(status: int) -> None:
    def body() -> None:
        raise SystemExit(status)

    with sandboxed(body) as running:
        assert running.status(5.0) == status


def test_an_error_of_the_runner_is_one_line_and_status_2() -> None:
    program = (
        "from emulation.sandbox import run_in_sandbox\n"
        "def runner(): raise OSError('no luck today')\n"
        "raise SystemExit(run_in_sandbox(runner))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no luck today\n")


def test_a_runner_that_was_killed_is_128_and_the_signal() -> None:
    with sandboxed(lambda: os.kill(os.getpid(), signal.SIGKILL)) as running:
        assert running.status(5.0) == 128 + signal.SIGKILL


def test_inside_everything_is_its_own() -> None:
    mark = Path(tempfile.mkdtemp(prefix="overland-seen-")) / "kept"
    hidden = Path(tempfile.mkdtemp(prefix="overland-hidden-"))
    mark.mkdir()

    def body() -> dict[str, object]:
        (mark / "written").write_text("from inside")
        Path("/tmp/inside").touch()
        Path("/run/inside").touch()
        return {
            "kept": mark.is_dir(),
            "hidden": hidden.exists(),
            "links": [name for _, name in socket.if_nameindex()],
            "devices": sorted(path.name for path in Path("/sys/class/net").iterdir()),
            "processes": len([path for path in Path("/proc").iterdir() if path.name.isdigit()]),
            "run": sorted(path.name for path in Path("/run").iterdir()),
            "host": socket.gethostname(),
        }

    try:
        host, before = socket.gethostname(), set(Path("/tmp").iterdir())
        seen = in_sandbox(body, 10.0, keep=[mark])
        assert (mark / "written").read_text() == "from inside"
        assert (seen["kept"], seen["hidden"], seen["host"]) == (True, False, "overland")
        assert seen["links"] == seen["devices"] == ["lo"]
        assert seen["processes"] == 2  # init and the runner
        assert seen["run"] == ["inside", "netns"]
        assert not Path("/tmp/inside").exists()
        assert not Path("/run/inside").exists()
        assert before <= set(Path("/tmp").iterdir())
        assert socket.gethostname() == host
    finally:
        (mark / "written").unlink(missing_ok=True)
        mark.rmdir()
        mark.parent.rmdir()
        hidden.rmdir()


@pytest.mark.parametrize("nested", [True, False])
def test_a_kept_folder_inside_another_kept_one_and_one_that_is_a_file(nested: bool, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "file").write_text("x")
    keep = [tmp_path, inner] if nested else [inner / "file"]
    assert in_sandbox((inner / "file").read_text, 10.0, keep=keep) == "x"


def test_orphans_are_reaped() -> None:
    """PID 1 takes over what its parents left; a zombie would stay in /proc."""

    def body() -> int:
        for _ in range(20):
            subprocess.run(["sh", "-c", "sleep 0.01 &"], check=True)
        wait_until(lambda: not children_of_init(), 5.0, "no orphan")
        return len(children_of_init())

    def children_of_init() -> list[int]:
        return [pid for pid in children(1) if pid != os.getpid()]

    assert in_sandbox(body, 20.0) == 0


@pytest.mark.parametrize("victim", ["supervisor", "keeper", "init", "runner"])
def test_killing_one_of_the_four_leaves_nothing(victim: str) -> None:
    with sandboxed(busy) as running:
        wait_until_busy(running)
        assert len(processes_of(running.namespace)) >= 6  # keeper, init, runner, three sleepers
        os.kill(getattr(running, victim), signal.SIGKILL)
        status = running.status(GONE_BOUND_S)
        assert status == (-signal.SIGKILL if victim == "supervisor" else 128 + signal.SIGKILL)
        running.assert_nothing_left()


def end_by_sigterm(running: Sandboxed) -> None:
    os.kill(running.supervisor, signal.SIGTERM)


def end_by_interrupt(running: Sandboxed) -> None:
    """What a terminal does with Ctrl-C: SIGINT to the whole process group."""
    os.killpg(running.supervisor, signal.SIGINT)


@pytest.mark.parametrize("end", [end_by_sigterm, end_by_interrupt])
@pytest.mark.parametrize("body", [busy, deaf])
def test_sigterm_and_ctrl_c_end_it_in_time(
    end: Callable[[Sandboxed], None], body: Callable[[], NoReturn]
) -> None:
    with sandboxed(body) as running:
        wait_until_busy(running)
        start_s = time.monotonic()
        end(running)
        # STOP_BOUND_S = 2 s until the kernel is asked to end what will not, and some time for it to do so.
        running.status(3.0)
        if body is busy:
            assert time.monotonic() - start_s < 1.0


def test_the_first_moments_can_be_interrupted_too() -> None:
    """A signal that comes before the supervisor listens must not leave a sandbox behind."""
    for _ in range(3):
        with sandboxed(busy) as running:
            os.killpg(running.supervisor, signal.SIGINT)
            running.status(3.0)


def test_two_at_once_do_not_see_each_other() -> None:
    with sandboxed(busy) as one, sandboxed(busy) as other:
        wait_until_busy(one)
        wait_until_busy(other)
        assert one.namespace != other.namespace
        os.kill(one.runner, signal.SIGKILL)
        one.status(GONE_BOUND_S)
        one.assert_nothing_left()
        assert len(processes_of(other.namespace)) >= 6


def test_without_root_it_says_so() -> None:
    """Exit status of the keeper: the namespaces are refused, in words."""
    program = (
        "import os\nfrom emulation.sandbox import run_in_sandbox\nos.setuid(65534)\n"
        "raise SystemExit(run_in_sandbox(lambda: 0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 2
    assert done.stderr == "error: unshare namespaces (needs root): Operation not permitted\n"


def test_the_checks_of_this_file_can_fail() -> None:
    """What is alive is found, by the same function that says that nothing is left."""
    with sandboxed(busy) as running:
        wait_until_busy(running)
        with pytest.raises(WaitError, match="every process of the sandbox to end"):
            running.assert_nothing_left(bound_s=0.1)


def test_a_keep_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises((SystemCallError, AssertionError, FileNotFoundError)):
        in_sandbox(lambda: 0, 5.0, keep=[Path("/tmp/overland-there-is-no-such-folder")])


def test_the_callers_signal_handlers_are_put_back() -> None:
    before = (
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGALRM),
    )
    assert run_in_sandbox(lambda: 7) == 7
    after = (
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGALRM),
    )
    assert after == before
