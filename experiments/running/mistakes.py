"""Wrong settings made on purpose, in the real parts, to see whether a run's report finds and names them.

`new-nve-unprogrammed`  the new NVE has lost its rules for the VM at the switch; they come back at `drain`
`small-mtu`             the underlay's links have the MTU of the VM's network: nobody added the tunnel's bytes
`old-leg-open`          the switch does not cut the leg to the old NVE
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.pipeline import CLASSIFY, FORWARD, ORIGIN, TABLES, TUNNEL
from emulation.network import EmulatedNetwork
from experiments.running.laboratory import Hooks
from experiments.running.parameters import ParameterError, choice
from experiments.running.traffic import UDP_HEADERS_BYTES, ends_are_there, path_mtu_bytes
from topologies import TUNNEL_OVERHEAD_BYTES
from topologies.model import Topology
from vocabulary.policies import DROPPING

NONE, UNPROGRAMMED, SMALL_MTU, OLD_LEG_OPEN = "none", "new-nve-unprogrammed", "small-mtu", "old-leg-open"
FAULT = choice(
    "fault",
    NONE,
    "a wrong setting made on purpose, for the report to find",
    (NONE, UNPROGRAMMED, SMALL_MTU, OLD_LEG_OPEN),
)


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """Refuse a mistake that could not show. Raises ParameterError."""
    fault = values.get("fault", NONE)
    if fault == OLD_LEG_OPEN and values["policy"] not in DROPPING:
        raise ParameterError(
            f"fault={fault}: with policy={values['policy']} the old NVE sends nothing into its leg by then, so an open "
            "one changes nothing; choose policy=silent-drop"
        )
    if fault in (OLD_LEG_OPEN, UNPROGRAMMED) and values.get("attachment", "rebind") != "rebind":
        raise ParameterError(f"fault={fault}: needs attachment=rebind, where there are legs")
    if fault == SMALL_MTU and ends_are_there(topology, (values["vm"], values["peer"])):
        _check_small_mtu(values, topology)


def _check_small_mtu(values: Mapping[str, Any], topology: Topology) -> None:
    """TCP's segments may stay small at a low rate, so UDP's packets must be large enough to vanish."""
    most = (
        path_mtu_bytes(topology, (values["vm"], values["peer"]))
        - UDP_HEADERS_BYTES[values.get("family", "ipv4")]
    )
    least = most - TUNNEL_OVERHEAD_BYTES + 1
    if values["payload"] < least:
        raise ParameterError(
            f"fault={SMALL_MTU}: UDP packets with payload={values['payload']} are so small that they pass all the "
            f"same; choose payload from {least} to {most}"
        )


def refuse_in_sweep(values: Mapping[str, Any]) -> None:
    """Cells of a sweep share a network, so none may have one with a mistake of its own. Raises ParameterError."""
    fault = values.get("fault", NONE)
    if fault != NONE:
        raise ParameterError(
            f"fault={fault}: not in a sweep; make it in one run, such as make hot-l2 fault={fault}"
        )


def wrong_options(values: Mapping[str, Any], topology: Topology) -> dict[str, Any]:
    """Fields of the network's Options that make the mistake."""
    fault = values.get("fault", NONE)
    if fault == SMALL_MTU:
        return {"underlay_mtu_bytes": path_mtu_bytes(topology, (values["vm"], values["peer"]))}
    return {"cuts_old_leg": False} if fault == OLD_LEG_OPEN else {}


def wrong_hooks(fault: str, network: EmulatedNetwork, vm: str, new_nve: str) -> Hooks:
    """What a move's phases do besides, to make the mistake."""
    if fault != UNPROGRAMMED or vm not in network.wirings:
        return {}
    nve, ports = network.nves[new_nve], network.vm_ports(vm, new_nve)
    saved = nve.folder / f"{vm}.flows"
    classify, forward = TABLES[CLASSIFY].number, TABLES[FORWARD].number
    matches = [f"table={classify},in_port={port}" for port in ports.values() if port is not None]
    # Only what comes out of a tunnel: the commit does not touch those rules, so they can be put back.
    matches.append(f"table={forward},{ORIGIN}={TUNNEL:#x},dl_dst={network.topology.vm(vm).mac}")

    def lose() -> None:
        kept = []
        for match in matches:
            dump = nve.dpctl("dump-flows", "--no-stats", match)
            kept += [line.strip() for line in dump.splitlines() if "actions=" in line]
            nve.dpctl("del-flows", match)
        saved.write_text("".join(line + "\n" for line in kept))

    def bring_back() -> None:
        nve.dpctl("add-flows", str(saved))

    return {"switch": lose, "drain": bring_back}
