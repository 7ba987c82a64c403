"""``shell``: enter a node of a network that runs, from another terminal.

A network that runs has a folder with two files: ``sandbox.json`` (the host's PID of the sandbox's init) and
``nodes.json`` (node -> PID inside). Runs have theirs in results/runs/, sessions of the console in results/sessions/.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emulation import commands, preflight
from emulation.errors import EmulationError, WaitError
from emulation.network import RUN_FOLDER, EmulatedNetwork
from results.record.files import write_atomic
from results.record.ownership import make_folder

SANDBOX = "sandbox"
_UNNAMED = "."  # what `make shell` passes when NODE is not given
_REUSE_SLACK_S = 2.0  # the kernel's boot time is given in whole seconds
_TOOLS = RUN_FOLDER / "bin"
_APPCTL = """\
#!/bin/sh
# Finds the daemon of the NVE this shell is in; its control socket has a name of its own.
for word; do case $word in -t*|--target*) exec /usr/bin/ovs-appctl "$@" ;; esac; done
exec /usr/bin/ovs-appctl -t "$OVS_RUNDIR/vswitchd.ctl" "$@"
"""


class EnterError(EmulationError):
    """There is nothing to enter under that name; says what there is."""


@dataclass(frozen=True)
class Running:
    """A network that runs: the folder's name, the host's PID of its init, its nodes (empty: it is starting)."""

    name: str
    init_pid: int
    nodes: Mapping[str, int]


# Sessions of the console.


def session_folder(results_folder: Path, topology: str) -> Path:
    """A name of its own for a session's folder; nothing is made yet."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return results_folder / "sessions" / f"{stamp}-cli-{topology}-{secrets.token_hex(3)}"


def begin_session(folder: Path, init_pid: int) -> None:
    """Make the folder with its sandbox.json, in one step for those who look."""
    unfinished = folder.with_name("." + folder.name)
    make_folder(unfinished)
    known = {"init_pid": init_pid, "start_ticks": start_ticks(init_pid)}
    write_atomic(unfinished / "sandbox.json", json.dumps(known).encode())
    unfinished.replace(folder)


def write_nodes(folder: Path, network: EmulatedNetwork) -> None:
    """Say which process inside holds each node's namespace; from inside, so the folder may come a moment later."""
    commands.wait_until(folder.is_dir, 5.0, f"the folder {folder}")
    nodes = {node.name: node.pid for node in (*network.hosts, *network.switches)}
    write_atomic(folder / "nodes.json", json.dumps(nodes).encode())


def remove_stale_sessions(results_folder: Path) -> None:
    """Take away what sessions that were killed have left."""
    for folder in (results_folder / "sessions").glob("[!.]*"):
        if _living(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)


# Finding.


def running(results_folder: Path) -> list[Running]:
    """All networks that run, newest first."""
    folders = [
        path.parent
        for kind in ("runs", "sessions")
        for path in (results_folder / kind).glob("*/sandbox.json")
    ]
    found = (_living(folder) for folder in sorted(folders, key=lambda folder: folder.name, reverse=True))
    return [one for one in found if one is not None]


def _living(folder: Path) -> Running | None:
    known = _read_json(folder / "sandbox.json")
    pid = known.get("init_pid")
    if not isinstance(pid, int):
        return None
    ticks = start_ticks(pid)
    if ticks is None or not _is_init(pid):
        return None
    if "start_ticks" in known:
        same = known["start_ticks"] == ticks
    else:  # whoever got the number of an init that ended began after this file was written
        same = _began_s(ticks) <= (folder / "sandbox.json").stat().st_mtime + _REUSE_SLACK_S
    return Running(folder.name, pid, _read_json(folder / "nodes.json")) if same else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def start_ticks(pid: int, proc: Path = Path("/proc")) -> int | None:
    """When a process began, in clock ticks since boot (proc(5), stat field 22); None: it is gone or a zombie."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # from field 3, the state, on: the name may hold blanks
    return None if fields[0] in "ZX" else int(fields[19])


def _began_s(ticks: int) -> float:
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def _is_init(pid: int) -> bool:
    """Whether a process is number 1 of a PID namespace within ours (proc(5), status field NSpid)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"


def choose(found: Sequence[Running], wanted: str | None) -> Running:
    """The network meant by RUN (a folder, its name or the beginning of it), or the only one; else EnterError."""
    if not found:
        raise EnterError("no network is running; start one with `make cli` (or a run, such as `make hot-l2`)")
    if wanted is not None:
        name = Path(wanted).name
        matching = [one for one in found if one.name == name] or [
            one for one in found if one.name.startswith(name)
        ]
        if len(matching) == 1:
            return matching[0]
        there = "\n".join(f"  RUN={one.name}" for one in found)
        what = "is not running" if not matching else "is the beginning of several names"
        raise EnterError(f"RUN={wanted} {what}; running:\n{there}")
    if len(found) > 1:
        there = "\n".join(f"  RUN={one.name}" for one in found)
        raise EnterError(f"{len(found)} networks are running; say which one (newest first):\n{there}")
    return found[0]


def choose_node(network: Running, node: str) -> int | None:
    """The PID inside of a node; None for the sandbox itself. EnterError names the nodes there are."""
    if not network.nodes:
        raise EnterError(f"{network.name} is still starting; try again in a moment")
    if node == SANDBOX:
        return None
    if node not in network.nodes:
        what = "which node?" if node == _UNNAMED else f"there is no node {node!r} in {network.name};"
        raise EnterError(
            f"{what} NODE= is one of {', '.join(network.nodes)}, or {SANDBOX} for what joins them"
        )
    return network.nodes[node]


# Entering.


def enter_argv(init_pid: int, node_pid: int | None, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` in a sandbox's namespaces and, of a node, in its network namespace."""
    nsenter = ["nsenter", "-t", str(init_pid), "-m", "-p", "-n", "-i", "-u", "--"]
    return [*nsenter, *commands.in_namespaces_of(node_pid, argv)]


def environment(node: str, is_nve: bool, around: Mapping[str, str]) -> dict[str, str]:
    """The environment inside; at an NVE Open vSwitch's tools find the NVE's own daemons.

    What the shell remembers lasts as long as the network: at home it would be root's file among the user's.
    """
    path = around.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    inside = {**around, "PATH": path, "PS1": f"overland:{node}# ", "HISTFILE": str(RUN_FOLDER / "history")}
    if is_nve:
        inside |= {"OVS_RUNDIR": str(RUN_FOLDER / node), "PATH": f"{_TOOLS}:{path}"}
    return inside


def shell(words: Sequence[str], results_folder: Path) -> int:
    """``shell NODE [RUN] [-- COMMAND ...]``: a shell, or one command with its exit status."""
    words = list(words)
    mark = words.index("--") if "--" in words else len(words)
    names, command = words[:mark], words[mark + 1 :]
    if len(names) > 2:
        raise EnterError(f"shell NODE [RUN] [-- COMMAND ...]: {' '.join(names[2:])!r} is too much")
    if mark < len(words) and not command:
        raise EnterError("shell: a command must follow --, such as: shell nve1 -- ovs-vsctl show")
    preflight.check_root()
    network = choose(running(results_folder), names[1] if len(names) > 1 else None)
    node = names[0] if names else _UNNAMED
    pid = choose_node(network, node)
    is_nve = _prepare_tools(network, node)
    argv = enter_argv(network.init_pid, pid, command or ["bash", "--norc", "-i"])
    if not command:
        print(f"{node} of {network.name}; exit or Ctrl-D leaves it and the network runs on", flush=True)
    return _run(argv, environment(node, is_nve, os.environ), network, interactive=not command)


def _prepare_tools(network: Running, node: str) -> bool:
    """Whether the node is an NVE; if so, put a finder of its daemon into the sandbox's own /run."""
    inside = Path(f"/proc/{network.init_pid}/root")
    if not (inside / (RUN_FOLDER / node).relative_to("/") / "db.sock").exists():
        return False
    tool = inside / _TOOLS.relative_to("/") / "ovs-appctl"
    if not tool.exists():
        tool.parent.mkdir(exist_ok=True)
        unfinished = tool.with_name(f".ovs-appctl-{os.getpid()}")
        unfinished.write_text(_APPCTL)
        unfinished.chmod(0o755)
        unfinished.replace(tool)
    return True


def _ends(init_pid: int) -> bool:
    """Whether the sandbox is ending: its init goes last, a moment after all that ran in it."""
    with contextlib.suppress(WaitError):
        return bool(commands.wait_until(lambda: start_ticks(init_pid) is None, 1.0, "the sandbox's end"))
    return False


def _run(argv: Sequence[str], env: Mapping[str, str], network: Running, interactive: bool) -> int:
    signal.signal(
        signal.SIGINT, lambda *_: None
    )  # Ctrl-C is for what runs inside; a handler is not inherited
    try:
        status = subprocess.run(argv, env=dict(env), check=False).returncode
    except FileNotFoundError as error:
        raise EnterError(f"{error.filename} not found: apt-get install util-linux (or: make setup)") from None
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL) and _ends(network.init_pid):
        print(f"\n{network.name} has ended, and all that ran in it", file=sys.stderr)
        return 1
    if interactive:
        return 0
    return status if status >= 0 else 128 - status
