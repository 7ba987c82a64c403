"""All answers as Markdown and as a page for people (jinja2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.answers import Row, link_from, read_all, read_kept, rows_of
from results.contract import RecordError
from results.files import write_atomic
from results.page import page_template, theme
from results.published import Published

HEAD = "# Answers\n"
INTRODUCTION = (
    "Made from records by `make answers`; do not edit. First one short answer a question and experiment; below, for "
    "each question, the figures, then what else was found and what became of lost packets. An answer is of the newest "
    "run with the experiment's own choices; runs on another datapath or accelerator have one of their own."
)
READING = (
    "Figures are medians with the bootstrap 95 % interval in brackets; → is towards the VM, ← from it. The noise floor "
    "is the same measure with nothing moving. Invalid trials (a busy machine) enter no figure. A run's folder stays on "
    "the machine that ran it: its name and its command stand here."
)
_COLUMNS = ("question", "short answer", "experiment", "valid trials")


def write_answers(results_dir: Path, output: Path | None = None) -> list[Path]:
    """Write ANSWERS.md (or `output`) and answers.html beside it; the two paths. Raises RecordError."""
    if not results_dir.is_dir():
        raise RecordError(
            f"{results_dir}: no such folder of results; name one that is there by RESULTS=FOLDER"
        )
    output = output or results_dir / "ANSWERS.md"
    if output.suffix != ".md":
        raise RecordError(f"{output}: the answers are written as Markdown; give a name that ends in .md")
    if not output.parent.is_dir():
        raise RecordError(f"{output.parent}: no such folder; make it first or choose another")
    records, troubles = read_all(results_dir)
    rows = rows_of(sorted([*read_kept(results_dir), *records], key=lambda one: one.name))
    page = output.with_name("answers.html")
    write_atomic(output, as_markdown(rows, troubles).encode())
    write_atomic(page, as_html(rows, troubles, page).encode())
    return [output, page]


def as_markdown(rows: Sequence[Row], troubles: Sequence[str]) -> str:
    """A table of short answers, then each question with its figures and all else.

    Its links lead to places in itself and to sources: it may be kept where the run folders are not.
    """
    lines = [HEAD, INTRODUCTION, "", READING, "", _summary(rows), ""]
    lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    for row in rows:
        question = f"[**{row.number}**](#{row.number.lower()}) {_cell(row.text)}"
        if not row.answers:
            names = ", ".join(f"`{name}`" for name in row.experiments)
            lines.append(_line([question, _cell(row.note), names, ""]))
        for answer in row.answers:
            which = f"`{answer.experiment}`" + (f", {_cell(answer.kind)}" if answer.kind else "")
            lines.append(_line([question, _cell(answer.short), which, answer.trials.split()[0]]))
            question = ""
    for row in rows:
        lines += _section(row)
    lines += ["", *(f"- Not read: {_cell(trouble)}" for trouble in troubles)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(row: Row) -> list[str]:
    """A question with its answers; a blank line before each paragraph."""
    lines = ["", f"## {row.number}", "", _cell(row.text)]
    for answer in row.answers:
        kind = f" ({_cell(answer.kind)})" if answer.kind else ""
        lines += ["", f"**`{answer.experiment}`{kind}: {_cell(answer.short)}**", ""]
        lines += [f"- {_cell(figure)}" for figure in answer.figures]
        lines += [f"- noise floor: {_cell('; '.join(answer.floor)) or 'no null trials'}"]
        lines += [f"- trials: {_cell(answer.trials)}"]
        lines += [f"- note: {_cell(note)}" for note in answer.notes]
        lines += [text for told in (answer.rest, answer.followed) if told for text in ("", _cell(told))]
        where = f"{answer.date}, `{answer.run}`; {_cell(answer.ran_on)}"
        lines += ["", f"*{where}{f'; `{answer.command}`' if answer.command else ''}*"]
    if not row.answers:
        lines += ["", _cell(row.note)]
    if row.published:
        lines += ["", "Published:", ""]
        lines += [f"- {published_text(one)}" for one in row.published]
    return lines


def published_text(one: Published) -> str:
    """'median 50 ms: VM blackout (source)', the source with its address as a link."""
    source = f"[{_cell(one.source)}]({one.url})" if one.url else _cell(one.source)
    return f"{_cell(one.value)}: {_cell(one.what)} ({source})"


def _summary(rows: Sequence[Row]) -> str:
    answered = sum(bool(row.answers) for row in rows)
    return f"{answered} of {len(rows)} questions {'has' if answered == 1 else 'have'} an answer."


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text that a cell of a Markdown table can hold: one line, no bar, no markup of its own."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return " ".join(escaped.split())


def as_html(rows: Sequence[Row], troubles: Sequence[str], path: Path) -> str:
    """The page: an index of all questions, then each with its answers.

    Its links, relative to `path`, lead to reports that exist.
    """
    return page_template("answers.html").render(
        rows=rows,
        troubles=troubles,
        introduction=INTRODUCTION.replace("`", ""),
        reading=READING,
        summary=_summary(rows),
        link=lambda answer: link_from(path, answer.report) if answer.report else "",
        **theme(),
    )
