"""The ``configure`` parameters: JSON to :class:`State` and back, every mistake named by its key path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from controller.checks import mistakes_in
from controller.config_parts import optional, read_network, read_outside, read_plain_port, read_routes
from controller.mapping import check_ports
from controller.model import MAX_PORT, NVE, VM, Move, Ports, Refused, Stage, State, VirtualNetwork
from controller.reader import ConfigError, Reader
from vocabulary.lifecycle import VmState
from vocabulary.moves import PUSH, STRATEGIES
from vocabulary.policies import POLICIES
from wire import nd

__all__ = ["ConfigError", "Reader", "state_from_config", "state_from_json", "state_to_json"]


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
    top = reader.keys("params", config, {"nves", "networks", "vms"}, OPTIONAL)
    nves: dict[str, NVE] = {}
    networks: dict[int, VirtualNetwork] = {}
    vms: dict[str, VM] = {}
    seen: dict[str, dict[Any, str]] = {}

    def unique(path: str, value: Any, kind: str) -> None:
        _unique(reader, path, seen.setdefault(kind, {}), value, kind)

    def nve(path: str, item: Any) -> None:
        required = {"name", "dpid", "underlay_ip", "tunnel_port"}
        data = reader.keys(path, item, required, frozenset({"plain", "nd_by_nva"}))
        name = reader.text(f"{path}.name", data.get("name"))
        read = NVE(
            name,
            reader.number(f"{path}.dpid", data.get("dpid"), 1, 2**64 - 1),
            reader.ipv4(f"{path}.underlay_ip", data.get("underlay_ip")),
            reader.number(f"{path}.tunnel_port", data.get("tunnel_port"), 1, MAX_PORT),
            read_plain_port(reader, f"{path}.plain", data.get("plain")),
            data.get("nd_by_nva", False) is True,
        )
        if not isinstance(data.get("nd_by_nva", False), bool):
            reader.wrong(f"{path}.nd_by_nva", data["nd_by_nva"], "must be true or false")
        unique(f"{path}.name", name, "NVE name")
        unique(f"{path}.dpid", read.dpid, "datapath id")
        unique(f"{path}.underlay_ip", read.underlay_ip, "underlay address")
        nves[name] = read

    def network(path: str, item: Any) -> None:
        read = read_network(reader, path, item)
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
        data = reader.keys(
            path,
            item,
            {"name", "vni", "mac", "ipv4", "nve", "ports"},
            frozenset({"ipv6", "link_local", "state"}),
        )
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
        ipv6 = optional(reader.ipv6, f"{path}.ipv6", data.get("ipv6"))
        link_local = None
        if ipv6 is not None:
            unique(f"{path}.ipv6", (vni, ipv6), "IPv6 address in this network")
            link_local = optional(reader.link_local, f"{path}.link_local", data.get("link_local"))
            link_local = link_local or (nd.link_local(mac) if mac else None)
            unique(f"{path}.link_local", (vni, link_local), "link-local address in this network")
        elif data.get("link_local") is not None:
            reader.wrong(f"{path}.link_local", data["link_local"], "needs ipv6 as well")
        state = cast(VmState, reader.choice(f"{path}.state", data.get("state", "running"), get_args(VmState)))
        given = data.get("ports")
        if not isinstance(given, dict):
            reader.wrong(f"{path}.ports", given, "must be an object {nve: {direct, redirected}}")
            given = {}
        read = [ports(f"{path}.ports.{where}", name, where, value) for where, value in sorted(given.items())]
        found = tuple(entry for entry in read if entry is not None)
        vms[name] = VM(name, cast(int, vni), mac, address, cast(str, place), found, ipv6, link_local, state)

    _each(reader, top, "nves", nve)
    _each(reader, top, "networks", network)
    _each(reader, top, "vms", vm)
    reader.finish()
    routes = read_routes(reader, top.get("routes", []), networks)
    outside = read_outside(reader, top.get("outside"), nves, networks)
    strategy = reader.choice("strategy", top.get("strategy", PUSH), STRATEGIES)
    # OpenFlow counts a flow's hard timeout in 16 bits of seconds.
    age_s = reader.number("mapping_age_s", top.get("mapping_age_s", 60), 1, 65535)
    limit_pps = reader.number("packet_in_limit_pps", top.get("packet_in_limit_pps", 500), 1, 100_000)
    reader.finish()
    state = State(version, nves, networks, vms, {}, routes, outside, strategy, age_s, limit_pps)
    if mistakes := list(mistakes_in(state)):
        raise ConfigError(mistakes)
    return state


OPTIONAL = frozenset({"routes", "outside", "strategy", "mapping_age_s", "packet_in_limit_pps"})

VM_KEYS = ("name", "vni", "mac", "ipv4", "ipv6", "link_local", "nve", "state")


def _network_json(network: VirtualNetwork) -> dict[str, Any]:
    return {**vars(network), "gateway": None if network.gateway is None else vars(network.gateway)}


def _outside_json(state: State) -> dict[str, Any] | None:
    outside = state.outside
    if outside is None:
        return None
    names = [state.networks[vni].name for vni in outside.vnis]
    kept = {key: value for key, value in vars(outside).items() if key != "vnis"}
    return {**kept, "subnets": list(outside.subnets), "networks": names}


def state_to_json(state: State) -> dict[str, Any]:
    """Return the state as JSON: the ``configure`` form plus version, closed ports and moves."""
    return {
        "version": state.version,
        "config": {
            "nves": [
                {**vars(nve), "plain": None if nve.plain is None else vars(nve.plain)}
                for nve in state.nves.values()
            ],
            "networks": [_network_json(network) for network in state.networks.values()],
            "vms": [
                {
                    **{name: getattr(vm, name) for name in VM_KEYS},
                    "ports": {
                        where: {"direct": p.direct, "redirected": p.redirected} for where, p in vm.ports
                    },
                }
                for vm in state.vms.values()
            ],
            "routes": sorted(
                [state.networks[one].name, state.networks[other].name]
                for one, others in state.routes.items()
                for other in others
                if one < other
            ),
            "outside": _outside_json(state),
            "strategy": state.strategy,
            "mapping_age_s": state.mapping_age_s,
            "packet_in_limit_pps": state.packet_in_limit_pps,
        },
        "closed": [[vm.name, nve] for vm in state.vms.values() for nve, p in vm.ports if not p.open],
        "moves": [vars(move) for move in state.moves.values()],
        "believed": {vm: dict(peers) for vm, peers in state.believed.items()},
        "counted": {vm: sorted(nves) for vm, nves in state.counted.items()},
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
    return replace(
        state,
        vms=vms,
        moves=moves,
        # A journal of an earlier version has neither.
        believed=dict(data.get("believed", {})),
        counted={vm: frozenset(nves) for vm, nves in data.get("counted", {}).items()},
    )
