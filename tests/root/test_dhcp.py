"""A real DHCP server and client: lease, MAC and address before and after a move, by both ways of asking."""

from __future__ import annotations

import re
from typing import Any

import pytest

from emulation.commands import wait_until
from emulation.dhcp_messages import Listener, confirmation
from emulation.network import RUN_FOLDER
from experiments.running.laboratory import Laboratory
from tests.root.sandboxed import Capture, in_sandbox, laboratory, pings
from topologies import load_topology, topology_file
from wire.dhcp import ACK, DISCOVER, REQUEST, Message

pytestmark = pytest.mark.root


def confirmed(lab: Laboratory, listener: Listener, *, restart: bool = False) -> list[Message]:
    """The messages of one confirmation."""
    listener.messages()
    seen: list[Message] = []
    lab.network.dhcp.confirm("vm1", restart=restart)

    def acknowledged() -> bool:
        seen.extend(listener.messages())
        return confirmation(seen) is not None

    wait_until(acknowledged, 5.0, "an acknowledgement")
    return seen


def leases() -> str:
    return (RUN_FOLDER / "dnsmasq-blue.leases").read_text()


def seen_of_a_lease() -> dict[str, Any]:
    with laboratory(load_topology(topology_file("dhcp"))) as lab:
        lab.network.await_addresses()
        dhcp, pid = lab.network.dhcp, lab.network["vm1"].pid
        seen: dict[str, Any] = {"addresses": [dhcp.addresses("vm1")], "leases": [leases()]}
        listener, bystander = Listener(pid), Capture(lab.network["peer1"].pid, "eth0")
        seen["here"] = confirmed(lab, listener)
        seen["reached"] = [pings(lab.network["peer2"].pid, "10.1.0.10")]
        for nve, restart in (("nve2", False), ("nve3", True)):
            lab.move("vm1", nve, policy="buffer")
            seen[nve] = confirmed(lab, listener, restart=restart)
            seen["addresses"].append(dhcp.addresses("vm1"))
            seen["leases"].append(leases())
            seen["reached"].append(pings(lab.network["peer2"].pid, "10.1.0.10"))
        seen["bystander"] = [frame for frame in bystander.frames() if frame[:6] == b"\xff" * 6]
        seen["ended"] = dhcp.ended()
        return seen


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(seen_of_a_lease, 60.0)
    return found


def test_address_and_mac_are_the_same_at_every_nve(seen: dict[str, Any]) -> None:
    assert seen["addresses"] == [["10.1.0.10"]] * 3
    owners = [re.findall(r"(02:\S+) (10\.\S+)", text) for text in seen["leases"]]
    assert owners == [[("02:b4:0a:01:00:0a", "10.1.0.10")]] * 3
    assert seen["reached"] == [2, 2, 2]


def test_a_renewal_is_one_request_and_one_answer_with_the_whole_lease(seen: dict[str, Any]) -> None:
    for place in ("here", "nve2"):
        assert [(one.kind, one.lease_s) for one in seen[place]] == [(REQUEST, None), (ACK, 3600)]


def test_a_client_that_starts_again_goes_through_the_whole_exchange(seen: dict[str, Any]) -> None:
    kinds = [one.kind for one in seen["nve3"]]
    assert (kinds[0], kinds[-1]) == (DISCOVER, ACK)
    assert {one.address for one in seen["nve3"] if one.kind == ACK} == {"10.1.0.10"}


def test_no_broadcast_of_client_or_server_reaches_another_vm(seen: dict[str, Any]) -> None:
    assert seen["bystander"] == []
    assert seen["ended"] == {}
