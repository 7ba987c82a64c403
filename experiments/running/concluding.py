"""The end of a run: table, timeline and report, from the record alone."""

from __future__ import annotations

from pathlib import Path

from results.figures.chosen import chosen_trials
from results.pages.report import write_report
from results.pages.table import print_table
from results.record.ownership import as_owner_of
from results.record.reading import load_record
from results.timeline.data import gather
from results.timeline.picture import save_timeline


def conclude(status: int, folder: Path) -> int:
    """Print the table, write pictures and report; 0 only for a run that is answered, else ``status`` or 1.

    It needs no root, so it is done as the user to whom the run belongs.
    """
    return as_owner_of(folder, lambda: _conclude(status, folder))


def _conclude(status: int, folder: Path) -> int:
    record = load_record(folder)
    report = write_report(record) if record.trials else None
    shown = chosen_trials(record)[:1]
    pictures = [
        path for index, _ in shown if not gather(record, index).empty for path in save_timeline(record, index)
    ]
    print_table(record, report)
    for picture in pictures[:1]:
        print(f"timeline: {picture}")
    if record.status == "answered":
        return 0
    return status or 1
