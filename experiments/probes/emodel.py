"""What a call sounds like: the E-model of ITU-T Recommendation G.107, of what a packet network adds to it. Pure."""

from __future__ import annotations

import math

R_WITHOUT = 93.2
"""R of a connection with the default values of G.107 (table 2): nothing lost, no delay that is noticed."""
IE_G711, BPL_G711 = 0.0, 4.3
"""G.711 without loss concealment (G.113 appendix I): a move loses frames one after the other, which concealment
cannot fill."""


def delay_impairment(mouth_to_ear_s: float) -> float:
    """Idd, what absolute delay takes from R: nothing up to 100 ms (G.107 section 7.4, default sensitivity)."""
    if mouth_to_ear_s <= 0.1:
        return 0.0
    x = math.log2(mouth_to_ear_s / 0.1)
    return float(25.0 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


def loss_impairment(lost_share: float, burst_ratio: float) -> float:
    """Ie,eff, what lost frames take from R (G.107 section 7.5).

    ``burst_ratio`` (BurstR): mean length of the bursts seen, over that of as much random loss, 1 / (1 - lost
    share): McGowan, US patent 6,931,017 (2005), and Chydzinski and Samociuk, doi:10.1007/s11235-018-0476-7. It has no
    upper bound here; whether the model holds for bursts as long as a move's is not verified.
    """
    lost_percent = 100.0 * lost_share
    if lost_percent == 0:
        return IE_G711
    burst = max(burst_ratio, 1.0)
    return IE_G711 + (95.0 - IE_G711) * lost_percent / (lost_percent / burst + BPL_G711)


def mos(rating: float) -> float:
    """The mean opinion score, 1 (bad) to 4.5, for a rating R (G.107 annex B)."""
    if rating <= 0:
        return 1.0
    if rating >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


def call_mos(mouth_to_ear_s: float, lost_share: float, burst_ratio: float) -> float:
    """The score of a call in G.711 with that delay and that loss."""
    return mos(R_WITHOUT - delay_impairment(mouth_to_ear_s) - loss_impairment(lost_share, burst_ratio))
