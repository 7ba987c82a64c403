"""What becomes of a command's words and errors."""

import os
import signal
import subprocess
import sys

import pytest

from emulation.sandbox import EndedBySignalError
from experiments.running.command_line import run_command
from vocabulary.errors import OverlandError


class RefusedError(OverlandError):
    pass


def run(words, command=lambda _: 0):
    return run_command(words, {"do": command}, "usage: do")


def raising(error):
    def command(_words):
        raise error

    return command


def test_the_words_behind_the_name_are_the_commands_and_its_status_is_the_result():
    taken = []
    assert run(["do", "a", "b=1"], lambda words: taken.extend(words) or 3) == 3
    assert taken == ["a", "b=1"]


@pytest.mark.parametrize("words", [[], ["undo"]])
def test_without_a_command_it_says_which_there_are(words, capsys):
    assert run(words, raising(AssertionError("was run"))) == 2
    assert capsys.readouterr() == ("", "usage: do\n")


def test_a_refusal_is_its_text_alone(capsys):
    assert run(["do"], raising(RefusedError("rate=x: not a rate"))) == 2
    assert capsys.readouterr() == ("", "rate=x: not a rate\n")
    with pytest.raises(ZeroDivisionError):  # a fault of the program is not hidden
        run(["do"], raising(ZeroDivisionError()))


def test_an_interrupt_is_130():
    assert run(["do"], raising(KeyboardInterrupt())) == 130


def test_sigterm_is_told_by_its_name(capsys):
    assert run(["do"], raising(EndedBySignalError(signal.SIGTERM))) == 143
    assert capsys.readouterr().err == "ended by SIGTERM\n"


def test_who_asks_twice_for_the_end_does_not_disturb_it():
    """As timeout does: to the process and to its group."""
    program = (
        "import os, signal\n"
        "from emulation.sandbox import EndedBySignalError\n"
        "from experiments.running.command_line import end_on_sigterm\n"
        "end_on_sigterm()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "except EndedBySignalError as ended:\n    os.kill(os.getpid(), signal.SIGTERM)\n    print(ended.status)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "143\n"), done.stderr


def test_a_reader_that_has_had_enough_is_no_fault():
    """As `make list | head`: the pipe's other end is closed before anything is written."""
    program = (
        "import sys\n"
        "from experiments.running.command_line import run_command\n"
        "sys.exit(run_command(['do'], {'do': lambda _: print('x' * 100_000, flush=True) or 1}, ''))"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (0, "")
