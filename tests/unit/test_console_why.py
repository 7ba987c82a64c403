"""What ofproto/trace and flow dumps of real switches become in words."""

from __future__ import annotations

import pytest

from controller.meanings import CAUSES
from controller.pipeline import CAUSE_SHIFT, LATE, LEFT, MISDIRECTED, MISS, OUTSIDE_VNI, PAUSED, UNREACHABLE
from experiments.console.flow_words import action_words, match_words
from experiments.console.journey import Packet, Place, flow_text, follow, journey_lines, verdict
from experiments.console.names import Names
from experiments.console.openflow_text import parse_flows, parse_trace

VM1, PEER2, GREEN2, GATEWAY = (
    "02:b4:0a:01:00:0a",
    "02:b4:0a:01:00:02",
    "02:b4:0a:02:00:02",
    "02:00:12:00:00:01",
)
BLUE, GREEN, RED = 5001, 5002, 5003
NVES = {"192.0.2.1": "nve1", "192.0.2.2": "nve2", "192.0.2.3": "nve3"}
NAMES = Names(
    {1: "peer2", 3: "vm1", 4: "the tunnel", 6: "red1"},
    {1: "peer2", 3: "vm1", 6: "red1"},
    {1: BLUE, 3: BLUE, 6: RED},
    {
        (BLUE, VM1): "vm1",
        (BLUE, PEER2): "peer2",
        (RED, VM1): "red1",
        (GREEN, GREEN2): "green2",
        (BLUE, GATEWAY): "the gateway",
    },
    {
        (BLUE, "10.1.0.10"): "vm1",
        (BLUE, "10.1.0.2"): "peer2",
        (RED, "10.1.0.10"): "red1",
        (BLUE, "10.2.0.2"): "green2",
    },
    {BLUE: "blue", GREEN: "green"},
    NVES,
)
TUNNEL = 4
HEAD = 'Flow: icmp,in_port=3\n\nbridge("br-int")\n----------------\n'
FROM_VM = f"""{HEAD} 0. in_port=3, priority 100, cookie 0x2b7
    set_field:0x1389->reg1
    set_field:0->reg2
    goto_table:1
 1. ip,in_port=3,dl_src={VM1},nw_src=10.1.0.10, priority 100, cookie 0x2b7
    goto_table:3
"""
SENT = """ 4. reg0=0x4, priority 100, cookie 0x2b7
    output:4
     -> output to native tunnel
     -> tunneling to 100.64.0.4 via br-phy

bridge("br-phy")
----------------
 0. priority 0
    NORMAL
     -> forwarding to learned port

Final flow: icmp,reg0=0x4
Megaflow: recirc_id=0,eth,ip,in_port=3
Datapath actions: tnl_push(tnl_port(5),header(size=50),out_port(7)),6
"""
TO_NVE2 = f"""{FROM_VM} 3. reg1=0x1389,reg2=0,dl_dst={PEER2}, priority 100, cookie 0x2b7
    set_field:192.0.2.2->tun_dst
    set_field:0x1389->tun_id
    set_field:0x4->reg0
    goto_table:4
{SENT}"""
ROUTED_TO_NVE2 = f"""{HEAD} 0. in_port=3, priority 100, cookie 0x2b7
    set_field:0x1389->reg1
    set_field:0->reg2
    goto_table:1
 1. ip,in_port=3,dl_src={VM1},dl_dst={GATEWAY},nw_src=10.1.0.10, priority 101, cookie 0x2b7
    goto_table:2
 2. ip,reg1=0x1389,dl_dst={GATEWAY},nw_dst=10.2.0.2, priority 100, cookie 0x2b7
    set_field:0x138a->reg1
    set_field:{GATEWAY}->eth_src
    set_field:{GREEN2}->eth_dst
    dec_ttl
    goto_table:3
 3. reg1=0x138a,reg2=0,dl_dst={GREEN2}, priority 100, cookie 0x2b7
    set_field:192.0.2.2->tun_dst
    set_field:0x138a->tun_id
    set_field:0x4->reg0
    goto_table:4
{SENT}"""
REDIRECTED = f"""{HEAD} 0. tun_id=0x1389,in_port=4, priority 100, cookie 0x2b7
    set_field:0x1389->reg1
    set_field:0x1->reg2
    goto_table:3
 3. reg1=0x1389,reg2=0x1,dl_dst={VM1}, priority 100, cookie 0x2b7
    set_field:192.0.2.3->tun_dst
    set_field:0x4->reg0
    goto_table:4
 4. reg0=0x4,in_port=4, priority 110, cookie 0x2b7
    IN_PORT
     -> output to native tunnel

Final flow: icmp
Datapath actions: tnl_push(tnl_port(5)),6
"""
DELIVERED = f"""{HEAD} 0. tun_id=0x1389,in_port=4, priority 100, cookie 0x2b8
    set_field:0x1389->reg1
    goto_table:3
 3. reg1=0x1389,reg2=0x1,dl_dst={PEER2}, priority 100, cookie 0x2b8
    set_field:0x1->reg0
    goto_table:4
 4. reg0=0x1, priority 100, cookie 0x2b8
    output:1

Final flow: icmp
Datapath actions: 3
"""
SPOOFED = f"""{HEAD} 0. in_port=3, priority 100, cookie 0x2b7
    goto_table:1
 1. No match.
    drop

Final flow: udp
Datapath actions: drop
"""
MATCHED = f"""{HEAD} 0. in_port=3, priority 100, cookie 0x2b7
    goto_table:3
 3. reg1=0x1389,reg2=0x1,dl_dst={VM1}, priority 100, cookie COOKIE
ACTIONS
Final flow: udp
Datapath actions: drop
"""
ANSWERED = f"""{HEAD} 2. arp,reg1=0x1389,arp_tpa=10.1.0.10,arp_op=1, priority 100, cookie 0x2b8
    move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]
     -> NXM_OF_ETH_DST[] is now {PEER2}
    set_field:{VM1}->eth_src
    set_field:2->arp_op
    set_field:{VM1}->arp_sha
    IN_PORT

Final flow: arp
Datapath actions: 3
"""


def dropping(cause: int, actions: str = "    drop\n") -> str:
    return MATCHED.replace("COOKIE", hex(cause << CAUSE_SHIFT | 0x2B7)).replace("ACTIONS", actions)


def test_into_the_tunnel_and_not_into_the_underlay_bridge() -> None:
    trace = parse_trace(TO_NVE2, TUNNEL)
    assert [step.name for step in trace.steps] == ["CLASSIFY", "ANTI_SPOOF", "FORWARD", "OUTPUT"]
    assert (trace.end.kind, trace.end.remote_ip) == ("tunnel", "192.0.2.2")


def test_delivered_to_a_port() -> None:
    end = parse_trace(DELIVERED, TUNNEL).end
    assert (end.kind, end.port) == ("port", 1)


def test_a_redirect_goes_back_into_the_tunnel() -> None:
    end = parse_trace(REDIRECTED, TUNNEL).end
    assert (end.kind, end.remote_ip) == ("tunnel", "192.0.2.3")


@pytest.mark.parametrize("cause", [PAUSED, LEFT, LATE])
def test_a_drop_says_its_own_cause_from_the_flows_cookie(cause: int) -> None:
    end = parse_trace(dropping(cause), TUNNEL).end
    assert (end.kind, end.why) == ("dropped", f"in FORWARD: {CAUSES[cause]}")


def test_a_table_without_a_flow_for_it_drops() -> None:
    end = parse_trace(SPOOFED, TUNNEL).end
    assert end.kind == "dropped"
    assert "in ANTI_SPOOF: its sender's MAC or address" in end.why


def told(reason: int, more: str = "") -> str:
    return dropping(0, f"    set_field:{reason:#x}->reg3\n    CONTROLLER:128\n{more}")


def test_what_the_nva_is_told_is_not_what_becomes_of_the_packet() -> None:
    assert parse_trace(told(MISS), TUNNEL).end.kind == "nva"
    unreachable = parse_trace(told(UNREACHABLE), TUNNEL).end
    assert unreachable.kind == "dropped"
    assert "its sender is told" in unreachable.why
    late = parse_trace(told(MISDIRECTED), TUNNEL).end
    assert (late.kind, late.why) == ("dropped", f"in FORWARD: {CAUSES[LATE]}")
    noticed = told(MISDIRECTED, "    set_field:192.0.2.3->tun_dst\n    IN_PORT\n").replace(": drop", ": 6")
    assert (parse_trace(noticed, TUNNEL).end.kind, parse_trace(noticed, TUNNEL).end.remote_ip) == (
        "tunnel",
        "192.0.2.3",
    )


def test_arp_is_answered_at_the_nve() -> None:
    trace = parse_trace(ANSWERED, TUNNEL)
    assert (trace.end.kind, trace.end.mac) == ("answered", VM1)
    assert action_words(trace.steps[0].actions, NAMES, BLUE) == f"answer at the NVE: its MAC is {VM1} (vm1)"


def test_an_unknown_next_hop_is_no_delivery() -> None:
    missing = "     -> neighbor cache miss for 100.64.0.4 on bridge br-phy, sending ARP request"
    end = parse_trace(TO_NVE2.replace("     -> tunneling to 100.64.0.4 via br-phy", missing), TUNNEL).end
    assert end.kind == "dropped"
    assert "next hop" in end.why


def test_what_is_no_trace_is_said() -> None:
    with pytest.raises(ValueError, match="bad flow syntax"):
        parse_trace("bad flow syntax\n", TUNNEL)


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ("tun_id=0x1389,in_port=4", "tunnel header says blue (VNI 5001), from port 4 (the tunnel)"),
        (f"reg1=0x1389,reg2=0,dl_dst={VM1}", "in network blue (VNI 5001), came from a port here, for vm1"),
        (f"in_port=6,dl_src={VM1}", "from port 6 (red1), source MAC is red1"),
        (f"in_port=3,dl_src={VM1}", "from port 3 (vm1), source MAC is vm1"),
        (f"dl_src={VM1}", f"source MAC is {VM1}"),
        ("reg2=0x1,tun_src=192.0.2.1", "came from a tunnel, tunnel from nve1 (192.0.2.1)"),
        ("reg2=0x2", "was routed here to the outside"),
        ("reg2=0x3", "was forwarded by the old NVE without an overlay header"),
        (f"reg1={OUTSIDE_VNI:#x}", "in network the outside"),
        ("ip,nw_src=10.9.9.9,metadata=7", "IPv4, source IP is 10.9.9.9, metadata=7"),
        ("icmp6,icmp_type=135,nd_target=fe80::1", "ICMPv6, a neighbour solicitation, about fe80::1"),
        ("", "everything"),
    ],
)
def test_matches_in_words(match: str, words: str) -> None:
    assert match_words(match, NAMES) == words


def test_actions_in_words() -> None:
    actions = (
        "set_field:192.0.2.2->tun_dst",
        "set_field:0x1389->tun_id",
        "set_field:0x4->reg0",
        "goto_table:4",
    )
    said = "tunnel to nve2 (192.0.2.2), VNI 5001, send by port 4 (the tunnel), go to OUTPUT"
    assert action_words(actions, NAMES) == said
    assert action_words(("drop",), NAMES) == "drop"
    assert action_words(("drop",), NAMES, None, PAUSED) == f"drop: {CAUSES[PAUSED]}"
    assert (
        action_words(("set_field:0x1->reg3", "CONTROLLER:64"), NAMES) == "a VM says where it is, to the NVA"
    )
    assert action_words(("controller(max_len=128,id=1)",), NAMES) == "to the NVA"
    routed = ("set_field:0x138a->reg1", f"set_field:{GREEN2}->eth_dst", "dec_ttl", "goto_table:3")
    assert action_words(routed, NAMES, BLUE) == (
        "network is green (VNI 5002), for green2 from now on, TTL one less, go to FORWARD"
    )


def test_neighbour_discovery_in_words() -> None:
    written = (
        "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
        f"set_field:{VM1}->eth_src",
        "move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[]",
        "set_field:2001:db8:1::10->ipv6_src",
        "set_field:1610612736->nd_reserved",
        "set_field:2->nd_options_type",
        "set_field:136->icmpv6_type",
        "goto_table:5",
    )
    assert action_words(written, NAMES, BLUE) == (
        f"answer at the NVE, by a neighbour advertisement: its MAC is {VM1} (vm1); go to ADVERTISE"
    )
    completed = action_words(("move:NXM_OF_ETH_SRC[]->NXM_NX_ND_TLL[]", "IN_PORT"), NAMES)
    assert "NXM" not in completed
    assert "back out of the port" in completed


def test_a_flow_dump() -> None:
    dump = (
        "OFPST_FLOW reply (OF1.3) (xid=0x2):\n"
        " cookie=0x2b7, duration=0.1s, table=4, n_packets=5, n_bytes=490, priority=100,reg0=0x4 actions=output:4\n"
        " cookie=0x1000002b7, duration=0.1s, table=4, n_packets=7, n_bytes=9, priority=110,reg0=0x4,in_port=4 "
        "actions=drop\n"
        " cookie=0x2b7, duration=0.1s, table=0, n_packets=1, n_bytes=98, hard_timeout=3, idle_age=3, "
        "priority=100,tun_id=0x1389,in_port=4 actions=set_field:0x1389->reg1,controller(id=1,max_len=9),goto_table:3\n"
    )
    flows = parse_flows(dump)
    assert [(flow.table, flow.priority, flow.packets) for flow in flows] == [
        (0, 100, 1),
        (4, 110, 7),
        (4, 100, 5),
    ]
    assert (flows[0].match, flows[0].hard_timeout_s) == ("tun_id=0x1389,in_port=4", 3)
    assert flows[0].actions == ("set_field:0x1389->reg1", "controller(id=1,max_len=9)", "goto_table:3")
    assert [flow.cause for flow in flows] == [0, 1, 0]


class Switch:
    """An NVE that answers by the port of the question, and notes what it was asked."""

    def __init__(self, number: int, traces: dict[str, str]) -> None:
        self.traces, self.asked = traces, list[str]()
        self.place = Place(f"nve{number}", f"192.0.2.{number}", TUNNEL, NAMES, self.trace, plain_port=9)

    def trace(self, flow: str) -> str:
        self.asked.append(flow)
        return self.traces[flow.partition(",")[0]]


def reached(_nve: str, address: str) -> str:
    return NVES[address]


def journey(packet: Packet, start: str, **switches: Switch) -> list[str]:
    """The lines of a packet's way from port 3 on, its verdict last."""
    places = {name: switch.place for name, switch in switches.items()}
    hops = follow(packet, start, 3, places, reached)
    return [*journey_lines(hops), verdict(hops, "vm1", "peer2").text]


PACKET = Packet("icmp", VM1, PEER2, "10.1.0.10", "10.1.0.2")


def test_a_packet_is_followed_through_the_tunnel() -> None:
    lines = journey(
        PACKET, "nve1", nve1=Switch(1, {"in_port=3": TO_NVE2}), nve2=Switch(2, {"in_port=4": DELIVERED})
    )
    assert lines[-1] == "vm1 > nve1 > nve2 > peer2: delivered by nve2 to port 1"
    assert "nve2, in by the tunnel from nve1" in lines


def test_a_routed_packet_goes_on_with_the_headers_and_the_vni_that_routing_gave_it() -> None:
    there = Switch(2, {"in_port=4": DELIVERED})
    packet = Packet("icmp", VM1, GATEWAY, "10.1.0.10", "10.2.0.2")
    lines = journey(packet, "nve1", nve1=Switch(1, {"in_port=3": ROUTED_TO_NVE2}), nve2=there)
    for header in (f"dl_src={GATEWAY}", f"dl_dst={GREEN2}", "tun_id=0x138a", "nw_ttl=63", "nw_dst=10.2.0.2"):
        assert header in there.asked[0].split(",")
    assert any("for green2 from now on" in line for line in lines)


def test_a_delivery_names_who_is_behind_the_port_not_who_was_meant() -> None:
    to_red1 = DELIVERED.replace("output:1", "output:6")
    lines = journey(PACKET, "nve1", nve1=Switch(1, {"in_port=3": to_red1}))
    assert lines[-1] == "vm1 > nve1 > red1: delivered by nve1 to port 6, without a tunnel"


def test_a_redirect_is_one_more_hop() -> None:
    lines = journey(
        PACKET,
        "nve2",
        nve2=Switch(2, {"in_port=3": TO_NVE2.replace("192.0.2.2", "192.0.2.1")}),
        nve1=Switch(1, {"in_port=4": REDIRECTED}),
        nve3=Switch(3, {"in_port=4": DELIVERED.replace("output:1", "output:3")}),
    )
    assert lines[-1] == "vm1 > nve2 > nve1 > nve3 > vm1: delivered by nve3 to port 3"


def test_what_the_underlay_does_not_carry_is_lost_there() -> None:
    places = {"nve1": Switch(1, {"in_port=3": TO_NVE2}).place, "nve2": Switch(2, {}).place}
    hops = follow(PACKET, "nve1", 3, places, lambda _nve, _ip: "rack1 has no route to 192.0.2.2")
    found = verdict(hops, "vm1", "peer2")
    assert (found.kind, found.text) == (
        "dropped",
        "vm1 > nve1: lost in the underlay: rack1 has no route to 192.0.2.2",
    )


def test_a_loop_ends() -> None:
    back = REDIRECTED.replace("192.0.2.3", "192.0.2.1")
    lines = journey(
        PACKET,
        "nve1",
        nve1=Switch(1, {"in_port=3": TO_NVE2, "in_port=4": TO_NVE2}),
        nve2=Switch(2, {"in_port=4": back}),
    )
    assert "again and again" in lines[-1]


def test_a_drop_is_the_conclusion() -> None:
    lines = journey(PACKET, "nve1", nve1=Switch(1, {"in_port=3": SPOOFED}))
    assert lines[-1].startswith("vm1 > nve1: dropped by nve1 in ANTI_SPOOF")


@pytest.mark.parametrize(
    ("packet", "headers"),
    [
        (
            Packet("icmp", VM1, PEER2, "2001:db8::1", "2001:db8::2"),
            "icmp6 icmpv6_type=128 ipv6_dst=2001:db8::2",
        ),
        (Packet("udp", VM1, PEER2, "2001:db8::1", "2001:db8::2"), "udp6 udp_dst=5001 ipv6_src=2001:db8::1"),
        (Packet("tcp", VM1, PEER2, "10.1.0.1", "10.1.0.2"), "tcp tcp_dst=5001 nw_src=10.1.0.1"),
        (Packet("udp", VM1, PEER2, "10.1.0.1", "10.1.0.2", True), "udp nw_frag=later"),
        (Packet("arp", VM1, "", "10.1.0.1", "10.1.0.2"), "arp dl_dst=ff:ff:ff:ff:ff:ff arp_tpa=10.1.0.2"),
        (
            Packet("nd", VM1, "", "2001:db8::1", "2001:db8::12:3456"),
            "icmp6 icmpv6_type=135 dl_dst=33:33:ff:12:34:56 ipv6_dst=ff02::1:ff12:3456 nd_target=2001:db8::12:3456",
        ),
    ],
)
def test_the_headers_of_each_kind(packet: Packet, headers: str) -> None:
    asked = flow_text(packet.fields()).split(",")
    assert set(headers.split()) <= set(asked)
    assert ("udp_dst=5001" in asked) == (packet.protocol == "udp" and not packet.fragment)
