"""RTP-like voice: a frame of 20 ms each 20 ms, both ways, played from a jitter buffer of fixed length.

The frames are those of G.711 in RTP: 160 bytes behind a header of 12 (RFC 3550 section 5.1, RFC 3551 section 4.5.14).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.probes.emodel import call_mos
from experiments.probes.measures import Measure, Window, with_direction
from experiments.probes.packets import Packets
from experiments.probes.transports.base import WHOLE, Ends, Scope
from experiments.probes.transports.udp import Udp, UdpOutcome

PORT = 5004
FRAME_S = 0.020
FRAMES_PPS = 1 / FRAME_S
FRAME_BYTES = 12 + 160
TALK_S = 10.0


class Voice(Udp):
    """Frames as packets; ``buffer_s``: how long the listener waits with each for those that come late.

    ``talk_s``: length of the talk that is rated.
    """

    def __init__(self, ends: Ends, buffer_s: float, talk_s: float = TALK_S) -> None:
        super().__init__(ends, FRAMES_PPS, FRAME_BYTES, port=PORT)
        self._buffer_s, self._talk_s = buffer_s, talk_s

    def outcome_of(self, packets: Mapping[str, Packets]) -> VoiceOutcome:
        """What the listeners hear."""
        return VoiceOutcome(packets, self._buffer_s, self._talk_s)


class VoiceOutcome(UdpOutcome):
    """Frames that were played, and what the call was like."""

    def __init__(self, packets: Mapping[str, Packets], buffer_s: float, talk_s: float) -> None:
        super().__init__(packets, FRAME_S)
        self._buffer_s, self._talk_s = buffer_s, talk_s

    def measures(self, window: Window, scope: Scope = WHOLE) -> dict[str, Measure]:
        """Those of UDP packets, and ``voice_measures`` of each direction."""
        found = super().measures(window, scope)
        for direction, packets in self.packets.items():
            found |= with_direction(voice_measures(packets, window, self._buffer_s, self._talk_s), direction)
        return found


def voice_measures(
    packets: Packets, window: Window, buffer_s: float, talk_s: float = TALK_S
) -> dict[str, Measure]:
    """What a listener heard of the frames that were due in ``window``; each has a slot of 20 ms. Pure.

    The listener plays a frame ``buffer_s`` after the delay that is usual for its stream (the median of all frames): a
    buffer that does not adapt. A frame that comes after its slot is of no use.

    - ``lost_frames``: never arrived. ``late_frames``: arrived after their slot. ``unsent_frames``: slots for which the
      sender, standing still, had no frame.
    - ``silence_s``: the longest time without anything to play.
    - ``voice_mos``: E-model score (``emodel``) of ``talk_s`` of talk in which this window happened and all else went
      well; a longer window is rated by itself. None when nothing was sent.
    """
    sent_s = packets.tx_s
    names = ("lost_frames", "late_frames", "unsent_frames", "silence_s", "voice_mos")
    if not len(sent_s):
        return dict.fromkeys(names)
    slots = np.rint((sent_s - sent_s[0]) / FRAME_S).astype(np.int64)
    first = int(np.ceil((window[0] - sent_s[0]) / FRAME_S))
    last = int(np.ceil((window[1] - sent_s[0]) / FRAME_S))  # the first slot behind the window
    if last <= first:
        return dict.fromkeys(names)
    delays = packets.rx_s - sent_s
    arrived = packets.order >= 0
    usual_s = float(np.median(delays[arrived])) if arrived.any() else 0.0
    due_s = sent_s[0] + slots * FRAME_S + usual_s + buffer_s
    in_time = arrived & (np.where(arrived, packets.rx_s, np.inf) <= due_s)

    inside = (slots >= first) & (slots < last)
    played = np.zeros(last - first, np.bool_)
    played[slots[inside & in_time] - first] = True
    sent = np.zeros(last - first, np.bool_)
    sent[slots[inside] - first] = True
    bursts = _bursts(~played)
    lost_share = float((~played).sum()) / max(len(played), round(talk_s / FRAME_S))
    burst_ratio = float(np.mean(bursts)) * (1 - lost_share) if bursts else 1.0
    return {
        "lost_frames": int((inside & ~arrived).sum()),
        "late_frames": int((inside & arrived & ~in_time).sum()),
        "unsent_frames": int((~sent).sum()),
        "silence_s": max(bursts, default=0) * FRAME_S,
        "voice_mos": call_mos(usual_s + buffer_s + FRAME_S, lost_share, burst_ratio),
    }


def _bursts(missing: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[int]:
    """Lengths of the runs of slots with nothing to play."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], missing, [False])).astype(np.int8)))
    return [int(end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]
