"""Parameters, the order of trials, the verdict, and what hot-l2 refuses: all pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.catalog import EXPERIMENTS
from experiments.designs import moving_vm
from experiments.designs.schedules import NULL, PATHS, Mix, Schedule, path_of
from experiments.running import mistakes
from experiments.running.experiment import UnknownExperimentError
from experiments.running.parameters import (
    ParameterError,
    as_words,
    origins,
    read_parameters,
    with_topology,
)
from experiments.running.traffic import path_mtu_bytes
from experiments.running.validity import too_few_valid, verdict
from experiments.studies import cold, external_client, hot_l2, hot_l2_v6, hot_warm_cold
from mobility.policies import MigrationRefusedError
from topologies import Topology, load_topology, topology_file

KNOWN = moving_vm.PARAMETERS
CYCLE = ["nve1", "nve2", "nve3"]


def done(schedule: Schedule, valid: Any = lambda kind, number: True) -> list[str | None]:
    """Do all trials; ``valid`` says of each kind's n-th trial how it ended. The steps."""
    here, steps = "nve1", []
    for step in schedule.steps():
        kind = NULL if step is None else path_of(here, step, "nve1")
        here = step or here
        schedule.count(kind, valid(kind, schedule.done[kind]))
        steps.append(step)
        assert len(steps) < 1000, "the schedule does not end"
    return steps


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [("nve1", "nve2", PATHS[0]), ("nve2", "nve3", PATHS[1]), ("nve3", "nve1", PATHS[2])],
)
def test_the_path_is_relative_to_the_peer(old: str, new: str, path: str) -> None:
    assert path_of(old, new, "nve1") == path


@given(st.integers(1, 20), st.integers(0, 1000))
def test_a_schedule_is_complete(repeat: int, seed: int) -> None:
    schedule = Schedule(CYCLE, "nve1", repeat, seed)
    steps = done(schedule)
    assert schedule.valid == dict.fromkeys((*PATHS, NULL), repeat)
    assert Counter(steps) == {"nve1": repeat, "nve2": repeat, "nve3": repeat, None: repeat}
    assert len(steps) == schedule.wanted() == 4 * repeat
    moves = [step for step in steps if step is not None]
    assert moves == ["nve2", "nve3", "nve1"] * repeat


def test_a_seed_gives_the_same_order_and_another_one_another() -> None:
    first, again, other = (done(Schedule(CYCLE, "nve1", 10, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    where = [number for number, step in enumerate(first) if step is None]
    assert min(where) < 20 < max(where), "null trials are spread over the run"


def test_an_invalid_trial_is_repeated() -> None:
    schedule = Schedule(CYCLE, "nve1", 5, 1)
    done(schedule, lambda kind, number: number % 2 == 1)  # every other trial is good
    assert set(schedule.valid.values()) == {5}
    assert min(schedule.done.values()) >= 9


def test_a_kind_that_never_succeeds_is_given_up_when_too_few_can_succeed() -> None:
    schedule = Schedule(CYCLE, "nve1", 4, 1)
    done(schedule, lambda kind, number: kind != NULL)
    # P(at most 4 of 12) = 0.194, of 13 = 0.133; the limit is 0.15, so after 9 without any 4 more are too few.
    assert (schedule.done[NULL], schedule.valid[NULL]) == (9, 0)
    schedule = Schedule(CYCLE, "nve1", 4, 1)
    done(schedule, lambda kind, number: False)
    assert set(schedule.valid.values()) == {0}
    assert min(schedule.done.values()) >= 9


@pytest.mark.parametrize(
    ("valid", "done", "few"),
    [
        (1, 2, False),
        (1, 3, False),
        (1, 5, False),
        (1, 6, True),
        (2, 7, False),
        (2, 8, True),
        (10, 26, False),
        (10, 27, True),
        (0, 2, False),
        (0, 3, True),
    ],
)
def test_too_few_are_fewer_than_chance_would_leave(valid: int, done: int, few: bool) -> None:
    """By hand: P(at most 1 of 5) = 6/32, of 6 = 7/64; at most 2 of 7 = 29/128, of 8 = 37/256; the limit is 0.15."""
    assert too_few_valid(valid, done) is few


@given(st.integers(1, 20), st.lists(st.booleans(), min_size=200, max_size=200))
def test_what_is_given_up_is_no_answer(repeat: int, luck: list[bool]) -> None:
    mix, tosses = Mix(["a"], repeat, 1), iter(luck)
    for group in mix.steps():
        mix.count(group, group == NULL or next(tosses))
    if mix.valid["a"] < repeat:
        assert too_few_valid(mix.valid["a"], mix.done["a"])


def test_two_nves_have_two_paths() -> None:
    schedule = Schedule(["nve1", "nve2"], "nve1", 2, 1)
    done(schedule)
    assert schedule.valid == {PATHS[0]: 2, PATHS[2]: 2, NULL: 2}


# The verdict.


def trial(path: str | None, valid: bool = True) -> dict[str, Any]:
    return {"null": path is None, "valid": valid, "parameters": {} if path is None else {"path": path}}


def test_a_run_with_valid_trials_of_each_kind_is_answered() -> None:
    status, why = verdict([trial("a"), trial("a", False), trial(None)])
    assert (status, why) == ("answered", "valid trials: a 1, null 1; invalid and repeated: 1")


def test_a_kind_with_too_few_valid_spoils_the_answer() -> None:
    others = [trial(None)] * 10
    assert verdict([trial("a"), *[trial("a", False)] * 2, *others])[0] == "answered"  # 1 of 3 may be chance
    status, why = verdict([trial("a"), *[trial("a", False)] * 5, *others])
    assert status == "invalid"
    assert why == "the machine was too busy (a: 1 of 6 valid); run it again when it is idle"
    assert verdict([trial("a", False), *others])[0] == "invalid"


def test_a_run_with_less_than_half_valid_is_no_answer() -> None:
    status, why = verdict([trial("a"), trial("a", False), trial("a", False), trial(None), trial(None, False)])
    assert status == "invalid"
    assert why == "the machine was too busy (2 of all 5 trials valid); run it again when it is idle"


def test_no_trial_is_no_answer() -> None:
    assert verdict([]) == ("invalid", "no trial was done")


# Parameters.


def test_defaults_and_words_that_overrule_them() -> None:
    values = read_parameters(KNOWN, ["repeat=3", "AFTER=1.5s", "tcp_rate=10Mbit"])
    assert (values["repeat"], values["after"], values["tcp_rate"]) == (3, 1.5, 10_000_000)
    assert (values["topology"], values["policy"], values["before"]) == ("two_racks", "buffer", 0.25)
    assert set(values) == {parameter.name for parameter in KNOWN}


BAD = [
    ("repeats=3", "there is no parameter 'repeats'; did you mean 'repeat'? (there are: topology, vm, peer,"),
    ("zzz=3", "there is no parameter 'zzz' (there are: topology"),
    ("repeat", "'repeat' is not a parameter: write NAME=value, such as topology=two_racks"),
    ("", "'' is not a parameter: write NAME=value"),
    ("repeat=", "repeat=: allowed is a whole number from 1 to 10,000"),
    ("repeat=10001", "repeat=10001: allowed is a whole number from 1 to 10,000"),
    ("repeat=1.5", "repeat=1.5: allowed is a whole number"),
    ("payload=31", "payload=31: allowed is a whole number from 32 to 65,507"),
    ("seed=-1", "seed=-1: allowed is a whole number from 0 to 2,147,483,648"),
    ("after=300", "after=300: allowed is a duration such as 300ms or 1.5s"),
    ("after=-1s", "after=-1s: allowed is a duration"),
    ("tcp_rate=fast", "tcp_rate=fast: allowed is a rate such as 10Mbit"),
    ("policy=Buffer", "policy=Buffer: allowed is one of silent-drop, icmp, tunnel, forward, buffer"),
    ("ports=dpdk", "ports=dpdk: allowed is one of auto, kernel, afxdp, afpacket"),
]


@pytest.mark.parametrize(("word", "text"), BAD, ids=[word for word, _ in BAD])
def test_a_bad_word_is_told_with_what_is_allowed(word: str, text: str) -> None:
    with pytest.raises(ParameterError) as error:
        read_parameters(KNOWN, [word])
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [[], ["repeat=3"], ["after=300ms"], ["tcp_rate=10Mbit"], ["tcp_rate=0"], ["before=1us", "seed=7"]],
)
def test_the_words_of_a_run_run_the_same_again(words: list[str]) -> None:
    values = read_parameters(KNOWN, words)
    assert read_parameters(KNOWN, as_words(KNOWN, values)) == values


def test_every_experiment_can_be_found_by_its_name() -> None:
    assert EXPERIMENTS.find("hot-l2").name == "hot-l2"
    with pytest.raises(UnknownExperimentError, match="did you mean 'hot-l2'"):
        EXPERIMENTS.find("hotl2")


# What hot-l2 refuses.


def checked(*words: str, topology: Topology | None = None) -> None:
    moving_vm.check(read_parameters(KNOWN, words), topology or load_topology(topology_file("two_racks")))


def changed(**values: Any) -> Topology:
    made = load_topology(topology_file("minimal")).as_file()
    return Topology.model_validate(made | values)


def test_the_defaults_are_possible() -> None:
    checked()
    checked("attachment=replug", "policy=tunnel", "vm=peer1", "peer=vm1")
    checked("vm=vm1", "peer=vm2", topology=changed())


REFUSED = [
    (("vm=vm2",), "vm=vm2: there is no VM 'vm2'"),
    (("peer=peer",), "peer=peer: there is no VM 'peer'"),
    (
        ("vm=vm1", "peer=vm1"),
        "peer=vm1: is the VM that moves itself; choose another (there are: peer1, peer2, peer3)",
    ),
    (("vm=peer2",), "attachment=rebind: peer2 is not pre-wired in topology two_racks"),
]


@pytest.mark.parametrize(("words", "text"), REFUSED)
def test_names_are_checked_before_anything_is_built(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(ParameterError) as error:
        checked(*words)
    assert str(error.value).startswith(text)


def test_one_nve_is_too_few() -> None:
    one = changed().as_file()
    one["nves"] = one["nves"][:1]
    one["vms"] = [vm | {"nve": "nve1"} for vm in one["vms"]]
    with pytest.raises(ParameterError, match="has one NVE; a move needs two at least"):
        checked("vm=vm1", "peer=vm2", topology=Topology.model_validate(one))


def test_a_policy_that_the_attachment_cannot_do() -> None:
    with pytest.raises(MigrationRefusedError, match="policy=buffer needs attachment=rebind"):
        checked("attachment=replug")


def jumbo(mtu: int) -> Topology:
    """dual_stack with that MTU for its VMs and 50 bytes more below."""
    made = load_topology(topology_file("dual_stack")).as_file()
    made["underlay"]["mtu"] = mtu + 50
    made["virtual_networks"][0]["mtu"] = mtu
    return Topology.model_validate(made)


def test_a_payload_fills_the_networks_mtu_and_no_more() -> None:
    """UDP takes 8 bytes, IPv4 20 (RFC 791), IPv6 40 (RFC 8200): 9,000 - 28 = 8,972 and 9,000 - 48 = 8,952."""
    checked("payload=1422")
    checked("payload=8972", topology=jumbo(9000))
    with pytest.raises(
        ParameterError, match=r"a packet has 1,451, and the MTU between vm1 and peer1 is 1,450.*=1422"
    ):
        checked("payload=1423")
    v6 = read_parameters(hot_l2_v6.PARAMETERS, ["payload=8952"])
    hot_l2_v6.check(v6, jumbo(9000))
    with pytest.raises(ParameterError, match="choose at most payload=8952"):
        hot_l2_v6.check({**v6, "payload": 8953}, jumbo(9000))


def test_behind_the_outside_the_smallest_mtu_counts() -> None:
    topology = load_topology(topology_file("outside"))
    assert path_mtu_bytes(topology, ("vm1", "client1")) == 1450
    values = read_parameters(external_client.PARAMETERS, ["payload=1422"])
    external_client.check(values, topology)
    with pytest.raises(ParameterError, match="payload=1423"):
        external_client.check({**values, "payload": 1423}, topology)


@pytest.mark.parametrize(("payload", "fine"), [(1400, False), (8922, False), (8923, True), (8972, True)])
def test_a_small_mtu_needs_packets_that_do_not_fit(payload: int, fine: bool) -> None:
    """With the tunnel's 50 bytes a packet of 8,923 + 28 has 9,001."""
    known = hot_l2.EXPERIMENT.parameters
    values = read_parameters(known, ["fault=small-mtu", f"payload={payload}"])
    if fine:
        moving_vm.check(values, jumbo(9000))
        assert mistakes.wrong_options(values, jumbo(9000)) == {"underlay_mtu_bytes": 9000}
        return
    with pytest.raises(ParameterError, match=r"fault=small-mtu: .* choose payload from 8923 to 8972"):
        moving_vm.check(values, jumbo(9000))


def test_mix_gives_every_group_its_valid_trials_in_seeded_order() -> None:
    def order(seed: int) -> list[str]:
        mix, seen = Mix(["a", "b"], 5, seed), []
        for group in mix.steps():
            seen.append(group)
            mix.count(group, valid=True)
        return seen

    assert sorted(order(1)) == sorted(["a", "b", NULL] * 5)
    assert order(1) == order(1)
    assert order(1) != order(2)


def test_mix_repeats_invalid_trials_and_gives_a_group_up() -> None:
    mix = Mix(["bad"], 4, 1)
    for group in mix.steps():
        mix.count(group, valid=group != "bad")
    assert mix.done == {"bad": 9, NULL: 4}  # as of a schedule
    assert mix.valid == {"bad": 0, NULL: 4}


# What the topology says of the VM.


def with_memory(**said: Any) -> Topology:
    made = load_topology(topology_file("two_racks")).as_file()
    keys = ("name", "virtual_network", "nve", "ipv4", "prewired")
    vms = [{key: vm[key] for key in keys if key in vm} for vm in made["vms"]]
    return Topology.model_validate(made | {"vms": [vms[0] | said, *vms[1:]]})


MEMORY_OF_VM = [
    # words, what the file says of vm1, MiB and bit/s that are taken, what is said of the memory
    (
        [],
        {},
        64,
        100_000_000,
        "memory_mib=64 (the experiment's own; topology two_racks says no memory of vm1)",
    ),
    (
        [],
        {"memory": "2GiB", "dirty_rate": "300Mbit"},
        2048,
        300_000_000,
        "memory_mib=2048 (as topology two_racks says memory: 2GiB of vm1)",
    ),
    (
        ["memory_mib=256", "dirty_rate=0bit"],
        {"memory": "2GiB", "dirty_rate": "300Mbit"},
        256,
        0,
        "memory_mib=256 (as given; topology two_racks says memory: 2GiB of vm1)",
    ),
    (["memory_mib=64"], {}, 64, 100_000_000, "memory_mib=64 (as given)"),
    (
        [],
        {"memory": 3_000_000},
        3,
        100_000_000,
        "memory_mib=3 (as topology two_racks says memory: 3000000B of vm1)",
    ),
]


@pytest.mark.parametrize(("words", "said", "memory_mib", "dirty_rate", "line"), MEMORY_OF_VM)
def test_a_vms_memory_is_what_the_topology_says(
    words: list[str], said: dict[str, Any], memory_mib: int, dirty_rate: int, line: str
) -> None:
    known, topology = EXPERIMENTS.find("hot-warm-cold").parameters, with_memory(**said)
    values = read_parameters(known, words)
    found = with_topology(known, values, topology)
    assert (found["memory_mib"], found["dirty_rate"]) == (memory_mib, dirty_rate)
    assert origins(known, values, topology)[0] == line
    hot_warm_cold.check(values, topology)
    assert {group.options.memory_bytes for group in hot_warm_cold.groups(found)} == {memory_mib * 2**20}
    assert as_words(known, values) == words
    assert with_topology(known, found, topology) == found


def test_the_memory_of_the_topology_is_held_against_the_bandwidth() -> None:
    with pytest.raises(ParameterError, match="memory_mib=1048576 at bandwidth=1Gbit: one round of the copy"):
        cold.check(read_parameters(cold.EXPERIMENT.parameters, []), with_memory(memory="1TiB"))
