"""The frames this project sends, read by an independent dissector (scapy)."""

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from wire.arp import gratuitous_arp, rarp_announcement
from wire.ethernet import MARKER
from wire.icmp import Reporter, unreachable
from wire.markers import marker
from wire.nd import answer, solicited_target, unsolicited_advertisement

MAC = "02:b4:0a:01:00:0a"


def test_rarp_announcement_is_a_broadcast_reverse_request_for_the_vm() -> None:
    frame = Ether(rarp_announcement(MAC))
    assert (frame.dst, frame.src, frame.type) == ("ff:ff:ff:ff:ff:ff", MAC, 0x8035)
    request = ARP(bytes(frame.payload))  # RFC 903: RARP has the layout of ARP
    assert (request.hwtype, request.ptype, request.hwlen, request.plen) == (1, 0x0800, 6, 4)
    assert request.op == 3  # request reverse
    assert (request.hwsrc, request.hwdst) == (MAC, MAC)
    assert (request.psrc, request.pdst) == ("0.0.0.0", "0.0.0.0")
    assert len(frame) == 60


def test_marker_has_the_size_asked_for_and_its_payload_first() -> None:
    frame = Ether(marker(b"tokens", 1600))
    assert (frame.type, len(frame)) == (MARKER, 1600)
    assert bytes(frame[Raw].load).startswith(b"tokens\0")


def test_neighbour_advertisement_is_unsolicited_overriding_and_to_all_nodes() -> None:
    frame = Ether(unsolicited_advertisement(MAC, "2001:db8:1::10"))
    assert (frame.dst, frame.src, frame.type) == ("33:33:00:00:00:01", MAC, 0x86DD)
    packet, message = frame[IPv6], frame[ICMPv6ND_NA]
    assert (packet.src, packet.dst, packet.hlim) == ("2001:db8:1::10", "ff02::1", 255)
    assert (message.R, message.S, message.O, message.tgt) == (0, 0, 1, "2001:db8:1::10")
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == MAC
    sent = message.cksum
    del packet[ICMPv6ND_NA].cksum
    assert Ether(bytes(frame))[ICMPv6ND_NA].cksum == sent


def test_gratuitous_arp_asks_for_its_own_address() -> None:
    frame = Ether(gratuitous_arp(MAC, "10.1.0.10"))
    assert (frame.dst, frame.src) == ("ff:ff:ff:ff:ff:ff", MAC)
    request = frame[ARP]
    assert (request.op, request.hwsrc, request.psrc, request.pdst) == (1, MAC, "10.1.0.10", "10.1.0.10")


def as_sent(frame: Ether) -> Ether:
    """Built once, so that lengths and checksums are there to be read."""
    return Ether(bytes(frame))


def test_a_solicitation_is_answered_to_its_asker() -> None:
    asked = as_sent(
        Ether(src="02:00:00:00:00:01", dst="33:33:ff:00:00:10")
        / IPv6(src="fe80::1", dst="ff02::1:ff00:10")
        / ICMPv6ND_NS(tgt="2001:db8:1::10")
    )
    assert solicited_target(bytes(asked)) == "2001:db8:1::10"
    frame = Ether(answer(bytes(asked), MAC, 0x60000000))
    assert (frame.dst, frame.src) == ("02:00:00:00:00:01", MAC)
    packet, message = frame[IPv6], frame[ICMPv6ND_NA]
    assert (packet.src, packet.dst, packet.hlim) == ("2001:db8:1::10", "fe80::1", 255)
    assert (message.S, message.O, frame[ICMPv6NDOptDstLLAddr].lladdr) == (1, 1, MAC)
    read = message.cksum
    del message.cksum
    assert Ether(bytes(frame))[ICMPv6ND_NA].cksum == read


def test_errors_quote_the_packet_and_have_right_checksums() -> None:
    """IPv4: type 3 code 1 (RFC 792); IPv6: type 1 code 3 (RFC 4443 section 3.1)."""
    reporter = Reporter(MAC, "10.1.0.254", "2001:db8:1::fe")
    ends = Ether(src="02:00:00:00:00:01", dst=MAC)
    lost = {
        IP: as_sent(ends / IP(src="10.1.0.1", dst="10.1.0.10") / UDP() / Raw(b"x" * 40)),
        IPv6: as_sent(ends / IPv6(src="2001:db8:1::1", dst="2001:db8:1::10") / UDP() / Raw(b"x" * 40)),
    }
    for layer, error in ((IP, ICMP), (IPv6, ICMPv6DestUnreach)):
        told = unreachable(bytes(lost[layer]), "02:00:00:00:00:01", reporter)
        assert told is not None
        frame = Ether(told)
        assert (frame[layer].dst, frame.dst) == (lost[layer][layer].src, "02:00:00:00:00:01")
        assert (frame[error].type, frame[error].code) == {ICMP: (3, 1), ICMPv6DestUnreach: (1, 3)}[error]
        assert bytes(lost[layer][layer]) in told
        checksum = "chksum" if error is ICMP else "cksum"
        again = frame.copy()
        again[error].delfieldval(checksum)
        assert getattr(Ether(bytes(again))[error], checksum) == getattr(frame[error], checksum)
