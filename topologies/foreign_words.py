"""Keys that users know from other tools and that topology files do not have, each with what there is instead.

Data alone. A sentence stands after `key path: no such key: `; it says what the model has and what to write.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from topologies.problems import Path

TOP, UNDERLAY, RACKS, SPINES, LINKS, ACCESS, TUNNEL = (
    "", "underlay", "underlay.racks", "underlay.spines", "underlay.links", "underlay.access", "tunnel",
)  # fmt: skip
NVES, NVE_ACCESS, NETWORKS, VMS, OUTSIDE, CLIENTS, OUTSIDE_LINK = (
    "nves", "nves.access", "virtual_networks", "vms", "outside", "outside.clients", "outside.link",
)  # fmt: skip
_EVERY_LINK = (LINKS, ACCESS, NVE_ACCESS, OUTSIDE_LINK)


@dataclass(frozen=True)
class Foreign:
    """Some keys and what to say of them. `sections`: where (none: everywhere); `instead_of`: keys not missed then."""

    keys: str
    says: str
    sections: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()


ONE_WAY = (
    "one way is taken between two routers, that of the fewest links (the first in the file if several have as few),"
    " and a link beside it carries nothing"
)
ONE_ADDRESS = (
    "a VM has one address of each IP version, ipv4 and ipv6, and NVEs drop what it sends from another one"
)

FOREIGN_WORDS = (
    # VMs
    Foreign(
        "interfaces interface nics nic ifaces ports networks virtual_networks",
        "a VM has one interface, eth0; give the VM itself virtual_network and ipv4, and make a second VM for a second"
        " network",
        (VMS,),
        ("virtual_network", "ipv4"),
    ),
    Foreign(
        "allowed_address_pairs allowed_addresses vip vips virtual_ip virtual_ips secondary secondary_ips"
        " secondary_addresses extra_addresses aliases addresses ips ip_addresses floating_ip floating_ips anycast",
        f"{ONE_ADDRESS}; leave the key out",
        (VMS, CLIENTS),
    ),
    Foreign("ip ip_address", "write ipv4 (and ipv6 for an IPv6 address)", (VMS, CLIENTS), ("ipv4",)),
    Foreign("network segment net subnet vni vnet", "write virtual_network with that network's name", (VMS,),
            ("virtual_network",)),
    Foreign("host node hypervisor vtep leaf switch location attached_to", "write nve with that NVE's name", (VMS,),
            ("nve",)),
    Foreign("mtu", "a VM has the MTU of its virtual network; write mtu there", (VMS,)),
    Foreign("gateway gateway_v4 gateway_v6 default_gateway routes route",
            "a VM's way out is the gateway of its virtual network; write gateway_v4 and gateway_v6 there", (VMS,)),
    Foreign("ram mem memory_mib memory_mb", "write memory with a unit, such as 512MiB", (VMS,)),
    Foreign("image kind type cpu cpus vcpus disk command cmd exec startup binds env user_data",
            "a VM is a network namespace with the programs of this machine, and nothing is booted in it; leave the key"
            " out, and start programs in the console", (VMS,)),
    Foreign("dhcp", "write address: dhcp here, and dhcp_server at the virtual network", (VMS,)),
    # VLANs
    Foreign("vlan vlans vlan_id vid tag tags trunk trunks mode native_vlan access_vlan allowed_vlans pvid",
            "there are no VLANs and no trunk ports: a VM sends untagged frames into one virtual network, and the vni"
            " keeps networks apart; make a virtual network (and a VM) for each VLAN", (NVES, NETWORKS, VMS, LINKS)),
    # Gateway and IPv6
    Foreign("gateway_mac anycast_mac anycast_gateway_mac router_mac virtual_mac vmac",
            "the gateway has the same MAC at every NVE and in every network, which the emulation sets itself; leave the"
            " key out"),
    Foreign("slaac ra ras router_advertisements accept_ra radvd dhcpv6 ipv6_ra",
            "nobody advertises routers or leases IPv6 addresses here; ipv6 at a VM and gateway_v6 at its network are"
            " set at the start"),
    Foreign("subnet cidr prefix range", "write subnet_v4, and subnet_v6 for IPv6", (NETWORKS,), ("subnet_v4",)),
    Foreign("gateway gw", "write gateway_v4, and gateway_v6 for IPv6", (NETWORKS,)),
    Foreign("dhcp", "write dhcp_server with the name of a VM of this network", (NETWORKS,)),
    Foreign("id vnid segment_id", "write vni", (NETWORKS,), ("vni",)),
    Foreign("vrf l3vni l3_vni vrfs rd rt route_targets route_target",
            "networks of one tenant that have a gateway are routed to each other, as in a VRF; write tenant, and"
            " routed_between for networks of two tenants"),
    # Underlay
    Foreign("ecmp multipath maximum_paths max_paths paths lag bond mlag flow_hash",
            f"there are no equal-cost paths and no bundles: {ONE_WAY}"),
    Foreign("metric metrics weight cost ospf_cost igp_metric priority preference",
            f"links have no weights: {ONE_WAY}; leave the links out that shall not be taken", (UNDERLAY, *_EVERY_LINK)),
    Foreign("mtu", "the underlay has one MTU for all its links and NVEs; write underlay.mtu",
            (RACKS, SPINES, LINKS, ACCESS, NVES, NVE_ACCESS, TUNNEL, OUTSIDE_LINK, OUTSIDE)),
    Foreign("bw bandwidth speed capacity throughput", "write rate, such as 100Mbit", _EVERY_LINK),
    Foreign("latency rtt", "write delay, that of one direction, such as 20ms", _EVERY_LINK),
    Foreign("jitter", "delays are the same for all packets; write delay alone", _EVERY_LINK),
    Foreign("max_queue_size queue_size buffer limit", "write queue, a number of packets", _EVERY_LINK),
    Foreign("endpoints ends nodes from to src dst source target a b node1 node2",
            "write between with the two routers, such as between: [rack1, spine1]", (LINKS,), ("between",)),
    Foreign("vtep vtep_ip ip ip_address ipv4 address loopback loopback_ip tunnel_ip local_ip router_id",
            "write underlay_ip, the IPv4 address of the NVE's tunnel end", (NVES,), ("underlay_ip",)),
    Foreign("underlay_ipv6 underlay_ip6 underlay_v6 ipv6 vtep_ipv6",
            "the underlay is IPv4; write underlay_ip with an IPv4 address (VMs may speak IPv6)", (NVES,),
            ("underlay_ip",)),
    Foreign("tor leaf site", "write rack with the name of the rack's router", (NVES,), ("rack",)),
    Foreign("evpn bgp asn as route_reflector route_reflectors rr ospf isis frr control_plane protocol protocols",
            "no routing protocol runs: the NVA tells every NVE where each VM is, and routers have the shortest ways as"
            " static routes; leave the key out"),
    Foreign("multicast multicast_group mcast_group group flood_list flood remote_vteps remotes static_macs",
            "NVEs need no list and no multicast group: the NVA tells them where each VM is; leave the key out"),
    Foreign("type encap mode", "write encapsulation, vxlan or geneve", (TUNNEL,)),
    Foreign("port dst_port dstport", "write udp_port", (TUNNEL,)),
    # What belongs elsewhere
    Foreign("check checks test tests assertions expect expected",
            "a topology says what there is, not what to test; type commands into make cli TOPO=FILE, or pipe them in"
            " (its exit status is 1 when one was refused)"),
    Foreign("fault faults failures impairments scenario scenarios events",
            "faults are made while the network runs: link A B down and hook PHASE COMMAND in make cli, fault= of an"
            " experiment; a topology has delay, loss, rate and queue of links"),
    Foreign("nat snat dnat masquerade firewall acl acls security_group security_groups load_balancer lb services",
            "there is no NAT, no filter and no load balancer: what is routed passes as it is; leave the key out"),
    # Sections by other names
    Foreign("hosts nodes machines instances guests servers containers", "write vms", (TOP,)),
    Foreign("vteps switches leaves leafs hypervisors edges", "write nves, each with its rack and underlay_ip", (TOP,),
            ("nves",)),
    Foreign("networks segments vnis vlans_to_vnis", "write virtual_networks", (TOP,)),
    Foreign("racks spines links routers fabric", "write it below underlay, as racks, spines and links", (TOP,)),
    Foreign("leaves leafs leaf tors", "write racks: a rack is its router", (UNDERLAY,), ("racks",)),
    Foreign("routers switches cores", "write racks (NVEs are attached to them) and spines (which join them)",
            (UNDERLAY,), ("racks",)),
    Foreign("encapsulation vxlan geneve udp_port", "write it below tunnel: encapsulation, udp_port", (TOP, UNDERLAY)),
    Foreign("gateways internet external clients", "write outside, with nve, clients and reaches", (TOP,)),
)  # fmt: skip


def section_of(path: Path) -> str:
    """The section that a mapping's path lies in: ("vms", 3) is "vms"."""
    return ".".join(part for part in path if isinstance(part, str))


def foreign(path: Path) -> Foreign | None:
    """What is known of the key at the end of `path`; an entry for its own section goes before one for all."""
    section, key = section_of(path[:-1]), str(path[-1]).lower().replace("-", "_")
    found = list(_entries(section, key))
    return found[0] if found else None


def _entries(section: str, key: str) -> Iterator[Foreign]:
    for of_section in (True, False):
        for entry in FOREIGN_WORDS:
            if key in entry.keys.split() and (
                section in entry.sections if of_section else not entry.sections
            ):
                yield entry
