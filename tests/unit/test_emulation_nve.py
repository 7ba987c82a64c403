"""What an NVE writes into its Open vSwitch's database at the start."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from emulation.nve import NVE, Datapath
from emulation.plan import UPLINK


def configuration(kind: str, ports: Sequence[str] = ("vm1", "out0")) -> list[dict[str, Any]]:
    nve: Any = NVE.__new__(NVE)  # no namespace is made
    nve.datapath = Datapath(kind, "kernel" if kind == "kernel" else "afpacket", "")
    nve.access = SimpleNamespace(underlay_ip="192.0.2.1", underlay_mac="02:00:00:00:00:01")
    nve.nva_address = "10.255.0.1"
    nve.encapsulation, nve.tunnel_udp_port, nve.dpid = "vxlan", 4789, f"{1:016x}"
    made: list[dict[str, Any]] = nve._initial_configuration(ports)
    return made


@pytest.mark.parametrize(
    ("kind", "kept"), [("kernel", {"vm1", "out0"}), ("userspace", {"vm1", "out0", UPLINK})]
)
def test_ports_keep_their_qdisc(kind: str, kept: set[str]) -> None:
    """Open vSwitch removes the qdisc of a port without a QoS row, and with it a link's delay and rate."""
    operations = configuration(kind)
    ports = {one["row"]["name"]: one["row"] for one in operations if one["table"] == "Port"}
    assert {name for name, row in ports.items() if "qos" in row} == kept
    rows = [one for one in operations if one["table"] == "QoS"]
    assert [(one["uuid-name"], one["row"]) for one in rows] == [("own_qdisc", {"type": "linux-noop"})]
    assert all(row["qos"] == ["named-uuid", "own_qdisc"] for name, row in ports.items() if name in kept)


def test_rows_of_ports_with_like_names_stay_apart() -> None:
    """A row's name takes no '-'; a shortened interface name has a '_' where another may have a '-'."""
    operations = configuration("kernel", ["a-b", "a_b", "a--b", "a-db", "a_db"])
    names = [one["uuid-name"] for one in operations if one["table"] in ("Port", "Interface")]
    assert len(set(names)) == len(names)
    assert all("-" not in name for name in names)
