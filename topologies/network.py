"""Tenants, their virtual networks and the VMs in them, as strict, frozen models of a topology file's sections."""

from typing import Annotated, Literal

from pydantic import Field

from topologies import addresses, fields

Address = Annotated[Literal["static", "dhcp"], fields.one_of("static", "dhcp")]


class Tenant(fields.Strict):
    """Who owns virtual networks."""

    name: fields.Name = Field(description="Name of the tenant.")
    description: fields.Text = Field(default="", description="What the tenant is for.")


class VirtualNetwork(fields.Strict):
    """A tenant's network; subnets of different virtual networks may overlap unless they are routed to each other."""

    name: fields.Name = Field(description="Name of the virtual network.")
    tenant: fields.Reference = Field(description="Name of the tenant it belongs to.")
    vni: fields.Vni = Field(
        description="Virtual network identifier in the tunnel header, 1 to 16777215, used once."
    )
    subnet_v4: addresses.SubnetV4 = Field(description="IPv4 subnet of its VMs, such as 10.1.0.0/24.")
    subnet_v6: addresses.SubnetV6 | None = Field(
        default=None, description="IPv6 subnet of its VMs, a /64 such as 2001:db8:1::/64; without it no IPv6."
    )
    gateway_v4: addresses.Ipv4 | None = Field(
        default=None,
        description="IPv4 address of its gateway, the same at every NVE; without it nothing is routed.",
    )
    gateway_v6: addresses.Ipv6 | None = Field(
        default=None,
        description="IPv6 address of its gateway, beside gateway_v4; without it no IPv6 is routed.",
    )
    dhcp_server: fields.Reference | None = Field(
        default=None, description="Name of the VM of this virtual network that answers DHCP (IPv4)."
    )
    mtu_bytes: fields.Mtu = Field(
        default=1450,
        alias="mtu",
        description="MTU of its VMs in bytes; at most underlay.mtu less 50, with IPv6 at least 1280.",
    )


class Vm(fields.Strict):
    """A VM and where it runs first."""

    name: fields.NodeName = Field(description="Name of the VM, at most 15 characters.")
    virtual_network: fields.Reference = Field(description="Name of the virtual network it belongs to.")
    nve: fields.Reference = Field(description="Name of the NVE it is attached to at the start.")
    ipv4: addresses.VmIpv4 = Field(
        description="Its IPv4 address, in the subnet of its virtual network; with address: dhcp the one that"
        " the DHCP server will give it."
    )
    mac: addresses.Mac = Field(
        default_factory=lambda data: addresses.derived_mac(data["virtual_network"], data["ipv4"]),
        description="Its MAC address; without it a locally administered one is derived from its address.",
    )
    prewired: fields.Prewired = Field(
        default=(),
        description="NVEs it is wired to from the start, its own too, for moves by rebind; all: every NVE.",
    )
    ipv6: addresses.VmIpv6 | None = Field(
        default=None,
        description="Its IPv6 address, in subnet_v6 of its virtual network; without it only the link-local one.",
    )
    address: Address = Field(
        default="static",
        description="static: ipv4 is set at the start; dhcp: it is leased from the network's dhcp_server.",
    )
    memory_bytes: fields.Memory = Field(
        default=512 * 2**20,
        alias="memory",
        description="Size of its memory, such as 512MiB; a move copies that much.",
    )
    dirty_rate_bps: fields.DirtyRate = Field(
        default=0,
        alias="dirty_rate",
        description="How fast it changes its memory while it runs, such as 80Mbit; 0: not at all.",
    )
