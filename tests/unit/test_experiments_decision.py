"""The cost model of moves: what it calculates, what it learns, that it never sees the run it predicts, its advice."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.deciding.decide import decide
from experiments.deciding.model import (
    Move,
    Price,
    advice,
    calculated,
    learn,
    learn_model,
    moves_of,
    unseen,
    until_timeout_s,
)
from experiments.deciding.verdict import judge
from experiments.running.move_measures import move_measures
from experiments.running.parameters import ParameterError, read_parameters
from experiments.studies.decision import EXPERIMENT, draw
from mobility.copy import Round
from mobility.options import MoveOptions
from mobility.record import MigrationRecord, Phase

MIB = 2**20


def options(
    memory_mib: float, bandwidth_bps: float, dirty_share: float, kind: str = "hot", policy: str = "buffer"
) -> MoveOptions:
    return MoveOptions(
        kind=kind,
        policy=policy,
        memory_bytes=int(memory_mib * MIB),
        bandwidth_bps=bandwidth_bps,
        dirty_rate_bps=bandwidth_bps * dirty_share,
        downtime_limit_s=0.05,
    )


def world(runs: int = 6, moves: int = 10, noise: float = 0.05, seed: int = 1) -> list[Move]:
    """Moves of a made-up testbed: copying takes 20 % longer than calculated, 40 ms are added, losses wait for RTOs."""
    random = np.random.default_rng(seed)
    made = []
    for run in range(runs):
        for number in range(moves):
            own = options(
                float(random.uniform(2, 32)),
                float(random.uniform(50e6, 400e6)),
                float(random.uniform(0.05, 0.8)),
                str(random.choice(["hot", "warm", "cold"])),
                str(random.choice(["buffer", "silent-drop"])),
            )
            move = Move(f"run{run}", own, {}, {"tcp_stall_s_to_vm": 0.01}, number)
            stop_s = move.copy.stop_s
            shake = float(random.lognormal(0, noise))
            stall_s = until_timeout_s(stop_s) if own.policy == "silent-drop" else stop_s + 0.01
            measured = {
                "move_total_s": (1.2 * calculated(move, "move_total_s") + 0.04) * shake,
                "downtime_s": (stop_s + 0.005) * shake,
                "copied_bytes": calculated(move, "copied_bytes"),
                "copied_again_bytes": calculated(move, "copied_again_bytes"),
                "tcp_stall_s_to_vm": stall_s * shake,
                "tcp_stall_s_from_vm": (stop_s + 0.01) * shake,
            }
            made.append(replace(move, measured=measured))
    return made


def test_what_the_copy_alone_makes() -> None:
    cold = Move("", options(10, 80e6, 0.5, "cold"), {}, {})
    assert calculated(cold, "downtime_s") == pytest.approx(
        10 * MIB * 8 / 80e6
    )  # everything while it stands still
    assert calculated(cold, "copied_again_bytes") == 0
    warm = Move("", options(10, 80e6, 0.5, "warm"), {}, {})
    assert calculated(warm, "copied_again_bytes") == pytest.approx(
        5 * MIB, rel=1e-6
    )  # half was written meanwhile
    assert calculated(warm, "downtime_s") == pytest.approx(5 * MIB * 8 / 80e6, rel=1e-6)
    hot = Move("", options(10, 80e6, 0.5, "hot"), {}, {})
    assert calculated(hot, "downtime_s") <= 0.05 + 1e-9


def test_a_lost_standstill_ends_at_the_next_timeout() -> None:
    """0.2, then twice as long each time: heard again after 0.2, 0.6, 1.4, 3.0 s."""
    assert [until_timeout_s(pause) for pause in (0.05, 0.3, 0.7, 1.5)] == pytest.approx([0.2, 0.6, 1.4, 3.0])


def test_each_form_is_found_where_it_is_true() -> None:
    xs = [0.05, 0.1, 0.3, 0.5, 0.9, 1.6]
    assert learn([(x, 0.0, 1.5 * x) for x in xs], False).form == "factor"
    assert learn([(x, 0.0, x + 0.2) for x in xs], False).form == "offset"
    line = learn([(x, 0.0, 1.3 * x + 0.1) for x in xs], False)
    assert (line.form, line.factor, line.offset) == ("line", pytest.approx(1.3), pytest.approx(0.1))
    assert learn([(x, 0.0, until_timeout_s(x) + 0.01) for x in xs], True).form == "timeout"


def test_the_floor_is_the_least_a_stall_can_be() -> None:
    fit = learn([(0.0, 0.02, 0.02), (0.5, 0.02, 0.5), (0.3, 0.02, 0.3)], True)
    assert fit.predict(0.0, 0.02) == 0.02


def test_moves_of_unseen_runs_are_predicted_within_the_noise() -> None:
    found = judge(world(), Price())
    assert found.runs == 6
    assert found.moves == 60
    # lognormal noise of 5 %: the median of |error| is 0.67 * 5 % = 3.4 %
    for name in ("move_total_s", "downtime_s", "tcp_stall_s_to_vm"):
        error = found.errors[name]
        assert error.value < 0.06, name
        assert error.interval is not None
        assert error.interval[0] <= error.value <= error.interval[1]
    assert found.errors["copied_bytes"].value < 1e-9
    assert found.right is not None
    assert found.usual is not None
    assert found.right.value > 0.9 > found.usual.value
    assert "each predicted from the other runs alone" in found.sentence(None)
    assert "A move costs its longest TCP standstill and 10 % of the time beside it." in found.sentence(None)
    assert "asked about every gain that a move of another run cost, where the choice is hard." in (
        found.sentence(None)
    )
    priced = judge(world(), Price(s_per_gb=0.5), 2.0).sentence(2.0)
    assert "asked about a gain of 2 s of service." in priced
    assert priced.startswith(
        f"The advice to move or to stay was right in {judge(world(), Price(s_per_gb=0.5), 2.0).right.text()},"
    )
    assert "10 % of the time beside it, and 0.5 s for each GB." in priced


def test_a_run_that_is_predicted_is_not_learned_from() -> None:
    """One run on a machine ten times as slow: were it seen, its figures would be near."""
    moves = world(noise=0.001)
    odd = [
        replace(move, measured={name: value * 10 for name, value in move.measured.items()})
        if move.run == "run0"
        else move
        for move in moves
    ]
    for move, predicted in unseen(odd):
        ratio = move.measured["move_total_s"] / predicted["move_total_s"]
        assert ratio > 5 if move.run == "run0" else ratio < 2


def test_a_prediction_does_not_look_at_what_was_measured() -> None:
    moves = world()
    model = learn_model(moves[10:])
    assert model.predict(moves[0]) == model.predict(replace(moves[0], measured={}, floor={}))


def test_price_and_advice() -> None:
    figures = {"move_total_s": 5.0, "copied_bytes": 2e9, "tcp_stall_s_to_vm": 0.5, "tcp_stall_s_from_vm": 1.0}
    assert Price(0.1, 0.25).of(figures) == pytest.approx(1.0 + 0.1 * 4.0 + 0.5)
    assert Price().of({"move_total_s": 5.0}) is None
    assert (advice(1.0, 1.5), advice(1.0, 1.0), advice(1.0, 0.5)) == ("move", "stay", "stay")


def test_records_without_a_copy_or_with_an_imposed_downtime_are_not_learned_from() -> None:
    own = vars(options(4, 80e6, 0.1))
    trial = {
        "index": 0,
        "valid": True,
        "null": False,
        "parameters": {},
        "migration": {"options": own},
        "measures": {"move_total_s": 1.0},
    }
    assert len(moves_of("a", [trial])) == 1
    for change in ({"bandwidth_bps": None}, {"downtime_s": 0.1}, {"memory_bytes": None}):
        assert moves_of("a", [{**trial, "migration": {"options": {**own, **change}}}]) == []
    assert moves_of("a", [{**trial, "valid": False}]) == []
    assert moves_of("a", [{**trial, "migration": None, "null": True}]) == []


def test_settings_are_drawn_by_case_and_can_all_be_done() -> None:
    values = read_parameters(EXPERIMENT.parameters, [])
    drawn = draw(values)
    assert len(drawn) == values["moves"]
    assert [group.options for group in drawn] == [group.options for group in draw(values)]
    assert drawn[0].options != draw({**values, "case": 1})[0].options
    for group in drawn:
        group.options.check("rebind")


@pytest.mark.parametrize(
    ("sizes", "copied", "again"),
    [((100, 20), 130, 30), ((), 100, 0)],  # two rounds and 10 in the stop; a cold move's stop alone
)
def test_copied_again_is_all_but_the_memory(sizes: tuple[int, ...], copied: int, again: int) -> None:
    done = MigrationRecord(
        migration_id="1",
        kind="hot",
        vm="vm1",
        old_nve="a",
        new_nve="b",
        policy="buffer",
        attachment="rebind",
        options=MoveOptions(),
        phases=[Phase("switch", 1.0, 1.1), Phase("drain", 1.1, 1.2)],
        copied_bytes=copied,
        copy_rounds=[Round(number, size, 1.0) for number, size in enumerate(sizes)],
    )
    assert move_measures(done.as_dict())["copied_again_bytes"] == again


def test_deciding_without_records_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="run make decision first"):
        decide([], tmp_path)
    with pytest.raises(ParameterError, match="did you mean 'memory_mib'"):
        decide(["memory=3"], tmp_path)


def test_a_decision_tells_each_figure_its_usual_error_and_no_exponents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.deciding.decide.known_moves", lambda folder: world())
    assert decide(["memory_mib=512", "gain=2s"], tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    total = next(line for line in lines if line.startswith("Move total"))
    assert re.fullmatch(r"Move total: [\d,.]+ ms \(off by \d+% in runs not seen, at the median\)", total)
    off = float(total.partition("off by ")[2].partition("%")[0])
    assert 0 < off < 20  # the made-up world has a noise of 5 %
    assert not any("e+" in line for line in lines)
    assert lines[0].startswith("for kind=hot policy=buffer memory_mib=512 bandwidth=1Gbit ")
    assert lines[-1] in ("move", "stay")
