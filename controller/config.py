"""The ``configure`` parameters: JSON to :class:`State` and back, every mistake named by its key path."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

from controller.mapping import (
    MAX_PORT,
    NVE,
    POLICIES,
    VM,
    Move,
    Ports,
    Refused,
    Stage,
    State,
    VirtualNetwork,
    check_ports,
)

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class ConfigError(ValueError):
    """Parameters that cannot be a mapping; ``errors`` lists every mistake: path, value, what is allowed."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class Reader:
    """Reads typed values out of JSON and collects what is wrong instead of stopping at the first."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._missing: set[str] = set()

    def wrong(self, path: str, value: object, allowed: str) -> None:
        """Note one mistake; a key that is missing is not also of a wrong type."""
        if path in self._missing:
            return
        shown = repr(value)
        self.errors.append(f"{path}: {shown if len(shown) < 80 else shown[:76] + '...'}: {allowed}")

    def keys(
        self, path: str, value: object, required: set[str], optional: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Return an object that has exactly these keys, else note what is missing or unknown."""
        if not isinstance(value, dict):
            self.wrong(path, value, "must be an object")
            return {}
        for name in sorted(set(value) - required - optional):
            self.wrong(
                f"{path}.{name}",
                value[name],
                f"unknown key; keys are {', '.join(sorted(required | optional))}",
            )
        for name in sorted(required - set(value)):
            self.errors.append(f"{path}.{name}: missing")
            self._missing.add(f"{path}.{name}")
        return value

    def items(self, path: str, value: object) -> list[Any]:
        """Return a list, else note it."""
        if isinstance(value, list):
            return value
        self.wrong(path, value, "must be a list")
        return []

    def text(self, path: str, value: object) -> str:
        """Return a name, else note it."""
        if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable():
            return value
        self.wrong(path, value, "must be a printable text of 1 to 200 characters")
        return ""

    def number(self, path: str, value: object, low: int, high: int) -> int:
        """Return a whole number within bounds (true and 1.0 are none), else note it."""
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.wrong(path, value, f"must be a whole number from {low} to {high}")
        return low

    def mac(self, path: str, value: object) -> str:
        """Return a unicast MAC address, else note it."""
        if isinstance(value, str) and MAC.fullmatch(value) and not int(value[:2], 16) & 1:
            return value
        self.wrong(path, value, "must be a unicast MAC address in lower case, such as 02:00:00:00:00:01")
        return ""

    def ipv4(self, path: str, value: object) -> str:
        """Return a usable IPv4 host address, else note it."""
        try:
            if isinstance(value, str):
                address = ipaddress.IPv4Address(value)
                if not (address.is_multicast or address.is_unspecified or address.is_reserved):
                    return value
        except ValueError:
            pass
        self.wrong(path, value, "must be an IPv4 host address, such as 10.0.0.1")
        return ""

    def choice(self, path: str, value: object, allowed: tuple[str, ...]) -> str:
        """Return one of the allowed words, else note it."""
        if isinstance(value, str) and value in allowed:
            return value
        self.wrong(path, value, f"must be one of {', '.join(allowed)}")
        return allowed[0]

    def finish(self) -> None:
        """Raise :class:`ConfigError` when anything was wrong."""
        if self.errors:
            raise ConfigError(self.errors)


def _unique(reader: Reader, path: str, found: dict[Any, str], value: Any, kind: str) -> None:
    if value in found:
        reader.wrong(path, value, f"{kind} is used already by {found[value]}")
    found.setdefault(value, path)


def _each(reader: Reader, config: Mapping[str, Any], name: str, read: Callable[[str, Any], None]) -> None:
    for index, item in enumerate(reader.items(name, config.get(name, []))):
        read(f"{name}[{index}]", item)


def state_from_config(config: object, version: int) -> State:
    """Read the params of ``configure``. Raises :class:`ConfigError` with every mistake at once."""
    reader = Reader()
    top = reader.keys("params", config, {"nves", "networks", "vms"})
    nves: dict[str, NVE] = {}
    networks: dict[int, VirtualNetwork] = {}
    vms: dict[str, VM] = {}
    seen: dict[str, dict[Any, str]] = {}

    def unique(path: str, value: Any, kind: str) -> None:
        _unique(reader, path, seen.setdefault(kind, {}), value, kind)

    def nve(path: str, item: Any) -> None:
        data = reader.keys(path, item, {"name", "dpid", "underlay_ip", "tunnel_port"})
        name = reader.text(f"{path}.name", data.get("name"))
        read = NVE(
            name,
            reader.number(f"{path}.dpid", data.get("dpid"), 1, 2**64 - 1),
            reader.ipv4(f"{path}.underlay_ip", data.get("underlay_ip")),
            reader.number(f"{path}.tunnel_port", data.get("tunnel_port"), 1, MAX_PORT),
        )
        unique(f"{path}.name", name, "NVE name")
        unique(f"{path}.dpid", read.dpid, "datapath id")
        unique(f"{path}.underlay_ip", read.underlay_ip, "underlay address")
        nves[name] = read

    def network(path: str, item: Any) -> None:
        data = reader.keys(path, item, {"name", "vni"})
        read = VirtualNetwork(
            reader.text(f"{path}.name", data.get("name")),
            reader.number(f"{path}.vni", data.get("vni"), 1, 2**24 - 1),
        )
        unique(f"{path}.name", read.name, "network name")
        unique(f"{path}.vni", read.vni, "VNI")
        networks[read.vni] = read

    def ports(path: str, vm: str, name: str, item: Any) -> tuple[str, Ports] | None:
        data = reader.keys(path, item, {"direct"}, frozenset({"redirected"}))
        if name not in nves:
            reader.wrong(path, name, f"no such NVE; NVEs are {', '.join(nves) or 'none'}")
            return None
        redirected = data.get("redirected")
        read = Ports(
            reader.number(f"{path}.direct", data.get("direct"), 1, MAX_PORT),
            None if redirected is None else reader.number(f"{path}.redirected", redirected, 1, MAX_PORT),
        )
        try:
            check_ports(path, nves[name], read)
        except Refused as refused:
            reader.errors.append(str(refused))
        for number in read.numbers():
            _unique(reader, f"{path} of {vm!r}", seen.setdefault(f"ports of {name}", {}), number, "port")
        return name, read

    def vm(path: str, item: Any) -> None:
        data = reader.keys(path, item, {"name", "vni", "mac", "ipv4", "nve", "ports"})
        name = reader.text(f"{path}.name", data.get("name"))
        unique(f"{path}.name", name, "VM name")
        vni = data.get("vni")
        if not isinstance(vni, int) or isinstance(vni, bool) or vni not in networks:
            reader.wrong(
                f"{path}.vni", vni, f"no such network; VNIs are {', '.join(map(str, networks)) or 'none'}"
            )
        place = data.get("nve")
        if not isinstance(place, str) or place not in nves:
            reader.wrong(f"{path}.nve", place, f"no such NVE; NVEs are {', '.join(nves) or 'none'}")
        mac = reader.mac(f"{path}.mac", data.get("mac"))
        address = reader.ipv4(f"{path}.ipv4", data.get("ipv4"))
        unique(f"{path}.mac", (vni, mac), "MAC address in this network")
        unique(f"{path}.ipv4", (vni, address), "IPv4 address in this network")
        given = data.get("ports")
        if not isinstance(given, dict):
            reader.wrong(f"{path}.ports", given, "must be an object {nve: {direct, redirected}}")
            given = {}
        read = [ports(f"{path}.ports.{where}", name, where, value) for where, value in sorted(given.items())]
        found = tuple(entry for entry in read if entry is not None)
        vms[name] = VM(name, cast(int, vni), mac, address, cast(str, place), found)

    _each(reader, top, "nves", nve)
    _each(reader, top, "networks", network)
    _each(reader, top, "vms", vm)
    reader.finish()
    return State(version, nves, networks, vms)


def state_to_json(state: State) -> dict[str, Any]:
    """Return the state as JSON: the ``configure`` form plus version, closed ports and moves."""
    return {
        "version": state.version,
        "config": {
            "nves": [vars(nve) for nve in state.nves.values()],
            "networks": [vars(network) for network in state.networks.values()],
            "vms": [
                {
                    **{name: getattr(vm, name) for name in ("name", "vni", "mac", "ipv4", "nve")},
                    "ports": {
                        where: {"direct": p.direct, "redirected": p.redirected} for where, p in vm.ports
                    },
                }
                for vm in state.vms.values()
            ],
        },
        "closed": [[vm.name, nve] for vm in state.vms.values() for nve, p in vm.ports if not p.open],
        "moves": [vars(move) for move in state.moves.values()],
    }


def state_from_json(data: Mapping[str, Any]) -> State:
    """Read back what :func:`state_to_json` wrote. Raises ConfigError, KeyError or TypeError on other data."""
    state = state_from_config(data["config"], int(data["version"]))
    vms = dict(state.vms)
    for name, nve in data["closed"]:
        vms[name] = vms[name].with_open(nve, False)
    moves = {move["vm"]: Move(**move) for move in data["moves"]}
    reader = Reader()
    for move in moves.values():
        reader.choice("stage", move.stage, get_args(Stage))
        reader.choice("policy", move.policy, POLICIES)
    reader.finish()
    return State(state.version, state.nves, state.networks, vms, moves)
