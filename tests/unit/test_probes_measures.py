"""Measures of one direction, on packets made by hand: one packet each millisecond, 0.1 ms on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.probes.measures import GapClass, udp_measures, with_direction
from experiments.probes.packets import Packets

PERIOD_S = 0.001
DELAY_S = 0.0001
WHOLE = (0.0, 1000.0)


def made(tx_s: Sequence[float], rx_s: Sequence[float], copies: dict[int, int] | None = None) -> Packets:
    """Packets with these times (NaN: lost), ranked by arrival."""
    tx, rx = np.array(tx_s, float), np.array(rx_s, float)
    order = np.full(len(tx), -1, np.int64)
    came = np.flatnonzero(~np.isnan(rx))
    order[came[np.argsort(rx[came], kind="stable")]] = np.arange(len(came))
    counts = (~np.isnan(rx)).astype(np.int16)
    for row, number in (copies or {}).items():
        counts[row] = number
    return Packets(np.arange(len(tx)), tx, rx, counts, order, np.empty(0))


def steady(number: int, lost: Sequence[int] = ()) -> Packets:
    tx = np.arange(number) * PERIOD_S + 1.0
    rx = tx + DELAY_S
    rx[list(lost)] = np.nan
    return made(tx, rx)


def test_nothing_lost_means_no_blackout_longer_than_the_sending_interval() -> None:
    measured = udp_measures(steady(100), WHOLE, PERIOD_S)
    assert measured["lost_packets"] == measured["lost_episodes_count"] == 0
    assert measured["blackout_s"] == measured["blackout_lower_s"] == 0.0
    assert measured["blackout_upper_s"] == pytest.approx(PERIOD_S)
    assert measured["arrival_gap_class"] == GapClass.NONE
    assert measured["delay_median_s"] == pytest.approx(DELAY_S)


def test_blackout_bounds() -> None:
    # Packets 20 to 29 lost: last - first lost = 9 periods; 30 - 19 = 11 periods; the middle is 10.
    measured = udp_measures(steady(100, range(20, 30)), WHOLE, PERIOD_S)
    assert measured["lost_packets"] == 10
    assert measured["blackout_lower_s"] == pytest.approx(9 * PERIOD_S)
    assert measured["blackout_upper_s"] == pytest.approx(11 * PERIOD_S)
    assert measured["blackout_s"] == pytest.approx(10 * PERIOD_S)
    assert measured["arrival_gap_s"] == pytest.approx(11 * PERIOD_S)
    assert measured["arrival_gap_class"] == GapClass.LOSS


def test_the_longest_of_several_episodes_is_the_blackout() -> None:
    measured = udp_measures(steady(100, [10, 40, 41, 42, 80]), WHOLE, PERIOD_S)
    assert measured["lost_packets"] == 5
    assert measured["lost_episodes_count"] == 3
    assert measured["blackout_s"] == pytest.approx(3 * PERIOD_S)


def test_an_episode_that_begins_later_is_a_gap_of_its_own() -> None:
    later_s = 1.0 + 59.5 * PERIOD_S
    packets = steady(100, [20, 21, *range(58, 64), *range(80, 90), 95])
    measured = udp_measures(packets, WHOLE, PERIOD_S, later_s)
    # Packets 58 to 63 began to be lost before: the longest of the earlier ones, although it ends later.
    assert measured["blackout_s"] == pytest.approx(6 * PERIOD_S)
    assert measured["lost_packets"] == 19
    assert measured["later_lost_packets"] == 11
    assert measured["later_blackout_s"] == pytest.approx(10 * PERIOD_S)
    assert measured["later_blackout_after_s"] == pytest.approx(20.5 * PERIOD_S)
    quiet = udp_measures(steady(100, [20]), WHOLE, PERIOD_S, later_s)
    assert quiet["later_lost_packets"] == quiet["later_blackout_s"] == 0
    assert quiet["later_blackout_after_s"] is None
    assert not [name for name in udp_measures(packets, WHOLE, PERIOD_S) if name.startswith("later")]


@pytest.mark.parametrize("lost", [range(10), range(90, 100)], ids=["at the beginning", "at the end"])
def test_a_blackout_without_an_arrival_on_one_side_has_no_upper_bound(lost: Sequence[int]) -> None:
    measured = udp_measures(steady(100, lost), WHOLE, PERIOD_S)
    assert measured["blackout_upper_s"] is None
    assert measured["blackout_lower_s"] == pytest.approx(9 * PERIOD_S)
    assert measured["blackout_s"] == pytest.approx(10 * PERIOD_S)


def test_everything_lost() -> None:
    measured = udp_measures(steady(10, range(10)), WHOLE, PERIOD_S)
    assert measured["lost_packets"] == 10
    assert measured["blackout_upper_s"] is None
    assert measured["arrival_gap_s"] is measured["delay_max_s"] is None


@pytest.mark.parametrize("window", [(5.0, 6.0), (0.0, 0.5)], ids=["after", "before"])
def test_a_window_without_packets(window: tuple[float, float]) -> None:
    measured = udp_measures(steady(100, [5]), window, PERIOD_S)
    assert measured["sent_packets"] == measured["lost_packets"] == 0
    assert measured["blackout_s"] == 0.0
    empty = made([], [])
    assert udp_measures(empty, WHOLE, PERIOD_S)["blackout_upper_s"] is None


def test_a_packet_sent_inside_and_received_after_the_window_is_received() -> None:
    tx = [1.0, 1.001, 1.002]
    measured = udp_measures(made(tx, [1.0001, 1.5, 1.6]), (1.0, 1.002), PERIOD_S)
    assert measured["sent_packets"] == 2
    assert measured["lost_packets"] == 0
    assert measured["delay_max_s"] == pytest.approx(0.499)


def test_an_episode_across_the_window_border_counts_where_it_lies() -> None:
    """Lost 45 to 54: the trial that takes 50 and later has five of them, the one before it the other five."""
    packets, border_s = steady(100, range(45, 55)), 1.0 + 49.5 * PERIOD_S
    for window in ((border_s, 2.0), (1.0, border_s)):
        measured = udp_measures(packets, window, PERIOD_S)
        assert measured["lost_packets"] == 5
        assert measured["blackout_s"] == pytest.approx(5 * PERIOD_S)
        assert measured["blackout_upper_s"] is None


def test_a_silence_that_spans_trials_is_longer_than_none_of_them() -> None:
    """As with `fault=small-mtu` nothing arrives any more: three trials of 20 packets have 20 periods each, not 80."""
    packets = steady(100, range(15, 95))
    for first in (20, 40, 60):
        window = (1.0 + (first - 0.5) * PERIOD_S, 1.0 + (first + 19.5) * PERIOD_S)
        assert udp_measures(packets, window, PERIOD_S)["blackout_s"] == pytest.approx(20 * PERIOD_S)


def test_an_episode_behind_the_window_is_none_of_its() -> None:
    before = udp_measures(steady(100, range(45, 55)), (1.0 + 54.5 * PERIOD_S, 2.0), PERIOD_S)
    assert before["lost_episodes_count"] == 0


def test_a_window_within_a_blackout_sees_the_gap_around_it() -> None:
    window = (1.0 + 49.5 * PERIOD_S, 1.0 + 51.5 * PERIOD_S)
    measured = udp_measures(steady(100, range(45, 55)), window, PERIOD_S)
    assert measured["lost_packets"] == measured["sent_packets"] == 2
    assert measured["arrival_gap_s"] == pytest.approx(11 * PERIOD_S)
    assert measured["arrival_gap_class"] == GapClass.LOSS


def test_held_packets_are_a_delay_not_a_loss() -> None:
    # Packets 50 to 59 are held until 0.1 ms after packet 59 is sent, then released at once.
    packets = steady(100)
    rx = packets.rx_s.copy()
    rx[50:60] = rx[59] + np.arange(10) * 1e-6
    measured = udp_measures(made(packets.tx_s, rx), WHOLE, PERIOD_S)
    assert measured["lost_packets"] == measured["reordered_packets"] == 0
    assert measured["arrival_gap_s"] == pytest.approx(10 * PERIOD_S)
    assert measured["arrival_gap_class"] == GapClass.DELAY
    assert measured["delay_max_s"] == pytest.approx(9 * PERIOD_S + DELAY_S)


@pytest.mark.parametrize("lost", [[], [30]], ids=["nothing lost", "one lost beside the stall"])
def test_a_stalled_sender_is_named_so(lost: list[int]) -> None:
    tx = np.arange(100) * PERIOD_S + 1.0
    tx[31:] += 0.02
    rx = tx + DELAY_S
    rx[lost] = np.nan
    measured = udp_measures(made(tx, rx), WHOLE, PERIOD_S)
    assert measured["arrival_gap_class"] == GapClass.SENDER_STALL


def test_duplicates_count_beyond_the_first() -> None:
    tx = [1.0, 1.001, 1.002]
    measured = udp_measures(made(tx, [1.1, 1.2, 1.3], copies={1: 3, 2: 2}), WHOLE, PERIOD_S)
    assert measured["duplicated_packets"] == 3


def test_reordered_are_the_late_ones() -> None:
    # Arrival order 0 3 1 2 4: RFC 4737 calls 1 and 2 reordered (they come after 3), and 3 not.
    tx = [1.0, 1.001, 1.002, 1.003, 1.004]
    packets = made(tx, [1.1, 1.3, 1.4, 1.2, 1.5])
    assert packets.reordered.tolist() == [False, True, True, False, False]
    assert udp_measures(packets, WHOLE, PERIOD_S)["reordered_packets"] == 2


def test_a_packet_overtaken_by_one_sent_after_the_window_is_reordered() -> None:
    packets = made([1.0, 1.001, 1.002], [1.1, 1.3, 1.2])
    assert udp_measures(packets, (1.0, 1.0015), PERIOD_S)["reordered_packets"] == 1


def test_refused_packets_are_not_lost() -> None:
    packets = made([1.0, 1.003], [1.1, 1.103])
    with_refused = Packets(
        np.array([0, 3]),
        packets.tx_s,
        packets.rx_s,
        packets.copies,
        packets.order,
        np.array([1.001, 1.002, 7.0]),
    )
    measured = udp_measures(with_refused, (0.0, 5.0), PERIOD_S)
    assert measured["refused_packets"] == 2
    assert measured["lost_packets"] == 0


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 0.01)), max_size=30),
    st.tuples(st.integers(-2, 32), st.integers(-2, 32)),
)
def test_against_definitions_read_word_for_word(
    fates: list[tuple[bool, float]], borders: tuple[int, int]
) -> None:
    tx = [1.0 + k * PERIOD_S for k in range(len(fates))]
    rx = [t + delay if arrives else np.nan for t, (arrives, delay) in zip(tx, fates, strict=True)]
    window = (1.0 + (min(borders) - 0.5) * PERIOD_S, 1.0 + (max(borders) - 0.5) * PERIOD_S)
    packets = made(tx, rx)
    measured = udp_measures(packets, window, PERIOD_S)
    inside = [k for k, t in enumerate(tx) if window[0] <= t < window[1]]
    assert measured["lost_packets"] == sum(np.isnan(rx[k]) for k in inside)
    largest, late = -1, set()
    for row in packets.arrival:
        if row < largest:
            late.add(int(row))
        largest = max(largest, int(row))
    assert measured["reordered_packets"] == len(late & set(inside))
    assert isinstance(measured["blackout_lower_s"], float)
    assert isinstance(measured["blackout_s"], float)
    assert measured["blackout_lower_s"] <= measured["blackout_s"]
    assert (measured["lost_packets"] == 0) == (measured["lost_episodes_count"] == 0)


def test_names_get_their_direction() -> None:
    named = with_direction(udp_measures(steady(3), WHOLE, PERIOD_S), "to_vm")
    assert {"lost_packets_to_vm", "duplicated_packets_to_vm", "reordered_packets_to_vm"} <= named.keys()
    assert "blackout_s_to_vm" in named
    with pytest.raises(ValueError, match="'to_vm' and 'from_vm'"):
        with_direction(named, "sideways")
