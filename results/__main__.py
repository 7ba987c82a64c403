"""`python -m results COMMAND`: look at runs and compare them, without root; bad input: one line, exit status 2."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from results.record.contract import RecordError
from results.record.ownership import as_owner_of, leave_no_bytecode
from results.record.reading import Record, list_runs, load_record, open_run

REFERENCE = Path(__file__).resolve().parent / "reference"
DEFAULT_RESULTS = Path(os.environ.get("RESULTS") or Path(__file__).resolve().parent).absolute()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m results", description="Look at recorded runs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _Parser(add_help=False)
    common.add_argument(
        "--results-dir",
        type=Path,
        default=DEFAULT_RESULTS,
        metavar="DIR",
        help="folder that holds runs/ and latest",
    )
    run = _Parser(add_help=False)
    run.add_argument(
        "run",
        nargs="?",
        default="latest",
        metavar="RUN",
        help="folder, name, part of a name, an experiment (its newest run), or latest (default)",
    )
    report = commands.add_parser("report", parents=[common, run], help="write report.html and print its path")
    report.add_argument("-o", "--output", type=Path, metavar="FILE", help="write it there instead")
    report.add_argument("--trials", type=_indexes, metavar="I,J,...", help="trials whose timelines are shown")
    commands.add_parser("table", parents=[common, run], help="print the table and the answer")
    timeline = commands.add_parser(
        "timeline", parents=[common, run], help="write a trial's picture as PNG and SVG"
    )
    timeline.add_argument("--trial", type=int, default=0, metavar="I", help="index of the trial (default 0)")
    timeline.add_argument(
        "--window",
        type=_window,
        metavar="FROM:TO",
        help="ms relative to switch, such as -20:40 (default: all phases)",
    )
    timeline.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder to write into (default the run's)"
    )
    precision = commands.add_parser(
        "precision", parents=[common, run], help="how many more trials a narrower interval takes"
    )
    precision.add_argument(
        "--width",
        default="10%",
        metavar="X",
        help="2ms or 0.5s of times, 3 of packets and the like, or 10%% of the median on either side (default)",
    )
    precision.add_argument("--measure", metavar="NAME", help="of this measure alone")
    pcap = commands.add_parser(
        "pcap", parents=[common, run], help="what the captures of a run hold, and where packets were lost"
    )
    pcap.add_argument("--packet", type=_packet, metavar="N", help="the way of probe packet number N")
    compare = commands.add_parser(
        "compare", parents=[common], help="did run B move from run A? exit status 1 if so"
    )
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B")
    gate = commands.add_parser(
        "gate", parents=[common], help="exit status 1 if a run is worse than a baseline"
    )
    gate.add_argument("baseline", metavar="BASELINE")
    gate.add_argument("run", nargs="?", default="latest", metavar="RUN")
    answers = commands.add_parser(
        "answers", parents=[common], help="write the answers of all questions as Markdown and HTML"
    )
    answers.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.md",
        help="default answers-here.md in the results folder; answers.html goes beside it",
    )
    reference = commands.add_parser(
        "reference", parents=[common], help="do the newest runs agree with results/reference?"
    )
    reference.add_argument(
        "--write", action="store_true", help="keep the newest runs as reference instead, and do as --pages"
    )
    reference.add_argument(
        "--pages", action="store_true", help="write ANSWERS.md and the README's tables from the kept records"
    )
    reference.add_argument(
        "--reference-dir", type=Path, default=REFERENCE, metavar="DIR", help="default results/reference"
    )
    commands.add_parser("list", parents=[common], help="list the runs, oldest first")
    return parser


def _indexes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of trial numbers such as 0,4,7") from None


def _packet(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a probe packet, such as 812")
    return int(text)


def _window(text: str) -> tuple[float, float]:
    try:
        lo, hi = (float(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM:TO in ms, such as --window=-20:40") from None
    if not lo < hi:
        raise argparse.ArgumentTypeError(f"{text!r}: FROM must be below TO")
    return lo, hi


def _list(results_dir: Path) -> None:
    runs = list_runs(results_dir)
    if not runs:
        print(f"no runs in {results_dir / 'runs'} yet")
    rows = []
    for folder in runs:
        try:
            record = load_record(folder)
        except RecordError as error:
            rows.append((folder.name, "", "", f"unreadable: {error}"))
            continue
        verdict = "still running, or died" if record.unfinished else f"{record.status}: {record.why}"
        rows.append((folder.name, ", ".join(record.questions), f"{len(record.trials)} trials", verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    for name, questions, trials, verdict in rows:
        print(f"{name:<{widths[0]}}  {questions:<{widths[1]}}  {trials:>{widths[2]}}  {verdict}")


def _precision(record: Record, width: str, measure: str | None) -> None:
    from results.figures.precision import lines, parse_width
    from results.figures.statistics import measures_of

    if measure is not None and measure not in (known := measures_of(record.trials)):
        raise RecordError(f"{record.name}: no measure {measure!r}; there are: {', '.join(known) or 'none'}")
    for line in lines(record, parse_width(width), width, [measure] if measure else None):
        print(line)


def _run(options: argparse.Namespace) -> int:
    if options.command == "list":
        _list(options.results_dir)
        return 0
    if options.command == "compare":
        from results.figures.gate import compare_runs

        return compare_runs(options.results_dir, options.a, options.b)
    if options.command == "gate":
        from results.figures.gate import gate

        return gate(options.results_dir, options.baseline, options.run)
    if options.command == "reference":
        from results.pages.answers_pages import write_kept
        from results.pages.reference import compare_reference, write_reference

        if options.write:
            written = write_reference(options.results_dir, options.reference_dir)
        elif options.pages:
            written = write_kept(options.reference_dir)
        else:
            return compare_reference(options.results_dir, options.reference_dir)
        for path in written:
            print(path)
        return 0
    if options.command == "answers":
        from results.pages.answers_pages import write_answers

        for path in write_answers(options.results_dir, options.output):
            print(path)
        return 0
    record = open_run(options.results_dir, options.run)
    if options.command in ("report", "timeline") and record.trials and not record.unfinished:
        from results.record.samples import missing_samples

        if missing := missing_samples(record.folder):
            print(f"note: {missing}", file=sys.stderr)
    if options.command == "report":
        from results.pages.report import write_report

        print(write_report(record, options.output, trials=options.trials))
    elif options.command == "table":
        from results.pages.table import print_table

        print_table(record)
    elif options.command == "pcap":
        from results.captures.capture_view import print_captures

        print_captures(record, options.packet)
    elif options.command == "precision":
        _precision(record, options.width, options.measure)
    else:
        from results.timeline.picture import save_timeline

        for path in save_timeline(record, options.trial, options.output, options.window):
            print(path)
    return 0


def _told(options: argparse.Namespace) -> int:
    """Run one command; its errors are one line on standard error."""
    try:
        return _run(options)
    except RecordError as error:
        print(f"python -m results: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # piped into head
        sys.stderr.close()
    except KeyboardInterrupt:
        return 130
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 2 with one line on standard error."""
    options = _parser().parse_args(arguments)
    # Nothing here needs root; where root is told to write (--output), root writes.
    if getattr(options, "output", None) is None and options.results_dir.is_dir():
        return as_owner_of(options.results_dir, lambda: _told(options))
    return _told(options)


if __name__ == "__main__":
    leave_no_bytecode()
    sys.exit(main())
