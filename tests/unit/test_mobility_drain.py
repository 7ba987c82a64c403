"""Stop rules: their words, when each says stop, and the connections that flow-end waits for."""

from __future__ import annotations

import pytest

from mobility.drain import Drained, DrainRule, DrainWatch, parse_drain, wait
from mobility.draining import counted_since
from mobility.flows import Connection, connections, still_there
from mobility.options import MoveOptions

RULES = {
    "acknowledged": DrainRule("acknowledged"),
    "fixed:50ms": DrainRule("fixed", 0.05),
    "fixed:0": DrainRule("fixed", 0.0),
    "idle:5ms": DrainRule("idle", 0.005),
    "flow-end": DrainRule("flow-end"),
}


@pytest.mark.parametrize("text", RULES)
def test_rules_in_words(text: str) -> None:
    assert parse_drain(text) == RULES[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fixed",
        "fixed:",
        "idle:0",
        "idle",
        "idle:-5ms",
        "never",
        "acknowledged:5ms",
        "flow-end:1s",
        "fixed:soon",
        "fixed:7201s",
        "idle:7201s",
    ],
)
def test_other_words_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are acknowledged, fixed:TIME, idle:TIME, flow-end"):
        parse_drain(text)


class World:
    """A clock that runs only while somebody sleeps, and frames that come at given times."""

    def __init__(self, frames_at_s: list[float], flow_ends_s: float = 0.0) -> None:
        self.now_s, self.frames_at_s, self.flow_ends_s = 100.0, frames_at_s, flow_ends_s
        self.asked = 0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds

    def frames(self) -> int:
        return 40 + sum(t <= self.now_s - 100 for t in self.frames_at_s)

    def flows(self) -> int:
        self.asked += 1
        return 0 if self.now_s - 100 >= self.flow_ends_s else 1

    def wait(self, text: str, bound_s: float = 10.0) -> Drained:
        return wait(parse_drain(text), bound_s, self.frames, self.flows, lambda: self.now_s, self.sleep)


def test_acknowledged_has_waited_already() -> None:
    assert World([]).wait("acknowledged") == Drained("acknowledged", 0.0, 0, 100.0)


def test_fixed_stops_at_its_time_whatever_comes() -> None:
    done = World([0.01, 0.02, 0.049, 0.2]).wait("fixed:50ms")
    assert (done.reason, done.frames) == ("fixed", 3)
    assert 0.05 <= done.seconds <= 0.056
    assert 0.049 <= done.last_frame_s - 100 <= 0.049 + 0.005  # seen at the next look


def test_idle_counts_from_the_last_frame() -> None:
    done = World([0.004, 0.008, 0.012, 0.5]).wait("idle:5ms")
    assert (done.reason, done.frames) == ("idle", 3)
    assert 0.017 <= done.seconds <= 0.019


def test_a_thin_flow_outlives_an_idle_time_shorter_than_its_gaps() -> None:
    assert World([0.1, 0.2, 0.3]).wait("idle:20ms").frames == 0
    assert World([0.1, 0.2, 0.3]).wait("idle:150ms").frames == 3


def test_flow_end_waits_for_the_connections() -> None:
    world = World([], flow_ends_s=2.0)
    done = world.wait("flow-end")
    assert done.reason == "flow-end"
    assert 2.0 <= done.seconds <= 2.01


@pytest.mark.parametrize("text", ["fixed:3600s", "idle:1s", "flow-end"])
def test_every_rule_is_bounded(text: str) -> None:
    world = World([t / 10 for t in range(1000)], flow_ends_s=1e9)
    done = world.wait(text, bound_s=3.0)
    assert done.reason == "bound"
    assert 3.0 <= done.seconds <= 3.006


def test_flows_are_asked_for_only_when_they_matter() -> None:
    world = World([])
    world.wait("fixed:20ms")
    assert world.asked == 0


def test_a_frame_at_the_last_moment_starts_the_idle_time_again() -> None:
    watch = DrainWatch(DrainRule("idle", 1.0), 0.0, 60.0, 7)
    assert watch.ended(0.9, 7, 0) is None
    assert watch.ended(1.0, 8, 0) is None
    assert watch.ended(1.9, 8, 0) is None
    assert watch.ended(2.0, 8, 0) == "idle"


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1451 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 10 1 0 100 0 0 10 0
   1: 0A00010A:1451 0100010A:C350 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0 20 4 30 10 -1
   2: 0A00010A:1451 0100010A:C351 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   3: 0A00010A:C352 0100010A:1452 08 00000000:00000000 00:00000000 00000000     0        0 12 1 0 20 4 30 10 -1
"""


def test_listening_and_ended_connections_do_not_count() -> None:
    found = connections("tcp", TCP)
    assert found == {
        Connection("tcp", "0A00010A:1451", "0100010A:C350"),
        Connection("tcp", "0A00010A:C352", "0100010A:1452"),
    }


def test_a_udp_socket_counts_when_it_is_connected() -> None:
    table = TCP.replace(" 06 ", " 07 ").replace(" 01 ", " 01 ")
    assert Connection("udp", "0A00010A:1451", "0100010A:C351") in connections("udp", table)
    assert not any(one.remote.endswith(":0000") for one in connections("udp", table))


def test_new_connections_do_not_keep_the_redirect() -> None:
    old, new = Connection("tcp", "a:1", "b:2"), Connection("tcp", "a:1", "b:3")
    assert still_there({old}, {old, new}) == 1
    assert still_there({old}, {new}) == 0


def test_an_empty_or_broken_table_has_none() -> None:
    assert connections("tcp", "") == set()
    assert connections("tcp", TCP.splitlines()[0] + "\n  0: 1\n") == set()


def test_a_counter_that_began_anew_counts_from_zero() -> None:
    assert counted_since(47, 1831) == 1784
    assert counted_since(150, 0) == 0  # the peer was told, and the rule that had counted 150 is gone
    assert counted_since(150, 3) == 3


@pytest.mark.parametrize(
    ("text", "bound_s"), [("fixed:15s", 15), ("fixed:2h", 7200), ("idle:15s", 25), ("flow-end", 10)]
)
def test_a_rule_is_given_its_own_time_and_ten_seconds_to_wait_in(text: str, bound_s: float) -> None:
    assert MoveOptions(policy="tunnel", drain=text).redirect_bound_s == bound_s
    assert MoveOptions(policy="tunnel", drain=text, drain_bound_s=3.0).redirect_bound_s == 3.0


def test_a_fixed_time_over_ten_seconds_is_kept() -> None:
    options = MoveOptions(policy="tunnel", drain="fixed:15s")
    done = World([]).wait(options.drain, bound_s=options.redirect_bound_s)
    assert done.reason == "fixed"
    assert 15.0 <= done.seconds <= 15.006
