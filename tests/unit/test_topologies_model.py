import json
import re
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.ipv4_only import without_ipv6
from topologies import (
    Link,
    Topology,
    TopologyErrors,
    Tunnel,
    UnknownNameError,
    check_topology,
    generated,
    load_topology,
    parse_topology,
)
from topologies.addresses import derived_mac
from topologies.loader import SHIPPED

ROOT = Path(__file__).parents[2]
GOOD = ROOT / "tests" / "data" / "good_topologies"


@pytest.fixture
def every_key() -> Topology:
    return load_topology(GOOD / "every_key.yaml")


def test_values_have_the_unit_of_their_name(every_key: Topology) -> None:
    link = every_key.underlay.links[0]
    assert (link.rate_bps, link.delay_s, link.loss_ratio, link.queue_packets) == (
        1_500_000_000,
        0.0015,
        0.005,
        20,
    )
    assert every_key.underlay.mtu_bytes == 9000
    assert every_key.vm("vm1").ipv4 == IPv4Address("10.1.0.1")


def test_ipv6_is_kept_as_addresses(every_key: Topology) -> None:
    red, vm3 = every_key.network("red"), every_key.vm("vm3")
    assert (red.subnet_v6, red.gateway_v6) == (IPv6Network("2001:db8:2::/64"), IPv6Address("2001:db8:2::1"))
    assert (red.gateway_v4, vm3.ipv6) == (IPv4Address("10.2.255.254"), IPv6Address("2001:db8:2::3"))
    assert every_key.as_record()["virtual_networks"][1]["subnet_v6"] == "2001:db8:2::/64"


def test_memory_and_dirty_rate(every_key: Topology) -> None:
    assert (every_key.vm("vm1").memory_bytes, every_key.vm("vm1").dirty_rate_bps) == (512 * 2**20, 0)
    assert (every_key.vm("vm3").memory_bytes, every_key.vm("vm3").dirty_rate_bps) == (
        1_500_000_000,
        80_000_000,
    )
    assert [(vm["memory"], vm["dirty_rate"]) for vm in every_key.as_file()["vms"]][1:] == [
        ("512MiB", 0),
        ("1500000000B", "80Mbit"),
        ("1GiB", 0),
    ]


def test_what_older_files_do_not_say_has_defaults() -> None:
    topology = without_ipv6("minimal")
    network, vm = topology.network("blue"), topology.vm("vm1")
    assert (network.subnet_v6, network.gateway_v4, network.gateway_v6, network.dhcp_server) == (None,) * 4
    assert (vm.ipv6, vm.address) == (None, "static")
    assert (topology.routed_between, topology.outside, topology.routes) == ((), None, ())


def test_needs_netem_names_every_place(every_key: Topology) -> None:
    assert every_key.needs_netem == (
        "underlay.links[0].delay",
        "underlay.links[0].loss",
        "underlay.links[1].delay",
        "nves[0].access.delay",
        "outside.link.delay",
        "outside.link.loss",
    )


def test_access_of_an_nve_is_its_own_or_the_default(every_key: Topology) -> None:
    assert (every_key.access_of("nve1").delay_s, every_key.access_of("nve1").rate_bps) == (1.0, None)
    assert every_key.access_of(every_key.nve("nve2")).rate_bps == 100_000_000


def test_look_ups(every_key: Topology) -> None:
    assert every_key.nve("nve2").rack == "rack2"
    assert (
        every_key.network_of("vm1") is every_key.network_of(every_key.vm("vm1")) is every_key.network("blue")
    )
    assert every_key.prewired_nves("vm1") == ("nve2", "nve1")
    assert every_key.prewired_nves(every_key.vm("vm2")) == ("nve1", "nve2")
    assert [vm.name for vm in every_key.vms_on("nve1")] == ["vm1"]
    assert every_key.routers == ("rack1", "rack2", "spine1")
    assert every_key.summary == (
        "2 NVEs, 2 racks, 1 spine, 2 tenants, 3 virtual networks, 4 VMs, 2 outside clients, "
        "1.5 ms at underlay.links[0], 0.1 ms at underlay.links[1], 2 more delays"
    )


def test_unknown_name_says_what_there_is(every_key: Topology) -> None:
    with pytest.raises(UnknownNameError) as caught:
        every_key.nve("nve3")
    assert str(caught.value) == "there is no NVE 'nve3'; did you mean 'nve2'? (there are: nve1, nve2)"
    with pytest.raises(UnknownNameError, match=r"^there is no VM 'zzz' \(there are: vm1, vm2, vm3, vm4\)$"):
        every_key.network_of("zzz")


def test_macs_are_given_or_derived(every_key: Topology) -> None:
    assert every_key.vm("vm1").mac == "0a:00:00:00:00:01"
    # 10.1.0.2 in hexadecimal is 0a:01:00:02.
    assert re.fullmatch("02:[0-9a-f]{2}:0a:01:00:02", every_key.vm("vm2").mac)
    assert derived_mac("blue", IPv4Address("10.1.0.2")) == every_key.vm("vm2").mac
    assert derived_mac("red", IPv4Address("10.1.0.2")) != every_key.vm("vm2").mac


def test_udp_port_follows_the_encapsulation() -> None:
    assert (Tunnel().udp_port, Tunnel(encapsulation="geneve").udp_port) == (4789, 6081)
    assert Tunnel(encapsulation="geneve", udp_port=4789).udp_port == 4789


def test_models_are_frozen(every_key: Topology) -> None:
    with pytest.raises(ValidationError):
        every_key.name = "other"  # type: ignore[misc]
    assert isinstance(every_key.nves, tuple)
    with pytest.raises(ValidationError):
        Link.model_validate({"between": ["a", "b"], "delay_s": 0.02})


@pytest.mark.parametrize("file", [*SHIPPED.glob("*.yaml"), *GOOD.glob("*.yaml")], ids=lambda file: file.name)
def test_a_topology_comes_back_from_its_values(file: Path) -> None:
    topology = load_topology(file)
    assert Topology.model_validate(json.loads(json.dumps(topology.as_file()))) == topology
    assert parse_topology(json.dumps(topology.as_file()).encode(), "t.yaml") == topology
    assert check_topology(topology) == []


def test_record_holds_plain_numbers(every_key: Topology) -> None:
    record = json.loads(json.dumps(every_key.as_record()))
    assert record["underlay"]["links"][0] == {
        "rate_bps": 1_500_000_000,
        "delay_s": 0.0015,
        "loss_ratio": 0.005,
        "queue_packets": 20,
        "between": ["rack1", "spine1"],
    }
    assert record["vms"][1]["mac"] == every_key.vm("vm2").mac


@pytest.mark.parametrize(
    ("nves", "vms", "racks", "prewired"),
    [(1, 0, 1, 0), (1, 1, 1, 1), (20, 40, 4, 0), (100, 100, 7, 3), (300, 700, 300, 2)],
)
def test_generated_topologies_are_sound(nves: int, vms: int, racks: int, prewired: int) -> None:
    topology = generated(nves=nves, vms=vms, racks=racks, prewired=prewired)
    assert check_topology(topology) == []
    assert (len(topology.nves), len(topology.vms), len(topology.underlay.racks)) == (nves, vms, racks)
    assert all(len(topology.prewired_nves(vm)) == prewired for vm in topology.vms)
    assert max((len(topology.vms_on(nve.name)) for nve in topology.nves), default=0) <= -(-vms // nves)


@pytest.mark.parametrize("wrong", [{"nves": 0}, {"vms": -1}, {"racks": 21}, {"prewired": 21}, {"vms": 10**6}])
def test_impossible_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))}: .*: must be from "):
        generated(**wrong)


def test_check_topology_finds_what_the_models_allow() -> None:
    values = generated(nves=2, vms=2, racks=1).as_file()
    values["vms"][1]["nve"] = "nve7"
    assert [str(problem) for problem in check_topology(Topology.model_validate(values))] == [
        "vms[1].nve: 'nve7': is no NVE; did you mean 'nve2'? (there are: nve1, nve2)"
    ]


def test_import_loads_pydantic_and_nothing_else_that_is_large() -> None:
    code = "import sys, topologies; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pydantic" in loaded
    assert not loaded & {
        "yaml",
        "numpy",
        "scipy",
        "mininet",
        "os_ken",
        "pyroute2",
        "rich",
        "jinja2",
        "matplotlib",
    }


def test_errors_are_an_ordinary_exception() -> None:
    with pytest.raises(TopologyErrors) as caught:
        parse_topology(b"name: A\nunderlay: 5\nnves: []", "t.yaml")
    assert [(error.line, error.path) for error in caught.value.errors] == [
        (1, ("name",)),
        (2, ("underlay",)),
        (3, ("nves",)),
    ]
