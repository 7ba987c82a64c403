"""QEMU's command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from image.boot import Guest, kernel_words, qemu_argv

GUEST = Guest(
    Path("/i/vmlinuz"),
    Path("/i/initrd"),
    Path("/i/root.sqfs"),
    "run",
    "tcg",
    Path("/d,1/data"),
    Path("/i/log"),
    2,
)


def words_after(argv: list[str], option: str) -> list[str]:
    return [argv[place + 1] for place, word in enumerate(argv) if word == option]


def test_nothing_of_the_host_but_the_named_files() -> None:
    argv = qemu_argv(GUEST)
    assert "-nodefaults" in argv and "-no-user-config" in argv
    assert not {"-netdev", "-nic", "-net", "-virtfs", "-vnc"} & set(argv)
    root, data = words_after(argv, "-drive")
    assert root == "file=/i/root.sqfs,if=virtio,format=raw,readonly=on"
    assert data.startswith("file=/d,,1/data,if=virtio")  # a comma is doubled


def test_the_accelerators_differ_in_nothing_else() -> None:
    tcg, kvm = qemu_argv(GUEST), qemu_argv(replace(GUEST, accelerator="kvm"))
    assert set(kvm) - set(tcg) == {"kvm", "host"}
    assert set(tcg) - set(kvm) == {"tcg,thread=multi,tb-size=1024", "max"}


def test_a_console_for_a_person_is_the_terminal() -> None:
    argv = qemu_argv(replace(GUEST, log=None, mode="shell"), {"term": "xterm", "rows": 50, "columns": 132})
    assert words_after(argv, "-serial") == ["chardev:console"]
    kernel = words_after(argv, "-append")[0].split()
    assert {"overland.mode=shell", "overland.term=xterm", "overland.rows=50", "overland.columns=132"} <= set(
        kernel
    )


def test_the_kernels_warnings_stay_out_of_a_persons_terminal() -> None:
    """Priorities below loglevel are printed: warnings are 4, errors 3."""
    levels = {
        mode: [word for word in kernel_words(replace(GUEST, mode=mode), {}).split() if "loglevel" in word]
        for mode in ("run", "shell")
    }
    assert levels == {"run": ["loglevel=6"], "shell": ["loglevel=4"]}


def test_the_guest_reads_the_words_it_is_told() -> None:
    """Every overland.NAME of the kernel's command line is known to one of the guest's scripts."""
    scripts = "".join(
        (Path(__file__).parents[2] / "image" / "guest" / name).read_text() for name in ("init", "main")
    )
    told = kernel_words(GUEST, {"term": "x", "rows": 1, "columns": 2}).split()
    for word in told:
        if word.startswith("overland."):
            assert f"{word.partition('=')[0]}=*)" in scripts, word
