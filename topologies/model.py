"""The topology of an emulated network as strict, frozen models of what a topology file says.

The keys of a file are the aliases (`delay: 20ms`); the attributes hold plain numbers and end in their unit
(`delay_s == 0.02`). Whether the parts fit together (names that exist, addresses inside subnets, ...) is for
`topologies.checks`. Later parts (gateways, IPv6, DHCP, policy between tenants) get keys of their own beside
those here; `subnet_v6` is known already and refused with a sentence that says so.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from topologies import fields
from topologies.problems import did_you_mean, listed


class UnknownNameError(LookupError):
    """A topology was asked for something it does not have; the message names what it has."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=False
    )


def _number(low: int, high: int) -> tuple[BeforeValidator, WithJsonSchema]:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return BeforeValidator(fields.whole_number(low, high)), WithJsonSchema(schema)


def _encapsulation(value: object) -> object:
    if value not in ("vxlan", "geneve"):
        raise ValueError("must be vxlan or geneve")
    return value


Queue = Annotated[int, *_number(1, 1_000_000)]
Port = Annotated[int, *_number(1, 65535)]
Vni = Annotated[int, *_number(1, 2**24 - 1)]
Encapsulation = Annotated[Literal["vxlan", "geneve"], BeforeValidator(_encapsulation)]

DEFAULT_PORTS = {"vxlan": 4789, "geneve": 6081}
"""UDP ports that IANA assigned: RFC 7348 section 5 (VXLAN), RFC 8926 section 3.3 (Geneve)."""


class LinkProperties(_Strict):
    """What a link does to packets, the same in both directions."""

    rate_bps: fields.Rate = Field(
        default=None,
        alias="rate",
        description="Rate in each direction, such as 100Mbit; without it no limit.",
    )
    delay_s: fields.Delay = Field(
        default=0.0, alias="delay", description="One-way delay in each direction, such as 20ms; needs netem."
    )
    loss_ratio: fields.Loss = Field(
        default=0.0,
        alias="loss",
        description="Share of packets lost in each direction, such as 0.5%; needs netem.",
    )
    queue_packets: Queue = Field(
        default=1000,
        alias="queue",
        description="Packets that wait at most at each end; matters only with rate, delay or loss.",
    )


class Rack(_Strict):
    """A rack: its router, to which the NVEs of the rack are attached."""

    name: fields.NodeName = Field(description="Name of the rack's router, at most 9 characters.")


class Spine(_Strict):
    """A router that joins racks or other spines."""

    name: fields.NodeName = Field(description="Name of the router, at most 9 characters.")


class Link(LinkProperties):
    """A link of the underlay between two routers (racks or spines)."""

    between: fields.Pair = Field(description="The two routers that the link joins, such as [rack1, spine1].")


class Underlay(_Strict):
    """The IP network that carries the tunnels."""

    mtu_bytes: fields.Mtu = Field(
        default=1600,
        alias="mtu",
        description="MTU of every underlay link in bytes; must hold a VM's packet and the tunnel headers.",
    )
    racks: tuple[Rack, ...] = Field(strict=False, min_length=1, description="The racks, at least one.")
    spines: tuple[Spine, ...] = Field(
        strict=False, default=(), description="The routers that join the racks."
    )
    links: tuple[Link, ...] = Field(
        strict=False,
        default=(),
        description="The links between routers; every NVE must reach every other one.",
    )
    access: LinkProperties = Field(
        default=LinkProperties(), description="What every link between an NVE and its rack does to packets."
    )


class Tunnel(_Strict):
    """How packets travel between NVEs."""

    encapsulation: Encapsulation = Field(
        default="vxlan", description="vxlan (RFC 7348) or geneve (RFC 8926)."
    )
    udp_port: Port = Field(
        default_factory=lambda data: DEFAULT_PORTS[data["encapsulation"]],
        description="Destination UDP port; without it 4789 for vxlan and 6081 for geneve.",
    )


class Nve(_Strict):
    """A network virtualization edge: where VMs are attached and tunnels end."""

    name: fields.NodeName = Field(description="Name of the NVE, at most 9 characters.")
    rack: fields.Reference = Field(description="Name of the rack that the NVE stands in.")
    underlay_ip: fields.UnderlayIp = Field(
        description="IPv4 address of its tunnel end, a /32 of its own; not in 10.255.0.0/16 or 100.64.0.0/10."
    )
    access: LinkProperties | None = Field(
        default=None,
        description="What this NVE's link to its rack does to packets, instead of underlay.access.",
    )


class Tenant(_Strict):
    """Who owns virtual networks."""

    name: fields.Name = Field(description="Name of the tenant.")
    description: fields.Text = Field(default="", description="What the tenant is for.")


class VirtualNetwork(_Strict):
    """A tenant's network; subnets of different virtual networks may overlap."""

    name: fields.Name = Field(description="Name of the virtual network.")
    tenant: fields.Reference = Field(description="Name of the tenant it belongs to.")
    vni: Vni = Field(description="Virtual network identifier in the tunnel header, 1 to 16777215, used once.")
    subnet_v4: fields.SubnetV4 = Field(description="IPv4 subnet of its VMs, such as 10.1.0.0/24.")
    subnet_v6: fields.SubnetV6 = Field(default=None, description="Kept for IPv6, which is not supported yet.")
    mtu_bytes: fields.Mtu = Field(
        default=1450, alias="mtu", description="MTU of its VMs in bytes; at most underlay.mtu less 50."
    )


class Vm(_Strict):
    """A VM and where it runs first."""

    name: fields.NodeName = Field(description="Name of the VM, at most 9 characters.")
    virtual_network: fields.Reference = Field(description="Name of the virtual network it belongs to.")
    nve: fields.Reference = Field(description="Name of the NVE it is attached to at the start.")
    ipv4: fields.Ipv4 = Field(description="Its IPv4 address, in the subnet of its virtual network.")
    mac: fields.Mac = Field(
        default_factory=lambda data: fields.derived_mac(data["virtual_network"], data["ipv4"]),
        description="Its MAC address; without it a locally administered one is derived from its address.",
    )
    prewired: fields.Prewired = Field(
        default=(),
        description="NVEs it is wired to from the start, its own too, for moves by rebind; all: every NVE.",
    )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


class Topology(_Strict):
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
        places: list[tuple[str, LinkProperties]] = [
            (f"underlay.links[{index}]", link) for index, link in enumerate(self.underlay.links)
        ]
        places.append(("underlay.access", self.underlay.access))
        places += [
            (f"nves[{i}].access", nve.access) for i, nve in enumerate(self.nves) if nve.access is not None
        ]
        return tuple(
            f"{path}.{key}"
            for path, link in places
            for key, value in (("delay", link.delay_s), ("loss", link.loss_ratio))
            if value > 0
        )

    @property
    def summary(self) -> str:
        """One line with the numbers of its parts: `3 NVEs, 2 racks, ...`."""
        counts = (
            (len(self.nves), "NVE"),
            (len(self.underlay.racks), "rack"),
            (len(self.underlay.spines), "spine"),
            (len(self.tenants), "tenant"),
            (len(self.virtual_networks), "virtual network"),
            (len(self.vms), "VM"),
        )
        return ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts)

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
