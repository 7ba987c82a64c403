"""Types of the values in a topology: how each is read from a file, and what a message says is allowed.

Every reader here raises ValueError with a sentence that can stand after `key path: value: `.
"""

import re
import zlib
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, SerializationInfo, WithJsonSchema

from topologies import units

INTERFACE_NAME_MAX = 15
"""Characters of a Linux interface name: IFNAMSIZ is 16 with the closing zero (linux/if.h)."""
INTERFACE_SUFFIX_MAX = 6
"""What the emulation appends at most to a node's name to name an interface."""
NODE_NAME_MAX = INTERFACE_NAME_MAX - INTERFACE_SUFFIX_MAX

RESERVED_NAMES = {
    "all": "'prewired: all' means every NVE",
    "nva": "it is the name of the controller",
    "mgmt": "it is the name of the management network",
}
MANAGEMENT_NET = IPv4Network("10.255.0.0/16")
UNDERLAY_LINKS_NET = IPv4Network("100.64.0.0/10")
_NOT_UNICAST = tuple(
    IPv4Network(net) for net in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def _limited_name(value: object, extra: str, limit: int, why: str) -> str:
    others = "a-z, 0-9 and '-'" if not extra else f"a-z, 0-9, '-' and '{extra}'"
    if not isinstance(value, str) or not re.fullmatch(rf"[a-z][a-z0-9{extra}-]*", value):
        raise ValueError(f"must be 1 to {limit} characters of {others}, beginning with a letter")
    if len(value) > limit:
        raise ValueError(f"is {len(value)} characters long; at most {limit} are allowed{why}")
    return value


def read_node_name(value: object) -> str:
    """The name of a rack, spine, NVE or VM: at most 9 characters, because interfaces are named after it."""
    name = _limited_name(
        value,
        "",
        NODE_NAME_MAX,
        f", because interfaces named after it get up to {INTERFACE_SUFFIX_MAX} characters more"
        f" and an interface name has at most {INTERFACE_NAME_MAX}",
    )
    if name in RESERVED_NAMES:
        raise ValueError(f"is reserved: {RESERVED_NAMES[name]}; choose another name")
    return name


def read_name(value: object) -> str:
    """The name of a tenant or a virtual network."""
    return _limited_name(value, "", 32, "")


def read_topology_name(value: object) -> str:
    """The name of a topology: may hold `_`, so that it can be that of its file."""
    return _limited_name(value, "_", 32, "")


def read_text(value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError("must be text; put it in quotes")
    return value


def read_reference(value: object) -> str:
    """The name of something defined elsewhere in the file; whether it exists is for `checks`."""
    if not isinstance(value, str):
        raise ValueError("must be a name")
    return value


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """A reader of a whole number from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def _with_unit(parse: Callable[[object], Any], value: object) -> Any:
    try:
        return parse(value)
    except units.UnitError as error:
        raise ValueError(error.allowed) from None


def read_delay(value: object) -> float:
    """A one-way delay in seconds, at most one minute."""
    seconds = float(_with_unit(units.parse_duration, value))
    if seconds > 60:
        raise ValueError("must be at most 60s")
    return seconds


def read_rate(value: object) -> int | None:
    """A rate in bits per second; None: no limit."""
    if value is None:
        return None
    rate = int(_with_unit(units.parse_rate, value))
    if not 1000 <= rate <= 10**12:
        raise ValueError("must be from 1kbit to 1000Gbit; leave the key out for no limit")
    return rate


def read_loss(value: object) -> float:
    """A share of packets lost, as a ratio below 1."""
    ratio = float(_with_unit(units.parse_loss, value))
    if ratio >= 1:
        raise ValueError("must be below 100%; a link that loses everything is no link, leave it out")
    return ratio


def read_mtu(value: object) -> int:
    """An MTU in bytes (of IP packets, without the Ethernet header).

    At least 576, which every IPv4 host must be able to receive (RFC 791 section 3.1, "Total Length").
    """
    try:
        size = units.parse_size(value)
    except units.UnitError:
        size = 0
    if not 576 <= size <= 65535:
        raise ValueError("must be a number of bytes from 576 to 65535, such as 1450")
    return size


def read_ipv4(value: object) -> IPv4Address:
    """An IPv4 address in dotted form."""
    if isinstance(value, IPv4Address):
        return value
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except AddressValueError:
        raise ValueError("must be an IPv4 address such as 192.0.2.1") from None


def read_underlay_ip(value: object) -> IPv4Address:
    """The tunnel address of an NVE: unicast and outside what the emulation hands out itself."""
    address = read_ipv4(value)
    for net, use in (
        (MANAGEMENT_NET, "the management network"),
        (UNDERLAY_LINKS_NET, "the links of the underlay"),
    ):
        if address in net:
            raise ValueError(
                f"is in {net}, which is kept for {use}; choose an address outside {MANAGEMENT_NET}"
                f" and {UNDERLAY_LINKS_NET}, such as 192.0.2.1"
            )
    for net in _NOT_UNICAST:
        if address in net:
            raise ValueError(f"is in {net}, which no interface can use here; choose one such as 192.0.2.1")
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


def refuse_subnet_v6(value: object) -> None:
    """The place of IPv6 in the model: the key is known, a value is refused until there is IPv6 behind it."""
    if value is not None:
        raise ValueError("IPv6 is not supported yet; leave the key out")


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


def read_prewired(value: object) -> tuple[str, ...] | Literal["all"]:
    """`all`, or a list of NVE names."""
    if value == "all":
        return "all"
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError("must be all, or a list of NVE names such as [nve1, nve3]")


def read_pair(value: object) -> tuple[str, str]:
    """The two ends of a link."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(name, str) for name in value):
        return (value[0], value[1])
    raise ValueError("must be a list of the two routers that the link joins, such as [rack1, spine1]")


def _written_as(form: Callable[[Any], str]) -> PlainSerializer:
    """With the keys of a file its texts (but a plain 0), with the attribute names the plain number."""

    def write(value: Any, info: SerializationInfo) -> Any:
        if not info.by_alias or value is None:
            return value
        return form(value) if value else 0

    return PlainSerializer(write)


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


def _quantity(pattern: str, bare: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": "string", "pattern": pattern}, bare]})


_NUMBER = r"^[0-9]+(\.[0-9]+)? ?"
_NAME_LIST = {"type": "array", "items": {"type": "string"}}

NodeName = Annotated[
    str, BeforeValidator(read_node_name), _pattern(f"^[a-z][a-z0-9-]{{0,{NODE_NAME_MAX - 1}}}$")
]
Name = Annotated[str, BeforeValidator(read_name), _pattern("^[a-z][a-z0-9-]{0,31}$")]
TopologyName = Annotated[str, BeforeValidator(read_topology_name), _pattern("^[a-z][a-z0-9_-]{0,31}$")]
Text = Annotated[str, BeforeValidator(read_text)]
Reference = Annotated[str, BeforeValidator(read_reference)]
Delay = Annotated[
    float,
    BeforeValidator(read_delay),
    _written_as(units.format_duration),
    _quantity(_NUMBER + "(ns|us|µs|ms|s|min|h)$", {"const": 0}),
]
Rate = Annotated[
    int | None,
    BeforeValidator(read_rate),
    _written_as(units.format_rate),
    _quantity(_NUMBER + "(bit|kbit|Mbit|Gbit)$", {"type": "null"}),
]
Loss = Annotated[
    float, BeforeValidator(read_loss), _written_as(units.format_loss), _quantity(_NUMBER + "%$", {"const": 0})
]
Mtu = Annotated[
    int,
    BeforeValidator(read_mtu),
    _quantity("^[0-9]+ ?(B|kB|KiB)?$", {"type": "integer", "minimum": 576, "maximum": 65535}),
]
Ipv4 = Annotated[
    IPv4Address, BeforeValidator(read_ipv4), WithJsonSchema({"type": "string", "format": "ipv4"})
]
UnderlayIp = Annotated[
    IPv4Address, BeforeValidator(read_underlay_ip), WithJsonSchema({"type": "string", "format": "ipv4"})
]
SubnetV4 = Annotated[IPv4Network, BeforeValidator(read_subnet_v4), _pattern("^[0-9.]+/[0-9]+$")]
SubnetV6 = Annotated[IPv6Network | None, BeforeValidator(refuse_subnet_v6), WithJsonSchema({"type": "null"})]
Mac = Annotated[str, BeforeValidator(read_mac), _pattern("^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")]
Prewired = Annotated[
    tuple[str, ...] | Literal["all"],
    PlainValidator(read_prewired),
    PlainSerializer(lambda value: value if value == "all" else list(value)),  # no union to serialize
    WithJsonSchema({"anyOf": [{"const": "all"}, _NAME_LIST]}),
]
Pair = Annotated[
    tuple[str, str],
    BeforeValidator(read_pair),
    WithJsonSchema({**_NAME_LIST, "minItems": 2, "maxItems": 2}),
]
