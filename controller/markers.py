"""End markers: the last frame on the old path (the idea of 3GPP TS 29.281 section 7.3.2, in Ethernet).

The payload is JSON so that it reads well in a capture: ``{"end_marker": number, "migration_id", "nve"}``
after the Ethernet header, padded with zeros to 60 bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from controller.frames import mac_bytes
from controller.pipeline import ETH_MARKER

SENDER_MAC = "02:6f:76:6c:00:01"
"""Sender of end markers: locally administered, belongs to no VM."""


@dataclass(frozen=True)
class EndMarker:
    """One end marker: which move, from which NVE, and the number the caller gave the round."""

    migration_id: str
    nve: str
    number: int


def encode_end_marker(mac: str, marker: EndMarker) -> bytes:
    """Return the frame to a VM's MAC address."""
    body = {"end_marker": marker.number, "migration_id": marker.migration_id, "nve": marker.nve}
    header = mac_bytes(mac) + mac_bytes(SENDER_MAC) + ETH_MARKER.to_bytes(2, "big")
    return (header + json.dumps(body, separators=(",", ":")).encode()).ljust(60, b"\0")


def decode_end_marker(frame: bytes) -> EndMarker | None:
    """Return the marker in a frame, or None when the frame is anything else."""
    if frame[12:14] != ETH_MARKER.to_bytes(2, "big") or frame[6:12] != mac_bytes(SENDER_MAC):
        return None
    try:
        body = json.loads(frame[14:].rstrip(b"\0"))
        return EndMarker(str(body["migration_id"]), str(body["nve"]), int(body["end_marker"]))
    except (ValueError, KeyError, TypeError):
        return None
