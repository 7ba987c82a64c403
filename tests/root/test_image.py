"""The VM image itself, booted: an experiment over a delay on the kernel datapath, a guest that dies, its disk.

The image is built when there is none of this recipe (three minutes). Under TCG a boot takes 10 s, the
experiment two minutes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from image import self_booting
from image.build import build
from image.folder import FOLDER, Image
from image.machine import DIES_WITH_US
from image.project import PYTHON
from image.running import accelerator_for, run_inside
from results.record.reading import load_record

pytestmark = pytest.mark.root

TOOLS = ("mmdebstrap", "mksquashfs", "cpio", "qemu-system-x86_64", "debugfs")


@pytest.fixture(scope="module")
def image() -> Image:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: ./setup.sh image installs what the VM image needs")
    made = Image(FOLDER)
    build(made, print)
    return made


def test_an_experiment_over_a_delay_runs_inside(image: Image, tmp_path: Path) -> None:
    """external-client with the client 20 ms away: netem and the kernel's openvswitch, which this host may not have.

    One way takes at least the 20 ms of the link; the rest of the path and the emulated processor only add to it.
    """
    words = [
        "external-client",
        "topology=outside_wan",
        "quick=1",
        "repeat=1",
        "rate_pps=200",
        "tcp_rate=0",
    ]
    shown: list[str] = []
    outcome = run_inside(
        image,
        [PYTHON, "-m", "experiments", "record", *words],
        tmp_path,
        print,
        accelerator_for(image, "auto"),
        show=shown.append,
    )
    assert outcome.trouble is None, shown
    record = load_record(outcome.runs[0])
    around = record.environment
    assert (around["datapath"], around["image"]["hash"]) == ("kernel", image.record()["hash"])
    assert around["accelerator"] in ("kvm", "tcg") and around["command"].startswith(
        "make image-run EXP=external-client"
    )
    assert around["delay_backend"] == "netem"
    assert any("kernel datapath" in line for line in shown)
    assert record.trials, record.why
    for trial in record.trials:
        assert trial["measures"]["delay_median_s_to_vm"] >= 0.020
        assert trial["measures"]["delay_median_s_from_vm"] >= 0.020


def test_a_guest_that_dies_is_said_and_what_it_wrote_comes_back(image: Image, tmp_path: Path) -> None:
    program = (
        "mkdir -p /data/results/runs/half && echo '{}' >/data/results/runs/half/record.json && sync && "
        "echo before && sleep 1 && echo 1 >/proc/sys/kernel/sysrq && echo c >/proc/sysrq-trigger; sleep 60"
    )
    said: list[str] = []
    outcome = run_inside(
        image, ["sh", "-c", program], tmp_path, said.append, accelerator_for(image, "auto"), show=print
    )
    assert outcome.status is None
    assert outcome.trouble is not None and outcome.trouble.startswith("the guest died: Kernel panic")
    assert [path.name for path in outcome.runs] == ["half"]
    assert (tmp_path / "runs" / "half" / "record.json").read_text() == "{}\n"
    line = next(line for line in said if "died" in line)
    kept = Path(line.partition("its console: ")[2].partition(";")[0])
    assert "Kernel panic" in kept.read_text()
    kept.unlink()


TOLD = """
import sys
from pathlib import Path
import controller.framework, experiments.catalog
from emulation.sandbox import run_in_sandbox
from experiments.running import start, surroundings
def told():
    print("t" + "old:", surroundings._told_of_machine()["image"]["hash"], surroundings.bounds_here().lag_s, flush=True)
    return 0
sys.exit(run_in_sandbox(told, keep=start.keep_visible(Path("results").absolute())))
"""


def test_the_disk_boots_by_itself_and_runs_there_know_the_image(image: Image, tmp_path: Path) -> None:
    """As `make image-disk` says to try it; what a run needs is imported, for a processor may be too old for numpy.

    In a sandbox as a run's own, whose /run and /tmp are not those outside. And make finds all that it needs.
    """
    commands_there = (
        f".venv/bin/python -c {shlex.quote(TOLD)}",
        "make list EXP=hot-l2 | head -n 3",
        "poweroff",
    )
    argv = [*shlex.split(self_booting.TRIED_WITH), "-drive"]
    argv += [f"file={self_booting.build(image, tmp_path)},if=virtio,snapshot=on"]
    ready, said = "poweroff` ends the machine", ""
    with subprocess.Popen([*DIES_WITH_US, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guest:
        assert guest.stdin is not None and guest.stdout is not None
        giving_up = threading.Timer(240, guest.kill)  # 12 s to its prompt and 20 s to its end under TCG
        giving_up.start()
        try:
            asked = False
            while data := os.read(guest.stdout.fileno(), 65536):
                said += data.decode(errors="replace")
                if ready in said and not asked:
                    guest.stdin.write("".join(f"{line}\n" for line in commands_there).encode())
                    guest.stdin.flush()
                    asked = True
        finally:
            giving_up.cancel()
            guest.kill()
    lag_s = 0.1 if "(its processors are emulated)" in said else 0.02
    assert f"told: {image.record()['hash']} {lag_s}" in said, said[-2000:]
    assert "installing" not in said and "Question" in said.rpartition("make list")[2], said[-2000:]
