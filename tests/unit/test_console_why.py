"""What ofproto/trace and flow dumps of real switches become in words."""

from __future__ import annotations

import pytest

from experiments.console.journey import Packet, Place, conclusion, follow, journey_lines
from experiments.console.why import Names, action_words, match_words, parse_flows, parse_trace

VM1, PEER2 = "02:b4:0a:01:00:0a", "02:b4:0a:01:00:02"
IPS = {"192.0.2.1": "nve1", "192.0.2.2": "nve2", "192.0.2.3": "nve3", "10.1.0.10": "vm1", "10.1.0.2": "peer2"}
NAMES = Names({1: "peer2", 3: "vm1", 4: "vx0"}, {VM1: "vm1", PEER2: "peer2"}, IPS, {5001: "blue"})
TUNNEL = 4

HEAD = 'Flow: icmp,in_port=3\n\nbridge("br-int")\n----------------\n'
FROM_VM = f"""{HEAD} 0. in_port=3, priority 100, cookie 0x2b7
    set_field:0x1389->reg1
    set_field:0->reg2
    goto_table:1
 1. ip,in_port=3,dl_src={VM1},nw_src=10.1.0.10, priority 100, cookie 0x2b7
    goto_table:3
"""
TO_NVE2 = f"""{FROM_VM} 3. reg1=0x1389,reg2=0,dl_dst={PEER2}, priority 100, cookie 0x2b7
    set_field:192.0.2.2->tun_dst
    set_field:0x1389->tun_id
    set_field:0x4->reg0
    goto_table:4
 4. reg0=0x4, priority 100, cookie 0x2b7
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
SILENT = f"""{HEAD} 0. in_port=3, priority 100, cookie 0x2b7
    goto_table:3
 3. reg1=0x1389,reg2=0x1,dl_dst={VM1}, priority 100, cookie 0x2b7
    drop

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


@pytest.mark.parametrize(
    ("text", "said"),
    [(SPOOFED, "in ANTI_SPOOF: the sender's addresses"), (SILENT, "in FORWARD: this is the old NVE")],
)
def test_drops_say_the_table_and_why(text: str, said: str) -> None:
    end = parse_trace(text, TUNNEL).end
    assert end.kind == "dropped"
    assert said in end.why


def test_arp_is_answered_at_the_nve() -> None:
    trace = parse_trace(ANSWERED, TUNNEL)
    assert trace.end.kind == "answered"
    assert action_words(trace.steps[0].actions, NAMES) == f"answer at the NVE: its MAC is {VM1} (vm1)"


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
        ("tun_id=0x1389,in_port=4", "tunnel header says blue (VNI 5001), from port 4 (vx0)"),
        (f"reg1=0x1389,reg2=0,dl_dst={VM1}", "in network blue (VNI 5001), came from a VM here, for vm1"),
        ("reg2=0x1,tun_src=192.0.2.1", "came from a tunnel, tunnel from nve1 (192.0.2.1)"),
        ("ip,nw_src=10.9.9.9,metadata=7", "IPv4, source IP is 10.9.9.9, metadata=7"),
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
    said = "tunnel to nve2 (192.0.2.2), VNI 5001, send by port 4 (vx0), go to OUTPUT"
    assert action_words(actions, NAMES) == said
    assert action_words(("drop",), NAMES) == "drop"
    assert action_words(("CONTROLLER:64",), NAMES) == "to the NVA"
    assert action_words(("controller(max_len=128,id=1)",), NAMES) == "to the NVA"


def test_a_flow_dump() -> None:
    dump = (
        "OFPST_FLOW reply (OF1.3) (xid=0x2):\n"
        " cookie=0x2b7, duration=0.1s, table=4, n_packets=5, n_bytes=490, priority=100,reg0=0x4 actions=output:4\n"
        " cookie=0x2b7, duration=0.1s, table=4, n_packets=7, n_bytes=9, priority=110,reg0=0x4,in_port=4 "
        "actions=IN_PORT\n"
        " cookie=0x2b7, duration=0.1s, table=0, n_packets=1, n_bytes=98, idle_age=3, "
        "priority=100,tun_id=0x1389,in_port=4 actions=set_field:0x1389->reg1,controller(id=1,max_len=9),goto_table:3\n"
    )
    flows = parse_flows(dump)
    assert [(flow.table, flow.priority, flow.packets) for flow in flows] == [
        (0, 100, 1),
        (4, 110, 7),
        (4, 100, 5),
    ]
    assert flows[0].match == "tun_id=0x1389,in_port=4"
    assert flows[0].actions == ("set_field:0x1389->reg1", "controller(id=1,max_len=9)", "goto_table:3")


def place(number: int, traces: dict[str, str]) -> Place:
    """An NVE that answers by the port of the question."""

    def trace(flow: str) -> str:
        return traces[flow.partition(",")[0]]

    return Place(f"nve{number}", f"192.0.2.{number}", TUNNEL, NAMES, trace)


PACKET = Packet("icmp", 5001, VM1, PEER2, "10.1.0.10", "10.1.0.2")


def test_a_packet_is_followed_through_the_tunnel() -> None:
    places = {"nve1": place(1, {"in_port=3": TO_NVE2}), "nve2": place(2, {"in_port=4": DELIVERED})}
    hops = follow(PACKET, "nve1", 3, places)
    assert conclusion(hops, "vm1", "peer2") == "vm1 > nve1 > nve2 > peer2: delivered by nve2 to port 1"
    assert "nve2, in by the tunnel from nve1" in journey_lines(hops)


def test_a_redirect_is_one_more_hop() -> None:
    places = {
        "nve2": place(2, {"in_port=3": TO_NVE2.replace("192.0.2.2", "192.0.2.1")}),
        "nve1": place(1, {"in_port=4": REDIRECTED}),
        "nve3": place(3, {"in_port=4": DELIVERED.replace("output:1", "output:3")}),
    }
    hops = follow(PACKET, "nve2", 3, places)
    assert conclusion(hops, "peer2", "vm1") == "peer2 > nve2 > nve1 > nve3 > vm1: delivered by nve3 to port 3"


def test_a_loop_ends() -> None:
    back = REDIRECTED.replace("192.0.2.3", "192.0.2.1")
    places = {
        "nve1": place(1, {"in_port=3": TO_NVE2, "in_port=4": TO_NVE2}),
        "nve2": place(2, {"in_port=4": back}),
    }
    hops = follow(PACKET, "nve1", 3, places)
    assert len(hops) == len(places) + 1
    assert "again and again" in conclusion(hops, "vm1", "peer2")


def test_a_drop_is_the_conclusion() -> None:
    hops = follow(PACKET, "nve1", 3, {"nve1": place(1, {"in_port=3": SPOOFED})})
    assert conclusion(hops, "vm1", "peer2").startswith("vm1 > nve1: dropped by nve1 in ANTI_SPOOF")
