"""Types of the IP and MAC addresses in a topology.

As in `topologies.fields`, every reader raises ValueError with a sentence that can stand after `key path: value: `.
"""

import re
import zlib
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_NOT_UNICAST = tuple(
    IPv4Network(net) for net in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)

_UNICAST_V6 = (IPv6Network("2000::/3"), IPv6Network("fc00::/7"))
"""Global unicast (RFC 4291 section 2.4, as assigned by IANA) and unique local (RFC 4193 section 3.1)."""

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def read_ipv4(value: object) -> IPv4Address:
    """An IPv4 address in dotted form."""
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except AddressValueError:
        raise ValueError("must be an IPv4 address such as 192.0.2.1") from None


def read_ipv6(value: object) -> IPv6Address:
    """An IPv6 address without a zone."""
    if isinstance(value, IPv6Address) and value.scope_id is None:
        return value
    try:
        return IPv6Address(value if isinstance(value, str) and "%" not in value else "")
    except AddressValueError:
        raise ValueError("must be an IPv6 address such as 2001:db8:1::10") from None


def _unicast(address: IPv4Address, example: str) -> IPv4Address:
    for net in _NOT_UNICAST:
        if address in net:
            raise ValueError(f"is in {net}, which no interface can use here; choose one such as {example}")
    return address


def read_underlay_ip(value: object) -> IPv4Address:
    """The tunnel address of an NVE: unicast IPv4, without a prefix length, since it is a /32."""
    if isinstance(value, str) and "/" in value:
        meant = value.partition("/")[0]
        raise ValueError(
            f"has a prefix length, and a tunnel address is a /32 of its own that the underlay's routers have a host"
            f" route to; write the address alone, such as {_address_or(meant, '192.0.2.1')}"
        )
    if _is_ipv6(value):
        raise ValueError(
            "is an IPv6 address, and the underlay is IPv4 here; give the NVE an IPv4 address such as 192.0.2.1"
            " (VMs may speak IPv6: subnet_v6, ipv6)"
        )
    return _unicast(read_ipv4(value), "192.0.2.1")


def read_vm_ipv4(value: object) -> IPv4Address:
    """The IPv4 address of a VM: one, without a prefix length, which is that of the virtual network's subnet."""
    return read_ipv4(_one_address(value, "ipv4", "192.0.2.1"))


def read_vm_ipv6(value: object) -> IPv6Address:
    """The IPv6 address of a VM: one, without a prefix length, which is that of the virtual network's subnet."""
    return read_ipv6(_one_address(value, "ipv6", "2001:db8:1::10"))


def _one_address(value: object, key: str, example: str) -> object:
    if isinstance(value, list):
        first = next((one for one in value if isinstance(one, str)), example)
        raise ValueError(
            f"a VM has one address of each IP version; write one, such as {key}: {_address_or(first, example)}"
            " (a second one may be a VM of its own)"
        )
    if isinstance(value, str) and "/" in value:
        meant = _address_or(value.partition("/")[0], example)
        raise ValueError(
            "has a prefix length, which the subnet of its virtual network says for all its VMs; write the address"
            f" alone, such as {meant}"
        )
    return value


def _address_or(text: str, example: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return example


def _is_ipv6(value: object) -> bool:
    try:
        return isinstance(value, str) and IPv6Address(value) is not None
    except AddressValueError:
        return False


def read_client_ipv4(value: object) -> IPv4Address:
    """The IPv4 address of a client outside: unicast."""
    return _unicast(read_ipv4(value), "203.0.113.10")


def read_client_ipv6(value: object) -> IPv6Address:
    """The IPv6 address of a client outside: global unicast or unique local."""
    address = read_ipv6(value)
    if not any(address in net for net in _UNICAST_V6):
        raise ValueError(
            f"is neither in {_UNICAST_V6[0]} nor in {_UNICAST_V6[1]}; choose one such as 2001:db8:ff::10"
        )
    return address


def read_subnet_v4(value: object) -> IPv4Network:
    """An IPv4 subnet with room for at least two hosts."""
    form = "must be an IPv4 subnet such as 10.1.0.0/24, with a prefix length from 8 to 30"
    if isinstance(value, IPv4Network):
        value = str(value)
    if not isinstance(value, str) or not re.fullmatch(r"[0-9.]{7,15}/[0-9]{1,2}", value):
        raise ValueError(form)
    try:
        subnet = IPv4Network(value, strict=False)
    except ValueError:
        raise ValueError(form) from None
    if not 8 <= subnet.prefixlen <= 30:
        raise ValueError(form)
    if str(subnet.network_address) != value.split("/")[0]:
        raise ValueError(f"has bits set beyond its prefix length; did you mean '{subnet}'?")
    for net in _NOT_UNICAST:
        if subnet.overlaps(net):
            raise ValueError(f"overlaps {net}, which no VM can use; choose one such as 10.1.0.0/24")
    return subnet


def read_subnet_v6(value: object) -> IPv6Network:
    """An IPv6 subnet, global or unique local.

    Its prefix length is 64, the length of an interface identifier in such addresses (RFC 4291 section 2.5.4).
    """
    form = "must be an IPv6 subnet with prefix length 64, such as 2001:db8:1::/64"
    text = str(value) if isinstance(value, IPv6Network) else value
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-fA-F:.]{2,45}/64", text):
        raise ValueError(form)
    try:
        subnet = IPv6Network(text, strict=False)
        address = IPv6Address(text.removesuffix("/64"))
    except ValueError:
        raise ValueError(form) from None
    if subnet.network_address != address:
        raise ValueError(f"has bits set beyond its prefix length; did you mean '{subnet}'?")
    if not any(subnet.subnet_of(net) for net in _UNICAST_V6):
        raise ValueError(
            f"is neither in {_UNICAST_V6[0]} nor in {_UNICAST_V6[1]}; choose one such as 2001:db8:1::/64"
        )
    return subnet


def read_mac(value: object) -> str:
    """A unicast MAC address, lower case."""
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise ValueError("must be a MAC address such as 02:00:00:00:00:01")
    if int(value[:2], 16) & 1:
        raise ValueError("is a group address (lowest bit of the first byte set); a VM needs a unicast MAC")
    if value == "00:00:00:00:00:00":
        raise ValueError("is no address; leave the key out for a derived one")
    return value.lower()


def derived_mac(virtual_network: str, ipv4: IPv4Address) -> str:
    """The MAC of a VM that gives none: 02, one byte for the network's name, the four bytes of the address.

    Locally administered (bit 0x02 of the first byte, IEEE 802-2014 section 8.4). Different for all VMs of a
    virtual network, since their addresses differ; the network's byte tells captures of two networks with
    overlapping subnets apart.
    """
    network_byte = zlib.crc32(virtual_network.encode()) & 0xFF
    return ":".join(f"{byte:02x}" for byte in (0x02, network_byte, *ipv4.packed))


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


_V4 = WithJsonSchema({"type": "string", "format": "ipv4"})
_V6 = WithJsonSchema({"type": "string", "format": "ipv6"})

Ipv4 = Annotated[IPv4Address, BeforeValidator(read_ipv4), _V4]
Ipv6 = Annotated[IPv6Address, BeforeValidator(read_ipv6), _V6]
VmIpv4 = Annotated[IPv4Address, BeforeValidator(read_vm_ipv4), _V4]
VmIpv6 = Annotated[IPv6Address, BeforeValidator(read_vm_ipv6), _V6]
UnderlayIp = Annotated[IPv4Address, BeforeValidator(read_underlay_ip), _V4]
ClientIpv4 = Annotated[IPv4Address, BeforeValidator(read_client_ipv4), _V4]
ClientIpv6 = Annotated[IPv6Address, BeforeValidator(read_client_ipv6), _V6]
SubnetV4 = Annotated[IPv4Network, BeforeValidator(read_subnet_v4), _pattern("^[0-9.]+/[0-9]+$")]
SubnetV6 = Annotated[IPv6Network, BeforeValidator(read_subnet_v6), _pattern("^[0-9a-fA-F:.]+/64$")]
Mac = Annotated[str, BeforeValidator(read_mac), _pattern("^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")]
