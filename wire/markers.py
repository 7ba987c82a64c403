"""Frames that no stack listens to; their place in a queue or on a path says what is in front of them. Pure.

An *end marker* is the last frame on the old path (the idea of 3GPP TS 29.281 section 7.3.2, in Ethernet). Its payload
is JSON so that it reads well in a capture: ``{"end_marker": number, "migration_id", "nve"}``, zeros to 60 bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from wire import ethernet

MARKER_MAC = "02:00:00:00:88:b5"
"""Sender and target of a marker in a queue: locally administered, belongs to nobody."""
END_MARKER_MAC = "02:6f:76:6c:00:01"
"""Sender of end markers: locally administered, belongs to no VM."""


def marker(payload: bytes, size_bytes: int = ethernet.MINIMUM_FRAME_BYTES) -> bytes:
    """A marker with a payload, at least as long as asked for."""
    return ethernet.build(MARKER_MAC, MARKER_MAC, ethernet.MARKER, payload).ljust(size_bytes, b"\0")


@dataclass(frozen=True)
class EndMarker:
    """One end marker: which move, from which NVE, and the number the caller gave the round."""

    migration_id: str
    nve: str
    number: int


def encode_end_marker(mac: str, marker: EndMarker) -> bytes:
    """The frame to a VM's MAC address."""
    body = {"end_marker": marker.number, "migration_id": marker.migration_id, "nve": marker.nve}
    payload = json.dumps(body, separators=(",", ":")).encode()
    return ethernet.build(mac, END_MARKER_MAC, ethernet.MARKER, payload)


def decode_end_marker(frame: bytes) -> EndMarker | None:
    """The marker in a frame, or None when the frame is anything else."""
    if ethernet.ethertype(frame) != ethernet.MARKER or ethernet.sender_mac(frame) != END_MARKER_MAC:
        return None
    try:
        body = json.loads(frame[ethernet.HEADER_BYTES :].rstrip(b"\0"))
        return EndMarker(str(body["migration_id"]), str(body["nve"]), int(body["end_marker"]))
    except (ValueError, KeyError, TypeError):
        return None
