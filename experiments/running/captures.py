"""``PCAP=1``: what every experiment can do besides measuring: keep the frames of chosen links in the run's folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emulation import preflight
from emulation.capture import Capture, CapturePoint, capture_points, chosen_points
from emulation.network import RUN_FOLDER
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.laboratory import Laboratory
from experiments.running.parameters import text, whole
from results.record.ownership import give_to_owner_of, make_folder
from topologies.model import Topology

if TYPE_CHECKING:
    from results.record.writer import RunRecord

NONE = "0"
PARAMETERS = (
    text(
        "pcap",
        NONE,
        "capture these links",
        "0: none, 1: all, or links such as nve*-underlay,vm1 (in a sweep: with +)",
    ),
    whole("pcap_snap", 160, "bytes kept of each captured frame", 64, 65_535),
)
"""160 bytes hold all headers of a probe in VXLAN (136 with IPv6) and of TCP with its options."""

Check = Callable[[Mapping[str, Any], Topology], None]


def with_captures(experiment: Experiment) -> Experiment:
    """The experiment with these parameters, and a check that knows the links there are."""
    own = experiment.check

    def check(values: Mapping[str, Any], topology: Topology) -> None:
        each = Gathered()
        with each:
            own(values, topology)
        with each:
            if chosen(values, topology):
                preflight.check_captures()
        each.tell()

    return replace(experiment, parameters=(*experiment.parameters, *PARAMETERS), check=check)


def chosen(values: Mapping[str, Any], topology: Topology) -> list[CapturePoint]:
    """The links to capture. EmulationError, with those there are, when one does not exist. Pure."""
    wanted = values.get("pcap", NONE)
    if wanted == NONE:
        return []
    return chosen_points(capture_points(topology, values.get("attachment", "rebind")), wanted)


@contextlib.contextmanager
def capturing(laboratory: Laboratory, values: Mapping[str, Any], record: RunRecord) -> Iterator[None]:
    """Within the block the chosen links are captured; the record says what each file holds and what is missing."""
    points = chosen(values, laboratory.topology)
    if not points:
        yield
        return
    folder = record.folder / "pcap"
    make_folder(folder)
    capture = Capture(
        points,
        lambda node: int(laboratory.network[node].pid),
        folder,
        RUN_FOLDER / "pcap",
        values["pcap_snap"],
    )
    offsets_ns = [clock_offset_ns()]
    try:
        capture.start()
        yield
    except BaseException:
        capture.kill()
        raise
    held, troubles = capture.stop()
    offsets_ns.append(clock_offset_ns())
    for path in folder.iterdir():
        give_to_owner_of(folder, path)
    troubles += [
        f"{one.file}: tcpdump was too slow for {one.dropped_packets} packets; they are not in it"
        for one in held
        if one.dropped_packets
    ]
    links = [one.as_dict() for one in held]
    record.set_environment(
        {"captures": {"links": links, "realtime_minus_monotonic_ns": offsets_ns, "troubles": troubles}}
    )


def clock_offset_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC; the closest of a few readings."""
    best_ns, offset_ns = None, 0
    for _ in range(5):
        before_ns = time.monotonic_ns()
        real_ns = time.time_ns()
        apart_ns = time.monotonic_ns() - before_ns
        if best_ns is None or apart_ns < best_ns:
            best_ns, offset_ns = apart_ns, real_ns - before_ns - apart_ns // 2
    return offset_ns
