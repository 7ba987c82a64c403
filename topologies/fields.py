"""Types of the values in a topology, all but addresses: how each is read, and what a message says is allowed.

Every reader here raises ValueError with a sentence that can stand after `key path: value: `.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    WithJsonSchema,
)

from topologies import names, units

MTU_TOO_LARGE = "mtu-too-large"
PERMITS = (MTU_TOO_LARGE,)
"""What `allow` may hold: faults of a topology that can be built all the same, for whoever wants to look at them."""


class Strict(BaseModel):
    """What all models of a topology share: no unknown keys, no conversions, no changes."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=False
    )


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


def read_dirty_rate(value: object) -> int:
    """How fast a running VM changes its memory, in bits per second; 0: not at all."""
    rate = int(_with_unit(units.parse_rate, value))
    if rate > 10**12:
        raise ValueError("must be from 0 to 1000Gbit")
    return rate


def read_memory(value: object) -> int:
    """The size of a VM's memory in bytes."""
    size = int(_with_unit(units.parse_size, value))
    if not 2**20 <= size <= 2**40:
        raise ValueError("must be a size from 1MiB to 1TiB, such as 512MiB")
    return size


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


def read_flag(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def one_of(*allowed: str) -> BeforeValidator:
    """A reader of one of a few words."""

    def read(value: object) -> object:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"must be {' or '.join(allowed)}")
        return value

    return BeforeValidator(read)


def read_permit(value: object) -> str:
    """A word of `allow`."""
    if not isinstance(value, str) or value not in PERMITS:
        raise ValueError(f"must be one of the faults that can be allowed: {', '.join(PERMITS)}")
    return value


def read_prewired(value: object) -> tuple[str, ...] | Literal["all"]:
    """`all`, or a list of NVE names."""
    if value == "all":
        return "all"
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError("must be all, or a list of NVE names such as [nve1, nve3]")


def _pair(value: object, allowed: str) -> tuple[str, str]:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(name, str) for name in value):
        return (value[0], value[1])
    raise ValueError(allowed)


def read_link_ends(value: object) -> tuple[str, str]:
    """The two ends of a link."""
    return _pair(value, "must be a list of the two routers that the link joins, such as [rack1, spine1]")


def read_network_pair(value: object) -> tuple[str, str]:
    """Two virtual networks that are routed to each other."""
    return _pair(value, "must be a list of two virtual networks, such as [blue, green]")


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


def _number(low: int, high: int) -> tuple[BeforeValidator, WithJsonSchema]:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return BeforeValidator(whole_number(low, high)), WithJsonSchema(schema)


_NUMBER = r"^[0-9]+(\.[0-9]+)? ?"
_NAME_LIST = {"type": "array", "items": {"type": "string"}}

NodeName = Annotated[
    str,
    BeforeValidator(names.read_node_name),
    _pattern(f"^[a-z][a-z0-9-]{{0,{names.NODE_NAME_MAX - 1}}}$"),
]
Name = Annotated[str, BeforeValidator(names.read_name), _pattern("^[a-z][a-z0-9-]{0,31}$")]
TopologyName = Annotated[str, BeforeValidator(names.read_topology_name), _pattern("^[a-z][a-z0-9_-]{0,31}$")]
Text = Annotated[str, BeforeValidator(read_text)]
Reference = Annotated[str, BeforeValidator(read_reference)]
Flag = Annotated[bool, BeforeValidator(read_flag)]
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
DirtyRate = Annotated[
    int,
    BeforeValidator(read_dirty_rate),
    _written_as(units.format_rate),
    _quantity(_NUMBER + "(bit|kbit|Mbit|Gbit)$", {"const": 0}),
]
Memory = Annotated[
    int,
    BeforeValidator(read_memory),
    _written_as(units.format_size),
    _quantity(
        _NUMBER + "(B|kB|MB|GB|KiB|MiB|GiB|TiB)?$", {"type": "integer", "minimum": 2**20, "maximum": 2**40}
    ),
]
Loss = Annotated[
    float, BeforeValidator(read_loss), _written_as(units.format_loss), _quantity(_NUMBER + "%$", {"const": 0})
]
Mtu = Annotated[
    int,
    BeforeValidator(read_mtu),
    _quantity("^[0-9]+ ?(B|kB|KiB)?$", {"type": "integer", "minimum": 576, "maximum": 65535}),
]
Prewired = Annotated[
    tuple[str, ...] | Literal["all"],
    PlainValidator(read_prewired),
    PlainSerializer(lambda value: value if value == "all" else list(value)),  # no union to serialize
    WithJsonSchema({"anyOf": [{"const": "all"}, _NAME_LIST]}),
]
_TWO_NAMES = WithJsonSchema({**_NAME_LIST, "minItems": 2, "maxItems": 2})
LinkEnds = Annotated[tuple[str, str], BeforeValidator(read_link_ends), _TWO_NAMES]
NetworkPair = Annotated[tuple[str, str], BeforeValidator(read_network_pair), _TWO_NAMES]
Queue = Annotated[int, *_number(1, 1_000_000)]
Port = Annotated[int, *_number(1, 65535)]
Permit = Annotated[
    str, BeforeValidator(read_permit), WithJsonSchema({"type": "string", "enum": list(PERMITS)})
]
Vni = Annotated[int, *_number(1, 2**24 - 1)]
