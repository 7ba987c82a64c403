"""What the documents point at is there: pages, headings, files. And they stay readable in an editor."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from topologies.loader import load_topology
from topologies.problems import TopologyErrors

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "DESIGN.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
SOURCE = r"[\w./-]+\.(?:py|c|h|js|css|sh|yaml|txt|json|md)"
NOT_IN_GIT = {"record.json", "events.jsonl", "machine.json", "short_pause.py"}


def prose(page: str) -> str:
    """The page without its blocks of code, which quote what others print."""
    return re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def shown(pattern: str, page: str) -> str:
    """The block of code that a page shows."""
    block = re.search(pattern, (ROOT / page).read_text(), re.DOTALL)
    assert block is not None
    return block[1]


@cache
def files() -> frozenset[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(name for name in listed.stdout.splitlines() if (ROOT / name).exists())


def anchors(path: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    """A path with a folder begins at the root or in a package that the page is about; a bare name is anywhere."""
    ends = tuple(files())
    wrong = [
        name
        for name in re.findall(rf"`({SOURCE})`", prose(page))
        if name not in NOT_IN_GIT
        and not name.startswith("my_")
        and not any(end == name or end.endswith(f"/{name}") for end in ends)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_fit_on_a_screen(page: str) -> None:
    """But for tables; a block of code may quote somewhat longer ones."""
    lines = (ROOT / page).read_text().splitlines()
    assert [line for line in lines if len(line) > 145 and not line.startswith("|")] == []
    assert [line for line in prose(page).splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_cell_of_a_table_is_a_paragraph(page: str) -> None:
    cells = [
        cell.strip()
        for line in (ROOT / page).read_text().splitlines()
        if line.startswith("|")
        for cell in line.split("|")
    ]
    assert [cell for cell in cells if len(cell) > 280] == []


def test_the_map_names_every_page() -> None:
    design = (ROOT / "DESIGN.md").read_text()
    assert [page for page in PAGES if page.startswith("docs/") and f"]({page})" not in design] == []


def test_the_map_stays_a_map() -> None:
    assert len((ROOT / "DESIGN.md").read_text().split()) < 1500


def test_the_experiment_of_the_page_is_one(tmp_path: Path) -> None:
    """Its file is loaded and its trials are rehearsed, on a network that is not there, with each value it offers."""
    (tmp_path / "short_pause.py").write_text(shown(r"```python\n(.*?)```", "docs/own-experiment.md"))
    for old_nve in ("tunnel", "buffer"):
        told = subprocess.run(
            [sys.executable, "-m", "experiments", "run", "short-pause", "plan=only", f"old_nve={old_nve}"],
            cwd=ROOT,
            env=os.environ | {"STUDIES": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "short-pause: 20 valid trials" in told


def test_the_experiment_of_the_page_concludes() -> None:
    names: dict[str, Any] = {}
    exec(shown(r"```python\n(.*?)```", "docs/own-experiment.md"), names)  # our own page
    trial = {
        "valid": True,
        "null": False,
        "parameters": {"downtime_s": 0.1},
        "measures": {"lost_packets_to_vm": 526, "tcp_stall_s_to_vm": 0.247},
    }
    assert names["conclude"]([trial, trial]).startswith("In a pause of 100 ms 526 packets to the VM are lost")


def test_the_topology_of_the_tutorial_is_one_but_for_its_two_mistakes(tmp_path: Path) -> None:
    text = shown(r"```\n(name: my_lab\n.*?)```", "docs/first-hour.md")
    path = tmp_path / "my_lab.yaml"
    path.write_text(text)
    with pytest.raises(TopologyErrors) as wrong:
        load_topology(path)
    page = (ROOT / "docs/first-hour.md").read_text()
    assert all(line.partition("my_lab.yaml:")[2] in page for line in str(wrong.value).splitlines())
    path.write_text(text.replace("nve: nve4, ipv4: 10.7.1.1", "nve: nve2, ipv4: 10.7.0.1"))
    assert len(load_topology(path).vms) == 2
