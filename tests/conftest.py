"""What holds for all tests."""

import signal
import sys
from typing import Any

import pytest

# A shell starts background jobs with SIGINT ignored, and that is inherited: Ctrl-C is tested here, so it must count.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """No test asks this machine's own network for a MAC address: a frame that names none would make scapy ask."""
    if "scapy.layers.l2" in sys.modules:
        from scapy.config import conf

        conf.neighbor.resolve = _refuse


def _refuse(l2: Any, l3: Any) -> str:
    raise AssertionError(
        f"{l3.summary()}: give its Ether(..) src and dst, else scapy asks the network for them"
    )
