"""What sudo leaves with the user who called it: nothing of root's in the clone or at home, and `make clean` works.

sudo itself need not be installed: what it does to a command is done here (root, SUDO_UID and its like, HOME kept).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from results.record import ownership
from results.record.ownership import as_owner_of, make_folder
from tests.root.sandboxed import REPOSITORY

pytestmark = pytest.mark.root

NOBODY_ELSE = 41_234  # a user whom no machine has
TRIALS = ("repeat=1", "tcp_rate=1Mbit", "before=150ms", "after=250ms", "ports=afpacket")
BOUND_S = 240.0


@dataclass(frozen=True)
class User:
    """Somebody with a clone and a home, both in folders with a blank in their names, and Python's libraries."""

    uid: int
    home: Path
    clone: Path
    venv: Path

    def runs(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user."""
        own = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        return self._run([*own, *argv], {"USER": "somebody"})

    def runs_with_sudo(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as ``sudo -E`` would for this user."""
        sudo = {"SUDO_UID": str(self.uid), "SUDO_GID": str(self.uid), "SUDO_USER": "somebody", "USER": "root"}
        return self._run(list(argv), sudo, stdin)

    def _run(
        self, argv: Sequence[str], around: dict[str, str], stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """In a C locale, in the clone; where others may not read the libraries, they are mounted for this command."""
        env = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LC_ALL": "C", **around}
        if self.venv != Path(sys.prefix):
            mount = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
            argv = ["unshare", "-m", "sh", "-ec", mount, "sh", sys.prefix, str(self.venv), *argv]
        done = subprocess.run(
            argv,
            cwd=self.clone,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
        print(f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}")
        return done

    @property
    def python(self) -> str:
        return str(self.venv / "bin" / "python")

    def make(self, *words: str) -> list[str]:
        """A make target, without setting up the machine: its libraries are those of this test."""
        return ["make", "-o", "setup", f"VENV={self.venv}", *words]

    def not_own(self) -> list[str]:
        """All that is in clone and home and belongs to somebody else."""
        return [
            f"{path} is of user {path.lstat().st_uid}"
            for folder in (self.home, self.clone)
            for path in (folder, *folder.rglob("*"))
            if path.lstat().st_uid != self.uid
        ]


def _readable(path: Path, uid: int) -> bool:
    told = subprocess.run(["setpriv", f"--reuid={uid}", "--clear-groups", "test", "-r", path], check=False)
    return told.returncode == 0


def _copy_of_project(clone: Path) -> None:
    """All that git has or would take, as a repository of its own."""
    listed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (REPOSITORY / name).is_file() and not name.startswith("results/reference/"):
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, clone / name)
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", "-C", str(clone), *words], check=True)


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    owner = Path(sys.prefix).stat().st_uid
    uid = owner if owner != 0 else NOBODY_ELSE
    with tempfile.TemporaryDirectory(prefix="some body ") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = User(uid, folder / "home", folder / "over land", Path(sys.prefix))
        if not _readable(Path(sys.prefix) / "pyvenv.cfg", uid):
            made = User(uid, made.home, made.clone, folder / "venv")
            made.venv.mkdir()
        made.home.mkdir()
        _copy_of_project(made.clone)
        for path in (made.home, made.clone, *made.clone.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
        assert made.not_own() == []
        yield made


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What stands on standard error, but which run is meant."""
    return [line for line in done.stderr.splitlines() if not line.startswith("latest: ")]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_nothing_of_roots_is_left_with_the_user(user: User) -> None:
    """In the order in which somebody would work; each step is judged by itself."""
    run = user.runs_with_sudo(user.python, "-m", "experiments", "run", "hot-l2", "rate_pps=1000", *TRIALS)
    assert "report:" in run.stdout and run.stderr == ""
    assert (user.clone / "results" / "latest" / "report.html").exists()
    assert user.not_own() == []
    record = (user.clone / "results" / "latest" / "record.json").read_text()
    assert '"commit": null' not in record and '"commit_changed": false' in record

    for words in (["report"], ["answers"], ["validate"]):
        done = user.runs(*user.make(*words))
        assert (done.returncode, said(done)) == (0, [])
    swept = ("EXP=hot-l2", "rate_pps=500,1000", "vm=vm1", *TRIALS)
    sweep = user.runs_with_sudo(user.python, "-m", "experiments", "sweep", *swept)
    assert "report:" in sweep.stdout and sweep.stderr == ""
    assert user.not_own() == []
    words = ("-m", "experiments", "cli", "two_racks", "ports=afpacket")
    session = user.runs_with_sudo(user.python, *words, stdin="where\nexit\n")
    assert (session.returncode, session.stderr) == (0, "")
    assert user.not_own() == []
    # As root altogether: sudo make ..
    for words_ in (["report"], ["answers"], ["runs"]):
        done = user.runs_with_sudo(*user.make(*words_))
        assert (done.returncode, said(done)) == (0, [])
        assert user.not_own() == []

    cleaned = user.runs("make", "clean")
    assert (cleaned.returncode, cleaned.stderr) == (0, "")
    assert not (user.clone / ".build").exists() and not list(user.clone.rglob("__pycache__"))


def called_with_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(NOBODY_ELSE))
    monkeypatch.setenv("SUDO_GID", str(NOBODY_ELSE))


def test_what_is_made_where_anyone_may_write_is_of_whoever_called_sudo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called_with_sudo(monkeypatch)
    made = tmp_path / "new" / "results"
    make_folder(made)
    assert made.stat().st_uid == 0  # the folder's owner is root
    tmp_path.chmod(0o1777)
    made = tmp_path / "another" / "results"
    make_folder(made)
    assert {path.stat().st_uid for path in (made, made.parent)} == {NOBODY_ELSE}


def test_work_for_an_owner_is_done_with_the_owners_rights_and_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An owner whom the machine does not know has the home that the caller says, when it is the owner's."""
    called_with_sudo(monkeypatch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, NOBODY_ELSE, NOBODY_ELSE)
        monkeypatch.setenv("HOME", name)

        def work() -> int:
            (folder / "made").touch()
            assert os.environ["HOME"] == name and os.getgroups() == [NOBODY_ELSE]
            with pytest.raises(PermissionError):
                os.setuid(0)
            return 7

        assert as_owner_of(folder, work) == 7
        assert (folder / "made").stat().st_uid == NOBODY_ELSE
        assert os.geteuid() == 0


def test_a_home_of_somebody_else_is_not_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`sudo -E` in root's own clone: HOME is the caller's, but what root makes belongs to root."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY_ELSE, NOBODY_ELSE)
        monkeypatch.setenv("HOME", name)
        monkeypatch.setenv("XDG_CACHE_HOME", f"{name}/cache")
        seen = tmp_path / "seen"
        work = lambda: seen.write_text(f"{os.environ['HOME']} {os.environ.get('XDG_CACHE_HOME')}") * 0  # noqa: E731
        assert as_owner_of(tmp_path, work) == 0
    home, cache = seen.read_text().split(" ")
    assert home not in (name, "") and cache == "None"


def test_an_owner_who_cannot_read_the_program_has_it_done_by_root_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As when the clone is root's and the results are somebody else's."""
    called_with_sudo(monkeypatch)
    monkeypatch.setattr(ownership, "PROJECT", tmp_path / "closed")
    (tmp_path / "closed").mkdir(mode=0o700)
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY_ELSE, NOBODY_ELSE)
        monkeypatch.setenv("HOME", name)
        assert as_owner_of(Path(name), lambda: int(os.environ["HOME"] == name or os.geteuid() != 0)) == 0
        assert list(Path(name).iterdir()) == []


def test_a_command_for_the_clones_owner(user: User) -> None:
    """What `sudo make report` and the set-up under `sudo make setup` go through."""
    told = user.runs_with_sudo("./as-owner.sh", "sh", "-c", 'id -u; echo "$HOME"; : >"made by make"')
    assert told.stdout.splitlines() == [str(user.uid), str(user.home)]
    assert (user.clone / "made by make").stat().st_uid == user.uid
    (user.clone / "made by make").unlink()
    assert user.runs("./as-owner.sh", "id", "-u").stdout.strip() == str(user.uid)


def test_a_number_on_a_disk_from_elsewhere_is_no_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the VM image the work tree has its host's numbers, and there is nobody but root."""
    monkeypatch.delenv("SUDO_UID", raising=False)
    os.chown(tmp_path, NOBODY_ELSE, NOBODY_ELSE)
    assert as_owner_of(tmp_path, os.getuid) == 0
    monkeypatch.setattr(ownership, "PROJECT", tmp_path)
    before = sys.dont_write_bytecode
    ownership.leave_no_bytecode()
    assert sys.dont_write_bytecode is before
