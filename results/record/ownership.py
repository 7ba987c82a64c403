"""Whose the files are that root makes for somebody else (``sudo make ..``): never root's in that user's folders.

Three means: what root makes is given to the owner of the folder it is in; what needs no root, such as a report, is
done as that owner; and root leaves no bytecode in a clone that is not its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from results.paths import PROJECT
from results.record.contract import RecordError

_HOMES = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "MPLCONFIGDIR")


class Owner(NamedTuple):
    """A user and a group, by number."""

    uid: int
    gid: int


def owner_of(folder: Path) -> Owner:
    """Whose something new in ``folder`` is: its owner's; where anyone may write (/tmp), that of who called sudo."""
    found, caller = folder.stat(), _caller()
    if found.st_mode & stat.S_IWOTH and caller is not None:
        return caller
    return Owner(found.st_uid, found.st_gid)


def _caller() -> Owner | None:
    """Who called sudo."""
    words = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    return Owner(*map(int, words)) if all(word.isdecimal() for word in words) else None


def _is_user(owner: Owner) -> bool:
    """Whether it is a user of this machine, not root, nor a number on a disk from elsewhere (as in the VM image)."""
    if owner.uid == 0:
        return False
    try:
        return pwd.getpwuid(owner.uid).pw_uid == owner.uid
    except KeyError:
        return owner == _caller()


def give_to_owner_of(folder: Path, path: Path) -> None:
    """Under root (sudo make ...), hand ``path`` to the owner of ``folder``: reports then need no root."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):  # a file system without owners is no reason to lose a run
        os.chown(path, *owner_of(folder), follow_symlinks=False)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each its parent's owner's. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        give_to_owner_of(folder.parent, folder)


def as_owner_of(folder: Path, work: Callable[[], int]) -> int:
    """Do ``work`` with the rights and the home of the folder's owner; its exit status, 2 for a RecordError.

    Only root can become somebody else; without root, and for root itself at home, ``work`` is simply called.
    """
    if os.geteuid() != 0:
        return work()
    owner = owner_of(folder)
    if not _is_user(owner):
        owner = Owner(0, 0)
        if _is_of(0, os.environ.get("HOME", "/")):
            return work()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _end_with(lambda: _as(owner, work))
    try:
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # the child gets it too, and ends
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                return code if code >= 0 else 128 - code
    except BaseException:  # what SIGTERM raises: it is sent to this process alone
        os.kill(child, signal.SIGTERM)
        raise


def _end_with(body: Callable[[], int]) -> None:
    """The rest of a forked process's life."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent says what has ended it
    status = 70  # EX_SOFTWARE, when even printing failed
    try:
        status = body()
    except RecordError as error:
        print(error, file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _as(owner: Owner, work: Callable[[], int]) -> int:
    home = os.environ.get("HOME", "/")
    if not _is_of(owner.uid, home):
        for name in _HOMES:
            os.environ.pop(name, None)
        os.environ["HOME"] = _home_of(owner.uid)
    if _become(owner):
        return work()
    # Whoever cannot read the program cannot run it: root does, with its caches where nobody finds them.
    with tempfile.TemporaryDirectory() as caches:
        os.environ.update({"HOME": caches, **dict.fromkeys(_HOMES, caches)})
        return work()


def _become(owner: Owner) -> bool:
    """Give root's rights up for good; False, and nothing is given up, when the owner cannot read this program."""
    os.setgroups(_groups_of(owner))
    os.setegid(owner.gid)
    os.seteuid(owner.uid)
    needed = (PROJECT / "results", Path(sys.prefix), Path(sys.base_prefix))
    able = all(os.access(path, os.R_OK | os.X_OK, effective_ids=True) for path in needed)
    os.seteuid(0)
    os.setegid(0)
    if able:
        os.setgid(owner.gid)
        os.setuid(owner.uid)
    return able


def _is_of(uid: int, folder: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(folder).stat().st_uid == uid
    return False


def _home_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/nonexistent"  # as Debian has it for users without a home


def _groups_of(owner: Owner) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(owner.uid).pw_name, owner.gid)
    except KeyError:
        return [owner.gid]


def leave_no_bytecode() -> None:
    """Let root, and what it starts, write no bytecode into somebody else's clone: `make clean` could not remove it.

    What has been written before this could be asked for is given to the clone's owner.
    """
    if os.geteuid() != 0 or not _is_user(owner_of(PROJECT)):
        return
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for module in list(sys.modules.values()):
        cached = Path(getattr(module, "__cached__", None) or "/")
        if cached.is_relative_to(PROJECT) and cached.exists():
            for path in (cached.parent, cached):
                give_to_owner_of(PROJECT, path)
