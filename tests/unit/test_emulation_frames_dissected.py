"""The frames this project sends, read by an independent dissector (scapy)."""

from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from emulation.frames import MARKER_TYPE, marker, rarp_announcement

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
