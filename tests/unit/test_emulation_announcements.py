"""What a VM's new place is announced with."""

import pytest
from scapy.layers.l2 import ARP, Ether

from emulation.announcements import announcements
from vocabulary.moves import ANNOUNCED_WITH as WAYS

MAC, IPV4, IPV6 = "02:b4:0a:01:00:0a", "10.1.0.10", ("2001:db8:1::10", "fe80::1")


def kinds(way: str, ipv6: tuple[str, ...] = IPV6) -> list[str]:
    return [kind for kind, _ in announcements(way, MAC, IPV4, ipv6)]


def test_each_way_has_its_frames() -> None:
    assert {way: kinds(way) for way in WAYS} == {
        "all": ["rarp", "unsolicited_na", "unsolicited_na"],
        "rarp": ["rarp"],
        "garp": ["garp"],
        "na": ["unsolicited_na", "unsolicited_na"],
    }
    assert kinds("all", ()) == ["rarp"]
    assert kinds("na", ()) == []
    with pytest.raises(ValueError, match="announce_with=arp: allowed are all, rarp, garp, na"):
        announcements("arp", MAC, IPV4, IPV6)


def test_a_gratuitous_arp_is_a_broadcast_request_for_ones_own_address() -> None:
    ((_, frame),) = announcements("garp", MAC, IPV4, IPV6)
    read = Ether(frame)
    assert (read.dst, read.src, read.type, len(frame)) == ("ff:ff:ff:ff:ff:ff", MAC, 0x0806, 60)
    request = read[ARP]
    # RFC 5227 section 2.3: an ARP announcement is a probe but for its sender's address.
    assert (request.op, request.hwsrc, request.psrc, request.pdst) == (1, MAC, IPV4, IPV4)
