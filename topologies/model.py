"""The topology of an emulated network as strict, frozen models of what a topology file says.

The keys of a file are the aliases (`delay: 20ms`); the attributes hold plain numbers and end in their unit
(`delay_s == 0.02`). Whether the parts fit together (names that exist, addresses inside subnets, ...) is for
`topologies.checks`. The parts are in `underlay`, `network` and `outside`; this module has the whole.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Any, Protocol, TypeVar

from pydantic import Field

from topologies import fields
from topologies.network import Tenant, VirtualNetwork, Vm
from topologies.outside import Client, Outside
from topologies.problems import did_you_mean, listed
from topologies.underlay import Link, LinkProperties, Nve, Rack, Spine, Tunnel, Underlay
from vocabulary.errors import OverlandError

__all__ = [
    "Client",
    "Link",
    "LinkProperties",
    "Nve",
    "Outside",
    "Rack",
    "Spine",
    "Tenant",
    "Topology",
    "Tunnel",
    "Underlay",
    "UnknownNameError",
    "VirtualNetwork",
    "Vm",
]


class UnknownNameError(OverlandError, LookupError):
    """A topology was asked for something it does not have; the message names what it has."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


_DELAYS_IN_SUMMARY = 2


class Topology(fields.Strict):
    """A whole topology. `load_topology` and `generated` make one; its parts are what the file says."""

    name: fields.TopologyName = Field(description="Name of the topology, usually that of its file.")
    description: fields.Text = Field(
        default="", description="What the topology is for, in a sentence or two."
    )
    underlay: Underlay = Field(description="The IP network that carries the tunnels.")
    tunnel: Tunnel = Field(default=Tunnel(), description="How packets travel between NVEs.")
    nves: tuple[Nve, ...] = Field(strict=False, min_length=1, description="The NVEs, at least one.")
    tenants: tuple[Tenant, ...] = Field(strict=False, default=(), description="The tenants.")
    virtual_networks: tuple[VirtualNetwork, ...] = Field(
        strict=False, default=(), description="The virtual networks of the tenants."
    )
    vms: tuple[Vm, ...] = Field(strict=False, default=(), description="The VMs.")
    routed_between: tuple[fields.NetworkPair, ...] = Field(
        strict=False,
        default=(),
        description="Pairs of virtual networks of different tenants that are routed to each other.",
    )
    outside: Outside | None = Field(
        default=None, description="Clients outside the data centre and the NVE that is their gateway."
    )
    allow: tuple[fields.Permit, ...] = Field(
        strict=False,
        default=(),
        description="Faults that are built as they stand and told as warnings, for a lab about them: mtu-too-large (a"
        " virtual network's packets do not fit into the tunnel).",
    )

    def nve(self, name: str) -> Nve:
        """The NVE of that name. UnknownNameError names those there are."""
        return _by_name(self.nves, name, "NVE")

    def vm(self, name: str) -> Vm:
        """The VM of that name. UnknownNameError names those there are."""
        return _by_name(self.vms, name, "VM")

    def network(self, name: str) -> VirtualNetwork:
        """The virtual network of that name. UnknownNameError names those there are."""
        return _by_name(self.virtual_networks, name, "virtual network")

    def network_of(self, vm: Vm | str) -> VirtualNetwork:
        """The virtual network of a VM (or of the VM of that name)."""
        return self.network((self.vm(vm) if isinstance(vm, str) else vm).virtual_network)

    def prewired_nves(self, vm: Vm | str) -> tuple[str, ...]:
        """Names of the NVEs a VM is wired to from the start; empty: only `replug` can move it."""
        vm = self.vm(vm) if isinstance(vm, str) else vm
        return tuple(nve.name for nve in self.nves) if vm.prewired == "all" else tuple(vm.prewired)

    def may_route(self, network_a: VirtualNetwork | str, network_b: VirtualNetwork | str) -> bool:
        """Whether packets between two virtual networks are routed, in both directions.

        They are when both have a gateway and either belong to one tenant or stand in `routed_between`; IPv6
        packets only when both have `gateway_v6`. What stays inside one network is bridged: False.
        """
        one, other = (
            self.network(network) if isinstance(network, str) else network
            for network in (network_a, network_b)
        )
        if one.name == other.name or one.gateway_v4 is None or other.gateway_v4 is None:
            return False
        pair = (one.name, other.name)
        return one.tenant == other.tenant or bool({pair, pair[::-1]} & set(self.routed_between))

    @property
    def routes(self) -> tuple[tuple[str, str], ...]:
        """Names of every two virtual networks that are routed to each other, in the order of the file."""
        pairs = combinations(self.virtual_networks, 2)
        return tuple((one.name, other.name) for one, other in pairs if self.may_route(one, other))

    def vms_on(self, nve: str) -> tuple[Vm, ...]:
        """The VMs that are attached to an NVE at the start."""
        return tuple(vm for vm in self.vms if vm.nve == nve)

    def access_of(self, nve: Nve | str) -> LinkProperties:
        """What the link between an NVE and its rack does: the NVE's own `access`, or `underlay.access`."""
        nve = self.nve(nve) if isinstance(nve, str) else nve
        return self.underlay.access if nve.access is None else nve.access

    @property
    def routers(self) -> tuple[str, ...]:
        """Names of the underlay's routers, racks first."""
        racks, spines = self.underlay.racks, self.underlay.spines
        return (*(rack.name for rack in racks), *(spine.name for spine in spines))

    @property
    def needs_netem(self) -> tuple[str, ...]:
        """Key paths of every delay and loss over 0; empty: the topology runs on a kernel without netem."""
        return tuple(
            f"{path}.{key}"
            for path, link in self._links()
            for key, value in (("delay", link.delay_s), ("loss", link.loss_ratio))
            if value > 0
        )

    @property
    def queues_at_nves(self) -> tuple[str, ...]:
        """Key paths of every rate, delay and loss of a link that ends at an NVE: a queue at its own end makes it."""
        return tuple(
            f"{path}.{key}"
            for path, link in self._links_at_nves()
            for key, value in (("rate", link.rate_bps), ("delay", link.delay_s), ("loss", link.loss_ratio))
            if value
        )

    def _links(self) -> list[tuple[str, LinkProperties]]:
        routers = [(f"underlay.links[{index}]", link) for index, link in enumerate(self.underlay.links)]
        return [*routers, *self._links_at_nves()]

    def _links_at_nves(self) -> list[tuple[str, LinkProperties]]:
        places = [("underlay.access", self.underlay.access)]
        places += [
            (f"nves[{i}].access", nve.access) for i, nve in enumerate(self.nves) if nve.access is not None
        ]
        return places + ([] if self.outside is None else [("outside.link", self.outside.link)])

    @property
    def summary(self) -> str:
        """One line with the numbers of its parts: `3 NVEs, 2 racks, ...`."""
        clients = () if self.outside is None else ((len(self.outside.clients), "outside client"),)
        counts = (
            (len(self.nves), "NVE"),
            (len(self.underlay.racks), "rack"),
            (len(self.underlay.spines), "spine"),
            (len(self.tenants), "tenant"),
            (len(self.virtual_networks), "virtual network"),
            (len(self.vms), "VM"),
            *clients,
        )
        parts = [f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts]
        delays = [f"{1e3 * link.delay_s:g} ms at {path}" for path, link in self._links() if link.delay_s > 0]
        more = [f"{len(delays) - _DELAYS_IN_SUMMARY} more delays"] if len(delays) > _DELAYS_IN_SUMMARY else []
        return ", ".join([*parts, *delays[:_DELAYS_IN_SUMMARY], *more])

    def as_record(self) -> dict[str, Any]:
        """All of it as JSON values: attribute names, plain numbers in the unit that ends the name."""
        return self.model_dump(mode="json")

    def as_file(self) -> dict[str, Any]:
        """All of it as JSON values with the keys and texts of a file; `model_validate` reads it back."""
        return self.model_dump(mode="json", by_alias=True)


def _by_name(items: Iterable[_N], name: str, what: str) -> _N:
    items = list(items)
    for item in items:
        if item.name == name:
            return item
    names = [item.name for item in items]
    meant = did_you_mean(name, names)
    hint = f"; did you mean '{meant}'?" if meant else ""
    raise UnknownNameError(f"there is no {what} '{name}'{hint} (there are: {listed(names) or 'none'})")
