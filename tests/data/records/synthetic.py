"""Makes a run's folder as a hot-l2 experiment would: paths, null, invalid trials, one move with loss.

The tests load it with runpy (`make_run`). As a command: synthetic.py RESULTS_DIR [TRIALS]
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from results.figures.statistics import summarise
from results.record.writer import RunRecord

PATHS = ("co-located to remote", "remote to co-located", "remote to remote")
RATE_PPS = 5_000
TRIAL_S = 1.2
SWITCH_S = 0.6
PHASES_S = (  # name, start, end relative to the switch
    ("allocate", -0.0310, -0.0290),
    ("prepare", -0.0290, -0.0205),
    ("copy", -0.0205, -0.0062),
    ("stop", -0.0062, -0.0060),
    ("switch", 0.0, 0.0004),
    ("resume", 0.0004, 0.0009),
    ("announce", 0.0009, 0.0016),
    ("converge", 0.0016, 0.0066),
    ("drain", 0.0066, 0.0170),
    ("release", 0.0170, 0.0220),
)
LOSSY_TRIAL = 4
LOST_PACKETS = 12
REORDERED_TRIAL = 6
INVALID_TRIAL = 8
NULL_EVERY = 4  # trials 3, 7, 11, ... move nothing


def udp(random, start_s, *, held_s, lost, reordered, stopped=False):
    """Samples of one direction; `held_s` (from, to) keeps packets and releases them in order."""
    count = int(RATE_PPS * TRIAL_S)
    seq = np.arange(count, dtype=np.int64)
    tx_s = start_s + seq / RATE_PPS + random.exponential(4e-6, count)
    delay_s = 0.00022 + random.lognormal(-10.6, 0.5, count)
    delay_s[random.random(count) < 0.002] += random.exponential(0.0012)
    rx_s = tx_s + delay_s
    if held_s is not None:
        held = (rx_s > start_s + held_s[0]) & (rx_s < start_s + held_s[1])
        rx_s[held] = start_s + held_s[1] + 0.00001 * np.arange(held.sum())
    rx_s = np.maximum.accumulate(rx_s)
    if reordered:
        first = int(np.searchsorted(tx_s, start_s + SWITCH_S))
        rx_s[first : first + reordered] = rx_s[first + reordered] + 0.0002 + 1e-6 * np.arange(reordered)
    if lost:
        first = int(np.searchsorted(tx_s, start_s + SWITCH_S))
        rx_s[first : first + lost] = np.nan
    order = np.full(count, -1, dtype=np.int64)
    arrived = np.flatnonzero(~np.isnan(rx_s))
    order[arrived[np.argsort(rx_s[arrived], kind="stable")]] = np.arange(arrived.size)
    copies = np.where(np.isnan(rx_s), 0, 1).astype(np.int16)
    return {"seq": seq, "tx_s": tx_s, "rx_s": rx_s, "copies": copies, "order": order}


def tcp(random, start_s, stall_s):
    """Receiver's reads: about 850 a second at 50 Mbit/s, none for `stall_s` from the switch on."""
    t_s = np.cumsum(random.exponential(1 / 850, int(850 * TRIAL_S)))
    t_s = np.where(t_s > SWITCH_S, t_s + stall_s, t_s)
    t_s = t_s[t_s < TRIAL_S]
    return {"t_s": start_s + t_s, "bytes": (random.integers(2, 7, t_s.size) * 1448).astype(np.int64)}


def events(record, trial, zero_s, pause_s):
    """What the parts report around one move; `zero_s` is the switch."""
    for name, start_s, end_s in PHASES_S:
        record.event(
            zero_s + start_s, "phase", trial=trial, name=name, start_s=zero_s + start_s, end_s=zero_s + end_s
        )
    for method, start_s, end_s in (
        ("prepare_move", -0.0288, -0.0207),
        ("redirect", -0.0059, -0.0031),
        ("commit_move", 0.0017, 0.0048),
        ("finish_move", 0.0171, 0.0198),
    ):
        call = {"method": method, "start_s": zero_s + start_s, "end_s": zero_s + end_s}
        record.event(zero_s + start_s, "northbound", trial=trial, **call)
    for number, nve in enumerate(("nve1", "nve2", "nve3")):
        for start_s in (-0.0280, -0.0055, 0.0021):
            shift_s = 0.0003 * number + start_s + zero_s
            record.event(shift_s, "flow_mods", trial=trial, nve=nve, count=3 + number)
            for step, later_s in (("prepare", 0.0008), ("commit", 0.0016)):
                record.event(
                    shift_s + later_s, "barrier", trial=trial, nve=nve, step=step, operation="commit_move"
                )
        record.event(zero_s + 0.0052 + 0.0002 * number, "end_marker", trial=trial, nve=nve)
    record.event(zero_s - 0.003, "hold", trial=trial, holder="redirected")
    record.event(zero_s - 0.003, "hold", trial=trial, holder="direct")
    record.event(zero_s, "switch", trial=trial)
    record.event(zero_s + pause_s, "release", trial=trial, holder="redirected", frames=17)
    record.event(zero_s + 0.0062, "release", trial=trial, holder="direct", frames=9)
    record.event(zero_s + 0.0012, "rarp", trial=trial, vm="vm1", nve="nve3")


def measures(random, *, moved, lost, reordered, stall_s):
    return {
        "lost_packets_to_vm": lost,
        "lost_packets_from_vm": 0,
        "duplicated_packets_to_vm": 0,
        "duplicated_packets_from_vm": 0,
        "reordered_packets_to_vm": reordered,
        "reordered_packets_from_vm": 0,
        "blackout_s_to_vm": lost / RATE_PPS,
        "blackout_s_from_vm": 0.0,
        "tcp_stall_s_to_vm": stall_s,
        "tcp_stall_s_from_vm": abs(random.normal(0.012, 0.002)) + (0.003 if moved else 0),
        "delay_max_s_to_vm": 0.004 if moved else 0.0009,
    }


def make_run(results_dir, trials=12, seed=1, finish=True):
    """Write a run, return its folder. Each fourth trial is null, 8 is invalid, 4 loses packets."""
    random = np.random.default_rng(seed)
    nves = [{"name": f"nve{number}", "underlay_ip": f"10.0.{number}.1"} for number in (1, 2, 3)]
    record = RunRecord.create(
        Path(results_dir),
        "hot-l2",
        ["Q1"],
        {"runs": trials, "rate_pps": RATE_PPS, "policy": "buffer", "attachment": "rebind", "seed": seed},
        {"name": "two_racks", "nves": nves},
    )
    record.set_environment(
        {
            "kernel": "6.1.0-18-amd64",
            "datapath": "userspace (netdev)",
            "datapath_why": "the kernel has no openvswitch module",
            "port_type": "afxdp-nonpmd",
            "port_type_why": "6 ports at 5,000 packets/s fit into memory",
            "attachment": "rebind",
            "delay_backend": "none",
            "versions": {"openvswitch": "3.1.0", "mininet": "2.3.0", "os-ken": "4.2.2", "python": "3.11.2"},
            "commit": "d42076f",
            "load": {"load_1min": 0.31, "cores": 2, "steal_share": 0.001},
            "command": f"make hot-l2 RUNS={trials} SEED={seed}",
        }
    )
    clock_s = 1_000.0
    for index in range(trials):
        moved = index % NULL_EVERY != NULL_EVERY - 1
        lost = LOST_PACKETS if index == LOSSY_TRIAL else 0
        reordered = 2 if index == REORDERED_TRIAL else 0
        stall_s = float(abs(random.normal(0.014, 0.003)) + (0.006 if moved else 0))
        pause_s = float(0.0012 + random.exponential(0.0003))
        zero_s = clock_s + SWITCH_S
        to_vm = udp(
            random,
            clock_s,
            held_s=(SWITCH_S - 0.003, SWITCH_S + pause_s) if moved else None,
            lost=lost,
            reordered=reordered,
        )
        from_vm = udp(
            random,
            clock_s,
            held_s=(SWITCH_S - 0.0005, SWITCH_S + 0.0009) if moved else None,
            lost=0,
            reordered=0,
        )
        for name, columns in (("udp_to_vm", to_vm), ("udp_from_vm", from_vm)):
            trial = np.full(columns["seq"].size, index, dtype=np.int32)
            record.add_samples(name, {"trial": trial} | columns)
        for name, stall in (
            ("tcp_to_vm", stall_s if moved else 0.0),
            ("tcp_from_vm", 0.003 if moved else 0.0),
        ):
            columns = tcp(random, clock_s, stall)
            record.add_samples(name, {"trial": np.full(columns["t_s"].size, index, dtype=np.int32)} | columns)
        if moved:
            events(record, index, zero_s, pause_s)
        invalid = index == INVALID_TRIAL
        phases = [
            {"name": name, "start_s": zero_s + start, "end_s": zero_s + end} for name, start, end in PHASES_S
        ]
        migration = {
            "kind": "hot",
            "old_nve": "nve2",
            "new_nve": "nve3",
            "phases": phases,
            "call_to_last_barrier_s": 0.0045 + float(random.exponential(0.0006)),
        }
        record.add_trial(
            {
                "index": index,
                "valid": not invalid,
                "invalid_reason": "scheduling lag 14 ms on core 1 (bound 5 ms)" if invalid else None,
                "null": not moved,
                "parameters": {"path": PATHS[(index - index // NULL_EVERY) % 3]} if moved else {},
                "migration": migration if moved else None,
                "measures": measures(random, moved=moved, lost=lost, reordered=reordered, stall_s=stall_s),
            }
        )
        clock_s += TRIAL_S + 0.3
    if finish:
        record.finish("answered", f"{trials} trials, 1 invalid", summarise(record.trials))
    return record.folder


if __name__ == "__main__":
    print(make_run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 12))
