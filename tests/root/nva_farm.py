"""Real Open vSwitches and a real NVA in throw-away network namespaces, for root tests and measurements.

A namespace lives as long as its holder process; all files are in a temporary directory; every process dies
with the one that started it. (Each Open vSwitch needs a namespace: its datapath claims the tap ovs-netdev.)
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from controller.client import NvaClient

REPOSITORY = Path(__file__).parents[2]
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PORT = 6653
NVA = 0
"""The namespace of the NVA; NVEs count from 1."""
TUNNEL_PORT = 1


def wait_until(check: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Return the first true value of ``check``; fail with ``what`` and the last value seen."""
    end_s = time.monotonic() + timeout_s
    while not (value := check()):
        assert time.monotonic() < end_s, f"waited {timeout_s} s for {what}; last seen: {value!r}"
        threading.Event().wait(0.01)
    return value


class Farm:
    """Any number of NVEs (bridges ``br1``...), each joined to the NVA's namespace by a link of its own."""

    def __init__(self, framework: str = "os_ken", python: str = sys.executable) -> None:
        self._undo = ExitStack()
        self.directory = Path(self._undo.enter_context(tempfile.TemporaryDirectory(prefix="nva-farm-")))
        self._holders: dict[int, int] = {}
        self._add_namespace(NVA)
        self.environment = {"OF_FRAMEWORK": framework}
        self.python = python
        self.switches: dict[int, subprocess.Popen[bytes]] = {}
        self.ready = ""
        self.nva: subprocess.Popen[bytes] | None = None
        self.socket = self.directory / "nva.sock"

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *exc: object) -> None:
        self._undo.close()

    # Processes

    def _add_namespace(self, number: int) -> None:
        holder = self._spawn(None, ["unshare", "--net", "sleep", "infinity"])
        own, its = Path("/proc/self/ns/net"), Path(f"/proc/{holder.pid}/ns/net")
        wait_until(lambda: its.readlink() != own.readlink(), 5.0, "a network namespace of its own")
        self._holders[number] = holder.pid
        self.run(number, "ip", "link", "set", "lo", "up")

    def _argv(self, number: int | None, argv: Iterable[str]) -> list[str]:
        enter = [] if number is None else ["nsenter", "--target", str(self._holders[number]), "--net"]
        return ["setpriv", "--pdeathsig", "KILL", *enter, *argv]

    def _spawn(self, number: int | None, argv: Iterable[str], **kwargs: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._argv(number, argv), **kwargs)
        self._undo.callback(self.end, process)
        return process

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        """Kill one of our processes and wait for it."""
        if process.poll() is None:
            process.kill()
        process.wait(5.0)
        if process.stdout is not None:
            process.stdout.close()

    def run(self, number: int, *argv: str) -> str:
        """Run a command in the namespace of an NVE (or NVA); returns its output, raises its error text."""
        done = subprocess.run(
            self._argv(number, argv), capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
        return done.stdout

    # NVEs

    def _folder(self, number: int) -> Path:
        return self.directory / f"nve{number}"

    def add_nve(self, number: int, ports: Iterable[int]) -> None:
        """Start an Open vSwitch with bridge brN, tunnel port 1 and these VM ports; no controller yet."""
        folder = self._folder(number)
        folder.mkdir()
        self._add_namespace(number)
        link, other = f"m{number}", ["name", "mgmt", "netns", str(self._holders[number])]
        self.run(NVA, "ip", "link", "add", link, "type", "veth", "peer", *other)
        for where, name, host in ((NVA, link, 1), (number, "mgmt", 2)):
            self.run(where, "ip", "address", "add", f"10.255.{number}.{host}/30", "dev", name)
            self.run(where, "ip", "link", "set", name, "up")
        self.run(number, "ovsdb-tool", "create", str(folder / "conf.db"), SCHEMA)
        environment = {**os.environ, "OVS_RUNDIR": str(folder), "OVS_LOGDIR": str(folder)}
        argv = ["ovsdb-server", str(folder / "conf.db"), f"--remote=punix:{folder}/db.sock", "-vconsole:off"]
        argv += [f"--unixctl={folder}/db.ctl", f"--log-file={folder}/db.log"]
        self._spawn(number, argv, env=environment, stderr=subprocess.DEVNULL)
        wait_until((folder / "db.sock").exists, 5.0, "ovsdb-server")
        self.start_switch(number)
        bridge = f"br{number}"
        command = ["--", "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev"]
        command += ["fail_mode=secure", "protocols=OpenFlow13", f"other-config:datapath-id={number:016x}"]
        command += ["other-config:disable-in-band=true"]
        vxlan = f"vx{number}"
        command += ["--", "add-port", bridge, vxlan, "--", "set", "interface", vxlan, "type=vxlan"]
        command += ["options:remote_ip=flow", "options:key=flow", f"ofport_request={TUNNEL_PORT}"]
        for port in ports:
            name = f"v{number}p{port}"
            command += ["--", "add-port", bridge, name, "--", "set", "interface", name, "type=internal"]
            command += [f"ofport_request={port}"]
        self.vsctl(number, *command)

    def start_switch(self, number: int) -> None:
        """Start (again) the ovs-vswitchd of an NVE."""
        folder = self._folder(number)
        environment = {**os.environ, "OVS_RUNDIR": str(folder), "OVS_LOGDIR": str(folder)}
        (folder / "vs.ctl").unlink(missing_ok=True)
        argv = ["ovs-vswitchd", f"unix:{folder}/db.sock", f"--unixctl={folder}/vs.ctl", "-vconsole:off"]
        self.switches[number] = self._spawn(
            number, [*argv, f"--log-file={folder}/vs.log"], env=environment, stderr=subprocess.DEVNULL
        )
        wait_until((folder / "vs.ctl").exists, 5.0, "ovs-vswitchd")

    def vsctl(self, number: int, *words: str) -> str:
        """Run ovs-vsctl on one NVE."""
        return self.run(number, "ovs-vsctl", f"--db=unix:{self._folder(number)}/db.sock", *words)

    def set_controller(self, number: int) -> None:
        """Let an NVE connect. Open vSwitch 3.1 retries after 8 s when the first attempt fails: NVA first."""
        self.vsctl(number, "set-controller", f"br{number}", f"tcp:10.255.{number}.1:{PORT}")

    def flows(self, number: int) -> set[str]:
        """Return an NVE's flows as text, without counters and cookies."""
        lines = self.ofctl(number, "dump-flows", "--no-stats", "--no-names").splitlines()
        return {
            re.sub(r"cookie=[^,]*, ", "", line.strip())
            for line in lines
            if "table=" in line or "priority=" in line
        }

    def ofctl(self, number: int, *words: str) -> str:
        """Run ovs-ofctl on one NVE's bridge: the verb first, its arguments after."""
        bridge = f"{self._folder(number)}/br{number}.mgmt"
        return self.run(number, "ovs-ofctl", "-O", "OpenFlow13", words[0], bridge, *words[1:])

    def trace(self, number: int, packet: str) -> str:
        """Return what ofproto/trace says of a packet."""
        folder = self._folder(number)
        return self.run(
            number, "ovs-appctl", "-t", f"{folder}/vs.ctl", "ofproto/trace", f"br{number}", packet
        )

    def way(self, number: int, packet: str) -> list[str]:
        """Return where a packet goes at one NVE: ``port 10``, ``tunnel 192.0.2.3``, ``back`` (IN_PORT)."""
        found, tunnel = [], "?"
        for line in self.trace(number, packet).splitlines():
            if match := re.search(r"set_field:([0-9.]+)->tun_dst", line):
                tunnel = match[1]
            elif match := re.search(r"^\s+output:(\d+)", line):
                found.append(f"tunnel {tunnel}" if int(match[1]) == TUNNEL_PORT else f"port {match[1]}")
            elif re.search(r"^\s+IN_PORT", line):
                found.append("back" if tunnel == "?" else f"back to {tunnel}")
            elif re.search(r"^\s+CONTROLLER", line):
                found.append("controller")
        return found

    def send(self, number: int, port: int, frame: bytes) -> None:
        """Let a VM's port receive a frame, as if the VM had sent it."""
        name = f"v{number}p{port}"
        self.run(number, "ip", "link", "set", name, "up")
        code = "import socket, sys; s = socket.socket(17, 3); s.bind((sys.argv[1], 0)); "
        code += "s.send(bytes.fromhex(sys.argv[2]))"
        self.run(number, sys.executable, "-c", code, name, frame.hex())

    def join_underlay(self, number: int) -> None:
        """Give an NVE the underlay address 192.0.2.<number> on one link shared by all, so that tunnels work."""
        hub, link, phy = "hub", f"u{number}", f"phy{number}"
        if number == min(self.switches):
            self.run(NVA, "ip", "link", "add", hub, "type", "bridge")
            self.run(NVA, "ip", "link", "set", hub, "up")
        other = ["name", "up0", "netns", str(self._holders[number])]
        self.run(NVA, "ip", "link", "add", link, "type", "veth", "peer", *other)
        self.run(NVA, "ip", "link", "set", link, "master", hub, "up")
        self.run(number, "ip", "link", "set", "up0", "up")
        bridge = ["--", "add-br", phy, "--", "set", "bridge", phy, "datapath_type=netdev"]
        self.vsctl(number, *bridge, "--", "add-port", phy, "up0")
        self.run(number, "ip", "address", "add", f"192.0.2.{number}/24", "dev", phy)
        self.run(number, "ip", "link", "set", phy, "up")

    def add_vm(self, number: int, port: int, mac: str, *addresses: str) -> int:
        """Plug a namespace with ``eth0`` into an NVE at a port; returns its number, for :meth:`run`.

        Duplicate address detection is on, so a wrong answer of the NVE shows as ``dadfailed``.
        """
        vm = 1000 * number + port
        self._add_namespace(vm)
        end, other = f"v{vm}", ["name", "eth0", "address", mac, "netns", str(self._holders[vm])]
        self.run(number, "ip", "link", "add", end, "type", "veth", "peer", *other)
        self.run(number, "ip", "link", "set", end, "up")
        # Open vSwitch's userspace datapath does not finish checksums that the veth left to a card.
        self.run(vm, "ethtool", "-K", "eth0", "tx", "off")
        for address in addresses:
            self.run(vm, "ip", "address", "add", address, "dev", "eth0")
        self.run(vm, "ip", "link", "set", "eth0", "up")
        self.vsctl(
            number,
            "--",
            "add-port",
            f"br{number}",
            end,
            "--",
            "set",
            "interface",
            end,
            f"ofport_request={port}",
        )
        return vm

    def ping(self, vm: int, address: str, count: int = 2) -> bool:
        """Tell whether every ping of a VM is answered."""
        said = self.run(vm, "sh", "-c", f"ping -n -c {count} -i 0.05 -W 1 {address} || true")
        return f"{count} received" in said

    # NVA

    def start_nva(self, program: str | None = None) -> float:
        """Start the NVA and wait until it is ready; returns seconds from exec to ready."""
        start_s = time.monotonic()
        run = ["-m", "controller"] if program is None else ["-c", program]
        options = ["--listen", "0.0.0.0", "--port", str(PORT), "--socket", str(self.socket)]
        argv = [self.python, *run, *options, "--journal", str(self.directory / "journal")]
        environment = {**os.environ, **self.environment}
        with (self.directory / "nva.err").open("ab") as errors:
            self.nva = self._spawn(
                NVA, argv, stdout=subprocess.PIPE, stderr=errors, cwd=REPOSITORY, env=environment
            )
        assert self.nva.stdout is not None
        line = self.nva.stdout.readline()
        assert line.startswith(b"ready "), (line, self.nva_errors())
        self.ready = line.decode().strip()
        return time.monotonic() - start_s

    def nva_errors(self) -> str:
        """Return what the NVA wrote to stderr."""
        return (self.directory / "nva.err").read_text()

    def client(self) -> NvaClient:
        """Return a northbound client, closed with the farm."""
        return self._undo.enter_context(NvaClient(self.socket, 10.0))

    def stop_nva(self, number: signal.Signals) -> int:
        """Send the NVA a signal; returns its exit status."""
        assert self.nva is not None
        self.nva.send_signal(number)
        status = self.nva.wait(5.0)
        self.end(self.nva)
        return status


def measure_commit(client: NvaClient, repetitions: int, policy: str = "tunnel") -> list[float]:
    """Return, for moves of vm1 to and fro, seconds from the call of commit_move to the last barrier."""
    found = []
    for number in range(repetitions):
        new = "nve2" if client.where("vm1")["nve"] == "nve1" else "nve1"
        migration_id = f"{policy} {number}"
        client.prepare_move(migration_id, "vm1", new, policy)
        if policy != "silent-drop":  # then all three NVEs change at the commit
            client.redirect(migration_id)
        call_s = time.monotonic()
        timing = client.commit_move(migration_id)
        found.append(timing["last_barrier_s"] - call_s)
        client.finish_move(migration_id)
    return found


def many(nves: int, vms: int, shift: int) -> dict[str, Any]:
    """Return a configuration with VMs spread over NVEs; ``shift`` changes every VM's address."""
    return {
        "nves": [
            {"name": f"nve{n}", "dpid": n, "underlay_ip": f"192.0.2.{n}", "tunnel_port": TUNNEL_PORT}
            for n in range(1, nves + 1)
        ],
        "networks": [{"name": "red", "vni": 100}],
        "vms": [
            {
                "name": f"vm{v}",
                "vni": 100,
                "mac": f"02:00:00:{shift:02x}:{v // 256:02x}:{v % 256:02x}",
                "ipv4": f"10.{shift}.{v // 256}.{v % 256}",
                "nve": (nve := f"nve{v % nves + 1}"),
                "ports": {nve: {"direct": 100 + v}},
            }
            for v in range(1, vms + 1)
        ],
    }


def measure_resync(client: NvaClient, nves: int, vms: int) -> list[tuple[int, float]]:
    """Return (flows, seconds) of programming all NVEs: first with flows it never encoded, then again."""
    found = []
    for shift in (1, 1):
        client.configure(**many(nves, 0, 0))
        client.wait_programmed(60.0)
        start_s = time.monotonic()
        client.configure(**many(nves, vms, shift))
        told = client.wait_programmed(60.0)["nves"].values()
        found.append((sum(nve["flows"] for nve in told), max(nve["programmed_s"] for nve in told) - start_s))
    return found


def main() -> None:
    """Print the NVA's times on this machine."""
    from tests.fake_nva_world import config

    with Farm() as farm:
        for number in range(1, 11):
            farm.add_nve(number, (10, 11, 20, 30) if number < 4 else ())
        print(f"start to ready: {farm.start_nva():.3f} s")
        client = farm.client()
        client.configure(**many(10, 0, 0))
        for number in range(1, 11):
            farm.set_controller(number)
        client.wait_programmed(30.0)
        for (flows, seconds), what in zip(
            measure_resync(client, 10, 170), ("new flows", "flows encoded before"), strict=True
        ):
            print(f"programming 10 NVEs, {flows} flows in all, {what}: {seconds:.3f} s")
        client.configure(**config())
        client.wait_programmed(30.0)
        for policy in ("tunnel", "silent-drop"):
            times = sorted(measure_commit(client, 40, policy))
            print(
                f"commit_move, 3 NVEs, {policy}, call to last barrier: "
                f"median {statistics.median(times) * 1e3:.2f} ms, "
                f"min {times[0] * 1e3:.2f}, p95 {times[37] * 1e3:.2f} (n=40)"
            )


if __name__ == "__main__":
    main()
