"""Wrong settings, made in the real parts, are found and named by the report; and the taps see every packet."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from emulation import commands
from emulation.network import RUN_FOLDER, EmulatedNetwork
from emulation.nve import NVE
from experiments.attribution.attribute import Attribution
from experiments.attribution.packet_fates import check_sums
from experiments.attribution.rule_drops import read_drops, read_limits
from experiments.running.traffic import Traffic, TrafficPlan
from results.figures.causes import attributed, counted
from results.figures.findings import findings
from results.pages.report import render_report
from results.record.writer import load_record
from tests.root.sandboxed import in_sandbox, laboratory, topology
from tests.root.test_run import started

pytestmark = pytest.mark.root

BOUND_S = 180.0  # a run takes some 15 s on an idle machine
SMALL = ("quick=1", "repeat=1", "rate_pps=1000", "ports=afpacket")

MISTAKES = {
    "new-nve-unprogrammed": (["policy=silent-drop", "tcp_rate=0"], "The new NVE was not programmed"),
    "old-leg-open": (["policy=silent-drop", "tcp_rate=0"], "The old leg was left open"),
    "small-mtu": (["payload=1400"], "The MTU of the underlay is too small"),
}


@pytest.mark.parametrize("fault", MISTAKES)
def test_a_wrong_setting_is_found_and_named(fault: str, tmp_path: Path) -> None:
    words, said = MISTAKES[fault]
    with started(tmp_path, "hot-l2", f"fault={fault}", *SMALL, *words) as run:
        _, stdout, stderr = run.ended(BOUND_S)
    assert stderr == ""
    record = load_record(tmp_path / "latest")
    found = findings(record)
    assert [text for text in found if text.startswith(said)], (
        found,
        [t.get("causes") for t in record.trials],
    )
    assert len(found) == 1, found
    assert said in " ".join(stdout.split())
    assert said in render_report(record)
    lost = counted(attributed(record.trials), "lost")
    if fault == "small-mtu":  # in every trial all packets but those that stay within one NVE
        assert lost["too_large"] > 0.9 * lost.total() > 100, lost
    if fault == "new-nve-unprogrammed":
        assert lost["new_nve_unprogrammed"] > 0, lost


RATE_PPS = 200
LEAST_PACKETS = 20  # 0.1 s of them: enough to see that it is all of them and not one at a border


@contextlib.contextmanager
def without_rules(nve: NVE, match: str) -> Iterator[None]:
    """The rules that match are gone within the block."""
    dump = nve.dpctl("dump-flows", "--no-stats", match)
    nve.dpctl("del-flows", match)
    yield
    for line in dump.splitlines():
        if "actions=" in line:
            nve.dpctl("add-flow", line.strip())


def followed_traffic(network: EmulatedNetwork, peer: str) -> tuple[Traffic, Attribution]:
    """Packets between vm1 and a peer, each followed, both begun."""
    folder = RUN_FOLDER / "probes"
    traffic = Traffic(network, TrafficPlan("vm1", peer, RATE_PPS, 64, 0), folder)
    attribution = Attribution(
        network, traffic.numbered_flows(), folder, lambda argv: subprocess.Popen(argv, stderr=subprocess.PIPE)
    )
    attribution.start()
    traffic.start()
    return traffic, attribution


def test_packets_refused_as_spoofs_and_packets_without_a_neighbour_are_told_apart() -> None:
    """Nothing moves: the NVE of both VMs loses its anti-spoofing rules, then what answers ARP while the peer asks."""

    def body() -> list[dict[str, int]]:
        heard: list[tuple[str, str]] = []  # what a node's kernel says of its neighbours

        def hear(_: float, kind: str, **said: str) -> None:
            if kind == "neighbour":
                heard.append((said["node"], said["change"]))

        with laboratory(topology(), emit=hear) as made:
            made.warm_up()
            network, nve = made.network, made.network.nves["nve1"]
            traffic, attribution = followed_traffic(network, "peer1")

            def refused() -> bool:
                return (
                    read_drops({"nve1": nve})["nve1", "ANTI_SPOOF"] > 5 * LEAST_PACKETS
                )  # of both ways together

            peer = network["peer1"].pid
            times_s = [time.monotonic()]
            with without_rules(nve, "table=1,ip"):
                commands.wait_until(refused, 10.0, "packets refused for want of an anti-spoofing rule")
            times_s.append(time.monotonic())
            with without_rules(nve, "table=2,arp"):
                heard.clear()
                commands.run(["ip", "neigh", "flush", "all"], pid=peer)
                # It asks three times, a second apart, and gives up until its next packet. Whoever looks at the entry
                # can miss those milliseconds; the kernel's message of them stays.
                commands.wait_until(lambda: ("peer1", "failed") in heard, 20.0, "the peer to give up")
            times_s.append(time.monotonic())
            traffic.stop()
            attribution.stop()
            found = []
            for window in pairwise(times_s):
                causes = attribution.causes(0, window, [], traffic.numbered_packets())
                check_sums(causes.counts, traffic.measures(window), 0)
                found.append({way: causes.counts[way]["lost"] for way in ("to_vm", "from_vm")})
            return found

    spoofed, unresolved = in_sandbox(body)
    for way in ("to_vm", "from_vm"):
        assert set(spoofed[way]) == {"spoof_drop"} and spoofed[way]["spoof_drop"] >= LEAST_PACKETS, spoofed
    # Only the peer asked; the first packets wait for the answer, then all are dropped.
    assert set(unresolved["to_vm"]) == {"neighbour_unresolved"}, unresolved
    assert unresolved["to_vm"]["neighbour_unresolved"] >= LEAST_PACKETS, unresolved


def test_packets_that_an_nve_may_not_ask_the_nva_about_are_told_from_those_lost_in_a_queue() -> None:
    """Pull, and the NVA stands still: the peer's NVE has lost its mapping, and may send 5 frames a second to the NVA.

    The limit lets 10 frames go at once (a burst is at least 10) and 5 each second; they come back late or not at all.
    """
    limit_pps, burst = 5, 10

    def body() -> tuple[dict[str, int], tuple[int, int], float]:
        with laboratory(topology()) as made:
            made._configure(strategy="pull", packet_in_limit_pps=limit_pps)
            made.warm_up()
            network, nves = made.network, {"nve3": made.network.nves["nve3"]}
            traffic, attribution = followed_traffic(network, "peer3")
            begin_s = time.monotonic()
            nva = made._process
            assert nva is not None
            nva.send_signal(signal.SIGSTOP)
            mapping = [
                line.partition(" actions=")[0].partition(", ")[2]
                for line in nves["nve3"].dpctl("dump-flows", "--no-stats", "table=3").splitlines()
                if f"reg2=0,dl_dst={network.topology.vm('vm1').mac} " in line and "->tun_dst" in line
            ]
            nves["nve3"].dpctl("del-flows", "--strict", *mapping)
            commands.wait_until(
                lambda: read_limits(nves)["nve3"].dropped >= 5 * LEAST_PACKETS,
                10.0,
                "frames kept from the NVA",
            )
            nva.send_signal(signal.SIGCONT)
            # More is kept while the counter is read: read before and after the window's end.
            kept_before = read_limits(nves)["nve3"].dropped
            window = (begin_s, time.monotonic())
            kept_after = read_limits(nves)["nve3"].dropped
            attribution.end_trial(0)
            made._configure(strategy="pull")  # makes the meter anew, as before the next trial
            traffic.stop()
            attribution.stop()
            causes = attribution.causes(0, window, [], traffic.numbered_packets())
            check_sums(causes.counts, traffic.measures(window), 0)
            return causes.counts["to_vm"]["lost"], (kept_before, kept_after), window[1] - begin_s

    lost, kept, took_s = in_sandbox(body)
    assert set(lost) == {"nva_not_asked"}, lost
    # What was lost was kept from the NVA, or is one of the few that it was to be asked about.
    most = kept[1] + burst + limit_pps * (took_s + 1)
    assert kept[0] - 2 <= lost["nva_not_asked"] <= most, (lost, kept, took_s)
