"""The timeline of a report as its own script gets it, and that script in a real browser (headless Chromium)."""

import base64
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from results.pages.report import render_report
from results.record.writer import load_record
from results.timeline.data import Packets, Timeline, gather
from results.timeline.view import DUPLICATED, LOST, MOST_PACKETS, REORDERED, view

SYNTHETIC = runpy.run_path(str(Path(__file__).parents[1] / "data/records/synthetic.py"))
LOSSY = 4
BROWSER_BOUND_S = 60


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return load_record(SYNTHETIC["make_run"](tmp_path_factory.mktemp("results")))


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def marks(panel):
    return np.frombuffer(base64.b64decode(panel["mark"]), np.uint8)


def of_kind(shown, kind):
    return [panel for panel in shown["panels"] if panel["kind"] == kind]


def test_every_packet_of_the_trial_is_there_with_its_delay_and_what_befell_it(record):
    timeline = gather(record, LOSSY)
    panels = of_kind(view(timeline), "packets")
    for panel, side in zip(panels, ("to_vm", "from_vm"), strict=True):
        packets = timeline.packets[side]
        np.testing.assert_allclose(floats(panel["tx"]), packets.tx_ms, atol=1e-3)
        arrived = ~packets.lost
        np.testing.assert_allclose(floats(panel["delay"])[arrived], packets.delay_ms[arrived], rtol=1e-5)
        assert ((marks(panel) & LOST) > 0).tolist() == packets.lost.tolist()
    assert sum(int(((marks(panel) & LOST) > 0).sum()) for panel in panels) > 0


def test_phases_calls_holds_and_points_keep_their_times_and_say_what_they_are(record):
    timeline = gather(record, LOSSY)
    shown = view(timeline)
    phases = of_kind(shown, "rows")[0]
    assert phases["rows"] == [name for name, *_ in timeline.phases]
    for (name, start, end), (row, left, right, text, *_) in zip(
        timeline.phases, phases["spans"], strict=True
    ):
        assert (phases["rows"][row], left, right) == (name, round(start, 4), round(end, 4))
        assert text.startswith(f"{name}: ")
    json.dumps(shown, allow_nan=False)  # NaN is not JSON: a browser would refuse all of it


def test_many_packets_are_thinned_but_never_what_befell_them():
    count = MOST_PACKETS * 5
    lost = np.arange(count) % 997 == 3
    some = np.arange(count) % 991 == 5
    packets = Packets(np.arange(count) * 0.2, np.where(lost, np.nan, 0.1), lost, some, some)
    timeline = Timeline("many", 0.0, "switch", (0.0, 10.0), packets={"to_vm": packets})
    panel = of_kind(view(timeline), "packets")[0]
    mark = marks(panel)
    assert "1 in 5 shown" in panel["head"]
    assert int(((mark & LOST) > 0).sum()) == int(lost.sum())
    assert int(((mark & REORDERED) > 0).sum()) == int(((mark & DUPLICATED) > 0).sum()) == int(some.sum())
    assert len(mark) <= MOST_PACKETS + int(lost.sum()) + int(some.sum())


def test_a_trial_without_phases_traffic_or_events_has_no_panels():
    assert view(Timeline("nothing", 0.0, "start of the clock", (-30.0, 30.0)))["panels"] == []


ASK = """<script>
addEventListener("load", () => setTimeout(() => {
  const figure = document.querySelector("figure.timeline"), canvas = figure.querySelector("canvas");
  const shown = [canvas.dataset.window];
  const press = what => { figure.querySelector(`[data-act=${what}]`).click(); shown.push(canvas.dataset.window); };
  ["in", "out", "all", "move", "right"].forEach(press);
  const box = canvas.getBoundingClientRect(), told = [];
  for (let y = 5; y < box.height; y += 4) for (let x = 120; x < box.width; x += 6) {
    const at = { clientX: box.left + x, clientY: box.top + y, pointerId: 9 };
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    const text = figure.querySelector("output").textContent;
    if (text && !told.includes(text)) told.push(text);
  }
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let at = 3; at < pixels.length; at += 4) painted += pixels[at] > 0;
  const wide = document.documentElement.scrollWidth <= innerWidth;
  document.body.innerHTML = `<pre id="said">${JSON.stringify({ shown, told, painted, wide })}</pre>`;
}, 200));
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [1200, 390], ids=["desk", "phone"])
def test_the_page_zooms_pans_and_tells_what_is_under_the_pointer_in_a_browser(record, tmp_path, width):
    page = tmp_path / "report.html"
    page.write_text(render_report(record, trials=[LOSSY]).replace("</body>", ASK + "</body>"))
    found = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", "--dump-dom", f"file://{page}",
        ],
        capture_output=True, text=True, timeout=BROWSER_BOUND_S, check=False,
    )  # fmt: skip
    said = re.search(r'<pre id="said">(.*?)</pre>', found.stdout, re.DOTALL)
    assert said, f"the page's script did not end: {found.stderr[-500:]}"
    told = json.loads(said[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    first, closer, back, whole, move, right = (tuple(map(float, text.split())) for text in told["shown"])
    lo, hi = view(gather(record, LOSSY))["window"]
    assert first == pytest.approx((lo, hi), abs=0.01)
    assert closer[1] - closer[0] == pytest.approx((hi - lo) / 2, rel=1e-3)
    assert back == pytest.approx(first, abs=0.01)
    assert whole == pytest.approx(view(gather(record, LOSSY))["extent"], abs=0.01)
    assert move == pytest.approx(first, abs=0.01)
    assert right[0] > move[0]
    assert any("lost" in text for text in told["told"]), told["told"][:20]
    assert any("ms on the way" in text for text in told["told"])
    assert any("between reads" in text for text in told["told"])
    assert told["painted"] > 2000
    assert told["wide"], "the page is wider than its window"
