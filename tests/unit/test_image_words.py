"""``python -m image``: words in either case, and what is refused before anything is booted."""

from __future__ import annotations

import pytest

from image import __main__ as command
from image.accelerator import Choice
from image.folder import FOLDER, Image


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither building nor booting is what is tested: bad words are refused before either."""
    monkeypatch.setattr("image.build.build", lambda *_, **__: pytest.fail("built"))
    monkeypatch.setattr("image.running.accelerator_for", lambda image, wanted: Choice("tcg", "asked for"))
    monkeypatch.setattr("image.running.run_inside", lambda *_, **__: pytest.fail("booted"))


def test_names_may_be_in_capitals() -> None:
    assert command.taken(["hot-l2", "QUICK=1", "ACCEL=tcg", "Topology=X.yaml"], "accel", "auto") == (
        "tcg",
        ["hot-l2", "quick=1", "topology=X.yaml"],
    )
    assert command.taken(["a"], "accel", "auto") == ("auto", ["a"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "usage: python -m image"),
        (["grow"], "usage: python -m image"),
        (["run"], "make image-run EXP=hot-l2"),
        (["run", "QUICK=1"], "make image-run EXP=hot-l2"),
        (["run", "hot-l3"], "did you mean 'hot-l2'?"),
        (["run", "hot-l2", "REPEAT=many"], "repeat=many: allowed is"),
        (["run", "hot-l2", "topology=nowhere"], "nowhere"),
        (["run", "hot-l2", "vm=nobody"], "nobody"),
        (["evaluate", "repeat=none"], "repeat=none: an evaluation takes QUICK=1, REPEAT=N"),
        (["run", "hot-l2", "ACCEL=xen"], "ACCEL=xen: allowed are auto, kvm, tcg"),
        (["evaluate", "ACCEL=xen"], "ACCEL=xen: allowed are auto, kvm, tcg"),
        (["shell"], "needs a terminal"),
        (["shell", "topo=two_racks"], "topo=two_racks: ACCEL=auto, kvm or tcg is all"),
        (["imports", "rounds=5"], "rounds=5: ACCEL=auto, kvm or tcg is all"),
        (["cli", "two_racks"], "needs a terminal"),
        (["cli", "two_rack"], "did you mean 'two_racks'?"),
        (["cli", "two_racks", "POLCY=buffer"], "did you mean 'policy'?"),
    ],
)
def test_bad_words_end_with_one_clear_text(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("image.running.os.isatty", lambda descriptor: False)
    assert command.main(words) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said


def test_the_image_is_kept_where_git_does_not_look() -> None:
    assert Image(FOLDER).folder.relative_to(FOLDER.parents[1]).parts[0] == ".build"
