"""The words of answers, and every experiment's own sentence of made-up trials."""

from experiments.running.sentences import (
    BOTH_WAYS,
    all_went_on,
    ends_of_connections,
    figure,
    groups_tried,
    later_gaps,
    measured,
    moves_cost,
    packets,
    stalls,
)
from experiments.studies import cold, external_client, hot_l2, hot_l2_v6, hot_warm_cold, stage_order, tenants
from mobility.order import PHASES
from results.figures.statistics import summarise


def trial(parameters=None, *, valid=True, migration=None, **measures):
    return {
        "valid": valid,
        "null": parameters is None,
        "parameters": parameters or {},
        "measures": measures,
        "migration": migration,
    }


def test_values_are_those_of_valid_trials_with_the_parameters_wanted():
    trials = [
        trial({"a": 1}, x=5),
        trial({"a": 2}, x=6),
        trial(x=7),
        trial({"a": 1}, valid=False, x=8),
        trial({"a": 1}),
    ]
    assert measured(trials, "x", a=1) == [5]
    assert measured(trials, "x") == [5, 6]
    assert measured(trials, "x", null=True) == [7]
    assert groups_tried(trials, "a") == [(1,), (2,)]


def test_a_median_in_words_is_that_of_the_tables():
    values = [1.0, 2.0, 4.0, 9.0]
    table = summarise([trial({"path": "p"}, tcp_stall_s_to_vm=one) for one in values])["tcp_stall_s_to_vm"]
    assert table["median"] == 3.0  # (2 + 4) / 2
    assert figure(values, 1.0, "s").startswith("3 s [")


def test_packets_that_are_mostly_none_are_told_with_the_most():
    assert packets([0, 0, 0]) == "0"
    assert packets([0, 0, 7]).endswith("(at most 7)")
    assert "at most" not in packets([5, 6, 7])


def test_a_cost_of_moves_counts_moves_and_names_flows():
    trials = [
        trial({"path": "p"}, lost_packets_to_vm=3, duplicated_packets_to_vm=0, reordered_packets_to_vm=1)
    ]
    said = moves_cost(trials, {"to_vm": "there"})
    assert said == "Packets in 1 move, there: lost 3, duplicated 0, reordered 1."
    none = dict.fromkeys(("lost_packets_to_vm", "duplicated_packets_to_vm", "reordered_packets_to_vm"), 0)
    said = moves_cost([trial({"path": "p"}, **none)] * 3, {"to_vm": "there"})
    assert said == "No packet was lost, duplicated or reordered in 3 moves (there)."
    del none["reordered_packets_to_vm"]  # what was not measured is not called none
    assert "not measured" in moves_cost([trial({"path": "p"}, **none)], {"to_vm": "there"})
    assert stalls(trials, BOTH_WAYS) == ""
    trials = [trial({"path": "p"}, tcp_stall_s_to_vm=0.012), trial(tcp_stall_s_to_vm=0.007)]
    assert stalls(trials, BOTH_WAYS) == " TCP's longest pause was 12 ms to the VM (without a move 7 ms)."


def test_a_hot_move_says_what_part_of_it_a_pause_is_to_be_held_against():
    phases = [
        {"name": name, "start_s": 1.0 + n / 100, "end_s": 1.01 + n / 100} for n, name in enumerate(PHASES)
    ]
    moved = trial({"path": "p"}, migration={"phases": phases}, move_total_s=0.1, tcp_stall_s_to_vm=0.02)
    said = hot_l2.conclude([moved, trial(tcp_stall_s_to_vm=0.007)])
    # stop, switch, resume: 10 ms each
    assert "A move takes 100 ms; in 30 ms of it, from stop to resume, packets wait or are lost" in said
    assert "20 ms to the VM (without a move 7 ms)" in said
    assert said.endswith(
        "packets wait or are lost."
    )  # stalls are maxima: one is not the other and a downtime
    assert "blackout" not in said


def test_orders_are_told_in_their_order_with_what_was_not_zero():
    def one(order, policy, **measures):
        return trial({"order": order, "policy": policy}, tcp_stall_s_to_vm=0.01, **measures)

    said = stage_order.conclude(
        [
            one("resume-first", "tunnel", duplicated_packets_to_vm=0, duplicated_packets_from_vm=140),
            one("stop-first", "buffer", lost_packets_to_vm=0, lost_packets_from_vm=0),
            trial(tcp_stall_s_to_vm=0.005),
        ]
    )
    assert said.index("stop-first with buffer: none lost, duplicated or reordered") < said.index(
        "resume-first with"
    )
    assert "resume-first with tunnel: duplicated 0 to the VM, 140 from it; TCP 10 ms" in said
    assert "TCP's longest pause to the VM is 5 ms without a move" in said
    assert said.startswith(
        "Packets lost to the VM: with buffer 0 (stop-first); with tunnel (not measured) (resume-first). "
    )
    assert stage_order.NO_HOLDER in said
    assert said.endswith(stage_order.ONE_STACK)
    buffered = [one("resume-first", "buffer", lost_packets_to_vm=0), trial(tcp_stall_s_to_vm=0.005)]
    assert stage_order.NO_HOLDER not in stage_order.conclude(buffered)


def test_kinds_are_told_with_their_stages_in_order():
    phases = [{"name": "copy", "start_s": 1.0, "end_s": 1.5}, {"name": "stop", "start_s": 1.5, "end_s": 1.51}]
    said = hot_warm_cold.conclude([trial({"kind": "hot"}, migration={"phases": phases}, downtime_s=0.011)])
    assert "Hot: copy 500 ms, stop 10 ms; " in said
    assert said.startswith("The VM stands still for 11 ms (hot, ")


def test_a_copy_that_was_only_waited_for_is_not_called_copied():
    def said(**options):
        migration = {"phases": [], "options": options}
        return hot_warm_cold.conclude([trial({"kind": "hot"}, migration=migration, copied_bytes=67e6)])

    assert "67 MB to be copied (calculated and waited for: no byte was sent), rounds" in said(copy_real=False)
    assert "67 MB copied, rounds" in said(copy_real=True)


def fates(went_on, ended, silent):
    counts = {"went_on": went_on, "ended": ended, "silent": silent}
    return {f"{fate}_connections_count": count for fate, count in counts.items()}


def test_cold_says_what_came_to_the_old_nve_and_whether_connections_went_on():
    said = cold.conclude(
        [
            trial({"quiesced": "no"}, packets_at_old_nve=1200, lost_packets_to_vm=540, **fates(4, 0, 0)),
            trial({"quiesced": "yes"}, packets_at_old_nve=0, lost_packets_to_vm=0, **fates(3, 0, 1)),
        ]
    )
    assert "Without quiescing 1,200 packets came to the old NVE" in said
    assert "With quiescing 0 packets" in said
    assert "All 4 connections went on in 1 of 2 moves" in said


def test_tenants_count_what_came_to_the_wrong_one_over_all_moves():
    one = trial({"path": "p"}, leaked_packets=2, sent_packets_unrouted=500, arrived_packets_unrouted=0)
    said = tenants.conclude([one, one])
    assert "In 2 moves 4 packets came to a VM of another tenant" in said
    assert "of 1,000 sent to a network that the topology does not route to 0 arrived" in said


def test_the_gateways_flow_mods_are_those_of_moves_between_other_nves():
    def one(path, gateway):
        counts = {"flow_mods_count_gateway": gateway, "flow_mods_count_others": 61, "changed_routes_count": 0}
        return trial({"path": path}, **counts)

    said = external_client.conclude([one("remote to remote", 1), one("co-located to remote", 58)])
    assert (
        "A move between two other NVEs takes 1 flow-mod at the gateway NVE and 61 flow-mods at those two"
        in said
    )
    assert "; 0 routes outside changed." in said


def test_ipv6_says_what_discovery_did():
    said = hot_l2_v6.conclude(
        [trial({"path": "p"}, discovery_packets=0, tentative_addresses_count=1), trial(discovery_packets=3)]
    )
    assert "sent 0 packets of neighbour discovery and MLD in a trial (without a move 3)" in said
    assert "could not use after a move: 1." in said


def test_a_record_without_fates_tells_who_was_read_from_at_the_end():
    old = [trial({}, alive_connections_count=4), trial({}, alive_connections_count=3)]
    assert all_went_on(old) == "all 4 connections went on in 1 of 2 moves"
    assert all_went_on([trial({}, **fates(3, 0, 1))]) == "all 3 connections went on in 0 of 1 moves"
    assert all_went_on([trial({})]) == ""


def test_ends_of_connections_are_told_with_their_errors_and_silence_apart():
    reset = {"fate": "ended", "ended_s": 3.0, "how": "sender: Connection reset by peer"}
    on, silent = {"fate": "went on"}, {"fate": "silent"}
    moved = trial({}, **fates(1, 1, 0))
    null = {**trial({}, **fates(1, 0, 1)), "null": True, "connections": {"a": on, "b": silent}}
    said = ends_of_connections([{**moved, "connections": {"a": on, "b": reset}}, null])
    assert said == (
        "In 1 move 1 of 2 connections ended (sender: Connection reset by peer: 1). In 1 null trial 1 of 2 "
        "connections were still silent when their sender's next timeout was over."
    )
    assert ends_of_connections([{**moved, "connections": {"a": on, "b": on}}]) == ""
    assert ends_of_connections([{**moved, "valid": False, "connections": {"a": reset}}]) == ""


def test_a_gap_long_after_the_move_is_told_as_such():
    def watched(length_s, **measures):
        return {**trial({}, **measures), "window_s": [0.0, 2.0 + length_s], "later_s": 2.0}

    dark = {
        "later_lost_packets_to_vm": 100,
        "later_blackout_s_to_vm": 0.2,
        "later_blackout_after_s_to_vm": 14.0,
        "later_tcp_stall_s_to_vm": 0.21,
    }
    said = later_gaps([watched(28.0, **dark), watched(28.0, later_lost_packets_to_vm=0)])
    assert (
        "in 1 of 2 moves packets to the VM were lost again, for at most 200 ms, 15.0 s after the move" in said
    )
    assert "TCP then paused for 210 ms to the VM" in said
    quiet = watched(28.0, later_lost_packets_to_vm=0)
    assert "watched for 28 s: no packet was lost." in later_gaps([quiet])
    assert later_gaps([watched(0.5, later_lost_packets_to_vm=0)]) == ""
    assert later_gaps([trial({})]) == ""
