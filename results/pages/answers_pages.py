"""All answers as Markdown and as a page for people (jinja2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.figures.answers import Row, link_from, on_own_topology, read_all, read_kept, rows_of
from results.figures.published import Published
from results.pages.page import page_template, theme
from results.pages.readme import write_readme
from results.record.contract import RecordError
from results.record.files import write_atomic
from results.record.reading import Record

HEAD = "# Answers\n"
PAGE, TEXT = "answers.html", "answers-here.md"
"""What `make answers` writes into the results folder: neither is in git."""
INTRODUCTION = (
    "Made from records, do not edit: this machine's and the kept ones by `make answers`, the kept ones alone by `make "
    "evaluate-reference`. First one short answer a question and experiment; below, for each question, figures, what "
    "else was found, what became of lost packets, and the command that makes all this. An answer is of the newest run "
    "with the experiment's own choices; runs on another datapath or accelerator have one of their own, runs on a "
    "topology of your own have none."
)
READING = (
    "Figures are medians with the bootstrap interval in brackets, at a nominal 95 %: with fewer than some 10 trials it "
    "holds the median less often. → is towards the VM, ← from it. The noise floor is the same measure with nothing "
    "moving; of TCP it is mostly the time between two blocks of the probe (1,200 bytes at its rate). Blackout is the "
    "longest time in which packets were lost, not that in which the VM stood still. Invalid trials enter no figure: "
    "something kept the machine busy, perhaps the move itself. A run's folder stays on the machine that ran it."
)
UNDER_REVIEW = "Under review"
AS_RECORDED = "What was recorded follows as it is; do not cite it."
_COLUMNS = ("question", "short answer", "experiment", "valid trials")


def write_answers(results_dir: Path, output: Path | None = None) -> list[Path]:
    """Write the answers of this machine as Markdown (`output`) and answers.html beside it. Raises RecordError.

    Without `output` nothing that is in git is written.
    """
    if not results_dir.is_dir():
        raise RecordError(
            f"{results_dir}: no such folder of results; name one that is there by RESULTS=FOLDER"
        )
    output = output or results_dir / TEXT
    if output.suffix != ".md":
        raise RecordError(f"{output}: the answers are written as Markdown; give a name that ends in .md")
    if not output.parent.is_dir():
        raise RecordError(f"{output.parent}: no such folder; make it first or choose another")
    records, troubles = read_all(results_dir)
    rows = rows_of(sorted([*read_kept(results_dir), *records], key=lambda one: one.name))
    remarks = [*left_out(records), *(f"Not read: {trouble}" for trouble in troubles)]
    page = output.with_name(PAGE)
    write_atomic(output, as_markdown(rows, remarks).encode())
    write_atomic(page, as_html(rows, remarks, page).encode())
    return [output, page]


def left_out(records: Sequence[Record]) -> list[str]:
    """Runs that no answer is made of since they are of a topology of their own, in a sentence; none: no sentence."""
    own = [record for record in records if on_own_topology(record)]
    if not own:
        return []
    runs = "1 run" if len(own) == 1 else f"{len(own)} runs"
    return [
        f"No answer is made of {runs} on a topology of your own; the newest is {own[-1].name} "
        f"({own[-1].parameters['topology']}, {own[-1].status}). `make report RUN=..` shows each."
    ]


def write_kept(reference: Path) -> list[Path]:
    """Write what git has of the answers from the kept records alone: ANSWERS.md beside them, and the README's tables.

    A README is looked for where the project has it, above the results folder. Raises RecordError.
    """
    kept = read_kept(reference.parent)
    page, readme = reference.parent / "ANSWERS.md", reference.parent.parent / "README.md"
    write_atomic(page, as_markdown(rows_of(kept)).encode())
    if not readme.exists():
        return [page]
    write_readme(readme, kept)
    return [page, readme]


def as_markdown(rows: Sequence[Row], remarks: Sequence[str] = ()) -> str:
    """A table of short answers, then each question with its figures and all else, then `remarks`.

    Its links lead to places in itself and to sources: it may be kept where the run folders are not.
    """
    lines = [HEAD, INTRODUCTION, "", READING, "", _summary(rows), ""]
    lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    for row in rows:
        question = f"[**{row.number}**](#{row.number.lower()}) {_cell(row.text)}"
        if not row.answers:
            names = ", ".join(f"`{name}`" for name in row.experiments)
            lines.append(_line([question, _cell(row.note), names, ""]))
        if row.under_review:
            names = ", ".join(f"`{name}`" for name in dict.fromkeys(one.experiment for one in row.answers))
            lines.append(_line([question, f"*{UNDER_REVIEW}:* {_cell(row.review)}", names, ""]))
            continue
        for answer in row.answers:
            which = f"`{answer.experiment}`" + (f", {_cell(answer.kind)}" if answer.kind else "")
            lines.append(_line([question, _cell(answer.short), which, answer.trials.split()[0]]))
            question = ""
    for row in rows:
        lines += _section(row)
    lines += ["", *(f"- {_cell(remark)}" for remark in remarks)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(row: Row) -> list[str]:
    """A question with its answers; a blank line before each paragraph."""
    lines = ["", f"## {row.number}", "", _cell(row.text)]
    if row.under_review:
        lines += ["", f"**{UNDER_REVIEW}:** {_cell(row.review)} {AS_RECORDED}"]
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
    review = sum(row.under_review for row in rows)
    answered = sum(bool(row.answers) for row in rows) - review
    told = f"{answered} of {len(rows)} questions {'has' if answered == 1 else 'have'} an answer"
    if review:
        are, them = ("is", "it") if review == 1 else ("are", "them")
        told += f"; {review} {are} under review: what was recorded of {them} does not stand"
    return f"{told}; {sum(not row.answers for row in rows)} are open."


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text that a cell of a Markdown table can hold: one line, no bar, no markup of its own."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return " ".join(escaped.split())


def as_html(rows: Sequence[Row], remarks: Sequence[str], path: Path) -> str:
    """The page: an index of all questions, then each with its answers, then `remarks`.

    Its links, relative to `path`, lead to reports that exist.
    """
    return page_template("answers.html").render(
        rows=rows,
        remarks=remarks,
        under_review=UNDER_REVIEW,
        as_recorded=AS_RECORDED,
        introduction=INTRODUCTION.replace("`", ""),
        reading=READING,
        summary=_summary(rows),
        link=lambda answer: link_from(path, answer.report) if answer.report else "",
        **theme(),
    )
