"""transports and transport-impact: their groups, the order of their trials, and what their answers say."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from emulation import preflight
from experiments.designs.by_transport import compare, rounds_of
from experiments.probes.transports import streams
from experiments.running.parameters import read_parameters
from experiments.studies import transports
from experiments.studies.transport_impact import study as transport_impact
from results.figures.grouping import numeric_parameter
from topologies import load_topology, topology_file


def values(experiment, *words):
    return read_parameters(experiment.EXPERIMENT.parameters, words)


def test_both_check_what_they_would_do_and_a_delay_needs_a_kernel_that_has_it(monkeypatch):
    for experiment in (transports, transport_impact):
        for name in ("bottleneck", "bottleneck_wan"):
            experiment.check(values(experiment, f"topology={name}"), load_topology(topology_file(name)))
    monkeypatch.setattr(preflight, "_module", lambda name: False)
    (problem,) = preflight._netem_problems(load_topology(topology_file("bottleneck_wan")))
    assert problem.startswith("topology bottleneck_wan: underlay.links[1].delay needs netem")


@pytest.mark.parametrize(
    ("repeat", "rounds", "each"), [(10, 2, [5, 5]), (5, 2, [3, 2]), (1, 2, [1]), (3, 3, [1] * 3)]
)
def test_rounds_share_the_repetitions_out(repeat, rounds, each):
    assert rounds_of(repeat, rounds) == each


def test_every_pause_is_kept_and_lost_and_a_sender_has_time_for_its_timeouts():
    full = values(transport_impact)
    for name in transport_impact.makes(full):
        ways = transport_impact.groups(full, name)
        assert [way.parameters["pause_s"] for way in ways] == [0.0, 0.01, 0.05, 0.2, 0.5, 1.0, 2.0] * 2
        assert {(way.options.policy, way.options.pause) for way in ways} == {
            ("buffer", "hold"), ("silent-drop", "drop"),
        }  # fmt: skip
    lost = transport_impact.groups(full, "tcp cubic")[-1]
    # Timeouts at 0.2, 0.6, 1.4, 3.0 s, each 1.5 times as late: the one after 2 s comes at 4.5 s, then a second more.
    assert lost.options.downtime_s + lost.after_s == pytest.approx(4.5 + 1.0)
    trials = [{"null": False, "parameters": way.parameters} for way in transport_impact.groups(full)]
    assert numeric_parameter(trials, transport_impact.EXPERIMENT.group_by) == "pause_s"


def test_the_quick_form_still_has_three_pauses_for_a_curve():
    quick = values(transport_impact, "quick=1")
    assert list(transport_impact.makes(quick)) == ["tcp cubic", "tcp bbr", "voice"]
    assert {way.parameters["pause_s"] for way in transport_impact.groups(quick)} == {0.0, 0.2, 0.5}


def test_all_transports_are_named_and_one_can_be_asked_for():
    assert tuple(transports.makes(values(transports))) == transports.NAMES
    assert values(transports, "only=tcp-bulk")["only"] == "tcp-bulk"
    assert [group.parameters for group in transports.groups(values(transports), "quic")] == [
        {"transport": "quic"}
    ]


def test_the_senders_timeouts_are_those_its_kernel_counts(tmp_path, monkeypatch):
    table = tmp_path / "netstat"
    monkeypatch.setattr(
        transport_impact, "Path", lambda text: table if text == "/proc/7/net/netstat" else None
    )
    run = FakeRun(values(transport_impact))
    run.laboratory.network = {"peer3": SimpleNamespace(pid=7)}  # the peer sends to the VM
    heads = "TcpExt: TCPTimeouts TCPLossUndo"
    table.write_text(f"{heads}\nTcpExt: 5 1\n")
    end = transport_impact.sender_counts(run)()
    table.write_text(f"{heads}\nTcpExt: 8 2\n")
    assert end() == {"tcp_timeouts_count": 3, "tcp_spurious_timeouts_count": 1}


class FakeRun:
    """Trials that are noted instead of done: (transport whose traffic runs, its parameters, moved)."""

    def __init__(self, chosen, invalid_first=0):
        self.values, self.done, self.expected, self.remarks = chosen, [], 0, []
        self.observe, self._running, self._invalid = None, None, invalid_first
        network = SimpleNamespace(
            nves={"nve1": 1, "nve2": 2, "nve3": 3}, location={"vm1": "nve1", "peer3": "nve3"}
        )
        self.laboratory = SimpleNamespace(network=network, move=self._move)

    def _move(self, vm, target, **_options):
        self.laboratory.network.location[vm] = target

    def expect(self, trials):
        self.expected = trials

    def remark(self, sentence):
        self.remarks.append(sentence)

    @contextmanager
    def traffic(self, transports):
        (self._running,) = transports
        yield
        self._running = None

    def trial(self, parameters, move, guarded_s=None, *, after_s=None):
        if move is not None:
            move()
        self.done.append((self._running, dict(parameters), move is not None))
        self._invalid -= 1
        return self._invalid < 0


def test_each_transport_runs_alone_with_null_trials_of_its_own():
    run = FakeRun(values(transports), invalid_first=1)
    chosen = values(transports)
    compare(run, {"udp": "UDP", "quic": "QUIC"}, lambda name: transports.groups(chosen, name), [2, 1])
    assert run.expected == 12
    assert len(run.done) == 13  # one was invalid and came again
    assert {(running, parameters["transport"]) for running, parameters, _ in run.done} == {
        ("UDP", "udp"), ("QUIC", "quic"),
    }  # fmt: skip
    assert sum(not moved for *_, moved in run.done) >= 6
    assert [running for running, *_ in run.done[:5]].count("UDP") >= 4  # the first round goes by the list


def test_what_the_kernel_has_not_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(
        streams.socket, "socket", _refuse if streams.lacking("sctp") is None else streams.socket.socket
    )
    run = FakeRun(values(transports, "only=sctp", "repeat=1"))
    transports.trials(run)
    assert run.remarks == ["SCTP: not on this kernel (it is in the VM image)."]
    assert run.done == []


def _refuse(*_arguments):
    raise OSError("no such protocol")


def trial(parameters, measures, null=False, valid=True):
    return {"valid": valid, "null": null, "parameters": parameters, "measures": measures}


def test_the_answer_of_transports_has_every_transport_beside_its_own_null_trials():
    def of(name, stall_s, null, **more):
        both = {f"stall_s_{way}": stall_s for way in ("to_vm", "from_vm")}
        return trial({"transport": name}, {**both, **more}, null)

    packets = {
        "lost_packets_to_vm": 2,
        "sent_packets_to_vm": 100,
        "lost_packets_from_vm": 0,
        "sent_packets_from_vm": 50,
    }
    ends = {"went_on_connections_count": 3, "ended_connections_count": 1, "silent_connections_count": 0}
    told = transports.conclude(
        [
            of("mptcp", 0.008, False, **ends, multipath_connections_count=4, mptcp_subflows_count=1),
            of("mptcp", 0.006, True),
            of("udp", 0.004, False, **packets),
            of("udp", 0.001, True, **packets),
        ]
    )
    assert (
        "udp 4 ms / 4 ms (without a move 1 ms / 1 ms); mptcp 8 ms / 8 ms (without a move 6 ms / 6 ms, 0 of 1"
        in told
    )
    assert told.startswith(
        "2 of 150 packets of udp and voice were lost; all connections went on in 0 of 1 moves. "
    )
    assert "Each MPTCP connection had 1 subflow: a second address is missing" in told
    assert transports.conclude([]) is None


def test_more_than_one_subflow_is_a_figure_of_mptcp():
    assert transports.subflows_sentence([1, 2]) == "an MPTCP connection had up to 2 subflows"
    assert transports.subflows_sentence([]) == ""


def impact(windows=(40, 30, 1), recovery_s=0.0):
    """Trials of one repetition; ``windows``: the smallest ones at pauses of 0, 200 and 500 ms when packets are kept."""
    floor = {"tcp_stall_s_to_vm": 0.02, "tcp_cwnd_min_packets_to_vm_by_peer": 40}
    made = [trial({"transport": name}, floor, null=True) for name in ("tcp bbr", "tcp cubic")]
    for policy, factor in (("buffer", 1.0), ("silent-drop", 2.0)):
        for pause_s, window in zip((0.0, 0.2, 0.5), windows, strict=True):
            tcp = {
                "tcp_stall_s_to_vm": factor * pause_s + 0.01,
                "tcp_stall_s_to_vm_by_peer": factor * pause_s + 0.01,
                "tcp_timeouts_count": factor,
                "tcp_spurious_timeouts_count": 1,
                "tcp_cwnd_min_packets_to_vm_by_peer": window if policy == "buffer" else 8,
                "tcp_retransmitted_segments_to_vm_by_peer": 9,
                "tcp_spurious_segments_to_vm_by_peer": 4,
                "tcp_recovery_s_to_vm_by_peer": factor * pause_s + 0.01 + recovery_s,
            }
            call = {
                "voice_mos_to_vm": 4.4 - factor * 3 * pause_s,
                "voice_mos_from_vm": 4.4 - factor * 3 * pause_s,
            }
            bbr = {**tcp, "tcp_timeouts_count": factor - 1}
            for name, measures in (("tcp bbr", bbr), ("tcp cubic", tcp), ("voice", call)):
                made.append(trial({"transport": name, "policy": policy, "pause_s": pause_s}, measures))
    return made


def test_the_answer_of_impact_tells_what_was_kept_and_what_was_lost():
    told = transport_impact.conclude(impact())
    kept, lost = told.split("Packets lost meanwhile (silent-drop): ")
    assert ". Packets kept meanwhile (buffer): tcp bbr stands still for 210 ms at a pause of 200 ms" in kept
    assert "at 200 ms tcp cubic must wait for a timeout and tcp bbr need not" in kept
    assert "must wait" not in lost  # there both do
    assert (
        "(window down to 30, timeouts 1, taken back 1, segments again 9, in vain 4), 510 ms at a pause"
        in kept
    )
    assert "; tcp cubic stands still for 410 ms at a pause of 200 ms (window down to 8, timeouts 2," in lost
    assert "Without a move tcp bbr stands still for 20 ms with a window down to 40; tcp cubic" in told
    assert transport_impact.conclude([]) is None


def first_of(trials):
    """The short answer, of what was kept and of what was lost."""
    return (
        transport_impact.conclude(trials).split(". ")[0].split("; with packets lost meanwhile (silent-drop) ")
    )


def test_who_waits_is_told_by_the_median_as_tables_have_it():
    """Of timeouts 0 and 1 the median is 0.5: less than one, and not the lower of the two."""
    made = impact()
    once = [one for one in made if one["parameters"].get("transport") == "tcp cubic" and not one["null"]]
    again = [{**one, "measures": {**one["measures"], "tcp_timeouts_count": 0.0}} for one in once]
    assert "must wait" not in transport_impact.conclude([*made, *again]).split("Packets lost meanwhile")[0]
    assert "timeouts 0.5, " in transport_impact.conclude([*made, *again])


def test_the_answer_of_impact_begins_with_the_pause_up_to_which_windows_stay():
    """Half of the 40 segments without a move is the bound."""

    def kept(*windows):
        return first_of(impact(windows))[0]

    stays = (
        "With packets kept meanwhile (buffer) no sender's window fell below half of its least without a move "
    )
    assert kept(40, 20, 19).startswith(f"{stays}up to a pause of 200 ms and a call has MOS")
    assert kept(40, 19, 40).startswith(f"{stays}as long as there was no pause and")
    assert kept(40, 40, 40).startswith(f"{stays}up to a pause of 500 ms and")
    falls = "a sender's window fell below half of its least without a move at every pause, even none, and"
    assert falls in kept(19, 40, 40)
    assert first_of(impact())[1].startswith(falls)
    assert "window fell" not in transport_impact.conclude(impact()[2:])  # without null trials


def test_the_answer_of_impact_begins_with_the_pause_up_to_which_a_call_is_good():
    kept, lost = first_of(impact())
    assert kept.endswith(
        " a call has MOS 3.6 or better up to a pause of 200 ms, 2.9 at 500 ms"
    )  # 4.4 - 0.6 = 3.8
    assert lost.endswith(" a call has MOS 3.6 or better without a pause only, 3.2 at 200 ms, 1.4 at 500 ms")


def test_the_answer_of_impact_says_how_soon_the_rate_was_back():
    assert "the first 100 ms had 90 % of the rate of before in 12 of 12 trials: the round trip" in (
        transport_impact.conclude(impact())
    )
    late = impact(recovery_s=0.09)
    late[-2]["measures"]["tcp_recovery_s_to_vm_by_peer"] = None
    told = transport_impact.conclude(late)
    assert "in 0 of 12 trials, later ones within 90 ms [90, 90], at most 90 ms, in 1 trials none did" in told
