"""What is outside the data centre: clients that no NVA knows of, behind one NVE, as strict, frozen models."""

from pydantic import Field

from topologies import addresses, fields
from topologies.underlay import LinkProperties


class Client(fields.Strict):
    """A host outside. It has an ordinary address and a route, and knows nothing of tunnels, NVEs or the NVA."""

    name: fields.NodeName = Field(description="Name of the client, at most 15 characters.")
    ipv4: addresses.ClientIpv4 = Field(
        description="Its IPv4 address, outside the subnets of all virtual networks, such as 203.0.113.10."
    )
    ipv6: addresses.ClientIpv6 | None = Field(
        default=None,
        description="Its IPv6 address, outside the subnets of all virtual networks; without it IPv4 only.",
    )


class Outside(fields.Strict):
    """The world outside: it and the VMs of some virtual networks route to each other, without NAT."""

    nve: fields.Reference = Field(description="Name of the NVE that is the gateway to the outside.")
    link: LinkProperties = Field(
        default=LinkProperties(),
        description="What the link between that NVE and the clients does to packets; all clients share it.",
    )
    clients: tuple[Client, ...] = Field(strict=False, min_length=1, description="The clients, at least one.")
    reaches: tuple[fields.Reference, ...] = Field(
        strict=False,
        min_length=1,
        description="Names of the virtual networks, each with a gateway, whose VMs and the clients reach each other.",
    )
