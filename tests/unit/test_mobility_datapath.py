"""When a datapath has followed its flow tables, told from flows as Open vSwitch 3.1.0 printed them."""

from mobility.datapath import stale_at_new_nve, stale_at_old_nve, stale_at_peer_nve, stale_delivery

VM, OLD, NEW = "02:b4:0a:01:00:0a", "192.0.2.1", "192.0.2.3"
REST = "eth_type(0x0800),ipv4(frag=no), packets:3, bytes:294, used:0.014s, actions:"
FROM_TUNNEL = (
    "tunnel(tun_id=0x1389,src=192.0.2.2,dst=192.0.2.1,flags(-df-csum+key)),recirc_id(0),in_port(4),"
    f"packet_type(ns=0,id=0),eth(dst={VM}),{REST}"
)
FROM_LOCAL = f"recirc_id(0),in_port(3),packet_type(ns=0,id=0),eth(src=02:b4:0a:01:00:01,dst={VM}),{REST}"


def pushed_to(underlay_ip: str) -> str:
    return (
        "tnl_push(tnl_port(4),header(size=50,type=4,eth(dst=02:00:10:00:00:00,src=02:00:11:00:00:00,dl_type=0x0800),"
        f"ipv4(src=192.0.2.9,dst={underlay_ip},proto=17,tos=0,ttl=64,frag=0x4000),udp(src=0,dst=4789,csum=0x0),"
        "vxlan(flags=0x8000000,vni=0x1389)),out_port(6)),7"
    )


def kernel_tunnel_to(underlay_ip: str) -> str:
    return f"set(tunnel(tun_id=0x1389,src=192.0.2.9,dst={underlay_ip},ttl=64,tp_dst=4789,flags(df|key))),2"


def test_new_nve_is_stale_while_it_drops_what_comes_from_a_tunnel() -> None:
    stale = stale_at_new_nve(VM)
    assert stale(FROM_TUNNEL + "drop")
    assert not stale(FROM_TUNNEL + "3")
    assert not stale(FROM_LOCAL + "drop")  # anti-spoofing of some other port is none of this


def test_old_nve_is_stale_while_it_still_delivers_to_its_own_port() -> None:
    stale = stale_at_old_nve(VM, NEW)
    assert stale(FROM_TUNNEL + "3")
    assert stale(FROM_LOCAL + "5")
    for way in (pushed_to(NEW), kernel_tunnel_to(NEW), "drop"):
        assert not stale(FROM_TUNNEL + way)


def test_old_nve_is_not_stale_for_arp_which_it_answers_itself() -> None:
    arp = FROM_LOCAL.replace("0x0800", "0x0806") + "userspace(pid=0,slow_path(action))"
    assert not stale_at_old_nve(VM, NEW)(arp)


def test_peer_is_stale_while_it_tunnels_to_the_old_nve() -> None:
    stale = stale_at_peer_nve(VM, OLD)
    assert stale(FROM_LOCAL + pushed_to(OLD))
    assert stale(FROM_LOCAL + kernel_tunnel_to(OLD))
    assert not stale(FROM_LOCAL + pushed_to(NEW))
    # 192.0.2.1 is no part of 192.0.2.10
    assert not stale(FROM_LOCAL + pushed_to("192.0.2.10"))


def test_flows_of_other_vms_are_never_stale() -> None:
    other = FROM_LOCAL.replace(VM, "02:b4:0a:01:00:0b")
    for stale in (stale_at_new_nve(VM), stale_at_old_nve(VM, NEW), stale_at_peer_nve(VM, OLD)):
        assert not stale(other + pushed_to(OLD))
        assert not stale(other.replace("recirc_id(0)", "tunnel(...),recirc_id(0)", 1) + "drop")


GATEWAY = "02:00:12:00:00:01"


def test_what_is_routed_to_the_vm_is_told_by_the_mac_that_is_written() -> None:
    routed = FROM_LOCAL.replace(f"dst={VM})", f"dst={GATEWAY})") + f"set(eth(src={GATEWAY},dst={VM})),"
    assert stale_at_old_nve(VM, NEW)(routed + "set(ipv4(ttl=63)),3")
    assert stale_at_peer_nve(VM, OLD)(routed + pushed_to(OLD))
    assert not stale_at_peer_nve(VM, OLD)(routed + pushed_to(NEW))
    assert not stale_at_peer_nve("02:b4:0a:01:00:0b", OLD)(routed + pushed_to(OLD))


def test_a_neighbour_solicitation_or_a_ping_that_the_nve_answers_says_nothing_of_the_vms_place() -> None:
    discovery = FROM_LOCAL.replace("eth_type(0x0800),ipv4(frag=no)", "eth_type(0x86dd),icmpv6(type=135)")
    assert not stale_at_old_nve(VM, NEW)(discovery + "set(icmpv6(type=136)),3")
    ping = FROM_LOCAL.replace(f"dst={VM})", f"dst={GATEWAY})").replace("frag=no)", "frag=no),icmp(type=8)")
    assert not stale_at_old_nve(VM, NEW)(ping + f"set(eth(src={GATEWAY},dst={VM})),set(icmp(type=0)),3")


def test_a_policy_that_sends_nothing_on_is_stale_while_the_old_port_gets_frames() -> None:
    stale = stale_delivery(VM)
    assert stale(FROM_TUNNEL + "3")
    assert stale(FROM_LOCAL.replace(VM, "02:aa:00:00:00:01") + f"set(eth(src=02:aa:00:00:00:01,dst={VM})),3")
    for way in ("drop", "userspace(pid=0,controller(reason=1,dont_send=0))", pushed_to(NEW)):
        assert not stale(FROM_TUNNEL + way)
