"""What the old NVE does with frames for a VM that has left: one small function for each policy.

A policy gets the place (:class:`OldNve`) and returns how it treats a frame. A new one is one more function, its
row in :data:`TREATMENTS` and its name in :data:`controller.model.POLICIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.model import VM, PlainPort
from controller.pipeline import (
    ENDED,
    FORWARD,
    LATE,
    LEFT,
    MISDIRECTED,
    NOT_PLAIN,
    ORIGIN,
    OUT,
    OUTPUT,
    TUNNEL,
    UNREACHABLE,
    VNI,
    Action,
    Flow,
    SetField,
    ToNva,
    Value,
    drop,
    flow,
)
from vocabulary.policies import POLICIES
from wire import ethernet


@dataclass(frozen=True)
class OldNve:
    """What a policy needs to know: the VM, the tunnel port, the new NVE's address, the port to the underlay."""

    vm: VM
    tunnel_port: int
    new_nve_ip: str
    plain: PlainPort | None = None


@dataclass(frozen=True)
class Treatment:
    """Actions and next table for the frames of one ethertype (None: all others); without both it drops for a cause."""

    actions: tuple[Action, ...] = ()
    goto: str | None = None
    eth_type: int | None = None
    cause: int = 0


PRIORITY = 100
COUNTED = 120
"""Priority of the flows for one source NVE; they are more exact than those of :data:`PRIORITY`."""


def _into_tunnel(vni: int, remote_ip: str, tunnel_port: int) -> tuple[Action, ...]:
    return (SetField("tun_ipv4_dst", remote_ip), SetField("tunnel_id", vni), SetField(OUT, tunnel_port))


def to_tunnel(
    vni: int, mac: str, origin: int, remote_ip: str, tunnel_port: int, hard_timeout_s: int = 0
) -> Flow:
    """Return the FORWARD flow that sends a VM's frames of one origin into the tunnel to another NVE."""
    actions = _into_tunnel(vni, remote_ip, tunnel_port)
    match: dict[str, Value] = {VNI: vni, ORIGIN: origin, "eth_dst": mac}
    return flow(FORWARD, PRIORITY, match, actions, OUTPUT, hard_timeout_s)


def silent_drop(_old: OldNve) -> tuple[Treatment, ...]:
    """Drop, in an entry of its own so that the switch counts what it dropped."""
    return (Treatment(cause=LEFT),)


def icmp(_old: OldNve) -> tuple[Treatment, ...]:
    """Drop, and have the NVA tell the sender (:mod:`wire.icmp`), at most at the packet-in limit."""
    return (Treatment((ToNva(UNREACHABLE),)),)


def forward(old: OldNve) -> tuple[Treatment, ...]:
    """Send an IPv4 packet to the underlay as it is; the underlay has no way for anything else.

    Its routers must have a host route for the VM's address to the new NVE.
    """
    if old.plain is None:
        return (Treatment(cause=NOT_PLAIN),)  # a move with this policy is refused where there is no such port
    actions = (
        SetField("eth_src", old.plain.mac),
        SetField("eth_dst", old.plain.next_hop_mac),
        SetField(OUT, old.plain.port),
    )
    return (Treatment(actions, OUTPUT, ethernet.IPV4), Treatment(cause=NOT_PLAIN))


def tunnel(old: OldNve) -> tuple[Treatment, ...]:
    """Send on to the new NVE: the one case in which a frame from a tunnel goes back into one."""
    return (Treatment(_into_tunnel(old.vm.vni, old.new_nve_ip, old.tunnel_port), OUTPUT),)


TREATMENTS: Mapping[str, Callable[[OldNve], tuple[Treatment, ...]]] = {
    "silent-drop": silent_drop,
    "icmp": icmp,
    "forward": forward,
    "tunnel": tunnel,
    # The same flows: what differs is the holder behind the new NVE's redirected port.
    "buffer": tunnel,
}

if set(TREATMENTS) != set(POLICIES):
    raise AssertionError("every policy of vocabulary.policies needs its treatment here")


def old_nve_flows(old: OldNve, policy: str, origins: Iterable[int]) -> Iterator[Flow]:
    """Yield the FORWARD flows of a policy for frames of these origins."""
    for origin in origins:
        yield from _treated(old.vm, TREATMENTS[policy](old), {ORIGIN: origin}, PRIORITY)


def ended_flows(vm: VM) -> Iterator[Flow]:
    """Yield what is left of a policy whose redirect has ended: frames from tunnels are dropped."""
    yield from _treated(vm, (Treatment(cause=ENDED),), {ORIGIN: TUNNEL}, PRIORITY)


def _treated(
    vm: VM, treatments: Iterable[Treatment], more: Mapping[str, Value], priority: int, notice: bool = False
) -> Iterator[Flow]:
    for treatment in treatments:
        match: dict[str, Value] = {VNI: vm.vni, "eth_dst": vm.mac, **more}
        if treatment.eth_type is not None:
            match["eth_type"] = treatment.eth_type
        actions = ((ToNva(MISDIRECTED),) if notice else ()) + treatment.actions
        order = priority + (treatment.eth_type is not None)
        if actions or treatment.goto:
            yield flow(FORWARD, order, match, actions, treatment.goto)
        else:
            yield drop(FORWARD, order, match, treatment.cause)


@dataclass(frozen=True)
class Source:
    """An NVE whose frames for a VM are counted where the VM was; ``notice``: the NVA is to hear of each."""

    underlay_ip: str
    notice: bool


def counted_flows(
    vm: VM, sources: Iterable[Source], redirecting: tuple[OldNve, str] | None = None
) -> Iterator[Flow]:
    """Yield one flow for each source: what a policy that still redirects says, otherwise drop."""
    treatments = TREATMENTS[redirecting[1]](redirecting[0]) if redirecting is not None else ()
    if not any(one.goto or one.actions for one in treatments):
        # One cause before and after the move's end: a flow with another one would begin to count anew.
        treatments = (Treatment(cause=LATE),)
    for source in sources:
        more: dict[str, Value] = {ORIGIN: TUNNEL, "tun_ipv4_src": source.underlay_ip}
        yield from _treated(vm, treatments, more, COUNTED, source.notice)
