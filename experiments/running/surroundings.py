"""What a run finds around it: kernel, versions, commit, load, and inside the VM image what its host said of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mininet.net import VERSION as MININET_VERSION

from emulation import preflight, work_tree
from emulation.errors import CommandError
from emulation.nve import Datapath
from experiments.probes.guard import Bounds, bounds_on
from experiments.running.laboratory import PROJECT
from topologies.model import Topology

MACHINE_FILE = "OVERLAND_MACHINE"
"""Environment variable: the file in which the VM image's host says what it is."""


def environment(datapath: Datapath, values: Mapping[str, Any], command: str) -> dict[str, Any]:
    """What a run found around it, as the record keeps it."""

    around = _told_of_machine()
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "datapath": datapath.kind,
        "port_type": datapath.port_type,
        "port_type_why": datapath.reason,
        "attachment": values.get("attachment", "rebind"),
        "delay_backend": "none",
        "versions": {**preflight.versions(), "mn": MININET_VERSION, "python": platform.python_version()},
        **_commit(),
        "load": list(os.getloadavg()),
        "lag_bound_s": values.get("lag_bound") or bounds_here().lag_s,
        **around,
        "command": _as_seen_from_host(command) if around else command,
    }


def delay_backend(topology: Topology) -> str:
    """What makes the topology's delays: "netem", or "none" where there are none."""
    return "netem" if topology.needs_netem else "none"


def _commit() -> dict[str, Any]:
    try:
        return work_tree.state(PROJECT)
    except CommandError:  # no git, or not a clone
        return {"commit": None, "commit_changed": False}


def _told_of_machine() -> dict[str, Any]:
    """Inside the VM image: what the host says of it (accelerator, image, commit); elsewhere nothing."""
    path = os.environ.get(MACHINE_FILE)
    found: dict[str, Any] = json.loads(Path(path).read_text()) if path else {}
    return found


def inside_image() -> bool:
    """Whether this runs in the VM image."""
    return MACHINE_FILE in os.environ


def bounds_here() -> Bounds:
    """What the load guard allows on this machine."""
    return bounds_on(_told_of_machine().get("accelerator"))


def _as_seen_from_host(command: str) -> str:
    """The command that repeats on the host what ran inside."""
    return command.replace("make ", "make image-run EXP=", 1)
