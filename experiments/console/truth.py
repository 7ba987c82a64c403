"""The console's verbs that say how things are: where, why, flows, audit."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from controller.client import NvaError
from experiments.attribution.rule_drops import unmatched
from experiments.console.audit import audit, audit_lines
from experiments.console.explain import explain
from experiments.console.journey import PROTOCOLS
from experiments.console.kernel import holders_of
from experiments.console.mininet_console import ConsoleError, starting
from experiments.console.openflow_text import TABLE_NAMES, parse_flows
from experiments.console.question import FRAGMENT, FROM, VERSIONS, clients, names, read_question
from experiments.console.text import client_rows, flow_lines, where_lines
from experiments.console.whereabouts import names_at, whereabouts

if TYPE_CHECKING:
    from emulation.network import EmulatedNetwork
    from experiments.running.laboratory import Laboratory

TRUTH = ("where", "why", "flows", "audit")


class TruthVerbs:
    """Mixed into the console. The first line of each docstring is its line in help."""

    laboratory: Laboratory
    mn: EmulatedNetwork

    def do_where(self, line: str) -> None:
        """Show where VMs are: where [VM or client ...]. The NVA's mapping beside the kernel's wires.

        NVE (NVA): where the NVA's mapping has the VM. port, redirected: its ports on that NVE's br-int.
        wire (kernel): where its frames really go and come from, read from the kernel. The last column says agree, or
        what does not: the wire leads elsewhere, a move is under way and how far, or an NVE whose mapping is out of date
        (strategies pull, announce, timeout) still sends to where the VM was.
        """
        words = line.split()
        for name in words:
            self.known(name, names(self.mn.topology), "VM")
        nva = self.laboratory.nva
        self._check()
        vms = [name for name in self.vms() if name in words or not words]
        found = [whereabouts(self.mn, nva.where(vm)) for vm in vms]
        beyond = [one for one in clients(self.mn.topology) if one.name in words or not words]
        rows = client_rows(beyond, self.mn.topology, self.mn.ofports)
        status = nva.status()
        print("\n".join(where_lines(found, status["version"], rows, status["strategy"])), flush=True)

    def do_why(self, line: str) -> None:
        """Explain a packet's way: why WHO WHOM [icmp|tcp|udp|arp|nd] [ipv6]. Every table at every NVE it passes.

        WHO and WHOM: a VM, a client outside, or an address of either version, also one that nobody has.
          why vm1 green2              a ping from vm1 to green2, routed if they are in different networks
          why vm1 green2 ipv6         the same on IPv6 (an IPv6 address says it, too; so does nd)
          why client1 vm1 tcp         from outside
          why vm1 10.1.0.77           to an address that may be nobody's
          why vm1 peer1 arp           a question for a MAC: arp, or nd (neighbour discovery) on IPv6
          why vm1 peer1 udp fragment  a fragment that is not a datagram's first
          why vm1 peer1 from=10.1.0.9 with a source address that is not vm1's
        Nothing is sent: the sender's kernel is asked for its route and the MAC it knows, then each NVE's Open vSwitch
        what its tables would do (ofproto/trace), routers for their routes, and the wire behind the last port.
        The last lines are the conclusion: delivered to whom, answered, or dropped in which table and why.
        """
        question = read_question(line.split(), self.mn.topology, lambda address: holders_of(self.mn, address))
        try:
            found = explain(self.mn, question)
        except ValueError as error:
            raise ConsoleError(f"why {line}: {error}") from None
        told = [*found.lines, found.verdict.text, *self._not_running(question.who.name, question.whom)]
        print("\n".join(told), flush=True)

    def _not_running(self, *who: str) -> list[str]:
        """Ends of a journey that neither send nor receive now; nothing when the NVA cannot be asked."""
        said = []
        for vm in who:
            if vm in self.vms():
                with contextlib.suppress(NvaError, OSError):
                    state = self.laboratory.nva.where(vm)["state"]
                    said += [f"{vm} is {state}"] if state != "running" else []
        return said

    def do_flows(self, line: str) -> None:
        """Show an NVE's flows in words: flows NVE [TABLE], with packet counts.

        Below each table: what matched none of its flows and was dropped. Open vSwitch brings counts up to date
        within a second. TABLE is a number or a name of the pipeline (see tables). dpctl dump-flows shows them raw,
        of all NVEs.
        """
        words = line.split()
        if not 1 <= len(words) <= 2:
            raise ConsoleError(f"usage: flows NVE [TABLE]; NVEs: {', '.join(self.mn.nves)}")
        self.known(words[0], list(self.mn.nves), "NVE")
        table = self._table(words[1]) if len(words) == 2 else None
        nve = self.mn.nves[words[0]]
        nve.control.call("revalidator/wait")
        flows, missed = parse_flows(nve.dpctl("dump-flows")), unmatched(nve.dpctl("dump-tables"))
        print("\n".join(flow_lines(words[0], flows, missed, names_at(self.mn, words[0]), table)), flush=True)

    def do_audit(self, line: str) -> None:
        """Hold the NVA's book against the NVEs: audit [NVE ...]. Says agree, or every flow on which they differ.

        For each NVE: the flows that the NVA wants it to have, those that its Open vSwitch has (OpenFlow), and what its
        datapath does with the packets it knows. A flow is missing, in nobody's book, or does something else; the
        datapath may still do what the tables no longer say. What differs for less than two seconds is not told.
        """
        words = line.split()
        for name in words:
            self.known(name, list(self.mn.nves), "NVE")
        self._check()
        found = [
            audit(nve, self._book, partial(names_at, self.mn, name))
            for name, nve in self.mn.nves.items()
            if name in words or not words
        ]
        print("\n".join(audit_lines(found)), flush=True)

    def _book(self, nve: str) -> list[str]:
        flows: list[str] = self.laboratory.nva.desired_flows(nve)["flows"]
        return flows

    # Completion.

    def complete_where(self, text: str, *_ignored: object) -> list[str]:
        """VMs and clients."""
        return starting(text, names(self.mn.topology))

    def complete_why(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Who, whom, then protocol, version and the rest."""
        before = line[:begidx].split()[1:]
        if len(before) < 2:
            return starting(text, [name for name in names(self.mn.topology) if name not in before])
        more = [word for word in (*PROTOCOLS, *VERSIONS, FRAGMENT) if word not in before]
        return starting(text, more) + ([FROM] if FROM.startswith(text) else [])

    def complete_flows(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """NVE, table."""
        return starting(text, TABLE_NAMES.values() if line[:begidx].split()[1:] else self.mn.nves)

    def complete_audit(self, text: str, *_ignored: object) -> list[str]:
        """NVEs."""
        return starting(text, self.mn.nves)

    # Details.

    def _table(self, word: str) -> int:
        numbers = {name: number for number, name in TABLE_NAMES.items()}
        if word.isdigit() and int(word) in TABLE_NAMES:
            return int(word)
        self.known(word.upper(), list(numbers), "table")
        return numbers[word.upper()]

    # What the console has.

    def vms(self) -> list[str]:
        """The names of all VMs."""
        raise NotImplementedError

    def known(self, name: str, there: Sequence[str], what: str) -> None:
        """Refuse a name that is not there."""
        raise NotImplementedError

    def _check(self) -> None:
        """Refuse when the NVA is not there."""
        raise NotImplementedError
