"""One self-contained HTML page of a run, from its record alone: no network, no root (jinja2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from results.figures.answer import (
    answer_sentence,
    environment_rows,
    limits,
    reproduce_command,
    where_sentence,
)
from results.figures.causes import cause_rows, cause_sentence, direction_text, meanings_of
from results.figures.chosen import chosen_trials
from results.figures.display import label, median_text, scale, shown_measures, spread_text
from results.figures.findings import findings
from results.figures.grouping import (
    NOT_SET,
    NULL_LABEL,
    SEPARATOR,
    Group,
    groups_of,
    label_of,
    null_groups,
    numeric_parameter,
    parameter_label,
    without_unset,
)
from results.figures.published import Published, published_for
from results.figures.statistics import PERCENTILE_RULE, count_trials, measures_of, summarise_group
from results.pages.page import page_template, theme
from results.pages.table import MOST_GROUPS_ACROSS
from results.pictures import style
from results.record.contract import RecordError
from results.record.files import write_atomic
from results.record.reading import Record, read_events
from results.record.samples import missing_samples, sample_names


def write_report(record: Record, path: Path | None = None, *, trials: Sequence[int] | None = None) -> Path:
    """Write the report, default report.html in the run's folder, and return its path.

    `trials`: indexes of the trials whose timelines are shown; default `chosen_trials`. Raises RecordError.
    """
    path = path or record.folder / "report.html"
    write_atomic(path, render_report(record, trials=trials).encode())
    return path


def render_report(record: Record, *, trials: Sequence[int] | None = None) -> str:
    """The page as text; what cannot be read of events or samples is told in it. Raises RecordError: no such trial."""
    from results.timeline.data import trial_of

    for index in trials or ():
        trial_of(record, index)
    missing = missing_samples(record.folder) if record.trials and not record.unfinished else ""
    troubles = [missing] if missing else []
    across = numeric_parameter(record.trials, record.group_by)
    causes = cause_rows(record)
    shown = chosen_trials(record) if trials is None else [(index, "asked for") for index in trials]
    return page_template("report.html").render(
        record=record,
        started=_when(record.data.get("started_utc")),
        counts=count_trials(record.trials),
        answer=answer_sentence(record),
        where=where_sentence(record),
        table=_table(record),
        findings=findings(record),
        causes=[(row, direction_text(row.direction)) for row in causes],
        meanings=meanings_of(causes),
        followed=cause_sentence(record),
        percentile_rule=PERCENTILE_RULE,
        distributions=_distributions(record),
        across=parameter_label(across) if across else "",
        timelines=_timelines(record, shown, troubles),
        troubles=list(dict.fromkeys(troubles)),  # one damaged file is told once, not with every trial
        invalid=[
            (trial["index"], without_unset(label_of(trial, record.group_by)), trial["invalid_reason"])
            for trial in record.trials
            if not trial["valid"]
        ],
        limits=limits(record),
        environment=environment_rows(record.environment),
        parameters=environment_rows(record.parameters),
        published=_published(record),
        captures=record.captures,
        command=reproduce_command(record),
        samples=sample_names(record.folder),
        **theme(),
    )


def _published(record: Record) -> list[Published]:
    """What others found for the run's questions, each figure once."""
    return list(dict.fromkeys(one for question in record.questions for one in published_for(question)))


def _when(text: Any) -> str:
    try:
        return f"{datetime.fromisoformat(str(text)):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return "time not known"


def _table(record: Record) -> dict[str, Any]:
    """The figures: `heads` of the groups (then null) and, a row a measure, (name, unit, [(median, spread)]).

    ``rows`` are the measures to show first, ``others`` what else was measured. ``down``: the groups are rows.
    """
    names = measures_of(record.trials)
    columns = [
        (group, count_trials(group.trials), summarise_group(group, names))
        for group in [
            *groups_of(record.trials, record.group_by),
            *null_groups(record.trials, record.group_by),
        ]
    ]

    def row(name: str) -> tuple[str, str, list[tuple[str, str]]]:
        cells = [
            (
                median_text(name, figures.get(name, {}), with_max=False),
                spread_text(name, figures.get(name, {})),
            )
            for *_, figures in columns
        ]
        return label(name), scale(name)[1], cells

    shown = shown_measures(record.trials, record.shown_measures)
    down = len(columns) > MOST_GROUPS_ACROSS
    return {
        "heads": [
            (_row_name(group) if down else group.name, counts["valid"], counts["invalid"])
            for group, counts, _ in columns
        ],
        "rows": [row(name) for name in shown],
        "others": [row(name) for name in names if name not in shown],
        "floor": any(group.label.startswith(NULL_LABEL) for group, *_ in columns),
        "down": down,
        "by": SEPARATOR.join(parameter_label(name) for name in record.group_by),
    }


def _row_name(group: Group) -> str:
    """The group's values without their names, which head the column; no line break before a unit."""
    if group.label.startswith(NULL_LABEL):
        return group.label
    told = [part for part in group.parts if part != NOT_SET] or [NOT_SET]
    return SEPARATOR.join(part.replace(" ", "\u00a0") if part[:1].isdigit() else part for part in told)


def _distributions(record: Record) -> list[Any]:
    from results.pictures.charts import draw_distributions
    from results.pictures.panels import to_svg

    return [
        _inline(to_svg(figure, salt=f"{record.name}-{name}", paper="none"))
        for name, figure in draw_distributions(record)
    ]


def _timelines(record: Record, shown: Sequence[tuple[int, str]], troubles: list[str]) -> list[dict[str, Any]]:
    """Pictures of the trials; what cannot be read is told in `troubles`, the rest of the page stands."""
    from results.pictures.occupancy import curves_of, draw_occupancy
    from results.pictures.panels import to_svg
    from results.timeline.data import gather
    from results.timeline.picture import draw_timeline
    from results.timeline.view import view

    try:
        events = read_events(record.folder)
    except RecordError as error:
        troubles.append(str(error))
        events = []
    made = []
    for index, why in shown:
        try:
            timeline = gather(record, index, events)
        except RecordError as error:
            troubles.append(str(error))
            continue
        if timeline.empty:
            continue
        figure = draw_timeline(timeline, titled=False)
        svg = to_svg(figure, salt=f"{record.name}-{index}", paper="none")
        waited = curves_of(events, index, timeline.zero_s)
        held = draw_occupancy(waited, timeline.zero_name) if waited else None
        salt = f"{record.name}-held-{index}"
        made.append(
            {
                "title": timeline.title,
                "why": why,
                "svg": _inline(svg),
                "view": view(timeline),
                "held": held and _inline(to_svg(held, salt=salt, paper="none")),
            }
        )
    return made


def _inline(svg: str) -> Any:
    """The SVG element alone, sized by the page, its colours the page's variables; safe for the template."""
    from markupsafe import Markup

    start = svg.index("<svg")
    head, body = svg[start:].split(">", 1)
    box = head.split('viewBox="', 1)[1].split('"', 1)[0]
    body = re.sub(
        r'<g id="[^"]*"', "<g", body
    )  # names of groups, the same in every picture; nothing refers to them
    lead = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}" role="img"'
    return Markup(f"{lead}>{style.with_variables(body)}")  # matplotlib has escaped the text in it
