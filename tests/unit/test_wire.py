"""Frames byte by byte, against the documents that define them."""

from __future__ import annotations

import pytest

from wire import bpf, ethernet, ip, nd
from wire.arp import rarp_announcement
from wire.markers import EndMarker, decode_end_marker, encode_end_marker, marker

MAC = "02:00:00:00:00:0a"


def test_rarp_is_rfc_903s_request_of_ones_own_address() -> None:
    """RFC 903 with RFC 826's layout: Ethernet, IPv4, lengths 6 and 4, operation 3, own MAC twice, no addresses."""
    own = "02000000000a"
    body = "0001" + "0800" + "06" + "04" + "0003" + own + "00000000" + own + "00000000"
    wanted = bytes.fromhex("ffffffffffff" + own + "8035" + body)
    assert rarp_announcement(MAC) == wanted.ljust(60, b"\0")
    assert len(wanted) == 42


def test_a_frame_is_never_shorter_than_ethernet_allows() -> None:
    frame = ethernet.build("02:00:00:00:00:0b", MAC, ethernet.IPV4, b"x")
    assert len(frame) == 60
    assert frame[:15] == bytes.fromhex("02000000000b" + "02000000000a" + "0800") + b"x"
    assert len(ethernet.build(MAC, MAC, ethernet.IPV4, bytes(100))) == 114


@pytest.mark.parametrize("size", [60, 1600])
def test_a_marker_has_its_type_its_payload_and_its_size(size: int) -> None:
    frame = marker(b"tokens", size)
    assert (frame[12:14], frame[14:20], len(frame)) == (b"\x88\xb5", b"tokens", size)
    assert frame[0] & 1 == 0
    assert frame[0] & 2 == 2, "locally administered"


def test_an_end_marker_is_read_as_it_was_written_and_nothing_else_is_one() -> None:
    said = EndMarker("m-1", "nve2", 3)
    frame = encode_end_marker(MAC, said)
    assert decode_end_marker(frame) == said
    assert decode_end_marker(marker(b"tokens")) is None
    assert decode_end_marker(frame[:20]) is None
    assert decode_end_marker(frame.replace(b"migration_id", b"migration_no")) is None


def test_checksum_is_rfc_1071s_example() -> None:
    """RFC 1071 section 3: 00 01 f2 03 f4 f5 f6 f7 add up to ddf2; the checksum is its complement."""
    assert ip.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert ip.checksum(b"\x01") == ip.checksum(b"\x01\x00")


def test_link_local_is_rfc_4291s_modified_eui_64() -> None:
    """Appendix A: 34-56-78-9A-BC-DE with the universal bit inverted and ff:fe in the middle."""
    assert nd.link_local("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"


def accepted(program: list[bpf.Instruction], frame: bytes) -> bool:
    """Run a filter as the kernel would: the few instructions that these programs use."""
    at, register = 0, 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == bpf.RETURN:
            return k > 0
        if code == bpf.LOAD_HALF:
            register = int.from_bytes(frame[k : k + 2], "big")
        elif code == bpf.LOAD_BYTE:
            register = frame[k]
        else:
            assert code == bpf.JUMP_EQUAL
            at += yes if register == k else no


def test_the_filters_keep_what_they_are_for() -> None:
    def udp(source: int, protocol: int = ip.UDP) -> bytes:
        packet = (
            bytes([0x45]) + bytes(8) + bytes([protocol]) + bytes(10) + source.to_bytes(2, "big") + bytes(6)
        )
        return ethernet.build(MAC, MAC, ethernet.IPV4, packet)

    assert accepted(bpf.of_ethertype(ethernet.MARKER), marker(b""))
    assert not accepted(bpf.of_ethertype(ethernet.MARKER), udp(67))
    kept = [
        accepted(bpf.of_dhcp(), frame) for frame in (udp(67), udp(68), udp(69), udp(67, ip.TCP), marker(b""))
    ]
    assert kept == [True, True, False, False, False]
