"""The data disk: real mkfs.ext4 and debugfs, no root. And what is put on it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.probes.build import probe_binary
from image import disk, project
from image.errors import ImageError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    contents = tmp_path / "contents"
    (contents / "results" / "runs" / "a run" / "samples").mkdir(parents=True)
    (contents / "results" / "runs" / "a run" / "record.json").write_text("{}")
    (contents / "results" / "runs" / "a run" / "samples" / "big").write_bytes(bytes(range(256)) * 4000)
    (contents / "results" / "runs" / "b").mkdir()
    disk.make(tmp_path / "disk", contents)
    return tmp_path / "disk"


def test_what_goes_in_comes_out(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    found = disk.read_back(made, "/results/runs", target)
    assert [path.name for path in found] == ["a run", "b"]
    assert (target / "a run" / "samples" / "big").read_bytes() == bytes(range(256)) * 4000
    assert made.stat().st_blocks * 512 < 100_000_000  # 4 GB, but sparse
    assert disk.read_back(made, "/results/runs", target) == []  # they are there already


def test_a_disk_that_was_never_unmounted_is_put_in_order(made: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["debugfs", "-w", "-R", "set_super_value state 0", str(made)], check=True, capture_output=True
    )
    assert len(disk.read_back(made, "/results/runs", tmp_path / "out")) == 2


def test_a_folder_that_is_not_there_gives_nothing(made: Path, tmp_path: Path) -> None:
    assert disk.read_back(made, "/nowhere", tmp_path / "out") == []


def test_a_disk_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    with pytest.raises(ImageError, match="cannot be read"):
        disk.read_back(tmp_path / "disk", "/results", tmp_path / "out")


def test_names_are_read_from_a_listing() -> None:
    listing = "/2/040755/0/0/./4096/\n/2/040755/0/0/../4096/\n/12/040755/0/0/2026-x y/4096/\n\n/14/100644/0/0/f/3/\n"
    assert disk.entries(listing) == ["2026-x y", "f"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_guest_gets_the_work_tree_and_no_results(tmp_path: Path) -> None:
    project.lay_out(tmp_path, ["python", "-m", "x", "a b"], {"accelerator": "tcg"})
    inside = tmp_path / "project"
    assert (inside / "experiments" / "__main__.py").exists() and (
        inside / "topologies" / "two_racks.yaml"
    ).exists()
    assert not (inside / "results" / "runs").exists() and not (inside / "tests").exists()
    assert (tmp_path / "command").read_text() == "export OVERLAND_PATIENCE=1\nexec python -m x 'a b'\n"
    assert json.loads((tmp_path / "machine.json").read_text()) == {"accelerator": "tcg"}
    # Compiled on the host: under TCG that would take ten times as long.
    assert list((inside / "experiments" / "running" / "__pycache__").glob("run.*.pyc"))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.skipif(platform.libc_ver() != project.GUEST_LIBC, reason="another C library than the guest's")
def test_the_guest_finds_the_probes_compiled(tmp_path: Path) -> None:
    project.lay_out(tmp_path, ["python"], {})
    inside = tmp_path / "project"
    for source in ("udp_probe", "packet_tap"):
        file = inside / "experiments" / "probes" / f"{source}.c"
        assert probe_binary(file, inside / ".build", compiler="no-such-compiler").stem == source
