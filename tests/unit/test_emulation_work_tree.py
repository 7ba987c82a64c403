"""Which changes of a work tree make it another than its commit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from emulation import commands, work_tree
from emulation.errors import CommandError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("run.py", "README.md", "results/ANSWERS.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        commands.run(["git", "-C", str(tmp_path), *words])
    return tmp_path


def test_what_runs_write_changes_no_commit(tree: Path) -> None:
    before = work_tree.state(tree)
    assert not before["commit_changed"] and len(before["commit"]) == 40
    (tree / "results" / "ANSWERS.md").write_text("2\n")
    (tree / "README.md").write_text("2\n")
    (tree / "results" / "answers.html").write_text("2\n")
    (tree / "results" / "reference" / "hot-l2").mkdir(parents=True)
    (tree / "results" / "reference" / "hot-l2" / "record.json").write_text("{}\n")
    assert work_tree.state(tree) == before


@pytest.mark.parametrize("name", ["run.py", "new.py", "results/table.py"])
def test_a_change_of_what_runs_does(tree: Path, name: str) -> None:
    (tree / name).write_text("2\n")
    assert work_tree.state(tree)["commit_changed"]


def test_to_look_at_it_writes_nothing(tree: Path) -> None:
    """git would note in its index that a touched file is the same: as root in somebody else's clone, for good."""
    (tree / "run.py").touch()
    before = {path: path.stat().st_mtime_ns for path in (tree / ".git").rglob("*")}
    assert not work_tree.state(tree)["commit_changed"]
    assert {path: path.stat().st_mtime_ns for path in (tree / ".git").rglob("*")} == before


def test_no_work_tree_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        work_tree.state(tmp_path)
