"""The NVA with real Open vSwitches: where packets go at every stage, asked of ofproto/trace."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.client import NvaClient, NvaError
from controller.flows import desired_flows
from tests.fake_nva_world import MOVER_MAC, PEER_MACS, VNI, at_stage, config
from tests.root.nva_farm import TUNNEL_PORT, Farm, wait_until

pytestmark = pytest.mark.root

VM_PORTS = (10, 11, 20, 30)
NAMES = ("nve1", "nve2")


def two_nves() -> dict[str, Any]:
    """The unit tests' world without nve3."""
    full = config()
    return {
        "nves": full["nves"][:2],
        "networks": full["networks"],
        "vms": [vm for vm in full["vms"] if vm["nve"] != "nve3"],
    }


@pytest.fixture
def farm() -> Iterator[Farm]:
    with Farm() as made:
        for number in (1, 2):
            made.add_nve(number, VM_PORTS)
        made.start_nva()
        yield made


@pytest.fixture
def client(farm: Farm) -> NvaClient:
    made = farm.client()
    made.configure(**two_nves())
    for number in (1, 2):
        farm.set_controller(number)
    made.wait_programmed(20.0)
    return made


def from_peer(number: int) -> str:
    """A packet of the peer at an NVE to vm1, as ofproto/trace reads it."""
    return (
        f"in_port=20,eth_src={PEER_MACS[f'nve{number}']},eth_dst={MOVER_MAC},"
        f"eth_type=0x800,nw_src=10.0.0.1{number},nw_dst=10.0.0.1"
    )


def from_tunnel(source: str) -> str:
    return (
        f"in_port={TUNNEL_PORT},tun_id={VNI},tun_src={source},eth_src={PEER_MACS['nve1']},eth_dst={MOVER_MAC},"
        "eth_type=0x800,nw_src=10.0.0.11,nw_dst=10.0.0.1"
    )


def from_mover(number: int) -> str:
    """A packet of vm1 to the peer at the other NVE."""
    return (
        f"in_port=10,eth_src={MOVER_MAC},eth_dst={PEER_MACS[f'nve{number}']},"
        f"eth_type=0x800,nw_src=10.0.0.1,nw_dst=10.0.0.1{number}"
    )


def test_every_stage_as_open_vswitch_sees_it(farm: Farm, client: NvaClient) -> None:
    def ways() -> list[list[str]]:
        return [
            farm.way(1, from_peer(1)),
            farm.way(2, from_peer(2)),
            farm.way(1, from_tunnel("192.0.2.2")),
            farm.way(2, from_tunnel("192.0.2.1")),
            farm.way(2, from_tunnel("192.0.2.9")),
        ]

    old, new = "tunnel 192.0.2.1", "tunnel 192.0.2.2"
    assert ways() == [["port 10"], [old], ["port 10"], [], []]
    client.prepare_move("m1", "vm1", "nve2", "tunnel")
    assert ways() == [["port 10"], [old], ["port 10"], ["port 11"], ["port 10"]]
    assert farm.way(2, from_mover(1)) == [old]
    client.redirect("m1")
    assert ways() == [[new], [old], ["back to 192.0.2.2"], ["port 11"], ["port 10"]]
    client.commit_move("m1")
    assert ways() == [[new], ["port 10"], ["back to 192.0.2.2"], ["port 11"], ["port 10"]]
    assert client.send_end_markers("m1", 1)["nves"] == ["nve1", "nve2"]
    client.finish_move("m1")
    assert ways() == [[new], ["port 10"], [], ["port 10"], ["port 10"]]
    assert farm.way(1, from_mover(2)) == []
    assert client.status()["dead_threads"] == 0


def test_anti_spoof_arp_and_markers_on_the_real_switch(farm: Farm, client: NvaClient) -> None:
    spoofed = from_mover(2).replace("nw_src=10.0.0.1,", "nw_src=10.0.0.9,")
    assert farm.way(1, spoofed) == []
    ask = (
        f"in_port=20,eth_src={PEER_MACS['nve1']},eth_dst=ff:ff:ff:ff:ff:ff,eth_type=0x806,arp_op=1,"
        f"arp_spa=10.0.0.11,arp_sha={PEER_MACS['nve1']},arp_tpa=10.0.0.1"
    )
    answer = farm.trace(1, ask)
    for rewritten in (f"eth_dst={PEER_MACS['nve1']}", "->arp_sha", "set_field:10.0.0.1->arp_spa", "IN_PORT"):
        assert rewritten.split("=")[-1] in answer, answer
    assert farm.way(1, ask) == ["back"]
    assert farm.way(1, f"in_port=10,eth_type=0x88b5,eth_src={MOVER_MAC},eth_dst={PEER_MACS['nve1']}") == []


def test_rarp_of_the_vm_reaches_watchers(farm: Farm, client: NvaClient) -> None:
    mac = bytes.fromhex(MOVER_MAC.replace(":", ""))
    # RFC 903: hardware type 1, protocol 0x0800, lengths 6 and 4, opcode 3 (request reverse).
    body = bytes.fromhex("0001080006040003") + mac + bytes(4) + mac + bytes(4)
    frame = b"\xff" * 6 + mac + b"\x80\x35" + body
    with client.watch() as watch:
        farm.send(1, 10, frame.ljust(60, b"\0"))
        event = next(e for e in watch if e["kind"] == "rarp")
    assert (event["vm"], event["nve"]) == ("vm1", "nve1")


def test_number_of_flows_is_the_number_desired(farm: Farm, client: NvaClient) -> None:
    told = client.wait_programmed(1.0)["nves"]
    for number, name in enumerate(NAMES, start=1):
        assert len(farm.flows(number)) == told[name]["flows"]
    assert len(desired_flows(at_stage("none"), "nve1")) > 20


def test_switch_killed_and_restarted_is_resynced(farm: Farm, client: NvaClient) -> None:
    client.prepare_move("m1", "vm1", "nve2", "tunnel")
    client.redirect("m1")
    before = farm.flows(1)
    farm.end(farm.switches[1])
    # The end of the connection is seen at once, not by unanswered echo requests.
    wait_until(lambda: client.status()["nves"]["nve1"]["connected_s"] is None, 1.0, "nve1 gone")
    with pytest.raises(NvaError, match=r"nve1 \(not connected\)"):
        client.wait_programmed(0.1)
    assert client.call("status", {})["moves"][0]["stage"] == "redirected"
    farm.start_switch(1)
    client.wait_programmed(20.0)
    assert farm.flows(1) == before
    client.commit_move("m1")


def test_foreign_and_stale_flows_are_removed_by_the_resync(farm: Farm, client: NvaClient) -> None:
    before = farm.flows(1)
    farm.ofctl(1, "add-flow", "table=3,priority=999,cookie=0x7777,actions=drop")
    farm.vsctl(1, "del-controller", "br1")
    wait_until(lambda: client.status()["nves"]["nve1"]["connected_s"] is None, 5.0, "nve1 gone")
    farm.set_controller(1)
    client.wait_programmed(20.0)
    assert farm.flows(1) == before


def test_nva_killed_in_the_middle_of_a_move_goes_on(farm: Farm, client: NvaClient) -> None:
    client.prepare_move("m1", "vm1", "nve2", "buffer")
    first = client.redirect("m1")
    before = [farm.flows(n) for n in (1, 2)]
    farm.stop_nva(signal.SIGKILL)
    assert [farm.flows(n) for n in (1, 2)] == before
    farm.start_nva()
    # Open vSwitch 3.1 would wait up to 8 s: a new controller row makes it connect at once.
    for number in (1, 2):
        farm.vsctl(number, "del-controller", f"br{number}")
        farm.set_controller(number)
    client.close()
    client.wait_programmed(20.0)
    assert [farm.flows(n) for n in (1, 2)] == before
    assert client.redirect("m1") == first
    client.commit_move("m1")
    client.finish_move("m1")
    assert client.where("vm1")["nve"] == "nve2"


def test_bundle_refused_by_one_nve_leaves_all_unchanged(farm: Farm, client: NvaClient) -> None:
    client.prepare_move("m1", "vm1", "nve2", "silent-drop")
    client.commit_move("m1")
    client.close_port("vm1", "nve1")
    # The abort opens the port at nve1 again, which needs room in CLASSIFY, and changes nve2 too.
    held = sum("table=0," in line or "table=" not in line for line in farm.flows(1))
    limit = ["--", "--id=@t", "create", "Flow_Table", f"flow_limit={held}"]
    farm.vsctl(1, *limit, "--", "set", "bridge", "br1", "flow_tables:0=@t")
    before = [farm.flows(n) for n in (1, 2)]
    with pytest.raises(NvaError, match=r"nothing was changed, NVE nve1 .*TABLE_FULL") as error:
        client.abort_move("m1")
    assert error.value.code == -32003
    assert [farm.flows(n) for n in (1, 2)] == before
    assert client.where("vm1")["move"]["stage"] == "committed"
    farm.vsctl(1, "clear", "bridge", "br1", "flow_tables")
    client.abort_move("m1")
    assert farm.way(2, from_peer(2)) == ["tunnel 192.0.2.1"]


def test_second_move_of_a_moving_vm_is_refused(client: NvaClient) -> None:
    client.prepare_move("m1", "vm1", "nve2", "tunnel")
    with pytest.raises(NvaError, match="'vm1' is moving already") as error:
        client.prepare_move("m2", "vm1", "nve2", "tunnel")
    assert error.value.code == -32001


def test_hung_switch_is_named_and_comes_back(farm: Farm, client: NvaClient) -> None:
    before = farm.flows(2)
    farm.switches[2].send_signal(signal.SIGSTOP)
    with pytest.raises(
        NvaError, match=r"nothing was changed, because of NVE nve2 \(no answer to prepare"
    ) as error:
        client.prepare_move("m1", "vm1", "nve2", "tunnel")
    assert error.value.code == -32002
    farm.switches[2].send_signal(signal.SIGCONT)
    client.wait_programmed(20.0)
    assert farm.flows(2) == before
    client.prepare_move("m1", "vm1", "nve2", "tunnel")


def test_sigterm_ends_with_status_0_and_removes_the_socket(farm: Farm, client: NvaClient) -> None:
    start_s = time.monotonic()
    assert farm.stop_nva(signal.SIGTERM) == 0
    assert time.monotonic() - start_s < 1.0
    assert not farm.socket.exists()


def test_exception_in_a_handler_ends_the_nva_and_tells_watchers(farm: Farm) -> None:
    farm.stop_nva(signal.SIGTERM)
    program = (
        "import controller.__main__ as m, controller.service as s\n"
        "def boom(*args): raise RuntimeError('boom')\n"
        "s.Nva.nve_connected = boom\n"
        "m.main()"
    )
    farm.start_nva(program)
    with farm.client().watch() as watch:
        farm.set_controller(1)
        event = next(iter(watch))
    assert event["kind"] == "fault"
    assert "RuntimeError: boom" in event["text"]
    assert farm.nva is not None
    assert farm.nva.wait(5.0) == 1
    assert "RuntimeError: boom" in farm.nva_errors()
