"""Reading ``configure``: every mistake at once, each with its path, value and what is allowed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from controller.config import ConfigError, state_from_config, state_from_json, state_to_json
from tests.fake_nva_world import at_stage, config, dual_stack

Break = Callable[[dict[str, Any]], object]

BROKEN: list[tuple[Break, str]] = [
    (lambda c: c.pop("vms"), "params.vms: missing"),
    (
        lambda c: c.update(vm=[]),
        "params.vm: []: unknown key; keys are mapping_age_s, networks, nves, outside, packet_in",
    ),
    (lambda c: c["nves"][0].update(dpid=True), "nves[0].dpid: True: must be a whole number"),
    (lambda c: c["nves"][1].update(dpid=1), "nves[1].dpid: 1: datapath id is used already by nves[0].dpid"),
    (
        lambda c: c["nves"][1].update(underlay_ip="10.0.0.300"),
        "nves[1].underlay_ip: '10.0.0.300': must be an IPv4",
    ),
    (lambda c: c["nves"][0].update(name=""), "nves[0].name: '': must be a printable text"),
    (
        lambda c: c["networks"][0].update(vni=2**24),
        "networks[0].vni: 16777216: must be a whole number from 1",
    ),
    (lambda c: c["networks"].append({"name": "x", "vni": 100}), "networks[2].vni: 100: VNI is used already"),
    (
        lambda c: c["vms"][0].update(mac="03:00:00:00:00:01"),
        "vms[0].mac: '03:00:00:00:00:01': must be a unicast",
    ),
    (lambda c: c["vms"][1].update(mac=c["vms"][0]["mac"]), "MAC address in this network is used already"),
    (
        lambda c: c["vms"][1].update(ipv4="10.0.0.1"),
        "IPv4 address in this network is used already by vms[0].ipv4",
    ),
    (lambda c: c["vms"][0].update(nve="nve9"), "vms[0].nve: 'nve9': no such NVE; NVEs are nve1, nve2, nve3"),
    (lambda c: c["vms"][0].update(vni=5), "vms[0].vni: 5: no such network; VNIs are 100, 200"),
    (lambda c: c["vms"][0]["ports"].update(nve9={"direct": 1}), "vms[0].ports.nve9: 'nve9': no such NVE"),
    (lambda c: c["vms"][0]["ports"]["nve1"].update(direct=20), "port is used already"),
    (lambda c: c["vms"][0]["ports"]["nve1"].update(direct=1), "port 1 is the tunnel port of 'nve1'"),
    (lambda c: c.update(nves="all"), "nves: 'all': must be a list"),
    (lambda c: c.update(strategy="guess"), "strategy: 'guess': must be one of push, pull, announce, timeout"),
    (lambda c: c.update(mapping_age_s=0), "mapping_age_s: 0: must be a whole number from 1 to 65535"),
    (lambda c: c.update(packet_in_limit_pps=0), "packet_in_limit_pps: 0: must be a whole number"),
    (lambda c: c["nves"][0].update(plain={"port": 3}), "nves[0].plain.mac: missing"),
    (lambda c: c["vms"].append(3), "vms[6]: 3: must be an object"),
    (lambda c: c["vms"][0].update(ipv6="fe80::1"), "vms[0].ipv6: 'fe80::1': must be a routable IPv6 address"),
    (lambda c: c["vms"][0].update(ipv6="2001:db8:0::1%eth0"), "must be a routable IPv6 address"),
    (lambda c: c["vms"][0].update(link_local="fe80::1"), "vms[0].link_local: 'fe80::1': needs ipv6 as well"),
    (
        lambda c: [vm.update(ipv6="2001:db8::1") for vm in c["vms"][:2]],
        "vms[1].ipv6: (100, '2001:db8::1'): IPv6 address in this network is used already by vms[0].ipv6",
    ),
]


@pytest.mark.parametrize(("spoil", "says"), BROKEN, ids=[says[:40] for _, says in BROKEN])
def test_each_mistake_is_named(spoil: Break, says: str) -> None:
    broken = copy.deepcopy(config())
    spoil(broken)
    with pytest.raises(ConfigError) as error:
        state_from_config(broken, 1)
    assert says in str(error.value)


def test_all_mistakes_come_at_once() -> None:
    broken = config()
    broken["nves"][0]["dpid"] = broken["networks"][1]["vni"] = "x"
    broken["vms"][2]["ipv4"] = 7
    with pytest.raises(ConfigError) as error:
        state_from_config(broken, 1)
    assert [line.split(":")[0] for line in error.value.errors] == [
        "nves[0].dpid",
        "networks[1].vni",
        "vms[2].ipv4",
        "vms[4].vni",  # its network could not be read
        "vms[5].vni",
    ]


@pytest.mark.parametrize("stage", ["none", "prepared", "redirected", "committed", "finished"])
def test_state_survives_json(stage: str) -> None:
    state = at_stage(stage)
    assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state


def test_ipv6_addresses_are_read_in_one_form_and_link_local_is_derived() -> None:
    given = config()
    given["vms"][0]["ipv6"] = "2001:DB8:0:0::1"
    vm = state_from_config(given, 1).vms["vm1"]
    assert vm.ipv6_addresses == ("2001:db8::1", "fe80::ff:fe00:1")
    given["vms"][0]["link_local"] = "fe80::99"
    assert state_from_config(given, 1).vms["vm1"].link_local == "fe80::99"
    state = at_stage("committed", given=dual_stack())
    assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state
