"""Compiles the probes that are in C, so that one sleep, write or look per packet costs little."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from emulation import commands
from emulation.errors import CommandError
from results.record.ownership import give_to_owner_of, make_folder
from vocabulary.errors import OverlandError

SOURCE = Path(__file__).with_name("udp_probe.c")
TAP_SOURCE = Path(__file__).with_name("packet_tap.c")
STREAM_SOURCE = Path(__file__).with_name("tcp_stream.c")
SOURCES = (SOURCE, TAP_SOURCE, STREAM_SOURCE)
BUILD_FOLDER = Path(__file__).resolve().parents[2] / ".build"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")


class BuildError(OverlandError):
    """A probe could not be compiled; the text names the remedy."""


def probe_binary(source: Path = SOURCE, folder: Path = BUILD_FOLDER, compiler: str = "cc") -> Path:
    """Return a compiled probe; compile it when there is none, or its source or a header is newer.

    The program appears under its name complete or not at all, so that two runs may do this at once.
    BuildError when there is no compiler, the folder cannot be written, or the compiler refuses the source.
    """
    binary = folder / source.stem
    newest_ns = max(path.stat().st_mtime_ns for path in (source, *source.parent.glob("*.h")))
    if binary.exists() and binary.stat().st_mtime_ns >= newest_ns:
        return binary
    temporary = folder / f".{source.stem}.{os.getpid()}"
    try:
        make_folder(folder)
        commands.run([compiler, *FLAGS, "-o", str(temporary), str(source)], timeout_s=120)
        give_to_owner_of(folder, temporary)
        temporary.replace(binary)
    except CommandError as error:
        raise BuildError(_remedy(error, compiler, source)) from None
    except OSError as error:
        raise BuildError(f"cannot put the prober into {folder}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # what is wrong with the folder has been said
            temporary.unlink(missing_ok=True)
    return binary


def build_probes() -> None:
    """Compile all of them now, so that no run waits for it later; raises BuildError."""
    for source in SOURCES:
        probe_binary(source)


def _remedy(error: CommandError, compiler: str, source: Path) -> str:
    if error.exit_code == 127:
        return f"no C compiler '{compiler}' to build the prober: run `apt-get install gcc libc6-dev`"
    if "No such file or directory" in error.stderr and "#include" in error.stderr:
        return "the C library's headers are missing: run `apt-get install libc6-dev linux-libc-dev`"
    return f"{source.name} does not compile: {error.stderr.strip()}"
