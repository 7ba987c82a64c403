"""What the console says of packets is held against packets: `why`, before, in each phase of, and after moves; `audit`.

Every question is asked of `why` and then done: by the sender's own kernel, or as an attacker would do it.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from emulation import commands
from emulation.commands import wait_until
from emulation.packet_sockets import FrameSender
from emulation.sandbox import network_namespace
from experiments.console.audit import audit, audit_lines
from experiments.console.explain import explain
from experiments.console.journey import Verdict
from experiments.console.question import everybody, read_question
from experiments.console.whereabouts import names_at
from experiments.running.laboratory import Laboratory
from mobility.migration import PHASES
from tests.root.sandboxed import Capture, in_sandbox, laboratory
from topologies import Topology, load_topology, topology_file
from wire import ethernet, ip, nd
from wire.ethernet import mac_bytes

pytestmark = pytest.mark.root

ARRIVES_WITHIN_S = 1.0
"""Of packets that must come; those that must not are looked for until all others are there, and a while longer."""
NOT_EXPECTED_S = 0.05
IP_HDRINCL, IPV6_HDRINCL = socket.IP_HDRINCL, 36
KINDS = ("icmp", "udp", "fragment", "spoofed")
PAIRS = (
    ("peer1", "vm1"),  # one NVE
    ("vm1", "peer1"),
    ("peer3", "vm1"),  # another NVE
    ("vm1", "peer3"),
    ("green2", "vm1"),  # routed between networks
    ("vm1", "green2"),
    ("client1", "vm1"),  # outside
    ("vm1", "client1"),
    ("vm1", "amber2"),  # forbidden: another tenant
    ("amber2", "vm1"),  # vm1's address is its twin's in amber's tenant
    ("red3", "vm1"),
)
ASKED = (("peer1", "vm1"), ("peer3", "vm1"), ("vm1", "peer3"), ("vm1", "green2"), ("amber2", "vm1"))


def network() -> Topology:
    """two_tenants with a client outside."""
    made = load_topology(topology_file("two_tenants")).as_file()
    client = {"name": "client1", "ipv4": "203.0.113.10", "ipv6": "2001:db8:ff::10"}
    made["outside"] = {"nve": "nve3", "reaches": ["blue"], "clients": [client]}
    return Topology.model_validate(made)


@dataclass
class Sent:
    """One packet: what `why` said of it, and who got it."""

    words: str
    verdict: Verdict
    mark: bytes
    target: bytes
    fragment: bool = False
    got: set[str] = field(default_factory=set)

    @property
    def expected(self) -> set[str]:
        """Who is to get it now."""
        if self.verdict.kind in ("delivered", "nva") and self.verdict.receiver is not None:
            return {self.verdict.receiver}
        return set()


class Range:
    """A laboratory with an ear at every VM and client."""

    def __init__(self, lab: Laboratory) -> None:
        self.lab, self.numbers = lab, itertools.count(1)
        self.nodes = {one.name: one for one in everybody(lab.topology)}
        self.ears = {name: Capture(lab.network[name].pid, "eth0") for name in self.nodes}
        self.held: list[Sent] = []

    def why(self, words: str) -> Verdict:
        return explain(
            self.lab.network, read_question(words.split(), self.lab.topology, lambda _: [])
        ).verdict

    def verdicts_hold(
        self,
        pairs: Sequence[tuple[str, str]] = PAIRS,
        kinds: Sequence[str] = KINDS,
        asked: Sequence[tuple[str, str]] = ASKED,
        versions: Sequence[int] = (4, 6),
    ) -> list[str]:
        """What `why` said and what happened where the two differ; every pair, kind and version is asked and sent."""
        sent = [
            self._send(one, other, kind, version)
            for one, other in pairs
            for kind in kinds
            for version in versions
        ]
        self._listen(sent)
        self.held += [one for one in sent if one.verdict.kind == "held" and one.verdict.receiver is not None]
        wrong = [
            f"{one.words}: {sorted(one.got)}, but {one.verdict.text}"
            for one in sent
            if one.got != one.expected
        ]
        return wrong + [
            text for pair in asked for version in versions if (text := self._asked(*pair, version))
        ]

    def _send(self, who: str, whom: str, kind: str, version: int) -> Sent:
        node, target = self.nodes[who], self.nodes[whom]
        address = str(target.ipv6 if version == 6 else target.ipv4)
        own = str(node.ipv6 if version == 6 else node.ipv4)
        forged = "2001:db8:1::77" if version == 6 else "10.1.0.77"
        words = f"{who} {whom} {'icmp' if kind == 'icmp' else 'udp'} ipv{version}"
        words += {"fragment": " fragment", "spoofed": f" from={forged}"}.get(kind, "")
        verdict = self.why(words)
        mark = b"<why %08d>" % next(self.numbers)
        with network_namespace(self.lab.network[who].pid), contextlib.suppress(OSError):
            if kind == "icmp":
                _ping(address, mark, version)
            elif kind == "spoofed":
                _forge(forged, address, mark, version)
            else:
                _datagram(own, address, mark * (250 if kind == "fragment" else 1), version)
        return Sent(words, verdict, mark, ip_address(address).packed, kind == "fragment")

    def _listen(self, sent: Sequence[Sent]) -> None:
        """Until all that is expected has come and nothing has for a while, or the bound."""
        deadline_s = time.monotonic() + ARRIVES_WITHIN_S
        quiet_s = time.monotonic() + NOT_EXPECTED_S
        by_mark = {one.mark: one for one in (*sent, *self.held)}
        while (now_s := time.monotonic()) < deadline_s:
            for name, ear in self.ears.items():
                for frame in ear.frames():
                    quiet_s = now_s + NOT_EXPECTED_S
                    for one in _of(frame, by_mark):
                        one.got.add(name)
            if now_s > quiet_s and all(one.expected <= one.got for one in sent):
                return
            time.sleep(0.005)  # ears keep what comes meanwhile

    def held_came(self) -> list[str]:
        """What was said to be held, and did not come by now."""
        self._listen([])
        lost = [one.words for one in self.held if one.got != {one.verdict.receiver}]
        self.held.clear()
        return lost

    def _asked(self, who: str, whom: str, version: int) -> str | None:
        """Ask for a MAC with a frame of one's own: is it answered when `why` says so, and else not?"""
        node, target = self.nodes[who], self.nodes[whom]
        address = str(target.ipv6 if version == 6 else target.ipv4)
        said = self.why(f"{who} {address} {'nd' if version == 6 else 'arp'}")
        mac = self.lab.topology.vm(who).mac
        frame, answer = (
            _solicitation(mac, str(node.ipv6), address)
            if version == 6
            else _arp(mac, str(node.ipv4), address)
        )
        self.ears[who].frames()
        with network_namespace(self.lab.network[who].pid):
            out = FrameSender("eth0", bypass=False)
        out.send(frame)
        out.close()
        end_s = time.monotonic() + (ARRIVES_WITHIN_S if said.kind == "answered" else NOT_EXPECTED_S)
        answered = False
        while not answered and time.monotonic() < end_s:
            answered = any(answer in heard for heard in self.ears[who].frames())
        if answered != (said.kind == "answered"):
            return f"{who} asks for {address}: answered {answered}, but {said.text}"
        return None

    def audit(self) -> list[str]:
        lab = self.lab
        book = lambda nve: lab.nva.desired_flows(nve)["flows"]  # noqa: E731
        nves = lab.network.nves.items()
        return audit_lines(
            [audit(one, book, lambda name=name: names_at(lab.network, name)) for name, one in nves]
        )


def _of(frame: bytes, by_mark: dict[bytes, Sent]) -> Iterator[Sent]:
    """The packet that a frame is, on its way to its target: answers and errors that quote it do not count."""
    at = frame.find(b"<why ")
    one = by_mark.get(frame[at : at + 14]) if at >= 0 else None
    if one is None:
        return
    four = ethernet.ethertype(frame) == ethernet.IPV4
    to = frame[30:34] if four else frame[38:54]
    later = (
        bool(int.from_bytes(frame[20:22], "big") & 0x1FFF)
        if four
        else frame[20] == 44 and bool(int.from_bytes(frame[56:58], "big") & 0xFFF8)
    )
    if to == one.target and later == one.fragment:
        yield one


def _ping(address: str, mark: bytes, version: int) -> None:
    kind, number = (128, socket.IPPROTO_ICMPV6) if version == 6 else (8, socket.IPPROTO_ICMP)
    message = struct.pack("!BBHHH", kind, 0, 0, 1, 1) + mark
    if version == 4:
        message = message[:2] + struct.pack("!H", ip.checksum(message)) + message[4:]
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, number) as out:
        out.sendto(message, (address, 0))


def _datagram(own: str, address: str, payload: bytes, version: int) -> None:
    with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((own, 0))
        out.sendto(payload, (address, 5001))


def _forge(source: str, address: str, mark: bytes, version: int) -> None:
    """A UDP packet with somebody else's source address."""
    payload = struct.pack("!HHHH", 40000, 5001, 8 + len(mark), 0) + mark
    ends = ip_address(source).packed + ip_address(address).packed
    if version == 6:
        packet = struct.pack("!IHBB", 6 << 28, len(payload), ip.UDP, 64) + ends + payload
        family, option = socket.AF_INET6, (socket.IPPROTO_IPV6, IPV6_HDRINCL)
    else:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, ip.UDP, 0) + ends + payload
        family, option = socket.AF_INET, (socket.IPPROTO_IP, IP_HDRINCL)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
        out.setsockopt(*option, 1)
        out.sendto(packet, (address, 0))


def _arp(mac: str, own: str, address: str) -> tuple[bytes, bytes]:
    """A request, and what a reply to it has in it."""
    target = IPv4Address(address).packed
    body = (
        struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        + mac_bytes(mac)
        + IPv4Address(own).packed
        + bytes(6)
        + target
    )
    frame = ethernet.build(ethernet.BROADCAST, mac, ethernet.ARP, body)
    return frame, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)


def _solicitation(mac: str, own: str, address: str) -> tuple[bytes, bytes]:
    """A neighbour solicitation (RFC 4861 section 4.3), and what its answer has in it: the target as its sender."""
    target = IPv6Address(address).packed
    group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + target[-3:])
    message = struct.pack("!BBHI", nd.SOLICITATION, 0, 0, 0) + target + bytes([1, 1]) + mac_bytes(mac)
    packet = ip.icmp_v6(IPv6Address(own), group, message, 255)
    frame = ethernet.build("33:33:ff:" + target[-3:].hex(":"), mac, ethernet.IPV6, packet)
    return frame, bytes([nd.ADVERTISEMENT, 0])


def looked_into() -> dict[str, Any]:
    with laboratory(network()) as lab:
        keep_neighbours(lab)
        lab.warm_up()
        place = Range(lab)
        seen: dict[str, Any] = {"before": place.verdicts_hold(), "audit before": place.audit()}

        def in_phase(name: str) -> Any:
            def look() -> None:
                seen[f"in {name}"] = place.verdicts_hold()
                seen[f"audit in {name}"] = place.audit()

            return look

        lab.move("vm1", "nve3", hooks={name: in_phase(name) for name in PHASES})
        seen["held"] = place.held_came()
        seen["after"], seen["audit after"] = place.verdicts_hold(), place.audit()
        return seen


def keep_neighbours(lab: Laboratory) -> None:
    """Have nobody ask for a MAC again within the test.

    Phases last seconds here. Meanwhile a VM's kernel would probe for its peers, and an NVE's answers to a moving VM
    wait with what comes directly, until the old path is empty: some ms in a move that nobody looks into.
    """
    for vm in lab.topology.vms:
        for version in ("ipv4", "ipv6"):
            name = f"net.{version}.neigh.eth0.base_reachable_time_ms=3600000"
            commands.run(["sysctl", "-q", "-w", name], pid=lab.network[vm.name].pid, node=vm.name)


TO_VM = (("peer1", "vm1"), ("peer2", "vm1"), ("peer3", "vm1"), ("vm1", "peer2"))
LATE = "still has the mapping of before"


def among_policies_and_strategies() -> dict[str, Any]:
    """Moves under each policy that is not the default, then peers whose mapping is late, then VMs that do not run."""
    seen: dict[str, Any] = {}
    with laboratory(load_topology(topology_file("two_racks"))) as lab:
        keep_neighbours(lab)
        lab.warm_up()
        place = Range(lab)

        def look(pairs: Sequence[tuple[str, str]] = TO_VM, versions: Sequence[int] = (4, 6)) -> list[str]:
            return place.verdicts_hold(pairs, ("udp",), (), versions)

        for policy, to in (
            ("silent-drop", "nve2"),
            ("icmp", "nve3"),
            ("forward", "nve1"),
            ("tunnel", "nve2"),
        ):
            phases = ("stop", "switch", "resume", "converge", "drain", "release")
            hooks = {name: _looking(seen, f"{policy} in {name}", look) for name in phases}
            lab.move("vm1", to, policy=policy, downtime_s=0.001, hooks=hooks)
            seen[f"held with {policy}"] = place.held_came()
        late = (("peer3", "vm1"),)
        for strategy in ("announce", "pull", "timeout"):
            lab.set_strategy(strategy, 60)
            lab.move("vm1", "nve1" if lab.network.location["vm1"] == "nve2" else "nve2", announcements=0)
            said = place.why("peer3 vm1").text
            seen[f"late with {strategy}"] = [] if LATE in said else [said]
            seen[f"packets with {strategy}"] = look(late, (4,))
        lab.set_strategy("timeout", 1)
        lab.move("vm1", "nve3" if lab.network.location["vm1"] != "nve3" else "nve2")
        peer, mac = lab.network.nves["nve2"], lab.topology.vm("vm1").mac
        wait_until(lambda: "hard_timeout" not in peer.dpctl("dump-flows", f"dl_dst={mac}"), 5.0, "expiry")
        said = place.why("peer2 vm1")
        seen["expired"] = [] if said.kind == "nva" else [said.text]
        seen["packet after the expiry"] = look((("peer2", "vm1"),), (4,))
        lab.set_strategy("push")
        for vm in ("vm1", "peer1"):
            lab.lives[vm].pause()
            seen[f"{vm} paused"] = place.verdicts_hold(((("peer2", vm)),), ("udp",), ())
            said = place.why(f"peer2 {vm}").text
            seen[f"why {vm} paused"] = [] if "is paused" in said else [said]
            lab.lives[vm].resume()
        lab.lives["peer1"].stop()
        lab.lives["peer1"].release()
        seen["released"] = look((("peer2", "peer1"),))
        seen["audits"] = _tampered(place)
    return seen


def _looking(seen: dict[str, Any], name: str, look: Callable[[], list[str]]) -> Callable[[], None]:
    def do() -> None:
        seen[name] = look()

    return do


def _tampered(place: Range) -> dict[str, list[str]]:
    """What `audit` says of flows that somebody has added and taken, and of a datapath that does not follow."""
    nve = place.lab.network.nves["nve2"]
    mac = place.lab.topology.vm("peer2").mac
    said = {"untouched": place.audit()}
    nve.dpctl("add-flow", "table=3,priority=999,reg1=0x1389,dl_dst=02:00:00:00:00:99,actions=drop")
    said["added"] = place.audit()
    nve.dpctl("del-flows", "--strict", "table=3,priority=999,reg1=0x1389,dl_dst=02:00:00:00:00:99")
    own = next(
        line
        for line in nve.dpctl("dump-flows", f"table=3,reg2=1,dl_dst={mac}").splitlines()
        if "actions" in line
    )
    flow = "table=3,priority=100,reg1=0x1389,reg2=1,dl_dst=" + mac
    nve.dpctl("del-flows", "--strict", flow)
    said["taken"] = place.audit()
    nve.dpctl("add-flow", f"{flow},actions={own.rpartition('actions=')[2]}")
    place.verdicts_hold((("vm1", "peer2"),), ("udp",), ())
    said["put back"] = place.audit()
    nve.control.call("revalidator/pause")
    nve.dpctl("del-flows", "--strict", flow)
    said["datapath behind"] = place.audit()
    nve.control.call("revalidator/resume")
    return said


def audited_with_dhcp() -> list[str]:
    with laboratory(load_topology(topology_file("dhcp"))) as lab:
        lab.warm_up()
        return Range(lab).audit()


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(looked_into, 100.0)
    return found


def test_what_why_says_is_what_packets_do(seen: dict[str, Any]) -> None:
    looks = [name for name in seen if not name.startswith("audit")]
    assert set(looks) == {"before", "held", "after", *(f"in {name}" for name in PHASES)}
    assert {name: seen[name] for name in looks if seen[name]} == {}


def test_audit_agrees_before_in_each_phase_and_after(seen: dict[str, Any]) -> None:
    looks = {name: said for name, said in seen.items() if name.startswith("audit")}
    assert len(looks) == len(PHASES) + 2
    assert {name: said for name, said in looks.items() if said != ["agree"]} == {}


@pytest.fixture(scope="module")
def policies() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(among_policies_and_strategies, 100.0)
    return found


def test_what_why_says_holds_under_every_policy_and_for_mappings_of_before(policies: dict[str, Any]) -> None:
    assert len(policies) == 4 * 7 + 2 * 3 + 2 + 4 + 1 + 1
    assert {name: said for name, said in policies.items() if said and name != "audits"} == {}


def test_audit_names_each_flow_that_is_wrong(policies: dict[str, Any]) -> None:
    audits = policies["audits"]
    assert audits["untouched"] == audits["put back"] == ["agree"]
    added, taken = "\n".join(audits["added"]), "\n".join(audits["taken"])
    assert "nve2: in nobody's book: FORWARD priority 999" in added
    assert added.endswith("nve2: DISAGREE; nve1, nve3: agree")
    assert (
        "nve2: missing: FORWARD priority 100  in network blue (VNI 5001), came from a tunnel, for peer2"
        in taken
    )
    assert "the datapath does other than the tables say" in "\n".join(audits["datapath behind"])


def test_audit_agrees_with_a_dhcp_servers_flows() -> None:
    assert in_sandbox(audited_with_dhcp, 60.0) == ["agree"]
