"""The groups of stale-mapping and the sentence it makes of its trials."""

import pytest

from experiments.running.parameters import ParameterError, read_parameters
from experiments.running.sentences import figure, milliseconds, packets
from experiments.studies.stale_mapping import EXPERIMENT, NEAR_WORST, Way, conclude, ways


def values(*words):
    return read_parameters(EXPERIMENT.parameters, words)


def test_every_way_can_be_moved_and_is_watched_longer_than_its_mapping_lives():
    for silent in (False, True):
        for way in ways(values(), silent):
            way.options.check("rebind")
            assert way.watched_s > (way.age_s or 0)


def test_a_silent_host_never_announces_itself():
    assert {way.announcements for way in ways(values(), silent=True)} == {0}
    assert {way.learning for way in ways(values(), silent=True)} == {
        "push",
        "pull",
        "timeout",
        "announce, all lost",
    }


def trial(way, null=False, valid=True, **measures):
    return {"null": null, "valid": valid, "parameters": {} if null else way.parameters, "measures": measures}


def test_the_sentence_has_times_packets_and_the_slope_over_the_age():
    trials = [trial(Way("push", "tunnel"), null=True, told_s=9.0)]
    for age_s in (1, 5):
        trials += [
            trial(
                Way("timeout", "silent-drop", 5, age_s),
                told_s=age_s - 0.25,
                lost_packets_to_vm=age_s * 1000 - 250,
            )
        ]
    trials += [trial(Way("push", "silent-drop"), told_s=0.004, lost_packets_to_vm=5) for _ in range(3)]
    trials += [trial(Way("push", "silent-drop"), valid=False, told_s=5.0, lost_packets_to_vm=9999)]
    trials += [trial(Way("push", "tunnel", 0, None, True), told_s=0.003)]
    said = conclude(trials)
    assert "after push 4 ms," in said
    assert "timeout of 1 s 750 ms, timeout of 5 s 4.75 s" in said
    assert "push 5;" in said
    # (4,750 - 750) / (5 - 1) = 1,000 packets a second; times 300
    assert "cost 1,000 packets: at 300 s that would be some 300,000 (extrapolated" in said
    assert "(not measured) with pull" in said


def test_the_ages_are_told_as_times_the_network_needs_to_clear():
    trials = [trial(Way("push", "tunnel"), clear_s=0.005), trial(Way("timeout", "tunnel", 5, 2), told_s=1.8)]
    # 2 s / 5 ms = 400 = 10^2.6; 300 s / 5 ms = 60,000 = 10^4.8
    assert "A timeout of 2 s is 400 times what the network needed to clear (2.6 orders" in conclude(trials)
    assert "To clear means from the switch until the last end marker: the peers' update is in it" in conclude(
        trials
    )
    assert NEAR_WORST in conclude(trials)
    assert NEAR_WORST not in conclude(trials[:1])  # no timeout was tried
    assert "one of 300 s would be 60,000 times (4.8)" in conclude(trials)


def test_each_announcement_is_a_group_and_an_advertisement_needs_an_address():
    spoken = {way.learning: way.options.announce_with for way in ways(values(), silent=False)}
    assert [spoken[f"announce by {name}"] for name in ("RARP", "GARP", "NA")] == ["rarp", "garp", "na"]
    assert "announce by NA" not in {way.learning for way in ways(values(), False, with_ipv6=False)}


def test_ages_are_chosen_and_refused_with_what_is_allowed():
    assert {way.age_s for way in ways(values("ages=3,2"), silent=False)} == {None, 2, 3}
    assert {way.age_s for way in ways(values("ages=3,2", "quick=1"), silent=False)} == {None, 2}
    for wrong in ("0", "1.5", "4000", "", "1;2"):
        with pytest.raises(ParameterError, match=r"ages=.*whole seconds from 1 to 3600, such as 1,2,5"):
            values(f"ages={wrong}")


def test_figures_are_medians_with_intervals_in_a_unit_that_reads_well():
    assert milliseconds([0.0123]) == "12.3 ms"
    assert milliseconds([1.5, 1.5, 1.5]) == "1.5 s"
    assert packets([1234.0]) == "1,234"
    told = figure([1.0, 2.0, 3.0, 4.0, 5.0], 1.0, "x")
    assert told.startswith("3 x [") and told.endswith("]")
