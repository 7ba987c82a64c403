"""What the host makes of a guest's console: lines to show, signs of life, how it ended."""

from __future__ import annotations

import pytest

from image.console import MARK, PATIENCE, Console, how_it_ended, silent_too_long

BOOT = b"SeaBIOS\x1bc\x1b[?7l\r\n[    0.000000] Linux version 6.1\r\noverland: up 3.10\r\n[    4.1] squashfs: x\r\n"


def fed(*parts: bytes) -> tuple[Console, list[str]]:
    console = Console()
    return console, [line for part in parts for line in console.feed(part)]


def test_only_the_commands_lines_are_shown() -> None:
    console, shown = fed(
        BOOT,
        b"overland: start 8.21\r\nhot-l2: two_racks\r\n[   20.000001] nve1: a kernel's word\r\n",
        b"overland: alive\r\nhot-l2: 3 of 8 trials\r\noverland: end 0\r\nreboot: Power down\r\n",
    )
    assert shown == ["hot-l2: two_racks", "hot-l2: 3 of 8 trials"]
    assert (console.up, console.started, console.status) == (True, True, 0)
    assert how_it_ended(console, 0) is None


def test_bytes_may_come_in_any_portions() -> None:
    text = BOOT + b"overland: start 8\r\nabc \xe2\x86\x92 d\r\noverland: end 3\r\n"
    whole, shown = fed(text)
    one_by_one, same = fed(*(text[place : place + 1] for place in range(len(text))))
    assert [line.isascii() for line in shown] == [False]
    assert len(same) == len(shown) == 1 and one_by_one.status == whole.status == 3


def test_a_line_without_its_end_is_not_taken_yet() -> None:
    console, _ = fed(b"overland: up 1\noverland: start 2\noverland: end 1")
    assert console.status is None
    console.feed(b"2\n")
    assert console.status == 12


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "QEMU ended with status 1 before the guest's kernel came up"),
        (b"overland: up 3\n", "the guest died before its command had ended (QEMU's status 1)"),
        (b"overland: up 3\noverland: fault no data disk\n", "the guest died: no data disk"),
        (
            b"overland: up 3\n[    9.000000] Kernel panic - not syncing: Attempted to kill init!\n",
            "the guest died: Kernel panic - not syncing: Attempted to kill init!",
        ),
    ],
)
def test_an_end_that_was_none(text: bytes, says: str) -> None:
    assert how_it_ended(fed(text)[0], 1) == says


def test_a_silent_guest_is_given_up() -> None:
    patience = PATIENCE["kvm"]
    before, after = Console(), fed(MARK.encode() + b"up 1\n")[0]
    assert silent_too_long(before, patience.until_up_s, patience) is None
    assert "no sign of life" in (silent_too_long(before, patience.until_up_s + 1, patience) or "")
    assert silent_too_long(after, patience.until_up_s + 1, patience) is None
    assert "hangs" in (silent_too_long(after, patience.afterwards_s + 1, patience) or "")


def test_the_guest_speaks_more_often_than_the_host_is_patient() -> None:
    """guest/main says alive every 5 s; under TCG on a busy host that may take ten times as long."""
    assert all(patience.afterwards_s >= 10 * 5 for patience in PATIENCE.values())
