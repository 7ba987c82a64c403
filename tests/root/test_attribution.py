"""Wrong settings, made in the real parts, are found and named by the report; and the taps see every packet."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.causes import attributed, counted
from results.findings import findings
from results.record import load_record
from results.report import render_report
from tests.root.test_run import started

pytestmark = pytest.mark.root

BOUND_S = 180.0  # a run takes some 15 s on an idle machine
SMALL = ("quick=1", "repeat=1", "rate_pps=1000", "ports=afpacket")

MISTAKES = {
    "new-nve-unprogrammed": (["policy=silent-drop", "tcp_rate=0"], "The new NVE was not programmed"),
    "old-leg-open": (["policy=silent-drop", "tcp_rate=0"], "The old leg was left open"),
    "small-mtu": (["payload=1400"], "The MTU of the underlay is too small"),
}


@pytest.mark.parametrize("fault", MISTAKES)
def test_a_wrong_setting_is_found_and_named(fault: str, tmp_path: Path) -> None:
    words, said = MISTAKES[fault]
    with started(tmp_path, "hot-l2", f"fault={fault}", *SMALL, *words) as run:
        _, stdout, stderr = run.ended(BOUND_S)
    assert stderr == ""
    record = load_record(tmp_path / "latest")
    found = findings(record)
    assert [text for text in found if text.startswith(said)], (
        found,
        [t.get("causes") for t in record.trials],
    )
    assert len(found) == 1, found
    assert said in " ".join(stdout.split())
    assert said in render_report(record)
    lost = counted(attributed(record.trials), "lost")
    if fault == "small-mtu":  # in every trial all packets but those that stay within one NVE
        assert lost["too_large"] > 0.9 * lost.total() > 100, lost
    if fault == "new-nve-unprogrammed":
        assert lost["new_nve_unprogrammed"] > 0, lost
