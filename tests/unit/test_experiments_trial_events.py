"""Events that are read off samples: packets next to the switch, retransmissions, timeouts."""

import numpy as np
import pytest

from experiments.running.trial_events import sampled_events


def udp(rx_s, trial=0):
    count = len(rx_s)
    return {"trial": np.full(count, trial), "seq": np.arange(count) + 10, "rx_s": np.array(rx_s, float)}


def info(backoff, retrans, trial=0, direction="to_vm"):
    count = len(backoff)
    return {
        "trial": np.full(count, trial),
        "t_s": 5.0 + np.arange(count) * 0.005,
        "direction": np.full(count, direction),
        "backoff": np.array(backoff),
        "retrans_total": np.array(retrans),
        "ca_state": np.zeros(count, int),
    }


def test_the_packets_next_to_the_switch_are_chosen_by_arrival_and_lost_ones_never():
    files = {"udp_to_vm": udp([1.0, 1.2, np.nan, 1.6, 1.5]), "udp_from_vm": udp([1.1])}
    events = list(sampled_events(files, 0, 1.3))
    assert [(event.t_s, event.fields["direction"], event.fields["seq"]) for event in events] == [
        (1.1, "from_vm", 10),
        (1.2, "to_vm", 11),
        (1.5, "to_vm", 14),
    ]
    assert [event.fields["which"][:5] for event in events] == ["last ", "last ", "first"]


def test_a_null_trial_has_no_packet_next_to_a_switch_but_its_retransmissions():
    files = {"udp_to_vm": udp([1.0]), "tcp_info": info([0, 0, 1], [0, 1, 2])}
    events = list(sampled_events(files, 0, None))
    assert [(event.kind, event.t_s) for event in events] == [
        ("retransmit", pytest.approx(5.005)),
        ("rto", pytest.approx(5.010)),
    ]
    assert all(event.fields == {"direction": "to_vm"} for event in events)


def test_samples_of_other_trials_say_nothing():
    files = {"udp_to_vm": udp([1.0, 2.0], trial=3), "tcp_info": info([0, 1], [0, 1], trial=3)}
    assert list(sampled_events(files, 0, 1.5)) == []
