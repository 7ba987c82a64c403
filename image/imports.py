"""How long Python takes to load what a run needs, and what that would take without the image's two savings.

The savings: a run loads some of the packages and not all, and what it loads was compiled when the image was built.
``make image-imports`` boots a guest in which ``python -m image.imports`` runs. Each load is a new process with
nothing in memory (the page cache is dropped), so reading and unpacking the files is in it.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emulation import commands
from image.recipe import PROJECT

EVERYTHING = (
    "controller.framework",  # os-ken
    "pydantic",
    "numpy",
    "scipy.stats",
    "pyarrow.parquet",
    "matplotlib.pyplot",
    "jinja2",
    "rich.console",
    "aioquic.asyncio",
    "yaml",
    "mininet.net",
)
"""All packages of requirements.in, by the modules of them that the project uses, and Debian's two."""

RUNNER = (
    "experiments.running.start",
    "experiments.catalog",
    "yaml",  # with the topology
    "pyarrow.parquet",  # with the first samples
)
NVA = ("controller.__main__", "controller.app", "controller.northbound", "controller.service")

ALL, OF_A_RUN = "all packages", "what a run loads"
LOADS: Mapping[str, Sequence[Sequence[str]]] = {ALL: (EVERYTHING,), OF_A_RUN: (RUNNER, NVA)}
"""What is loaded: the modules that each of its processes imports."""

SOURCES, COMPILED = "from sources", "compiled before"
WAYS = (SOURCES, COMPILED)
ROUNDS = 3
_NOWHERE = "/run/nothing-compiled-here"

Durations = Mapping[tuple[str, str], Sequence[float]]
"""Load and way: how long it took, s, in each round."""


def python_argv(modules: Sequence[str], way: str) -> list[str]:
    """The command that imports ``modules``; from sources: Python looks for compiled files where there are none."""
    variables = [f"PYTHONPATH={PROJECT}", "PYTHONDONTWRITEBYTECODE=1"]
    if way == SOURCES:
        variables.append(f"PYTHONPYCACHEPREFIX={_NOWHERE}")
    return ["env", *variables, sys.executable, "-c", f"import {', '.join(modules)}"]


def table(durations_s: Durations) -> list[str]:
    """The lines of a table: median and range of each load, each way; what both savings come to."""
    lines = [" " * 18 + "".join(f"{way:>24}" for way in WAYS)]
    for load, processes in LOADS.items():
        cells = "".join(f"{_cell(durations_s[load, way]):>24}" for way in WAYS)
        lines.append(
            f"{load:18}{cells}   ({len(processes)} {'process' if len(processes) == 1 else 'processes'})"
        )
    ratio = statistics.median(durations_s[ALL, SOURCES]) / statistics.median(durations_s[OF_A_RUN, COMPILED])
    lines.append(f"{ALL} {SOURCES} take {ratio:.1f} times as long as {OF_A_RUN}, {COMPILED}")
    return lines


def _cell(values_s: Sequence[float]) -> str:
    return f"{statistics.median(values_s):.1f} s [{min(values_s):.1f}, {max(values_s):.1f}]"


def load(modules: Sequence[str], way: str) -> float:
    """Seconds until a new process has imported ``modules``, with nothing of them in memory. Needs root."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    started_s = time.monotonic()
    commands.run(python_argv(modules, way), timeout_s=60.0)
    return time.monotonic() - started_s


def measure(say: Callable[[str], None]) -> Durations:
    """Every load each way, in turn, `ROUNDS` times."""
    found: dict[tuple[str, str], list[float]] = {(name, way): [] for name in LOADS for way in WAYS}
    for number in range(1, ROUNDS + 1):
        for (name, way), values_s in found.items():
            values_s.append(sum(load(modules, way) for modules in LOADS[name]))
            say(f"round {number} of {ROUNDS}: {name} {way}: {values_s[-1]:.1f} s")
    return found


if __name__ == "__main__":
    for line in table(measure(lambda text: print(text, flush=True))):
        print(line)
