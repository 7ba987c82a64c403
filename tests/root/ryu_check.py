"""Run the NVA's app file on stock Ryu 4.34 against real Open vSwitches and print what it saw.

Ryu is unmaintained: it needs old build tools and one name put back into eventlet (see
``controller/framework.py``). So it gets an environment of its own, and this is not part of the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from controller.client import NvaClient
from tests.fake_nva_world import config
from tests.root.nva_farm import REPOSITORY, Farm, measure_commit

VENV = REPOSITORY / ".build" / "ryu-venv"
STEPS = (
    ["setuptools==57.5.0", "wheel==0.45.1", "pbr==6.1.1"],
    ["--no-build-isolation", "ryu==4.34"],
    # After Ryu, which asks for an eventlet that Python 3.10 and later cannot import.
    ["eventlet==0.36.1", "dnspython==2.7.0"],
)


def make_environment() -> Path:
    """Make the environment unless it is there; returns its Python."""
    python = VENV / "bin" / "python"
    done = VENV / "complete"
    if not done.exists():
        print(f"making {VENV.relative_to(REPOSITORY)} (Ryu 4.34, eventlet 0.36.1)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        for packages in STEPS:
            subprocess.run([str(python), "-m", "pip", "-qq", "install", *packages], check=True)
        done.touch()
    return python


def check(farm: Farm, client: NvaClient) -> None:
    """Move a VM between two NVEs and back; AssertionError when a packet does not go where it should."""
    full = config()
    client.configure(full["nves"][:2], full["networks"], [vm for vm in full["vms"] if vm["nve"] != "nve3"])
    for number in (1, 2):
        farm.set_controller(number)
    for name, nve in client.wait_programmed(20.0)["nves"].items():
        print(f"{name}: connected, {nve['flows']} flows")
    packet = "in_port=20,eth_src=02:00:00:00:00:12,eth_dst=02:00:00:00:00:01,eth_type=0x800,nw_src=10.0.0.12"
    way = farm.way(2, packet)
    print(f"peer at nve2 to vm1, before: {way}")
    assert way == ["tunnel 192.0.2.1"], way
    times = sorted(measure_commit(client, 21))
    print(f"21 moves; commit_move, call to last barrier: median {times[10] * 1e3:.1f} ms")
    way = farm.way(2, packet)
    print(f"peer at nve2 to vm1, after: {way}")
    assert way == ["port 10"], way
    farm.end(farm.switches[1])
    started_s = time.monotonic()
    farm.start_switch(1)
    while client.status()["nves"]["nve1"]["programmed_s"] is None or len(farm.flows(1)) < 20:
        assert time.monotonic() - started_s < 30, "nve1 was not programmed again within 30 s"
    print("nve1 killed and restarted: programmed again")


def main() -> int:
    """Print the findings; returns 0 when all is as with os-ken."""
    python = make_environment()
    listed = subprocess.run([str(python), "-m", "pip", "freeze"], capture_output=True, text=True, check=True)
    print(" ".join(re.findall(r"^(?:ryu|eventlet|greenlet|dnspython)==\S+", listed.stdout, re.M)))
    with Farm("ryu", str(python)) as farm:
        for number in (1, 2):
            farm.add_nve(number, (10, 11, 20, 30))
        try:
            start_s = farm.start_nva()
            print(f"NVA says {farm.ready!r} after {start_s:.2f} s")
            assert farm.ready.endswith("framework=ryu"), farm.ready
            check(farm, farm.client())
        except Exception as error:
            print(f"Ryu check failed: {error}\n{farm.nva_errors()}", file=sys.stderr)
            return 1
    print("Ryu check passed: the same app file runs on Ryu 4.34")
    return 0


if __name__ == "__main__":
    sys.exit(main())
