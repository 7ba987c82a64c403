"""The frames this project sends, read by an independent dissector (scapy)."""

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from emulation.frames import MARKER_TYPE, marker, neighbour_advertisement, rarp_announcement

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
    assert (frame.type, len(frame)) == (MARKER_TYPE, 1600)
    assert bytes(frame[Raw].load).startswith(b"tokens\0")


def test_neighbour_advertisement_is_unsolicited_overriding_and_to_all_nodes() -> None:
    frame = Ether(neighbour_advertisement(MAC, "2001:db8:1::10"))
    assert (frame.dst, frame.src, frame.type) == ("33:33:00:00:00:01", MAC, 0x86DD)
    packet, message = frame[IPv6], frame[ICMPv6ND_NA]
    assert (packet.src, packet.dst, packet.hlim) == ("2001:db8:1::10", "ff02::1", 255)
    assert (message.R, message.S, message.O, message.tgt) == (0, 0, 1, "2001:db8:1::10")
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == MAC
    sent = message.cksum
    del packet[ICMPv6ND_NA].cksum
    assert Ether(bytes(frame))[ICMPv6ND_NA].cksum == sent
