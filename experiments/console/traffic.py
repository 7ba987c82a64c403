"""The console's verbs that send something between nodes: pingall and its kin, iperf. Each ends within a bound.

Mininet's own run in the nodes' shells, wait without end and stumble over what they did not expect: its iperf waits for
a second line of the server that Debian's does not print.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mininet.log import output

from emulation import commands
from emulation.neighbours import KEPT_BY_PINGS
from experiments.console.mininet_console import ConsoleError
from experiments.console.node_names import UnclearNameError, address_from, names_with_addresses
from experiments.running.laboratory import pairs_that_talk
from topologies.model import Client, Topology, Vm

if TYPE_CHECKING:
    from emulation.network import EmulatedNetwork
    from experiments.running.interrupts import Interrupts

Host = Vm | Client
_PINGS_KEPT = KEPT_BY_PINGS // 2  # each leaves two entries
_IPERF_S = 5  # as Mininet's
_IPERF_SLACK_S = 5.0
_IPERF_PORT = 5001
_DATAGRAM_BYTES = 1470  # iperf's own
_HEADERS_BYTES = 28  # IPv4 and UDP
_LISTEN, _UNCONNECTED = "0A", "07"  # states in /proc/net/tcp and udp
_RATE = re.compile(r"\d+(\.\d+)?[KMG]?", re.IGNORECASE)
_MOST_TIMEOUT_S = 60.0
_RTT = re.compile(r"= ([\d.]+/[\d.]+/[\d.]+/[\d.]+) ms")


class TrafficVerbs:
    """Mixed into the console before Mininet's CLI, whose verbs of these names it replaces."""

    mn: EmulatedNetwork
    interrupts: Interrupts
    if TYPE_CHECKING:  # what the console has; it comes later among the bases

        def known(self, name: str, there: Sequence[str], what: str) -> None:
            """Refuse a name that is not there."""

        def refuse_paused(self, node: str) -> None:
            """Refuse what would run in a VM that stands still."""

    def do_pingall(self, line: str) -> None:
        """Ping between all that may reach each other, VMs and clients outside: pingall [TIMEOUT in s]."""
        self._ping_groups(line, in_full=False)

    def do_pingallfull(self, line: str) -> None:
        """As pingall, with round-trip times: pingallfull [TIMEOUT in s]."""
        self._ping_groups(line, in_full=True)

    def do_pingpair(self, line: str) -> None:
        """Ping between the first two VMs: pingpair [TIMEOUT in s]."""
        self._ping(both_ways(self._first_two()), _timeout_s("pingpair", line), in_full=False)

    def do_pingpairfull(self, line: str) -> None:
        """Ping between the first two VMs, with round-trip times: pingpairfull [TIMEOUT in s]."""
        self._ping(both_ways(self._first_two()), _timeout_s("pingpairfull", line), in_full=True)

    def do_iperf(self, line: str) -> None:
        """Measure TCP between two nodes for 5 s: iperf [NODE NODE], from the first to the second."""
        words = line.split()
        if len(words) not in (0, 2):
            raise ConsoleError("usage: iperf NODE NODE (without: the first VM and the last one)")
        sent_bps, received_bps = self._iperf(words, [])
        output(f"*** Results: {[_rate(received_bps), _rate(sent_bps)]} (received, sent)\n")

    def do_iperfudp(self, line: str) -> None:
        """Measure UDP between two nodes for 5 s: iperfudp [RATE NODE NODE], such as iperfudp 10M vm1 peer1."""
        words = line.split()
        if len(words) not in (0, 3) or (words and not _RATE.fullmatch(words[0])):
            raise ConsoleError("usage: iperfudp RATE NODE NODE; RATE in bit/s, such as 10M or 500K")
        rate = words[0] if words else "10M"
        # What is longer than a tunnel takes would measure fragments.
        mtu_bytes = min(network.mtu_bytes for network in self.mn.topology.virtual_networks)
        length_bytes = min(_DATAGRAM_BYTES, mtu_bytes - _HEADERS_BYTES)
        sent_bps, received_bps = self._iperf(words[1:], ["-u", "-b", rate, "-l", str(length_bytes)])
        output(f"*** Results: {[rate, _rate(received_bps), _rate(sent_bps)]} (asked for, received, sent)\n")

    # Ping.

    def _ping_groups(self, line: str, *, in_full: bool) -> None:
        timeout_s = _timeout_s("pingallfull" if in_full else "pingall", line)
        groups = pairs_in_groups(self.mn.topology)
        if not groups:
            raise ConsoleError("nobody here may reach another: there are no two VMs in one network")
        for title, pairs in groups.items():
            output(f"{title}:\n")
            self._ping(pairs, timeout_s, in_full=in_full)

    def _ping(self, pairs: Sequence[tuple[Host, Host]], timeout_s: float, *, in_full: bool) -> None:
        received, begin = 0, self.interrupts.presses
        times: list[tuple[str, str, str | None]] = []
        targets: dict[str, list[Host]] = {}
        for one, other in pairs:
            targets.setdefault(one.name, []).append(other)
        for source, others in targets.items():
            output(f"{source} -> ")
            for other in others:
                if self.interrupts.presses > begin:
                    raise KeyboardInterrupt
                if len(times) % _PINGS_KEPT == _PINGS_KEPT - 1:
                    self.mn.forget_neighbours({host.name for pair in pairs for host in pair})
                said = self._one_ping(source, str(other.ipv4), timeout_s)
                found = _RTT.search(said)
                received += found is not None
                times.append((source, other.name, found[1] if found else None))
                output(f"{other.name if found else 'X'} ")
            output("\n")
        if in_full:
            for source, target, rtt in times:
                told = f"1/1, rtt min/avg/max/mdev {rtt} ms" if rtt else "1/0"
                output(f" {source}->{target}: {told}\n")
        dropped = 100 * (len(pairs) - received) // len(pairs)
        output(f"*** Results: {dropped}% dropped ({received}/{len(pairs)} received)\n")

    def _one_ping(self, source: str, address: str, timeout_s: float) -> str:
        argv = ["ping", "-n", "-c", "1", "-W", f"{timeout_s:g}", address]
        process = self.mn.spawn(
            source, argv, pauses_with_vm=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with process:
            try:
                said, _ = process.communicate(timeout=(timeout_s + 5) * commands.PATIENCE)
            except subprocess.TimeoutExpired:
                said = b""
            finally:
                process.kill()
        return said.decode(errors="replace")

    # iperf.

    def _iperf(self, names: Sequence[str], more: Sequence[str]) -> tuple[float, float]:
        """(sent, received) in bit/s."""
        client, server = names or [one.name for one in (self._vms()[0], self._vms()[-1])]
        there = names_with_addresses(self.mn.topology, self.mn.plan)
        for name in (client, server):
            self.known(name, sorted(there), "node")
        if client == server:
            raise ConsoleError(f"iperf {client} {server}: name two nodes")
        for name in (client, server):
            self.refuse_paused(name)
        try:
            address = address_from(self.mn.topology, self.mn.plan, client, server)
        except UnclearNameError as error:
            raise ConsoleError(str(error)) from None
        kind = "UDP" if "-u" in more else "TCP"
        output(f"*** Iperf: testing {kind} bandwidth between {client} and {server}\n")
        port = ["-p", str(_IPERF_PORT), "-y", "C"]
        udp = ["-u"] if kind == "UDP" else []
        receiver = self._start(server, ["iperf", "-s", *udp, *port])
        try:
            self._await_port(server, kind.lower())
            sender = self._start(client, ["iperf", "-c", address, "-t", str(_IPERF_S), *port, *more])
            try:
                sent = self._ended(sender, client, server, address)
            finally:
                sender.kill()
                sender.wait()
            received = self._server_line(receiver)
        finally:
            receiver.kill()
            receiver.wait()
        if received is None:
            raise ConsoleError(f"{server} ({address}) received nothing from {client}")
        return sent, received

    def _start(self, node: str, argv: list[str]) -> subprocess.Popen[bytes]:
        return self.mn.spawn(node, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _await_port(self, node: str, protocol: str) -> None:
        table = Path(f"/proc/{self.mn[node].pid}/net/{protocol}")
        wanted = (f"{_IPERF_PORT:04X}", _LISTEN if protocol == "tcp" else _UNCONNECTED)

        def listens() -> bool:
            rows = (row.split() for row in table.read_text().splitlines()[1:])
            return any((row[1].rpartition(":")[2], row[3]) == wanted for row in rows)

        commands.wait_until(listens, 5.0, f"iperf to listen at {node}", every_s=0.01)

    def _ended(self, sender: subprocess.Popen[bytes], client: str, server: str, address: str) -> float:
        """What a client reports, bit/s; ConsoleError when it has nothing to report within its time."""
        begin, deadline_s = self.interrupts.presses, time.monotonic() + self._bound_s()
        said = b""
        while True:
            try:
                said, _ = sender.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                if self.interrupts.presses > begin:
                    raise KeyboardInterrupt from None
                if time.monotonic() > deadline_s:
                    bound = f"{self._bound_s():g} s"
                    raise ConsoleError(
                        f"iperf from {client} to {server} ({address}) did not end within {bound}; "
                        f"do they reach each other? {client} ping -c 1 {server}"
                    ) from None
        reports = list(_reports(said.decode(errors="replace")))
        if not reports:
            why = said.decode(errors="replace").strip().splitlines() or ["iperf said nothing"]
            raise ConsoleError(f"iperf from {client} to {server} ({address}): {why[-1]}")
        return reports[0]

    def _bound_s(self) -> float:
        return (_IPERF_S + _IPERF_SLACK_S) * commands.PATIENCE

    def _server_line(self, receiver: subprocess.Popen[bytes]) -> float | None:
        """The last rate that a server reports; it prints a moment after its client has gone."""
        said, deadline_s = b"", time.monotonic() + 2.0 * commands.PATIENCE
        while not said and time.monotonic() < deadline_s:
            try:
                said, _ = receiver.communicate(timeout=0.1)
            except subprocess.TimeoutExpired as late:
                said = late.stdout or b""
        reports = list(_reports(said.decode(errors="replace")))
        return reports[-1] if reports else None

    # Details.

    def _vms(self) -> Sequence[Vm]:
        vms = self.mn.topology.vms
        if len(vms) < 2:
            raise ConsoleError("this needs two VMs, and the topology has fewer")
        return vms

    def _first_two(self) -> tuple[Vm, Vm]:
        return self._vms()[0], self._vms()[1]


def both_ways(pair: tuple[Host, Host]) -> list[tuple[Host, Host]]:
    """A pair and its reverse."""
    return [pair, (pair[1], pair[0])]


def pairs_in_groups(topology: Topology) -> dict[str, list[tuple[Host, Host]]]:
    """All ordered pairs that packets are carried between, by what they have to pass."""
    between, beyond = "between networks that are routed to each other", "to and from clients outside"
    groups: dict[str, list[tuple[Host, Host]]] = {
        f"network {network.name}": [] for network in topology.virtual_networks
    }
    groups |= {between: [], beyond: []}
    for one, other in pairs_that_talk(topology):
        if not isinstance(one, Vm) or not isinstance(other, Vm):
            groups[beyond].append((one, other))
        elif one.virtual_network == other.virtual_network:
            groups[f"network {one.virtual_network}"].append((one, other))
        else:
            groups[between].append((one, other))
    return {title: pairs for title, pairs in groups.items() if pairs}


def _timeout_s(verb: str, line: str) -> float:
    word = line.strip() or "1"
    try:
        timeout_s = float(word)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s <= _MOST_TIMEOUT_S:
        raise ConsoleError(
            f"{verb} {word}: allowed is a timeout in seconds, such as 1, up to {_MOST_TIMEOUT_S:g}"
        )
    return timeout_s


def _reports(said: str) -> Iterator[float]:
    """Rates above 0, bit/s, in what ``iperf -y C`` prints: its ninth column."""
    for line in said.splitlines():
        fields = line.split(",")
        if len(fields) >= 9 and fields[8].isdigit() and int(fields[8]) > 0:
            yield float(fields[8])


def _rate(rate_bps: float) -> str:
    """As Mininet's iperf says it."""
    for unit, factor in (("Gbits", 1e9), ("Mbits", 1e6), ("Kbits", 1e3)):
        if rate_bps >= factor:
            return f"{rate_bps / factor:.3g} {unit}/sec"
    return f"{rate_bps:.0f} bits/sec"
