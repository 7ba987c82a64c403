"""A sweep's plan (values, ranges, order) and its dispatcher: what is refused, what comes when, what is done again."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import ParameterError
from experiments.studies.hot_l2 import EXPERIMENT as HOT_L2
from experiments.sweeping.folder import earlier_check
from experiments.sweeping.order import CHECK_PAIRS, MOST_ATTEMPTS, Dispatcher, control_pairs
from experiments.sweeping.plan import Block, SweepPlan, cell_parameters, network_key, read_plan
from experiments.sweeping.words import read_words


def plan(*words: str) -> SweepPlan:
    return read_plan(HOT_L2, words)


def test_the_cells_are_the_cross_product() -> None:
    made = plan("rate_pps=1000,2000,5000", "policy=buffer,tunnel", "tcp_rate=1Mbit", "repeat=10")
    assert len(made.cells) == 3 * 2
    assert made.cells[1] == {"rate_pps": "1000", "policy": "tunnel"}
    assert (made.fixed, made.repeat) == ({"tcp_rate": "1Mbit"}, 10)
    values = made.values(HOT_L2, Block(7, 1, 1))
    assert (values["rate_pps"], values["policy"], values["tcp_rate"]) == (1000, "tunnel", 1_000_000)
    assert (values["repeat"], values["seed"]) == (1, 1 + 7)


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("rate_pps=1000..3000..1000", ["1000", "2000", "3000"]),
        ("rate_pps=1000..3500..1000", ["1000", "2000", "3000"]),
        ("rate_pps=100..1600..x4", ["100", "400", "1600"]),
        ("rate_pps=100..120..10,5000", ["100", "110", "120", "5000"]),
        ("before=100ms..300ms..100ms", ["100ms", "200ms", "300ms"]),
        ("tcp_rate=1Mbit..4Mbit..x2", ["1Mbit", "2Mbit", "4Mbit"]),
    ],
)
def test_ranges_have_both_ends(word: str, values: list[str]) -> None:
    (found,) = plan(word).axes.values()
    assert found == values


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing is swept"),
        (("rate_pps=1000",), "nothing is swept"),
        (("rate_pps=",), "a value is missing"),
        (("rate_pps=1000,,2000",), "a value is missing"),
        (("rate_pps=1000,1000",), "comes twice"),
        (("rate_pps=1000,2000", "rate_pps=3000"), "given twice"),
        (("rate_pps=1000,no",), "a whole number from 100 to 50,000"),
        (("rate_pps=1000..5000",), "FROM..TO..STEP"),
        (("rate_pps=5000..1000..1000",), "FROM is at most TO"),
        (("rate_pps=1000..2000..x1",), "FACTOR more than 1"),
        (("policy=buffer..tunnel..x2",), "write its values with commas"),
        (("repeat=1,2",), "repeat=1,2: allowed is a whole number"),
        (("rate_pp=1000,2000",), "did you mean 'rate_pps'?"),
        (("rate_pps=100..101..x1.001",), "comes twice"),
        (("rate_pps=100..50000..1",), "more than 1,000 values"),
        (("tcp_rate",), "write NAME=value"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        plan(*words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_has_words_of_its_own(tmp_path: Any) -> None:
    asked = read_words(["EXP=hot-l2", "rate_pps=1000,2000", "JOBS=3"], EXPERIMENTS, tmp_path)
    assert (asked.experiment.name, asked.jobs, asked.fresh) == ("hot-l2", 3, False)
    for words, said in (
        (["rate_pps=1000,2000"], "sweep which experiment?"),
        (["EXP=hot-l2", "rate_pps=1,2", "JOBS=0"], "JOBS=0: allowed"),
        (["RESUME=nothing", "EXP=hot-l2"], "give no other words"),
    ):
        with pytest.raises(ParameterError, match=said.replace("?", r"\?")):
            read_words(words, EXPERIMENTS, tmp_path)
    (tmp_path / "runs" / "foreign").mkdir(parents=True)
    with pytest.raises(ParameterError, match="is no sweep"):
        read_words([f"RESUME={tmp_path / 'runs' / 'foreign'}"], EXPERIMENTS, tmp_path)
    (tmp_path / "runs" / "foreign" / "sweep.json").write_text('{"format_version": 9, "plan": {}}')
    with pytest.raises(ParameterError, match=r"written in format 9, .* update Overland"):
        read_words([f"RESUME={tmp_path / 'runs' / 'foreign'}"], EXPERIMENTS, tmp_path)
    (tmp_path / "runs" / "foreign" / "sweep.json").write_text("{")
    with pytest.raises(ParameterError, match="is not the plan of a sweep"):
        read_words([f"RESUME={tmp_path / 'runs' / 'foreign'}"], EXPERIMENTS, tmp_path)


def test_every_experiment_can_be_swept_or_says_why_not() -> None:
    for experiment in EXPERIMENTS.values():
        known = [parameter.name for parameter in experiment.parameters]
        word = "rate_pps=500,1000" if "rate_pps" in known else "topology=two_racks,other"
        if {"repeat", "seed"} <= set(known):
            assert len(read_plan(experiment, [word]).cells) == 2
        else:
            with pytest.raises(ParameterError, match="so it cannot be swept"):
                read_plan(experiment, [word])


def test_a_plan_survives_json() -> None:
    made = plan("rate_pps=1000,2000", "policy=buffer,tunnel")
    assert SweepPlan.from_dict(made.as_dict()) == made
    assert read_plan(HOT_L2, made.words) == made


def test_a_cells_numbers_are_named_with_their_units() -> None:
    made = plan("before=100ms,200ms", "tcp_rate=1Mbit,2Mbit", "rate_pps=500,1000")
    cell = cell_parameters(HOT_L2, made, made.values(HOT_L2, Block(0, 0, 0)))
    assert cell == {"before_s": 0.1, "tcp_rate_bps": 1_000_000, "rate_pps": 500}


def test_each_round_has_every_cell_once_and_the_order_is_the_seeds() -> None:
    made = plan("rate_pps=1000,2000,3000,4000,5000", "repeat=6")
    keys = [network_key(values) for values in made.all_values(HOT_L2)]
    order = made.order(keys)
    assert order == made.order(keys)
    assert sorted(block.number for block in order) == list(range(30))
    rounds = [[block.cell for block in order if block.round == number] for number in range(6)]
    assert all(sorted(cells) == list(range(5)) for cells in rounds)
    assert len({tuple(cells) for cells in rounds}) > 1
    other = plan("rate_pps=1000,2000,3000,4000,5000", "repeat=6", "seed=2")
    assert other.order(keys) != order


def test_a_network_is_built_once_a_round_at_most() -> None:
    made = plan("ports=afpacket,auto", "rate_pps=1000,2000", "repeat=4")
    keys = [network_key(values) for values in made.all_values(HOT_L2)]
    built = [keys[block.cell] for block in made.order(keys)]
    changes = sum(one != other for one, other in itertools.pairwise(built))
    assert changes == 4  # once in each round: the last network of a round is the first of the next


def dispatcher(cells: int, rounds: int, jobs: int, parallel: bool | None = None) -> Dispatcher:
    blocks = [Block(number * cells + cell, cell, number) for number in range(rounds) for cell in range(cells)]
    return Dispatcher(blocks, jobs, dict.fromkeys(range(cells), "network"), parallel)


def work_off(one: Dispatcher, jobs: int, agrees: bool) -> tuple[list[list[Block]], list[Block]]:
    """All blocks as they were done together, and what was done in the end; every worker takes as long."""
    batches: list[list[Block]] = []
    counted: list[Block] = []
    for _ in range(10_000):
        if one.check_due:
            one.decide(agrees)
            if not agrees:
                counted = [block for batch in batches for block in batch if len(batch) == 1]
        if not one.unfinished:
            return batches, counted
        given = one.assign(dict.fromkeys(range(jobs), "network"))
        assert given, "nobody has anything to do"
        batches.append([item.block for item in given.values()])
        counted += batches[-1]
        for worker in given:
            one.done(worker)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("agrees", [True, False])
def test_what_ran_side_by_side_before_a_check_was_stopped_is_done_again_only_if_it_fails(
    agrees: bool,
) -> None:
    done = [Block(0, 0, 0), Block(1, 1, 0)]
    left = [block for block in dispatcher(4, 6, 2).blocks if block not in done]
    one = Dispatcher(left, 2, dict.fromkeys(range(4), "network"), unchecked=done)
    batches, _ = work_off(one, 2, agrees)
    again = [block for batch in batches for block in batch if block in done]
    assert again == ([] if agrees else done)
    few = Dispatcher(left[:3], 2, dict.fromkeys(range(4), "network"), unchecked=done)
    batches, _ = work_off(few, 2, agrees)  # too few for a check: nobody will say that they may count
    assert [block for batch in batches for block in batch] == [*done, *left[:3]]


def test_one_job_does_one_block_at_a_time() -> None:
    batches, counted = work_off(dispatcher(3, 2, 1), 1, True)
    assert all(len(batch) == 1 for batch in batches)
    assert sorted(block.number for block in counted) == list(range(6))


def test_control_blocks_run_alone_and_beside_others_in_turn() -> None:
    batches, counted = work_off(dispatcher(4, 5, 2), 2, True)
    sizes = [len(batch) for batch in batches]
    assert sizes[: 2 * CHECK_PAIRS] == [1, 2] * CHECK_PAIRS
    assert set(sizes[2 * CHECK_PAIRS : -1]) == {2}
    assert sorted(block.number for block in counted) == list(range(20))
    for alone, beside in zip(batches[0:6:2], batches[1:6:2], strict=True):
        assert alone[0].cell == beside[0].cell
        assert alone[0] != beside[0]


def test_when_the_figures_move_the_rest_runs_one_by_one_and_nothing_side_by_side_counts() -> None:
    batches, counted = work_off(dispatcher(4, 5, 2), 2, False)
    assert all(len(batch) == 1 for batch in batches[2 * CHECK_PAIRS :])
    assert sorted(block.number for block in counted) == list(range(20))


def test_a_sweep_too_small_for_the_check_runs_one_by_one() -> None:
    one = dispatcher(4, 1, 2)
    assert one.too_few_to_check
    batches, _ = work_off(one, 2, True)
    assert all(len(batch) == 1 for batch in batches)


def test_control_pairs_are_of_different_cells_where_there_are_some() -> None:
    blocks = [Block(number * 2 + cell, cell, number) for number in range(4) for cell in range(2)]
    pairs = control_pairs(blocks)
    assert [(one.cell, other.cell) for one, other in pairs] == [(0, 0), (1, 1), (0, 0)]
    assert len({block.number for pair in pairs for block in pair}) == 2 * CHECK_PAIRS


def test_a_lost_block_is_tried_again_and_then_given_up() -> None:
    one = dispatcher(1, 2, 1)
    (given,) = one.assign({0: None}).values()
    assert one.lost(0) is None
    (again,) = one.assign({0: None}).values()
    assert again.block == given.block
    assert one.lost(0) == given.block
    assert one.given_up == [given.block]
    assert MOST_ATTEMPTS == 2
    assert one.unfinished == 1  # the other one


def test_a_lost_control_block_keeps_its_place() -> None:
    one = dispatcher(4, 5, 2)
    (given,) = one.assign({0: None, 1: None}).values()
    one.lost(0)
    (again,) = one.assign({0: None, 1: None}).values()
    assert again == given


def test_a_standing_network_is_used_within_a_round() -> None:
    blocks = [Block(0, 0, 0), Block(1, 1, 0), Block(2, 0, 1)]
    one = Dispatcher(blocks, 1, {0: "a", 1: "b"})
    assert one.assign({0: "b"})[0].block.cell == 1


@pytest.mark.parametrize(
    ("parallel", "checked", "jobs", "known"),
    [(True, 4, 2, True), (True, 2, 4, None), (False, 2, 4, False), (False, 4, 2, None), (True, 2, 2, True)],
)
def test_an_earlier_check_says_something_of_fewer_jobs_or_of_more(
    tmp_path: Path, parallel: bool, checked: int, jobs: int, known: bool | None
) -> None:
    assert earlier_check(tmp_path, jobs) is None
    (tmp_path / "parallel.json").write_text(json.dumps({"parallel": parallel, "jobs": checked}))
    assert earlier_check(tmp_path, jobs) is known
