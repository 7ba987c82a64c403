"""Figures that others published or reported, to print beside ours. Data only.

`read` is True when the figure was read in the source named here, False when it was written down from memory
and must be looked up before anybody cites it. Other machines, other loads: they give the order of magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One figure: what it measures, its value in words, where it stands."""

    questions: tuple[str, ...]
    what: str
    value: str
    source: str
    read: bool = True


PUBLISHED: tuple[Published, ...] = (
    Published(
        ("Q1", "Q19"),
        "VM blackout in production, more than a million migrations a month",
        "median 50 ms, p99 300 ms",
        "Ruprecht et al., VM Live Migration at Scale, VEE 2018, abstract",
    ),
    Published(
        ("Q1", "Q6"),
        "best service downtime of Xen's pre-copy",
        "60 ms",
        "Clark et al., Live Migration of Virtual Machines, NSDI 2005, abstract",
    ),
    Published(
        ("Q6",),
        "downtime by workload: web server, SPECweb99, worst-case memory writer",
        "165 ms, 210 ms, about 3.5 s",
        "Clark et al., NSDI 2005, body",
        read=False,
    ),
    Published(
        ("Q1", "Q5"),
        "OpenStack with OVN, provider network, before and after tunnelling from both chassis",
        "1.0 s and more, then 0.05 to 0.10 s (called unscientific there)",
        "OVN commit 7084cf437, commit message",
    ),
    Published(
        ("Q1",),
        "VM on ovn-kubernetes, old port disabled and new one enabled",
        "below 0.5 s",
        "openshift/ovn-kubernetes pull request 2469",
    ),
    Published(
        ("Q2",),
        "pings at 0.1 s lost in a move, kernel announcing too early (NS, NA)",
        "54 of 311 and 50 of 305, about 5 s",
        "kubevirt issue 11069",
    ),
    Published(
        ("Q3",),
        "EVPN hypervisor, stale neighbour entry",
        "about 30 s; about 20 s",
        "FRRouting issues 2129 and 4904",
    ),
    Published(
        ("Q3",),
        "EVPN, MAC/IP route late; with a MAC-only route",
        "207 to 210 packets lost, 21 to 29 s; about 1 s",
        "openperouter issue 203",
    ),
    Published(("Q3",), "stale entry of an Open vSwitch MAC table", "about 5 min", "kube-ovn issue 5955"),
    Published(("Q3", "Q24"), "stale MAC address of the gateway", "about 60 s", "ovn-kubernetes issue 6947"),
    Published(
        ("Q4",),
        "downtime of live migration with redirection at the old place",
        "22.5 times shorter",
        "Achelous, SIGCOMM 2023, abstract",
    ),
    Published(
        ("Q4",),
        "the same in seconds",
        "about 9 s to about 0.4 s",
        "Achelous, SIGCOMM 2023, body",
        read=False,
    ),
    Published(
        ("Q5",),
        "pause of a VM; the source forwards until the fabric has caught up",
        "usually below 1 s, up to 5 s in rare cases",
        "luispal.com on Google Compute Engine (secondary)",
    ),
    Published(
        ("Q5",),
        "loss-free, order-preserving move of state",
        "hundreds of ms for hundreds of flows",
        "OpenNF, SIGCOMM 2014, body",
        read=False,
    ),
    Published(
        ("Q6",),
        "idle 8 GiB guest with a DPDK forwarder on KVM: total time, downtime",
        "2,271 ms, 26 ms",
        "OPNFV KVM4NFV user guide",
    ),
    Published(("Q6",), "QEMU's default limit of the downtime", "300 ms", "QEMU, migration/options.c"),
    Published(
        ("Q7",),
        "pings lost in each move when the new place's flows are not ready at resume",
        "5 to 10",
        "openvswitch/ovs-issues issue 230",
    ),
    Published(
        ("Q7",),
        "gain from plugging the interface before the suspend (Xen)",
        "0.3 s an interface",
        "xenopsd pull request 205",
    ),
    Published(
        ("Q10", "Q12"),
        "move of a VM under LISP",
        "below 1 s between continents, 300 ms within Europe",
        "Raad et al., abstract",
    ),
    Published(
        ("Q11",),
        "BGP host route for each VM (Calico, 2015)",
        "ping gap about 2 s, ssh broken",
        "calico issue 11162",
    ),
    Published(
        ("Q15",),
        "container moved by CRIU behind a P4 switch, n = 25: downtime; update of the switch",
        "mean 5,857 ms (sd 223); 30 ± 2 ms",
        "P4ContainerFlow report",
    ),
    Published(
        ("Q21",),
        "moves after which EVPN takes a MAC for a duplicate and freezes it",
        "5 in 180 s",
        "RFC 7432 section 15.1, as vendors document it",
    ),
    Published(
        ("Q21",),
        "latency of the control plane's programming",
        "median about 184 ms, p99 about 576 ms",
        "Andromeda, NSDI 2018, body",
        read=False,
    ),
    Published(
        ("Q21",),
        "first move and later ones",
        "18 s, then below 1 s",
        "kube-ovn issue 5343",
    ),
)


def published_for(question: str) -> list[Published]:
    """The figures to print beside the answer of a question, those that were read in their source first."""
    return sorted((one for one in PUBLISHED if question in one.questions), key=lambda one: not one.read)
