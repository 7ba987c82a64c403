"""The underlay and the NVEs at its edge, as strict, frozen models of a topology file's sections."""

from typing import Annotated, Literal

from pydantic import Field

from topologies import addresses, fields

Encapsulation = Annotated[Literal["vxlan", "geneve"], fields.one_of("vxlan", "geneve")]

DEFAULT_PORTS = {"vxlan": 4789, "geneve": 6081}
"""UDP ports that IANA assigned: RFC 7348 section 5 (VXLAN), RFC 8926 section 3.3 (Geneve)."""


class LinkProperties(fields.Strict):
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
    queue_packets: fields.Queue = Field(
        default=1000,
        alias="queue",
        description="Packets that wait at most at each end; matters only with rate, delay or loss.",
    )


class Rack(fields.Strict):
    """A rack: its router, to which the NVEs of the rack are attached."""

    name: fields.NodeName = Field(description="Name of the rack's router, at most 15 characters.")


class Spine(fields.Strict):
    """A router that joins racks or other spines."""

    name: fields.NodeName = Field(description="Name of the router, at most 15 characters.")


class Link(LinkProperties):
    """A link of the underlay between two routers (racks or spines)."""

    between: fields.LinkEnds = Field(
        description="The two routers that the link joins, such as [rack1, spine1]."
    )


class Underlay(fields.Strict):
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
    routes_tenants: fields.Flag = Field(
        default=False,
        description="Whether every NVE has a plain port to its rack and routers may have host routes for VMs: needed "
        "by the old-NVE policy forward.",
    )
    access: LinkProperties = Field(
        default=LinkProperties(), description="What every link between an NVE and its rack does to packets."
    )


class Tunnel(fields.Strict):
    """How packets travel between NVEs."""

    encapsulation: Encapsulation = Field(
        default="vxlan", description="vxlan (RFC 7348) or geneve (RFC 8926)."
    )
    udp_port: fields.Port = Field(
        default_factory=lambda data: DEFAULT_PORTS[data["encapsulation"]],
        description="Destination UDP port; without it 4789 for vxlan and 6081 for geneve.",
    )


class Nve(fields.Strict):
    """A network virtualization edge: where VMs are attached and tunnels end."""

    name: fields.NodeName = Field(description="Name of the NVE, at most 15 characters.")
    rack: fields.Reference = Field(description="Name of the rack that the NVE stands in.")
    underlay_ip: addresses.UnderlayIp = Field(
        description="IPv4 address of its tunnel end, a /32 of its own: without a prefix length."
    )
    access: LinkProperties | None = Field(
        default=None,
        description="What this NVE's link to its rack does to packets, instead of underlay.access.",
    )
