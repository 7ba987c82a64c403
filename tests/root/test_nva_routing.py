"""Real Open vSwitches, real tunnels and Linux hosts as VMs: IPv6, gateway, outside, policies, strategies."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from controller.client import NvaClient
from tests.fake_nva_world import (
    MOVER_MAC,
    NEXT_HOP_MAC,
    OUTSIDE_PORT,
    PEER_MACS,
    green_mac,
    routed,
)
from tests.root.nva_farm import Farm, wait_until

pytestmark = pytest.mark.root

HOSTS = {
    "vm1": (1, 10, MOVER_MAC, "10.0.0.1/24", "2001:db8::1/64"),
    # Where vm1 goes: the same VM once more, which nobody hears before.
    "copy": (3, 12, MOVER_MAC, "10.0.0.1/24", "2001:db8::1/64"),
    "peer2": (2, 20, PEER_MACS["nve2"], "10.0.0.12/24", "2001:db8::12/64"),
    "peer3": (3, 20, PEER_MACS["nve3"], "10.0.0.13/24", "2001:db8::13/64"),
    "green3": (3, 60, green_mac(3), "10.0.1.13/24", "2001:db8:1::13/64"),
    "client": (3, OUTSIDE_PORT, NEXT_HOP_MAC, "203.0.113.7/24", "2001:db8:ff::7/64"),
}
GATEWAYS = {
    "copy": ("10.0.0.254", "2001:db8::fe"),
    "peer2": ("10.0.0.254", "2001:db8::fe"),
    "vm1": ("10.0.0.254", "2001:db8::fe"),
    "peer3": ("10.0.0.254", "2001:db8::fe"),
    "green3": ("10.0.1.254", "2001:db8:1::fe"),
}


class World:
    """The unit tests' routed world, with a host in a namespace at each of some ports."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        for number in (1, 2, 3):
            farm.add_nve(number, ())
            farm.join_underlay(number)
        farm.start_nva()
        self.nva = farm.client()
        self.configure()
        for number in (1, 2, 3):
            farm.set_controller(number)
        self.nva.wait_programmed(20.0)
        self.hosts = {name: farm.add_vm(*host) for name, host in HOSTS.items()}
        for name, (four, six) in GATEWAYS.items():
            self.run(name, "ip", "route", "add", "default", "via", four)
            self.run(name, "ip", "-6", "route", "add", "default", "via", six)
        self.run("client", "ip", "route", "add", "10.0.0.0/24", "dev", "eth0")
        via = ("via", "2001:db8::fe", "dev", "eth0", "onlink")
        self.run("client", "ip", "-6", "route", "add", "2001:db8::/64", *via)
        for name in HOSTS:
            wait_until(lambda n=name: self.has_ipv6(n), 10.0, f"addresses of {name}")

    def configure(self, **more: Any) -> None:
        given = {**routed(), **more}
        vm1 = next(vm for vm in given["vms"] if vm["name"] == "vm1")
        vm1["ports"] = {"nve1": {"direct": 10}, "nve3": {"direct": 12}}
        self.nva.configure(**given)

    def run(self, name: str, *argv: str) -> str:
        return self.farm.run(self.hosts[name], *argv)

    def has_ipv6(self, name: str) -> bool:
        shown = self.run(name, "ip", "-6", "address", "show", "dev", "eth0")
        return "tentative" not in shown and "scope global" in shown and "scope link" in shown

    def ping(self, name: str, address: str, count: int = 2) -> bool:
        return self.farm.ping(self.hosts[name], address, count)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Farm() as farm:
        yield World(farm)


@pytest.fixture
def nva(world: World) -> Iterator[NvaClient]:
    yield world.nva
    for move in world.nva.status()["moves"]:
        world.nva.abort_move(move["id"])
    world.configure()
    world.nva.wait_programmed(20.0)


def test_everybody_passes_duplicate_address_detection(world: World) -> None:
    for name in HOSTS:
        assert "dadfailed" not in world.run(name, "ip", "-6", "address", "show", "dev", "eth0")


@pytest.mark.parametrize(
    ("sender", "address"),
    [
        ("vm1", "10.0.0.13"),
        ("vm1", "2001:db8::13"),
        ("vm1", "fe80::ff:fe00:13%eth0"),
        ("vm1", "10.0.0.254"),
        ("vm1", "2001:db8::fe"),
        ("vm1", "10.0.1.254"),
        ("vm1", "10.0.1.13"),
        ("vm1", "2001:db8:1::13"),
        ("green3", "10.0.0.1"),
        ("green3", "2001:db8::1"),
        ("vm1", "203.0.113.7"),
        ("vm1", "2001:db8:ff::7"),
        ("client", "10.0.0.1"),
        ("client", "2001:db8::1"),
        ("client", "10.0.0.254"),
    ],
)
def test_reached(world: World, sender: str, address: str) -> None:
    # The first packet into a tunnel is lost while Open vSwitch resolves its underlay neighbour.
    world.ping(sender, address, 1)
    assert world.ping(sender, address)


@pytest.mark.parametrize(("sender", "address"), [("green3", "203.0.113.7"), ("client", "10.0.1.13")])
def test_not_reached(world: World, sender: str, address: str) -> None:
    assert not world.ping(sender, address, 1)


def test_a_hop_is_taken(world: World) -> None:
    said = world.run("vm1", "sh", "-c", "ping -n -c 1 -t 1 -W 1 10.0.1.13 || true")
    assert "0 received" in said


def test_duplicate_address_is_found(world: World) -> None:
    world.run("peer3", "ip", "address", "add", "2001:db8::1/64", "dev", "eth0")
    try:
        wait_until(
            lambda: "dadfailed" in world.run("peer3", "ip", "-6", "address"), 5.0, "the conflict to be seen"
        )
    finally:
        world.run("peer3", "ip", "address", "del", "2001:db8::1/64", "dev", "eth0")


def test_announcements_reach_watchers(world: World) -> None:
    with world.nva.watch() as watch:
        world.run("vm1", "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/ndisc_notify")
        world.run("vm1", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify")
        world.run("vm1", "ip", "link", "set", "eth0", "address", MOVER_MAC)
        event = next(e for e in watch if e["kind"] in ("garp", "unsolicited_na"))
    assert (event["vm"], event["nve"]) == ("vm1", "nve1")


@pytest.mark.parametrize(
    ("sender", "ping"),
    [
        ("peer3", ["ping", "10.0.0.1"]),
        ("peer3", ["ping", "2001:db8::1"]),
        ("green3", ["ping", "10.0.0.1"]),
        ("client", ["ping", "10.0.0.1"]),
    ],
)
def test_icmp_reaches_the_sender_through_the_tunnel(
    world: World, nva: NvaClient, sender: str, ping: list[str]
) -> None:
    world.ping(sender, ping[1], 2)
    nva.prepare_move("i " + sender + ping[1], "vm1", "nve3", "icmp")
    nva.redirect("i " + sender + ping[1])
    said = world.run(sender, "sh", "-c", f"ping -n -c 2 -i 0.2 -W 1 {ping[1]} || true")
    assert "From 10.0.0.254" in said or "From 2001:db8::fe" in said, said
    assert "Unreachable" in said or "unreachable" in said, said


def test_what_an_nve_sends_to_the_nva_is_limited(world: World) -> None:
    meters = world.farm.ofctl(1, "dump-meters")
    assert "rate=500" in meters, meters


def move_lagging(world: World, nva: NvaClient, strategy: str) -> None:
    """Move vm1 to its copy at nve3; peer2 goes on sending to nve1."""
    world.configure(strategy=strategy, mapping_age_s=2)
    nva.wait_programmed(20.0)
    for address in ("10.0.0.1", "10.0.0.13"):  # resolve the underlay neighbours
        world.ping("peer2", address, 2)
    nva.prepare_move(strategy, "vm1", "nve3", "silent-drop")
    nva.redirect(strategy)
    nva.commit_move(strategy)
    assert nva.where("vm1")["believed"] == {"nve2": "nve1"}


def counted(nva: NvaClient) -> int:
    packets: int = nva.misdirected("vm1")["by_nve"].get("nve2", 0)
    return packets


def test_pull_by_the_first_misdirected_frame(world: World, nva: NvaClient) -> None:
    move_lagging(world, nva, "pull")
    with nva.watch() as watch:
        world.ping("peer2", "10.0.0.1", 1)
        told = next(e for e in watch if e["kind"] == "peer_updated")
    assert (told["nve"], told["vm"], told["cause"]) == ("nve2", "vm1", "misdirected")
    assert world.ping("peer2", "10.0.0.1")
    assert nva.where("vm1")["believed"] == {}


def test_announcement_tells_the_peers_and_until_then_frames_are_counted(world: World, nva: NvaClient) -> None:
    move_lagging(world, nva, "announce")
    assert not world.ping("peer2", "10.0.0.1", 2)
    wait_until(lambda: counted(nva) == 2, 5.0, "two misdirected frames")
    nva.end_redirect("announce")
    nva.finish_move("announce")
    assert not world.ping("peer2", "10.0.0.1", 2)
    wait_until(lambda: counted(nva) >= 2, 5.0, "misdirected frames after the move")
    with nva.watch() as watch:
        world.run("copy", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify")
        world.run("copy", "ip", "link", "set", "eth0", "address", MOVER_MAC)
        told = next(e for e in watch if e["kind"] == "peer_updated")
    assert (told["nve"], told["cause"]) == ("nve2", "announce")
    assert world.ping("peer2", "10.0.0.1")


def test_end_redirect_under_push_counts_nothing_from_those_who_know(world: World, nva: NvaClient) -> None:
    nva.prepare_move("e", "vm1", "nve3", "tunnel")
    nva.redirect("e")
    nva.commit_move("e")
    nva.end_redirect("e")
    assert world.ping("peer2", "10.0.0.1")
    assert nva.misdirected("vm1")["packets"] == 0


def test_expired_mapping_learns_of_the_move(world: World, nva: NvaClient) -> None:
    move_lagging(world, nva, "timeout")
    with nva.watch() as watch:
        wait_until(lambda: world.ping("peer2", "10.0.0.1", 1), 10.0, "the mapping to expire")
        told = next(e for e in watch if e["kind"] == "peer_updated")
    assert (told["nve"], told["cause"]) == ("nve2", "miss")


def test_timeout_expires_and_is_asked_for_without_loss(world: World, nva: NvaClient) -> None:
    world.configure(strategy="timeout", mapping_age_s=1)
    nva.wait_programmed(20.0)
    world.ping("peer3", "10.0.0.1", 2)
    with nva.watch() as watch:
        said = world.run("peer3", "ping", "-n", "-c", "25", "-i", "0.1", "-W", "1", "10.0.0.1")
        assert " 0% packet loss" in said, said
        refreshed = next(e for e in watch if e["kind"] == "mapping_refreshed")
    assert refreshed["vm"] in ("vm1", "peer3")


def test_life_cycle_decides_who_is_reached(world: World, nva: NvaClient) -> None:
    for verb, reached in (
        ("pause", False),
        ("resume", True),
        ("stop", False),
        ("release", False),
        ("allocate", False),
        ("start", True),
    ):
        getattr(nva, verb)("vm1")
        wait_until(
            lambda r=reached: world.ping("peer3", "10.0.0.1", 1) == r, 5.0, f"{verb}: reached {reached}"
        )


@pytest.mark.parametrize("flag", ["", "-B"], ids=["unicast answers", "broadcast answers"])
def test_dhcp_lease_through_the_tunnel(world: World, nva: NvaClient, flag: str) -> None:
    farm = world.farm
    script = farm.directory / "lease.sh"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && ip address add $ip/24 dev $interface || true\n')
    script.chmod(0o755)
    argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0"]
    argv += [
        "--bind-interfaces",
        "--pid-file=",
        f"--dhcp-leasefile={farm.directory}/leases",
        "--log-facility=-",
    ]
    argv += ["--dhcp-range=10.0.0.0,static", f"--dhcp-host={MOVER_MAC},10.0.0.1", "--user=root"]
    server = farm._spawn(world.hosts["peer3"], argv, stderr=subprocess.DEVNULL)
    world.run("vm1", "ip", "address", "del", "10.0.0.1/24", "dev", "eth0")
    try:
        with nva.watch() as watch:
            client = f"udhcpc -i eth0 -n -q -f -t 10 -T 1 {flag} -s {script}"
            world.run("vm1", "sh", "-c", client)
            if flag:
                told = next(e for e in watch if e["kind"] == "dhcp_answer")
                assert (told["vm"], told["nve"]) == ("vm1", "nve3")
        assert "10.0.0.1/24" in world.run("vm1", "ip", "address")
        assert world.ping("vm1", "10.0.0.13")
    finally:
        farm.end(server)
        world.run(
            "vm1",
            "sh",
            "-c",
            "ip address replace 10.0.0.1/24 dev eth0; ip route replace default via 10.0.0.254",
        )
