"""How many neighbours a topology puts into the kernel's tables, and what is said when they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulation import neighbours
from emulation.neighbours import Forgetting, Table
from topologies import Topology, generated, load_topology, topology_file

ENTRIES = "entries  allocs   destroys\n000001f4 00000009 00000000\n000001f4 00000003 00000000\n"


def machine(folder: Path, families: tuple[str, ...] = ("ipv4", "ipv6"), limit: int = 1024) -> Path:
    """A /proc that says: so many entries are allowed, 500 (0x1f4) are in use."""
    for family in families:
        place = folder / f"sys/net/{family}/neigh/default"
        place.mkdir(parents=True)
        (place / "gc_thresh3").write_text(f"{limit}\n")
        stat = folder / "net/stat"
        stat.mkdir(parents=True, exist_ok=True)
        (stat / neighbours.FAMILIES[family]).write_text(ENTRIES)
    return folder


def test_what_the_kernel_says_of_its_tables(tmp_path: Path) -> None:
    ipv4, ipv6 = neighbours.tables(machine(tmp_path, limit=4096))
    assert (ipv4, ipv6) == (Table("ipv4", 4096, 500), Table("ipv6", 4096, 500))
    assert ipv6.setting == "net.ipv6.neigh.default.gc_thresh3"


def test_where_the_tables_cannot_be_seen_the_kernels_own_limit_is_taken(tmp_path: Path) -> None:
    """Another network namespace than the first one has neither file; a kernel without IPv6 has not those of IPv6."""
    assert neighbours.tables(tmp_path / "nothing") == (Table("ipv4", 1024, 0), Table("ipv6", 1024, 0))
    ipv4, ipv6 = neighbours.tables(machine(tmp_path, ("ipv4",)))
    assert (ipv4.used, ipv6) == (500, Table("ipv6", 1024, 0))


def test_this_machines_own_tables_can_be_read() -> None:
    """Some entry is there always (the loopback's), wherever the files are."""
    for table in neighbours.tables():
        assert table.limit > 0
        assert table.used >= 0


@pytest.mark.parametrize(
    ("nves", "vms", "start", "most"),
    [
        # 2 NVEs with the NVA: 4; 1 rack and a spine: 2. Two VMs have each other: 2.
        (2, 2, 6, 8),
        # 20 NVEs: 40; 4 racks: 8. 100 VMs with 99 others each: 9,900.
        (20, 100, 48, 9948),
    ],
)
def test_neighbours_of_generated_networks(nves: int, vms: int, start: int, most: int) -> None:
    topology = generated(nves, vms, racks=1 if nves == 2 else 4)
    assert neighbours.needed_to_start(topology) == {"ipv4": start, "ipv6": 0}
    assert neighbours.needed_at_most(topology) == {"ipv4": most, "ipv6": 0}


def test_gateways_and_clients_are_neighbours_too() -> None:
    """outside: 3 NVEs (6), 2 racks and a spine (4); see the file for its VMs."""
    topology = load_topology(topology_file("outside"))
    (network,) = topology.virtual_networks
    assert topology.outside is not None
    vms, clients = len(topology.vms), len(topology.outside.clients)
    assert network.gateway_v4 is not None
    assert network.gateway_v6 is not None
    assert neighbours.needed_at_most(topology) == {
        "ipv4": 6 + 4 + vms * (vms - 1) + vms + 2 * clients,
        "ipv6": vms * (vms - 1) + vms + 2 * clients,
    }


def test_two_networks_of_20_need_half_of_what_one_of_40_does() -> None:
    made = generated(4, 40).as_file()
    second = {"name": "net2", "tenant": "tenant1", "vni": 5002, "subnet_v4": "10.0.0.0/16"}
    made["virtual_networks"].append(second)
    for vm in made["vms"][20:]:
        vm["virtual_network"] = "net2"
        del vm["mac"]
    both = Topology.model_validate(made)
    start = neighbours.needed_to_start(both)["ipv4"]
    assert neighbours.needed_at_most(both)["ipv4"] - start == 2 * 20 * 19
    assert neighbours.needed_at_most(generated(4, 40))["ipv4"] - start == 40 * 39


def test_what_does_not_fit_is_told_with_the_command_that_helps() -> None:
    topology = generated(20, 40)  # 48 to start, 48 + 40 x 39 = 1,608 at most
    (problem,) = neighbours.problems(topology, [Table("ipv4", 1024, 977), Table("ipv6", 1024, 1024)])
    assert problem.startswith("generated-20-40 needs 48 IPv4 neighbours to start, 977 are in use")
    assert problem.endswith("sudo sysctl -w net.ipv4.neigh.default.gc_thresh3=4096")  # 2 x 1,025, rounded up
    assert neighbours.problems(topology, [Table("ipv4", 1024, 976)]) == []
    said = neighbours.warning(topology, [Table("ipv4", 1607, 0), Table("ipv6", 1024, 0)])
    assert said is not None
    assert "they need 1,608 IPv4 neighbours, and this machine takes 1,607" in said
    assert said.endswith("sudo sysctl -w net.ipv4.neigh.default.gc_thresh3=4096")
    assert neighbours.warning(topology, [Table("ipv4", 1608, 0), Table("ipv6", 1024, 0)]) is None


def test_pings_between_all_forget_before_they_keep_too_many() -> None:
    """Each step of the inner loop is a ping and leaves two entries; 40 hosts take 1,600 of them."""
    kept, most = 0, 0

    def forget() -> None:
        nonlocal kept
        kept = 0

    hosts = Forgetting(range(40), forget)
    pairs = []
    for one in hosts:
        for other in hosts:
            if one != other:
                pairs.append((one, other))
                kept += 2
                most = max(most, kept)
    assert len(set(pairs)) == 40 * 39
    assert neighbours.KEPT_BY_PINGS / 2 < most <= neighbours.KEPT_BY_PINGS
