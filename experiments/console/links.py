"""The console's verbs of links and switches: links, link NODE NODE up|down, switch NVE stop|start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mininet.log import output

from emulation import commands
from emulation.errors import CommandError
from experiments.console import mininet_view
from experiments.console.mininet_console import ConsoleError, starting

if TYPE_CHECKING:
    from emulation.network import EmulatedNetwork


class LinkVerbs:
    """Mixed into the console before Mininet's CLI, whose verbs of these names it replaces."""

    mn: EmulatedNetwork
    if TYPE_CHECKING:  # what the console has; it comes later among the bases

        def known(self, name: str, there: Sequence[str], what: str) -> None:
            """Refuse a name that is not there."""

        def do_nve(self, line: str) -> None:
            """Kill an NVE's switch daemon, or bring it back."""

    def do_links(self, _line: str) -> None:
        """List the links with both ends, NODE:INTERFACE, and whether these are up."""
        for link in self.mn.links:
            output(f"{link} ({link.intf1.status()} {link.intf2.status()})\n")

    def do_link(self, line: str) -> None:
        """Bring the link between two nodes up or down: link NODE NODE up|down."""
        words = line.split()
        if len(words) != 3 or words[2] not in ("up", "down"):
            raise ConsoleError("usage: link NODE NODE up|down (links lists the links)")
        *names, state = words
        for name in names:
            self.known(name, list(self.mn.nameToNode), "node")
        between = [
            link for link in self.mn.links if {link.intf1.node.name, link.intf2.node.name} == set(names)
        ]
        if not between:
            others = ", ".join(mininet_view.neighbours(self.mn, names[0])) or "nobody"
            raise ConsoleError(
                f"there is no link between {names[0]} and {names[1]}; {names[0]} is linked to {others}"
            )
        for link in between:
            for end in (link.intf1, link.intf2):
                _set(end.node.name, end.node.pid, end.name, state)
        if state == "up":
            for name in names:
                mininet_view.restore_routes(self.mn, name)

    def do_switch(self, line: str) -> None:
        """Kill an NVE's switch daemon, or bring it back, as nve kill and nve restart do: switch NVE stop|start."""
        words = line.split()
        if len(words) != 2 or words[1] not in ("stop", "start"):
            raise ConsoleError("usage: switch NVE stop|start")
        name, what = words
        self.do_nve(f"{'kill' if what == 'stop' else 'restart'} {name}")

    # Completion.

    def complete_link(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """A node, one that is linked to it, up or down."""
        before = line[:begidx].split()[1:]
        if len(before) == 1:
            return starting(text, mininet_view.neighbours(self.mn, before[0]))
        return starting(text, ("up", "down") if before else self.mn.nameToNode)

    def complete_switch(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """An NVE, stop or start."""
        return starting(text, ("stop", "start") if line[:begidx].split()[1:] else self.mn.nves)


def _set(node: str, pid: int, device: str, state: str) -> None:
    try:
        commands.run(["ip", "link", "set", device, state], pid=pid, node=node)
    except CommandError as error:
        raise ConsoleError(f"{node}: {device} cannot be set {state}: {error.stderr.strip()}") from None
