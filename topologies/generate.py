"""Topologies of any size, for benchmarks: large ones are made, not kept as files."""

from ipaddress import IPv4Address

from topologies.model import Topology

_UNDERLAY_START = IPv4Address("172.16.0.1")
_VM_START = IPv4Address("10.0.0.1")
_LIMIT = 10_000


def generated(nves: int = 20, vms: int = 40, racks: int = 4, prewired: int = 0) -> Topology:
    """A sound topology: `nves` NVEs in `racks` racks under one spine, `vms` VMs of one virtual network.

    NVE i stands in rack i modulo `racks`, VM i is on NVE i modulo `nves`. `prewired`: how many NVEs each VM
    is wired to, its own and those that follow it (0: none). No rate, delay or loss. ValueError for impossible
    numbers.
    """
    for name, value, low, high in (
        ("nves", nves, 1, _LIMIT),
        ("vms", vms, 0, _LIMIT),
        ("racks", racks, 1, nves),
        ("prewired", prewired, 0, nves),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name}: {value}: must be from {low} to {high}")
    nve_names = [f"nve{index + 1}" for index in range(nves)]
    rack_names = [f"rack{index + 1}" for index in range(racks)]
    return Topology.model_validate(
        {
            "name": f"generated-{nves}-{vms}",
            "description": f"{nves} NVEs in {racks} racks under one spine, {vms} VMs.",
            "underlay": {
                "racks": [{"name": name} for name in rack_names],
                "spines": [{"name": "spine1"}],
                "links": [{"between": [name, "spine1"]} for name in rack_names],
            },
            "nves": [
                {"name": name, "rack": rack_names[index % racks], "underlay_ip": str(_UNDERLAY_START + index)}
                for index, name in enumerate(nve_names)
            ],
            "tenants": [{"name": "tenant1"}],
            "virtual_networks": [
                {"name": "net1", "tenant": "tenant1", "vni": 5001, "subnet_v4": "10.0.0.0/16"}
            ],
            "vms": [
                {
                    "name": f"vm{index + 1}",
                    "virtual_network": "net1",
                    "nve": nve_names[index % nves],
                    "ipv4": str(_VM_START + index),
                    "prewired": [nve_names[(index + step) % nves] for step in range(prewired)],
                }
                for index in range(vms)
            ],
        }
    )
