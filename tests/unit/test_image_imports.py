"""What is loaded in the guest, and the table of how long it took."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess

import pytest

from image.imports import (
    COMPILED,
    EVERYTHING,
    LOADS,
    NVA,
    OF_A_RUN,
    RUNNER,
    SOURCES,
    WAYS,
    python_argv,
    table,
)
from image.recipe import PROJECT, lines_of


def test_every_package_asked_for_is_among_all() -> None:
    asked = {re.split("[=><]", line)[0] for line in lines_of(PROJECT / "requirements.in")}
    by_module = {"controller": "os-ken", "yaml": "PyYAML"}
    packages = {module.partition(".")[0] for module in EVERYTHING} - {"mininet"}
    assert {by_module.get(package, package) for package in packages} == asked


@pytest.mark.parametrize("module", [*RUNNER, *NVA])
def test_what_a_run_loads_exists(module: str) -> None:
    assert importlib.util.find_spec(module)


def test_from_sources_no_compiled_file_is_found_or_left() -> None:
    program = (
        "json, sys; print(json.dumps([sys.pycache_prefix, sys.dont_write_bytecode, json.__spec__.cached]))"
    )
    for way in WAYS:
        done = subprocess.run(python_argv([program], way), capture_output=True, text=True, check=True)
        prefix, leaves_none, cached = json.loads(done.stdout)
        assert leaves_none
        assert cached.startswith("/run/nothing-compiled-here" if way == SOURCES else "/usr/lib/python3")
        assert bool(prefix) == (way == SOURCES)


def test_the_table_has_medians_and_ranges_and_what_both_come_to() -> None:
    durations_s = {(load, way): [4.0, 1.0, 2.0] for load in LOADS for way in WAYS}
    durations_s["all packages", SOURCES] = [20.0, 10.0, 90.0]
    head, everything, run, both = table(durations_s)
    assert SOURCES in head and COMPILED in head
    assert (
        "20.0 s [10.0, 90.0]" in everything
        and "2.0 s [1.0, 4.0]" in everything
        and "(1 process)" in everything
    )
    assert run.startswith(OF_A_RUN) and "(2 processes)" in run
    assert both == "all packages from sources take 10.0 times as long as what a run loads, compiled before"
