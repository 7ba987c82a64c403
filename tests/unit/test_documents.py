"""What the documents point at is there: pages, headings, files. And they stay readable in an editor."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "DESIGN.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
SOURCE = r"[\w./-]+\.(?:py|c|h|js|css|sh|yaml|txt|json|md)"
MADE_BY_RUNS = {"record.json", "events.jsonl", "machine.json"}


def prose(page: str) -> str:
    """The page without its blocks of code, which quote what others print."""
    return re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


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
        if name not in MADE_BY_RUNS
        and not name.startswith(("my_", "my-"))
        and not any(end == name or end.endswith(f"/{name}") for end in ends)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_outside_of_tables_fit_on_a_screen(page: str) -> None:
    lines = (ROOT / page).read_text().splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


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
