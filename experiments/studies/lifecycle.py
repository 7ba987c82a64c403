"""lifecycle: which steps make the life of a VM at an NVE, and is each refused from a wrong state? (Q25)

Question   The draft begins a VM's life with three allocation steps and leaves it there. RFC 8394 names the events of
           the rest. Does every verb work from the states it belongs to, and only from these?
Varies     The verb (allocate, start, pause, resume, move, stop, release) and the state it is tried in (released,
           allocated, running, paused): all of them, in random order.
Held fixed The topology, the VM, the NVE.
Answer     Per verb and state: accepted or refused, whether a refusal names the state, what it has changed (flows at
           every NVE, the NVA's mapping, the VM's wires and processes: nothing), whether the VM can be reached
           afterwards exactly when it is running, and the time the verb takes.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from controller.client import NvaError
from emulation import commands
from emulation.errors import CommandError
from emulation.preflight import PORT_TYPES
from experiments.designs import moving_vm
from experiments.running.experiment import Experiment
from experiments.running.laboratory import Laboratory
from experiments.running.parameters import QUICK, choice, repetitions, text, whole
from experiments.running.run import Run
from experiments.running.sentences import milliseconds
from mobility.policies import MigrationRefusedError
from topologies.model import Topology
from vocabulary.lifecycle import STATES, VERBS
from vocabulary.moves import ATTACHMENTS

_COUNTERS = re.compile(r"(duration|n_packets|n_bytes|idle_age|hard_age)=[^, ]+,? ?")
ANSWER_S = 0.3  # a ping within one machine takes some 0.3 ms


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As hot-l2's: the VM must be able to move."""
    moving_vm.check({**values, "policy": _policy(values)}, topology)


def _policy(values: Mapping[str, Any]) -> str:
    return "buffer" if values["attachment"] == "rebind" else "silent-drop"


def trials(run: Run) -> None:
    """Every verb in every state, ``repeat`` times, each round in an order of its own."""
    cells = [(verb, state) for verb in VERBS for state in STATES]
    rounds = repetitions(run.values)
    run.expect(len(cells) * rounds)
    order = random.Random(run.values["seed"])
    for _ in range(rounds):
        for verb, state in order.sample(cells, len(cells)):
            lead_to(run.laboratory, run.values["vm"], state)
            run.note_trial({"verb": verb, "state": state}, tried(run, verb))


TRIED_S = 0.27
"""To lead a VM into a state, try a verb there and see whether it can be reached: measured, 140 trials in 38 s."""


def rehearse(run: Any) -> None:
    """As many trials; no load can change what they count."""
    for _ in range(len(VERBS) * len(STATES) * repetitions(run.values)):
        run.note_trial(TRIED_S, guarded=False)


def lead_to(laboratory: Laboratory, vm: str, state: str) -> None:
    """Bring a VM into a state by allowed verbs, the shortest way."""
    life = laboratory.lives[vm]
    for verb in way(life.state, state):
        life.do(verb)


def way(now: str, wanted: str) -> list[str]:
    """The fewest verbs that lead from one state to another."""
    ways: dict[str, list[str]] = {now: []}
    while wanted not in ways:
        for state, verbs in list(ways.items()):
            for verb, rule in VERBS.items():
                if state in rule.before:
                    ways.setdefault(rule.after, [*verbs, verb])
    return ways[wanted]


def tried(run: Run, verb: str) -> dict[str, float]:
    """Do a verb in the state the VM is in; what came of it, as measures."""
    laboratory, vm = run.laboratory, run.values["vm"]
    life, network = laboratory.lives[vm], laboratory.network
    state, before = life.state, picture(laboratory, vm)
    elsewhere = next(nve for nve in network.nves if nve != network.location[vm])
    begin_s = time.monotonic()
    try:
        if verb == "move":
            life.move(elsewhere, policy=_policy(run.values), announcements=1)
        else:
            life.do(verb)
        refusal = None
    except (NvaError, MigrationRefusedError) as error:
        refusal = str(error)
    call_s = time.monotonic() - begin_s
    after = life.state
    wanted = state in VERBS[verb].before
    found: dict[str, bool] = {
        "accepted_count": refusal is None,
        "wrong_count": (refusal is None) != wanted or after != (VERBS[verb].after if wanted else state),
        "misreached_count": _reached(run) != (after == "running"),
    }
    if refusal is None:
        return {**_counted(found), "call_s": call_s}
    changed = sum(before[part] != now for part, now in picture(laboratory, vm).items())
    found["unnamed_count"] = state not in refusal
    return {**_counted(found), "refusal_s": call_s, "changed_parts_count": changed}


def _counted(found: Mapping[str, bool]) -> dict[str, float]:
    return {name: int(true) for name, true in found.items()}


def picture(laboratory: Laboratory, vm: str) -> dict[str, Any]:
    """Everything that a verb may change: the NVA's mapping, the flows of every NVE, the VM's wires and processes."""
    network = laboratory.network
    parts: dict[str, Any] = {
        "mapping": {name: part for name, part in laboratory.nva.where(vm).items() if name != "version"},
        "location": network.location[vm],
    }
    for name, nve in network.nves.items():
        lines = (_COUNTERS.sub("", line).strip() for line in nve.dpctl("dump-flows").splitlines())
        parts[f"flows of {name}"] = sorted(line for line in lines if "table=" in line)
    if vm in network.wirings:
        parts["wire"] = network.wirings[vm].attached_to
    if vm in network.groups:
        parts["processes"] = network.groups[vm].is_frozen()
    return parts


def _reached(run: Run) -> bool:
    """Whether the VM answers its peer."""
    vm, peer = run.laboratory.topology.vm(run.values["vm"]), run.values["peer"]
    argv = ["ping", "-c", "1", "-W", str(ANSWER_S), "-n", "-q", str(vm.ipv4)]
    try:
        commands.run(argv, pid=run.laboratory.network[peer].pid, node=peer)
    except CommandError:
        return False
    return True


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """How many calls were accepted and refused, whether any was wrong or changed anything, and the times."""

    def total(measure: str) -> int:
        return int(sum(trial["measures"].get(measure, 0) for trial in trials))

    def took_s(verb: str) -> list[float]:
        own = (trial["measures"] for trial in trials if trial["parameters"]["verb"] == verb)
        return [measures["call_s"] for measures in own if "call_s" in measures]

    cells = {(trial["parameters"]["verb"], trial["parameters"]["state"]) for trial in trials}
    legal = sum(state in VERBS[verb].before for verb, state in cells)
    accepted = total("accepted_count")
    times = ", ".join(f"{verb} {milliseconds(took_s(verb))}" for verb in VERBS)
    return (
        f"{legal} of {len(cells)} pairs of verb and state are allowed; of {len(trials):,} calls {accepted} were "
        f"accepted and {len(trials) - accepted} refused, {total('wrong_count')} of them wrongly. "
        f"{total('unnamed_count')} refusals did not name the state, {total('changed_parts_count')} changed anything, "
        f"and the VM was reachable otherwise than its state says {total('misreached_count')} times. Times: {times}."
    )


EXPERIMENT = Experiment(
    name="lifecycle",
    questions=("Q25",),
    question="Which steps make the life of a VM at an NVE, and is each refused from a wrong state?",
    answer="verb x state: accepted or refused with the state named, nothing changed by a refusal, times",
    parameters=(
        text("topology", "two_racks", "topology of topologies/, or the path of a file"),
        text("vm", "vm1", "the VM that lives"),
        text("peer", "peer1", "the VM that tries to reach it"),
        choice("attachment", "rebind", "how the VM is attached", ATTACHMENTS),
        choice("ports", "auto", "how NVEs attach to their ports", PORT_TYPES),
        whole("repeat", 5, "how often every verb is tried in every state", 1, 10_000),
        whole("seed", 1, "the order of the trials", 0, 2**31),
        QUICK,
    ),
    trials=trials,
    rehearse=rehearse,
    check=check,
    conclude=conclude,
    memory=lambda _values: "",
    group_by=("verb", "state"),
    shown_measures=(
        "accepted_count",
        "wrong_count",
        "changed_parts_count",
        "unnamed_count",
        "misreached_count",
        "call_s",
        "refusal_s",
    ),
)
