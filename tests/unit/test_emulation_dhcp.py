"""DHCP: what is decoded of messages (made by scapy), which exchange confirmed a lease, command lines, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from emulation.dhcp import Dhcp, client_argv, server_argv
from emulation.dhcp_messages import confirmation
from emulation.errors import EmulationError
from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import ParameterError, read_parameters
from topologies import load_topology, topology_file
from wire.dhcp import ACK, DISCOVER, NAK, OFFER, REQUEST, Message, decode

TOPOLOGY = load_topology(topology_file("dhcp"))
MAC = "02:b4:0a:01:00:0a"


def frame(*options: Any, address: str = "10.1.0.10", source: int = 67) -> bytes:
    message = BOOTP(op=2, yiaddr=address, chaddr=bytes.fromhex(MAC.replace(":", "")), xid=0xABCD)
    return bytes(
        Ether(src=MAC, dst=MAC)
        / IP(dst="10.1.0.10")
        / UDP(sport=source)
        / message
        / DHCP(options=list(options))
    )


def test_an_acknowledgement_is_read_with_its_lease() -> None:
    found = decode(frame(("message-type", "ack"), ("lease_time", 3600), "end"), 1.5)
    assert found == Message(1.5, ACK, 0xABCD, MAC, "10.1.0.10", 3600)


def test_what_is_no_message_is_none() -> None:
    assert decode(b"\0" * 60, 0.0) is None
    assert decode(frame("end"), 0.0) is None
    assert decode(frame(("message-type", "ack"), "end")[:200], 0.0) is None


def message(t_s: float, kind: int, transaction: int = 1) -> Message:
    return Message(t_s, kind, transaction, MAC, "10.1.0.10", 3600)


def test_a_confirmation_counts_from_the_first_message_of_its_own_exchange() -> None:
    other = message(0.5, REQUEST, transaction=9)
    whole = [other, *(message(t, kind) for t, kind in ((1, DISCOVER), (2, OFFER), (3, REQUEST), (4, ACK)))]
    found = confirmation(whole)
    assert found is not None
    assert (found[0].t_s, found[1].t_s) == (1, 4)
    assert confirmation(whole[:-1]) is None
    assert confirmation([message(1, REQUEST), message(2, NAK)]) is None
    assert confirmation([message(2, ACK)]) is None


def test_the_server_has_one_address_for_each_client_and_no_gateway_where_there_is_none() -> None:
    argv = server_argv(TOPOLOGY, TOPOLOGY.network("blue"), Path("/run/x"))
    assert [word for word in argv if word.startswith("--dhcp-host")] == [f"--dhcp-host={MAC},10.1.0.10,3600"]
    assert "--dhcp-range=10.1.0.0,static,255.255.255.0,3600" in argv
    assert "--dhcp-option=option:router" in argv


def test_a_client_that_starts_again_names_the_address_it_had() -> None:
    assert client_argv(Path("/s"))[-2:] == ["-A", "1"]
    assert client_argv(Path("/s"), "10.1.0.10")[-2:] == ["-r", "10.1.0.10"]


def test_a_vm_with_a_static_address_has_nothing_to_confirm() -> None:
    with pytest.raises(EmulationError, match="peer1 leases no address"):
        Dhcp(TOPOLOGY, lambda *_: None, lambda _: 0, Path("/run/x")).confirm("peer1")  # type: ignore[arg-type,return-value]


def test_dhcp_client_refuses_a_vm_that_leases_nothing() -> None:
    experiment = EXPERIMENTS.find("dhcp-client")
    values = read_parameters(experiment.parameters, ["topology=two_racks"])
    with pytest.raises(ParameterError, match=r"vm=vm1: has a static address in topology two_racks"):
        experiment.check(values, load_topology(topology_file("two_racks")))
    experiment.check(read_parameters(experiment.parameters, []), TOPOLOGY)
