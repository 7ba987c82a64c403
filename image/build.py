"""Builds the image: root file system, kernel, initrd, manifest. Nothing is done again whose inputs are the same."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from emulation import commands
from emulation.errors import CommandError
from image import recipe
from image.errors import ImageError
from image.folder import BOOT_FILES, Image, digests, locked

Say = Callable[[str], None]
LARGEST_BYTES = 250_000_000


def build(image: Image, say: Say, *, afresh: bool = False) -> bool:
    """Bring the image up to date with this commit's recipe; whether anything was built. Raises ImageError."""
    missing = [tool for tool in ("mmdebstrap", "mksquashfs", "cpio") if shutil.which(tool) is None]
    if missing:
        raise ImageError(f"{', '.join(missing)} not found: run `./setup.sh image`")
    with locked(image.folder):
        key = recipe.recipe_key()
        initrd_key = _initrd_key()
        before = image.manifest() or {}
        if not afresh and before.get("recipe") == key:
            if before.get("initrd_recipe") == initrd_key:
                return False
            _finish(image, before, initrd_key, say)
            return True
        image.manifest_path.unlink(missing_ok=True)
        started_s = time.monotonic()
        packages = _make_root(image.folder, say)
        requirements = (recipe.PROJECT / "requirements.txt").read_bytes()
        _finish(
            image,
            {
                "format": 1,
                "recipe": key,
                "suite": recipe.SUITE,
                "epoch": recipe.EPOCH,
                "kernel": (image.folder / "parts" / "release").read_text().strip(),
                "packages": packages,
                "packages_sha256": hashlib.sha256(json.dumps(packages).encode()).hexdigest(),
                "requirements_sha256": hashlib.sha256(requirements).hexdigest(),
            },
            initrd_key,
            say,
        )
        size_mb = sum((image.folder / name).stat().st_size for name in BOOT_FILES) / 1e6
        say(f"built in {time.monotonic() - started_s:.0f} s: {image.folder}, {size_mb:.0f} MB")
        return True


def _finish(image: Image, manifest: dict[str, object], initrd_key: str, say: Say) -> None:
    """The initrd, the hashes, the manifest."""
    say("initrd")
    _make_initrd(image.folder)
    files = digests(image.folder)
    sizes = {name: (image.folder / name).stat().st_size for name in BOOT_FILES}
    whole = {
        **manifest,
        "initrd_recipe": initrd_key,
        "hash": files.pop("all"),
        "files": files,
        "bytes": sizes,
    }
    temporary = image.manifest_path.with_suffix(".new")
    temporary.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    temporary.replace(image.manifest_path)


def _make_root(folder: Path, say: Say) -> dict[str, str]:
    """root.sqfs, vmlinuz and the parts of the initrd; the packages' versions."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # In a user's namespace mmdebstrap reads and writes as another user.
        Path(scratch).chmod(0o755)
        tar, wheels = Path(scratch) / "root.tar", Path(scratch) / "wheels"
        say("fetching the Python packages of requirements.txt")
        _run(recipe.wheels_argv(sys.executable, wheels), 300)
        shutil.copy(recipe.PROJECT / "requirements.txt", wheels)
        say(f"bootstrapping Debian {recipe.SUITE} with {len(recipe.packages())} packages, two minutes")
        targets = commands.run(
            [
                "apt-get",
                "indextargets",
                "Created-By: Packages",
                "Origin: Debian",
                "--format",
                recipe.INDEX_FORMAT,
            ]
        )
        fixed = [f"SOURCE_DATE_EPOCH={recipe.EPOCH}", "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8"]
        _run(["env", *fixed, *recipe.bootstrap_argv(tar, wheels, recipe.mirror_lines(targets))], 900)
        packages = _take_parts(tar, folder)
        # QEMU gets the kernel from outside, and it is compressed already.
        _run(["tar", "--delete", "-f", str(tar), "--wildcards", "./boot/vmlinuz-*"], 60)
        say(f"squashing {tar.stat().st_size / 1e6:.0f} MB, about a minute")
        squashed = Path(scratch) / "root.sqfs"
        _squash(tar, squashed)
        squashed.replace(folder / "root.sqfs")
        return packages


def _squash(tar: Path, target: Path) -> None:
    _run(["sh", "-c", 'tar=$1; shift; exec "$@" <"$tar"', "sh", str(tar), *recipe.squashfs_argv(target)], 600)


def _take_parts(tar: Path, folder: Path) -> dict[str, str]:
    """What the initrd is made of, and the kernel, out of the root's tar file."""
    parts = folder / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    (parts / "modules").mkdir(parents=True)
    with tarfile.open(tar) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}

        def content(name: str) -> bytes:
            file = archive.extractfile(members[name])
            if file is None:
                raise ImageError(f"the root file system has no file {name}")
            return file.read()

        kernel = next(name for name in members if name.startswith("boot/vmlinuz-"))
        release = kernel.removeprefix("boot/vmlinuz-")
        (folder / "vmlinuz").write_bytes(content(kernel))
        (parts / "release").write_text(release)
        (parts / "busybox").write_bytes(
            content("bin/busybox" if "bin/busybox" in members else "usr/bin/busybox")
        )
        base = next(
            name for name in members if name.endswith(f"lib/modules/{release}/modules.dep")
        ).removesuffix("/modules.dep")
        order = recipe.module_order(content(f"{base}/modules.dep").decode(), recipe.INITRD_MODULES)
        for path in order:
            (parts / "modules" / Path(path).name).write_bytes(content(f"{base}/{path}"))
        (parts / "modules" / "order").write_text("".join(f"{Path(path).name}\n" for path in order))
        return recipe.package_versions(content("var/lib/dpkg/status").decode())


def _initrd_key() -> str:
    return hashlib.sha256(
        b"".join((recipe.GUEST / name).read_bytes() for name in ("init", "main"))
    ).hexdigest()


def _make_initrd(folder: Path) -> None:
    """The initrd's tree, then cpio; sorted, times set, owned by root."""
    parts = folder / "parts"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree = Path(scratch)
        for name in ("bin", "dev", "proc", "sys", "lower", "upper", "root", "boot"):
            (tree / name).mkdir()
        shutil.copyfile(parts / "busybox", tree / "bin" / "busybox")
        shutil.copytree(parts / "modules", tree / "modules")
        for name in ("init", "main"):
            shutil.copyfile(recipe.GUEST / name, tree / name)
        for path in (tree / "bin" / "busybox", tree / "init", tree / "main"):
            path.chmod(0o755)
        names = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*"))
        for name in names:
            (tree / name).chmod(
                0o755 if (tree / name).is_dir() or name in ("init", "main", "bin/busybox") else 0o644
            )
            os.utime(tree / name, (recipe.EPOCH, recipe.EPOCH))
        script = 'cd "$1" && cpio --quiet -o -H newc --reproducible -R 0:0 | gzip -n -9 >"$2"'
        commands.run(
            ["sh", "-c", script, "sh", str(tree), str(folder / "initrd.new")], stdin="\n".join(names) + "\n"
        )
    (folder / "initrd.new").replace(folder / "initrd")


def _run(argv: list[str], timeout_s: float) -> None:
    try:
        commands.run(argv, node="image", timeout_s=timeout_s)
    except CommandError as error:
        said = "\n".join(error.stderr.strip().splitlines()[-12:])
        raise ImageError(f"{argv[0]} failed with status {error.exit_code}:\n{said}") from None
