"""The terminal table of a run: one row a path and one for the null trials (rich)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.answer import answer_sentence
from results.display import NOT_MEASURED, NULL_LABEL, STANDARD, heading, median_text
from results.reading import Record
from results.statistics import count_trials, group_by, summarise_by

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_TO, _FROM = "→", "←"


def grid(record: Record) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """(headings, [(row name, cells)]); the first cell is 'valid + invalid', others have a line a direction.

    A line reads 'median [95 % interval]'; → is towards the VM, ← from it.
    """
    trials = record.trials
    shown = [
        column
        for column in STANDARD
        if any(name in trial["measures"] for trial in trials for name in column[1:] if name)
        or (column[2] is None and any(trial["migration"] for trial in trials))
    ]
    headings = ["trials", *(heading(name, to_vm) for name, to_vm, _ in shown)]
    groups = group_by(trials)
    rows = []
    for path, figures in summarise_by(trials).items():
        counts = count_trials(groups[path])
        rows.append(
            (path, [_number_of(counts["valid"], counts["invalid"]), *(_cell(c, figures) for c in shown)])
        )
    nulls = [trial | {"null": False, "parameters": {"path": "-"}} for trial in trials if trial["null"]]
    if nulls:
        figures, counts = summarise_by(nulls)["-"], count_trials(nulls)
        cells = [_number_of(counts["valid"], counts["invalid"]), *(_cell(c, figures) for c in shown)]
        rows.append((NULL_LABEL, cells))
    return headings, rows


def _number_of(valid: int, invalid: int) -> str:
    return f"{valid}" + (f"\n+ {invalid} invalid" if invalid else "")


def _cell(column: tuple[str, str, str | None], figures: dict[str, dict[str, Any]]) -> str:
    _, to_vm, from_vm = column
    if from_vm is None:
        return median_text(to_vm, figures.get(to_vm, {}))
    lines = [(_TO, to_vm), (_FROM, from_vm)]
    texts = [f"{sign} {median_text(name, figures[name])}" for sign, name in lines if name in figures]
    return "\n".join(texts) or NOT_MEASURED


def make_table(record: Record, width: int) -> Table:
    """The table for a terminal of `width` characters; paths down when that fits, else measures down."""
    from rich import box
    from rich.table import Table

    headings, rows = grid(record)
    what = f"{record.experiment} ({', '.join(record.questions)})"
    title = f"{what}: median [95 % interval], {_TO} to VM, {_FROM} from VM"
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_lines=False
    )
    stacked = [text.replace(", ", ",\n").replace("call to ", "call to\n") for text in headings]
    wide = [["path", *stacked], *([name.replace(" to ", "\nto "), *cells] for name, cells in rows)]
    widths = [
        max(len(line) for cell in column for line in cell.split("\n")) for column in zip(*wide, strict=True)
    ]
    if sum(widths) + 2 * len(widths) + 2 <= width:
        for text, least in zip(wide[0], widths, strict=True):
            table.add_column(text, style="bold" if text == "path" else None, min_width=least)
        for cells in wide[1:]:
            table.add_row(*cells)
            table.add_section()
        return table
    table.add_column("", style="bold")
    for name, _ in rows:
        table.add_column(name, overflow="fold")
    for number, text in enumerate(headings):
        table.add_row(text, *(cells[number] for _, cells in rows))
        table.add_section()
    return table


def print_table(record: Record, report: Path | None = None, console: Console | None = None) -> None:
    """Print table, invalid trials, the answer, and where record and report are."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    if record.trials:
        console.print(make_table(record, console.width))
    counts = count_trials(record.trials)
    for reason, times in counts["reasons"].items():
        console.print(Text(f"invalid, not in any figure: {times} x {reason}"), style="yellow")
    console.print(Text(answer_sentence(record)), style="bold" if record.status == "answered" else "bold red")
    report = report or record.folder / "report.html"
    where = f"report: {report}" if report.exists() else "report: none yet (python -m results report)"
    console.print(Text(f"record: {record.folder / 'record.json'}   {where}"), soft_wrap=True)
