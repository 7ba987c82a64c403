"""Small worlds for the NVA's tests: three NVEs, two networks with overlapping addresses, a VM that moves."""

from __future__ import annotations

from typing import Any

from controller import mapping
from controller.config import state_from_config
from controller.model import State

VNI, OTHER_VNI = 100, 200
MOVER_MAC, PEER_MACS = "02:00:00:00:00:01", {f"nve{n}": f"02:00:00:00:00:1{n}" for n in (1, 2, 3)}
MOVER_IP = "10.0.0.1"
TUNNEL_PORT = 1


def vm(name: str, vni: int, mac: str, ipv4: str, nve: str, **ports: tuple[int, int | None]) -> dict[str, Any]:
    return {
        "name": name,
        "vni": vni,
        "mac": mac,
        "ipv4": ipv4,
        "nve": nve,
        "ports": {where: {"direct": d, "redirected": r} for where, (d, r) in ports.items()},
    }


def config() -> dict[str, Any]:
    """``vm1`` is at nve1, pre-wired to nve2; each NVE has a peer; ``thief`` has vm1's addresses."""
    return {
        "nves": [
            {"name": f"nve{n}", "dpid": n, "underlay_ip": f"192.0.2.{n}", "tunnel_port": TUNNEL_PORT}
            for n in (1, 2, 3)
        ],
        "networks": [{"name": "red", "vni": VNI}, {"name": "blue", "vni": OTHER_VNI}],
        "vms": [
            vm("vm1", VNI, MOVER_MAC, MOVER_IP, "nve1", nve1=(10, 11), nve2=(10, 11)),
            *(
                vm(
                    f"peer{n}",
                    VNI,
                    PEER_MACS[f"nve{n}"],
                    f"10.0.0.1{n}",
                    f"nve{n}",
                    **{f"nve{n}": (20, None)},
                )
                for n in (1, 2, 3)
            ),
            # The other tenant uses the very same addresses.
            vm("thief", OTHER_VNI, MOVER_MAC, MOVER_IP, "nve2", nve2=(30, None)),
            vm("blue3", OTHER_VNI, PEER_MACS["nve1"], "10.0.0.11", "nve3", nve3=(30, None)),
        ],
    }


def ipv6_of(ipv4: str) -> str:
    """10.0.0.13 has 2001:db8::13."""
    return f"2001:db8::{ipv4.rsplit('.', 1)[1]}"


def dual_stack() -> dict[str, Any]:
    """The same with IPv6 for everybody: overlapping there too."""
    made = config()
    for entry in made["vms"]:
        entry["ipv6"] = ipv6_of(entry["ipv4"])
    return made


GREEN_VNI, GATEWAY_MAC, GATEWAY_MAC_GREEN = 101, "02:00:00:00:fe:01", "02:00:00:00:fe:02"
PLAIN_PORT, OUTSIDE_PORT, OUTSIDE_MAC, NEXT_HOP_MAC = 70, 50, "02:00:00:00:fe:03", "02:00:00:00:fe:04"
CLIENT_IP, CLIENT_IP6 = "203.0.113.7", "2001:db8:ff::7"


def routed() -> dict[str, Any]:
    """The dual-stack world; red is routed to green (at nve2 and nve3 only) and reached from outside by nve3.

    Every NVE has a port to the plain underlay.
    blue overlaps with red, has a gateway of its own and is routed to nobody. peer3 is red's DHCP server.
    """
    made = dual_stack()
    red, blue = made["networks"]
    gateway = {"mac": GATEWAY_MAC, "ipv4": "10.0.0.254", "ipv6": "2001:db8::fe"}
    red.update(gateway=gateway, subnet_v4="10.0.0.0/24", subnet_v6="2001:db8::/64", dhcp_server="peer3")
    blue.update(gateway=dict(gateway), subnet_v4="10.0.0.0/24", subnet_v6="2001:db8::/64")
    green = {"mac": GATEWAY_MAC_GREEN, "ipv4": "10.0.1.254", "ipv6": "2001:db8:1::fe"}
    subnets = {"subnet_v4": "10.0.1.0/24", "subnet_v6": "2001:db8:1::/64"}
    made["networks"].append({"name": "green", "vni": GREEN_VNI, "gateway": green, **subnets})
    for n in (2, 3):
        entry = vm(f"green{n}", GREEN_VNI, green_mac(n), f"10.0.1.1{n}", f"nve{n}", **{f"nve{n}": (60, None)})
        made["vms"].append({**entry, "ipv6": f"2001:db8:1::1{n}"})
    made["routes"] = [["red", "green"]]
    for entry in made["nves"]:
        entry["plain"] = {"port": PLAIN_PORT, "mac": "02:00:00:00:fe:05", "next_hop_mac": "02:00:00:00:fe:06"}
    made["outside"] = {
        "nve": "nve3",
        "port": OUTSIDE_PORT,
        "mac": OUTSIDE_MAC,
        "next_hop_mac": NEXT_HOP_MAC,
        "subnets": ["203.0.113.0/24", "2001:db8:ff::/64"],
        "networks": ["red"],
    }
    return made


def green_mac(n: int) -> str:
    return f"02:00:00:00:00:6{n}"


def world(given: dict[str, Any] | None = None) -> State:
    return state_from_config(config() if given is None else given, 1)


def at_stage(stage: str, policy: str = "tunnel", given: dict[str, Any] | None = None) -> State:
    """The world with vm1's move nve1 -> nve2 at a stage: none, prepared, redirected, committed, finished."""
    state = world(given)
    if stage == "none":
        return state
    state = mapping.prepare(state, "m1", "vm1", "nve2", policy)
    if stage == "prepared":
        return state
    state = mapping.redirect(state, "m1")
    if stage == "redirected":
        return state
    state = mapping.commit(state, "m1")
    return state if stage == "committed" else mapping.finish(state, "m1")


def ipv4(src_mac: str, src_ip: str, dst_mac: str, dst_ip: str, port: int) -> dict[str, int | str]:
    """An IPv4 packet that enters an NVE at a VM's port."""
    return {
        "in_port": port,
        "eth_type": 0x0800,
        "eth_src": src_mac,
        "eth_dst": dst_mac,
        "ipv4_src": src_ip,
        "ipv4_dst": dst_ip,
    }


def from_peer(nve: str) -> dict[str, int | str]:
    """A packet of the peer at an NVE to vm1."""
    return ipv4(PEER_MACS[nve], f"10.0.0.1{nve[-1]}", MOVER_MAC, MOVER_IP, 20)


def from_mover(to_nve: str, port: int = 10) -> dict[str, int | str]:
    """A packet of vm1 to the peer at an NVE."""
    return ipv4(MOVER_MAC, MOVER_IP, PEER_MACS[to_nve], f"10.0.0.1{to_nve[-1]}", port)


def arp(
    port: int, eth_src: str, sha: str, spa: str, tpa: str, eth_dst: str = "ff:ff:ff:ff:ff:ff", op: int = 1
) -> dict[str, int | str]:
    return {
        "in_port": port,
        "eth_type": 0x0806,
        "eth_src": eth_src,
        "eth_dst": eth_dst,
        "arp_op": op,
        "arp_sha": sha,
        "arp_spa": spa,
        "arp_tha": "00:00:00:00:00:00",
        "arp_tpa": tpa,
    }


def ipv6(src_mac: str, src_ip: str, dst_mac: str, dst_ip: str, port: int) -> dict[str, int | str]:
    """An IPv6 packet that enters an NVE at a VM's port."""
    return {
        "in_port": port,
        "eth_type": 0x86DD,
        "eth_src": src_mac,
        "eth_dst": dst_mac,
        "ip_proto": 17,
        "ipv6_src": src_ip,
        "ipv6_dst": dst_ip,
    }


def icmpv6(
    kind: int, src_mac: str, src_ip: str, target: str, port: int, **more: int | str
) -> dict[str, int | str]:
    """A neighbour message (135 solicitation, 136 advertisement) that enters an NVE at a VM's port."""
    packet = ipv6(src_mac, src_ip, "33:33:00:00:00:01", "ff02::1", port)
    return {**packet, "ip_proto": 58, "icmpv6_type": kind, "ipv6_nd_target": target, **more}
