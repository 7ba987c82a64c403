"""What this machine must have before anything is built, and how NVEs will switch on it.

All problems are found at once, each with its remedy. The choice of datapath is made here, with its reason:

    kernel      when the kernel has (or can load) the openvswitch module
    AF_XDP      else, where its memory fits: 84 MB a port (168 MB measured for a switch daemon with two, OVS 3.1.0),
                and every MTU: 3,506 bytes (see ``AF_XDP_MTU_BYTES``)
    AF_PACKET   else: some 10 MB a port, loss-free up to about 5,000 packets/s each way (measured)
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from emulation import neighbours
from emulation.errors import PreflightError
from emulation.nve import Datapath
from emulation.plan import Plan
from topologies.model import Topology

PORT_TYPES = ("auto", "kernel", "afxdp", "afpacket")
AF_XDP_BYTES_PER_PORT = 84_000_000
AF_XDP_SHARE_OF_MEMORY = 0.10
AF_XDP_MTU_BYTES = os.sysconf("SC_PAGE_SIZE") - 256 - 320 - 14
"""The largest MTU of a veth whose other end runs XDP: 3,506 with pages of 4,096 bytes.

A frame has to fit into one page beside XDP's headroom of 256 bytes, the end of an skb (struct skb_shared_info, 320) and
its Ethernet header of 14 (Linux: drivers/net/veth.c, veth_xdp_set). Measured: at 3,506 ports start and carry whole
packets, at 3,507 Open vSwitch refuses the port.
"""
NVE_BYTES = 50_000_000  # two daemons, two shells, AF_PACKET ports: measured with 100 NVEs, rounded up
_AF_XDP_FAMILY = 44
_TOOLS = {
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "ovsdb-tool": "openvswitch-common",
    "mnexec": "mininet",
    "ip": "iproute2",
    "tc": "iproute2",
}
_DHCP_TOOLS = {"dnsmasq": "dnsmasq-base", "udhcpc": "udhcpc"}
_CAPTURE_TOOLS = {"tcpdump": "tcpdump"}


IN_IMAGE = "make image-run EXP=..."


def check(topology: Topology, ports: str, results_folder: Path, in_image: str = IN_IMAGE) -> Datapath:
    """Find out whether the topology can run here and how; PreflightError lists everything that is missing.

    ``in_image``: the command that does the same in the VM image.
    """
    problems = [
        *_root_problems(),
        *_tool_problems(_TOOLS | (_DHCP_TOOLS if _leases(topology) else {})),
        *_space_problems(results_folder),
        *obstacles(topology, in_image),
    ]
    datapath, why_not = datapath_for(topology, ports, in_image)
    if why_not:
        problems.append(why_not)
    if problems or datapath is None:
        raise PreflightError(problems)
    return datapath


def obstacles(topology: Topology, in_image: str = IN_IMAGE) -> list[str]:
    """What this machine and its kernel lack for the topology, whoever asks; needs no root."""
    return [
        *_netem_problems(topology, in_image),
        *_memory_problems(topology),
        *neighbours.problems(topology, neighbours.tables()),
    ]


def check_root() -> None:
    """For commands that need root but no topology."""
    if problems := _root_problems():
        raise PreflightError(problems)


def check_captures() -> None:
    """For runs that capture links."""
    if problems := _tool_problems(_CAPTURE_TOOLS):
        raise PreflightError(problems)


def _root_problems() -> list[str]:
    if os.geteuid() == 0:
        return []
    return ["not root: namespaces and Open vSwitch need it; run the same command with sudo"]


def _leases(topology: Topology) -> bool:
    return any(network.dhcp_server is not None for network in topology.virtual_networks)


def _tool_problems(tools_wanted: Mapping[str, str]) -> list[str]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing: dict[str, list[str]] = {}
    for tool, package in tools_wanted.items():
        if shutil.which(tool, path=path) is None:
            missing.setdefault(package, []).append(tool)
    return [
        f"{', '.join(tools)} not found: apt-get install {package} (or: make setup)"
        for package, tools in missing.items()
    ]


def _netem_problems(topology: Topology, in_image: str = IN_IMAGE) -> list[str]:
    if not topology.needs_netem or _module("sch_netem"):
        return []
    keys = ", ".join(topology.needs_netem)
    need = "needs" if len(topology.needs_netem) == 1 else "need"
    return [
        f"topology {topology.name}: {keys} {need} netem, and this kernel has none (CONFIG_NET_SCH_NETEM): "
        f"take the delay and loss out, or run in the VM image, whose kernel has it: {in_image}"
    ]


def _space_problems(folder: Path) -> list[str]:
    """A run of a minute writes some 10 MB; less than 100 MB free is asking for half a record."""
    existing = next(parent for parent in (folder, *folder.parents) if os.access(parent, os.F_OK))
    if not os.access(existing, os.W_OK | os.X_OK):
        return [f"{existing} is not writable: results go there; choose another place with RESULTS=FOLDER"]
    free = shutil.disk_usage(existing).free
    if free < 100_000_000:
        return [
            f"{existing} has {free // 1_000_000} MB free and a run needs 100 MB: make room, "
            "or choose another place with RESULTS=FOLDER"
        ]
    return []


def datapath_for(
    topology: Topology, ports: str, in_image: str = IN_IMAGE
) -> tuple[Datapath | None, str | None]:
    """How the topology's NVEs would switch here, or why they cannot as asked for. Needs no root."""
    return choose_datapath(
        Plan(topology).port_count(), ports, topology.queues_at_nves, in_image, largest_mtu(topology)
    )


def network_bytes(topology: Topology, datapath: Datapath) -> int:
    """About how much memory its NVEs take, with their ports."""
    ports = Plan(topology).port_count() if datapath.port_type == "afxdp" else 0
    return len(topology.nves) * NVE_BYTES + ports * AF_XDP_BYTES_PER_PORT


def _memory_problems(topology: Topology) -> list[str]:
    need, have = len(topology.nves) * NVE_BYTES, available_memory_bytes()
    if need > have:
        return [
            f"{len(topology.nves)} NVEs need about {need // 1_000_000} MB of memory and {have // 1_000_000} MB "
            "are free: use fewer NVEs or a larger machine"
        ]
    return []


def available_memory_bytes() -> int:
    """Memory that programs can still get (MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def largest_mtu(topology: Topology) -> tuple[int, str]:
    """The largest MTU in bytes of a link that ends at an NVE, and the path of its key."""
    mtus = [(topology.underlay.mtu_bytes, "underlay.mtu")]
    mtus += [(one.mtu_bytes, f"virtual_networks[{i}].mtu") for i, one in enumerate(topology.virtual_networks)]
    return max(mtus)


def choose_datapath(
    port_count: int,
    ports: str = "auto",
    queues: Sequence[str] = (),
    in_image: str = IN_IMAGE,
    mtu: tuple[int, str] = (0, ""),
) -> tuple[Datapath | None, str | None]:
    """The datapath for so many ports, or why the one asked for is not to be had.

    ``queues``: key paths of what the queue of an NVE's own port has to make; frames sent by AF_XDP pass it by.
    ``mtu``: the largest one in bytes, and the path of its key.
    """
    if ports not in PORT_TYPES:
        return None, f"ports={ports}: allowed are {', '.join(PORT_TYPES)}"
    if ports == "afpacket":
        return Datapath("userspace", "afpacket", "asked for"), None
    if ports in ("kernel", "auto") and _module("openvswitch"):
        return Datapath(
            "kernel", "kernel", "asked for" if ports == "kernel" else "openvswitch module is there"
        ), None
    if ports == "kernel":
        return (
            None,
            "ports=kernel: this kernel has no openvswitch module; leave ports=auto for the userspace datapath, or run "
            f"in the VM image, whose kernel has it: {in_image}",
        )
    lacking = _af_xdp_lacks()
    if queues and not lacking:
        lacking = f"it passes by the queue that makes {', '.join(queues)}"
    if mtu[0] > AF_XDP_MTU_BYTES and not lacking:
        lacking = (
            f"it takes an MTU of at most {AF_XDP_MTU_BYTES:,}, as a frame has to fit into one page of memory, and "
            f"{mtu[1]} is {mtu[0]:,}"
        )
    if ports == "afxdp":
        return (
            (None, f"ports=afxdp: {lacking}; use ports=afpacket")
            if lacking
            else (
                Datapath("userspace", "afxdp", "asked for"),
                None,
            )
        )
    need = port_count * AF_XDP_BYTES_PER_PORT
    bound = int(AF_XDP_SHARE_OF_MEMORY * available_memory_bytes())
    if lacking:
        return Datapath("userspace", "afpacket", f"no openvswitch module; no AF_XDP: {lacking}"), None
    sizes = f"{port_count} ports x 84 MB = {need // 1_000_000} MB, bound {bound // 1_000_000} MB"
    if need > bound:
        return Datapath("userspace", "afpacket", f"no openvswitch module; AF_XDP does not fit: {sizes}"), None
    return Datapath("userspace", "afxdp", f"no openvswitch module; AF_XDP fits: {sizes}"), None


def _module(name: str) -> bool:
    """Whether a kernel module is there, built in or loadable."""
    if Path(f"/sys/module/{name}").exists():
        return True
    modprobe = shutil.which("modprobe", path="/usr/sbin:/sbin:" + os.environ.get("PATH", ""))
    if modprobe is None:
        return False
    only_look = [] if os.geteuid() == 0 else ["-n"]
    return (
        subprocess.run([modprobe, "-q", *only_look, name], check=False, capture_output=True).returncode == 0
    )


def _af_xdp_lacks() -> str | None:
    try:
        socket.socket(_AF_XDP_FAMILY, socket.SOCK_RAW, 0).close()
    except PermissionError as error:
        if os.geteuid() == 0:
            return f"this kernel offers no AF_XDP sockets ({error.strerror})"
    except OSError as error:
        return f"this kernel offers no AF_XDP sockets ({error.strerror})"
    daemon = shutil.which("ovs-vswitchd", path="/usr/sbin:" + os.environ.get("PATH", ""))
    if daemon is not None and not _links_libbpf(daemon):
        return "this Open vSwitch was built without AF_XDP"
    return None


def _links_libbpf(daemon: str) -> bool:
    linked = subprocess.run(["ldd", daemon], check=False, capture_output=True, text=True).stdout
    return "libbpf" in linked


def versions(tools: Sequence[str] = ("ovs-vswitchd", "ip")) -> dict[str, str]:
    """The first line that each tool prints of its own version."""
    found = {}
    for tool in tools:
        flag = "-V" if tool == "ip" else "--version"
        try:
            done = subprocess.run([tool, flag], check=False, capture_output=True, text=True, timeout=10)
        except OSError:
            continue
        lines = (done.stdout or done.stderr).strip().splitlines()
        if lines:
            found[tool] = lines[0]
    return found
