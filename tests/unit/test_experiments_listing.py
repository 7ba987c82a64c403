"""What `make list` says."""

import pytest

from experiments.__main__ import main
from experiments.catalog import EXPERIMENTS
from experiments.listing import opening


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_question_what_varies_what_is_fixed_and_the_answer(name):
    text = "\n".join(opening(EXPERIMENTS[name]))
    for word in ("Question ", "Varies ", "Held fixed ", "Answer "):
        assert f"\n{word}" in f"\n{text}", word


def test_the_list_is_brief_and_one_experiment_is_told_with_units(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(f"make {name} (Q" in said for name in EXPERIMENTS)
    assert "``" not in said  # markup of docstrings
    assert max(map(len, said.splitlines())) <= 140
    assert main(["list", "cold"]) == 0
    said = capsys.readouterr().out
    assert "bandwidth=1Gbit" in said
    assert "pause=hold" in said
    assert "one of hold, drop, freeze" in said
    assert main(["list", "colt"]) == 2
    assert "did you mean 'cold'?" in capsys.readouterr().err
