"""A line of the benchmark, and a measurement in a sandbox of its own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emulation.sandbox import run_in_sandbox
from experiments.running.parameters import ParameterError
from experiments.running.start import keep_visible


@dataclass(frozen=True)
class Row:
    """One line of the benchmark: what, what it should reach, what was measured, the control of the same run."""

    what: str
    reach: str
    measured: str
    control: str
    reached: bool


def ms(seconds: float) -> str:
    """'4.1 ms'."""
    return f"{seconds * 1e3:.1f} ms"


def measured_inside(measure: Callable[[], dict[str, float]], results_folder: Path) -> dict[str, float]:
    """Run a measurement in a sandbox; its figures, with ``end_s``: from its last line to an empty sandbox."""
    reading, writing = os.pipe()

    def runner() -> int:
        figures = measure()
        figures["finished_s"] = time.monotonic()
        os.write(writing, json.dumps(figures).encode())
        return 0

    status = run_in_sandbox(runner, keep=keep_visible(results_folder))
    ended_s = time.monotonic()
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    if status != 0 or not text:
        raise ParameterError("bench: a measurement ended without figures; see the messages above")
    figures: dict[str, float] = json.loads(text)
    figures["end_s"] = ended_s - figures.pop("finished_s")
    return figures
