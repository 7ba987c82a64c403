"""The terminal table of a run: one row a group and one for the null trials (rich)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.figures.answer import answer_sentence, where_sentence
from results.figures.causes import cause_rows, direction_text
from results.figures.display import NOT_MEASURED, Column, columns_of, heading, median_text, shown_measures
from results.figures.findings import findings
from results.figures.grouping import Group, groups_of, null_groups, parameter_label
from results.figures.precision import usual_sentence
from results.figures.statistics import count_trials, summarise_group, told_reasons
from results.record.contract import DEFAULT_GROUP_BY
from results.record.reading import Record

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_TO, _FROM = "→", "←"
MOST_GROUPS_ACROSS = 4  # with more, a group is always a row
_BETWEEN, _EDGES = 3, 1  # characters that rich puts beside each column and around the table
MOST_COLUMNS = 8  # when nothing says which measures matter
_Rows = list[tuple[Group, list[str]]]


def grid(record: Record) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """(headings, [(row name, cells)]); the first cell is 'valid + invalid', others have a line a direction.

    A line reads 'median [95 % interval]'; → is towards the VM, ← from it.
    """
    headings, rows = _grid(record)
    return headings, [(group.label, cells) for group, cells in rows]


def _grid(record: Record) -> tuple[list[str], _Rows]:
    trials = record.trials
    columns = columns_of(trials, record.shown_measures)
    if record.shown_measures is None:
        columns = columns[:MOST_COLUMNS]
    names = shown_measures(trials, [name for column in columns for name in column[1:] if name])
    rows = []
    for group in [*groups_of(trials, record.group_by), *null_groups(trials, record.group_by)]:
        counts, figures = count_trials(group.trials), summarise_group(group, names)
        number = f"{counts['valid']}" + (f"\n+ {counts['invalid']} invalid" if counts["invalid"] else "")
        rows.append((group, [number, *(_cell(column, figures) for column in columns)]))
    return ["trials", *(heading(name, measure) for name, measure, _ in columns)], rows


def _cell(column: Column, figures: dict[str, dict[str, Any]]) -> str:
    _, to_vm, from_vm = column
    if from_vm is None:
        return median_text(to_vm, figures.get(to_vm, {}))
    lines = [(_TO, to_vm), (_FROM, from_vm)]
    texts = [f"{sign} {median_text(name, figures[name])}" for sign, name in lines if name in figures]
    return "\n".join(texts) or NOT_MEASURED


def make_tables(record: Record, width: int) -> list[Table]:
    """The table for a terminal of `width` characters.

    A row a group when that fits; else, with few groups, a column a group; with many the measures are spread
    over several tables of a row a group each.
    """
    headings, rows = _grid(record)
    what = f"{record.experiment} ({', '.join(record.questions)})"
    arrows = any(sign in cell for _, cells in rows for cell in cells for sign in (_TO, _FROM))
    title = f"{what}: median [95 % interval]" + (f", {_TO} to VM, {_FROM} from VM" if arrows else "")
    stacked = [text.replace(", ", ",\n").replace("call to ", "call to\n") for text in headings]
    lead = [parameter_label(name) for name in record.group_by]
    named: list[list[str]] = [
        [part.replace(" to ", "\nto ") for part in group.parts]
        if record.group_by == DEFAULT_GROUP_BY
        else list(group.parts)
        for group, _ in rows
    ]
    widths = [_width(column) for column in zip([*lead, *stacked], *_joined(named, rows), strict=True)]
    if sum(widths) + _BETWEEN * len(widths) + _EDGES <= width:
        return [_by_row(title, lead, stacked, named, [cells for _, cells in rows])]
    if len(rows) <= MOST_GROUPS_ACROSS:
        return [_by_column(title, headings, rows)]
    made: list[Table] = []
    start = 0
    while start < len(stacked):
        end, room = start, width - _EDGES - sum(size + _BETWEEN for size in widths[: len(lead)])
        while end < len(stacked) and (end == start or room >= widths[len(lead) + end] + _BETWEEN):
            room -= widths[len(lead) + end] + _BETWEEN
            end += 1
        part = [cells[start:end] for _, cells in rows]
        made.append(_by_row("" if made else title, lead, stacked[start:end], named, part))
        start = end
    return made


def _joined(named: Sequence[list[str]], rows: _Rows) -> list[list[str]]:
    return [[*parts, *cells] for parts, (_, cells) in zip(named, rows, strict=True)]


def _width(cells: Sequence[str]) -> int:
    return max(len(line) for cell in cells for line in cell.split("\n"))


def _new(title: str) -> Table:
    from rich import box
    from rich.table import Table

    looks: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE_HEAD}
    return Table(title=title or None, show_lines=False, **looks)


def _by_row(
    title: str, lead: list[str], headings: list[str], named: list[list[str]], cells: list[list[str]]
) -> Table:
    """A row a group; a line between all rows, or where the first parameter changes when rows are many."""
    table = _new(title)
    many = len(named) > 2 * MOST_GROUPS_ACROSS
    for number, text in enumerate([*lead, *headings]):
        column = [parts[number] for parts in named] if number < len(lead) else []
        least = _width([text, *(column or [row[number - len(lead)] for row in cells])])
        looks: dict[str, Any] = {"style": "bold", "overflow": "fold"} if number < len(lead) else {}
        # where rows are many the table is made to fit, but for names that are wider than the terminal
        table.add_column(text, min_width=None if many and number < len(lead) else least, **looks)
    for number, (parts, row) in enumerate(zip(named, cells, strict=True)):
        table.add_row(*parts, *row)
        if not many or (number + 1 < len(named) and named[number + 1][0] != parts[0]):
            table.add_section()
    return table


def _by_column(title: str, headings: list[str], rows: _Rows) -> Table:
    table = _new(title)
    table.add_column("", style="bold")
    for group, _ in rows:
        table.add_column(group.name, overflow="fold")
    for number, text in enumerate(headings):
        table.add_row(text, *(cells[number] for _, cells in rows))
        table.add_section()
    return table


def cause_table(record: Record) -> Table | None:
    """Packets lost, duplicated, reordered, by cause, a row a group and direction; None when there was none."""
    rows = cause_rows(record)
    if not rows:
        return None
    table = _new("by cause, all valid trials together")
    for name in ("", "", "packets", "cause"):
        table.add_column(name, style="bold" if not table.columns else None)
    before = ""
    for row in rows:
        fate = f"{direction_text(row.direction)} {row.fate}"
        table.add_row(
            "" if row.group == before else row.group, fate, f"{row.packets:,} in {row.trials}", row.text
        )
        before = row.group
    return table


def print_table(record: Record, report: Path | None = None, console: Console | None = None) -> None:
    """Print table, invalid trials, the answer, and where record and report are."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    if record.trials:
        for table in make_tables(record, console.width):
            console.print(table)
    counts = count_trials(record.trials)
    if causes := cause_table(record):
        console.print(causes)
    for told in told_reasons(counts["reasons"]):
        console.print(Text(f"invalid, not in any figure: {told}"), style="yellow")
    for finding in findings(record):
        console.print(Text(f"found: {finding}"), style="bold red")
    console.print(Text(answer_sentence(record)), style="bold" if record.status == "answered" else "bold red")
    for told in (where_sentence(record), usual_sentence(record)):
        if told:
            console.print(Text(told))
    report = report or record.folder / "report.html"
    where = f"report: {report}" if report.exists() else "report: none yet (make report)"
    console.print(Text(f"record: {record.folder / 'record.json'}   {where}"), soft_wrap=True)
