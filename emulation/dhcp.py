"""DHCP as VMs do it: dnsmasq in the server VM's namespace, udhcpc in the clients'. Nothing here is simulated.

The server knows from the topology which address each MAC gets, as an orchestrator would have told it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from emulation import commands
from emulation.errors import EmulationError
from topologies.model import Topology, VirtualNetwork, Vm

LEASE_S = 3600
LEASED_BOUND_S = 10.0
# udhcpc calls it with one of deconfig, bound, renew, nak, leasefail. At deconfig a client that starts again keeps what
# it has: it is about to ask for the same address (RFC 2131 section 3.2).
SCRIPT = """#!/bin/sh
case "$1" in
bound|renew)
    ip addr replace "$ip/$mask" dev "$interface"
    for gateway in $router; do ip route replace 0.0.0.0/0 via "$gateway" dev "$interface"; done ;;
nak) ip -4 addr flush dev "$interface" ;;
esac
"""


class Process(Protocol):
    """What is asked of a program that runs in a VM."""

    returncode: Any

    def poll(self) -> int | None:
        """None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""

    def terminate(self) -> None:
        """Ask it to end."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""


Spawn = Callable[[str, list[str]], Process]


def clients_of(topology: Topology) -> tuple[Vm, ...]:
    """The VMs that lease their IPv4 address."""
    return tuple(vm for vm in topology.vms if vm.address == "dhcp")


def server_argv(topology: Topology, network: VirtualNetwork, folder: Path) -> list[str]:
    """The command line of a network's server: one fixed address for each client, nothing for anybody else."""
    argv = [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--no-ping",
        "--interface=eth0", "--except-interface=lo", "--bind-interfaces", "--dhcp-authoritative",
        f"--log-facility={folder}/dnsmasq-{network.name}.log", "--pid-file=",
        f"--dhcp-leasefile={folder}/dnsmasq-{network.name}.leases",
        f"--dhcp-range={network.subnet_v4[0]},static,{network.subnet_v4.netmask},{LEASE_S}",
        f"--dhcp-option=option:router{'' if network.gateway_v4 is None else f',{network.gateway_v4}'}",
    ]  # fmt: skip
    clients = [vm for vm in clients_of(topology) if vm.virtual_network == network.name]
    return [*argv, *(f"--dhcp-host={vm.mac},{vm.ipv4},{LEASE_S}" for vm in clients)]


def client_argv(script: Path, request: str | None = None) -> list[str]:
    """The command line of a client; ``request``: an address that it has had and wants again."""
    argv = ["udhcpc", "-f", "-i", "eth0", "-s", str(script), "-t", "5", "-T", "1", "-A", "1"]
    return argv if request is None else [*argv, "-r", request]


class Dhcp:
    """The servers and clients of one network that runs. ``start``, ``await_leases``, then ``confirm``."""

    def __init__(self, topology: Topology, spawn: Spawn, pid_of: Callable[[str], int], folder: Path) -> None:
        self._topology, self._spawn, self._pid_of, self._folder = topology, spawn, pid_of, folder
        self._script = folder / "dhcp-script"
        self._clients: dict[str, Process] = {}

    def start(self) -> None:
        """Start every server, then every client."""
        networks = [network for network in self._topology.virtual_networks if network.dhcp_server is not None]
        for network in networks:
            self._spawn(str(network.dhcp_server), server_argv(self._topology, network, self._folder))
            leases = self._folder / f"dnsmasq-{network.name}.leases"
            commands.wait_until(leases.exists, LEASED_BOUND_S, f"the DHCP server {network.dhcp_server}")
        self._script.write_text(SCRIPT)
        self._script.chmod(0o755)
        for vm in clients_of(self._topology):
            self._clients[vm.name] = self._spawn(vm.name, client_argv(self._script))

    def await_leases(self) -> None:
        """Wait until every client has set its address; WaitError names the one that has not."""
        for vm in clients_of(self._topology):
            what = f"{vm.name} to have leased {vm.ipv4}"
            commands.wait_until(partial(self._has_leased, vm), LEASED_BOUND_S, what, 0.05)

    def _has_leased(self, vm: Vm) -> bool:
        return str(vm.ipv4) in self.addresses(vm.name)

    def addresses(self, vm: str) -> list[str]:
        """The IPv4 addresses on a VM's interface now."""
        said = commands.run(["ip", "-4", "-o", "addr", "show", "dev", "eth0"], pid=self._pid_of(vm), node=vm)
        return [line.split()[3].partition("/")[0] for line in said.splitlines()]

    def confirm(self, vm: str, *, restart: bool = False) -> None:
        """Have a client confirm its lease: renew it by unicast (RFC 2131 section 4.4.5), or start again."""
        if vm not in self._clients:
            raise EmulationError(f"{vm} leases no address (address: static); choose a VM with address: dhcp")
        client = self._clients[vm]
        if not restart:
            client.send_signal(signal.SIGUSR1)
            return
        client.terminate()
        client.wait(LEASED_BOUND_S)
        request = str(self._topology.vm(vm).ipv4)
        self._clients[vm] = self._spawn(vm, client_argv(self._script, request))

    def ended(self) -> dict[str, Any]:
        """Clients whose program has ended, with its status; it should not."""
        return {vm: client.returncode for vm, client in self._clients.items() if client.poll() is not None}
