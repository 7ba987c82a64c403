"""A disk that boots by itself: syslinux on one FAT partition, which also holds kernel, initrd, root and the project.

For whoever wants a machine to log in to: any hypervisor with BIOS and virtio disks boots it. Made without root and
without mounting; the same for one image and one commit, byte for byte.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulation import commands, work_tree
from emulation.errors import CommandError
from image.boot import QUICKER
from image.errors import ImageError
from image.folder import BOOT_FILES, DISK_FILE, Image
from image.pace import PATIENCE, first_try
from image.recipe import EPOCH, PROJECT

SECTOR_BYTES = 512
FIRST_SECTOR = 2048
MBR_CODE = Path("/usr/lib/SYSLINUX/mbr.bin")
VOLUME_ID = 0x4F564C44
_FAT32_LBA = 0x0C

CONFIGURATION = f"""DEFAULT overland
LABEL overland
  LINUX vmlinuz
  INITRD initrd
  APPEND console=tty0 console=ttyS0 loglevel=4 panic=-1 {QUICKER} overland.root=/dev/vda1:root.sqfs overland.mode=login
"""

TRIED_WITH = "qemu-system-x86_64 -machine q35,hpet=off -cpu max -m 4096 -smp 2 -nographic"
"""How QEMU starts it. Its usual processor has no SSE4.2, without which numpy does not load."""

PROCESSORS: Mapping[str, tuple[int, str]] = {
    "tcg": (PATIENCE["tcg"], "its processors are emulated"),
    "kvm": (PATIENCE["kvm"], "KVM"),
    "hardware": (PATIENCE["kvm"], "neither TCG nor KVM"),
}
"""What the guest may find its processors to be: its patience, and why it says so in records."""

MACHINE = "/overland/machine.json"
"""In the project's folder, which every sandbox shows to what runs in it; of /run each has its own."""

_GREETING = """Overland's VM image ({why}). The project is in /overland:
    make list
    {words}
What is written here is in memory and gone at the end. `poweroff` ends the machine.
"""


def welcome(around: Mapping[str, Any]) -> str:
    """The script that the guest's login reads with $accelerator set, one of `PROCESSORS`.

    It tells records what the machine is (``around``: image and commit), bounds how long to wait, and greets.
    """
    cases = []
    for accelerator, (patience, why) in PROCESSORS.items():
        machine = {"accelerator": accelerator, "accelerator_why": f"booted by itself: {why}", **around}
        words = first_try("tcg" if accelerator == "tcg" else "kvm")
        files = {
            MACHINE: json.dumps(machine, sort_keys=True) + "\n",
            "/etc/motd": _GREETING.format(why=why, words=words),
        }
        written = [f"printf %s {shlex.quote(text)} >{path}" for path, text in files.items()]
        lines = [f"{accelerator})", f"export OVERLAND_PATIENCE={patience}", *written, ";;"]
        cases += lines
    return "\n".join([f"export OVERLAND_MACHINE={MACHINE}", "case $accelerator in", *cases, "esac", ""])


def size_sectors(files_bytes: int) -> int:
    """The partition's size: what it holds and a twentieth more for FAT's tables, in whole MiB."""
    mib = files_bytes * 21 // 20 // 2**20 + 8
    return mib * 2048


def partition_table(sectors: int, code: bytes) -> bytes:
    """The first sector: boot code, one active FAT partition (the PC's classic partition table)."""
    if len(code) > 440:
        raise ImageError(f"{MBR_CODE} is {len(code)} bytes long and 440 fit")
    entry = struct.pack(
        "<B3sB3sII", 0x80, b"\xfe\xff\xff", _FAT32_LBA, b"\xfe\xff\xff", FIRST_SECTOR, sectors
    )
    return code.ljust(440, b"\0") + struct.pack("<IH", VOLUME_ID, 0) + entry + bytes(48) + b"\x55\xaa"


def commands_for(raw: Path, files: list[Path], sectors: int, target: Path) -> list[list[str]]:
    """What fills the partition, in order."""
    inside = f"{raw}@@{FIRST_SECTOR * SECTOR_BYTES}"
    offset = ["--offset", str(FIRST_SECTOR)]
    return [
        [
            "mkfs.fat",
            "-F",
            "32",
            "-s",  # sectors of a cluster: smaller tables, and still as many clusters as FAT32 must have
            "4",
            "-i",
            f"{VOLUME_ID:08x}",
            "-n",
            "OVERLAND",
            "--invariant",
            *offset,
            str(raw),
            str(sectors // 2),
        ],
        ["mcopy", "-i", inside, "-m", *map(str, files), "::/"],
        ["syslinux", "--install", "--offset", str(FIRST_SECTOR * SECTOR_BYTES), str(raw)],
        ["qemu-img", "convert", "-m", "1", "-O", "qcow2", str(raw), str(target)],
    ]


def build(image: Image, folder: Path | None = None) -> Path:
    """Make the disk, beside the image or in ``folder``; its path. Raises ImageError."""
    if not MBR_CODE.exists():
        raise ImageError(f"{MBR_CODE} not found: run `./setup.sh image` (Debian: syslinux)")
    with tempfile.TemporaryDirectory(prefix="disk-", dir=image.folder) as name:
        scratch = Path(name)
        (scratch / "syslinux.cfg").write_text(CONFIGURATION)
        try:
            commands.run(
                ["git", "-C", str(PROJECT), "archive", "-o", str(scratch / "project.tar.gz"), "HEAD"]
            )
            files = [image.folder / file for file in BOOT_FILES]
            commit = work_tree.state(PROJECT)["commit"]
            around = {"image": image.record(), "commit": commit, "commit_changed": False}
            (scratch / "welcome").write_text(welcome(around))
            files += [scratch / name for name in ("project.tar.gz", "syslinux.cfg", "welcome")]
            sectors = size_sectors(sum(path.stat().st_size for path in files))
            raw = scratch / "disk.raw"
            with raw.open("wb") as disk:
                disk.write(partition_table(sectors, MBR_CODE.read_bytes()))
                disk.truncate((FIRST_SECTOR + sectors) * SECTOR_BYTES)
            for argv in commands_for(raw, _dated(files, scratch), sectors, scratch / DISK_FILE):
                commands.run(["env", f"SOURCE_DATE_EPOCH={EPOCH}", "TZ=UTC", *argv], timeout_s=120)
        except (OSError, CommandError) as error:
            raise ImageError(f"cannot make the disk that boots by itself: {error}") from None
        made = (folder or image.folder) / DISK_FILE
        shutil.move(scratch / DISK_FILE, made)
    return made


def _dated(files: list[Path], scratch: Path) -> list[Path]:
    """Copies of the files with times set, for FAT keeps them."""
    copies = scratch / "files"
    copies.mkdir()
    for path in files:
        shutil.copyfile(path, copies / path.name)
        os.utime(copies / path.name, (EPOCH, EPOCH))
    return sorted(copies.iterdir())
