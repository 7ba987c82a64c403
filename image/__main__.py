"""``python -m image VERB``: what the make targets call. Bad input or a missing tool: a clear text, exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.running.command_line import Command, end_on_sigterm, run_command
from experiments.running.parameters import taken
from image.errors import ImageError

if TYPE_CHECKING:
    from experiments.running.experiment import Experiment
    from image.accelerator import Choice
    from image.folder import Image

USAGE = (
    "usage: python -m image build | verify | disk\n"
    "       python -m image run EXPERIMENT [NAME=value ...] [ACCEL=auto|kvm|tcg]\n"
    "       python -m image evaluate [QUICK=1] [REPEAT=N] [ACCEL=..]\n"
    "       python -m image imports [ACCEL=..] | shell [ACCEL=..] | cli [TOPOLOGY] [NAME=value ...] [ACCEL=..]"
)

SHELL_GREETING = """Overland's VM image. The work tree is here, with all that it needs, such as
    {words}
Runs come back to the host's results/runs when you leave: exit.
"""


def _say(text: str) -> None:
    print(f"image: {text}", flush=True)


def _build(_words: Sequence[str]) -> int:
    from image.build import build
    from image.folder import FOLDER, Image

    if not build(Image(FOLDER), _say):
        _say("up to date")
    return 0


def _verify(_words: Sequence[str]) -> int:
    from image.folder import FOLDER, Image
    from image.verify import verify

    return verify(Image(FOLDER), _say)


def _disk(_words: Sequence[str]) -> int:
    from image.folder import FOLDER, Image, digest
    from image.self_booting import TRIED_WITH, build

    path = build(Image(FOLDER))
    _say(
        f"{path} ({path.stat().st_size / 1e6:.0f} MB, sha256 {digest(path)[:12]}); root, no password, to try it:"
    )
    print(f"{TRIED_WITH} -drive file={path},if=virtio,snapshot=on")
    return 0


def _run(words: Sequence[str]) -> int:
    from experiments.running.concluding import conclude
    from image.pace import gentler
    from image.project import PYTHON
    from image.running import run_inside

    wanted, rest = _asked(words)
    if not rest or "=" in rest[0]:
        raise ImageError("run which experiment? make image-run EXP=hot-l2 (make list shows them all)")
    experiment = check(rest)
    brought = _brought(next((word[9:] for word in reversed(rest) if word.startswith("topology=")), ""))
    image, results, choice = _ready(wanted)
    added = gentler(rest[1:], experiment.parameters, choice.accelerator)
    if added:
        _say(f"processors are emulated: {' '.join(added)} unless you say otherwise")
    argv = [PYTHON, "-m", "experiments", "record", *rest, *added]
    outcome = run_inside(image, argv, results, _say, choice, brought=brought)
    if not outcome.runs:
        return outcome.status or 1
    _say("drawing its report")
    return conclude(1 if outcome.status is None else outcome.status, outcome.runs[-1])


def check(words: Sequence[str]) -> Experiment:
    """Refuse what the guest would refuse, before it is booted; raises OverlandError."""
    from experiments.catalog import EXPERIMENTS
    from experiments.running.parameters import read_parameters
    from topologies import load_topology, topology_file

    experiment = EXPERIMENTS.find(words[0])
    values = read_parameters(experiment.parameters, words[1:])
    if "topology" in values:
        experiment.check(values, load_topology(topology_file(values["topology"])))
    return experiment


def _brought(topology: str) -> list[str]:
    """The topology file that is asked for, when the guest would not get it with the work tree."""
    from image.project import outside_of_tree
    from topologies import shipped, topology_file

    if not topology or topology in shipped() or not outside_of_tree(topology_file(topology)):
        return []
    _say(f"{topology} is not in the work tree: the guest gets a copy")
    return [topology]


def _evaluate(words: Sequence[str]) -> int:
    from image.evaluation import evaluate, read_length

    wanted, rest = _asked(words)
    length = read_length(rest)
    image, results, choice = _ready(wanted)
    return evaluate(image, results, _say, choice, length)


def _imports(words: Sequence[str]) -> int:
    from image.project import PYTHON
    from image.running import run_inside

    image, results, choice = _ready(_accelerator_alone(words))
    outcome = run_inside(image, [PYTHON, "-m", "image.imports"], results, _say, choice)
    return 1 if outcome.status is None else outcome.status


def _shell(words: Sequence[str]) -> int:
    from image.pace import first_try
    from image.running import check_terminal, interact_inside

    wanted = _accelerator_alone(words)
    check_terminal()
    image, results, choice = _ready(wanted)
    greeting = SHELL_GREETING.format(words=first_try(choice.accelerator))
    greeted = ["sh", "-c", 'printf %s "$1"; exec bash -l', "sh", greeting]
    return interact_inside(image, greeted, results, _say, choice)


def _cli(words: Sequence[str]) -> int:
    from experiments.console.session import read_words
    from image.project import PYTHON
    from image.running import check_terminal, interact_inside

    wanted, rest = _asked(words)
    _, values = read_words(rest)
    check_terminal()
    brought = _brought(rest[0] if rest and "=" not in rest[0] else "")
    if values["files"]:
        _say(f"{values['files']}: the guest gets a copy; what is written there is gone when it ends")
        brought.append(values["files"])
    image, results, choice = _ready(wanted)
    argv = [PYTHON, "-m", "experiments", "cli", *rest]
    return interact_inside(image, argv, results, _say, choice, brought)


def _asked(words: Sequence[str]) -> tuple[str, list[str]]:
    """The accelerator that is asked for, and the words that are left. Raises ImageError."""
    from image.accelerator import check_wanted

    wanted, rest = taken(words, "accel", "auto")
    check_wanted(wanted)
    return wanted, rest


def _accelerator_alone(words: Sequence[str]) -> str:
    """The accelerator that is asked for, and nothing else may be. Raises ImageError."""
    wanted, rest = _asked(words)
    if rest:
        raise ImageError(f"{rest[0]}: ACCEL=auto, kvm or tcg is all that can be said here")
    return wanted


def _ready(wanted: str) -> tuple[Image, Path, Choice]:
    """The image (built if there is none of this recipe: minutes), the host's results folder, the accelerator.

    Called when the words are known to be good.
    """
    from experiments.__main__ import results_folder
    from image.build import build
    from image.folder import FOLDER, Image
    from image.running import accelerator_for

    image = Image(FOLDER)
    build(image, _say)
    return image, results_folder(), accelerator_for(image, wanted)


COMMANDS: dict[str, Command] = {
    "build": _build,
    "verify": _verify,
    "disk": _disk,
    "run": _run,
    "imports": _imports,
    "shell": _shell,
    "cli": _cli,
    "evaluate": _evaluate,
}


def main(words: Sequence[str]) -> int:
    """Run one command; the exit status. A guest is ended in order, and what it wrote comes back, on SIGTERM too."""
    end_on_sigterm()
    return run_command(words, COMMANDS, USAGE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
