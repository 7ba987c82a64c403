"""The errors that are answers to a user's input or to a machine that lacks something: one clear text, status 2."""

from __future__ import annotations


def refusals() -> tuple[type[Exception], ...]:
    """Their types; each one's text says what, where, what is allowed, what to do."""
    from controller.client import NvaError
    from emulation.errors import EmulationError
    from experiments.attribution.packet_fates import AttributionError
    from experiments.probes.build import BuildError
    from experiments.probes.process import ProbeError
    from experiments.running.experiment import StudyError, UnknownExperimentError
    from experiments.running.parameters import ParameterError
    from mobility.policies import MigrationRefusedError
    from results.record.contract import RecordError
    from topologies import TopologyErrors, UnknownNameError

    return (
        AttributionError,
        BuildError,
        EmulationError,
        MigrationRefusedError,
        NvaError,
        ParameterError,
        ProbeError,
        RecordError,
        StudyError,
        TopologyErrors,
        UnknownExperimentError,
        UnknownNameError,
    )
