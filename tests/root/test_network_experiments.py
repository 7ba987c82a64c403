"""The experiments on IPv6, tenants, subnets, the outside and DHCP, run whole in their quick form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.root.test_run import started

pytestmark = pytest.mark.root

RUN_BOUND_S = 90.0  # what a quick form may take
SMALL = ("quick=1", "repeat=1", "rate_pps=500", "tcp_rate=1Mbit", "ports=afpacket")
ALWAYS_ZERO = {
    "hot-l2-v6": ("tentative_addresses_count",),
    "tenants": ("leaked_packets", "arrived_packets_unrouted"),
    "l3-host-route": ("leaked_packets",),
    "external-client": ("changed_routes_count",),
    "dhcp-client": ("changed_leases_count",),
}
MORE_THAN_ZERO = {
    "hot-l2-v6": "sent_packets_to_vm",
    "tenants": "sent_packets_unrouted",
    "l3-host-route": "flow_mods_count",
    "external-client": "flow_mods_count_gateway",
    "dhcp-client": "confirm_s",
}


@pytest.mark.parametrize("name", ALWAYS_ZERO)
def test_the_quick_form_answers_with_its_own_measures(name: str, tmp_path: Path) -> None:
    with started(tmp_path, name, *SMALL) as run:
        _, stdout, stderr = run.ended(RUN_BOUND_S)
        assert stderr == "", stdout
        record = run.record()
    assert record["verdict"]["status"] in ("answered", "invalid"), record[
        "verdict"
    ]  # invalid: a busy machine
    moves = [trial for trial in record["trials"] if not trial["null"]]
    assert len(moves) >= 3
    assert {trial["migration"]["outcome"] for trial in moves} == {"done"}
    for trial in moves:
        assert {key: trial["measures"][key] for key in ALWAYS_ZERO[name]} == dict.fromkeys(
            ALWAYS_ZERO[name], 0
        )
        assert trial["measures"][MORE_THAN_ZERO[name]] > 0
