"""A VM whose memory is copied: the parameters of the copy, and how long one may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.running.parameters import (
    OfVm,
    Parameter,
    ParameterError,
    rate_bps,
    whole,
)
from topologies.units import format_duration, format_rate, format_size

MEMORY_MIB = replace(
    whole("memory_mib", 64, "memory of the VM, in MiB; else as the topology says, or 64", 1, 2**20),
    default=None,
    of_vm=OfVm(
        "memory", lambda vm: -(-vm.memory_bytes // 2**20), lambda vm: format_size(vm.memory_bytes), 64
    ),
)
DIRTY_RATE = replace(
    rate_bps(
        "dirty_rate", 0, "how fast the running VM changes its memory; else as the topology says, or 100Mbit"
    ),
    default=None,
    of_vm=OfVm(
        "dirty_rate", lambda vm: vm.dirty_rate_bps, lambda vm: format_rate(vm.dirty_rate_bps), 100_000_000
    ),
)
MEMORY: tuple[Parameter, ...] = (
    MEMORY_MIB,
    rate_bps("bandwidth", 1_000_000_000, "rate of the copy", above_zero=True),
    DIRTY_RATE,
    whole("downtime_limit_ms", 50, "pre-copy goes on until the rest takes less than this, in ms", 1, 10_000),
    whole(
        "real",
        0,
        "1: copy real bytes over the underlay instead of waiting as long; they load the machine: 200Mbit or so",
        0,
        1,
    ),
)

LONGEST_COPY_S = 3600.0


def check_copy(values: Mapping[str, Any]) -> None:
    """Refuse memory that one round over this bandwidth does not copy within ``LONGEST_COPY_S`` (ParameterError)."""
    took_s = values["memory_mib"] * 2**20 * 8 / values["bandwidth"]
    if took_s > LONGEST_COPY_S:
        raise ParameterError(
            f"memory_mib={values['memory_mib']} at bandwidth={format_rate(values['bandwidth'])}: one round of the copy "
            f"takes {format_duration(round(took_s))}; at most {format_duration(LONGEST_COPY_S)} is allowed: give less "
            "memory or more bandwidth"
        )


def said_of_copy(values: Mapping[str, Any]) -> str:
    """How the memory is copied, for the lines before a run."""
    rate = format_rate(values["bandwidth"])
    if values["real"]:
        return f"memory: real bytes are copied over the underlay, at bandwidth={rate}"
    return f"memory: no bytes are copied: a move waits as long as it takes at bandwidth={rate} (real=1: real bytes)"
