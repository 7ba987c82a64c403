"""A run's answer in one plain sentence, and what its numbers do not show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from results.figures.answer_groups import grouped_sentence
from results.figures.display import number
from results.figures.offered import offered_sentence, rate_warning
from results.figures.precision import usual_sentence
from results.figures.statistics import (
    PERCENTILE_RULE,
    Trials,
    count_trials,
    median_interval,
    share_not_ruled_out,
    values_of,
)
from results.record.contract import DEFAULT_GROUP_BY
from results.record.reading import Record

_SIDES = (("to", "to the VM"), ("from", "from it"))


def answer_sentence(record: Record) -> str:
    """The answer in one sentence, or why there is none.

    The experiment's own; else made of the measures of the valid trials, of each group where the record says
    by what to group; an experiment without either answers in its verdict.
    """
    if record.status != "answered":
        return f"No answer: {record.why.rstrip('.')}."
    return f"{warning} {_sentence(record)}" if (warning := warning_of(record)) else _sentence(record)


def warning_of(record: Record) -> str:
    """What must be read before the answer; mostly ''."""
    unfaithful = UNFAITHFUL if _with(record.trials, "pause_faithful") else ""
    return " ".join(filter(None, (rate_warning(record), unfaithful)))


def short_and_rest(record: Record) -> tuple[str, str]:
    """The answer's first sentence, which is the short answer, and the rest of it (may be ''); without its warning."""
    first, stop, rest = answer_sentence(record).removeprefix(warning_of(record)).strip().partition(". ")
    return first + stop.strip(), rest


EMULATED = "tcg"
"""`environment.accelerator` of a guest whose processors QEMU emulates (TCG)."""
EMULATED_MEANS = (
    "losses and duplicates hold; times are those of a machine many times slower, more packets are reordered"
)


def where_sentence(record: Record) -> str:
    """What sets the place of a run apart: what was offered, the VM image and its processors, delays of its links."""
    accelerator = record.environment.get("accelerator")
    told = [offered] if (offered := offered_sentence(record)) else []
    if accelerator == EMULATED:
        told.append(f"Ran in the VM image on emulated processors (TCG): {EMULATED_MEANS}.")
    elif accelerator:
        told.append(f"Ran in the VM image ({accelerator}).")
    if delays := _delays(record.data.get("topology") or {}, ""):
        told.append(f"Delays each way: {', '.join(delays)}.")
    return " ".join(told)


def _delays(part: Any, path: str) -> list[str]:
    """'outside.link 20 ms' for every delay in a record's topology."""
    if isinstance(part, list):
        pairs = [(f"{path}[{number}]", one) for number, one in enumerate(part)]
    elif isinstance(part, Mapping):
        pairs = [(f"{path}.{key}".removeprefix("."), one) for key, one in part.items() if key != "delay_s"]
        if part.get("delay_s"):
            return [f"{path} {1e3 * part['delay_s']:g} ms"]
    else:
        return []
    return [told for place, one in pairs for told in _delays(one, place)]


UNFAITHFUL = (
    "UNFAITHFUL (pause=freeze): the VM's processes stood still while its kernel went on acknowledging and sending, as "
    "no hypervisor lets it; losses are understated."
)


def _with(trials: Trials, flag: str) -> int:
    """In how many valid trials a move's record denies ``flag``."""
    return sum(
        any(
            not one.get(flag, True)
            for one in trial.get("migrations") or [trial.get("migration")]
            if one is not None
        )
        for trial in trials
        if trial["valid"]
    )


def _sentence(record: Record) -> str:
    if record.answer:
        return record.answer
    if record.group_by != DEFAULT_GROUP_BY or record.shown_measures is not None:
        return grouped_sentence(record) or (record.why if record.why.endswith(".") else f"{record.why}.")
    moves = count_trials(record.trials)["valid"]
    parts = [_packets(record.trials), _blackout(record.trials), _stall(record.trials)]
    told = [part for part in parts if part]
    if not moves or not told:
        return record.why if record.why.endswith(".") else f"{record.why}."
    kinds = sorted({trial["migration"]["kind"] for trial in record.trials if trial["migration"]})
    what = f"{'/'.join(kinds)} move" if kinds else "trial"
    return f"In {moves} valid {what}{'s' if moves != 1 else ''} " + "; ".join(told) + "."


def _affected(trials: Trials, stem: str) -> tuple[int, int, list[str]] | None:
    """(trials with any, trials measured, 'at most N to the VM' per direction), None if not measured."""
    sides = {words: values_of(trials, f"{stem}_{side}_vm", null=False) for side, words in _SIDES}
    measured = [values for values in sides.values() if values]
    if not measured:
        return None
    hit = sum(
        trial["valid"]
        and not trial["null"]
        and any((trial["measures"].get(f"{stem}_{side}_vm") or 0) > 0 for side, _ in _SIDES)
        for trial in trials
    )
    worst = [f"{max(values):,.0f} {words}" for words, values in sides.items() if values and max(values) > 0]
    return hit, max(len(values) for values in measured), worst


def _packets(trials: Trials) -> str:
    never, some = [], []
    for verb, stem in (
        ("lost", "lost_packets"),
        ("duplicated", "duplicated_packets"),
        ("reordered", "reordered_packets"),
    ):
        found = _affected(trials, stem)
        if found is not None and found[0]:
            some.append(f"{verb} in {found[0]} of {found[1]} (at most {' and '.join(found[2])})")
        elif found is not None:
            never.append(verb)
    parts = ["packets were " + " and ".join(some)] if some else []
    if never:
        joined = never[0] if len(never) == 1 else f"{', '.join(never[:-1])} or {never[-1]}"
        parts.insert(0 if "lost" in never else 1, f"no packet was {joined} in either direction")
    return ", ".join(parts)


def _blackout(trials: Trials) -> str:
    told = []
    for side, words in _SIDES:
        name = f"blackout_s_{side}_vm"
        values = values_of(trials, name, null=False)
        if values and max(values) > 0:
            median_s = median(values)
            usual = f"a median {_with_interval(name, values)} and " if median_s else ""
            told.append(f"{usual}at most {number(name, max(values))} ms {words}")
    return f"the blackout was {', '.join(told)}" if told else ""


def _stall(trials: Trials) -> str:
    told = []
    for side, words in _SIDES:
        name = f"tcp_stall_s_{side}_vm"
        values, floor = (values_of(trials, name, null=null) for null in (False, True))
        if values:
            without = f" (without a move {number(name, median(floor))} ms)" if floor else ""
            told.append(f"{_with_interval(name, values)} {words}{without}")
    return f"the longest TCP pause was a median {' and '.join(told)}" if told else ""


def _with_interval(name: str, values: Sequence[float]) -> str:
    """'18.2 ms [16.3, 20.1]': the median with its 95 % interval, which few values do not have."""
    interval = median_interval(values)
    told = "" if interval is None else f" [{number(name, interval[0])}, {number(name, interval[1])}]"
    return f"{number(name, median(values))} ms{told}"


def limits(record: Record) -> list[str]:
    """What the numbers of this run do not show, a sentence each; first what its own data say."""
    counts = count_trials(record.trials)
    moves, nulls = counts["valid"], counts["null_valid"]
    lost = _affected(record.trials, "lost_packets")
    found = []
    if lost is not None and lost[0] == 0 and moves:
        found.append(
            f"No loss in {moves} moves does not mean never: with 95 % confidence it only rules out that more "
            f"than {share_not_ruled_out(moves):.1%} of such moves lose packets."
        )
    if record.environment.get("accelerator") == EMULATED:
        found.append(f"The processors were emulated (TCG): {EMULATED_MEANS}.")
    if moves < 20:
        found.append(f"{PERCENTILE_RULE}; this run has {moves}.")
    if precision := usual_sentence(record):
        found.append(precision)
    if nulls < 3:
        found.append(
            f"The run has {nulls} valid null trial{'s' if nulls != 1 else ''}, too few for a noise floor to "
            "hold the figures against."
        )
    if frozen := _with(record.trials, "pause_faithful"):
        found.append(f"{UNFAITHFUL} So in {frozen} of {moves} moves.")
    if backed_off := _with(record.trials, "sender_timers_faithful"):
        found.append(
            f"In {backed_off} of {moves} moves the VM stood still for longer than TCP's smallest timeout (200 ms): "
            "what its own connections sent afterwards backed off as a guest's, whose timers stand still too, would not."
        )
    dropped = counts["invalid"] + counts["null_invalid"]
    if dropped:
        found.append(
            f"{dropped} of {len(record.trials)} trials were marked invalid, by signals of the machine or for a "
            "missed rate, and enter no figure; a move that itself overloads the machine would be among them."
        )
    if record.captures:
        found.append(
            f"{len(record.captures['links'])} links were captured meanwhile, which takes processor time: hold these "
            "figures against a run without captures before you rely on them."
        )
    rate_pps = record.parameters.get("rate_pps")
    if isinstance(rate_pps, int | float) and rate_pps > 0:
        found.append(
            f"A gap shorter than one probe period ({1e3 / rate_pps:.2g} ms) leaves no trace in the probes."
        )
    return [*found, *GENERAL_LIMITS]


GENERAL_LIMITS: Sequence[str] = (
    "Everything ran on one host with a shared CPU: no wire, no switch buffer, no network card and no offload "
    "of one took part.",
    "A VM is a network namespace: its processes are frozen, but its TCP timers go on. Counters of a paused "
    "sender are not those of a guest.",
    "The interval is about the median of moves like these on this machine, not about the next single move, "
    "and not about other machines.",
)


def verdict_line(record: Record) -> str:
    """'answered: 12 trials, ...' for lists and headings."""
    return f"{record.status}: {record.why}"


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The environment as (name, text) rows: `x` with its `x_why` behind it, nested objects as one row.

    Left out is what pages show by themselves: the command and the captures.
    """
    rows = []
    for key, value in environment.items():
        if key in ("command", "captures") or (
            key.endswith("_why") and key.removesuffix("_why") in environment
        ):
            continue
        text = _flat(value)
        if f"{key}_why" in environment:
            text += f" (because {_flat(environment[f'{key}_why'])})"
        rows.append((key.replace("_", " "), text))
    return rows


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_named(key.replace("_", " "), _flat(item)) for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(
        value, float
    ):  # the record has all digits; a load of 1.64990234375 tells no more than 1.6499
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return "not known" if value is None else str(value)


def _named(name: str, text: str) -> str:
    """'libbpf 1.1.2'; 'ip utility, iproute2-6.1.0' where the text has the name in front already."""
    return text if text.startswith(f"{name} ") else f"{name} {text}"


def reproduce_command(record: Record) -> str:
    """The command that was recorded, else one made of the experiment and the run's parameters."""
    recorded = record.environment.get("command")
    if isinstance(recorded, str) and recorded.strip():
        return recorded.strip()
    simple = {key: value for key, value in record.parameters.items() if isinstance(value, str | int | float)}
    return " ".join(
        [f"make {record.experiment}", *(f"{key.upper()}={value}" for key, value in simple.items())]
    )
