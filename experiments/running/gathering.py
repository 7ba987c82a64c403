"""Checks of a run's parameters one beside the other, so that a user is told everything at once."""

from __future__ import annotations

from types import TracebackType

from emulation.errors import EmulationError
from experiments.running.parameters import ParameterError
from mobility.policies import MigrationRefusedError
from topologies import UnknownNameError

REFUSALS = (ParameterError, MigrationRefusedError, UnknownNameError, EmulationError)


class Gathered:
    """``with`` it around each check that can be made whatever the others say; ``tell`` raises what they refused."""

    def __init__(self) -> None:
        self._refused: list[Exception] = []

    def __enter__(self) -> None:
        """Begin a check."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Keep a refusal for later; anything else is no answer to the user's words and goes on."""
        if not isinstance(error, REFUSALS):
            return False
        self._refused.append(error)
        return True

    def tell(self) -> None:
        """Raise the one refusal as it is, several as one ParameterError with a line each, each once."""
        lines = dict.fromkeys(
            mistake
            for error in self._refused
            for mistake in (error.mistakes if isinstance(error, ParameterError) else (str(error),))
        )
        if len(lines) == 1:
            raise self._refused[0]
        if lines:
            raise ParameterError(*lines)
