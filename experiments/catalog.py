"""All experiments by name. One is there because its file is: `NAME.py`, or `NAME/study.py`, in a folder of studies.

Ours are in `experiments/studies/`; ``add_folder`` adds one of the user's (``STUDIES=folder``). A file is loaded when
its experiment is asked for, so that a run waits for its own only.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from experiments.running.captures import with_captures
from experiments.running.experiment import Experiment, StudyError, find_experiment
from experiments.running.guarding import with_guard

FOLDER = Path(__file__).parent / "studies"
_PACKAGE = f"{__package__}.studies"


def studies_in(folder: Path) -> dict[str, Path]:
    """The files of a folder's experiments by the experiments' names, sorted; what begins with `_` is none."""
    files = [*folder.glob("*.py"), *folder.glob("*/study.py")]
    found = {file: file.parent.name if file.name == "study.py" else file.stem for file in files}
    return {
        stem.replace("_", "-"): file
        for file, stem in sorted(found.items(), key=lambda item: item[1])
        if not stem.startswith("_")
    }


class Catalog(Mapping[str, Experiment]):
    """Experiments by name, each loaded when it is first asked for."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = studies_in(folder)
        self._loaded: dict[str, Experiment] = {}

    def add_folder(self, folder: Path) -> None:
        """Add a user's experiments. StudyError for what is no folder, or a name that is taken."""
        if not folder.is_dir():
            raise StudyError(f"STUDIES={folder}: there is no such folder; name one with your experiments")
        theirs = studies_in(folder)
        taken = [name for name, file in theirs.items() if self._files.get(name, file) != file]
        if taken:
            raise StudyError(
                f"{theirs[taken[0]]}: there is an experiment {taken[0]!r} already; rename the file and its experiment"
            )
        self._files |= theirs

    def opening(self, name: str) -> str:
        """The text that an experiment's file opens with, without its first line."""
        tree = ast.parse(self._files[name].read_text())
        return inspect.cleandoc(ast.get_docstring(tree) or "").partition("\n\n")[2]

    def find(self, name: str) -> Experiment:
        """The experiment of that name. UnknownExperimentError; StudyError for a file that cannot be loaded."""
        return find_experiment(self, name)

    def __getitem__(self, name: str) -> Experiment:
        if name not in self._loaded:
            self._loaded[name] = with_captures(with_guard(_experiment_of(name, self._files[name])))
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


EXPERIMENTS = Catalog()


def _experiment_of(name: str, file: Path) -> Experiment:
    module = _module(file)
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise StudyError(
            f"{file}: has no EXPERIMENT; end the file with EXPERIMENT = Experiment({name!r}, ...)"
        )
    if experiment.name != name:
        raise StudyError(
            f"{file}: its experiment is called {experiment.name!r}; a file's name is its experiment's, "
            f"with _ for -: call it {name!r}, or rename the file"
        )
    return experiment


def _module(file: Path) -> ModuleType:
    """The module of a file: one of this package, or a user's."""
    if file.is_relative_to(FOLDER):
        return importlib.import_module(".".join((_PACKAGE, *file.relative_to(FOLDER).with_suffix("").parts)))
    spec = importlib.util.spec_from_file_location(f"studies_of_the_user.{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody's file may do
        raise StudyError(f"{file}{_line_of(error, file)}: {type(error).__name__}: {error}") from error
    return module


def _line_of(error: Exception, file: Path) -> str:
    """`:12` for the last line of the file that the error went through; nothing when there is none."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f":{error.lineno}"
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f":{lines[-1]}" if lines else ""
