"""A guest's life as the host sees it, with a shell script in QEMU's place; and the choice of the accelerator."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from emulation.commands import wait_until
from image import accelerator, machine
from image.boot import Guest
from image.console import Patience
from image.errors import ImageError
from image.folder import BOOT_FILES, Image

SHORT = Patience(0.4, 0.4)


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path / "k", tmp_path / "i", tmp_path / "r", "run", "tcg", log=tmp_path / "console.log")


def qemu_is(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(machine, "qemu_argv", lambda guest: ["sh", "-c", script, "sh", str(guest.log)])


def test_lines_are_shown_while_it_runs(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script goes on only when the first line was shown; it fails after 5 s without."""
    mark = guest.root.with_name("shown")
    qemu_is(
        monkeypatch,
        'printf "overland: up 1\\noverland: start 2\\nfirst\\n" >>"$1"; n=0; '
        f"until [ -e {mark} ]; do n=$((n+1)); [ $n -lt 100 ] || exit 9; sleep 0.05; done; "
        'printf "overland: end 4\\n" >>"$1"',
    )
    shown: list[str] = []

    def show(line: str) -> None:
        shown.append(line)
        mark.touch()

    console, trouble = machine.follow(guest, show, Patience(10, 10))
    assert (shown, console.status, trouble) == (["first"], 4, None)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exec sleep 60", "no sign of life from its kernel"),
        ('printf "overland: up 1\\n" >>"$1"; exec sleep 60', "it hangs: nothing on its console"),
        (
            "echo no such machine >&2; exit 3",
            "QEMU ended with status 3 before the guest's kernel came up (no such machine)",
        ),
        (
            'printf "overland: up 1\\noverland: start 2\\n" >>"$1"',
            "the guest died before its command had ended",
        ),
    ],
)
def test_a_guest_that_does_not_end_well(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    qemu_is(monkeypatch, script)
    began_s = time.monotonic()
    _, trouble = machine.follow(guest, print, SHORT)
    assert trouble is not None and says in trouble
    assert time.monotonic() - began_s < 10


def test_no_guest_outlives_its_runner(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that is killed cannot end its guest itself."""
    qemu_is(monkeypatch, 'echo $$ >"$1.pid"; exec sleep 60')
    written = Path(f"{guest.log}.pid")
    runner = os.fork()
    if runner == 0:
        try:
            machine.follow(guest, print, Patience(60, 60))
        finally:
            os._exit(1)
    wait_until(lambda: written.exists() and written.read_text().strip(), 10.0, "the guest")
    there = Path("/proc", written.read_text().strip())
    assert there.exists()
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)
    wait_until(lambda: not there.exists(), 5.0, "the guest's end")


def test_a_probe_says_why_there_is_no_guest(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu_is(monkeypatch, 'printf "overland: up 1\\n" >>"$1"')
    assert machine.probe(guest) is None
    qemu_is(monkeypatch, "exit 1")
    assert "before the guest's kernel came up" in (machine.probe(guest) or "")


@pytest.fixture
def image(tmp_path: Path) -> Image:
    for name in BOOT_FILES:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "manifest.json").write_text(json.dumps({"hash": "abc"}))
    return Image(tmp_path)


def test_kvm_is_tried_once_for_each_start_of_the_host(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "device_problem", lambda: None)
    tried: list[Guest] = []

    def hangs(guest: Guest) -> str | None:
        tried.append(guest)
        return "no sign of life from its kernel for 10 s"

    for _ in range(2):
        choice = accelerator.choose("auto", image, hangs)
        assert choice == accelerator.Choice("tcg", "no KVM: no sign of life from its kernel for 10 s")
    assert [(guest.mode, guest.accelerator) for guest in tried] == [("probe", "kvm")]
    with pytest.raises(ImageError, match="ACCEL=kvm: no sign of life"):
        accelerator.choose("kvm", image, hangs)
    memory = json.loads((image.folder / "kvm.json").read_text())
    (image.folder / "kvm.json").write_text(json.dumps({**memory, "boot": "another"}))
    assert accelerator.choose("auto", image, lambda guest: None).accelerator == "kvm"


def test_tcg_is_taken_without_a_try_where_kvm_is_not_there(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "device_problem", lambda: "/dev/kvm does not exist")

    def must_not(guest: Guest) -> str | None:
        raise AssertionError("probed")

    assert accelerator.choose("auto", image, must_not).why == "no KVM: /dev/kvm does not exist"
    assert accelerator.choose("tcg", image, must_not).accelerator == "tcg"
    with pytest.raises(ImageError, match="allowed are auto, kvm, tcg"):
        accelerator.choose("xen", image, must_not)


def test_an_image_that_is_not_whole_is_none(image: Image) -> None:
    assert image.manifest() == {"hash": "abc"}
    image.initrd.unlink()
    assert image.manifest() is None
    with pytest.raises(ImageError, match="make image"):
        image.record()
