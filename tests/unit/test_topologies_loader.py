import os
from pathlib import Path

import pytest

from topologies import TopologyErrors, load_topology, parse_topology, shipped, topology_file
from topologies.loader import SHIPPED
from topologies.yamltree import MAX_BYTES, read_tree

DATA = Path(__file__).parents[1] / "data"
BAD = DATA / "bad_topologies"
GOOD = DATA / "good_topologies"


def expected_messages() -> dict[str, list[str]]:
    """What `messages.txt` says each bad file must be told, line by line."""
    messages: dict[str, list[str]] = {}
    for line in (BAD / "messages.txt").read_text(encoding="utf-8").splitlines():
        messages.setdefault(line.split(":")[0], []).append(line)
    return messages


def errors_of(content: str) -> list[str]:
    with pytest.raises(TopologyErrors) as caught:
        parse_topology(content.encode(), "t.yaml")
    return [str(error) for error in caught.value.errors]


@pytest.mark.parametrize("name", sorted(expected_messages()))
def test_bad_file_is_told_exactly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(TopologyErrors) as caught:
        load_topology(name)
    assert str(caught.value).splitlines() == expected_messages()[name]


def test_every_bad_file_has_its_message() -> None:
    assert {file.name for file in BAD.glob("*.yaml")} == set(expected_messages())


def test_messages_are_free_of_jargon() -> None:
    text = (BAD / "messages.txt").read_text(encoding="utf-8").lower()
    for word in ("pydantic", "http", "input should", "value error", "traceback", "str_type", "<class"):
        assert word not in text


@pytest.mark.parametrize("file", [*SHIPPED.glob("*.yaml"), *GOOD.glob("*.yaml")], ids=lambda file: file.name)
def test_good_file(file: Path) -> None:
    topology = load_topology(file)
    assert topology.name == file.stem
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=")


def test_two_racks_is_what_the_moves_need() -> None:
    topology = load_topology(topology_file("two_racks"))
    assert [(nve.name, nve.rack) for nve in topology.nves] == [
        ("nve1", "rack1"),
        ("nve2", "rack1"),
        ("nve3", "rack2"),
    ]
    assert topology.prewired_nves("vm1") == ("nve1", "nve2", "nve3")
    assert {vm.name: vm.nve for vm in topology.vms if vm.name != "vm1"} == {
        "peer1": "nve1",
        "peer2": "nve2",
        "peer3": "nve3",
    }
    assert topology.needs_netem == ()
    assert (topology.network_of("vm1").mtu_bytes, topology.underlay.mtu_bytes) == (1450, 1600)


@pytest.mark.parametrize("file", list(SHIPPED.glob("*.yaml")), ids=lambda file: file.name)
def test_shipped_files_teach(file: Path) -> None:
    head = file.read_text(encoding="utf-8").split("\nname: ")[0].splitlines()
    assert len(head) > 5
    assert all(line.startswith("#") for line in head)


def test_dual_stack_is_two_racks() -> None:
    plain, dual = load_topology(topology_file("two_racks")), load_topology(topology_file("dual_stack"))
    assert (dual.underlay, dual.nves, dual.vms) == (plain.underlay, plain.nves, plain.vms)


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_topology_has_both_ip_versions(file: Path) -> None:
    topology = load_topology(file)
    assert all(vm.ipv6 is not None for vm in topology.vms)
    assert all(network.subnet_v6 is not None for network in topology.virtual_networks)
    assert all((one.gateway_v4 is None) == (one.gateway_v6 is None) for one in topology.virtual_networks)


def test_two_tenants_have_the_same_addresses() -> None:
    topology = load_topology(topology_file("two_tenants"))
    for one, other in (("vm1", "red1"), ("peer3", "red3")):
        mine, theirs = topology.vm(one), topology.vm(other)
        assert (mine.ipv4, mine.ipv6, mine.mac, mine.nve) == (
            theirs.ipv4,
            theirs.ipv6,
            theirs.mac,
            theirs.nve,
        )
        assert topology.network_of(one).tenant != topology.network_of(other).tenant
    assert topology.routes == (("blue", "green"), ("green", "amber"), ("red", "amber"))


def test_outside_and_outside_wan_differ_in_the_link_only() -> None:
    near, far = (load_topology(topology_file(name)) for name in ("outside", "outside_wan"))
    assert near.outside is not None
    assert far.outside is not None
    assert near.outside == far.outside.model_copy(update={"link": near.outside.link})
    assert (near.nves, near.vms, near.virtual_networks) == (far.nves, far.vms, far.virtual_networks)
    assert (near.needs_netem, far.needs_netem) == ((), ("outside.link.delay",))
    assert near.vms_on(near.outside.nve) == ()


def test_dhcp_server_of_the_shipped_topology_is_another_vm() -> None:
    topology = load_topology(topology_file("dhcp"))
    assert topology.network("blue").dhcp_server == "dhcp1"
    assert {vm.name: vm.address for vm in topology.vms if vm.address == "dhcp"} == {"vm1": "dhcp"}


def test_wide_area_says_where_it_needs_netem() -> None:
    topology = load_topology(topology_file("wide_area"))
    assert topology.needs_netem == ("underlay.links[2].delay",)
    assert topology.underlay.links[2].delay_s == 0.02


def test_what_cannot_be_read(tmp_path: Path) -> None:
    missing, folder, fifo, big = (tmp_path / name for name in ("missing.yaml", "folder", "fifo", "big.yaml"))
    folder.mkdir()
    os.mkfifo(fifo)
    big.write_bytes(b"#" * (MAX_BYTES + 1))
    for path, message in (
        (missing, f"there is no such file (topologies that are shipped: {', '.join(shipped())})"),
        (folder, "is a directory; name a topology file in it"),
        (fifo, "is not a regular file; write the topology to a file first"),
        (big, "is larger than 524288 bytes; make large topologies with topologies.generated()"),
        ("a\0b", "is not the name of a file"),
        (big / "inside.yaml", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
    ):
        with pytest.raises(TopologyErrors) as caught:
            load_topology(path)
        assert str(caught.value) == f"{path}: {message}"


def test_a_file_name_that_is_no_text_can_be_printed() -> None:
    with pytest.raises(TopologyErrors) as caught:
        load_topology(os.fsdecode(b"caf\xe9.yaml"))
    assert str(caught.value).encode("utf-8").startswith(b"caf\\udce9.yaml: there is no such file")


def test_shipped_topologies_are_found_by_name() -> None:
    assert shipped() == [
        "bottleneck", "bottleneck_wan", "dhcp", "dual_stack", "minimal", "outside", "outside_wan", "thin_flows",
        "two_movers", "two_racks", "two_tenants", "wide_area",
    ]  # fmt: skip
    assert topology_file("two_racks") == SHIPPED / "two_racks.yaml"
    assert topology_file("./two_racks") == Path("two_racks")
    assert topology_file("my.yaml") == Path("my.yaml")
    with pytest.raises(TopologyErrors, match=r"^two_rack: is neither .*; did you mean 'two_racks'\?"):
        topology_file("two_rack")


def test_byte_order_mark_and_crlf_are_read() -> None:
    content = (SHIPPED / "minimal.yaml").read_bytes()
    expected = parse_topology(content, "a")
    assert parse_topology(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"), "b") == expected


def test_scalars_follow_yaml_1_2() -> None:
    tree = read_tree("[on, yes, 010, 12:34:56, 0x10, 2001-01-01, 12, -3, 1.5, true, ~, '5', .inf, 1e3]")
    assert tree.data == [
        "on", "yes", "010", "12:34:56", "0x10", "2001-01-01", 12, -3, 1.5, True, None, "5", ".inf", 1000.0,
    ]  # fmt: skip
    assert tree.problems == []


def test_a_mac_of_decimal_digits_needs_no_quotes() -> None:
    content = (
        (SHIPPED / "minimal.yaml")
        .read_text()
        .replace("ipv4: 10.1.0.2", "mac: 12:34:56:10:20:30, ipv4: 10.1.0.2")
    )
    assert parse_topology(content.encode(), "t.yaml").vm("vm2").mac == "12:34:56:10:20:30"


def test_aliases_may_be_used() -> None:
    content = (SHIPPED / "two_racks.yaml").read_text()
    content = content.replace(
        "    - between: [rack1, spine1]", "    - between: [rack1, spine1]\n      rate: &r 1Gbit"
    )
    content = content.replace(
        "    - between: [rack2, spine1]", "    - between: [rack2, spine1]\n      rate: *r"
    )
    assert [link.rate_bps for link in parse_topology(content.encode(), "t.yaml").underlay.links] == [
        10**9
    ] * 2


def test_a_broken_nve_is_still_a_known_one() -> None:
    content = (SHIPPED / "minimal.yaml").read_text().replace("192.0.2.2}", "nowhere}")
    assert errors_of(content) == [
        "t.yaml:19:44: nves[1].underlay_ip: 'nowhere': must be an IPv4 address such as 192.0.2.1"
    ]


def test_an_unquoted_ipv6_address_is_text() -> None:
    assert read_tree("[2001:db8::1, 1:2::3, 2001:db8:1::/64]").data == [
        "2001:db8::1",
        "1:2::3",
        "2001:db8:1::/64",
    ]


def test_broken_items_are_not_called_missing() -> None:
    content = (SHIPPED / "minimal.yaml").read_text().replace("- name: rack1", "- {name: rack1, colour: red}")
    assert [error.split(": ", 2)[1] for error in errors_of(content)] == ["underlay.racks[0].colour"]


def test_what_hangs_on_a_broken_network_is_not_told_again() -> None:
    content = (SHIPPED / "outside.yaml").read_text().replace("subnet_v6: 2001:db8:1::/64", "subnet_v6: 5")
    assert errors_of(content) == [
        "t.yaml:49:16: virtual_networks[0].subnet_v6: 5: must be an IPv6 subnet with prefix length 64,"
        " such as 2001:db8:1::/64"
    ]


def test_a_long_value_is_shortened() -> None:
    content = (SHIPPED / "minimal.yaml").read_text().replace("192.0.2.2}", "y" * 500 + "}")
    assert errors_of(content)[0].endswith(f": '{'y' * 60}'...: must be an IPv4 address such as 192.0.2.1")


def test_same_address_and_same_given_mac_are_both_told() -> None:
    content = (SHIPPED / "minimal.yaml").read_text()
    content = content.replace("10.1.0.1,", '10.1.0.1, mac: "02:00:00:00:00:01",')
    content = content.replace("10.1.0.2,", '10.1.0.1, mac: "02:00:00:00:00:01",')
    assert [error.split(": ")[1] for error in errors_of(content)] == ["vms[1].ipv4", "vms[1].mac"]


def test_every_part_that_is_cut_off_is_told_once() -> None:
    racks = "".join(f"    - name: rack{index}\n" for index in range(1, 4))
    nves = "".join(
        f"  - {{name: nve{index}, rack: rack{1 + index % 3}, underlay_ip: 192.0.2.{index}}}\n"
        for index in range(1, 7)
    )
    errors = errors_of(f"name: t\nunderlay:\n  racks:\n{racks}nves:\n{nves}")
    assert [error.split(": ", 3)[1] for error in errors] == ["nves[1].rack", "nves[2].rack"]
    assert "between NVE 'nve1' in 'rack2' and NVE 'nve2' in 'rack3'" in errors[0]
    assert "between NVE 'nve2' in 'rack3' and NVE 'nve3' in 'rack1'" in errors[1]


def test_errors_of_all_kinds_come_in_the_order_of_the_lines() -> None:
    content = (SHIPPED / "two_racks.yaml").read_text()
    content = content.replace("between: [rack1, spine1]", "between: [rack1, spine9]")  # found by a check
    content = content.replace("underlay_ip: 192.0.2.2", "underlay_ip: 5")  # found by a model
    content = content.replace("    vni: 5001", "    vni: 5001\n    vni: 5001")  # found in the text
    content = content.replace("nve: nve3", "nve: nve4")  # found by a check
    assert [error.split(": ")[1] for error in errors_of(content)] == [
        "underlay.links[0].between[1]",
        "nves[1].underlay_ip",
        "virtual_networks[0].vni",
        "vms[3].nve",
    ]
