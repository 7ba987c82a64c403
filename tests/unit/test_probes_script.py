"""How a probe in Python ends: by a signal during its work, and never by one after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def printed(program: str) -> subprocess.CompletedProcess[str]:
    head = "import os, signal\nfrom experiments.probes.script import run\n"
    return subprocess.run(
        [sys.executable, "-S", "-c", head + program], cwd=PROJECT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_work_and_the_rest_goes_on(name: str) -> None:
    done = printed(f"run(lambda: os.kill(os.getpid(), signal.{name}) or signal.pause())\nprint('written')")
    assert (done.returncode, done.stdout) == (0, "written\n")


@pytest.mark.parametrize("work", ["lambda: None", "lambda: os.kill(os.getpid(), signal.SIGINT)"])
def test_a_signal_after_the_work_changes_nothing(work: str) -> None:
    done = printed(f"run({work})\nos.kill(os.getpid(), signal.SIGTERM)\nprint('written')")
    assert (done.returncode, done.stdout) == (0, "written\n")


def test_an_error_of_the_work_passes_through() -> None:
    done = printed("try:\n    run(lambda: [][0])\nexcept IndexError:\n    print('seen')")
    assert done.stdout == "seen\n"
