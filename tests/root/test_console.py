"""The console and the shell, driven as a user's script drives them."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.__main__ import main

pytestmark = pytest.mark.root

PROJECT = Path(__file__).parents[2]
MARK = "OVERLAND_TEST_MARK"
START_BOUND_S = 30.0
END_BOUND_S = 2.0


def wait_until(check: Callable[[], Any], timeout_s: float, what: str) -> Any:
    end_s = time.monotonic() + timeout_s
    while not (value := check()):
        assert time.monotonic() < end_s, f"waited {timeout_s} s for {what}; last seen: {value!r}"
        time.sleep(0.01)
    return value


def marked(mark: str) -> list[str]:
    """The processes of this test that live, by the environment they have inherited."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


class Console:
    """One session with its results folder."""

    def __init__(self, results: Path) -> None:
        self.results, self.mark = results, uuid.uuid4().hex
        self.environment = {**os.environ, "RESULTS": str(results), MARK: self.mark}
        self.process: subprocess.Popen[str] | None = None

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "experiments", *words]

    def script(
        self, commands: str, *words: str, topology: str = "two_racks", together: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """A whole session from a pipe; ``together``: errors stand among what else it says."""
        return subprocess.run(
            self.argv("cli", topology, "ports=afpacket", *words),
            input=commands,
            env=self.environment,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if together else subprocess.PIPE,
            text=True,
            timeout=180,
            check=False,
        )

    def start(self, before: tuple[str, ...] = ()) -> None:
        """A session that waits for commands. ``before``: words before its command line."""
        self.process = subprocess.Popen(
            [*before, *self.argv("cli", "two_racks", "ports=afpacket")],
            env=self.environment,
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until(
            lambda: list(self.sessions.glob("*/nodes.json")), START_BOUND_S, "the session's nodes.json"
        )

    def type(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read_until(self, text: str) -> str:
        """The output up to the line that holds this text."""
        assert self.process is not None
        assert self.process.stdout is not None
        seen = ""
        for line in self.process.stdout:
            seen += line
            if text in line:
                return seen
        raise AssertionError(f"the session ended without {text!r}; it said:\n{seen}")

    def end(self) -> tuple[int, str]:
        """The exit status of a session that is ending, and the rest of what it said."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        status = self.process.wait(END_BOUND_S)
        return status, self.process.stdout.read()

    def shell(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv("shell", *words),
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def sessions(self) -> Path:
        return self.results / "sessions"

    def left_behind(self) -> list[str]:
        return marked(self.mark)

    def close(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None and not stream.closed:
                    stream.close()
            self.process.wait()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.close()
    wait_until(lambda: not made.left_behind(), END_BOUND_S, f"no process to be left: {made.left_behind()}")


def test_a_session_from_a_pipe(console: Console) -> None:
    done = console.script(
        "where vm1\n"
        "migrate vm1 nve3\n"
        "where vm1\n"
        "why peer1 vm1\n"
        "why peer2 vm1 arp\n"
        "flows nve3 FORWARD\n"
        "vm1 ping -c 1 -W 2 peer1\n"
        "migrate peer1 nve2\n"
        "pingall\n"
        "watch migrate vm1 nve2 policy=tunnel\n"
        "net\nlinks\nports\ndump\nnodes\nintfs\ntables\nhelp\nhelp migrate\nwait\npingpair\nwatch 0.1\n"
    )
    said = done.stdout
    assert (done.stderr, done.returncode) == ("", 0)
    for part in (
        "to and from nve1  agree",
        "vm1: nve1 to nve3, hot, rebind, policy buffer",
        "vm1 is at nve3: moved in",
        "to and from nve3  agree",
        "peer1 > nve1 > nve3 > vm1: delivered by nve3 to port",
        "peer2 > nve2: nve2 answers for vm1 itself",
        "nve3: 6 flows in FORWARD",
        "1 received, 0% packet loss",
        "peer1: nve1 to nve2, hot, replug, policy tunnel",
        "*** Results: 0% dropped (12/12 received)",
        "vm1 announced itself at nve2",
        "attached to nve2, cut off from nve3",
        "vm1 eth0:vm1",
        "vm1:eth0<->nve2:vm1 (OK OK)",
        "<VM vm1: eth0:10.1.0.10",
        "<NVE nve3: up0:192.0.2.3",
        "2 RESOLVE: answers ARP at the NVE",
        "events of the NVA (for 0.1 s):",
    ):
        assert part in said, f"{part!r} is not in the output:\n{said}"
    assert list(console.sessions.iterdir()) == []


def test_several_moves_by_one_command(console: Console) -> None:
    done = console.script(
        "migrate vm1 nve2 nve3\nwhere vm1\nmigrate vm1 nve1 nve3\nmigrate vm1 nve1, peer3 nve2, peer2 nve3\n"
        "where\npingall\nmigrate vm1 nve2, vm1 nve3\nmigrate vm1 nve1 nve2\n"
        "hook switch where vm1\nmigrate vm1 nve3 downtime=20ms pause=freeze\nhook switch off\n"
        "hook stop flows nve9\nmigrate vm1 nve2\nwhere vm1\n"
    )
    assert done.stdout.count("moved in") == 2 + 2 + 3 + 1, done.stdout + done.stderr
    assert done.stdout.count("2 moves of 1 VM in") == 2
    at_once = re.search(r"3 moves of 3 VMs in ([0-9.]+) ms, ([0-9.]+) ms of it at once", done.stdout)
    assert at_once is not None
    assert 0 < float(at_once[2]) <= float(at_once[1])
    assert done.stdout.count("agree") == 1 + 4 + 1
    assert "DISAGREE" not in done.stdout
    # The hook of a phase sees the move in its middle; one that is refused takes the move back.
    assert "moving nve1 to nve3: redirected, policy buffer" in done.stdout
    assert "pause freeze; NOT FAITHFUL" in done.stdout
    failed = "the move of vm1 from nve3 to nve2 failed in stop: its hook was refused: flows nve9; undone"
    assert failed in done.stderr
    assert "to and from nve3  agree" in done.stdout.splitlines()[-2]
    assert "*** Results: 0% dropped (12/12 received)" in done.stdout
    assert "vm1 is named twice" in done.stderr
    assert "vm1 is at nve1 already; move it to one of nve2, nve3" in done.stderr


def test_long_names_tunnels_in_the_own_blocks_and_an_mtu_that_is_wrong_on_purpose(console: Console) -> None:
    """Interfaces with shortened names carry moves; a packet of the MTU is lost in the tunnel, one that fits is not."""
    done = console.script(
        "pingall\nlinks\n"
        "migrate trunk-client-a1 vtep-in-rack-02 vtep-in-rack-03\n"
        "client-outside1 ping -c 1 -W 2 trunk-client-a1\n"
        "trunk-client-a1 ping -M do -c 1 -W 2 -s 1422 trunk-client-a2\n"
        "trunk-client-a1 ping -M do -c 1 -W 1 -s 1472 trunk-client-a2\n"
        "where\n",
        topology=str(PROJECT / "tests" / "data" / "good_topologies" / "own_blocks.yaml"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "*** Results: 0% dropped (2/2 received)" in done.stdout
    assert done.stdout.count("1 received, 0% packet loss") == 2
    assert done.stdout.count("0 received, 100% packet loss") == 1
    assert "trunk-client-a1:eth0<->vtep-in-rack-01:trunk-client-a1 (OK OK)" in done.stdout
    assert re.search("to and from vtep-in-rack-03 +agree", done.stdout)


def test_scripts_in_a_folder_that_is_shown(
    console: Console, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A folder in /tmp, which is the sandbox's own but for what FILES shows (and the results)."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "say.sh").write_text(f"ip -br address show eth0 >{folder}/said\n")
    done = console.script(f"vm1 sh {folder}/say.sh\nvm1 sh /tmp/nowhere.sh\n", f"FILES={folder}")
    assert "10.1.0.10/24" in (folder / "said").read_text()
    assert "/run and /tmp are their own; FILES=FOLDER" in done.stderr


def test_a_link_that_goes_down_and_comes_back(console: Console) -> None:
    ping = "vm1 ping -c 1 -W 1 peer3\n"
    done = console.script(
        f"link rack2 spine1 down\nlinks\n{ping}link rack2 spine1 up\nlinks\n{ping}link rack2\n"
    )
    down, up = done.stdout.split("100% packet loss")
    assert "rack2:to-spine1<->spine1:to-rack2 (DOWN DOWN)" in down
    assert "rack2:to-spine1<->spine1:to-rack2 (OK OK)" in up
    assert "1 received, 0% packet loss" in up
    assert "usage: link NODE NODE up|down" in done.stderr


def test_what_cannot_be_done_is_one_line_and_status_1(console: Console) -> None:
    done = console.script(
        "migrate vm1 nve1\nmigrate vm1 nve9\nmigrate vm9 nve1\nmigrate vm1 nve2 policy=x\n"
        "py nva.prepare_move('other', 'vm1', 'nve2', 'tunnel')\nmigrate vm1 nve3\nwhere vm1\n"
        "py nva.abort_move('other')\nmigrate vm1 nve3\nwher\nxterm vm1\ndpctl no-such-command\n"
    )
    lines = done.stderr.splitlines()
    assert lines[:5] == [
        "vm1 is at nve1 already; move it to one of nve2, nve3",
        "there is no NVE 'nve9'; did you mean 'nve3'? (there are: nve1, nve2, nve3)",
        "there is no VM 'vm9'; did you mean 'vm1'? (there are: vm1, peer1, peer2, peer3)",
        "policy=x: allowed is one of auto, silent-drop, icmp, tunnel, forward, buffer",
        "vm1 is moving already, from nve1 to nve2 (stage prepared); move abort vm1 takes that back",
    ]
    assert "did you mean 'where'" in lines[5]
    assert "Traceback" not in done.stderr + done.stdout
    assert "moving nve1 to nve2: prepared, policy tunnel" in done.stdout
    assert "vm1 is at nve3: moved in" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["policy=buffer", "attachment=replug"], "policy=buffer needs attachment=rebind"),
        (["colour=red"], "there is no parameter 'colour'"),
    ],
)
def test_parameters_that_cannot_be_start_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    assert main(["cli", "two_racks", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "results" / "sessions").exists()


def test_a_redirect_shows_as_a_hop_more_and_a_cut_wire_in_where_and_why(console: Console) -> None:
    done = console.script(
        "py nva.prepare_move('m', 'vm1', 'nve3', 'tunnel')\npy nva.redirect('m')\nwhy peer2 vm1\n"
        "py nva.abort_move('m')\n"
        "py nva.prepare_move('n', 'vm1', 'nve3', 'silent-drop')\npy nva.redirect('n')\nwhy peer2 vm1\n"
        "py nva.abort_move('n')\n"
        "py net.wirings['vm1'].detach()\nwhere vm1\nwhy peer1 vm1\nwhy vm1 peer1\n"
    )
    assert "peer2 > nve2 > nve1 > nve3 > vm1: delivered by nve3" in done.stdout
    assert (
        "peer2 > nve2 > nve1: dropped by nve1 in FORWARD: the VM has left, this is its old NVE" in done.stdout
    )
    assert "sends to cut, hears nobody  DISAGREE: the wire does not lead to nve1" in done.stdout
    assert "but behind that port the wire is cut: vm1 does not get it now" in done.stdout
    assert "vm1: its wire is cut, it reaches no NVE now" in done.stdout


def test_a_shell_in_a_session(console: Console) -> None:
    console.start()
    show = console.shell("nve1", "--", "ovs-vsctl", "show")
    assert "Bridge br-int" in show.stdout, show.stderr
    assert 'local_ip="192.0.2.1"' in show.stdout
    both = "ovs-appctl dpctl/show && ovs-ofctl -O OpenFlow13 dump-flows br-int"
    asked = console.shell("nve2", "--", "sh", "-c", both)
    assert "netdev@ovs-netdev" in asked.stdout, asked.stderr
    assert "table=4" in asked.stdout, asked.stderr
    inside = console.shell("vm1", "--", "sh", "-c", "ping -c 1 -W 2 10.1.0.3 && ip -4 addr")
    assert inside.returncode == 0, inside.stdout + inside.stderr
    assert "10.1.0.10" in inside.stdout
    assert "mgmt0" in console.shell("sandbox", "--", "ip", "-br", "link").stdout
    assert console.shell("vm1", "--", "sh", "-c", "exit 7").returncode == 7
    assert "NODE= is one of rack1, rack2, spine1, vm1" in console.shell("nve7").stderr
    assert "RUN=2001 is not running" in console.shell("vm1", "2001").stderr
    assert console.end() == (0, "")  # its input ends, as by Ctrl-D
    assert list(console.sessions.iterdir()) == []
    none = console.shell("vm1")
    assert "no network is running; start one with `make cli`" in none.stderr
    assert none.returncode == 2


def test_ctrl_c_interrupts_a_nodes_command_and_not_the_session(console: Console) -> None:
    console.start()
    console.type("vm1 ping -i 0.2 peer1")
    console.read_until("icmp_seq=2")
    runner = int(console.shell("sandbox", "--", "sh", "-c", "ps -o pid= --ppid 1 | head -1").stdout)
    assert console.shell("sandbox", "--", "kill", "-INT", str(runner)).returncode == 0
    console.read_until("packet loss")
    console.type("where vm1")
    console.read_until("to and from nve1  agree")
    console.type("exit")
    status, said = console.end()
    assert status == 0, said


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGTERM, 143, "the session was ended by SIGTERM; nothing of it is left\n"),
        (
            signal.SIGHUP,
            129,
            "the session was ended by SIGHUP: its terminal was closed; nothing of it is left\n",
        ),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_signals_end_a_session_and_leave_nothing(
    console: Console, number: int, status: int, said: str
) -> None:
    console.start()
    assert console.process is not None
    console.process.send_signal(number)
    assert console.end() == (status, said)
    wait_until(lambda: not console.left_behind(), END_BOUND_S, "no process to be left")
    assert "no network is running" in console.shell("vm1").stderr
    if number != signal.SIGKILL:
        assert list(console.sessions.iterdir()) == []


def test_timeout_ends_a_session_within_a_command(console: Console) -> None:
    """It sends SIGTERM to the process and to its group, and so more than once."""
    console.start(before=("timeout", "--kill-after=30", "6"))
    console.type("vm1 ping peer1")
    console.read_until("icmp_seq=1")
    assert console.process is not None
    assert console.process.wait(30.0) == 124
    assert console.process.stdout is not None
    assert "the session was ended by SIGTERM" in console.process.stdout.read()


class Terminal:
    """A session at a terminal of its own."""

    def __init__(self, console: Console) -> None:
        self.keyboard, screen = os.openpty()
        self.seen = ""
        argv = ["setsid", "--ctty", "--wait", *console.argv("cli", "two_racks", "ports=afpacket")]
        environment = {**console.environment, "TERM": "dumb"}
        self.process = subprocess.Popen(
            argv, env=environment, cwd=PROJECT, stdin=screen, stdout=screen, stderr=screen
        )
        os.close(screen)

    def press(self, keys: str) -> None:
        os.write(self.keyboard, keys.encode())

    def wait_for(self, text: str, timeout_s: float = 10.0) -> None:
        """Until this text is on the screen, after all that was waited for before."""
        end_s = time.monotonic() + timeout_s
        while text not in self.seen:
            left_s = end_s - time.monotonic()
            ready, _, _ = select.select([self.keyboard], [], [], max(0.0, left_s))
            assert ready, f"{text!r} did not come within {timeout_s} s; on the screen:\n{self.seen}"
            self.seen += os.read(self.keyboard, 65536).decode()
        self.seen = self.seen.partition(text)[2]


@pytest.fixture
def terminal(console: Console) -> Iterator[Terminal]:
    made = Terminal(console)
    yield made
    os.close(made.keyboard)  # a terminal that closes ends what is left
    made.process.wait(END_BOUND_S)


def test_at_a_terminal(console: Console, terminal: Terminal) -> None:
    terminal.wait_for("Tab completes.", START_BOUND_S)
    terminal.wait_for("overland> ")
    terminal.press("mig\tv\tnve3 pol\tt\t\n")
    terminal.wait_for("vm1: nve1 to nve3, hot, rebind, policy tunnel")
    terminal.wait_for("overland> ")
    terminal.press("wh\x03")
    terminal.wait_for("overland> ")
    # Longer than a supervisor waits after Ctrl-C before it ends a run: the session must not be ended.
    terminal.press("vm1 ping -i 0.5 peer1\n")
    terminal.wait_for("icmp_seq=6")
    terminal.press("\x03")
    terminal.wait_for("packet loss")
    terminal.wait_for("overland> ")
    terminal.press("watch\n")
    terminal.wait_for("Ctrl-C ends")
    terminal.press("\x03")
    terminal.wait_for("overland> ")
    terminal.press("where vm1\n")
    terminal.wait_for("to and from nve3  agree")
    terminal.wait_for("overland> ")
    terminal.press("\x04")
    assert terminal.process.wait(END_BOUND_S) == 0
    assert list(console.sessions.iterdir()) == []


def test_what_ctrl_c_must_end_ends_and_the_prompt_is_there(terminal: Terminal) -> None:
    terminal.wait_for("Tab completes.", START_BOUND_S)
    terminal.wait_for("overland> ")
    for command, began in (
        ("iperf vm1 peer3", "testing TCP bandwidth"),
        ("sh sleep 100 & echo be''gun; wait", "begun"),
        ("vm1 sh -c 'trap \"\" INT; echo be''gun; sleep 100'", "begun"),  # does not listen: it is killed
        ("vm1 ping peer1", "icmp_seq=1"),
        ("pingall 20", "network blue:"),
        ("hook stop vm1 ping peer1", "overland> "),
        ("migrate vm1 nve3", "icmp_seq=1"),
    ):
        terminal.press(command + "\n")
        terminal.wait_for(began)
        if began != "overland> ":
            terminal.press("\x03")
            terminal.wait_for("overland> ")
    terminal.press("hook stop off\n")
    terminal.wait_for("overland> ")
    terminal.press("where vm1\n")  # the move in whose hook it was pressed is taken back
    terminal.wait_for("to and from nve1  agree")


def test_ctrl_c_at_the_moment_the_prompt_comes_is_not_swallowed(terminal: Terminal) -> None:
    """No key follows: the session must wake by itself, whenever the press came around a verb's end."""
    terminal.wait_for("Tab completes.", START_BOUND_S)
    terminal.wait_for("overland> ")
    for number in range(40):
        terminal.press("where vm1\n")
        terminal.wait_for("of the NVA's mapping")
        delay_s = number * 0.0002  # from the last line to well behind the prompt
        end_s = time.perf_counter() + delay_s
        while time.perf_counter() < end_s:
            pass
        terminal.press("\x03")
        terminal.wait_for("Interrupt", 5.0)
        terminal.wait_for("overland> ", 5.0)


NAMES = ("vm1", "peer2", "client1", "internet", "nve1", "nve3", "rack1", "spine1")
REACHED = {  # among others; addresses of links are not routed, so a router is answered by its neighbours only
    *((one, other) for one in NAMES[:3] for other in NAMES[:3] if one != other),
    *(("client1", "internet"), ("nve1", "nve3"), ("nve3", "nve1"), ("nve1", "rack1"), ("rack1", "nve1")),
    *(("rack1", "spine1"), ("spine1", "rack1"), ("spine1", "nve1"), ("spine1", "nve3")),
}
LINKED = {
    ("vm1", "nve1"),
    ("client1", "internet"),
    ("internet", "nve3"),
    ("nve1", "rack1"),
    ("rack1", "spine1"),
}


def name_commands() -> dict[str, str]:
    """Every verb that takes names, with every kind of name -> what its answer must hold."""
    asked: dict[str, str] = {}
    for one in NAMES:
        asked |= {f"{one} ping -c 1 -W 0.5 {other}": "" for other in NAMES}
        for pair in ((one, other) for other in NAMES if other != one):
            linked = pair in LINKED or pair[::-1] in LINKED or {*pair} == {"peer2", "nve1"}  # it moves there
            asked[f"link {' '.join(pair)} up"] = "" if linked else "there is no link between"
        asked |= {
            f"{one} ip -o link": "LOOPBACK",
            f"noecho {one} echo -n": "",
            f"time {one} true": "Elapsed time",
            f"py {one}": f" {one}:",
            f"py {one}.IP()": ".",
            f"xterm {one}": f"make shell NODE={one}",
            f"migrate vm1 {one}": "vm1 is at nve1 already" if one == "nve1" else "",
            f"migrate {one} nve1": "already" if one == "vm1" else "",
            f"flows {one}": "" if one.startswith("nve") else "there is no NVE",
            f"iperf {one} {one}": "name two nodes",
            f"pause {one}": "is paused" if one in ("vm1", "peer2") else "there is no VM",
            f"{one} true": "resume" if one in ("vm1", "peer2") else "",
            f"resume {one}": "is running" if one in ("vm1", "peer2") else "there is no VM",
            f"hook stop {one} true": "",
            f"switch {one} up": "usage: switch NVE stop|start",
        }
        if not one.startswith("nve"):
            asked[f"switch {one} stop"] = "there is no NVE"
    return asked | {
        "iperf vm1 client1": "*** Results: ['",
        "iperfudp 1M client1 vm1": "*** Results: ['1M', '1.",
        "iperf nve1 nve3": "*** Results: ['",
        "iperf spine1 vm1": "iperf from spine1 to vm1 (10.1.0.10): ",
        "links": "internet:to-client1<->client1:eth0 (OK OK)",
        "net": "client1 eth0:to-client1",
        "dump": "<Client client1: eth0:203.0.113.10",
        "pingall": "to and from clients outside:",
        "switch nve3 stop": "nve restart nve3 brings it back",
        "client1 ping -c 2 -i 0.1 -W 0.5 vm1": "100% packet loss",
        "switch nve3 start": "nve3 is back",
        "pingallfull": "*** Results: 0% dropped (6/6 received)",
    }


def test_every_kind_of_name_in_every_verb_that_takes_names(console: Console) -> None:
    asked = list(name_commands().items())
    lines = [f"{command}\nsh echo '==' {number}" for number, (command, _) in enumerate(asked)]
    done = console.script("\n".join(lines) + "\n", topology="outside", together=True)
    answers = re.split(r"^== \d+\n", done.stdout, flags=re.MULTILINE)
    assert len(answers) == len(asked) + 1, answers[-1]  # all were read: the session did not end before
    wrong = [
        f"{command}: {said}"
        for (command, wanted), said in zip(asked, answers[:-1], strict=True)
        if wanted not in said or "fault of this program" in said or "Traceback" in said or "NoneType" in said
    ]
    assert wrong == []
    assert not (console.results / "faults").exists()
    said_of = dict(zip((command for command, _ in asked), answers[:-1], strict=True))
    reached = {
        (one, other)
        for one in NAMES
        for other in NAMES
        if one != other and ", 0% packet loss" in said_of[f"{one} ping -c 1 -W 0.5 {other}"]
    }
    assert reached >= REACHED, REACHED - reached
    assert all("invalid" not in said_of[f"{one} ip -o link"] for one in NAMES)


TENANTS = """\
vm1 ping -c 1 peer3
vm1 ping -c 1 red3
red1 ping -c 1 red3
red1 ping -c 1 vm1
"""


def test_a_name_never_means_another_tenants_vm(console: Console) -> None:
    done = console.script(TENANTS, topology="two_tenants")
    assert done.stdout.count("1 received, 0% packet loss") == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "where 10.1.0.3 is the address of peer3" in lines[0]
    assert "where 10.1.0.10 is its own address" in lines[1]


def test_what_goes_wrong_in_a_nodes_shell_ends_neither_shell_nor_session(console: Console) -> None:
    done = console.script(
        "vm1 exit\nvm1 echo 'half\nvm1 head -c 1000 /dev/urandom | tr -d '\\177'\nvm1 printf '\\377\\n'\n"
        "\xff\npy exit()\nvm1 kill -9 $$\nvm1 true\nsh echo 'still' here\n"
    )
    assert "still here" in done.stdout
    for told in ("would end vm1's own shell", "No closing quotation", "cannot end the session", "has ended"):
        assert told in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (console.results / "faults").exists()


def test_a_reader_that_has_had_enough_ends_a_session_without_a_word(console: Console) -> None:
    command = f"printf 'tables\\ntables\\n' | {' '.join(console.argv('cli', 'two_racks', 'ports=afpacket'))} | head -1"
    done = subprocess.run(
        ["sh", "-c", command],
        env=console.environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
