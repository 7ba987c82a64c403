"""`python -m topologies FILE...` checks topology files; with `--write-schema` it writes schema.json."""

import argparse
import sys
from collections.abc import Sequence

from topologies.loader import load_with_warnings, shipped, topology_file
from topologies.paths import untaken_lines
from topologies.problems import TopologyErrors, listed, printable
from topologies.schema import SCHEMA_FILE, write_schema


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. Returns 0, or 2 when a file has errors or cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m topologies",
        description="Check topology files and say everything that is wrong with them.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help=f"a topology file, or the name of a shipped one ({listed(shipped())})",
    )
    parser.add_argument(
        "--write-schema", action="store_true", help=f"write {SCHEMA_FILE.name} from the models"
    )
    arguments = parser.parse_args(argv)
    if not arguments.files and not arguments.write_schema:
        parser.error("name at least one topology file, or give --write-schema")
    status = 0
    if arguments.write_schema:
        try:
            write_schema(SCHEMA_FILE)
            print(f"{SCHEMA_FILE}: written")
        except OSError as error:
            print(f"{SCHEMA_FILE}: cannot be written: {error.strerror}", file=sys.stderr)
            status = 2
    for name in arguments.files:
        try:
            topology, warnings = load_with_warnings(topology_file(name))
        except TopologyErrors as errors:
            print(errors, file=sys.stderr)
            status = 2
            continue
        netem = topology.needs_netem
        needs = f"; needs netem for {listed(netem, limit=4)}" if netem else ""
        for warning in warnings:
            print(warning, file=sys.stderr)
        print(f"{printable(name)}: ok: {topology.summary}{needs}{_warned(len(warnings))}")
        for line in untaken_lines(topology):
            print(f"  {line}")
    return status


def _warned(number: int) -> str:
    return f"; {number} warning{'s' if number > 1 else ''}" if number else ""


if __name__ == "__main__":
    sys.exit(main())
