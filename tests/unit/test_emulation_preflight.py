"""What preflight finds and chooses, with the machine's answers given by the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulation import commands, preflight
from emulation.errors import CommandError, PreflightError, WaitError
from emulation.nve import Datapath
from topologies import Topology, load_topology, topology_file

TWO_RACKS = load_topology(topology_file("two_racks"))  # 12 ports, 3 NVEs
GB = 1_000_000_000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine where all is well: root, tools, AF_XDP, 24 GB, no openvswitch module, no netem."""
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight.shutil, "which", lambda tool, path=None: f"/usr/bin/{tool}")
    monkeypatch.setattr(preflight, "_module", lambda name: False)
    monkeypatch.setattr(preflight, "_af_xdp_lacks", lambda: None)
    monkeypatch.setattr(preflight, "available_memory_bytes", lambda: 24 * GB)
    return monkeypatch


def has(*modules: str) -> object:
    return lambda name: name in modules


@pytest.mark.parametrize(
    ("ports", "modules", "kind", "port_type", "reason"),
    [
        ("auto", ["openvswitch"], "kernel", "kernel", "openvswitch module is there"),
        ("kernel", ["openvswitch"], "kernel", "kernel", "asked for"),
        ("afxdp", ["openvswitch"], "userspace", "afxdp", "asked for"),
        ("afpacket", ["openvswitch"], "userspace", "afpacket", "asked for"),
        # 12 x 84 MB = 1008 MB, 10 % of 24 GB = 2400 MB
        (
            "auto",
            [],
            "userspace",
            "afxdp",
            "no openvswitch module; AF_XDP fits: 12 ports x 84 MB = 1008 MB, bound 2400 MB",
        ),
    ],
)
def test_the_datapath_that_is_chosen(
    machine: pytest.MonkeyPatch, ports: str, modules: list[str], kind: str, port_type: str, reason: str
) -> None:
    machine.setattr(preflight, "_module", has(*modules))
    assert preflight.choose_datapath(12, ports) == (Datapath(kind, port_type, reason), None)


@pytest.mark.parametrize(("memory", "port_type"), [(10_080_000_000, "afxdp"), (10_079_999_990, "afpacket")])
def test_af_xdp_takes_at_most_a_tenth_of_the_memory(
    machine: pytest.MonkeyPatch, memory: int, port_type: str
) -> None:
    """12 ports x 84 MB = 1,008 MB, a tenth of 10,080 MB."""
    machine.setattr(preflight, "available_memory_bytes", lambda: memory)
    datapath, _ = preflight.choose_datapath(12)
    assert datapath is not None
    assert datapath.port_type == port_type
    assert ("does not fit" in datapath.reason) is (port_type == "afpacket")


def test_without_af_xdp_there_is_af_packet(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(preflight, "_af_xdp_lacks", lambda: "this Open vSwitch was built without AF_XDP")
    datapath, _ = preflight.choose_datapath(1)
    assert datapath is not None
    assert (datapath.port_type, datapath.reason) == (
        "afpacket",
        "no openvswitch module; no AF_XDP: this Open vSwitch was built without AF_XDP",
    )
    none, why = preflight.choose_datapath(1, "afxdp")
    assert none is None
    assert why == "ports=afxdp: this Open vSwitch was built without AF_XDP; use ports=afpacket"


def test_a_queue_at_an_nve_is_not_passed_by(machine: pytest.MonkeyPatch) -> None:
    queues = ("underlay.access.rate", "outside.link.rate")
    datapath, _ = preflight.choose_datapath(1, "auto", queues)
    assert datapath is not None and datapath.port_type == "afpacket"
    assert datapath.reason.endswith(
        "it passes by the queue that makes underlay.access.rate, outside.link.rate"
    )
    none, why = preflight.choose_datapath(1, "afxdp", queues)
    assert none is None and why is not None and why.endswith("use ports=afpacket")
    machine.setattr(preflight, "_module", has("openvswitch"))
    datapath, _ = preflight.choose_datapath(1, "auto", queues)
    assert datapath is not None and datapath.kind == "kernel"


def with_mtu(mtu: int) -> Topology:
    made = TWO_RACKS.as_file()
    made["underlay"]["mtu"] = mtu
    made["virtual_networks"][0]["mtu"] = mtu - 50
    return Topology.model_validate(made)


@pytest.mark.parametrize(("mtu", "port_type"), [(3506, "afxdp"), (3507, "afpacket"), (9050, "afpacket")])
def test_a_frame_has_to_fit_into_a_page_for_af_xdp(
    machine: pytest.MonkeyPatch, tmp_path: Path, mtu: int, port_type: str
) -> None:
    """4,096 - 256 of XDP's headroom - 320 of struct skb_shared_info - 14 of Ethernet = 3,506 (veth_xdp_set)."""
    made = preflight.check(with_mtu(mtu), "auto", tmp_path)
    assert made.port_type == port_type
    assert (f"underlay.mtu is {mtu:,}" in made.reason) is (port_type == "afpacket")
    if port_type == "afpacket":
        with pytest.raises(
            PreflightError, match=f"ports=afxdp: .* underlay.mtu is {mtu:,}; use ports=afpacket"
        ):
            preflight.check(with_mtu(mtu), "afxdp", tmp_path)


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ("kernel", "ports=kernel: this kernel has no openvswitch module; leave ports=auto"),
        ("fast", "ports=fast: allowed are auto, kernel, afxdp, afpacket"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(machine: pytest.MonkeyPatch, ports: str, text: str) -> None:
    datapath, why = preflight.choose_datapath(12, ports)
    assert datapath is None
    assert why is not None
    assert why.startswith(text)


def test_all_problems_are_told_at_once(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(preflight.os, "geteuid", lambda: 1000)
    machine.setattr(preflight.shutil, "which", lambda tool, path=None: None)
    machine.setattr(preflight, "available_memory_bytes", lambda: 100_000_000)
    with pytest.raises(PreflightError) as error:
        preflight.check(load_topology(topology_file("wide_area")), "kernel", tmp_path)
    starts = ("not root", "ovs-vswitchd, ovsdb-server not found", "ovsdb-tool not found", "mnexec not found")
    starts += ("ip, tc not found: apt-get install iproute2", "topology wide_area", "ports=kernel")
    for problem, start in zip(error.value.problems[:6], starts[:6], strict=True):
        assert problem.startswith(start)
    assert error.value.problems[6].startswith(starts[6])
    assert len(error.value.problems) == 7
    assert str(error.value).count("\n") == 6


def test_a_machine_where_all_is_well(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert preflight.check(TWO_RACKS, "auto", tmp_path / "not" / "yet").port_type == "afxdp"


def test_too_many_nves_for_the_memory(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """3 x 50 MB = 150 MB."""
    machine.setattr(preflight, "available_memory_bytes", lambda: 149_000_000)
    with pytest.raises(PreflightError, match="3 NVEs need about 150 MB of memory and 149 MB are free"):
        preflight.check(TWO_RACKS, "afpacket", tmp_path)


def test_too_little_space_for_a_record(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(preflight.shutil, "disk_usage", lambda path: type("usage", (), {"free": 99_000_000}))
    with pytest.raises(PreflightError, match=f"{tmp_path} has 99 MB free and a run needs 100 MB"):
        preflight.check(TWO_RACKS, "auto", tmp_path)


def test_netem_is_only_asked_for_by_those_who_need_it(machine: pytest.MonkeyPatch) -> None:
    wide_area = load_topology(topology_file("wide_area"))
    assert preflight._netem_problems(TWO_RACKS) == []
    (problem,) = preflight._netem_problems(wide_area)
    assert problem.startswith("topology wide_area: underlay.links[2].delay needs netem")
    machine.setattr(preflight, "_module", has("sch_netem"))
    assert preflight._netem_problems(wide_area) == []


def test_versions_leaves_out_what_is_not_there() -> None:
    assert preflight.versions(["there-is-no-such-tool"]) == {}


# The door for commands and the waiting, which need no machine either.


def test_a_command_that_fails_says_where_what_and_how() -> None:
    with pytest.raises(
        CommandError, match=r"nve1: `ls /no/such` ended with status 2: .*No such file"
    ) as error:
        commands.run(["ls", "/no/such"], node="nve1")
    assert (error.value.node, error.value.exit_code) == ("nve1", 2)


def test_a_command_that_is_not_there_and_one_that_takes_too_long() -> None:
    with pytest.raises(CommandError, match="ended with status 127: there-is-no-such-tool: not found"):
        commands.run(["there-is-no-such-tool"])
    with pytest.raises(CommandError, match=r"did not end within 0.05 s"):
        commands.run(["sleep", "5"], timeout_s=0.05)


def test_a_batch_names_the_line_that_was_refused() -> None:
    assert commands._with_refused_line("Cannot find device x\nCommand failed -:2\n", ["a", "b"]).endswith(
        "[b]"
    )
    assert commands._with_refused_line("Command failed -:9", ["a"]) == "Command failed -:9"
    assert commands._with_refused_line("other", ["a"]) == "other"
    commands.batch("there-is-no-such-tool", [])


def test_waiting_says_what_was_wanted_and_seen_last() -> None:
    answers = iter([0, None, 7])
    assert commands.wait_until(lambda: next(answers), 1.0, "a number") == 7
    with pytest.raises(WaitError, match=r"waited 0.01 s for the moon; last seen: \[\]"):
        commands.wait_until(list, 0.01, "the moon")
