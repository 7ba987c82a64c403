"""What the probes themselves take of a processor."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from pathlib import Path

from emulation import commands
from experiments.bench.rows import Row
from experiments.probes.build import probe_binary
from experiments.probes.udp import UdpProbe, UdpStream

PROBE_SECONDS = 10.0


def prober_rows() -> list[Row]:
    """Processor time of one UDP sender and receiver at 5,000 packets/s, over loopback; control: 500 packets/s."""
    probe_binary()
    used = {rate: _prober_share(rate) for rate in (5000, 500)}
    return [
        Row("prober at 5,000 packets/s, sender and receiver", "25 % of a core", f"{used[5000]:.1%}",
            f"{used[500]:.1%} at 500 packets/s", used[5000] < 0.25)
    ]  # fmt: skip


def _prober_share(rate_pps: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        probe = UdpProbe("bench", UdpStream("127.0.0.1", 5999, rate_pps), Path(folder), bind="127.0.0.1")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)

        def spawn(argv: list[str]) -> subprocess.Popen[bytes]:
            return commands.spawn(argv, stderr=subprocess.PIPE)

        probe.start(spawn, spawn)
        time.sleep(PROBE_SECONDS)  # the duration is what is measured
        probe.stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s / PROBE_SECONDS
