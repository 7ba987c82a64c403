"""The TCP probe: command lines, logs, and what a receiver's timeline and tcp_info say. Measures are pure."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emulation.commands import EMULATED
from experiments.probes.build import STREAM_SOURCE, probe_binary
from experiments.probes.logs import ProbeLog, read_log, seconds
from experiments.probes.measures import Measure, Window
from experiments.probes.process import python_argv
from experiments.probes.tcp_info import FIELDS

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "mptcp": 262, "sctp": 132}
"""What ``tcp_stream.c`` carries, with its IP protocol number; IPPROTO_MPTCP (linux/in.h) names a kind of socket, on the
wire it is TCP (RFC 8684)."""
STREAM_LAYOUT = "t_ns:<i8,bytes:<i8"
INFO_LAYOUT = ",".join(f"{name}:<i8" for name in FIELDS)
INFINITE_SSTHRESH = 0x7FFFFFFF
RECOVERY_BIN_S = 0.1  # the rate is back when so long a time has it


@dataclass(frozen=True)
class TcpStream:
    """One connection used in one direction; ``server`` is listened on; ``rate_bps`` 0: as fast as it goes.

    ``protocol``: one of ``PROTOCOLS``, or ``quic``.
    """

    server: str
    port: int
    rate_bps: float = 0.0
    congestion_control: str = "cubic"
    block_bytes: int = 1200
    protocol: str = "tcp"


@dataclass(frozen=True)
class Timeline:
    """What a receiver read and when: ``t_s`` on the monotonic clock, ``n_bytes`` of each read."""

    t_s: npt.NDArray[np.float64]
    n_bytes: npt.NDArray[np.int64]

    def read_between(self, start_s: float, end_s: float) -> bool:
        """Whether anything was read from ``start_s`` on, before ``end_s``."""
        low, high = np.searchsorted(self.t_s, (start_s, end_s))
        return bool(high > low)


def stream_argv(stream: TcpStream, role: str, direction: str, log_path: Path) -> list[str]:
    """The command line of one end: ``role`` is server or client, ``direction`` send or receive."""
    words = [
        role, direction,
        "--address", stream.server, "--port", str(stream.port), "--out", str(log_path),
        "--rate-bps", f"{stream.rate_bps:.9g}", "--block-bytes", str(stream.block_bytes),
    ]  # fmt: skip
    if stream.protocol == "quic":
        return python_argv("experiments.probes.quic_stream", *words, site_packages=True)
    words += ["--protocol", stream.protocol, "--congestion-control", stream.congestion_control]
    return [str(probe_binary(STREAM_SOURCE)), *words]


POLL_S = 0.020 if EMULATED else 0.005
"""Between two looks at tcp_info; on emulated processors 200 a second took 35 % of the two processors' 200."""


def info_argv(ports: Iterable[int], log_path: Path, interval_s: float = POLL_S) -> list[str]:
    """The command line of the tcp_info poller of one network namespace."""
    chosen = [text for port in ports for text in ("--port", str(port))]
    return python_argv(
        "experiments.probes.tcp_info", *chosen, "--interval-s", f"{interval_s:g}", "--out", str(log_path)
    )


def parse_stream(data: bytes) -> ProbeLog:
    """Read the log of either end: ``t_ns`` and ``bytes`` of each read (receiver) or write (sender)."""
    return read_log(data, STREAM_LAYOUT)


def parse_info(data: bytes) -> ProbeLog:
    """Read the poller's log; fields as in ``tcp_info.FIELDS``, cwnd and ssthresh in segments."""
    return read_log(data, INFO_LAYOUT)


def timeline(log: ProbeLog) -> Timeline:
    """The timeline in a receiver's log."""
    return Timeline(seconds(log.records["t_ns"]), log.records["bytes"].astype(np.int64))


def tcp_measures(
    timeline: Timeline,
    window: Window,
    before_s: float = 0.5,
    bin_s: float = RECOVERY_BIN_S,
    step_s: float = 0.02,
    later_s: float | None = None,
) -> dict[str, Measure]:
    """Measure a receiver's progress within ``window``.

    - ``tcp_stall_s``: the longest time without a read. One that goes on past the window's end counts in full,
      and one that began before the window counts from its start.
    - ``tcp_bytes``: bytes read within the window. ``tcp_before_bps``: rate of the ``before_s`` ahead of that stall.
    - ``tcp_recovery_s``: from the beginning of that stall to the first ``bin_s`` after it, searched
      in steps of ``step_s``, with at least 90 % of the rate of the ``before_s`` ahead of the stall. None when
      that does not come within the window or nothing was read before.

    With ``later_s``, a moment of the window, that stall began before it; ``later_tcp_stall_s``: the longest of those
    that began from then on.
    """
    start_s, end_s = window
    t_s = timeline.t_s
    total = np.concatenate(([0], np.cumsum(timeline.n_bytes)))

    def read_by(moment_s: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Bytes read before each moment."""
        return np.asarray(total[np.searchsorted(t_s, moment_s)])

    low, high = np.searchsorted(t_s, window)
    following = t_s[high : high + 1] if high < len(t_s) else np.array([end_s])
    moments = np.concatenate(([start_s], t_s[low:high], following))
    gaps = np.diff(moments)
    own = len(gaps) if later_s is None else max(1, int(np.searchsorted(moments[:-1], later_s)))
    longest = int(gaps[:own].argmax())
    stall_s = float(gaps[longest])
    stall_start_s, stall_end_s = float(moments[longest]), float(moments[longest + 1])

    # Reads come in lumps: count from just after the last read, which belongs to the time before the stall.
    ahead = np.array([stall_start_s - before_s, stall_start_s]) + 1e-9
    rate_before = float(np.diff(read_by(ahead))[0]) / before_s
    candidates = np.arange(stall_end_s, end_s - bin_s, step_s)
    recovered: float | None = None
    if rate_before > 0 and len(candidates):
        rates = (read_by(candidates + bin_s) - read_by(candidates)) / bin_s
        enough = np.flatnonzero(rates >= 0.9 * rate_before)
        if len(enough):
            recovered = float(candidates[enough[0]]) - stall_start_s
    return {
        "tcp_stall_s": stall_s,
        "tcp_bytes": int(total[high] - total[low]),
        "tcp_before_bps": 8 * rate_before,
        "tcp_recovery_s": recovered,
        **({} if later_s is None else {"later_tcp_stall_s": float(gaps[own:].max(initial=0.0))}),
    }


def info_measures(log: ProbeLog, window: Window, port: int) -> dict[str, Measure]:
    """Say what the congestion control of the connections with ``port`` went through within ``window``.

    ``tcp_retransmitted_segments``, ``tcp_spurious_segments`` (of those the receiver said that it had them: DSACK, RFC
    2883; None where the kernel does not count them), ``tcp_timeouts_count`` (rises of the backoff counter seen; polling
    may miss one that lasted less than a poll), ``tcp_backoff_max_count`` (the most doublings of the RTO in force at
    once), ``tcp_cwnd_min_packets``, ``tcp_rto_max_s`` (also of an RTT that was measured across a standstill). All None
    when nothing was polled.
    """
    records = log.records
    t_s = seconds(records["t_ns"])
    ours = (records["local_port"] == port) | (records["remote_port"] == port)
    records = records[ours & (t_s >= window[0]) & (t_s < window[1])]
    if not len(records):
        names = (
            "retransmitted_segments",
            "spurious_segments",
            "timeouts_count",
            "backoff_max_count",
            "cwnd_min_packets",
            "rto_max_s",
        )
        return dict.fromkeys(f"tcp_{name}" for name in names)
    retransmits = spurious = timeouts = 0
    ends = np.stack((records["local_port"], records["remote_port"]), axis=1)
    for pair in np.unique(ends, axis=0):
        one = records[(ends == pair).all(axis=1)]
        retransmits += int(one["total_retrans"][-1] - one["total_retrans"][0])
        spurious += int(one["dsack_dups"][-1] - one["dsack_dups"][0])
        timeouts += int(np.diff(one["backoff"]).clip(min=0).sum())
    return {
        "tcp_retransmitted_segments": retransmits,
        "tcp_spurious_segments": spurious if (records["dsack_dups"] >= 0).all() else None,
        "tcp_timeouts_count": timeouts,
        "tcp_backoff_max_count": int(records["backoff"].max()),
        "tcp_cwnd_min_packets": int(records["cwnd"].min()),
        "tcp_rto_max_s": float(records["rto_us"].max()) / 1e6,
    }
