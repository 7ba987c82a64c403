"""``cli``: check everything, build the topology in a sandbox, talk, and take everything away again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emulation import neighbours, preflight
from emulation.network import Options
from emulation.nve import Datapath
from emulation.sandbox import BY_SIGNAL, PRIVATE_FOLDERS, EndedBySignalError, run_in_sandbox
from experiments.console.console import Console
from experiments.console.enter import begin_session, remove_stale_sessions, session_folder, write_nodes
from experiments.console.migrate import AUTO
from experiments.console.text import greeting
from experiments.console.watching import EventTap
from experiments.running.laboratory import Laboratory
from experiments.running.parameters import Parameter, ParameterError, choice, read_parameters, text
from experiments.running.progress import Progress
from experiments.running.start import keep_visible
from experiments.running.surroundings import inside_image
from mobility.policies import policy_for
from topologies import load_topology, topology_file
from topologies.model import Topology
from vocabulary.errors import OverlandError
from vocabulary.moves import ATTACHMENTS
from vocabulary.policies import POLICIES

DEFAULT_TOPOLOGY = "two_racks"
FAULTS = "faults"
"""The folder within results/ for tracebacks of what went wrong in a session."""

PARAMETERS: tuple[Parameter, ...] = (
    choice("attachment", "rebind", "how VMs are attached", ATTACHMENTS),
    choice("ports", "auto", "how NVEs attach to their ports", preflight.PORT_TYPES),
    text(
        "files",
        "",
        "a folder of scripts that nodes see too: one in /tmp or /run; in the VM image any",
        "the path of a folder",
    ),
    choice("policy", AUTO, "what migrate does at the old NVE unless it is told", (AUTO, *POLICIES)),
)


def read_words(words: Sequence[str]) -> tuple[Topology, dict[str, Any]]:
    """The topology and the parameters that are asked for; raises OverlandError."""
    name = words[0] if words and "=" not in words[0] else DEFAULT_TOPOLOGY
    values = read_parameters(PARAMETERS, words[1:] if words and "=" not in words[0] else words)
    if values["policy"] != AUTO:
        policy_for(values["policy"], values["attachment"])
    if values["files"]:
        check_shown(values["files"])
    return load_topology(topology_file(name)), values


def check_shown(folder: str) -> None:
    """Refuse (ParameterError) what cannot be shown inside a sandbox."""
    path = Path(folder).resolve()
    if path in PRIVATE_FOLDERS:
        raise ParameterError(f"files={folder}: each sandbox has its own; name a folder in it")
    if not path.is_dir():
        raise ParameterError(f"files={folder}: there is no such folder; make it first")


def start_cli(words: Sequence[str], results_folder: Path) -> int:
    """``cli [TOPOLOGY] [NAME=value ...]``; the exit status: 1 when a command that was piped in was refused."""
    topology, values = read_words(words)
    in_image = f"make image-cli TOPO={words[0] if words and '=' not in words[0] else topology.name}"
    datapath = preflight.check(topology, values["ports"], results_folder, in_image)
    if (warning := neighbours.warning(topology, neighbours.tables())) is not None:
        print(warning, file=sys.stderr)
    shown = [Path(values["files"]).absolute()] if values["files"] else []
    remove_stale_sessions(results_folder)
    folder = session_folder(results_folder, topology.name)

    def on_start(init: int) -> None:
        # Ctrl-C is the console's: the sandbox's supervisor would take it for the wish to end.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        begin_session(folder, init)

    with _terminal_as_it_was():
        try:
            status = run_in_sandbox(
                lambda: _inside(topology, datapath, values, folder, results_folder / FAULTS),
                keep=[*keep_visible(results_folder), *shown],
                on_start=on_start,
            )
        except EndedBySignalError as ended:
            status = ended.status
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that waits was meant for the console
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if status > BY_SIGNAL:
        _say_end(signal.Signals(status - BY_SIGNAL))
    return status


def _say_end(number: signal.Signals) -> None:
    """By what a session has ended that nobody told to exit."""
    how = {
        signal.SIGINT: "interrupted by Ctrl-C while it was starting",
        signal.SIGHUP: "ended by SIGHUP: its terminal was closed",
    }
    with contextlib.suppress(OSError):  # of a terminal that is closed
        told = how.get(number, f"ended by {number.name}")
        print(f"the session was {told}; nothing of it is left", file=sys.stderr, flush=True)


def _inside(
    topology: Topology, datapath: Datapath, values: Mapping[str, Any], folder: Path, faults: Path
) -> int:
    """The session itself, in the sandbox."""
    tap = EventTap()
    laboratory = Laboratory(topology, Options(datapath, attachment=values["attachment"]), tap)
    begin_s = time.monotonic()
    try:
        with _progress(topology.name) as step:
            laboratory.start(step)
            laboratory.warm_up(())
        write_nodes(folder, laboratory.network)
        console = Console(laboratory, tap, values["policy"], faults)
        if console.isatty():
            print(
                "\n".join(
                    greeting(
                        topology,
                        datapath,
                        time.monotonic() - begin_s,
                        terminals=not inside_image(),
                        files=values["files"],
                    )
                ),
                flush=True,
            )
        console.talk()
        laboratory.stop()
    except BrokenPipeError:  # as of `make cli | head`: what was wanted has been read
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OverlandError as error:
        print(str(error), file=sys.stderr)
        return 2
    return 1 if console.refused and not console.isatty() else 0


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Any]:
    """Steps of the start, on a terminal only: what is piped in wants its own answers and nothing else."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        yield lambda _step: None
        return
    with Progress(name) as progress:
        yield progress.step


@contextlib.contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Mininet switches the terminal's line mode for the commands of nodes and leaves it so."""
    try:
        before = termios.tcgetattr(sys.stdin.fileno())
    except (termios.error, ValueError, OSError):  # no terminal
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
