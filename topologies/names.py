"""Names of nodes, and of the interfaces that are named after them.

An interface name has at most 15 characters. A node may have as many; an interface's name that would be longer has the
node's name shortened, so that what `tc`, `ip link` and a capture show is still to be read: `to-trunk-_1k3z9`.
"""

import re
import zlib

INTERFACE_NAME_MAX = 15
"""Characters of a Linux interface name: IFNAMSIZ is 16 with the closing zero (linux/if.h)."""
NODE_NAME_MAX = INTERFACE_NAME_MAX
"""A VM's port at an NVE has the VM's own name."""
DECORATION_MAX = 6
"""What the emulation puts before and behind a node's name at most."""

_MARK = "_"  # no node's name has one, so what is shortened is never the name of another node
_DIGEST_CHARACTERS = 5
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

RESERVED_NAMES = {
    "all": "'prewired: all' means every NVE",
    "nva": "it is the name of the controller",
    "mgmt": "it is the name of the management network",
    "internet": "it is the name of the router outside",
    **dict.fromkeys(
        ("lo", "up0", "vx0", "mgmt0", "br-int", "br-phy", "sink0", "sink1", "plain0", "out0"),
        "it is the name of an interface that the emulation makes",
    ),
    **dict.fromkeys(
        ("ovs-netdev", "ovs-system"), "it is the name of an interface that Open vSwitch makes in every NVE"
    ),
    **dict.fromkeys(
        ("gre0", "gretap0", "erspan0", "sit0", "tunl0", "ip6tnl0", "ip6gre0"),
        "it is the name of an interface that the kernel may make in every NVE",
    ),
}


def interface_name(node: str, before: str = "", behind: str = "") -> str:
    """The name of an interface that is called after a node, at most 15 characters.

    As it is where it fits. Else the node's name is cut and ends in `_` and five characters that are made of the whole
    name; `clash_key` says which nodes' names would be shortened to the same.
    """
    room = INTERFACE_NAME_MAX - len(before) - len(behind)
    if len(node) > room:
        node = node[: room - _DIGEST_CHARACTERS - 1] + _MARK + _digest(node)
    return before + node + behind


def clash_key(node: str) -> str:
    """Two nodes with different keys never have the same interface name; that of a short name is the name."""
    return interface_name(node, before="x" * DECORATION_MAX)[DECORATION_MAX:]


def _digest(name: str) -> str:
    number, text = zlib.crc32(name.encode(errors="surrogatepass")), ""  # a wrong name is told, by its reader
    for _ in range(_DIGEST_CHARACTERS):
        number, digit = divmod(number, len(_DIGITS))
        text += _DIGITS[digit]
    return text


def read_node_name(value: object) -> str:
    """The name of a rack, spine, NVE, VM or client: at most 15 characters, because interfaces have their names."""
    name = limited_name(
        value,
        "",
        NODE_NAME_MAX,
        f", because interfaces are named after it, and Linux allows {INTERFACE_NAME_MAX}",
    )
    if name in RESERVED_NAMES:
        raise ValueError(f"is reserved: {RESERVED_NAMES[name]}; choose another name")
    return name


def read_name(value: object) -> str:
    """The name of a tenant or a virtual network."""
    return limited_name(value, "", 32)


def read_topology_name(value: object) -> str:
    """The name of a topology: may hold `_`, so that it can be that of its file."""
    return limited_name(value, "_", 32)


def limited_name(value: object, extra: str, limit: int, why: str = "") -> str:
    """A name of a-z, 0-9, '-' and ``extra``, at most ``limit`` characters; ValueError says ``why`` so few."""
    others = "a-z, 0-9 and '-'" if not extra else f"a-z, 0-9, '-' and '{extra}'"
    if not isinstance(value, str) or not re.fullmatch(rf"[a-z][a-z0-9{extra}-]*", value):
        raise ValueError(f"must be 1 to {limit} characters of {others}, beginning with a letter")
    if len(value) > limit:
        raise ValueError(f"is {len(value)} characters long; at most {limit} are allowed{why}")
    return value
