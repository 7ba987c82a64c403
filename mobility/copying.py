"""The steps that copy memory: rounds while the VM runs, the rest or all of it while it stands still."""

from __future__ import annotations

import time

from mobility.copy import CopyModel, precopy
from mobility.move import Move, wait_until_s
from mobility.options import BANDWIDTH_BPS, MoveOptions
from mobility.stream import MemoryStream
from topologies.model import Vm

MEMORY_BYTES = 512 * 1024 * 1024  # of a VM whose topology does not say


def copy_model(vm: Vm, options: MoveOptions) -> CopyModel:
    """The copy that the options and the VM ask for. Pure."""

    def chosen(name: str, otherwise: float) -> float:
        value = getattr(options, name)
        return float(getattr(vm, name, otherwise) if value is None else value)

    return CopyModel(
        memory_bytes=int(chosen("memory_bytes", MEMORY_BYTES)),
        dirty_rate_bps=chosen("dirty_rate_bps", 0.0),
        bandwidth_bps=options.bandwidth_bps or BANDWIDTH_BPS,
        downtime_limit_s=options.downtime_limit_s,
        max_rounds=options.rounds_while_running,
    )


def expected_s(vm: Vm, options: MoveOptions) -> float:
    """How long a move takes by calculation alone: its copy, the standstill, and until its redirect ends. Pure."""
    copy_s = stop_s = 0.0
    if options.copies:
        model = copy_model(vm, options)
        plan = precopy(model, model.seconds)
        copy_s, stop_s = plan.precopy_s, plan.stop_s
    if options.downtime_s is not None:
        stop_s = options.downtime_s
    rule = options.drain_rule
    bound_s = options.redirect_bound_s
    drain_s = bound_s if rule.name == "flow-end" else min(rule.time_s, bound_s)
    return copy_s + stop_s + drain_s + options.observe_s


def _model_of(move: Move) -> CopyModel:
    return copy_model(move.network.topology.vm(move.record.vm), move.options)


def _move_bytes(move: Move, model: CopyModel, size_bytes: int) -> float:
    """Copy so many bytes, really or by waiting as long; the seconds it took."""
    start_s = time.monotonic()
    if move.stream is None:
        wait_until_s(start_s + model.seconds(size_bytes))
        took_s = model.seconds(size_bytes)
    else:
        took_s = move.stream.send(size_bytes, model.bandwidth_bps)
    move.record.copied_bytes += size_bytes
    move.emit(start_s, "copied", bytes=size_bytes, seconds=took_s, real=move.stream is not None)
    return took_s


def open_stream(move: Move) -> None:
    """Connect the two NVEs now, so that the stop does not wait for it."""
    record = move.record
    move.stream = MemoryStream(move.network, record.old_nve, record.new_nve, move.underlay_ip(record.new_nve))


def close_stream(move: Move) -> None:
    """End the connection."""
    if move.stream is not None:
        move.stream.close()
        move.stream = None


def copy_rounds(move: Move) -> None:
    """Pre-copy: rounds while the VM runs."""
    model = _model_of(move)
    move.rest = precopy(model, lambda size_bytes: _move_bytes(move, model, size_bytes))
    move.record.copy_rounds = list(move.rest.rounds)
    move.record.copy_ended = move.rest.reason
    move.record.stop_bytes = move.rest.stop_bytes


def copy_all(move: Move) -> None:
    """A cold move's copy: everything, while the VM stands still; an imposed downtime takes its place."""
    if move.options.downtime_s is None:
        model = _model_of(move)
        move.record.stop_bytes = model.memory_bytes
        _move_bytes(move, model, model.memory_bytes)
    else:
        _wait_out(move, move.options.downtime_s)


def copy_rest(move: Move) -> None:
    """What pre-copy left, while the VM stands still; an imposed downtime takes its place."""
    if move.options.downtime_s is not None:
        _wait_out(move, move.options.downtime_s)
    elif move.rest is not None:
        _move_bytes(move, _model_of(move), move.rest.stop_bytes)


def _wait_out(move: Move, downtime_s: float) -> None:
    assert move.record.paused_s is not None  # the steps before have stopped it
    wait_until_s(move.record.paused_s + downtime_s)
