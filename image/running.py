"""A run inside the image, from the command line to the run's folder on the host."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulation.sandbox import EndedBySignalError
from image import disk, machine, project
from image.accelerator import Choice, as_record, choose
from image.boot import Guest, Mode
from image.errors import ImageError
from image.folder import Image
from image.pace import PATIENCE
from image.scratch import scratch_folder
from results.record.files import point_link
from results.record.ownership import give_to_owner_of, make_folder

Say = Callable[[str], None]
MOST_PROCESSORS = 8  # more make TCG no faster


@dataclass(frozen=True)
class Outcome:
    """How a guest ended. ``status``: of its command, None when there is none; ``runs``: folders brought back."""

    status: int | None
    trouble: str | None
    runs: list[Path]


def accelerator_for(image: Image, wanted: str) -> Choice:
    """KVM where it boots the image, else TCG; ``wanted``: auto, kvm or tcg. Raises ImageError."""
    image.record()
    machine.qemu_version()
    return choose(wanted, image, machine.probe)


def run_inside(
    image: Image,
    argv: Sequence[str],
    results: Path,
    say: Say,
    choice: Choice,
    *,
    brought: Sequence[str] = (),
    show: Say = print,
) -> Outcome:
    """Boot, run ``argv`` in the project's folder, bring its runs into ``results``/runs. Raises ImageError.

    ``brought``: paths of files beside the work tree that the guest gets too, see `image.project.lay_out`.

    When the guest dies or hangs, what was written is brought back all the same and its console's log is kept.
    """
    with _prepared(image, argv, say, choice, "run", brought) as guest:
        say("booting")
        started_s = time.monotonic()
        began_s: list[float] = []

        def shown(line: str) -> None:
            began_s.append(time.monotonic() - started_s)
            show(line)

        try:
            console, trouble = machine.follow(guest, shown)
        except (KeyboardInterrupt, EndedBySignalError) as ended:
            runs = _bring_back(guest, results)
            how = str(ended) or "interrupted"
            after_s = time.monotonic() - started_s
            say(f"{how} after {after_s:.0f} s; what there was of it: {_names(runs)}")
            raise
        runs = _bring_back(guest, results)
        if trouble is not None:
            say(f"{trouble}; its console: {_keep(guest, image)}; brought back: {_names(runs)}")
        whole_s = time.monotonic() - started_s
        say(f"{began_s[0] if began_s else whole_s:.0f} s until its first word, {whole_s:.0f} s in all")
        return Outcome(console.status, trouble, runs)


def check_terminal() -> None:
    """ImageError where there is no terminal to be a guest's console."""
    if not (os.isatty(0) and os.isatty(1)):
        raise ImageError("the image's console needs a terminal: run this in one, not in a pipe")


def interact_inside(
    image: Image, argv: Sequence[str], results: Path, say: Say, choice: Choice, brought: Sequence[str] = ()
) -> int:
    """The same with this terminal as the guest's console."""
    with _prepared(image, argv, say, choice, "shell", brought) as guest:
        size = shutil.get_terminal_size()
        terminal: dict[str, str | int] = {"rows": size.lines, "columns": size.columns}
        terminal["term"] = os.environ.get("TERM", "vt100")
        say("booting; Ctrl-A x ends the machine at any time")
        status = machine.interact(guest, terminal)
        runs = _bring_back(guest, results)
        if runs:
            say(f"brought back: {_names(runs)}")
        return status


@contextmanager
def _prepared(
    image: Image, argv: Sequence[str], say: Say, choice: Choice, mode: Mode, brought: Sequence[str]
) -> Iterator[Guest]:
    """Data disk and guest; the disk and the log are gone afterwards."""
    qemu = machine.qemu_version()
    record = image.record()
    if problem := disk.free_space_problem(image.folder):
        raise ImageError(problem)
    say(f"{choice.accelerator} ({choice.why}); image {record['hash'][:12]}, kernel {record['kernel']}")
    processors = min(MOST_PROCESSORS, len(os.sched_getaffinity(0)))
    facts = {
        **as_record(choice),
        **project.commit(),
        "image": record,
        "host": {"kernel": os.uname().release, "processors": os.cpu_count(), "qemu": qemu},
    }
    with scratch_folder(image.folder) as scratch:
        contents, data = scratch / "contents", scratch / "data.ext4"
        contents.mkdir()
        project.lay_out(contents, argv, facts, PATIENCE[choice.accelerator], brought)
        disk.make(data, contents)
        log = None if mode == "shell" else scratch / "console.log"
        files = (image.kernel, image.initrd, image.root)
        yield Guest(*files, mode, choice.accelerator, data, log, processors)


def _bring_back(guest: Guest, results: Path) -> list[Path]:
    """The runs' folders, into results/runs; ``latest`` points to the newest."""
    assert guest.data is not None
    make_folder(results / "runs")
    runs = disk.read_back(guest.data, "/results/runs", results / "runs")
    for run in runs:
        for path in [run, *run.rglob("*")]:
            give_to_owner_of(results, path)
    if runs:
        point_link(results / "latest", f"runs/{runs[-1].name}")
    return runs


def _keep(guest: Guest, image: Image) -> Path:
    kept = image.folder / f"console-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.log"
    assert guest.log is not None
    shutil.copyfile(guest.log, kept)
    return kept


def _names(runs: Sequence[Path]) -> str:
    return ", ".join(run.name for run in runs) or "nothing, no run had begun"
