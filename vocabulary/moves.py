"""What may be said about a move, whoever says it: how VMs are attached, kinds, orders, pauses, ways of learning."""

from __future__ import annotations

REBIND, REPLUG = "rebind", "replug"
ATTACHMENTS: tuple[str, ...] = (REBIND, REPLUG)
"""``rebind``: the VM is wired to both NVEs beforehand; ``replug``: its interface is taken from one to the other."""

KINDS: tuple[str, ...] = ("hot", "warm", "cold")
ORDERS: tuple[str, ...] = ("stop-first", "update-first", "resume-first")
"""Which of stop, mapping update and resume comes first (``mobility.order``)."""
PAUSES: tuple[str, ...] = ("hold", "drop", "freeze")
"""How a VM is paused (``emulation.pause``)."""

PUSH, PULL, ANNOUNCE, TIMEOUT = "push", "pull", "announce", "timeout"
STRATEGIES: tuple[str, ...] = (PUSH, PULL, ANNOUNCE, TIMEOUT)
"""How the other NVEs learn that a VM has moved (``controller.strategies``)."""

ANNOUNCED_WITH: tuple[str, ...] = ("all", "rarp", "garp", "na")
"""What a VM's new place is announced with (``emulation.announcements``)."""

TO_VM, FROM_VM = "to_vm", "from_vm"
DIRECTIONS: tuple[str, ...] = (TO_VM, FROM_VM)
"""Ways of traffic, seen from the VM that moves; the ends of measures' names."""
