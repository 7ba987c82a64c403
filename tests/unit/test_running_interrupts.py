"""Ctrl-C counts where it is said to, is not lost anywhere, and wakes a session that waits for a key."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from experiments.running.interrupts import Interrupts


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    with Interrupts() as made:
        yield made
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_it_is_raised_once_where_it_counts(interrupts: Interrupts) -> None:
    cleaned = []
    with pytest.raises(KeyboardInterrupt), interrupts.counting():
        try:
            press()
        finally:
            press()  # the second one must not end the clean-up after the first
            cleaned.append("all")
    assert cleaned == ["all"]
    with pytest.raises(KeyboardInterrupt), interrupts.counting():
        pytest.fail("what was pressed meanwhile was swallowed")


def test_what_is_held_comes_at_the_end(interrupts: Interrupts) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts.counting():
        with interrupts.held():
            press()
            done.append("the question to the NVA")
        done.append("the rest")
    assert done == ["the question to the NVA"]


def test_what_is_answered_does_not_come_again(interrupts: Interrupts) -> None:
    with interrupts.counting(), interrupts.held():
        press()
        assert interrupts.presses == 1
        interrupts.answer()
    with interrupts.counting():
        pass


def test_a_move_asks_at_its_phases(interrupts: Interrupts) -> None:
    with interrupts.counting():
        with interrupts.held_between(["stop"]) as hooks:
            hooks["stop"]()
            press()
            with interrupts.held():  # a hook's own command
                pass
            with pytest.raises(KeyboardInterrupt):
                hooks["stop"]()
        assert list(hooks) == ["stop"]


def test_in_other_threads_nothing_is_raised(interrupts: Interrupts) -> None:
    def hook() -> None:
        with interrupts.held():
            pass

    press()
    thread = threading.Thread(target=hook)
    thread.start()
    thread.join()
    assert interrupts.presses == 1


def test_a_press_that_wakes_nobody_is_sent_again(interrupts: Interrupts) -> None:
    """As readline waits: one select, which a signal of before does not end. Its byte alone tells of that press."""
    read_end, write_end = os.pipe()
    begin_s = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.counting():
            watch = interrupts._watch
            assert watch is not None
            watch._theirs.send(bytes([signal.SIGINT]))  # the kernel's part has run, Python's has not
            select.select([read_end], [], [], 10.0)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert time.monotonic() - begin_s < 5.0
