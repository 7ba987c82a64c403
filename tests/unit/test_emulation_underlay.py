"""The underlay's lines of ip and tc, without root."""

from __future__ import annotations

from emulation.plan import UPLINK, Plan
from emulation.underlay import access_lines, router_lines, shaping_lines
from topologies import load_topology, topology_file
from topologies.model import LinkProperties

MTU_BYTES = 1600


def test_a_link_without_properties_is_left_alone() -> None:
    assert shaping_lines("eth0", LinkProperties(), MTU_BYTES) == []


def test_delay_comes_before_the_bucket() -> None:
    quality = LinkProperties(delay="20ms", loss="1%", rate="100Mbit", queue=50)
    netem, bucket = shaping_lines("eth0", quality, MTU_BYTES)
    assert netem == "qdisc add dev eth0 root handle 1: netem limit 100000 delay 20000us loss 1%"
    # 100 Mbit/s at 250 ticks/s: 50,000 bytes a tick; 50 packets of 1,600 + 14 bytes.
    assert bucket == "qdisc add dev eth0 parent 1: handle 2: tbf rate 100000000bit burst 50000 limit 80700"


def test_a_slow_bucket_still_holds_a_packet() -> None:
    (bucket,) = shaping_lines("eth0", LinkProperties(rate="1Mbit", queue=10), MTU_BYTES)
    assert "burst 1700" in bucket  # 1 Mbit/s has 500 bytes a tick, less than one packet
    assert " root handle 1: tbf" in bucket


def test_an_nve_owns_its_link_only_without_a_bridge_of_its_own() -> None:
    plan = Plan(load_topology(topology_file("two_racks")))
    access = plan.access_links["nve1"]
    assert access_lines(access, UPLINK)[0] == f"link set {UPLINK} address {access.underlay_mac}"
    assert not any("address" in line.split()[:4] for line in access_lines(access, "br-phy"))


def test_every_router_has_a_way_to_every_nve() -> None:
    topology = load_topology(topology_file("two_racks"))
    plan = Plan(topology)
    for router in plan.routers:
        lines = list(router_lines(topology, plan, router))
        for nve in topology.nves:
            assert any(line.startswith(f"route add {nve.underlay_ip}/32 via ") for line in lines), (
                router,
                nve.name,
            )
