"""What the image is made of: one list of packages, reproducible commands, keys that follow the inputs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from image import recipe, verify
from image.self_booting import FIRST_SECTOR, commands_for, partition_table, size_sectors, welcome

ROOT = Path(__file__).resolve().parents[2]


def test_set_up_and_image_read_one_list_of_packages() -> None:
    setup = (ROOT / "setup.sh").read_text()
    assert "packages=$(list packages.txt)" in setup
    assert "list image/host-packages.txt" in setup
    wanted = recipe.lines_of(ROOT / "packages.txt")
    assert {"mininet", "openvswitch-switch", "gcc"} <= set(wanted)
    assert set(wanted) <= set(recipe.packages())
    assert len(recipe.packages()) == len(set(recipe.packages()))
    for name in recipe.packages():
        assert re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name), name


def test_the_root_is_made_of_the_locked_packages_alone() -> None:
    argv = recipe.wheels_argv("python", Path("w"))
    assert "--require-hashes" in argv and argv[-1] == str(ROOT / "requirements.txt")
    install = next(hook for hook in recipe.bootstrap_argv(Path("t"), Path("w"), ()) if "pip install" in hook)
    assert "--no-index" in install and "--no-deps" in install


def test_no_mirror_is_named_in_the_recipe() -> None:
    assert not re.search(r"https?://", " ".join(recipe.bootstrap_argv(Path("t"), Path("w"), ())))


def test_mirrors_are_those_of_the_machine() -> None:
    said = "http://m/debian/ bookworm main \nhttp://m/debian/ bookworm contrib \nhttp://s/ bookworm-security main \n"
    said += "http://m/debian/ bookworm main \nhttp://n/ nodistro main \nhttp://m/debian/ trixie main \n"
    assert recipe.mirror_lines(said) == [
        "deb http://m/debian/ bookworm main",
        "deb http://s/ bookworm-security main",
    ]
    assert recipe.mirror_lines("") == []


def test_the_key_follows_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe.recipe_key()
    assert recipe.recipe_key() == before
    monkeypatch.setattr(recipe, "SQUASHFS_LEVEL", 3)
    level = recipe.recipe_key()
    monkeypatch.setattr(recipe, "packages", lambda: ["one"])
    assert len({before, level, recipe.recipe_key()}) == 3


def test_modules_are_loaded_after_what_they_need() -> None:
    dependencies = "k/a-b.ko: k/c.ko k/d.ko\nk/c.ko: k/d.ko\nk/d.ko:\nk/other.ko:\n"
    assert recipe.module_order(dependencies, ["a_b", "built_in", "c"]) == ["k/d.ko", "k/c.ko", "k/a-b.ko"]


def test_versions_from_dpkgs_status() -> None:
    status = (
        "Package: b\nStatus: install ok\nVersion: 2:1-1\nDescription: x\n y: z\n\nPackage: a\nVersion: 3\n"
    )
    assert recipe.package_versions(status) == {"a": "3", "b": "2:1-1"}


def test_two_builds_are_told_apart() -> None:
    one = {"packages": {"a": "1"}, "files": {"initrd": "x", "vmlinuz": "y"}}
    other = {"packages": {"a": "2", "b": "1"}, "files": {"initrd": "x", "vmlinuz": "z"}}
    assert verify.differing_files(one, one) == [] and verify.packages_moved(one, one) == ""
    assert verify.differing_files(one, other) == ["vmlinuz"]
    assert verify.packages_moved(one, other) == "a 1 -> 2, b None -> 1"
    assert recipe.image_hash(one["files"]) != recipe.image_hash(other["files"])


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="squashfs-tools is not installed")
def test_the_roots_own_folder_has_no_clock_and_no_builder_in_it(tmp_path: Path) -> None:
    """mksquashfs does not take it from the tar file: left alone, it is the builder's and of the moment, mode 777."""
    (tmp_path / "in").mkdir(mode=0o700)
    subprocess.run(["tar", "-cf", tmp_path / "tar", "-C", tmp_path / "in", "."], check=True)
    with (tmp_path / "tar").open() as tar:
        subprocess.run(recipe.squashfs_argv(tmp_path / "sqfs"), stdin=tar, check=True, capture_output=True)
    said = subprocess.run(
        ["unsquashfs", "-llnumeric", "-UTC", str(tmp_path / "sqfs")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    words = said.splitlines()[-1].split()
    assert (words[0], words[1], *words[3:5]) == ("drwxr-xr-x", "0/0", "2023-11-14", "22:13")


def test_the_partition_table_is_the_classic_one() -> None:
    sectors = size_sectors(200_000_000)
    table = partition_table(sectors, b"\xfa" * 440)
    assert len(table) == 512 and table[510:] == b"\x55\xaa"
    entry = table[446:462]
    assert entry[0] == 0x80 and int.from_bytes(entry[8:12], "little") == FIRST_SECTOR
    assert int.from_bytes(entry[12:16], "little") == sectors and sectors * 512 > 200_000_000 * 1.05
    assert table[462:510] == bytes(48)
    with pytest.raises(recipe_error(), match="440 fit"):
        partition_table(sectors, bytes(441))


def test_the_disks_file_system_has_no_clock_in_it() -> None:
    format_fat, copy, *_ = commands_for(Path("r"), [Path("a")], 4096, Path("t"))
    assert "--invariant" in format_fat and "-i" in format_fat
    assert "-m" in copy  # keeps the files' times, which are set


def recipe_error() -> type[Exception]:
    from image.errors import ImageError

    return ImageError


@pytest.mark.parametrize(
    ("accelerator", "patience", "words"),
    [
        ("tcg", "10", "quick=1 rate_pps=200 tcp_rate=1Mbit"),
        ("kvm", "2", "quick=1"),
        ("hardware", "2", "quick=1"),
    ],
)
def test_whoever_logs_in_to_the_disk_is_told_what_fits_its_processors(
    tmp_path: Path, accelerator: str, patience: str, words: str
) -> None:
    script = welcome({"commit": "it's one"}).replace("/overland/machine", f"{tmp_path}/machine")
    script = script.replace("/etc/", f"{tmp_path}/")
    shown = subprocess.run(
        [
            "sh",
            "-eu",
            "-c",
            f"accelerator={accelerator}\n{script}\necho $OVERLAND_PATIENCE $OVERLAND_MACHINE",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == [patience, f"{tmp_path}/machine.json"]
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert (machine["accelerator"], machine["commit"]) == (accelerator, "it's one")
    assert f"make hot-l2 {words}\n" in (tmp_path / "motd").read_text()
