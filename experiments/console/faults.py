"""What becomes of a fault of the program in a session: one line, and a file with its traceback."""

from __future__ import annotations

import secrets
import traceback
from datetime import UTC, datetime
from pathlib import Path

from results.record.contract import RecordError
from results.record.files import write_atomic
from results.record.ownership import make_folder


def fault_line(error: BaseException, command: str, folder: Path) -> str:
    """What a user is told; the traceback is written to a new file in ``folder``."""
    told = " ".join(str(error).split())
    what = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return f"a fault of this program, not of yours, in `{command}`: {what}; {_kept(error, command, folder)}"


def _kept(error: BaseException, command: str, folder: Path) -> str:
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.txt"
    text = f"{command}\n\n{''.join(traceback.format_exception(error))}"
    try:
        make_folder(folder)
        write_atomic(path, text.encode())
    except (OSError, RecordError) as why:
        return f"its traceback could not be written ({why}). The session goes on"
    return f"its traceback is in {path}. The session goes on"
