"""A run with PCAP=1: what the captures say is what the probes say, and another's dissector reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.utils import PcapReader

from experiments.running.captures import clock_offset_ns
from results.captures.capture_view import load_trace
from results.record.writer import Record, load_record, read_events, read_samples
from tests.root.test_run import RUN_BOUND_S, SMALL, started

pytestmark = pytest.mark.root


@pytest.mark.parametrize("attachment", ["rebind", "replug"])
def test_captures_account_for_every_packet(tmp_path: Path, attachment: str) -> None:
    words = ("hot-l2", *SMALL, "policy=silent-drop", f"attachment={attachment}", "pcap=*-underlay,vm1*,peer1")
    with started(tmp_path, *words) as run:
        status, _, said = run.ended(RUN_BOUND_S)
    assert status == 0, said
    record = load_record(run.folder())
    captures = record.environment["captures"]
    assert captures["troubles"] == []
    for link in captures["links"]:
        with PcapReader(str(record.folder / link["file"])) as reader:
            assert sum(1 for _ in reader) == link["packets"], link  # flushed, and nothing after it
    if attachment == "replug":
        _ports_and_links_are_told(record)
    trace = load_trace(record)

    # Every packet of a trial that the probes call lost is one that the captures saw leave and not arrive, and no other.
    for direction, (src, dst) in {"to_vm": ("peer1", "vm1"), "from_vm": ("vm1", "peer1")}.items():
        (flow,) = (one for one in trace.flows if (one.src, one.dst) == (src, dst))
        seen = trace.seen(flow)
        spans = [span for lost in seen.lost for span in lost.ranges]
        samples = read_samples(record.folder, f"udp_{direction}")
        lost = {
            int(seq) for seq, copies in zip(samples["seq"], samples["copies"], strict=True) if copies == 0
        }
        captured = {number for first, last in spans for number in range(first, last + 1)}
        assert captured & {int(seq) for seq in samples["seq"]} <= lost, direction
        never_seen = lost - captured
        if attachment == "replug" and direction == "from_vm":  # without a carrier the VM's own device drops
            assert not any(trace.way(flow, number) for number in never_seen)
        else:
            assert never_seen == set(), direction
    assert lost or any(trial["measures"]["lost_packets_to_vm"] for trial in record.trials)

    # One dissector that is not ours: outer IP, UDP 4789, VXLAN with the topology's VNI, the inner Ethernet frame.
    with PcapReader(str(record.folder / "pcap" / "nve1-underlay.pcap")) as reader:
        tunnelled = [one for one in reader if UDP in one and one[UDP].dport == 4789]
    assert tunnelled
    assert {one[VXLAN].vni for one in tunnelled} == {5001}
    assert {one[IP].dst for one in tunnelled} == {f"192.0.2.{number}" for number in (1, 2, 3)}
    assert all(Ether in one[VXLAN] for one in tunnelled)

    # Stamps are nanoseconds of CLOCK_REALTIME; the offset that the record keeps leads to the run's own clock. It was
    # taken a moment ago on the same machine: 1 s is far more than any step of the clock that a run would survive.
    for offset_ns in captures["realtime_minus_monotonic_ns"]:
        assert abs(offset_ns - clock_offset_ns()) < 1e9
    samples = read_samples(record.folder, "udp_to_vm")
    (to_vm,) = (one for one in trace.flows if one.dst == "vm1")
    number = int(samples["seq"][samples["copies"] == 1][0])
    sent_s = float(samples["tx_s"][samples["seq"] == number][0])
    offset_ns = captures["realtime_minus_monotonic_ns"][0]
    first_ns = trace.way(to_vm, number)[0].t_ns
    assert 0 <= (first_ns - offset_ns) / 1e9 - sent_s < 0.05  # from the stamp to the wire: scheduling


def _ports_and_links_are_told(record: Record) -> None:
    """A replug takes the port out of the old NVE, moves the link, adds the port at the new one: all of it events."""
    moves = [trial for trial in record.trials if not trial["null"]]
    assert moves
    for trial in moves:
        old, new = trial["migration"]["old_nve"], trial["migration"]["new_nve"]
        own = [event for event in read_events(record.folder) if event["trial"] == trial["index"]]
        ports = [
            (event["nve"], event["change"])
            for event in own
            if event["kind"] == "port" and event["port"] == "vm1"
        ]
        assert (old, "removed") in ports and (new, "added") in ports, ports
        assert ports.index((old, "removed")) < ports.index((new, "added"))
        links = [(event["node"], event["change"]) for event in own if event["kind"] == "link"]
        assert (old, "gone") in links, links
        assert any(node == new and change.startswith("new") for node, change in links), links
        begin_s, end_s = trial["window_s"]
        assert all(begin_s <= event["t_s"] <= end_s for event in own if event["kind"] in ("port", "link"))
