"""``python -m controller``: runs the NVA until SIGTERM (exit 0) or a fault in it (exit 1)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from controller import framework  # first: on Ryu it patches threads before anybody uses them

DRAIN_S = 0.3
"""How long watchers may take to read the last events; SIGTERM must end the NVA within a second."""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m controller", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1", metavar="IP", help="address the NVEs connect to")
    parser.add_argument("--port", type=int, default=6653, help="TCP port the NVEs connect to")
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="northbound unix socket")
    parser.add_argument("--journal", type=Path, required=True, metavar="PATH", help="intent journal")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="N",
        help="how many times longer than usual an NVE may take to answer (default %(default)g)",
    )
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Run until told to end; returns the exit status."""
    from controller.app import NvaApp
    from controller.events import EventHub
    from controller.fabric import ANSWER_WITHIN_S
    from controller.journal import Journal, JournalError
    from controller.northbound import Server
    from controller.service import Nva

    # A waiting thread gets the interpreter after this; the default of 5 ms is as long as a whole move call.
    sys.setswitchinterval(0.0005)
    ended = threading.Event()
    faults: list[BaseException] = []
    events = EventHub(time.monotonic)

    def fault(error: BaseException) -> None:
        faults.append(error)
        text = "".join(traceback.format_exception(error))
        print(text, file=sys.stderr, flush=True)
        events.publish("fault", text=text)
        ended.set()

    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    server: Server | None = None
    try:
        answer_within_s = ANSWER_WITHIN_S * arguments.patience
        nva = Nva(Journal(arguments.journal), events, fault, answer_within_s=answer_within_s)
        server = Server(arguments.socket, nva)
        NvaApp.nva = nva
        app = framework.start(arguments.listen, arguments.port, "controller.app", answer_within_s)
    except (OSError, JournalError) as error:
        print(f"NVA cannot start: {error}", file=sys.stderr, flush=True)
        if server is not None:
            arguments.socket.unlink(missing_ok=True)
        return 2
    nva.dead_threads = lambda: framework.dead_threads(app)
    threading.Thread(target=server.serve_forever, name="northbound", daemon=True).start()
    where = f"listen={arguments.listen}:{arguments.port} socket={arguments.socket}"
    print(f"ready {where} framework={framework.NAME}", flush=True)
    ended.wait()
    events.close(DRAIN_S)
    arguments.socket.unlink(missing_ok=True)
    return 1 if faults else 0


def main(argv: list[str] | None = None) -> None:
    """Run and leave by ``os._exit``: the framework's threads never end by themselves."""
    arguments = _arguments(argv)
    status = 1
    try:
        status = run(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
