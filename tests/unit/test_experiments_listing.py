"""What `make list` says."""

import pytest

from experiments.__main__ import main
from experiments.catalog import EXPERIMENTS
from experiments.listing import by_question, opening


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_question_what_varies_what_is_fixed_and_the_answer(name):
    text = "\n".join(opening(EXPERIMENTS[name], EXPERIMENTS.opening(name)))
    for word in ("Question ", "Varies ", "Held fixed ", "Answer "):
        assert f"\n{word}" in f"\n{text}", word


def test_the_list_has_a_line_an_experiment_and_one_experiment_is_told_with_units(capsys):
    assert main(["list"]) == 0
    *lines, hint = capsys.readouterr().out.splitlines()
    listed = by_question(EXPERIMENTS.values())
    assert [line.split()[1] for line in lines] == [experiment.name for experiment in listed]
    assert {experiment.name for experiment in listed} == set(EXPERIMENTS)
    for line, experiment in zip(lines, listed, strict=True):
        assert line.endswith(experiment.question)
        assert len(line) <= 140
    assert "EXP=NAME" in hint
    assert main(["list", "cold"]) == 0
    said = capsys.readouterr().out
    assert "``" not in said  # markup of docstrings
    assert "bandwidth=1Gbit" in said
    assert "pause=hold" in said
    assert "one of hold, drop, freeze" in said
    assert main(["list", "colt"]) == 2
    assert "did you mean 'cold'?" in capsys.readouterr().err
