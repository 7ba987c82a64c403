"""Statistics: values worked out by hand, what too few values give, and that a seed fixes everything."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from results.figures.statistics import (
    RESAMPLES,
    cliffs_delta,
    compare_paired,
    count_trials,
    hodges_lehmann,
    median_interval,
    quantile,
    share_not_ruled_out,
    summarise,
    summarise_by,
    told_reasons,
)

FINITE = st.floats(-1e6, 1e6)


def trial(index, lost, *, null=False, valid=True, path="remote to remote", barrier_s=0.005):
    return {
        "index": index,
        "valid": valid,
        "invalid_reason": None if valid else "lag",
        "null": null,
        "parameters": {} if null else {"path": path},
        "migration": None if null else {"kind": "hot", "call_to_last_barrier_s": barrier_s},
        "measures": {"lost_packets_to_vm": lost},
    }


def test_the_summary_of_a_few_trials_by_hand():
    trials = [trial(0, 1), trial(1, 2), trial(2, 9), trial(3, 1000, valid=False), trial(4, 0, null=True)]
    found = summarise(trials)["lost_packets_to_vm"]
    assert (found["n"], found["median"], found["min"], found["max"]) == (3, 2.0, 1.0, 9.0)
    assert (found["floor"], found["floor_n"], found["floor_max"], found["floor_p95"]) == (0.0, 1, 0.0, None)
    assert (found["p95"], found["p99"]) == (None, None)
    assert 1.0 <= found["ci95"][0] <= 2.0 <= found["ci95"][1] <= 9.0


def test_the_last_barrier_is_a_measure_without_a_floor():
    found = summarise([trial(0, 0, barrier_s=0.004), trial(1, 0, barrier_s=0.006), trial(2, 0, null=True)])
    assert found["call_to_last_barrier_s"]["median"] == pytest.approx(0.005)  # (4 + 6) / 2 ms
    assert found["call_to_last_barrier_s"]["floor"] is None


def test_a_measure_nobody_took_has_no_figures():
    trials = [trial(0, None), trial(1, None, null=True)]
    found = summarise(trials)["lost_packets_to_vm"]
    assert (found["n"], found["median"], found["ci95"], found["floor"]) == (0, None, None, None)
    assert summarise([]) == {}


def test_groups_keep_the_floor_of_all_null_trials():
    trials = [trial(0, 1, path="a"), trial(1, 5, path="b"), trial(2, 7, path="b"), trial(3, 2, null=True)]
    found = summarise_by(trials, "path")
    assert {path: figures["lost_packets_to_vm"]["median"] for path, figures in found.items()} == {
        "a": 1,
        "b": 6,
    }
    assert {figures["lost_packets_to_vm"]["floor"] for figures in found.values()} == {2.0}


def test_counts_tell_invalid_trials_and_why():
    trials = [
        trial(0, 1),
        trial(1, 1, valid=False),
        trial(2, 0, null=True),
        trial(3, 0, null=True, valid=False),
    ]
    assert count_trials(trials) == {
        "valid": 1,
        "invalid": 1,
        "null_valid": 1,
        "null_invalid": 1,
        "reasons": {"lag": 2},
    }


@pytest.mark.parametrize(
    ("n", "share", "expected"),
    [(19, 0.95, None), (20, 0.95, 19.0), (100, 0.95, 95.0), (99, 0.99, None), (100, 0.99, 99.0)],
)
def test_quantiles_are_nearest_rank_and_only_where_n_allows(n, share, expected):
    # of 1..n the nearest rank of a share is ceil(share * n)
    assert quantile([float(value) for value in range(1, n + 1)], share) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), ([1.0], None), ([1.0, 2.0], None), ([3.0] * 3, [3.0, 3.0]), ([0.0] * 40, [0.0] * 2)],
)
def test_intervals_of_few_or_equal_values(values, expected):
    assert median_interval(values) == expected


def test_the_interval_holds_the_median_about_19_times_in_20():
    """Coverage over 200 samples of 25 from a skewed distribution: nominal 190, standard error 3.1."""
    source = random.Random(7)
    true_median = 0.6931  # ln 2, of the exponential distribution with mean 1
    hits = 0
    for number in range(200):
        lo, hi = median_interval([source.expovariate(1.0) for _ in range(25)], seed=number)
        hits += lo <= true_median <= hi
    assert 178 <= hits <= 200


@given(st.lists(FINITE, min_size=3, max_size=8))
def test_the_interval_stays_within_the_values(values):
    lo, hi = median_interval(values)
    assert min(values) <= lo <= hi <= max(values)


@pytest.mark.parametrize("n", [3, 10, 41])
def test_the_interval_is_the_one_of_scipy_and_a_run_need_not_load_it(n):
    values = np.random.default_rng(n).lognormal(size=n).tolist()
    options = {"n_resamples": RESAMPLES, "method": "percentile", "vectorized": True}
    theirs = bootstrap((values,), np.median, rng=np.random.default_rng(0), **options).confidence_interval
    assert median_interval(values) == pytest.approx([theirs.low, theirs.high])
    code = f"import sys; from results.figures.statistics import median_interval as it; it({values})"
    code += "; print('scipy' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_same_seed_gives_the_same_interval_whatever_else_was_measured():
    trials = [trial(index, value) for index, value in enumerate((1, 4, 2, 8, 5))]
    more = [one | {"measures": {"rtt_s": index * 0.1} | one["measures"]} for index, one in enumerate(trials)]
    assert summarise(trials)["lost_packets_to_vm"] == summarise(more)["lost_packets_to_vm"]
    assert summarise(trials, seed=1) == summarise(trials, seed=1)


def test_nothing_seen_in_n_moves_leaves_about_three_in_n():
    assert share_not_ruled_out(100) == pytest.approx(0.0295, abs=1e-4)  # 1 - 0.05^(1/100)
    assert share_not_ruled_out(0) == 1.0


def test_hodges_lehmann_by_hand():
    # Walsh averages of 1, 2, 6: 1, 1.5, 3.5, 2, 4, 6 -> sorted 1 1.5 2 3.5 4 6 -> (2 + 3.5) / 2
    assert hodges_lehmann([1.0, 2.0, 6.0]) == 2.75


def test_cliffs_delta_by_hand():
    # pairs of (1, 5) and (2, 3, 5): larger: 5>2, 5>3; smaller: 1<2, 1<3, 1<5; equal: 5=5 -> (2 - 3) / 6
    assert cliffs_delta([1.0, 5.0], [2.0, 3.0, 5.0]) == pytest.approx(-1 / 6)
    assert cliffs_delta([2.0, 3.0], [0.0, 1.0]) == 1.0


@given(st.lists(FINITE, min_size=1, max_size=12), st.lists(FINITE, min_size=1, max_size=12))
def test_cliffs_delta_changes_sign_with_its_sides(a, b):
    assert cliffs_delta(a, b) == pytest.approx(-cliffs_delta(b, a))


def test_a_clear_paired_difference_is_found_and_none_is_not():
    base = [10.0 + 0.1 * index for index in range(20)]
    shifted = compare_paired([value + 2.0 + 0.01 * index for index, value in enumerate(base)], base)
    assert shifted.p_value < 0.001
    assert 1.99 <= shifted.median_difference <= 2.2
    assert shifted.ci95[0] > 1.9
    assert shifted.cliffs_delta > 0.9
    same = compare_paired(base, base)
    assert (same.p_value, same.median_difference, same.hodges_lehmann, same.ci95) == (
        1.0,
        0.0,
        0.0,
        [0.0, 0.0],
    )


def test_losses_with_many_ties_have_an_honest_p_value():
    # 5 of 200 pairs differ, all the same way: by chance 2 of 32 sign patterns are as extreme, p = 0.0625
    assert compare_paired([0.0] * 195 + [5.0] * 5, [0.0] * 200).p_value == pytest.approx(0.0625, abs=0.01)


def test_a_comparison_needs_pairs():
    for a, b in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="as many values"):
            compare_paired(a, b)


def test_reasons_that_differ_in_numbers_are_told_once_with_the_worst():
    lag = "scheduling lag {} ms on CPU {} (bound 20 ms)".format
    reasons = {lag(27.4, 0): 2, lag(108.1, 1): 1, lag(9.5, 0): 1, "steal of 12 %": 1}
    assert told_reasons(reasons) == [f"4 x {lag(108.1, 1)} at worst", "1 x steal of 12 %"]
