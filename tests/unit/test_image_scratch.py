"""A guest's own folder is gone afterwards, whatever happened to its runner; one in use is left alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from emulation.commands import wait_until
from image.scratch import PREFIX, scratch_folder


def guests(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{PREFIX}*"))


def test_a_folder_is_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no boot"), scratch_folder(tmp_path) as scratch:
        (scratch / "data.ext4").write_text("disk")
        assert guests(tmp_path) == [scratch]
        raise ValueError("no boot")
    assert guests(tmp_path) == []


def test_what_a_killed_runner_left_goes_at_the_next_start_and_what_is_in_use_stays(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    runner = os.fork()
    if runner == 0:
        with scratch_folder(tmp_path) as own:
            (own / "data.ext4").write_text("disk")
            ready.touch()
            signal.pause()
        os._exit(1)
    wait_until(ready.exists, 10.0, "the other runner's folder")
    (abandoned,) = guests(tmp_path)
    with scratch_folder(tmp_path) as mine:
        assert guests(tmp_path) == sorted([abandoned, mine])
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)
    assert guests(tmp_path) == [abandoned]
    with scratch_folder(tmp_path) as mine:
        assert guests(tmp_path) == [mine]
