"""Figures that others published or reported, to print beside ours, each with its source. Data only.

Other machines, other loads: they give the order of magnitude. A figure that could not be read in its source does not
stand here (downtimes by workload beyond those below of NSDI 2005, the seconds behind Achelous's ratio, OpenNF's times
of moves, Andromeda's latencies). LIME (SoCC 2014, moves VMs and switches together) belongs here by its subject, but
its abstract has no figure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One figure: what it measures, its value in words, where it stands (in words and as an address)."""

    questions: tuple[str, ...]
    what: str
    value: str
    source: str
    url: str


PUBLISHED: tuple[Published, ...] = (
    Published(
        ("Q1", "Q19"),
        "VM blackout in production, more than a million migrations a month",
        "median 50 ms, p99 300 ms",
        "Ruprecht et al., VM Live Migration at Scale, VEE 2018, abstract",
        "https://doi.org/10.1145/3186411.3186415",
    ),
    Published(
        ("Q1", "Q6"),
        "best service downtime of Xen's pre-copy",
        "60 ms",
        "Clark et al., Live Migration of Virtual Machines, NSDI 2005, abstract",
        "https://www.usenix.org/conference/nsdi-05/live-migration-virtual-machines",
    ),
    Published(
        ("Q6",),
        "the same under load: SPECweb; a Quake 3 server",
        "210 ms; 60 ms",
        "Clark et al., NSDI 2005, introduction",
        "https://www.usenix.org/conference/nsdi-05/live-migration-virtual-machines",
    ),
    Published(
        ("Q1", "Q5"),
        "OpenStack with OVN, provider network, before and after tunnelling from both chassis",
        "1.0 s and more, then 0.05 to 0.10 s (called unscientific there)",
        "OVN commit 7084cf437, commit message",
        "https://github.com/ovn-org/ovn/commit/7084cf437",
    ),
    Published(
        ("Q1",),
        "VM on ovn-kubernetes, old port disabled and new one enabled",
        "below 0.5 s",
        "openshift/ovn-kubernetes pull request 2469",
        "https://github.com/openshift/ovn-kubernetes/pull/2469",
    ),
    Published(
        ("Q1", "Q3"),
        "kube-ovn by version: 1.12; 1.13.3 first move, then later ones",
        "more than 10 s; 18 s, below 1 s",
        "kube-ovn issues 3472 and 5343",
        "https://github.com/kubeovn/kube-ovn/issues/3472",
    ),
    Published(
        ("Q1",),
        "the same behind Harvester",
        "almost none, or below 0.5 s",
        "harvester/docs pull request 1066",
        "https://github.com/harvester/docs/pull/1066",
    ),
    Published(
        ("Q1",),
        "connection recovery time when the controller updates ahead (SDN)",
        "of the order of a TCP round trip",
        "Hu et al., Intelligent Automation and Soft Computing 22(4), 2016, abstract",
        "http://autosoftjournal.net/paperShow.php?paper=1152772",
    ),
    Published(
        ("Q1",),
        "packets lost in a move to a VM that does not stop, at 5,000 packets/s: a Linux bridge that floods and learns, "
        "told by a gratuitous ARP; OVN bound to both chassis; plain OVN (medians of two sittings); FRR EVPN (median); "
        "Mininet's mobility.py (two ways, medians), and the other way",
        "0 to 2; median 16, 0 to 104; 92 and 159; 308; 576 and 283, and about one second",
        "measured by us once on this kind of machine, 10 moves each, partly beside other work; no record was kept",
        "",
    ),
    Published(
        ("Q1",),
        "what a meter that asks every 0.2 s can see",
        "0.2 s",
        "OpenStack tempest, change I83c6a5d",
        "https://github.com/openstack/tempest",
    ),
    Published(
        ("Q1", "Q3"),
        "time to converge from packets lost at a constant rate",
        "2 x lost / rate when the table changes entry by entry, lost / rate when it changes at once",
        "FDio/csit issue 2635 (the second form is our addition)",
        "https://github.com/FDio/csit/issues/2635",
    ),
    Published(
        ("Q3",),
        "two gaps of a Linux bridge without anybody's announcement",
        "0.94 s and 10.2 s (computed here from its sequence numbers)",
        "RedHatQE pull request 4238",
        "https://github.com/RedHatQE/openshift-virtualization-tests/pull/4238",
    ),
    Published(
        ("Q3",),
        "when QEMU says where a VM is (5 rounds, 50 ms, then 100 ms more each)",
        "after 0, 50, 200, 450, 800 ms (derived from its code)",
        "QEMU, migration/options.c, net/announce.c",
        "https://github.com/qemu/qemu/blob/master/net/announce.c",
    ),
    Published(
        ("Q2",),
        "pings at 0.1 s lost in a move, kernel announcing too early (NS, NA)",
        "54 of 311 and 50 of 305, about 5 s",
        "kubevirt issue 11069",
        "https://github.com/kubevirt/kubevirt/issues/11069",
    ),
    Published(
        ("Q3",),
        "EVPN hypervisor, stale neighbour entry",
        "about 30 s; about 20 s",
        "FRRouting issues 2129 and 4904",
        "https://github.com/FRRouting/frr/issues/2129",
    ),
    Published(
        ("Q3",),
        "EVPN, MAC/IP route late; with a MAC-only route",
        "207 to 210 packets lost, 21 to 29 s; about 1 s",
        "openperouter issue 203",
        "https://github.com/openperouter/openperouter/issues/203",
    ),
    Published(
        ("Q3",),
        "stale entry of an Open vSwitch MAC table",
        "about 5 min",
        "kube-ovn issue 5955",
        "https://github.com/kubeovn/kube-ovn/issues/5955",
    ),
    Published(
        ("Q3", "Q24"),
        "stale MAC address of the gateway",
        "about 60 s",
        "ovn-kubernetes issue 6947",
        "https://github.com/ovn-kubernetes/ovn-kubernetes/issues/6947",
    ),
    Published(
        ("Q4",),
        "downtime of live migration with redirection at the old place",
        "22.5 times shorter",
        "Achelous, ACM SIGCOMM 2023, abstract",
        "https://doi.org/10.1145/3603269.3604859",
    ),
    Published(
        ("Q5",),
        "pause of a VM; the source forwards until the fabric has caught up",
        "usually below 1 s, up to 5 s in rare cases",
        "a blog on Google Compute Engine, so at second hand",
        "https://luispal.com/luispal/post/gcp-live-migrations-what-is-it-and-how-it-works",
    ),
    Published(
        ("Q6",),
        "idle 8 GiB guest with a DPDK forwarder on KVM: total time, downtime",
        "2,271 ms, 26 ms",
        "OPNFV KVM4NFV user guide",
        "https://github.com/opnfv/kvmfornfv",
    ),
    Published(
        ("Q6",),
        "QEMU's default limit of the downtime",
        "300 ms",
        "QEMU, migration/options.c",
        "https://github.com/qemu/qemu/blob/master/migration/options.c",
    ),
    Published(
        ("Q7",),
        "pings lost in each move when the new place's flows are not ready at resume",
        "5 to 10",
        "openvswitch/ovs-issues issue 230",
        "https://github.com/openvswitch/ovs-issues/issues/230",
    ),
    Published(
        ("Q7",),
        "gain from plugging the interface before the suspend (Xen)",
        "0.3 s an interface",
        "xenopsd pull request 205",
        "https://github.com/xapi-project/xenopsd/pull/205",
    ),
    Published(
        ("Q7",),
        "a customer's outage in a move (Neutron with OVN)",
        "about 50 s (unconfirmed there)",
        "Red Hat Bugzilla 2012179",
        "https://bugzilla.redhat.com/show_bug.cgi?id=2012179",
    ),
    Published(
        ("Q10", "Q11"),
        "switch-over between sites by network paging",
        "below 100 ms on average",
        "Kanada and Tarui, ICOIN 2011, abstract",
        "https://doi.org/10.1109/icoin.2011.5723191",
    ),
    Published(
        ("Q10", "Q12"),
        "move of a VM under LISP",
        "below 1 s between continents, 300 ms within Europe",
        "Raad et al., IEEE Transactions on Network and Service Management 11(2), 2014, abstract",
        "https://hal.sorbonne-universite.fr/hal-01096122v1",
    ),
    Published(
        ("Q11",),
        "BGP host route for each VM (Calico, 2015)",
        "ping gap about 2 s, ssh broken",
        "calico issue 11162",
        "https://github.com/projectcalico/calico/issues/11162",
    ),
    Published(
        ("Q15",),
        "container moved by CRIU behind a P4 switch, n = 25: downtime; update of the switch",
        "mean 5,857 ms (sd 223); 30 ± 2 ms",
        "P4ContainerFlow report",
        "https://github.com/stano45/p4containerflow",
    ),
    Published(
        ("Q21",),
        "moves after which EVPN takes a MAC for a duplicate and freezes it",
        "5 in 180 s",
        "RFC 7432 section 15.1, as vendors document it",
        "https://www.rfc-editor.org/rfc/rfc7432#section-15.1",
    ),
    Published(
        ("Q21",),
        "OVN computes flows anew: MTU changed with 800 ports; 1,000 ports removed",
        "2,072 ms, later 4 ms; 992 ms, later 58 ms",
        "OVN commits 16836c379 and e41fd76eb, commit messages",
        "https://github.com/ovn-org/ovn/commit/16836c379",
    ),
)


def published_for(question: str) -> list[Published]:
    """The figures to print beside the answer of a question."""
    return [one for one in PUBLISHED if question in one.questions]
