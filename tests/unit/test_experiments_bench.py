"""The made-up trial and record that speeds are measured on are what they say, and bad words are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.bench import PARTS, bench
from experiments.bench.analysis import RATE_PPS, analyse, make_logs, make_record
from experiments.bench.attribution import MEASURES, difference_row, valid_pairs
from experiments.running.parameters import ParameterError
from results.record.reading import load_record
from results.record.writer import RunRecord, read_samples

STEMS = [stem for _, stem, _, _ in MEASURES]


def test_the_made_up_trial_is_analysed_whole(tmp_path: Path) -> None:
    make_logs(tmp_path, 2.0)
    with RunRecord.create(tmp_path / "results", "bench", [], {}, {}) as record:
        measures = analyse(tmp_path, record, 2.0)
        record.finish("answered", "a test")
    sent = 2 * RATE_PPS
    assert measures["sent_packets_to_vm"] == sent
    assert 0 < measures["lost_packets_to_vm"] < 0.005 * sent  # 1 in 1,000 on average
    assert measures["reordered_packets_to_vm"] > 0
    assert measures["tcp_bytes_3"] > 0
    assert len(read_samples(record.folder, "udp_to_vm")["seq"]) == sent


def test_the_made_up_record_has_its_trials(tmp_path: Path) -> None:
    record = load_record(make_record(tmp_path, 40))
    assert len(record.trials) == 40
    assert sum(trial["null"] for trial in record.trials) == 10
    assert len(record.trials[0]["measures"]) == 60


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="there is no part 'movs'"):
        bench(["only=movs"], tmp_path)
    assert {"analysis", "report", "sweep"} <= set(PARTS)


def _null(taps: str, pair: int, lost: int, *, valid: bool = True) -> dict[str, Any]:
    measures = {f"{stem}_{way}_vm": lost for stem in STEMS for way in ("to", "from")}
    return {"valid": valid, "parameters": {"taps": taps, "pair": pair}, "measures": measures}


def test_only_pairs_of_valid_trials_are_compared() -> None:
    trials = [_null("on", 0, 1), _null("off", 0, 0), _null("off", 1, 0), _null("on", 1, 0, valid=False)]
    assert valid_pairs(trials) == [(trials[0], trials[1])]


@pytest.mark.parametrize(("with_taps", "reached"), [(10, True), (20, False)])
def test_the_taps_cost_shows_in_the_difference(with_taps: int, reached: bool) -> None:
    pairs = valid_pairs(
        [_null(taps, n, with_taps if taps == "on" else 10) for n in range(9) for taps in ("on", "off")]
    )
    row = difference_row(pairs, "lost packets", STEMS[0], 1.0, "packets")
    assert row.reached is reached
    assert row.measured.startswith(f"{2.0 * (with_taps - 10):+.2f} [")
