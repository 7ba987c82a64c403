"""What the image is made of and by which commands. Pure but for reading this project's own files.

Byte-reproducible: nothing in it comes from a clock or the machine that builds. Times are `EPOCH`; Python's programs
are compiled with their source's hash and not checked again (PEP 552), since times of files are cut to `EPOCH`; the
order of files is tar's sorted one; the names of mirrors are taken out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
RECIPE = Path(__file__).resolve().parent
GUEST = RECIPE / "guest"
SUITE = "bookworm"
EPOCH = 1_700_000_000  # seconds since 1970; any fixed moment would do
VENV = "/opt/venv"
SQUASHFS_LEVEL = 12  # of zstd
SQUASHFS_BLOCK = "256K"

INITRD_MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "squashfs",
    "overlay",
    # the disk that boots by itself keeps the root as a file on FAT
    "loop",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
)

_EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")

_COMPILED = ("/usr/lib/python3.11", "/usr/lib/python3/dist-packages", f"{VENV}/lib")


def lines_of(path: Path) -> list[str]:
    """The lines of a list such as packages.txt; what follows a # is a remark."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def packages() -> list[str]:
    """All packages asked for in the image: those of experiments anywhere, and the image's own."""
    return [*lines_of(PROJECT / "packages.txt"), *lines_of(RECIPE / "packages.txt")]


def recipe_key() -> str:
    """A hash of all that the root file system follows from, but for the state of the package archive."""
    parts = [
        (PROJECT / "requirements.txt").read_text(),
        json.dumps(packages()),
        json.dumps(bootstrap_argv(Path("root.tar"), Path("wheels"), ())),
        json.dumps(squashfs_argv(Path("root.sqfs"))),
        json.dumps(INITRD_MODULES),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def wheels_argv(python: str, wheels: Path) -> list[str]:
    """The command that fetches the locked Python packages, each held against its hash, as wheels.

    One of them exists as source alone and is built here, with this machine's Python.
    """
    words = ["wheel", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-w", str(wheels)]
    return [python, "-m", "pip", *words, "-r", str(PROJECT / "requirements.txt")]


def bootstrap_argv(tar: Path, wheels: Path, mirrors: Sequence[str]) -> list[str]:
    """The mmdebstrap command that makes the root file system as a tar file.

    ``mirrors``: lines for apt's sources.list; none: mmdebstrap's own. Runs as root, or as a user who may make
    user namespaces.
    """
    compiled = " & ".join(
        f'chroot "$1" {VENV}/bin/python -m compileall -q -f --invalidation-mode unchecked-hash '
        f"-x '/(lib2to3|test)/' {folder} >/dev/null"
        for folder in _COMPILED
    )
    pip = f"{VENV}/bin/pip install -q --disable-pip-version-check --no-compile --no-index --no-deps --no-cache-dir"
    hooks = [
        f"copy-in {wheels} /tmp",
        f'chroot "$1" python3 -m venv --system-site-packages {VENV}',
        # setup.sh, which make runs, then finds nothing to do.
        f'chroot "$1" cp /tmp/{wheels.name}/requirements.txt {VENV}/.installed-requirements',
        f'chroot "$1" sh -c "{pip} /tmp/{wheels.name}/*.whl"',
        f'find "$1"{VENV}/lib -depth -type d -name tests -exec rm -rf {{}} +',
        'cd "$1" && rm -rf ' + " ".join(lines_of(RECIPE / "left-out.txt")),
        'for modules in "$1"/usr/lib/modules/*; do chroot "$1" depmod "${modules##*/}"; done',
        f"{compiled} & wait",
        'cd "$1" && : >etc/machine-id && : >etc/resolv.conf && echo overland >etc/hostname && '
        "echo '127.0.0.1 localhost overland' >etc/hosts",
    ]
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=apt",
        f"--include={','.join(packages())}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED),
        *(f"--customize-hook={hook}" for hook in hooks),
        SUITE,
        str(tar),
        *mirrors,
    ]


def mirror_lines(index_targets: str) -> list[str]:
    """Lines for sources.list from what ``apt-get indextargets`` says in ``INDEX_FORMAT``, of our suite alone.

    So the image comes from where the machine's own packages come from: a snapshot, a mirror nearby.
    """
    found = []
    for line in index_targets.splitlines():
        uri, _, release = line.partition(" ")
        suite, _, component = release.partition(" ")
        if re.fullmatch(rf"{SUITE}(-updates|-security)?", suite) and component.strip() == "main":
            found.append(f"deb {uri} {suite} main")
    return sorted(set(found))


INDEX_FORMAT = "$(REPO_URI) $(CODENAME) $(COMPONENT)"


def squashfs_argv(target: Path) -> list[str]:
    """Make the read-only root of a tar file on standard input."""
    level = ["-Xcompression-level", str(SQUASHFS_LEVEL), "-b", SQUASHFS_BLOCK]
    words = ["-tar", "-comp", "zstd", *level, "-reproducible", "-quiet", "-no-progress", "-noappend"]
    # The root's own folder is not taken from the tar file: it would be the builder's and of this moment.
    root = ["-root-mode", "755", "-root-uid", "0", "-root-gid", "0"]
    # The variable is for all times; the option -root-time has no effect on what comes from a tar file (4.5.1).
    return ["env", f"SOURCE_DATE_EPOCH={EPOCH}", "mksquashfs", "-", str(target), *words, *root]


def module_order(dependencies: str, wanted: Sequence[str]) -> list[str]:
    """Paths of modules in the order to load them, given the text of modules.dep; built-in ones are left out."""
    needs: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        names[Path(path).name.partition(".")[0].replace("-", "_")] = path
    order: list[str] = []

    def add(path: str) -> None:
        for needed in needs[path]:
            add(needed)
        if path not in order:
            order.append(path)

    for name in wanted:
        if name.replace("-", "_") in names:
            add(names[name.replace("-", "_")])
    return order


def image_hash(files: Mapping[str, str]) -> str:
    """One hash of an image, from those of its files {name: sha256}."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def package_versions(status: str) -> dict[str, str]:
    """Name and version of each package from the text of dpkg's status file."""
    found = {}
    for block in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" ")
        )
        if "Package" in fields and "Version" in fields:
            found[fields["Package"]] = fields["Version"]
    return dict(sorted(found.items()))
