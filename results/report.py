"""One self-contained HTML page of a run, from its record alone: no network, no root (jinja2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from results import style
from results.answer import answer_sentence, environment_rows, limits, reproduce_command
from results.contract import RecordError
from results.display import NULL_LABEL, STANDARD, label, median_text, scale, spread_text
from results.files import write_atomic
from results.reading import Record, read_events
from results.samples import sample_names
from results.statistics import PERCENTILE_RULE, count_trials, group_by, measures_of, summarise_by, value_of

TEMPLATES = Path(__file__).parent / "templates"


def write_report(record: Record, path: Path | None = None, *, trials: Sequence[int] | None = None) -> Path:
    """Write the report, default report.html in the run's folder, and return its path.

    `trials`: indexes of the trials whose timelines are shown; default `chosen_trials`. Raises RecordError.
    """
    path = path or record.folder / "report.html"
    write_atomic(path, render_report(record, trials=trials).encode())
    return path


def render_report(record: Record, *, trials: Sequence[int] | None = None) -> str:
    """The page as text. Raises RecordError when events or samples cannot be read."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    troubles: list[str] = []
    shown = chosen_trials(record) if trials is None else [(index, "asked for") for index in trials]
    return environment.get_template("report.html").render(
        record=record,
        started=_when(record.data.get("started_utc")),
        counts=count_trials(record.trials),
        answer=answer_sentence(record),
        table=_table(record),
        percentile_rule=PERCENTILE_RULE,
        distributions=_distributions(record),
        timelines=_timelines(record, shown, troubles),
        troubles=troubles,
        invalid=[trial for trial in record.trials if not trial["valid"]],
        limits=limits(record),
        environment=environment_rows(record.environment),
        parameters=environment_rows(record.parameters),
        command=reproduce_command(record),
        samples=sample_names(record.folder),
        light={variable: colour for colour, (variable, _) in style.ON_DARK.items()},
        dark=dict(style.ON_DARK.values()),
    )


def _when(text: Any) -> str:
    try:
        return f"{datetime.fromisoformat(str(text)):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return "time not known"


def _table(record: Record) -> dict[str, Any]:
    """Columns (paths, then null) with their trials; a row a measure: (name, unit, [(median, spread)]).

    ``rows`` are the measures of the contract, ``others`` what else was measured.
    """
    groups = group_by(record.trials)
    columns = [(path, count_trials(trials), figures) for (path, figures), trials in _by_path(record, groups)]
    nulls = [
        trial | {"null": False, "parameters": {"path": NULL_LABEL}}
        for trial in record.trials
        if trial["null"]
    ]
    if nulls:
        columns.append((NULL_LABEL, count_trials(nulls), summarise_by(nulls)[NULL_LABEL]))
    have = measures_of(record.trials)
    standard = [name for column in STANDARD for name in column[1:] if name in have]

    def row(name: str) -> tuple[str, str, list[tuple[str, str]]]:
        cells = [
            (
                median_text(name, figures.get(name, {}), with_max=False),
                spread_text(name, figures.get(name, {})),
            )
            for *_, figures in columns
        ]
        return label(name), scale(name)[1], cells

    heads = [(path, counts["valid"], counts["invalid"]) for path, counts, _ in columns]
    shown = standard or have  # an experiment may measure other things altogether
    return {
        "heads": heads,
        "rows": [row(name) for name in shown],
        "others": [row(name) for name in have if name not in shown],
    }


def _by_path(record: Record, groups: Mapping[str, list[Any]]) -> Any:
    return zip(summarise_by(record.trials).items(), groups.values(), strict=True)


def _distributions(record: Record) -> list[Any]:
    from results.charts import draw_distributions
    from results.figures import to_svg

    return [
        _inline(to_svg(figure, salt=f"{record.name}-{name}", paper="none"))
        for name, figure in draw_distributions(record)
    ]


def chosen_trials(record: Record) -> list[tuple[int, str]]:
    """(index, why) of the trials whose timelines are shown: a typical and the worst of each path, one null.

    Worst has most lost, then duplicated, then reordered packets, then the longest TCP stall; typical has the
    median stall of the others. Invalid trials only where there is no valid one at all.
    """
    chosen: dict[int, list[str]] = {}
    for path, trials in group_by(record.trials).items():
        ranked = sorted((trial for trial in trials if trial["valid"]), key=_badness)
        if ranked:
            by_stall = sorted(ranked[:-1] or ranked, key=lambda trial: _badness(trial)[-1])
            chosen.setdefault(by_stall[(len(by_stall) - 1) // 2]["index"], []).append(f"typical for {path}")
            chosen.setdefault(ranked[-1]["index"], []).append(f"the worst of {path}")
    nulls = [trial["index"] for trial in record.trials if trial["null"] and trial["valid"]]
    if nulls:
        chosen.setdefault(nulls[0], []).append("a null trial for comparison")
    if not chosen and record.trials:
        chosen[record.trials[0]["index"]] = ["the first trial; none is valid"]
    return [(index, " and ".join(why)) for index, why in chosen.items()]


def _badness(trial: Mapping[str, Any]) -> tuple[float, ...]:
    sides = ("to_vm", "from_vm")
    kinds = ("lost_packets", "duplicated_packets", "reordered_packets", "tcp_stall_s")
    return tuple(sum(value_of(trial, f"{kind}_{side}") or 0.0 for side in sides) for kind in kinds)


def _timelines(record: Record, shown: Sequence[tuple[int, str]], troubles: list[str]) -> list[dict[str, str]]:
    """Pictures of the trials; what cannot be read is told in `troubles`, the rest of the page stands."""
    from results.figures import to_svg
    from results.timeline import draw_timeline
    from results.timeline_data import gather

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
        figure = draw_timeline(timeline, titled=False)
        svg = to_svg(figure, salt=f"{record.name}-{index}", paper="none")
        made.append({"title": timeline.title, "why": why, "svg": _inline(svg)})
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
