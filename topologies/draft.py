"""What of a topology can be read although other parts of it are wrong, so that all errors are told at once.

`checks` works on a `Draft`: a VM with a bad address does not hide that another one is on an unknown NVE, and
a broken NVE that has a name is still a known one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from topologies import fields
from topologies.model import (
    Client,
    Link,
    Nve,
    Outside,
    Rack,
    Spine,
    Tenant,
    Topology,
    Tunnel,
    Underlay,
    VirtualNetwork,
    Vm,
)
from topologies.problems import Path, Problem, did_you_mean, listed, shown

_M = TypeVar("_M", bound=BaseModel)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Parts(Generic[_M]):
    """One list of a topology.

    `read` holds the items without errors and `named` the names of all items that have one, each with its
    path. `names_known`: no item's name is missing, so that a name that is not here exists nowhere. `whole`:
    every item could be read.
    """

    read: tuple[tuple[Path, _M], ...]
    named: tuple[tuple[Path, str], ...]
    names_known: bool
    whole: bool

    @cached_property
    def names(self) -> Mapping[str, Path]:
        """All names in file order, with the path of one item each."""
        return {name: path for path, name in self.named}


@dataclass(frozen=True)
class Draft:
    """The readable parts of a topology; `underlay_mtu_bytes` and `tunnel` are None when unreadable.

    `routed` holds the pairs of `routed_between`, `clients`, `gateway_nve` and `reaches` what is in `outside`;
    `allow` the faults that are warnings only.
    """

    racks: Parts[Rack]
    spines: Parts[Spine]
    links: Parts[Link]
    nves: Parts[Nve]
    tenants: Parts[Tenant]
    networks: Parts[VirtualNetwork]
    vms: Parts[Vm]
    routed: tuple[tuple[Path, tuple[str, str]], ...]
    clients: Parts[Client]
    gateway_nve: str | None
    reaches: tuple[tuple[Path, str], ...]
    underlay_mtu_bytes: int | None
    tunnel: Tunnel | None
    allow: tuple[str, ...]


def draft_of(data: object) -> Draft:
    """The draft of a file's values (or of `Topology.as_file()`), whatever they are."""
    top = data if isinstance(data, dict) else {}
    underlay = top.get("underlay")
    underlay = underlay if isinstance(underlay, dict) else {}
    outside = top.get("outside")
    outside = outside if isinstance(outside, dict) else {}
    return Draft(
        racks=_parts(underlay, "racks", Rack, Underlay, ("underlay",)),
        spines=_parts(underlay, "spines", Spine, Underlay, ("underlay",)),
        links=_parts(underlay, "links", Link, Underlay, ("underlay",)),
        nves=_parts(top, "nves", Nve, Topology),
        tenants=_parts(top, "tenants", Tenant, Topology),
        networks=_parts(top, "virtual_networks", VirtualNetwork, Topology),
        vms=_parts(top, "vms", Vm, Topology),
        routed=_values(top, "routed_between", fields.read_network_pair),
        clients=_parts(outside, "clients", Client, Outside, ("outside",)),
        gateway_nve=outside["nve"] if isinstance(outside.get("nve"), str) else None,
        reaches=_values(outside, "reaches", fields.read_reference, ("outside",)),
        underlay_mtu_bytes=_underlay_mtu(underlay),
        tunnel=_read(Tunnel, top.get("tunnel", {})),
        allow=tuple(word for _, word in _values(top, "allow", fields.read_permit)),
    )


def _parts(
    mapping: Mapping[str, Any], key: str, model: type[_M], owner: type[BaseModel], above: Path = ()
) -> Parts[_M]:
    if key not in mapping:
        # Left out is an empty list, unless an unknown key may be this one mistyped.
        allowed = {field.alias or name for name, field in owner.model_fields.items()}
        certain = bool(mapping) and set(mapping) <= allowed
        return Parts((), (), certain, certain)
    items = mapping[key]
    if not isinstance(items, list):
        return Parts((), (), False, False)
    read, named, path = [], [], (*above, key)
    for index, item in enumerate(items):
        value = _read(model, item)
        if value is not None:
            read.append(((*path, index), value))
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            named.append(((*path, index, "name"), item["name"]))
    return Parts(tuple(read), tuple(named), len(named) == len(items), len(read) == len(items))


def _values(
    mapping: Mapping[str, Any], key: str, read: Callable[[object], _T], above: Path = ()
) -> tuple[tuple[Path, _T], ...]:
    """The readable items of a list of plain values, each with its path."""
    items = mapping.get(key)
    found = []
    for index, item in enumerate(items if isinstance(items, list) else ()):
        with suppress(ValueError):
            found.append(((*above, key, index), read(item)))
    return tuple(found)


def _read(model: type[_M], item: object) -> _M | None:
    try:
        return model.model_validate(item)
    except ValidationError:
        return None


def _underlay_mtu(underlay: Mapping[str, Any]) -> int | None:
    if not underlay:
        return None
    try:
        return fields.read_mtu(underlay.get("mtu", Underlay.model_fields["mtu_bytes"].default))
    except ValueError:
        return None


def unknown(path: Path, name: str, known: Parts, what: str) -> Iterator[Problem]:  # type: ignore[type-arg]
    """The problem of a name that is surely not among those known; `what` says what it should be the name of."""
    if name in known.names or not known.names_known:
        return
    meant = did_you_mean(name, known.names)
    hint = f"; did you mean '{meant}'?" if meant else ""
    yield Problem(path, shown(name), f"is no {what}{hint} (there are: {listed(known.names) or 'none'})")
