"""The emulated network: Mininet nodes joined as a topology says, every NVE with an Open vSwitch of its own.

Order: management network, then (by the caller) the NVA, then routers, VMs and NVEs. The NVA must listen before the
first switch daemon starts: Open vSwitch 3.1.0 tries a controller that refused it again only after 8 s.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from mininet.net import Mininet
from mininet.node import Host, Node

from emulation import (
    addressing,
    commands,
    control_group,
    nva_entries,
    outside,
    packet_sockets,
    plain,
    underlay,
    wiring,
)
from emulation.control_group import VmGroup
from emulation.datapath_flows import concerning
from emulation.dhcp import Dhcp
from emulation.errors import EmulationError
from emulation.neighbours import Forgetting
from emulation.nve import NVE, UNDERLAY_BRIDGE, Datapath, settle
from emulation.plan import (
    MANAGEMENT_BRIDGE,
    MANAGEMENT_PREFIX_LENGTH,
    TUNNEL_PORT,
    UPLINK,
    Plan,
    router_interface,
)
from emulation.sandbox import network_namespace
from emulation.wiring import DIRECT, REDIRECTED, Wiring, receive_on_one_processor
from topologies.model import LinkProperties, Topology
from vocabulary.moves import ATTACHMENTS, REBIND

RUN_FOLDER = Path("/run/overland")  # the sandbox's own /run
_TEMPLATE = RUN_FOLDER / "empty.db"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_AT_ONCE = 4  # NVEs started side by side; more only wait for the processors
_ACTIONS_PER_VM = 1000  # mirred action numbers are unique within a namespace


@dataclass(frozen=True)
class Options:
    """How a topology is built, as opposed to what is built.

    Two are mistakes, to be made on purpose: ``underlay_mtu_bytes`` in place of the topology's, which fits its tunnels;
    ``cuts_old_leg`` false: a switch leaves the leg to the old NVE open.
    """

    datapath: Datapath
    attachment: str = REBIND
    buffer_bytes: int = 64 * 1024 * 1024
    underlay_mtu_bytes: int | None = None
    cuts_old_leg: bool = True

    def __post_init__(self) -> None:
        if self.attachment not in ATTACHMENTS:
            raise EmulationError(f"attachment: {self.attachment!r} is not one of {', '.join(ATTACHMENTS)}")


class VmPorts(TypedDict):
    """A VM's port numbers at one NVE; ``redirected`` None: it has one port there."""

    direct: int
    redirected: int | None


class Router(Node):  # type: ignore[misc]  # Mininet ships no types
    """A kernel router of the underlay."""


class VM(Host):  # type: ignore[misc]  # Mininet ships no types
    """A Mininet host that stands in for a VM (a tenant system of RFC 7365)."""


class Client(Host):  # type: ignore[misc]  # Mininet ships no types
    """A Mininet host outside the data centre, which knows nothing of NVEs."""


class EmulatedNetwork(Mininet):  # type: ignore[misc]  # Mininet ships no types
    """A topology, running. Exists only inside a sandbox; the sandbox's end is its end."""

    def __init__(self, topology: Topology, options: Options) -> None:
        # Mininet would raise limits of the whole machine here; the sandbox needs none of that.
        Mininet.inited = True
        super().__init__(topo=None, controller=None, build=False, waitConnected=False)
        self.topology, self.options = topology, options
        self.plan = Plan(topology)
        self.wirings: dict[str, Wiring] = {}
        self.groups: dict[str, VmGroup] = {}
        self.location: dict[str, str] = {vm.name: vm.nve for vm in topology.vms}
        self.ofports: dict[str, dict[str, int]] = {}
        self._plugged: dict[str, str] = {}  # VM -> the NVE whose namespace has its port (`replug`)
        self.dhcp = Dhcp(topology, self.spawn, lambda node: int(self[node].pid), RUN_FOLDER)

    # Building, in this order.

    def start_management(self) -> None:
        """The bridge over which NVEs reach the NVA."""
        RUN_FOLDER.mkdir(parents=True, exist_ok=True)
        commands.batch(
            "ip",
            [
                "link set lo up",
                f"link add {MANAGEMENT_BRIDGE} type bridge forward_delay 0",
                f"addr add {self.plan.nva_address}/{MANAGEMENT_PREFIX_LENGTH} dev {MANAGEMENT_BRIDGE}",
                f"link set {MANAGEMENT_BRIDGE} up",
                *wiring.sink_lines(),
            ],
        )
        commands.run(["ovsdb-tool", "create", str(_TEMPLATE), _SCHEMA])

    def start_nodes(self) -> None:
        """Namespaces, links, addresses and routes of everything; no switch runs yet."""
        _switch_ipv6(on=False)
        self._add_nodes()
        commands.batch("ip", list(self._link_lines()))
        for router in self.plan.routers:
            lines = list(underlay.router_lines(self.topology, self.plan, router))
            self._configure(router, lines, forwarding=True)
        for vm in self.topology.vms:
            self._configure(vm.name, addressing.vm_lines(self.topology, vm), ipv6=vm.ipv6 is not None)
            self._host_device(vm.name, self._processor(vm.name))
        for nve in self.topology.nves:
            self._configure(nve.name, underlay.nve_lines(self.plan, nve.name, self._vm_devices(nve.name)))
        self._configure_outside()
        self._shape_links()

    def start_switches(self, progress: Callable[[int], None] = lambda done: None) -> None:
        """Every NVE's database and switch daemon; returns when Open vSwitch has numbered all ports."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done, _ in enumerate(pool.map(self._start_nve, self.nves.values()), start=1):
                progress(done)
        first_action = _ACTIONS_PER_VM
        for vm in self.topology.vms:
            if self.is_prewired(vm.name):
                self._wire(vm.name, first_action)
                first_action += _ACTIONS_PER_VM

    # What others ask for.

    @property
    def nves(self) -> dict[str, NVE]:
        """The NVEs by name."""
        return {switch.name: switch for switch in self.switches}

    def is_prewired(self, vm: str) -> bool:
        """Whether a VM has legs to several NVEs (`rebind`)."""
        return self.options.attachment == REBIND and bool(self.topology.prewired_nves(vm))

    def nva_configuration(self) -> dict[str, Any]:
        """The parameters of the northbound call ``configure``."""
        return nva_entries.configuration(
            self.topology,
            self.plan,
            self.ofports,
            self.location,
            lambda vm: {nve: self.vm_ports(vm, nve) for nve in self._attached_nves(vm)},
            nd_by_nva=self.options.datapath.kind == "kernel",
        )

    def next_hop_mac(self, nve: str) -> str:
        """The router's address on an NVE's plain port."""
        return plain.next_hop_mac(self.plan, nve)

    def open_host_route(self, vm: str, nve: str) -> None:
        """The underlay's routers lead to an NVE's plain port for a VM's address, until ``close_host_route``."""
        self._on_routers(plain.host_route_lines(self.plan, str(self.topology.vm(vm).ipv4), nve))

    def close_host_route(self, vm: str, nve: str) -> None:
        """They know nothing of the VM again."""
        self._on_routers(plain.withdrawal_lines(self.plan, str(self.topology.vm(vm).ipv4), nve))

    def _on_routers(self, lines: Mapping[str, list[str]]) -> None:
        for router, own in lines.items():
            commands.batch("ip", own, pid=self[router].pid, node=router)

    def vm_ports(self, vm: str, nve: str) -> VmPorts:
        """The port numbers of a VM at an NVE."""
        ports = self.ofports[nve]
        return {
            "direct": ports[wiring.nve_device(vm, DIRECT)],
            "redirected": ports.get(wiring.nve_device(vm, REDIRECTED)),
        }

    def add_legs(self, vm: str, nve: str) -> VmPorts:
        """Wire a pre-wired VM to one more NVE while everything runs; its port numbers there.

        It may be called again when the NVE's switch daemon did not answer.
        """
        switch, mtu = self.nves[nve], self._mtu(vm)
        names = [wiring.nve_device(vm, which) for which in (DIRECT, REDIRECTED)]
        if nve not in self.wirings[vm].legs:
            commands.batch("ip", Wiring.leg_lines(vm, switch.number, switch.pid, mtu))
            commands.batch("ip", [f"link set {name} up" for name in names], pid=switch.pid, node=nve)
            self.wirings[vm].add_leg(nve, switch.number)
        for name in names:
            if name not in self.ofports[nve]:
                self.ofports[nve][name] = switch.add_port(name)
        return self.vm_ports(vm, nve)

    def replug(self, vm: str, new_nve: str) -> int:
        """Move the NVE's end of a VM's veth to another NVE (`replug`); the port number there."""
        if vm in self.ofports[self.location[vm]]:
            self.unplug(vm)
        return self.plug(vm, new_nve)

    def add_copy(self, vm: str, name: str, nve: str) -> int:
        """A second namespace with a VM's addresses, plugged into another NVE; its port number there.

        It stands for a copy of the VM that exists beside it (standby). It may speak only when the NVA opens the port.
        """
        model, mtu = self.topology.vm(vm), self._mtu(vm)
        self.addHost(name, cls=VM, mac=model.mac, ip=None)
        if (group := control_group.current()) is not None:
            self.groups[name] = group.make(name)
            self.groups[name].add(self[name].pid)
        commands.batch(
            "ip",
            [
                f"link add {name} mtu {mtu} netns {self[nve].pid} type veth "
                f"peer name eth0 netns {self[name].pid} address {model.mac} mtu {mtu}"
            ],
        )
        self._configure(name, addressing.vm_lines(self.topology, model), ipv6=model.ipv6 is not None)
        self._host_device(name, self._processor(vm))
        commands.run(["ip", "link", "set", name, "up"], pid=self[nve].pid, node=nve)
        self.ofports[nve][name] = self.nves[nve].add_port(name)
        return self.ofports[nve][name]

    def unplug(self, vm: str) -> None:
        """Take a VM's port out of its NVE (`replug`): from now on nothing reaches it, and nothing gets out."""
        old = self.nves[self.location[vm]]
        old.remove_port(vm)
        del self.ofports[old.name][vm]

    def plug(self, vm: str, nve: str) -> int:
        """Plug an unplugged VM in, at the same NVE or another (`replug`); the port number there."""
        here, new = self.nves[self._plugged.get(vm, self.location[vm])], self.nves[nve]
        if here.name != nve:
            commands.run(["ip", "link", "set", vm, "netns", str(new.pid)], pid=here.pid, node=here.name)
            self._plugged[vm] = nve  # even if its switch daemon does not answer: the port is there
            commands.run(["ip", "link", "set", vm, "up"], pid=new.pid, node=nve)
        self.ofports[nve][vm] = new.add_port(vm)
        self.location[vm] = nve
        return self.ofports[nve][vm]

    def restart_nve(self, name: str) -> None:
        """Start an NVE's switch daemon anew, killed before if it lives; its flows are lost until the NVA has it again.

        Its ports keep their numbers: they stand in the NVE's database.
        """
        nve, before = self.nves[name], self.ofports[name]
        nve.restart_switch()
        now = nve.wait_for_ports(list(before))
        if now != before:
            raise EmulationError(f"{name}: its ports were {before} and are {now} now; start the network anew")
        nve.prefill_underlay_neighbour()  # devices, addresses and routes have stayed

    def await_addresses(self, timeout_s: float = 10.0) -> None:
        """Wait until every VM may use all its addresses, leased ones and IPv6 ones; WaitError at the bound."""
        self.dhcp.await_leases()
        for vm in self.topology.vms:
            what = f"{vm.name}'s IPv6 addresses to be its own (duplicate address detection)"
            commands.wait_until(partial(_all_usable, self[vm.name].pid), timeout_s, what, 0.02)

    def settle(self, nves: Iterable[str], stale: Callable[[str], bool], vm: str) -> None:
        """Wait until the datapaths of the named NVEs follow their flow tables, for one VM; see ``nve.settle``."""
        beyond = self.topology.outside
        reached = beyond is not None and self.topology.network_of(vm).name in beyond.reaches
        switches = self.nves
        concerns = concerning(self.topology, vm, outside=(outside.PORT,) if reached else ())
        settle({name: switches[name] for name in nves}, lambda line: concerns(line) and stale(line))

    def spawn(
        self, node: str, argv: list[str], *, pauses_with_vm: bool = True, **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start a long-running command in a node's namespace.

        At a VM it is one of the VM's processes and stands still when the VM is paused; what only observes the VM from
        its namespace says ``pauses_with_vm=False``.
        """
        argv = commands.in_namespaces_of(self[node].pid, argv)
        if pauses_with_vm and node in self.groups:
            argv = self.groups[node].joining(argv)
        return commands.spawn(argv, **streams)

    def group(self, vm: str) -> VmGroup:
        """The control group of a VM's processes. EmulationError where this machine offers none."""
        if vm not in self.groups:
            raise EmulationError(
                f"{vm} cannot be paused: this machine offers neither control groups of version 2 nor the freezer of "
                "version 1, or they are read-only here; moves without a pause are possible"
            )
        return self.groups[vm]

    def memory_bytes(self) -> int:
        """Resident memory of all switch daemons."""
        return sum(nve.memory_bytes() for nve in self.nves.values())

    # Mininet's pings, between all hosts.

    def ping(self, hosts: Sequence[Node] | None = None, timeout: str | None = None) -> Any:
        """Ping between hosts, all without a choice; percentage lost. Holds few neighbours: see ``neighbours``."""
        return super().ping(self._forgetting(hosts), timeout)

    def pingFull(  # noqa: N802 - Mininet's name
        self, hosts: Sequence[Node] | None = None, timeout: str | None = None
    ) -> Any:
        """The same with round-trip times: a list of (host, host, (sent, received, times))."""
        return super().pingFull(self._forgetting(hosts), timeout)

    def _forgetting(self, hosts: Sequence[Node] | None) -> Forgetting:
        pinged = self.hosts if hosts is None else hosts

        return Forgetting(pinged, lambda: self.forget_neighbours(host.name for host in pinged))

    def forget_neighbours(self, hosts: Iterable[str]) -> None:
        """VMs and clients do not know anybody any more: the kernel's one table has room again."""
        for name in hosts:
            commands.run(["ip", "neigh", "flush", "dev", "eth0"], pid=self[name].pid, node=name)

    # Details.

    def _add_nodes(self) -> None:
        for name in self.plan.routers:
            self.addHost(name, cls=Router)
        for vm in self.topology.vms:
            self.addHost(vm.name, cls=VM, mac=vm.mac, ip=None)
        if (group := control_group.current()) is not None:
            self.groups = {vm.name: group.make(vm.name) for vm in self.topology.vms}
            for name, one in self.groups.items():
                one.add(self[name].pid)
        if (beyond := self.topology.outside) is not None:
            self.addHost(outside.ROUTER, cls=Router)
            for client in beyond.clients:
                self.addHost(client.name, cls=Client, ip=None)
        for nve in self.topology.nves:
            self.addSwitch(
                nve.name,
                cls=NVE,
                access=self.plan.access_links[nve.name],
                nva_address=self.plan.nva_address,
                number=self.plan.nve_number(nve.name),
                datapath_choice=self.options.datapath,
                run_folder=RUN_FOLDER,
                encapsulation=self.topology.tunnel.encapsulation,
                tunnel_udp_port=self.topology.tunnel.udp_port,
            )
        # So that `ip netns exec NODE` works inside the sandbox. The folder is mounted after the nodes have got mount
        # namespaces of their own: they would see the files without what is bound to them, and their `ip link` complain.
        commands.run(["mount", "-t", "tmpfs", "overland", "/run/netns"])
        for node in (*self.hosts, *self.switches):
            named = Path("/run/netns") / node.name
            named.touch()
            commands.run(["mount", "--bind", f"/proc/{node.pid}/ns/net", str(named)], node=node.name)

    def _link_lines(self) -> Iterator[str]:
        pids = {node.name: node.pid for node in (*self.hosts, *self.switches)}
        yield from underlay.link_lines(self.topology, self.plan, pids, self.options.underlay_mtu_bytes)
        for vm in self.topology.vms:
            yield from self._vm_link_lines(vm.name)
        if (beyond := self.topology.outside) is not None:
            yield from outside.link_lines(self.topology, beyond, pids)

    def _vm_link_lines(self, vm: str) -> list[str]:
        pid, mac, mtu = self[vm].pid, self.topology.vm(vm).mac, self._mtu(vm)
        if not self.is_prewired(vm):
            nve = self[self.location[vm]].pid
            return [
                f"link add {vm} mtu {mtu} netns {nve} type veth peer name eth0 netns {pid} address {mac} mtu {mtu}"
            ]
        lines = Wiring.device_lines(vm, pid, mac, mtu)
        for nve in self._attached_nves(vm):
            lines += Wiring.leg_lines(vm, self[nve].number, self[nve].pid, mtu)
        return lines

    def _vm_devices(self, nve: str) -> list[str]:
        """The names of all ports of an NVE that face VMs or the outside."""
        names = []
        for vm in self.topology.vms:
            if nve in self._attached_nves(vm.name):
                names.append(wiring.nve_device(vm.name, DIRECT))
                if self.is_prewired(vm.name):
                    names.append(wiring.nve_device(vm.name, REDIRECTED))
        if (beyond := self.topology.outside) is not None and beyond.nve == nve:
            names.append(outside.PORT)
        if self.topology.underlay.routes_tenants:
            names.append(plain.PORT)
        return names

    def _attached_nves(self, vm: str) -> list[str]:
        if self.is_prewired(vm):
            return list(self.topology.prewired_nves(vm))
        return [self.location[vm]]

    def _processor(self, vm: str) -> int:
        """The processor that receives for a VM: they take turns."""
        return [one.name for one in self.topology.vms].index(vm) % (os.cpu_count() or 1)

    def _mtu(self, vm: str) -> int:
        mtu: int = self.topology.network_of(vm).mtu_bytes
        return mtu

    def _configure(self, name: str, lines: list[str], forwarding: bool = False, ipv6: bool = False) -> None:
        node = self[name]
        with network_namespace(node.pid):
            _switch_ipv6(on=ipv6)
            _keep_neighbours_without_carrier()
            if forwarding:
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            if forwarding and ipv6:
                Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        commands.batch("ip", lines, pid=node.pid, node=name)

    def _configure_outside(self) -> None:
        if (beyond := self.topology.outside) is None:
            return
        lines = outside.router_lines(self.topology, self.plan, beyond)
        self._configure(outside.ROUTER, lines, forwarding=True, ipv6=True)
        names = [beyond.nve, *(client.name for client in beyond.clients)]
        for name in names:
            root = Path(f"/proc/{self[outside.ROUTER].pid}/root")
            receive_on_one_processor(router_interface(name), 0, root)
        for client in beyond.clients:
            lines = outside.client_lines(self.plan, beyond, client)
            self._configure(client.name, lines, ipv6=client.ipv6 is not None)
            self._host_device(client.name, 0)

    def _host_device(self, name: str, processor: int) -> None:
        """What a VM's or client's device needs beyond its addresses."""
        if self.options.datapath.kind == "userspace":
            with network_namespace(self[name].pid):
                packet_sockets.transmit_checksum_off("eth0")
        receive_on_one_processor("eth0", processor, Path(f"/proc/{self[name].pid}/root"))

    def _shape_links(self) -> None:
        if (beyond := self.topology.outside) is not None:
            self._shape(outside.ROUTER, router_interface(beyond.nve), beyond.link)
            self._shape(beyond.nve, outside.PORT, beyond.link)
        for link in self.plan.router_links:
            for here, there in ((link.left, link.right), (link.right, link.left)):
                self._shape(here, router_interface(there), link.quality)
        for access in self.plan.access_links.values():
            self._shape(access.router, router_interface(access.nve), access.quality)
            self._shape(access.nve, UPLINK, access.quality)

    def _shape(self, node: str, device: str, quality: LinkProperties) -> None:
        lines = underlay.shaping_lines(device, quality, self.topology.underlay.mtu_bytes)
        commands.batch("tc", lines, pid=self[node].pid, node=node)

    def _start_nve(self, nve: NVE) -> None:
        names = self._vm_devices(nve.name)
        nve.start_database(_TEMPLATE)
        nve.start_switch(names)
        self.ofports[nve.name] = nve.wait_for_ports([*names, TUNNEL_PORT])
        if self.options.datapath.kind == "kernel":
            # A frame's way goes on, up to the VM that it is for, on the processor that took it in here: one and the
            # same for a VM at all its NVEs, or what comes by the new one overtakes what still comes by the old one.
            own = {
                wiring.nve_device(vm.name, which): self._processor(vm.name)
                for vm in self.topology.vms
                for which in (DIRECT, REDIRECTED)
            }
            for name in names:
                receive_on_one_processor(name, own.get(name, 0), Path(f"/proc/{nve.pid}/root"))
        device = UNDERLAY_BRIDGE if self.options.datapath.kind == "userspace" else UPLINK
        lines = underlay.access_lines(nve.access, device)
        commands.batch("ip", lines, pid=nve.pid, node=nve.name)
        nve.prefill_underlay_neighbour()

    def _wire(self, vm: str, first_action: int) -> None:
        model = self.topology.vm(vm)
        wired = Wiring(
            vm,
            model.mac,
            model.nve,
            self._mtu(vm),
            self.options.buffer_bytes,
            first_action,
            self._processor(vm),
            self.options.cuts_old_leg,
        )
        wired.connect({nve: self[nve].number for nve in self._attached_nves(vm)})
        self.wirings[vm] = wired


def _all_usable(pid: int) -> bool:
    """Whether no IPv6 address of a process's network namespace is tentative."""
    table = Path(f"/proc/{pid}/net/if_inet6")
    return not table.exists() or not addressing.tentative(table.read_text())


def _keep_neighbours_without_carrier() -> None:
    """A replug takes the carrier from the VM's veth for a moment; a guest's link and ARP cache would stay."""
    for scope in ("all", "default"):
        with contextlib.suppress(FileNotFoundError):  # before Linux 5.16
            Path(f"/proc/sys/net/ipv4/conf/{scope}/arp_evict_nocarrier").write_text("0")


def _switch_ipv6(on: bool) -> None:
    """Whether the namespace's devices speak IPv6. Off: no solicitations, no MLD; only VMs with IPv6 have it on.

    Link-local addresses are made of the MAC: an NVE knows what they are before they are used.
    """
    for scope in ("all", "default"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            folder = Path(f"/proc/sys/net/ipv6/conf/{scope}")
            (folder / "addr_gen_mode").write_text("0")
            (folder / "disable_ipv6").write_text("0" if on else "1")
