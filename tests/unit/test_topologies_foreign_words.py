"""Keys of other tools are refused with what there is instead, and no entry of the table hides a key that there is."""

import pytest

from topologies import TopologyErrors, parse_topology
from topologies.foreign_words import FOREIGN_WORDS, Foreign, foreign, section_of
from topologies.problems import Path
from topologies.wording import keys_at

PATHS: dict[str, Path] = {
    "": (),
    "underlay": ("underlay",),
    "underlay.racks": ("underlay", "racks", 0),
    "underlay.spines": ("underlay", "spines", 0),
    "underlay.links": ("underlay", "links", 0),
    "underlay.access": ("underlay", "access"),
    "tunnel": ("tunnel",),
    "nves": ("nves", 0),
    "nves.access": ("nves", 0, "access"),
    "tenants": ("tenants", 0),
    "virtual_networks": ("virtual_networks", 0),
    "vms": ("vms", 0),
    "outside": ("outside",),
    "outside.link": ("outside", "link"),
    "outside.clients": ("outside", "clients", 0),
}
MINIMAL = """name: t
underlay: {racks: [{name: rack1}]}
nves: [{name: nve1, rack: rack1, underlay_ip: 192.0.2.1}]
tenants: [{name: acme}]
virtual_networks: [{name: blue, tenant: acme, vni: 1, subnet_v4: 10.1.0.0/24}]
vms:
  - {name: vm1, virtual_network: blue, nve: nve1, ipv4: 10.1.0.1}
"""


def errors_of(text: str) -> list[str]:
    with pytest.raises(TopologyErrors) as caught:
        parse_topology(text.encode(), "t.yaml")
    return [str(error).partition(": ")[2] for error in caught.value.errors]


def test_the_sections_are_those_of_the_model() -> None:
    assert all(keys_at(path) and section_of(path) == section for section, path in PATHS.items())
    assert {section for entry in FOREIGN_WORDS for section in entry.sections} <= set(PATHS)


@pytest.mark.parametrize(
    "entry", FOREIGN_WORDS, ids=lambda entry: f"{entry.keys.split()[0]}-{entry.sections[:1]}"
)
def test_no_entry_is_hidden_or_about_a_key_that_there_is(entry: Foreign) -> None:
    for section in entry.sections or PATHS:
        for key in entry.keys.split():
            if entry.sections:
                assert key not in keys_at(PATHS[section]), f"{section}.{key} exists"
                assert foreign((*PATHS[section], key)) is entry, (
                    f"{section}.{key}: another entry is found first"
                )
        if entry.sections:
            assert set(entry.instead_of) <= set(keys_at(PATHS[section]))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("vlan: 30", "there are no VLANs"),
        ("Gateway-MAC: 1", "the same MAC at every NVE"),
        ("slaac: true", "nobody advertises"),
        ("mtu: 9000", "the MTU of its virtual network"),
    ],
)
def test_a_foreign_key_of_a_vm(key: str, said: str) -> None:
    (error,) = errors_of(MINIMAL.replace("ipv4: 10.1.0.1", f"ipv4: 10.1.0.1, {key}"))
    assert error.startswith(f"vms[0].{key.partition(':')[0]}: no such key: ")
    assert said in error


def test_what_a_foreign_key_stands_for_is_not_missed() -> None:
    text = MINIMAL.replace("underlay_ip: 192.0.2.1", "vtep_ip: 192.0.2.1")
    assert errors_of(text) == [
        "nves[0].vtep_ip: no such key: write underlay_ip, the IPv4 address of the NVE's tunnel end"
    ]


def test_a_sentence_is_said_once() -> None:
    text = MINIMAL + "  - {name: vm2, virtual_network: blue, nve: nve1, ipv4: 10.1.0.2, vlan: 3}\n"
    first, second = errors_of(text.replace("ipv4: 10.1.0.1", "ipv4: 10.1.0.1, vlan: 2"))
    assert first.startswith("vms[0].vlan: no such key: there are no VLANs")
    assert second == "vms[1].vlan: no such key, for the same reason (the other: vms[0].vlan, line 7)"


def test_a_mistyped_key_is_still_told_as_such() -> None:
    (error,) = errors_of(MINIMAL.replace("vni: 1", "vni: 1, mut: 1400"))
    assert "unknown key; did you mean 'mtu'?" in error
