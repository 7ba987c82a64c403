"""What goes into a guest: the work tree's files, and those beside it that the words name, found by the same path."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from image import __main__ as command
from image import project
from image.accelerator import Choice
from image.errors import ImageError
from image.recipe import PROJECT
from image.running import Outcome
from topologies.loader import SHIPPED


@pytest.mark.parametrize("style", ["absolute", "relative", "odd"])
def test_a_file_beside_the_work_tree_is_found_by_its_path(
    style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "_lay_out_tree", lambda tree: tree.mkdir())
    monkeypatch.chdir(tmp_path)
    folder, elsewhere = tmp_path / "disk", tmp_path / "else where"
    folder.mkdir()
    elsewhere.mkdir()
    file = elsewhere / ("-x'.yaml" if style == "odd" else "x.yaml")
    file.write_text("name: mine\n")
    given = f"../else where/{file.name}" if style == "relative" else str(file)
    here = tmp_path / "host"
    here.mkdir()
    monkeypatch.chdir(here)
    project.lay_out(folder, ["cat", given], {}, brought=[given])
    file.unlink()
    elsewhere.rmdir()
    done = subprocess.run(
        ["sh", str(folder / "command")], cwd=folder / "project", capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("name: mine\n", "", 0)


def test_a_folder_of_scripts_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "_lay_out_tree", lambda tree: tree.mkdir())
    scripts = tmp_path / "scripts"
    (scripts / "deep").mkdir(parents=True)
    (scripts / "deep" / "x.sh").write_text("#!/bin/sh\necho there\n")
    (scripts / "deep" / "x.sh").chmod(0o755)
    folder = tmp_path / "disk"
    folder.mkdir()
    project.lay_out(folder, [str(scripts / "deep" / "x.sh")], {}, brought=[str(scripts)])
    scripts.rename(tmp_path / "gone")
    done = subprocess.run(
        ["sh", str(folder / "command")], cwd=folder / "project", capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("there\n", "", 0)


def test_a_file_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "_lay_out_tree", lambda tree: tree.mkdir())
    with pytest.raises(ImageError, match=r"nowhere.yaml: cannot be taken into the guest: .*No such file"):
        project.lay_out(tmp_path, ["true"], {}, brought=[str(tmp_path / "nowhere.yaml")])


def test_files_of_the_work_tree_are_not_brought(tmp_path: Path) -> None:
    assert not project.outside_of_tree(SHIPPED / "two_racks.yaml")
    assert project.outside_of_tree(tmp_path / "two_racks.yaml")
    assert project.outside_of_tree(PROJECT / "results" / "runs" / "own.yaml")  # git does not look there


@pytest.mark.parametrize("verb", ["run", "cli"])
def test_the_topology_that_is_named_goes_along(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    own.write_bytes((SHIPPED / "two_racks.yaml").read_bytes())
    seen: list[list[str]] = []
    monkeypatch.setattr("image.build.build", lambda *_, **__: True)
    monkeypatch.setattr("image.running.accelerator_for", lambda image, wanted: Choice("kvm", "asked for"))
    monkeypatch.setattr("image.running.check_terminal", lambda: None)

    def run_inside(*_: object, brought: list[str], **__: object) -> Outcome:
        seen.append(brought)
        return Outcome(0, None, [])

    def interact_inside(*arguments: object) -> int:
        seen.append(arguments[5])  # type: ignore[arg-type]
        return 0

    monkeypatch.setattr("image.running.run_inside", run_inside)
    monkeypatch.setattr("image.running.interact_inside", interact_inside)
    if verb == "run":
        command.main(["run", "hot-l2", f"topology={own}", "QUICK=1"])
        command.main(["run", "hot-l2", "topology=two_racks"])
    else:
        command.main(["cli", str(own)])
        command.main(["cli", "two_racks"])
        command.main(["cli", "two_racks", f"FILES={tmp_path}"])
        assert seen.pop() == [str(tmp_path)]
    assert seen == [[str(own)], []]
    assert f"{own} is not in the work tree: the guest gets a copy" in capsys.readouterr().out
