"""Flows of a datapath that can be about a VM, among VMs of other tenants with the same MAC."""

from pathlib import Path

import pytest

from emulation.datapath_flows import concerning, networks_that_reach
from emulation.wiring import REDIRECTED, nve_device
from topologies import load_topology, topology_file

TENANTS = load_topology(topology_file("two_tenants"))
REST = "packet_type(ns=0,id=0),eth(dst=02:00:0a:01:00:10),eth_type(0x0800),ipv4(frag=no), actions:3"


def test_networks_that_reach_a_vm_are_its_own_and_those_routed_to_it() -> None:
    assert networks_that_reach(TENANTS, "vm1") == {"blue", "green"}
    assert networks_that_reach(TENANTS, "green2") == {"green", "blue", "amber"}


@pytest.mark.parametrize(
    ("flow", "for_vm1", "for_red1"),
    [
        (f"tunnel(tun_id=0x1389,src=192.0.2.3),recirc_id(0),in_port(vxlan_sys_4789),{REST}", True, False),
        (f"tunnel(tun_id=0x138b,src=192.0.2.3),recirc_id(0),in_port(vxlan_sys_4789),{REST}", False, True),
        (f"recirc_id(0),in_port(peer3),{REST}", True, False),
        (f"recirc_id(0),in_port(red1-r),{REST}", False, True),
        (f"recirc_id(0),in_port(green2),{REST}", True, False),
        (f"recirc_id(0),in_port(amber2),{REST}", False, True),
        (f"recirc_id(0),in_port(up0),{REST}", False, False),
    ],
)
def test_flows_of_a_vm_with_the_same_mac_in_another_network_do_not_concern(
    flow: str, for_vm1: bool, for_red1: bool
) -> None:
    assert (concerning(TENANTS, "vm1")(flow), concerning(TENANTS, "red1")(flow)) == (for_vm1, for_red1)


def test_a_port_to_the_outside_concerns_whom_it_reaches() -> None:
    line = f"recirc_id(0),in_port(out0),{REST}"
    assert concerning(TENANTS, "vm1", outside=("out0",))(line)
    assert not concerning(TENANTS, "vm1")(line)


def test_the_second_port_of_a_vm_with_a_long_name_is_known_by_its_short_name() -> None:
    topology = load_topology(Path(__file__).parents[1] / "data" / "good_topologies" / "own_blocks.yaml")
    port = nve_device("trunk-client-a1", REDIRECTED)
    assert port == "trunk-c_" + port[8:13] + "-r"
    assert concerning(topology, "trunk-client-a2")(f"recirc_id(0),in_port({port}),{REST}")
