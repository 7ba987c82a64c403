"""During a commit NVEs hold old and new tables in any mixture: no loop, no leak, no double delivery."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller import mapping, strategies
from controller.flows import delta, desired_flows, diff
from controller.model import VM, State
from controller.operations import apply
from tests.fake_flow_table import Arrival, FakeFlowTable, FakeNetwork
from tests.fake_nva_world import GREEN_VNI, OTHER_VNI, PEER_MACS, VNI, config, ipv4, ipv6, routed, world
from vocabulary.lifecycle import TRANSITIONS, VERBS
from vocabulary.moves import STRATEGIES
from vocabulary.policies import POLICIES

NVES = ("nve1", "nve2", "nve3")
OF_NETWORK = {
    VNI: ("vm1", "peer1", "peer2", "peer3"),
    OTHER_VNI: ("thief", "blue3"),
    GREEN_VNI: ("green2", "green3"),
}
BROADCAST = "ff:ff:ff:ff:ff:ff"


def may_forward(state: State, vm: VM, new_nve: str) -> bool:
    alone = [other.ipv4 for other in state.vms.values()].count(vm.ipv4) == 1
    return alone and all(state.nves[nve].plain is not None for nve in (vm.nve, new_nve))


def at_ports(arrivals: list[Arrival]) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.port != "controller"]


@st.composite
def transitions(draw: st.DrawFn) -> tuple[State, State]:
    """A state reached by some legal steps of several moves, and a next step from it."""
    given = draw(st.sampled_from((config, routed)))()
    before = after = world({**given, "strategy": draw(st.sampled_from(STRATEGIES))})
    steps = draw(st.integers(1, 9))
    for number in range(steps):
        before = after
        choices = []
        for name, vm in before.vms.items():
            move = before.moves.get(name)
            for verb in TRANSITIONS:
                if vm.state in VERBS[verb].before and not (
                    move is not None and verb in ("allocate", "release")
                ):
                    choices.append(lambda s=before, v=verb, n=name: apply(s, v, {"vm": n}))
            if move is None:
                for nve in NVES:
                    if nve != vm.nve and vm.state == "running":
                        policy = draw(st.sampled_from(list(POLICIES)))
                        policy = policy if policy != "forward" or may_forward(before, vm, nve) else "icmp"
                        choices.append(
                            lambda s=before, i=f"m{number}", n=name, e=nve, p=policy: mapping.prepare(
                                s, i, n, e, p
                            )
                        )
                continue
            choices.append(lambda s=before, i=move.id: mapping.abort(s, i))
            following = {
                "prepared": mapping.redirect,
                "redirected": mapping.commit,
                "committed": mapping.finish,
            }
            choices.append(lambda s=before, i=move.id, f=following[move.stage]: f(s, i))
            if move.stage == "committed" and not move.ended:
                choices.append(lambda s=before, i=move.id: mapping.end_redirect(s, i))
            choices.append(lambda s=before, n=name, e=move.new_nve: strategies.announced(s, n, e))
            if not dict(vm.ports).get(move.new_nve):
                port = 40 + sorted(before.vms).index(name) * 2
                choices.append(
                    lambda s=before, n=name, e=move.new_nve, p=port: mapping.set_port(s, n, e, p, p + 1)
                )
        for name, peers in before.believed.items():
            for nve in peers:
                choices.append(lambda s=before, n=name, e=nve: strategies.learn(s, n, [e], "miss"))
        after = draw(st.sampled_from(choices))()
    return before, after


@given(transitions(), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_no_mixture_of_tables_loops_or_leaks(step: tuple[State, State], new: tuple[bool, ...]) -> None:
    before, after = step
    tables = {
        nve: FakeFlowTable(desired_flows(after if is_new else before, nve))
        for nve, is_new in zip(NVES, new, strict=True)
    }
    network = FakeNetwork(after, tables)
    owners = {
        (nve, number): vm.name
        for state in (before, after)
        for vm in state.vms.values()
        for nve, ports in vm.ports
        for number in ports.numbers()
    }
    for sender in after.vms.values():
        for receiver in after.vms.values():
            if sender.name == receiver.name or receiver.vni != sender.vni:
                continue
            for nve, ports in sender.ports:
                packet = ipv4(sender.mac, sender.ipv4, receiver.mac, receiver.ipv4, ports.direct)
                arrivals = at_ports(network.send(nve, packet))
                assert len(arrivals) <= 1
                for arrival in arrivals:
                    assert owners[arrival.nve, int(arrival.port)] == receiver.name
                    assert arrival.vni in (None, sender.vni)
    # Stale or forged frames from any tunnel end too.
    for nve in NVES:
        for vni, names in OF_NETWORK.items():
            for name in set(names) & set(after.vms):
                vm = after.vms[name]
                for source in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
                    packet = ipv4(PEER_MACS["nve3"], "10.0.0.13", vm.mac, vm.ipv4, 1)
                    stale = {**packet, "tunnel_id": vni, "tun_ipv4_src": source}
                    for arrival in at_ports(network.send(nve, stale)):
                        assert owners[arrival.nve, int(arrival.port)] == name


@st.composite
def honest_packets(draw: st.DrawFn, state: State) -> tuple[VM, str, dict[str, int | str]]:
    """A VM with its own addresses, at any of its ports, says anything to anybody."""
    sender = draw(st.sampled_from(sorted(state.vms.values(), key=lambda vm: vm.name)))
    nve, ports = draw(st.sampled_from(sender.ports))
    macs = {vm.mac for vm in state.vms.values()} | {BROADCAST, "33:33:00:00:00:01"}
    macs |= {network.gateway.mac for network in state.networks.values() if network.gateway}
    addresses = {(vm.ipv4, vm.ipv6) for vm in state.vms.values()} | {("203.0.113.7", "2001:db8:ff::7")}
    if state.outside is not None:
        macs |= {state.outside.mac, state.outside.next_hop_mac}
    mac, (four, six) = draw(st.sampled_from(sorted(macs))), draw(st.sampled_from(sorted(addresses, key=str)))
    packet = ipv4(sender.mac, sender.ipv4, mac, four, ports.direct)
    if sender.ipv6 is not None and six is not None and draw(st.booleans()):
        packet = ipv6(sender.mac, sender.ipv6, mac, six, ports.direct)
    return sender, nve, {**packet, "ip_proto": 17, "udp_src": 68, "udp_dst": 67}


@given(st.data())
def test_whatever_a_vm_says_stays_where_it_may_go(data: st.DataObject) -> None:
    before, after = data.draw(transitions())
    new = data.draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    tables = {
        nve: FakeFlowTable(desired_flows(after if is_new else before, nve))
        for nve, is_new in zip(NVES, new, strict=True)
    }
    network = FakeNetwork(after, tables)
    owners = {
        (nve, number): vm
        for state in (before, after)
        for vm in state.vms.values()
        for nve, ports in vm.ports
        for number in ports.numbers()
    }
    for _ in range(10):
        sender, nve, packet = data.draw(honest_packets(after))
        arrivals = at_ports(network.send(nve, packet))
        assert len(arrivals) <= 1
        for arrival in arrivals:
            if after.outside is not None and (arrival.nve, arrival.port) == (
                after.outside.nve,
                after.outside.port,
            ):
                assert sender.vni in after.outside.vnis
                continue
            receiver = owners[arrival.nve, int(arrival.port)]
            if sender.vni != receiver.vni:
                assert receiver.vni in after.routes[sender.vni]
                assert packet.get("ipv4_dst", packet.get("ipv6_dst")) in (receiver.ipv4, receiver.ipv6)
            assert arrival.vni in (None, receiver.vni)


@given(transitions())
def test_delta_is_the_difference_of_the_desired_sets(step: tuple[State, State]) -> None:
    before, after = step
    for nve in NVES:
        old, new = desired_flows(before, nve), desired_flows(after, nve)
        assert delta(before, after, nve) == diff(old, new)
        table = FakeFlowTable(old)
        adds, deletes = delta(before, after, nve)
        for _ in range(2):  # the same messages once more change nothing
            table.delete(deletes)
            table.add(adds)
            assert table.as_set() == new


@given(transitions())
def test_no_two_flows_of_an_nve_share_a_key(step: tuple[State, State]) -> None:
    for nve in NVES:
        flows = desired_flows(step[1], nve)
        assert len({flow.key for flow in flows}) == len(flows)
