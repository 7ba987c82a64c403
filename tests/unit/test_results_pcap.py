"""Capture files: scapy writes them, our own parser reads them, and the trace says where a packet was lost."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgWriter, PcapWriter

from results.__main__ import main
from results.captures.pcap import PROBE_MAGIC, Frames, read_pcap
from results.captures.trace import Flow, Names, Trace, names_of, range_text, ranges
from results.record.contract import RecordError
from results.record.writer import RunRecord

A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"
TOPOLOGY = {
    "vms": [
        {"name": "vm1", "ipv4": "10.1.0.10", "ipv6": "fd00::10"},
        {"name": "peer1", "ipv4": "10.1.0.1", "ipv6": None},
    ],
    "nves": [{"name": "nve1", "underlay_ip": "192.0.2.1"}, {"name": "nve3", "underlay_ip": "192.0.2.3"}],
    "outside": None,
}


def probe(number: int, stream: int = 0, tx_ns: int | None = None) -> Raw:
    stamp = 1_000 + number if tx_ns is None else tx_ns
    return Raw(struct.pack("<IIqq", PROBE_MAGIC, stream, number, stamp) + bytes(40))


def frame(payload: Packet, src: str = "10.1.0.1", dst: str = "10.1.0.10", ttl: int = 64) -> Packet:
    return Ether(src=A, dst=B) / IP(src=src, dst=dst, ttl=ttl) / UDP(sport=4000, dport=5001) / payload


def in_tunnel(inner: Packet, port: int = 4789, header: Packet | None = None) -> Packet:
    outer = Ether(src=B, dst=A) / IP(src="192.0.2.1", dst="192.0.2.3") / UDP(sport=50_000, dport=port)
    return outer / (header or VXLAN(vni=5001, flags=8)) / inner


def write(
    path: Path, frames: Sequence[Packet], times_s: Sequence[float] = (), order: str = "<", nano: bool = True
) -> Path:
    with PcapWriter(str(path), linktype=1, endianness=order, nano=nano, snaplen=200) as writer:
        writer.write_header(None)
        for number, one in enumerate(frames):
            one = Ether(bytes(one))
            one.time = times_s[number] if times_s else 1_700_000_000 + number
            writer.write_packet(one)
    return path


def columns(path: Path, port: int = 4789) -> Frames:
    return read_pcap(path, port).frames


def address(text: str) -> tuple[int, int]:
    whole = int.from_bytes(bytes(map(int, text.split("."))), "big")
    return 0, 0xFFFF << 32 | whole


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [True, False])
def test_a_probe_in_vxlan_and_one_without_in_every_kind_of_file(
    tmp_path: Path, order: str, nano: bool
) -> None:
    path = write(tmp_path / "a.pcap", [in_tunnel(frame(probe(7))), frame(probe(8), ttl=63)], (), order, nano)
    found = columns(path)
    assert found.seq.tolist() == [7, 8]
    assert found.stream.tolist() == [0, 0]
    assert found.tx_ns.tolist() == [1007, 1008]
    assert found.vni.tolist() == [5001, -1]
    assert found.ttl.tolist() == [64, 63]
    assert found.t_ns.tolist() == [1_700_000_000 * 10**9, 1_700_000_001 * 10**9]
    assert (int(found.src_high[0]), int(found.src_low[0])) == address("10.1.0.1")
    assert (int(found.dst_high[1]), int(found.dst_low[1])) == address("10.1.0.10")
    assert found.outer_src.tolist() == [0xC0000201, 0]
    assert found.outer_dst.tolist() == [0xC0000203, 0]


def test_geneve_with_options_and_ipv6_inside(tmp_path: Path) -> None:
    options = GENEVE(vni=77, proto=0x6558, options=[GeneveOptions(data=b"12345678")])
    six = Ether(src=A, dst=B) / IPv6(src="fd00::1", dst="fd00::10", hlim=9) / UDP(sport=1, dport=2) / probe(3)
    found = columns(write(tmp_path / "g.pcap", [in_tunnel(six, 6081, options)]), 6081)
    assert (found.vni[0], found.seq[0], found.ttl[0]) == (77, 3, 9)
    assert (int(found.dst_high[0]), int(found.dst_low[0])) == (0xFD00 << 48, 0x10)


def test_what_is_no_probe_has_no_number(tmp_path: Path) -> None:
    later = Ether(src=A, dst=B) / IP(src="10.1.0.1", dst="10.1.0.10", frag=64, proto=17) / bytes(8) / probe(5)
    others = [
        Ether(src=A, dst=B) / ARP(),
        Ether(src=A, dst=B) / IP(src="10.1.0.1", dst="10.1.0.10") / TCP() / probe(1),
        later,  # a fragment that is not the first has no UDP header
        frame(Raw(b"short")),
        Ether(src=A, dst=B, type=0x88B5) / Raw(bytes(46)),
    ]
    found = columns(write(tmp_path / "o.pcap", others))
    assert found.seq.tolist() == [-1] * len(others)
    assert found.vni.tolist() == [-1] * len(others)
    assert found.size_bytes.tolist() == [len(bytes(one)) for one in others]


def test_a_frame_cut_by_the_snap_length_reads_no_byte_of_the_next_one(tmp_path: Path) -> None:
    whole, kept = bytes(frame(probe(5))), 14 + 20 + 8 + 4  # magic number and no more
    path = tmp_path / "s.pcap"
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, kept, 1)
    one = struct.pack("<IIII", 1, 2, kept, len(whole)) + whole[:kept]
    path.write_bytes(head + one + one)
    found = columns(path)
    assert found.seq.tolist() == [0, 0]  # the number was not kept, and nothing else stands for it
    assert found.size_bytes.tolist() == [len(whole)] * 2


def test_a_file_of_a_killed_run_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "k.pcap", [frame(probe(number)) for number in range(3)])
    path.write_bytes(path.read_bytes()[:-5])
    found = read_pcap(path, 4789)
    assert found.cut
    assert found.frames.seq.tolist() == [0, 1]
    empty = write(tmp_path / "e.pcap", [])
    assert not read_pcap(empty, 4789).cut
    assert len(read_pcap(empty, 4789).frames.seq) == 0


def test_what_is_no_capture_is_refused_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is not a capture at all, whatever its name says")
    (tmp_path / "nothing").write_bytes(b"")
    with PcapNgWriter(str(tmp_path / "ng")) as writer:
        writer.write(frame(probe(1)))
    good = write(tmp_path / "damaged", [frame(probe(1))]).read_bytes()
    (tmp_path / "damaged").write_bytes(good[:32] + b"\xff\xff\xff\x7f" + good[36:])
    (tmp_path / "cooked").write_bytes(good[:20] + struct.pack("<I", 113) + good[24:])
    wanted = {
        "text": "is not a capture",
        "nothing": "is not a capture",
        "ng": "is pcapng; convert it",
        "damaged": "damaged at byte 24",
        "cooked": "link type 113, wanted Ethernet",
        "absent": "no such capture",
    }
    for name, words in wanted.items():
        with pytest.raises(RecordError, match=words) as caught:
            read_pcap(tmp_path / name, 4789)
        assert "\n" not in str(caught.value)


def made_trace(tmp_path: Path, links: dict[str, list[tuple[float, Packet]]]) -> Trace:
    captures = {
        link: read_pcap(
            write(tmp_path / f"{link}.pcap", [one for _, one in seen], [t_s for t_s, _ in seen]), 4789
        )
        for link, seen in links.items()
    }
    return Trace(captures, names_of(TOPOLOGY))


TO_VM = Flow("peer1", "vm1", 0, "ipv4")


def test_a_lost_packet_is_where_it_was_seen_last(tmp_path: Path) -> None:
    plain = [frame(probe(number)) for number in range(6)]
    tunnelled = [in_tunnel(one) for one in plain]
    trace = made_trace(
        tmp_path,
        {
            "peer1": [(10.0 + number, one) for number, one in enumerate(plain)],
            "nve1-underlay": [(10.1 + number, tunnelled[number]) for number in (0, 1, 2, 4, 5)],
            "vm1-nve1-direct": [(10.2 + number, plain[number]) for number in (0, 2, 5)],
            "vm1": [(10.3, plain[0]), (15.3, plain[5]), (15.4, plain[5])],
        },
    )
    seen = trace.seen(TO_VM)
    assert (seen.sent, seen.arrived, seen.twice) == (6, 2, 1)
    assert {one.link: (one.packets, one.ranges) for one in seen.lost} == {
        "nve1-underlay": (2, ((1, 1), (4, 4))),
        "vm1-nve1-direct": (1, ((2, 2),)),
        "peer1": (1, ((3, 3),)),
    }
    way = trace.way(TO_VM, 1)
    assert [(one.link, one.outer_dst, one.vni) for one in way] == [
        ("peer1", "", None),
        ("nve1-underlay", "nve3", 5001),
    ]
    assert way[1].t_ns - way[0].t_ns == pytest.approx(1e8, abs=1e3)
    tunnel = [row for row in trace.carried() if row.link == "nve1-underlay"]
    assert [(row.ends, row.vni, row.packets) for row in tunnel] == [(("nve1", "nve3"), 5001, 5)]


def test_numbers_that_begin_again_are_other_packets(tmp_path: Path) -> None:
    first, again = frame(probe(0, tx_ns=50)), frame(probe(0, tx_ns=90))
    trace = made_trace(tmp_path, {"peer1": [(1.0, first), (2.0, again)], "vm1": [(1.1, first)]})
    seen = trace.seen(TO_VM)
    assert (seen.sent, seen.arrived, [one.packets for one in seen.lost]) == (2, 1, [1])


def test_without_the_capture_of_an_end_nothing_is_called_lost(tmp_path: Path) -> None:
    trace = made_trace(tmp_path, {"nve1-underlay": [(1.0, in_tunnel(frame(probe(0))))]})
    assert trace.flows == [TO_VM]
    seen = trace.seen(TO_VM)
    assert (seen.sent, seen.arrived, seen.lost) == (None, None, ())


def test_flows_are_told_apart_by_ends_stream_and_version(tmp_path: Path) -> None:
    six = Ether(src=A, dst=B) / IPv6(src="fd00::7", dst="fd00::10") / UDP(sport=1, dport=2) / probe(3)
    back = frame(probe(1), "10.1.0.10", "10.9.9.9")
    trace = made_trace(tmp_path, {"vm1": [(1.0, six), (2.0, back), (3.0, frame(probe(1, stream=4)))]})
    labels = [flow.label for flow in trace.flows]
    assert labels == ["fd00::7 -> vm1 (ipv6)", "peer1 -> vm1 (stream 4)", "vm1 -> 10.9.9.9"]
    assert [trace.seen(flow).arrived for flow in trace.flows] == [1, 1, None]


def test_ranges_and_their_words() -> None:
    import numpy as np

    assert ranges(np.array([1, 2, 3, 7, 9, 10])) == [(1, 3), (7, 7), (9, 10)]
    assert ranges(np.array([], dtype=int)) == []
    assert range_text([(1, 3), (7, 7)]) == "1-3, 7"
    assert range_text([(n, n) for n in range(6)]) == "0, 1, 2, 3 and 2 more ranges"
    assert Names().nve(0xC0000201) == "192.0.2.1"


def captured_run(tmp_path: Path) -> Path:
    """A finished run with captures of two links: packet 1 leaves and does not arrive."""
    tunnel = {"encapsulation": "vxlan", "udp_port": 8472}
    record = RunRecord.create(tmp_path, "hot-l2", ["Q1"], {"rate_pps": 5000}, {**TOPOLOGY, "tunnel": tunnel})
    (record.folder / "pcap").mkdir()
    plain = [frame(probe(number)) for number in range(3)]
    begin_s = 1_700_000_000.0
    seen = {
        "peer1": [(begin_s + number, one) for number, one in enumerate(plain)],
        "nve1-underlay": [(begin_s + 1.25, in_tunnel(plain[1], 8472))],
        "vm1": [(begin_s + 0.5, plain[0]), (begin_s + 2.5, plain[2])],
    }
    links = []
    for link, rows in seen.items():
        file = f"pcap/{link}.pcap"
        write(record.folder / file, [one for _, one in rows], [t_s for t_s, _ in rows])
        links.append({"link": link, "file": file, "packets": len(rows), "dropped_packets": link == "vm1"})
    # The run's clock is 1,700,000,000 s behind the frames'.
    offsets_ns = [1_700_000_000 * 10**9] * 2
    troubles = ["pcap/vm1.pcap: tcpdump was too slow for 1 packets; they are not in it"]
    record.set_environment(
        {"captures": {"links": links, "realtime_minus_monotonic_ns": offsets_ns, "troubles": troubles}}
    )
    phases = [{"name": "switch", "start_s": 0.75, "end_s": 0.76}]
    move = {
        "kind": "hot",
        "old_nve": "nve1",
        "new_nve": "nve3",
        "phases": phases,
        "call_to_last_barrier_s": 0.01,
    }
    trial = {
        "index": 4,
        "valid": True,
        "invalid_reason": None,
        "null": False,
        "parameters": {},
        "migration": move,
    }
    record.add_trial({**trial, "measures": {}, "window_s": [0.0, 3.0]})
    record.finish("answered", "a test")
    return record.folder


def test_the_command_says_where_packets_were_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = captured_run(tmp_path)
    assert main(["pcap", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "nve1 -> nve3, VNI 5001: 1 packets" in text
    assert re.search(r"peer1 -> vm1 +3 +2 +0 +1 on nve1-underlay: 1 *\n", text)
    assert "tcpdump was too slow for 1 packets" in text
    assert "PACKET=1" in text
    assert "-d udp.port==8472,vxlan" in text  # not the port that Wireshark knows


def test_the_command_follows_one_packet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = captured_run(tmp_path)
    assert main(["pcap", str(folder), "--packet", "1"]) == 0
    text = capsys.readouterr().out
    assert "Packet 1, peer1 -> vm1: trial 4, +250.0 ms from the switch" in " ".join(text.split())
    assert re.search(r"250\.000 +nve1-underlay +nve1 -> nve3, VNI 5001 +64", text)
    assert "never on vm1: lost" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "pcap/vm1.pcap").unlink(), "vm1.pcap: no such capture"),
        (lambda folder: (folder / "pcap/vm1.pcap").write_bytes(b""), "is not a capture"),
        (lambda folder: None, "no link saw a probe packet number 99"),
    ],
)
def test_what_is_missing_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], words: str
) -> None:
    folder = captured_run(tmp_path)
    change(folder)
    assert main(["pcap", str(folder), "--packet", "99"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert said.err.count("\n") == 1


def test_runs_without_captures_and_sweeps_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = RunRecord.create(tmp_path, "hot-l2", ["Q1"], {}, {})
    record.finish("answered", "a test")
    assert main(["pcap", str(record.folder)]) == 2
    assert "run it again with PCAP=1" in capsys.readouterr().err
    (record.folder / "sweep.json").write_text("{}")
    assert main(["pcap", str(record.folder)]) == 2
    assert "its captures are in the runs beneath it" in capsys.readouterr().err
