"""What holds for all tests."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from results.record.ownership import give_to_owner_of

ROOT = Path(__file__).resolve().parents[1]

# A shell starts background jobs with SIGINT ignored, and that is inherited: Ctrl-C is tested here, so it must count.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no reason to fail: what is generated is judged by what it shows, not by how long it took.
settings.register_profile("overland", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("overland")


def pytest_collection_finish(session: pytest.Session) -> None:
    """No test asks this machine's own network for a MAC address: a frame that names none would make scapy ask."""
    if "scapy.layers.l2" in sys.modules:
        from scapy.config import conf

        conf.neighbor.resolve = _refuse


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What root's tests keep for the next time (caches, the VM image) belongs to whoever has the clone."""
    for folder in (ROOT / ".pytest_cache", ROOT / ".hypothesis", ROOT / ".build"):
        for path in (folder, *folder.rglob("*")):
            give_to_owner_of(ROOT, path)


def _refuse(l2: Any, l3: Any) -> str:
    raise AssertionError(
        f"{l3.summary()}: give its Ether(..) src and dst, else scapy asks the network for them"
    )
