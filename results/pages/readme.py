"""The README's two tables of figures, made from the kept records: `make hot-l2`'s, and a line a question.

They stand between two comments each, and a test holds them to the records. Pure but for `write_readme`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from results.figures.answers import OPEN
from results.figures.display import number
from results.figures.questions import QUESTIONS, Question
from results.figures.statistics import LAST_BARRIER, Trials, count_trials, median_interval, values_of
from results.record.contract import RecordError
from results.record.files import write_atomic
from results.record.reading import Record

HOT_L2, ASKED = "hot-l2", "questions"
_BEGIN, _END = "<!-- {}: made by make evaluate-reference -->", "<!-- end of {} -->"


def written(text: str, kept: Sequence[Record]) -> str:
    """The README with its tables made anew of the kept records of a host. Raises RecordError: no place for them."""
    by_experiment = {record.experiment.removeprefix("sweep-"): record for record in kept if of_host(record)}
    if HOT_L2 not in by_experiment:
        raise RecordError(
            f"the kept records have no {HOT_L2} of a host; make {HOT_L2}, then make evaluate-reference"
        )
    for name, table in (
        (HOT_L2, _hot_l2_table(by_experiment[HOT_L2].trials)),
        (ASKED, _questions_table(by_experiment)),
    ):
        begin, end = _BEGIN.format(name), _END.format(name)
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise RecordError(f"README.md: has no place for its table: {begin} .. {end}")
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def write_readme(path: Path, kept: Sequence[Record]) -> None:
    """Make the README's tables anew in its file. Raises RecordError."""
    write_atomic(path, written(path.read_text(), kept).encode())


def of_host(record: Record) -> bool:
    """Whether a run was made outside the VM image, where times are those of the machine."""
    return not record.environment.get("accelerator")


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def _hot_l2_table(trials: Trials) -> str:
    """Medians with intervals by path, beside no move."""
    paths = list(dict.fromkeys(trial["parameters"]["path"] for trial in trials if not trial["null"]))
    columns: list[Trials] = [
        [one for one in trials if not one["null"] and one["parameters"]["path"] == path]
        for path in sorted(paths)
    ]
    columns.append([{**one, "null": False} for one in trials if one["null"]])
    rows = [["", *sorted(paths), "null (no move)"]]
    rows.append(["valid trials", *(str(count_trials(own)["valid"]) for own in columns)])
    for words, stem in (
        ("packets lost", "lost_packets"),
        ("duplicated", "duplicated_packets"),
        ("reordered", "reordered_packets"),
        ("longest TCP pause, ms", "tcp_stall_s"),
    ):
        rows.append(
            [
                words,
                *(f"→ {_told(own, f'{stem}_to_vm')}, ← {_told(own, f'{stem}_from_vm')}" for own in columns),
            ]
        )
    rows.append(["call to last barrier, ms", *(_told(own, LAST_BARRIER) for own in columns)])
    return _table(rows)


def _told(trials: Trials, measure: str) -> str:
    """'5.61 [4.90, 8.37]', '0' where all values are the same, '–' without any."""
    values = values_of(trials, measure, null=False)
    if not values:
        return "–"
    interval = median_interval(values)
    told = number(measure, median(values))
    if interval is None or interval[0] == interval[1]:
        return told
    return f"{told} [{number(measure, interval[0])}, {number(measure, interval[1])}]"


def _questions_table(kept: Mapping[str, Record]) -> str:
    """A line a question, of several experiments a line each."""
    rows: list[list[str]] = [["question", "answer", "command"]]
    for question in QUESTIONS:
        asks = f"**{question.number}** {question.asks}"
        for answer, name in _answers(question, kept):
            rows.append([asks, answer, f"`make {name}`" if name else ""])
            asks = ""
    return _table(rows)


def _answers(question: Question, kept: Mapping[str, Record]) -> list[tuple[str, str]]:
    """(answer in a line, experiment)."""
    there = [name for name in question.experiments if name in kept]
    if not there:
        return [(f"*{OPEN.partition(':')[0].lower()}*", "")]
    if question.review:
        return [(f"*under review:* {question.review}", name) for name in there]
    return [(BRIEFLY[name](kept[name].trials), name) for name in there]


def _middle(trials: Trials, measure: str, *, null: bool = False, **wanted: object) -> str:
    """The median of a measure in the trials with these parameters, as the tables write it."""
    own = [
        trial
        for trial in trials
        if all(trial["parameters"].get(key) == value for key, value in wanted.items())
    ]
    return number(measure, median(values_of(own, measure, null=null)))


def _moves(trials: Trials) -> int:
    return int(count_trials(trials)["valid"])


def _fates(trials: Trials, of: str = "moves") -> str:
    """'0 lost, duplicated or reordered in 30 moves': over all flows; what happened with the most in a trial."""
    never, some = [], []
    for verb in ("lost", "duplicated", "reordered"):
        names = {
            name
            for trial in trials
            for name in trial["measures"]
            if name.startswith(f"{verb}_packets_") and "_unknown_" not in name
        }
        most = max((value for name in names for value in values_of(trials, name, null=False)), default=0)
        if most:
            some.append(f"at most {most:,.0f} {verb}")
        else:
            never.append(verb)
    told = (
        f"0 {' or '.join([', '.join(never[:-1]), *never[-1:]] if len(never) > 1 else never)}" if never else ""
    )
    return f"{', '.join(filter(None, [told, *some]))} in {_moves(trials)} {of}"


def _hot(trials: Trials) -> str:
    pause, still = (_middle(trials, "tcp_stall_s_to_vm", null=null) for null in (False, True))
    return f"{_fates(trials)}; TCP pauses {pause} ms to the VM, without a move {still} ms"


def _several(trials: Trials) -> str:
    return f"{_fates(trials, 'trials')}: back and forth, a chain, two VMs at once, towards each other"


def _stale(trials: Trials) -> str:
    told = partial(_middle, trials, "told_s", host="talking")

    announced = sorted(
        {trial["parameters"]["learning"] for trial in trials if not trial["null"]} - {"announce, all lost"}
    )
    by = [told(learning=one) for one in announced if one.startswith("announce")]
    ends = sorted(by, key=float)
    age_s = max(trial["parameters"].get("age_s") or 0 for trial in trials)
    return (
        f"a peer's NVE knows after {told(learning='push')} ms (push), {told(learning='pull')} (pull), "
        f"{ends[0]} to {ends[-1]} (announced), {told(age_s=age_s)} (timeout of {age_s:g} s)"
    )


def _tunnel(trials: Trials) -> str:
    stops = [one for one in trials if one["valid"] and "rule" in one["parameters"]]
    held = [one for one in trials if one["valid"] and "downtime_s" in one["parameters"]]
    beyond_s = max(
        one["measures"]["held_frames_peak"] / one["parameters"]["rate_pps"] - one["parameters"]["downtime_s"]
        for one in held
    )
    late = []
    for learning in ("push", "pull"):
        own = [one["measures"] for one in stops if one["parameters"]["learning"] == learning]
        late.append(f"in {sum(one['misdirected_packets'] > 0 for one in own)} of {len(own)} with {learning}")
    return (
        f"at most rate x (downtime + {number('beyond_s', beyond_s)} ms) was held; after a stop packets still came "
        f"{', '.join(late)}"
    )


def _orders(trials: Trials) -> str:
    def lost(policy: str, *orders: str) -> str:
        return ", ".join(
            _middle(trials, "lost_packets_to_vm", policy=policy, order=order) for order in orders
        )

    dropped = lost("silent-drop", "stop-first", "update-first", "resume-first")
    kept = lost("buffer", "stop-first", "update-first")
    return (
        f"lost when stop, update, resume comes first: {dropped} with silent-drop; {kept} with buffer (resume first not "
        "tried)"
    )


def _outside(trials: Trials) -> str:
    gateway = _middle(trials, "flow_mods_count_gateway", path="remote to remote")
    routes = _middle(trials, "changed_routes_count")
    return f"{_fates(trials)}; {gateway} flow-mod at the gateway NVE, {routes} routes outside changed"


def _lease(trials: Trials) -> str:
    kept = sum(value == 0 for value in values_of(trials, "changed_leases_count", null=False))
    confirm = _middle(trials, "confirm_s")
    return f"yes in {kept} of {_moves(trials)} moves, confirmed {confirm} ms after the client asked"


def _tenants(trials: Trials) -> str:
    leaked, arrived = (
        sum(values_of(trials, name, null=False)) for name in ("leaked_packets", "arrived_packets_unrouted")
    )
    moves = _moves(trials)
    return (
        f"{leaked:,.0f} packets of one in the other in {moves} moves, {arrived:,.0f} where nothing is routed"
    )


def _life(trials: Trials) -> str:
    valid = [one for one in trials if one["valid"]]
    pairs = {tuple(sorted(one["parameters"].items())) for one in valid}
    allowed = {tuple(sorted(one["parameters"].items())) for one in valid if one["measures"]["accepted_count"]}
    refused = [one["measures"] for one in valid if not one["measures"]["accepted_count"]]
    right = sum(not one["wrong_count"] for one in refused)
    return f"{len(allowed)} of {len(pairs)} pairs are allowed; {right} of {len(refused)} other calls were refused"


BRIEFLY: Mapping[str, Callable[[Trials], str]] = {
    "hot-l2": _hot,
    "several-moves": _several,
    "hot-l2-v6": _hot,
    "stale-mapping": _stale,
    "in-flight-tunnel": _tunnel,
    "stage-order": _orders,
    "external-client": _outside,
    "dhcp-client": _lease,
    "tenants": _tenants,
    "lifecycle": _life,
}
"""What an experiment's trials say, in a line; of those whose question is under review there is no need of one."""
