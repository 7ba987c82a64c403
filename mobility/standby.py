"""Standby: a second copy of a VM at another NVE that takes its address over when the first one fails.

This is redundancy and no mobility: nobody decides to move anything, the primary fails; and nothing is released, both
places keep what they have before, during and after a failover. draft-ietf-nvo3-vmm names two kinds:

    warm  the standby is idle and gets the primary's state at an interval; what came since the last one is lost
    hot   both run, each with an address of its own, and clients hold connections to both; the NVA has nothing to do

Here the warm standby's port is opened at its NVE beforehand (the NVA prepares, as for a move that never ends), a
failover changes everybody's mapping (it commits), and giving back takes that change back.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from controller.client import NvaClient
from emulation.network import EmulatedNetwork
from mobility.datapath import stale_at_new_nve, stale_at_peer_nve
from mobility.policies import MigrationRefusedError
from topologies.names import interface_name

POLICY = "silent-drop"  # nobody is left at the failed place who could tunnel


@dataclass
class WarmStandby:
    """A VM's idle copy, in a namespace of its own. ``prepare``, ``fail_primary``, ``take_over``, ``give_back``."""

    network: EmulatedNetwork
    nva: NvaClient
    vm: str
    nve: str
    name: str = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        if self.vm not in self.network.wirings:
            raise MigrationRefusedError(
                f"{self.vm} is not pre-wired, so its primary cannot be cut off; list NVEs in the VM's `prewired`"
            )
        if self.nve == self.network.location[self.vm]:
            raise MigrationRefusedError(
                f"{self.vm} is at {self.nve} itself; a standby at the same NVE falls with it: name another NVE"
            )
        self.name = interface_name(self.vm, behind="-sb")  # of its namespace and of its port
        self.port = self.network.add_copy(self.vm, self.name, self.nve)
        self.nva.set_port(self.vm, self.nve, self.port)
        self._id = ""

    def prepare(self) -> None:
        """The standby's NVE accepts it; everybody goes on sending to the primary."""
        self._id = uuid.uuid4().hex
        self.nva.prepare_move(self._id, self.vm, self.nve, POLICY)
        self.network.settle([self.nve], stale_at_new_nve(self._mac), self.vm)

    def fail_primary(self) -> float:
        """The primary's host loses power: nothing gets in or out any more, nothing is said, nothing runs."""
        at_s = self.network.wirings[self.vm].detach()
        self.network.group(self.vm).freeze()
        return at_s

    def take_over(self) -> float:
        """Everybody's mapping leads to the standby; the seconds from the call until every datapath has followed."""
        begin_s = time.monotonic()
        result = self.nva.commit_move(self._id)
        old_ip = str(self.network.topology.nve(self.network.location[self.vm]).underlay_ip)
        changed = [nve for nve in self.network.nves if nve in result["nves"]]
        self.network.settle(changed, stale_at_peer_nve(self._mac, old_ip), self.vm)
        return time.monotonic() - begin_s

    def released(self) -> list[str]:
        """What is not held any more, of all that both places must hold; empty as long as this is redundancy."""
        ports = self.nva.where(self.vm)["ports"]
        home = self.network.location[self.vm]
        gone = [f"the NVA's port at {nve}" for nve in (home, self.nve) if nve not in ports]
        for nve in (home, self.nve):
            flows = self.network.nves[nve].dpctl("dump-flows")
            number = ports.get(nve, {}).get("direct")
            if f"in_port={number}" not in flows and f'in_port="{self._device(nve)}"' not in flows:
                gone.append(f"flows of its port at {nve}")
        for node in (self.vm, self.name):
            if self.network[node].shell.poll() is not None:
                gone.append(f"the namespace of {node}")
        if not self.network.wirings[self.vm].legs:
            gone.append(f"the wires of {self.vm}")
        return gone

    def give_back(self) -> None:
        """The primary is repaired: mapping, wire and processes are as they were before."""
        self.nva.abort_move(self._id)
        self.network.wirings[self.vm].switch(self.network.location[self.vm])
        self.network.group(self.vm).thaw()

    @property
    def _mac(self) -> str:
        return str(self.network.topology.vm(self.vm).mac)

    def _device(self, nve: str) -> str:
        return self.name if nve == self.nve else f"{self.vm}d"
