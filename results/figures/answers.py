"""The answers of all questions from the records of a results folder: one row a question and experiment.

Of each experiment the newest answered run counts, apart for each datapath and accelerator: figures made under
other conditions are never mixed. A run with other choices than the experiment's own, or a short form (`quick`), counts
only where there is no better one; one with a wrong setting on purpose (`fault`) or on a topology of somebody's own
never does. An answer that a review has refuted is marked (`results/figures/questions.py`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from results.figures.answer import EMULATED, EMULATED_MEANS, short_and_rest, warning_of
from results.figures.answer_groups import floor_figures, lead_figures
from results.figures.causes import cause_sentence
from results.figures.findings import findings
from results.figures.published import Published, published_for
from results.figures.questions import BY_NUMBER, QUESTIONS, TO_COME
from results.figures.statistics import count_trials
from results.record.contract import RecordError
from results.record.reading import Record, list_runs, load_record

NO_RECORD = "Not yet answered."
OPEN = "Open: nobody has built its experiment yet."
REFERENCE = "reference"  # folder of records that are kept beside the runs
_NO_CHOICE = ("quick", "repeat", "seed", "ports")


@dataclass(frozen=True)
class Answer:
    """What one run says of one question. `trials`: how many of each kind; `ran_on`: conditions in words.

    `short`: the short answer, `rest`: what else the run says (may be ''). `command` repeats the run; '' when its
    record does not say. `kind`: how it differs from a full run of this host ('': it is one); `followed`: what became of
    lost packets; `notes`: warnings.
    """

    experiment: str
    short: str
    rest: str
    figures: list[str]
    floor: list[str]
    trials: str
    ran_on: str
    date: str
    folder: Path
    run: str
    command: str
    kind: str = ""
    followed: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def report(self) -> Path | None:
        """The run's report where there is one."""
        path = self.folder / "report.html"
        return path if path.exists() else None


@dataclass(frozen=True)
class Row:
    """One question with its answers; none: nothing was recorded, `note` says what is known.

    `review`: why its answers do not stand as they are; '' where they do.
    """

    number: str
    text: str
    experiments: tuple[str, ...]
    answers: list[Answer]
    published: list[Published]
    note: str = ""
    review: str = ""

    @property
    def under_review(self) -> bool:
        """Whether there are answers, and they do not stand as they are."""
        return bool(self.answers and self.review)


def read_all(results_dir: Path) -> tuple[list[Record], list[str]]:
    """Every readable record, oldest first, and a line for each that could not be read."""
    records, troubles = [], []
    for folder in list_runs(results_dir):
        try:
            records.append(load_record(folder))
        except RecordError as error:
            troubles.append(str(error))
    return records, troubles


def read_kept(results_dir: Path) -> list[Record]:
    """The records that are kept as reference, oldest first. Raises RecordError: they are the project's own."""
    folders = (path.parent for path in (results_dir / REFERENCE).glob("*/record.json"))
    return sorted(map(load_record, folders), key=lambda record: record.name)


def conditions(record: Record) -> tuple[str, str]:
    """(datapath, accelerator): runs that differ in them have answers of their own."""
    found = record.environment
    return str(found.get("datapath") or "datapath not known"), str(found.get("accelerator") or "")


def rows_of(records: Sequence[Record]) -> list[Row]:
    """One row a question, Q1 to Q25, then those that only a record names. Records oldest first."""
    records = [record for record in records if not on_own_topology(record)]
    chosen = _chosen(records)
    named = {number for record in records for number in record.questions}
    others = sorted(named - BY_NUMBER.keys(), key=_in_order)
    rows = []
    for number in [*(question.number for question in QUESTIONS), *others]:
        question = BY_NUMBER.get(number)
        experiments = question.experiments if question else ()
        of_question = [record for record in records if number in record.questions]
        answers = [_answer(record, of_question) for record in chosen if number in record.questions]
        rows.append(
            Row(
                number,
                question.text if question else "A question that the list of questions does not have.",
                experiments,
                answers,
                published_for(number),
                "" if answers else _why_none(of_question, experiments),
                question.review if question else "",
            )
        )
    return rows


def may_answer(record: Record) -> bool:
    """Whether answers and reference may be made of a run: answered, nothing set wrongly, a topology that is shipped."""
    wrong = record.parameters.get("fault", "none") != "none"
    return record.status == "answered" and not wrong and not on_own_topology(record)


def on_own_topology(record: Record) -> bool:
    """Whether a run's topology is a file and none of those that are shipped, which go by their names."""
    return str(record.parameters.get("topology") or "").endswith((".yaml", ".yml"))


def _in_order(number: str) -> tuple[int, str]:
    digits = number.lstrip("Qq")
    return (int(digits) if digits.isdigit() else 10**6), number


def _chosen(records: Iterable[Record]) -> list[Record]:
    """The best answered record of each experiment and conditions, the newest of those that are as good."""
    best: dict[tuple[str, ...], Record] = {}
    for record in records:
        key = (record.experiment, *conditions(record))
        if not may_answer(record):
            continue
        if key not in best or _worth(record) >= _worth(best[key]):
            best[key] = record
    # Those of emulated processors last: their times are not real.
    return [best[key] for key in sorted(best, key=lambda key: (key[0], key[-1] == EMULATED, key))]


def _worth(record: Record) -> tuple[bool, bool]:
    """The experiment as it is before one with other choices, a full run before a short one."""
    return not choices_of(record), not is_quick(record)


def choices_of(record: Record) -> list[str]:
    """What its command chose besides how much is done and where: ['policy=tunnel']; nothing of one with an EXP."""
    words = shlex.split(str(record.environment.get("command") or ""))
    if words[:1] != ["make"] or any(word.upper().startswith("EXP=") for word in words):
        return []
    return [word for word in words[2:] if word.partition("=")[0] not in _NO_CHOICE]


def is_quick(record: Record) -> bool:
    """Whether a run was the short form of its experiment."""
    return bool(record.parameters.get("quick"))


def _why_none(records: Sequence[Record], experiments: Sequence[str]) -> str:
    if not records:
        there = " or ".join(f"make {name}" for name in experiments if name not in TO_COME)
        return f"{NO_RECORD} To do so: {there}." if there else OPEN
    last = records[-1]
    return f"{NO_RECORD} The newest run ({last.experiment}, {_date(last)}) is {last.status}: {last.why}"


def _answer(record: Record, of_question: Sequence[Record]) -> Answer:
    counts = count_trials(record.trials)
    trials = f"{counts['valid']} valid, {counts['invalid']} invalid; null: {counts['null_valid']} valid"
    trials += f", {counts['null_invalid']} invalid" if counts["null_invalid"] else ""
    short, rest = short_and_rest(record)
    notes = [warning] if (warning := warning_of(record)) else []
    notes += [f"found: {one}" for one in findings(record)]
    if choices := choices_of(record):
        notes.append(f"not with the experiment's own choices: {', '.join(choices)}")
    if is_quick(record):
        notes.append("short form (quick): fewer trials than a full run")
    if conditions(record)[1] == EMULATED:
        notes.append(f"processors were emulated (TCG): {EMULATED_MEANS}")
    same = [
        one
        for one in of_question
        if (one.experiment, conditions(one)) == (record.experiment, conditions(record))
    ]
    newer = [
        one
        for one in same
        if one.name > record.name
        and one.status != "answered"
        and not one.unfinished
        and choices_of(one) == choices_of(record)
    ]
    if newer:
        notes.append(f"a newer run ({_date(newer[-1])}) is {newer[-1].status}: {newer[-1].why}")
    alike = [one for one in same if _worth(one) == _worth(record)]
    larger = max(alike, key=lambda one: one.status == "answered" and count_trials(one.trials)["valid"])
    more = count_trials(larger.trials)["valid"]
    if larger.status == "answered" and more > counts["valid"]:
        notes.append(f"an older run ({larger.name}) has more valid trials: {more}")
    return Answer(
        experiment=record.experiment,
        short=short,
        rest=rest,
        figures=lead_figures(record),
        floor=floor_figures(record),
        trials=trials,
        ran_on=_ran_on(record),
        date=_date(record),
        folder=record.folder,
        run=record.name,
        command=str(record.environment.get("command") or ""),
        kind=_kind(record),
        followed=cause_sentence(record),
        notes=notes,
    )


def _kind(record: Record) -> str:
    """'VM image on emulated processors, short form', or what of it is so."""
    accelerator = conditions(record)[1]
    inside = ["VM image on emulated processors" if accelerator == EMULATED else f"VM image, {accelerator}"]
    return ", ".join([*(inside if accelerator else []), *(["short form"] if is_quick(record) else [])])


def _ran_on(record: Record) -> str:
    found = record.environment
    datapath, accelerator = conditions(record)
    told: list[Any] = [f"{datapath} datapath" if datapath != "datapath not known" else datapath]
    told += [f"{found['port_type']} ports"] if found.get("port_type") else []
    told += [accelerator] if accelerator else []
    delay = found.get("delay_backend")
    told += [f"delay by {delay}"] if delay and delay != "none" else []
    told += [f"kernel {found['kernel']}"] if found.get("kernel") else []
    commit = str(found.get("commit") or "")[:7]
    told += [f"commit {commit}{' and changes' if found.get('commit_changed') else ''}"] if commit else []
    return ", ".join(told)


def _date(record: Record) -> str:
    try:
        return f"{datetime.fromisoformat(str(record.data.get('started_utc'))):%Y-%m-%d}"
    except ValueError:
        return "no date"


def link_from(page: Path, target: Path) -> str:
    """The address of `target` in a page at `page`: relative, so that a results folder may move."""
    return Path(os.path.relpath(target, page.absolute().parent)).as_posix()
