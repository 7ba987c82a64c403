"""Experiments are found by being there, ours and a user's; each is loaded when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.catalog import Catalog, studies_in
from experiments.running.experiment import StudyError, UnknownExperimentError

ROOT = Path(__file__).resolve().parents[2]

ANNOUNCEMENTS = '''"""announcements: how many announcements may be lost before traffic goes the old way? (none of ours)

Question   How many announcements does a peer need?
Varies     Their number.
Held fixed The path, policy tunnel, the traffic.
Answer     Packets lost for each number, beside null trials.
"""

from experiments.designs.comparing import Group, checker, comparison, traffic_parameters
from experiments.running.experiment import Experiment
from experiments.running.sentences import groups_tried, measured
from mobility.options import MoveOptions


def groups(_values):
    return [Group({"announcements": n}, MoveOptions(policy="tunnel", announcements=n)) for n in (0, 1, 5)]


def conclude(trials):
    said = groups_tried(trials, "announcements")
    return "; ".join(f"{n}: {sum(measured(trials, 'lost_packets_to_vm', announcements=n)):.0f} lost" for (n,) in said)


EXPERIMENT = Experiment(
    "announcements", (), "How many announcements does a peer need?", "packets lost", traffic_parameters(repeat=2),
    comparison(groups), checker(groups), ("announcements",), ("lost_packets_to_vm",), conclude,
)
'''


def test_a_file_in_a_folder_is_an_experiment(tmp_path: Path) -> None:
    (tmp_path / "announcements.py").write_text(ANNOUNCEMENTS)
    catalog = Catalog()
    ours = set(catalog)
    catalog.add_folder(tmp_path)
    assert set(catalog) - ours == {"announcements"}
    experiment = catalog.find("announcements")
    assert {"rate_pps", "quick", "pcap"} <= {parameter.name for parameter in experiment.parameters}
    assert catalog.opening("announcements").startswith("Question   How many")


def test_make_knows_it_without_being_told(tmp_path: Path) -> None:
    """`make help` and `make -n NAME` read the folder; so do ours, by their files alone."""
    (tmp_path / "announcements.py").write_text(ANNOUNCEMENTS)
    (tmp_path / "two_files").mkdir()
    (tmp_path / "two_files" / "study.py").write_text('"""two-files: nothing? (none)\n"""')
    (tmp_path / "_shared.py").write_text('"""no experiment\n"""')

    def make(*words: str) -> str:
        return subprocess.run(
            ["make", "-s", *words, f"STUDIES={tmp_path}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    help_lines = [line.split()[1] for line in make("help").splitlines() if line.startswith("  make ")]
    assert {"announcements", "two-files", *Catalog()} <= set(help_lines)
    assert "shared" not in " ".join(help_lines)
    assert "run announcements 'quick=1'" in make("-n", "announcements", "quick=1")


def test_names_are_files_names(tmp_path: Path) -> None:
    for name in ("a_b.py", "_none.py", "__init__.py", "c/study.py", "d/other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(studies_in(tmp_path)) == ["a-b", "c"]


@pytest.mark.parametrize(
    "text, why",
    [
        (
            "EXPERIMENT = 3\n",
            r"mine\.py: has no EXPERIMENT; end the file with EXPERIMENT = Experiment\('mine'",
        ),
        ("import nowhere\n", r"mine\.py:1: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1\ny = x +\n", r"mine\.py:2: SyntaxError"),
        (
            ANNOUNCEMENTS,
            r"mine\.py: its experiment is called 'announcements'; a file's name is its experiment's",
        ),
    ],
    ids=["no experiment", "import", "syntax", "other name"],
)
def test_a_file_that_is_wrong_says_where_and_what_to_do(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    catalog = Catalog()
    catalog.add_folder(tmp_path)
    with pytest.raises(StudyError, match=why):
        catalog.find("mine")


def test_a_name_that_is_taken_and_a_folder_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "hot_l2.py").write_text("")
    with pytest.raises(StudyError, match=r"hot_l2\.py: there is an experiment 'hot-l2' already"):
        Catalog().add_folder(tmp_path)
    with pytest.raises(StudyError, match="there is no such folder"):
        Catalog().add_folder(tmp_path / "nowhere")
    with pytest.raises(UnknownExperimentError, match="did you mean 'hot-l2'"):
        Catalog().find("hotl2")


def test_wrong_files_of_a_user_end_in_one_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDIES", str(tmp_path / "nowhere"))
    assert main(["list"]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_one_experiment_loads_no_other() -> None:
    """What a run loads is what it waits for, most of all on emulated processors."""
    program = (
        "import sys; from experiments.catalog import EXPERIMENTS; EXPERIMENTS.find('hot-l2'); "
        "print(*(name for name in sys.modules if name.startswith('experiments.studies.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["experiments.studies.hot_l2"]
