"""How fast a capture is read: probes in VXLAN and without, between TCP segments of other lengths."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from experiments.bench.rows import Row
from results.captures.pcap import PROBE_MAGIC, read_pcap

WANTED_PPS = 500_000
TUNNEL_PORT, VNI = 4789, 5001
_FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 160, 1)


def _ethernet(ethertype: int = 0x0800) -> bytes:
    return bytes.fromhex("020000000001020000000002") + struct.pack("!H", ethertype)


def _ipv4(protocol: int, payload: bytes) -> bytes:
    ends = bytes((10, 1, 0, 1)) + bytes((10, 1, 0, 10))
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + ends + payload


def _udp(port: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", 40_000, port, 8 + len(payload), 0) + payload


def frames(number: int) -> list[bytes]:
    """A probe without a tunnel, one within, and a TCP segment, as a link of hot-l2 has them."""
    probe = struct.pack("<IIqq", PROBE_MAGIC, 0, number, number + 1) + bytes(40)
    plain = _ethernet() + _ipv4(17, _udp(5001, probe))
    vxlan = struct.pack("!BBHI", 8, 0, 0, VNI << 8)
    tunnelled = _ethernet() + _ipv4(17, _udp(TUNNEL_PORT, vxlan + plain))
    return [plain, tunnelled, _ethernet() + _ipv4(6, bytes(20 + number % 80))]


def write_capture(path: Path, count: int) -> int:
    """A capture of at least ``count`` frames; how many it has."""
    kinds = [one for number in range(1000) for one in frames(number)]
    block = b"".join(struct.pack("<IIII", 1, at, len(one), len(one)) + one for at, one in enumerate(kinds))
    blocks = -(-count // len(kinds))
    with path.open("wb") as file:
        file.write(_FILE_HEADER)
        for _ in range(blocks):
            file.write(block)
    return blocks * len(kinds)


def _by_hand(path: Path) -> int:
    """The control: the same file, record by record, each one's probe number unpacked."""
    data, position, probes = path.read_bytes(), len(_FILE_HEADER), 0
    unpack = struct.Struct("<IIII").unpack_from
    while position < len(data):
        _, _, kept, _ = unpack(data, position)
        frame = data[position + 16 : position + 16 + kept]
        if frame[23] == 17 and frame[36:38] == b"\x12\xb5":
            frame = frame[50:]
        if frame[23] == 17 and len(frame) >= 66:
            magic, _, seq, _ = struct.unpack_from("<IIqq", frame, 42)
            probes += magic == PROBE_MAGIC and seq >= 0
        position += 16 + kept
    return probes


def _rate(count: int, read: Callable[[], int], probes: int) -> float:
    begin_s = time.monotonic()
    found = read()
    took_s = time.monotonic() - begin_s
    if found != probes:
        raise AssertionError(f"{found} probes found, {probes} written")
    return count / took_s


def pcap_rows(count: int) -> list[Row]:
    """Frames a second that ``make pcap`` reads; control: a loop over the records that unpacks the number alone."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bench.pcap"
        total = write_capture(path, count)
        probes = 2 * total // 3
        ours = _rate(total, lambda: int((read_pcap(path, TUNNEL_PORT).frames.seq >= 0).sum()), probes)
        control = _rate(total, lambda: _by_hand(path), probes)
    return [
        Row(
            f"parsing a capture of {total:,} frames",
            f"{WANTED_PPS:,} frames/s",
            f"{ours:,.0f} frames/s",
            f"{control:,.0f} frames/s by a loop that reads the probe's number alone",
            ours >= WANTED_PPS,
        )
    ]
