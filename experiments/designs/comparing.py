"""Experiments that compare ways of moving: the same move between the same two NVEs, each way many times, at random.

The path is held fixed: the VM goes back and forth between two NVEs at which its peer is not, so that a difference
between two groups is a difference between two ways of moving. Null trials lie among the moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from experiments.designs import moving_vm
from experiments.designs.schedules import NULL, Mix
from experiments.running.gathering import Gathered
from experiments.running.parameters import QUICK, Parameter, ParameterError, repetitions, with_defaults
from experiments.running.run import Observe, Run
from experiments.running.traffic import address_of
from mobility.options import MoveOptions
from topologies.model import Topology, UnknownNameError

_NOT_HERE = ("policy", "attachment", "quick")  # what is compared is not a parameter


def traffic_parameters(**defaults: Any) -> tuple[Parameter, ...]:
    """hot-l2's parameters of traffic and trials, some with other defaults, and ``quick``."""
    known = [parameter for parameter in moving_vm.PARAMETERS if parameter.name not in _NOT_HERE]
    return (*with_defaults(known, **defaults), QUICK)


@dataclass(frozen=True)
class Group:
    """One way of moving; ``parameters`` are what its trials are grouped by."""

    parameters: Mapping[str, Any]
    options: MoveOptions
    after_s: float | None = None
    """Time of its trials after the move began, when it needs more than the parameter ``after`` says."""
    guarded_s: float | None = None
    """How long after the move's begin a busy machine spoils a trial; None: to its end."""
    packet_in_limit_pps: int | None = None
    """What an NVE may send to the NVA in a second; None: no matter, it stays as it was for the group before."""

    @property
    def name(self) -> str:
        """What the schedule counts it under."""
        return ", ".join(f"{key} {value}" for key, value in self.parameters.items())


Groups = Callable[[Mapping[str, Any]], Sequence[Group]]


def checker(groups: Groups) -> Callable[[Mapping[str, Any], Topology], None]:
    """The ``check`` of such an experiment: hot-l2's, three NVEs, and every group possible."""

    def check(values: Mapping[str, Any], topology: Topology) -> None:
        ways, each = groups(values), Gathered()
        with each:
            moving_vm.check({**values, "policy": ways[0].options.policy, "attachment": "rebind"}, topology)
        with each:
            check_three_nves(values, topology)
        for way in ways:
            with each:
                way.options.check("rebind")
        each.tell()

    return check


def check_three_nves(values: Mapping[str, Any], topology: Topology) -> None:
    """Refuse (ParameterError) a topology where no peer can stay at a third NVE."""
    if len(topology.nves) < 3:
        raise ParameterError(
            f"topology={values['topology']}: has {len(topology.nves)} NVEs; this needs three, one for the peer and two "
            "to move between"
        )


def check_family(values: Mapping[str, Any], topology: Topology) -> None:
    """Refuse (ParameterError) an IP version that the VM or its peer has no address of."""
    each = Gathered()
    for name in ("vm", "peer"):
        with each:
            moving_vm.vm_of(topology, name, values[name])
            try:
                address_of(topology, values[name], values["family"])
            except UnknownNameError as error:
                raise ParameterError(f"family={values['family']}: {error}") from None
    each.tell()


def places(run: Run) -> tuple[str, str]:
    """The two NVEs that the VM goes back and forth between: the first two at which its peer is not."""
    network = run.laboratory.network
    here, there = [name for name in network.nves if name != network.location[run.values["peer"]]][:2]
    return here, there


def comparison(groups: Groups, observe: Callable[[Run], Observe] | None = None) -> Callable[[Run], None]:
    """The ``trials`` of such an experiment; ``observe``: further measures of each trial, see ``Run.observe``."""

    def trials(run: Run) -> None:
        values, laboratory = run.values, run.laboratory
        vm = values["vm"]
        here, there = places(run)
        ways = {group.name: group for group in groups(values)}
        mix = Mix(list(ways), repetitions(values), values["seed"])
        run.expect(mix.wanted())
        run.observe = None if observe is None else observe(run)
        with run.traffic():
            if laboratory.network.location[vm] not in (here, there):
                laboratory.move(vm, here, policy="buffer")
            for name in mix.steps():
                if name == NULL:
                    mix.count(name, run.trial({}, None))
                    continue
                target = there if laboratory.network.location[vm] == here else here
                way = ways[name]
                if way.packet_in_limit_pps is not None:
                    laboratory.set_packet_in_limit(way.packet_in_limit_pps)
                move = partial(laboratory.move, vm, target, options=way.options)
                valid = run.trial(way.parameters, move, way.guarded_s, after_s=way.after_s)
                mix.count(name, valid)

    return trials
