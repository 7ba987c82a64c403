"""What the console understands, refuses and completes; nothing runs behind it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emulation.nve import Datapath
from emulation.wiring import Leg
from experiments.console import mininet_view
from experiments.console.console import Console
from experiments.console.mininet_console import ConsoleError
from experiments.console.names import Names
from experiments.console.openflow_text import parse_flows
from experiments.console.question import read_question
from experiments.console.text import (
    client_rows,
    columns,
    event_line,
    flow_lines,
    greeting,
    move_lines,
    where_lines,
)
from experiments.console.watching import EventTap, watch_command
from experiments.console.whereabouts import Whereabouts, Wire, read_wire
from mobility.copy import Round
from mobility.migration import PHASES, MigrationRecord, MigrationRefusedError, MoveOptions, Phase
from mobility.order import PHASES_OF
from mobility.unfinished import Unfinished
from topologies import load_topology, topology_file

TOPOLOGY = load_topology(topology_file("two_racks"))
MEMORY_BYTES = 2**31


class Network:
    """As much of a network as the console asks for."""

    def __init__(self) -> None:
        self.topology = TOPOLOGY
        self.nves = {nve.name: object() for nve in TOPOLOGY.nves}
        self.location = {vm.name: vm.nve for vm in TOPOLOGY.vms}
        self.nameToNode = {name: object() for name in ("rack1", *self.location, *self.nves)}

    def __iter__(self) -> Iterator[str]:
        return iter(self.nameToNode)

    def __getitem__(self, name: str) -> object:
        return self.nameToNode[name]

    def keys(self) -> list[str]:
        return list(self)

    def __contains__(self, name: str) -> bool:
        return name in self.nameToNode

    def is_prewired(self, vm: str) -> bool:
        return vm == "vm1"


class Laboratory:
    """Notes the moves that are asked for."""

    def __init__(self) -> None:
        self.network, self.moves = Network(), list[tuple[str, str, dict[str, Any]]]()
        self.move_under_way: dict[str, str] | None = None
        self.nva = SimpleNamespace(where=lambda vm: {"move": self.move_under_way, "state": self.vm_state})
        self.vm_state = "running"
        self.unfinished = Unfinished()

    def check(self) -> None:
        pass

    def move(self, vm: str, nve: str, **options: Any) -> MigrationRecord:
        for phase in PHASES:
            options["hooks"].get(phase, lambda: None)()
        self.moves.append((vm, nve, {key: value for key, value in options.items() if key != "hooks"}))
        return record(vm=vm, new_nve=nve)


def record(**changes: Any) -> MigrationRecord:
    phases = [Phase(name, 10 + index / 1000, 10 + (index + 1) / 1000) for index, name in enumerate(PHASES)]
    fields = {"migration_id": "m", "kind": "hot", "vm": "vm1", "old_nve": "nve1", "new_nve": "nve3"}
    fields |= {"policy": "buffer", "attachment": "rebind", **changes}
    return MigrationRecord(phases=phases, **fields)


@pytest.fixture
def laboratory() -> Laboratory:
    return Laboratory()


@pytest.fixture
def console(laboratory: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    monkeypatch.setattr(mininet_view, "refresh", lambda network: None)
    with open(os.devnull) as nothing:  # noqa: PTH123
        yield Console(laboratory, EventTap(), faults=tmp_path / "faults", stdin=nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "policy"),
    [
        ("migrate vm1 nve3", "buffer"),
        ("migrate vm1 nve3 hot", "buffer"),
        ("migrate vm1 nve3 policy=tunnel hot", "tunnel"),
        ("migrate peer1 nve3", "tunnel"),
    ],
)
def test_a_move_with_its_policy(console: Console, laboratory: Laboratory, line: str, policy: str) -> None:
    console.onecmd(line)
    vm = line.split()[1]
    assert laboratory.moves == [(vm, "nve3", {"kind": "hot", "policy": policy})]
    assert console.refused == 0


@pytest.mark.parametrize(
    ("line", "moves"),
    [
        ("migrate vm1 nve2 nve3", [("vm1", "nve2", "buffer"), ("vm1", "nve3", "buffer")]),
        ("migrate vm1 nve2 nve1 policy=tunnel", [("vm1", "nve2", "tunnel"), ("vm1", "nve1", "tunnel")]),
        ("migrate vm1 nve2, peer2 nve1", [("peer2", "nve1", "tunnel"), ("vm1", "nve2", "buffer")]),
        (
            "migrate vm1 nve2,peer2 nve1 policy=tunnel",
            [("peer2", "nve1", "tunnel"), ("vm1", "nve2", "tunnel")],
        ),
    ],
)
def test_several_moves(
    console: Console,
    laboratory: Laboratory,
    capsys: pytest.CaptureFixture[str],
    line: str,
    moves: list[tuple[str, str, str]],
) -> None:
    console.onecmd(line)
    done = [(vm, nve, options["policy"]) for vm, nve, options in laboratory.moves]
    assert (sorted(done) if "," in line else done) == moves
    assert "2 moves of" in capsys.readouterr().out
    assert console.refused == 0


def test_a_failure_says_where_each_vm_is_and_what_was_not_begun(
    console: Console,
    laboratory: Laboratory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(vm: str, nve: str, **options: Any) -> MigrationRecord:
        if nve == "nve3":
            raise MigrationRefusedError("no room")
        return record(vm=vm, new_nve=nve)

    monkeypatch.setattr(laboratory, "move", failing)
    console.onecmd("migrate vm1 nve2 nve3 nve1")
    said = capsys.readouterr()
    assert "vm1 is at nve2: moved in" in said.out
    assert (
        said.err == "vm1 is at nve1: no room\nvm1 did not go on to nve1; it is at nve1\n"
    )  # it stands still here


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("migrate", "usage: migrate VM NVE"),
        ("migrate vm1 nve2,", "usage: migrate VM NVE"),
        ("migrate vm1 nve2, vm1 nve3", "vm1 is named twice"),
        ("migrate vm1 nve2 nve2", "vm1 would, before its move number 2, be at nve2 already"),
        ("migrate vm1 nve2 hot, peer1 nve3", "kind and policy come last and hold for all"),
        ("migrate vm1 nve2, peer1 nve9", "no NVE 'nve9'"),
        ("migrate vm1 nve2, peer1 nve3 policy=buffer", "policy=buffer needs attachment=rebind"),
        ("migrate vm1", "usage: migrate VM NVE"),
        ("migrate vm9 nve3", "no VM 'vm9'; did you mean 'vm1'? (there are: vm1, peer1, peer2, peer3)"),
        ("migrate vm1 rack2", "no NVE 'rack2'"),
        (
            "migrate vm1 nve3 policy=fast",
            "policy=fast: allowed is one of auto, silent-drop, icmp, tunnel, forward, buffer",
        ),
        ("migrate vm1 nve3 polcy=tunnel", "no parameter 'polcy'; did you mean 'policy'?"),
        ("migrate vm1 nve3 hot cold", "'cold' is too much"),
        ("where vm9", "no VM 'vm9'"),
        ("why vm1", "usage: why WHO WHOM [icmp|tcp|udp|arp|nd] [ipv4|ipv6]"),
        ("why vm1 vm1", "name two"),
        ("why vm1 peer9", "no VM 'peer9'; did you mean 'peer3'?"),
        ("why vm1 peer1 arp ipv6", "for 2001:db8:1::1 it is nd"),
        ("why vm1 10.1.0.2 nd", "for 10.1.0.2 it is arp"),
        ("why vm1 10.1.0.1 from=2001:db8::9", "are not of one IP version"),
        ("why vm1 peer1 arp fragment", "arp is not sent in fragments"),
        ("why vm1 224.0.0.1", "a group's address"),
        ("audit nve9", "no NVE 'nve9'"),
        ("why vm1 peer1 sctp", "no protocol 'sctp'"),
        ("flows", "usage: flows NVE [TABLE]; NVEs: nve1, nve2, nve3"),
        ("flows vm1", "no NVE 'vm1'"),
        ("flows nve1 FORWRD", "no table 'FORWRD'; did you mean 'FORWARD'?"),
        ("flows nve1 9", "no table '9'"),
        ("watch", "how many SECONDS"),
        ("watch soon", "watch soon: allowed is a number of seconds"),
        ("watch -1", "watch -1: allowed"),
        ("watch watch", "name another command"),
        ("wher", "'wher' is neither a command nor a node; did you mean 'where'?"),
        ("vm1", "which command shall run there?"),
        ("help migrat", "no command 'migrat'"),
        ("xterm nve1", "make shell NODE=nve1"),
        ("noecho", "usage: noecho NODE COMMAND"),
        ("noecho vm9 ls", "no node 'vm9'"),
        ("source", "usage: source FILE"),
        ("source /none", "source /none: No such file or directory"),
        ("source /", "source /: Is a directory"),
        ("time", "usage: time COMMAND"),
        ("sh", "usage: sh COMMAND"),
        ("dpctl", "usage: dpctl COMMAND"),
        ("link rack1", "usage: link NODE NODE up|down"),
        ("link rack1 vm9 up", "no node 'vm9'"),
        ("switch nve1", "usage: switch NVE stop|start"),
        ("switch vm1 stop", "no NVE 'vm1'"),
        ("iperf vm1", "usage: iperf NODE NODE"),
        ("iperfudp fast vm1 peer1", "usage: iperfudp RATE NODE NODE"),
        ("pingall soon", "pingall soon: allowed is a timeout in seconds"),
        ("pingpair nan", "pingpair nan: allowed is a timeout"),
        ("hook stop time migrate vm1 nve2", "hook stop migrate: not within a move"),
    ],
)
def test_what_cannot_be_done_is_one_text(
    console: Console, laboratory: Laboratory, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    assert console.onecmd(line) is False
    assert said in capsys.readouterr().err
    assert (console.refused, laboratory.moves) == (1, [])


def test_a_second_move_of_a_vm_that_moves(
    console: Console, laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    laboratory.move_under_way = {"old_nve": "nve1", "new_nve": "nve2", "stage": "prepared"}
    console.onecmd("migrate vm1 nve3")
    assert "vm1 is moving already, from nve1 to nve2 (stage prepared)" in capsys.readouterr().err
    assert laboratory.moves == []


def test_every_own_verb_is_in_help(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    console.onecmd("help")
    listed = capsys.readouterr().out
    assert (
        listed.index("migrate ") < listed.index("where ") < listed.index("why ") < listed.index("Of Mininet:")
    )
    assert "xterm" not in listed
    console.onecmd("help migrate")
    assert "silent-drop" in capsys.readouterr().out


def complete(console: Console, line: str) -> list[str]:
    begin = line.rfind(" ") + 1
    verb = line.split(" ")[0]
    answer = getattr(console, f"complete_{verb}", console.completedefault) if begin else console.completenames
    return [word.strip() for word in answer(line[begin:], line, begin, len(line))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mig", ["migrate"]),
        ("vm", ["vm1"]),
        ("migrate ", ["peer1", "peer2", "peer3", "vm1"]),
        ("migrate vm1 ", ["nve2", "nve3"]),
        ("migrate vm1 nve3 h", ["hot"]),
        ("migrate vm1 nve3 n", ["nve1", "nve2"]),
        ("migrate vm1 nve3, ", ["peer1", "peer2", "peer3"]),
        ("migrate vm1 nve3, peer1 ", ["nve2", "nve3"]),
        ("migrate vm1 nve3 policy=s", ["policy=silent-drop"]),
        ("migrate vm1 nve3 policy=tunnel c", ["cold"]),
        ("migrate vm1 nve3 policy=tunnel p", ["pause=drop", "pause=freeze", "pause=hold"]),
        ("hook s", ["stop", "switch"]),
        ("hook switch flo", ["flows"]),
        ("where v", ["vm1"]),
        ("why vm1 peer", ["peer1", "peer2", "peer3"]),
        ("why vm1 peer1 ", ["arp", "fragment", "icmp", "ipv4", "ipv6", "nd", "tcp", "udp", "from="]),
        ("why vm1 peer1 nd ip", ["ipv4", "ipv6"]),
        ("audit nve", ["nve1", "nve2", "nve3"]),
        ("flows nve1 AN", ["ANTI_SPOOF"]),
        ("vm1 ping peer", ["peer1", "peer2", "peer3"]),
    ],
)
def test_completion(console: Console, line: str, words: list[str]) -> None:
    assert complete(console, line) == words


def test_more_of_a_move_is_chosen_and_refused_before_it_begins(
    console: Console, laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    console.onecmd("migrate vm1 nve3 warm pause=freeze downtime=20ms real=0 announce=garp")
    chosen = {"pause": "freeze", "downtime_s": 0.02, "copy_real": 0, "announce_with": "garp"}
    assert laboratory.moves == [("vm1", "nve3", {"kind": "warm", "policy": "buffer", **chosen})]
    for line, told in (
        (
            "migrate vm1 nve3 order=resume-first",
            "order=resume-first with policy=buffer: packets are held until",
        ),
        (
            "migrate vm1 nve3 drain=idle:1s policy=icmp",
            "drain=idle:1s with policy=icmp: that policy redirects nothing",
        ),
        ("migrate vm1 nve3 real=1", "copy_real without a copy: give bandwidth_bps"),
        ("migrate vm1 nve3 pause=sleep", "pause=sleep: allowed is one of hold, drop, freeze"),
        ("migrate vm1 nve3 downtime=fast", "downtime=fast: allowed is a duration"),
        ("migrate peer1 nve3 policy=forward", "policy=forward needs attachment=rebind"),
    ):
        console.onecmd(line)
        assert told in capsys.readouterr().err, line
    assert len(laboratory.moves) == 1


def test_two_copies_that_run_at_once_are_told_as_such() -> None:
    order = PHASES_OF["resume-first"]
    phases = [Phase(name, index / 1000, (index + 1) / 1000) for index, name in enumerate(order)]
    both = record()
    both.phases = phases
    # resume ends at 4 ms, announce, converge and stop follow, switch ends at 8 ms
    assert "for 4.00 ms both copies were there" in move_lines(both, MEMORY_BYTES)[-1]
    assert "from stop to" not in move_lines(both, MEMORY_BYTES)[-1]


def test_a_pause_that_lies_is_told_with_the_move() -> None:
    said = "\n".join(
        move_lines(record(paused_s=1.0, resumed_s=1.02, options=MoveOptions(pause="freeze")), MEMORY_BYTES)
    )
    assert "20.00 ms, pause freeze; NOT FAITHFUL" in said
    said = "\n".join(move_lines(record(paused_s=1.0, resumed_s=1.02), MEMORY_BYTES))
    assert "pause hold" in said
    assert "FAITHFUL" not in said


def test_a_hook_does_its_command_when_its_phase_begins(
    console: Console, laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    console.onecmd("hook")
    assert capsys.readouterr().out == "  no hooks\n"
    console.onecmd("hook switch tables")
    console.onecmd("hook")
    assert capsys.readouterr().out == "  switch: tables\n"
    console.onecmd("migrate vm1 nve3")
    said = capsys.readouterr().out
    assert said.index("ANTI_SPOOF") < said.index("vm1 is at nve3")
    console.onecmd("hook switch off")
    console.onecmd("migrate vm1 nve2")
    assert "ANTI_SPOOF" not in capsys.readouterr().out
    assert len(laboratory.moves) == 2


def test_a_hook_that_is_refused_fails_its_phase(
    console: Console, laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    console.onecmd("hook stop flows nve9")
    console.onecmd("migrate vm1 nve3")
    said = capsys.readouterr().err
    assert "there is no NVE 'nve9'" in said
    assert "vm1 is at nve1: its hook was refused: flows nve9" in said
    assert laboratory.moves == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("hook stopp tables", "there is no phase 'stopp'; did you mean 'stop'?"),
        ("hook stop", "usage: hook stop COMMAND, or hook stop off"),
        ("hook stop migrate vm1 nve2", "hook stop migrate: not within a move"),
    ],
)
def test_a_wrong_hook_is_refused(
    console: Console, capsys: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    console.onecmd(line)
    assert told in capsys.readouterr().err


def test_interrupts_before_the_switch_take_a_move_back(
    console: Console,
    laboratory: Laboratory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(vm: str, nve: str, **options: Any) -> MigrationRecord:
        os.kill(os.getpid(), signal.SIGINT)
        options["hooks"]["switch"]()
        return record()

    monkeypatch.setattr(laboratory, "move", interrupted)
    with console.interrupts:
        console.onecmd("migrate vm1 nve3")
    assert "interrupted: the move was taken back, vm1 stays at nve1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("lost"), AttributeError("no updateIP"), AssertionError(), KeyError(1)]
)
def test_a_fault_of_the_program_is_told_with_its_traceback_and_the_session_goes_on(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def faulty(_line: str) -> None:
        raise error

    monkeypatch.setattr(console, "do_tables", faulty)
    assert console.onecmd("tables now") is False
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"a fault of this program, not of yours, in `tables now`: {type(error).__name__}" in said
    kept = list(console.faults.iterdir())
    assert [str(path) in said for path in kept] == [True]
    assert "in faulty" in kept[0].read_text()
    assert console.refused == 1


def test_a_traceback_that_cannot_be_written_ends_nothing(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console.faults = Path("/proc/none")
    monkeypatch.setattr(console, "do_tables", lambda _line: 1 / 0)
    assert console.onecmd("tables") is False
    assert "its traceback could not be written (" in capsys.readouterr().err


def test_a_fault_in_a_hook_takes_the_move_back(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "do_tables", lambda _line: 1 / 0)
    console.onecmd("hook stop tables")
    console.onecmd("migrate vm1 nve3")
    assert "vm1 is at nve1: its hook was refused: tables" in capsys.readouterr().err


def test_what_python_says_is_one_line(
    console: Console, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for line, told in (
        ("py 1/0", "py: ZeroDivisionError: division by zero"),
        ("px raise KeyError", "px: KeyError"),
        ("py exit()", "py exit(): a command cannot end the session; exit does"),
        ("px import sys; sys.exit(3)", "a command cannot end the session"),
    ):
        assert console.onecmd(line) is False
        said = capsys.readouterr()
        assert (said.out, told in said.err, said.err.count("\n")) == ("", True, 1), said
    console.onecmd("py 6 * 7")
    assert "42\n" in caplog.text


def test_a_file_of_commands(console: Console, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "commands"
    file.write_text(f"tables # all\n\nwher\nsource {file}\n")
    assert console.onecmd(f"source {file}") is False
    said = capsys.readouterr()
    assert said.out.count("ANTI_SPOOF") > 0
    assert "'wher' is neither a command nor a node" in said.err
    assert "files source each other without end" in said.err
    file.write_text("exit\ntables\n")
    assert console.onecmd(f"source {file}") is True
    assert capsys.readouterr().out == ""


def told(name: str, done: MigrationRecord, memory_bytes: int = MEMORY_BYTES) -> str | None:
    """What a move's lines say of one thing, None for nothing."""
    lines = [line.strip() for line in move_lines(done, memory_bytes)]
    found = [line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")]
    return found[0] if found else None


def test_a_move_says_what_is_copied_of_the_memory() -> None:
    nothing = (
        "nothing is copied: the times are the network's share of a move; bandwidth=1Gbit copies the VM's 2GiB"
    )
    assert told("memory", record()) == nothing
    imposed = told("memory", record(options=MoveOptions(kind="cold", downtime_s=0.1)))
    assert imposed is not None
    assert imposed.startswith("nothing is copied, the time that the VM stands still is imposed")
    cold = record(options=MoveOptions(kind="cold"), copied_bytes=2**31, stop_bytes=2**31)
    assert told("memory", cold) == (
        "2,147.5 MB copied for 2GiB at 1Gbit, by waiting as long: 2,147.5 MB while it stood still"
    )
    real = MoveOptions(bandwidth_bps=2e8, memory_bytes=2**20, copy_real=True)
    hot = record(
        options=real, copied_bytes=1_500_000, copy_rounds=[Round(1, 2**20, 0.04)], stop_bytes=451_424
    )
    assert told("memory", hot) == (
        "1.5 MB copied for 1MiB at 200Mbit, real bytes: 1 round while it ran, 0.5 MB while it stood still"
    )


@pytest.mark.parametrize(
    ("drain", "ended", "seconds", "said"),
    [
        ("acknowledged", "acknowledged", 0.0, None),
        ("fixed:15s", "fixed", 15.0, "after 15.00 s, by drain=fixed:15s"),
        ("flow-end", "bound", 10.0, "after 10.00 s, before drain=flow-end was done: it is given no longer"),
    ],
)
def test_a_move_says_when_its_redirect_ended(
    drain: str, ended: str, seconds: float, said: str | None
) -> None:
    done = record(options=MoveOptions(policy="tunnel", drain=drain), drain_ended=ended, drain_s=seconds)
    assert told("the redirect ended", done) == said


def test_a_move_in_words() -> None:
    done = record(held_frames={"outbound": 3, "redirected": 0}, call_to_last_barrier_s=0.0041)
    lines = move_lines(done, MEMORY_BYTES)
    assert lines[0] == "vm1: nve1 to nve3, hot, rebind, policy buffer"
    assert any("3 outbound, 0 redirected" in line for line in lines)
    assert any(line.endswith("4.10 ms") and "last barrier" in line for line in lines)
    assert lines[-1] == "vm1 is at nve3: moved in 10.00 ms, of which 3.00 ms from stop to the end of resume."


def test_where_says_when_wire_and_mapping_differ() -> None:
    ports = {"direct": 3, "redirected": 2}
    legs = {("nve1", "direct"): "vm", ("nve3", "direct"): "cut"}
    good = Whereabouts("vm1", "10.1.0.10", "nve1", ports, None, Wire("nve1", legs))
    bad = Whereabouts("vm1", "10.1.0.10", "nve3", ports, None, Wire("nve1", legs))
    lines = where_lines([good, bad], 7)
    assert lines[1].endswith("agree")
    assert lines[2].endswith("DISAGREE: the wire does not lead to nve3")


def test_where_tells_mappings_of_before_and_vms_that_do_not_run() -> None:
    ports = {"direct": 3, "redirected": 2}
    here = Wire("nve3", {("nve3", "direct"): "vm"})
    held = Wire("held", {("nve3", "direct"): "held"})
    cut = Wire("cut", {("nve3", "direct"): "cut"})
    late = {"nve2": "nve1", "nve4": "nve1"}
    found = [
        Whereabouts("vm1", "10.1.0.10", "nve3", ports, None, here, "running", late),
        Whereabouts("vm1", "10.1.0.10", "nve3", ports, None, held, "paused"),
        Whereabouts("vm1", "10.1.0.10", "nve3", ports, None, cut, "allocated"),
        Whereabouts("vm1", "10.1.0.10", "nve3", ports, None, held, "running"),
    ]
    said = where_lines(found, 7, (), "announce")
    assert said[1].endswith("NVA and wire agree; nve2, nve4 still send to nve1 (strategy announce)")
    assert said[2].endswith("paused: agree")
    assert said[3].endswith("allocated: agree")
    assert said[4].endswith("DISAGREE: the wire does not lead to nve3")


def test_where_knows_clients_outside() -> None:
    topology = load_topology(topology_file("outside"))
    assert topology.outside is not None
    rows = client_rows(topology.outside.clients, topology, {"nve3": {"out0": 5}})
    assert where_lines([], 7, rows)[1].split()[:4] == ["client1", "203.0.113.10", "nve3", "5"]


def test_flows_count_what_matched_none() -> None:
    dump = " cookie=0x1, table=3, n_packets=5, n_bytes=4, priority=100,reg1=0x1389,reg2=0 actions=drop\n"
    lines = flow_lines("nve1", parse_flows(dump), {3: 1234}, Names(), 3)
    assert lines[0] == "nve1: 1 flow in FORWARD"
    assert lines[-1].split(":")[0].strip() == "1,234 packets  matched no flow and were dropped"


@pytest.mark.parametrize(
    ("line", "who", "address", "protocol", "claimed"),
    [
        ("vm1 peer2", "vm1", "10.1.0.2", "icmp", None),
        ("vm1 peer2 ipv6 udp", "vm1", "2001:db8:1::2", "udp", None),
        ("vm1 peer2 nd", "vm1", "2001:db8:1::2", "nd", None),
        ("vm1 2001:db8:1::77", "vm1", "2001:db8:1::77", "icmp", None),
        ("10.1.0.10 peer2", "vm1", "10.1.0.2", "icmp", None),
        ("vm1 peer2 from=10.1.0.9", "vm1", "10.1.0.2", "icmp", "10.1.0.9"),
        ("10.1.0.100 peer2", "peer1", "10.1.0.2", "icmp", "10.1.0.100"),
    ],
)
def test_a_question_is_read(line: str, who: str, address: str, protocol: str, claimed: str | None) -> None:
    """peer1 has 10.1.0.100 on its interface, too."""
    asked = read_question(line.split(), TOPOLOGY, lambda ip: ["peer1"] if ip == "10.1.0.100" else [])
    assert (asked.who.name, asked.address, asked.protocol, asked.claimed) == (who, address, protocol, claimed)


def test_an_address_of_two_tenants_is_the_one_near_the_other_end() -> None:
    tenants = load_topology(topology_file("two_tenants"))
    assert read_question(["10.1.0.3", "red1"], tenants, lambda _: []).who.name == "red3"
    with pytest.raises(ConsoleError, match="an address of peer3 and of red3: name the one that sends"):
        read_question(["10.1.0.3", "green2"], tenants, lambda _: [])
    with pytest.raises(ConsoleError, match=r"nobody has the address .* name the one that sends with it"):
        read_question(["10.9.0.9", "green2"], tenants, lambda _: [])


def test_the_wire_is_read_from_the_kernels_actions() -> None:
    legs = {
        name: Leg(
            name,
            {"direct": f"vm1-l{n}", "redirected": f"vm1-r{n}"},
            {"direct": 10 * n, "redirected": 10 * n + 1},
        )
        for n, name in ((1, "nve1"), (3, "nve3"))
    }
    wiring: Any = SimpleNamespace(vm="vm1", legs=legs)
    targets = {10: "vm1-p", 11: "vm1-p", 30: "vm1-hd", 31: "sink0"}
    wire = read_wire(wiring, targets, "vm1-l1")
    assert wire.agrees_with("nve1")
    assert (wire.hears["nve3", "direct"], wire.hears["nve3", "redirected"]) == ("held", "cut")
    assert read_wire(wiring, targets, "vm1-ho").speaks == "held"
    opened = read_wire(wiring, targets, "vm1-ho", {"vm1-ho": "vm1-l3", "vm1-hd": "vm1-p"})
    assert (opened.speaks, opened.hears["nve3", "direct"]) == ("nve3", "vm")
    assert read_wire(wiring, targets, "sink0").words() == "sends to cut, hears nve1"


def test_events_in_words() -> None:
    assert event_line({"t_s": 5.01, "kind": "rarp", "vm": "vm1", "nve": "nve3"}, 5.0).split(None, 3)[3] == (
        "vm1 announced itself at nve3"
    )
    assert "colour=red" in event_line({"t_s": 5.0, "kind": "rarp", "colour": "red"}, 5.0)
    assert "colour=red" in event_line({"t_s": 5.0, "kind": "unheard_of", "colour": "red"}, 5.0)


class Stream(list[dict[str, Any]]):
    """A watch whose events are there at once."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def test_a_commands_events_come_in_the_order_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    tap = EventTap()
    told = Stream(
        [
            {"t_s": 2.0, "kind": "rarp", "vm": "vm1", "nve": "nve3"},
            {"t_s": 0.5, "kind": "northbound", "method": "where", "start_s": 0.5, "end_s": 0.6},
        ]
    )
    nva: Any = SimpleNamespace(watch=lambda: told)
    watch_command(
        nva, tap, lambda: [tap(3.0, "phase", name="x", start_s=3, end_s=4), tap(1.0, "note", text="hello")]
    )
    printed = capsys.readouterr().out
    assert printed.index("hello") < printed.index("rarp") < printed.index("phase")
    assert "where" not in printed
    assert tap.kept is None


def test_the_greeting_shows_what_is_there() -> None:
    datapath = Datapath("userspace", "afpacket", "asked for")
    text = "\n".join(greeting(TOPOLOGY, datapath, 1.25))
    assert "From another terminal" in text
    assert "From another terminal" not in "".join(greeting(TOPOLOGY, datapath, 1.25, terminals=False))
    for part in (
        "nve3  rack2  192.0.2.3  peer3 10.1.0.3",
        "userspace datapath, afpacket ports (asked for); up in",
        "migrate vm1 nve3",
        "make shell NODE=nve1",
        "Ctrl-D",
    ):
        assert part in text


def test_columns_are_aligned() -> None:
    assert columns([("a", "bb"), ("ccc", "d")]) == ["  a    bb", "  ccc  d"]
