"""An NVE: a network namespace with its own Open vSwitch (database and switch daemon) and its underlay address.

kernel datapath     br-int (system) + vx0; the underlay address is on the uplink
userspace datapath  br-int (netdev) + vx0; the underlay address is on br-phy, which holds the uplink,
                    because OVS sends its own tunnels only through a bridge
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mininet.node import Switch

from emulation import commands
from emulation.errors import EmulationError
from emulation.ovs import Control, Database, ovs_map, ovs_set
from emulation.plan import NVA_PORT, TUNNEL_PORT, UPLINK, AccessLink
from emulation.sockets import enlarge_send_buffers
from wire.markers import marker

SEND_BUFFER_BYTES = 64 * 1024 * 1024  # as much as a holder keeps
CONTROL_NICENESS = -10 if commands.EMULATED else -15
"""Of what has a machine of its own in a data centre, and must not wait behind the traffic's processes here.

On emulated processors it works for so long at a time that at -15, 29 times the weight of the VMs' processes, these wait
for 100 to 200 ms; at -10 it is 9 times.
"""
INTEGRATION_BRIDGE = "br-int"
UNDERLAY_BRIDGE = "br-phy"

# As short as Open vSwitch allows: an NVE whose NVA was away is not to go without it for up to 8 s more.
_RECONNECT_WITHIN_MS = 1000

# One thread each: an NVE of a test network has little to do, and a hundred of them share two processors.
_VSWITCHD_SETTINGS = {
    "n-handler-threads": "1",
    "n-revalidator-threads": "1",
    # Open vSwitch throws an unfinished bundle away after 10 s; on emulated processors it once took 20 s over one.
    "bundle-idle-timeout": str(round(10 * commands.PATIENCE)),
}

# XDP in native mode, since frames redirected by mirred skip the generic one; without use-need-wakeup=false
# a quiet link answers after 0.2 to 1 s (both measured with OVS 3.1.0 on Linux 6.18).
_AF_XDP = {"type": "afxdp-nonpmd", "options": ovs_map({"xdp-mode": "native", "use-need-wakeup": "false"})}


# A port without a QoS row loses the qdisc that it has to Open vSwitch, and with it the link's delay and rate.
_NO_QDISC_OF_OVS = {"op": "insert", "table": "QoS", "uuid-name": "own_qdisc", "row": {"type": "linux-noop"}}
_OWN_QDISC = {"qos": ["named-uuid", "own_qdisc"]}


@dataclass(frozen=True)
class Datapath:
    """How NVEs switch: ``kernel`` with its module, or ``userspace`` with AF_XDP or AF_PACKET ports."""

    kind: str
    port_type: str
    reason: str

    @property
    def ovs_type(self) -> str:
        """Open vSwitch's own name of it."""
        return "system" if self.kind == "kernel" else "netdev"

    def interface_columns(self) -> dict[str, Any]:
        """What the database says of a port that faces a veth."""
        return dict(_AF_XDP) if self.port_type == "afxdp" else {}


class NVE(Switch):  # type: ignore[misc]  # Mininet ships no types
    """A network virtualization edge (RFC 7365 section 3.2)."""

    controlIntf = None  # noqa: N815 - Mininet asks for it and sets it only outside of namespaces

    def __init__(self, name: str, **params: Any) -> None:
        self.access: AccessLink = params.pop("access")
        self.nva_address: str = params.pop("nva_address")
        self.number: int = params.pop("number")
        self.datapath: Datapath = params.pop("datapath_choice")
        self.folder: Path = params.pop("run_folder") / name
        self.encapsulation: str = params.pop("encapsulation")
        self.tunnel_udp_port: int = params.pop("tunnel_udp_port")
        self.daemons: list[subprocess.Popen[bytes]] = []
        self._sender_made_by: subprocess.Popen[bytes] | None = None
        self._database: Database | None = None
        self._control: Control | None = None
        super().__init__(name, dpid=f"{self.number:016x}", **{**params, "inNamespace": True})

    @property
    def database(self) -> Database:
        """The NVE's own Open_vSwitch database."""
        if self._database is None:
            self._database = Database(self.name, self.folder / "db.sock")
        return self._database

    @property
    def control(self) -> Control:
        """The control socket of the NVE's own ovs-vswitchd."""
        if self._control is None:
            self._control = Control(self.name, self.folder / "vswitchd.ctl")
        return self._control

    def start_database(self, template: Path) -> None:
        """Start the database server on a copy of an empty database."""
        self.folder.mkdir(parents=True)
        shutil.copyfile(template, self.folder / "conf.db")
        self._spawn(
            [
                "ovsdb-server",
                str(self.folder / "conf.db"),
                f"--remote=punix:{self.folder}/db.sock",
                f"--unixctl={self.folder}/ovsdb.ctl",
                f"--log-file={self.folder}/ovsdb-server.log",
                "-vconsole:off",
            ]
        )

    def start_switch(self, ports: Sequence[str]) -> None:
        """Write the configuration in one transaction, then start the switch daemon on it."""
        self.database.transact(self._initial_configuration(ports))
        self._start_daemon()

    def kill_switch(self) -> None:
        """Kill the switch daemon: it says nothing any more, and nothing brings it back but ``restart_switch``."""
        self.daemons[-1].kill()
        self.daemons[-1].wait()

    def restart_switch(self) -> None:
        """Kill the switch daemon (all flows are lost with it) and start it again."""
        self.kill_switch()
        self.daemons.pop()
        if self._control is not None:
            self._control.close()
            self._control = None
        (self.folder / "vswitchd.ctl").unlink(missing_ok=True)
        self._start_daemon()
        self._await_configured()

    def _await_configured(self, timeout_s: float = 20.0) -> None:
        """Wait until the switch daemon has made what the database says; port numbers stand there from before."""
        where: dict[str, Any] = {"table": "Open_vSwitch", "where": []}
        select = {"op": "select", **where, "columns": ["next_cfg", "cur_cfg"]}
        self.database.transact([{"op": "mutate", **where, "mutations": [["next_cfg", "+=", 1]]}])

        def configured() -> bool:
            row = self.database.transact([select])[0]["rows"][0]
            return bool(row["cur_cfg"] == row["next_cfg"])

        commands.wait_until(configured, timeout_s, f"{self.name}'s switch daemon to have its configuration")

    def _start_daemon(self) -> None:
        # The kernel forwards; an NVE's control plane has processors of its own, so it waits behind no traffic here.
        ahead = ["nice", "-n", str(CONTROL_NICENESS)] if self.datapath.kind == "kernel" else []
        self._spawn(
            [
                *ahead,
                "ovs-vswitchd",
                f"unix:{self.folder}/db.sock",
                f"--unixctl={self.folder}/vswitchd.ctl",
                f"--log-file={self.folder}/ovs-vswitchd.log",
                "-vconsole:off",
            ]
        )

    def _spawn(self, argv: Sequence[str]) -> None:
        # The run directory holds the sockets by which ovs-ofctl and ovs-appctl find this NVE's daemons.
        environment = {**os.environ, "OVS_RUNDIR": str(self.folder)}
        self.daemons.append(commands.spawn(argv, pid=self.pid, env=environment))

    def _initial_configuration(self, ports: Sequence[str]) -> list[dict[str, Any]]:
        bridge = _Bridge(INTEGRATION_BRIDGE, self.datapath)
        for name in ports:
            bridge.add(name, self.datapath.interface_columns(), _OWN_QDISC)
        options = {"remote_ip": "flow", "key": "flow", "local_ip": self.access.underlay_ip}
        options["dst_port"] = str(self.tunnel_udp_port)
        bridge.add(TUNNEL_PORT, {"type": self.encapsulation, "options": ovs_map(options)})
        controller = {
            "op": "insert",
            "table": "Controller",
            "uuid-name": "nva",
            "row": {
                "target": f"tcp:{self.nva_address}:{NVA_PORT}",
                "connection_mode": "out-of-band",
                "max_backoff": _RECONNECT_WITHIN_MS,
            },
        }
        integration = bridge.operations(
            {
                "fail_mode": "secure",
                "protocols": ovs_set(["OpenFlow13"]),
                "controller": ["named-uuid", "nva"],
                "other_config": ovs_map({"datapath-id": self.dpid, "disable-in-band": "true"}),
            }
        )
        operations = [controller, _NO_QDISC_OF_OVS, *integration]
        bridges = [bridge]
        if self.datapath.kind == "userspace":
            underlay = _Bridge(UNDERLAY_BRIDGE, self.datapath)
            underlay.add(UPLINK, self.datapath.interface_columns(), _OWN_QDISC)
            operations += underlay.operations({"other_config": ovs_map({"hwaddr": self.access.underlay_mac})})
            bridges.append(underlay)
        root = {
            "bridges": ovs_set([["named-uuid", bridge.uuid] for bridge in bridges]),
            "other_config": ovs_map(_VSWITCHD_SETTINGS),
        }
        return [*operations, {"op": "insert", "table": "Open_vSwitch", "row": root}]

    def add_port(self, name: str, timeout_s: float = 5.0) -> int:
        """Add one device of the NVE's namespace to br-int; return the port number Open vSwitch gave it."""
        bridge = _Bridge(INTEGRATION_BRIDGE, self.datapath)
        operations = bridge.port_operations(name, self.datapath.interface_columns())
        mutation = ["ports", "insert", ovs_set([["named-uuid", bridge.port_uuid(name)]])]
        self._change_bridge(operations, mutation)
        try:
            return self.wait_for_ports([name], timeout_s)[name]
        except EmulationError:
            self.remove_port(name)  # a switch daemon that stands still must not find it when it goes on
            raise

    def remove_port(self, name: str) -> None:
        """Take a port out of br-int; the device itself stays."""
        where = [["name", "==", name]]
        rows = self.database.transact(
            [{"op": "select", "table": "Port", "where": where, "columns": ["_uuid"]}]
        )
        if not rows[0]["rows"]:
            raise EmulationError(f"{self.name}: no port {name} to take out of {INTEGRATION_BRIDGE}")
        self._change_bridge([], ["ports", "delete", ovs_set([rows[0]["rows"][0]["_uuid"]])])

    def _change_bridge(self, operations: Sequence[dict[str, Any]], mutation: Sequence[Any]) -> None:
        change = {
            "op": "mutate",
            "table": "Bridge",
            "where": [["name", "==", INTEGRATION_BRIDGE]],
            "mutations": [mutation],
        }
        # ovs-vswitchd looks at the database when next_cfg moves, as ovs-vsctl does it.
        bump = {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}
        self.database.transact([*operations, change, bump])

    def wait_for_ports(self, names: Sequence[str], timeout_s: float = 20.0) -> dict[str, int]:
        """Wait until Open vSwitch has numbered the ports; a port it refused is named with its own reason."""

        def numbered() -> dict[str, int] | None:
            columns = ["name", "ofport", "error"]
            select = {"op": "select", "table": "Interface", "where": [], "columns": columns}
            rows = {row["name"]: row for row in self.database.transact([select])[0]["rows"]}
            found = {name: rows[name]["ofport"] for name in names if name in rows}
            refused = {name: rows[name]["error"] for name, number in found.items() if number == -1}
            if refused:
                raise EmulationError(f"{self.name}: Open vSwitch refused port(s): {refused}")
            return found if len(found) == len(names) and all(type(n) is int for n in found.values()) else None

        result: dict[str, int] = commands.wait_until(
            numbered, timeout_s, f"{self.name}: port numbers of {', '.join(names)}"
        )
        if self.datapath.kind == "userspace":
            self._have_sent([number for name, number in result.items() if name != TUNNEL_PORT])
            enlarge_send_buffers(self.daemons[-1].pid, SEND_BUFFER_BYTES)
        return result

    def _have_sent(self, ports: Sequence[int]) -> None:
        """Send one frame, once: the daemon makes the socket by which all AF_PACKET ports send at its first frame."""
        if ports and self._sender_made_by is not self.daemons[-1]:
            self.dpctl(
                "packet-out", f"in_port=controller packet={marker(b'first').hex()} actions=output:{ports[0]}"
            )
            self._sender_made_by = self.daemons[-1]

    def prefill_underlay_neighbour(self) -> None:
        """Tell OVS the gateway's MAC: it loses the first packet to a VTEP while it resolves a neighbour."""
        if self.datapath.kind == "userspace":
            self.control.call(
                "tnl/neigh/set", UNDERLAY_BRIDGE, self.access.gateway_ip, self.access.gateway_mac
            )

    def trace(self, flow: str) -> str:
        """What the tables do with a packet (``ofproto/trace``)."""
        return self.control.call("ofproto/trace", INTEGRATION_BRIDGE, flow)

    def memory_bytes(self) -> int:
        """Resident memory of both daemons."""
        return sum(_resident_bytes(daemon.pid) for daemon in self.daemons)

    # Mininet's verbs. Nothing is stopped one by one: the end of the sandbox ends everything.
    def start(self, _controllers: Sequence[Any]) -> None:
        """Nothing to do: the network starts all NVEs side by side."""

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803, ARG002 - Mininet's signature
        """End both daemons."""
        for daemon in self.daemons:
            daemon.terminate()

    def dpctl(self, *args: str, timeout_s: float = 30.0) -> str:
        """``sh``-style access to ovs-ofctl from the CLI. CommandError when it fails or takes too long."""
        target = f"unix:{self.folder}/{INTEGRATION_BRIDGE}.mgmt"
        argv = ["ovs-ofctl", "-O", "OpenFlow13", args[0], target, *args[1:]]
        return commands.run(argv, node=self.name, timeout_s=timeout_s)


def settle(nves: Mapping[str, NVE], stale: Callable[[str], bool], timeout_s: float = 1.0) -> None:
    """Wait until no NVE's datapath has a flow that ``stale`` says is of before the change; WaitError at the bound.

    ``stale`` gets one line of ``dpctl/dump-flows --names``. The dump takes the daemon some 0.4 ms and disturbs nothing;
    pausing the revalidator would say the same and has the daemon drop what its cache does not know meanwhile.
    """
    waiting = dict(nves)

    def settled() -> bool:
        with ExitStack() as asked:
            numbers = {}
            for name, nve in sorted(
                waiting.items()
            ):  # in one order everywhere, so that two moves cannot block each other
                asked.enter_context(nve.control.lock)
                numbers[name] = nve.control.send("dpctl/dump-flows", ["--names"])
            dumps = {
                name: str(waiting[name].control.receive("dpctl/dump-flows", number))
                for name, number in numbers.items()
            }
        for name, dump in dumps.items():
            if not any(stale(line) for line in dump.splitlines()):
                del waiting[name]
        return not waiting

    names = ", ".join(nves)
    commands.wait_until(
        settled, timeout_s, f"the datapath of {names} to follow its flow tables", every_s=0.0002
    )


def _uuid_name(name: str) -> str:
    """A name as the database takes one (RFC 7047 section 3.1, <id>: no '-'); two names never become one."""
    return name.replace("_", "__").replace("-", "_d")


class _Bridge:
    """The rows of one bridge with its ports, as database operations."""

    def __init__(self, name: str, datapath: Datapath) -> None:
        self.name, self.datapath = name, datapath
        self.ports: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    @property
    def uuid(self) -> str:
        return _uuid_name(self.name)

    def port_uuid(self, name: str) -> str:
        return "port_" + _uuid_name(name)

    def add(self, name: str, interface: dict[str, Any], port: dict[str, Any] | None = None) -> None:
        """``interface``, ``port``: columns of the two rows beside the name."""
        self.ports.append((name, interface, port or {}))

    def port_operations(
        self, name: str, interface: dict[str, Any], port: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        interface_uuid = "if_" + _uuid_name(name)
        return [
            {
                "op": "insert",
                "table": "Interface",
                "uuid-name": interface_uuid,
                "row": {"name": name, **interface},
            },
            {
                "op": "insert",
                "table": "Port",
                "uuid-name": self.port_uuid(name),
                "row": {"name": name, "interfaces": ["named-uuid", interface_uuid], **(port or {})},
            },
        ]

    def operations(self, columns: dict[str, Any]) -> list[dict[str, Any]]:
        ports = [(self.name, {"type": "internal"}, {}), *self.ports]
        operations = [operation for port in ports for operation in self.port_operations(*port)]
        row = {
            "name": self.name,
            "datapath_type": self.datapath.ovs_type,
            "ports": ovs_set([["named-uuid", self.port_uuid(name)] for name, *_ in ports]),
            **columns,
        }
        return [*operations, {"op": "insert", "table": "Bridge", "uuid-name": self.uuid, "row": row}]


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
