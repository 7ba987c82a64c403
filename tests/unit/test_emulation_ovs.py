"""Open vSwitch's control socket, answered by a thread."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from emulation.ovs import Control, OvsError


def test_a_late_answer_is_not_taken_for_the_next_questions(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    asked, late = threading.Event(), threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                first = json.loads(connection.recv(65536))
                asked.set()
                assert late.wait(10)
                second = json.loads(connection.recv(65536))
                for request, text in ((first, "one"), (second, "two")):
                    connection.sendall(
                        json.dumps({"id": request["id"], "result": text, "error": None}).encode()
                    )

        server = threading.Thread(target=serve)
        server.start()
        control = Control("nve1", path, timeout_s=0.1)
        with pytest.raises(OvsError, match="no answer within"):
            control.call("first")
        assert asked.is_set()
        control._socket.settimeout(10)
        late.set()
        assert control.call("second") == "two"
        control.close()
        server.join()
