"""Both pages in a real browser, light and dark, wide and on a phone: drawn, without complaint, nothing loaded."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from results.pages.answers_pages import write_answers
from results.pages.report import write_report
from results.record.writer import load_record
from tests.chromium import PROGRAM, Browser, browser

pytestmark = pytest.mark.skipif(
    PROGRAM is None,
    reason="no chromium here (apt-get install chromium): pages are not looked at in a browser",
)
SYNTHETIC = runpy.run_path(str(Path(__file__).parents[1] / "data/records/synthetic.py"))
PHONE, DESKTOP = (390, 844), (1200, 900)
LEAST_COLOURS = 20  # of text with soft edges alone; a blank page has one


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    results = tmp_path_factory.mktemp("results")
    folder = SYNTHETIC["make_run"](results)
    _, answers = write_answers(results, None)
    return {"report": write_report(load_record(folder)), "answers": answers}


def pixels(png: bytes) -> np.ndarray:
    return (matplotlib.image.imread(io.BytesIO(png))[..., :3] * 255).astype(int)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["report", "answers"])
def test_a_page_is_drawn_whole_and_fits(
    reader: Browser, pages: dict[str, Path], name: str, dark: bool, size: tuple[int, int]
) -> None:
    reader.show(pages[name], *size, dark)
    assert reader.complaints == []
    assert [url for url in reader.asked if url != pages[name].resolve().as_uri()] == []
    assert reader.value("document.documentElement.scrollWidth") <= size[0]
    seen = pixels(reader.picture())
    assert seen.shape[:2] == (size[1], size[0])
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) >= LEAST_COLOURS
    paper = np.median(seen.reshape(-1, 3), axis=0).mean()
    assert paper < 64 if dark else paper > 192
    # Text that nobody can read without zooming is no text: 9 px is what the smallest label of a picture has.
    smallest = "Math.min(...[...document.querySelectorAll('svg text')].filter(t => t.getClientRects().length)"
    if name == "report":
        heights = reader.value(f"{smallest}.map(t => t.getBoundingClientRect().height))")
        assert heights >= 9


def test_a_table_that_goes_on_has_a_shadow_at_that_edge(reader: Browser, pages: dict[str, Path]) -> None:
    reader.show(pages["report"], *PHONE, dark=False)
    wide = "[...document.querySelectorAll('.wide')].find(one => one.scrollWidth > one.clientWidth + 40)"
    reader.value(f"{wide}.scrollIntoView()")

    def darkness() -> float:
        """Of the last 3 pixels at the right edge: the median, as most of it is paper."""
        right, top, bottom = (
            int(reader.value(f"{wide}.getBoundingClientRect().{edge}")) for edge in ("right", "top", "bottom")
        )
        seen = pixels(reader.picture())[max(top, 0) : min(bottom, PHONE[1]), right - 3 : right]
        return 255 - float(np.median(seen))

    # 60 % of a grey of some 100 on white at the very edge is a darkness of about 80; none is that of the paper, 0 to 5.
    assert darkness() > 40
    reader.value(f"{wide}.scrollLeft = 1e6")
    assert darkness() < 10


def test_the_timeline_draws_and_zooms_without_a_network(reader: Browser, pages: dict[str, Path]) -> None:
    reader.show(pages["report"], *PHONE, dark=False)
    canvas = "document.querySelector('.timeline canvas')"
    inked = f"""(() => {{ const c = {canvas}, d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }})()"""
    reader.value(f"{canvas}.scrollIntoView()")
    assert reader.value(inked) > 1000
    before = reader.picture()
    reader.value("document.querySelector('.timeline button[data-act=in]').click()")
    reader.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    assert reader.picture() != before
    assert reader.complaints == []


def test_the_browser_would_tell_of_errors_overflow_and_blank_pages(reader: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<body style='margin:0'><div style='width:900px;height:1px'></div><script src='other.js'>"
        "</script><script>console.error('told'); missing()</script>"
    )
    reader.show(page, *PHONE, dark=False)
    assert any("told" in one for one in reader.complaints)
    assert any("missing is not defined" in one for one in reader.complaints)
    assert (tmp_path / "other.js").as_uri() in reader.asked
    assert reader.value("document.documentElement.scrollWidth") > PHONE[0]
    assert len(np.unique(pixels(reader.picture()).reshape(-1, 3), axis=0)) < LEAST_COLOURS


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_user_elsewhere_makes_the_same_report(pages: dict[str, Path]) -> None:
    """A run's folder alone, copied, by an unprivileged user: everything is drawn from the record."""
    program = "import sys; from results.__main__ import main; sys.exit(main(['report', sys.argv[1]]))"
    for needed in (sys.executable, str(Path(__file__).parents[2] / "results/__main__.py")):
        if subprocess.run(["test", "-r", needed], user=65534, group=65534, check=False).returncode != 0:
            pytest.skip(f"{needed} is closed to other users here")
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which is closed to other users
        Path(name).chmod(0o755)
        copied = Path(name) / "elsewhere"
        subprocess.run(["cp", "-r", str(pages["report"].parent), str(copied)], check=True)
        (copied / "report.html").unlink()
        subprocess.run(["chown", "-R", "65534:65534", str(copied)], check=True)
        done = subprocess.run(
            [sys.executable, "-c", program, str(copied)],
            cwd=Path(__file__).parents[2],
            env={"PATH": os.environ["PATH"], "HOME": str(copied), "MPLCONFIGDIR": str(copied / "mpl")},
            capture_output=True,
            text=True,
            user=65534,
            group=65534,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "<svg" in (copied / "report.html").read_text()
